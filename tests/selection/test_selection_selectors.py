"""Selectors: what each chooses, in which order, and what all of them keep."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import explicit_distances, gradients, make_signals, score_signals

from auglean.errors import InputError
from auglean.selection import (
    SELECTORS,
    Coreset,
    MaxLoss,
    Random,
    Selector,
    allocate,
    facility_location,
    parse,
    select,
)
from auglean.signals import Signals

EVERY = (
    *SELECTORS.values(),
    Random(per_class=True),
    MaxLoss(per_class=True),
    MaxLoss(draw="proportional", per_class=True),
    Coreset(allocation="equal"),
    Coreset(solver="lazy"),
)
every_selector = pytest.mark.parametrize("selector", EVERY, ids=repr)


def process_state():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


# What all of them keep


@settings(max_examples=200, deadline=None)
@given(
    selector=st.sampled_from(EVERY),
    n=st.integers(1, 30),
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_every_selector(selector, n, classes, seed, data):
    # random labels: classes that are empty, of one example, and more classes than the budget has examples
    signals, labels = make_signals(n, classes=classes, seed=seed)
    k = data.draw(st.integers(1, n))
    before = process_state()
    chosen = select(signals, labels, selector, budget=k, seed=seed)
    again = selector(signals, labels, budget=k, seed=seed)
    assert process_state() == before
    assert len(chosen) == k == len(set(chosen.indices.tolist()))
    assert set(chosen.indices.tolist()) <= set(range(n))
    assert chosen.total == n
    assert chosen.indices.dtype == torch.int64
    assert chosen.weights.dtype == chosen.gains.dtype == torch.float64
    assert bool((chosen.weights >= 0).all())
    for name in ("indices", "weights", "gains"):
        assert torch.equal(getattr(chosen, name), getattr(again, name))
    assert chosen.gradient_error is not None
    assert chosen.gradient_error >= 0
    if k == n:
        assert chosen.gradient_error < 1e-9
    if isinstance(selector, Coreset):
        check_coreset(selector, signals, labels, chosen)
    else:
        assert float(chosen.weights.sum()) == pytest.approx(n)
        assert chosen.assignment is None
    if getattr(selector, "per_class", False):
        assert class_counts(labels, chosen) == allocate(k, torch.bincount(labels).tolist())


def class_counts(labels, chosen):
    return torch.bincount(labels[chosen.indices], minlength=int(labels.max()) + 1).tolist()


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
        # in the order of their class's own greedy
        alone = facility_location(torch.from_numpy(proxy[rows.numpy()]), share)
        assert chosen.gains[mine].tolist() == pytest.approx(alone.gains.tolist(), abs=1e-6)
    assert chosen.how["objective"] == pytest.approx(bound, abs=1e-6)
    assert np.linalg.norm(proxy[covered.numpy()].sum(0) - estimate) <= bound + 1e-9
    assert torch.bincount(chosen.assignment[covered], minlength=len(chosen)).tolist() == chosen.weights.tolist()
    assert bool((chosen.gains.diff() <= 0).all())


@every_selector
def test_seeds_matter_only_where_something_is_drawn(selector):
    signals, labels = make_signals(60, seed=1)
    picks = {tuple(select(signals, labels, selector, budget=10, seed=seed).indices.tolist()) for seed in range(4)}
    drawn = isinstance(selector, Random) or getattr(selector, "draw", "top") != "top"
    assert len(picks) == (4 if drawn else 1)


@pytest.mark.parametrize("selector", [s for s in EVERY if not getattr(s, "per_class", False)], ids=repr)
def test_a_larger_budget_continues_a_smaller_one(selector):
    signals, labels = make_signals(60, classes=1, seed=2)
    large = select(signals, labels, selector, budget=30, seed=3)
    small = select(signals, labels, selector, budget=11, seed=3)
    assert large.indices[:11].tolist() == small.indices.tolist()
    assert large.gains[:11].tolist() == small.gains.tolist()


@every_selector
def test_how_and_cost_are_told(selector):
    signals, labels = make_signals(30)
    chosen = select(signals, labels, selector, budget=0.2, seed=5)
    assert chosen.how["selector"] == selector.name
    assert type(selector)(**chosen.how["options"]) == selector
    assert (chosen.how["budget"], chosen.how["seed"]) == (0.2, 5)
    assert chosen.cost["seconds"] > 0
    assert selector.name in repr(chosen)


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
    assert not Random.needs_signals
    assert Random(redraw=True).each_epoch
    assert not any(selector.each_epoch for selector in (Random(), MaxLoss(), Coreset()))


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
    chosen = select(score_signals(loss), labels, MaxLoss(per_class=True), budget=3)
    assert chosen.indices.tolist() == [0, 1, 5]  # two of class 0, one of class 1; the highest first


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


# Coreset


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


# Bad input, names


def test_bad_input():
    signals, labels = make_signals(10)
    broken = torch.full((10,), float("nan"))
    for match, arguments in {
        "no examples": (None, torch.zeros(0, dtype=torch.int64), Random()),
        "needs signals": (None, labels, Coreset()),
        "10 examples do not fit 9 labels": (signals, labels[:9], MaxLoss()),
        "class numbers": (signals, labels.float(), MaxLoss()),
        r"shape \(10, 1\)": (signals, labels[:, None], MaxLoss()),
        "from -1": (signals, labels - 1 - labels.min(), Coreset()),
        "scores are not finite": (dataclasses.replace(signals, loss=broken), labels, MaxLoss()),
        "residuals are not finite": (
            dataclasses.replace(signals, residual=broken[:, None].repeat(1, 3)),
            labels,
            Coreset(),
        ),
        "did you mean 'proportional'": (signals, labels, MaxLoss(draw="proportion")),
        "did you mean 'residual'": (signals, labels, Coreset(proxy="residuals")),
        "did you mean 'equal'": (signals, labels, Coreset(allocation="equals")),
        "did you mean 'lazy'": (signals, labels, Coreset(solver="lasy")),
    }.items():
        with pytest.raises(InputError, match=match):
            select(*arguments, budget=1)


def test_names():
    assert parse("coreset, max-loss-inverse,random-each-epoch") == [
        Coreset(),
        MaxLoss(draw="inverse"),
        Random(redraw=True),
    ]
    assert parse([Coreset(solver="naive"), "random"]) == [Coreset(solver="naive"), Random()]
    assert parse(MaxLoss()) == [MaxLoss()]
    assert all(selector.label == name for name, selector in SELECTORS.items())
    for wrong in ("corset", "", ["coreset", "maxloss"]):
        with pytest.raises(InputError, match="Unknown selector"):
            parse(wrong)


def test_selectors_are_frozen_and_open_to_new_ones():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Coreset().proxy = "last-layer"

    @dataclasses.dataclass(frozen=True)
    class First(Selector):
        name = "first"

        def choose(self, signals, labels, k, g):
            return facility_location(torch.zeros(len(labels), 1), k)

    chosen = First()(make_signals(5)[0], torch.zeros(5, dtype=torch.int64), budget=2)
    assert chosen.indices.tolist() == [0, 1]
    assert chosen.how["selector"] == "first"
    with pytest.raises(NotImplementedError):
        Selector().choose(None, torch.zeros(5), 1, torch.Generator())
