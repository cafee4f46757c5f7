"""Margins and support vectors: a machine known by hand, invariances, the grid, and what is never switched silently."""

import dataclasses

import numpy as np
import pytest
import torch
from selection_references import make_signals
from sklearn.svm import SVC

from auglean.selection import Influence, Margin, SupportVectors, scores, select
from auglean.selection.support import GRID, svm_margin
from auglean.signals import Signals

# separable; the widest street is −1 < x < 1, held by the points 2 and 5
POINTS = torch.tensor([[-3.0, 2], [-5, 0], [-1, 4], [-4.5, -6], [2, 1], [1, 0], [6, -3], [4, 5]])
LABELS = (POINTS[:, 0] > 0).long()
VECTORS = {2, 5}


def of(feature, **more):
    n = len(feature)
    plain = {"loss": torch.ones(n), "margin": torch.zeros(n), "residual": torch.zeros(n, 2), "feature": feature,
             "prediction": torch.zeros(n, dtype=torch.int64)}  # fmt: skip
    return Signals(**{**plain, **more})


def street():
    """The two classes with a street between x = −1 and x = 1, whose only support vectors are opposite each other."""
    feature = POINTS.clone()
    feature[2] = torch.tensor([-1.0, 0])
    return of(feature), LABELS


def test_support_vectors_by_hand():
    signals, labels = street()
    chosen = select(signals, labels, SupportVectors(C=1e6), budget=8)
    assert chosen.how["support_vectors"] == 2
    assert set(chosen.indices[:2].tolist()) == VECTORS
    # f = x, so the margins are the distances from x = 0, in order
    assert chosen.indices[2:].tolist() == [4, 0, 7, 3, 1, 6]
    assert (-chosen.gains).tolist() == pytest.approx([1, 1, 2, 3, 4, 4.5, 5, 6], abs=1e-4)
    assert chosen.weights.tolist() == [1] * 8
    assert select(signals, labels, SupportVectors(C=1e6), budget=3).indices.tolist() == chosen.indices[:3].tolist()


def test_the_wrongly_classified_come_first():
    feature = torch.cat([POINTS, torch.tensor([[5.0, 0.0]])])
    labels = torch.cat([LABELS, torch.tensor([0])])
    assert select(of(feature), labels, SupportVectors(C=0.1), budget=1).indices.tolist() == [8]


@pytest.mark.parametrize("draw", ["top", "proportional"])
def test_support_vectors_are_nearest_to_the_boundary(draw):
    signals, labels = street()
    if draw == "top":
        assert set(select(signals, labels, Margin(of="svm", C=1e4), budget=2).indices.tolist()) == VECTORS
    else:
        first = torch.zeros(8)
        for seed in range(600):
            picks = select(signals, labels, Margin(of="svm", C=1e4, draw=draw), budget=1, seed=seed).indices
            first[picks] += 1
        # in proportion to 1/|x|, up to the slack of C
        expected = 600 / POINTS[:, 0].abs() / (1 / POINTS[:, 0].abs()).sum()
        assert bool(((first - expected).abs() < 5 * expected.sqrt() + 0.02 * expected).all()), (first, expected)
    far = select(signals, labels, Margin(of="svm", C=1e4, draw="bottom"), budget=8)
    assert set(far.indices[-2:].tolist()) == VECTORS


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_support_vectors_are_those_of_scikit_learn(classes):
    signals, _ = make_signals(90, classes=classes, dim=5, seed=classes)
    labels = signals.feature[:, :classes].argmax(1)
    chosen = select(signals, labels, SupportVectors(C=2.0), budget=90)
    x = signals.feature.double()
    x = x - x.mean(0)
    machine = SVC(kernel="linear", C=2.0, tol=1e-6).fit((x / x.square().mean().sqrt()).numpy(), labels.numpy())
    count = chosen.how["support_vectors"]
    assert count == len(machine.support_) < 90
    assert set(chosen.indices[:count].tolist()) == set(machine.support_.tolist())
    assert bool((chosen.gains[:count] > -1 - 1e-3).all())  # a support vector has y f ≤ 1 for some pair
    assert bool((chosen.gains[count:] < -1 + 1e-3).all())
    assert bool((chosen.gains[:count].diff() <= 0).all())


def test_margins_of_several_classes_are_the_smallest_of_the_pairs():
    feature = torch.tensor([[0.0, 4], [0, 6], [-4, -2], [-7, -4], [4, -2], [7, -4]])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    x = feature.double()
    x = x - x.mean(0)
    x = (x / x.square().mean().sqrt()).numpy()
    chosen = select(of(feature), labels, SupportVectors(C=100), budget=6)
    margin = np.full(6, np.inf)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        rows = np.flatnonzero((labels == a) | (labels == b))
        f = SVC(kernel="linear", C=100, tol=1e-6).fit(x[rows], labels[rows]).decision_function(x[rows])
        margin[rows] = np.minimum(margin[rows], np.where(labels[rows] == b, f, -f))
    assert (-chosen.gains).tolist() == pytest.approx(margin[chosen.indices].tolist(), abs=1e-3)


@pytest.mark.parametrize("selector", [SupportVectors(C=3.0), Margin(of="svm", C=3.0)], ids=repr)
def test_scale_place_and_rotation_of_the_features_do_not_matter(selector):
    signals, _ = make_signals(50, dim=4, seed=4)
    labels = (signals.feature[:, 0] + 0.5 * torch.randn(50, generator=torch.Generator().manual_seed(1)) > 0).long()
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q
    moved = dataclasses.replace(signals, feature=100 * signals.feature @ rotation + 7)
    chosen, other = (select(s, labels, selector, budget=50) for s in (signals, moved))
    torch.testing.assert_close(
        other.gains[other.indices.argsort()], chosen.gains[chosen.indices.argsort()], rtol=1e-2, atol=1e-3
    )
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    mixed = select(signals[shuffled], labels[shuffled], selector, budget=50)
    torch.testing.assert_close(
        mixed.gains[mixed.indices.argsort()], chosen.gains[chosen.indices.argsort()][shuffled], rtol=1e-3, atol=1e-4
    )


def test_a_confidently_wrong_example_is_far_from_the_boundary():
    feature = torch.cat([POINTS, torch.tensor([[9.0, 0.0]])])
    labels = torch.cat([LABELS, torch.tensor([0])])
    margin = svm_margin(feature, labels, C=0.1)
    right = margin[4:8]  # those of class 1, by x = 2, 1, 6 and 4
    assert float(margin[8]) > float(right.max())


def test_the_grid_is_searched_and_told():
    signals, _ = make_signals(120, dim=6, seed=0)
    labels = (signals.feature[:, 0] + 0.1 * signals.feature[:, 1] > 0).long()
    chosen = select(signals, labels, SupportVectors(C="grid"), budget=10, seed=1)
    assert chosen.how["C"] in GRID
    alone = select(signals, labels, SupportVectors(C=chosen.how["C"]), budget=10)
    assert chosen.indices.tolist() == alone.indices.tolist()
    again = select(signals, labels, SupportVectors(C="grid"), budget=10, seed=1)
    assert again.how == chosen.how
    assert SupportVectors(C="grid") != SupportVectors()


def test_margin_is_margin_whatever_the_other_signals_say():
    signals, labels = make_signals(40, dim=4)
    other = dataclasses.replace(signals, loss=signals.loss.flip(0))
    assert torch.equal(scores(Margin(), other, labels), scores(Margin(), signals, labels))
    assert scores(Margin(), signals, labels).tolist() == pytest.approx((1 - signals.margin.double()).tolist())
    updated = dataclasses.replace(signals, margin=signals.margin.flip(0))
    chosen = select(updated, labels, Margin(), budget=5)
    assert chosen.indices.tolist() == updated.margin.argsort(stable=True)[:5].tolist()
    assert chosen.how["selector"] == "margin"


def test_labels():
    assert Margin(of="svm", draw="inverse").label == "margin-svm-inverse"
    assert Margin(draw="inverse").label == "margin-inverse"
    assert Influence(draw="bottom").label == "influence-bottom"
