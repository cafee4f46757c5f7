"""What the README shows is run, and what it tabulates is what the result files hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import auglean as al

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_snippets_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(snippets) == 2
    model = al.networks.create("mlp", channels=1, classes=10, size=(8, 8))
    before = [weight.clone() for weight in model.parameters()]
    scope = {"torch": torch, "model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    for snippet in snippets:
        exec(snippet, scope)
    assert "coreset" in capsys.readouterr().out
    assert scope["sampler"].selection.how["selector"] == "coreset"
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert scope["loss"].item() < 1.0


def test_the_loop_is_ten_lines_at_most():
    loop = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[1]
    assert len(loop.strip().splitlines()) <= 10


def test_tables_are_those_of_the_result_files():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["demo", "test", "lint", "format", "setup", "tables"])
def test_make_targets_that_are_spoken_of_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
