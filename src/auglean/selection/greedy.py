"""Greedy maximisation of facility location on a matrix of costs: four ways to the same picks, and a faster guess.

With `nearest_i` the cost at which point i is served so far, a candidate j gains `Σ_i max(nearest_i − cost_ij, 0)`.
Every solver takes the candidate of the largest gain, of equals the first; candidates that were taken never come again.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.selection.distances import at_once
from auglean.selection.matrices import CostMatrix

#: Rows that are gathered at a time: the chunk has to stay in the cache of a CPU.
CHUNK_BYTES = 1 << 21


@dataclass(frozen=True, slots=True)
class Picks:
    """What a solver gives, in units of its matrix.

    Attributes:
        order: Candidates in the order taken. Shape `(k,)`, int64.
        gains: What each added; the first as against serving all at the largest cost. Shape `(k,)`, float64, exact.
        changes: For every change of owner, in the order of the picks: the point, and the number of its new pick.
    """

    order: Tensor
    gains: Tensor
    changes: tuple[Tensor, Tensor]

    def __len__(self) -> int:
        return len(self.order)

    def owner(self, n: int, first: int | None = None) -> Tensor:
        """Give the pick that serves each point among the first so many; the earliest of equals. Shape `(n,)`."""
        points, steps = self.changes
        if first is not None:
            points, steps = points[steps < first], steps[steps < first]
        # later changes have larger numbers
        return torch.zeros(n, dtype=torch.int64).scatter_reduce_(0, points, steps, "amax", include_self=False)


@torch.inference_mode()  # a third of a small step is what torch keeps for gradients
def decremental(matrix: CostMatrix, k: int, *, floor: float = -math.inf, mass: Tensor | None = None) -> Picks:
    """Keep every gain up to date; after a pick, correct them by the rows whose nearest pick changed.

    Over a run to k = n/10 this reads the matrix 2 to 5 times, where plain greedy reads it k times.

    Args:
        matrix: The costs.
        k: How many to take at most.
        floor: Stop before a gain below this one, but not before the first pick.
        mass: How many points each row stands for, whole numbers. Shape `(n,)`, float64; by default 1.
    """
    n, values = len(matrix), matrix.values
    half = values.dtype == torch.float16
    # numbers that are not negative order as their bit patterns do, and integers are compared faster than float16
    bits = values.view(torch.int16) if half else values
    nearest = torch.full((n,), matrix.largest, dtype=values.dtype, device=values.device)
    if mass is None:
        gain = n * matrix.largest - matrix.sums
    else:
        gain = float(mass.sum()) * matrix.largest - _weighted_sums(values, mass)
    cpu = gain.device.type == "cpu"
    single = gain.numpy() if cpu else gain  # the same numbers, of which one is read faster
    most = min(n, max(1, at_once(CHUNK_BYTES, gain.device) // (values.element_size() * n)))
    # buffers of their own, since fresh memory for each chunk costs as much as the arithmetic
    chunk = torch.empty((most, n), dtype=bits.dtype, device=values.device)
    exact = torch.empty((most, n), dtype=torch.float64, device=values.device)
    order: list[Any] = []  # numbers, or tensors (1,) of an accelerator, which is not waited for
    gains: list[Any] = []
    # one buffer, since a list of tensors scatters the heap
    log, reached = torch.empty(4 * n, dtype=torch.int64, device=values.device), [0]
    while len(order) < k:
        j = int(single.argmax()) if cpu else gain.argmax(keepdim=True)
        best = float(single[j]) if cpu else gain[j]
        if order and floor > -math.inf and best < floor:
            break
        order.append(j)
        gains.append(best)
        column = matrix.column(j)
        closer = (column < nearest).nonzero().squeeze(1)  # strictly, so that earlier picks keep ties
        count = closer.numel()
        reached.append(reached[-1] + count)
        if reached[-1] > log.numel():
            log = torch.cat([log, log])
        log[reached[-2] : reached[-1]] = closer
        # what a candidate gains falls by Σ (old − the cost, within [new, old]); Σ old is the same for all candidates
        for rows in closer.split(most) if count > most else (closer,):
            old, new = nearest.index_select(0, rows).view(bits.dtype), column.index_select(0, rows).view(bits.dtype)
            clipped = torch.index_select(bits, 0, rows, out=chunk[: rows.numel()])
            torch.maximum(clipped, new.unsqueeze(1), out=clipped)
            torch.minimum(clipped, old.unsqueeze(1), out=clipped)
            kept = exact[: rows.numel()].copy_(clipped.view(values.dtype))
            gain += kept.sum(0) if mass is None else mass[rows] @ kept
        gain -= float(single[j]) if cpu else gain[j]  # Σ old, exactly: what was picked has nothing left to gain
        torch.minimum(nearest, column, out=nearest)
        single[j] = -math.inf
    if not cpu:
        order, gains = torch.cat(order).tolist(), torch.cat(gains).tolist()
    return _picks(order, gains, log[: reached[-1]], reached)


def _weighted_sums(values: Tensor, mass: Tensor) -> Tensor:
    parts = zip(values.split(1024), mass.split(1024), strict=True)
    return torch.stack([part @ rows.double() for rows, part in parts]).sum(0)


def naive(matrix: CostMatrix, k: int) -> Picks:
    """Evaluate every gain at every step. The reference that the others are held to."""

    def best(nearest: Tensor, taken: Tensor, _: int) -> tuple[int, float]:
        gain = torch.zeros(len(matrix), dtype=torch.float64, device=nearest.device)
        for old, rows in zip(nearest.split(1024), matrix.values.split(1024), strict=True):
            gain += (old[:, None] - rows.double()).clamp_(min=0).sum(0)
        j = int(gain.masked_fill_(taken, -1.0).argmax())
        return j, float(gain[j])

    return _run(matrix, k, best)


def lazy(matrix: CostMatrix, k: int) -> Picks:
    """Evaluate a gain only when its stale value leads: gains can only fall (Minoux 1978)."""
    bounds = len(matrix) * matrix.largest - matrix.sums
    heap = [(-gain, j, 0) for j, gain in enumerate(bounds.tolist())]
    heapq.heapify(heap)

    def best(nearest: Tensor, _: Tensor, step: int) -> tuple[int, float]:
        # the heap orders by gain, then by index: a fresh leader beats all others, ties included
        while True:
            gain, j, fresh = heap[0]
            if fresh == step:
                heapq.heappop(heap)
                return j, -gain
            heapq.heapreplace(heap, (-_gain(matrix, nearest, j), j, step))

    return _run(matrix, k, best)


def stochastic(matrix: CostMatrix, k: int, *, epsilon: float, g: torch.Generator) -> Picks:
    """Evaluate `(n/k) ln(1/ε)` candidates at each step, drawn anew (Mirzasoleiman et al. 2015).

    F is at least `1 − 1/e − ε` of the best on average. It is no faster than `decremental`, which is exact.

    Raises:
        InputError: If ε is so large that hardly more than one candidate would be looked at: that is random choice.
    """
    n = len(matrix)
    if not 0 < epsilon <= 0.2:
        raise InputError(
            f"epsilon is {epsilon}; give one above 0 and at most 0.2, or greedy sees too few candidates to choose from."
        )
    sample = min(n, max(2, math.ceil(n / k * math.log(1 / epsilon))))
    left = torch.arange(n)

    def best(nearest: Tensor, _: Tensor, step: int) -> tuple[int, float]:
        nonlocal left
        drawn = torch.randperm(len(left), generator=g)[:sample].sort().values
        gains = [_gain(matrix, nearest, int(j)) for j in left[drawn]]
        place = gains.index(max(gains))  # the first of equals, and drawn ascending
        j = int(left[drawn[place]])
        left = left[left != j]
        return j, gains[place]

    return _run(matrix, k, best)


def _gain(matrix: CostMatrix, nearest: Tensor, j: int) -> float:
    return float((nearest - matrix.column(j).double()).clamp_(min=0).sum())


def _run(matrix: CostMatrix, k: int, best: Callable[[Tensor, Tensor, int], tuple[int, float]]) -> Picks:
    n, device = len(matrix), matrix.values.device
    nearest = torch.full((n,), matrix.largest, dtype=torch.float64, device=device)
    taken = torch.zeros(n, dtype=torch.bool, device=device)
    order, gains, changed = [], [], []
    for step in range(k):
        j, gain = best(nearest, taken, step)
        column = matrix.column(j).double()
        closer = (column < nearest).nonzero().squeeze(1)
        nearest[closer] = column[closer]
        taken[j] = True
        order.append(j)
        gains.append(gain)
        changed.append(closer)
    return _picks(order, gains, torch.cat(changed), [0, *itertools.accumulate(len(rows) for rows in changed)])


def _picks(order: list[int], gains: list[float], points: Tensor, reached: list[int]) -> Picks:
    """Put together what a solver found; `reached` counts the changes of owner before and after each pick."""
    steps = torch.arange(len(order)).repeat_interleave(torch.tensor(reached).diff())
    with torch.inference_mode(False):
        changes = points.cpu().clone(), steps.clone()
        return Picks(torch.tensor(order), torch.tensor(gains, dtype=torch.float64), changes)


def on_graph(rows: Sequence[Tensor], values: Sequence[Tensor], k: int) -> Picks:
    """Take lazily on a graph of neighbours; what is not among them is 0.

    Args:
        rows: For each of n candidates, the points that it serves.
        values: How well, in units on which sums are exact, none of them negative. As `rows`.
        k: How many to take.
    """
    n = len(rows)
    served = torch.zeros(n, dtype=torch.float64)

    def gain(j: int) -> float:
        return float((values[j] - served[rows[j]]).clamp_(min=0).sum())

    heap = [(-gain(j), j, 0) for j in range(n)]
    heapq.heapify(heap)
    order, gains, changed = [], [], []
    for step in range(k):
        while heap[0][2] != step:
            _, j, _ = heap[0]
            heapq.heapreplace(heap, (-gain(j), j, step))
        value, j, _ = heapq.heappop(heap)
        better = values[j] > served[rows[j]]
        closer = rows[j][better]
        served[closer] = values[j][better]
        order.append(j)
        gains.append(-value)
        changed.append(closer)
    return _picks(order, gains, torch.cat(changed), [0, *itertools.accumulate(len(rows) for rows in changed)])
