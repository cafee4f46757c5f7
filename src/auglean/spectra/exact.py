"""The spectrum of a Jacobian that can be held whole, and of its changes, in coordinates of its own row space.

J has n rows of m weights, m mostly far larger. A rotation of the m-dimensional space changes no singular value, no
left vector and no angle, so everything is done after one that takes the row space of J to the first r coordinates
and what an augmented Jacobian has outside of it to the next: `J = [B, 0]` and `J̃ = [S, T]`, of 2n columns at most.
The two parts of E = J̃ − J are then those of Stewart's decomposition.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from auglean.randomness import derive
from auglean.spectra.factors import Change, Factors, decompose, ridge_of, slow_share
from auglean.spectra.jacobian import Jacobian
from auglean.spectra.noise import rotated

#: Below this multiple of the largest, singular values from a Gram matrix are rounding: the root of float64's is 1e-8,
#: and a sum of many products is less exact than one.
GRAM_FLOOR = 1e-7
#: The same for those from the rows themselves.
ROWS_FLOOR = 1e-13
#: Bytes of rows that the Gram matrix is summed from at a time.
_BLOCK = 1 << 28


class Rows:
    """Coordinates by orthogonalising the rows of J."""

    floor = ROWS_FLOOR

    def __init__(self, before: Jacobian) -> None:
        self.basis, triangle = torch.linalg.qr(before.rows().T)  # (m, r)
        self.before = triangle.T  # (n, r)

    @staticmethod
    def bytes(jacobian: Jacobian) -> int:
        """Memory at the peak: the basis, the rows, what is left of them, and as much to orthogonalise that."""
        n, m = jacobian.shape
        return 8 * (4 * n * m + 20 * n * min(n, m))

    def place(self, after: Jacobian) -> tuple[Tensor, Tensor]:
        """Give the coordinates of other rows `(n, r)` in the basis, and outside of it `(n, ·)`."""
        rows = after.rows()
        inside = rows @ self.basis
        rows -= inside @ self.basis.T
        return inside, torch.linalg.qr(rows.T, mode="r").R.T


class Gram:
    """Coordinates by the n × n products of rows, summed weight by weight, so that J is never whole.

    Squaring halves the digits: singular values under 1e-7 of the largest are rounding and are taken for 0.
    """

    floor = GRAM_FLOOR

    def __init__(self, before: Jacobian) -> None:
        self.jacobian = before
        (products,) = self._products(before)
        values, vectors = torch.linalg.eigh(products)
        keep = values > self.floor**2 * values[-1]
        keep[: max(0, before.shape[0] - before.shape[1])] = False  # there are no more than columns
        self.vectors, self.roots = vectors[:, keep], values[keep].sqrt()
        self.before = self.vectors * self.roots  # (n, r)

    @staticmethod
    def bytes(jacobian: Jacobian) -> int:
        """Memory at the peak: matrices of n × n, and the rows of a group of weights in both networks."""
        n, m = jacobian.shape
        widest = max(value.numel() for value in jacobian.weights.values())
        return 8 * 26 * n * n + 4 * max(min(_BLOCK, 8 * n * m), 8 * n * widest)

    def place(self, after: Jacobian) -> tuple[Tensor, Tensor]:
        """Give the coordinates of other rows `(n, r)` in the row space of J, and outside of it `(n, n)`."""
        mixed, own = self._products(after, self.jacobian)
        inside = mixed @ self.vectors / self.roots
        values, vectors = torch.linalg.eigh(own - inside @ inside.T)
        return inside, vectors * values.clamp(min=0).sqrt()

    @staticmethod
    def _products(one: Jacobian, other: Jacobian | None = None) -> list[Tensor]:
        """Give `J₁J₂ᵀ`, if there is another, and `J₁J₁ᵀ`."""
        n = one.shape[0]
        sums = [one.images.new_zeros(n, n) for _ in range(1 if other is None else 2)]
        for names in _groups(one):
            rows = one.rows(weights=names)
            if other is not None:
                sums[0] += rows @ other.rows(weights=names).T
            sums[-1] += rows @ rows.T
        return sums


def _groups(jacobian: Jacobian) -> list[list[str]]:
    """Put weights together while their columns fit a block; a larger tensor stands alone."""
    groups: list[list[str]] = [[]]
    used = 0
    for name, value in jacobian.weights.items():
        size = 8 * jacobian.shape[0] * value.numel()
        if groups[-1] and used + size > _BLOCK:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


class Exact:
    """All singular values and vectors of J, J̃ and J plus noise, in float64.

    Args:
        before: J, in float64.
        residual: r `(n,)`, or None where there is none.
        gram: Whether to go by the Gram matrix.

    Attributes:
        factors: Of J, the right vectors in coordinates.
        slow: `slow_share` of J.
        floor: Singular values below this multiple of the largest are rounding.
        error: Bound on the relative error of the leading values: none but rounding.
    """

    error = 0.0

    def __init__(self, before: Jacobian, residual: Tensor | None, *, gram: bool) -> None:
        self._residual, self._shape = residual, before.shape
        self._space = Gram(before) if gram else Rows(before)
        self.floor = self._space.floor
        self.factors = decompose(self._space.before)
        self.slow = self._slow(self.factors)

    def change(self, after: Jacobian, *, seed: int) -> Change:
        """Hold J̃ against J, and against J plus noise whose rows are as long as those of E."""
        inside, outside = self._space.place(after)
        before = self._space.before
        r = before.shape[1]
        moved = torch.cat([inside, outside], 1)
        change = torch.cat([inside - before, outside], 1)
        lengths = torch.linalg.vector_norm(change, dim=1)
        noisy = rotated(lengths, self._shape[1], r, seed=derive(seed, "noise"))
        noisy[:, :r] += before
        found, null = decompose(moved), decompose(noisy)
        norms = torch.linalg.svdvals(change)
        return Change(
            after=found,
            null=null,
            slow=(self._slow(found), self._slow(null)),
            spectral=float(norms[0]),
            frobenius=float(torch.linalg.vector_norm(norms)),
            parts=self._parts(change, r),
            appended=torch.linalg.svdvals(torch.cat([pad(before, (0, outside.shape[1])), moved])),
        )

    def _slow(self, factors: Factors) -> float | None:
        return None if self._residual is None else slow_share(factors, self._residual, ridge_of(self.factors))

    def _parts(self, change: Tensor, r: int) -> tuple[float, float, float]:
        """Give the norms of Stewart's decomposition."""
        n, m = self._shape
        if n > m:  # the projection is on the column space
            kept = self.factors.left @ (self.factors.left.T @ change)
            within, across = kept, change - kept
        else:
            within, across = change[:, :r], change[:, r:]
        sizes = torch.linalg.svdvals(across)
        # of a part that has fewer dimensions than J has singular values, the least is 0
        least = float(sizes[min(n, m) - 1]) if min(n, m) <= min(len(sizes), max(n, m) - r) else 0.0
        return float(torch.linalg.matrix_norm(within, 2)), float(sizes[0]) if len(sizes) else 0.0, least
