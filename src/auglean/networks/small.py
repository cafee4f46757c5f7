"""Bodies of the small networks: images in, one feature vector each out.

Each function returns the body and the length of its feature vector. Weights start as PyTorch starts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import nn

from auglean.errors import InputError
from auglean.networks.layers import AveragePool

NORMS = ("instance", "batch", "group", "layer", "none")
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "leaky": nn.LeakyReLU, "swish": nn.SiLU}
POOLS: dict[str, Callable[[], nn.Module] | None] = {
    "avg": AveragePool,
    "max": partial(nn.MaxPool2d, 2),
    "nopool": None,
}


def cnn(channels: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Build the fast CNN: blocks of conv 3×3, BatchNorm, ReLU, max-pool 2.

    Widths are 32, 64, then 128. There are at least two blocks, and as many as bring the shorter side down to
    4 or less: two for 8×8 digits, three for 28×28 and 32×32. The mean over positions is the feature vector, which
    keeps the logits small enough for large learning rates.
    """
    height, width = size
    layers: list[nn.Module] = []
    inputs = channels
    while len(layers) < 8 or min(height, width) > 4:  # four layers to a block
        outputs = min(2 * inputs, 128) if layers else 32
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        inputs, height, width = outputs, height // 2, width // 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs


def mlp(channels: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Build the perceptron with two hidden layers of 128 units (Zhao & Bilen 2021)."""
    inputs = channels * size[0] * size[1]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()), 128


def lenet(channels: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Build LeNet-5 with ReLU and max-pooling (LeCun et al. 1998; the layout of Zhao & Bilen 2021).

    It was drawn for 32×32 images. Smaller ones are padded by 2 before the first 5×5 convolution, as is
    usual for 28×28, and those under 16 before the second as well, so that 8×8 passes.
    """
    height, width = size
    layers: list[nn.Module] = []
    for inputs, outputs, unpadded in ((channels, 6, 32), (6, 16, 16)):
        pad = 0 if min(size) >= unpadded else 2
        layers += [nn.Conv2d(inputs, outputs, 5, padding=pad), nn.ReLU(), nn.MaxPool2d(2)]
        height, width = ((side + 2 * pad - 4) // 2 for side in (height, width))
    flat = 16 * height * width
    head = [nn.Flatten(), nn.Linear(flat, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
    return nn.Sequential(*layers, *head), 84


def convnet(
    channels: int,
    size: tuple[int, int],
    *,
    width: int = 128,
    depth: int = 3,
    norm: str = "instance",
    activation: str = "relu",
    pool: str = "avg",
) -> tuple[nn.Module, int]:
    """Build the ConvNet of data set condensation (Gidaris & Komodakis 2018; Zhao & Bilen 2021).

    `depth` blocks of conv 3×3, norm, activation, 2×2 pool. Instance norm is `GroupNorm` with a group per
    channel and trained scale and shift; group norm has 4 groups; layer norm has a scale and a shift per pixel.
    28×28 images are padded to 32×32 by the first convolution, whatever their channels (the reference does so for
    one channel and fails for three).

    Raises:
        InputError: If the images are too small for the depth, or the width does not suit.
    """
    if width < 1 or depth < 1 or (norm == "group" and width % 4):
        raise InputError(
            f"The ConvNet was given width {width}, depth {depth} and norm {norm!r}; both numbers must be at "
            "least 1, and the width a multiple of 4 with group norm."
        )
    high, wide = (32, 32) if size == (28, 28) else size
    if pool != "nopool" and min(high, wide) < 2**depth:
        raise InputError(
            f"A ConvNet of depth {depth} needs images of at least {2**depth}×{2**depth} pixels but was given "
            f"{high}×{wide}; use a depth of at most {int(math.log2(min(high, wide)))}."
        )
    layers: list[nn.Module] = []
    for block in range(depth):
        padding = 3 if block == 0 and size == (28, 28) else 1
        layers.append(nn.Conv2d(width if block else channels, width, 3, padding=padding))
        layers += [*_norm(norm, width, (high, wide)), ACTIVATIONS[activation]()]
        if (pooling := POOLS[pool]) is not None:
            layers.append(pooling())
            high, wide = high // 2, wide // 2
    return nn.Sequential(*layers, nn.Flatten()), width * high * wide


def _norm(name: str, width: int, size: tuple[int, int]) -> list[nn.Module]:
    if name == "none":
        return []
    if name == "batch":
        return [nn.BatchNorm2d(width)]
    if name == "layer":
        return [nn.LayerNorm([width, *size])]
    return [nn.GroupNorm(width if name == "instance" else 4, width)]
