"""Facility location beyond one matrix: balanced cells of near points, greedy in each, merged by gain, and pruned.

Points are split at the median along the direction of largest spread until a cell's matrix is small. A cell is solved
exactly by itself; since gains never increase, what is best over all cells is a beginning of each cell's picks, and
the merge is that of a greedy algorithm which serves points from within their cell only. What that misses is at the
borders: taking a fifth too many, and then dropping those whose points are served almost as well by others, mends it.
Cells do not depend on one another, so processes share them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.processes import shared_map
from auglean.progress import track
from auglean.selection.distances import PointSet, at_once
from auglean.selection.greedy import Picks, decremental
from auglean.selection.lockstep import in_step, matrices_of
from auglean.selection.matrices import CostMatrix, Storage, Workspace

#: Points that the direction of a split is found from, and steps of the power method.
_SAMPLE, _POWER_STEPS = 5000, 8

#: Coordinates that are taken out together.
_NUMBERS = 1 << 22

#: A cell takes up to so many times its share at first; the few that need more are solved again.
_AHEAD = 3.0

#: Share of picks too many before pruning, and picks near a point that may take it over.
_TOO_MANY, _NEIGHBOURS = 0.2, 8

#: Distances that pruning looks at together: they stay in the cache.
_BLOCK = 1 << 22

#: Multiplications beyond which pruning looks at the nearest cells only, and how many those are.
_AFFORDABLE, _NEAR_CELLS = 2e11, 12


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the cells give.

    Attributes:
        order: Points in the order of their gains. Shape `(k,)`, int64.
        gains: What each added within its cell. Shape `(k,)`, float64.
        owner: The position in `order` of the pick that serves each point. Shape `(n,)`, int64.
        objective: Sum of the distances to them; of all picks near enough to have been looked at, they are nearest.
        cells: How many cells there were.
    """

    order: Tensor
    gains: Tensor
    owner: Tensor
    objective: float
    cells: int


@dataclass(frozen=True, slots=True)
class _Cell:
    """The picks of one cell: points `rows`, picks numbered in the whole set, gains in units of distance."""

    rows: Tensor
    picks: Picks
    gains: Tensor
    base: float  # what serving all from nowhere would cost: gains count from there

    def order(self, first: int) -> Tensor:
        return self.rows[self.picks.order[:first]]


def in_cells(
    points: PointSet, k: int, *, size: int, prune: bool, workspace: Workspace, g: torch.Generator, together: int = 1
) -> Chosen:
    """Choose k points cell by cell.

    Args:
        points: n points.
        k: How many to choose.
        size: Points that a cell holds at most.
        prune: Whether to take too many and drop the cheapest.
        workspace: Memory for the matrix of a cell.
        g: Fixes the directions from which the power method starts.
        together: Cells that are solved in step, as an accelerator can; the picks are the same.
    """
    n, storage = len(points), _storage(points)
    cells = split(points, size, g)
    if k < 2 * len(cells):
        return _few(points, cells, k, storage, workspace)
    wanted = min(n, math.ceil((1 + _TOO_MANY) * k)) if prune else k
    solved = _solve(points, cells, wanted, storage, workspace, together)
    firsts = _merge(solved, wanted)
    if prune:
        return _pruned(points, solved, firsts, k)
    order = torch.cat([cell.order(first) for cell, first in zip(solved, firsts, strict=True)])
    gains = torch.cat([cell.gains[:first] for cell, first in zip(solved, firsts, strict=True)])
    ranking = torch.argsort(gains, descending=True, stable=True)
    place = torch.empty_like(ranking)
    place[ranking] = torch.arange(k)
    owner = torch.empty(n, dtype=torch.int64)
    offset = 0
    for cell, first in zip(solved, firsts, strict=True):
        owner[cell.rows] = place[offset + cell.picks.owner(len(cell.rows), first)]
        offset += first
    objective = sum(cell.base - float(cell.gains[:first].sum()) for cell, first in zip(solved, firsts, strict=True))
    return Chosen(order[ranking], gains[ranking], owner, objective, len(cells))


def _storage(points: PointSet) -> Storage:
    return "float64" if points.squares.dtype == torch.float64 else "float32"


def split(points: PointSet, size: int, g: torch.Generator) -> list[Tensor]:
    """Halve the points at the median along their leading direction until no part has more than `size`.

    Returns:
        The points of each part, ascending; sizes differ by one at most.
    """
    parts = [torch.arange(len(points))]
    while max(len(part) for part in parts) > size:
        parts = [half for part in track(parts, "cells", total=len(parts)) for half in _halves(points, part, g)]
    return parts


def _halves(points: PointSet, rows: Tensor, g: torch.Generator) -> list[Tensor]:
    device, most = points.device, _at_once(points)
    sample = points[rows[torch.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE, most)).long()].to(device)]
    coefficients = torch.randn(len(sample), generator=g, dtype=torch.float64).to(device, sample.squares.dtype)
    for _ in range(_POWER_STEPS):
        coefficients = coefficients - coefficients.mean()  # about the mean of the sample
        direction = sample.combine(coefficients / coefficients.norm().clamp(min=1e-30))
        coefficients = sample.project(direction)
    along = torch.empty(len(rows), dtype=sample.squares.dtype)  # a list of parts would scatter the heap
    for target, part in zip(along.split(size := min(at_once(16384, device), most)), rows.split(size), strict=True):
        target.copy_(points[part.to(device)].project(direction))
    order = torch.argsort(along, stable=True)
    middle = len(rows) // 2
    # in place, since small tensors that stay would scatter the heap between large ones that go
    rows.copy_(torch.cat([rows[half].sort().values for half in (order[:middle], order[middle:])]))
    return [rows[:middle], rows[middle:]]


def _solve(
    points: PointSet, cells: list[Tensor], wanted: int, storage: Storage, workspace: Workspace, together: int
) -> list[_Cell]:
    """Solve each cell far enough that no pick which belongs to the best `wanted` of all is missing."""
    n = len(points)
    best: list[float] = []  # a heap of the largest gains so far: the least of `wanted` is not above the cut

    def solve(rows: Tensor, most: int, floor: float) -> _Cell:
        matrix = CostMatrix.of_points(points[rows.to(points.device)], storage, workspace)
        return cell_of(rows, matrix, decremental(matrix, most, floor=floor / matrix.unit))

    def cell_of(rows: Tensor, matrix: CostMatrix, picks: Picks) -> _Cell:
        gains = picks.gains * matrix.unit
        # from a bound that is the same for all cells, so that their first gains compare
        gains[0] += len(rows) * (points.reach - matrix.largest * matrix.unit)
        return _Cell(rows, picks, gains, len(rows) * points.reach)

    def limit(rows: Tensor) -> int:
        return min(len(rows), math.ceil(_AHEAD * wanted * len(rows) / n) + 1)

    def at_first(rows: Tensor) -> _Cell:
        cell = solve(rows, limit(rows), best[0] if len(best) == wanted else -math.inf)
        for gain in cell.gains.tolist():
            (heapq.heappush if len(best) < wanted else heapq.heappushpop)(best, gain)
        return cell

    def many_at_first(group: list[Tensor]) -> list[_Cell]:
        matrices, values = matrices_of(points, group, storage, workspace)
        picks = in_step(matrices, values, limit(group[0]))
        return [cell_of(*whole) for whole in zip(group, matrices, picks, strict=True)]

    if together == 1:
        solved = shared_map(at_first, list(track(cells, "cells solved")), sizes=[len(rows) for rows in cells])
    else:
        cells = sorted(cells, key=len)  # of one size are solved together
        groups = [
            same[i : i + together]
            for _, alike in itertools.groupby(cells, key=len)
            for same in [list(alike)]
            for i in range(0, len(same), together)
        ]
        sizes = [len(group) * len(group[0]) for group in groups]
        found = shared_map(many_at_first, list(track(groups, "cells solved")), sizes=sizes)
        solved = [cell for group in found for cell in group]
    cut = float(torch.cat([cell.gains for cell in solved]).topk(wanted).values[-1])
    short = [
        c
        for c, cell in enumerate(solved)
        if limit(cell.rows) == len(cell.picks) < len(cell.rows) and float(cell.gains[-1]) >= cut
    ]
    again = shared_map(lambda c: solve(cells[c], len(cells[c]), cut), short, sizes=[len(cells[c]) for c in short])
    for c, cell in zip(short, again, strict=True):
        solved[c] = cell
    return solved


def _merge(solved: list[_Cell], wanted: int) -> list[int]:
    """Give how many picks of each cell are among the best of all; every cell has one, since none serves another."""
    which = torch.cat([torch.full((len(cell.gains) - 1,), c) for c, cell in enumerate(solved)])
    gains = torch.cat([cell.gains[1:] for cell in solved])
    kept = which[torch.argsort(gains, descending=True, stable=True)[: wanted - len(solved)]]
    return (1 + torch.bincount(kept, minlength=len(solved))).tolist()


def _few(points: PointSet, cells: list[Tensor], k: int, storage: Storage, workspace: Workspace) -> Chosen:
    """Choose fewer points than cells could give one or two of: from picks of all cells, each weighing its cluster."""
    each = max(2, math.ceil(4 * k / len(cells)))

    def solve(rows: Tensor) -> tuple[Tensor, Tensor, float]:
        matrix = CostMatrix.of_points(points[rows.to(points.device)], storage, workspace)
        picks = decremental(matrix, min(each, len(rows)))
        left = (len(rows) * matrix.largest - float(picks.gains.sum())) * matrix.unit
        return rows[picks.order], picks.owner(len(rows)), left

    found = shared_map(solve, list(track(cells, "cells solved")), sizes=[len(rows) for rows in cells])
    candidates = torch.cat([order for order, _, _ in found])
    owner, offset = torch.empty(len(points), dtype=torch.int64), 0
    for rows, (order, owned, _) in zip(cells, found, strict=True):
        owner[rows] = offset + owned
        offset += len(order)
    mass = torch.bincount(owner, minlength=len(candidates)).double()
    near = points[candidates.to(points.device)]
    matrix = CostMatrix.of_points(near, storage, workspace, total=len(points))
    picks = decremental(matrix, k, mass=mass.to(points.device))
    # by the triangle inequality, no more than the way through the candidate
    moved = (len(points) * matrix.largest - float(picks.gains.sum())) * matrix.unit
    return Chosen(
        candidates[picks.order],
        picks.gains * matrix.unit,
        picks.owner(len(candidates))[owner],
        moved + sum(left for _, _, left in found),
        len(cells),
    )


def looked_at(n: int, k: int, dimension: int, cells: int) -> int:
    """Give the cells that pruning looks for other picks in, for each cell: all of them where that is affordable."""
    return cells if n * (1 + _TOO_MANY) * k * dimension <= _AFFORDABLE else min(cells, 1 + _NEAR_CELLS)


def _pruned(points: PointSet, solved: list[_Cell], firsts: list[int], k: int) -> Chosen:
    """Drop the picks whose points others serve almost as well, until k are left."""
    candidates = torch.cat([cell.order(first) for cell, first in zip(solved, firsts, strict=True)])
    gains = torch.cat([cell.gains[:first] for cell, first in zip(solved, firsts, strict=True)])
    numbers = torch.arange(len(candidates)).split(firsts)
    device = points.device
    seats = points[torch.stack([cell.order(1)[0] for cell in solved]).to(device)]  # the first pick of each cell
    many = looked_at(len(points), k, points.dimension, len(solved))
    near_cells = seats.to(seats).argsort(dim=1, stable=True).cpu()[:, :many]

    def neighbours(c: int) -> tuple[Tensor, Tensor]:
        among = torch.cat([numbers[other] for other in near_cells[c].sort().values.tolist()])
        distance, place = _nearest(points, solved[c].rows, candidates[among], _NEIGHBOURS)
        return distance, among[place]

    jobs = list(track(range(len(solved)), "pruning"))
    lists = shared_map(neighbours, jobs, sizes=[len(cell.rows) for cell in solved])
    few = min(distance.shape[1] for distance, _ in lists)
    distance = torch.empty(len(points), few)
    which = torch.empty(len(points), few, dtype=torch.int64)
    for cell, (near, ids) in zip(solved, lists, strict=True):
        distance[cell.rows], which[cell.rows] = near[:, :few].float(), ids[:, :few]
    kept = drop(distance, which, len(candidates) - k, len(candidates))

    # the nearest that is left; where all near ones went, look at what is left in the near cells
    alive = kept[which]  # (n, few)
    position = alive.to(torch.int8).argmax(1)
    owner = which.gather(1, position[:, None])[:, 0]
    served = distance.gather(1, position[:, None])[:, 0].double()
    lost = (~alive.any(1)).nonzero().squeeze(1)
    if len(lost):
        left = kept.nonzero().squeeze(1)
        far, place = _nearest(points, lost, candidates[left], 1)
        owner[lost], served[lost] = left[place[:, 0]], far[:, 0].double()
    ranking = torch.argsort(torch.where(kept, gains, -math.inf), descending=True, stable=True)[:k]
    place = torch.empty(len(candidates), dtype=torch.int64)
    place[ranking] = torch.arange(k)
    return Chosen(candidates[ranking], gains[ranking], place[owner], float(served.sum()), len(solved))


def _nearest(points: PointSet, rows: Tensor, others: Tensor, few: int) -> tuple[Tensor, Tensor]:
    """Give the distances of some points to the nearest few of others, ascending, and where those are among the others.

    Returns:
        Shapes `(rows, few)`, or fewer where the others are fewer.
    """
    device, most = points.device, _at_once(points)
    near, which = [], []
    for places in torch.arange(len(others)).split(most):
        part = points[others[places].to(device)]
        blocks = rows.split(max(1, min(most, at_once(_BLOCK, device) // len(part))))
        found = [points[block.to(device)].to(part).topk(min(few, len(part)), largest=False) for block in blocks]
        near.append(torch.cat([distance for distance, _ in found]).cpu())
        which.append(places[torch.cat([place for _, place in found]).cpu()])
    distance, order = torch.cat(near, 1).sort(dim=1, stable=True)
    return distance[:, :few], torch.cat(which, 1).gather(1, order[:, :few])


def _at_once(points: PointSet) -> int:
    return max(1, at_once(_NUMBERS, points.device) // max(1, points.dimension))


def drop(distance: Tensor, which: Tensor, count: int, candidates: int) -> Tensor:
    """Drop candidates, the one whose points lose least each time.

    Losing a candidate costs `Σ (second − first distance)` over the points that it serves. That can only grow while
    others go, so a stale loss that is not the least need not be looked at (as in lazy greedy). Of equals the last goes.

    Args:
        distance: Of the nearest candidates of each point, ascending. Shape `(n, m)`.
        which: Which they are. Shape `(n, m)`, int64.
        count: How many to drop.
        candidates: How many there are.

    Returns:
        Whether each candidate is left. Shape `(candidates,)`, bool.
    """
    near, ids = distance.double().numpy(), which.numpy()
    few = ids.shape[1]
    alive = torch.ones(candidates, dtype=torch.bool).numpy()
    order = torch.argsort(which[:, 0], stable=True)
    owned = [part.tolist() for part in order.split(torch.bincount(which[:, 0], minlength=candidates).tolist())]
    at = [0] * len(ids)  # where in its list each point's owner is

    def next_alive(point: int, start: int) -> int:
        row = ids[point]
        while start < few and not alive[row[start]]:
            start += 1
        return start

    def loss(candidate: int) -> float:
        total = 0.0
        for point in owned[candidate]:
            second = next_alive(point, at[point] + 1)
            # who has nobody else in the list would go as far as its end at least, and by more than that
            total += near[point, second if second < few else -1] - near[point, at[point]]
            if second == few:
                total += near[point, -1]
        return total

    heap = [(loss(candidate), -candidate) for candidate in range(candidates)]
    heapq.heapify(heap)
    for _ in range(count):
        while True:
            stale, candidate = heap[0][0], -heap[0][1]
            fresh = loss(candidate)
            if fresh <= stale:
                heapq.heappop(heap)
                break
            heapq.heapreplace(heap, (fresh, -candidate))
        alive[candidate] = False
        for point in owned[candidate]:
            at[point] = next_alive(point, at[point] + 1)
            if at[point] < few:
                owned[ids[point, at[point]]].append(point)
        owned[candidate] = []
    return torch.from_numpy(alive)
