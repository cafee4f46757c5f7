"""Operators that move every value along a line: blends with a degenerate image, and additive brightness.

Brightness, contrast, saturation and sharpness are the four enhancers of the Python Imaging Library: with a
factor f, `f · image + (1 − f) · degenerate` (Haeberli & Voorhies 1994), the degenerate image being black, the
mean grey, the grey image and the smoothed image. Grey is `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601); other
libraries round the weights otherwise, see `TORCHVISION_GREY`. Images of one channel are grey already.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy, magnitude, number, per_image
from auglean.randomness import Randomness, uniform

Device = torch.device | str | None
Range = float | tuple[float, float]
Weights = tuple[float, ...]

#: Weights of red, green and blue in luma (ITU-R BT.601), and as torchvision rounds them: they sum to 0.9999.
BT601: Weights = (0.299, 0.587, 0.114)
TORCHVISION_GREY: Weights = (0.2989, 0.587, 0.114)


def interval(
    kind: str, value: Range, *, centre: float = 0.0, low: float = 0.0, high: float = float("inf")
) -> tuple[float, float]:
    """Read a range: a number is the largest change from the centre, cut off at `low`; a pair is the range itself.

    >>> interval("contrast", 1.5, centre=1.0), interval("contrast", (0.5, 2.0), centre=1.0)
    ((0.0, 2.5), (0.5, 2.0))
    """
    if isinstance(value, tuple):
        ends = value
    else:
        change = magnitude(kind, value)
        ends = (max(low, centre - change), centre + change)
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high or ends[1] == float("inf"):
        raise InputError(f"{kind} expected two numbers, ascending, from {low:g} to {high:g}, but found {value!r}.")
    return float(ends[0]), float(ends[1])


def between(low: float, high: float, n: int, generator: Randomness, device: Device) -> Tensor:
    """Draw from a range; where it is one number, give that in full precision, as values may be compared with it."""
    drawn = uniform(n, generator, low=low, high=high, device=device)
    return torch.full_like(drawn, low, dtype=torch.float64) if low == high else drawn


def written(value: Range) -> str:
    """Write a range as it was given."""
    return f"({', '.join(map(number, value))})" if isinstance(value, tuple) else number(value)


def _check_channels(x: Tensor, weights: Weights) -> None:
    if x.shape[1] not in (1, len(weights)):
        raise InputError(f"Grey needs 1 or {len(weights)} channels but the images have shape {tuple(x.shape)}.")


def grey(x: Tensor, weights: Weights = BT601) -> Tensor:
    """Weigh the channels to luma. `(B, C, H, W)` to `(B, 1, H, W)`.

    >>> grey(torch.ones(1, 3, 1, 1)).item()
    1.0
    """
    _check_channels(x, weights)
    if x.shape[1] == 1:
        return x
    first, *rest = (x[:, i : i + 1] * weight for i, weight in enumerate(weights))
    return sum(rest, first)


def mean_grey(x: Tensor, weights: Weights = BT601) -> Tensor:
    """Mean luma of each image. `(B, C, H, W)` to `(B, 1, 1, 1)`."""
    _check_channels(x, weights)
    means = x.flatten(2).mean(2, dtype=torch.float64)  # (B, C); float64 hides the order of the sum
    share = torch.tensor(weights if x.shape[1] > 1 else [1.0], dtype=torch.float64, device=x.device)
    return per_image((means * share).sum(1), x)


def smooth(x: Tensor) -> Tensor:
    """Smooth by the 3 × 3 kernel (1 1 1, 1 5 1, 1 1 1) / 13, leaving the outermost ring as it is."""
    if min(x.shape[2:]) < 3:
        return x
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    y = x.clone()
    y[:, :, 1:-1, 1:-1] = (box + 4 * x[:, :, 1:-1, 1:-1]) * (1 / 13)
    return y


class Line(Policy):
    """What moves every value along a line: `start + slope · factor`, the factor uniform on a range.

    Attributes:
        parameter: Name of the parameter.
        low: Least factor.
        high: Greatest factor.
        clamp: Whether the result is kept in [0, 1]; without it the operator is affine in the image.
    """

    parameter = "factor"
    low: float
    high: float
    clamp: bool

    def line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Start and slope of every value. Each of the shape of `x`, or broadcast to it."""
        raise NotImplementedError

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {self.parameter: between(self.low, self.high, n, generator, device)}


class _Enhance(Line):
    """What the four enhancers share: a factor per image, uniform on `[max(0, 1 − amount), 1 + amount]`."""

    word = ""

    def __init__(self, amount: Range, *, clamp: bool = True) -> None:
        super().__init__()
        self.amount = amount
        self.low, self.high = interval(type(self).__name__, amount, centre=1.0)
        self.clamp = clamp
        self.linear = not clamp

    @property
    def token(self) -> str | None:
        """The word and the amount, such as `contrast0.4`."""
        plain = self.word and self.clamp and not isinstance(self.amount, tuple) and not self._options()
        return self.word + number(self.amount) if plain else None  # type: ignore[arg-type]

    def line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Start and slope of every value."""
        other = self._degenerate(x)
        start = torch.zeros_like(x) if other is None else other
        return start, x - start

    def _degenerate(self, x: Tensor) -> Tensor | None:
        """The image that factor 0 gives; `None` stands for black."""
        raise NotImplementedError

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        factor, other = per_image(params["factor"], x), self._degenerate(x)
        if other is x:
            return x
        # products and sums of their own: a fused `lerp` may round otherwise at the end of a batch
        y = factor * x if other is None else factor * x + (1 - factor) * other
        return y.clamp(0, 1) if self.clamp else y

    def _options(self) -> str:
        return "" if self.clamp else ", clamp=False"

    def extra_repr(self) -> str:
        """The arguments."""
        return written(self.amount) + self._options()


class _GreyEnhance(_Enhance):
    """An enhancer whose degenerate image is grey."""

    def __init__(self, amount: Range, *, clamp: bool = True, weights: Weights = BT601) -> None:
        super().__init__(amount, clamp=clamp)
        self.weights = tuple(weights)

    def _options(self) -> str:
        return super()._options() + ("" if self.weights == BT601 else f", weights={self.weights}")


class Brightness(_Enhance):
    """Multiply by a factor uniform on `[max(0, 1 − amount), 1 + amount]`. Parameter `factor (n,)`.

    Args:
        amount: Largest change of the factor, or the range of the factor as a pair.
        clamp: Keep the result in [0, 1]; without it the operator is linear in the image.

    >>> Brightness(0.5).apply(torch.full((1, 1, 1, 1), 0.5), {"factor": torch.tensor([1.5])}).item()
    0.75
    """

    word = "brightness"

    def _degenerate(self, x: Tensor) -> None:
        return None


class Contrast(_GreyEnhance):
    """Blend with the mean grey of the image: `f x + (1 − f) · mean grey`. Law and options of `Brightness`.

    Args:
        amount: As in `Brightness`.
        clamp: As in `Brightness`.
        weights: Of the channels in grey.

    >>> x = torch.tensor([[[[0.25, 0.75]]]])
    >>> Contrast(0.5).apply(x, {"factor": torch.tensor([0.5])})
    tensor([[[[0.3750, 0.6250]]]])
    """

    word = "contrast"

    def _degenerate(self, x: Tensor) -> Tensor:
        return mean_grey(x, self.weights)


class Saturation(_GreyEnhance):
    """Blend with the grey image: `f x + (1 − f) · grey(x)`; `Color` in other libraries.

    Law and options of `Contrast`. Nothing happens to images of one channel.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> Saturation(1).apply(x, {"factor": torch.tensor([0.0])}).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    word = "saturation"

    def _degenerate(self, x: Tensor) -> Tensor:
        return grey(x, self.weights)


class Sharpness(_Enhance):
    """Blend with the smoothed image, or away from it: `f x + (1 − f) · smooth(x)`.

    Law and options of `Brightness`. The outermost ring of pixels does not change.

    >>> x = torch.zeros(1, 1, 3, 3)
    >>> x[..., 1, 1] = 1.0
    >>> round(13 * Sharpness(1).apply(x, {"factor": torch.tensor([0.0])})[0, 0, 1, 1].item(), 4)
    5.0
    """

    word = "sharpness"

    def _degenerate(self, x: Tensor) -> Tensor:
        return smooth(x)


class AddBrightness(Line):
    """Add the same number, uniform on a range, to every value; what kornia calls brightness. Parameter `offset (n,)`.

    Args:
        amount: Largest change, both signs, or the range of the number as a pair.
        clamp: Keep the result in [0, 1]; without it the operator is affine in the image.

    >>> AddBrightness(0.5).apply(torch.full((1, 1, 1, 1), 0.5), {"offset": torch.tensor([-0.25])}).item()
    0.25
    """

    parameter = "offset"

    def __init__(self, amount: Range, *, clamp: bool = True) -> None:
        super().__init__()
        self.amount = amount
        self.low, self.high = interval("AddBrightness", amount, low=float("-inf"))
        self.clamp = clamp
        self.linear = not clamp

    def line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Start and slope of every value."""
        return x, torch.ones_like(x)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        y = x + per_image(params["offset"], x)
        return y.clamp(0, 1) if self.clamp else y

    def extra_repr(self) -> str:
        """The arguments."""
        return written(self.amount) + ("" if self.clamp else ", clamp=False")


class Grayscale(Policy):
    """Put the grey image in every channel. No parameters; see `sometimes`. Linear.

    Args:
        weights: Of the channels.

    >>> Grayscale().apply(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), {}).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    linear = True

    def __init__(self, *, weights: Weights = BT601) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return x if x.shape[1] == 1 else grey(x, self.weights).repeat(1, x.shape[1], 1, 1)

    def extra_repr(self) -> str:
        """The arguments."""
        return "" if self.weights == BT601 else f"weights={self.weights}"
