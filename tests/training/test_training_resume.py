"""A run that was stopped, and went on, ends exactly as the run that was not stopped."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import auglean as al
from auglean.errors import InputError
from auglean.files import read_tensors, write_tensors
from auglean.training import Hooks, Interrupted, Recipe, fit

STEPS = 14


class Net(nn.Module):
    """Dropout draws from torch's generator while it trains; batch norm has state beside its weights."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.hidden, self.norm, self.last = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(functional.dropout(self.norm(self.hidden(x.flatten(1))), 0.3, self.training))


def images(n=40):
    g = torch.Generator().manual_seed(1)
    return al.ImageSet(torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=g), torch.arange(n) % 4)


def run(path=None, stops=(), **options):
    """Train, stopping at the given steps and going on each time; give the result and all that was told."""
    rows, chosen, measured, resumed, stops = {}, {}, {}, [], list(stops)
    while True:
        stop_at = stops.pop(0) if stops else None
        steps = []
        hooks = Hooks(
            row=lambda row: rows.update({row["step"]: row}),
            selected=lambda epoch, s: chosen.update({epoch: (s.indices.tolist(), s.weights.tolist())}),
            measured=lambda row: measured.update({(row["step"], row["epoch"], row["reselected"]): row}),
            progress=steps.append,
            stop=lambda at=stop_at, steps=steps: at is not None and (resumed[-1:] or [0])[0] + len(steps) + 1 >= at,
            resumed=resumed.append,
        )
        options = {"policy": "rotate30", "weak": "flip", "recipe": Recipe(batch_size=16, lr=0.1), **options}
        try:
            result = fit(
                Net(), images(), steps=STEPS, validation=images(), hooks=hooks, checkpoint=path, resume=True, **options
            )
        except Interrupted:
            assert stop_at is not None
            continue
        assert not stops
        assert tuple(measured.values()) == result.kappa or resumed == [STEPS]
        return result, rows, chosen, resumed


def plain(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def check_same(options, stops):
    whole, rows, chosen, _ = run(**options)
    with TemporaryDirectory() as folder:
        parts, rows_told, chosen_told, resumed = run(Path(folder) / "state", stops, **options)
    assert resumed == list(stops)
    for (name, value), other in zip(whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert plain(whole.history) == plain(parts.history)
    assert plain(rows.values()) == plain(rows_told.values())
    assert chosen == chosen_told
    assert whole.gradient_errors == parts.gradient_errors
    assert whole.kappa == parts.kappa
    assert (whole.steps, whole.images_augmented) == (parts.steps, parts.images_augmented)
    seconds = parts.seconds
    assert seconds["total"] == pytest.approx(seconds["select"] + seconds["augment"] + seconds["train"])
    return chosen


# An epoch of 40 + 8 images is three batches of 16: step 3 is a border. 40 + 9 images straddle it.
@pytest.mark.parametrize(("budget", "stops"), [(8, [3]), (8, [2, 7, 11]), (9, [4, 5]), (9, [13])])
@pytest.mark.parametrize("selector", ["random", "random-each-epoch", "max-loss", "coreset"])
def test_each_selector(selector, budget, stops):
    chosen = check_same({"selector": selector, "budget": budget, "every": 2}, stops)
    assert list(chosen) == ([0, 1, 2, 3, 4] if selector == "random-each-epoch" else [0, 2, 4])


@pytest.mark.parametrize("stops", [[2], [3], [1, 4, 9]])
@pytest.mark.parametrize("threshold", [None, 0.5, 3.0])
@pytest.mark.parametrize("selector", ["max-loss", "coreset-last-layer"])
def test_what_the_steps_said_is_kept(selector, threshold, stops):
    """Choices after a stop rest on steps before it."""
    options = {"selector": selector, "budget": 9, "every": 2, "signals": "steps", "reselect_above": threshold}
    chosen = check_same(options, stops)
    asked = check_same({**options, "signals": "pass"}, stops)
    assert chosen[0] == asked[0]
    assert chosen[2] != asked[2]


@settings(max_examples=12, deadline=None)
@given(
    stops=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=4).map(sorted),
    selector=st.sampled_from([None, "random-each-epoch", "max-loss-proportional", "coreset-last-layer"]),
    role=st.sampled_from(al.training.ROLES),
    weights=st.sampled_from(["sampled", "raw", "mean1", "none"]),
    every=st.integers(1, 3),
    start=st.integers(0, 3),
    eval_every=st.integers(1, STEPS),
    threshold=st.sampled_from([None, 0.3, 1.0]),
    batch=st.sampled_from([7, 16, 64]),
)
@example(
    stops=[1, 2],
    selector="coreset",
    role="subset",
    weights="sampled",
    every=1,
    start=1,
    eval_every=3,
    threshold=0.1,
    batch=64,
)  # several epochs in a batch
def test_any_run_stopped_anywhere(stops, selector, role, weights, every, start, eval_every, threshold, batch):
    budget = None if selector is None else 0.25
    options = {"selector": selector, "budget": budget, "role": role, "weights": weights, "every": every}
    options |= {"reselect_above": threshold, "signals": "steps" if role == "full+subset" else "pass"}
    check_same({**options, "start": start, "eval_every": eval_every, "recipe": Recipe(batch_size=batch)}, stops)


def test_a_state_holds_numbers_only_and_is_written_whole(tmp_path):
    path = tmp_path / "deep" / "state"
    with pytest.raises(Interrupted, match=f"stopped after step 5 of {STEPS}"):
        fit(Net(), images(), steps=STEPS, checkpoint=path, hooks=Hooks(stop=iter([0, 0, 0, 0, 1]).__next__))
    tensors, state = read_tensors(path)
    assert state["stand"]["step"] == 5
    assert {"model/hidden.weight", "model/norm.running_mean", "optimizer/0/momentum_buffer"} <= set(tensors)
    assert [item.name for item in path.parent.iterdir()] == ["state"]


def test_a_finished_run_is_given_back(tmp_path):
    first, *_ = run(tmp_path / "state", selector="max-loss", budget=8)
    again, rows, _, resumed = run(tmp_path / "state", selector="max-loss", budget=8)
    assert resumed == [STEPS]
    assert rows == {}
    assert torch.equal(first.model.last.weight, again.model.last.weight)
    assert first.history == again.history
    assert dict(first.seconds) == dict(again.seconds)


def test_without_resume_a_state_is_overwritten(tmp_path):
    path = tmp_path / "state"
    run(path)
    resumed = []
    fit(Net(), images(), steps=4, checkpoint=path, hooks=Hooks(resumed=resumed.append))
    assert resumed == []
    assert read_tensors(path)[1]["stand"]["step"] == 4


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 30}, "steps 20, not 30"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"policy": "rotate10"}, "policy 'rotate30', not 'rotate10'"),
        ({"weak": "flip"}, "weak 'none'"),
        ({"selector": al.Coreset(allocation="equal")}, "selector"),
        ({"budget": 9}, "budget 8, not 9"),
        ({"role": "subset"}, "role"),
        ({"weights": "raw"}, "weights 'sampled', not 'raw'"),
        ({"every": 2}, "every 5, not 2"),
        ({"start": 1}, "start"),
        ({"reselect_above": 0.5}, "reselect_above None, not 0.5"),
        ({"signals": "steps"}, "signals 'pass', not 'steps'"),
        ({"recipe": Recipe(batch_size=16, lr=0.2)}, "recipe"),
        ({"eval_every": 7}, "eval_every"),
        ({"data": images(44)}, "data"),
    ],
)
def test_other_options_or_data_are_refused(tmp_path, change, word):
    options = {"data": images(), "policy": "rotate30", "selector": "coreset", "budget": 8, "steps": 20}
    options |= {"recipe": Recipe(batch_size=16), "checkpoint": tmp_path / "state"}
    with pytest.raises(Interrupted):
        fit(Net(), hooks=Hooks(stop=lambda: True), **options)
    model = Net()
    with pytest.raises(InputError, match=word) as caught:
        fit(model, resume=True, **{**options, **change})
    assert str(caught.value).count("\n") == 0
    assert torch.equal(model.last.weight, Net().last.weight)
    fit(Net(), resume=True, **options)


def test_a_state_of_before_signals_could_come_from_the_steps_is_gone_on_from(tmp_path):
    """As an earlier version wrote it: without the options and the rows that it did not know."""
    options = {"selector": "coreset", "budget": 8, "steps": 12, "policy": "rotate30"}
    path = tmp_path / "state"
    with pytest.raises(Interrupted):
        fit(Net(), images(), checkpoint=path, hooks=Hooks(stop=iter([0, 0, 0, 1]).__next__), **options)
    tensors, state = read_tensors(path)
    for name in ("reselect_above", "signals"):
        del state["options"][name]
    del state["stand"]["kappa"]
    write_tensors(path, tensors, state)
    with pytest.raises(InputError, match="signals 'pass', not 'steps'"):
        fit(Net(), images(), checkpoint=path, resume=True, signals="steps", **options)
    found = fit(Net(), images(), checkpoint=path, resume=True, **options)
    assert torch.equal(found.model.last.weight, fit(Net(), images(), **options).model.last.weight)


def test_another_network_or_another_file_is_refused(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(Interrupted):
        fit(Net(), images(), steps=5, checkpoint=path, hooks=Hooks(stop=lambda: True))
    with pytest.raises(InputError, match="of another network"):
        fit("mlp", images(), steps=5, checkpoint=path, resume=True)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="holds no state of a run"):
        fit(Net(), images(), steps=5, checkpoint=path, resume=True)
    model = tmp_path / "model.safetensors"
    al.training.save_network(model, Net(), {"network": "mlp"})
    with pytest.raises(InputError, match="holds no state of a run"):
        fit(Net(), images(), steps=5, checkpoint=model, resume=True)
