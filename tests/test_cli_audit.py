"""`auglean select --audit`: findings are told and are no error; a file that cannot be read is one."""

import json

import pytest

from auglean import cli


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained network and a selection by it."""
    folder = tmp_path_factory.mktemp("audit") / "run"
    assert cli.main(["fit", "--network", "mlp", "--steps", "20", "--out", str(folder)]) == 0
    assert cli.main(["select", "--model", str(folder / "model.safetensors")]) == 0
    return folder


@pytest.fixture
def select(capsys, tmp_path, monkeypatch):
    """Run `auglean select`; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        capsys.readouterr()
        code = cli.main(["select", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_our_selection_is_without_fault_and_better_than_random(run, select):
    code, out, err = select("--audit", run / "selection.json", "--model", run / "model.safetensors")
    assert (code, err) == (0, "")
    assert "!" not in out
    assert "distinct  100 of 100" in out
    assert "10 of 10 have examples" in out
    assert "sum 1,000 for 1,000 examples" in out
    line = next(line for line in out.splitlines() if line.startswith("distance") and "random" in line)
    assert "better than all 20 random" in line
    assert max(map(len, out.splitlines())) <= 80


def test_without_a_model_the_list_alone_is_checked(run, select):
    code, out, _ = select("--audit", run / "selection.json")
    assert code == 0
    assert "distinct  100 of 100" in out
    assert "gradient error, " not in out
    assert "--model" in out.splitlines()[-1]


def test_faults_are_loud_but_no_error(run, select, tmp_path):
    (tmp_path / "chosen.csv").write_text("index,weight\n1,5\n2,3\n2,0\n5000,-1\n")
    code, out, _ = select("--audit", "chosen.csv", "--model", run / "model.safetensors")
    assert code == 0
    loud = [line for line in out.splitlines() if line.startswith("!")]
    assert len(loud) == 4
    assert all(
        any(word in line for line in loud) for word in ("more than once", "not in 0 … 999", "classes", "are negative")
    )


def test_json_on_stdout_and_in_a_file(run, select, tmp_path):
    (tmp_path / "chosen.txt").write_text("1\n2\n2\n")
    words = ["--audit", "chosen.txt", "--model", run / "model.safetensors"]
    code, out, err = select(*words, "--json", "--out", "found.json")
    assert code == 0
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert found["duplicates"] == [2]
    assert len(found["measures"]["objective"]["randoms"]) == 20
    assert err == "Audit: found.json\n"
    code, _, err = select(*words, "--out", "found.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "found.json exists" in err


def test_other_images_are_noticed(run, select):
    code, out, _ = select("--audit", run / "selection.json", "--size", "4")
    assert code == 0
    assert out.splitlines()[1].startswith("! It was chosen from other images")
    code, out, err = select("--audit", run / "selection.json", "--limit", "500")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "chosen from 1000 images, but there are 500" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--audit", "missing.json"], "No such file"),
        (["--audit", "broken.json"], "Cannot read indices from broken.json"),
        (["--audit", "fine.txt", "--model", "missing.safetensors"], "holds no network"),
        (["--audit", "fine.txt", "--selector", "random"], "leave --selector, --budget and --policy out"),
        (["--audit", "fine.txt", "--budget", "5"], "leave --selector, --budget and --policy out"),
        ([], "--audit FILE"),
    ],
)
def test_refusals(select, tmp_path, words, says):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "fine.txt").write_text("1\n")
    code, out, err = select(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_the_help_tells_the_exit_code(capsys):
    with pytest.raises(SystemExit):
        cli.main(["select", "--help"])
    assert "exit code is 0" in " ".join(capsys.readouterr().out.split())
