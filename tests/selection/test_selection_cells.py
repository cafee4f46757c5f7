"""Cells: the tree, the merge against greedy on blocks, pruning against brute force, few picks, small matrices."""

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import explicit_distances, make_signals, nearest_pick
from torch import distributed

from auglean.selection import Coreset, facility_location, select
from auglean.selection.cells import drop, in_cells, split
from auglean.selection.distances import OuterProducts, Vectors
from auglean.selection.greedy import decremental
from auglean.selection.lockstep import in_step, matrices_of
from auglean.selection.matrices import CostMatrix, Workspace


def clouds(n, dim=4, groups=7, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, dim)) * 3
    return torch.from_numpy(centres[rng.integers(groups, size=n)] + rng.normal(size=(n, dim)) * rng.random((n, 1)))


def choose(points, k, *, size, prune=False, seed=0, together=1):
    space = points if not isinstance(points, torch.Tensor) else Vectors.of(points)
    g = torch.Generator().manual_seed(seed)
    return in_cells(space, k, size=size, prune=prune, workspace=Workspace(), g=g, together=together)


def cells_of(points, size, seed=0):
    return split(Vectors.of(points), size, torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 200), size=st.integers(1, 60), equal=st.booleans())
def test_cells_are_balanced_and_hold_every_point_once(n, size, equal):
    points = torch.ones(n, 3) if equal else clouds(n).float()
    cells = cells_of(points, size)
    assert torch.cat(cells).sort().values.tolist() == list(range(n))
    sizes = [len(cell) for cell in cells]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert all(bool((cell.diff() > 0).all()) for cell in cells)
    assert len(cells) < 2 * n / size or size == 1 or n <= size


def test_the_split_is_across_the_widest_direction():
    rng = np.random.default_rng(3)
    points = torch.from_numpy(rng.normal(size=(400, 5)) * [0.1, 0.1, 5, 0.1, 0.1] + 100)
    left, right = cells_of(points, 200)
    bounds = points[left, 2].max() < points[right, 2].min(), points[right, 2].max() < points[left, 2].min()
    assert any(bounds)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [16, 40, 150])
def test_the_merge_is_greedy_that_serves_within_cells(k, seed):
    points = clouds(160, seed=seed)
    cells = cells_of(points, 25)
    found = choose(points, k, size=25)
    assert found.cells == len(cells) == 8
    # naive greedy on a similarity that is 0 across cells: whoever is first in a cell gains most
    distance = explicit_distances(points.numpy())
    similarity = np.zeros_like(distance)
    for cell in cells:
        block = np.ix_(cell, cell)
        similarity[block] = 100 - distance[block]
    expected = facility_location(None, k, similarity=torch.from_numpy(similarity), solver="naive")
    assert sorted(found.order.tolist()) == sorted(expected.indices.tolist())
    assert found.gains[8:].tolist() == pytest.approx(expected.gains[8:].tolist(), abs=1e-9)
    assert bool((found.gains.diff() <= 0).all())
    # everybody is served by the nearest pick of the same cell
    for cell in cells:
        own = [p for p in range(k) if int(found.order[p]) in set(cell.tolist())]
        nearest = distance[np.ix_(cell, found.order[own])].min(1)
        assert distance[cell, found.order[found.owner[cell]]].tolist() == pytest.approx(nearest.tolist(), abs=1e-12)
    served = distance[np.arange(160), found.order[found.owner]]
    assert found.objective == pytest.approx(served.sum(), rel=1e-9)


def test_one_cell_is_the_whole():
    points = clouds(90)
    found = choose(points, 20, size=90)
    whole = facility_location(points, 20)
    assert torch.equal(found.order, whole.indices)
    assert torch.equal(torch.bincount(found.owner).double(), whole.weights)
    assert found.objective == pytest.approx(whole.how["objective"])


def brute_drop(distance, count):
    """Drop the column whose loss raises Σ min least, again and again."""
    left = list(range(distance.shape[1]))
    for _ in range(count):
        totals = [distance[:, [c for c in left if c != out]].min(1).sum() for out in left]
        left.pop(int(np.argmin(totals)))
    return left


@pytest.mark.parametrize("seed", range(10))
def test_dropping_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    distance = rng.random((40, 12))
    near, which = torch.from_numpy(distance).sort(1)
    kept = drop(near, which, 7, 12)
    assert kept.nonzero().squeeze(1).tolist() == brute_drop(distance, 7)


def test_duplicates_are_dropped_first():
    near = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]])
    which = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 0, 1]])
    assert drop(near, which, 1, 3).tolist() == [True, False, True]


def test_candidates_near_nobody_cost_nothing():
    kept = drop(torch.tensor([[1.0, 2.0]]), torch.tensor([[3, 1]]), 3, 5)
    assert int(kept.sum()) == 2
    assert bool(kept[3])


@pytest.mark.parametrize("points", [clouds(600, seed=1), clouds(600, dim=20, seed=2)])
def test_pruning_mends_the_borders(points):
    distance = explicit_distances(points.numpy())
    plain, pruned = (choose(points, 60, size=80, prune=prune) for prune in (False, True))
    exact = facility_location(points, 60).how["objective"]
    cost = {name: distance[:, found.order].min(1).sum() for name, found in (("plain", plain), ("pruned", pruned))}
    assert cost["pruned"] < cost["plain"]
    assert cost["pruned"] <= 1.03 * exact
    assert cost["plain"] <= 1.15 * exact
    # all cells are looked at here, so that everybody is served by the nearest of all
    assert pruned.objective == pytest.approx(cost["pruned"], rel=1e-6)
    assert pruned.owner.tolist() == nearest_pick(distance, pruned.order.tolist()).tolist()
    assert len(set(pruned.order.tolist())) == 60


def test_pruning_that_looks_at_near_cells_only(monkeypatch):
    from auglean.selection import cells

    points = clouds(900, seed=4)
    distance = explicit_distances(points.numpy())
    full = choose(points, 90, size=60, prune=True)
    monkeypatch.setattr(cells, "_AFFORDABLE", 0)
    monkeypatch.setattr(cells, "_NEAR_CELLS", 3)
    near = choose(points, 90, size=60, prune=True)
    plain = choose(points, 90, size=60)
    costs = [distance[:, found.order].min(1).sum() for found in (full, near, plain)]
    assert costs[0] <= costs[1] * 1.01
    assert costs[1] < costs[2]
    assert near.objective >= costs[1] - 1e-6
    assert len(set(near.order.tolist())) == 90


@pytest.mark.parametrize("k", [1, 2, 5, 15])
def test_fewer_picks_than_cells(k):
    points = clouds(500, seed=5)
    found = choose(points, k, size=40)
    distance = explicit_distances(points.numpy())
    cost = distance[:, found.order.tolist()].min(1).sum()
    assert len(set(found.order.tolist())) == k
    assert found.objective >= cost - 1e-9
    exact = facility_location(points, k).how["objective"]
    rng = np.random.default_rng(0)
    chance = np.mean([distance[:, rng.permutation(500)[:k]].min(1).sum() for _ in range(20)])
    assert exact * 0.999 <= cost <= 1.15 * exact < chance


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("k", [1, 3, 30, 120])
@pytest.mark.parametrize("kind", ["equal", "duplicates", "line"])
def test_always_k_distinct(kind, k, prune):
    n = 120
    points = {
        "equal": torch.zeros(n, 3),
        "duplicates": clouds(12).repeat(10, 1),
        "line": torch.arange(n)[:, None].double(),
    }[kind]
    found = choose(points, k, size=20, prune=prune)
    assert len(set(found.order.tolist())) == k
    assert found.owner.shape == (n,)
    assert 0 <= int(found.owner.min()) <= int(found.owner.max()) < k
    assert int(torch.bincount(found.owner, minlength=k).sum()) == n
    assert bool((found.gains.diff() <= 0).all())
    assert found.objective >= 0


@pytest.mark.parametrize(("n", "k"), [(300, 300), (300, 299), (300, 30)])
@pytest.mark.parametrize("prune", [False, True])
def test_the_objective_is_not_below_the_truth(n, k, prune):
    points = clouds(n, dim=24, seed=9)
    found = choose(points, k, size=40, prune=prune)
    distance = explicit_distances(points.numpy())
    assert found.objective >= distance[:, found.order.tolist()].min(1).sum() * (1 - 1e-6) - 1e-9
    served = distance[np.arange(n), found.order[found.owner]].sum()
    assert found.objective == pytest.approx(served, rel=1e-6, abs=1e-9)


def test_outer_products_are_split_as_the_vectors_that_they_are():
    g = torch.Generator().manual_seed(7)
    left, right = torch.randn(300, 3, generator=g).double(), torch.randn(300, 5, generator=g).double()
    explicit = Vectors(torch.einsum("np,nq->npq", left, right).flatten(1), (left**2).sum(1) * (right**2).sum(1))
    a, b = (choose(points, 40, size=50, prune=True) for points in (OuterProducts.of(left, right), explicit))
    distance = explicit_distances(explicit.points.numpy())
    cost = [distance[:, found.order].min(1).sum() for found in (a, b)]
    # the power method begins elsewhere, and ends near the same direction
    assert cost[0] == pytest.approx(cost[1], rel=0.02)
    assert a.objective == pytest.approx(cost[0], rel=1e-6)


def test_the_call_says_what_it_did():
    points = clouds(700).float()
    chosen = facility_location(points, 70, solver="cells+prune")
    assert chosen.how["solver"] == "cells+prune"
    assert chosen.how["cells"] == 1
    assert "no bound" in chosen.how["guarantee"]
    assert float(chosen.weights.sum()) == 700
    again = facility_location(points, 70, solver="cells+prune")
    assert torch.equal(chosen.indices, again.indices)
    assert math.isclose(chosen.how["objective"], again.how["objective"])


# Two processes


def choose_all():
    points = clouds(700, seed=8)
    cases = [(points, 70, False), (points, 70, True), (points, 5, False), (points[:100], 30, True)]
    found = [choose(some, k, size=60, prune=prune) for some, k, prune in cases]
    signals, labels = make_signals(600, classes=1, seed=3)  # one class: its cells are what there is to share
    wide = select(signals, labels, Coreset(solver="cells", max_memory=20 << 20), budget=60)
    assert wide.how["solver"] == "cells"
    return [(chosen.order, chosen.gains, chosen.owner) for chosen in found] + [
        (wide.indices, wide.gains, wide.assignment)
    ]


def _rank(rank, ranks, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    torch.save(choose_all(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_choose_as_one(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    expected = choose_all()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for one, other in zip(expected, found, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("solver", ["cells", "cells+prune"])
def test_gpu_chooses_in_cells_as_a_cpu_does(solver):
    points = torch.randn(6000, 24, generator=torch.Generator().manual_seed(15))
    one = facility_location(points, 600, solver=solver)
    other = facility_location(points.cuda(), 600, solver=solver)
    assert one.how["cells"] == other.how["cells"] == 4
    assert other.how["objective"] == pytest.approx(one.how["objective"], rel=1e-3)
    assert len({*one.indices.tolist()} & {*other.indices.tolist()}) > 550
    assert other.weights.sum() == 6000


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cells_in_step_are_those_one_by_one(prune, dtype):
    points = clouds(1003).to(dtype)  # cells of two sizes
    points[::7] = points[::7].round()  # duplicates and ties
    one = choose(points, 90, size=130, prune=prune)
    for together in (2, 3, 100):
        other = choose(points, 90, size=130, prune=prune, together=together)
        same = sorted(zip(one.order.tolist(), one.gains.tolist(), strict=True))
        assert sorted(zip(other.order.tolist(), other.gains.tolist(), strict=True)) == same
        assert other.objective == pytest.approx(one.objective, rel=1e-12)
        assert torch.equal(one.order[one.owner], other.order[other.owner])


@pytest.mark.parametrize("storage", ["float64", "float32", "float16"])
def test_matrices_in_step_are_those_one_by_one(storage):
    space = Vectors.of(clouds(400).round(decimals=1), dtype=torch.float64 if storage == "float64" else torch.float32)
    parts = list(torch.randperm(400, generator=torch.Generator().manual_seed(3)).split(100))
    found = in_step(*matrices_of(space, parts, storage, Workspace()), 40)
    for rows, picks in zip(parts, found, strict=True):
        alone = decremental(CostMatrix.of_points(space[rows], storage, Workspace()), 40)
        assert torch.equal(alone.order, picks.order)
        assert torch.equal(alone.gains, picks.gains)
        assert torch.equal(alone.owner(100), picks.owner(100))
        assert torch.equal(alone.owner(100, 7), picks.owner(100, 7))
