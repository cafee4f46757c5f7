"""The leading singular values of a matrix that is too large to be held, by its products with few vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.randomness import generator
from auglean.spectra.factors import Change, Factors, ridge_of
from auglean.spectra.jacobian import Difference, Jacobian, Operator
from auglean.spectra.noise import Noisy

#: Bounds on the relative errors of the leading ten values, and of all that are asked for, at which the search ends.
TOLERANCE, TOLERANCE_ALL = 1e-3, 2e-2
_TEN = 10
#: What float32 leaves uncertain of a leading value.
_ROUNDING = 1e-5
#: Multiple of the largest value, below which the squares of float32 tell little of a value.
_SMALL = 3e-3
#: Vectors that are multiplied at a time.
_BLOCK = 10
#: Steps, and relative length of what is left, at which a linear system counts as solved.
_STEPS, _SOLVED = 200, 1e-2
#: Bytes of rows that are made at a time to measure their lengths.
_ROWS = 1 << 27


def leading(matrix: Operator, count: int, *, random: torch.Generator) -> tuple[Factors, Tensor]:
    """Find the leading singular values and vectors by block Krylov iteration from a random start.

    Musco & Musco (2015), by Golub & Kahan's two products a step and with every block orthogonal to all before. The
    values are those of the matrix on a subspace, so none is too large. A residual bounds how much too small they can
    be, up to values that the random start has missed: some σ² of the matrix is within `‖JᵀJv − σ²v‖` of each.

    Args:
        matrix: Known by its products.
        count: Wanted values.
        random: Draws the start, on the CPU.

    Returns:
        The factors, and a bound on the relative error of each value `(count,)`, or, of a value under 0.3 % of the
        largest, on its error relative to that.
    """
    n, m = matrix.shape
    width = min(n, m, _BLOCK)
    start = torch.randn(n, width, generator=random).to(matrix.like)
    basis, images = start.new_empty(m, 0), start.new_empty(n, 0)
    block = torch.linalg.qr(matrix.transposed(start)).Q  # (m, width)
    while True:
        basis, images = torch.cat([basis, block], 1), torch.cat([images, matrix.times(block)], 1)
        left, values, right = torch.linalg.svd(images, full_matrices=False)
        last = block.shape[1]
        following = matrix.transposed(images[:, -last:])
        block = torch.linalg.qr(torch.cat([basis, following], 1)).Q[:, basis.shape[1] :]
        beyond = (block.T @ following) @ right[:, -last:].T  # what JᵀJ makes of the vectors outside of the basis
        size = values.clamp(min=max(_SMALL * float(values[0]), 1e-18))
        errors = (torch.linalg.vector_norm(beyond, dim=0) / (2 * size.square()))[:count].double()
        found = len(errors) == count and (errors[:_TEN] <= TOLERANCE).all() and (errors <= TOLERANCE_ALL).all()
        if found or not block.shape[1] or basis.shape[1] >= min(n, m):
            return Factors(left, values.double(), basis @ right.T).leading(count), errors


def quadratic(matrix: Operator, r: Tensor, ridge: float, *, known: Factors) -> float:
    """Compute `rᵀ(JJᵀ + λI)⁻¹ r` by conjugate gradients (Hestenes & Stiefel 1952), two products a step.

    The known factors take the leading directions out of the way, so that steps grow with `σ_t / √λ` alone. The sum
    rises step by step towards the value, which it never exceeds.

    Args:
        matrix: Known by its products.
        r: Shape `(n,)`.
        ridge: λ.
        known: Leading factors of the matrix, which need not be exact.
    """
    squares = known.values.square()
    bulk = float(squares[-1]) + ridge
    lift = (bulk / (squares + ridge) - 1).to(r)  # (t,)

    def solve_roughly(v: Tensor) -> Tensor:
        return (v + known.left @ (lift * (known.left.T @ v))) / bulk

    def dot(one: Tensor, other: Tensor) -> float:
        return float(one.double() @ other.double())

    rest = r
    rough = solve_roughly(rest)
    direction, total, size = rough, 0.0, dot(rest, rough)
    start = size
    for _ in range(_STEPS):
        image = matrix.times(matrix.transposed(direction[:, None]))[:, 0] + ridge * direction
        step = size / dot(direction, image)
        total += step * size  # the gain of a step, so that the solution need not be kept
        rest = rest - step * image
        rough = solve_roughly(rest)
        size, last = dot(rest, rough), size
        if size <= _SOLVED**2 * start:
            break
        direction = rough + size / last * direction
    return total


class Randomised:
    """The leading singular values and vectors of J, J̃ and J plus noise, in float32.

    Args:
        before: J.
        residual: r `(n,)`, or None where there is none.
        count: Wanted values.
        seed: Fixes the random starts: the same for each matrix.

    Attributes:
        factors: Of J.
        slow: `slow_share` of J.
        floor: Singular values below this multiple of the largest are rounding.
        error: The greatest bound on the relative error of any of the leading ten values of any matrix so far.
    """

    floor = 1e-6

    def __init__(self, before: Jacobian, residual: Tensor | None, *, count: int, seed: int) -> None:
        self._before, self._residual, self._count, self._seed = before, residual, count, seed
        self.error = _ROUNDING
        self.factors = self._leading(before)
        self.slow = self._slow(before, self.factors)

    @staticmethod
    def bytes(jacobian: Jacobian, count: int) -> int:
        """Memory at the peak: bases of some 3 · count vectors, as many that noise shows of itself, and rows."""
        n, m = jacobian.shape
        rows = min(n * m, max(_ROWS // 4, jacobian.outputs * m))
        return 4 * (8 * (n + m) * min(n, m, 3 * count + _BLOCK) + 3 * rows)

    def change(self, after: Jacobian, *, seed: int) -> Change:
        """Hold J̃ against J, and against J plus noise whose rows are as long as those of E."""
        lengths = self._lengths(after)
        noisy = Noisy(self._before, lengths, generator(seed, "noise"))
        norm, _ = leading(Difference(after, self._before), 1, random=generator(self._seed, "norm"))
        found, null = self._leading(after), self._leading(noisy)
        return Change(
            after=found,
            null=null,
            slow=(self._slow(after, found), self._slow(noisy, null)),
            spectral=float(norm.values[0]),
            frobenius=float(torch.linalg.vector_norm(lengths.double())),
        )

    def _leading(self, matrix: Operator) -> Factors:
        factors, errors = leading(matrix, self._count, random=generator(self._seed, "start"))
        self.error = max(self.error, float(errors[:_TEN].max()))
        return factors

    def _slow(self, matrix: Operator, factors: Factors) -> float | None:
        if self._residual is None:
            return None
        r, ridge = self._residual.to(self._before.images), ridge_of(self.factors)
        return ridge * quadratic(matrix, r, ridge, known=factors) / float(r.double().square().sum())

    def _lengths(self, after: Jacobian) -> Tensor:
        """Give the length of each row of E, from the rows themselves, a few images at a time."""
        pairs = zip(after.blocks(_ROWS), self._before.blocks(_ROWS), strict=True)
        return torch.cat([torch.linalg.vector_norm(rows - others, dim=1) for rows, others in pairs])
