"""What weights become in training, and the gradient error against explicit gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import gradients, make_signals

from auglean.errors import InputError
from auglean.selection import (
    Coreset,
    MaxLoss,
    Random,
    Selection,
    effective_weights,
    facility_location,
    gradient_error,
    select,
)
from auglean.signals import Signals


def chosen_with(weights, total=None):
    weights = torch.as_tensor(weights, dtype=torch.float64)
    k = len(weights)
    return Selection(torch.arange(k), weights, torch.zeros(k), total=total or max(k, math.ceil(weights.sum())))


def test_the_table_by_hand():
    chosen = chosen_with([6.0, 0.0, 3.0])
    for mode, expected in {"raw": [6, 0, 3], "mean1": [2, 0, 1], "none": [1, 1, 1]}.items():
        copies, weight = effective_weights(chosen, mode)
        assert copies.tolist() == [1, 1, 1]
        assert weight.tolist() == pytest.approx(expected)
    # expected copies 2, 0, 1: whole numbers, so nothing is left to chance
    copies, weight = effective_weights(chosen, "sampled", seed=1, epoch=2)
    assert copies.tolist() == [2, 0, 1]
    assert weight.tolist() == [1, 1, 1]


cluster_sizes = st.lists(st.one_of(st.integers(0, 50), st.floats(0, 50)), min_size=1, max_size=20).filter(
    lambda weights: sum(weights) > 1e-3
)


@settings(max_examples=200)
@given(weights=cluster_sizes, seed=st.integers(0, 10**6), epoch=st.integers(0, 500))
def test_masses_and_whole_copies(weights, seed, epoch):
    chosen, k = chosen_with(weights), len(weights)
    for mode, mass in {"raw": sum(weights), "mean1": k, "none": k, "sampled": k}.items():
        copies, weight = effective_weights(chosen, mode, seed=seed, epoch=epoch)
        assert copies.dtype == torch.int64
        assert weight.dtype == torch.float64
        assert copies.shape == weight.shape == (k,)
        assert float((copies * weight).sum()) == pytest.approx(mass)
        assert int(copies.sum()) == k
    for copy, gamma in zip(copies.tolist(), weights, strict=True):
        expected = k * gamma / sum(weights)
        assert math.floor(expected - 1e-9) <= copy <= math.ceil(expected + 1e-9)


def test_scaling_all_weights_leaves_mean_one_weights():
    weights = torch.tensor([3.0, 2, 7, 0])
    one = effective_weights(chosen_with(weights), "mean1")[1]
    other = effective_weights(chosen_with(weights * 17.5), "mean1")[1]
    torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


def test_sampled_is_mean1_on_average():
    gamma = torch.tensor([0.0, 1, 2, 3, 5, 8, 13, 0.5], dtype=torch.float64)
    chosen, epochs = chosen_with(gamma), 4000
    drawn = torch.stack(
        [(copies * weight) for copies, weight in (effective_weights(chosen, "sampled", epoch=e) for e in range(epochs))]
    )
    expected = gamma * (len(gamma) / gamma.sum())
    spread = ((expected % 1) * (1 - expected % 1) / epochs).sqrt()
    assert bool(((drawn.mean(0) - expected).abs() <= 5 * spread + 1e-9).all())
    assert len(drawn.unique(dim=0)) > 3  # drawn anew each epoch


def test_sampled_is_fixed_by_seed_and_epoch():
    chosen = chosen_with(torch.rand(30, generator=torch.Generator().manual_seed(0)))
    before = torch.get_rng_state()
    one = effective_weights(chosen, "sampled", seed=3, epoch=4)[0]
    assert torch.equal(one, effective_weights(chosen, "sampled", seed=3, epoch=4)[0])
    others = [effective_weights(chosen, "sampled", seed=s, epoch=e)[0] for s, e in [(3, 5), (4, 4), (0, 0)]]
    assert any(not torch.equal(one, other) for other in others)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_mode():
    with pytest.raises(InputError, match="did you mean 'mean1'"):
        effective_weights(chosen_with([1.0]), "mean")


# Gradient error


def explicit_error(residual, feature, indices, weights):
    gradient = gradients(residual, feature)
    full = gradient.sum(0)
    weights = weights.double().numpy()
    estimate = (weights * len(residual) / weights.sum()) @ gradient[indices.numpy()]
    return np.linalg.norm(full - estimate) / np.linalg.norm(full)


@pytest.mark.parametrize("with_feature", [True, False])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_gradient_error_of_explicit_gradients(with_feature, n):
    signals, _ = make_signals(n, classes=4, dim=5, seed=n)
    g = torch.Generator().manual_seed(n)
    indices = torch.randperm(n, generator=g)[: max(1, n // 3)]
    weights = torch.rand(len(indices), generator=g) + 0.1
    feature = signals.feature if with_feature else None
    found = gradient_error(signals.residual, indices, weights, feature=feature)
    expected = explicit_error(signals.residual, feature, indices, weights)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert gradient_error(signals.residual, indices, weights * 100, feature=feature) == pytest.approx(found)


def test_gradient_error_of_many_chunks():
    g = torch.Generator().manual_seed(1)
    residual, feature = torch.randn(20_000, 2, generator=g) + 0.1, torch.randn(20_000, 3, generator=g)
    indices, weights = torch.randperm(20_000, generator=g)[:500], torch.rand(500, generator=g)
    found = gradient_error(residual, indices, weights, feature=feature)
    assert found == pytest.approx(explicit_error(residual, feature, indices, weights), rel=1e-9)


def test_gradient_error_at_its_ends():
    residual = torch.tensor([[1.0], [-1], [2]])
    everything = torch.arange(3)
    assert gradient_error(residual, everything, torch.ones(3)) == 0
    assert gradient_error(torch.zeros(3, 1), torch.tensor([0]), torch.tensor([3.0])) == 0
    assert gradient_error(torch.tensor([[1.0], [-1]]), torch.tensor([0]), torch.tensor([2.0])) == math.inf


def test_select_reports_the_error_of_its_weights():
    signals, labels = make_signals(80)
    for selector in (Coreset(), MaxLoss(), Random()):
        chosen = select(signals, labels, selector, budget=0.2)
        expected = explicit_error(signals.residual, signals.feature, chosen.indices, chosen.weights)
        assert chosen.gradient_error == pytest.approx(expected)


# Spec 1.5: the published default forgets the cluster sizes, and pays for it


def test_unweighted_medoids_are_far_worse_than_weighted_ones():
    g = torch.Generator().manual_seed(0)
    n, classes = 1000, 10
    hard = torch.rand(n, generator=g) < 0.2
    logits = torch.randn(n, classes, generator=g)
    logits[:, 0] += torch.where(hard, 0.0, 6.0)
    residual = logits.softmax(1)
    loss = -residual[:, 0].log()
    residual[:, 0] -= 1
    signals = Signals(loss, torch.zeros(n), residual, torch.zeros(n, 1), logits.argmax(1))
    labels = torch.zeros(n, dtype=torch.int64)

    def error(selector, mode):
        chosen = select(signals, labels, selector, budget=0.05)
        copies, weight = effective_weights(chosen, mode)
        return gradient_error(residual, chosen.indices, copies * weight)

    weighted = error(Coreset(), "raw")
    assert weighted < 0.05
    assert error(Coreset(), "mean1") == pytest.approx(weighted)
    assert error(Coreset(), "none") > 10 * weighted
    assert error(MaxLoss(), "none") > error(Coreset(), "none")
    # the mean over seeds of random selection lies between
    errors = [
        gradient_error(residual, select(None, labels, Random(), budget=0.05, seed=s).indices, torch.ones(50))
        for s in range(20)
    ]
    assert weighted < np.mean(errors) < error(Coreset(), "none")
    alone = facility_location(residual, 50)
    assert weighted == pytest.approx(gradient_error(residual, alone.indices, alone.weights), abs=1e-6)
