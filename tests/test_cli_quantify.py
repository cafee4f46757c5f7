"""`auglean quantify`: what it prints and keeps, and that bad input leaves nothing behind."""

import inspect
import json
import re

import pytest
import yaml

from auglean import cli, commands

QUICK = ["--images", 4, "--draws", 2, "--policy", "rotate15"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["fit", "--network", "convnet-w4-d1", "--steps", "4", "--limit", "60", "--out", str(path)]) == 0
    return path / "model.safetensors"


@pytest.fixture
def quantify(capsys, tmp_path, monkeypatch):
    """Run the command; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main(["quantify", *(str(word) for word in words)])
        except SystemExit as stop:  # --help
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_policy_is_told_by_its_moments(quantify, model, tmp_path):
    words = ["--policy", "translate1", "--policies", "rotate15,flip0.3", "--images", 20]
    code, out, err = quantify(*words, "--model", model, "--out", "run")
    assert code == 0
    told = re.sub(r"\s+", " ", out)
    for word in ("translate1", "rotate15", "flip0.3", "exact panels", "quadrature", "exact finite", "effective rank"):
        assert word in told
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result.keys() == {
        "command", "version", "config", "environment", "data", "answer", "probe", "policies", "overlap", "convergence",
        "network", "seconds",
    }  # fmt: skip
    for sentence in result["answer"]:
        assert sentence in told
    assert err.splitlines()[-1] == "Report: run/report.html"
    assert "1 of 5: translate1, " in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.yaml", "result.json", "report.html", "checkpoint"
    }  # fmt: skip
    code, out, _ = quantify("--config", "run/config.yaml", "--json", "--out", "again")
    assert (code, out.count("\n")) == (0, 1)
    again = json.loads(out)
    for one in (result, again):
        for part in (one, one["network"], *one["policies"]):
            part.pop("seconds")
        for told in ("draws", "alignment"):
            one["network"][told].pop("how")
    assert again == result
    code, _, err = quantify(*words, "--out", "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds another run" in err


def test_nothing_has_to_be_named(quantify, tmp_path):
    code, out, _ = quantify("--images", 10)
    assert code == 0
    assert "translate1-rotate15" in out
    assert (tmp_path / "runs" / "quantify-digits" / "report.html").exists()


def test_an_interruption_leaves_nothing_behind(quantify, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("auglean.studies.policy_study.portraits", stop)
    code, out, err = quantify("--images", 10, "--out", "run")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "Interrupted, before the run began; nothing was written"
    assert not (tmp_path / "run").exists()


def test_it_prints_a_table_and_keeps_a_folder(quantify, model, tmp_path):
    code, out, err = quantify("--spectrum", "--model", model, *QUICK, "--out", "run")
    assert code == 0
    assert "40 rows (4 images × 10 logits)" in re.sub(r"\s+", " ", out)
    assert "The smaller singular values" in out
    assert err.splitlines()[-1] == "Report: run/report.html"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.yaml", "result.json", "report.html"}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result.keys() == {"command", "version", "config", "environment", "data", "spectrum"}
    assert (result["command"], result["data"]["name"], result["spectrum"]["rows"]) == ("quantify", "digits", 40)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, out, err = quantify("--spectrum", "--model", model, *QUICK, "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds another run; give an empty folder as --out." in err
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_json_and_a_stored_configuration(quantify, model, tmp_path):
    code, out, _ = quantify("--spectrum", "--model", model, *QUICK, "--json", "--top", 5, "--seed", 3, "--out", "one")
    assert (code, out.count("\n")) == (0, 1)
    one = json.loads(out)
    assert one == json.loads((tmp_path / "one" / "result.json").read_text())
    assert quantify("--config", "one/config.yaml", "--out", "two")[0] == 0
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    for result in (one, two):
        result["spectrum"].pop("seconds")
    assert one == two
    config = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert (config["spectrum"], config["images"], config["top"], config["seed"]) == (True, 4, 5, 3)


def test_other_forms(quantify, model, tmp_path):
    words = ["--method", "randomised", "--output", "sum", "--weak", "flip", "--top", 3]
    code, out, _ = quantify("--spectrum", "--model", model, *QUICK, *words)
    assert code == 0
    assert "randomised (as asked" in re.sub(r"\s+", " ", out)
    result = json.loads((tmp_path / "runs" / "quantify-digits" / "result.json").read_text())["spectrum"]
    assert (result["method"], result["rows"], result["weak"], len(result["values"])) == ("randomised", 4, "flip", 3)
    assert (tmp_path / "runs" / "quantify-digits" / "report.html").exists()


def test_help_tells_every_option(quantify):
    code, out, err = quantify("--help")
    assert (code, err) == (0, "")
    told = dict(re.findall(r"^  (?:-h, )?--([\w.-]+)(.*(?:\n {6,}.*)*)", out, flags=re.MULTILINE))
    for name in inspect.signature(commands.quantify).parameters:
        text = re.sub(r"\(.*?\)|\s+", " ", told[name.replace("_", "-")])
        assert len(re.findall(r"\b[A-Za-z]?[a-z]+\b", text)) >= 2, f"--{name} is not explained: {text!r}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--policy", "none"], "to quantify is 'none'"),
        (["--policy", "rotat15"], "did you mean 'rotate'"),
        (["--policy", "rotate-15"], "needs a magnitude"),
        (["--policies", "rotate15,cutouts8"], "did you mean 'cutout'"),
        (["--images", "5000"], "give 1 to 1000"),
        (["--eps", "0"], "eps is 0"),
        (["--eps", "small"], "--eps"),
        (["--model", "none.safetensors"], "holds no network"),
        (["--top", "5"], "--top is an option of --spectrum"),
        (["--method", "exact"], "--method is an option of --spectrum"),
        (["--data", "none.parquet"], "none.parquet"),
        (["--spectrum", "--model", "MODEL", "--policies", "rotate15"], "--policies is no option of --spectrum"),
        (["--spectrum"], "`auglean fit` makes"),
        (["--spectrum", "--model", "none.safetensors"], "holds no network"),
        (["--spectrum", "--model", "MODEL", "--images", "5000"], "give 1 to 1000"),
        (["--spectrum", "--model", "MODEL", "--images", "2", "--top", "21"], "leading 21"),
        (["--spectrum", "--model", "MODEL", "--policy", "none"], "policy to judge"),
        (["--spectrum", "--model", "MODEL", "--policy", "rotat15"], "did you mean 'rotate'"),
        (["--spectrum", "--model", "MODEL", "--method", "best"], "--method"),
        (["--spectrum", "--model", "MODEL", "--draws", "1"], "draws is 1"),
        (["--spectrum", "--model", "MODEL", "--device", "abacus"], "device 'abacus'"),
    ],
)
def test_bad_input_leaves_nothing_behind(quantify, model, tmp_path, words, told):
    code, out, err = quantify(*(model if word == "MODEL" else word for word in words), "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert told in err
    assert not (tmp_path / "run").exists()
