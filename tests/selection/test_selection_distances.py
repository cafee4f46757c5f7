"""Distances of points and of outer products, against exact fractions and float64 differences."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection_references import explicit_distances

from auglean.errors import InputError
from auglean.selection.distances import OuterProducts, Vectors
from auglean.selection.matrices import CostMatrix, Workspace


def matrix(points, storage="float64"):
    """All distances, as the solvers see them."""
    found = CostMatrix.of_points(points, storage, Workspace())
    return found.values.double() * found.unit * points.unit


def exact_outer_distance(a, b, c, d):
    """‖a⊗b − c⊗d‖ in fractions, rounded once at the end."""
    a, b, c, d = ([Fraction(float(x)) for x in row] for row in (a, b, c, d))
    return math.sqrt(sum((x * y - z * w) ** 2 for x, z in zip(a, c, strict=True) for y, w in zip(b, d, strict=True)))


def assert_outer_distances(left, right, relative):
    points = OuterProducts.of(left, right)[:]
    found = points.to(points)
    for i in range(len(left)):
        for j in range(i):
            expected = exact_outer_distance(left[i], right[i], left[j], right[j])
            assert float(found[i, j]) == pytest.approx(expected, rel=relative, abs=0), (i, j)
    grid = matrix(OuterProducts.of(left, right))
    assert torch.equal(grid, grid.T)
    assert torch.equal(grid.diagonal(), torch.zeros(len(left), dtype=torch.float64))
    assert torch.allclose(grid, found, rtol=1e-9, atol=2.0**-46 * float(found.max()))


@pytest.mark.parametrize("shape", [(6, 3, 4), (5, 10, 1), (4, 1, 8), (1, 2, 2)])
def test_outer_products_are_never_needed(shape):
    n, p, q = shape
    g = torch.Generator().manual_seed(n)
    assert_outer_distances(torch.randn(n, p, generator=g), torch.randn(n, q, generator=g), 1e-12)


@pytest.mark.parametrize("near", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12])
def test_near_outer_products_keep_their_digits(near):
    g = torch.Generator().manual_seed(1)
    left = torch.randn(1, 3, generator=g, dtype=torch.float64) + near * torch.randn(6, 3, generator=g)
    right = torch.randn(1, 4, generator=g, dtype=torch.float64) + near * torch.randn(6, 4, generator=g)
    right = torch.cat([right, torch.ones(6, 1, dtype=torch.float64)], 1)
    assert_outer_distances(left, right, 1e-8)


def test_one_factor_alone_differs():
    g = torch.Generator().manual_seed(2)
    left = torch.randn(1, 3, generator=g, dtype=torch.float64).repeat(5, 1)
    right = torch.randn(1, 4, generator=g, dtype=torch.float64).repeat(5, 1)
    left[1, 0] += 1e-7
    right[2, 3] -= 1e-5
    left[4] = 0
    assert_outer_distances(left, right, 1e-8)


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("storage", ["float64", "float32", "float16"])
def test_duplicates_are_at_zero(dim, storage):
    g = torch.Generator().manual_seed(3)
    points = 100 + torch.randn(300, dim, generator=g)
    points[150:] = points[:150]
    for space in (Vectors.of(points), OuterProducts.of(points, points[:, :2])):
        found = matrix(space if storage == "float64" else space.single(), storage)
        assert bool((found.diagonal() == 0).all())
        assert bool((found[:150, 150:].diagonal() == 0).all())
        assert torch.equal(found, found.T)
        assert int((found == 0).sum()) == 600  # and only they


@pytest.mark.parametrize("shape", [(700, 30), (1300, 3), (257, 100)])
@pytest.mark.parametrize(("storage", "digits"), [("float64", 1e-9), ("float32", 2e-4), ("float16", 1e-3)])
def test_tiles_make_up_the_matrix(shape, storage, digits):
    rng = np.random.default_rng(0)
    points = rng.normal(size=shape) * rng.lognormal(sigma=2, size=(shape[0], 1))
    space = Vectors.of(torch.from_numpy(points))
    found = CostMatrix.of_points(space if storage == "float64" else space.single(), storage, Workspace())
    expected = explicit_distances(points)
    values = found.values.double().numpy() * found.unit
    floor = expected.max() * (2.0**-34 if storage == "float16" else 2.0**-38)  # what the grid rounds off
    assert (np.abs(values - expected) <= digits * expected + floor).all()
    assert torch.equal(found.sums, found.values.double().sum(0))
    assert found.largest == float(found.values.max())


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_a_common_offset_costs_no_digits(offset):
    rng = np.random.default_rng(1)
    points = torch.from_numpy(rng.normal(size=(400, 64)))
    shifted = matrix(Vectors.of((points + offset).float()).single(), "float32")
    expected = explicit_distances((points + offset).float().double().numpy())
    assert np.allclose(shifted.numpy(), expected, rtol=1e-4)


def test_outliers_do_not_draw_the_origin_away():
    # most of the mass is at zero, where a shift by the mean of the outliers would cost all its digits
    g = torch.Generator().manual_seed(4)
    points = 1e-3 * torch.randn(500, 32, generator=g)
    points[:25] += 100
    found = matrix(Vectors.of(points).single(), "float32")
    expected = explicit_distances(points.numpy())
    assert np.allclose(found.numpy()[25:, 25:], expected[25:, 25:], rtol=1e-3, atol=0)


@settings(max_examples=60, deadline=None)
@given(
    points=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 12), st.sampled_from([2, 20])), elements=st.floats(-100, 100, width=32)
    )
)
def test_float32_distances_of_any_points(points):
    found = matrix(Vectors.of(torch.from_numpy(points)).single(), "float32").numpy()
    expected = explicit_distances(points)
    # a coordinate is rounded to float32 once, after the shift
    assert np.allclose(found, expected, rtol=1e-3, atol=2.0**-22 * np.abs(points).max())


def test_the_points_are_left_alone_and_may_be_half():
    points = torch.randn(50, 20, generator=torch.Generator().manual_seed(5)) * 1000
    kept = points.clone()
    matrix(Vectors.of(points).single(), "float32")
    assert torch.equal(points, kept)
    half = points.half()  # norms beyond its largest number
    expected = explicit_distances(half.double().numpy())
    assert np.allclose(matrix(Vectors.of(half).single(), "float32").numpy(), expected, rtol=1e-4)


def test_projections_are_those_of_the_outer_products():
    g = torch.Generator().manual_seed(6)
    left, right = torch.randn(9, 3, generator=g).double(), torch.randn(9, 4, generator=g).double()
    explicit = Vectors(torch.einsum("np,nq->npq", left, right).flatten(1), torch.ones(9, dtype=torch.float64))
    outer, c = OuterProducts.of(left, right)[:], torch.randn(9, generator=g).double()
    assert torch.allclose(outer.combine(c).flatten(), explicit.combine(c))
    assert torch.allclose(outer.project(outer.combine(c)), explicit.project(explicit.combine(c)))


@pytest.mark.parametrize("make", [lambda x: Vectors.of(x), lambda x: OuterProducts.of(x, torch.ones(len(x), 1))])
def test_numbers_that_are_not_finite_are_named(make):
    points = torch.zeros(20000, 2)
    points[9000, 1] = float("nan")
    points[12000, 0] = float("inf")
    with pytest.raises(InputError, match=r"Row 9000 of .* is not finite \(2 such rows\)"):
        make(points)
