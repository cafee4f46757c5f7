"""`auglean curve`: what it prints and keeps, how it resumes, and that bad input leaves nothing behind."""

import inspect
import json
import os
import re
import signal

import pytest
import yaml

from auglean import cli, commands

QUICK = ["--network", "mlp", "--steps", 10, "--budgets", "5,30", "--rounds", 2, "--selectors", "max-loss"]


@pytest.fixture
def curve(capsys, tmp_path, monkeypatch):
    """Run the command; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main(["curve", *(str(word) for word in words)])
        except SystemExit as stop:  # --help
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_it_prints_a_table_and_keeps_a_folder(curve, tmp_path):
    code, out, err = curve(*QUICK, "--classes", "3,8", "--out", "run")
    assert code == 0
    assert "3 v 8" in out
    assert re.search(r"max-loss\b.*\n", out)
    assert "Report: run" in err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "result.json", "selections", "features.safetensors"}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["command"], result["data"]["classes"]) == ("curve", ["3", "8"])
    code, out, err = curve(*QUICK, "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds another run" in err


def test_json_and_a_stored_configuration(curve, tmp_path):
    words = ["--policies", "paper", "--score", "loss,margin", "--clusters", "3,budget", "--noise", 0.1, "--C", 3]
    code, out, _ = curve(*QUICK, *words, "--json", "--seed", 3, "--sweep", "--train", 30, "--out", "one")
    assert (code, out.count("\n")) == (0, 1)
    one = json.loads(out)
    assert one == json.loads((tmp_path / "one" / "result.json").read_text())
    stored = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert (stored["score"], stored["clusters"], stored["sweep"]) == (["loss", "margin"], [3, "budget"], True)
    code, out, _ = curve("--config", "one/config.yaml", "--json", "--out", "two")
    two = json.loads(out)
    assert code == 0
    for part in ("config", "data", "references", "scores", "clusters", "answer"):
        assert one[part] == two[part]


def test_every_option_is_told_in_the_help(curve):
    code, out, _ = curve("--help")
    assert code == 0
    for name in inspect.signature(commands.curve).parameters:
        assert f"--{name.replace('_', '-')}" in out


def test_an_interrupted_run_resumes(curve, tmp_path, monkeypatch):
    from auglean.studies.curve_runs import Runs

    plain, seen = Runs.run, []

    def once(self, arm, budgets, number):
        seen.append(arm.label)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, arm, budgets, number)

    monkeypatch.setattr(Runs, "run", once)
    code, out, err = curve(*QUICK, "--out", "run")
    assert (code, out) == (130, "")
    assert "go on with: auglean curve --resume --out run" in err
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.setattr(Runs, "run", plain)
    code, out, err = curve("--resume", "--out", "run", "--json")
    assert code == 0
    assert "done before" in err
    code, whole, _ = curve(*QUICK, "--out", "whole", "--json")
    for part in ("config", "references", "scores", "answer"):
        assert json.loads(out)[part] == json.loads(whole)[part]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budgets", "5000"], "over the 100 examples"),
        (["--classes", "3"], "two or more different"),
        (["--classes", "3,z"], "Unknown class 'z'"),
        (["--transform", "spin"], "Unknown transform 'spin'"),
        (["--policies", "all"], "--policies"),
        (["--policies", "paper", "--score", "lost"], "Unknown score 'lost'"),
        (["--C", "0"], "C, the inverse strength"),
        (["--C", "much"], "--C is much"),
        (["--noise", "2"], "share of wrong labels"),
        (["--rounds", "0"], "0 rounds"),
        (["--data", "nowhere/"], "no file or folder"),
        (["--resume"], "--resume was given without a folder"),
        (["--model", "none.safetensors"], "holds no network"),
        (["--clusters", "0"], "numbers from 1 to 100"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(curve, tmp_path, words, told):
    code, out, err = curve(*QUICK, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert list(tmp_path.iterdir()) == []
