"""Operators that move pixels: exact indexing, or one bilinear interpolation.

Conventions (`docs/conventions.md`): positions are pixel centres; the centre of the image, about which it
turns, scales and shears, is `((W − 1)/2, (H − 1)/2)`; x runs right and y runs down; the world outside
the image has the value `fill`, so that bilinear interpolation fades into it over one pixel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, magnitude, number, per_image
from auglean.randomness import Randomness, integers, uniform

Padding = Literal["fill", "border", "reflection", "circular"]
_PADDINGS = {"fill": "zeros", "border": "border", "reflection": "reflection", "circular": "border"}
Device = torch.device | str | None


def warp(x: Tensor, matrix: Tensor, *, fill: float = 0.0, padding: Padding = "fill", mode: str = "bilinear") -> Tensor:
    """Sample each image where an affine map sends the pixel centres.

    Args:
        x: Images. Shape `(B, C, H, W)`.
        matrix: For each image, output position to source position, both (x, y) in pixels from the centre of
            the image. Shape `(B, 2, 3)`.
        fill: Value of the world outside, with `padding="fill"`.
        padding: `"fill"`, `"border"` (the nearest edge pixel), `"reflection"` (mirrored, edge pixel included)
            or `"circular"` (periodic).
        mode: `"bilinear"` or `"nearest"`.

    Returns:
        Images of the same shape. Affine in `x`: `M x + (1 − M 1) · fill`.

    >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> warp(x, torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]))  # half a pixel further right
    tensor([[[[1.5000, 2.5000, 1.5000]]]])
    """
    n, _, h, w = x.shape
    matrix = matrix.to(x.dtype)
    column = torch.arange(w, dtype=x.dtype, device=x.device) - (w - 1) / 2
    row = torch.arange(h, dtype=x.dtype, device=x.device) - (h - 1) / 2
    # elementwise, not by a matrix product, whose rounding may depend on the batch
    grid = torch.empty(n, h, w, 2, dtype=x.dtype, device=x.device)
    for axis, size in enumerate((w, h)):
        a, b, shift = matrix[:, axis].unsqueeze(-1).unbind(1)  # (n, 1) each
        if padding == "circular":  # wrapped here, and the image extended by its first row and column
            source = (a * column)[:, None, :] + (b * row + shift + (size - 1) / 2)[:, :, None]
            grid[..., axis] = (source.remainder(size) + 0.5) * (2 / (size + 1)) - 1
        else:
            a, b, shift = a * (2 / size), b * (2 / size), shift * (2 / size)
            grid[..., axis] = (a * column)[:, None, :] + (b * row + shift)[:, :, None]
    if padding == "circular":
        x = F.pad(x, (0, 1, 0, 1), mode="circular")
    y = F.grid_sample(x, grid, mode, _PADDINGS[padding], align_corners=False)
    if padding == "fill" and fill:
        inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, mode, "zeros", align_corners=False)
        y = y + (1 - inside) * fill
    return y


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([a, b, x, c, d, y], 1).view(-1, 2, 3)


def translation(shift: Tensor) -> Tensor:
    """Source map of content moved by `shift = (right, down)` pixels. `(n, 2)` to `(n, 2, 3)`."""
    one, zero = torch.ones_like(shift[:, 0]), torch.zeros_like(shift[:, 0])
    return _matrix(one, zero, zero, one, -shift[:, 0], -shift[:, 1])


def rotation(angle: Tensor) -> Tensor:
    """Source map of content turned counter-clockwise, as seen, by degrees. `(n,)` to `(n, 2, 3)`."""
    angle = torch.deg2rad(angle.double())  # in float64, so that rounding hides how cosines were vectorised
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _matrix(cos, -sin, sin, cos, zero, zero)


def scaling(factor: Tensor) -> Tensor:
    """Source map of content enlarged by a factor. `(n,)` to `(n, 2, 3)`."""
    inverse, zero = 1 / factor.double(), torch.zeros_like(factor.double())
    return _matrix(inverse, zero, zero, inverse, zero, zero)


def shearing(slope: Tensor, *, vertical: bool = False) -> Tensor:
    """Source map `x + slope · y` (or `y + slope · x` where vertical). `(n,)` to `(n, 2, 3)`."""
    slope = slope.double()
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return _matrix(one, zero, slope, one, zero, zero) if vertical else _matrix(one, slope, zero, one, zero, zero)


def slope(angle: Tensor) -> Tensor:
    """Tangent of an angle in degrees."""
    return torch.tan(torch.deg2rad(angle.double()))


def chain(first: Tensor, second: Tensor) -> Tensor:
    """Source map of doing `first`, then `second`, in one interpolation. `(n, 2, 3)` each."""
    first, second = first.double(), second.double()
    linear = (first[:, :, :2, None] * second[:, None, :, :]).sum(2)  # (n, 2, 3): A₁ A₂, A₁ b₂
    return torch.cat([linear[:, :, :2], linear[:, :, 2:] + first[:, :, 2:]], 2)


class _Warp(Policy):
    """What the interpolating policies share: options, and one `warp` by the subclass' matrix."""

    def __init__(self, *, fill: float, padding: Padding) -> None:
        super().__init__()
        if padding not in _PADDINGS:
            raise unknown("padding", padding, _PADDINGS)
        self.fill = magnitude("The fill of a policy", fill, 1)
        self.padding: Padding = padding
        self.linear = True

    def _matrix(self, params: Params) -> Tensor:
        raise NotImplementedError

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return warp(x, self._matrix(params), fill=self.fill, padding=self.padding)

    def _options(self) -> str:
        fill = f", fill={self.fill}" if self.fill else ""
        return fill + (f", padding={self.padding!r}" if self.padding != "fill" else "")

    def _word(self, word: str, value: float) -> str | None:
        return None if self._options() else word + number(value)


class Translate(_Warp):
    """Move the image by a real displacement, uniform on `[−pixels, pixels]` in each axis independently.

    Bilinear. Parameter `shift (n, 2)`: how far the content moves (right, down), in pixels.

    Args:
        pixels: Largest displacement.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0]]]])
    >>> Translate(1).apply(x, {"shift": torch.tensor([[0.25, 0.0]])})
    tensor([[[[0.0000, 0.7500, 0.2500]]]])
    """

    def __init__(self, pixels: float, *, fill: float = 0.0, padding: Padding = "fill") -> None:
        super().__init__(fill=fill, padding=padding)
        self.pixels = magnitude("Translate", pixels)

    @property
    def token(self) -> str | None:
        """Such as `translate4`."""
        return self._word("translate", self.pixels)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"shift": uniform((n, 2), generator, low=-self.pixels, high=self.pixels, device=device)}

    def _matrix(self, params: Params) -> Tensor:
        return translation(params["shift"])

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.pixels) + self._options()


class Rotate(_Warp):
    """Turn the image about its centre by an angle uniform on `[−degrees, degrees]`.

    Bilinear. Parameter `angle (n,)`: degrees, counter-clockwise as seen where positive.

    Args:
        degrees: Largest angle.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> Rotate(90).apply(x, {"angle": torch.tensor([90.0])}).round(decimals=4)
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    def __init__(self, degrees: float, *, fill: float = 0.0, padding: Padding = "fill") -> None:
        super().__init__(fill=fill, padding=padding)
        self.degrees = magnitude("Rotate", degrees)

    @property
    def token(self) -> str | None:
        """Such as `rotate15`."""
        return self._word("rotate", self.degrees)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"angle": uniform(n, generator, low=-self.degrees, high=self.degrees, device=device)}

    def _matrix(self, params: Params) -> Tensor:
        return rotation(params["angle"])

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.degrees) + self._options()


class Scale(_Warp):
    """Enlarge or shrink the image about its centre by a factor uniform on `[1 − amount, 1 + amount]`.

    Bilinear, the same in both axes. Parameter `factor (n,)`: above 1 the content grows.

    Args:
        amount: Largest change of the factor, below 1.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0]]]])
    >>> Scale(0.5).apply(x, {"factor": torch.tensor([0.5])}).sum() < x.sum() + 1e-6
    tensor(True)
    """

    def __init__(self, amount: float, *, fill: float = 0.0, padding: Padding = "fill") -> None:
        super().__init__(fill=fill, padding=padding)
        if not 0 <= amount < 1:
            raise InputError(f"Scale expected an amount of 0 or more and below 1 but found {amount!r}.")
        self.amount = amount

    @property
    def token(self) -> str | None:
        """Such as `scale0.2`."""
        return self._word("scale", self.amount)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"factor": uniform(n, generator, low=1 - self.amount, high=1 + self.amount, device=device)}

    def _matrix(self, params: Params) -> Tensor:
        return scaling(params["factor"])

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.amount) + self._options()


class Shear(_Warp):
    """Slide the rows of the image sideways, by an angle uniform on `[−degrees, degrees]`.

    Bilinear. Parameter `angle (n,)`: degrees; the row `y` below the centre is read `tan(angle) · y` further
    right, so that a positive angle moves the top of the content to the right.

    Args:
        degrees: Largest angle, below 90.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> x = torch.eye(3)[None, None]
    >>> Shear(45).apply(x, {"angle": torch.tensor([45.0])}).round(decimals=4).abs()
    tensor([[[[0., 1., 0.],
              [0., 1., 0.],
              [0., 1., 0.]]]])
    """

    def __init__(self, degrees: float, *, fill: float = 0.0, padding: Padding = "fill") -> None:
        super().__init__(fill=fill, padding=padding)
        if not 0 <= degrees < 90:
            raise InputError(f"Shear expected degrees of 0 or more and below 90 but found {degrees!r}.")
        self.degrees = degrees

    @property
    def token(self) -> str | None:
        """Such as `shear10`."""
        return self._word("shear", self.degrees)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"angle": uniform(n, generator, low=-self.degrees, high=self.degrees, device=device)}

    def _matrix(self, params: Params) -> Tensor:
        return shearing(slope(params["angle"]))

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.degrees) + self._options()


class Affine(_Warp):
    """Shear, scale, rotate and translate, in this order, in *one* interpolation.

    Not the same as `Shear | Scale | Rotate | Translate`, which interpolates four times: sharper at the same
    strength and cheaper. Parameters as in those four, the shear's called `shear`.

    Args:
        degrees: Largest rotation.
        pixels: Largest displacement.
        scale: Largest change of the scale factor.
        shear: Largest angle of shear, in degrees.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> sorted(Affine(degrees=15, pixels=2).draw(1))
    ['angle', 'factor', 'shear', 'shift']
    """

    def __init__(
        self,
        *,
        degrees: float = 0.0,
        pixels: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        fill: float = 0.0,
        padding: Padding = "fill",
    ) -> None:
        super().__init__(fill=fill, padding=padding)
        self.rotate, self.translate = Rotate(degrees), Translate(pixels)
        self.scale, self.shear = Scale(scale), Shear(shear)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        rest = (self.rotate, self.translate, self.scale)
        params = {"shear": self.shear.draw(n, generator=generator, device=device)["angle"]}
        for policy in rest:
            params |= policy.draw(n, generator=generator, device=device)
        return params

    def _matrix(self, params: Params) -> Tensor:
        matrix = chain(shearing(slope(params["shear"])), scaling(params["factor"]))
        return chain(chain(matrix, rotation(params["angle"])), translation(params["shift"]))

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"degrees={self.rotate.degrees}, pixels={self.translate.pixels}, "
            f"scale={self.scale.amount}, shear={self.shear.degrees}{self._options()}"
        )


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
    """Pad all round and crop back at a random place: a shift by whole pixels, `−padding … padding`, uniform.

    Exact: pixels are copied. Parameter `shift (n, 2)`, int64: how far the content moves (right, down).

    Args:
        padding: Pixels of padding on each side.
        fill: Value of the padding.

    >>> RandomCrop(1).apply(torch.tensor([[[[1.0, 2.0, 3.0]]]]), {"shift": torch.tensor([[1, 0]])})
    tensor([[[[0., 1., 2.]]]])
    """

    linear = True

    def __init__(self, padding: int, *, fill: float = 0.0) -> None:
        super().__init__()
        if padding < 0 or padding != int(padding):
            raise InputError(f"RandomCrop expected a padding of 0 or more whole pixels but found {padding!r}.")
        self.padding = int(padding)
        self.fill = magnitude("The fill of a policy", fill, 1)

    @property
    def token(self) -> str | None:
        """Such as `crop4`."""
        return None if self.fill else f"crop{self.padding}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"shift": integers((n, 2), 2 * self.padding + 1, generator, device=device) - self.padding}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        matrix = translation(params["shift"].to(x.dtype))
        return warp(x, matrix, fill=self.fill, mode="nearest")

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.padding}" + (f", fill={self.fill}" if self.fill else "")


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

    def __init__(self, size: int, *, fill: float = 0.0) -> None:
        super().__init__()
        if size < 0 or size != int(size):
            raise InputError(f"Cutout expected a side of 0 or more whole pixels but found {size!r}.")
        self.size = int(size)
        self.fill = magnitude("The fill of a policy", fill, 1)

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
        return y + erased * self.fill if self.fill else y

    def _pixel(self, share: Tensor, length: int) -> Tensor:
        return (share * length).long().clamp_(max=length - 1)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}" + (f", fill={self.fill}" if self.fill else "")
