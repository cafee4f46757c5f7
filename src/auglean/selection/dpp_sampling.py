"""Exact draws from a k-DPP whose kernel is given by factors: the dual sampler, in logarithms."""

from __future__ import annotations

import torch
from torch import Tensor


def log_elementary(log_values: Tensor, k: int) -> Tensor:
    """Compute logarithms of elementary symmetric polynomials: entry (j, m) is `log e_j(λ_1 … λ_m)`.

    By `e_j(λ_1 … λ_m) = e_j(λ_1 … λ_{m−1}) + λ_m e_{j−1}(λ_1 … λ_{m−1})` (Kulesza & Taskar 2012, algorithm 7). All
    terms are positive, so that in logarithms nothing overflows or cancels.

    Args:
        log_values: Logarithms of the values. Shape `(r,)`, float64.
        k: The highest order.

    Returns:
        Shape `(k + 1, r + 1)`; −∞ where j is over m.

    >>> log_elementary(torch.tensor([1.0, 2, 3], dtype=torch.float64).log(), 2)[:, -1].exp().round()
    tensor([ 1.,  6., 11.], dtype=torch.float64)
    """
    columns = [log_values.new_full((k + 1,), -torch.inf)]
    columns[0][0] = 0.0
    for value in log_values:
        column = columns[-1].clone()
        column[1:] = torch.logaddexp(column[1:], value + columns[-1][:-1])
        columns.append(column)
    return torch.stack(columns, 1)


def spectrum(points: Tensor) -> tuple[Tensor, Tensor]:
    """Give the positive part of the spectrum of the kernel `ΦΦᵀ` from the rows of Φ alone.

    By `Φ = QR` and the singular values of R, whose squares are the eigenvalues: half the digits that the eigenvalues of
    `ΦᵀΦ` would lose are kept. A value counts as 0 below `max(n, d) · 2⁻⁵²` of the largest singular value.

    Args:
        points: The rows of Φ. Shape `(n, d)`, float64.

    Returns:
        Logarithms of the eigenvalues, ascending, `(r,)`, and the eigenvectors `(n, r)`, where r is the rank.

    >>> logs, vectors = spectrum(torch.tensor([[3.0], [4.0]], dtype=torch.float64))
    >>> logs.exp().round(), vectors[:, 0].abs()
    (tensor([25.], dtype=torch.float64), tensor([0.6000, 0.8000], dtype=torch.float64))
    """
    q, r = torch.linalg.qr(points)
    left, values, _ = torch.linalg.svd(r, full_matrices=False)
    kept = values > max(points.shape) * torch.finfo(values.dtype).eps * values[0]
    return 2 * values[kept].log().flip(0), (q @ left[:, kept]).flip(1)


def sample_k_dpp(log_values: Tensor, vectors: Tensor, k: int, g: torch.Generator) -> Tensor:
    """Draw a set S of k rows with probability in proportion to `det(L_S)`.

    By Kulesza & Taskar 2012, algorithms 1 and 8: first k of the eigenvectors, by the elementary symmetric polynomials;
    then one row after another, each in proportion to the squared length of what is left of it after the rows drawn
    before. O(r·k + n·k²) operations, n·k numbers.

    Args:
        log_values: Logarithms of the eigenvalues of L that are not 0, `(r,)`.
        vectors: Their eigenvectors, `(n, r)`.
        k: How many, at most r.
        g: Source of the draws, on the processor.

    Returns:
        Shape `(k,)`, int64; distinct, in the order drawn, which is random.

    >>> logs, vectors = spectrum(torch.eye(3, dtype=torch.float64))
    >>> sorted(sample_k_dpp(logs, vectors, 3, torch.Generator().manual_seed(0)).tolist())
    [0, 1, 2]
    """
    left = vectors[:, _draw_eigenvectors(log_values.cpu(), k, g).to(vectors.device)]  # (n, k)
    length = left.square().sum(1)  # (n,) squared, of what is left
    least = 1e-12 * length
    basis = left.new_zeros(k, k)  # what is taken, as orthonormal rows
    draws = torch.rand(k, generator=g, dtype=torch.float64).tolist()
    picks: list[int] = []
    for step in range(k):
        cumulative = length.cumsum(0)
        at = int(torch.searchsorted(cumulative, draws[step] * cumulative[-1], right=True))
        # a draw that rounding puts beyond the end, or on a point that has no chance
        at = at if at < len(length) and length[at] > 0 else int(length.argmax())
        picks.append(at)
        direction = left[at]
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            direction = direction - basis[:step].T @ (basis[:step] @ direction)
        basis[step] = direction / direction.norm()
        length -= (left @ basis[step]).square_()
        length[length < least] = 0.0  # rounding, so that duplicates never come together
        length[at] = 0.0
    return torch.tensor(picks)


def _draw_eigenvectors(log_values: Tensor, k: int, g: torch.Generator) -> Tensor:
    """Choose k of the r eigenvectors, a set J with probability in proportion to the product of its eigenvalues."""
    table = log_elementary(log_values, k).tolist()
    values, r = log_values.tolist(), len(log_values)
    thresholds = torch.rand(r, generator=g, dtype=torch.float64).log().tolist()
    chosen: list[int] = []
    for m in range(r, 0, -1):
        wanted = k - len(chosen)
        if not wanted:
            break
        # the share of e_wanted(λ_1 … λ_m) in which λ_m takes part
        if thresholds[m - 1] < values[m - 1] + table[wanted - 1][m - 1] - table[wanted][m] or m == wanted:
            chosen.append(m - 1)
    return torch.tensor(chosen)
