"""The directions of most variance: of a factor that is at hand, or of a covariance that can only be multiplied by.

Random directions come from a seed of their own, so that the same covariance gives the same digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.moments.covariances import Covariance, check_memory
from auglean.randomness import generator

#: Columns up to which all inner products are taken.
FEW = 384
_STEP = 64


def _directions(d: int, n: int, like: Tensor, chance: torch.Generator | None = None) -> Tensor:
    """Random columns `(d, n)`."""
    chance = generator(0, "low rank") if chance is None else chance
    return torch.randn(d, n, generator=chance, dtype=torch.float64).to(like.device)


def compress(factor: Tensor, share: float) -> tuple[Tensor, float]:
    """Leave out the directions of least variance, at most a share of the trace in all.

    Small factors by the eigenvectors of their inner products; of large ones, the range is found first by random
    projections (Halko, Martinsson & Tropp 2011, algorithm 4.2), until what lies outside it is known to be small enough.

    Args:
        factor: F of `C = F Fᵀ`. Shape `(D, K)`.
        share: Largest share of the trace that may go.

    Returns:
        A factor with orthogonal columns, by descending variance, `(D, r)`; and the variance that went.

    >>> small, gone = compress(torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64), 0.2)
    >>> small.abs().tolist(), round(gone, 12)
    ([[3.0], [0.0]], 1.0)
    """
    total = float(factor.square().sum())
    if min(factor.shape) <= FEW:
        return _cut(factor, share * total, 0.0)
    basis, inside = factor.new_zeros(len(factor), 0), factor.new_zeros(0, factor.shape[1])
    outside, chance = total, generator(0, "low rank")
    # half of what may go for what no direction reaches, half for what is cut off thereafter
    while outside > share * total / 2:
        if 2 * len(inside) > min(factor.shape):
            return _cut(factor, share * total, 0.0)
        new = factor @ _directions(factor.shape[1], _STEP, factor, chance)
        for _ in range(2):  # once leaves rounding behind
            new = torch.linalg.qr(new - basis @ (basis.mT @ new)).Q
        basis, inside = torch.cat([basis, new], 1), torch.cat([inside, new.mT @ factor])
        outside = total - float(inside.square().sum())
    spectrum, vectors = torch.linalg.eigh(inside @ inside.mT)
    keep = spectrum > 1e-14 * spectrum[-1]
    # on the side of the columns: what is left then never exceeds C
    reduced = factor @ (inside.mT @ (vectors[:, keep] * spectrum[keep].rsqrt()))
    return _cut(reduced, share * total, max(total - float(reduced.square().sum()), 0.0))


def combine(columns: Tensor, share: float) -> tuple[Tensor, float]:
    """Put combinations of nodes in the place of nodes, for all columns the same ones, and leave out the weakest.

    Neighbouring nodes make nearly the same of a column. The eigenvectors of their inner products, summed over columns,
    turn K nodes into as many combinations, of which few have most of the variance: the first step of a decomposition of
    Tucker's (De Lathauwer, De Moor & Vandewalle 2000).

    Args:
        columns: What each node makes of each column. Shape `(K, r, D)`.
        share: Largest share of the sum of squares that may go.

    Returns:
        Combinations `(k, r, D)`, `k ≤ K`; and the sum of squares that went.

    >>> alike = torch.tensor([[[3.0]], [[4.0]]], dtype=torch.float64)
    >>> combine(alike, 0.0)[0].abs().flatten().tolist()
    [5.0]
    """
    flat = columns.flatten(1)
    spectrum, vectors = torch.linalg.eigh(flat @ flat.mT)
    keep, gone = _kept(spectrum, share * float(spectrum.sum()), 0.0)
    return (vectors.flip(1)[:, :keep].mT @ flat).view(keep, *columns.shape[1:]), gone


def _cut(factor: Tensor, most: float, gone: float) -> tuple[Tensor, float]:
    """Leave out directions until so much variance is gone in all."""
    wide = factor.shape[1] > factor.shape[0]
    spectrum, vectors = torch.linalg.eigh(factor @ factor.mT if wide else factor.mT @ factor)
    keep, gone = _kept(spectrum, most, gone)
    vectors = vectors.flip(1)[:, :keep]
    return (vectors * spectrum.flip(0)[:keep].sqrt() if wide else factor @ vectors), gone


def _kept(spectrum: Tensor, most: float, gone: float) -> tuple[int, float]:
    """How many of the largest eigenvalues stay if so much may go in all, and what goes; `gone` went before."""
    spectrum = spectrum.flip(0).clamp(min=0)
    total = float(spectrum.sum())
    tails = gone + total - spectrum.cumsum(0)  # what goes if so many and one stay
    keep = int((tails > most).sum()) + 1 if total > 0 else 0
    # a column of rounding is no direction
    keep = min(keep, int((spectrum > 1e-15 * total).sum()))
    return keep, gone + float(spectrum[keep:].sum())


def thin(covariance: Covariance, share: float, most: int) -> tuple[list[Tensor], list[float]]:
    """Find a factor of each image by products alone, as `compress` would, in `most` columns at most.

    By the approximation of Nyström `C Ω (Ωᵀ C Ω)⁻¹ Ωᵀ C` in random directions Ω, which never exceeds C, so that what is
    missing from the trace is what went.
    """
    trace = covariance.variance.sum(1)
    d = covariance.mean.shape[1]
    width = 32
    while True:
        width = min(2 * width, d, most)
        check_memory("A factor of the covariance", 2 * width, *covariance.mean.shape, limit=covariance.limit)
        test = torch.linalg.qr(_directions(d, width, trace)).Q.expand(len(trace), -1, -1)
        image = covariance.matvec(test)
        values, vectors = torch.linalg.eigh(test.mT @ image)  # (B, width), (B, width, width)
        inverse = torch.where(values > 1e-13 * values[:, -1:], values.clamp(min=1e-300).rsqrt(), 0.0)
        factors = image @ (vectors * inverse[:, None])
        missing = (trace - factors.square().sum((1, 2))).clamp(min=0)
        if width == min(d, most) or bool((missing <= share * trace / 2).all()):
            break
    found = [
        _cut(factor, share * float(whole), float(gone))
        for factor, whole, gone in zip(factors, trace, missing, strict=True)
    ]
    return [factor for factor, _ in found], [gone for _, gone in found]


def leading(covariance: Covariance, k: int, tol: float = 1e-7) -> tuple[Tensor, Tensor]:
    """Find the k largest eigenvalues and their vectors by products alone, by a block Krylov space.

    Golub & Underwood 1977, with the whole basis kept orthogonal. It grows until `‖C v − λ v‖` of all k is below `tol`
    times the largest eigenvalue.

    Returns:
        Values, `(B, k)`, descending; vectors, `(B, D, k)`.
    """
    images, d = covariance.mean.shape
    k = min(k, d)
    width = min(d, k + 8)
    block = torch.linalg.qr(_directions(d, width, covariance.mean)).Q.expand(images, -1, -1)
    basis, image = block, covariance.matvec(block)
    inner = basis.mT @ image  # kept up block by block
    while True:
        values, vectors = torch.linalg.eigh(inner)
        values, vectors = values[:, -k:].flip(1), vectors[..., -k:].flip(2)
        residual = (image @ vectors - basis @ (vectors * values[:, None])).norm(dim=1)
        size = basis.shape[2] + width
        if bool((residual <= tol * values[:, :1].abs() + 1e-300).all()) or size > min(d, 40 * width):
            return values.clamp(min=0), basis @ vectors
        check_memory("The Krylov space of eig", 2, images, d, size, limit=covariance.limit)
        new = image[..., -width:]
        for _ in range(2):  # once leaves rounding behind
            new = torch.linalg.qr(new - basis @ (basis.mT @ new)).Q
        made = covariance.matvec(new)
        cross, basis, image = basis.mT @ made, torch.cat([basis, new], 2), torch.cat([image, made], 2)
        inner = torch.cat([torch.cat([inner, cross], 2), torch.cat([cross.mT, new.mT @ made], 2)], 1)
