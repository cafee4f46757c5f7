"""`Coreset`: medoids class by class, against each class's own greedy and explicit distances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import class_counts, explicit_distances, gradients, make_signals

from auglean.selection import Coreset, allocate, facility_location, select
from auglean.signals import Signals


@settings(max_examples=100, deadline=None)
@given(
    selector=st.sampled_from([Coreset(), Coreset("last-layer"), Coreset(allocation="equal"), Coreset(solver="lazy")]),
    n=st.integers(1, 30),
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_coreset(selector, n, classes, seed, data):
    # random labels: classes that are empty, of one example, and more classes than the budget has examples
    signals, labels = make_signals(n, classes=classes, seed=seed)
    chosen = select(signals, labels, selector, budget=data.draw(st.integers(1, n)), seed=seed)
    check_coreset(selector, signals, labels, chosen)


def check_coreset(selector, signals, labels, chosen):
    sizes = torch.bincount(labels).tolist()
    shares = allocate(len(chosen), sizes, selector.allocation)
    assert class_counts(labels, chosen) == shares
    proxy = gradients(signals.residual, signals.feature if selector.proxy == "last-layer" else None)
    bound, estimate = 0.0, np.zeros(proxy.shape[1])
    covered = torch.zeros(len(labels), dtype=torch.bool)
    for c, share in enumerate(shares):
        mine = labels[chosen.indices] == c
        rows = (labels == c).nonzero().squeeze(1)
        if not share:
            assert chosen.assignment[rows].tolist() == [-1] * len(rows)
            continue
        covered[rows] = True
        picks = chosen.indices[mine]
        assert float(chosen.weights[mine].sum()) == sizes[c]
        distance = explicit_distances(proxy)[rows.numpy()][:, picks.numpy()]
        # the one assigned is a nearest one
        stands = chosen.indices[chosen.assignment[rows]]
        served = np.array([np.linalg.norm(proxy[i] - proxy[j]) for i, j in zip(rows, stands, strict=True)])
        np.testing.assert_allclose(served, distance.min(1), atol=1e-6)
        assert set(stands.tolist()) <= set(picks.tolist())
        bound += distance.min(1).sum()
        estimate += chosen.weights[mine].numpy() @ proxy[picks.numpy()]
        # in the order of their class's own greedy, on the same digits: where there are two classes all points lie on a
        # line, and the two in the middle are equally good
        alone = facility_location(selector._points(signals, rows), share)
        assert chosen.gains[mine].tolist() == pytest.approx(alone.gains.tolist(), abs=1e-6)
    assert chosen.how["objective"] == pytest.approx(bound, abs=1e-6)
    assert np.linalg.norm(proxy[covered.numpy()].sum(0) - estimate) <= bound + 1e-9
    assert torch.bincount(chosen.assignment[covered], minlength=len(chosen)).tolist() == chosen.weights.tolist()
    assert bool((chosen.gains.diff() <= 0).all())


def test_coreset_of_two_classes_that_tie():
    signals, labels = make_signals(20, classes=2, seed=583694)
    check_coreset(Coreset(), signals, labels, select(signals, labels, Coreset(), budget=4, seed=583694))


def test_coreset_of_two_classes_of_softmax_by_hand():
    p = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.2])
    residual = torch.stack([p - 1, 1 - p], 1)
    signals = Signals(-p.log(), p, residual, torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64))
    chosen = select(signals, torch.zeros(5, dtype=torch.int64), Coreset(), budget=2)
    assert chosen.indices[0] == 2
    assert chosen.gains.tolist() == pytest.approx([3.2527, 1.1314], abs=1e-4)
    assert chosen.weights.tolist() == [3, 2]
    assert chosen.assignment.tolist() == [0, 0, 0, 1, 1]
    # features of 0 leave the bias alone, whose gradient is the residual
    other = select(signals, torch.zeros(5, dtype=torch.int64), Coreset("last-layer"), budget=2)
    assert other.weights.tolist() == [3, 2]


@pytest.mark.parametrize("proxy", ["residual", "last-layer"])
def test_coreset_of_an_all_wrong_constant_predictor(proxy):
    n, labels = 20, torch.arange(20) % 2
    residual = torch.tensor([0.0, 0, 1])[None] - torch.nn.functional.one_hot(labels, 3)
    signals = Signals(torch.full((n,), 9.0), torch.ones(n), residual, torch.ones(n, 2), torch.full((n,), 2))
    chosen = select(signals, labels, Coreset(proxy), budget=6)
    assert chosen.indices.tolist() == [0, 2, 4, 1, 3, 5]
    assert chosen.weights.tolist() == [10, 0, 0, 10, 0, 0]
    assert chosen.how["objective"] == 0
    assert chosen.gradient_error == pytest.approx(0, abs=1e-12)


def test_coreset_with_fewer_examples_than_classes():
    signals, _ = make_signals(20, classes=5)
    labels = torch.arange(20) % 5
    chosen = select(signals, labels, Coreset(), budget=3)
    assert class_counts(labels, chosen) == [1, 1, 1, 0, 0]
    assert chosen.weights.tolist() == [4, 4, 4]
    assert bool((chosen.assignment[labels >= 3] == -1).all())


def test_coreset_merges_the_classes_by_gain():
    signals, labels = make_signals(60, seed=4)
    chosen = select(signals, labels, Coreset(), budget=30)
    assert bool((chosen.gains.diff() <= 0).all())
    assert len(set(labels[chosen.indices[:6]].tolist())) > 1
    for c in range(3):
        rows = (labels == c).nonzero().squeeze(1)
        mine = labels[chosen.indices] == c
        alone = facility_location(signals.residual[rows], int(mine.sum()))
        assert chosen.indices[mine].tolist() == rows[alone.indices].tolist()
        assert chosen.weights[mine].tolist() == alone.weights.tolist()
