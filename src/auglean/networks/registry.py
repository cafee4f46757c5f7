"""Networks by name."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from auglean.errors import InputError, unknown
from auglean.networks import residual, small
from auglean.networks.layers import Normalize
from auglean.randomness import isolated

_NAMES = ("cnn", "mlp", "lenet", "convnet", "resnet18", "resnet20", "resnet32", "resnet56", "wrn-28-10")
_CONVNET = re.compile(
    r"convnet(?:-w(?P<width>\d+))?(?:-d(?P<depth>\d+))?"
    rf"(?:-(?P<norm>{'|'.join(small.NORMS)}))?"
    rf"(?:-(?P<activation>{'|'.join(small.ACTIVATIONS)}))?"
    rf"(?:-(?P<pool>{'|'.join(small.POOLS)}))?"
)
_WIDE = re.compile(r"wrn-(\d+)-(\d+)")


def names() -> list[str]:
    """List the names that `create` knows.

    Three families take more: `convnet-w64-d2-batch-swish-max` (width, depth, norm, activation and pool, each optional;
    norm is instance, batch, group, layer or none, activation relu, sigmoid, leaky or swish, pool avg, max or nopool),
    `wrn-16-4` (depth 6n + 4, width) and `timm:NAME`.

    >>> "resnet20" in names()
    True
    """
    return list(_NAMES)


def create(
    name: str,
    *,
    channels: int,
    classes: int,
    size: tuple[int, int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a network by its name, with new weights.

    The networks of this library have three named parts: `normalize`, `features` and the linear layer
    `classifier`. A `timm` network has `normalize` and `model`.

    Args:
        name: One of `names()`, or a member of a family described there.
        channels: Channels C of the images.
        classes: Classes K.
        size: Height and width of the images, at least 8 each.
        mean: Mean of each channel in [0, 1] units; by default 0.5.
        std: Standard deviation of each channel; by default 0.5, which with the mean maps [0, 1] to [−1, 1].
        seed: Fixes the initial weights. The default generators of the process are left as they were.

    Returns:
        A module in training mode, from images `(B, C, H, W)` in [0, 1] to logits `(B, K)`.

    Raises:
        InputError: If the name is unknown, the images do not suit the network, or `timm` cannot be imported.

    >>> import torch
    >>> network = create("convnet-w8-d2", channels=1, classes=10, size=(8, 8))
    >>> network(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    height, width = size
    if channels < 1 or classes < 2 or min(height, width) < 8:
        raise InputError(
            f"A network was asked for {channels} channels, {classes} classes and images of {height}×{width}; "
            "it needs at least 1 channel, 2 classes and 8×8 pixels."
        )
    mean = [0.5] * channels if mean is None else mean
    std = [0.5] * channels if std is None else std
    normalize = Normalize(mean, std)
    if len(mean) != channels:
        raise InputError(f"The mean has {len(mean)} numbers but the images have {channels} channels; give one each.")
    with isolated(seed):
        if name.startswith("timm:"):
            model = _timm(name.removeprefix("timm:"), channels, classes, (height, width))
            return nn.Sequential(OrderedDict(normalize=normalize, model=model))
        features, dimension = _body(name, channels, (height, width))
        classifier = nn.Linear(dimension, classes)
    return nn.Sequential(OrderedDict(normalize=normalize, features=features, classifier=classifier))


def _body(name: str, channels: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Build all but the last layer: the module, and the length of the features it gives."""
    plain = {"cnn": small.cnn, "mlp": small.mlp, "lenet": small.lenet}
    if name in plain:
        return plain[name](channels, size)
    if match := _CONVNET.fullmatch(name):
        options: dict[str, Any] = {key: value for key, value in match.groupdict().items() if value is not None}
        options.update({key: int(options[key]) for key in ("width", "depth") if key in options})
        return small.convnet(channels, size, **options)
    if name == "resnet18":
        return residual.resnet18(channels)
    if name in ("resnet20", "resnet32", "resnet56"):
        return residual.resnet(channels, depth=int(name.removeprefix("resnet")))
    if match := _WIDE.fullmatch(name):
        depth, width = int(match[1]), int(match[2])
        if depth < 10 or (depth - 4) % 6 or width < 1:
            raise InputError(
                f"A wide ResNet was named {name!r}; use a depth of 10, 16, 22, … and a width of at least 1."
            )
        return residual.wide_resnet(channels, depth=depth, width=width)
    raise unknown("network", name, [*_NAMES, "timm:NAME"])


def _timm(name: str, channels: int, classes: int, size: tuple[int, int]) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise InputError(
            f"The network 'timm:{name}' needs the package timm, which cannot be imported here ({error}); "
            "install auglean[vision] with a torchvision built for the installed torch."
        ) from error
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)  # of well over a thousand
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        raise InputError(f"Unknown timm network {name!r}{hint} timm.list_models() gives the names.")
    options = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    try:  # networks of patches are made for one size of image, the others refuse the option
        model: nn.Module = timm.create_model(name, **options, img_size=size)
    except TypeError:
        model = timm.create_model(name, **options)
    return model
