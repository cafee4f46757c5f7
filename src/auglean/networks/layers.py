"""Layers of the networks here: the first of every one, and an average pool that is quick on a CPU."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auglean.errors import InputError


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Both are buffers: they move with the network, are saved with it and are never trained. A channel whose
    deviation is 0 (constant in the data) is only centred.

    Args:
        mean: Mean of each channel, in the units of the input. Length C.
        std: Standard deviation of each channel. Length C.

    Shape:
        `(B, C, H, W)` to `(B, C, H, W)`.

    Raises:
        InputError: If the lengths differ, or a value is not finite, or a deviation is negative.

    >>> Normalize([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise InputError(
                f"Normalize was given {len(mean)} means and {len(std)} deviations; give one each per channel."
            )
        if not all(math.isfinite(value) for value in (*mean, *std)) or any(value < 0 for value in std):
            raise InputError(
                f"Normalize was given mean {tuple(mean)} and std {tuple(std)}; "
                "give finite numbers, with no negative deviation."
            )
        self.register_buffer("mean", torch.tensor([float(value) for value in mean]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor([float(value) or 1.0 for value in std]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Standardise a batch."""
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show both as lists."""
        mean, std = ([round(value, 4) for value in t.flatten().tolist()] for t in (self.mean, self.std))
        return f"mean={mean}, std={std}"


class AveragePool(nn.Module):
    """Average squares of 2 × 2 pixels, as `nn.AvgPool2d(2)` does; an odd last row or column is left out.

    torch's own pool works pixel by pixel on a CPU. Here each pair of rows is multiplied by a matrix of quarters, which
    takes a third of the time, forward and backward, and has derivatives of any order.

    Shape:
        `(B, C, H, W)` to `(B, C, ⌊H/2⌋, ⌊W/2⌋)`.

    >>> AveragePool()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[[[3.]]]])
    """

    def forward(self, images: Tensor) -> Tensor:
        """Pool a batch."""
        if images.device.type != "cpu":
            return functional.avg_pool2d(images, 2)
        batch, channels, high, wide = images.shape[0], images.shape[1], images.shape[2] // 2, images.shape[3] // 2
        pairs = images[:, :, : 2 * high, : 2 * wide].reshape(-1, 4 * wide)  # (B C H/2, 2 W)
        return (pairs @ _quarters(wide, images.dtype)).view(batch, channels, high, wide)


@functools.lru_cache(maxsize=32)
def _quarters(wide: int, dtype: torch.dtype) -> Tensor:
    """Give the matrix that averages two rows of `2 · wide` pixels, laid end to end, into one of `wide`."""
    return torch.eye(wide, dtype=dtype).repeat_interleave(2, 0).repeat(2, 1) / 4
