"""Points whose distances are computed block by block, without cancellation: vectors, and outer products of vectors.

`‖x − y‖² = ‖x‖² + ‖y‖² − 2⟨x, y⟩` costs one matrix product, but where x and y are near each other the difference
cancels, and the square root amplifies what is left: a point may come out further from itself than from a neighbour.
Pairs below a thousandth of their norms are therefore computed anew from differences, so that duplicates are at
distance 0 exactly; and vectors are first shifted to where their norms are small.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.products import inner_products

#: Squared distances below this share of the squared norms have lost too many digits.
_CANCELLED = {torch.float32: 2.0**-10, torch.float64: 2.0**-20}

#: Where more than this share of the pairs are near, a matrix product in float64 costs less than their differences.
_MANY = 0.02

#: Up to so many dimensions differences cost no more than a matrix product.
_FEW_DIMENSIONS = 16

#: Numbers that are looked at together where all points, or all near pairs, have to be looked at.
_NUMBERS = 1 << 19

#: Coordinates, and factors, whose largest is between this and its inverse are left as they are: squared distances are
#: far from the ends of float32 then, also the least that count.
_TAME, _TAME_FACTORS = 2.0**32, 2.0**16

P = TypeVar("P", bound="PointSet")


def at_once(numbers: int, device: torch.device) -> int:
    """Give how many numbers to work on together: what stays in the cache of a CPU leaves an accelerator idle."""
    return numbers if device.type == "cpu" else 16 * numbers


class PointSet(ABC):
    """n points in a Euclidean space.

    Points that were taken out by `[...]` are in the type of the distances, and ready for `to`, `project` and `combine`.

    Attributes:
        squares: Squared norms. Shape `(n,)`, in the type of the distances: float64, or float32 after `single`.
        unit: What a distance of 1 stands for: a power of two, other than 1 where points are very small or large.
    """

    squares: Tensor
    unit: float

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def reach(self) -> float:
        """A bound that no distance exceeds: twice the largest norm, and a little for rounding."""
        return 2.0 * float(self.squares.max().double().sqrt()) * (1 + 2.0**-10) if len(self) else 0.0

    @property
    def device(self) -> torch.device:
        """Where the points are."""
        return self.squares.device

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Numbers that are kept of a point; with n it fixes what a matrix of distances costs."""

    @abstractmethod
    def double(self: P) -> P:
        """Give points that were taken out in float64."""

    def span(self) -> float:
        """Give a bound that no distance exceeds, and that is at most twice the largest; of points taken out."""
        return min(self.reach, 2.002 * float(self[:1].to(self).max()))

    @abstractmethod
    def __getitem__(self: P, rows: slice | Tensor) -> P:
        """Give some of the points."""

    @abstractmethod
    def single(self: P) -> P:
        """Give the same points with distances in float32."""

    @abstractmethod
    def project(self, direction: Tensor) -> Tensor:
        """Give the inner products with a direction. Shape `(n,)`."""

    @abstractmethod
    def combine(self, coefficients: Tensor) -> Tensor:
        """Give `Σ_i coefficients_i · point_i`, which may serve as a direction."""

    @abstractmethod
    def _rough(self: P, other: P) -> Tensor:
        """Give squared distances to other points, which need not be accurate for near pairs. Shape `(n, m)`."""

    @abstractmethod
    def _near(self: P, other: P, i: Tensor, j: Tensor) -> Tensor:
        """Give squared distances of pairs from their differences. Shape `(pairs,)`."""

    def to(self: P, other: P, *, same: bool = False) -> Tensor:
        """Give the distances to other points, as accurate for near pairs as for far ones.

        Args:
            other: m points.
            same: Whether they begin with these very points; of those only what is above the diagonal is then given.

        Returns:
            Shape `(n, m)`, float32, or float64 where the points are.
        """
        square = self._rough(other)
        if same:
            square[:, : len(self)].fill_diagonal_(float("inf"))  # else each would be found near to itself
        # near points have nearly the same norm, so that of one of them will do; few rows have any
        limit = self.squares * (2.25 * _CANCELLED[square.dtype])
        rows = (square.amin(1) < limit).nonzero().squeeze(1)
        if len(rows):
            near = (square[rows] < limit[rows, None]).nonzero()
            many = len(near) > _MANY * square.numel() and (len(self) + len(other)) * self.dimension <= 4 * _NUMBERS
            if many and square.dtype == torch.float32:
                return self.double().to(other.double(), same=same).float()
            for pairs in near.split(max(1, at_once(_NUMBERS, self.device) // self.dimension)):
                i, j = rows[pairs[:, 0]], pairs[:, 1]
                square[i, j] = self._near(other, i, j).clamp_(min=0)
        square.sqrt_()
        if same:
            square[:, : len(self)].triu_(1)
        return square


class Vectors(PointSet):
    """Points given as vectors. Build with `of`.

    Args:
        points: Shape `(n, d)`, any floating type; neither changed nor copied as a whole.
        squares: Squared norms, shifted. Shape `(n,)`, in the type of the distances.
        shift: Shape `(d,)`, subtracted when points are taken out.
        total: The sum of the points, not shifted. Shape `(d,)`, float64.
        unit: What a distance of 1 stands for.
    """

    def __init__(
        self,
        points: Tensor,
        squares: Tensor,
        shift: Tensor | None = None,
        *,
        total: Tensor | None = None,
        unit: float = 1.0,
    ) -> None:
        self.points, self.squares, self.shift, self.total, self.unit = points, squares, shift, total, unit

    @classmethod
    def of(cls, points: Tensor, *, dtype: torch.dtype = torch.float64) -> Vectors:
        """Check the points and shift them by their mean where that makes them smaller (by the median norm).

        Where most of the mass is at zero already and the mean is drawn by far outliers, it does not.

        Args:
            points: Shape `(n, d)`, any floating type.
            dtype: In which distances are computed: float64 or float32.

        Raises:
            InputError: If the shape is another or a number is not finite.
        """
        if points.ndim != 2:
            raise InputError(f"points must have shape (n, d); got {tuple(points.shape)}.")
        points, unit = _tame(points, "points", _TAME)
        n, work = len(points), _working(points, dtype)
        total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
        for part in _parts(points):
            total += part.sum(0, dtype=torch.float64)
        shift = (total / max(n, 1)).to(_working(points, torch.float32))  # any will do, but one that costs no float64
        norms = torch.empty(2, n, dtype=work, device=points.device)  # as they are, and shifted
        begin = 0
        for part in _parts(points):
            rows = slice(begin, begin := begin + len(part))
            norms[0, rows] = torch.linalg.vector_norm(part.to(work), dim=1)
            norms[1, rows] = torch.linalg.vector_norm(part.to(work) - shift, dim=1)
        shifted = n and float(norms[1].median()) < float(norms[0].median())
        squares = norms[int(shifted)].square().to(dtype)
        return cls(points, squares, shift if shifted else None, total=total, unit=unit)

    def single(self) -> Vectors:
        """Give the same points with distances in float32."""
        return Vectors(self.points, self.squares.float(), self.shift, total=self.total, unit=self.unit)

    def sum_error(self, indices: Tensor, weights: Tensor) -> float | None:
        """Give `‖Σ_i x_i − Σ_j w_j x_j‖ / ‖Σ_i x_i‖`, or None where that is not finite."""
        if self.total is None:
            return None
        indices = indices.to(self.device)
        error = self.total.clone()
        rows = max(1, _NUMBERS // max(1, self.dimension))
        for some, mass in zip(indices.split(rows), weights.to(self.device).split(rows), strict=True):
            error -= mass @ self.points[some].double()
        ratio = float(error.norm() / self.total.norm())
        return ratio if math.isfinite(ratio) else None

    def double(self) -> Vectors:
        """Give points that were taken out in float64."""
        points = self.points.double()
        return Vectors(points, points.square().sum(1))

    @property
    def dimension(self) -> int:
        """Dimensions d."""
        return self.points.shape[1]

    def __getitem__(self, rows: slice | Tensor) -> Vectors:
        squares, points = self.squares[rows], self.points[rows]
        if self.shift is None:
            return Vectors(points.to(squares.dtype), squares)
        moved = torch.empty(points.shape, dtype=squares.dtype, device=points.device)
        for part, target in zip(_parts(points), _parts(moved), strict=True):
            torch.sub(part, self.shift, out=target)
        return Vectors(moved, squares)

    def project(self, direction: Tensor) -> Tensor:
        """Give the inner products with a direction. Shape `(n,)`."""
        return self.points @ direction

    def combine(self, coefficients: Tensor) -> Tensor:
        """Give `Σ_i coefficients_i · point_i`. Shape `(d,)`."""
        return coefficients @ self.points

    def to(self, other: Vectors, *, same: bool = False) -> Tensor:
        """Give the distances to other points, see `PointSet.to`."""
        if self.dimension > _FEW_DIMENSIONS:
            return super().to(other, same=same)
        found = torch.cdist(self.points, other.points, compute_mode="donot_use_mm_for_euclid_dist")
        if same:
            found[:, : len(self)].triu_(1)
        return found

    def _rough(self, other: Vectors) -> Tensor:
        return inner_products(self.points * -2, other.points, other.squares).add_(self.squares[:, None])

    def _near(self, other: Vectors, i: Tensor, j: Tensor) -> Tensor:
        return (self.points[i] - other.points[j]).square_().sum(1)


class OuterProducts(PointSet):
    """Points `left_i ⊗ right_i`, which are never formed: `⟨a⊗b, c⊗d⟩ = ⟨a, c⟩⟨b, d⟩`. Build with `of`.

    Args:
        left: Shape `(n, p)`.
        right: Shape `(n, q)`.
        squares: Squared norms. Shape `(n,)`, in the type of the distances.
        unit: What a distance of 1 stands for.
    """

    def __init__(self, left: Tensor, right: Tensor, squares: Tensor, *, unit: float = 1.0) -> None:
        self.left, self.right, self.squares, self.unit = left, right, squares, unit

    @classmethod
    def of(cls, left: Tensor, right: Tensor) -> OuterProducts:
        """Check the factors.

        Raises:
            InputError: If a number is not finite.
        """
        left, of_left = _tame(left, "the left factors", _TAME_FACTORS)
        right, of_right = _tame(right, "the right factors", _TAME_FACTORS)
        norms = (torch.cat([part.double().square().sum(1) for part in _parts(side)]) for side in (left, right))
        return cls(left, right, next(norms) * next(norms), unit=of_left * of_right)

    def single(self) -> OuterProducts:
        """Give the same points with distances in float32."""
        return OuterProducts(self.left, self.right, self.squares.float(), unit=self.unit)

    def double(self) -> OuterProducts:
        """Give points that were taken out in float64."""
        left, right = self.left.double(), self.right.double()
        return OuterProducts(left, right, left.square().sum(1) * right.square().sum(1))

    @property
    def dimension(self) -> int:
        """Dimensions p + q of the factors, which is what a distance costs."""
        return self.left.shape[1] + self.right.shape[1]

    def __getitem__(self, rows: slice | Tensor) -> OuterProducts:
        dtype = self.squares.dtype
        return OuterProducts(self.left[rows].to(dtype), self.right[rows].to(dtype), self.squares[rows])

    def project(self, direction: Tensor) -> Tensor:
        """Give the inner products with a direction of shape `(p, q)`. Shape `(n,)`."""
        return ((self.left @ direction) * self.right).sum(1)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Give `Σ_i coefficients_i · left_i ⊗ right_i`. Shape `(p, q)`."""
        return (coefficients[:, None] * self.left).T @ self.right

    def _rough(self, other: OuterProducts) -> Tensor:
        products = inner_products(self.left, other.left).mul_(inner_products(self.right, other.right))
        return products.mul_(-2).add_(other.squares).add_(self.squares[:, None])

    def _near(self, other: OuterProducts, i: Tensor, j: Tensor) -> Tensor:
        # ‖(a−c)⊗b + c⊗(b−d)‖², expanded: each term is small where the pair is near
        a, b, c, d = (factor.double() for factor in (self.left[i], self.right[i], other.left[j], other.right[j]))
        ac, bd = a - c, b - d
        square = (
            ac.square().sum(1) * b.square().sum(1)
            + c.square().sum(1) * bd.square().sum(1)
            + 2 * (ac * c).sum(1) * (b * bd).sum(1)
        )
        return square.to(self.squares.dtype)


def _working(points: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Give the type in which points are shifted: neither coarser than they are, nor than their distances."""
    return torch.promote_types(points.dtype, dtype)


def check_finite(values: Tensor, what: str) -> None:
    """Raise `InputError`, naming the rows, where a matrix holds numbers that are not finite."""
    bad = torch.cat([(~torch.isfinite(part)).any(1) for part in _parts(values)]) if len(values) else values.new_zeros(0)
    rows = bad.nonzero().squeeze(1)
    if len(rows):
        raise InputError(f"Row {int(rows[0])} of {what} is not finite ({len(rows)} such rows); remove or repair them.")


def _parts(values: Tensor) -> Iterator[Tensor]:
    """Go through a matrix by parts: a copy of the whole could be too large."""
    rows = max(1, at_once(_NUMBERS, values.device) // max(1, values.shape[1]))
    return iter(values.split(rows)) if len(values) else iter(())


def _tame(values: Tensor, what: str, most: float) -> tuple[Tensor, float]:
    """Check a matrix, and multiply it by a power of two where its largest number is not in `1 / most … most`.

    Returns:
        The matrix, and what 1 stands for in it.
    """
    if values.is_complex() or values.dtype == torch.bool:
        raise InputError(f"{what} are of type {values.dtype}; give real numbers.")
    if not values.is_floating_point():
        values = values.to(torch.float32 if values.dtype.itemsize <= 2 else torch.float64)  # to the digit
    values = values.detach()
    ends = torch.tensor([end for part in _parts(values) if part.numel() for end in torch.aminmax(part)] or [0.0])
    largest = float(ends.double().abs().max())
    if not math.isfinite(largest):
        check_finite(values, what)
    if largest == 0.0 or 1 / most < largest < most:
        return values, 1.0
    power = math.frexp(largest)[1] - 1
    half = power // 2  # in two steps, since the whole factor may be beyond float64
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values * 2.0**-half * 2.0 ** (half - power), 2.0**power
