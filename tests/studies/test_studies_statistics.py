"""Means and intervals by hand, by enumeration, and by how often they cover the truth."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from auglean.studies.statistics import gain_kept, interval, resampled_accuracies, seconds_to_reach, spread


def test_spread_is_that_of_a_sample():
    values = [0.5, 0.75, 0.25, 0.9]
    found = spread(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert found["values"] == values
    assert spread([0.4]) == {"mean": pytest.approx(0.4), "std": 0.0, "values": [0.4]}


def test_interval_is_the_middle_95_percent():
    draws = torch.randn(999, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert interval(draws) == pytest.approx(tuple(np.percentile(draws.numpy(), [2.5, 97.5])))
    assert interval(torch.arange(101.0)) == pytest.approx((2.5, 97.5))


def test_resamples_are_those_of_an_enumeration():
    """Two seeds and two images: 4 × 4 equally likely resamples, each listed."""
    hits = torch.tensor([[True, False], [True, True]])
    likely = Counter()
    for seeds in itertools.product(range(2), repeat=2):
        for images in itertools.product(range(2), repeat=2):
            likely[sum(float(hits[s, i]) for s in seeds for i in images) / 4] += 1 / 16
    draws = resampled_accuracies({"arm": hits}, resamples=8000)["arm"]
    found = Counter(draws.tolist())
    assert set(found) == set(likely)
    for value, share in likely.items():
        assert found[value] / 8000 == pytest.approx(share, abs=0.02)  # about four standard errors


def test_one_seed_gives_the_binomial_error():
    hits = torch.zeros(1, 400, dtype=torch.bool)
    hits[:, :300] = True
    draws = resampled_accuracies({"arm": hits})["arm"]
    assert float(draws.mean()) == pytest.approx(0.75, abs=0.003)
    assert float(draws.std()) == pytest.approx((0.75 * 0.25 / 400) ** 0.5, rel=0.08)


def test_arms_are_resampled_together():
    """What is alike in two arms cancels: a constant difference on every seed has no spread at all."""
    g = torch.Generator().manual_seed(0)
    base = torch.rand(3, 500, generator=g) < 0.6
    more = base.clone()
    more[:, :50] = True
    draws = resampled_accuracies({"base": base, "same": base.clone(), "more": more, "all": torch.ones_like(base)})
    assert torch.equal(draws["base"], draws["same"])
    assert float((draws["more"] - draws["base"]).std()) < 0.5 * float(draws["base"].std())
    assert torch.equal(draws["all"], torch.ones_like(draws["all"]))
    again = resampled_accuracies({"base": base, "same": base, "more": more, "all": base})
    assert torch.equal(again["more"], draws["more"])
    other = resampled_accuracies({"more": more}, seed=1)
    assert not torch.equal(other["more"], draws["more"])


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Accuracies of seeds are normal around 0.8; the interval of twelve seeds holds 0.8 in most of 200 repetitions.

    Percentile intervals of so few seeds are a little short: about 92 %. Of 200, fewer than 170 would be far off.
    """
    g = torch.Generator().manual_seed(0)
    covered = 0
    for repetition in range(200):
        rate = 0.8 + 0.03 * torch.randn(12, 1, generator=g)
        hits = torch.rand(12, 100, generator=g) < rate
        low, high = interval(resampled_accuracies({"arm": hits}, seed=repetition, resamples=200)["arm"])
        covered += low <= 0.8 <= high
    assert 170 <= covered <= 199


# the share of the gain


def constant(**values):
    return {name: torch.full((100,), value, dtype=torch.float64) for name, value in values.items()}


def test_share_by_hand():
    found = gain_kept(0.8, 0.7, 0.9, constant(arm=0.8, weak=0.7, full=0.9))
    assert found == {key: pytest.approx(0.5) for key in ("mean", "low", "high")}
    noise = torch.linspace(-0.05, 0.05, 1001, dtype=torch.float64)
    draws = {"arm": 0.8 + noise, "weak": torch.full_like(noise, 0.7), "full": torch.full_like(noise, 0.9)}
    found = gain_kept(0.8, 0.7, 0.9, draws)
    assert (found["low"], found["high"]) == pytest.approx((0.5 - 0.95 * 0.25, 0.5 + 0.95 * 0.25))


def test_the_ends_of_the_scale_keep_nothing_and_all():
    draws = resampled_accuracies({"weak": torch.rand(2, 300) < 0.5, "full": torch.rand(2, 300) < 0.9})
    for arm, share in (("weak", 0.0), ("full", 1.0)):
        mean = {"weak": 0.5, "full": 0.9}
        found = gain_kept(mean[arm], 0.5, 0.9, {**draws, "arm": draws[arm]})
        assert found == {"mean": share, "low": share, "high": share}


@pytest.mark.parametrize("full", [0.7, 0.6, 0.71])
def test_no_gain_has_no_share(full):
    noise = torch.linspace(-0.05, 0.05, 1001, dtype=torch.float64)
    draws = {"arm": 0.8 + noise, "weak": 0.7 + 0 * noise, "full": full + noise}
    found = gain_kept(0.8, 0.7, full, draws)
    assert (found["mean"], found["low"], found["high"]) == (None, None, None)
    assert f"changed accuracy by {100 * (full - 0.7):+.1f} points [" in found["reason"]
    assert "no clear gain" in found["reason"]


def test_a_few_draws_without_a_gain_leave_numbers():
    """Nothing over nothing in 1 % of the draws must not turn the interval into not-a-number."""
    gain = torch.full((1000,), 0.1, dtype=torch.float64)
    gain[:10] = 0.0
    weak = torch.full_like(gain, 0.5)
    for arm, share in ((weak, 0.0), (weak + 0.05, 0.5), (weak + gain, 1.0)):
        found = gain_kept(0.5 + 0.1 * share, 0.5, 0.6, {"arm": arm, "weak": weak, "full": weak + gain})
        assert found == {key: pytest.approx(share) for key in ("mean", "low", "high")}


# time to reach


def rows(*pairs):
    return [{"accuracy": accuracy, "seconds": seconds} for accuracy, seconds in pairs]


def test_seconds_to_reach_is_the_first_time_averaged_over_seeds():
    histories = [rows((0.2, 1.0), (0.6, 2.0), (0.4, 3.0), (0.9, 4.0)), rows((0.5, 1.5), (0.7, 3.5))]
    assert seconds_to_reach(histories, "accuracy", 0.6) == {"mean": 2.75, "reached": 2, "seeds": 2, "target": 0.6}
    assert seconds_to_reach(histories, "accuracy", 0.1)["mean"] == 1.25
    assert seconds_to_reach(histories, "accuracy", 0.8) == {"mean": None, "reached": 1, "seeds": 2, "target": 0.8}
    assert seconds_to_reach(histories, "accuracy", 0.95)["reached"] == 0
