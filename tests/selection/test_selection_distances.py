"""Distances of points and of outer products, against exact fractions."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from selection_references import explicit_distances

from auglean.selection.facility_location import pairwise, pairwise_outer


def exact_outer_distance(a, b, c, d):
    """‖a⊗b − c⊗d‖ in fractions, rounded once at the end."""
    a, b, c, d = ([Fraction(float(x)) for x in row] for row in (a, b, c, d))
    return math.sqrt(sum((x * y - z * w) ** 2 for x, z in zip(a, c, strict=True) for y, w in zip(b, d, strict=True)))


def assert_outer_distances(left, right, relative):
    found = pairwise_outer(left, right)
    n = len(left)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.zeros(n, dtype=torch.float64))
    for i in range(n):
        for j in range(i):
            expected = exact_outer_distance(left[i], right[i], left[j], right[j])
            assert float(found[i, j]) == pytest.approx(expected, rel=relative, abs=0), (i, j)


@pytest.mark.parametrize("shape", [(6, 3, 4), (5, 10, 1), (4, 1, 8), (1, 2, 2)])
def test_outer_products_are_never_needed(shape):
    n, p, q = shape
    g = torch.Generator().manual_seed(n)
    assert_outer_distances(torch.randn(n, p, generator=g), torch.randn(n, q, generator=g), 1e-12)


@pytest.mark.parametrize("near", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12])
def test_near_duplicates_keep_their_digits(near):
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


def test_duplicates_are_at_zero():
    g = torch.Generator().manual_seed(3)
    left, right = torch.randn(7, 5, generator=g) * 100, torch.randn(7, 9, generator=g)
    left, right = left.repeat(2, 1), right.repeat(2, 1)
    found = pairwise_outer(left, right)
    assert torch.equal(found.diagonal(7), torch.zeros(7, dtype=torch.float64))
    assert int((found == 0).sum()) == 14 + 14  # the diagonal and both sides of the duplicates


def test_chunks_of_duplicates_do_not_matter(monkeypatch):
    g = torch.Generator().manual_seed(4)
    left = torch.randn(4, 3, generator=g, dtype=torch.float64).repeat(6, 1)
    right = torch.randn(24, 2, generator=g, dtype=torch.float64) * 1e-5 + 1
    left = left.sort(0).values
    whole = pairwise_outer(left, right)
    monkeypatch.setattr(sys.modules["auglean.selection.facility_location"], "_PAIR_NUMBERS", 1)
    torch.testing.assert_close(pairwise_outer(left, right), whole, rtol=1e-10, atol=0)


def test_points():
    points = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    points[20] = points[3]
    points[21] = points[4] + 1e-6
    found = pairwise(torch.from_numpy(points))
    assert torch.equal(found, found.T)
    assert found[20, 3] == 0
    assert found[21, 4] > 0
    np.testing.assert_allclose(found.numpy(), explicit_distances(points), rtol=1e-12, atol=0)
