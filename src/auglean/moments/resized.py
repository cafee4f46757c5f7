"""Random resized crops: each box of the exact law of its sides, enlarged axis by axis.

A box of h rows from i and w columns from j gives `T = Y_hi x X_wjᵀ`, and places are uniform and independent, so that

    μ = Σ_h Ȳ_h x (Σ_w P(h, w) X̄_w)ᵀ,    E T_u² = Σ_h Σ_de (Y_h)²_d (x · x shifted by d, e) (Σ_w P(h, w) (X_w)²_e)ᵀ

with matrices averaged over places, and `(Y)²_d` the average products of a row's entries that lie d apart: no box is
ever made. Products by the covariance go through the boxes of one height at a time, as matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.box_laws import sides
from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.rules import Kind
from auglean.policies import RandomResizedCrop

#: Multiplications that a product by the covariance may take.
_MOST = 5e10


class _Axis:
    """What is known of one axis: for each length of a box, what its places make of the pixels."""

    def __init__(self, policy: RandomResizedCrop, n: int, x: Tensor) -> None:
        self._policy, self.n, self._x = policy, n, x

    def taps(self, length: int, central: bool) -> tuple[Tensor, Tensor]:
        """Pixels and weights at every place, or at the central one. `(places, n, taps)` each."""
        last = self.n - length
        start = torch.tensor([last // 2]) if central else torch.arange(last + 1)
        index, weight = self._policy.taps(start, torch.full_like(start, length), self.n)
        return index.to(self._x.device), weight.to(self._x)

    def matrices(self, length: int, central: bool) -> Tensor:
        """Of every place, output by input. `(places, n, n)`."""
        index, weight = self.taps(length, central)
        return self._x.new_zeros(len(index), self.n, self.n).scatter_add_(2, index, weight)

    def moments(self, length: int, central: bool) -> tuple[Tensor, Tensor]:
        """Average matrix `(n, n)`, and average products of entries so far apart in a row `(distances, n, n)`."""
        index, weight = self.taps(length, central)
        places, n, taps = index.shape
        mean = self._x.new_zeros(n, n)
        row = torch.arange(n, device=index.device)[:, None].expand(places, n, taps)
        mean.index_put_((row, index), weight / places, accumulate=True)
        apart = self._x.new_zeros(taps, n, n)
        for s in range(taps):
            for t in range(s, taps):
                distance, product = index[..., t] - index[..., s], weight[..., s] * weight[..., t] / places
                twice = (distance == 0) & (s < t)  # both at the edge pixel: a cross term of its square
                apart.index_put_(
                    (distance, row[..., 0], index[..., s]), product * (1 + twice.to(product)), accumulate=True
                )
        return mean, apart


class ResizedCrops(Covariance):
    """Moments of images of which a random box is shown enlarged.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        policy: Whose box.
        limit: Bytes of columns.
    """

    m4_kind: Kind = "exact finite"

    def __init__(self, x: Tensor, policy: RandomResizedCrop, *, limit: int = MEMORY) -> None:
        height, width = x.shape[2:]
        self.limit, self._shape = limit, x.shape
        self._rows, self._columns = _Axis(policy, height, x), _Axis(policy, width, x)
        law = sides(policy, height, width)
        #: For each height, the widths that go with it, and whether the box is central.
        self._law: dict[tuple[int, bool], dict[int, float]] = {}
        for down, across, weight in zip(law.down.tolist(), law.across.tolist(), law.weights.tolist(), strict=True):
            self._law.setdefault((down, False), {})[across] = weight
        if law.failed > 1e-15:
            across, down = policy._fallback(height, width)
            self._law[down, True] = {across: law.failed}
        # weights of interpolation sum to one, so that a level may be taken off; what is small loses fewest digits
        level = x.mean((2, 3), keepdim=True)
        self._x, self._level = x - level, level
        mean, square = self._moments()
        self.mean = (mean + level).flatten(1)
        self.variance = (square - mean.square()).clamp(min=0).flatten(1)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean of the image without its level, and mean of its square, `(B, C, H, W)`."""
        across: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}
        mean, square = torch.zeros_like(self._x), torch.zeros_like(self._x)
        products: dict[tuple[int, int], Tensor] = {}
        for (down, central), widths in self._law.items():
            rows, row_pairs = self._rows.moments(down, central)
            for width in widths:
                if (width, central) not in across:
                    across[width, central] = self._columns.moments(width, central)
            parts = [(weight, *across[width, central]) for width, weight in widths.items()]
            columns = torch.stack([weight * own for weight, own, _ in parts]).sum(0)
            column_pairs = torch.stack([weight * pairs for weight, _, pairs in parts]).sum(0)
            mean += rows @ self._x @ columns.mT
            for d, left in enumerate(row_pairs):
                for e, right in enumerate(column_pairs):
                    if (d, e) not in products:
                        products[d, e] = _products(self._x, d, e)
                    square += left @ products[d, e] @ right.mT
        return mean, square

    @cached_property
    def width(self) -> int:
        """Number of boxes."""
        return sum(weights.numel() for weights, _, _ in self._blocks())

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each height: weights `(i, j)` of its boxes, `Y x` `(B, C, i, H, W)`, and all `X` `(j, W, W)`."""
        kept: dict[tuple[int, bool], Tensor] = {}
        for (down, central), widths in self._law.items():
            rows = self._rows.matrices(down, central)
            for width in widths:
                if (width, central) not in kept:
                    kept[width, central] = self._columns.matrices(width, central)
            columns = [kept[width, central] for width in widths]
            each = [
                matrices.new_full((len(matrices),), weight / len(matrices) / len(rows))
                for matrices, weight in zip(columns, widths.values(), strict=True)
            ]
            yield torch.cat(each).expand(len(rows), -1), rows @ self._x[:, :, None], torch.cat(columns)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        b, c, h, w = self._shape
        right = v.mT.reshape(b, -1, c, h, w)
        total = torch.zeros_like(right)
        for weights, enlarged, columns in self._blocks():
            flat = columns.flatten(1)  # (j, W W)
            inner = self._inner(enlarged, right) @ flat.mT  # (B, m, i, j)
            back = ((inner * weights) @ flat).unflatten(3, (w, w))  # (B, m, i, W, W), output by input
            total += torch.einsum("bmiuk,bcihk->bmchu", back, enlarged)
        product: Tensor = total.flatten(2).mT
        mean = self._centred[..., None]
        return product - mean * (mean * v).sum(1, keepdim=True)

    @property
    def _centred(self) -> Tensor:
        """Mean without the level of the image. `(B, D)`."""
        level = self._level.expand(self._shape).flatten(1)
        return self.mean - level

    @staticmethod
    def _inner(enlarged: Tensor, v: Tensor) -> Tensor:
        """What `X` is multiplied by for the inner product of `Y x Xᵀ` with `v (B, m, C, H, W)`. `(B, m, i, W W)`."""
        return torch.einsum("bcihk,bmchu->bmiuk", enlarged, v).flatten(3)

    def columns(self) -> Tensor:
        """A column for each box, if they fit."""
        check_memory("The factor of the covariance", self.width, *self._shape, limit=self.limit)
        found = []
        for weights, enlarged, columns in self._blocks():
            shown = enlarged[:, :, :, None] @ columns.mT  # (B, C, i, j, H, W)
            off = shown - self._centred.view(self._shape)[:, :, None, None]
            found.append((off * weights.sqrt()[..., None, None]).permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3))
        return torch.cat(found, 2)

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, box by box. Shape `(B,)`."""
        mean = self._centred
        total = mean.new_zeros(len(mean))
        for weights, enlarged, columns in self._blocks():
            inner = (self._inner(enlarged, mean.view(self._shape)[:, None]) @ columns.flatten(1).mT)[:, 0]  # (B, i, j)
            gram = torch.einsum("bcihk,bcihl->bikl", enlarged, enlarged).flatten(2)
            own = gram @ (columns.mT @ columns).flatten(1).mT
            distance = own - 2 * inner + mean.square().sum(1)[:, None, None]
            total += (weights * distance.square()).sum((1, 2))
        return total


def _products(x: Tensor, down: int, across: int) -> Tensor:
    """Products of pixels so far apart that their weights share, each as often as it occurs in a square."""
    h, w = x.shape[2:]
    padded = torch.nn.functional.pad(x, (0, across, 0, down))
    shifted = padded[:, :, down:, across:]
    if not down and not across:
        return x.square()
    if not down or not across:
        return 2 * x * shifted
    return 2 * (x * shifted + padded[:, :, :h, across:] * padded[:, :, down:, :w])


def worthwhile(height: int, width: int) -> bool:
    """Whether products by the covariance are quick enough."""
    return (height * (height + 1) / 2) * (width * (width + 1) / 2) * 2 * width**2 <= _MOST
