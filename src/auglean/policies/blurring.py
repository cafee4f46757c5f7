"""Gaussian blur: separable, normalised, cut off at the kernel."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, per_image
from auglean.policies.colour import Range, between, interval, written
from auglean.randomness import Randomness

Device = torch.device | str | None
Border = Literal["reflect", "replicate", "circular", "constant"]


class GaussianBlur(Policy):
    """Smooth by a Gaussian kernel whose standard deviation is uniform on a range. Linear. Parameter `sigma (n,)`.

    The weights `exp(−t² / 2σ²)` at the pixels of the kernel are made to sum to one. Both libraries do this.

    Args:
        kernel: Size in pixels, odd; or (width, height).
        sigma: A pair, or one number for certain; above 0.
        border: What is outside: `"reflect"` (mirrored, edge pixel not repeated), `"replicate"` (the nearest edge
            pixel), `"circular"`, or `"constant"` (black).

    >>> x = torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]]]])
    >>> GaussianBlur((3, 1), 1.0).apply(x, {"sigma": torch.tensor([1.0])}).round(decimals=4)
    tensor([[[[0.0000, 0.2741, 0.4519, 0.2741, 0.0000]]]])
    """

    linear = True

    def __init__(self, kernel: int | tuple[int, int], sigma: Range, *, border: Border = "reflect") -> None:
        super().__init__()
        self.kernel = (kernel, kernel) if isinstance(kernel, int) else (int(kernel[0]), int(kernel[1]))
        if min(self.kernel) < 1 or not all(size % 2 for size in self.kernel):
            raise InputError(f"GaussianBlur expected a kernel of odd sizes but found {kernel!r}.")
        self.sigma = interval("GaussianBlur", sigma if isinstance(sigma, tuple) else (sigma, sigma))
        if self.sigma[0] == 0:
            raise InputError(f"GaussianBlur expected standard deviations above 0 but found {sigma!r}.")
        if border not in get_args(Border):
            raise unknown("border", border, get_args(Border))
        self.border: Border = border

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"sigma": between(*self.sigma, n, generator, device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        across, down = (size // 2 for size in self.kernel)
        if self.border == "reflect" and (across >= x.shape[3] or down >= x.shape[2]):
            raise InputError(f"{self!r} mirrors more pixels than images of shape {tuple(x.shape)} have.")
        if not len(x):
            return x
        padded = F.pad(x, (across, across, down, down), self.border)
        return _smooth(_smooth(padded, params["sigma"], across, 3), params["sigma"], down, 2)

    def extra_repr(self) -> str:
        """The arguments."""
        border = "" if self.border == "reflect" else f", border={self.border!r}"
        return f"{self.kernel}, {written(self.sigma)}{border}"


def _smooth(x: Tensor, sigma: Tensor, reach: int, dim: int) -> Tensor:
    """Weigh shifted copies, one by one: a convolution may round otherwise in another batch."""
    place = torch.arange(-reach, reach + 1, dtype=torch.float64, device=x.device)
    weights = torch.softmax(-((place / sigma.double()[:, None]) ** 2) / 2, 1)  # (n, 2 reach + 1)
    n = x.shape[dim] - 2 * reach
    total = x.narrow(dim, reach, n) * per_image(weights[:, reach], x)
    for t in range(reach):
        both = x.narrow(dim, t, n) + x.narrow(dim, 2 * reach - t, n)
        total = total + both * per_image(weights[:, t], x)
    return total
