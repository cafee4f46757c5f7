"""The page of `quantify`: what a policy does to images, and to the loss of a network."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auglean.errors import InputError
from auglean.files import write_text
from auglean.reports import plots, quantified_plots
from auglean.reports.gallery import frames
from auglean.reports.page import template
from auglean.studies.policy_study import PAIRED
from auglean.studies.policy_summary import rounded

if TYPE_CHECKING:
    from rich.table import Table

    from auglean.studies import Quantified

Result = Mapping[str, Any]
_HEADS = (
    "spread",
    "displacement",
    "effective rank",
    "for 90%, 99%",
    "draws, mean (95th)",
    "draws, covariance (95th)",
    "kind",
    "error",
    "nodes",
    "seconds",
)


def write_quantified(found: Quantified, path: str | Path | None = None) -> Path:
    """Write the report of `auglean.quantify`: one HTML page that needs no other file and no network.

    Args:
        found: What `auglean.quantify` gave.
        path: The file; by default `report.html` in the run folder.

    Returns:
        Where the page is.

    Raises:
        InputError: If there is neither a path nor a run folder.

    >>> import auglean, tempfile
    >>> found = auglean.quantify("flip", "digits", images=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_quantified(found, f"{folder}/report.html").name
    'report.html'
    """
    if path is None and found.folder is None:
        raise InputError("The result was kept in no folder; give the report a path, such as report.html.")
    target = Path(path) if path is not None else Path(str(found.folder)) / "report.html"
    write_text(target, render(found))
    return target


def render(found: Quantified) -> str:
    """Give the page as text.

    Args:
        found: What `auglean.quantify` gave.
    """
    import yaml

    result = found.result
    config = found.folder and shlex.quote(str(found.folder / "config.yaml"))
    first = result["policies"][0]
    return template("quantified.html.jinja").render(
        r=result,
        first=first,
        paired=PAIRED,
        rounded=rounded,
        config=result["config"],
        data=result["data"],
        machine=result["environment"],
        command=config and f"auglean quantify --config {config} --out NEW_FOLDER",
        lines=lines(result),
        notes=[f"{row['name']}: {row['note']}" for row in result["policies"] if row["note"]],
        reasons=list(
            dict.fromkeys(part["reason"] for row in result["policies"] for part in row["parts"] if part["reason"])
        ),
        most=frames(found.most),
        least=frames(found.least),
        needed_covariance=result["convergence"]["covariance"]["unit"],
        intervals=any(row["images"] > 1 for row in first["classes"]["spread"]),
        figures=_figures(result),
        options=yaml.safe_dump(dict(result["config"]), sort_keys=False, allow_unicode=True),
    )


def quantified_table(result: Result) -> Table:
    """Give the numbers of each policy as a table for a terminal.

    Args:
        result: What `result.json` holds.
    """
    from rich.table import Table

    title = f"{result['probe']['images']:,} images of {result['data']['name']}; medians (5th to 95th percentile)"
    policies = lines(result)  # of which each is a column: there are few
    table = Table("", title=title, title_justify="left")
    for name, *_ in policies:
        table.add_column("\n".join(textwrap.wrap(name, 18)), justify="right", overflow="fold")
    for i, head in enumerate(_HEADS, start=1):
        table.add_row(head, *(line[i] for line in policies))
    return table


def lines(result: Result) -> list[list[str]]:
    """Give the cells of each policy's row."""
    return [
        [
            row["name"],
            _range(row["spread"], "{:.0%}"),
            _range(row["displacement"], "{:.0%}"),
            _range(row["effective_rank"], "{:.1f}"),
            f"{row['rank_90']['median']:.0f}, {row['rank_99']['median']:.0f}",
            _count(row["draws"]["confident"]),
            _count(row["draws"]["covariance"]),
            row["kind"],
            f"{row['error']:.0e}" if row["error"] else "0",
            f"{row['nodes']:,}",
            f"{row['seconds']:.2f}" if row["seconds"] >= 0.005 else "< 0.01",
        ]
        for row in result["policies"]
    ]


def _range(found: Mapping[str, float], form: str) -> str:
    middle, low, high = (form.format(found[name]) for name in ("median", "p5", "p95"))
    return f"{middle} ({low.rstrip('%')}–{high.rstrip('%')})"


def _count(found: Mapping[str, float]) -> str:
    return f"{rounded(found['median'])} ({rounded(found['p95'])})"


def _figures(result: Result) -> dict[str, str]:
    made = {
        "spectra": (quantified_plots.spectra(result), "Share of the trace along each direction"),
        "draws": (quantified_plots.draws(result), "Relative error against the number of draws"),
    }
    if len(result["policies"][0]["classes"]["spread"]) > 1:
        made["classes"] = (quantified_plots.classes(result), "Spread and displacement of each class")
    if result["network"] is not None:
        made["losses"] = (quantified_plots.losses(result), "Expected loss of each image against its clean loss")
        if result["network"]["curves"]:
            made["curves"] = (quantified_plots.loss_curves(result), "Loss against the strength of each operator")
        if result["network"]["alignment"] is not None:
            made["energy"] = (quantified_plots.energy(result), "Share of the saliency in the leading directions")
    return {name: plots.svg(figure, name=name, label=label) for name, (figure, label) in made.items()}
