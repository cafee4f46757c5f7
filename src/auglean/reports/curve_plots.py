"""The plots of a budget curve: functions that draw on an axes and give it back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auglean.reports import plots
from auglean.reports.curve_arms import Arm, Panel, Result, baseline, is_baseline
from auglean.reports.plots import INK, MUTED, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "marker": "o"},
    {"color": "#d55e00", "marker": "^"},
    {"color": "#009e73", "marker": "v"},
    {"color": "#cc79a7", "marker": "D"},
    {"color": "#e69f00", "marker": "P"},
    {"color": "#56b4e9", "marker": "X"},
)
_RANDOM: dict[str, Any] = {"color": MUTED, "marker": "s", "linestyle": "--", "markerfacecolor": PAPER}
_BEFORE, _AFTER = "#0072b2", "#d55e00"
_SIZE = 9
#: A distribution is wide whose maximum is so many times its median.
_WIDE = 20
#: What is shown of a wide one, from its maximum down.
_SMALL = 1e-6
#: Scores under this are zero to a picture.
_TINY = 1e-290


def styles(panel: Panel) -> dict[str, dict[str, Any]]:
    """Give each arm of a panel its line, by label; chance is grey and dashed."""
    others = [arm["name"] for arm in panel.arms if not is_baseline(arm)]
    found = {name: {"linestyle": "-", **_LOOKS[i % len(_LOOKS)]} for i, name in enumerate(others)}
    return {arm["name"]: _RANDOM if is_baseline(arm) else found[arm["name"]] for arm in panel.arms}


def curve(panel: Panel, result: Result) -> Figure:
    """Draw accuracy against budget, and beside it the distance from random.

    Args:
        panel: The arms.
        result: What `result.json` holds.
    """
    made, axes = plots.figure(columns=2, height=3.7)
    accuracy_by_budget(axes[0], panel, result)
    over_random(axes[1], panel, result)
    plots.legend(made, axes[0])
    return made


def accuracy_by_budget(ax: Axes, panel: Panel, result: Result) -> Axes:
    """Draw test accuracy against budget: a line per arm from the floor on, with the floor, the ceiling and the bands.

    Args:
        ax: Drawn on.
        panel: The arms.
        result: What `result.json` holds.
    """
    look, floor = styles(panel), result["references"]["floor"]["accuracy"]["mean"]
    for arm in panel.arms:
        points = [point for point in arm["points"] if point["budget"] > 0]
        x, style = [0, *(point["budget"] for point in points)], look[arm["name"]]
        y = [100 * floor, *(100 * point["accuracy"]["mean"] for point in points)]
        low, high = ([100 * point["interval"][side] for point in points] for side in ("low", "high"))
        ax.fill_between(x[1:], low, high, color=style["color"], alpha=0.06, linewidth=0)
        ax.plot(x, y, label=arm["name"], markersize=4.5, linewidth=1.5, markevery=slice(1, None), **style)
    marks = {"floor": ":", "ceiling": "-", "ceiling_downweighted": "-."}
    levels = {}
    for name, line in marks.items():
        if name == "ceiling_downweighted" and not any(arm["downweight"] for arm in panel.arms):
            continue
        accuracy = result["references"].get(name, {}).get("accuracy")
        if accuracy:
            level = 100 * accuracy["mean"]
            ax.axhline(level, color=INK, linestyle=line, linewidth=1)
            levels[name.replace("ceiling_downweighted", "down-weighted")] = level
    support = result["references"].get("support_vectors")
    if support:
        ax.plot(
            [support["budget"]],
            [100 * support["accuracy"]["mean"]],
            linestyle="",
            marker="*",
            markersize=11,
            color=INK,
            markerfacecolor=PAPER,
            label="support vectors",
        )
    by_budget(ax, panel.arms)
    end_labels(ax, levels)
    ax.set_ylabel("test accuracy, %")
    return plots.tidy(ax)


def over_random(ax: Axes, panel: Panel, result: Result) -> Axes:
    """Draw by how many points each arm is ahead of random at the same budget, with its 95% interval as a band.

    Args:
        ax: Drawn on.
        panel: The arms.
        result: What `result.json` holds.
    """
    look = styles(panel)
    ax.axhline(0, color=MUTED, linestyle="--", linewidth=1.5)
    for arm in panel.arms:
        if is_baseline(arm):
            continue
        points = [point for point in arm["points"] if point["budget"] > 0 and point["over_random"]]
        x, style = [point["budget"] for point in points], look[arm["name"]]
        mean, low, high = ([100 * point["over_random"][side] for point in points] for side in ("mean", "low", "high"))
        ax.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
        ax.plot(x, mean, markersize=4.5, linewidth=1.5, **style)
    if baseline(result) is not None:
        end_labels(ax, {"random": 0.0})
    by_budget(ax, panel.arms)
    ax.set_ylabel("ahead of random, points")
    return plots.tidy(ax)


def areas(result: Result) -> Figure:
    """Draw the area under each arm's curve, and beside it how far it is ahead of that of random.

    Args:
        result: What `result.json` holds, with one arm at least.
    """
    made, axes = plots.figure(columns=2, height=0.75 + 0.21 * len(result["arms"]), same_scale=True)
    area_under_curve(axes[0], result, "area")
    area_under_curve(axes[1], result, "area_over_random")
    return made


def area_under_curve(ax: Axes, result: Result, which: str) -> Axes:
    """Draw the area under each arm's curve as a point with its 95% interval, and that of random as a line.

    The arm that the answer speaks of is in colour.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        which: `"area"`, or `"area_over_random"`, the difference to the area of random over the same budgets.
    """
    arms: Sequence[Arm] = result["arms"]
    for y, arm in enumerate(arms):
        area, plain = arm[which], is_baseline(arm)
        color = MUTED if plain else _BEFORE if arm["name"] == result["answer"]["best"] else INK
        if plain:
            ax.axvline(100 * area["mean"], color=MUTED, linestyle="--", linewidth=1)
        ax.plot([100 * area["low"], 100 * area["high"]], [y, y], color=color, linewidth=1.2)
        ax.plot([100 * area["mean"]], [y], color=color, marker="s" if plain else "o", markersize=4.5)
    ax.set_yticks(range(len(arms)), [arm["name"] for arm in arms], parse_math=False)
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.set_xlabel("area under the curve, %" if which == "area" else "ahead of random, points")
    plots.tidy(ax).tick_params(axis="y", length=0)
    ax.grid(False)
    ax.grid(True, axis="x", color=plots.GRID, linewidth=0.6)
    return ax


def noisy_share(ax: Axes, panel: Panel, result: Result) -> Axes:
    """Draw the share of wrong labels among the chosen against budget; what chance would choose is a line.

    Args:
        ax: Drawn on.
        panel: The arms.
        result: What `result.json` holds.
    """
    look = styles(panel)
    for arm in panel.arms:
        told = [point for point in arm["points"] if point["budget"] > 0 and point["noisy_share"] is not None]
        ax.plot(
            [point["budget"] for point in told],
            [100 * point["noisy_share"] for point in told],
            label=arm["name"],
            markersize=4.5,
            linewidth=1.5,
            **look[arm["name"]],
        )
    prior = 100 * result["data"]["noise"]
    ax.axhline(prior, color=INK, linewidth=1, linestyle=":")
    ax.set_ylim(bottom=0)
    by_budget(ax, panel.arms)
    end_labels(ax, {"in the data": prior}, digits=0)
    ax.set_ylabel("wrong labels, %")
    ax.legend(
        title=panel.title,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        frameon=False,
        fontsize=_SIZE,
        labelcolor=INK,
        title_fontproperties={"size": _SIZE, "weight": "bold"},
        alignment="left",
    ).get_title().set_color(INK)
    return plots.tidy(ax)


def score_histogram(ax: Axes, scores: Mapping[str, Any], name: str) -> Axes:
    """Draw how the scores are distributed before and after augmenting everything, with logarithmic counts.

    The axis of scores is logarithmic where they spread over several powers of ten; zeros, and what is under a millionth
    of the highest score, then count as that.

    Args:
        ax: Drawn on.
        scores: With `before` and `after`, a score for each image.
        name: Of the score.
    """
    import numpy as np
    from matplotlib.ticker import LogFormatter

    both = np.array([scores["before"], scores["after"]], dtype=np.float64)
    least, highest = float(both.min()), float(both.max())
    wide = least >= 0 and highest > max(_WIDE * float(np.median(both)), _TINY)
    if wide:
        least = max(_SMALL * highest, min(float(both[both > 0].min()), highest / 2))
        edges = np.geomspace(least, highest, 41)
    elif highest - least > max(1e-9 * abs(highest), _TINY):
        edges = np.linspace(least, highest, 41)
    else:  # all alike
        edges = np.linspace(least - 0.5, highest + 0.5, 41)
    for values, color, word in ((both[0], _BEFORE, "before"), (both[1], _AFTER, "after")):
        counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
        ax.stairs(counts, edges, color=color, linewidth=1.4, label=f"{word} augmentation")
        ax.stairs(counts, edges, color=color, alpha=0.12, fill=True)
    if wide:
        ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.8)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.yaxis.set_minor_formatter(LogFormatter())  # 2, where there is room for it, not 2 × 10⁰
    ax.set_xlabel(f"score by {name}")
    ax.set_ylabel("training images")
    return plots.tidy(ax)


def score_change(ax: Axes, scores: Mapping[str, Any], name: str) -> Axes:
    """Draw each image's rank by score after augmenting everything against its rank before, 1 the highest.

    Args:
        ax: Drawn on.
        scores: With `before`, `after` and `spearman`.
        name: Of the score.
    """
    from scipy.stats import rankdata

    before, after = (rankdata([-score for score in scores[when]]) for when in ("before", "after"))
    ax.scatter(before, after, s=5, color=_BEFORE, alpha=0.45, linewidths=0, rasterized=True)
    ax.plot([1, len(before)], [1, len(before)], color=MUTED, linewidth=0.8)
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_xlabel(f"rank by {name} before, 1 is the highest")
    ax.set_ylabel("rank after")
    rank = scores["spearman"]
    ax.set_title("Spearman –" if rank is None else f"Spearman {rank:.3f}", loc="left", fontsize=_SIZE, color=INK)
    return plots.tidy(ax)


def inertia_by_k(ax: Axes, sweep: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw the inertia of k-means against the number of clusters.

    Args:
        ax: Drawn on.
        sweep: A row per number of clusters.
    """
    ax.plot([row["k"] for row in sweep], [row["inertia"] for row in sweep], color=_BEFORE, marker="o", markersize=4)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel("inertia, training images")
    return _by_clusters(ax)


def silhouette_by_k(ax: Axes, sweep: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw the mean silhouette of training and test images against the number of clusters.

    Args:
        ax: Drawn on.
        sweep: A row per number of clusters.
    """
    for which, color, marker in (("train", _BEFORE, "o"), ("test", _AFTER, "^")):
        told = [row for row in sweep if row.get(f"silhouette_{which}") is not None]
        x, y = [row["k"] for row in told], [row[f"silhouette_{which}"] for row in told]
        word = "training" if which == "train" else which
        ax.plot(x, y, color=color, marker=marker, markersize=4, label=f"{word} images")
    ax.axhline(0, color=MUTED, linewidth=0.6)
    ax.set_ylabel("mean silhouette")
    return _by_clusters(ax)


def by_budget(ax: Axes, arms: Sequence[Arm]) -> Axes:
    """Lay out the axis of budgets: by square root, so that 0 has a place and 10 and 1,000 can both be read."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, NullLocator

    budgets = sorted({point["budget"] for arm in arms for point in arm["points"]} | {0})
    most = max(budgets[-1], 1)
    ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    ax.set_xlim(0, 1.03 * most)
    shown = [most]
    for budget in reversed(budgets):  # from the right, since labels on the left stand closer
        if math.sqrt(shown[-1]) - math.sqrt(budget) >= 0.065 * math.sqrt(most):
            shown.append(budget)
    if 0 not in shown:
        shown[-1] = 0
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(shown, [f"{budget:,}" for budget in shown])
    ax.set_xlabel("images whose copies are added")
    return ax


def end_labels(ax: Axes, levels: Mapping[str, float], *, digits: int | None = None) -> None:
    """Write the names of horizontal lines at their right ends, away from each other where lines are close.

    Args:
        ax: Drawn on.
        levels: Where the line of each name is.
        digits: If given, the level is written too, in per cent.
    """
    bottom, top = ax.get_ylim()
    least = 0.075 * (top - bottom)
    groups: list[list[float]] = []  # of labels that push each other apart, each centred on its lines
    for level in sorted(levels.values()):
        groups.append([level])
        while len(groups) > 1 and _spread(groups[-1], least)[0] - _spread(groups[-2], least)[-1] < least:
            groups[-2:] = [groups[-2] + groups[-1]]
    places = [place for group in groups for place in _spread(group, least)]
    for (name, level), place in zip(sorted(levels.items(), key=lambda item: item[1]), places, strict=True):
        ax.annotate(
            name if digits is None else f"{name} {level:.{digits}f}%",
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            color=INK,
            fontsize=_SIZE,
            annotation_clip=False,
        )


def _spread(levels: Sequence[float], least: float) -> list[float]:
    """Give places at equal distances around the mean of some levels.

    >>> _spread([1.0, 1.0, 4.0], 2.0)
    [0.0, 2.0, 4.0]
    """
    middle = sum(levels) / len(levels)
    return [middle + least * (i - (len(levels) - 1) / 2) for i in range(len(levels))]


def _by_clusters(ax: Axes) -> Axes:
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("clusters k")
    return plots.tidy(ax)
