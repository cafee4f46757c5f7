"""How an order is made of a score: the five draws, their chances, prefixes and limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import score_signals

from auglean.errors import InputError
from auglean.selection import SELECTORS, Margin, MaxLoss, parse, scores, select
from auglean.selection.scores import Scored

DRAWS = ["top", "bottom", "proportional", "inverse", "softmax"]
RANDOM = ["proportional", "inverse", "softmax"]


def labels_of(n):
    return torch.zeros(n, dtype=torch.int64)


def order(score, draw, seed=0):
    return select(score_signals(score), labels_of(len(score)), MaxLoss(draw=draw), budget=len(score), seed=seed).indices


def inclusion(score, draw, k, runs, seed=0):
    """How often each example is among k, and its spread under these chances."""
    selector, g = MaxLoss(draw=draw), torch.Generator().manual_seed(seed)
    signals, labels = score_signals(score), labels_of(len(score))
    picks = torch.cat([selector.choose(signals, labels, k, g).indices for _ in range(runs)])
    return torch.bincount(picks, minlength=len(score)) / runs


@pytest.mark.parametrize(
    ("draw", "score"),
    [
        ("proportional", [0.5, 0.3, 0.15, 0.05]),
        ("proportional", [50, 30, 15, 5]),  # the scale does not matter
        ("inverse", [1 / 0.5, 1 / 0.3, 1 / 0.15, 1 / 0.05]),
        ("softmax", [math.log(10), math.log(6), math.log(3), 0.0]),
    ],
)
def test_inclusion_by_hand(draw, score):
    expected = torch.tensor([0.8288, 0.6687, 0.3722, 0.1303])  # successive sampling, k = 2
    runs = 12_000
    found = inclusion(score, draw, 2, runs)
    assert bool(((found - expected).abs() < 5 * (expected * (1 - expected) / runs).sqrt()).all()), found


@settings(max_examples=100)
@given(
    draw=st.sampled_from(DRAWS),
    score=st.lists(st.floats(0, 1e6, width=32) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=30),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_orders_are_permutations_and_budgets_are_nested(draw, score, seed, data):
    k = data.draw(st.integers(1, len(score)))
    whole = order(score, draw, seed)
    assert sorted(whole.tolist()) == list(range(len(score)))
    part = select(score_signals(score), labels_of(len(score)), MaxLoss(draw=draw), budget=k, seed=seed)
    assert part.indices.tolist() == whole[:k].tolist()


@pytest.mark.parametrize("draw", ["top", "bottom", "proportional", "inverse"])
@pytest.mark.parametrize("scale", [2.0**-90, 2.0**40])
def test_the_scale_of_the_score_does_not_matter(draw, scale):
    score = torch.rand(200, generator=torch.Generator().manual_seed(1))
    score[::7] = 0
    for seed in range(5):
        assert torch.equal(order(score, draw, seed), order(score * scale, draw, seed))


@settings(max_examples=100)
@given(score=st.lists(st.integers(0, 6), min_size=1, max_size=25))
def test_top_and_bottom_are_stable_sorts(score):
    n = range(len(score))
    assert order(score, "top").tolist() == sorted(n, key=lambda i: -score[i])
    assert order(score, "bottom").tolist() == sorted(n, key=lambda i: score[i])


def test_bottom_is_the_reverse_of_top_without_ties():
    score = torch.randperm(100, generator=torch.Generator().manual_seed(0)).float()
    assert order(score, "bottom").tolist() == order(score, "top").flip(0).tolist()


@pytest.mark.parametrize("draw", RANDOM)
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_equal_scores_are_drawn_uniformly(draw, level):
    runs, n, k = 4000, 5, 2
    found = inclusion([level] * n, draw, k, runs)
    assert bool(((found - k / n).abs() < 5 * math.sqrt(k / n * (1 - k / n) / runs)).all()), found


@pytest.mark.parametrize("draw", RANDOM)
def test_seeds_reproduce_and_differ(draw):
    score = torch.rand(50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(order(score, draw, 3), order(score, draw, 3))
    assert not torch.equal(order(score, draw, 3), order(score, draw, 4))


@pytest.mark.parametrize("draw", RANDOM)
def test_scores_of_any_size_are_drawn(draw):
    found = order([0.0, 1e-38, 1.0, 1e38], draw)
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    if draw != "inverse":
        assert found[0] == 3


def test_scores_say_what_a_draw_goes_by():
    signals = score_signals([0.5, 2.0])
    for draw in DRAWS:
        assert scores(MaxLoss(draw=draw), signals, labels_of(2)).tolist() == [0.5, 2.0]
    with pytest.raises(InputError, match="scores are not finite") as told:
        scores(MaxLoss(), score_signals([0.5, math.nan]), labels_of(2))
    assert str(told.value).count(".") == 1
    with pytest.raises(InputError, match="fall to -2; give scores of at least 0"):
        scores(MaxLoss(), score_signals([0.5, -2.0]), labels_of(2))


def test_every_score_has_every_draw_by_name():
    for name, base in SELECTORS.items():
        for draw in DRAWS[1:]:
            if isinstance(base, Scored) and base.draw == "top":
                (found,) = parse(f"{name}-{draw}")
                assert (found.label, found.draw) == (f"{name}-{draw}", draw)
            elif not isinstance(base, Scored):
                with pytest.raises(InputError, match="Unknown selector"):
                    parse(f"{name}-{draw}")
    assert parse("margin-svm-inverse") == [Margin(of="svm", draw="inverse")]
    for wrong in ("max-loss-top", "max-loss-inverse-inverse", "max-loss-upward", "-inverse"):
        with pytest.raises(InputError, match="Unknown selector"):
            parse(wrong)


def test_every_score_has_a_random_form_by_name():
    for name in ("influence", "margin", "max-loss"):
        assert {f"{name}-proportional", f"{name}-inverse"} <= set(SELECTORS)
