"""Covariances of augmented samples: never the matrix, but what multiplies by it.

Shapes: B images of D = C·H·W entries. Everything is float64. Deviations are centred before they are multiplied;
`E[T Tᵀ] − μ μᵀ` is never formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from auglean.errors import InputError

#: Bytes of nodes or columns that are kept at once.
MEMORY = 2**29


def check_memory(what: str, *shape: int, limit: int) -> None:
    """Refuse float64 numbers of a shape that would take more bytes than the limit."""
    size = 8
    for length in shape:
        size *= length
    if size > limit:
        raise InputError(
            f"{what} would take {size / 2**20:.0f} MiB but the limit is {limit / 2**20:.0f} MiB; use matvec, "
            "which needs no such array, fewer images at once, or a larger max_memory."
        )


class Covariance(ABC):
    """What every form of a covariance offers; a subclass writes mean, variance, product and columns."""

    mean: Tensor  # (B, D)
    variance: Tensor  # (B, D)
    limit: int = MEMORY

    @abstractmethod
    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of columns of the factor."""

    @abstractmethod
    def columns(self) -> Tensor:
        """A factor F with `C = F Fᵀ`. Shape `(B, D, width)`."""

    @property
    @abstractmethod
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(B,)`."""
        factor = self.columns()
        small = factor.mT @ factor if factor.shape[2] <= factor.shape[1] else factor @ factor.mT
        return small.square().sum((1, 2))


class Nodes(Covariance):
    """The covariance of a rule: `F = [√w_k (T_k − μ)]`, kept where it fits and made again where it does not.

    Args:
        run: Gives the images of nodes `start … stop − 1`. Shape `(stop − start, B, D)`.
        weights: Shape `(K, B)` or `(K, 1)`.
        images: B.
        size: D.
        scale: Factor of the covariance; n / (n − 1) makes that of n draws unbiased.
        limit: Bytes of nodes kept.
    """

    def __init__(
        self,
        run: Callable[[int, int], Tensor],
        weights: Tensor,
        *,
        images: int,
        size: int,
        scale: float = 1.0,
        limit: int = MEMORY,
    ) -> None:
        self._run, self._weights, self._scale, self.limit = run, weights, scale, limit
        self._images, self._size = images, size
        bytes_of_node = 8 * images * size
        self._kept: Tensor | None = None
        if bytes_of_node * len(weights) <= limit:
            self._step = len(weights)
            self._kept = run(0, len(weights))
        else:  # an operator works on a few copies of what it is given
            self._step = max(1, limit // (8 * bytes_of_node))
        self.mean = self._weighted(self._chunks())
        if self._kept is not None:
            self._kept = self._kept - self.mean
        self.variance = scale * self._weighted((w, deviation.square()) for w, deviation in self._deviations())

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self._weights), self._step):
            stop = min(start + self._step, len(self._weights))
            yield self._weights[start:stop], self._run(start, stop) if self._kept is None else self._kept[start:stop]

    def _deviations(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weights `(k, B or 1)` and centred images `(k, B, D)`."""
        for w, found in self._chunks():
            yield w, found if self._kept is not None else found - self.mean

    def _weighted(self, chunks: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        total = self._weights.new_zeros(self._images, self._size)
        for w, found in chunks:
            if w.shape[1] == 1:
                total += (w[:, 0] @ found.flatten(1)).view_as(total)
            else:
                total += torch.einsum("kb,kbd->bd", w, found)
        return total

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        total = torch.zeros_like(v)
        for w, deviation in self._deviations():
            rows = deviation.transpose(0, 1)  # (B, k, D)
            total += rows.mT @ (w.mT[:, :, None] * (rows @ v))
        return self._scale * total

    @property
    def width(self) -> int:
        """Number of nodes."""
        return len(self._weights)

    def columns(self) -> Tensor:
        """The factor, if it fits."""
        check_memory("The factor of the covariance", self.width, self._images, self._size, limit=self.limit)
        parts = [(w * self._scale).sqrt()[..., None] * deviation for w, deviation in self._deviations()]
        return torch.cat(parts).permute(1, 2, 0)

    @cached_property
    def m4(self) -> Tensor:
        """`Σ w_k ‖T_k − μ‖⁴`. Shape `(B,)`."""
        return sum(
            ((w * deviation.square().sum(2).square()).sum(0) for w, deviation in self._deviations()),
            self._weights.new_zeros(self._images),
        )


def compress(factor: Tensor, share: float) -> tuple[Tensor, float]:
    """Leave out the directions of least variance, at most a share of the trace in all.

    Args:
        factor: F of `C = F Fᵀ`. Shape `(D, K)`.
        share: Largest share of the trace that may go.

    Returns:
        A factor with orthogonal columns, by descending variance, `(D, r)`; and the variance that went.

    >>> small, gone = compress(torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64), 0.2)
    >>> small.abs().tolist(), round(gone, 12)
    ([[3.0], [0.0]], 1.0)
    """
    wide = factor.shape[1] > factor.shape[0]
    spectrum, vectors = torch.linalg.eigh(factor @ factor.mT if wide else factor.mT @ factor)
    spectrum, vectors = spectrum.flip(0).clamp(min=0), vectors.flip(1)
    total = float(spectrum.sum())
    rest = total - spectrum.cumsum(0)  # what goes if so many and one stay
    keep = int((rest > share * total).sum()) + 1 if total > 0 else 0
    # a column of rounding is no direction
    keep = min(keep, int((spectrum > 1e-15 * total).sum()))
    gone = float(spectrum[keep:].sum())
    return (vectors[:, :keep] * spectrum[:keep].sqrt() if wide else factor @ vectors[:, :keep]), gone
