"""Audits against explicit gradients, enumeration of subsets, and the selections whose faults are known."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import explicit_distances, gradients, make_signals

from auglean.errors import InputError
from auglean.selection import (
    Coreset,
    MaxLoss,
    Random,
    Selection,
    audit,
    auditing,
    facility_location,
    gradient_error,
    read_indices,
    select,
)


def cloud(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def nearest(explicit, labels, picks):
    """Distance and owner of each row, one row at a time: among picks of its class, or all where it has none."""
    distances = explicit_distances(explicit)
    found = []
    for i, row in enumerate(distances):
        same = [position for position, j in enumerate(picks) if labels[j] == labels[i]]
        found.append(min((row[picks[position]], position) for position in same or range(len(picks))))
    return np.array([distance for distance, _ in found]), np.array([position for _, position in found])


# The measures


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("form", ["points", "signals"])
def test_measures_are_those_of_explicit_gradients(form, with_labels):
    signals, labels = make_signals(60, classes=3, dim=4)
    explicit = gradients(signals.residual, signals.feature if form == "signals" else None)
    picks, weights = [5, 17, 40, 3, 22, 4], torch.tensor([3.0, 1, 0, 7, 2, 5])
    points = signals if form == "signals" else signals.residual
    found = audit(picks, points, labels if with_labels else None, weights=weights)
    distance, owner = nearest(explicit, labels if with_labels else torch.zeros(60), picks)
    clusters = torch.tensor(np.bincount(owner, minlength=len(picks)))
    feature = signals.feature if form == "signals" else None

    def error(weights):
        return gradient_error(signals.residual, torch.tensor(picks), weights, feature=feature)

    assert list(found.measures) == list(auditing._TITLES)
    assert found.measures["objective"].value == pytest.approx(distance.sum(), rel=1e-9)
    assert found.measures["objective"].standard_error is None
    assert found.measures["gradient_error_given"].value == pytest.approx(error(weights))
    assert found.measures["gradient_error_clusters"].value == pytest.approx(error(clusters))
    assert found.measures["gradient_error_equal"].value == pytest.approx(error(torch.ones(6)))
    assert not found.findings


def test_a_class_without_picks_is_served_by_all():
    points = torch.tensor([[0.0], [1], [10], [20], [23]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert audit([0, 2], points, labels).measures["objective"].value == pytest.approx(0 + 1 + 0 + 10 + 13)
    assert audit([0, 3], points, labels).measures["objective"].value == pytest.approx(0 + 1 + 10 + 0 + 3)


@given(n=st.integers(2, 40), data=st.data())
@settings(max_examples=40)
def test_blocks_make_no_difference(n, data):
    picks = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n))
    points, labels = cloud(n, seed=n), torch.arange(n) % 3
    whole = audit(picks, points, labels, randoms=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "_PICKS", 3)
        patch.setattr(auditing, "_NUMBERS", 7)
        parts = audit(picks, points, labels, randoms=2)
    for name, measure in whole.measures.items():
        assert parts.measures[name].value == pytest.approx(measure.value, rel=1e-9, abs=1e-9)
        assert parts.measures[name].randoms == pytest.approx(measure.randoms, rel=1e-9, abs=1e-9)


def test_the_whole_matrix_is_never_held(monkeypatch):
    sizes, multiply = [], torch.mm
    monkeypatch.setattr(auditing, "_NUMBERS", 5000)
    monkeypatch.setattr(auditing, "_PICKS", 100)
    monkeypatch.setattr(torch, "mm", lambda a, b: sizes.append(len(a) * b.shape[1]) or multiply(a, b))
    audit(torch.arange(300), cloud(900), randoms=2)
    assert 4000 < max(sizes) <= 5000


def test_far_from_the_origin_near_points_stay_near():
    points = torch.cat([cloud(50), cloud(50) + 1e-3]).double() + 1e5
    found = audit(torch.arange(50), points).measures["objective"].value
    assert found == pytest.approx(nearest(points.numpy(), torch.zeros(100), list(range(50)))[0].sum(), rel=1e-6)


def test_a_point_is_at_no_distance_from_itself_nor_from_its_copy():
    signals, _ = make_signals(20)
    assert audit(torch.arange(20), signals).measures["objective"].value == 0
    assert audit([0], torch.ones(4, 2)).measures["objective"].value == 0


def test_medoids_have_the_objective_and_the_cluster_sizes_of_their_solver():
    points = cloud(150)
    chosen = facility_location(points, 15)
    found = chosen.audit(points)
    assert found.measures["objective"].value == pytest.approx(chosen.how["objective"], rel=1e-6)
    given, clusters = (found.measures[f"gradient_error_{name}"].value for name in ("given", "clusters"))
    assert given == pytest.approx(clusters, rel=1e-6)
    assert found.measures["objective"].verdict.startswith("better than all 20")


def test_a_sample_is_right_on_average_and_knows_its_error():
    points, picks = cloud(400), list(range(20))
    exact = audit(picks, points, randoms=2).measures["objective"].value
    drawn = [audit(picks, points, randoms=2, seed=seed, sample=50) for seed in range(60)]
    values = np.array([found.measures["objective"].value for found in drawn])
    error = np.mean([found.measures["objective"].standard_error for found in drawn])
    assert abs(values.mean() - exact) < 4 * error / math.sqrt(60)
    assert 0.7 * error < values.std() < 1.4 * error
    assert "gradient_error_clusters" not in drawn[0].measures
    assert "sample of 50" in drawn[0].notes[0]


def test_a_sample_is_drawn_where_all_would_cost_too_much(monkeypatch):
    monkeypatch.setattr(auditing, "_WORK", 21 * 1000 * 100 * (3 + auditing._OVERHEAD) / 2)
    found = audit(torch.arange(100), cloud(1000))
    assert "sample of 500" in found.notes[0]
    assert "gradient_error_equal" in found.measures


def test_gradients_that_sum_to_zero_have_no_relative_error():
    found = audit([0], torch.tensor([[1.0], [-1]]))
    assert list(found.measures) == ["objective"]
    assert "sum to zero" in found.notes[0]


# The random subsets


def test_random_subsets_are_uniform():
    points, labels = cloud(6), torch.tensor([0, 0, 0, 0, 1, 1])
    subsets = [torch.tensor(subset) for subset in itertools.combinations(range(6), 2)]
    values = np.array([gradient_error(points, subset, torch.ones(2)) for subset in subsets])
    randoms = np.array(audit([0, 1], points, labels, randoms=600).measures["gradient_error_equal"].randoms)
    which = np.abs(randoms[:, None] - values).argmin(1)
    assert np.abs(randoms - values[which]).max() < 1e-9
    counts, expected = np.bincount(which, minlength=15), 600 / 15
    assert ((counts - expected) ** 2 / expected).sum() < 14 + 5 * math.sqrt(2 * 14)


def test_a_list_with_copies_is_held_against_subsets_of_its_length():
    points = cloud(30)
    doubled, short = audit([0, 1, 2, 0, 1, 2], points), audit([0, 1, 2], points)
    assert doubled.measures["objective"].value == pytest.approx(short.measures["objective"].value)
    assert doubled.measures["objective"].randoms == audit(range(6), points).measures["objective"].randoms
    assert doubled.measures["gradient_error_clusters"].value == short.measures["gradient_error_clusters"].value


def test_chance_is_told_apart_as_seldom_as_said():
    points, labels = cloud(60), torch.arange(60) % 4
    told = {"objective": 0, "gradient_error_equal": 0}
    for seed in range(60):
        picks = torch.randperm(60, generator=torch.Generator().manual_seed(seed))[:6]
        found = audit(picks, points, labels, seed=seed)
        for name in told:
            told[name] += not found.measures[name].verdict.startswith("cannot be told from random")
    assert max(told.values()) <= 15  # 60 · 2/21 = 5.7 are expected, with a standard deviation of 2.3


def test_everything_cannot_be_told_from_everything():
    points, labels = cloud(25), torch.arange(25) % 3
    found = audit(
        torch.randperm(25, generator=torch.Generator().manual_seed(1)), points, labels, weights=torch.ones(25)
    )
    assert all(measure.verdict.startswith("cannot be told") for measure in found.measures.values())


def test_seed_fixes_all_and_nothing_global_is_touched():
    before = torch.get_rng_state()
    one, same, other = (audit([1, 2], cloud(20), seed=seed).to_dict() for seed in (3, 3, 4))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before)


# What is known of the selectors


def test_verdicts_on_known_choices():
    signals, labels = make_signals(300)
    verdicts = {}
    for selector in (Coreset(proxy="last-layer"), MaxLoss(), Random()):
        found = select(signals, labels, selector, budget=0.1, seed=1).audit(signals, labels)
        verdicts[selector.name] = found.measures["objective"].verdict.split(":")[0]
    assert verdicts == {
        "coreset": "better than all 20 random",
        "max-loss": "worse than all 20 random",
        "random": "cannot be told from random",
    }


# What is wrong with a list


def test_findings():
    labels = torch.tensor([0, 0, 0, 2, 2, 3])
    found = audit([0, 0, 1, 1, 1, 9, -1, -1], None, labels, weights=[1, -2, 0, math.nan, math.inf, 1, 0, 0])
    assert (found.count, found.distinct, found.total) == (8, 2, 6)
    assert (found.duplicates, found.out_of_range) == ((0, 1), (-1, 9))
    assert (found.class_counts, found.class_sizes) == ((2, 0, 0, 0), (3, 0, 2, 1))
    assert found.weights == {"sum": 0, "least": -2, "most": 1, "zero": 3, "negative": 1, "not_finite": 2}
    assert found.measures == {}
    assert list(found.findings) == [
        "2 indices come more than once, so 2 of 8 are distinct and in range: 0, 1.",
        "2 indices are not in 0 … 5: -1, 9.",
        "2 of 3 classes have no example: 2, 3.",
        "1 of 8 weights are negative.",
        "2 of 8 weights are not finite.",
        "The weights sum to 0, so that they stand for nothing.",
    ]


@given(indices=st.lists(st.integers(-3, 12), max_size=15), n=st.integers(1, 10))
def test_what_is_found_is_there(indices, n):
    found = audit(indices, None, torch.zeros(n, dtype=torch.int64))
    inside = [i for i in indices if 0 <= i < n]
    assert set(found.duplicates) == {i for i in inside if inside.count(i) > 1}
    assert set(found.out_of_range) == set(indices) - set(range(n))
    assert found.distinct == len(set(inside))
    assert bool(found.findings) == (len(set(inside)) < len(indices) or not inside)


def test_bad_indices_do_not_spoil_the_measures():
    points = cloud(30)
    weights = [1.0, 5, 2, 3]
    found = audit([4, 99, 7, 8], points, weights=weights)
    clean = audit([4, 7, 8], points, weights=[1.0, 2, 3])
    assert found.measures == clean.measures
    unusable = audit([4, 7], points, weights=[math.nan, 1])
    assert "gradient_error_given" not in unusable.measures
    assert audit([99], points).measures == {}


def test_it_prints_what_it_found_and_saves_as_json():
    found = audit([0, 0, 99], cloud(30), torch.arange(30) % 3)
    lines = repr(found).splitlines()
    assert lines[0] == "Audit of 3 indices among 30 examples"
    assert [line[0] for line in lines[1:4]] == ["!"] * 3
    assert max(map(len, lines)) <= 100
    assert sum("random:" in line or "from random" in line for line in lines) == 4  # a heading and three verdicts
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["duplicates"] == [0]
    assert plain["measures"]["objective"]["beaten"] == found.measures["objective"].beaten


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: audit([0.5], cloud(3)), "whole numbers; got 0.5"),
        (lambda: audit([math.nan], cloud(3)), "whole numbers; got nan"),
        (lambda: audit([[0]], cloud(3)), "one dimension"),
        (lambda: audit([0], None), "points, labels or both"),
        (lambda: audit([0], cloud(3), torch.zeros(4).long()), "3 points do not fit 4 labels"),
        (lambda: audit([0], cloud(3), torch.tensor([0, -1, 0])), "class numbers"),
        (lambda: audit([0], cloud(3), torch.zeros(3)), "class numbers"),
        (lambda: audit([0], cloud(3), weights=[1, 2]), "2 weights do not fit 1 indices"),
        (lambda: audit([0], cloud(3), weights=[[1]]), "Weights must be numbers"),
        (lambda: audit([0], cloud(3), randoms=1), "at least 2"),
        (lambda: audit([0], cloud(3)[0]), r"shape \(n, d\)"),
        (lambda: audit([0], torch.tensor([[0.0], [math.nan]])), "Row 1 of the points"),
        (
            lambda: Selection(torch.tensor([0]), torch.ones(1), torch.ones(1), total=4).audit(cloud(3)),
            "selection from 4",
        ),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


# Files of other tools


@pytest.mark.parametrize(
    ("name", "text", "weights"),
    [
        ("a.txt", "3\n1\n2\n", None),
        ("a.csv", "index\n3\n1\n2\n", None),
        ("a.csv", "\ufeffindex,weight\r\n3,1.5\r\n1,2\r\n2,0\r\n", [1.5, 2, 0]),
        ("a.tsv", "# chosen\n3\t1.5\n\n1;2  # second\n2 0", [1.5, 2, 0]),
        ("a.json", "[3, 1, 2]", None),
        ("a", ' {"indices": [3, 1.0, 2], "weights": [1.5, 2, 0], "how": "by hand"}', [1.5, 2, 0]),
    ],
)
def test_text_files(tmp_path, name, text, weights):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_indices(tmp_path / name)
    assert found.indices.tolist() == [3, 1, 2]
    assert found.indices.dtype == torch.int64
    assert weights == (found.weights if found.weights is None else found.weights.tolist())


def test_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", np.array([3, 1, 2], dtype=np.uint32))
    np.save(tmp_path / "mask.npy", np.array([False, True, True, False]))
    np.savez(tmp_path / "a.npz", np.array([3, 1, 2]))
    np.savez(tmp_path / "b.npz", indices=np.array([3, 1]), weights=np.array([1, 2]))
    assert read_indices(tmp_path / "a.npy").indices.tolist() == [3, 1, 2]
    assert read_indices(tmp_path / "mask.npy").indices.tolist() == [1, 2]
    assert read_indices(tmp_path / "a.npz").indices.tolist() == [3, 1, 2]
    assert read_indices(tmp_path / "b.npz").weights.tolist() == [1, 2]


@pytest.mark.parametrize("text", ["[false, true, true]", '{"indices": [false, true, true], "weights": [3, 4]}'])
def test_masks_in_json(tmp_path, text):
    (tmp_path / "mask.json").write_text(text)
    assert read_indices(tmp_path / "mask.json").indices.tolist() == [1, 2]


def test_large_numbers_keep_their_last_digit(tmp_path):
    (tmp_path / "a.txt").write_text("16777217\n")
    assert read_indices(tmp_path / "a.txt").indices.tolist() == [16777217]


def test_a_selection_says_where_it_is_from(tmp_path):
    signals, labels = make_signals(40)
    chosen = select(signals, labels, Coreset(), budget=0.2)
    chosen.with_(how={**chosen.how, "fingerprint": "abc"}).save(tmp_path / "chosen.json")
    found = read_indices(tmp_path / "chosen.json")
    assert torch.equal(found.indices, chosen.indices)
    assert torch.equal(found.weights, chosen.weights)
    assert (found.total, found.fingerprint) == (40, "abc")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "no indices"),
        ("a.txt", b"1 2 3\n", "index and a weight"),
        ("a.txt", b"1\n2 3\n", "index and a weight"),
        ("a.txt", b"1\ntwo\n", "two"),
        ("a.txt", b"1.5\n", "whole numbers; got 1.5"),
        ("a.txt", b"\xff\xfe\x00", r"\(it is not text\)"),
        ("a.json", b"[1e30]", "64 bits; got 1e\\+30"),
        ("a.txt", b"-1e30\n", "64 bits; got -1e\\+30"),
        ("a.json", b"[9223372036854775808]", "64 bits; got 9223372036854775808"),
        ("a.json", b"[[true]]", "one dimension; got bool"),
        ("a.json", b'{"chosen": [1]}', "no 'indices'"),
        ("a.json", b'{"indices": [1], "weights": [1, 2]}', "1 indices and 2 weights"),
        ("a.json", b'["a"]', "whole numbers"),
        ("a.json", b"[1, ", "Expecting"),
        ("a.json", b"[]", "no indices"),
        ("a.npy", b"nonsense", "Cannot read"),
        ("a.npy", b"", "Cannot read"),
        ("a.npz", b"PK\x03\x04", "Cannot read"),
    ],
)
def test_unreadable_files(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_indices(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    for name in ("a.txt", "a.npy"):
        with pytest.raises(InputError, match=rf"from \S*{name} \(No such file or directory\); give"):
            read_indices(tmp_path / name)
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=rf"from \S*{name} \(Is a directory\); give"):
            read_indices(tmp_path / name)
