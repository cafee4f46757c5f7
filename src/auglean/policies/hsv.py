"""Operators on hue and saturation in the sense of the hexcone HSV (Smith 1978): value the largest channel.

With value V and chroma C = V − smallest channel, channel n of a pixel of hue h (in sixths of a turn) is
`V − C · clamp(min(k, 4 − k), 0, 1)`, `k = (n + h) mod 6`, n = 5, 3, 1 for red, green, blue. So every channel is
piecewise linear in a turn of the hue, and linear in the saturation until that is full.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy, per_image
from auglean.policies.colour import Line, Range, between, interval, written
from auglean.randomness import Randomness

Device = torch.device | str | None


def value_chroma_hue(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, chroma and hue in sixths of a turn, grey having hue 0. `(B, 3, H, W)` to three `(B, 1, H, W)`.

    >>> [float(part) for part in value_chroma_hue(torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1))]
    [0.5, 0.5, 3.0]
    """
    if x.shape[1] != 3:
        raise InputError(f"Hue needs 3 channels but the images have shape {tuple(x.shape)}.")
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - least
    red, green, blue = (x / torch.where(chroma > 0, chroma, 1.0)).unbind(1)
    hue = torch.where(
        x[:, 0] == value[:, 0],
        (green - blue).remainder(6),
        torch.where(x[:, 1] == value[:, 0], 2 + blue - red, 4 + red - green),
    )
    return value, chroma, hue[:, None]


class Hue(Policy):
    """Turn the hue by a share of the circle, uniform on a range. Parameter `hue (n,)`.

    Nothing happens to images of one channel.

    Args:
        amount: Largest turn, up to 0.5, both signs, or the range as a pair.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> Hue(0.5).apply(x, {"hue": torch.tensor([1 / 3])}).flatten().round(decimals=4)
    tensor([0., 1., 0.])
    """

    def __init__(self, amount: Range) -> None:
        super().__init__()
        self.amount = amount
        self.low, self.high = interval("Hue", amount, low=-0.5, high=0.5)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"hue": between(self.low, self.high, n, generator, device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        if x.shape[1] == 1:
            return x
        value, chroma, hue = value_chroma_hue(x)
        channel = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device)[:, None, None]
        k = (channel + hue + 6 * per_image(params["hue"], x)).remainder(6)
        return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)

    def extra_repr(self) -> str:
        """The argument."""
        return written(self.amount)


class HSVSaturation(Line):
    """Multiply the saturation of HSV by a factor, until it is full; what kornia calls saturation. Parameter `factor`.

    `V − (V − x) · min(f, V / C)` with the largest channel V and the chroma C: linear in the factor up to a knot.

    Args:
        amount: Largest change of the factor, or its range as a pair.

    >>> x = torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)
    >>> HSVSaturation(1).apply(x, {"factor": torch.tensor([0.5])}).flatten()
    tensor([1.0000, 0.7500, 0.7500])
    """

    clamp = True  # what reaches 0 stays there

    def __init__(self, amount: Range) -> None:
        super().__init__()
        self.amount = amount
        self.low, self.high = interval("HSVSaturation", amount, centre=1.0)

    def line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Start and slope of every value, while the saturation is not full."""
        value = x.amax(1, keepdim=True)
        return value, x - value

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        if x.shape[1] == 1:
            return x
        value, chroma, _ = value_chroma_hue(x)
        full = value / torch.where(chroma > 0, chroma, 1.0)
        return value - (value - x) * torch.minimum(per_image(params["factor"], x), full)

    def extra_repr(self) -> str:
        """The argument."""
        return written(self.amount)
