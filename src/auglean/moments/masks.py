"""Erased boxes in separable form: which two pixels a box of one size erases together is a product over the axes.

With p_u the chance that pixel u is erased and P_uv that u and v both are, an image of mean μ and covariance C that is
erased independently, to the value f, has

    μ′ = μ − p ∘ (μ − f),    C′ = C ∘ (1 − p_u − p_v + P_uv) + (μ − f)(μ − f)ᵀ ∘ (P − p pᵀ),    P = Σ_s π_s Y_s ⊗ X_s

over the sizes s of the box. No low rank: what is kept is a factor of C, and the law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, singledispatch

import torch
from torch import Tensor

from auglean.moments.box_laws import sides
from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.rules import Kind
from auglean.policies import Cutout, Policy, RandomErasing
from auglean.policies.warping import Fill, colour

#: Columns up to which products go through each of them, though there were room for the covariance itself.
_FEW = 64


@dataclass(frozen=True, eq=False)
class Boxes:
    """Law of an erased box: a size, then a place in each axis, independent and uniform.

    Attributes:
        weights: Probability of each size; what lacks to one is that nothing is erased.
        rows: For each size, whether the box at a place covers a row. Shapes `(places, H)`, float64 of 0 and 1.
        columns: The same for the columns. Shapes `(places, W)`.
    """

    weights: Sequence[float]
    rows: Sequence[Tensor]
    columns: Sequence[Tensor]

    @property
    def _each(self) -> dict[int, Tensor]:
        """Sizes along an axis, which many boxes share."""
        return {id(one): one for one in (*self.rows, *self.columns)}

    @property
    def chance(self) -> Tensor:
        """Probability that a pixel is erased. Shape `(H, W)`."""
        means = {key: one.mean(0) for key, one in self._each.items()}
        found: dict[int, Tensor] = {}
        for w, y, x in zip(self.weights, self.rows, self.columns, strict=True):
            found[id(y)] = found.get(id(y), 0.0) + w * means[id(x)]
        return torch.stack([means[key] for key in found]).mT @ torch.stack(list(found.values()))

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """P as a sum of products: shares of places that cover two rows, `(H, H)`, and two columns, with their weights.

        Sizes that have the same rows are taken together.
        """
        both = {key: one.mT @ one / len(one) for key, one in self._each.items()}
        found: dict[int, Tensor] = {}
        for w, y, x in zip(self.weights, self.rows, self.columns, strict=True):
            found[id(y)] = found.get(id(y), 0.0) + w * both[id(x)]
        return [(both[key], columns) for key, columns in found.items()]

    def to(self, like: Tensor) -> Boxes:
        """The same on the device of a tensor; what was one tensor stays one."""
        moved = {key: one.to(like) for key, one in self._each.items()}
        return Boxes(self.weights, [moved[id(y)] for y in self.rows], [moved[id(x)] for x in self.columns])

    def all(self) -> Iterator[tuple[float, Tensor]]:
        """Every box as `(1, H, W)` of 0 and 1, and last that there is none, each with its probability."""
        for w, rows, columns in zip(self.weights, self.rows, self.columns, strict=True):
            for row in rows:
                yield from ((w / (len(rows) * len(columns)), (row[:, None] * column)[None]) for column in columns)
        if self.spared:
            yield self.spared, torch.zeros_like(self.chance)[None]

    @property
    def spared(self) -> float:
        """Probability that nothing is erased."""
        rest = 1 - sum(self.weights)
        return rest if rest > 1e-12 else 0.0

    def __len__(self) -> int:
        places = sum(len(y) * len(x) for y, x in zip(self.rows, self.columns, strict=True))
        return places + (self.spared > 0)


@singledispatch
def boxes(policy: Policy, height: int, width: int) -> Boxes | None:
    """Give the law of the box that a policy erases, `None` where it erases none.

    To make another erasing policy known, register a function for its class; it has a `fill`.
    """
    return None


@boxes.register
def _cutout(policy: Cutout, height: int, width: int) -> Boxes:
    def covers(n: int) -> Tensor:
        place = torch.arange(n)
        start = place[:, None] - policy.size // 2
        return ((place >= start) & (place < start + policy.size)).double()

    return Boxes([1.0], [covers(height)], [covers(width)])


@boxes.register
def _erasing(policy: RandomErasing, height: int, width: int) -> Boxes | None:
    return None if policy.fill == "noise" else random_boxes(policy, height, width)


def random_boxes(policy: RandomErasing, height: int, width: int) -> Boxes:
    """Give the law of the box, whatever it is filled by."""
    law = sides(policy, height, width)

    def covers(length: int, n: int) -> Tensor:
        start = torch.arange(n - length + 1)[:, None]
        place = torch.arange(n)
        return ((place >= start) & (place < start + length)).double()

    rows = {h: covers(h, height) for h in law.down.unique().tolist()}
    columns = {w: covers(w, width) for w in law.across.unique().tolist()}
    weights = (policy.p * law.weights).tolist()
    return Boxes(weights, [rows[h] for h in law.down.tolist()], [columns[w] for w in law.across.tolist()])


class Masks(Covariance):
    """Moments of images of which a box is erased.

    Args:
        mean: Of the images before. Shape `(B, C, H, W)`.
        law: Of the box, in the order of size and place.
        fill: Value inside.
        before: Their covariance, `None` where they are certain. Products need its columns.
        m4: Gives `E ‖T − μ‖⁴`, `(B,)`, where the images are not certain.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        mean: Tensor,
        law: Boxes,
        *,
        fill: Fill,
        before: Covariance | None = None,
        m4: Callable[[], Tensor] | None = None,
        m4_kind: Kind = "exact finite",
        limit: int = MEMORY,
    ) -> None:
        law = law.to(mean)
        self._shape, self._law, self._m4, self.m4_kind, self.limit = mean.shape, law, m4, m4_kind, limit
        self._p, self._d = law.chance, mean - colour(fill, mean)
        self._before = before
        self.mean = (mean - self._p * self._d).flatten(1)
        within = 0.0 if before is None else before.variance.view_as(mean) * (1 - self._p)
        self.variance = (within + self._d.square() * (self._p * (1 - self._p))).flatten(1)

    @property
    def closed(self) -> bool:
        """Whether products can be had: the columns of the covariance before fit."""
        return self._before is None or self._before.fits

    @cached_property
    def _factor(self) -> Tensor:
        """Columns of the covariance before, as images. Shape `(B, r, C, H, W)`."""
        if self._before is None:
            return self._d.new_zeros(len(self._d), 0, *self._shape[1:])
        return self._before.columns().mT.reshape(len(self._d), -1, *self._shape[1:])

    def _together(self, q: Tensor) -> Tensor:
        """`(P − p pᵀ) q`. `(…, H, W)` alike."""
        found = -self._p * (self._p * q).sum((-2, -1), keepdim=True)
        for rows, columns in self._law.pairs:
            found += rows @ q @ columns
        return found

    @cached_property
    def _whole(self) -> Tensor | None:
        """The covariance itself, `(B, D, D)`, where it is less than its many columns and there is room for it."""
        (b, c, h, w), r = self._shape, self._factor.shape[1]
        if r <= _FEW or 24 * b * (c * h * w) ** 2 > self.limit:
            return None
        factor, p, d = self._factor.flatten(2), self._p.flatten(), self._d.flatten(2)
        together = sum((torch.kron(y, x) for y, x in self._law.pairs), torch.zeros_like(p))
        whole = (factor.mT @ factor).view(b, c, h * w, c, h * w)
        whole *= (1 - p[:, None] - p + together)[:, None]
        together -= p[:, None] * p
        for i in range(c):
            whole[:, i] += d[:, i, :, None, None] * (d[:, None] * together[:, None])
        return whole.view(b, c * h * w, c * h * w)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        if self._whole is not None:
            return self._whole @ v
        images = v.mT.reshape(len(v), -1, *self._shape[1:])  # (B, m, C, H, W)
        rest = 1 - self._p
        product = self._d[:, None] * self._together((self._d[:, None] * images).sum(2))[:, :, None]
        for column in self._factor.unbind(1):
            q = (column[:, None] * images).sum(2)  # (B, m, H, W)
            # 1 − p_u − p_v + P = (1 − p)(1 − p)ᵀ + P − p pᵀ
            both = rest * (rest * q).sum((2, 3), keepdim=True) + self._together(q)
            product += column[:, None] * both[:, :, None]
        return product.flatten(2).mT

    @property
    def width(self) -> int:
        """Number of boxes, for each column of the factor and the mean."""
        return len(self._law) * (1 + (self._before.width if self._before else 0))

    def columns(self) -> Tensor:
        """A column for each box and column before, if they fit."""
        check_memory("The factor of the covariance", self.width, *self._shape, limit=self.limit)
        found = []
        for w, box in self._law.all():
            found += [w**0.5 * (self._p - box) * self._d, *(w**0.5 * (1 - box) * self._factor).unbind(1)]
        return torch.stack(found, 1).flatten(2).mT

    @cached_property
    def _squared(self) -> Callable[[Tensor], Tensor]:
        """Multiplies by the square of each entry of `P − p pᵀ`."""
        pairs, p = self._law.pairs, self._p

        def of_boxes(q: Tensor) -> Tensor:
            """By the square of each entry of P."""
            found = torch.zeros_like(q)
            for i, (y, x) in enumerate(pairs):
                for j, (b, a) in enumerate(pairs[: i + 1]):
                    found += (1 if i == j else 2) * ((y * b) @ q @ (x * a))
            return found

        def multiply(q: Tensor) -> Tensor:
            cross = sum((y @ (p * q) @ x for y, x in pairs), torch.zeros_like(q))
            return of_boxes(q) - 2 * p * cross + p.square() * (p.square() * q).sum((-2, -1), keepdim=True)

        return multiply

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C′‖²`, axis by axis. Shape `(B,)`."""
        if self._whole is not None:
            return self._whole.square().sum((1, 2))
        a, rest = self._d.square().sum(1), 1 - self._p  # (B, H, W)
        total = (a * self._squared(a)).sum((1, 2))
        for i in range(self._factor.shape[1]):
            column = self._factor[:, i]
            g = (column * self._d).sum(1)
            total += 2 * (rest * g * self._together(rest * g) + g * self._squared(g)).sum((1, 2))
            # pairs of columns, those of i with an earlier one twice
            q = (column[:, None] * self._factor[:, : i + 1]).sum(2)  # (B, i + 1, H, W)
            times = torch.full((i + 1,), 2.0, dtype=q.dtype, device=q.device)
            times[i] = 1.0
            own = (rest.square() * q).sum((2, 3)).square()
            own += (2 * rest * q * self._together(rest * q) + q * self._squared(q)).sum((2, 3))
            total += own @ times
        return total

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, from the squared distance at every box where the images are certain. Shape `(B,)`."""
        if self._m4 is not None:
            return self._m4()
        a = self._d.square().sum(1)
        base = (a * self._p.square()).sum((1, 2), keepdim=True)
        slope = a * (1 - 2 * self._p)
        total = self._law.spared * base.square().sum((1, 2))
        for w, rows, columns in zip(self._law.weights, self._law.rows, self._law.columns, strict=True):
            total += w * (base + rows @ slope @ columns.mT).square().mean((1, 2))
        return total
