"""Operators on 8-bit levels: posterized, solarized, stretched, equalised.

Images of [0, 1] stand for the levels `round(255 · value)`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, magnitude, number, per_image
from auglean.randomness import Randomness, integers, uniform

Device = torch.device | str | None
Rounding = Literal["nearest", "floor"]


def posterize(x: Tensor, bits: Tensor, *, rounding: Rounding = "nearest") -> Tensor:
    """Keep the highest `bits (B,)` of the 8-bit levels. The gradient is zero.

    With `rounding="floor"` levels are `⌊255 · value⌋` instead, and eight bits change nothing, as kornia has it.

    >>> (posterize(torch.full((1, 1, 1, 1), 200 / 255), torch.tensor([1])) * 255).item()
    128.0
    """
    step = per_image(2.0 ** (8 - bits.double()), x)
    if rounding == "nearest":
        return ((x * 255).round() / step).floor() * step / 255
    return torch.where(step == 1, x, ((x * 255).floor() / step).floor() * step / 255)


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


def equalize(x: Tensor, *, rounding: Rounding = "nearest") -> Tensor:
    """Equalise the histogram of the 8-bit levels of each channel. The gradient is zero.

    As the Python Imaging Library: with step = (pixels − pixels of the highest level) // 255, level v goes to
    (step // 2 + pixels below v) // step, at most 255; a step of zero changes nothing. With `rounding="floor"`
    values are cut into 256 bins of equal width instead, and a step of zero leaves their levels, as torchvision does.

    >>> (equalize(torch.tensor([[[[0.0, 0.2, 0.2, 0.4]]]])) * 255).shape
    torch.Size([1, 1, 1, 4])
    """
    b, c, h, w = x.shape
    scaled = (x * 255).round() if rounding == "nearest" else (x * (256 - 1e-3)).floor()
    level = scaled.clamp(0, 255).long().flatten(2)  # (B, C, HW)
    plane = torch.arange(b * c, device=x.device).view(b, c, 1) * 256
    histogram = torch.bincount((level + plane).flatten(), minlength=b * c * 256).view(b, c, 256)
    highest = histogram.gather(2, level.amax(2, keepdim=True))  # (B, C, 1)
    step = (h * w - highest) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)  # (B, C, 256)
    y = table.gather(2, level).view_as(x).to(x.dtype) / 255
    same = x if rounding == "nearest" else level.view_as(x).to(x.dtype) / 255
    return torch.lerp(y, same, (step == 0)[..., None].to(x.dtype))


def _checked(rounding: Rounding) -> Rounding:
    if rounding not in get_args(Rounding):
        raise unknown("rounding", rounding, get_args(Rounding))
    return rounding


def _option(rounding: Rounding) -> str:
    return "" if rounding == "nearest" else f", rounding={rounding!r}"


class Posterize(Policy):
    """Keep the highest bits of each 8-bit level, their number uniform on `{bits … 8}`. Parameter `bits (n,)`.

    Args:
        bits: Fewest bits kept, 1 to 8; or (fewest, most), from 0.
        rounding: How values become levels: `"nearest"`, or `"floor"` as kornia does it.

    >>> Posterize(4).name
    'posterize4'
    """

    def __init__(self, bits: int | tuple[int, int], *, rounding: Rounding = "nearest") -> None:
        super().__init__()
        self.rounding = _checked(rounding)
        least, most = bits if isinstance(bits, tuple) else (bits, 8)
        if least not in range(0 if isinstance(bits, tuple) else 1, 9) or most not in range(least, 9):
            raise InputError(f"Posterize expected a number of bits from 1 to 8, or a pair, but found {bits!r}.")
        self.bits = (int(least), int(most))

    @property
    def token(self) -> str | None:
        """Such as `posterize4`."""
        least, most = self.bits
        return f"posterize{least}" if most == 8 and least > 0 and self.rounding == "nearest" else None

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        least, most = self.bits
        return {"bits": least + integers(n, most - least + 1, generator, device=device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return posterize(x, params["bits"], rounding=self.rounding)

    def extra_repr(self) -> str:
        """The arguments."""
        return str(self.bits[0]) if self.token else f"{self.bits}{_option(self.rounding)}"


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

    Args:
        rounding: How values become levels: `"nearest"`, or `"floor"` as torchvision does it.

    >>> Equalize().name
    'equalize'
    """

    def __init__(self, *, rounding: Rounding = "nearest") -> None:
        super().__init__()
        self.rounding = _checked(rounding)

    @property
    def token(self) -> str | None:
        """The word `equalize`."""
        return "equalize" if self.rounding == "nearest" else None

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return equalize(x, rounding=self.rounding)

    def extra_repr(self) -> str:
        """The arguments."""
        return _option(self.rounding).removeprefix(", ")
