"""Tables for terminals of every width and for Markdown: the numbers of the result, all of them, legible."""

import copy
import io
import re

import pytest
from reports_runs import compared
from rich.console import Console

from auglean.reports import comparison_table, markdown_table
from auglean.reports.tables import budget_label, key, layout, second_digits


def printed(result, width):
    out = io.StringIO()
    Console(file=out, width=width).print(comparison_table(result, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_terminal_table_fits_and_holds_every_number(tiny, width):
    text = printed(tiny.result, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    lines = text.splitlines()
    starts = [
        i for i, line in enumerate(lines) if line.split() and line.split()[0] in {arm["name"] for arm in tiny.arms}
    ]
    assert [lines[i].split()[0] for i in starts] == [arm["name"] for arm in tiny.arms]
    for i, line in zip(starts, (line for group in layout(tiny.result).groups for line in group.lines), strict=True):
        block = " ".join(lines[i : i + 2]).split()
        for cell in line.cells:
            assert set(str(cell).split()) <= set(block), cell


def test_wide_terminals_get_one_line_for_an_arm(tiny):
    lines = iter(printed(tiny.result, 200).splitlines())
    for wanted in (line for group in layout(tiny.result).groups for line in group.lines):
        shown = next(line for line in lines if line.split()[:1] == [wanted.name])
        assert shown.split()[-1] == wanted.cells[-1].text
        assert all(str(cell) in shown for cell in wanted.cells)


def test_text_that_looks_like_markup_is_printed_as_it_is(tiny):
    result = copy.deepcopy(dict(tiny.result))
    result["data"]["name"] = "[red]set[/]"
    result["arms"][3]["name"] = "random-[bold]x"
    text = printed(result, 200)
    assert "[red]set[/]" in text
    assert "random-[bold]x" in text


def test_rows_are_grouped_by_role_and_budget():
    found = compared("digits", steps=2, seeds=1, budgets=[0.1, 30], role=["full+subset", "subset"], selectors="random")
    groups = layout(found.result).groups
    assert [(group.role, group.budget) for group in groups] == [
        ("", ""),
        ("full+subset", "10%, 100 images"),
        ("full+subset", "30 images"),
        ("subset", "10%, 100 images"),
        ("subset", "30 images"),
    ]
    assert [len(group.lines) for group in groups] == [2, 2, 2, 2, 2]
    assert "subset\n30 images" in re.sub(r" +\n", "\n", printed(found.result, 80))
    assert set(found.histories) == {key(arm) for arm in found.arms}


def test_markdown_is_a_table_with_the_numbers_of_the_result(tiny):
    text = markdown_table(tiny.result)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {14}
    assert len(rows) == 2 + len(tiny.arms)
    for row, arm in zip(rows[2:], tiny.arms, strict=True):
        assert row[0].split()[0] == arm["name"]
        assert row[2] == f"{100 * arm['accuracy']['mean']:.1f} ± {100 * arm['accuracy']['std']:.1f}"
        assert row[5] == f"{arm['images_augmented']:,}"
        assert row[9] == f"{arm['seconds']['total']:.2f}"
    assert rows[2][4] in ("0", "–")
    assert "Gradient error: this arm chooses nothing." in text


def test_bars_in_names_do_not_cut_markdown_cells(tiny):
    result = copy.deepcopy(dict(tiny.result))
    result["arms"][2]["name"] = "a|b"
    line = next(line for line in markdown_table(result).splitlines() if "a\\|b" in line)
    assert len(re.split(r"(?<!\\)\|", line)) == 16


def test_the_spoken_arm_is_the_answers(tiny):
    lines = [line for group in layout(tiny.result).groups for line in group.lines]
    spoken = [arm for line, arm in zip(lines, tiny.arms, strict=True) if line.spoken]
    assert [key(arm) for arm in spoken] == [tiny.result["answer"]["best"]]


@pytest.mark.parametrize(("total", "digits"), [(9.99, 2), (10.0, 1), (99.9, 1), (100.0, 0)])
def test_seconds_are_written_to_the_precision_of_the_longest(total, digits):
    assert second_digits({"arms": [{"seconds": {"total": 0.5}}, {"seconds": {"total": total}}]}) == digits


@pytest.mark.parametrize(
    ("budget", "label"),
    [(0.1, "10%"), (0.005, "0.5%"), (1.0, "100%"), (1, "1 image"), (12000, "12,000 images")],
)
def test_budgets_read_as_they_were_given(budget, label):
    assert budget_label(budget) == label
