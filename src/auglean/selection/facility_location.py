"""Facility location: the k points that stand best for all of them, as naive greedy picks them.

The objective is `F(S) = Σ_i max_{j∈S} s_ij` with `s = max distance − distance`, so that maximising F is
minimising `L(S) = Σ_i min_{j∈S} d_ij`, the k-medoids cost, which bounds the error of the weighted gradient
sum (Mirzasoleiman, Bilmes & Leskovec 2020, CRAIG, eq. 8; Liu & Mirzasoleiman 2022).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.randomness import generator
from auglean.selection.cells import in_cells
from auglean.selection.distances import PointSet, Vectors, check_finite
from auglean.selection.greedy import Picks, decremental, lazy, naive, on_graph, stochastic
from auglean.selection.matrices import TYPES, CostMatrix, Storage, Workspace, exact_unit
from auglean.selection.planning import Plan, Solver, plan
from auglean.selection.selection import Selection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def facility_location(
    points: ArrayLike | PointSet | None,
    k: int,
    *,
    similarity: ArrayLike | None = None,
    distances: ArrayLike | None = None,
    solver: Solver = "auto",
    storage: Storage | None = None,
    max_memory: int | None = None,
    epsilon: float = 0.01,
    seed: int = 0,
    workspace: Workspace | None = None,
) -> Selection:
    """Choose k points that stand for all of them.

    | solver | what it does | picks |
    |---|---|---|
    | `naive` | evaluates every gain at every step; the reference | exact |
    | `lazy` | evaluates a gain only when its stale value leads (Minoux 1978) | exact |
    | `decremental` | keeps all gains up to date, touching only the rows whose nearest pick changed | exact |
    | `stochastic` | evaluates a sample of the candidates at each step (Mirzasoleiman et al. 2015) | by chance |
    | `cells` | solves balanced cells of near points exactly, and merges them by gain | near |
    | `cells+prune` | takes a fifth too many, and drops those whose points others serve almost as well | nearer |
    | `auto` | decremental while the matrix is within the limit, cells beyond | |

    All exact solvers give the same picks, gains and weights. Before a choice of more than a few seconds, its solver,
    seconds and memory are told on stderr.

    Args:
        points: Shape `(n, d)`, a tensor or an array, or a `PointSet` such as outer products; None where a matrix is
            given. Beyond 1,024 points coordinates are taken in float32, after a shift, unless the storage is float64.
        k: How many to choose; at most n.
        similarity: Shape `(n, n)`, `s_ij` = how well j stands for i, any finite numbers. A sparse matrix is a graph
            of neighbours: what is missing is 0, and no number is negative.
        distances: Shape `(n, n)`, in place of `points`.
        solver: See the table.
        storage: In which numbers distances are kept: `"float64"`, `"float32"` or `"float16"`. By default float64 up
            to 1,024 points and for given matrices, float32 up to 16,384, float16 beyond; and coarser where the
            limit asks for it.
        max_memory: Bytes of work memory beyond the points; by default 4 GiB.
        epsilon: For `stochastic`, what it may lose of F's guarantee; at most 0.2.
        seed: For `stochastic` and cells.
        workspace: Memory that several calls share, one after the other.

    Returns:
        A `Selection` whose `weights` are cluster sizes (they sum to n; a duplicate of an earlier pick has 0), whose
        `gains` never increase (the first may be the least where similarities are negative: F(∅) = 0), and whose `how`
        tells the solver, the storage, the reason, the guarantee and `objective` = `L(S)`, for a similarity with `d =
        max similarity − similarity`. In cells, points are served from within their cell, or, pruned, by the nearest
        pick of the cells near them, so that there the objective is a bound. For points that are vectors,
        `gradient_error` is `‖Σ_i x_i − Σ_j w_j x_j‖ / ‖Σ_i x_i‖`, which is that of a gradient if they are.

    Raises:
        InputError: If the input is not finite or not of these shapes, k is not in 1 … n, the solver or the storage is
            unknown, or the limit is too small for it.

    >>> line = torch.tensor([[0.0], [3], [4], [6], [12], [14], [17]])
    >>> chosen = facility_location(line, 3)
    >>> chosen.indices.tolist(), chosen.gains.tolist(), chosen.weights.tolist(), chosen.how["objective"]
    ([3, 5, 1], [83.0, 20.0, 7.0], [1.0, 3.0, 3.0], 9.0)
    """
    start = time.perf_counter()
    given, square = _check(points, similarity, distances, solver, storage)
    n, k = len(given), _whole(k)
    if not 1 <= k <= n:
        raise InputError(f"k is {k} but there are {n} points; give a k from 1 to the number of points.")
    g, workspace = generator(seed, "facility location"), workspace or Workspace()
    space: PointSet | None = None

    def finish(**result: Any) -> Selection:
        chosen = _selection(n, k, 1.0 if space is None else space.unit, **result)
        error = space.sum_error(chosen.indices, chosen.weights) if isinstance(space, Vectors) else None
        return chosen.with_(gradient_error=error, cost={"seconds": time.perf_counter() - start, **chosen.cost})

    if square is not None and square.layout != torch.strided:
        return finish(**_on_graph(square, k, solver))
    if square is not None:
        chosen_plan = plan(
            n, k, 0, solver=solver, storage=storage, max_memory=max_memory, given=True, device=square.device
        )
        top = float(square.max())
        matrix = CostMatrix.of_matrix(square, chosen_plan.storage, workspace, top=None if similarity is None else top)
        # on the grid too, so that no gain is rounded; where all costs are 0 there is no grid
        reach = round(top / matrix.unit) * matrix.unit if matrix.largest else top
    else:
        dimension = given.dimension if isinstance(given, PointSet) else given.shape[1]
        chosen_plan = plan(n, k, dimension, solver=solver, storage=storage, max_memory=max_memory, device=given.device)
        if isinstance(given, PointSet):
            space = given if chosen_plan.storage == "float64" else given.single()
        else:
            space = Vectors.of(given, dtype=torch.float64 if chosen_plan.storage == "float64" else torch.float32)
        chosen_plan.tell(n, k, space.dimension)
        if chosen_plan.cell:
            prune = chosen_plan.solver == "cells+prune"
            size, together = chosen_plan.cell, chosen_plan.together
            found = in_cells(space, k, size=size, prune=prune, workspace=workspace, g=g, together=together)
            told = {"cells": found.cells}
            return finish(
                order=found.order,
                gains=found.gains,
                owner=found.owner,
                objective=found.objective,
                chosen_plan=chosen_plan,
                told=told,
            )
        matrix = CostMatrix.of_points(space, chosen_plan.storage, workspace)
        reach = matrix.largest * matrix.unit
    picks = _solve(matrix, k, chosen_plan.solver, epsilon, g)
    first, unit = float(picks.gains[0]), matrix.unit
    gains = picks.gains * unit
    gains[0] = n * reach - (n * matrix.largest - first) * unit  # F(∅) = 0 at a cost of `reach`
    return finish(
        order=picks.order,
        gains=gains,
        owner=picks.owner(n),
        objective=(n * matrix.largest - float(picks.gains.sum())) * unit,
        chosen_plan=chosen_plan,
        told={"epsilon": epsilon} if chosen_plan.solver == "stochastic" else {},
    )


def _check(
    points: Any, similarity: Any, distances: Any, solver: str, storage: str | None
) -> tuple[Tensor | PointSet, Tensor | None]:
    """Give what to choose from, as a tensor or a `PointSet`, and the matrix if that is what was given."""
    if solver not in get_args(Solver):
        raise unknown("solver", solver, get_args(Solver))
    if storage is not None and storage not in TYPES:
        raise unknown("storage", storage, TYPES)
    if similarity is not None and distances is not None:
        raise InputError("A similarity and distances are given; give one of them.")
    square = similarity if similarity is not None else distances
    if square is None:
        if points is None:
            raise InputError("Nothing to choose from: give points (n, d), or similarity or distances (n, n).")
        if isinstance(points, PointSet):
            return points, None
        points = torch.as_tensor(points)
        if points.ndim != 2:
            raise InputError(f"points must have shape (n, d); got {tuple(points.shape)}.")
        return points, None
    square = torch.as_tensor(square).detach()
    if square.ndim != 2 or square.shape[0] != square.shape[1]:
        raise InputError(f"A similarity or distance matrix must be square (n, n); got {tuple(square.shape)}.")
    if points is not None and len(points) != len(square):
        raise InputError(f"{len(points)} points are given with a matrix for {len(square)}; leave the points out.")
    if square.is_complex() or square.dtype == torch.bool:
        raise InputError(f"The matrix is of type {square.dtype}; give real numbers.")
    if square.layout != torch.strided and similarity is None:
        raise InputError("Sparse distances are given, where what is missing would be near; give a sparse similarity.")
    if storage == "float16":
        raise InputError("A matrix is given with storage float16, which is for distances of points; give float32.")
    if solver in ("cells", "cells+prune"):
        raise InputError(
            f"A matrix is given with solver {solver!r}, but cells need points; give points, or leave it out."
        )
    if square.layout == torch.strided:
        check_finite(square, "the matrix")
    return square, square


def _whole(k: object) -> int:
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InputError(f"k is {k!r}; give a whole number.")
    return int(k)


def _solve(matrix: CostMatrix, k: int, solver: Solver, epsilon: float, g: torch.Generator) -> Picks:
    if solver == "stochastic":
        return stochastic(matrix, k, epsilon=epsilon, g=g)
    return {"decremental": decremental, "lazy": lazy, "naive": naive}[solver](matrix, k)


def _on_graph(graph: Tensor, k: int, solver: Solver) -> Mapping[str, Any]:
    """Choose on a graph of neighbours that the caller brings."""
    if solver not in ("auto", "lazy"):
        raise InputError(f"A sparse similarity was given with solver {solver!r}; leave the solver at auto.")
    entries = graph.to_sparse_coo().t().coalesce()  # in the order of the candidates
    (candidates, rows), values = entries.indices().cpu(), entries.values().double().cpu()
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise InputError("A sparse similarity holds numbers that are negative or not finite; give none of them.")
    top, n = float(values.max()) if len(values) else 0.0, len(graph)
    unit = exact_unit(top, n, "float64")
    counts = torch.bincount(candidates, minlength=n).tolist()
    picks = on_graph(rows.split(counts), (values / unit).round_().split(counts), k)
    stored = len(values) * 16
    reason = "a graph of neighbours was given"
    return {
        "order": picks.order,
        "gains": picks.gains * unit,
        "owner": picks.owner(n),
        "objective": (n * round(top / unit) - float(picks.gains.sum())) * unit,
        "chosen_plan": Plan("lazy", "float64", 0, stored, reason),
        "told": {},
    }


def _selection(
    n: int,
    k: int,
    scale: float,
    *,
    order: Tensor,
    gains: Tensor,
    owner: Tensor,
    objective: float,
    chosen_plan: Plan,
    told: Mapping[str, Any],
) -> Selection:
    gains, objective = gains * scale, objective * scale
    if not bool(torch.isfinite(gains).all()):
        raise InputError("The distances are too large to be summed; scale them down.")
    return Selection(
        indices=order,
        weights=torch.bincount(owner, minlength=k).double(),
        gains=gains,
        total=n,
        cost={"bytes": float(chosen_plan.bytes)},
        how={
            "selector": "facility-location",
            "solver": chosen_plan.solver,
            "storage": chosen_plan.storage,
            "reason": chosen_plan.reason,
            "guarantee": chosen_plan.guarantee,
            "objective": objective,
            **told,
        },
        assignment=owner,
    )
