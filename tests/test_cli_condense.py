"""`auglean condense`: what it prints and keeps, how it resumes, and that bad input leaves nothing behind."""

import inspect
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image

from auglean import cli, commands
from auglean.condensation import SyntheticSet, baseline
from auglean.data import ImageSet, load
from auglean.reports.condensation import nearest
from auglean.studies.condensing import answer

QUICK = ["--network", "convnet-w4-d1", "--per-class", 2, "--steps", 6, "--pool", 2, "--real-batch", 8, "--repeats", 2]
QUICK += ["--looks", 3, "--epochs", 4, "--epochs-augmented", 5, "--whole-steps", 6, "--baselines", "random,k-means"]
QUICK += ["--rates", 0.01]


@pytest.fixture
def condense(capsys, tmp_path, monkeypatch):
    """Run the command; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main(["condense", *(str(word) for word in words)])
        except SystemExit as stop:  # --help
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_prints_a_table_and_keeps_a_folder(condense, tmp_path):
    code, out, err = condense(*QUICK, "--sets", 2, "--networks", "mlp,convnet-w4-d1", "--out", "run")
    assert code == 0, err
    assert "digits: 2 per class by DM" in out
    assert "Trained with" in out
    assert err.splitlines()[-1] == "Report: run/report.html"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"config.yaml", "synthetic.safetensors", "synthetic.png", "result.json", "report.html", "sets"}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"command", "version", "config", "environment", "data", "rows", "scores", "course"} <= result.keys()
    assert (result["command"], result["config"]["method"], result["config"]["real_batch"]) == ("condense", "dm", 8)
    assert [row["step"] for row in result["course"]] == [0, 1, 3, 6]
    row = next(row for row in result["rows"] if row["name"] == "dm" and row["augmented"])
    assert (row["network"], row["images"], len(row["accuracy"]["values"]), row["steps"]) == ("mlp", 20, 2, 5)
    tiny = SyntheticSet.load(tmp_path / "run" / "synthetic.safetensors")
    assert (tiny.counts.tolist(), tiny.how["steps"]) == ([2] * 10, 6)
    # the images after the last step are those that are judged
    last = SyntheticSet.load(tmp_path / "run" / "looks" / "step000006.safetensors")
    assert torch.equal(last.images, tiny.images)
    with Image.open(tmp_path / "run" / "synthetic.png") as picture:
        assert picture.size == (10 * 34, 2 * 34)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('class="spoken"') == 2
    assert page.count("nearest training image") == 20
    assert "http" not in page.replace("http://www.w3.org", "")
    before = files(tmp_path / "run")
    code, out, err = condense(*QUICK, "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert before == files(tmp_path / "run")


def test_json_and_a_stored_configuration(condense, tmp_path):
    words = ["--method", "dsa", "--init", "k-means", "--rates", "0.001,0.01", "--whole-steps", "null"]
    words += ["--precision", "bfloat16"]
    code, out, err = condense(*QUICK, *words, "--json", "--out", "one")
    assert (code, out.count("\n")) == (0, 1), err
    one = json.loads(out)
    assert one == json.loads((tmp_path / "one" / "result.json").read_text())
    assert yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())["rates"] == [0.001, 0.01]
    assert "whole" not in {row["name"] for row in one["rows"]}
    code, out, _ = condense("--config", "one/config.yaml", "--json", "--out", "two")
    two = json.loads(out)
    cosine = one["synthetic"][0]["cosine"]
    assert 0.9 < cosine < 1
    assert f"in bfloat16, where a target has a cosine of {cosine:.5f}" in (tmp_path / "one" / "report.html").read_text()
    strip = lambda rows: [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]  # noqa: E731
    assert code == 0
    assert strip(one["rows"]) == strip(two["rows"])
    assert (one["config"], one["scores"]) == (two["config"], two["scores"])
    files = [tmp_path / name / "synthetic.safetensors" for name in ("one", "two")]
    assert torch.equal(*(SyntheticSet.load(file).images for file in files))


@pytest.mark.parametrize("place", ["condense/seed0", "course/step3", "convnet-w4-d1/plain/k-means"])
def test_interrupted_runs_resume(condense, tmp_path, monkeypatch, place):
    from auglean.studies import Narrator

    code, out, _ = condense(*QUICK, "--json", "--out", "whole")
    assert code == 0
    whole, job = json.loads(out), Narrator.job

    def stopping(self, name):
        if name == place:
            os.kill(os.getpid(), signal.SIGINT)
        return job(self, name)

    monkeypatch.setattr(Narrator, "job", stopping)
    code, out, err = condense(*QUICK, "--json", "--out", "cut")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("go on with: auglean condense --resume --out cut")
    assert SyntheticSet.load(tmp_path / "cut" / "synthetic.safetensors").counts.tolist() == [2] * 10
    assert not (tmp_path / "cut" / "result.json").exists()
    monkeypatch.setattr(Narrator, "job", job)
    code, out, _ = condense("--resume", "--json", "--out", "cut")
    assert code == 0
    again = json.loads(out)
    for one, other in zip(whole["rows"], again["rows"], strict=True):
        assert one["accuracy"] == other["accuracy"]
    assert [row["accuracy"] for row in whole["course"]] == [row["accuracy"] for row in again["course"]]


def test_processes_of_torchrun_share_the_work(condense, tmp_path):
    code, out, _ = condense(*QUICK, "--json", "--out", "one")
    assert code == 0
    one = json.loads(out)
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "auglean"]
    words = [*launched, "condense", *map(str, QUICK), "--json", "--out", "two"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    two = json.loads(ran.stdout)  # one object, of one process
    told = [line for line in ran.stderr.splitlines() if " of 13: " in line]
    assert [line.split(" ")[0] for line in told] == [str(i + 1) for i in range(13)]
    assert sum("for the images of a class" in line for line in ran.stderr.splitlines()) == 1
    assert sum("Report: two" in line for line in ran.stderr.splitlines()) == 1
    for key in ("accuracy", "validation", "rate", "name"):
        assert [row[key] for row in one["rows"]] == [row[key] for row in two["rows"]]
    assert one["synthetic"][0]["cost"]["images"] == two["synthetic"][0]["cost"]["images"]
    files = [tmp_path / name / "synthetic.safetensors" for name in ("one", "two")]
    torch.testing.assert_close(*(SyntheticSet.load(file).images for file in files), rtol=0, atol=1e-5)
    rows = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 3, 6]  # each written once


def test_nearest_real_images_are_the_nearest():
    g = torch.Generator().manual_seed(0)
    real = ImageSet(torch.randint(0, 256, (40, 1, 8, 8), generator=g, dtype=torch.uint8), torch.arange(40) % 2)
    images = real.images[[6, 9]].float() / 255 + 0.001
    tiny = SyntheticSet(images, torch.tensor([0, 1]), real.class_names, (0.5,), (0.5,))
    found = nearest(tiny, real)
    assert [pair.number for row in found.values() for pair in row] == [6, 9]
    assert found["1"][0].distance == pytest.approx(0.001, rel=1e-3)


def test_answer_says_when_it_did_not_pay():
    def row(name, augmented, mean):
        return {"name": name, "augmented": augmented, "network": "mlp", "accuracy": {"mean": mean}}

    rows = [row(name, way, mean + 0.1 * way) for way in (False, True)
            for name, mean in (("random", 0.5), ("k-means", 0.7), ("dm", 0.6), ("whole", 0.8))]  # fmt: skip
    config = {"method": "dm", "per_class": 1, "networks": ["mlp"]}
    data = {"train": 1000, "name": "digits"}
    told = answer({"config": config, "rows": rows, "scores": [{"own": True, "name": "dm"}], "data": data})
    assert "made by DM, mlp is right on 70.0%" in told
    assert "all 1,000 images train it to 90.0%" in told
    assert "k-means, was ahead by 10.0 points" in told
    assert "worth +10.0 points to random images; images made by DM add +10.0" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--per-class", 0], "per_class is 0; give 1 image or more"),
        (["--per-class", 5000], "give fewer"),
        (["--per-class", 5000, "--init", "noise"], "the baseline 'random' finds"),
        (["--network", "convnet-d9"], "use a depth of at most 3"),
        (["--networks", "mlp,convnet-d9"], "use a depth of at most 3"),
        (["--network", "convnets"], "did you mean 'convnet'"),
        (["--method", "mtt"], "--method is mtt"),
        (["--baselines", "randon"], "did you mean 'random'"),
        (["--steps", 0], "steps is 0"),
        (["--steps", -5], "steps is -5"),
        (["--decode", 3], "cannot be cut into 3×3 equal parts"),
        (["--decode", 0], "decode is 0"),
        (["--per-class", 60, "--decode", 2], "which takes 240 images of each class"),
        (["--sets", 0], "0 sets"),
        (["--per-class", 1.5], "--per-class is 1.5, expected int"),
        (["--precision", "half"], "--precision is half, expected one of auto, float32, bfloat16"),
        (["--out", "one-class/a/0.png"], "is a file, not a folder"),
        (["--out", "one-class/a/0.png/run"], "0.png is a file, not a folder"),
        (["--epochs", 0], "0 epochs"),
        (["--lr", 0], "lr of DM is 0"),
        (["--pool", 0], "pool of DM is 0"),
        (["--rates", "0"], "lr is 0"),
        (["--device", "nowhere"], "device 'nowhere'"),
        (["--data", "no-such/folder/x"], "no-such"),
        (["--data", "one-class"], "1 class"),
        (["--resume"], "without a folder"),
        (["--resume", "--out", "none"], "no run to resume"),
    ],
)
def test_bad_input_gets_one_sentence(condense, tmp_path, words, said):
    folder = tmp_path / "one-class" / "a"
    folder.mkdir(parents=True)
    for i in range(20):
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    before = files(tmp_path)
    code, out, err = condense(*QUICK, *words)
    assert (code, out) == (2, "")
    assert err.startswith("auglean: ")
    assert err.count("\n") == 1
    assert said in err
    assert files(tmp_path) == before


def test_several_images_on_a_canvas_stand_apart(condense, tmp_path):
    code, out, err = condense(*QUICK, "--decode", 2, "--json", "--out", "run")
    assert code == 0, err
    result = json.loads(out)
    rows = {row["name"]: row for row in result["rows"] if row["augmented"]}
    assert list(rows) == ["random", "k-means", "random-decode2", "dm-decode2", "whole"]
    assert (rows["dm-decode2"]["images"], rows["dm-decode2"]["bytes"]) == (80, 20 * 64 * 4)
    assert (rows["random-decode2"]["images"], rows["random"]["images"]) == (80, 20)
    assert "images per class made by DM-DECODE2" in result["answer"]
    assert err.count("13 of 15: ") == 1
    tiny = SyntheticSet.load(tmp_path / "run" / "synthetic.safetensors")
    assert (len(tiny), tiny.decode, len(tiny.decoded())) == (20, 2, 80)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("nearest training image") == 80
    assert page.count('class="spoken"') == 1
    assert "several shrunk onto each stored one" in page


def test_files_of_other_sets_get_one_sentence(condense, tmp_path, capsys):
    """A condensed set meets its data again as an arm of `compare`."""
    train = load("digits")
    tiny = baseline("class-mean", train, 1)
    baseline("class-mean", replace(train, images=255 - train.images), 1).save("negative")
    replace(tiny, class_names=tuple("abcdefghij")).save("letters")
    tiny.save("cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-100])
    (tmp_path / "noise").write_bytes(b"\x00\xff" * 64)
    before = files(tmp_path)
    for name in ("negative", "letters", "cut", "noise", "missing"):
        words = ["compare", "--data", "digits", "--steps", "2", "--selectors", "random", "--condensed", name]
        assert cli.main([*words, "--out", "run"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("auglean: ")
        assert name in captured.err
        assert captured.err.count("\n") == 1
        assert files(tmp_path) == before


def test_every_option_is_explained(condense):
    code, out, _ = condense("--help")
    assert code == 0
    for name in inspect.signature(commands.condense).parameters:
        assert f"--{name.replace('_', '-')}" in out
