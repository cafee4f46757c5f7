"""Gradient matching against non-negative least squares on explicit gradients, and against chance."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from selection_references import gradients, make_signals

from auglean.selection import Coreset, GradientMatching, Random, allocate, select
from auglean.selection.matching import _batches, _Gradients
from auglean.signals import Signals


def with_constant(gradient):
    """Append the coordinate that is the same for all: the root mean square norm."""
    constant = np.sqrt((gradient**2).sum(1).mean()) or 1.0
    return np.concatenate([gradient, np.full((len(gradient), 1), constant)], axis=1)


def fitted(atoms, target, sizes, n, penalty):
    """Weights ≥ 0 that minimise ‖target − atomsᵀ w‖² + λ‖w − n/Σ sizes‖², by stacking the rows of the penalty."""
    mean, root = n / sum(sizes), math.sqrt(penalty)
    rows = np.concatenate([atoms.T, root * np.eye(len(atoms))])
    return nnls(rows, np.concatenate([target, np.full(len(atoms), root * mean)]))[0]


def plain_pursuit(gradient, k, ridge):
    """Orthogonal matching pursuit on explicit gradients, with a full fit after every pick."""
    atoms = with_constant(gradient)
    n, target = len(atoms), atoms.sum(0)
    penalty = ridge * (atoms**2).sum(1).mean()
    norms = np.sqrt((atoms**2).sum(1) + penalty)
    picks, missing = [], target
    for _ in range(k):
        score = atoms @ missing / norms
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
        weights = fitted(atoms[picks], target, [1] * len(picks), n, penalty)
        missing = target - weights @ atoms[picks]
    return picks, weights * (n / weights.sum())


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 25),
    proxy=st.sampled_from(["last-layer", "residual"]),
    ridge=st.sampled_from([0.01, 1.0]),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_one_class_is_plain_pursuit(n, proxy, ridge, seed, data):
    signals, _ = make_signals(n, seed=seed)
    k = data.draw(st.integers(1, n))
    chosen = select(signals, torch.zeros(n).long(), GradientMatching(proxy, ridge=ridge), budget=k)
    gradient = gradients(signals.residual, signals.feature if proxy == "last-layer" else None)
    picks, weights = plain_pursuit(gradient, k, ridge)
    assert chosen.indices.tolist() == picks
    assert chosen.weights.tolist() == pytest.approx(weights.tolist(), rel=1e-6, abs=1e-8)
    error = np.linalg.norm(gradient.sum(0) - weights @ gradient[picks])
    assert chosen.how["objective"] == pytest.approx(error, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("k", [40, 100, 150])
def test_many_picks_keep_the_best_weights(k):
    # picks are several at a time, but the weights are those of a full fit to them
    signals, _ = make_signals(150, classes=4, dim=6, seed=k)
    chosen = select(signals, torch.zeros(150).long(), GradientMatching(), budget=k)
    atoms = with_constant(gradients(signals.residual, signals.feature))
    penalty = 0.01 * (atoms**2).sum(1).mean()
    weights = fitted(atoms[chosen.indices.numpy()], atoms.sum(0), [1] * k, 150, penalty)
    assert chosen.weights.tolist() == pytest.approx((weights * 150 / weights.sum()).tolist(), rel=1e-5, abs=1e-7)
    if k == 150:
        assert chosen.weights.tolist() == pytest.approx([1] * 150)


def test_batches_keep_the_best_weights_and_are_cut_at_the_end():
    signals, labels = make_signals(103, classes=4, dim=6, seed=5)
    k, ridge = 46, 0.05
    selector = GradientMatching(per="batch", ridge=ridge, batch_size=10)
    chosen = selector.choose(signals, labels, k, torch.Generator().manual_seed(2))
    batches = _batches(103, k, 10, torch.Generator().manual_seed(2))
    singles = with_constant(gradients(signals.residual, signals.feature))
    sums = np.stack([singles[batch.numpy()].sum(0) for batch in batches])
    penalty = ridge * (sums**2).sum(1).mean()

    position = {int(i): b for b, batch in enumerate(batches) for i in batch}
    runs = [list(run) for _, run in itertools.groupby(chosen.indices.tolist(), key=position.get)]
    assert [len(run) == len(batches[position[run[0]]]) for run in runs] == [True] * (len(runs) - 1) + [False]
    assert len(runs) == 5  # the fewest that fill the budget with at most 10 each
    assert len(runs[-1]) > 1
    atoms = np.stack([singles[run].sum(0) for run in runs])
    sizes = [len(run) for run in runs]
    weights = fitted(atoms, singles.sum(0), sizes, 103, penalty)
    expected = np.repeat(weights * 103 / (weights * sizes).sum(), sizes)
    assert chosen.weights.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert position[runs[0][0]] == int((sums @ singles.sum(0) / np.sqrt((sums**2).sum(1) + penalty)).argmax())


@given(n=st.integers(1, 300), batch_size=st.integers(1, 40), data=st.data())
def test_few_batches_fill_the_budget(n, batch_size, data):
    k = data.draw(st.integers(1, n))
    batches = _batches(n, k, batch_size, torch.Generator().manual_seed(0))
    sizes = sorted(len(batch) for batch in batches)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert sum(sizes[: math.ceil(k / batch_size)]) >= k or len(batches) < math.ceil(k / batch_size)


def test_the_bound_and_chance():
    signals, labels = make_signals(300, classes=4, dim=8, seed=7)
    before = math.inf
    for k in (8, 20, 60, 150, 300):
        chosen = select(signals, labels, GradientMatching(), budget=k)
        assert chosen.gradient_error < before
        gradient = gradients(signals.residual, signals.feature)
        whole = np.linalg.norm(gradient.sum(0))
        assert chosen.gradient_error * whole <= chosen.how["objective"] + 1e-6
        if k < 300:
            by_chance = [select(signals, labels, Random(), budget=k, seed=s).gradient_error for s in range(10)]
            assert chosen.gradient_error < min(by_chance)
        before = chosen.gradient_error
    assert before < 1e-9


def test_batches_are_better_than_chance_on_average():
    signals, labels = make_signals(300, classes=4, dim=8, seed=8)
    selector = GradientMatching(per="batch", batch_size=10)
    errors = {
        name: np.mean([select(signals, labels, s, budget=60, seed=seed).gradient_error for seed in range(8)])
        for name, s in {"batch": selector, "random": Random()}.items()
    }
    assert errors["batch"] < 0.6 * errors["random"]


def test_a_coreset_of_the_same_size_is_further_off():
    signals, labels = make_signals(300, classes=4, dim=8, seed=9)
    for k in (20, 60):
        assert (
            select(signals, labels, GradientMatching(ridge=1e-3), budget=k).gradient_error
            < select(signals, labels, Coreset("last-layer"), budget=k).gradient_error
        )


def test_more_picks_than_dimensions_and_no_gradient_at_all():
    # one dimension of gradient: after a pick or two nothing is missing, and the budget is filled all the same
    residual = torch.tensor([[0.5, -0.5]]).repeat(12, 1) * torch.arange(1, 13)[:, None]
    for scale in (1.0, 0.0):
        signals = Signals(torch.ones(12), torch.ones(12), residual * scale, torch.zeros(12, 2), torch.zeros(12).long())
        chosen = select(signals, torch.zeros(12).long(), GradientMatching(ridge=1e-6), budget=9)
        assert len(set(chosen.indices.tolist())) == 9
        assert float(chosen.weights.sum()) == pytest.approx(12)
        assert chosen.gradient_error < 1e-3
    assert chosen.indices.tolist() == list(range(9))
    assert chosen.weights.tolist() == pytest.approx([12 / 9] * 9)


def test_weights_are_never_negative():
    # gradients of very different lengths: least squares without the sign makes a weight negative here
    signals, _ = make_signals(60, classes=4, dim=2, seed=2)
    length = torch.randn(60, 1, generator=torch.Generator().manual_seed(2)).mul(1.5).exp()
    signals = dataclasses.replace(signals, residual=signals.residual * length)
    chosen = select(signals, torch.zeros(60).long(), GradientMatching(ridge=1e-5), budget=8)
    assert sorted((chosen.weights == 0).tolist()) == [False] * 7 + [True]
    picks, weights = plain_pursuit(gradients(signals.residual, signals.feature), 8, 1e-5)
    assert chosen.indices.tolist() == picks
    assert chosen.weights.tolist() == pytest.approx(weights.tolist(), rel=1e-6, abs=1e-8)
    atoms = with_constant(gradients(signals.residual, signals.feature))
    assert np.linalg.lstsq(atoms[picks].T, atoms.sum(0))[0].min() < 0


def test_classes_are_matched_by_themselves():
    signals, labels = make_signals(80, seed=3)
    chosen = select(signals, labels, GradientMatching(), budget=18)
    for c, share in enumerate(allocate(18, torch.bincount(labels).tolist())):
        rows = (labels == c).nonzero()[:, 0]
        mine = labels[chosen.indices] == c
        picks, weights = plain_pursuit(gradients(signals.residual[rows], signals.feature[rows]), share, 0.01)
        assert chosen.indices[mine].tolist() == rows[picks].tolist()
        assert chosen.weights[mine].tolist() == pytest.approx(weights.tolist(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("few", [True, False])
def test_correlations_in_either_order_of_the_products(few):
    g = torch.Generator().manual_seed(0)
    residual, feature = torch.randn(30, 5, generator=g), torch.randn(30, 7, generator=g)
    rows = torch.arange(2 if few else 20)
    coefficients = torch.rand(len(rows), generator=g, dtype=torch.float64)
    explicit = with_constant(gradients(residual, feature))
    found = _Gradients(residual, feature)
    np.testing.assert_allclose(
        found.gram(rows, rows), explicit[: len(rows)] @ explicit[: len(rows)].T, rtol=1e-10, atol=1e-10
    )
    expected = explicit @ (coefficients.numpy() @ explicit[: len(rows)])
    np.testing.assert_allclose(found.correlate(rows, coefficients), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.squares, (explicit**2).sum(1), rtol=1e-12)
