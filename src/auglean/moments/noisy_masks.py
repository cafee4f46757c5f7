"""A box erased by standard normal noise, new in each pixel and channel: a mask by black, and the variance of the noise.

C = x xᵀ ∘ (P − p pᵀ) + diag p
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, check_memory
from auglean.moments.masks import Boxes, Masks


class NoisyMasks(Masks):
    """Moments of images of which a box becomes noise.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        law: Of the box.
        limit: Bytes of columns.
    """

    def __init__(self, x: Tensor, law: Boxes, *, limit: int = MEMORY) -> None:
        super().__init__(x, law, fill=0.0, limit=limit)
        self._noise = self._p.expand(self._shape).flatten(1)
        self.variance = self.variance + self._noise

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        return super().matvec(v) + self._noise[..., None] * v

    @property
    def width(self) -> int:
        """Number of boxes, and one for each entry."""
        return super().width + self._noise.shape[1]

    def columns(self) -> Tensor:
        """A column for each box and each entry, if they fit."""
        check_memory("The factor of the covariance", self.width, *self._shape, limit=self.limit)
        return torch.cat([super().columns(), torch.diag_embed(self._noise.sqrt())], 2)

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²`. Shape `(B,)`."""
        own: Tensor = super().frobenius2
        return own + (2 * (self.variance - self._noise) * self._noise + self._noise.square()).sum(1)

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`: of each box, the square of the mean squared distance, and its variance. Shape `(B,)`.

        In the box a squared distance is that of `(1 − p) x − e`, of mean `m² + 1` and variance `4 m² + 2`.
        """
        a, p, channels = self._d.square().sum(1), self._p, self._shape[1]
        base = (a * p.square()).sum((1, 2), keepdim=True)
        slope, spread = a * (1 - 2 * p) + channels, 4 * a * (1 - p).square() + 2 * channels
        total = self._law.spared * base.square().sum((1, 2))
        for w, rows, columns in zip(self._law.weights, self._law.rows, self._law.columns, strict=True):
            squared = (base + rows @ slope @ columns.mT).square() + rows @ spread @ columns.mT
            total += w * squared.mean((1, 2))
        return total
