"""Operators on a box of random area and aspect ratio: erase it, or show it enlarged.

A box is drawn as in both papers' code: an area, uniform as a share of the image, and an aspect ratio, uniform in its
logarithm; its sides are rounded; where they do not fit into the image, both are drawn anew, ten times in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, magnitude, number
from auglean.policies.warping import Fill, check_size, colour
from auglean.randomness import Keys, Randomness, integers, normal, uniform

Device = torch.device | str | None
Range = Sequence[float]

#: How often a box that does not fit is drawn anew.
TRIES = 10


class _Box(Policy):
    """What both share: ranges of area and ratio, and the draws of a box and of its place.

    Parameters `area, ratio (n, 10)`, of which the first that fit count, and `place (n, 2)`: (x, y) as shares of the
    places that there are.
    """

    linear = True

    def __init__(self, scale: Range, ratio: Range) -> None:
        super().__init__()
        name = type(self).__name__
        if len(scale) != 2 or not 0 <= scale[0] <= scale[1] <= 1:
            raise InputError(f"{name} expected a range (low, high) of areas in [0, 1] but found {scale!r}.")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1] < math.inf:
            raise InputError(f"{name} expected a range (low, high) of ratios above 0 but found {ratio!r}.")
        self.scale, self.ratio = (float(scale[0]), float(scale[1])), (float(ratio[0]), float(ratio[1]))

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        low, high = (math.log(end) for end in self.ratio)
        return {
            "place": uniform((n, 2), generator, device=device),
            "area": uniform((n, TRIES), generator, low=self.scale[0], high=self.scale[1], device=device),
            "ratio": uniform((n, TRIES), generator, low=low, high=high, device=device).exp(),
        }

    def fits(self, across: Tensor, down: Tensor, height: int, width: int) -> Tensor:
        """Which boxes of so many pixels are taken."""
        raise NotImplementedError

    def _sides(self, area: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Width and height of boxes of an area in pixels and a ratio, not rounded."""
        raise NotImplementedError

    def _fallback(self, height: int, width: int) -> tuple[int, int]:
        """Width and height of the box if none of them fits."""
        raise NotImplementedError

    def boxes(self, params: Params, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left, top, width and height of each box, in pixels. `(n,)` each, int64."""
        area = params["area"].double() * (height * width)
        across, down = (side.round() for side in self._sides(area, params["ratio"].double()))  # (n, tries)
        good = self.fits(across, down, height, width)
        first = good.double().argmax(1, keepdim=True)
        none = ~good.any(1)
        last = self._fallback(height, width)
        sides, corners = [], []
        for axis, (size, side) in enumerate(((width, across), (height, down))):
            length = torch.where(none, last[axis], side.gather(1, first)[:, 0].long())
            places = size - length + 1
            corner = (params["place"][:, axis].double() * places).long().minimum(places - 1)
            sides.append(length)
            corners.append(torch.where(none, (size - length) // 2, corner))
        return corners[0], corners[1], sides[0], sides[1]


class RandomErasing(_Box):
    """Erase a box with probability `p`.

    Zhong, Zheng, Kang, Li & Yang 2020 (arXiv 1708.04896). Sides are `√(area · ratio)` down and `√(area / ratio)`
    across, rounded and smaller than the image's; where none of ten draws is, nothing is erased. Parameters `area,
    ratio (n, 10)`, `place (n, 2)`, `erase (n,)`, bool, and `seed (n,)` with noise.

    Args:
        p: Probability.
        scale: Range of areas, as shares of the image.
        ratio: Range of aspect ratios, height over width.
        fill: Value inside, one for each channel, or `"noise"`: standard normal, each pixel and channel on its own.

    >>> x, policy = torch.ones(1, 1, 2, 4), RandomErasing(1, scale=(0.25, 0.25), ratio=(0.5, 0.5))
    >>> policy.apply(x, policy.draw(1) | {"place": torch.tensor([[0.4, 0.0]])})  # the second of three places
    tensor([[[[1., 0., 0., 1.],
              [1., 1., 1., 1.]]]])
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        scale: Range = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        fill: Fill | Literal["noise"] = 0.0,
    ) -> None:
        super().__init__(scale, ratio)
        self.p = magnitude("The probability of RandomErasing", p, 1)
        self.fill = fill

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        params = super()._draw(n, generator, device)
        params["erase"] = uniform(n, generator, device=device) < self.p
        if self.fill == "noise":
            high, low = integers((n, 2), 2**24, generator, device=device).unbind(1)
            params["seed"] = high << 24 | low
        return params

    def fits(self, across: Tensor, down: Tensor, height: int, width: int) -> Tensor:
        """Which boxes of so many pixels are taken."""
        return (across < width) & (down < height)

    def _sides(self, area: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        return (area / ratio).sqrt(), (area * ratio).sqrt()

    def _fallback(self, height: int, width: int) -> tuple[int, int]:
        return 0, 0

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        left, top, across, down = self.boxes(params, x.shape[2], x.shape[3])
        inside = []
        for start, length, size in ((left, across, x.shape[3]), (top, down, x.shape[2])):
            place = torch.arange(size, device=x.device) - start[:, None]
            inside.append((place >= 0) & (place < length[:, None]))  # (B, size)
        box = inside[1][:, :, None] & inside[0][:, None, :] & params["erase"][:, None, None]
        if self.fill == "noise":
            drawn = normal((len(x), x[0].numel()), Keys(params["seed"])).to(x)
            return torch.where(box[:, None], drawn.view_as(x), x)
        value = colour(self.fill, x)
        return torch.where(box[:, None], value if isinstance(value, Tensor) else x.new_tensor(value), x)

    def extra_repr(self) -> str:
        """The arguments."""
        fill = f", fill={self.fill!r}" if self.fill else ""
        return f"{number(self.p)}, scale={self.scale}, ratio={self.ratio}{fill}"


class ClampedErasing(RandomErasing):
    """Erase a box with probability `p`, its sides cut off where they do not fit; kornia's `RandomErasing`.

    One box is drawn, whose sides `√(area · ratio)` down and `√(area / ratio)` across are rounded and kept between one
    pixel and the image's. The ratio is uniform: where its range has 1 inside, below or above it with probability ½
    each. Parameters `area, ratio (n, 1)`, `place (n, 2)`, `erase (n,)`, bool.

    Args:
        p: Probability.
        scale: Range of areas, as shares of the image.
        ratio: Range of aspect ratios, height over width.
        fill: Value inside, one for each channel, or `"noise"`.

    >>> x, policy = torch.ones(1, 1, 2, 4), ClampedErasing(1, scale=(0.5, 0.5), ratio=(4, 4))
    >>> policy.apply(x, policy.draw(1) | {"place": torch.tensor([[0.4, 0.0]])})  # two rows in place of four
    tensor([[[[1., 0., 1., 1.],
              [1., 0., 1., 1.]]]])
    """

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        params = super()._draw(n, generator, device)
        side, unit = uniform((n, 1), generator, device=device), uniform((n, 1), generator, device=device)
        low, high = self.ratio
        if low < 1 < high:
            ratio = torch.where(side < 0.5, low + (1 - low) * unit, 1 + (high - 1) * unit)
        else:
            ratio = low + (high - low) * unit
        return params | {"area": params["area"][:, :1], "ratio": ratio}

    def boxes(self, params: Params, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left, top, width and height of each box, in pixels. `(n,)` each, int64."""
        area = params["area"][:, 0].double() * (height * width)
        sides, corners = [], []
        for axis, (size, side) in enumerate(
            zip((width, height), self._sides(area, params["ratio"][:, 0].double()), strict=True)
        ):
            length = side.round().clamp(1, size).long()
            places = size - length + 1
            corners.append((params["place"][:, axis].double() * places).long().minimum(places - 1))
            sides.append(length)
        return corners[0], corners[1], sides[0], sides[1]


class RandomResizedCrop(_Box):
    """Cut out a box and enlarge it to the size of the image.

    Szegedy et al. 2015 (arXiv 1409.4842), section 6. Sides are `√(area · ratio)` across and `√(area / ratio)` down,
    rounded and not larger than the image's; where none of ten draws is, the largest central box of an allowed ratio is
    taken. Boxes are never shrunk, so that antialiasing makes no difference but for `"bicubic"`. Parameters `area, ratio
    (n, 10)` and `place (n, 2)`.

    Args:
        scale: Range of areas, as shares of the image.
        ratio: Range of aspect ratios, width over height.
        interpolation: `"bilinear"`, `"bicubic"`, `"nearest"` or `"nearest-exact"`, as `torch.nn.functional.interpolate`
            has them, or `"bilinear-corners"`, which is bilinear with `align_corners=True`.
        antialias: Which bicubic kernel: the one for antialiasing, with a = −½, or the other, with a = −¾.
        size: (height, width) that images must have, or `None` for any.

    >>> x, policy = torch.arange(4.0).view(1, 1, 2, 2) / 4, RandomResizedCrop((0.25, 0.25), (1, 1))
    >>> policy.apply(x, policy.draw(1) | {"place": torch.tensor([[0.9, 0.0]])})  # the pixel at the upper right
    tensor([[[[0.2500, 0.2500],
              [0.2500, 0.2500]]]])
    """

    def __init__(
        self,
        scale: Range = (0.08, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
        *,
        interpolation: Literal["bilinear", "bilinear-corners", "bicubic", "nearest", "nearest-exact"] = "bilinear",
        antialias: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(scale, ratio)
        if interpolation not in _KERNELS:
            raise unknown("interpolation", interpolation, _KERNELS)
        self.interpolation, self.antialias, self.size = interpolation, antialias, size

    def fits(self, across: Tensor, down: Tensor, height: int, width: int) -> Tensor:
        """Which boxes of so many pixels are taken."""
        return (across > 0) & (across <= width) & (down > 0) & (down <= height)

    def _sides(self, area: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        return (area * ratio).sqrt(), (area / ratio).sqrt()

    def _fallback(self, height: int, width: int) -> tuple[int, int]:
        low, high = self.ratio
        if width / height < low:
            return width, round(width / low)
        if width / height > high:
            return round(height * high), height
        return width, height

    def taps(self, start: Tensor, length: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Which pixels of an axis of n make those of boxes enlarged to n, and their weights. `(B, n, taps)` each."""
        place, side = torch.arange(n, device=start.device), length[:, None]
        index, weight = _KERNELS[self.interpolation](place, side, self.antialias)
        return index.long().clamp(min=0).minimum(side[..., None] - 1) + start[:, None, None], weight

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        check_size(self, self.size, x)
        left, top, across, down = self.boxes(params, x.shape[2], x.shape[3])
        for dim, start, length in ((2, top, down), (3, left, across)):
            index, weight = self.taps(start, length, x.shape[dim])
            shape = (-1, 1, x.shape[2], 1) if dim == 2 else (-1, 1, 1, x.shape[3])
            parts = (
                x.gather(dim, i.view(shape).expand(x.shape)) * w.to(x.dtype).view(shape)
                for i, w in zip(index.unbind(2), weight.unbind(2), strict=True)
            )
            x = sum(parts, torch.zeros_like(x))
        return x

    def extra_repr(self) -> str:
        """The arguments."""
        given = {"interpolation": self.interpolation, "antialias": self.antialias, "size": self.size}
        usual = {"interpolation": "bilinear", "antialias": True, "size": None}
        options = "".join(f", {name}={value!r}" for name, value in given.items() if value != usual[name])
        return f"{self.scale}, {self.ratio}{options}"


# For pixels `place (n,)` of boxes whose sides are `side (B, 1)`: the pixels of the box that they are made of, counted
# from its start, and weights.
def _linear(place: Tensor, side: Tensor, antialias: bool) -> tuple[Tensor, Tensor]:
    return _between(((place + 0.5) * (side.double() / len(place)) - 0.5).clamp(min=0).minimum(side - 1.0))


def _linear_corners(place: Tensor, side: Tensor, antialias: bool) -> tuple[Tensor, Tensor]:
    return _between(place * ((side - 1).double() / max(len(place) - 1, 1)))


def _between(source: Tensor) -> tuple[Tensor, Tensor]:
    first = source.floor()
    part = source - first
    return torch.stack([first, first + 1], 2), torch.stack([1 - part, part], 2)


def _cubic(place: Tensor, side: Tensor, antialias: bool) -> tuple[Tensor, Tensor]:
    source = (place + 0.5) * (side.double() / len(place)) - 0.5
    index = source.floor()[..., None] + torch.arange(-1.0, 3.0, dtype=source.dtype, device=source.device)
    a, t = -0.5 if antialias else -0.75, (source[..., None] - index).abs()
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    weight = torch.where(t <= 1, near, far)
    if antialias:  # what lies outside is left out there, and stands for the edge pixel otherwise
        weight = weight * ((index >= 0) & (index < side[..., None]))
        weight = weight / weight.sum(2, keepdim=True)
    return index, weight


def _nearest(place: Tensor, side: Tensor, antialias: bool) -> tuple[Tensor, Tensor]:
    index = (place * (side.float() / len(place))).floor()  # in float32, as torch has it
    return index[..., None], torch.ones_like(index, dtype=torch.float64)[..., None]


def _nearest_exact(place: Tensor, side: Tensor, antialias: bool) -> tuple[Tensor, Tensor]:
    index = ((place + 0.5) * (side.float() / len(place))).floor()
    return index[..., None], torch.ones_like(index, dtype=torch.float64)[..., None]


_KERNELS = {
    "bilinear": _linear,
    "bilinear-corners": _linear_corners,
    "bicubic": _cubic,
    "nearest": _nearest,
    "nearest-exact": _nearest_exact,
}
