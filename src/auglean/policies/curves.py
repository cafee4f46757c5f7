"""Operators on values as they are, each value by itself: kept in range, inverted, quantised, solarised, bent."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy, per_image
from auglean.policies.colour import Range, between, interval, written
from auglean.randomness import Randomness

Device = torch.device | str | None


class _Certain(Policy):
    """What draws nothing; see `sometimes`."""

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {}


class Clamp(_Certain):
    """Cut values off at 0 and 1, as some libraries do before they change colours. No parameters.

    >>> Clamp().apply(torch.tensor([[[[-0.5, 0.25, 1.5]]]]), {})
    tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return x.clamp(0, 1)


class Invert(_Certain):
    """Turn every value v into 1 − v. No parameters. Affine.

    >>> Invert().apply(torch.tensor([[[[0.25, 1.0]]]]), {})
    tensor([[[[0.7500, 0.0000]]]])
    """

    linear = True

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return 1 - x


class Quantize(_Certain):
    """Round values down to multiples of `2^−bits`, at most `1 − 2^−bits`: how torchvision posterizes float images.

    No parameters. The gradient is zero. `Posterize` works on 8-bit levels instead.

    Args:
        bits: 0 to 8.

    >>> Quantize(1).apply(torch.tensor([[[[0.25, 0.75, 1.0]]]]), {})
    tensor([[[[0.0000, 0.5000, 0.5000]]]])
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if bits not in range(9):
            raise InputError(f"Quantize expected a number of bits from 0 to 8 but found {bits!r}.")
        self.bits = int(bits)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        count: int = 2**self.bits
        return (x * count).floor().clamp(0, count - 1) * (1 / count)

    def extra_repr(self) -> str:
        """The argument."""
        return str(self.bits)


class SolarizeAbove(Policy):
    """Add a number, keep the result in [0, 1], and invert what is not below a threshold; both uniform on ranges.

    How kornia solarises; without an addition, how torchvision does. `Solarize` works on 8-bit levels instead.
    Parameters `threshold (n,)` and `addition (n,)`.

    Args:
        threshold: A pair, or one number for certain.
        addition: A pair, or one number for certain.

    >>> SolarizeAbove(0.5).apply(torch.tensor([[[[0.25, 0.75]]]]), SolarizeAbove(0.5).draw(1))
    tensor([[[[0.2500, 0.2500]]]])
    """

    def __init__(self, threshold: Range, *, addition: Range = 0.0) -> None:
        super().__init__()
        both = (value if isinstance(value, tuple) else (value, value) for value in (threshold, addition))
        self.threshold, self.addition = (
            interval("SolarizeAbove", pair, low=low) for pair, low in zip(both, (0.0, -1.0), strict=True)
        )

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {
            "threshold": between(*self.threshold, n, generator, device),
            "addition": between(*self.addition, n, generator, device),
        }

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        y = (x + per_image(params["addition"], x)).clamp(0, 1) if any(self.addition) else x
        return torch.where(y < per_image(params["threshold"], x), y, 1 - y)

    def extra_repr(self) -> str:
        """The arguments."""
        return written(self.threshold) + (f", addition={written(self.addition)}" if any(self.addition) else "")


class Gamma(Policy):
    """Raise values to a power and multiply them, both uniform on ranges, kept in [0, 1].

    Parameters `gamma (n,)` and `gain (n,)`. Values below zero are taken for zero.

    Args:
        gamma: Range of the power.
        gain: Range of the factor.

    >>> x = torch.tensor([[[[0.5, 1.0]]]])
    >>> Gamma((1.0, 3.0)).apply(x, {"gamma": torch.tensor([2.0]), "gain": torch.tensor([1.0])})
    tensor([[[[0.2500, 1.0000]]]])
    """

    def __init__(self, gamma: tuple[float, float], *, gain: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__()
        self.gamma, self.gain = interval("Gamma", gamma), interval("Gamma", gain)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {
            "gamma": between(*self.gamma, n, generator, device),
            "gain": between(*self.gain, n, generator, device),
        }

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        y = x.clamp(min=0).pow(per_image(params["gamma"], x)) * per_image(params["gain"], x)
        return y.clamp(0, 1)

    def extra_repr(self) -> str:
        """The arguments."""
        return written(self.gamma) + ("" if self.gain == (1.0, 1.0) else f", gain={written(self.gain)}")
