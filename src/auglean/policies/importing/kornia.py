"""Read kornia augmentations: containers and gates, and through the modules beside this one the operators.

kornia is not imported: a class is known by its name, and the ranges of its draws are those of its samplers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from math import prod
from typing import Any

from auglean.errors import InputError
from auglean.policies.base import Identity, Policy
from auglean.policies.combining import mixture, sometimes
from auglean.policies.curves import Clamp
from auglean.policies.importing.reading import Library, Reader, chained
from auglean.policies.noise import GaussianNoise
from auglean.policies.normalizing import Normalize

#: Classes of `kornia.augmentation`; modules beside this one add theirs.
kornia = Library("kornia", "kornia.augmentation")

#: Ways through a container of a random choice that are written out as a mixture.
_WAYS = 64
_SHARED = "same_on_batch shares a draw by all images of a batch; here every image has its own, by the same law."


class KorniaReader(Reader):
    """Knows too whether values may have left [0, 1], to which kornia's colour operators cut them back.

    Attributes:
        left: Whether they may have.
    """

    def __init__(self, *, left: bool = False) -> None:
        super().__init__(kornia)
        self.left = left

    def chain(self, transforms: Sequence[Any]) -> Policy:
        """Read transforms that follow each other."""
        return chained([self.step(transform) for transform in transforms])

    def step(self, transform: Any) -> Policy:
        """Read a transform that others follow."""
        policy = self.read(transform)
        self.left |= any(_leaves(part) for part in policy.modules() if isinstance(part, Policy))
        return policy

    def gated(self, module: Any, policy: Policy, *, clamps: bool = False) -> Policy:
        """Apply an operator with the probability of a module, cut back to [0, 1] before if the module does that."""
        if clamps and self.left:
            policy = Clamp() | policy
        p = float(module.p) * float(module.p_batch)
        return self.noted(module, sometimes(p, policy) if p < 1 else policy)

    def noted(self, module: Any, policy: Policy) -> Policy:
        """Say where a module shares its draws."""
        if module.same_on_batch:
            policy.note = policy.note or _SHARED
        return policy


def _leaves(policy: Policy) -> bool:
    unclamped = not isinstance(policy, Identity) and getattr(policy, "clamp", True) is False
    return isinstance(policy, Normalize | GaussianNoise) or unclamped or policy.note.endswith("image by image.")


def from_kornia(module: Any) -> Policy:
    """Make a policy of a kornia augmentation, with the law of kornia's own draws for one image.

    Read are interpolation, padding, fill, signs, probabilities of each operator and of the batch, and the containers
    `AugmentationSequential`, `ImageSequential` (with `random_apply`) and `nn.Sequential`. What is not known, a subclass
    of a known class among it, is called image by image as by `as_policy`, and its `note` says so. `docs/importing.md`
    lists every class.

    Args:
        module: A module of `kornia.augmentation`, or any callable on images.

    Raises:
        InputError: If the object is no module, or one that mixes several images.

    >>> import torch
    >>> from_kornia(torch.nn.Sequential())
    Identity()
    """
    return KorniaReader().read(module)


@kornia.reads("AugmentationSequential", "ImageSequential")
def _sequence(module: Any, reader: KorniaReader) -> Policy:
    parts = list(module.children())
    if module.random_apply is False:
        policy = reader.chain(parts)
    else:
        ways = _ways(len(parts), module.random_apply, module.random_apply_weights.tolist())
        if len(ways) > _WAYS:
            return reader.called(
                module, f"{type(module).__name__} has more than {_WAYS} ways, so it is called image by image."
            )
        reader.chain(parts)  # each may come behind every other
        read = [reader.read(part) for part in parts]
        policy = mixture([chained([read[i] for i in way]) for way in ways], list(ways.values()))
    return reader.noted(module, policy)


def _ways(n: int, counts: tuple[int, int], weights: Sequence[float]) -> dict[tuple[int, ...], float]:
    """Sequences of parts that `random_apply` may choose, each with its probability, but no more than are written out.

    One after another is drawn by weight, without replacement where there are enough.
    """
    found: dict[tuple[int, ...], float] = {}
    kept = [i for i in range(n) if weights[i] > 0]
    total = sum(weights)
    for count in range(*counts):
        again = count > total or count > len(kept)
        for way in product(kept, repeat=count) if again else permutations(kept, count):
            left = [total - (0 if again else sum(weights[i] for i in way[:k])) for k in range(count)]
            chance = prod(weights[i] / rest for i, rest in zip(way, left, strict=True))
            found[way] = found.get(way, 0.0) + chance / (counts[1] - counts[0])
            if len(found) > _WAYS:
                return found
    return found


@kornia.reads("RandomMixUpV2", "RandomCutMixV2", "RandomMosaic", "RandomJigsaw", "RandomTransplantation")
def _mixing(module: Any, reader: KorniaReader) -> Policy:
    raise InputError(
        f"{type(module).__name__} mixes several images, and a policy sees one; leave it out, and see "
        "auglean.moments.mixup and auglean.moments.cutmix."
    )


def shortest(value: Any) -> float:
    """Give a number, in no more digits than its float32 has where it is a tensor."""
    return float(value) if isinstance(value, int | float) else float(f"{float(value):.7g}")


def ends(sampler: Any) -> tuple[float, float]:
    """The range of one of kornia's uniform laws."""
    return shortest(sampler.low), shortest(sampler.high)
