"""Statistics of a budget curve: a paired bootstrap over sources, areas with budget 0, a choice by validation alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auglean.studies.curve_statistics import Bootstrap, accuracies, area
from auglean.studies.curve_summary import answer, summary


def counts(rounds, sources, copies=5, p=0.8, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(rounds, sources, copies, generator=g) < p).sum(2)


# bootstrap


def test_resamples_are_means_over_drawn_sources_and_rounds():
    right = [counts(4, 30), counts(1, 30, seed=1)]
    bootstrap = Bootstrap(30, 5, seed=7, resamples=2000)
    for point, draws in zip(right, bootstrap.draws(right), strict=True):
        rounds, sources = (np.random.default_rng(0).integers(size, size=(20000, size)) for size in point.shape)
        shares = point.double().numpy() / 5
        slow = np.array([shares[r][:, s].mean() for r, s in zip(rounds, sources, strict=True)])
        assert draws.shape == (2000,)
        assert abs(float(draws.mean()) - slow.mean()) < 5 * slow.std() / np.sqrt(2000)
        assert abs(float(draws.std()) / slow.std() - 1) < 0.08  # four standard errors of a deviation of 2,000 draws


def test_copies_are_drawn_with_their_source():
    together = torch.tensor([[0, 5] * 100])  # all copies right, or none
    apart = torch.tensor([[2, 3] * 100])
    wide, narrow = Bootstrap(200, 5).draws([together, apart])
    assert float(wide.std()) == pytest.approx(np.sqrt(0.25 / 200), rel=0.08)
    assert float(narrow.std()) == pytest.approx(float(wide.std()) / 5, rel=0.08)


def test_differences_are_paired():
    one = counts(3, 50)
    same, again = Bootstrap(50, 5).draws([one, one.clone()])
    assert torch.equal(same, again)
    better = one.clone()
    better[:, 0] = 0
    first, second = Bootstrap(50, 5).draws([one, better])
    assert float((first - second).min()) >= 0
    alone = Bootstrap(50, 5).draws([better])[0]
    assert torch.equal(alone, second)


def test_a_certain_outcome_has_no_spread():
    (draws,) = Bootstrap(20, 3).draws([torch.full((2, 20), 3)])
    torch.testing.assert_close(draws, torch.ones(2000, dtype=torch.float64))


# areas


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 50))
def test_an_area_is_the_trapezoid_rule_over_the_range(values, step):
    budgets = [0, step, 3 * step, 10 * step]
    expected = np.trapezoid(values, budgets) / (10 * step)
    assert area(budgets, values) == pytest.approx(expected, abs=1e-12)


def outcome(tests, validations, budgets=(10, 100)):
    return {
        "budgets": list(budgets), "test": tests, "validation": validations, "noisy": [0.0, 0.5], "seconds": [1.0, 3.0],
        "skipped": [], "why": None,
    }  # fmt: skip


def told(name):
    return {"name": name}


def level(right, sources=40):
    """Give right counts of 5 images per source: the first sources have all right."""
    return torch.tensor([5 if i < right else 0 for i in range(sources)])


def example(good=36, valid=30):
    floor = {"test": level(20)[None], "validation": level(20)[None]}
    outcomes = {
        "random": [outcome([level(24), level(32)], [level(24), level(32)]) for _ in range(2)],
        "good": [outcome([level(good), level(good)], [level(valid), level(valid)])],
    }
    return summary([told("random"), told("good")], outcomes, floor, 5, seed=0)


def test_a_summary_holds_means_areas_and_differences():
    random, good = example()
    assert [point["budget"] for point in good["points"]] == [10, 100]
    assert random["points"][0]["accuracy"] == {"mean": 0.6, "std": 0.0, "values": [0.6, 0.6]}
    assert good["points"][1]["validation"]["mean"] == 0.75
    assert random["points"][0]["over_random"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    over = good["points"][0]["over_random"]
    assert over["mean"] == pytest.approx(0.3)
    assert 0 < over["low"] < 0.3 < over["high"]
    assert random["area"]["mean"] == pytest.approx(np.trapezoid([0.5, 0.6, 0.8], [0, 10, 100]) / 100)
    assert good["area"]["mean"] == pytest.approx(np.trapezoid([0.5, 0.9, 0.9], [0, 10, 100]) / 100)
    assert good["area"]["low"] < good["area"]["mean"] < good["area"]["high"]
    gain = good["area"]["mean"] - random["area"]["mean"]
    assert good["area_over_random"]["mean"] == pytest.approx(gain)
    assert good["area_over_random"]["low"] < gain < good["area_over_random"]["high"]
    assert good["validation_area"] == pytest.approx(np.trapezoid([0.5, 0.75, 0.75], [0, 10, 100]) / 100)
    assert (good["rounds"], random["rounds"], good["points"][1]["seconds"]) == (1, 2, 3.0)


def test_an_arm_that_skips_budgets_is_judged_on_those_it_has():
    floor = {"test": level(20)[None], "validation": level(20)[None]}
    short = {**outcome([level(30)], [level(40)], budgets=(10,)), "skipped": [100], "why": "rank"}
    outcomes = {"random": [outcome([level(24), level(32)], [level(24), level(32)])], "short": [short]}
    random, arm = summary([told("random"), told("short")], outcomes, floor, 5, seed=0)
    assert arm["area"]["mean"] == pytest.approx((0.5 + 0.75) / 2)
    assert arm["area_over_random"]["mean"] == pytest.approx((0.75 - 0.6) / 2)
    assert arm["skipped"] == [100]
    assert answer([random, arm], 0.5, 0.8, 100)["best"] == "random"


def test_budget_zero_counts_once():
    floor = {"test": level(20)[None], "validation": level(20)[None]}
    first = outcome([level(20), level(32)], [level(20), level(32)], budgets=(0, 100))
    (random,) = summary([told("random")], {"random": [first]}, floor, 5, seed=0)
    assert random["area"]["mean"] == pytest.approx((0.5 + 0.8) / 2)


# the answer


def test_the_policy_is_chosen_on_validation_and_told_on_test():
    found = answer(example(good=36, valid=36), 0.5, 0.8, 100)
    assert (found["best"], found["budget"]) == ("good", 10)
    assert "good gets 90.00% of the transformed test images right with the copies of 10 of 100" in found["sentence"]
    assert "more than random's 60.00%" in found["sentence"]
    worse = answer(example(good=8, valid=36), 0.5, 0.8, 100)  # the test says otherwise, and is told
    assert worse["best"] == "good"
    assert "less than random's 60.00%" in worse["sentence"]
    same = answer(example(good=24, valid=36), 0.5, 0.8, 100)
    assert "no clear difference from random's" in same["sentence"]


def test_where_random_wins_it_says_so():
    found = answer(example(good=40, valid=21), 0.5, 0.8, 100)
    assert found["best"] == "random"
    assert found["sentence"].startswith("Random wins: chosen on validation images, it gets 60.00%")


def test_accuracies_are_over_all_images():
    right = counts(3, 17)
    assert accuracies(right, 5).tolist() == pytest.approx((right.sum(1) / (17 * 5)).tolist())
