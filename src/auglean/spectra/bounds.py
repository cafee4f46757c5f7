"""What theory says of singular values and subspaces of J + E, from norms of E alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def weyl(values: Tensor, norm: float) -> tuple[Tensor, Tensor]:
    """Bound each singular value of J + E: `|σ̃_i − σ_i| ≤ ‖E‖₂` (Weyl 1912).

    Args:
        values: Singular values of J. Shape `(t,)`.
        norm: Spectral norm of E.

    Returns:
        Least and greatest values `(t,)` each. A least value of 0 says nothing.

    >>> weyl(torch.tensor([3.0, 1.0]), 2.0)
    (tensor([1., 0.]), tensor([5., 3.]))
    """
    return (values - norm).clamp(min=0), values + norm


def stewart(values: Tensor, inside: float, outside: float, least: float) -> tuple[Tensor, Tensor]:
    """Bound each singular value of J + E by parts of E: `σ̃_i² = (σ_i + μ_i)² + ζ_i²` (Stewart 1979).

    For J with no more columns than rows let P project on its column space; for a wide J, take the transposes: P
    projects on its row space. Then `|μ_i| ≤ ‖PE‖₂` and `σ_min((1 − P)E) ≤ ζ_i ≤ ‖(1 − P)E‖₂`. The part outside
    can only enlarge: by much where σ_i is small against it.

    Args:
        values: Singular values of J. Shape `(t,)`.
        inside: `‖PE‖₂`.
        outside: `‖(1 − P)E‖₂`.
        least: `σ_min((1 − P)E)`, the smallest of as many singular values as J has.

    Returns:
        Least and greatest values `(t,)` each.

    >>> stewart(torch.tensor([4.0, 0.0]), 1.0, 3.0, 2.0)
    (tensor([3.6056, 2.0000]), tensor([5.8310, 3.1623]))
    """
    low = ((values - inside).clamp(min=0).square() + least**2).sqrt()
    return low, ((values + inside).square() + outside**2).sqrt()


def wedin(values: Tensor, perturbed: Tensor, norm: float, k: int) -> float:
    """Bound the sine of the largest angle between the leading subspaces of J and J + E (Wedin 1972).

    `max(sin∠(U_k, Ũ_k), sin∠(V_k, Ṽ_k)) ≤ ‖E‖₂ / (σ_k − σ̃_{k+1})`. One or more says nothing: it is vacuous.

    Args:
        values: Singular values of J, falling; at least k.
        perturbed: Those of J + E. Where it has no k + 1st, that is taken for 0, as it is of a matrix of rank k.
        norm: Spectral norm of E.
        k: Dimension of the subspaces.

    Returns:
        The bound; infinite where there is no gap.

    >>> values = torch.tensor([9.0, 1.0])
    >>> wedin(values, values, 2.0, 1), wedin(values, values, 0.5, 2), wedin(values, values + 8, 2.0, 1)
    (0.25, 0.5, inf)
    """
    following = float(perturbed[k]) if k < len(perturbed) else 0.0
    gap = float(values[k - 1]) - following
    return norm / gap if gap > 0 else math.inf


def isotropic(values: Tensor, variance: float, shape: tuple[int, int]) -> Tensor:
    """Predict how much noise without any structure enlarges each singular value, to leading order.

    With independent entries of the given variance s² added to J, `Δσ_i ≈ (m − n) s² / (2σ_i) + s² σ_i Σ_{j≠i}
    1 / (σ_i² − σ_j²)` for n ≤ m (second-order perturbation theory; Stewart & Sun 1990, chapter V). It holds while
    `Δσ_i` is small against σ_i and s against the gaps; elsewhere, where it exceeds a tenth of σ_i, NaN is given.

    Args:
        values: All min(n, m) singular values of J, float64.
        variance: Of an entry of the noise.
        shape: Of J.

    >>> isotropic(torch.tensor([2.0, 1.0]).double(), 0.01, (2, 12))
    tensor([0.0317, 0.0467], dtype=torch.float64)
    """
    squares = values.square()
    gaps = squares[:, None] - squares  # (t, t)
    repulsion = torch.where(gaps == 0, 0.0, 1 / gaps).sum(1)
    change = variance * (abs(shape[0] - shape[1]) / (2 * values) + values * repulsion)
    return torch.where(change.abs() <= values / 10, change, math.nan)
