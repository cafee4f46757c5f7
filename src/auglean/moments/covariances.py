"""Covariances of augmented samples: never the matrix, but what multiplies by it.

Shapes: B images of D = C·H·W entries. Everything is float64. Deviations are centred before they are multiplied;
`E[T Tᵀ] − μ μᵀ` is never formed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.rules import Kind

#: Bytes of nodes or columns that are kept at once.
MEMORY = 2**29
#: Bytes of nodes that are worked on at once: what caches hold.
_BLOCK = 2**21
#: Nodes that are worked on at once if so many fit; the images that fit beside them share their grids.
_TOGETHER = 16
#: Pixels, at most, and directions in which the covariances of two rules are held against each other.
_PIXELS, _DIRECTIONS = 256, 8


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
    m4_kind: Kind  # how `m4` is got
    sketch: Tensor | None = None  # products by fixed directions, which tell two covariances apart, (B, n, m)

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

    @property
    def fits(self) -> bool:
        """Whether the columns take no more than the limit."""
        return 8 * self.mean.numel() * self.width <= self.limit

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(B,)`."""
        factor = self.columns()
        small = factor.mT @ factor if factor.shape[2] <= factor.shape[1] else factor @ factor.mT
        return small.square().sum((1, 2))


class Nodes(Covariance):
    """The covariance of a rule: `F = [√w_k (T_k − μ)]`.

    Mean and variance are those of a few nodes at a time, joined (Chan, Golub & LeVeque 1983). Nodes are made again for
    what else is asked, and kept from then on where they fit.

    Args:
        run: Gives what the nodes `start … stop − 1` make of a slice of the images. Shape `(stop − start, b, D)`.
        weights: Shape `(K, B)` or `(K, 1)`.
        images: B.
        size: D.
        m4_kind: How well the rule stands for fourth powers.
        fourth: Makes the rule that stands for fourth powers, where that is another one.
        scale: Factor of the covariance; n / (n − 1) makes that of n draws unbiased.
        limit: Bytes of nodes kept.
        hold: Bytes of nodes that are kept from the first, though mean and variance alone need none kept.
        sketched: Whether another rule's covariance will be held against this one.
        known: Mean, variance and sketch, if they are. Shape `(B, D)` of the first two.
    """

    def __init__(
        self,
        run: Callable[[int, int, slice], Tensor],
        weights: Tensor,
        *,
        images: int,
        size: int,
        m4_kind: Kind,
        fourth: Callable[[], Covariance] | None = None,
        scale: float = 1.0,
        limit: int = MEMORY,
        hold: int = _BLOCK,
        sketched: bool = False,
        known: tuple[Tensor, Tensor, Tensor | None] | None = None,
    ) -> None:
        self._run, self._weights, self._scale, self.limit, self.m4_kind = run, weights, scale, limit, m4_kind
        self._fourth = fourth
        few = known is None and 8 * len(weights) * images * size <= min(hold, limit)
        self._held: list[Tensor] | None = [] if few else None
        block = min(_BLOCK, limit // 8)  # an operator works on a few copies of what it is given
        each = max(1, min(images, block // (8 * size * min(len(weights), _TOGETHER))))
        self._groups = [slice(start, min(start + each, images)) for start in range(0, images, each)]
        self._step = max(1, min(len(weights), block // (8 * size * each)))
        if known is not None:
            self.mean, self.variance, self.sketch = known
            return
        pixels, directions = glimpse(size, weights.device)
        self.mean, self.variance = weights.new_zeros(2, images, size)
        self.sketch = weights.new_zeros(images, *directions.shape) if sketched else None
        for group in self._groups:
            self._prepare(group, pixels, directions)

    def _prepare(self, group: slice, pixels: slice, directions: Tensor) -> None:
        """Find mean and variance of some images, and the sketch if there is to be one."""
        before: Tensor | float = 0.0
        held: list[Tensor] = []
        centre, variance = self.mean[group], self.variance[group]  # in place from here on
        sketch = None if self.sketch is None else self.sketch[group]
        for nodes, weights in self._steps(group):
            found = self._run(nodes.start, nodes.stop, group)
            share = weights.sum(0)[:, None].clamp(min=1e-300)  # (b or 1, 1)
            mean = weighted(weights, found).div_(share)
            off, step, after = found - mean, mean - centre, before + share
            if sketch is not None:
                some = off[..., pixels]  # (k, b, n)
                along = weights[..., None] * (some.flatten(0, 1) @ directions).view(*some.shape[:2], -1)
                sketch.baddbmm_(some.permute(1, 2, 0), along.transpose(0, 1))
            variance.add_(weighted(weights, off.square_()))
            centre.add_(step * (share / after))
            if nodes.start:  # what came before has another mean
                between = before * share / after
                variance.add_(step.square() * between)
                if sketch is not None:
                    apart = step[:, pixels, None]  # (b, n, 1)
                    sketch.add_((between[..., None] * apart) * (apart.mT @ directions))
            before = after
            if self._held is not None:
                held.append(found)
        if self._scale != 1.0:
            variance.mul_(self._scale)
        if self._held is not None:
            self._held.append(torch.cat(held) if len(held) > 1 else held[0])

    def _steps(self, group: slice) -> Iterator[tuple[slice, Tensor]]:
        """A few nodes at a time, with their weights `(k, b or 1)`."""
        weights = self._weights if self._weights.shape[1] == 1 else self._weights[:, group]
        for start in range(0, len(weights), self._step):
            nodes = slice(start, min(start + self._step, len(weights)))
            yield nodes, weights[nodes]

    def _centred(self, nodes: slice, group: slice) -> Tensor:
        return self._run(nodes.start, nodes.stop, group) - self.mean[group]

    @cached_property
    def _kept(self) -> list[Tensor]:
        """All centred nodes, `(K, b, D)` for each group of images."""
        if self._held is not None:
            held, self._held = self._held, None
            return [nodes - self.mean[group] for nodes, group in zip(held, self._groups, strict=True)]
        return [torch.cat([self._centred(nodes, group) for nodes, _ in self._steps(group)]) for group in self._groups]

    def _deviations(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """A few images at a time, weights `(k, b or 1)`, and centred nodes `(k, b, D)`."""
        for i, group in enumerate(self._groups):
            for nodes, weights in self._steps(group):
                yield group, weights, self._kept[i][nodes] if self.fits else self._centred(nodes, group)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        total = torch.zeros_like(v)
        for group, weights, deviation in self._deviations():
            rows = deviation.transpose(0, 1)  # (b, k, D)
            total[group] += rows.mT @ (weights.mT[:, :, None] * (rows @ v[group]))
        return self._scale * total

    @property
    def width(self) -> int:
        """Number of nodes."""
        return len(self._weights)

    def columns(self) -> Tensor:
        """The factor, if it fits."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        found = self.mean.new_empty(len(self.mean), self.width, self.mean.shape[1])
        place = 0
        for group, weights, deviation in self._deviations():
            root, part = (weights * self._scale).sqrt()[..., None], found[group, place : place + len(deviation)]
            torch.mul(root, deviation, out=part.transpose(0, 1))
            place = (place + len(deviation)) % self.width
        return found.mT

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` by the inner products of all nodes, which are made again where they are not kept. Shape `(B,)`."""
        if self.fits:
            return super().frobenius2
        total = torch.zeros_like(self.mean[:, 0])
        step = max(1, self.limit // (16 * self.mean.shape[1]))
        for i in range(len(self.mean)):
            one, weights = slice(i, i + 1), self._weights[:, i if self._weights.shape[1] > 1 else 0]
            for start in range(0, self.width, step):
                stop = min(start + step, self.width)
                held = self._centred(slice(start, stop), one)[:, 0]
                total[i] += weights[start:stop] @ (held @ held.mT).square() @ weights[start:stop]
                for low in range(stop, self.width, self._step):
                    high = min(low + self._step, self.width)
                    other = self._centred(slice(low, high), one)[:, 0]
                    total[i] += 2 * weights[start:stop] @ (held @ other.mT).square() @ weights[low:high]
        return self._scale**2 * total

    @cached_property
    def m4(self) -> Tensor:
        """`Σ w_k ‖T_k − μ‖⁴`. Shape `(B,)`."""
        if self._fourth is not None:
            return self._fourth().m4
        total = torch.zeros_like(self.mean[:, 0])
        for group, weights, deviation in self._deviations():
            total[group] += (weights * deviation.square().sum(2).square()).sum(0)
        return total


@lru_cache(maxsize=16)
def glimpse(size: int, device: torch.device) -> tuple[slice, Tensor]:
    """Give n pixels at even distances, and signs by chance in each: m directions `(n, m)`.

    With such signs the squared norm of `A v` is on average that of A (Hutchinson 1989).
    """
    step = -(-size // _PIXELS)
    while math.gcd(step, size) > 1:  # or it would be the same column of every row
        step += 1
    n, chance = -(-size // step), torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (n, _DIRECTIONS), generator=chance).double() * 2 - 1
    return slice(None, None, step), signs.to(device)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Give `Σ_k w_k v_k` of weights `(k, b)` or `(k, 1)` and values `(k, b, D)`. Shape `(b, D)`."""
    if weights.shape[1] == 1:
        return (weights[:, 0] @ values.flatten(1)).view(values.shape[1:])
    return torch.einsum("kb,kbd->bd", weights, values)
