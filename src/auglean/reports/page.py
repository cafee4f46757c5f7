"""One self-contained HTML page in which a colleague can read what a comparison asked, found and cost."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auglean.errors import InputError
from auglean.files import write_text
from auglean.reports import plots
from auglean.reports.gallery import compared
from auglean.reports.sheets import sheets
from auglean.reports.tables import (
    MEASURES,
    ROLES,
    SPEEDUP_HEADS,
    budget_label,
    is_random,
    layout,
    place,
    speedup_lines,
)
from auglean.training.kappa import PROBE

if TYPE_CHECKING:
    from jinja2 import Template

    from auglean.studies import Comparison

_SELECTORS = {
    "random-each-epoch": "drawn at random, anew in every epoch",
    "random": "drawn at random, once",
    "random-per-class": "drawn at random, once, from each class in proportion to its size",
    "max-loss": "those on which the network's loss is highest",
    "max-loss-proportional": "drawn with chances in proportion to the network's loss",
    "max-loss-inverse": "drawn with chances in inverse proportion to the network's loss",
    "max-loss-per-class": "those of each class on which the network's loss is highest",
    "el2n": "those on which the network's error vector is longest",
    "el2n-proportional": "drawn with chances in proportion to the length of the network's error vector",
    "grand": "those whose gradient in the last layer is longest",
    "grand-proportional": "drawn with chances in proportion to the length of the gradient in the last layer",
    "influence": "those whose removal would raise their own loss most, by the network's last layer",
    "influence-proportional": "drawn with chances in proportion to their influence in the network's last layer",
    "influence-inverse": "drawn with chances in inverse proportion to their influence in the network's last layer",
    "margin": "those nearest to the boundary between two classes, by the network's probabilities",
    "margin-proportional": "drawn with chances that rise towards the boundary between two classes",
    "margin-inverse": "drawn with chances that fall towards the boundary between two classes",
    "margin-svm": "those nearest to the boundary of a linear machine on the network's features",
    "forgetting": "those that training got right and then wrong most often",
    "tracin": "those whose own steps changed their loss most over training, in the last layer",
    "variance": "those whose loss the policy disturbs most",
    "variance-proportional": "drawn with chances in proportion to how far the policy disturbs their loss",
    "variance-gradient": "those whose loss the policy disturbs most, to first order",
    "ccs": "drawn evenly from all degrees of difficulty but the hardest",
    "info-batch": "drawn anew in every epoch, those of less than mean loss with smaller chances and larger weights",
    "herding": "those whose mean feature stays closest to that of their class",
    "k-center": "those that leave no image far from all of them, by the network's features",
    "gradient-matching": "those whose gradients in the last layer, weighted, sum best to that of their class",
    "gradient-matching-per-batch": "random batches whose last-layer gradients, weighted, sum best to that of all",
    "k-dpp": "drawn as a set whose features are diverse, from a determinantal point process",
    "k-dpp-influence": "drawn as a set that is diverse in its features and of high influence",
    "k-dpp-loss": "drawn as a set that is diverse in its features and of high loss",
    "k-dpp-greedy": "the set most diverse in its features, built one by one",
    "support-vectors": "the support vectors of a linear machine on the network's features, and then those next to them",
    "coreset": "those whose gradients at the logits, weighted, stand best for all images of their class",
    "coreset-last-layer": "those whose gradients in the last layer, weighted, stand best for all images of their class",
}


def write(comparison: Comparison, path: str | Path | None = None) -> Path:
    """Write the report of a comparison: one HTML page that needs no other file and no network.

    Args:
        comparison: What `auglean.compare` gave.
        path: The file; by default `report.html` in the run folder.

    Returns:
        Where the page is.

    Raises:
        InputError: If there is neither a path nor a run folder.

    >>> import auglean, tempfile
    >>> found = auglean.compare("digits", steps=5, seeds=1, network="mlp")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(found, f"{folder}/report.html").name
    'report.html'
    """
    if path is None and comparison.folder is None:
        raise InputError("The comparison was kept in no folder; give the report a path, such as report.html.")
    target = Path(path) if path is not None else Path(str(comparison.folder)) / "report.html"
    write_text(target, render(comparison))
    return target


def template(name: str) -> Template:
    """Give one of the templates beside this file.

    Args:
        name: The file.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("auglean", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(comparison: Comparison) -> str:
    """Give the page as text.

    Args:
        comparison: What `auglean.compare` gave.
    """
    import yaml

    result = comparison.result
    plan = layout(result)
    chosen = [row for row in result["arms"] if row["budget"] is not None]
    answer, _, verdict = result["answer"]["sentence"].partition(". ")
    marks = {reason: i + 1 for i, reason in enumerate(plan.reasons)}
    return template("page.html.jinja").render(
        r=result,
        config=result["config"],
        data=result["data"],
        machine=result["environment"],
        folder=comparison.folder,
        command=f"auglean compare --config {shlex.quote(str(_config(comparison)))} --out NEW_FOLDER",
        measure_words={"clean": "as they are", "transformed": "transformed by the policy"},
        roles={row["role"]: ROLES[row["role"]] for row in chosen},
        plain={row["role"] for row in chosen} == {"full+subset"},
        behind=[(group, line) for group in plan.groups for line in group.lines if line.behind],
        choices=sum(not is_random(row) for row in chosen),
        selectors={name: describe(name) for name in result["config"]["selectors"]},
        parts=list(dict.fromkeys(group.budget for group in plan.groups if group.budget)),
        answer=answer.rstrip(".") + ".",
        verdict=verdict,
        plan=plan,
        marks=marks,
        widths=plan.extra_widths,
        heads=_heads(plan.columns),
        epochs={row["name"]: _epochs(row, result) for row in result["arms"] if row["budget"] is None},
        select_share=_select_share(result),
        speedup_heads=SPEEDUP_HEADS,
        speedups=speedup_lines(result),
        k=next((row["speedup_model"]["k"] for row in chosen if row.get("speedup_model")), None),
        figures=_figures(comparison),
        stale=_stale(result),
        threshold=result["config"].get("reselect_above"),
        probe=min(PROBE, result["data"]["train"]),
        portraits=compared(comparison),
        sheets=sheets(comparison),
        limits=limits(comparison),
        options=yaml.safe_dump(dict(result["config"]), sort_keys=False, allow_unicode=True),
        budget_label=budget_label,
    )


def _config(comparison: Comparison) -> Path:
    return (comparison.folder or Path()) / "config.yaml"


def describe(name: str) -> str:
    """Say in words whom a selector chooses.

    >>> describe("max-loss")
    "those on which the network's loss is highest"
    """
    stem, _, options = name.partition("(")
    words = _SELECTORS.get(stem, f"chosen by {stem}")
    return f"{words}; with {options.removesuffix(')')}" if options else words


def _heads(columns: Any) -> list[tuple[str, int]]:
    """Give the headings of the groups of columns, and how many columns each spans."""
    spans: dict[str, int] = {}
    for column in columns:
        spans[column.group] = spans.get(column.group, 0) + 1
    return list(spans.items())


def _epochs(row: Mapping[str, Any], result: Mapping[str, Any]) -> float:
    """Count how often an arm without a budget went over the originals."""
    seen = result["config"]["steps"] * result["config"]["recipe"]["batch_size"]
    return float((seen - row["images_augmented"]) / result["data"]["train"])


def _select_share(result: Mapping[str, Any]) -> float:
    """Give the largest share of an arm's seconds that went into choosing."""
    return max(float(row["seconds"]["select"] / row["seconds"]["total"]) for row in result["arms"])


def _stale(result: Mapping[str, Any]) -> float | None:
    """Give how old signals from the steps were at most when they were used, in passes over the data."""
    rows = [row for arm in result["arms"] for run in arm.get("kappa", []) for row in run if "staleness" in row]
    return max(float(row["staleness"]["epochs"]) for row in rows) if rows else None


def _figures(comparison: Comparison) -> dict[str, str]:
    result = comparison.result
    headline, chosen = result["headline"], [row for row in result["arms"] if row["budget"] is not None]
    roles = list(dict.fromkeys(row["role"] for row in chosen))
    measures = sorted(MEASURES, key=lambda measure: measure != headline)

    by_budget, axes = plots.figure(rows=len(roles), columns=len(measures))
    panels = [(role, measure) for role in roles for measure in measures]
    for ax, (role, measure) in zip(axes, panels, strict=True):
        plots.accuracy_by_budget(ax, result, measure=measure, role=role)
        if len(roles) > 1:
            ax.set_title(role, loc="left", fontsize=9, color=plots.INK)
    plots.legend(by_budget, axes[0])

    cases = list({place(row): (row["role"], row["budget"]) for row in chosen}.values())
    columns = min(2, len(cases))
    by_seconds, axes = plots.figure(rows=-(-len(cases) // columns), columns=columns, same_scale=True)
    draw = partial(plots.accuracy_by_seconds, result=result, histories=comparison.histories, measure=headline)
    for ax, (role, budget) in zip(axes, cases, strict=False):
        draw(ax, role=role, budget=budget)
        if len(roles) > 1:
            ax.set_title(f"{role}, budget {budget_label(budget)}", loc="left", fontsize=9, color=plots.INK)
    for ax in axes[len(cases) :]:
        ax.remove()
    plots.legend(by_seconds, axes[0])

    by_kappa, axes = plots.figure(rows=-(-len(cases) // columns), columns=columns, same_scale=True)
    for ax, (role, budget) in zip(axes, cases, strict=False):
        plots.kappa_by_step(ax, result, role=role, budget=budget)
        if len(roles) > 1:
            ax.set_title(f"{role}, budget {budget_label(budget)}", loc="left", fontsize=9, color=plots.INK)
    for ax in axes[len(cases) :]:
        ax.remove()
    plots.legend(by_kappa, axes[0])
    measured = any(run for row in chosen for run in row.get("kappa", []))

    by_phase, axes = plots.figure(height=0.9 + 0.27 * len(result["arms"]))
    plots.seconds_by_phase(axes[0], result)
    plots.legend(by_phase, axes[0])

    by_share, axes = plots.figure()
    modelled = bool(speedup_lines(result))
    if modelled:
        plots.speedup_by_share(axes[0], result)
        plots.legend(by_share, axes[0])
    return {
        "budget": plots.svg(by_budget, name="budget", label="Test accuracy against the share of images augmented"),
        "seconds": plots.svg(by_seconds, name="seconds", label="Validation accuracy against seconds, for each arm"),
        "kappa": plots.svg(by_kappa, name="kappa", label="Gradient error of the choice in use over training")
        * measured,
        "phases": plots.svg(by_phase, name="phases", label="Seconds of each arm by phase"),
        "speedup": plots.svg(by_share, name="speedup", label="Speed-up over full against the share augmented")
        * modelled,
    }


def limits(comparison: Comparison) -> list[str]:
    """Say what the result does not show: few seeds, short training, choices that were not varied.

    Args:
        comparison: What `auglean.compare` gave.
    """
    result = comparison.result
    config, data, headline = result["config"], result["data"], result["headline"]
    found = []
    if config["seeds"] == 1:
        found.append("There was one seed: nothing shows how much another start of the network would change.")
    elif config["seeds"] < 5:
        found.append(f"There were {config['seeds']} seeds: spreads and intervals from so few are rough.")
    rise = _late_rise(comparison.histories["full"], MEASURES[headline])
    if rise > 0.01:
        found.append(
            f"Training was short: in its last fifth, validation accuracy of the arm “full” still rose by "
            f"{100 * rise:.1f} points. Longer training may change the order."
        )
    found += [
        f"One network ({config['network']}) with one set of options was trained; no arm had its options tuned.",
        f"The transformed test set was made by the same policy ({config['policy']}); it says nothing about other "
        "changes of the images.",
        f"The intervals cover other seeds and other test images like these {data['test']:,}, not other data sets.",
        "Seconds are of one machine, on which other programs may have run.",
    ]
    if data.get("skipped"):
        found.append(f"{data['skipped']:,} unreadable images were left out.")
    return found


def _late_rise(runs: Sequence[Sequence[Mapping[str, float]]], column: str) -> float:
    """Give how much the mean of a column rose over the last fifth of the rows."""
    tail = max(1, len(runs[0]) // 5)
    if len(runs[0]) <= tail:
        return 0.0
    return sum(run[-1][column] - run[-1 - tail][column] for run in runs) / len(runs)
