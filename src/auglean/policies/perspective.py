"""Perspective: the corners of the image are moved, and straight lines stay straight."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, number
from auglean.policies.warping import Options, Warp, sample
from auglean.randomness import Randomness, uniform


class Perspective(Warp):
    """Move each corner inwards by whole pixels, uniform up to a share of half the image, each axis on its own.

    As `RandomPerspective` of torchvision, whose homography joins the whole coordinates of the corner pixels and is
    read at pixel centres half a pixel off. Parameter `corners (n, 4, 2)`: (x, y) of the upper left, upper right, lower
    right and lower left corner, each in [0, 1) between the ends of its range.

    Args:
        distortion: Share of half the image, at most 0.6: beyond, three corners may lie on a line.
        options: How pixels are sampled: see `auglean.policies.warping.Options`.

    >>> x = torch.eye(4)[None, None]
    >>> corners = torch.tensor([[[0.0, 0.0], [0.9, 0.0], [0.9, 0.9], [0.0, 0.9]]])  # each stays
    >>> torch.allclose(Perspective(0.5).apply(x, {"corners": corners}), x, atol=1e-6)
    True
    """

    def __init__(self, distortion: float, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if not 0 <= distortion <= 0.6:
            raise InputError(f"Perspective expected a distortion from 0 to 0.6 but found {distortion!r}.")
        self.distortion = distortion

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.distortion == 0

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        return {"corners": uniform((n, 8), generator, device=device).view(n, 4, 2)}

    def corners(self, params: Params, height: int, width: int) -> Tensor:
        """Where the corners go, (x, y) in whole pixels. `(n, 4, 2)`, float64."""
        moved = []
        for axis, size in enumerate((width, height)):
            reach = int(self.distortion * (size // 2)) + 1
            place = (params["corners"][..., axis].double() * reach).floor().clamp(max=reach - 1)  # (n, 4)
            far = place.new_tensor([0, 1, 1, 0] if axis == 0 else [0, 0, 1, 1])
            moved.append(place + far * (size - reach))
        return torch.stack(moved, 2)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        h, w = x.shape[2:]
        # rounded as torchvision rounds them, so that nearest pixels are the same ones
        rounded = [value.float().double() for value in homography(self.corners(params, h, w), h, w)]
        a, b, c, d, e, f, g, k, one = (value[:, None, None] for value in rounded)
        column = torch.arange(w, dtype=torch.float64, device=x.device) + 0.5
        row = torch.arange(h, dtype=torch.float64, device=x.device)[:, None] + 0.5
        depth = g * column + k * row + one
        across = (a / (w / 2) * column + b / (w / 2) * row + c / (w / 2)) / depth
        down = (d / (h / 2) * column + e / (h / 2) * row + f / (h / 2)) / depth
        # the horizon is outside
        grid = torch.stack([across - 1, down - 1], 3).nan_to_num(4.0, 4.0, -4.0).to(x.dtype)
        return sample(x, grid, fill=self.fill, padding=self.padding, mode=self.interpolation)

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.distortion) + self._options()


def homography(corners: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Coefficients a … i of the map that brings moved corners back to those of an image.

    `(x, y) ↦ ((a x + b y + c) / (g x + h y + i), (d x + e y + f) / (g x + h y + i))`: the inverse of the projection of
    the unit square to a quadrilateral (Heckbert 1989, section 2.2.3), scaled. i is one, or zero where the horizon goes
    through the origin. Elementwise, so that its rounding does
    not depend on the batch.

    Args:
        corners: Upper left, upper right, lower right, lower left. Shape `(n, 4, 2)`.
        height: Of the image.
        width: Of the image.
    """
    (x0, x1, x2, x3), (y0, y1, y2, y3) = corners[..., 0].unbind(1), corners[..., 1].unbind(1)
    ax, bx, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    ay, by, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    whole = ax * by - bx * ay
    g, h = (sx * by - bx * sy) / whole, (ax * sy - sx * ay) / whole
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    last = a * e - b * d
    scale = 1 / torch.where(last == 0, 1.0, last)
    u, v = (width - 1) * scale, (height - 1) * scale
    first = (u * (e - f * h), u * (c * h - b), u * (b * f - c * e))
    second = (v * (f * g - d), v * (a - c * g), v * (c * d - a * f))
    return (*first, *second, (d * h - e * g) * scale, (b * g - a * h) * scale, last * scale)
