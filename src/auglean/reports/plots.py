"""The plots of a comparison: functions that draw on an axes and give it back.

Colours belong to selectors and are the same in every plot (Okabe & Ito 2008, told apart by colour-blind readers);
chance is grey and dashed, the two ends of the scale are black.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from auglean.reports.tables import MEASURES, budget_label, is_random, key, place, second_digits, several_roles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that `svg` turns into variables of the page's style sheet, so that they follow a dark mode.
INK, MUTED, FAINT, GRID, PAPER = "#1a1a1a", "#6b6b6b", "#9a9a9a", "#d9d9d9", "#ffffff"
_VARIABLES = {INK: "--ink", MUTED: "--muted", FAINT: "--faint", GRID: "--rule", PAPER: "--paper", "#0072b2": "--mark"}
PHASES = {"select": "#cc79a7", "augment": "#e69f00", "train": GRID}
_SELECTORS = {"coreset": "#0072b2", "max-loss": "#d55e00"}
_OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")
#: The k of a policy that makes training 13 times as long: that of the paper (Liu & Mirzasoleiman 2022).
DEAR = 12
_SIZE = 9
_LEAST_KAPPA = 0.01  # below, all choices are alike

Row = Mapping[str, Any]
Result = Mapping[str, Any]
Histories = Mapping[str, Sequence[Sequence[Mapping[str, float]]]]


def styles(result: Result) -> dict[str, dict[str, Any]]:
    """Give each arm's name its line: the same in every plot of a result.

    >>> styles({"arms": [{"name": "full"}, {"name": "coreset"}]})["coreset"]["color"]
    '#0072b2'
    """
    names = dict.fromkeys(row["name"] for row in result["arms"])
    fixed: dict[str, dict[str, Any]] = {
        "weak": {"color": INK, "linestyle": ":", "marker": ""},
        "full": {"color": INK, "linestyle": "-", "marker": ""},
        "random": {"color": FAINT, "linestyle": "--", "marker": "s", "markerfacecolor": PAPER},
        "random-each-epoch": {"color": MUTED, "linestyle": "-.", "marker": "D", "markerfacecolor": PAPER},
        **{name: {"color": color, "linestyle": "-", "marker": "o"} for name, color in _SELECTORS.items()},
    }
    spare = [name for name in names if name not in fixed]
    for i, name in enumerate(spare):
        if is_random({"name": name}):
            fixed[name] = {"color": FAINT, "linestyle": ":", "marker": "x"}
            continue
        fixed[name] = {"color": _OTHERS[i % len(_OTHERS)], "linestyle": "-", "marker": "^v<>"[i // len(_OTHERS) % 4]}
    return {name: fixed[name] for name in names}


def accuracy_by_budget(ax: Axes, result: Result, *, measure: str, role: str) -> Axes:
    """Draw test accuracy against the share of images chosen: a line per selector, mean ± spread over seeds.

    The arms “weak” and “full” are horizontal lines with their own spread as a band.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        measure: `"clean"` or `"transformed"`.
        role: The role whose arms are drawn.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    column, look, n = MEASURES[measure], styles(result), result["data"]["train"]
    rows = [row for row in result["arms"] if row["role"] == role]
    names = list(dict.fromkeys(row["name"] for row in rows))
    shares = sorted({100 * row["count"] / n for row in rows})
    ends = shares[0] / 1.35, shares[-1] * 1.35
    step = max(0.03, 0.02 * math.log(ends[1] / ends[0]))
    for i, name in enumerate(names):
        mine = sorted((row for row in rows if row["name"] == name), key=lambda row: int(row["count"]))
        nudge = math.exp(step * (i - (len(names) - 1) / 2))  # side by side, so that no bar hides another
        x = [100 * row["count"] / n * nudge for row in mine]
        y = [100 * row[column]["mean"] for row in mine]
        spread = [100 * row[column]["std"] for row in mine]
        ax.errorbar(x, y, yerr=spread, fmt="none", ecolor=look[name]["color"], elinewidth=1, capsize=2)
        ax.plot(x, y, label=name, markersize=5, linewidth=1.5, **look[name])
    _level(ax, result, column, look)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(shares))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{share:.3g}%" for share in shares])
    ax.set_xlim(*ends)
    ax.set_xlabel("share of the images chosen" if role == "subset" else "share of the images augmented")
    ax.set_ylabel(f"test accuracy, {measure}, %")
    return tidy(ax)


def _level(ax: Axes, result: Result, column: str, look: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the two ends of the scale."""
    labels = {}
    for row in (row for row in result["arms"] if row["budget"] is None):
        mean, std, color = 100 * row[column]["mean"], 100 * row[column]["std"], look[row["name"]]["color"]
        ax.axhline(mean, color=color, linestyle=look[row["name"]]["linestyle"], linewidth=1.2)
        if std:
            ax.axhspan(mean - std, mean + std, color=color, alpha=0.08, linewidth=0)
        labels[f"{row['name']} {mean:.1f}"] = mean
    _end_labels(ax, labels)


def _end_labels(ax: Axes, labels: Mapping[str, float]) -> None:
    """Write two labels at the right ends of their lines; where the lines are close, away from each other."""
    (low, below), (high, above) = sorted(((y, text) for text, y in labels.items()))
    bottom, top = ax.get_ylim()
    close = high - low < 0.08 * (top - bottom)
    for y, text, side in ((low, below, "top"), (high, above, "bottom")):
        ax.annotate(
            text,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va=side if close else "center_baseline",
            color=INK,
            fontsize=_SIZE,
            annotation_clip=False,
        )


def accuracy_by_seconds(
    ax: Axes, result: Result, histories: Histories, *, measure: str, role: str, budget: float | int
) -> Axes:
    """Draw validation accuracy while training against seconds, choosing included: a line per arm, mean over seeds.

    Bands reach from the lowest to the highest seed. The horizontal lines are the levels of “weak” and of 99% of
    “full”, to which the table's seconds to reach refer.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        histories: For each arm, the rows of each seed's run.
        measure: `"clean"` or `"transformed"`.
        role: The role whose arms are drawn.
        budget: The budget whose arms are drawn; “weak” and “full” are always there.
    """
    column, look = MEASURES[measure], styles(result)
    for row in result["arms"]:
        if place(row) not in ((role, str(budget)), (None, "None")):
            continue
        style = {**look[row["name"]], "marker": ""}
        runs = histories[key(row)]
        points = list(zip(*runs, strict=True))  # every seed's run has a row at the same steps
        seconds = [_mean([r["seconds"] for r in point]) for point in points]
        seen = [[100 * r[column] for r in point] for point in points]
        if len(runs) > 1:
            low, high = [min(values) for values in seen], [max(values) for values in seen]
            ax.fill_between(seconds, low, high, color=style["color"], alpha=0.12, linewidth=0)
        ax.plot(seconds, [_mean(values) for values in seen], label=row["name"], linewidth=1.6, **style)
    first, suffix = result["arms"][0], column.removeprefix("accuracy")
    levels = {
        "weak": 100 * first[f"seconds_to_weak{suffix}"]["target"],
        "99% of full": 100 * first[f"seconds_to_full99{suffix}"]["target"],
    }
    for y in levels.values():
        ax.axhline(y, color=MUTED, linewidth=0.6)
    _end_labels(ax, levels)
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds of choosing, augmenting and training")
    ax.set_ylabel(f"validation accuracy, {measure}, %")
    ax.set_title(f"budget {budget_label(budget)}", loc="left", fontsize=_SIZE, color=INK)
    return tidy(ax)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def seconds_by_phase(ax: Axes, result: Result) -> Axes:
    """Draw where the time went: a bar per arm of the seconds to select, augment and train, mean over seeds.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
    """
    arms: Sequence[Row] = result["arms"]
    groups = list(dict.fromkeys(place(row) for row in arms))
    y = [i + 0.6 * groups.index(place(row)) for i, row in enumerate(arms)]  # a gap between groups
    left = [0.0] * len(arms)
    for phase, color in PHASES.items():
        width = [row["seconds"][phase] for row in arms]
        ax.barh(y, width, left=left, color=color, height=0.72, label=phase, linewidth=0)
        left = [a + b for a, b in zip(left, width, strict=True)]
    for at, row in zip(y, arms, strict=True):
        total = row["seconds"]["total"]
        ax.annotate(
            f"{total:,.{second_digits(result)}f} s",
            (total, at),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=_SIZE,
        )
    ax.set_yticks(y, [arm_label(row, result) for row in arms], parse_math=False)
    ax.set_ylim(y[-1] + 0.6, y[0] - 0.6)
    ax.set_xlim(0, 1.1 * max(left))
    ax.set_xlabel("seconds per run, mean over seeds")
    tidy(ax).tick_params(axis="y", length=0)
    ax.grid(False)
    return ax


def speedup_by_share(ax: Axes, result: Result) -> Axes:
    """Draw what the speed-up over `full` may be at as many epochs, by share augmented; measured arms are marks.

    The lines are `S(f) = (1 + k) / (1 + f·k)`, of choices that cost nothing: for the k of this comparison, for
    `DEAR`, and for a policy beside which training costs nothing.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    told = [row for row in result["arms"] if row.get("speedup_model")]
    look, k = styles(result), told[0]["speedup_model"]["k"]
    least = min(0.05, *(row["speedup_model"]["f"] for row in told))
    shares = [least ** (1 - i / 100) for i in range(101)]
    x = [100 * share for share in shares]
    ax.plot(x, [1 / share for share in shares], color=MUTED, linestyle=":", linewidth=1.2, label="at most 1/f")
    for cost, color, name in ((DEAR, FAINT, f"k = {DEAR}"), (k, INK, f"k = {k:.2f}, as here")):
        ax.plot(x, [(1 + cost) / (1 + share * cost) for share in shares], color=color, linewidth=1.5, label=name)
    for name in dict.fromkeys(row["name"] for row in told):
        mine = [row["speedup_model"] for row in told if row["name"] == name]
        style = {**look[name], "linestyle": "", "marker": look[name]["marker"] or "o"}
        ax.plot(
            [100 * m["f"] for m in mine], [m["measured_equal_epochs"] for m in mine], label=name, markersize=6, **style
        )
    ax.axhline(1, color=MUTED, linewidth=0.6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    ax.set_xlabel("share of the images augmented, %")
    ax.set_ylabel("speed-up over full, equal epochs")
    return tidy(ax)


def kappa_by_step(ax: Axes, result: Result, *, role: str, budget: float | int) -> Axes:
    """Draw the gradient error κ of the choice in use over training: a line per arm, with a mark at each new choice.

    The first seed's line is strong, the other seeds' are faint. With `reselect_above` that level is drawn too.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        role: The role whose arms are drawn.
        budget: The budget whose arms are drawn.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    look, threshold = styles(result), result["config"].get("reselect_above")
    for row in result["arms"]:
        if place(row) != (role, str(budget)):
            continue
        style = {"linewidth": 1.5, "markersize": 5, **look[row["name"]]}
        for i, run in enumerate(row.get("kappa", [])):
            told = [one for one in run if one["kappa"] is not None]
            x, y = [one["step"] for one in told], [max(one["kappa"], _LEAST_KAPPA) for one in told]
            if i:
                ax.plot(x, y, **{**style, "linewidth": 0.8, "alpha": 0.35, "marker": ""})
            else:
                marks = [at for at, one in enumerate(told) if one["reselected"]]
                ax.plot(x, y, label=row["name"], markevery=marks, **style)
    ax.set_yscale("log")
    if threshold is not None:
        ax.axhline(threshold, color=MUTED, linewidth=0.6)
        ax.annotate(
            f"above {threshold:g}:\nnew choice",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=_SIZE,
            annotation_clip=False,
        )
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("step")
    ax.set_ylabel("gradient error κ")
    ax.set_title(f"budget {budget_label(budget)}", loc="left", fontsize=_SIZE, color=INK)
    return tidy(ax)


def arm_label(row: Row, result: Result) -> str:
    """Name an arm with its budget, and with its role where there are several."""
    if row["budget"] is None:
        return str(row["name"])
    role = f", {row['role']}" if several_roles(result) else ""
    return f"{row['name']}, {budget_label(row['budget'])}{role}"


def tidy(ax: Axes) -> Axes:
    """Give an axes the look of the page: faint grid, no box."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED)
    ax.set_axisbelow(True)
    ax.grid(True, axis="y", color=GRID, linewidth=0.6)
    ax.tick_params(colors=INK, labelsize=_SIZE, color=MUTED)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=INK, fontsize=_SIZE)
    return ax


def figure(
    *, rows: int = 1, columns: int = 1, height: float = 3.2, same_scale: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of the page's width with a grid of axes, without pyplot and its state.

    Args:
        rows: Of axes.
        columns: Of axes.
        height: Of a row, in inches.
        same_scale: Whether all axes have one y-axis.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(10.0, height * rows), layout="constrained")
    made.patch.set_alpha(0)
    axes = made.subplots(rows, columns, squeeze=False, sharey=same_scale)
    for ax in axes.flat:
        ax.patch.set_alpha(0)
    return made, list(axes.flat)


def legend(made: Figure, ax: Axes) -> None:
    """Put one legend for the whole figure above it, with the lines of one of its axes, in as many rows as it needs."""
    handles, labels = ax.get_legend_handles_labels()
    made.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=next(n for n in range(6, 0, -1) if n == 1 or _columns_width(labels, n) < made.get_figwidth()),
        frameon=False,
        fontsize=_SIZE,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.6,
    )


def _columns_width(labels: Sequence[str], columns: int) -> float:
    """Estimate how wide a legend is that has so many columns, in inches."""
    rows, longer = divmod(len(labels), columns)  # matplotlib fills the first ones with one more
    cuts = [i * rows + min(i, longer) for i in range(columns + 1)]
    return sum(0.68 + 0.07 * max(map(len, labels[i:j]), default=0) for i, j in pairwise(cuts))


def svg(made: Figure, *, name: str, label: str) -> str:
    """Render a figure as an SVG element to stand in a page: text as text, ink as the page's own.

    Args:
        made: The figure.
        name: Distinguishes the element's references from those of the others in the page.
        label: What the picture shows, for those who cannot see it.
    """
    from html import escape
    from io import StringIO

    import matplotlib

    out = StringIO()
    # the SVG writer takes these two from nowhere else; the context puts them back
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        made.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[A-Za-z0-9_.]+">', "<g>", text)  # nothing refers to these, and they repeat in each figure
    for color, variable in _VARIABLES.items():
        text = re.sub(rf"(fill|stroke): {color}", rf"\1: var({variable}, {color})", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
