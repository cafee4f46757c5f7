"""Facility location: the k points that stand best for all of them, exactly as naive greedy picks them.

The objective is `F(S) = Σ_i max_{j∈S} s_ij` with `s = max distance − distance`, so that maximising F is
minimising `L(S) = Σ_i min_{j∈S} d_ij`, the k-medoids cost, which bounds the error of the weighted gradient
sum (Mirzasoleiman, Bilmes & Leskovec 2020, CRAIG, eq. 8; Liu & Mirzasoleiman 2022).

Two points that would only serve each other have equal gains in theory, so ties are normal. All solvers
therefore work on distances rounded to a grid so fine (2⁻³⁸ of the largest for 4,096 points) that every sum
is exact in float64, whatever its order: equal gains are equal numbers, and the lowest index wins.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.selection import Selection

Solver = Literal["auto", "decremental", "lazy", "naive"]

#: Rows that one update gathers at a time: the chunk has to stay in the processor's cache.
_CHUNK_BYTES = 1 << 20

#: Numbers of the near duplicates that are gathered at a time, since all points may be duplicates.
_PAIR_NUMBERS = 1 << 22


def facility_location(
    points: Tensor | None,
    k: int,
    *,
    similarity: Tensor | None = None,
    distances: Tensor | None = None,
    solver: Solver = "auto",
    seed: int = 0,
) -> Selection:
    """Choose k points that stand for all of them.

    Args:
        points: Shape `(n, d)`; ignored where `similarity` or `distances` is given.
        k: How many to choose; at most n.
        similarity: Shape `(n, n)`, `s_ij` = how well j stands for i, any finite numbers.
        distances: Shape `(n, n)`, in place of `points`.
        solver: `"naive"` (reference, n·k column sums), `"lazy"` (Minoux 1978), `"decremental"` (keeps every gain
            up to date and touches only the rows whose nearest pick changed), or `"auto"` (decremental). All are
            exact: the same picks, gains and weights.
        seed: Unused by the exact solvers; kept for those that sample.

    Returns:
        A `Selection` whose `weights` are cluster sizes (they sum to n; a duplicate of an earlier pick has 0),
        whose `gains` never increase (the first may be the least where similarities are negative: F(∅) = 0), and
        whose `how["objective"]` is `L(S)`, for a similarity with `d = max similarity − similarity`.

    Raises:
        InputError: If the input is not finite or not of these shapes, k is not in 1 … n, or the solver is
            unknown.

    >>> line = torch.tensor([[0.0], [3], [4], [6], [12], [14], [17]])
    >>> chosen = facility_location(line, 3)
    >>> chosen.indices.tolist(), chosen.gains.tolist(), chosen.weights.tolist(), chosen.how["objective"]
    ([3, 5, 1], [83.0, 20.0, 7.0], [1.0, 3.0, 3.0], 9.0)
    """
    start = time.perf_counter()
    solvers = {"auto": _decremental, "decremental": _decremental, "lazy": _lazy, "naive": _naive}
    if solver not in solvers:
        raise unknown("solver", solver, solvers)
    cost, reach = _cost(points, similarity, distances)
    n = len(cost)
    if not 1 <= k <= n:
        raise InputError(f"k is {k} but there are {n} points; give a k from 1 to the number of points.")
    exact, unit = _on_grid(cost)
    order, nearest, owner = solvers[solver](exact, k)
    # F = n·c − Σ min cost. With c on the grid too, no gain is rounded, so equal gains come out equal
    reach = round(reach / unit) * unit if unit else reach
    gains = torch.cat([n * reach - nearest[:1] * unit, -torch.diff(nearest) * unit])
    return Selection(
        indices=order,
        weights=torch.bincount(owner, minlength=k).double(),
        gains=gains,
        total=n,
        cost={
            "seconds": time.perf_counter() - start,
            "bytes": float(2 * exact.numel() * exact.element_size()),
        },
        how={
            "selector": "facility-location",
            "solver": "decremental" if solver == "auto" else solver,
            "guarantee": "order of naive greedy, ties to the lowest index; F at least 1 − 1/e of the best",
            "objective": float(nearest[-1] * unit),
        },
        assignment=owner,
    )


def _cost(points: Tensor | None, similarity: Tensor | None, distances: Tensor | None) -> tuple[Tensor, float]:
    """Give the cost matrix (float64, rows = points to serve) and the constant c in `F = n·c − Σ min cost`."""
    square = similarity if similarity is not None else distances
    if square is None:
        if points is None:
            raise InputError("Nothing to choose from: give points (n, d), or similarity or distances (n, n).")
        if points.ndim != 2:
            raise InputError(f"points must have shape (n, d); got {tuple(points.shape)}.")
        _finite(points, "points")
        cost = pairwise(points)
        return cost, float(cost.max()) if len(cost) else 0.0
    if square.ndim != 2 or square.shape[0] != square.shape[1]:
        raise InputError(f"A similarity or distance matrix must be square (n, n); got {tuple(square.shape)}.")
    _finite(square, "the matrix")
    square = square.double()
    top = float(square.max()) if square.numel() else 0.0
    return (top - square, top) if similarity is not None else (square, top)


def _finite(values: Tensor, what: str) -> None:
    bad = (~torch.isfinite(values)).any(dim=1).nonzero().squeeze(1)
    if len(bad):
        raise InputError(f"Row {int(bad[0])} of {what} is not finite ({len(bad)} such rows); remove or repair them.")


def pairwise(points: Tensor) -> Tensor:
    """Give Euclidean distances by direct differences: symmetric to the bit, duplicates at exactly 0.

    Args:
        points: Shape `(n, d)`.

    Returns:
        Shape `(n, n)`, float64.
    """
    points = points.double()
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def pairwise_outer(left: Tensor, right: Tensor) -> Tensor:
    """Give the distances between the outer products `left_i ⊗ right_i`, without forming them.

    `⟨a_i⊗b_i, a_j⊗b_j⟩ = ⟨a_i, a_j⟩⟨b_i, b_j⟩`, so two Gram matrices suffice. Where that difference cancels
    (near duplicates), `‖(a_i−a_j)⊗b_i + a_j⊗(b_i−b_j)‖` is expanded in small differences instead.

    Args:
        left: Shape `(n, p)`.
        right: Shape `(n, q)`.

    Returns:
        Shape `(n, n)`, float64, symmetric to the bit.
    """
    a, b = left.double(), right.double()
    gram = (a @ a.T) * (b @ b.T)  # (n, n)
    norm = gram.diagonal().clone()
    scale = norm[:, None] + norm
    square = torch.triu((scale - 2 * gram).clamp_(min=0), 1)
    rows, columns = torch.triu(square < 1e-6 * scale, 1).nonzero(as_tuple=True)
    pairs_at_once = max(1, _PAIR_NUMBERS // (a.shape[1] + b.shape[1]))
    for i, j in zip(rows.split(pairs_at_once), columns.split(pairs_at_once), strict=True):
        da, db = a[i] - a[j], b[i] - b[j]
        square[i, j] = (
            da.square().sum(1) * b[i].square().sum(1)
            + a[j].square().sum(1) * db.square().sum(1)
            + 2 * (da * a[j]).sum(1) * (b[i] * db).sum(1)
        ).clamp_(min=0)
    return (square + square.T).sqrt_()


def _on_grid(cost: Tensor) -> tuple[Tensor, float]:
    """Round to multiples of a power of two so that n of them sum exactly in float64.

    Returns:
        The multiples `(n, n)`, and the unit: 0 where every cost is.
    """
    top = float(cost.abs().max())
    if not math.isfinite(top):
        raise InputError("The distances are too large for float64; scale the points down.")
    if top == 0.0:
        return torch.zeros_like(cost), 0.0
    bits = 52 - math.ceil(math.log2(len(cost) + 1))
    unit = max(2.0 ** (math.floor(math.log2(top)) + 1 - bits), math.ulp(0.0))
    return (cost / unit).round_(), unit


Picks = tuple[Tensor, Tensor, Tensor]
"""The order (k,), the sum of nearest costs after each pick (k,), and the owner of each row (n,)."""


def _start(cost: Tensor) -> Tensor:
    """Before the first pick every point is served at the largest cost: an offset that no order depends on."""
    return cost.new_full((len(cost),), float(cost.max()))


def _naive(cost: Tensor, k: int) -> Picks:
    """Evaluate every gain at every step. The reference that the others are held to."""

    def best(nearest: Tensor, taken: Tensor, _: int) -> int:
        gain = (nearest[:, None] - cost).clamp_(min=0).sum(0)
        return int(gain.masked_fill_(taken, -1.0).argmax())

    return _run(cost, k, best)


def _lazy(cost: Tensor, k: int) -> Picks:
    """Evaluate a gain only when its stale value leads: gains can only fall (Minoux 1978)."""
    columns = cost.T.contiguous()
    bounds = (float(cost.max()) - cost).sum(0)
    heap = [(-gain, j, 0) for j, gain in enumerate(bounds.tolist())]
    heapq.heapify(heap)

    def best(nearest: Tensor, _: Tensor, step: int) -> int:
        # the heap orders by gain, then by index: a fresh leader beats all others, ties included
        while True:
            _, j, fresh = heap[0]
            if fresh == step:
                heapq.heappop(heap)
                return j
            gain = float((nearest - columns[j]).clamp_(min=0).sum())
            heapq.heapreplace(heap, (-gain, j, step))

    return _run(cost, k, best)


def _run(cost: Tensor, k: int, best: Callable[[Tensor, Tensor, int], int]) -> Picks:
    nearest, taken = _start(cost), torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
    owner = torch.zeros(len(cost), dtype=torch.int64)
    order, sums = [], []
    for step in range(k):
        j = best(nearest, taken, step)
        closer = (cost[:, j] < nearest).cpu()
        owner[closer] = step
        nearest = torch.minimum(nearest, cost[:, j])
        taken[j] = True
        order.append(j)
        sums.append(nearest.sum())
    return torch.tensor(order), torch.stack(sums).cpu(), owner


def _decremental(cost: Tensor, k: int) -> Picks:
    """Keep every gain up to date; after a pick, correct them by the rows whose nearest pick changed.

    Over a run to k = n/10 this reads the matrix 2 to 5 times, where naive greedy reads it k times.
    """
    n = len(cost)
    nearest = _start(cost)
    gain = n * nearest[0] - cost.sum(0)
    owner = torch.zeros(n, dtype=torch.int64, device=cost.device)
    rows_at_once = max(1, _CHUNK_BYTES // (cost.element_size() * n))
    order, sums = [], []
    for step in range(k):
        j = int(gain.argmax())
        order.append(j)
        column = cost[:, j]
        closer = (column < nearest).nonzero().squeeze(1)  # strictly, so that earlier picks keep ties
        for rows in closer.split(rows_at_once):
            before, after = nearest[rows, None], column[rows, None]
            clipped = torch.minimum(torch.maximum(cost[rows], after), before)  # (rows, n)
            gain -= before.sum() - clipped.sum(0)
        nearest[closer] = column[closer]
        owner[closer] = step
        gain[j] = -math.inf  # taken: where all gains are 0 it must not come again
        sums.append(nearest.sum())
    return torch.tensor(order), torch.stack(sums).cpu(), owner.cpu()
