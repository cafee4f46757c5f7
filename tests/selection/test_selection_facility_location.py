"""Facility location: hand cases, brute force, plain greedy, and the three solvers against each other."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection_references import best_subset, explicit_distances, nearest_pick, plain_greedy

from auglean.errors import InputError
from auglean.selection import facility_location
from auglean.selection.distances import OuterProducts
from auglean.selection.matrices import Workspace

SOLVERS = ("naive", "lazy", "decremental", "auto")
solvers = pytest.mark.parametrize("solver", SOLVERS)


def line(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def exp_kernel(points):
    return torch.exp(-torch.cdist(points, points))


# Spec section 5: hand-computed


@solvers
@pytest.mark.parametrize(
    ("points", "k", "order", "gains", "weights", "objective"),
    [
        ((0, 3, 4, 6, 12, 14, 17), 3, [3, 5, 1], [83, 20, 7], [1, 3, 3], 9),
        ((3, 7, 9, 10, 15, 17, 19), 3, [3, 5, 0], [80, 17, 7], [3, 3, 1], 8),
        ((0, 1, 2, 10, 11), 2, [2, 3], [35, 16], [3, 2], 4),  # 3 and 4 tie: the lowest index
        ((5, 5, 5, 5, 5, 5), 3, [0, 1, 2], [0, 0, 0], [6, 0, 0], 0),
        ((2, 7, 1, 4), 4, [0, 1, 3, 2], [16, 5, 2, 1], [1, 1, 1, 1], 0),  # 0 and 3 tie at first
        ((8,), 1, [0], [0], [1], 0),
    ],
)
def test_linear_kernel_by_hand(solver, points, k, order, gains, weights, objective):
    chosen = facility_location(line(*points), k, solver=solver)
    assert chosen.indices.tolist() == order
    assert chosen.gains.tolist() == gains
    assert chosen.weights.tolist() == weights
    assert chosen.how["objective"] == objective
    assert chosen.total == len(points)


@solvers
@pytest.mark.parametrize(
    ("points", "k", "order", "gains", "weights"),
    [
        ((0, 3, 4, 6, 12, 14, 17), 3, [2, 5, 0], [1.521913, 1.184739, 0.981684], [3, 3, 1]),
        ((3, 7, 9, 10, 15, 17, 19), 3, [2, 5, 0], None, [3, 3, 1]),
        ((0, 1, 2, 10, 11), 2, [1, 3], [1.7359, 1.3677], [3, 2]),
    ],
)
def test_exponential_kernel_by_hand(solver, points, k, order, gains, weights):
    chosen = facility_location(None, k, similarity=exp_kernel(line(*points)), solver=solver)
    assert chosen.indices.tolist() == order
    assert chosen.weights.tolist() == weights
    if gains is not None:
        assert chosen.gains.tolist() == pytest.approx(gains, abs=1e-4)


@solvers
def test_two_classes_of_softmax(solver):
    p = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.2], dtype=torch.float64)
    chosen = facility_location(torch.stack([p - 1, 1 - p], 1), 2, solver=solver)
    assert chosen.indices.tolist() == [2, 3]  # 3 and 4 tie
    # by hand: c = .7√2, Σ|Δp₀| from .7 is 1.2, so 5·.7√2 − 1.2√2; then .8√2
    assert chosen.gains.tolist() == pytest.approx([2.3 * math.sqrt(2), 0.8 * math.sqrt(2)], abs=1e-9)
    assert chosen.gains.tolist() == pytest.approx([3.2527, 1.1314], abs=1e-4)
    assert chosen.weights.tolist() == [3, 2]


@solvers
def test_all_points_distinct_are_their_own_clusters(solver):
    points = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))
    chosen = facility_location(points, 23, solver=solver)
    assert sorted(chosen.indices.tolist()) == list(range(23))
    assert chosen.weights.tolist() == [1.0] * 23
    assert chosen.how["objective"] == 0
    assert chosen.rest.numel() == 0


# Brute force and plain greedy


def square(elements, least=1, most=8):
    return st.integers(least, most).flatmap(lambda n: hnp.arrays(np.int64, (n, n), elements=elements))


integer_matrices = st.one_of(
    square(st.integers(-5, 5)),  # not symmetric, negative entries, many ties
    square(st.sampled_from([0, 0, 0, 0, 1])),  # sparse
    square(st.sampled_from([1, 1, 1, 1, 0])),  # mostly ones
    square(st.integers(0, 1000)),
)


@settings(max_examples=150, deadline=None)
@given(similarity=integer_matrices, data=st.data())
def test_greedy_in_plain_integers(similarity, data):
    n = len(similarity)
    k = data.draw(st.integers(1, n))
    order, gains = plain_greedy(similarity.tolist(), k)
    for solver in SOLVERS:
        chosen = facility_location(None, k, similarity=torch.from_numpy(similarity), solver=solver)
        assert chosen.indices.tolist() == order
        assert chosen.gains.tolist() == gains
        # each is served by the first pick of the highest similarity
        owner = similarity[:, order].argmax(1)
        assert chosen.assignment.tolist() == owner.tolist()
        assert chosen.weights.tolist() == np.bincount(owner, minlength=k).tolist()


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(-30, 30), min_size=1, max_size=9), data=st.data())
def test_greedy_of_points_in_plain_integers(values, data):
    k = data.draw(st.integers(1, len(values)))
    distance = [[abs(a - b) for b in values] for a in values]
    top = max(max(row) for row in distance)
    order, gains = plain_greedy([[top - d for d in row] for row in distance], k)
    for solver in SOLVERS:
        chosen = facility_location(line(*values), k, solver=solver)
        assert chosen.indices.tolist() == order
        assert chosen.gains.tolist() == gains
        assert chosen.how["objective"] == sum(min(row[j] for j in order) for row in distance)


@pytest.mark.parametrize("seed", range(25))
def test_within_a_factor_of_the_best_subset(seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 11)), int(rng.integers(1, 6))
    k = min(k, n)
    distance = explicit_distances(rng.normal(size=(n, 2)))
    similarity = distance.max() - distance
    best = best_subset(similarity, k)
    for solver in SOLVERS:
        chosen = facility_location(None, k, similarity=torch.from_numpy(similarity), solver=solver)
        value = float(chosen.gains.sum())
        assert value == pytest.approx(similarity[:, chosen.indices.numpy()].max(1).sum())
        assert (1 - 1 / math.e) * best <= value <= best + 1e-9


# The solvers agree to the bit


def assert_solvers_agree(k, points=None, **given_as):
    first, *others = (facility_location(points, k, solver=solver, **given_as) for solver in SOLVERS)
    n = first.total
    assert len(set(first.indices.tolist())) == k
    assert set(first.indices.tolist()) <= set(range(n))
    assert first.weights.sum() == n
    assert torch.bincount(first.assignment, minlength=k).tolist() == first.weights.tolist()
    steps = first.gains if points is not None else first.gains[1:]
    assert bool((steps.diff() <= 0).all())
    assert bool((steps >= 0).all())
    for other in others:
        for name in ("indices", "weights", "gains", "assignment"):
            assert torch.equal(getattr(first, name), getattr(other, name)), name
        assert first.how["objective"] == other.how["objective"]
    return first


reals = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-3, -2.5]),  # zeros, duplicates and ties
    st.floats(-1e3, 1e3, width=32),
    st.floats(-1e-12, 1e-12),
)


storages = pytest.mark.parametrize("storage", ["float64", "float32", "float16"])


@storages
@settings(max_examples=100, deadline=None)
@given(
    points=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=reals),
    data=st.data(),
)
def test_solvers_agree_on_points(points, storage, data):
    k = data.draw(st.integers(1, len(points)))
    assert_solvers_agree(k, points=torch.from_numpy(points), storage=storage)


@storages
def test_solvers_agree_on_random_problems(storage):
    rng = np.random.default_rng(11)
    for problem in range(500):
        n, d = int(rng.integers(1, 40)), int(rng.integers(1, 30))
        points = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-6, 6)
        if problem % 3 == 1:
            points = points[rng.integers(0, n, n)]  # duplicates
        elif problem % 3 == 2:
            points = np.round(points / np.abs(points).max() * 3)  # a lattice: ties
        k = int(rng.integers(1, n + 1))
        one, other, third = (
            facility_location(torch.from_numpy(points), k, solver=solver, storage=storage)
            for solver in ("naive", "lazy", "decremental")
        )
        assert one.indices.tolist() == other.indices.tolist() == third.indices.tolist()
        assert torch.equal(one.gains, third.gains)
        assert torch.equal(one.gains, other.gains)
        assert torch.equal(one.assignment, third.assignment)
        assert len(set(one.indices.tolist())) == k


@storages
@pytest.mark.parametrize("kind", ["residuals", "easy class", "heavy tails", "outer products", "lattice", "duplicates"])
def test_solvers_agree_where_ties_are_structural(kind, storage):
    # two points that would only serve each other have equal gains: some steps in a hundred, to be broken alike
    g = torch.Generator().manual_seed(12)
    n = 700
    residual = (2 * torch.randn(n, 10, generator=g)).softmax(1)
    residual[:, 0] -= 1
    lattice = torch.cartesian_prod(torch.arange(27.0), torch.arange(26.0))
    points = {
        "residuals": residual,
        "easy class": residual * torch.rand(n, 1, generator=g) ** 4,
        "heavy tails": residual * residual.norm(dim=1, keepdim=True) ** 4,
        "outer products": OuterProducts.of(residual, torch.randn(n, 30, generator=g)),
        "lattice": lattice[:n],
        "duplicates": residual[torch.randint(0, 100, (n,), generator=g)],
    }[kind]
    chosen = assert_solvers_agree(200, points=points, storage=storage)
    if kind in ("lattice", "duplicates"):
        assert int((chosen.gains.diff() == 0).sum()) > 10  # the traps are there


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("power", [0, 1, 2, 4])
def test_coarser_storage_costs_next_to_nothing(power, storage):
    # also where the distances span many orders of magnitude, as late in training
    g = torch.Generator().manual_seed(13)
    residual = (4 * torch.randn(900, 10, generator=g)).softmax(1)
    residual[:, 0] -= 1
    points = (residual * residual.norm(dim=1, keepdim=True) ** power).double()
    distance = explicit_distances(points.numpy())
    fine, coarse = (facility_location(points, 90, storage=name) for name in ("float64", storage))
    cost = [distance[:, chosen.indices.tolist()].min(1).sum() for chosen in (fine, coarse)]
    assert cost[0] == pytest.approx(fine.how["objective"], rel=1e-9)
    assert cost[1] == pytest.approx(coarse.how["objective"], rel=2e-3)
    assert cost[1] <= 1.002 * cost[0]


def test_two_threads_choose_as_one():
    points = torch.randn(1500, 24, generator=torch.Generator().manual_seed(14))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(facility_location(points, 300))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].indices, found[1].indices)
    assert torch.equal(found[0].gains, found[1].gains)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@storages
def test_gpu_chooses_as_naive_on_its_own_distances(storage):
    points = torch.randn(1500, 24, generator=torch.Generator().manual_seed(15)).cuda()
    one, other = (facility_location(points, 300, solver=solver, storage=storage) for solver in ("naive", "decremental"))
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.gains, other.gains)


def test_memory_is_shared_by_calls_one_after_the_other():
    g = torch.Generator().manual_seed(16)
    workspace = Workspace()
    for n in (300, 900, 40):
        points = torch.randn(n, 5, generator=g)
        one, other = facility_location(points, n // 4), facility_location(points, n // 4, workspace=workspace)
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.weights, other.weights)


# The sampling solver, and graphs


def test_stochastic_is_near_the_best_on_average_and_repeats_by_seed():
    points = torch.randn(300, 4, generator=torch.Generator().manual_seed(17), dtype=torch.float64)
    exact = facility_location(points, 30)
    drawn = [facility_location(points, 30, solver="stochastic", epsilon=0.1, seed=seed) for seed in range(10)]
    value = float(exact.gains.sum())
    assert np.mean([float(chosen.gains.sum()) for chosen in drawn]) >= (1 - 0.1) * value
    assert all(chosen.how["objective"] >= exact.how["objective"] for chosen in drawn)
    assert len({tuple(chosen.indices.tolist()) for chosen in drawn}) > 1
    again = facility_location(points, 30, solver="stochastic", epsilon=0.1, seed=0)
    assert torch.equal(again.indices, drawn[0].indices)
    assert all(len(set(chosen.indices.tolist())) == 30 for chosen in drawn)


@pytest.mark.parametrize("k", [1, 3, 25])
def test_stochastic_that_sees_all_candidates_is_greedy(k):
    points = torch.randn(25, 3, generator=torch.Generator().manual_seed(18))
    # (n/k) ln(1/ε) ≥ n
    chosen = facility_location(points, k, solver="stochastic", epsilon=math.exp(-k) / 2)
    assert torch.equal(chosen.indices, facility_location(points, k).indices)


@settings(max_examples=80, deadline=None)
@given(
    similarity=square(st.sampled_from([0, 0, 0, 1, 2, 7])),
    layout=st.sampled_from([torch.sparse_coo, torch.sparse_csr, torch.sparse_csc]),
    data=st.data(),
)
def test_a_graph_is_a_matrix_with_zeros(similarity, layout, data):
    k = data.draw(st.integers(1, len(similarity)))
    dense = torch.from_numpy(similarity).double()
    one = facility_location(None, k, similarity=dense)
    other = facility_location(None, k, similarity=dense.to_sparse(layout=layout))
    assert one.indices.tolist() == other.indices.tolist()
    assert one.gains.tolist() == other.gains.tolist()
    assert one.weights.tolist() == other.weights.tolist()
    assert one.how["objective"] == other.how["objective"]


@settings(max_examples=150, deadline=None)
@given(
    similarity=st.integers(1, 10).flatmap(lambda n: hnp.arrays(np.float64, (n, n), elements=reals)),
    data=st.data(),
)
def test_solvers_agree_on_similarities(similarity, data):
    k = data.draw(st.integers(1, len(similarity)))
    assert_solvers_agree(k, similarity=torch.from_numpy(similarity))


@pytest.mark.parametrize("kind", ["mostly ones", "ones", "sparse", "low rank", "groups of duplicates"])
def test_always_k_distinct_where_most_gains_are_zero(kind):
    rng = np.random.default_rng(7)
    n, k = 300, 240
    similarity = {
        "mostly ones": lambda: (rng.random((n, n)) < 0.98).astype(float),
        "ones": lambda: np.ones((n, n)),
        "sparse": lambda: (rng.random((n, n)) < 0.01) * rng.random((n, n)),
        "low rank": lambda: rng.normal(size=(n, 1)) @ rng.normal(size=(1, n)),
        "groups of duplicates": lambda: np.kron(np.eye(10), np.ones((30, 30))),
    }[kind]()
    chosen = assert_solvers_agree(k, similarity=torch.from_numpy(similarity))
    served = similarity[:, chosen.indices.numpy()].max(1).sum()
    assert float(chosen.gains.sum()) == pytest.approx(served, abs=1e-9)


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_rows_updated_a_chunk_at_a_time(monkeypatch, rows):
    points = torch.randn(100, 3, generator=torch.Generator().manual_seed(6))
    monkeypatch.setattr(sys.modules["auglean.selection.greedy"], "CHUNK_BYTES", rows * 100 * 8)
    assert_solvers_agree(60, points=points)


@pytest.mark.parametrize("dim", [2, 10])
@pytest.mark.parametrize("k", [20, 150])
def test_order_of_float64_greedy_on_gaussian_points(dim, k):
    points = np.random.default_rng(dim).normal(size=(150, dim))
    distance = explicit_distances(points)
    chosen = assert_solvers_agree(k, points=torch.from_numpy(points))
    nearest = np.full(len(points), distance.max())
    for step, j in enumerate(chosen.indices.tolist()):
        gain = np.maximum(nearest[:, None] - distance, 0).sum(0)
        gain[chosen.indices[:step].numpy()] = -1
        best = gain.max()
        # equal in theory, apart by a rounding here: two points that would only serve each other
        assert j == int(np.flatnonzero(gain > best - 1e-9)[0])
        assert float(chosen.gains[step]) == pytest.approx(best, abs=1e-8)
        nearest = np.minimum(nearest, distance[:, j])
    assert chosen.how["objective"] == pytest.approx(nearest.sum(), abs=1e-8)


# Invariants


@pytest.mark.parametrize("seed", range(8))
def test_clusters_and_the_bound_on_the_gradient_error(seed):
    g = torch.Generator().manual_seed(seed)
    points = torch.randn(40, 3, generator=g, dtype=torch.float64)
    points[30:] = points[:10]  # duplicates
    chosen = facility_location(points, 5 + seed)
    distance = explicit_distances(points.numpy())
    picks = chosen.indices.tolist()
    owner = nearest_pick(distance, picks)
    assert chosen.assignment.tolist() == owner.tolist()
    assert chosen.weights.tolist() == np.bincount(owner, minlength=len(picks)).tolist()
    bound = distance[:, picks].min(1).sum()
    assert chosen.how["objective"] == pytest.approx(bound, abs=1e-9)
    error = np.linalg.norm(points.numpy().sum(0) - chosen.weights.numpy() @ points.numpy()[picks])
    assert 0 < error <= bound
    relative = error / np.linalg.norm(points.numpy().sum(0))
    assert chosen.gradient_error == pytest.approx(relative, rel=1e-9)
    assert facility_location(points.float(), 5 + seed).gradient_error == pytest.approx(relative, rel=1e-4)
    assert facility_location(None, 5, distances=torch.from_numpy(distance)).gradient_error is None


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 30), seed=st.integers(0, 10**6), data=st.data())
def test_permuting_the_points_permutes_the_picks(n, seed, data):
    rng = np.random.default_rng(seed)
    similarity = torch.from_numpy(rng.normal(size=(n, n)))  # not symmetric, so without structural ties
    k = data.draw(st.integers(1, max(1, n // 3)))
    order = torch.from_numpy(rng.permutation(n))
    one = facility_location(None, k, similarity=similarity)
    assume(bool((one.gains[1:] > 0).all()))
    other = facility_location(None, k, similarity=similarity[order][:, order])
    assert order[other.indices].tolist() == one.indices.tolist()
    assert torch.equal(other.gains, one.gains)
    assert torch.equal(other.weights, one.weights)
    assert other.assignment.tolist() == one.assignment[order].tolist()


@settings(max_examples=60, deadline=None)
@given(similarity=integer_matrices, offset=st.integers(-50, 50), data=st.data())
def test_a_constant_added_changes_only_the_first_gain(similarity, offset, data):
    k = data.draw(st.integers(1, len(similarity)))
    one = facility_location(None, k, similarity=torch.from_numpy(similarity))
    other = facility_location(None, k, similarity=torch.from_numpy(similarity + offset))
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.gains[1:], other.gains[1:])
    assert float(other.gains[0] - one.gains[0]) == offset * len(similarity)


def test_a_large_constant_costs_the_gains_no_digits():
    similarity = torch.from_numpy(np.random.default_rng(8).integers(0, 1024, (40, 40)) / 1024)
    one = facility_location(None, 30, similarity=similarity)
    other = facility_location(None, 30, similarity=similarity + 2.0**42)  # still exact, entry by entry
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.gains[1:], other.gains[1:])


@pytest.mark.parametrize("seed", range(5))
def test_rotation_and_translation_change_nothing(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(80, 5))
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    one = facility_location(torch.from_numpy(points), 10)
    other = facility_location(torch.from_numpy(points @ turn + 3.0), 10)
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.weights, other.weights)
    assert torch.allclose(one.gains, other.gains, atol=1e-8, rtol=0)


def test_distances_in_place_of_points():
    points = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = facility_location(points, 7)
    other = facility_location(None, 7, distances=torch.from_numpy(explicit_distances(points.numpy())))
    assert torch.equal(one.indices, other.indices)
    assert one.how["objective"] == pytest.approx(other.how["objective"])


@solvers
@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-30, 1.0, 1e30, 1e150])
def test_any_scale(solver, scale):
    # multiples of the least positive number, so that the smallest scale is exact too
    distance = torch.from_numpy(explicit_distances(np.array([[0.0], [3], [4], [6], [12], [14], [17]]))) * scale
    chosen = facility_location(None, 3, distances=distance, solver=solver)
    assert chosen.indices.tolist() == [3, 5, 1]
    assert chosen.gains.tolist() == pytest.approx([83 * scale, 20 * scale, 7 * scale], rel=1e-2)


@solvers
def test_equal_gains_are_equal_whatever_the_rounding(solver):
    # A hub serves all a little; beyond it the two of each pair serve only each other, so that taking either
    # gains (1 − h_a) + (s − h_b) = (s − h_a) + (1 − h_b): equal in theory, a rounding apart in floating point
    rng = np.random.default_rng(5)
    pairs, n = 60, 121
    hub, within = rng.uniform(0.1, 0.2, n), rng.uniform(0.6, 0.8, pairs)
    partners = rng.permutation(np.arange(1, n)).reshape(pairs, 2)
    similarity = np.eye(n)
    similarity[0, 1:] = similarity[1:, 0] = hub[1:]
    similarity[partners[:, 0], partners[:, 1]] = similarity[partners[:, 1], partners[:, 0]] = within
    by_gain = np.argsort(hub[partners].sum(1) - within)
    chosen = facility_location(None, pairs + 1, similarity=torch.from_numpy(similarity), solver=solver)
    assert chosen.indices.tolist() == [0, *partners.min(1)[by_gain].tolist()]
    gain = np.maximum(similarity[:, partners] - similarity[:, [0]][:, :, None], 0).sum(0)
    assert (gain[:, 0] != gain[:, 1]).any()  # the trap is there


# Bad input


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"points": None, "k": 1}, "points"),
        ({"points": torch.zeros(3), "k": 1}, r"\(n, d\); got \(3,\)"),
        ({"points": torch.zeros(3, 2), "k": 0}, "k is 0"),
        ({"points": torch.zeros(3, 2), "k": 4}, "k is 4 but there are 3"),
        ({"points": torch.zeros(0, 2), "k": 1}, "k is 1 but there are 0"),
        ({"points": torch.tensor([[0.0], [float("nan")]]), "k": 1}, "Row 1 of points"),
        ({"points": torch.tensor([[0.0], [float("inf")]]), "k": 1}, "Row 1 of points"),
        ({"points": torch.tensor([[-1.7e308], [1.7e308]], dtype=torch.float64), "k": 1}, "too large"),
        ({"points": torch.zeros(3, 2), "k": 2.0}, "k is 2.0; give a whole number"),
        ({"points": torch.zeros(3, 2), "k": True}, "k is True; give a whole number"),
        ({"points": torch.zeros(3, 2, dtype=torch.complex64), "k": 1}, "give real numbers"),
        ({"points": torch.zeros(4, 2), "similarity": torch.eye(3), "k": 1}, "leave the points out"),
        ({"points": None, "similarity": torch.eye(3), "distances": torch.eye(3), "k": 1}, "give one of them"),
        ({"points": None, "distances": torch.eye(3).to_sparse(), "k": 1}, "give a sparse similarity"),
        ({"points": torch.zeros(3, 2), "k": 1, "solver": "cells", "storage": "float16"}, "leave the storage out"),
        ({"points": None, "similarity": torch.zeros(2, 3), "k": 1}, r"square \(n, n\); got \(2, 3\)"),
        ({"points": None, "distances": torch.zeros(4), "k": 1}, "square"),
        ({"points": None, "similarity": torch.full((2, 2), float("nan")), "k": 1}, "Row 0 of the matrix"),
        ({"points": torch.zeros(3, 2), "k": 1, "solver": "lasy"}, "did you mean 'lazy'"),
        ({"points": torch.zeros(3, 2), "k": 1, "storage": "float8"}, "storage 'float8'"),
        ({"points": torch.zeros(3, 2), "k": 1, "solver": "stochastic", "epsilon": 0.9}, "epsilon is 0.9"),
        ({"points": torch.zeros(3, 2), "k": 1, "max_memory": 1000}, "too small for any solver on 3 points"),
        (
            {"points": None, "similarity": torch.eye(3), "k": 1, "storage": "float16"},
            "which is for distances of points",
        ),
        ({"points": None, "similarity": torch.eye(3), "k": 1, "solver": "cells"}, "cells need points"),
        ({"points": None, "similarity": -torch.eye(3).to_sparse(), "k": 1}, "negative or not finite"),
        (
            {"points": None, "similarity": torch.eye(3).to_sparse(), "k": 1, "solver": "naive"},
            "leave the solver at auto",
        ),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(InputError, match=says):
        facility_location(**arguments)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.float(),
        lambda x: x.bfloat16(),
        lambda x: x.long(),
        lambda x: x.repeat(1, 2)[:, ::2],
    ],
)
def test_points_of_any_kind(change):
    points = torch.randint(0, 9, (30, 3), generator=torch.Generator().manual_seed(19)).double()
    expected = facility_location(points, 5)
    chosen = facility_location(change(points), 5)
    if change(torch.ones(1, 2)) is not None and chosen.gains[0] == expected.gains[0]:
        assert chosen.indices.tolist() == expected.indices.tolist()
    assert torch.equal(facility_location(None, 5, distances=torch.cdist(points, points).numpy()).gains, expected.gains)


@storages
@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e-8, 1e8, 1e30, 1e160, 1e300])
def test_points_of_any_scale(scale, storage):
    points = torch.randn(40, 20, generator=torch.Generator().manual_seed(20), dtype=torch.float64)
    power = 2.0 ** round(math.log2(scale))  # exact, so that nothing but the exponents changes
    one = facility_location(points, 8, storage=storage)
    other = facility_location(points * power, 8, storage=storage)
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.gains * power, other.gains)
    assert other.how["objective"] == one.how["objective"] * power
    assert other.gradient_error == pytest.approx(one.gradient_error)


@pytest.mark.parametrize("value", [0.4, 2.5, -3.0])
def test_equal_similarities(value):
    # F(∅) = 0, so that the first pick gains n times the value
    for n in (1, 4):
        chosen = facility_location(None, n, similarity=torch.full((n, n), value, dtype=torch.float64))
        assert chosen.gains.tolist() == pytest.approx([n * value] + [0.0] * (n - 1))


def test_input_is_left_alone():
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    similarity = torch.rand(20, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    kept = points.clone(), similarity.clone()
    for solver in SOLVERS:
        facility_location(points, 5, solver=solver)
        facility_location(None, 5, similarity=similarity, solver=solver)
        facility_location(None, 5, distances=similarity, solver=solver)
    assert torch.equal(points, kept[0])
    assert torch.equal(similarity, kept[1])
