"""Herding against plain means, k-center against brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection_references import explicit_distances, make_signals, nearest_pick, score_signals

from auglean.selection import Herding, KCenter, allocate, select


def at(points):
    """Signals of which only the features matter, and labels of one class."""
    points = torch.as_tensor(np.asarray(points), dtype=torch.float32)
    points = points[:, None] if points.ndim == 1 else points
    return dataclasses.replace(score_signals([0.0] * len(points)), feature=points), torch.zeros(len(points)).long()


whole_points = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.integers(-8, 8).map(float)
)


# Herding


def plain_herding(points, k):
    """Try every example at every step, in exact arithmetic of whole numbers times n."""
    n = len(points)
    scaled = [[int(x) * n for x in row] for row in points]
    mean = [sum(column) // n for column in zip(*scaled, strict=True)]
    picks = []
    for t in range(1, k + 1):

        def miss(i, t=t):
            total = [sum(scaled[j][c] for j in [*picks, i]) for c in range(len(mean))]
            return sum((t * m - s) ** 2 for m, s in zip(mean, total, strict=True))

        picks.append(min((i for i in range(n) if i not in picks), key=miss))
    return picks


@settings(max_examples=200, deadline=None)
@given(points=whole_points, data=st.data())
def test_herding_is_plain_herding(points, data):
    k = data.draw(st.integers(1, len(points)))
    chosen = select(*at(points), Herding(), budget=k)
    expected = plain_herding(points, k)
    assert chosen.indices.tolist() == expected
    assert chosen.weights.tolist() == [len(points) / k] * k
    # the gains add up to what is left of the distance between the means
    points = points.astype(np.float64)
    random_distance = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
    left = np.linalg.norm(points[expected].mean(0) - points.mean(0))
    assert random_distance - float(chosen.gains.sum()) == pytest.approx(left, abs=1e-6)


def test_herding_by_hand():
    # mean 4: first 4 itself, then 3 and 5 about it (the lowest index of equals), then 0 and 8
    chosen = select(*at([0, 3, 4, 5, 8]), Herding(), budget=5)
    assert chosen.indices.tolist() == [2, 1, 3, 0, 4]


def test_herding_goes_class_by_class_and_keeps_the_means():
    signals, labels = make_signals(400, seed=1)
    chosen = select(signals, labels, Herding(), budget=60)
    drawn = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    for c, share in enumerate(allocate(60, torch.bincount(labels).tolist())):
        rows = (labels == c).nonzero()[:, 0]
        mine = chosen.indices[labels[chosen.indices] == c]
        assert len(mine) == share
        alone = select(signals[rows], torch.zeros(len(rows)).long(), Herding(), budget=share)
        assert sorted(rows[alone.indices].tolist()) == sorted(mine.tolist())
        mean = signals.feature[rows].mean(0)
        at_random = signals.feature[drawn[labels[drawn] == c][:share]].mean(0)
        assert (signals.feature[mine].mean(0) - mean).norm() < 0.2 * (at_random - mean).norm()


# k-center


def radius(points, picks):
    return explicit_distances(points)[:, list(picks)].min(1).max()


@settings(max_examples=200, deadline=None)
@given(points=whole_points, data=st.data())
def test_k_center_is_within_twice_the_least_radius(points, data):
    k = data.draw(st.integers(1, len(points)))
    chosen = select(*at(points), KCenter(), budget=k)
    picks = chosen.indices.tolist()
    found = radius(points, picks)
    assert chosen.how["radius"] == pytest.approx(found)
    assert found <= 2 * min(radius(points, subset) for subset in itertools.combinations(range(len(points)), k)) + 1e-9
    distances = explicit_distances(points)
    assert chosen.assignment.tolist() == nearest_pick(distances, picks).tolist()
    assert chosen.weights.tolist() == np.bincount(chosen.assignment, minlength=k).tolist()
    # farthest first, the lowest index of equals
    centre = np.linalg.norm(points - points.astype(np.float64).mean(0), axis=1)
    assert centre[picks[0]] == pytest.approx(centre.min())
    for t in range(1, k):
        nearest = distances[:, picks[:t]].min(1)
        nearest[picks[:t]] = -1
        assert picks[t] == np.flatnonzero(nearest > nearest.max() - 1e-9)[0]
        assert float(chosen.gains[t]) == pytest.approx(max(nearest.max(), 0))
    assert bool((chosen.gains.diff() <= 1e-12).all())


def test_k_center_by_hand():
    chosen = select(*at([0, 3, 4, 6, 12, 14, 17]), KCenter(), budget=3)  # mean 8
    assert chosen.indices.tolist() == [3, 6, 0]
    assert chosen.gains.tolist() == [11, 11, 6]
    assert chosen.weights.tolist() == [3, 3, 1]
    assert chosen.how["radius"] == 5


def test_k_center_of_duplicates():
    chosen = select(*at([5, 5, 5, 5, 7, 7]), KCenter(), budget=4)
    assert chosen.indices.tolist() == [0, 4, 1, 2]
    assert chosen.weights.tolist() == [4, 2, 0, 0]
    assert chosen.gains.tolist() == [2, 2, 0, 0]
