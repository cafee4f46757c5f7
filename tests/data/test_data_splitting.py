"""Stratified cuts: disjoint, exhaustive, deterministic, in proportion."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auglean.data import ImageSet, load, split, splits
from auglean.data.splitting import part, split_indices
from auglean.errors import InputError


def numbered(labels, names=()):
    """Make a set whose image i is of the colour i, so that parts can be traced."""
    n = len(labels)
    images = torch.stack([torch.arange(n) // 256, torch.arange(n) % 256, torch.zeros(n)], 1).to(torch.uint8)
    return ImageSet(images[:, :, None, None], torch.as_tensor(labels), tuple(names))


def numbers(data):
    return (data.images[:, 0].long() * 256 + data.images[:, 1]).flatten().tolist()


some_labels = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(torch.tensor)
some_shares = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4).map(lambda s: [x / sum(s) for x in s])


@given(some_labels, some_shares, st.integers(0, 2**31))
def test_cuts_are_exhaustive_disjoint_and_in_proportion(labels, shares, seed):
    parts = split_indices(labels, shares, seed=seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    for rows, share in zip(parts, shares, strict=True):
        assert torch.equal(rows, rows.sort().values)
        for k in range(5):
            quota = share * int((labels == k).sum())
            assert abs(int((labels[rows] == k).sum()) - quota) < 1
    again = split_indices(labels, shares, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


def test_sizes_do_not_drift_over_many_small_classes():
    labels = torch.arange(1000) // 5  # 200 classes of 5: 10 % of each is half an image
    rest, tenth, fifth = split_indices(labels, [0.7, 0.1, 0.2], seed=0)
    assert (len(rest), len(tenth), len(fifth)) == (700, 100, 200)


def test_a_whole_quota_is_met_exactly():
    # 0.1 · 30 = 3.0000000000000004 and 0.29 · 100 = 28.999999999999996 in binary
    for n, share, wanted in ((30, 0.1, 3), (100, 0.29, 29)):
        _, cut = split_indices(torch.zeros(n, dtype=torch.int64), [1 - share, share], seed=1)
        assert len(cut) == wanted

    # here 28.999999999999996 counted as 28 would leave the middle part a whole image short
    labels = torch.tensor([0] * 8 + [1] * 2 + [2] * 2 + [3] * 100)
    assert int((labels[split_indices(labels, [0.355, 0.29, 0.355])[1]] == 3).sum()) == 29


def test_seeds_differ():
    data = numbered([0, 1] * 50)
    first, second = (split(data, [0.3], seed=seed)[1] for seed in (0, 1))
    assert numbers(first) != numbers(second)
    # classes are shuffled independently of each other
    assert {n // 2 for n in numbers(first) if n % 2 == 0} != {n // 2 for n in numbers(first) if n % 2}


@pytest.mark.parametrize("shares", [[0.0], [1.0], [-0.1], [0.5, 0.5], [float("nan")]])
def test_shares_that_are_none(shares):
    with pytest.raises(InputError, match="between 0 and 1"):
        split(numbered([0, 1] * 10), shares)


@given(some_labels, st.integers(1, 130), st.integers(0, 2**31))
def test_part_is_as_large_as_asked_and_keeps_every_class(labels, count, seed):
    data = numbered(labels)
    taken = part(data, count, seed=seed)
    assert len(taken) == min(count, len(data))
    assert len(set(numbers(taken))) == len(taken)
    present = data.counts > 0
    if count >= int(present.sum()):
        assert bool((taken.counts[present] > 0).all())
    # never further from proportion than the one image that keeping a class costs, or rounding
    quota = data.counts * (len(taken) / len(data))
    assert bool((taken.counts - quota < 1 + 1e-9).all())
    assert torch.equal(taken.images, part(data, count, seed=seed).images)


def test_part_takes_the_large_from_the_large():
    data = numbered([0] * 90 + [1] * 10)
    assert part(data, 50).counts.tolist() == [45, 5]
    assert part(data, 2).counts.tolist() == [1, 1]
    with pytest.raises(InputError, match="at least 1"):
        part(data, 0)


def test_digits_have_their_own_splits():
    parts = splits("digits", seed=5)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [1000, 297, 500]
    assert parts.train.fingerprint == load("digits").fingerprint
    assert parts.test.fingerprint == load("digits", split="test").fingerprint
    assert repr(parts).splitlines() == [
        "Splits digits",
        "set         images",
        "train         1000",
        "validation     297",
        "test           500",
    ]


def test_missing_splits_are_cut_from_the_training_images():
    data = numbered([0, 1, 2] * 40)
    parts = splits(data, validation=0.1, test=0.2, seed=3)
    assert [p.counts.tolist() for p in (parts.train, parts.validation, parts.test)] == [
        [28] * 3,
        [4] * 3,
        [8] * 3,
    ]
    everyone = numbers(parts.train) + numbers(parts.validation) + numbers(parts.test)
    assert sorted(everyone) == list(range(120))


def test_limits():
    parts = splits("digits", limit=50, test_limit=30)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [50, 297, 30]
    assert int(parts.train.counts.min()) >= 1
    with pytest.raises(InputError, match="limit is 9, fewer than the 10 classes"):
        splits("digits", limit=9)


def test_too_small_to_cut():
    with pytest.raises(InputError, match=r"Class 'rare' .* single image"):
        splits(numbered([0] * 20 + [1], ("common", "rare")))
    with pytest.raises(InputError, match="no images of 1 of its 3 classes"):
        splits(numbered([0, 2] * 20))
    with pytest.raises(InputError, match="too few"):
        splits(numbered([0, 0, 1, 1]))
