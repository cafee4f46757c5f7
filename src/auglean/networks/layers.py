"""The first layer of every network here: pixel units in, standardised channels out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

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
