"""Operators that copy pixels or leave them out, exactly: flip, crop, cutout."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, magnitude, number, per_image
from auglean.policies.warping import Fill, check_size, checked_fill, colour, outside, translation, warp
from auglean.randomness import Randomness, integers, uniform

Device = torch.device | str | None


class Flip(Policy):
    """Mirror the image with probability `p`. Exact. Parameter `flip (n,)`, bool.

    Args:
        p: Probability.
        vertical: Mirror top and bottom instead of left and right.

    >>> Flip().apply(torch.tensor([[[[1.0, 2.0, 3.0]]]]), {"flip": torch.tensor([True])})
    tensor([[[[3., 2., 1.]]]])
    """

    linear = True

    def __init__(self, p: float = 0.5, *, vertical: bool = False) -> None:
        super().__init__()
        self.p = magnitude("The probability of Flip", p, 1)
        self.vertical = vertical

    @property
    def token(self) -> str | None:
        """Such as `flip` or `flip0.3`."""
        return None if self.vertical else "flip" + ("" if self.p == 0.5 else number(self.p))

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"flip": uniform(n, generator, device=device) < self.p}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        # weights 0 and 1 copy exactly, in one pass and without a wait for the device
        return torch.lerp(x, x.flip(2 if self.vertical else 3), per_image(params["flip"], x))

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.p) + (", vertical=True" if self.vertical else "")


class RandomCrop(Policy):
    """Pad all round and crop back at a random place: a shift by whole pixels, uniform.

    Exact: pixels are copied. Parameter `shift (n, 2)`, int64: how far the content moves (right, down), from
    `−right … left` and `−bottom … top`.

    Args:
        padding: Pixels of padding on each side, or (left, top, right, bottom).
        fill: Value of the padding, or one for each channel.
        outside: What the padding shows: `"fill"`, `"border"` (the nearest edge pixel), `"reflection"` (mirrored, edge
            pixel included) or `"mirror"` (mirrored, edge pixel not repeated).
        size: (height, width) that images must have, or `None` for any.

    >>> RandomCrop(1).apply(torch.tensor([[[[1.0, 2.0, 3.0]]]]), {"shift": torch.tensor([[1, 0]])})
    tensor([[[[0., 1., 2.]]]])
    """

    linear = True

    def __init__(
        self,
        padding: int | tuple[int, int, int, int],
        *,
        fill: Fill = 0.0,
        outside: Literal["fill", "border", "reflection", "mirror"] = "fill",
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        sides = padding if isinstance(padding, tuple) else (padding,) * 4
        if len(sides) != 4 or any(side < 0 or side != int(side) for side in sides):
            raise InputError(f"RandomCrop expected a padding of 0 or more whole pixels but found {padding!r}.")
        if outside not in ("fill", "border", "reflection", "mirror"):
            raise unknown("padding", outside, ["fill", "border", "reflection", "mirror"])
        left, top, right, bottom = map(int, sides)
        self.padding = (left, top, right, bottom) if isinstance(padding, tuple) else left
        #: Lowest and highest shift in x, and in y.
        self.across, self.down = (-right, left), (-bottom, top)
        self.fill, self.outside, self.size = checked_fill(fill), outside, size

    @property
    def token(self) -> str | None:
        """Such as `crop4`."""
        return None if self._options() or isinstance(self.padding, tuple) else f"crop{self.padding}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        if self.across == self.down:
            low, high = self.across
            return {"shift": integers((n, 2), high - low + 1, generator, device=device) + low}
        shifts = [integers(n, high - low + 1, generator, device=device) + low for low, high in (self.across, self.down)]
        return {"shift": torch.stack(shifts, 1)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        check_size(self, self.size, x)
        if self.outside == "fill":
            matrix = translation(params["shift"].to(x.dtype))
            return warp(x, matrix, fill=self.fill, mode="nearest")
        for dim, shift in zip((3, 2), params["shift"].unbind(1), strict=True):
            n = x.shape[dim]
            source = outside(torch.arange(n, device=x.device) - shift[:, None], n, self.outside)  # (B, n)
            shape = (-1, 1, 1, n) if dim == 3 else (-1, 1, n, 1)
            x = x.gather(dim, source.view(shape).expand(x.shape))
        return x

    def _options(self) -> str:
        given = {"fill": self.fill, "outside": self.outside, "size": self.size}
        usual = {"fill": 0.0, "outside": "fill", "size": None}
        return "".join(f", {name}={value!r}" for name, value in given.items() if value != usual[name])

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.padding}{self._options()}"


class Cutout(Policy):
    """Erase a square whose centre is uniform on the pixels of the image; what lies outside is cut off.

    DeVries & Taylor 2017 (arXiv 1708.04552). Rows `c − ⌊size/2⌋ … c − ⌊size/2⌋ + size − 1`, columns alike.
    Parameter `centre (n, 2)`: (x, y) as shares of width and height in [0, 1), pixel `⌊share · size⌋`.

    Args:
        size: Side of the square in pixels.
        fill: Value inside the square.

    >>> Cutout(1).apply(torch.ones(1, 1, 1, 4), {"centre": torch.tensor([[0.5, 0.0]])})
    tensor([[[[1., 1., 0., 1.]]]])
    """

    linear = True

    def __init__(self, size: int, *, fill: Fill = 0.0) -> None:
        super().__init__()
        if size < 0 or size != int(size):
            raise InputError(f"Cutout expected a side of 0 or more whole pixels but found {size!r}.")
        self.size = int(size)
        self.fill = checked_fill(fill)

    @property
    def token(self) -> str | None:
        """Such as `cutout8`."""
        return None if self.fill else f"cutout{self.size}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"centre": uniform((n, 2), generator, device=device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        inside = []
        for axis, length in enumerate((x.shape[3], x.shape[2])):
            start = self._pixel(params["centre"][:, axis, None], length) - self.size // 2
            place = torch.arange(length, device=x.device)
            inside.append((place >= start) & (place < start + self.size))  # (B, length)
        erased = (inside[1][:, :, None] & inside[0][:, None, :])[:, None].to(x.dtype)  # (B, 1, H, W)
        y = x * (1 - erased)
        return y + erased * colour(self.fill, x) if self.fill else y

    def _pixel(self, share: Tensor, length: int) -> Tensor:
        return (share * length).long().clamp_(max=length - 1)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}" + (f", fill={self.fill}" if self.fill else "")
