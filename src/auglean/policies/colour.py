"""Operators that change values in place: blends with a degenerate image, and maps of 8-bit levels.

Brightness, contrast, saturation and sharpness are the four enhancers of the Python Imaging Library: with a
factor f, `f · image + (1 − f) · degenerate` (Haeberli & Voorhies 1994), the degenerate image being black, the
mean grey, the grey image and the smoothed image. Grey is `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601). Images
of one channel are grey already. Images of [0, 1] stand for 8-bit levels `round(255 · value)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy, magnitude, number, per_image
from auglean.randomness import Randomness, integers, uniform

Device = torch.device | str | None
_GREY = (0.299, 0.587, 0.114)


def _check_channels(x: Tensor) -> None:
    if x.shape[1] not in (1, 3):
        raise InputError(f"Grey needs 1 or 3 channels but the images have shape {tuple(x.shape)}.")


def grey(x: Tensor) -> Tensor:
    """Weigh the channels to luma. `(B, C, H, W)` to `(B, 1, H, W)`.

    >>> grey(torch.ones(1, 3, 1, 1)).item()
    1.0
    """
    _check_channels(x)
    if x.shape[1] == 1:
        return x
    red, green, blue = (x[:, i : i + 1] * weight for i, weight in enumerate(_GREY))
    return red + green + blue


def mean_grey(x: Tensor) -> Tensor:
    """Mean luma of each image. `(B, C, H, W)` to `(B, 1, 1, 1)`."""
    _check_channels(x)
    means = x.flatten(2).mean(2, dtype=torch.float64)  # (B, C); float64 hides the order of the sum
    weights = torch.tensor(_GREY if x.shape[1] == 3 else [1.0], dtype=torch.float64, device=x.device)
    return per_image((means * weights).sum(1), x)


def smooth(x: Tensor) -> Tensor:
    """Smooth by the 3 × 3 kernel (1 1 1, 1 5 1, 1 1 1) / 13, leaving the outermost ring as it is."""
    if min(x.shape[2:]) < 3:
        return x
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    y = x.clone()
    y[:, :, 1:-1, 1:-1] = (box + 4 * x[:, :, 1:-1, 1:-1]) * (1 / 13)
    return y


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits (B,)` of the 8-bit levels. The gradient is zero.

    >>> (posterize(torch.full((1, 1, 1, 1), 200 / 255), torch.tensor([1])) * 255).item()
    128.0
    """
    step = per_image(2.0 ** (8 - bits.double()), x)
    return ((x * 255).round() / step).floor() * step / 255


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values whose 8-bit level is `threshold (B,)` or more.

    >>> solarize(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([128]))
    tensor([[[[0.2500, 0.2500]]]])
    """
    inverted = (x.detach() * 255).round_().sub_(per_image(threshold, x)).ge_(0)
    return torch.lerp(x, 1 - x, inverted)  # weights 0 and 1 choose exactly, several times faster than `where`


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel to [0, 1]; a constant channel stays.

    >>> autocontrast(torch.tensor([[[[0.25, 0.5, 0.75]]]]))
    tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high <= low
    y = ((x - low) / torch.where(flat, 1.0, high - low)).clamp(0, 1)
    return torch.lerp(y, x, flat.to(x.dtype))


def equalize(x: Tensor) -> Tensor:
    """Equalise the histogram of the 8-bit levels of each channel. The gradient is zero.

    As the Python Imaging Library: with step = (pixels − pixels of the highest level) // 255, level v goes to
    (step // 2 + pixels below v) // step, at most 255; a step of zero changes nothing.

    >>> (equalize(torch.tensor([[[[0.0, 0.2, 0.2, 0.4]]]])) * 255).shape
    torch.Size([1, 1, 1, 4])
    """
    b, c, h, w = x.shape
    level = (x * 255).round().clamp(0, 255).long().flatten(2)  # (B, C, HW)
    plane = torch.arange(b * c, device=x.device).view(b, c, 1) * 256
    histogram = torch.bincount((level + plane).flatten(), minlength=b * c * 256).view(b, c, 256)
    highest = histogram.gather(2, level.amax(2, keepdim=True))  # (B, C, 1)
    step = (h * w - highest) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)  # (B, C, 256)
    y = table.gather(2, level).view_as(x).to(x.dtype) / 255
    return torch.lerp(y, x, (step == 0)[..., None].to(x.dtype))


class _Enhance(Policy):
    """What the four enhancers share: a factor per image, uniform on `[max(0, 1 − amount), 1 + amount]`."""

    word = ""

    def __init__(self, amount: float, *, clamp: bool = True) -> None:
        super().__init__()
        self.amount = magnitude(type(self).__name__, amount)
        self.clamp = clamp
        self.linear = not clamp

    @property
    def token(self) -> str | None:
        """The word and the amount, such as `contrast0.4`."""
        return self.word + number(self.amount) if self.clamp else None

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        low = max(0.0, 1 - self.amount)
        return {"factor": uniform(n, generator, low=low, high=1 + self.amount, device=device)}

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

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.amount) + ("" if self.clamp else ", clamp=False")


class Brightness(_Enhance):
    """Multiply by a factor uniform on `[max(0, 1 − amount), 1 + amount]`. Parameter `factor (n,)`.

    Args:
        amount: Largest change of the factor.
        clamp: Keep the result in [0, 1]; without it the operator is linear in the image.

    >>> Brightness(0.5).apply(torch.full((1, 1, 1, 1), 0.5), {"factor": torch.tensor([1.5])}).item()
    0.75
    """

    word = "brightness"

    def _degenerate(self, x: Tensor) -> None:
        return None


class Contrast(_Enhance):
    """Blend with the mean grey of the image: `f x + (1 − f) · mean grey`. Law and options of `Brightness`.

    >>> x = torch.tensor([[[[0.25, 0.75]]]])
    >>> Contrast(0.5).apply(x, {"factor": torch.tensor([0.5])})
    tensor([[[[0.3750, 0.6250]]]])
    """

    word = "contrast"

    def _degenerate(self, x: Tensor) -> Tensor:
        return mean_grey(x)


class Saturation(_Enhance):
    """Blend with the grey image: `f x + (1 − f) · grey(x)`; `Color` in other libraries.

    Law and options of `Brightness`. Nothing happens to images of one channel.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> Saturation(1).apply(x, {"factor": torch.tensor([0.0])}).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    word = "saturation"

    def _degenerate(self, x: Tensor) -> Tensor:
        return grey(x)


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


class Posterize(Policy):
    """Keep the highest bits of each 8-bit level, their number uniform on `{bits … 8}`. Parameter `bits (n,)`.

    Args:
        bits: Fewest bits kept, 1 to 8.

    >>> Posterize(4).name
    'posterize4'
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if bits not in range(1, 9):
            raise InputError(f"Posterize expected a number of bits from 1 to 8 but found {bits!r}.")
        self.bits = int(bits)

    @property
    def token(self) -> str:
        """Such as `posterize4`."""
        return f"posterize{self.bits}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"bits": self.bits + integers(n, 9 - self.bits, generator, device=device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return posterize(x, params["bits"])

    def extra_repr(self) -> str:
        """The argument."""
        return str(self.bits)


class Solarize(Policy):
    """Invert the values from a threshold on. Parameter `threshold (n,)`.

    The threshold is an 8-bit level, uniform on `[256 (1 − amount), 256]`; at 256 not even white is inverted.

    Args:
        amount: Largest width of the band that is inverted, 0 to 1.

    >>> Solarize(0.5).name
    'solarize0.5'
    """

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = magnitude("Solarize", amount, 1)

    @property
    def token(self) -> str:
        """Such as `solarize0.5`."""
        return "solarize" + number(self.amount)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"threshold": 256 - uniform(n, generator, high=256 * self.amount, device=device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return solarize(x, params["threshold"])

    def extra_repr(self) -> str:
        """The argument."""
        return number(self.amount)


class AutoContrast(Policy):
    """Stretch each channel of each image to [0, 1]. No parameters; see `sometimes`.

    >>> AutoContrast().draw(3)
    {}
    """

    @property
    def token(self) -> str:
        """The word `autocontrast`."""
        return "autocontrast"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return autocontrast(x)


class Equalize(Policy):
    """Equalise the histogram of each channel of each image. No parameters; see `sometimes`.

    >>> Equalize().name
    'equalize'
    """

    @property
    def token(self) -> str:
        """The word `equalize`."""
        return "equalize"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return equalize(x)
