"""Singular values and vectors of one matrix, and the angles between its leading subspaces and another's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Factors(NamedTuple):
    """Singular values, falling, and vectors: all of them, or the leading ones."""

    left: Tensor  # (n, t)
    values: Tensor  # (t,) float64
    right: Tensor  # (m, t), or coordinates of them

    def leading(self, count: int) -> Factors:
        """Keep the leading ones."""
        return Factors(self.left[:, :count], self.values[:count], self.right[:, :count])

    def alignment(self, residual: Tensor) -> Tensor:
        """Give the share of a residual along each left singular vector, `a_i = (u_iᵀ r)² / ‖r‖²`. Shape `(t,)`.

        Args:
            residual: r. Shape `(n,)`.
        """
        r = residual.to(self.left)
        return ((self.left.T @ r).square() / r.square().sum()).double()


class Change(NamedTuple):
    """What one draw of the augmentation made of J, beside what as much noise made of it."""

    after: Factors
    null: Factors
    slow: tuple[float | None, float | None]  # see slow_share
    spectral: float  # ‖E‖₂
    frobenius: float  # ‖E‖_F
    parts: tuple[float, float, float] | None = None  # ‖PE‖₂, ‖(1 − P)E‖₂, σ_min((1 − P)E): see bounds.stewart
    appended: Tensor | None = None  # singular values of J and J̃ on top of each other


def ridge_of(factors: Factors) -> float:
    """Give λ, what σ² is called slow below: that of a singular value of a hundredth of the largest."""
    return (0.01 * float(factors.values[0])) ** 2


def slow_share(factors: Factors, residual: Tensor, ridge: float) -> float:
    """Give `λ rᵀ(JJᵀ + λI)⁻¹ r / ‖r‖²`, the share of a residual on directions that are learnt slowly.

    With the components of r along the left vectors it is `Σ_i a_i λ / (σ_i² + λ)`, and what no vector reaches counts
    whole: gradient descent on the linearised network shrinks component i by `1 − ησ_i²` a step.

    Args:
        factors: All of them.
        residual: r. Shape `(n,)`.
        ridge: λ.

    >>> half = Factors(torch.eye(2), torch.tensor([1.0, 0.0]).double(), torch.eye(2))
    >>> slow_share(half, torch.tensor([1.0, 1.0]), 1.0)
    0.75
    """
    squares = factors.values.square()
    return float(1 - (factors.alignment(residual) * squares / (squares + ridge)).sum())


def decompose(matrix: Tensor) -> Factors:
    """Give all singular values and vectors of a matrix."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return Factors(left, values.double(), right.T)


def angles(one: Tensor, other: Tensor) -> Tensor:
    """Give the principal angles between two subspaces in degrees, largest first (Björck & Golub 1973).

    From sines, of which small ones keep their digits.

    Args:
        one: Orthonormal columns. Shape `(n, k)`.
        other: As many. Shape `(n, k)`.

    >>> plane = torch.eye(3)[:, :2]
    >>> turned = torch.tensor([[1.0, 0.0], [0.0, 0.8], [0.0, 0.6]])
    >>> angles(plane, turned).round(decimals=2)
    tensor([36.8700,  0.0000], dtype=torch.float64)
    """
    sines = torch.linalg.svdvals((other - one @ (one.T @ other)).double())
    return torch.rad2deg(torch.asin(sines.clamp(max=1)))
