"""The covariance behind a last displacement: `C = Cov(S μ + c) + Σ_r E[S f_r f_rᵀ Sᵀ]`, without a column of it.

Each column f_r of the factor before is moved as an image is, in the mass form of `auglean.moments.shifts`, which gives
`E[S f fᵀ Sᵀ]` as covariance and mean of the moved column.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.forms import frobenius2_by_products
from auglean.moments.laws import Hats
from auglean.moments.rules import Kind
from auglean.moments.shifts import Shifts
from auglean.policies.warping import Fill

#: Bytes of columns that are moved at once.
_BLOCK = 2**24


class Drifted(Covariance):
    """Moments of one image after a last displacement.

    Args:
        mean: Of the image before. Shape `(C, H, W)`.
        columns: Factor of its covariance, as images. Shape `(r, C, H, W)`.
        down: Hats of the displacement downwards.
        across: Hats of the displacement to the right.
        padding: What is outside, as `Shifts` has it.
        fill: Value outside.
        m4: Gives `E ‖T − μ‖⁴`, `(1,)`, when it is asked for.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        mean: Tensor,
        columns: Tensor,
        *,
        down: Hats,
        across: Hats,
        padding: str,
        fill: Fill,
        m4: Callable[[], Tensor],
        m4_kind: Kind,
        limit: int = MEMORY,
    ) -> None:
        self._m4, self.m4_kind, self.limit = m4, m4_kind, limit

        def moved(x: Tensor, value: Fill) -> Shifts:
            return Shifts(x, down, across, padding=padding, fill=value, fourth=_never, m4_kind=m4_kind, limit=limit)

        self._certain = moved(mean[None], fill)
        step = max(1, min(_BLOCK, limit // 8) // (8 * mean.numel()))
        # the fill is part of c, and no column knows it
        self._moved = [moved(some, 0.0) for some in (columns.split(step) if len(columns) else ())]
        self.mean = self._certain.mean
        self.variance = self._certain.variance.clone()
        for form in self._moved:
            self.variance += (form.variance + form.mean.square()).sum(0)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(1, D, m)` alike."""
        total = self._certain.matvec(v)
        step = max(1, min(_BLOCK, self.limit // 8) // (8 * v[0].numel()))
        for form in self._moved:
            total += form.mean.mT @ (form.mean @ v)
            for start in range(0, v.shape[2], max(1, step // len(form.mean))):
                some = slice(start, start + max(1, step // len(form.mean)))
                total[..., some] += form.matvec(v[..., some].expand(len(form.mean), -1, -1)).sum(0)
        return total

    @property
    def width(self) -> int:
        """Number of shifts of the mean and of every column, and one for the mean of each column."""
        return self._certain.width + sum((form.width + 1) * len(form.mean) for form in self._moved)

    def columns(self) -> Tensor:
        """All columns, if they fit."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        parts = [torch.cat([form.mean.mT, form.columns().transpose(0, 1).flatten(1)], 1) for form in self._moved]
        return torch.cat([self._certain.columns()[0], *parts], 1)[None]

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(1,)`."""
        return super().frobenius2 if self.fits else frobenius2_by_products(self)

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(1,)`."""
        return self._m4()


def _never() -> Covariance:
    raise NotImplementedError  # fourth powers of single columns are of no use
