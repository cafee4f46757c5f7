"""The command line: what it prints where, its exit codes, and that bad input leaves nothing behind."""

import inspect
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import yaml

from auglean import cli, commands

QUICK = ["--network", "mlp", "--steps", "4", "--seeds", "1", "--recipe.batch-size", "16", "--selectors", "max-loss"]
COMMANDS = {"compare": commands.compare, "fit": commands.fit, "select": commands.select}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def auglean(capsys):
    """Run the command line in this process; give exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as stop:  # --help and --version
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def without_seconds(value):
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if not k.startswith(("seconds", "speedup"))}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


# what it does


def test_compare_prints_a_table_and_keeps_a_folder(auglean, tmp_path):
    code, out, err = auglean("compare", *QUICK, "--out", "run")
    assert code == 0
    for name in ("weak", "full", "random", "random-each-epoch", "max-loss"):
        assert name in out
    assert "coreset" not in out
    assert err.splitlines()[-1] == "Report: run/report.html"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "config.yaml", "metrics.jsonl", "result.json", "selections", "report.html",
    }  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["answer"]["sentence"].split()[0] in out
    assert result["config"]["data"] == "digits"


def test_what_processes_cannot_share_is_refused(auglean, tmp_path, monkeypatch):
    monkeypatch.setattr("auglean.cli.ranks", lambda: 2)
    code, out, err = auglean("compare", "--out", tmp_path / "run")
    assert code == 2
    assert not out
    assert "auglean compare was started in 2 processes but runs in one" in err
    assert not (tmp_path / "run").exists()


def test_the_default_folder_is_numbered(auglean, tmp_path):
    for _ in range(2):
        assert auglean("compare", *QUICK)[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["compare-digits", "compare-digits-2"]


@pytest.mark.parametrize("command", ["compare", "fit", "select"])
def test_json_is_one_object_on_stdout(auglean, command):
    if command == "select":
        auglean("fit", *QUICK[:4], "--out", "trained")
    words = {
        "compare": QUICK,
        "fit": QUICK[:4],
        "select": ["--model", "trained/model.safetensors", "--selector", "max-loss"],
    }[command]
    code, out, err = auglean(command, *words, "--json", "--out", "here")
    assert code == 0
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found["total" if command == "select" else "command"] == (1000 if command == "select" else command)
    assert "here" in err


def test_fit_then_select(auglean, tmp_path):
    code, out, _ = auglean("fit", *QUICK[:4], "--selector", "coreset", "--budget", "0.1", "--out", "run")
    assert code == 0
    assert re.match(r"Test accuracy 0\.\d{4}, transformed 0\.\d{4}; \d+ images augmented in 4 steps; ", out)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["command"], result["count"], result["steps"]) == ("fit", 100, 4)
    code, _, _ = auglean("select", "--model", "run/model.safetensors", "--selector", "max-loss", "--budget", 30)
    assert code == 0
    chosen = json.loads((tmp_path / "run" / "selection.json").read_text())
    assert len(set(chosen["indices"])) == 30
    assert chosen["how"]["fingerprint"]
    words = ["--model", "run/model.safetensors", "--selector", "variance", "--budget", 30, "--json"]
    strong, none = (
        json.loads(auglean("select", *words, "--policy", name, "--out", name)[1]) for name in ("cutout6", "translate0")
    )
    assert min(strong["gains"]) > 0
    assert none["gains"] == [0] * 30
    code, _, err = auglean("select", "--model", "run/model.safetensors")
    assert (code, err.count("\n")) == (2, 1)
    assert "exists" in err


@pytest.mark.parametrize(
    "words",
    [
        ["--budgets", "0.5,8", "--selectors", "max-loss,coreset", "--role", "subset,full+subset"],
        ["--budgets=0.5,8", "--selectors=max-loss,coreset", "--role=subset,full+subset"],
    ],
)
def test_lists_are_comma_separated(auglean, tmp_path, words):
    code, _, _ = auglean(
        "compare", "--network", "mlp", "--steps", 2, "--seeds", 1, "--limit", 60, "--out", "run", *words
    )
    assert code == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["budgets"] == [0.5, 8]
    assert config["selectors"][-2:] == ["max-loss", "coreset"]
    assert config["role"] == ["subset", "full+subset"]
    counts = [arm["count"] for arm in json.loads((tmp_path / "run" / "result.json").read_text())["arms"]]
    assert counts == [0, 60, *([30] * 4 + [8] * 4) * 2]


@pytest.mark.parametrize(
    "words",
    [
        ["--eval-every", "2", "--test-limit", "50", "--recipe.weight-decay", "0.01", "--skip-corrupt"],
        ["--eval_every", "2", "--test_limit", "50", "--recipe.weight_decay", "0.01", "--skip_corrupt"],
        ["--eval-every=2", "--test-limit=50", "--recipe.weight-decay=0.01", "--skip-corrupt=true"],
    ],
)
def test_dashes_and_underscores_are_alike(auglean, tmp_path, words):
    assert auglean("compare", *QUICK, *words, "--out", "run")[0] == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["eval_every"], config["test_limit"], config["skip_corrupt"]) == (2, 50, True)
    assert config["recipe"]["weight_decay"] == 0.01


def test_a_stored_configuration_gives_the_same_numbers(auglean, tmp_path):
    options = ["--budgets", "20", "--role", "random+subset", "--weights", "raw", "--limit", 80, "--weak", "flip"]
    assert auglean("compare", *QUICK, *options, "--seed", 3, "--out", "one")[0] == 0
    assert auglean("compare", "--config", "one/config.yaml", "--out", "two")[0] == 0
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert without_seconds(one) == without_seconds(two)
    assert (tmp_path / "one" / "config.yaml").read_text() == (tmp_path / "two" / "config.yaml").read_text()
    assert auglean("compare", "--config", "one/config.yaml", "--steps", 5, "--out", "three")[0] == 0
    three = json.loads((tmp_path / "three" / "result.json").read_text())["config"]
    assert three == {**one["config"], "steps": 5, "eval_every": three["eval_every"]}


def test_a_stored_configuration_of_fit_gives_the_same_numbers(auglean, tmp_path):
    words = ["--selector", "coreset", "--budget", "40", "--every", "1", "--weights", "mean1", "--limit", 80]
    assert auglean("fit", *QUICK[:4], *words, "--out", "one")[0] == 0
    assert auglean("fit", "--config", "one/config.yaml", "--out", "two")[0] == 0
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert without_seconds(one) == without_seconds(two)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


# help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_every_option(auglean, command):
    code, out, err = auglean(command, "--help")
    assert (code, err) == (0, "")
    told = dict(re.findall(r"^  (?:-h, )?--([\w.-]+)(.*(?:\n {6,}.*)*)", out, flags=re.MULTILINE))
    for name in inspect.signature(COMMANDS[command]).parameters:
        if name == "recipe":
            told_recipe = {key for key in told if key.startswith("recipe.")}
            assert told_recipe >= {"recipe.lr", "recipe.batch-size", "recipe.schedule", "recipe.warmup"}
            continue
        text = re.sub(r"\(.*?\)|\s+", " ", told[name.replace("_", "-")])
        assert len(re.findall(r"\b[A-Za-z]?[a-z]+\b", text)) >= 2, f"--{name} is not explained: {text!r}"


def test_help_lists_the_commands(auglean):
    for words in ([], ["--help"]):
        code, out, _ = auglean(*words)
        assert code == 0
        for name, function in COMMANDS.items():
            assert name in out
            assert function.__doc__.split("\n")[0].split(".")[0][:30] in re.sub(r"\s+", " ", out)


def test_version(auglean):
    import auglean as package

    code, out, _ = auglean("--version")
    assert code == 0
    assert package.__version__ in out


def test_help_imports_nothing_heavy():
    script = "import sys; sys.argv = ['auglean', '--help']; from auglean.cli import main\n"
    script += "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "compare" in done.stdout
    loaded = set(done.stderr.split())
    assert not loaded & {"torchvision", "datasets", "matplotlib", "kornia", "timm", "PIL", "pandas", "pyarrow"}
    assert "auglean.cli" in loaded


# bad input


def png(size=(8, 8), seed=0):
    image = pytest.importorskip("PIL.Image", reason="needs the extra [data]")
    file = io.BytesIO()
    image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def folder(root, classes=("cat", "dog"), each=20):
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            (root / name / f"{i}.png").write_bytes(png(seed=100 * k + i))
    return root


def bomb():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def check_refused(found, word, path):
    code, out, err = found
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("auglean: ")
    assert re.search(word, err), err
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--budgets", "0"], "budget is 0"),
        (["--budgets", "-0.1"], "budget is -0.1"),
        (["--budgets", "1.5"], "over 1 as a fraction"),
        (["--budgets", "1001"], "over the 1000 examples"),
        (["--budgets", "0.1,1001"], "over the 1000 examples"),
        (["--budgets", "some"], "--budgets"),
        (["--policy", "rotat15"], "did you mean 'rotate'"),
        (["--policy", "none"], "policy to judge"),
        (["--weak", "fip"], "did you mean 'flip'"),
        (["--network", "resnet21"], "did you mean 'resnet"),
        (["--selectors", "corset"], "did you mean 'coreset'"),
        (["--role", "whole"], "Unknown role"),
        (["--weights", "heavy"], "--weights"),
        (["--steps", "0"], "steps is 0"),
        (["--steps", "many"], "--steps is many, expected int"),
        (["--seeds", "0"], "seeds is 0"),
        (["--every", "0"], "every 0 epochs"),
        (["--eval-every", "0"], "eval_every is 0"),
        (["--recipe.lr", "0"], "lr is 0"),
        (["--recipe.batch-size", "0"], "batch_size is 0"),
        (["--recipe.schedule", "cosin"], "cosin"),
        (["--device", "abacus"], "device 'abacus'"),
        (["--data", "./nowhere/at/all"], "nowhere/at/all"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--size", "0"], "size is 0"),
        (["--limit", "3"], "fewer than the 10 classes"),
        (["--test-limit", "0"], "limit of at least 1"),
        (["--colour", "blue"], "colour"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--resume"], "no run to resume"),
    ],
)
def test_bad_options_of_compare(auglean, tmp_path, words, expected):
    check_refused(auglean("compare", *QUICK, "--out", "run", *words), expected, tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--selector", "coreset"], "needs a budget"),
        (["--selector", "corset", "--budget", "0.1"], "did you mean 'coreset'"),
        (["--selector", "coreset", "--budget", "2.5"], "over 1 as a fraction"),
        (["--network", "resnet21"], "did you mean 'resnet"),
        (["--role", "whole"], "--role"),
        (["--steps", "0"], "steps is 0"),
        (["--every", "0"], "every 0 epochs"),
        (["--start", "-2"], "from epoch -2"),
        (["--eval-every", "-1"], "eval_every is -1"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_bad_options_of_fit(auglean, tmp_path, words, expected):
    check_refused(auglean("fit", *QUICK[:4], "--out", "run", *words), expected, tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "model"),
        (["--model", "nothing.safetensors"], "holds no network"),
        (["--model", "m", "--selector", "corset"], "did you mean 'coreset'"),
    ],
)
def test_bad_options_of_select(auglean, tmp_path, words, expected):
    check_refused(auglean("select", "--out", "chosen.json", *words), expected, tmp_path / "chosen.json")


def test_an_unknown_command_is_told(auglean, tmp_path):
    check_refused(auglean("compere", "--out", "run"), "compere", tmp_path / "run")


def no_images(root):
    root.mkdir()


def an_empty_class(root):
    folder(root)
    (root / "emu").mkdir()


def a_corrupt_image(root):
    folder(root)
    (root / "dog" / "7.png").write_bytes(png()[:60])


def another_size(root):
    folder(root)
    (root / "dog" / "7.png").write_bytes(png((9, 9)))


def a_bomb(root):
    folder(root)
    (root / "cat" / "3.png").write_bytes(bomb())


def a_label_outside(root):
    pa = pytest.importorskip("pyarrow", reason="needs the extra [data]")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [data]")
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": png(seed=i), "path": None} for i in range(20)], kind)
    table = pa.table({"image": images, "label": [i % 2 for i in range(19)] + [2]})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    root.mkdir()
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        root / "train.parquet",
    )


@pytest.mark.parametrize("command", ["compare", "fit"])
@pytest.mark.parametrize(
    ("make", "word"),
    [
        (no_images, "data"),
        (an_empty_class, "emu"),
        (a_corrupt_image, r"dog/7\.png"),
        (another_size, "9×9"),
        (a_bomb, r"cat/3\.png"),
        (a_label_outside, "[Ll]abel"),
    ],
)
def test_bad_data(auglean, tmp_path, command, make, word):
    make(tmp_path / "data")
    words = [*(QUICK if command == "compare" else QUICK[:4]), "--data", "data", "--out", "run"]
    check_refused(auglean(command, *words), word, tmp_path / "run")


def test_corrupt_images_can_be_skipped_and_are_counted(auglean, tmp_path):
    a_corrupt_image(tmp_path / "data")
    code, out, _ = auglean("compare", *QUICK, "--data", "data", "--skip-corrupt", "--json", "--out", "run")
    assert code == 0
    data = json.loads(out)["data"]
    assert (data["skipped"], data["train"] + data["validation"] + data["test"]) == (1, 39)


def test_a_folder_that_holds_another_run_is_left_as_it_is(auglean, tmp_path):
    auglean("compare", *QUICK, "--out", "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, out, err = auglean("compare", *QUICK, "--seed", 1, "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds another run" in err
    code, out, err = auglean("compare", "--resume", "--out", "run", "--steps", 9)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "steps 4, not 9" in err
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_data_that_changed_meanwhile_are_not_resumed(auglean, tmp_path):
    folder(tmp_path / "data")
    auglean("compare", *QUICK, "--data", "data", "--out", "run")
    (tmp_path / "data" / "cat" / "0.png").write_bytes(png(seed=999))
    code, out, err = auglean("compare", "--resume", "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "data are not those" in err


def test_a_loss_that_diverges_is_told_with_its_step(auglean, tmp_path):
    words = ["--network", "cnn", "--steps", 40, "--recipe.lr", "1e30", "--out", "run"]
    code, out, err = auglean("fit", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(r"step \d+ of 40", err)
    assert not (tmp_path / "run" / "model.safetensors").exists()


# interruption


def started(out, *words):
    """Start a run and wait until it has written rows."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from auglean.cli import main; sys.exit(main())", *words, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as in this process, since sums depend on it
    )
    while process.poll() is None and not (out / "metrics.jsonl").exists():
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("command", ["compare", "fit"])
def test_ctrl_c_leaves_a_folder_that_can_be_resumed(auglean, tmp_path, command):
    words = ["--network", "mlp", "--steps", 150] + (["--seeds", 1, "--selectors", "random"] * (command == "compare"))
    process = started(tmp_path / "run", command, *map(str, words))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert (tmp_path / "run" / "config.yaml").exists()
    assert not (tmp_path / "run" / "result.json").exists()
    assert auglean(command, "--resume", "--out", "run")[0] == 0
    assert auglean(command, *words, "--out", "whole")[0] == 0
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "whole"))
    assert without_seconds(one) == without_seconds(two)
    assert without_seconds(rows(tmp_path / "run")) == without_seconds(rows(tmp_path / "whole"))


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_ctrl_c_before_the_run_begins_writes_nothing(auglean, monkeypatch, tmp_path):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("auglean.data.splits", interrupted)
    code, out, err = auglean("compare", *QUICK, "--out", "run")
    assert (code, out) == (130, "")
    assert "nothing was written" in err
    assert not (tmp_path / "run").exists()
