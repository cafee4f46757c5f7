"""Cutout in separable form: which two pixels a square erases together is a product over the axes.

With p_u the chance that pixel u is erased and P_uv that u and v both are, `T = x − B ∘ (x − f)` has

    μ = x − p ∘ (x − f),    C_uv = (x_u − f)(x_v − f)(P_uv − p_u p_v),    P = Y ⊗ X
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.policies.warping import Fill, colour


def _inside(n: int, size: int, x: Tensor) -> Tensor:
    """Whether the square at centre i covers place j. Shape `(n, n)`, of the images' type."""
    place = torch.arange(n, device=x.device)
    start = place[:, None] - size // 2
    return ((place >= start) & (place < start + size)).to(x)


class Masks(Covariance):
    """Moments of an image with a square erased whose centre is uniform on its pixels.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        size: Side of the square.
        fill: Value inside.
        limit: Bytes of columns.
    """

    def __init__(self, x: Tensor, size: int, *, fill: Fill, limit: int = MEMORY) -> None:
        self._shape, self.limit = x.shape, limit
        self._rows, self._columns = _inside(x.shape[2], size, x), _inside(x.shape[3], size, x)
        self._p = self._rows.mean(0)[:, None] * self._columns.mean(0)  # (H, W)
        self._d = x - colour(fill, x)
        self.mean = (x - self._p * self._d).flatten(1)
        self.variance = (self._d.square() * (self._p * (1 - self._p))).flatten(1)

    def _pairs(self) -> tuple[Tensor, Tensor]:
        """The share of squares that cover two rows, and two columns."""
        return (
            self._rows.mT @ self._rows / len(self._rows),
            self._columns.mT @ self._columns / len(self._columns),
        )

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        rows, columns = self._pairs()
        q = (self._d[:, None] * v.mT.reshape(len(v), -1, *self._shape[1:])).sum(2)  # (B, m, H, W)
        both = rows @ q @ columns - self._p * (self._p * q).sum((2, 3), keepdim=True)
        product: Tensor = (self._d[:, None] * both[:, :, None]).flatten(2).mT
        return product

    @property
    def width(self) -> int:
        """Number of places of the square."""
        return self._p.numel()

    def columns(self) -> Tensor:
        """One column for each place of the square, if they fit."""
        check_memory("The factor of the covariance", self.width, *self._shape, limit=self.limit)
        covers = torch.einsum("iy,jx->yxij", self._rows, self._columns).flatten(2)  # (H, W, places)
        off = (covers - self._p[..., None]) / self.width**0.5
        factor: Tensor = (self._d[..., None] * off).flatten(1, 3)
        return factor

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²`, axis by axis. Shape `(B,)`."""
        rows, columns = self._pairs()
        a = self._d.square().sum(1)  # (B, H, W)
        b = a * self._p
        together = (a * (rows.square() @ a @ columns.square())).sum((1, 2))
        return together - 2 * (b * (rows @ b @ columns)).sum((1, 2)) + (b * self._p).sum((1, 2)).square()

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴` from the squared distance at every place. Shape `(B,)`."""
        a = self._d.square().sum(1)
        base = (a * self._p.square()).sum((1, 2), keepdim=True)
        squared = base + self._rows @ (a * (1 - 2 * self._p)) @ self._columns.mT
        return squared.square().mean((1, 2))
