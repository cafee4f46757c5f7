"""The run folder: a run that is killed at any moment and resumed ends as one that was not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import auglean as al
from auglean.data import Splits
from auglean.errors import InputError
from auglean.studies.folder import RunFolder, fingerprint
from auglean.training import Interrupted, Recipe

OPTIONS = {"policy": "translate1-rotate15", "network": "mlp", "steps": 200, "seeds": 1, "eval_every": 20}
OPTIONS |= {"selectors": ["coreset"]}
SCRIPT = f"""
import sys, torch
torch.set_num_threads(1)
import auglean as al
al.compare("digits", out=sys.argv[1], resume=len(sys.argv) > 2, **{OPTIONS!r})
"""


def without_seconds(value):
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if not k.startswith(("seconds", "speedup"))}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def numbers(folder):
    """Give everything that a run folder holds, but the seconds."""
    found = {"result": without_seconds(json.loads((folder / "result.json").read_text()))}
    found["metrics"] = [without_seconds(json.loads(line)) for line in (folder / "metrics.jsonl").open()]
    for path in (folder / "selections").rglob("*.json"):
        plain = json.loads(path.read_text())
        assert plain.pop("cost")["seconds"] > 0
        found[str(path.relative_to(folder))] = plain
    for path in (folder / "selections").rglob("*.safetensors"):
        found[str(path.relative_to(folder))] = path.read_bytes()
    found["files"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    al.compare("digits", out=folder, **OPTIONS)
    return numbers(folder)


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_at_any_moment_and_resumed(tmp_path, whole):
    """`kill -9` after the 3rd, 16th and 30th of 50 rows, and up to a tenth of a second later each time."""
    out, killed = tmp_path / "run", 0
    dice = random.Random(time.time_ns())  # other moments each time; any of them must do
    for rows in (3, 16, 30, None):
        words = [sys.executable, "-c", SCRIPT, str(out), *(["resume"] if killed else [])]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if rows is not None:
            while lines(out / "metrics.jsonl") < rows and process.poll() is None:
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.1))
            process.kill()
        output = process.communicate(timeout=120)
        killed += process.returncode == -signal.SIGKILL
    assert (process.returncode, killed) == (0, 3), output
    found = numbers(out)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        assert found[name] == value, name


# smaller runs, stopped from within


def images(n, seed):
    g = torch.Generator().manual_seed(seed)
    return al.ImageSet(torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=g), torch.arange(n) % 4)


def sets(seed=0):
    return Splits(images(60, seed), images(20, 1), images(20, 2))


TINY = {"policy": "rotate15", "network": "mlp", "steps": 8, "seeds": 2, "eval_every": 2}
TINY |= {"recipe": Recipe(batch_size=16), "selectors": ["max-loss"], "every": 1}


class StopAt(al.studies.Narrator):
    """Asks to stop in job so-and-so (from 0) after step so-and-so."""

    def __init__(self, job, step):
        super().__init__()
        self.at = (job, step)

    def progress(self, step):
        self.stopping = self.stopping or (self._done, step) == self.at


@pytest.mark.parametrize("more", [{}, {"signals": "steps", "reselect_above": 0.5, "every": 3}])
@pytest.mark.parametrize("stops", [[(0, 1)], [(0, 7), (4, 3)], [(3, 2), (3, 4), (9, 6)], [(4, 3), (4, 5)]])
def test_stopped_and_resumed(tmp_path, stops, more):
    options = {**TINY, **more}
    al.compare(sets(), out=tmp_path / "whole", **options)
    for count, (job, step) in enumerate(stops):
        with pytest.raises(Interrupted, match="stopped after step"):
            al.compare(sets(), out=tmp_path / "run", resume=count > 0, narrator=StopAt(job, step), **options)
        assert (tmp_path / "run" / "config.yaml").exists()
        assert not (tmp_path / "run" / "result.json").exists()
    al.compare(sets(), out=tmp_path / "run", resume=True, **options)
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_a_folder_of_before_signals_could_come_from_the_steps_is_gone_on_with(tmp_path):
    """As an earlier version left it: without the options, and with jobs that tell nothing of κ."""
    options = {**TINY, "every": 5}
    whole = al.compare(sets(), **options).result["arms"]
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        al.compare(sets(), out=out, narrator=StopAt(5, 2), **options)
    lines = (out / "config.yaml").read_text().splitlines(keepends=True)
    (out / "config.yaml").write_text("".join(x for x in lines if not x.startswith(("signals:", "reselect_above:"))))
    for path in (out / "checkpoint").glob("*.json"):
        job = json.loads(path.read_text())
        del job["kappa"]
        path.write_text(json.dumps(job))
    with pytest.raises(InputError, match="a run with signals 'pass', not 'steps'"):
        al.compare(sets(), out=out, resume=True, signals="steps", **options)
    found = al.compare(sets(), out=out, resume=True, **options)
    assert [arm["accuracy"] for arm in found.arms] == [arm["accuracy"] for arm in whole]
    assert [bool(run) for run in found["max-loss"]["kappa"]] == [False, True]
    assert al.reports.write(found).exists()


def test_rows_after_the_last_state_and_a_line_that_was_cut_off_are_dropped(tmp_path):
    """As after a kill between a row and the checkpoint that would have followed it."""
    al.compare(sets(), out=tmp_path / "whole", **TINY)
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        al.compare(sets(), out=out, narrator=StopAt(2, 5), **TINY)
    with (out / "metrics.jsonl").open("a") as file:
        row = {"job": "random-0.1-full+subset/seed0", "step": 8, "loss": 1.0, "accuracy": 0.5}
        file.write(json.dumps(row) + "\n" + json.dumps(row)[:40])
    al.compare(sets(), out=out, resume=True, **TINY)
    assert numbers(out) == numbers(tmp_path / "whole")


def test_resuming_a_finished_run_gives_its_result_again(tmp_path):
    first = al.compare(sets(), out=tmp_path / "run", **TINY)
    before = numbers(tmp_path / "run")
    again = al.compare(sets(), out=tmp_path / "run", resume=True, **TINY)
    assert json.dumps(again.result) == json.dumps(first.result)  # seconds too: nothing ran
    assert numbers(tmp_path / "run") == before


@pytest.fixture
def stopped(tmp_path):
    with pytest.raises(Interrupted):
        al.compare(sets(), out=tmp_path / "run", narrator=StopAt(1, 3), **TINY)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 9}, "a run with steps 8, not 9"),
        ({"seeds": 3}, "seeds 2, not 3"),
        ({"network": "cnn"}, "network 'mlp', not 'cnn'"),
        ({"policy": "rotate10"}, "policy"),
        ({"selectors": ["coreset"]}, "selectors"),
        ({"selectors": [al.Coreset(allocation="equal")]}, "selectors"),
        ({"budgets": [0.2]}, "budgets"),
        ({"role": "subset"}, "role"),
        ({"recipe": Recipe(batch_size=16, lr=0.3)}, "recipe"),
    ],
)
def test_other_options_are_refused(stopped, change, word):
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=word) as caught:
        al.compare(sets(), out=stopped, resume=True, **{**TINY, **change})
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_other_data_are_refused(stopped):
    with pytest.raises(InputError, match="data are not those"):
        al.compare(sets(seed=5), out=stopped, resume=True, **TINY)
    other_test = Splits(images(60, 0), images(20, 1), images(20, 3))
    with pytest.raises(InputError, match="data are not those"):
        al.compare(other_test, out=stopped, resume=True, **TINY)


def test_a_folder_that_holds_a_run_is_refused(stopped):
    with pytest.raises(InputError, match="holds another run; give an empty folder as --out, or --resume"):
        al.compare(sets(), out=stopped, **TINY)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        al.compare(sets(), out=tmp_path / "run", resume=True, **TINY)
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        al.compare(sets(), out=tmp_path / "file", **TINY)


def test_a_folder_with_other_files_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    al.compare(sets(), out=tmp_path, **TINY)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "result.json").exists()


def test_rows_after_the_state_are_forgotten(tmp_path):
    folder = RunFolder(tmp_path / "run", {"a": 1}, fingerprint="f")
    for job in ("one", "two"):
        for step in (1, 2, 3):
            folder.log({"job": job, "step": step})
    folder.forget("one", after=1)
    folder.log({"job": "one", "step": 2})
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["job"], row["step"]) for row in rows] == [("one", 1), *(("two", s) for s in (1, 2, 3)), ("one", 2)]


def test_a_kappa_of_the_step_of_the_state_was_measured_after_it(tmp_path):
    folder = RunFolder(tmp_path / "run", {"a": 1}, fingerprint="f")
    for row in ({"step": 0, "kappa": 1.0}, {"step": 2}, {"step": 2, "kappa": None}, {"step": 3, "kappa": 0.1}):
        folder.log({"job": "one", **row})
    folder.forget("one", after=2)
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["step"], row.get("kappa")) for row in rows] == [(0, 1.0), (2, None)]
    assert "kappa" not in rows[1]


def test_the_fingerprint_is_of_all_three_sets():
    marks = {
        fingerprint(Splits(images(60, a), images(20, b), images(20, c)))
        for a, b, c in [(0, 1, 2), (9, 1, 2), (0, 9, 2), (0, 1, 9)]
    }
    assert len(marks) == 4


def test_the_configuration_is_text_that_can_be_read(tmp_path):
    al.compare(sets(), out=tmp_path / "run", **TINY)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["recipe"]["batch_size"] == 16
    assert config["selectors"] == ["random", "random-each-epoch", "max-loss"]
    assert Path(tmp_path / "run" / "checkpoint" / "fingerprint").read_text() == fingerprint(sets())


def test_what_a_kill_leaves_behind_is_cleared_away(tmp_path):
    al.compare(sets(), out=tmp_path / "whole", **TINY)
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        al.compare(sets(), out=out, narrator=StopAt(2, 5), **TINY)
    (out / ".result.json.123.tmp").write_text("half of")
    done = next((out / "checkpoint").glob("*.json"))
    done.with_suffix(".safetensors").write_bytes(b"the state of a job that is done")
    al.compare(sets(), out=out, resume=True, **TINY)
    assert numbers(out) == numbers(tmp_path / "whole")
