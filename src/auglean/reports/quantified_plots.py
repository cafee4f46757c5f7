"""The plots of `quantify`: directions, draws, classes, and the loss of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auglean.reports import plots
from auglean.reports.spectrum import plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LINES = ("-", "--", "-.", ":")
_LEAST = 1e-4  # share of the trace that is drawn at least
_FEW = 12  # values of a parameter that are marked one by one


def color(i: int) -> str:
    """Give the colour of the i-th policy."""
    return _COLORS[i % len(_COLORS)]


def spectra(result: Result) -> Figure:
    """Draw what share of the trace each direction holds, and the leading ones together; a line for each policy."""
    made, axes = plots.figure(columns=2)
    for i, row in enumerate(result["policies"]):
        shares = [share for share in row["shares"] if share > _LEAST]
        index = range(1, len(shares) + 1)
        style: dict[str, Any] = {"color": color(i), "linestyle": _LINES[i // len(_COLORS) % 4], "linewidth": 1.6}
        axes[0].plot(index, [100 * share for share in shares], label=row["name"], marker=".", markersize=4, **style)
        held = [100 * math.fsum(row["shares"][:k]) for k in index]
        axes[1].plot(index, held, **style)
    axes[0].set_yscale("log")
    plain_numbers(axes[0].yaxis, "{:g}%")
    axes[0].set_ylabel("share of the trace")
    axes[1].set_ylabel("share of the trace, together, %")
    axes[1].set_ylim(0, 102)
    for level in (90, 99):
        axes[1].axhline(level, color=plots.MUTED, linestyle=":", linewidth=1)
    for ax in axes:
        ax.set_xscale("log")
        plain_numbers(ax.xaxis, "{:,.0f}")
        ax.set_xlabel("direction, by descending variance")
        plots.tidy(ax)
    plots.legend(made, axes[0])
    return made


def draws(result: Result) -> Figure:
    """Draw the relative error of mean and covariance against the number of draws, predicted and measured."""
    made, axes = plots.figure(columns=2, height=3.6)
    for ax, name in zip(axes, ("mean", "covariance"), strict=True):
        error_by_draws(ax, result, name)
    plots.legend(made, axes[0])
    return made


def error_by_draws(ax: Axes, result: Result, name: str) -> Axes:
    """Draw the error of one of the two: a line as predicted, its band, dots as measured, a mark where eps is reached.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        name: `"mean"` or `"covariance"`.
    """
    curve, eps = result["convergence"][name], result["config"]["eps"]
    unit, second = curve["unit"], curve.get("second", 0.0)
    needed = max(1.0, (unit / eps) ** 2)
    first, last = 3.0, max(10.0, 3 * needed, 2 * result["convergence"]["n"][-1])
    n = [first * (last / first) ** (i / 80) for i in range(81)]
    predicted = [math.sqrt(unit**2 / k + second**2 / (k * (k - 1))) for k in n]
    ax.plot(n, predicted, color=plots.INK, linewidth=1.6, label="predicted, root mean square")
    low, high = ([math.sqrt(curve[end] ** 2 / k + second**2 / (k * (k - 1))) for k in n] for end in ("low", "high"))
    ax.fill_between(n, low, high, color=_COLORS[0], alpha=0.18, linewidth=0, label="predicted, 5% to 95%")
    points = [
        (k, error) for k, errors in zip(result["convergence"]["n"], curve["measured"], strict=True) for error in errors
    ]
    ax.plot(*zip(*points, strict=True), "o", color=_COLORS[1], markersize=3.5, alpha=0.8, label="drawn")
    ax.axhline(eps, color=plots.MUTED, linestyle=":", linewidth=1)
    if unit:
        ax.plot([needed], [eps], "D", color=_COLORS[2], markersize=7, label=f"error of {eps:.2g} reached")
        ax.annotate(
            f"{math.ceil(needed):,}",
            (needed, eps),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=plots.INK,
            fontsize=9,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_numbers(ax.xaxis, "{:,.0f}")
    plain_numbers(ax.yaxis, "{:g}")
    ax.set_xlabel("draws")
    ax.set_ylabel(f"relative error of the {name}")
    return plots.tidy(ax)


def classes(result: Result) -> Figure:
    """Draw how far each class is spread and moved: bars with bootstrap intervals, the most changed class on top."""
    rows = result["policies"][0]["classes"]
    made, axes = plots.figure(columns=2, height=0.9 + 0.25 * len(rows["spread"]))
    order = [row["name"] for row in rows["spread"]]
    words = {"spread": "copies from their mean, %", "displacement": "mean from the original, %"}
    for ax, name in zip(axes, words, strict=True):
        by_name = {row["name"]: row for row in rows[name]}
        class_bars(ax, [by_name[label] for label in order])
        ax.set_xlabel(words[name])
    return made


def class_bars(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw a bar for each class, with its interval where there is one."""
    place, means = range(len(rows)), [100 * row["mean"] for row in rows]
    ax.barh(place, means, color=_COLORS[0], alpha=0.55, height=0.62)
    ends = [(row["low"], row["high"]) for row in rows]
    known = [i for i, row in enumerate(rows) if row["images"] > 1]
    if known:
        below, above = ([100 * abs(rows[i]["mean"] - ends[i][side]) for i in known] for side in (0, 1))
        at = [means[i] for i in known]
        ax.errorbar(at, known, xerr=[below, above], fmt="none", ecolor=plots.INK, elinewidth=1.2, capsize=3)
    ax.set_yticks(place, [row["name"] for row in rows])
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    plots.tidy(ax)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", color=plots.GRID, linewidth=0.6)
    return ax


def energy(result: Result) -> Figure:
    """Draw the share of the saliencies in the leading directions, beside that of other images' saliencies."""
    found = result["network"]["alignment"]
    made, axes = plots.figure(height=3.2)
    whole = found["energy"][-1], found["energy_shuffled"][-1]
    # where nothing is left to come, a few more directions show that
    full = next(
        k for k, held in enumerate(zip(found["energy"], found["energy_shuffled"], strict=True)) if held == whole
    )
    index = range(1, min(len(found["energy"]), full + 4) + 1)
    axes[0].plot(
        index, [100 * found["energy"][k - 1] for k in index], color=_COLORS[0], linewidth=1.8, label="its own saliency"
    )
    style: dict[str, Any] = {"color": plots.MUTED, "linestyle": "--", "linewidth": 1.4}
    axes[0].plot(
        index, [100 * found["energy_shuffled"][k - 1] for k in index], label="saliencies of other images", **style
    )
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("share of the saliency, %")
    axes[0].set_xlabel("leading directions of an image's covariance")
    plots.legend(made, plots.tidy(axes[0]))
    return made


def losses(result: Result) -> Figure:
    """Draw the expected loss of each image against its clean loss, and how far single copies are from it."""
    values = result["network"]["values"]
    made, axes = plots.figure(columns=2, height=3.6)
    clean, mean, sd = ([max(value, 1e-6) for value in values[name]] for name in ("clean", "mean", "sd"))
    ends = min(min(clean), min(mean)) / 1.5, max(max(clean), max(mean)) * 1.5
    axes[0].plot(ends, ends, color=plots.MUTED, linestyle="--", linewidth=1)
    axes[0].plot(clean, mean, "o", color=_COLORS[0], markersize=4, alpha=0.7)
    axes[0].set_xlabel("loss of the image as it is")
    axes[0].set_ylabel("expected loss of a copy")
    axes[1].plot(mean, sd, "o", color=_COLORS[1], markersize=4, alpha=0.7)
    axes[1].set_xlabel("expected loss of a copy")
    axes[1].set_ylabel("its standard deviation")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain_numbers(ax.xaxis, "{:g}")
        plain_numbers(ax.yaxis, "{:g}")
        plots.tidy(ax)
    return made


def loss_curves(result: Result) -> Figure:
    """Draw the loss against the strength of each operator: mean of the images, and their middle half."""
    curves, clean = result["network"]["curves"], result["network"]["clean"]
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    made, axes = plots.figure(rows=rows, columns=columns, height=2.6, same_scale=True)
    for ax, curve in zip(axes, curves, strict=False):
        marker = "o" if len(curve["values"]) < _FEW else ""
        ax.fill_between(
            curve["values"], curve["low"], curve["high"], color=_COLORS[0], alpha=0.18, linewidth=0, label="middle half"
        )
        ax.plot(
            curve["values"], curve["mean"], color=_COLORS[0], linewidth=1.8, marker=marker, markersize=4, label="mean"
        )
        ax.axhline(clean, color=plots.MUTED, linestyle="--", linewidth=1, label="mean, images as they are")
        unit = f", {curve['unit']}" if curve["unit"] else ""
        ax.set_xlabel(f"{curve['op']}: {curve['parameter']}{unit}")
        plots.tidy(ax)
    axes[0].set_ylim(bottom=0)  # of all
    for ax in axes[::columns]:
        ax.set_ylabel("loss")
    for ax in axes[len(curves) :]:
        ax.set_visible(False)
    plots.legend(made, axes[0])
    return made
