"""Laws of one parameter, and the moments of the hat functions under them.

Bilinear interpolation of a displacement t mixes the integer shifts k by the hats `φ(t − k)`, `φ(s) = max(0, 1 − |s|)`.
All that the mean and the covariance ask of a law are `E φ(t − k)` and `E φ(t − k) φ(t − l)`, the mass matrix of
linear finite elements with the law's density; it is tridiagonal, and each unit cell adds to it through its moments
of order 0, 1 and 2 (Balestriero, Misra & LeCun 2022 sample the density at the pixels instead, which is not exact).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from auglean.errors import InputError

#: Where the normal law is cut, in standard deviations: what lies beyond is under the rounding of float64.
_CUT = 9.0


class Law(Protocol):
    """A law of one number on a bounded range."""

    @property
    def low(self) -> float:
        """Lower end of the range."""

    @property
    def high(self) -> float:
        """Upper end of the range."""

    def cell(self, k: int) -> tuple[float, float, float]:
        """Integrals of 1, t − k and (t − k)² over `[k, k + 1)`."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on `[low, high]`.

    >>> Uniform(-1.0, 1.0).cell(0)
    (0.5, 0.25, 0.16666666666666666)
    """

    low: float
    high: float

    def cell(self, k: int) -> tuple[float, float, float]:
        """Integrals of 1, t − k and (t − k)² over `[k, k + 1)`."""
        length = self.high - self.low
        if length == 0:
            return Discrete((self.low,), (1.0,)).cell(k)
        a, b = max(self.low - k, 0.0), min(self.high - k, 1.0)
        if b <= a:
            return 0.0, 0.0, 0.0
        return (b - a) / length, (b**2 - a**2) / (2 * length), (b**3 - a**3) / (3 * length)


@dataclass(frozen=True, slots=True)
class Discrete:
    """Finitely many values with their probabilities.

    Raises:
        InputError: If the probabilities do not fit.

    >>> Discrete((-1.0, 1.0), (0.5, 0.5)).cell(1)
    (0.5, 0.0, 0.0)
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        good = len(self.values) == len(self.weights) > 0 and min(self.weights) >= 0
        if not good or abs(sum(self.weights) - 1) > 1e-12:
            raise InputError(
                f"A discrete law expected one probability of 0 or more for each of {len(self.values)} values, one in "
                f"all, but found {self.weights}."
            )

    @property
    def low(self) -> float:
        """Lower end of the range."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Upper end of the range."""
        return max(self.values)

    def cell(self, k: int) -> tuple[float, float, float]:
        """Sums of 1, t − k and (t − k)² over the values in `[k, k + 1)`."""
        inside = [(t - k, w) for t, w in zip(self.values, self.weights, strict=True) if k <= t < k + 1]
        return sum(w for _, w in inside), sum(w * s for s, w in inside), sum(w * s * s for s, w in inside)


def integers_between(low: int, high: int) -> Discrete:
    """Uniform on the whole numbers `low … high`."""
    n = high - low + 1
    return Discrete(tuple(range(low, high + 1)), (1 / n,) * n)


def integers(most: int) -> Discrete:
    """Uniform on the whole numbers `−most … most`, the law of a random crop."""
    return integers_between(-most, most)


def rounded_uniform(half: float) -> Discrete:
    """Law of a number uniform on `[−half, half]` and rounded, as torchvision draws the translations of `RandomAffine`.

    >>> law = rounded_uniform(3.2)
    >>> [round(w, 6) for w in law.weights]
    [0.109375, 0.15625, 0.15625, 0.15625, 0.15625, 0.15625, 0.109375]
    """
    if half == 0:
        return Discrete((0.0,), (1.0,))
    most = math.floor(half + 0.5)
    lengths = [max(0.0, min(k + 0.5, half) - max(k - 0.5, -half)) for k in range(-most, most + 1)]
    total = sum(lengths)
    return Discrete(tuple(range(-most, most + 1)), tuple(length / total for length in lengths))


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with a mean and a standard deviation above zero, cut at nine of them.

    >>> round(sum(Normal(0.3, 0.5).cell(k)[0] for k in range(-6, 6)), 12)
    1.0
    """

    mean: float
    std: float

    @property
    def low(self) -> float:
        """Where the law is cut."""
        return self.mean - _CUT * self.std

    @property
    def high(self) -> float:
        """Where the law is cut."""
        return self.mean + _CUT * self.std

    def cell(self, k: int) -> tuple[float, float, float]:
        """Integrals of 1, t − k and (t − k)² over `[k, k + 1)`."""
        mu, s = self.mean - k, self.std
        a, b = -mu / s, (1 - mu) / s
        # through the tail that is small, which keeps the digits of cells far from the mean
        sign = 1.0 if a > 0 else -1.0
        tail = [0.5 * math.erfc(sign * end / math.sqrt(2)) for end in (a, b)]
        pa, pb = (math.exp(-0.5 * end * end) / math.sqrt(2 * math.pi) for end in (a, b))
        m0 = sign * (tail[0] - tail[1])
        m1 = mu * m0 + s * (pa - pb)
        m2 = (mu**2 + s**2) * m0 + s**2 * (a * pa - b * pb) + 2 * mu * s * (pa - pb)
        return m0, m1, m2


@dataclass(frozen=True, slots=True, eq=False)
class Hats:
    """First and second moments of the hat functions of the integers `first, first + 1, …` under a law.

    Attributes:
        first: The lowest integer shift.
        mean: `E φ(t − k)`. Shape `(K,)`, float64, one in all.
        diagonal: `E φ(t − k)²`. Shape `(K,)`.
        off: `E φ(t − k) φ(t − k − 1)`. Shape `(K − 1,)`; all other products vanish.
    """

    first: int
    mean: Tensor
    diagonal: Tensor
    off: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def mass(self) -> Tensor:
        """The mass matrix `E φ φᵀ`. Shape `(K, K)`."""
        return torch.diag(self.diagonal) + torch.diag(self.off, 1) + torch.diag(self.off, -1)


@lru_cache(maxsize=64)
def hats(law: Law) -> Hats:
    """Moments of the hat functions under a law.

    >>> h = hats(Uniform(-1.0, 1.0))
    >>> h.first, h.mean.tolist(), h.off.tolist()
    (-1, [0.25, 0.5, 0.25], [0.08333333333333334, 0.08333333333333334])
    """
    first, last = math.floor(law.low), math.floor(law.high) + 1
    mean, diagonal, off = [0.0] * (last - first + 1), [0.0] * (last - first + 1), [0.0] * (last - first)
    for j, k in enumerate(range(first, last)):
        i0, i1, i2 = law.cell(k)
        mean[j] += i0 - i1
        mean[j + 1] += i1
        diagonal[j] += i0 - 2 * i1 + i2
        diagonal[j + 1] += i2
        off[j] += i1 - i2
    if mean[-1] == 0.0:  # the range ends at an integer
        mean, diagonal, off = mean[:-1], diagonal[:-1], off[:-1]
    c, d, o = (torch.tensor(values, dtype=torch.float64) for values in (mean, diagonal, off))
    return Hats(first, c, d, o)
