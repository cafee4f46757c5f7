"""`budget_curve` from images to result: complete, resumable to the same numbers, honest about what it stands on."""

import json
from dataclasses import replace

import pytest
import torch

import auglean as al
from auglean.data import splits
from auglean.errors import InputError
from auglean.selection import KDPP, MaxLoss
from auglean.studies import Narrator, budget_curve
from auglean.training import Interrupted, load_network

QUICK = {"network": "mlp", "steps": 20, "budgets": [5, 30, 100], "rounds": 2, "selectors": "max-loss-proportional"}


def plain(result):
    """Leave out what differs from run to run: seconds, and the machine."""
    if isinstance(result, dict):
        return {key: plain(value) for key, value in result.items() if key not in ("seconds", "environment", "fits")}
    return [plain(item) for item in result] if isinstance(result, list) else result


@pytest.fixture(scope="module")
def found():
    return budget_curve("digits", policies="paper", score="loss", sweep=[2, 10], noise=0.1, C=2.0, **QUICK)


def test_the_result_has_all_its_parts(found):
    result = json.loads(json.dumps(found.result, allow_nan=False))
    assert result["command"] == "curve"
    told = result["data"]
    assert (told["name"], told["classes"], told["transform"]) == ("digits", ["3", "8"], "translate")
    assert (told["train"], told["copies"], told["noise"], told["wrong_labels"]) == (100, 4, 0.1, 10)
    assert (told["validation"], told["test"]) == (len(found.task.validation), len(found.task.test))
    about = result["features"]
    assert about == {
        "network": "mlp", "retrained": False, "steps": 20, "trained_on": 900, "classes": 10, "disjoint": True,
        "dimension": 128, "seconds": about["seconds"],
    }  # fmt: skip
    assert {"clean", "floor", "ceiling", "ceiling_downweighted", "support_vectors"} == result["references"].keys()
    assert len(result["arms"]) == 12
    for arm in result["arms"]:
        assert [point["budget"] for point in arm["points"]] == [5, 30, 100]
        assert len(arm["points"][0]["accuracy"]["values"]) == arm["rounds"] == len(arm["area"]["values"])
        assert arm["points"][2]["noisy_share"] == pytest.approx(0.1)
        end = "ceiling_downweighted" if arm["downweight"] else "ceiling"
        assert arm["points"][2]["accuracy"]["mean"] == result["references"][end]["accuracy"]["mean"]
    assert [arm["rounds"] for arm in result["arms"]] == [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    for name in ("influence", "loss", "margin"):
        assert len(result["scores"][name]["before"]) == len(result["scores"][name]["after"]) == 100
        assert -1 <= result["scores"][name]["spearman"] <= 1
        before, sheet = result["scores"][name]["before"], result["sheets"][name]
        assert before[sheet["highest"][0]] == max(before)
        assert before[sheet["lowest"][0]] == min(before)
    assert [row["k"] for row in result["clusters"]] == [2, 10]
    assert result["clusters"][0]["inertia"] > result["clusters"][1]["inertia"]
    assert 0 < result["references"]["support_vectors"]["budget"] < 100
    assert result["answer"]["best"] in [arm["name"] for arm in result["arms"]]


def test_it_prints_a_table(found):
    lines = repr(found).splitlines()
    assert lines[0] == "BudgetCurve digits 3 v 8, translate: 100 sources, 4 copies each"
    assert len(lines) == 3 + 12 + 1
    assert lines[-1] == found.answer == found.result["answer"]["sentence"]


def test_images_of_the_task_were_not_trained_on(found):
    rest = {image.numpy().tobytes() for image in found.task.rest.images}
    own = {image.numpy().tobytes() for image in found.task.train.images}
    digits = al.load("digits").images
    assert len({image.numpy().tobytes() for image in digits}) == len(digits) == 1000
    assert not rest & own
    assert len(found.task.rest) == 900


def test_the_same_seed_gives_the_same_and_nothing_global_is_drawn(found):
    state = torch.get_rng_state()
    again = budget_curve("digits", policies="paper", score="loss", sweep=[2, 10], noise=0.1, C=2.0, **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert plain(again.result) == plain(found.result)
    other = budget_curve("digits", **QUICK, seed=1)
    assert other.result["scores"] != found.result["scores"]


class Stops(Narrator):
    """Asks to stop after so many jobs."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def stop(self):
        return self._done >= self.after


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, after):
    options = {**QUICK, "policies": "refined", "origin": {"data": "digits"}}
    whole = budget_curve("digits", out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        budget_curve("digits", out=tmp_path / "cut", narrator=Stops(after), **options)
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = budget_curve("digits", out=tmp_path / "cut", resume=True, **options)
    assert plain(resumed.result) == plain(whole.result)
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    assert sorted(rows[0]) == sorted(rows[1])
    assert len(rows[0]) == 2 * 5 * 3
    assert json.loads((tmp_path / "cut" / "result.json").read_text()) == json.loads(json.dumps(resumed.result))
    kept = al.Selection.load(tmp_path / "cut" / "selections" / "max-loss-proportional" / "round1-100.json")
    assert sorted(kept.indices.tolist()) == list(range(100))


def test_a_kept_network_can_be_given(tmp_path):
    first = budget_curve("digits", out=tmp_path / "run", **QUICK)
    path = tmp_path / "run" / "model.safetensors"
    for model in (path, load_network(path)):
        again = budget_curve("digits", model=model, **QUICK)
        assert plain(again.result["arms"]) == plain(first.result["arms"])
        assert again.result["features"]["disjoint"] is None
    whole = budget_curve("digits", model=path, **{**QUICK, "budgets": [5]}, train=200)
    assert whole.result["features"]["trained_on"] is None


def test_several_classes(found):
    result = budget_curve("digits", classes=[1, 3, 7], train=60, **{**QUICK, "budgets": [5, 0.5]}).result
    assert (result["data"]["classes"], result["data"]["train"]) == (["1", "3", "7"], 60)
    assert [point["budget"] for point in result["arms"][1]["points"]] == [5, 30]


def test_a_retrained_network_has_equal_steps_and_is_trained_on_the_chosen():
    options = {**QUICK, "budgets": [5, 20], "steps": 5, "rounds": 2, "train": 20}
    result = budget_curve(
        "digits", retrain=True, selectors="max-loss", **{k: options[k] for k in options if k != "selectors"}
    ).result
    assert result["features"]["disjoint"] is False
    assert (result["features"]["retrained"], result["features"]["steps"]) == (True, 5)
    assert [arm["rounds"] for arm in result["arms"]] == [2, 2]  # the network is another in each round
    for arm in result["arms"]:
        assert arm["points"][1]["accuracy"] == result["references"]["ceiling"]["accuracy"]
    assert len(result["references"]["floor"]["accuracy"]["values"]) == 2


def test_arms_with_other_selectors():
    options = {**QUICK, "selectors": [KDPP(), MaxLoss("proportional"), "k-center"], "clusters": [4, "budget"]}
    arms = {arm["name"]: arm for arm in budget_curve("digits", **options).arms}
    assert [point["budget"] for point in arms["k-dpp"]["points"]] == [5, 30, 100]
    assert arms["k-dpp"]["points"][2]["accuracy"]["mean"] == arms["random"]["points"][2]["accuracy"]["mean"]
    assert [arms[name]["clusters"] for name in ("max-loss-proportional-clusters-4", "random-clusters-budget")] == [
        4,
        "budget",
    ]
    assert [point["budget"] for point in arms["k-center"]["points"]] == [5, 30, 100]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"budgets": [101]}, "101 is over the 100 examples"),
        ({"budgets": [1.5]}, "over 1 as a fraction"),
        ({"budgets": []}, "No budget was given but 0"),
        ({"C": 0.0}, "C, the inverse strength of the penalty, is 0.0"),
        ({"C": float("nan")}, "C, the inverse strength of the penalty, is nan"),
        ({"rounds": 0}, "0 rounds"),
        ({"validation": 0}, "0 validation images"),
        ({"sweep": [1]}, "numbers from 2 to 100"),
        ({"steps": 0}, "steps is 0"),
        ({"classes": ["3"]}, "two or more different"),
        ({"noise": -0.1}, "share of wrong labels is -0.1"),
        ({"selectors": "max-los"}, "Unknown selector"),
        ({"network": "cn"}, "Unknown network"),
        ({"model": "nowhere.safetensors"}, "holds no network"),
        ({"model": "nowhere.safetensors", "retrain": True}, "give one of the two"),
        ({"train": 250}, "250 training images of 200"),
        ({"resume": True, "out": None}, "no run to resume"),
        ({"model": torch.nn.Linear(3, 2)}, "cannot take images"),
        ({"score": "loss"}, "for the policies 'paper'"),
        (
            {"classes": [1, 3, 7], "policies": "paper", "score": "group-influence"},
            "a head of two classes, but the task has 3",
        ),
    ],
)
def test_bad_input_is_a_sentence_and_writes_nothing(tmp_path, options, told):
    with pytest.raises(InputError, match=told) as refusal:
        budget_curve("digits", **{"out": tmp_path / "run", **QUICK, **options})
    assert str(refusal.value).count(". ") <= 1
    assert not (tmp_path / "run").exists()


def test_a_task_that_leaves_no_image_needs_a_network(tmp_path):
    two = splits("digits")
    kept = two.train.labels < 2
    labels = torch.tensor([0, 1])
    small = replace(two, train=replace(two.train.subset(kept), class_names=two.train.class_names))
    n = int(kept.sum())
    with pytest.raises(InputError, match="in the task none are left"):
        budget_curve(small, classes=labels.tolist(), train=n, **QUICK)
