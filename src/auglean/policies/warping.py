"""How images are sampled: one interpolation where an affine map sends the pixels, and what is outside.

Conventions (`docs/conventions.md`): positions are pixel centres; the centre of the image, about which it
turns, scales and shears, is `((W − 1)/2, (H − 1)/2)`; x runs right and y runs down; the world outside
the image has the value `fill`, so that bilinear interpolation fades into it over one pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, magnitude, number

Padding = Literal["fill", "masked", "border", "reflection", "circular"]
Interpolation = Literal["bilinear", "nearest"]
#: A colour: one value for all channels, or one for each.
Fill = float | tuple[float, ...]


class Options(TypedDict, total=False):
    """How pixels are sampled.

    Attributes:
        fill: Value of the world outside, from 0 to 1, or one for each channel: 0 if not given.
        padding: What is outside, as `warp` has it: `"fill"` if not given.
        interpolation: `"bilinear"` if not given, or `"nearest"`.
        centre: The fixed point (x, y) of what turns, scales or shears, in pixels from the centre of the first one: the
            centre of the image if not given.
    """

    fill: Fill
    padding: Padding
    interpolation: Interpolation
    centre: tuple[float, float] | None


PADDINGS = {"fill": "zeros", "masked": "zeros", "border": "border", "reflection": "reflection", "circular": "border"}


def warp(
    x: Tensor,
    matrix: Tensor,
    *,
    fill: Fill = 0.0,
    padding: Padding = "fill",
    mode: str = "bilinear",
    margin: tuple[int, int] = (0, 0),
) -> Tensor:
    """Sample each image where an affine map sends the pixel centres.

    Args:
        x: Images. Shape `(B, C, H, W)`.
        matrix: For each image, output position to source position, both (x, y) in pixels from the centre of
            the image. Shape `(B, 2, 3)`.
        fill: Value of the world outside, with `padding="fill"` or `"masked"`; one, or one for each channel.
        padding: `"fill"`; `"masked"`, where the interpolated value fades by its share of the image once more, as
            torchvision has it (see below); `"border"` (the nearest edge pixel), `"reflection"` (mirrored, edge pixel
            included) or `"circular"` (periodic).
        mode: `"bilinear"` or `"nearest"`.
        margin: How many pixels of the world (above and below, left and right) are shown around the image.

    Returns:
        Images of the same shape, and larger by twice the margin. Affine in `x`: with M the sampler, `M 1` the share of
        the image in each pixel and f the fill, `"fill"` is `M x + (1 − M 1) f` and `"masked"` is
        `M 1 ∘ (M x − f) + f`. They agree where shares are 0 or 1, as those of nearest pixels are.

    >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> warp(x, torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]))  # half a pixel further right
    tensor([[[[1.5000, 2.5000, 1.5000]]]])
    """
    _, _, h, w = x.shape
    matrix = matrix.to(x.dtype)
    down, across = margin
    column = torch.arange(-across, w + across, dtype=x.dtype, device=x.device) - (w - 1) / 2
    row = torch.arange(-down, h + down, dtype=x.dtype, device=x.device) - (h - 1) / 2
    sizes = x.new_tensor([w, h])[:, None]
    if padding != "circular":
        matrix = matrix * (2 / sizes)
    # elementwise, not by a matrix product, whose rounding may depend on the batch
    a, b, shift = matrix[..., None].unbind(2)  # (n, 2, 1) each
    if padding == "circular":  # wrapped here, and the image extended by its first row and column
        source = (a * column)[:, :, None] + (b * row + shift + (sizes - 1) / 2)[..., None]
        grid = (source.remainder(sizes[..., None]) + 0.5) * (2 / (sizes[..., None] + 1)) - 1
    else:
        grid = (a * column)[:, :, None] + (b * row + shift)[..., None]
    grid = grid.permute(0, 2, 3, 1)  # (n, 2, H, W) as it was made, which is what samplers read fastest
    return sample(x, grid, fill=fill, padding=padding, mode=mode)


def sample(x: Tensor, grid: Tensor, *, fill: Fill, padding: Padding, mode: str) -> Tensor:
    """Sample at the positions of `torch.nn.functional.grid_sample`, with what is outside as `warp` has it."""
    if padding == "circular":
        x = F.pad(x, (0, 1, 0, 1), mode="circular")
    y = F.grid_sample(x, grid, mode, PADDINGS[padding], align_corners=False)
    masked = padding == "masked" and mode != "nearest"  # shares of 0 and 1 are what they are, however often they count
    if masked or (fill and padding in ("fill", "masked")):
        inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, mode, "zeros", align_corners=False)
        value = colour(fill, x)
        y = inside * (y - value) + value if masked else y + (1 - inside) * value
    return y


def colour(fill: Fill, x: Tensor) -> Tensor | float:
    """Bring a fill to `(C, 1, 1)` where it has a value for each channel.

    Raises:
        InputError: If the image has another number of channels.
    """
    if not isinstance(fill, tuple):
        return fill
    if len(fill) != x.shape[1]:
        raise InputError(f"A fill of {len(fill)} values needs as many channels but found {x.shape[1]}; give one value.")
    return x.new_tensor(fill)[:, None, None]


def outside(place: Tensor, n: int, padding: str) -> Tensor:
    """Which of n pixels stands at a place of the world: for `"border"`, `"reflection"`, `"mirror"` and `"circular"`.

    >>> [outside(torch.arange(-2, 5), 3, p).tolist() for p in ("border", "reflection", "mirror", "circular")]
    [[0, 0, 0, 1, 2, 2, 2], [1, 0, 0, 1, 2, 2, 1], [2, 1, 0, 1, 2, 1, 0], [1, 2, 0, 1, 2, 0, 1]]
    """
    if padding == "circular":
        return place % n
    if padding == "reflection":  # the edge pixel is repeated
        place = place % (2 * n)
        return torch.minimum(place, 2 * n - 1 - place)
    if padding == "mirror":  # it is not
        place = place % max(2 * n - 2, 1)
        return torch.minimum(place, 2 * n - 2 - place)
    return place.clamp(0, n - 1)


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


def about(matrix: Tensor, x: float, y: float) -> Tensor:
    """Do what a source map does about another point, at (x, y) from the centre of the image."""
    point = matrix.new_tensor([[x, y]])
    return chain(chain(translation(-point), matrix), translation(point))


def span(kind: str, value: float | Sequence[float], high: float = float("inf")) -> tuple[float, float]:
    """Read a largest magnitude as the range on both sides of zero, or a range (low, high) as it is.

    >>> span("Rotate", 15), span("Rotate", (0, 30))
    ((-15, 15), (0, 30))
    """
    if not isinstance(value, Sequence):
        return -magnitude(kind, value, high), value
    if len(value) != 2 or not -high <= value[0] <= value[1] <= high or float("inf") in map(abs, value):
        raise InputError(f"{kind} expected a magnitude or a range (low, high) but found {value!r}.")
    return value[0], value[1]


def checked_fill(fill: Fill | Sequence[float]) -> Fill:
    """Check that a fill lies in [0, 1]."""
    if isinstance(fill, Sequence):
        return tuple(magnitude("The fill of a policy", float(value), 1) for value in fill)
    return magnitude("The fill of a policy", fill, 1)


def check_size(policy: Policy, size: tuple[int, int] | None, x: Tensor) -> None:
    """Refuse images of another size (height, width) than a policy is for, if it is for one."""
    if size and size != x.shape[2:]:
        raise InputError(
            f"{policy!r} expected images of {size[0]}×{size[1]} but found {x.shape[2]}×{x.shape[3]}: "
            "a policy keeps the size of the image; resize the images first."
        )


class Warp(Policy):
    """What the interpolating policies share: options, and one `warp` by the subclass' matrix."""

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__()
        self.fill = checked_fill(options.get("fill", 0.0))
        self.padding: Padding = options.get("padding", "fill")
        self.interpolation: Interpolation = options.get("interpolation", "bilinear")
        self.centre = options.get("centre")
        if self.padding not in PADDINGS:
            raise unknown("padding", self.padding, PADDINGS)
        if self.interpolation not in ("bilinear", "nearest"):
            raise unknown("interpolation", self.interpolation, ["bilinear", "nearest"])
        self.linear = True

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        """Source maps about the centre of images of a size. `(n, 2, 3)`."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return False

    @property
    def options(self) -> Options:
        """The options, for another policy of the same ones."""
        return {
            "fill": self.fill,
            "padding": self.padding,
            "interpolation": self.interpolation,
            "centre": self.centre,
        }

    def matrix(self, params: Params, height: int, width: int) -> Tensor:
        """Source maps, as `warp` takes them, of images of a size. `(n, 2, 3)`."""
        found = self._matrix(params, height, width)
        if self.centre is None:
            return found
        return about(found, self.centre[0] - (width - 1) / 2, self.centre[1] - (height - 1) / 2)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        matrix = self.matrix(params, x.shape[2], x.shape[3])
        return warp(x, matrix, fill=self.fill, padding=self.padding, mode=self.interpolation)

    def _options(self) -> str:
        usual: Options = {"fill": 0.0, "padding": "fill", "interpolation": "bilinear", "centre": None}
        return "".join(f", {name}={value!r}" for name, value in self.options.items() if value != usual.get(name))

    def _word(self, word: str, value: float | Sequence[float]) -> str | None:
        return None if self._options() or isinstance(value, Sequence) else word + number(value)
