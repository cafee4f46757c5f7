"""The table of a comparison: once as cells, and from these for terminals, Markdown and the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

#: What stands where there is no number.
MISSING = "–"
#: Marks an arm that chance was ahead of.
BEHIND = "▾"
#: The field of a row that holds the accuracy, for each test set.
MEASURES = {"clean": "accuracy", "transformed": "accuracy_transformed"}
#: The roles in words.
ROLES = {
    "full+subset": "all originals, and augmented copies of the chosen",
    "subset+subset": "the chosen, and augmented copies of them",
    "random+subset": "as many originals at random, and augmented copies of the chosen",
    "subset": "the chosen alone, not augmented",
}

Row = Mapping[str, Any]
Result = Mapping[str, Any]


class Cell(NamedTuple):
    """A number as text, its spread or interval, and, where it is missing, why."""

    text: str
    extra: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.extra}".strip()


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the heading of its group, its own, what it means, and its cell for a row."""

    group: str
    head: str
    meaning: str
    cell: Callable[[Row], Cell]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: the arm's name, its cells, and by how much chance was ahead of it, if it was."""

    name: str
    cells: tuple[Cell, ...]
    behind: str = ""
    spoken: bool = False

    @property
    def marked(self) -> str:
        """The name, marked where chance was ahead."""
        return self.name + f" {BEHIND}" * bool(self.behind)


class Group(NamedTuple):
    """The lines of one role and budget; both are empty for the two ends of the scale."""

    role: str
    budget: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole table: columns, and groups of lines."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]

    @property
    def reasons(self) -> list[str]:
        """Why numbers are missing, each reason once, in the order of the table."""
        cells = [cell for group in self.groups for line in group.lines for cell in line.cells]
        return list(dict.fromkeys(cell.why for cell in cells if cell.why))

    @property
    def extra_widths(self) -> list[int]:
        """The longest spread or interval of each column, in characters."""
        lines = [line for group in self.groups for line in group.lines]
        return [max(len(line.cells[i].extra) for line in lines) for i in range(len(self.columns))]

    @property
    def any_behind(self) -> bool:
        """Whether chance was ahead of any selector."""
        return any(line.behind for group in self.groups for line in group.lines)


def key(row: Row) -> str:
    """Name an arm as the run folder and the histories do."""
    return str(row["name"]) if row["budget"] is None else f"{row['name']}-{row['budget']}-{row['role']}"


def place(row: Row) -> tuple[str | None, str]:
    """Give the role and the budget of an arm, such that a count of 1 is not taken for the fraction 1.0."""
    return row["role"], str(row["budget"])


def is_random(row: Row) -> bool:
    """Whether an arm drew at random whom to augment."""
    return re.match(r"random\b", row["name"]) is not None


def budget_label(budget: float | int) -> str:
    """Write a budget as a user would.

    >>> budget_label(0.125), budget_label(2000)
    ('12.5%', '2,000 images')
    """
    return f"{100 * budget:.3g}%" if isinstance(budget, float) else f"{budget:,} image{'s' * (budget != 1)}"


def several_roles(result: Result) -> bool:
    """Whether the arms differ in role."""
    return len({row["role"] for row in result["arms"]} - {None}) > 1


def second_digits(result: Result) -> int:
    """Count the decimals that seconds are written with, the same in the whole report."""
    longest = max(row["seconds"]["total"] for row in result["arms"])
    return 2 if longest < 10 else 1 if longest < 100 else 0


def layout(result: Result) -> Layout:
    """Lay the rows of a `compare` result out as cells.

    Args:
        result: What `result.json` holds.
    """
    arms: Sequence[Row] = result["arms"]
    groups: dict[tuple[str | None, str], list[Line]] = {}
    firsts: dict[tuple[str | None, str], Row] = {}
    columns = _columns(result)
    for row in arms:
        line = Line(
            name=row["name"],
            cells=tuple(column.cell(row) for column in columns),
            behind=_behind(row, arms, MEASURES[result["headline"]]),
            spoken=key(row) == result["answer"]["best"],
        )
        groups.setdefault(place(row), []).append(line)
        firsts.setdefault(place(row), row)
    found = [
        Group((row["role"] or "") * several_roles(result), _share(row), tuple(groups[where]))
        for where, row in firsts.items()
    ]
    return Layout(tuple(columns), tuple(found))


def _share(row: Row) -> str:
    if row["budget"] is None:
        return ""
    label = budget_label(row["budget"])
    return f"{label}, {budget_label(row['count'])}" if isinstance(row["budget"], float) else label


def _behind(row: Row, arms: Sequence[Row], column: str) -> str:
    """Say by how much the better random arm of the same role and budget was ahead of a selector, if it was."""
    peers = [a for a in arms if is_random(a) and place(a) == place(row)]
    if is_random(row) or not peers:
        return ""
    measure = next(name for name, known in MEASURES.items() if known == column)
    rival = max(peers, key=lambda peer: float(peer["validation"][measure]))  # nothing is chosen on test images
    lead = rival[column]["mean"] - row[column]["mean"]
    if lead <= 0:
        return ""
    pairs = list(zip(rival[column]["values"], row[column]["values"], strict=True))
    won = sum(theirs > ours for theirs, ours in pairs)
    return f"{rival['name']} was ahead by {100 * lead:.1f} points, in {won} of {len(pairs)} seeds"


def _columns(result: Result) -> list[Column]:
    headline = result["headline"]
    suffix = MEASURES[headline].removeprefix("accuracy")
    digits = second_digits(result)

    def accuracy(column: str) -> Callable[[Row], Cell]:
        def cell(row: Row) -> Cell:
            value = row[column]
            extra = f"± {100 * value['std']:.1f}" if len(value["values"]) > 1 else ""
            return Cell(f"{100 * value['mean']:.1f}", extra)

        return cell

    def gain(row: Row) -> Cell:
        kept = row[f"gain_kept{suffix}"]
        if kept["mean"] is None:
            return Cell(MISSING, why=f"Gain kept: {kept.get('reason', 'there was no clear gain')}.")
        if row["name"] in ("weak", "full"):  # by definition, so an interval would say nothing
            return Cell(f"{100 * kept['mean']:.0f}")
        return Cell(_whole(kept["mean"]), f"[{_whole(kept['low'])}, {_whole(kept['high'])}]")

    def seconds(phase: str) -> Callable[[Row], Cell]:
        return lambda row: Cell(f"{row['seconds'][phase]:,.{digits}f}")

    def reach(name: str) -> Callable[[Row], Cell]:
        def cell(row: Row) -> Cell:
            found = row[f"seconds_to_{name}{suffix}"]
            if found["mean"] is None:
                return Cell(MISSING, why="Seconds to reach: not every seed reached that accuracy.")
            return Cell(f"{found['mean']:,.{digits}f}")

        return cell

    def error(row: Row) -> Cell:
        if row["gradient_error"] is None:
            chosen = row["budget"] is not None
            why = "no choice of this arm was measured" if chosen else "this arm chooses nothing"
            return Cell(MISSING, why=f"Gradient error: {why}.")
        return Cell(f"{row['gradient_error']:.2f}")

    tests, spent, until = "Test accuracy, %", "Seconds per run", "Seconds to reach"
    level = f"validation accuracy ({headline} images)"
    return [
        Column(
            tests,
            "clean",
            "On the test images as they are: mean ± standard deviation over seeds.",
            accuracy("accuracy"),
        ),
        Column(
            tests,
            "transformed",
            "On test images changed by the policy: mean ± standard deviation over seeds.",
            accuracy("accuracy_transformed"),
        ),
        Column(
            "Gain kept, %",
            headline,
            f"Share of the gain of augmenting everything on the {headline} test images, with its 95% interval.",
            gain,
        ),
        Column(
            "Images",
            "augmented",
            "Augmented copies made in a whole run, mean over seeds.",
            lambda row: Cell(f"{row['images_augmented']:,}"),
        ),
        Column(spent, "select", "Asking the network or keeping what it says, and choosing.", seconds("select")),
        Column(spent, "augment", "Applying the policy.", seconds("augment")),
        Column(spent, "train", "The rest of every step.", seconds("train")),
        Column(
            spent, "total", "Select, augment and train together; measuring accuracy is not counted.", seconds("total")
        ),
        Column(until, "weak", f"Until the final {level} of the arm “weak”, choosing included.", reach("weak")),
        Column(until, "99% of full", f"Until 99% of the final {level} of the arm “full”.", reach("full99")),
        Column(
            "Speed-up",
            "over full",
            "Seconds of the arm “full” over the seconds of this one, at equal steps.",
            lambda row: Cell(f"{row['speedup']:.2f}"),
        ),
        Column(
            "Gradient",
            "error",
            "Relative gradient error of the choice: 0 is perfect, 1 is what choosing nothing would give.",
            error,
        ),
    ]


def _whole(share: float) -> str:
    return f"{round(100 * share):,}".replace("-", "−")


def markdown_table(result: Result) -> str:
    """Give the table of a `compare` result in Markdown, notes below it.

    Args:
        result: What `result.json` holds.

    >>> from auglean import compare
    >>> table = markdown_table(compare("digits", steps=5, seeds=1, network="mlp").result)
    >>> print(table.splitlines()[0][:60])
    | arm | budget | test accuracy, %: clean | test accuracy, %:
    """
    plan = layout(result)
    heads = ["arm", "budget", *(_join(column) for column in plan.columns)]
    rows = [heads, ["---", "---", *("---:" for _ in plan.columns)]]
    for group in plan.groups:
        chosen = ": ".join(filter(None, group[:2]))
        for line in group.lines:
            rows.append([line.marked, chosen, *(str(cell) for cell in line.cells)])
    table = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    return "\n".join([*table, *(f"\n{note}" for note in notes(result))]) + "\n"


def _join(column: Column) -> str:
    group = column.group[0].lower() + column.group[1:]
    return f"{group} {column.head}" if column.group in ("Images", "Speed-up", "Gradient") else f"{group}: {column.head}"


#: The columns of `speedup_lines`.
SPEEDUP_HEADS = ("arm", "budget", "k", "s", "equal steps", "model", "equal epochs", "model", "at most 1/f")


def speedup_lines(result: Result) -> list[tuple[str, ...]]:
    """Hold the speed-ups over `full` against the model of `auglean.studies.summary.speedup_model`, an arm a line.

    Args:
        result: What `result.json` holds; one of an earlier version has no such lines.
    """
    lines = []
    for row in result["arms"]:
        model = row.get("speedup_model")
        if model:
            names = ("equal_steps", "measured_equal_epochs", "equal_epochs")
            gains = [row["speedup"], *(model[name] for name in names), 1 / model["f"]]
            numbers = (f"{value:.2f}" for value in (model["k"], model["s"], *gains))
            lines.append((row["name"], budget_label(row["budget"]), *numbers))
    return lines


def speedup_table(result: Result) -> str:
    """Give `speedup_lines` in Markdown; nothing if there are none.

    Args:
        result: What `result.json` holds.

    >>> from auglean import compare
    >>> print(speedup_table(compare("digits", steps=5, seeds=1, network="mlp").result)[:24])
    | arm | budget | k | s |
    """
    lines = speedup_lines(result)
    rule = ["---", "---", *("---:" for _ in SPEEDUP_HEADS[2:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ([SPEEDUP_HEADS, rule, *lines] if lines else []))


def notes(result: Result) -> list[str]:
    """Say what a reader needs below the table: where chance was ahead, and why numbers are missing."""
    plan = layout(result)
    found = []
    if plan.any_behind:
        found.append(f"{BEHIND} a random choice of as many images was ahead on the {result['headline']} test images.")
    return found + [f"{MISSING} {reason}" for reason in plan.reasons]


def comparison_table(result: Result, *, width: int | None = None) -> Table:
    """Give the table of a `compare` result for a terminal: a line per arm, or two where it is narrow.

    Args:
        result: What `result.json` holds.
        width: Characters in a line; by default as many as the terminal has.

    >>> from auglean import compare
    >>> comparison_table(compare("digits", steps=5, seeds=1, network="mlp").result, width=80).row_count > 6
    True
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=width)
    plan = layout(result)
    single = [(i,) for i in range(len(plan.columns))]
    # accuracies and gain above their spreads, and the others in pairs, one above the other
    paired = [(0,), (1,), (2,), (4, 5), (6, 7), (8, 9), (10, 11)]
    endless = console.options.update(max_width=10_000)
    for parts, padding in ((single, 2), (single, 1), (paired, 1), (paired, 0)):
        table = _table(result, plan, parts, padding=padding, stacked=parts is paired)
        if Measurement.get(console, endless, table).maximum <= console.width:
            break
    return table


def _table(
    result: Result, plan: Layout, parts: Sequence[tuple[int, ...]], *, padding: int, stacked: bool = False
) -> Table:
    """Build the table; a part is a column of it: a cell with its spread, or two cells, one above the other."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    augmented = next(i for i, column in enumerate(plan.columns) if column.head == "augmented")
    table = Table(
        title=Text(_title(result)),
        title_justify="left",
        title_style="bold",
        caption=Text("\n".join(["", *notes(result)])),
        caption_justify="left",
        caption_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, padding, 0, 0),
        pad_edge=False,
    )
    table.add_column("arm\nimages augmented" if stacked else "\narm", overflow="fold")
    for part in parts:
        table.add_column(_heading([plan.columns[i] for i in part], stacked), justify="right", no_wrap=True)
    for group in plan.groups:
        table.add_section()
        if group.budget:
            table.add_row(Text("\n".join(filter(None, group[:2])), "bold"))
        for line in group.lines:
            name = f"{line.marked}\n  {line.cells[augmented].text}" if stacked else line.marked
            cells = [[line.cells[i] for i in part] for part in parts]
            # as Text, so that an interval is not taken for markup
            table.add_row(Text(name), *(Text(_stack(part) if stacked else str(part[0])) for part in cells))
    return table


def _stack(cells: Sequence[Cell]) -> str:
    return "\n".join(cell.text for cell in cells) if len(cells) > 1 else f"{cells[0].text}\n{cells[0].extra}"


def _heading(columns: Sequence[Column], stacked: bool) -> str:
    short = {"weak": "to weak", "99% of full": "to 99%", "over full": "speed-up", "error": "grad. err."}
    heads = [short.get(column.head, column.head) for column in columns]
    if len(heads) == 2:
        return "\n".join(heads)
    if columns[0].group.startswith("Gain"):
        return "gain kept\n[95% int.]" if stacked else "gain kept\n[95% interval]"
    if stacked:
        return f"{heads[0]}\n± std"
    over = {"clean": "test accuracy", "transformed": "test accuracy", "augmented": "images"}
    return f"{over.get(columns[0].head, '')}\n{heads[0]}"


def _title(result: Result) -> str:
    config, data = result["config"], result["data"]
    runs = f"{config['seeds']} seed{'s' * (config['seeds'] != 1)}"
    return (
        f"{data['name']}: {data['train']:,} training images, {config['steps']:,} steps, {runs}\n"
        f"in % and seconds; gain kept and times to reach on {result['headline']} images"
    )
