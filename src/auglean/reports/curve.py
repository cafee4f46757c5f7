"""The page of a budget curve: which images are worth augmenting, and how many of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from auglean.errors import InputError
from auglean.files import write_text
from auglean.reports import curve_arms, curve_plots, plots
from auglean.reports import curve_tables as tables
from auglean.reports.curve_arms import BASELINE, Panel, Result
from auglean.reports.page import template
from auglean.reports.sheets import TILES, Tile, data_uri, number

if TYPE_CHECKING:
    from auglean.studies import BudgetCurve

#: What a score says of an image, in words.
SCORES = {
    "influence": "how much its loss would rise if the head were fitted without it",
    "loss": "the loss of the head on it",
    "max-loss": "the loss of the head on it",
    "margin": "how near it is to the border between the classes",
    "group-influence": "how much its loss and that of its copies would move, to first order, if the head were fitted "
    "without all of them (a score that is not in the paper)",
    "el2n": "the length of the head's error vector on it",
    "grand": "the length of its gradient in the head",
    "forgetting": "how often the network unlearned it in training",
    "tracin": "its squared gradient, summed over the checkpoints of training",
}

_MARGIN = (
    "The score is 1 less the margin, which is the probability of the likeliest class less that of the second: high is "
    "near the border."
)


def write_curve(found: BudgetCurve, path: str | Path | None = None) -> Path:
    """Write the report of a budget curve: one HTML page that needs no other file and no network.

    Args:
        found: What `auglean.budget_curve` gave.
        path: The file; by default `report.html` in the run folder.

    Returns:
        Where the page is.

    Raises:
        InputError: If there is neither a path nor a run folder.
    """
    if path is None and found.folder is None:
        raise InputError("The curve was kept in no folder; give the report a path, such as report.html.")
    target = Path(path) if path is not None else Path(str(found.folder)) / "report.html"
    write_text(target, render(found))
    return target


def render(found: BudgetCurve) -> str:
    """Give the page as text.

    Args:
        found: What `auglean.budget_curve` gave.
    """
    import yaml

    result = found.result
    config, data = result["config"], result["data"]
    answer, _, verdict = result["answer"]["sentence"].partition(". ")
    return template("curve.html.jinja").render(
        r=result,
        config=config,
        data=data,
        features=result["features"],
        machine=result["environment"],
        folder=found.folder,
        command=f"auglean curve --config {shlex.quote(str((found.folder or Path()) / 'config.yaml'))} --out NEW_FOLDER",
        answer=answer.rstrip(".") + ".",
        verdict=verdict,
        behind=tables.behind(result),
        budgets=tables.budgets(result),
        lines=tables.lines(result),
        differences=tables.differences(result),
        references=tables.references(result),
        scores=_scores(result),
        arms=result["arms"],
        chapters=_chapters(result),
        figures=_figures(result),
        sheets=_sheets(found),
        limits=limits(result),
        margin=_MARGIN,
        options=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        BASELINE=BASELINE,
    )


def _scores(result: Result) -> dict[str, str]:
    """Give the scores that arms chose by, with their words."""
    names = dict.fromkeys(str(arm["score"]) for arm in result["arms"] if arm["draw"] is not None)
    return {name: SCORES.get(name, f"its score by {name}") for name in names}


def _chapters(result: Result) -> list[dict[str, Any]]:
    """Give the figures of accuracy against budget by section: an id, a heading, words, and titled pictures."""
    sections = [
        ("by-chance", "Draws by chance", curve_arms.variants(result, by_chance=True),
         "Each round draws anew: an image of high score has a higher chance."),
        ("deterministic", "Without chance", curve_arms.variants(result, by_chance=False),
         "The order is that of the scores, the same in every round."),
        ("by-score", "One score or another", curve_arms.scores(result),
         "The same draw by different scores, not refined."),
        ("diverse", "Determinantal point processes", curve_arms.diverse(result),
         "They choose images whose features point in different directions; with a quality, they prefer those of high "
         "score besides. Every budget is a draw of its own."),
        ("clusters", "Cluster by cluster", curve_arms.clustered(result),
         "The features are clustered, and the clusters take turns: the first of each, then the second of each."),
    ]  # fmt: skip
    drawn = [panel for _, _, panels, _ in sections for panel in panels]
    rest = curve_arms.others(result, drawn)
    sections.append(("others", "Other ways of choosing" if drawn else "Accuracy against budget", rest, ""))
    return [
        {
            "id": name,
            "heading": heading,
            "words": words,
            "pictures": [(panel.title, _picture(panel, result, f"{name}{i}")) for i, panel in enumerate(panels)],
        }
        for name, heading, panels, words in sections
        if panels
    ]


def _picture(panel: Panel, result: Result, name: str) -> str:
    shown = ", ".join(arm["name"] for arm in panel.arms)
    return plots.svg(
        curve_plots.curve(panel, result),
        name=name,
        label=f"Test accuracy against the number of augmented images, and the distance from random: {shown}",
    )


def _figures(result: Result) -> dict[str, Any]:
    arms = result["arms"]
    found: dict[str, Any] = {"area": "", "noise": "", "sweep": ""}
    if arms:
        label = "Area under each arm's curve, and its distance from that of random, with intervals"
        found["area"] = plots.svg(curve_plots.areas(result), name="area", label=label)
    noisy = curve_arms.noisy(result)
    if noisy:
        found["noise"] = _noise(noisy, result)
    found["scores"] = [
        (name, _score(scores, name))
        for name, scores in result["scores"].items()
        if scores.get("before") and scores.get("after")
    ]
    if result["clusters"]:
        sweep, axes = plots.figure(columns=2)
        curve_plots.silhouette_by_k(axes[0], result["clusters"])
        curve_plots.inertia_by_k(axes[1], result["clusters"])
        plots.legend(sweep, axes[0])
        found["sweep"] = plots.svg(sweep, name="sweep", label="Silhouette and inertia against the number of clusters")
    return found


def _noise(panels: Sequence[Panel], result: Result) -> str:
    made, axes = plots.figure(rows=-(-len(panels) // 2), columns=2, height=3.8, same_scale=True)
    for ax, panel in zip(axes, panels, strict=False):
        curve_plots.noisy_share(ax, panel, result)
    for ax in axes[len(panels) :]:
        ax.remove()
    return plots.svg(made, name="noise", label="Share of wrong labels among the chosen against the number chosen")


def _score(scores: Mapping[str, Any], name: str) -> str:
    made, axes = plots.figure(columns=2)
    curve_plots.score_histogram(axes[0], scores, name)
    curve_plots.score_change(axes[1], scores, name)
    plots.legend(made, axes[0])
    return plots.svg(made, name=f"score-{name}", label=f"Scores by {name} before and after augmenting everything")


def _sheets(found: BudgetCurve) -> list[tuple[str, tuple[Tile, ...], tuple[Tile, ...]]]:
    """Give the images of highest and of lowest score, for each score that is there."""
    sheets = found.result["sheets"]
    return [
        (name, *(_tiles(found, name, sheets[name][end][:TILES]) for end in ("highest", "lowest"))) for name in sheets
    ]


def _tiles(found: BudgetCurve, name: str, ids: Sequence[int]) -> tuple[Tile, ...]:
    if not ids:
        return ()
    images, labels = found.task.train.batch(torch.as_tensor(ids))
    before = images.cpu()
    after = found.task.copies.apply(before)[0]
    scores = found.result["scores"].get(name, {}).get("before")
    wrong = found.task.wrong[list(ids)].tolist()
    told = [
        (*([f"score {number(scores[i])}"] if scores else []), *(["wrong label"] if other else []))
        for i, other in zip(ids, wrong, strict=True)
    ]
    classes = found.task.train.class_names
    rows = zip(before.float().div(255), after.float().div(255), labels.tolist(), told, ids, strict=True)
    return tuple(Tile(data_uri(x), data_uri(y), classes[label], score, int(i)) for x, y, label, score, i in rows)


def limits(result: Result) -> list[str]:
    """Say what the result does not show.

    Args:
        result: What `result.json` holds.
    """
    data, features = result["data"], result["features"]
    rounds = max((arm["rounds"] for arm in result["arms"]), default=1)
    found = [
        f"One task of {len(data['classes'])} classes, one training set of {data['train']:,} images and one list of "
        f"{data['copies']} copies ({data['transform']}); other data may put the arms in another order.",
        "Only the head was fitted at each budget, on features of a network that did not change. A network that is "
        "trained with the copies may gain more, or from other images."
        if not features["retrained"]
        else "The network was trained anew at each budget, for the same number of steps.",
        f"Copies of a test image are alike: {data['test']:,} test images with their copies do not count as "
        f"{data['test'] * (data['copies'] + 1):,}. The intervals draw images with all their copies.",
    ]
    if rounds == 1:
        found.append("There was one round: nothing shows what other draws would have given.")
    elif rounds < 10:
        found.append(f"Draws by chance were made {rounds} times: their standard deviations are rough.")
    if features["disjoint"] is None:
        found.append("The network of the features was given: it may have learnt from the images that were scored.")
    elif not features["disjoint"]:
        found.append("The network of the features learnt from the images that were scored, as in the paper.")
    compared = len(result["arms"]) * len(tables.budgets(result))
    if compared > 20:
        found.append(
            f"{compared} intervals stand on this page, each at 95%: a few would not hold zero even if nothing differed "
            "from random."
        )
    return found
