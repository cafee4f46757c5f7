"""The learning rate of each step, by hand."""

import math

import pytest

from auglean.errors import InputError
from auglean.training import Recipe


def test_constant():
    assert [Recipe(lr=0.3, schedule="constant", warmup=0).rate(step, 4) for step in range(4)] == [0.3] * 4


def test_cosine():
    rates = [Recipe(lr=2.0, warmup=0).rate(step, 4) for step in range(4)]
    assert rates == pytest.approx([2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])


def test_multistep():
    rates = [Recipe(lr=1.0, schedule="multistep", warmup=0).rate(step, 8) for step in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    odd = [Recipe(lr=1.0, schedule="multistep", warmup=0).rate(step, 5) for step in range(5)]
    assert odd == pytest.approx([1, 1, 1, 0.1, 0.01])  # 2.5 and 3.75, rounded up


def test_step_falls_to_a_tenth_once():
    rates = [Recipe(lr=1.0, schedule="step", warmup=0).rate(step, 5) for step in range(5)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 2)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "multistep"])
def test_warm_up_rises_in_equal_parts_to_the_peak(schedule):
    recipe = Recipe(lr=0.6, schedule=schedule, warmup=0.3)
    rates = [recipe.rate(step, 10) for step in range(10)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    assert max(rates) == pytest.approx(0.6)
    if schedule == "cosine":  # seven steps over half a period
        assert rates[3:] == pytest.approx([0.3 * (1 + math.cos(math.pi * t / 7)) for t in range(7)])


def test_one_step_that_is_all_warm_up():
    assert Recipe(lr=0.5, warmup=0.9).rate(0, 1) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 0}, "batch_size is 0; give at least 1"),
        ({"lr": 0.0}, "lr is 0.0; give a number above 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
        ({"momentum": 1.0}, "momentum is 1.0; give at least 0 and below 1"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_bad_options_are_told(options, expected):
    with pytest.raises(InputError, match=expected):
        Recipe(**options)
