"""Read torchvision v2 transforms: containers, conversions, and through the modules beside this one the operators.

torchvision is not imported: a class is known by its name, and its arguments are attributes.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import torch

from auglean.policies.base import Identity, Policy
from auglean.policies.combining import mixture, sometimes
from auglean.policies.importing.reading import Library, Reader, chained
from auglean.policies.normalizing import Normalize
from auglean.policies.ordering import MOST, RandomOrder

#: Classes of `torchvision.transforms.v2`; modules beside this one add theirs.
torchvision = Library("torchvision v2", "torchvision.transforms.v2")

#: Orders of a `RandomOrder` that are written out as a mixture.
_ORDERS = 24
_ROUNDING = (
    "The operators before ToDtype round to whole levels where images come as uint8, each by half a level, or of "
    "colours by about one (1/255); that is left out here."
)


def from_torchvision(transform: Any) -> Policy:
    """Make a policy of a torchvision v2 transform, with the law of torchvision's own draws.

    Read are interpolation, fill and its mask, padding, centre, rounded translations, probabilities, and the containers
    `Compose`, `RandomApply`, `RandomChoice`, `RandomOrder` and `nn.Sequential`. A transform that is not known, a
    subclass of a known one among them, is called image by image as by `as_policy`, and its `note` says so. Operators
    that stand before `ToDtype(torch.float32, scale=True)` are taken to see uint8 levels: their fill is divided by 255.
    `docs/importing.md` lists every class.

    Args:
        transform: A transform of `torchvision.transforms.v2`, or any callable on images.

    Raises:
        InputError: If the object is no transform, or one that gives images of another size than it takes.

    >>> from_torchvision(torch.nn.Sequential())
    Identity()
    """
    return torchvision.read(transform)


@torchvision.reads("Identity", "ToImage", "ToPureTensor", "PILToTensor", "ToTensor")
def _identity(transform: Any, reader: Reader) -> Policy:
    return Identity()


@torchvision.reads("ToDtype", "ConvertImageDtype")
def _dtype(transform: Any, reader: Reader) -> Policy:
    dtype = transform.dtype
    if not isinstance(dtype, torch.dtype):
        found = [value for kind, value in dtype.items() if getattr(kind, "__name__", kind) in ("Image", "Tensor")]
        dtype = next(iter(found), dtype.get("others"))
    policy = Identity()
    if dtype is not None and not dtype.is_floating_point:
        policy.note = f"{type(transform).__name__} rounds to {dtype}; that is left out here."
    elif dtype is not None and not getattr(transform, "scale", True):
        policy.note = (
            "ToDtype(scale=False) would leave the levels of uint8 images 0 to 255; here images stay in [0, 1]."
        )
    return policy


@torchvision.reads("Normalize")
def _normalize(transform: Any, reader: Reader) -> Policy:
    return Normalize(tuple(transform.mean), tuple(transform.std))


@torchvision.reads("Compose")
def _compose(transform: Any, reader: Reader) -> Policy:
    parts = list(transform.transforms)
    # before the last of these, images are uint8 if they are at the start
    cut = max((i for i, part in enumerate(parts) if _scales(part)), default=0)
    whole = Reader(reader.library, 255.0)
    before, after = [whole.read(part) for part in parts[:cut]], [reader.read(part) for part in parts[cut:]]
    policy = chained([*before, *after])
    if not all(isinstance(part, Identity) for part in before):
        policy.note = policy.note or _ROUNDING
    return policy


def _scales(transform: Any) -> bool:
    """Whether whole levels become fractions of 1 in a transform."""
    if type(transform).__name__ == "Compose":
        return any(_scales(part) for part in transform.transforms)
    name, dtype = type(transform).__name__, getattr(transform, "dtype", None)
    if name not in ("ToDtype", "ConvertImageDtype") or not getattr(transform, "scale", True):
        return False
    kinds = dtype.values() if isinstance(dtype, dict) else [dtype]
    return any(kind is not None and kind.is_floating_point for kind in kinds)


@torchvision.reads("RandomApply")
def _apply(transform: Any, reader: Reader) -> Policy:
    return sometimes(float(transform.p), reader.chain(transform.transforms))


@torchvision.reads("RandomChoice")
def _choice(transform: Any, reader: Reader) -> Policy:
    return mixture([reader.read(part) for part in transform.transforms], list(transform.p))


@torchvision.reads("RandomOrder")
def _order(transform: Any, reader: Reader) -> Policy:
    parts = [reader.read(part) for part in transform.transforms]
    orders = math.factorial(len(parts))
    if orders <= _ORDERS:
        return mixture([chained(order) for order in permutations(parts)]) if orders > 1 else parts[0]
    reason = f"RandomOrder of {len(parts)} transforms has {orders} orders, too many for nodes."
    if len(parts) > MOST:
        return reader.called(transform, reason)
    policy = RandomOrder(parts)
    policy.note = reason
    return policy
