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
from auglean.moments.forms import Rescaled
from auglean.moments.rules import Kind
from auglean.moments.sampling import rescaled
from auglean.moments.tasks import Task
from auglean.policies import RandomResizedCrop

#: Multiplications that a product by the covariance may take.
_PRODUCT = 5e10
#: Multiplications, up to a factor of ten, that mean and variance may take.
_MOST = 1e10
#: Heights for which the matrices of all widths are added up at once.
_TOGETHER = 16


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

    def moments(self, length: int, central: bool) -> Tensor:
        """Average matrix, and average products of entries so far apart in a row. `(1 + distances, n, n)`.

        Weights are the same at every place, so that each is spread evenly over as many pixels as there are places.
        """
        places = 1 if central else self.n - length + 1
        start = torch.tensor([(self.n - length) // 2 if central else 0])
        index, weight = self._policy.taps(start, torch.tensor([length]), self.n)
        index, weight, taps = index[0].to(self._x.device), weight[0].to(self._x), index.shape[2]
        ends, row = self._x.new_zeros(1 + taps, self.n, self.n + 1), torch.arange(self.n, device=index.device)

        def spread(what: Tensor, first: Tensor, value: Tensor) -> None:
            ends.index_put_((what, row, first), value / places, accumulate=True)
            ends.index_put_((what, row, first + places), -value / places, accumulate=True)

        for s in range(taps):
            spread(torch.zeros_like(row), index[:, s], weight[:, s])
            for t in range(s, taps):
                distance = index[:, t] - index[:, s]
                twice = (distance == 0) & (s < t)  # both at the edge pixel: a cross term of its square
                spread(1 + distance, index[:, s], weight[:, s] * weight[:, t] * (1 + twice.to(weight)))
        return ends.cumsum_(2)[..., :-1]


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
        keys = sorted({(width, central) for (_, central), widths in self._law.items() for width in widths})
        across = torch.stack([self._columns.moments(*key) for key in keys])  # (widths, 1 + distances, W, W)
        heights, place = list(self._law.items()), {key: i for i, key in enumerate(keys)}
        weights = across.new_zeros(len(heights), len(keys))
        for i, ((_, central), widths) in enumerate(heights):
            for width, weight in widths.items():
                weights[i, place[width, central]] = weight
        apart = across.shape[1] - 1
        every = torch.cat(
            [torch.cat([_products(self._x, d, e) for e in range(apart)], 3) for d in range(apart)], 2
        )  # (B, C, distances H, distances W)
        mean, square = torch.zeros_like(self._x), torch.zeros_like(self._x)
        for i, ((down, central), _) in enumerate(heights):
            if i % _TOGETHER == 0:
                together = torch.tensordot(weights[i : i + _TOGETHER], across, 1)
            columns, rows = together[i % _TOGETHER], self._rows.moments(down, central)
            mean += rows[0] @ (self._x @ columns[0].mT)
            left, right = rows[1:].transpose(0, 1).flatten(1), columns[1:].transpose(0, 1).flatten(1)
            square += left @ (every @ right.mT)
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


def resized_crops(
    x: Tensor,
    policy: RandomResizedCrop,
    *,
    exact: bool = False,
    limit: int = MEMORY,
    most: int = 4096,
    seed: int = 0,
) -> ResizedCrops | Rescaled | None:
    """Take the moments of images of which a random box is shown enlarged.

    Where images are so large that products through all boxes would take long, mean and variance are exact still, and
    the rest of the covariance is that of scrambled Sobol points.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        policy: Whose box.
        exact: Whether nothing else will do.
        limit: Bytes of columns.
        most: Points, at most.
        seed: Of the points.

    Returns:
        `None` where mean and variance would take long too, or are not enough.
    """
    height, width = x.shape[2:]
    if (height * (height + 1) / 2) * (width * (width + 1) / 2) * 2 * width**2 <= _PRODUCT:
        return ResizedCrops(x, policy, limit=limit)
    if exact or height**2 * width * (height + width) > _MOST:
        return None
    task = Task(policy, x, tol=1e-3, most=most, limit=limit, seed=seed, exact=False)
    return rescaled(ResizedCrops(x, policy, limit=limit), task)
