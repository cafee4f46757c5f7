"""CCS against its algorithm step by step, InfoBatch against the chances that it promises."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import make_signals, score_signals

from auglean.selection import CCS, InfoBatch, select
from auglean.selection.sampling import _chances, _systematic

# CCS


def stratified_shares(sizes, budget):
    """Zheng et al. 2023, algorithm 1, line by line: the sparsest stratum first, the budget left shared evenly."""
    left = [b for b in range(len(sizes)) if sizes[b]]
    shares = [0] * len(sizes)
    while left:
        sparsest = min(left, key=lambda b: sizes[b])
        shares[sparsest] = min(sizes[sparsest], budget // len(left))
        budget -= shares[sparsest]
        left.remove(sparsest)
    return shares


losses = st.lists(st.integers(0, 40), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(loss=losses, beta=st.sampled_from([0, 0.1, 0.3, 0.5, 0.9]), strata=st.integers(1, 8), data=st.data())
def test_ccs_is_the_published_algorithm(loss, beta, strata, data):
    n = len(loss)
    k = data.draw(st.integers(1, n))
    labels = torch.zeros(n, dtype=torch.int64)
    chosen = select(score_signals(loss), labels, CCS(beta, strata, "loss"), budget=k, seed=data.draw(st.integers(0, 9)))
    kept = sorted(range(n), key=lambda i: loss[i])[: max(k, n - int(beta * n))]
    low, high = loss[kept[0]], loss[kept[-1]]

    def stratum(i):
        return min(strata - 1, (loss[i] - low) * strata // (high - low)) if high > low else 0

    sizes = [sum(stratum(i) == b for i in kept) for b in range(strata)]
    found = [sum(stratum(i) == b for i in chosen.indices.tolist()) for b in range(strata)]
    assert set(chosen.indices.tolist()) <= set(kept)
    # strata of equal size may swap their shares
    assert sorted(zip(sizes, found, strict=True)) == sorted(zip(sizes, stratified_shares(sizes, k), strict=True))
    assert chosen.gains.tolist() == [loss[i] for i in chosen.indices.tolist()]
    heavy = [sizes[stratum(i)] / found[stratum(i)] for i in chosen.indices.tolist()]
    assert chosen.weights.tolist() == pytest.approx([w * n / sum(heavy) for w in heavy])


def test_ccs_by_hand():
    # 100 is left out; strata [0, 5) of 6 and [5, 10] of 2, which gives all it has
    loss = [0, 1, 1, 2, 3, 4, 9, 10, 100]
    chosen = select(score_signals(loss), torch.zeros(9).long(), CCS(0.12, 2, "loss"), budget=5)
    assert len(chosen) == 5
    assert {6, 7} < set(chosen.indices.tolist()) < set(range(8))
    weight = dict(zip(chosen.indices.tolist(), chosen.weights.tolist(), strict=True))
    assert weight[6] == weight[7] == pytest.approx(1 * 9 / 8)
    assert sorted(weight.values())[2:] == pytest.approx([2 * 9 / 8] * 3)


def test_ccs_takes_the_easiest_back_where_beta_leaves_too_few():
    loss = [5, 3, 9, 1, 7, 0]
    chosen = select(score_signals(loss), torch.zeros(6).long(), CCS(0.9, 3, "loss"), budget=4)
    assert sorted(chosen.indices.tolist()) == [0, 1, 3, 5]


def test_ccs_draws_uniformly_within_a_stratum():
    loss, runs = [0, 0, 0, 0, 10, 10], 1500
    times = torch.zeros(6)
    for seed in range(runs):
        times[select(score_signals(loss), torch.zeros(6).long(), CCS(0, 2, "loss"), budget=2, seed=seed).indices] += 1
    for i, chance in enumerate([1 / 4] * 4 + [1 / 2] * 2):
        assert abs(times[i] - runs * chance) < 5 * math.sqrt(runs * chance * (1 - chance))


def test_ccs_measures_of_difficulty():
    signals, labels = make_signals(30, seed=4)
    order = {
        "loss": signals.loss,
        "el2n": signals.residual.norm(dim=1),
        "margin": -signals.margin,
    }
    for difficulty, score in order.items():
        chosen = select(signals, labels, CCS(0.5, 4, difficulty), budget=15)  # all that β leaves
        assert sorted(chosen.indices.tolist()) == sorted(score.argsort()[:15].tolist())


# InfoBatch

by_mean = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 8.0]), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(loss=by_mean, r=st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.9, 0.999]), data=st.data())
def test_chances_sum_to_the_budget_in_the_ratio_asked_for(loss, r, data):
    k = data.draw(st.integers(1, len(loss)))
    loss = torch.tensor(loss, dtype=torch.float64)
    low = loss < loss.mean()
    chance = _chances(low, k, r)
    assert float(chance.sum()) == pytest.approx(k)
    assert bool(((chance > 0) & (chance <= 1)).all())
    if low.any() and not low.all():
        below, above = float(chance[low][0]), float(chance[~low][0])
        assert below / above == pytest.approx(1 - r) or (above == 1 and below / above > 1 - r)


@settings(max_examples=100, deadline=None)
@given(loss=by_mean, r=st.sampled_from([0, 1 / 3, 0.5, 0.999]), seed=st.integers(0, 10**6), data=st.data())
def test_info_batch_weighs_by_the_inverse_of_its_chances(loss, r, seed, data):
    k = data.draw(st.integers(1, len(loss)))
    chosen = select(score_signals(loss), torch.zeros(len(loss)).long(), InfoBatch(r=r), budget=k, seed=seed)
    loss = torch.tensor(loss, dtype=torch.float64)
    chance = _chances(loss < loss.mean(), k, r)
    assert chosen.weights.tolist() == pytest.approx((1 / chance[chosen.indices]).tolist())
    # as many of each group as were to be expected, up to rounding, so the mass is n up to one weight
    assert abs(float(chosen.weights.sum()) - len(loss)) <= 1 / float(chance.min()) + 1e-6


def test_info_batch_weights_are_float64_to_the_last_digit():
    chosen = select(score_signals([1.0] * 40), torch.zeros(40).long(), InfoBatch(), budget=6)
    assert float(chosen.weights.sum()) == pytest.approx(40, rel=1e-14)  # 0.15 in float32 is off by 4e-8


def test_systematic_draws_have_exactly_their_chances():
    chance = torch.tensor([1.0, 0.9, 0.5, 0.25, 0.25, 0.1], dtype=torch.float64)
    runs, g = 4000, torch.Generator().manual_seed(0)
    times = torch.zeros(6)
    for _ in range(runs):
        drawn = _systematic(chance, g)
        assert len(drawn.unique()) == len(drawn) == 3
        times[drawn] += 1
    assert times[0] == runs
    spread = (runs * chance * (1 - chance)).sqrt()
    assert bool(((times - runs * chance).abs() <= 5 * spread).all())


def test_info_batch_is_unbiased():
    values = torch.tensor([3.0, -1, 4, 1, -5], dtype=torch.float64)
    loss = torch.tensor([0.0, 0, 0, 5, 5])
    signals, labels, g = score_signals(loss), torch.zeros(5).long(), torch.Generator().manual_seed(1)
    runs, total, squares = 3000, 0.0, 0.0
    for _ in range(runs):
        chosen = InfoBatch(r=0.6).choose(signals, labels, 3, g)
        estimate = float((chosen.weights * values[chosen.indices]).sum())
        total, squares = total + estimate, squares + estimate**2
    spread = math.sqrt((squares / runs - (total / runs) ** 2) / runs)
    assert abs(total / runs - float(values.sum())) < 5 * spread
    assert spread > 0


def test_the_whole_and_rounding():
    # chances a rounding away from 1 must not let two teeth of the comb fall on one example
    for n, r in itertools.product(range(1, 40), (0, 1 / 3, 0.1, 0.7)):
        signals = score_signals(torch.arange(n).float() ** 2)
        for k in {n, max(1, n - 1), int((signals.loss >= signals.loss.mean()).sum())}:
            chosen = select(signals, torch.zeros(n).long(), InfoBatch(r=r), budget=k, seed=n)
            assert len(chosen) == k
            if k == n:
                assert chosen.weights.tolist() == pytest.approx([1] * n)
