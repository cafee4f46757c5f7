"""`label_noise`: wrong labels exact and keyed, noisy shares right, rows complete, a verdict that follows from them."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import auglean as al
from auglean.data import Splits
from auglean.errors import InputError
from auglean.selection import MaxLoss, Selection, Selector
from auglean.selection.selectors import equal_weights
from auglean.studies import label_noise, wrong_labels
from auglean.studies.label_noise import judge, noisy_share

OPTIONS = {"network": "mlp", "steps": 6, "recipe": al.Recipe(batch_size=16)}
ARMS = ["random", "random-each-epoch", "max-loss", "coreset", "ccs", "reducible-loss-noisy", "reducible-loss-clean"]


def small(n=120, classes=4, seed=0):
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return al.ImageSet(images, torch.arange(n) % classes)


def tiny():
    return Splits(small(), small(24, seed=1), small(40, seed=2))


# wrong labels


@given(n=st.integers(1, 60), classes=st.integers(2, 5), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_exactly_so_many_labels_are_wrong(n, classes, share, seed):
    names = tuple("abcde"[:classes])
    data = replace(small(n, min(n, classes)), class_names=names)
    before = data.labels.clone()
    noisy, wrong = wrong_labels(data, share, seed)
    assert wrong.dtype == torch.bool
    assert int(wrong.sum()) == round(share * n)
    assert torch.equal(noisy.labels != before, wrong)
    assert torch.equal(data.labels, before)
    assert noisy.class_names == names
    assert torch.equal(noisy.images, data.images)


def test_wrong_labels_are_keyed_by_the_seed_alone():
    state = torch.get_rng_state()
    first, wrong = wrong_labels(small(), 0.3, 5)
    torch.rand(3)
    again, where = wrong_labels(small(), 0.3, 5)
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(wrong, where)
    assert not torch.equal(wrong, wrong_labels(small(), 0.3, 6)[1])
    torch.set_rng_state(state)
    wrong_labels(small(), 0.3, 5)
    assert torch.equal(torch.get_rng_state(), state)
    more, wider = wrong_labels(small(), 0.6, 5)  # the same ones, and others
    assert bool(wider[wrong].all())
    assert torch.equal(more.labels[wrong], first.labels[wrong])


def test_every_other_class_is_as_likely():
    data = replace(small(12_000, 1), class_names=tuple("abcd"))
    noisy, _ = wrong_labels(data, 1.0, 0)
    counts = Counter(noisy.labels.tolist())
    assert set(counts) == {1, 2, 3}
    assert all(abs(count - 4000) < 5 * (12_000 * 2 / 9) ** 0.5 for count in counts.values())  # five deviations


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(InputError, match="give a number from 0 to 1"):
        wrong_labels(small(), share, 0)


def test_a_single_class_cannot_be_mistaken():
    with pytest.raises(InputError, match="single class"):
        wrong_labels(small(classes=1), 0.1, 0)


def test_noisy_share_by_hand():
    chosen = Selection(torch.tensor([4, 1, 0]), torch.tensor([5.0, 1.0, 2.0]), torch.zeros(3), total=6)
    found = noisy_share(chosen, torch.tensor([True, False, True, False, True, True]))
    assert found == {"count": pytest.approx(2 / 3), "weight": pytest.approx(7 / 8)}


# the study


@dataclass(frozen=True)
class Picky(Selector):
    """Knows the true labels: half of its choice is wrong, and the wrong ones have three quarters of the weight."""

    name: ClassVar[str] = "picky"
    needs_signals: ClassVar[bool] = False
    classes: int = 4

    def choose(self, signals, labels, k, g):
        wrong = labels != torch.arange(len(labels)) % self.classes  # as `small` numbers them
        rows = torch.cat([wrong.nonzero()[: k // 2, 0], (~wrong).nonzero()[: k - k // 2, 0]])
        weights = torch.tensor([3.0] * (k // 2) + [1.0] * (k - k // 2))
        return equal_weights(rows, torch.zeros(k), len(labels)).with_(
            weights=weights.double() * len(labels) / weights.sum()
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("noise") / "run"
    return label_noise(tiny(), shares=[0.1, 0.5], budgets=[0.2], seeds=2, out=out, **OPTIONS), out


def test_rows_are_complete(study):
    found, _ = study
    cells = [("full+subset", 0.2), ("subset+subset", 0.2)]
    expected = [(None, None, name) for name in ("weak", "full")]
    expected += [(role, budget, name) for role, budget in cells for name in ARMS]
    for share in (0.1, 0.5):
        rows = [row for row in found.rows if row["share"] == share]
        assert [(row["role"], row["budget"], row["name"]) for row in rows] == expected
    for row in found.rows:
        assert row["prior"] == row["share"]  # of 60 images: 6 and 30
        assert len(row["accuracy"]["values"]) == 2
        assert all(0 <= value <= 1 for value in row["accuracy"]["values"])
        assert (row["noisy"] is None) == (row["name"] in ("weak", "full"))
        assert (row["seconds"]["reference"] > 0) == row["name"].startswith("reducible-loss")
        assert (row["seconds"]["augment"] == 0) == (row["name"] == "weak")
        for moment in (row["noisy"] or {}).values():
            for by in ("count", "weight"):
                assert all(0 <= value <= 1 + 1e-12 for value in moment[by]["values"])
    assert found.data == {"name": "tensors", "train": 60, "held_out": 60, "test": 40}


def test_random_holds_what_the_data_hold(study):
    rows = [row for row in study[0].rows if row["name"] == "random" and row["share"] == 0.5]
    for row in rows:
        assert row["noisy"]["first"] == row["noisy"]["last"]  # drawn once
        assert row["noisy"]["last"]["count"]["mean"] == pytest.approx(0.5, abs=0.35)  # 24 draws: five deviations
        assert row["noisy"]["last"]["count"]["values"] == pytest.approx(row["noisy"]["last"]["weight"]["values"])


def test_it_prints_and_is_plain(study):
    found, out = study
    lines = repr(found).splitlines()
    assert len(lines) == 2 + len(found.rows)
    assert lines[-1] == found.verdict["sentence"]
    assert {role: told["cases"] for role, told in found.verdict["roles"].items()} == {
        "full+subset": 2,
        "subset+subset": 2,
    }
    assert "reducible-loss-clean" in lines[-2]
    plain = json.dumps(found.to_dict(), allow_nan=False)
    kept = json.loads((out / "result.json").read_text())
    assert {name: kept[name] for name in ("rows", "config", "data", "verdict")} == json.loads(plain)


def test_choices_that_were_kept_hold_the_shares(study):
    """Counted anew from the files, with the wrong labels made anew."""
    found, out = study
    kept, _ = al.data.split(tiny().train, [0.5], seed=1)
    _, wrong = wrong_labels(kept, 0.5, 1)
    row = next(r for r in found.rows if (r["share"], r["role"], r["name"]) == (0.5, "subset+subset", "max-loss"))
    files = sorted((out / "selections" / "0.5" / "max-loss-0.2-subset+subset" / "seed1").glob("*.json"))
    assert len(files) == row["choices"] >= 3
    for moment, path in (("first", files[0]), ("middle", files[(len(files) - 1) // 2]), ("last", files[-1])):
        indices = json.loads(path.read_text())["indices"]
        share = sum(bool(wrong[i]) for i in indices) / len(indices)
        assert row["noisy"][moment]["count"]["values"][1] == pytest.approx(share)


def test_a_selector_that_knows_the_wrong_ones():
    found = label_noise(tiny(), shares=[0.4], selectors=[Picky()], budgets=[24], holdout=0, seeds=1, **OPTIONS)
    rows = [row for row in found.rows if row["name"] == "picky"]
    assert len(rows) == 2
    for row in rows:
        for moment in row["noisy"].values():
            assert moment["count"]["values"] == [0.5]
            assert moment["weight"]["values"] == [pytest.approx(0.75)]
    assert found.data["train"] == 120
    assert not [row for row in found.rows if row["name"].startswith("reducible-loss")]
    assert [told["confirmed"] for told in found.verdict["roles"].values()] == [None, None]


def test_the_study_repeats_itself():
    options = {"shares": [0.3], "selectors": "max-loss", "role": "subset", "seeds": 1, **OPTIONS}
    first, again = (label_noise(tiny(), **options).rows for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert (one["noisy"], one["accuracy"]) == (other["noisy"], other["accuracy"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 0}, "at least one seed"),
        ({"shares": []}, "one share"),
        ({"shares": [0.1, 2]}, "from 0 to 1"),
        ({"holdout": 1.0}, "less than 1 to hold out"),
        ({"budgets": [0.0]}, "budget"),
        ({"role": "fullsubset"}, "role"),
        ({"selectors": "corset"}, "coreset"),
        ({"weights": "heavy"}, "weight mode"),
        ({"steps": 0}, "steps"),
        ({"network": "mpl"}, "mlp"),
    ],
)
def test_refusals_come_before_any_work(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        label_noise(tiny(), out=tmp_path / "run", **{**OPTIONS, **options})
    assert not (tmp_path / "run").exists()


# the verdict


def rows_of(coreset, loss, prior=0.5, weight=None, accuracy=(0.9, 0.8)):
    """Make the rows of one case of two seeds."""

    def row(name, count, mass, right):
        noisy = {"last": {"count": {"values": count}, "weight": {"values": mass}}}
        plain = {"share": prior, "prior": prior, "role": "subset", "budget": 0.1, "name": name}
        return {**plain, "noisy": noisy, "accuracy": {"values": [right, right]}}

    return [row("coreset", coreset, weight or coreset, accuracy[0]), row("max-loss", loss, loss, accuracy[1])]


@pytest.mark.parametrize(
    ("coreset", "loss", "weight", "confirmed"),
    [
        ([0.6, 0.6], [0.9, 0.9], [0.5, 0.5], True),
        ([0.6, 0.6], [0.9, 0.62], [0.5, 0.5], False),  # not in every seed by a tenth of the prior
        ([0.2, 0.2], [0.9, 0.9], None, False),  # it filters
        ([0.6, 0.6], [0.9, 0.9], [0.1, 0.1], False),  # by weight
        ([0.6, 0.6], [0.9, 0.9], [0.46, 0.46], True),  # not clearly
    ],
)
def test_verdict_of_one_case(coreset, loss, weight, confirmed):
    found = judge(rows_of(coreset, loss, weight=weight))
    assert found["cases"] == 1
    assert found["confirmed"] is confirmed
    assert ("confirmed" in found["sentence"]) is confirmed
    assert found["times_prior"]["coreset"]["count"] == pytest.approx(sum(coreset))
    assert found["more_accurate_than"] == {"max-loss": 1}


def test_verdict_needs_more_than_half_of_the_cases():
    good, bad = rows_of([0.6, 0.6], [0.9, 0.9]), rows_of([0.3, 0.3], [0.3, 0.3], prior=0.3, accuracy=(0.8, 0.8))
    found = judge([*good, *bad])
    assert (found["cases"], found["fewer_than_max_loss"], found["fewer_than_prior"]) == (2, 1, 0)
    assert found["more_accurate_than"] == {"max-loss": 1}
    assert found["confirmed"] is False


def test_max_loss_chooses_the_wrong_ones_and_coreset_does_not():
    """On the digits, once something is learnt."""
    found = label_noise(
        "digits", shares=[0.3], selectors=[MaxLoss(), "coreset"], role="full+subset", network="mlp", steps=80, seeds=1
    )
    last = {row["name"]: row["noisy"]["last"] for row in found.rows if row["noisy"]}
    assert last["max-loss"]["count"]["mean"] > 0.9
    assert last["coreset"]["count"]["mean"] < 0.8
    assert last["coreset"]["weight"]["mean"] == pytest.approx(0.3, abs=0.1)
    assert last["reducible-loss-clean"]["count"]["mean"] < 0.1
