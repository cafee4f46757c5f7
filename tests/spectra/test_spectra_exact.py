"""The exact spectrum in coordinates, against dense decompositions of matrices that are known."""

import math

import pytest
import torch
from spectra_references import Matrix, noise_like, with_values

from auglean.spectra import exact
from auglean.spectra.exact import Exact
from auglean.spectra.factors import angles, decompose
from auglean.spectra.spectrum import Contrast, smaller_half

SHAPES = [(6, 40), (6, 9), (6, 7), (6, 6), (9, 6), (12, 4)]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gram", [False, True])
def test_everything_is_as_of_the_dense_matrices(shape, gram, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK", 8 * shape[0] * (shape[1] // 2))  # two groups of weights
    before, change, r = random(*shape), 0.3 * random(*shape, seed=1), random(shape[0], seed=2)
    found = Exact(Matrix(before), r, gram=gram)
    moved = found.change(Matrix(before + change), seed=0)
    one, other = decompose(before), decompose(before + change)
    near = {"rtol": 1e-6, "atol": 1e-7}
    count = min(shape)
    assert torch.allclose(found.factors.values[:count], one.values, **near)
    assert torch.allclose(moved.after.values[:count], other.values, **near)
    assert math.isclose(moved.spectral, float(torch.linalg.matrix_norm(change, 2)), rel_tol=1e-6)
    assert math.isclose(moved.frobenius, float(change.norm()), rel_tol=1e-6)
    assert torch.allclose(found.factors.alignment(r)[:count], one.alignment(r), **near)
    ridge = (0.01 * float(one.values[0])) ** 2
    for given, matrix in ((found.slow, before), (moved.slow[0], before + change)):
        solved = torch.linalg.solve(matrix @ matrix.T + ridge * torch.eye(shape[0], dtype=torch.float64), r)
        assert math.isclose(given, ridge * float(r @ solved) / float(r @ r), rel_tol=1e-5)
    k = 3
    padded = torch.nn.functional.pad(found.factors.right, (0, 0, 0, len(moved.after.right) - len(found.factors.right)))
    for mine, truth in (
        (angles(found.factors.left[:, :k], moved.after.left[:, :k]), angles(one.left[:, :k], other.left[:, :k])),
        (angles(padded[:, :k], moved.after.right[:, :k]), angles(one.right[:, :k], other.right[:, :k])),
    ):
        assert torch.allclose(mine, truth, atol=1e-4)
    stacked = torch.linalg.svdvals(torch.cat([before, before + change]))
    assert torch.allclose(moved.appended[: len(stacked)][: shape[1]], stacked[: len(moved.appended)], **near)
    # more rows never make a singular value smaller
    assert (moved.appended[:count] >= torch.maximum(one.values, other.values) - 1e-7).all()
    wide = shape[0] <= shape[1]
    inside = change @ one.right @ one.right.T if wide else one.left @ one.left.T @ change
    outside = torch.linalg.svdvals(change - inside)
    expected = (float(torch.linalg.matrix_norm(inside, 2)), float(outside[0]), float(outside[-1]))
    assert moved.parts == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_change_of_rank_one():
    before = torch.diag(torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64)) @ torch.eye(3, 8, dtype=torch.float64)
    change = torch.zeros(3, 8, dtype=torch.float64)
    change[2, 5] = 2.0  # outside of the row space: adds in squares to the third value
    moved = Exact(Matrix(before), None, gram=False).change(Matrix(before + change), seed=0)
    assert torch.allclose(moved.after.values, torch.tensor([5.0, 3.0, math.sqrt(5)], dtype=torch.float64))
    assert (moved.spectral, moved.frobenius) == pytest.approx((2.0, 2.0))
    assert moved.parts == pytest.approx((0.0, 2.0, 0.0), abs=1e-12)
    assert moved.slow == (None, None)


def test_the_gram_matrix_takes_what_it_cannot_tell_from_rounding_for_nothing():
    before = with_values([1.0, 1e-3, 1e-11], 20)
    assert len(Exact(Matrix(before), None, gram=True).factors.values) == 2
    values = Exact(Matrix(before), None, gram=False).factors.values
    assert torch.allclose(values, torch.tensor([1.0, 1e-3, 1e-11], dtype=torch.float64), rtol=1e-3, atol=0)


def growth(before, changes):
    """Give the contrast of the smaller half, as the study does."""
    solver = Exact(Matrix(before), None, gram=False)
    values = solver.factors.values
    small, rows = smaller_half(values, solver.floor), []
    for seed, change in enumerate(changes):
        moved = solver.change(Matrix(before + change), seed=seed)
        rows.append([float((found.values / values)[small].log().mean()) for found in (moved.after, moved.null)])
    return Contrast(*torch.tensor(rows, dtype=torch.float64).unbind(1))


def test_noise_cannot_be_told_from_the_null_and_structure_can():
    before = with_values(torch.logspace(1, -1, 30), 400)
    lengths = torch.rand(30, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    shape_of_rows = lengths * torch.ones(30, 400)
    wrong = sum(
        growth(before, [noise_like(shape_of_rows, seed=100 * trial + i) for i in range(5)]).verdict != "alike"
        for trial in range(40)
    )
    assert wrong <= 6  # two are expected of a test at 5 %; seven or more come once in 140 times
    found = growth(before, [noise_like(shape_of_rows, seed=i) for i in range(5)])
    assert found.after.mean() > 0.5  # noise does enlarge them, and much
    assert growth(before, [-(0.2 + 0.01 * i) * before for i in range(5)]).verdict == "less"
    # a change that goes into the small directions alone
    left, _, _ = torch.linalg.svd(before, full_matrices=False)
    into = [left[:, 15:] @ noise_like(torch.full((15, 400), 0.015), seed=i) for i in range(5)]
    assert growth(before, into).verdict == "more"
