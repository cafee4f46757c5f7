"""The randomised spectrum against the exact one: values within one per cent, bounds kept, noise of the same law."""

import math

import pytest
import torch
from spectra_references import Matrix, noise_like, with_values

import auglean as al
from auglean.networks.probing import undisturbed
from auglean.spectra.exact import Exact
from auglean.spectra.factors import Factors, angles, decompose
from auglean.spectra.jacobian import Jacobian
from auglean.spectra.randomised import Randomised, leading, quadratic


def start(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (torch.logspace(2, -2, 80), 300),
        (torch.logspace(0.3, 0, 80), 300),  # hardly falling
        (torch.linspace(9, 1, 40), 40),
        (torch.tensor([4.0, 3.0, 2.0]), 50),  # fewer than a block
        (torch.cat([torch.linspace(9, 5, 12), torch.zeros(30)]), 60),  # of low rank
    ],
)
def test_leading_values_are_within_their_bounds(values, columns):
    matrix = with_values(values, columns)
    count = min(15, len(values))
    found, errors = leading(Matrix(matrix), count, random=start())
    truth = torch.linalg.svdvals(matrix)[:count]
    sound = truth > 1e-9
    assert torch.allclose(found.values[:10], truth[:10], rtol=0.01, atol=1e-9)
    assert (found.values <= truth * (1 + 1e-9) + 1e-9).all()
    assert ((1 - found.values / truth)[sound] <= errors[sound] + 1e-9).all()
    assert torch.allclose(found.left.T @ found.left, torch.eye(count, dtype=torch.float64), atol=1e-9)
    restored = found.left.T @ matrix @ found.right
    assert torch.allclose(restored, torch.diag(found.values), atol=1e-6 * float(truth[0]))


def test_the_bound_on_the_error_tells_of_a_search_that_ended_early(monkeypatch):
    from auglean.spectra import randomised

    monkeypatch.setattr(randomised, "TOLERANCE", math.inf)
    monkeypatch.setattr(randomised, "TOLERANCE_ALL", math.inf)
    matrix = with_values(torch.logspace(0.3, 0, 80), 300)
    found, errors = leading(Matrix(matrix), 10, random=start())
    squares = torch.linalg.svdvals(matrix).square()
    assert (1 - found.values.square() / squares[:10]).max() > 0.1
    assert errors.min() > 0.01
    nearest = (found.values.square()[:, None] - squares).abs().amin(1)
    assert (nearest <= 2 * errors * found.values.square() * (1 + 1e-9)).all()


def test_a_quadratic_form_is_that_of_a_linear_system():
    matrix = with_values(torch.logspace(2, -3, 60), 200)
    r = torch.randn(60, generator=start(), dtype=torch.float64)
    known, _ = leading(Matrix(matrix), 10, random=start())
    none = Factors(known.left[:, :1] * 0, known.values[:1], known.right[:, :1])
    steps = []
    for ridge in (1.0, 1e-2):
        truth = float(r @ torch.linalg.solve(matrix @ matrix.T + ridge * torch.eye(60, dtype=torch.float64), r))
        for factors in (known, none):
            asked = Matrix(matrix)
            found = quadratic(asked, r, ridge, known=factors)
            assert math.isclose(found, truth, rel_tol=2e-3)
            assert found <= truth * (1 + 1e-9)
            steps.append(asked.products)
    assert steps[0] < steps[1]
    assert steps[2] < steps[3]


@pytest.fixture(scope="module")
def network():
    data = al.load("digits").subset(range(60))
    model = al.networks.create("convnet-w6-d2-batch", channels=1, classes=10, size=(8, 8))
    return al.fit(model, data, policy="rotate10", steps=30, seed=0).model, data


def test_a_network_within_one_per_cent_of_exact(network):
    model, data = network
    x = data.images[:12].float() / 255
    moved = al.policies.Rotate(20)(x, generator=start())
    r = torch.randn(120, generator=start(), dtype=torch.float64)
    with undisturbed(model):
        exact = Exact(Jacobian(model, x, dtype=torch.float64), r, gram=False)
        found = Randomised(Jacobian(model, x), r, count=20, seed=0)
        truth = exact.change(Jacobian(model, moved, dtype=torch.float64), seed=0)
        change = found.change(Jacobian(model, moved), seed=0)
    for mine, theirs in ((found.factors, exact.factors), (change.after, truth.after)):
        assert torch.allclose(mine.values[:10], theirs.values[:10], rtol=0.01)
        assert torch.allclose(mine.values, theirs.values[:20], rtol=0.02)
        assert angles(mine.left[:, :5].double(), theirs.left[:, :5])[0] < 0.5
    assert found.error < 0.01
    assert change.spectral == pytest.approx(truth.spectral, rel=0.01)
    assert change.frobenius == pytest.approx(truth.frobenius, rel=1e-4)
    assert found.slow == pytest.approx(exact.slow, rel=0.01)
    assert change.slow[0] == pytest.approx(truth.slow[0], rel=0.01)
    # noise differs from draw to draw, its leading values only a little
    assert torch.allclose(change.null.values[:10], truth.null.values[:10], rtol=0.05)


def test_the_null_has_the_law_of_dense_noise():
    before = with_values(torch.logspace(1, -1, 25), 60).float()
    change = with_values(torch.ones(25), 60, seed=3).float()
    solver = Randomised(Matrix(before), None, count=12, seed=0)
    mine = torch.stack([solver.change(Matrix(before + change), seed=seed).null.values for seed in range(60)])
    dense = torch.stack(
        [decompose(before.double() + noise_like(change.double(), seed=seed)).values[:12] for seed in range(60)]
    )
    error = ((mine.var(0) + dense.var(0)) / 60).sqrt()
    assert ((mine.mean(0) - dense.mean(0)).abs() < 4 * error + 0.01 * dense.mean(0)).all()
    assert (dense.mean(0)[-1] - decompose(before).values[11]) > 20 * error[-1]  # so it could have failed


def test_a_matrix_of_low_rank_needs_few_products():
    for values in (torch.linspace(9, 5, 12), torch.zeros(1)):
        asked = Matrix(with_values(values, 400, rows=200).float())
        found, _ = leading(asked, 50, random=start())
        assert torch.allclose(found.values[: len(values)].float(), values, rtol=1e-5)
        assert found.values[len(values) :].max() < 1e-4
        assert asked.products <= 150  # of 400 that would make it whole
