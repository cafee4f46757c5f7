"""Independent noise on every value: a diagonal beside the covariance of the image, never a factor.

Without a clamp the variance is that of the noise. With it, a value m in the middle of noise of standard deviation σ is
kept in [0, 1]: with `a = −m / σ`, `b = (1 − m) / σ` and `I_k = ∫_a^b z^k φ(z) dz`,

    E (y − c)^k = (−c)^k Φ(a) + (1 − c)^k Φ(−b) + ∫_a^b (m − c + σ z)^k φ(z) dz
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.rules import Kind
from auglean.policies import GaussianNoise


class Noisy(Covariance):
    """Moments of images with noise on them.

    Args:
        mean: Of the images before. Shape `(B, D)`.
        policy: The noise; one with a clamp needs images that are certain.
        before: Their covariance, `None` where they are certain.
        m4: Gives `E ‖T − μ‖⁴`, `(B,)`, where they are not.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        mean: Tensor,
        policy: GaussianNoise,
        *,
        before: Covariance | None = None,
        m4: Callable[[], Tensor] | None = None,
        m4_kind: Kind = "exact finite",
        limit: int = MEMORY,
    ) -> None:
        self._before, self._m4, self.m4_kind, self.limit = before, m4, m4_kind, limit
        self.mean, self.own, self._fourth = noise_moments(mean, policy)
        self.variance = self.own if before is None else self.own + before.variance

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        product = self.own[..., None] * v
        return product if self._before is None else product + self._before.matvec(v)

    @property
    def width(self) -> int:
        """One for each value, and those of the image before."""
        return self.mean.shape[1] + (self._before.width if self._before else 0)

    def columns(self) -> Tensor:
        """The factor, if it fits."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        own = torch.diag_embed(self.own.sqrt())
        return own if self._before is None else torch.cat([self._before.columns(), own], 2)

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(B,)`."""
        own = self.own.square().sum(1)
        return (
            own
            if self._before is None
            else self._before.frobenius2 + 2 * (self._before.variance * self.own).sum(1) + own
        )

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        if self._m4 is not None:
            return self._m4()
        return self.own.sum(1).square() + (self._fourth - self.own.square()).sum(1)


def noise_moments(x: Tensor, policy: GaussianNoise) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and fourth central moment of every value with noise on it. Each of the shape of `x`.

    >>> mean, variance, _ = noise_moments(torch.tensor([0.0], dtype=torch.float64), GaussianNoise(0.1))
    >>> round(float(mean), 6)  # half of the noise is cut off: 0.1 / √(2 π)
    0.039894
    """
    m, s = x + policy.mean, policy.sigma
    if not policy.clamp:
        return m, torch.full_like(m, s**2), torch.full_like(m, 3 * s**4)
    if s == 0:
        return m.clamp(0, 1), torch.zeros_like(m), torch.zeros_like(m)
    a, b = -m / s, (1 - m) / s
    below, above = torch.special.ndtr(a), torch.special.ndtr(-b)
    left, right = ((-(end**2) / 2).exp() / math.sqrt(2 * math.pi) for end in (a, b))
    powers = [1 - below - above, left - right]
    for k in range(2, 5):
        powers.append((k - 1) * powers[k - 2] + a ** (k - 1) * left - b ** (k - 1) * right)

    def about(c: Tensor, k: int) -> Tensor:
        total: Tensor = (-c) ** k * below + (1 - c) ** k * above
        for j in range(k + 1):
            total = total + math.comb(k, j) * (m - c) ** (k - j) * s**j * powers[j]
        return total

    mean = about(torch.zeros_like(m), 1)
    return mean, about(mean, 2).clamp(min=0), about(mean, 4).clamp(min=0)
