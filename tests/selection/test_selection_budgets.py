"""Budgets: what a fraction means, and how a budget is shared among classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from selection_references import largest_remainder

from auglean.errors import InputError
from auglean.selection import MaxLoss, Random, allocate, count, select
from auglean.selection.budgets import members

BAD = [0, -1, 101, 0.0, -0.5, 1.5, 1.0000001, math.nan, math.inf, -math.inf, True, False, "0.1", None, [3]]
BAD += [np.bool_(True), np.int64(101), np.float32(1.5), 1j]


@pytest.mark.parametrize("budget", BAD, ids=repr)
def test_bad_budgets(budget):
    with pytest.raises(InputError, match="budget") as error:
        count(budget, 100)
    assert "give" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="budget"):
        select(None, torch.zeros(100, dtype=torch.int64), Random(), budget=budget)


@given(total=st.integers(1, 10**7), fraction=st.floats(0, 1, exclude_min=True))
def test_a_fraction_is_the_nearest_count(total, fraction):
    k = count(fraction, total)
    assert 1 <= k <= total
    assert k == 1 or abs(k - fraction * total) <= 0.5 + 1e-6
    assert isinstance(k, int)


@given(total=st.integers(1, 1000), data=st.data())
def test_a_count_is_itself(total, data):
    k = data.draw(st.integers(1, total))
    assert count(k, total) == k


@pytest.mark.parametrize(("budget", "k"), [(0.1, 100), (1.0, 1000), (1, 1), (1000, 1000), (0.0005, 1), (1e-9, 1)])
def test_counts_by_hand(budget, k):
    assert count(budget, 1000) == k


@pytest.mark.parametrize("budget", [np.int64(100), np.uint8(100), np.float32(0.1), np.float16(0.1), np.float64(0.1)])
def test_counts_of_numpy(budget):
    assert count(budget, 1000) == 100
    assert type(count(budget, 1000)) is int


@pytest.mark.parametrize(
    ("total", "sizes", "mode", "expected"),
    [
        (15, [10, 3, 10], "equal", [6, 3, 6]),
        (50, [30, 3, 4, 30, 30], "equal", [15, 3, 4, 14, 14]),  # the published code gives 71 of these
        (10, [5, 5, 5], "proportional", [4, 3, 3]),  # remainders tie: the lowest class
        (
            5,
            [60, 30, 10],
            "proportional",
            [3, 1, 1],
        ),  # quotas 3, 1.5, .5: tied remainders go to class 1, then one is due
        (5, [30, 60, 10], "proportional", [1, 3, 1]),  # the one above its quota gives, not the largest
        (4, [1000, 1, 1, 1], "proportional", [1, 1, 1, 1]),
        (2, [1000, 1, 1, 1], "proportional", [2, 0, 0, 0]),
        (6, [0, 4, 0, 2], "proportional", [0, 4, 0, 2]),
        (0, [3, 3], "equal", [0, 0]),
        (0, [], "proportional", []),
        (3, [1, 1, 9], "equal", [1, 1, 1]),
    ],
)
def test_allocation_by_hand(total, sizes, mode, expected):
    assert allocate(total, sizes, mode) == expected


shares = st.lists(st.integers(0, 40), max_size=8).flatmap(
    lambda sizes: st.tuples(st.integers(0, sum(sizes)), st.just(sizes))
)


@given(share=shares, mode=st.sampled_from(["proportional", "equal"]))
def test_allocation_sums_and_fits(share, mode):
    total, sizes = share
    counts = allocate(total, sizes, mode)
    assert sum(counts) == total
    assert all(0 <= k <= size for k, size in zip(counts, sizes, strict=True))
    if total >= sum(size > 0 for size in sizes):
        assert all(k >= 1 for k, size in zip(counts, sizes, strict=True) if size)


@given(share=shares)
def test_proportional_allocation_is_the_largest_remainder_but_for_the_one_that_each_class_gets(share):
    total, sizes = share
    counts, plain = allocate(total, sizes), largest_remainder(total, sizes, equal=False)
    if total < sum(size > 0 for size in sizes) or all(plain[c] or not size for c, size in enumerate(sizes)):
        assert counts == plain
        for k, size in zip(counts, sizes, strict=True):
            assert abs(k - total * size / max(sum(sizes), 1)) < 1
    else:
        for k, before, size in zip(counts, plain, sizes, strict=True):
            assert k == min(size, 1) if before == 0 else 1 <= k <= before


@given(share=shares)
def test_equal_allocation_is_level_but_for_full_classes(share):
    total, sizes = share
    counts = allocate(total, sizes, "equal")
    for d, size in enumerate(sizes):
        if counts[d] < size:
            assert max(counts) <= counts[d] + 1
    if all(total <= size * sum(s > 0 for s in sizes) for size in sizes if size):  # nobody is capped
        assert counts == largest_remainder(total, sizes, equal=True)


@pytest.mark.parametrize("total", [-1, 8])
def test_allocation_of_too_much(total):
    with pytest.raises(InputError, match=rf"{total} .* 7 examples"):
        allocate(total, [3, 4])


def test_unknown_allocation():
    with pytest.raises(InputError, match="did you mean 'equal'"):
        allocate(3, [3, 4], "equall")


@given(labels=st.lists(st.sampled_from([0, 1, 2, 5, 7 * 10**15]), min_size=1, max_size=30))
def test_members(labels):
    classes = members(torch.tensor(labels))
    assert [rows.tolist() for rows in classes] == [
        [i for i, label in enumerate(labels) if label == c] for c in sorted(set(labels))
    ]


def test_select_takes_fraction_and_count():
    labels = torch.arange(50) % 5
    assert len(select(None, labels, Random(), budget=0.25)) == 13
    assert len(select(None, labels, Random(), budget=25)) == 25
    assert len(select(None, labels, Random(), budget=1.0)) == 50
    assert len(select(None, labels, Random(), budget=1)) == 1
    with pytest.raises(InputError, match="needs signals"):
        select(None, labels, MaxLoss(), budget=1)
