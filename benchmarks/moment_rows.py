"""Tables of docs/questions.md from `results/moment-tables.json`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "moment-tables.json"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _told(result: dict[str, Any], what: str) -> str:
    machine = result["machine"]
    where = f"{machine['processor']}, one thread, processor time, torch {machine['torch']}"
    return f"{what}; {where}. Repeat: `{result['command']}`."


def _pair(found: dict[str, float], digits: int = 2) -> str:
    return f"{found['mean']:.{digits}f} ± {found['std']:.{digits}f}"


def linear(result: dict[str, Any]) -> str:
    rows = []
    for row in result["linear"]:
        copies = {own["copies"]: own for own in row["copies"]}
        cells = [
            f"{100 * own['error']['mean']:.0f}% ± {100 * own['error']['std']:.0f} ({own['loss']['mean']:.3f})"
            if (own := copies.get(count))
            else "–"
            for count in (1, 4, 16, 64)
        ]
        most = row["copies"][-1]
        rows.append(
            [
                f"{row['policy']}, n = {row['n']:,}",
                f"{row['seconds']:.1f} s",
                f"{row['loss']:.3f}, {row['accuracy']:.3f}",
                f"{row['plain_loss']:.3f}, {row['plain_accuracy']:.3f}",
                *cells,
                f"{most['seconds']:.1f} s at {most['copies']}",
            ]
        )
    heads = [
        "MNIST, one-hot, ridge 1e-3",
        "exact in",
        "its loss, accuracy",
        "unaugmented: loss, accuracy",
        *(f"{count} cop{'y' if count == 1 else 'ies'}" for count in (1, 4, 16, 64)),
        "copies in",
    ]
    what = (
        f"Accuracy on 4,000 test images; for copies: distance of the weights from the exact ones, mean ± sd of "
        f"{result['seeds']} draws, and expected loss"
    )
    return "\n".join([table(heads, rows), "", _told(result, what)])


def taylor(result: dict[str, Any]) -> str:
    rows = []
    for row in result["deep"]["expansions"]:
        each = row["each"]
        cells = [f"{statistics.fmean(own['loss'] for own in each):.3g}"]
        for way in ("clean", "mean image", "about mean", "about image"):
            bias = [own[way]["bias"] for own in each]
            rms = statistics.fmean(own[way]["rms"] for own in each)
            cells.append(f"{statistics.fmean(bias):+.2f} ± {statistics.stdev(bias):.2f} ({rms:.2f})".replace("-", "−"))
        refused = sum("refused" in own for own in each)
        cells.append(f"{refused} of {len(each)}")
        rows.append([f"{row['trained_with']}: {row['policy']}", *cells])
    heads = [
        "trained with: policy",
        "loss",
        "clean loss",
        "loss of the mean",
        "about the mean",
        "about the image",
        "refused",
    ]
    what = (
        f"`{result['network']}` of {result['train']:,} MNIST images and {result['steps']:,} steps, {result['seeds']} "
        f"seeds; {result['deep']['images']} test images; relative bias of the mean loss, mean ± sd over the seeds, and "
        "in brackets the root mean square over images"
    )
    return "\n".join([table(heads, rows), "", _told(result, what)])


def nodes(result: dict[str, Any]) -> str:
    found = result["deep"]["nodes"]
    counts = [row["draws"] for row in next(iter(found.values()))]
    rows = [
        [name, *(f"{row['rms']:.1e} [{_rounded(row['independent'])}]" for row in own)] for name, own in found.items()
    ]
    what = "Root mean square error of an image's expected loss, and in brackets the independent draws that do the same"
    return "\n".join([table(["policy", *(f"{n} draws" for n in counts)], rows), "", _told(result, what)])


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"


def reference(result: dict[str, Any]) -> str:
    rows = []
    data: dict[str, dict[str, Any]] = {}
    for row in result["reference"]:
        data.setdefault(row["operator"], {})[row["data"]] = row
    for operator, of in data.items():
        cells = []
        for name in ("mnist", "cifar10"):
            row = of[name]
            cells += [
                _rounded(row["mean"][1]),
                _rounded(row["covariance"][1]),
                f"{row['rank'][1]:.1f}",
                " / ".join(row["by_trace"]),
                " / ".join(row["by_relative_trace"]),
                f"{row['milliseconds']:.2g}",
            ]
        rows.append([operator, *cells])
    heads = ["operator"]
    for name in ("MNIST", "CIFAR-10"):
        heads += [f"{name}: mean", "covariance", "rank", "most / least by trace", "by tr C / ‖μ‖²", "ms"]
    what = (
        "Median over 20 test images of each class: draws for 1 % (root mean square) of the mean image and of the "
        "covariance, effective rank, classes that change most and least, and what the moments of an image cost"
    )
    return "\n".join([table(heads, rows), "", _told(result, what)])


def alignment(result: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['network']}, {row['trained_with']}: {row['policy']}",
            _pair(row["ratio"]),
            _pair(row["isotropic"]),
            _pair(row["in_range"]),
            _pair(row["spearman"]),
        ]
        for row in result["alignment"]["rows"]
    ]
    heads = ["model, trained with: policy", "R / others'", "R / random direction", "share in range", "Spearman"]
    what = f"Medians over {result['alignment']['images']} test images of MNIST, mean ± sd of {result['seeds']} seeds"
    losses = [
        [
            f"{row['trained_with']}: {row['policy']}",
            *(_rounded(row[key]) for key in ("median", "p90", "worst", "data_1")),
            f"{row['strata']:.0f}",
        ]
        for row in result["alignment"]["losses"]
    ]
    more = ["trained with: policy", "median image", "90 %", "worst", "average of 200, 1 %", "stratified, median image"]
    return "\n".join(
        [
            table(heads, rows),
            "",
            _told(result, what),
            "",
            f"Draws of an image until its loss under `{result['network']}` is within 10 %:",
            "",
            table(more, losses),
        ]
    )


SECTIONS = {
    "moments-linear": linear,
    "moments-taylor": taylor,
    "moments-nodes": nodes,
    "moments-reference": reference,
    "moments-alignment": alignment,
}


def section(name: str) -> str:
    return SECTIONS[name](json.loads(RESULT.read_text()))
