"""Policies that score each example on its own: random, loss, error norm, gradient norm."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import gradients, make_signals, score_signals

from auglean.selection import EL2N, GraNd, Influence, MaxLoss, PerClass, Random, scores, select
from auglean.signals.influence import logistic_influence
from auglean.signals.logistic import fit_logistic
from auglean.signals.softmax_influence import softmax_influence

# Random


def test_random_is_uniform():
    labels = torch.zeros(6, dtype=torch.int64)
    runs = 3000
    times = torch.zeros(6)
    for seed in range(runs):
        times[select(None, labels, Random(), budget=2, seed=seed).indices] += 1
    spread = math.sqrt(runs * (1 / 3) * (2 / 3))
    assert bool(((times - runs / 3).abs() < 5 * spread).all())


def test_random_asks_no_model():
    chosen = select(None, torch.arange(10), Random(), budget=3)
    assert chosen.gradient_error is None
    assert chosen.weights.tolist() == pytest.approx([10 / 3] * 3)


# Scores


@settings(max_examples=100)
@given(loss=st.lists(st.integers(0, 4), min_size=1, max_size=20), data=st.data())
def test_max_loss_is_a_stable_sort(loss, data):
    k = data.draw(st.integers(1, len(loss)))
    chosen = select(score_signals(loss), torch.zeros(len(loss), dtype=torch.int64), MaxLoss(), budget=k)
    assert chosen.indices.tolist() == sorted(range(len(loss)), key=lambda i: -loss[i])[:k]
    assert chosen.gains.tolist() == sorted(loss, reverse=True)[:k]


def test_max_loss_per_class():
    loss, labels = [9.0, 8, 7, 1, 6, 2], torch.tensor([0, 0, 0, 1, 0, 1])
    chosen = select(score_signals(loss), labels, PerClass(MaxLoss()), budget=3)
    assert chosen.indices.tolist() == [0, 1, 5]  # two of class 0, one of class 1; the highest first


def test_el2n_and_grand_are_norms_of_explicit_gradients():
    signals, labels = make_signals(40, classes=4, dim=5, seed=2)
    for selector, gradient in {
        EL2N(): gradients(signals.residual, None),
        GraNd(): gradients(signals.residual, signals.feature),
    }.items():
        norms = np.linalg.norm(gradient, axis=1)
        chosen = select(signals, labels, selector, budget=12)
        assert chosen.indices.tolist() == np.argsort(-norms)[:12].tolist()
        assert chosen.gains.tolist() == pytest.approx(np.sort(norms)[::-1][:12].tolist(), rel=1e-12)


def test_el2n_by_hand():
    # right with certainty, undecided, wrong with certainty
    residual = torch.tensor([[0.0, 0], [0.5, -0.5], [1, -1]])
    chosen = select(
        dataclasses.replace(score_signals([0, 1, 2]), residual=residual), torch.zeros(3).long(), EL2N(), budget=3
    )
    assert chosen.indices.tolist() == [2, 1, 0]
    assert chosen.gains.tolist() == pytest.approx([2**0.5, 0.5**0.5, 0])
    assert chosen.weights.tolist() == [1, 1, 1]


def test_grand_by_hand():
    signals = dataclasses.replace(score_signals([1, 1]), residual=torch.tensor([[3.0, -4], [6, -8]]),
                                  feature=torch.tensor([[1.0, 1, 1, 1, 2], [0, 0, 0, 0, 0]]))  # fmt: skip
    chosen = select(signals, torch.zeros(2).long(), GraNd(), budget=2)
    assert chosen.indices.tolist() == [0, 1]
    assert chosen.gains.tolist() == [15, 10]


def sequential_inclusion(p, k):
    """Chance to be among k drawn one by one in proportion to p without replacement, by enumeration."""
    chance = [0.0] * len(p)

    def go(left, probability, steps):
        if not steps:
            return
        mass = sum(p[i] for i in left)
        for i in left:
            chance[i] += probability * p[i] / mass
            go([j for j in left if j != i], probability * p[i] / mass, steps - 1)

    go(list(range(len(p))), 1.0, k)
    return chance


@pytest.mark.parametrize(("draw", "power"), [("proportional", 1), ("inverse", -1)])
def test_draws_in_proportion(draw, power):
    p = [0.5, 0.3, 0.15, 0.05]
    expected = torch.tensor(sequential_inclusion(p, 2))
    assert expected.tolist() == pytest.approx([0.8288, 0.6687, 0.3722, 0.1303], abs=1e-4)
    signals, labels = score_signals([x**power for x in p]), torch.zeros(4, dtype=torch.int64)
    selector, g, runs = MaxLoss(draw=draw), torch.Generator().manual_seed(11), 12_000
    picks = torch.cat([selector.choose(signals, labels, 2, g).indices for _ in range(runs)])
    found = torch.bincount(picks, minlength=4) / runs
    spread = (expected * (1 - expected) / runs).sqrt()
    assert bool(((found - expected).abs() < 5 * spread).all()), (found, expected)


@pytest.mark.parametrize("least", [1.0, 1e-15, 1e-30, 1e-38])
@pytest.mark.parametrize("seed", range(20))
def test_zeros_come_last_but_come(least, seed):
    loss = [0.0, least, 0.0, 5.0, 0.0, 1.0]
    labels = torch.zeros(6, dtype=torch.int64)
    chosen = select(score_signals(loss), labels, MaxLoss(draw="proportional"), budget=6, seed=seed)
    assert sorted(chosen.indices[:3].tolist()) == [1, 3, 5]
    assert sorted(chosen.indices[3:].tolist()) == [0, 2, 4]
    chosen = select(score_signals(loss), labels, MaxLoss(draw="inverse"), budget=6, seed=seed)
    assert sorted(chosen.indices[:3].tolist()) == [0, 2, 4]


def test_zeros_are_drawn_uniformly():
    labels, firsts = torch.zeros(4, dtype=torch.int64), torch.zeros(4)
    for seed in range(1500):
        firsts[select(score_signals([0.0] * 4), labels, MaxLoss(draw="proportional"), budget=1, seed=seed).indices] += 1
    assert bool(((firsts - 375).abs() < 5 * math.sqrt(375 * 0.75)).all())


# Influence


def head_signals(classes, seed=0):
    """Signals of a logistic head on its own features, at its optimum."""
    g = torch.Generator().manual_seed(seed)
    feature = torch.randn(80, 5, generator=g, dtype=torch.float64)
    labels = (feature[:, :classes] + 0.7 * torch.randn(80, classes, generator=g, dtype=torch.float64)).argmax(1)
    head = fit_logistic(feature, labels, classes=classes, C=2.0)
    return head.signals(feature, labels), feature, labels, head


def test_influence_of_two_classes_is_binary_influence():
    signals, feature, labels, head = head_signals(2)
    expected = logistic_influence(feature, labels, C=2.0, head=head).score
    found = scores(Influence(C=2.0), signals, labels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    chosen = select(signals, labels, Influence(C=2.0), budget=7)
    assert chosen.indices.tolist() == expected.argsort(descending=True)[:7].tolist()


def test_influence_of_three_classes_is_softmax_influence():
    signals, feature, labels, head = head_signals(3)
    probability = head.logits(feature).softmax(1)
    expected = softmax_influence(feature, labels, probabilities=probability, C=2.0).score
    torch.testing.assert_close(scores(Influence(C=2.0), signals, labels), expected, rtol=1e-3, atol=1e-8)


# Recorded


def test_forgetting_and_tracin_are_what_the_recorder_filled():
    signals, labels = make_signals(30)
    for name, values in (("forgetting", signals.forgetting), ("tracin", signals.tracin)):
        chosen = select(signals, labels, name, budget=30)
        assert chosen.indices.tolist() == values.argsort(descending=True, stable=True).tolist()
        assert chosen.gains.tolist() == values.sort(descending=True).values.double().tolist()
