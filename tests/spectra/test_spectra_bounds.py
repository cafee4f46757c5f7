"""The bounds: kept by random pairs of matrices, met where they are sharp, and the prediction against simulation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra_references import with_values

from auglean.spectra.bounds import isotropic, stewart, wedin, weyl
from auglean.spectra.factors import angles, decompose

SLACK = 1 + 1e-9


@st.composite
def pairs(draw):
    """A matrix of any shape and rank, and what is added to it, from tiny to large."""
    n, m = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    rank = draw(st.integers(0, min(n, m)))
    scale = 10.0 ** draw(st.integers(-6, 2))
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return make(n, rank) @ make(rank, m), scale * make(n, m)


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_weyl_holds(pair):
    before, change = pair
    values, after = torch.linalg.svdvals(before), torch.linalg.svdvals(before + change)
    low, high = weyl(values, float(torch.linalg.matrix_norm(change, 2)))
    assert (low <= after * SLACK + 1e-12).all()
    assert (after <= high * SLACK + 1e-12).all()


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_stewart_holds(pair):
    before, change = pair
    wide = before.shape[0] <= before.shape[1]
    left, values, right = torch.linalg.svd(before, full_matrices=False)
    inside = change @ right.T @ right if wide else left @ left.T @ change
    outside = torch.linalg.svdvals(change - inside)
    low, high = stewart(values, float(torch.linalg.matrix_norm(inside, 2)), float(outside[0]), float(outside[-1]))
    after = torch.linalg.svdvals(before + change)
    assert (low <= after * SLACK + 1e-9).all()
    assert (after <= high * SLACK + 1e-9).all()


@settings(max_examples=300, deadline=None)
@given(pairs())
def test_wedin_holds(pair):
    before, change = pair
    one, other = decompose(before), decompose(before + change)
    norm = float(torch.linalg.matrix_norm(change, 2))
    for k in range(1, len(one.values) + 1):
        bound = wedin(one.values, other.values, norm, k)
        if bound < 1:
            for side in ("left", "right"):
                turned = angles(getattr(one, side)[:, :k], getattr(other, side)[:, :k])
                assert math.sin(math.radians(float(turned[0]))) <= bound * SLACK + 1e-7


def test_bounds_are_met_where_they_are_sharp():
    values = torch.tensor([3.0, 1.0], dtype=torch.float64)
    before = torch.diag(values)
    low, high = weyl(values, 0.5)
    assert torch.equal(torch.linalg.svdvals(before + 0.5 * torch.eye(2)), high)
    assert torch.equal(torch.linalg.svdvals(before - 0.5 * torch.eye(2)), low)
    # outside of the row space, the noise adds in squares: the range is a point
    wide = torch.cat([before, 2.0 * torch.eye(2)], 1)
    low, high = stewart(values, 0.0, 2.0, 2.0)
    assert torch.allclose(low, high)
    assert torch.allclose(torch.linalg.svdvals(wide), low)


def test_wedin_is_vacuous_without_a_gap():
    values = torch.tensor([2.0, 1.0])
    assert wedin(values, torch.tensor([2.0, 2.0]), 0.1, 1) == math.inf
    assert wedin(values, torch.tensor([4.0, 3.0]), 0.1, 1) == math.inf
    assert wedin(values, values, 5.0, 1) == 5.0


@pytest.mark.parametrize("shape", [(4, 300), (300, 4), (4, 5)])
def test_the_prediction_is_what_noise_does_on_average(shape):
    values, deviation = [9.0, 6.0, 4.0, 2.0], 0.02
    wide = with_values(values, max(shape))
    before = wide if shape[0] < shape[1] else wide.T
    generator = torch.Generator().manual_seed(3)
    noise = deviation * torch.randn(4000, *before.shape, generator=generator, dtype=torch.float64)
    found = torch.linalg.svdvals(before + noise) - torch.tensor(values, dtype=torch.float64)
    error = found.std(0) / math.sqrt(len(found))
    predicted = isotropic(torch.tensor(values, dtype=torch.float64), deviation**2, before.shape)
    assert (abs(predicted - found.mean(0)) < 4 * error + 0.01 * predicted.abs()).all()
    if max(shape) > 5:
        assert (predicted > 10 * error).all()  # so the comparison could have failed


def test_the_prediction_is_withheld_where_it_does_not_hold():
    predicted = isotropic(torch.tensor([10.0, 0.1], dtype=torch.float64), 1e-3, (2, 100))
    assert predicted[0] > 0
    assert torch.isnan(predicted[1])
