"""Every example runs, and ends with what it promises."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_has_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"budget_curve", "own_loop", "own_selector"}


def test_own_loop(capsys):
    assert runpy.run_path(str(EXAMPLES / "own_loop.py"))["main"]() > 0.8
    assert "epoch 4: Selection(coreset, 100 of 1000" in capsys.readouterr().out


def test_own_selector():
    table = runpy.run_path(str(EXAMPLES / "own_selector.py"))["main"]()
    assert [arm["name"] for arm in table.arms] == ["weak", "full", "random", "random-each-epoch", "border"]


def test_budget_curve(tmp_path):
    found = runpy.run_path(str(EXAMPLES / "budget_curve.py"))["main"](str(tmp_path))
    assert [arm["name"] for arm in found.arms] == ["random", "influence-proportional", "influence"]
    assert "Which images" in (tmp_path / "report.html").read_text()
