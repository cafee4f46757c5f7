"""Any selector in clusters: who takes turns, in which order, and where there is little to cluster."""

import collections
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import make_signals

from auglean.selection import Clustered, Coreset, Influence, KCenter, Margin, MaxLoss, PerClass, Random, scores, select
from auglean.selection.clustered import _shares, k_means

INNER = [Random(), MaxLoss(), MaxLoss(draw="proportional"), Coreset(), KCenter()]


def blobs(sizes, seed=0):
    """Signals whose features are far apart from group to group, and the groups."""
    n = sum(sizes)
    signals, labels = make_signals(n, seed=seed)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    feature = 1000 * torch.eye(len(sizes))[group] + torch.rand(n, len(sizes))
    return dataclasses.replace(signals, feature=feature), labels, group


@pytest.mark.parametrize("inner", INNER, ids=repr)
@pytest.mark.parametrize("budget", [1, 10, 40])
def test_one_cluster_is_the_inner_selector(inner, budget):
    signals, labels = make_signals(40, seed=3)
    for seed in range(5):
        found, expected = (select(signals, labels, s, budget=budget, seed=seed) for s in (Clustered(1, inner), inner))
        for name in ("indices", "weights", "gains"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


def test_clusters_take_turns_and_keep_the_inner_order():
    sizes = [5, 1, 9, 3]
    signals, labels, group = blobs(sizes)
    chosen = select(signals, labels, Clustered(4, MaxLoss()), budget=18, seed=7)
    assert sorted(chosen.indices.tolist()) == list(range(18))
    turns = group[chosen.indices].tolist()
    order = turns[:4]
    assert sorted(order) == [0, 1, 2, 3]
    expected = [c for turn in range(9) for c in order if sizes[c] > turn]
    assert turns == expected
    for c in range(4):
        loss = signals.loss[chosen.indices[group[chosen.indices] == c]]
        assert torch.equal(loss, loss.sort(descending=True).values)
    assert chosen.weights.tolist() == pytest.approx([1] * 18)
    assert chosen.how["clusters"] == 4


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6), seed=st.integers(0, 999), data=st.data())
def test_counts_differ_by_one_until_exhaustion(sizes, seed, data):
    signals, labels, _ = blobs(sizes, seed)
    k = data.draw(st.integers(1, sum(sizes)))
    chosen = select(signals, labels, Clustered(len(sizes), Random()), budget=k, seed=seed)
    cluster = k_means(signals.feature, len(sizes), seed=int(torch.randint(2**31, (), generator=_stream(seed))))
    size, taken = cluster.bincount().tolist(), cluster[chosen.indices].bincount(minlength=len(sizes)).tolist()
    most = max(taken)
    assert all(count in (most, most - 1) or count == whole for count, whole in zip(taken, size, strict=False))


def _stream(seed):
    from auglean.randomness import generator

    return generator(seed, "select", "random")


def test_small_budgets_fall_on_any_cluster():
    signals, labels, group = blobs([6] * 5)
    runs = 400
    times = collections.Counter(
        c
        for seed in range(runs)
        for c in group[select(signals, labels, Clustered(5, MaxLoss()), budget=2, seed=seed).indices].tolist()
    )
    assert all(abs(times[c] - runs * 0.4) < 5 * (runs * 0.4 * 0.6) ** 0.5 for c in range(5))


def test_what_is_left_out_is_told():
    signals, labels, _ = blobs([6] * 5)
    chosen = select(signals, labels, Clustered(5, MaxLoss()), budget=2)
    assert chosen.how["left_out"] == 18
    assert chosen.weights.tolist() == [6, 6]


@pytest.mark.parametrize("inner", [MaxLoss(), Random(), MaxLoss(draw="inverse")], ids=repr)
def test_budgets_are_nested(inner):
    signals, labels = make_signals(80, seed=5)
    whole = select(signals, labels, Clustered(9, inner), budget=80, seed=2).indices.tolist()
    for k in (1, 4, 9, 10, 33):
        assert select(signals, labels, Clustered(9, inner), budget=k, seed=2).indices.tolist() == whole[:k]


def test_duplicates_singletons_and_more_clusters_than_points():
    signals, labels = make_signals(12)
    same = signals[torch.arange(12) % 3]
    chosen = select(same, labels, Clustered(10, MaxLoss()), budget=12)
    assert chosen.how["clusters"] == 3
    assert sorted(chosen.indices.tolist()) == list(range(12))
    one = dataclasses.replace(signals, feature=torch.ones(12, 4))
    assert select(one, labels, Clustered(5, MaxLoss()), budget=12).how["clusters"] == 1
    each = select(signals, labels, Clustered(12, MaxLoss()), budget=12)
    assert each.how["clusters"] == 12
    assert k_means(signals.feature, 100, seed=0).unique().tolist() == list(range(12))


def test_assignments_follow_the_new_order():
    signals, labels, group = blobs([8, 8, 8])
    chosen = select(signals, labels * 0, Clustered(3, Coreset()), budget=6)
    assert torch.bincount(chosen.assignment, minlength=6).tolist() == chosen.weights.tolist()
    assert torch.equal(group[chosen.indices][chosen.assignment], group)
    served = torch.arange(6)
    assert chosen.assignment[chosen.indices].tolist() == served.tolist()


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=7), data=st.data())
def test_shares_are_those_of_taking_turns(sizes, data):
    k = data.draw(st.integers(0, sum(sizes)))
    turns = [part for turn in range(6) for part, size in enumerate(sizes) if size > turn][:k]
    assert _shares(k, sizes) == [turns.count(part) for part in range(len(sizes))]


@pytest.mark.parametrize("inner", [Influence(), Influence(draw="proportional"), Margin(of="svm")], ids=repr)
@pytest.mark.parametrize("wrap", [lambda s: Clustered(4, s), PerClass], ids=["clustered", "per-class"])
def test_scores_are_those_of_the_whole(inner, wrap):
    # in a cluster alone, influence would have another Hessian, and a machine nothing to part
    signals, labels = make_signals(40, seed=8)
    chosen = select(signals, labels, wrap(inner), budget=12)
    assert torch.equal(chosen.gains, scores(inner, signals, labels)[chosen.indices])


def test_label_and_needs():
    selector = Clustered(10, MaxLoss(draw="proportional"))
    assert selector.label == "max-loss-proportional-clustered"
    assert Clustered(3, Random()).needs_signals
    assert Clustered(3, Random(redraw=True)).each_epoch
