"""The table of the experiments of 2019: a line for each row, and what a row's file holds is what its line tells."""

import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import auglean as al
from auglean import cli
from auglean.files import write_json
from auglean.policies.copies import copies_for
from auglean.studies.curve_policies import arms_of

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import reproduce_2019
import reproduce_rows


@pytest.fixture(scope="module")
def curve():
    """A tiny run as the benchmark keeps it."""
    found = al.budget_curve(
        "digits", selectors="max-loss", network="mlp", steps=20, budgets=[5, 20], rounds=1, transform="mnist-translate",
        sweep=[2, 5],
    )  # fmt: skip
    return reproduce_2019.compact(
        found, SimpleNamespace(options=SimpleNamespace(seen=False), trained_on={"mnist": 1000})
    )


def line(number):
    return next(row for row in reproduce_rows.table().splitlines() if row.startswith(f"| {number} |"))


def test_every_row_of_the_paper_has_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_rows, "RESULTS", tmp_path)
    assert list(reproduce_rows.ROWS) == list(range(1, 24))
    lines = reproduce_rows.table().splitlines()
    assert len(lines) == 2 + 23
    assert all(row.count("not run") == 1 and row.count(" | ") >= 5 for row in lines[2:])
    supplied = [row.split(" | ")[1].startswith("NORB") == ("have to be supplied" in row) for row in lines[2:]]
    assert all(supplied)
    assert sum("have to be supplied" in row for row in lines) == 7
    assert {int(name) for name in reproduce_2019.ROWS if name.isdigit()} <= set(reproduce_rows.ROWS)


@pytest.mark.parametrize("number", [1, 10, 13, 15, 19, 23])
def test_a_line_tells_what_its_file_holds(curve, number, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_rows, "RESULTS", tmp_path)
    write_json(tmp_path / f"row-{number}.json", {"seconds": 12.0, "curves": {"translate": curve}})
    write_json(tmp_path / f"row-{number}-seen.json", {"seconds": 7.0, "curves": {"crop": curve}})
    told = line(number)
    assert "not run" not in told
    assert "translate: " in told
    assert "<br>seen, crop: " in told
    assert "1 round, lenet, 12 s<br>seen: 1 round, lenet, 7 s" in told
    ends = [f"{100 * curve['references'][name]['accuracy']:.2f}" for name in ("floor", "ceiling")]
    if number in (1, 10, 13, 23):
        assert f"{ends[0]} with no copies" in told
        assert f"{ends[1]} with all" in told
    if number in (1, 10, 13):
        budget = curve["answer"]["budget"]
        random = curve["arms"][0]
        accuracy = random["accuracy"][random["budgets"].index(budget)]
        assert f"random at {budget} {100 * accuracy:.2f}" in told
    if number == 15:
        assert "of 2 numbers of clusters the silhouette is highest at" in told


def test_every_command_is_one_that_auglean_understands():
    commands = [line for row in reproduce_rows.ROWS.values() for line in re.findall(r"`(auglean [^`]+)`", row.command)]
    assert len(commands) == 21
    for command in commands:
        name, values = cli._parse(cli._canonical(shlex.split(command)[1:]))
        assert values["data"] in ("MNIST", "CIFAR10", "NORB")
        if name == "curve":
            assert copies_for(values["transform"], channels=1, size=(32, 32)).m in (4, 14)
            arms = arms_of(values["selectors"], values["policies"], values["score"], values["clusters"], n=1000, C=1.0)
            assert arms[0].label == "random"
        else:
            assert al.policies.parse(values["policy"])


def test_budgets_over_the_rank_of_a_kernel_are_told(tmp_path, monkeypatch):
    found = al.budget_curve(
        "digits", selectors="k-dpp", network="lenet", steps=20, budgets=[5, 90], rounds=1, transform="cifar10-translate"
    )
    kept = reproduce_2019.compact(
        found, SimpleNamespace(options=SimpleNamespace(seen=False), trained_on={"cifar10": 1000})
    )
    monkeypatch.setattr(reproduce_rows, "RESULTS", tmp_path)
    write_json(tmp_path / "row-11.json", {"seconds": 12.0, "curves": {"translate": kept}})
    assert "k-dpp cannot choose 90, over the rank of its kernel" in line(11)


def test_other_rows_are_not_taken_for_a_row(curve, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_rows, "RESULTS", tmp_path)
    write_json(tmp_path / "row-12.json", {"seconds": 12.0, "curves": {"translate": curve}})
    assert "not run" in line(1)
    assert "not run" in line(2)
