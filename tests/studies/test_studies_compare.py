"""`compare`: what its result holds, that its arms are fair, and what it refuses."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import TensorDataset

import auglean as al
from auglean.data import Splits
from auglean.errors import InputError
from auglean.randomness import derive
from auglean.selection import CCS, Coreset, MaxLoss, Selection, Selector
from auglean.studies import comparing
from auglean.training import Interrupted, Recipe, correct, fit, fitting, transformed

POLICY = "translate1-rotate15"
TINY = {"policy": "rotate15", "steps": 4, "seeds": 1, "network": "mlp", "recipe": Recipe(batch_size=16)}


def small(n=80, classes=4, seed=0, channels=1, size=8):
    g = torch.Generator().manual_seed(seed)
    return al.ImageSet(
        torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=g), torch.arange(n) % classes
    )


def tiny():
    return Splits(small(), small(24, seed=1), small(40, seed=2))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Two seeds on the digits; only the coreset was asked for."""
    out = tmp_path_factory.mktemp("compare") / "run"
    return al.compare(
        "digits", policy=POLICY, network="mlp", selectors=["coreset"], steps=240, seeds=2, eval_every=60, out=out
    )


# what the result holds

NUMBER = (int, float)
SPREAD = {"mean": float, "std": float, "values": [float]}
SHARE = {"mean": float, "low": float, "high": float}
REACH = {"mean": (float, type(None)), "reached": int, "seeds": int, "target": float}
ARM = {
    "name": str,
    "role": (str, type(None)),
    "budget": (float, int, type(None)),
    "count": int,
    "steps": int,
    "images_augmented": int,
    "accuracy": SPREAD,
    "accuracy_transformed": SPREAD,
    "gain_kept_transformed": SHARE,
    "gradient_error": (float, type(None)),
    "seconds": {"select": float, "augment": float, "train": float, "total": float},
    "speedup": float,
    "speedup_model": (dict, type(None)),
    "validation": {"clean": float, "transformed": float},
    **{f"seconds_to_{end}{suffix}": REACH for end in ("weak", "full99") for suffix in ("", "_transformed")},
}
RESULT = {
    "command": str,
    "version": str,
    "config": dict,
    "environment": {"auglean": str, "torch": str, "python": str, "processor": str, "cores": int, "device": str},
    "data": {"name": str, "fingerprint": str, "train": int, "validation": int, "test": int, "skipped": int},
    "headline": str,
    "arms": [ARM],
    "answer": {"sentence": str, "measure": str, "best": str, "rival": str, "difference": SHARE},
}


def check(found, expected, where="result"):
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for name, part in expected.items():
            assert name in found, f"{where}.{name}"
            check(found[name], part, f"{where}.{name}")
    elif isinstance(expected, list):
        assert found, where
        for i, item in enumerate(found):
            check(item, expected[0], f"{where}[{i}]")
    else:
        assert isinstance(found, expected), f"{where} is {found!r}"


def test_the_result_has_the_fields_of_the_design(digits):
    check(json.loads(json.dumps(digits.result, allow_nan=False)), RESULT)
    assert digits.result["command"] == "compare"
    assert digits.result["version"] == al.__version__
    assert (digits.result["data"]["train"], digits.result["data"]["test"]) == (1000, 500)


def test_the_arms_are_both_ends_both_randoms_and_those_asked_for(digits):
    assert [arm["name"] for arm in digits.arms] == ["weak", "full", "random", "random-each-epoch", "coreset"]
    assert [arm["count"] for arm in digits.arms] == [0, 1000, 100, 100, 100]
    assert [arm["budget"] for arm in digits.arms] == [None, None, 0.1, 0.1, 0.1]
    assert [arm["role"] for arm in digits.arms] == [None, None, *["full+subset"] * 3]
    assert {arm["steps"] for arm in digits.arms} == {240}
    assert all(len(arm["accuracy"]["values"]) == len(arm["accuracy_transformed"]["values"]) == 2 for arm in digits.arms)
    assert digits["weak"]["images_augmented"] == 0
    # 240 batches of 64: half of them copies, or a hundred in eleven hundred
    assert digits["full"]["images_augmented"] == pytest.approx(240 * 64 / 2, rel=0.02)
    for arm in digits.arms[2:]:
        assert arm["images_augmented"] == pytest.approx(240 * 64 / 11, rel=0.1)


def test_augmenting_everything_beats_augmenting_nothing_on_transformed_images(digits):
    weak, full = digits["weak"]["accuracy_transformed"], digits["full"]["accuracy_transformed"]
    assert min(full["values"]) > max(weak["values"]) + 0.15
    assert digits.result["headline"] == "transformed"
    share = digits["full"]["gain_kept_transformed"]
    assert (share["mean"], share["low"], share["high"]) == (1.0, 1.0, 1.0)
    assert digits["weak"]["gain_kept_transformed"]["mean"] == 0.0
    assert 0 < digits["coreset"]["gain_kept_transformed"]["mean"] < 1


def test_seconds_are_charged_and_targets_are_those_of_the_ends(digits):
    for arm in digits.arms:
        seconds = arm["seconds"]
        assert seconds["total"] == pytest.approx(seconds["select"] + seconds["augment"] + seconds["train"])
        assert (seconds["augment"] > 0) == (arm["name"] != "weak")
        assert arm["speedup"] == pytest.approx(digits["full"]["seconds"]["total"] / seconds["total"])
        for suffix, measure in (("", "clean"), ("_transformed", "transformed")):
            assert arm[f"seconds_to_weak{suffix}"]["target"] == pytest.approx(digits["weak"]["validation"][measure])
            full = digits["full"]["validation"][measure]
            assert arm[f"seconds_to_full99{suffix}"]["target"] == pytest.approx(0.99 * full)
    assert digits["coreset"]["seconds"]["select"] > digits["random"]["seconds"]["select"]
    assert digits["full"]["seconds_to_full99_transformed"]["reached"] >= 1
    assert digits["weak"]["seconds_to_full99_transformed"]["mean"] is None


def test_gradient_errors_are_told_of_random_too(digits):
    assert digits["weak"]["gradient_error"] is None
    assert all(digits[name]["gradient_error"] > 0 for name in ("random", "random-each-epoch", "coreset"))
    assert digits["coreset"]["gradient_error"] < digits["random"]["gradient_error"]


def test_kappa_is_told_at_each_choice_of_each_seed(digits):
    """Fourteen epochs of 1,100 images; choices at 0, 5 and 10, at two of which an older one is measured too."""
    assert (digits["weak"]["kappa"], digits["full"]["kappa"]) == ([[], []], [[], []])
    for run in digits["coreset"]["kappa"]:
        assert [(row["epoch"], row["reselected"]) for row in run] == [
            (0, True), (5, False), (5, True), (10, False), (10, True)
        ]  # fmt: skip
        assert all(row["kappa"] > 0 and row["step"] == math.ceil((row["epoch"] * 1100 - 63) / 64) for row in run)
        assert run[2]["kappa"] < run[1]["kappa"]
    for run in digits["random"]["kappa"]:
        assert [(row["epoch"], row["reselected"]) for row in run] == [(0, True), (5, False), (10, False)]
    for run in digits["random-each-epoch"]["kappa"]:
        assert [(row["epoch"], row["reselected"]) for row in run] == [(0, True), (5, True), (10, True)]


def test_signals_from_the_steps_and_a_threshold_reach_every_run(tmp_path):
    options = {**TINY, "steps": 16, "seeds": 2, "every": 9, "signals": "steps", "reselect_above": 1e-6}
    found = al.compare(tiny(), selectors="max-loss", out=tmp_path / "run", **options)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["signals"], config["reselect_above"]) == ("steps", 1e-6)
    for run in found["max-loss"]["kappa"]:  # three epochs of 88 images
        assert [(row["epoch"], row["reselected"]) for row in run] == [
            (0, True), (1, False), (1, True), (2, False), (2, True)
        ]  # fmt: skip
        assert [row["staleness"]["most"] > 0 for row in run] == [False, True, True, True, True]
    assert [row["reselected"] for row in found["random"]["kappa"][0]] == [True, False, False]
    for epoch in (0, 1, 2):
        path = tmp_path / "run" / "selections" / "max-loss-0.1-full+subset" / "seed1" / f"epoch{epoch:04d}.json"
        assert Selection.load(path).how["staleness"]["never"] == 0
    shared = {name: options[name] for name in ("steps", "every", "signals", "reselect_above", "recipe", "policy")}
    alone = fit("mlp", tiny().train, selector="max-loss", budget=0.1, seed=1, **shared)
    assert [dict(row) for row in alone.kappa] == found["max-loss"]["kappa"][1]


def test_selectors_and_weights_that_ask_what_the_policy_does(tmp_path):
    options = {**TINY, "steps": 16, "every": 2, "weights": "neyman", "policy": "translate1"}
    found = al.compare(tiny(), selectors="variance,coreset", out=tmp_path / "run", **options)
    folder = tmp_path / "run" / "selections"
    for name in ("variance", "coreset", "random"):
        for epoch in (0, 2):
            chosen = Selection.load(folder / f"{name}-0.1-full+subset" / "seed0" / f"epoch{epoch:04d}.json")
            assert float(chosen.loss_sd.min()) > 0
    # at equal budgets, copies and steps
    assert found["variance"]["images_augmented"] == pytest.approx(found["coreset"]["images_augmented"], abs=16)
    # no other deviation than that under the policy: none of which does nothing
    alone = fit("mlp", tiny().train, selector="variance", budget=0.1, steps=2, policy="translate0")
    assert alone.selection.gains.tolist() == [0] * len(alone.selection)


def test_an_arm_is_what_fit_gives_for_its_seed(digits):
    """So arms share seeds, initial weights, recipe and steps; worked out for one of them by hand."""
    sets = al.splits("digits")
    moved = transformed(sets.test, al.policies.parse(POLICY), seed=derive(0, "test"))
    for name, options in (("weak", {}), ("coreset", {"policy": POLICY, "selector": "coreset", "budget": 0.1})):
        model = fit("mlp", sets.train, steps=240, seed=1, **options).model
        assert float(correct(model, sets.test).double().mean()) == digits[name]["accuracy"]["values"][1]
        assert float(correct(model, moved).double().mean()) == digits[name]["accuracy_transformed"]["values"][1]


def test_histories_are_there_for_each_seed(digits):
    assert set(digits.histories) >= {"weak", "full"}
    for seeds in digits.histories.values():
        assert [[row["step"] for row in rows] for rows in seeds] == [[60, 120, 180, 240]] * 2


def test_the_answer_and_the_table_can_be_read(digits):
    assert digits.answer.startswith("Augmenting 10% of the images, chosen by coreset, kept ")
    assert "random" in digits.answer
    table = repr(digits).splitlines()
    assert len(table) == 1 + 5 + 1
    assert f"{digits['full']['accuracy']['mean']:.4f}" in table[2]
    with pytest.raises(InputError, match="did you mean 'coreset'"):
        digits["corset"]


def test_the_run_folder(digits):
    out = digits.folder
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(digits.result))
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config == digits.result["config"]
    assert (config["policy"], config["network"], config["seeds"], config["steps"]) == (POLICY, "mlp", 2, 240)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines if "kappa" not in row]
    assert Counter(row["arm"] for row in rows) == {arm["name"]: 8 for arm in digits.arms}
    assert [row["step"] for row in rows[:8]] == [60, 120, 180, 240] * 2
    told = [row for row in lines if "kappa" in row and row["arm"] == "coreset"]
    assert {row["seed"] for row in told} == {0, 1}
    assert told[0] == {"job": "coreset-0.1-full+subset/seed0", "arm": "coreset", "budget": 0.1, "role": "full+subset",
                       "seed": 0, **digits["coreset"]["kappa"][0][0]}  # fmt: skip
    chosen = Selection.load(out / "selections" / "coreset-0.1-full+subset" / "seed1" / "epoch0005.json")
    assert len(chosen) == 100
    assert chosen.how["selector"] == "coreset"
    first, later = (
        Selection.load(out / "selections" / "random-0.1-full+subset" / "seed0" / f"epoch{epoch:04d}.json").indices
        for epoch in (0, 5)
    )
    assert torch.equal(first, later)  # drawn once
    assert not list((out / "checkpoint").glob("*.safetensors"))


# the test images


def test_the_test_images_are_used_once_per_run_and_measure_at_its_end(monkeypatch):
    sets, used = tiny(), []
    trained = []

    def watch(model, data, **options):
        used.append((len(data), len(trained)))
        return correct(model, data, **options)

    def train(*args, **options):
        result = fit(*args, **options)
        trained.append(result)
        return result

    monkeypatch.setattr(comparing, "correct", watch)
    monkeypatch.setattr(fitting, "correct", watch)
    monkeypatch.setattr(comparing, "fit", train)
    al.compare(sets, **{**TINY, "eval_every": 2, "seeds": 2})
    runs = 2 * 6
    on_test = [done for size, done in used if size == 40]
    assert on_test == [run for run in range(1, runs + 1) for _ in range(2)]  # after each run, clean and transformed
    assert len(used) - len(on_test) == runs * 2 * 2  # the curves: two evaluations of two validation sets


# arms


def arms(**options):
    return al.compare(tiny(), **{**TINY, **options}).arms


def test_each_role_and_budget_has_both_randoms():
    found = arms(role=["subset", "random+subset"], budgets=[0.5, 8], selectors=["max-loss"])
    expected = [
        (name, role, budget)
        for role in ("subset", "random+subset")
        for budget in (0.5, 8)
        for name in ("random", "random-each-epoch", "max-loss")
    ]
    assert [(arm["name"], arm["role"], arm["budget"]) for arm in found[2:]] == expected
    assert [arm["count"] for arm in found[2:]] == [40, 40, 40, 8, 8, 8] * 2
    assert [arm["images_augmented"] for arm in found[2:8]] == [0] * 6
    assert all(0 < arm["images_augmented"] < 64 for arm in found[8:11])
    assert [arm["images_augmented"] for arm in found[11:]] == [32] * 3  # four whole epochs of 8 + 8


@pytest.mark.parametrize("weights", ["sampled", "raw", "mean1", "none"])
def test_weight_modes(weights):
    result = al.compare(tiny(), weights=weights, selectors="coreset", **TINY).result
    assert result["config"]["weights"] == weights


def test_modes_and_roles_change_the_training():
    def accuracy(**options):
        history = al.compare(tiny(), selectors="coreset", **{**TINY, "steps": 12, **options}).histories
        return next(rows[0][-1]["loss"] for key, rows in history.items() if key.startswith("coreset"))

    losses = [accuracy(weights=mode) for mode in ("sampled", "raw", "none")]
    losses += [accuracy(role=role) for role in ("subset", "subset+subset", "random+subset")]
    assert len(set(losses)) == 6


def test_a_budget_of_one_and_of_all_are_two():
    found = arms(budgets=[1, 1.0], selectors=[])
    assert [arm["count"] for arm in found[2:]] == [1, 1, 80, 80]


def test_what_is_named_twice_is_run_once():
    found = arms(selectors=["max-loss", MaxLoss(), "random"], budgets=[0.1, 0.1], role=["subset", "subset"])
    assert [arm["name"] for arm in found] == ["weak", "full", "random", "random-each-epoch", "max-loss"]


def test_selectors_that_differ_in_an_option_have_rows_of_their_own():
    found = arms(selectors=[Coreset(), Coreset(allocation="equal"), MaxLoss(draw="inverse"), CCS(beta=0.3)])
    names = [arm["name"] for arm in found[2:]]
    assert names[2:] == ["coreset", "coreset(allocation=equal)", "max-loss-inverse", "ccs(beta=0.3)"]


@dataclass(frozen=True)
class First(Selector):
    """The first k examples, from an offset."""

    offset: int = 0
    name: ClassVar[str] = "first"
    needs_signals: ClassVar[bool] = False

    def choose(self, signals, labels, k, g):
        rows = torch.arange(k) + self.offset
        return Selection(rows, torch.ones(k).double(), torch.zeros(k).double(), total=len(labels))


def test_a_selector_of_ones_own(tmp_path):
    out = tmp_path / "run"
    found = al.compare(tiny(), selectors=[First(), First(offset=3)], out=out, **TINY)
    assert [arm["name"] for arm in found.arms[4:]] == ["first", "first(offset=3)"]
    path = out / "selections" / "first(offset=3)-0.1-full+subset" / "seed0" / "epoch0000.json"
    assert Selection.load(path).indices.tolist() == list(range(3, 11))


def test_networks_of_ones_own():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    before = module[1].weight.clone()
    made = []

    def factory():
        made.append(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
        return made[-1]

    state = torch.get_rng_state()
    for network in (module, factory):
        result = al.compare(tiny(), **{**TINY, "network": network, "seeds": 2}).result
        assert all(np.isfinite(arm["accuracy"]["mean"]) for arm in result["arms"])
    assert torch.equal(module[1].weight, before)  # copies were trained
    assert torch.equal(torch.get_rng_state(), state)
    assert result["config"]["network"] == "factory"


def test_a_factory_starts_from_the_seed():
    starts = []

    def factory():
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        starts.append(tuple(model[1].bias.tolist()))
        return model

    al.compare(tiny(), **{**TINY, "network": factory, "seeds": 2})
    counts = Counter(starts)
    assert sorted(counts.values()) == [6, 7]  # six arms of each seed, and one to look at before


# data


def test_tensors_and_datasets_are_taken_and_what_is_missing_is_cut():
    data = al.compare(small(100), **TINY).result["data"]
    assert (data["train"], data["validation"], data["test"]) == (70, 10, 20)
    images = small(100).images.float() / 255
    pairs = TensorDataset(images, small(100).labels)
    assert al.compare(pairs, **TINY).result["data"]["fingerprint"] == data["fingerprint"]
    data = al.compare(pairs, small(30, seed=3), **TINY).result["data"]
    assert (data["train"], data["validation"], data["test"]) == (90, 10, 30)
    data = al.compare(small(100), small(30, seed=3), validation=small(20, seed=4), **TINY).result["data"]
    assert (data["train"], data["validation"], data["test"]) == (100, 20, 30)


def test_sets_that_are_given_beside_splits_take_their_place():
    data = al.compare(tiny(), small(12, seed=5), **TINY).result["data"]
    assert (data["train"], data["validation"], data["test"]) == (80, 24, 12)


def test_default_policies_suit_the_images():
    grey, colour = al.compare(tiny(), **{**TINY, "policy": None}), None
    assert (grey.result["config"]["policy"], grey.result["config"]["weak"]) == ("translate1-rotate15", "none")
    sets = Splits(*(small(n, seed=n, channels=3) for n in (80, 24, 40)))
    colour = al.compare(sets, **{**TINY, "policy": None})
    assert (colour.result["config"]["policy"], colour.result["config"]["weak"]) == ("rand-m9-n2", "crop1-flip")


# what cannot be used, before anything is written

NAMED = al.ImageSet(small().images, small().labels, ("ant", "bee", "cat", "dog"))
SWAPPED = al.ImageSet(small().images, small().labels, ("bee", "ant", "cat", "dog"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"budgets": []}, "No budget"),
        ({"budgets": [0.0]}, "budget is 0.0"),
        ({"budgets": [-0.1]}, "budget is -0.1"),
        ({"budgets": [0.1, 1.5]}, "over 1 as a fraction"),
        ({"budgets": [81]}, "over the 80 examples"),
        ({"policy": "rotat"}, "did you mean 'rotate'"),
        ({"policy": "none"}, "policy to judge is 'none'"),
        ({"weak": "fip"}, "did you mean 'flip'"),
        ({"network": "resnet21"}, "did you mean 'resnet"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))}, "gives 5 outputs but the data have 4 classes"),
        ({"network": lambda: 3}, "gave 3; let it give an nn.Module"),
        ({"selectors": "corset"}, "did you mean 'coreset'"),
        ({"role": "ful"}, "Unknown role 'ful'"),
        ({"weights": "heavy"}, "Unknown weight mode"),
        ({"steps": 0}, "steps is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"every": 0}, "every 0 epochs"),
        ({"start": -1}, "from epoch -1"),
        ({"reselect_above": 0}, "reselect_above is 0; give a relative error above 0"),
        ({"signals": "passes"}, "did you mean 'pass'"),
        ({"signals": "steps", "role": ["full+subset", "subset"]}, "the role 'subset' leaves out"),
        ({"eval_every": 0}, "eval_every is 0"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"policy": al.as_policy(lambda x: x[:, :4])}, "shape"),
        ({"resume": True}, "no run to resume"),
        ({"test": small(20, channels=3)}, "The test images are"),
        ({"test": small(20, classes=5)}, "of 5 classes"),
        ({"validation": small(20, size=9)}, "The validation images are"),
        ({"data": NAMED, "test": SWAPPED}, "Class 0 is 'ant' in the training images but 'bee' in the test images"),
        ({"data": al.ImageSet(small().images, small().labels, "abcde")}, "'e'"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(tmp_path, options, word):
    out = tmp_path / "run"
    data = options.get("data", tiny())
    options = {**TINY, "out": out, **{k: v for k, v in options.items() if k != "data"}}
    with pytest.raises(InputError, match=word) as caught:
        al.compare(data, **options)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_resuming_needs_a_run():
    with pytest.raises(InputError, match="give that as out"):
        al.compare(tiny(), resume=True, **TINY)


def test_numbers_of_numpy_are_numbers(tmp_path):
    al.compare(tiny(), out=tmp_path / "run", **{**TINY, "budgets": np.array([0.1, 0.2])})
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["budgets"] == [0.1, 0.2]


def test_a_diverging_run_keeps_its_folder(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="step"):
        al.compare(tiny(), out=out, **{**TINY, "steps": 40, "recipe": Recipe(batch_size=16, lr=1e30)})
    assert (out / "config.yaml").exists()
    assert not (out / "result.json").exists()


def test_a_narrator_can_stop_it(tmp_path):
    class Impatient(al.studies.Narrator):
        def progress(self, step):
            self.stopping = self._done == 3 and step == 2

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        al.compare(tiny(), out=out, narrator=Impatient(), **TINY)
    assert len(list((out / "checkpoint").glob("*.json"))) == 3
    resumed = al.compare(tiny(), out=out, resume=True, **TINY).result
    whole = al.compare(tiny(), **TINY).result
    assert [arm["accuracy"] for arm in resumed["arms"]] == [arm["accuracy"] for arm in whole["arms"]]
