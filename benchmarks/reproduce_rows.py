"""The experiments of Kuchnik & Smith (ICLR 2019), a row each, and the table of what came of repeating them.

`benchmarks/reproduce_2019.py` writes what a row gave to `benchmarks/results/reproduce-2019/row-N.json`, and under
`row-N-WORD.json` what it gave otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results" / "reproduce-2019"
NOT_RUN = "not run"
NOT_SUPPLIED = "not run: the images of small NORB have to be supplied, see above"


class Row(NamedTuple):
    """An experiment: what it is, the command that repeats it, and what is known of the published result."""

    title: str
    command: str
    published: str


_UNKNOWN = "no figure that we could obtain"
_MNIST = "auglean curve --data MNIST --classes 3,8 --network lenet --transform mnist-translate"
_CIFAR = "auglean curve --data CIFAR10 --classes 0,1 --steps 1500 --recipe.batch_size 128 --transform cifar10-translate"
_NORB = "auglean curve --data NORB --classes 0,1 --steps 1500 --recipe.batch_size 128 --transform norb-translate"
_BUDGETS = "--budgets 1,10,30,50,70,100,150,200,250"
_CLUSTERS = "--selectors influence-proportional,max-loss-proportional --clusters 1,10,50,100,250,500,750,1000"
_SWEEP = "--selectors random --budgets 100 --rounds 1 --sweep"

ROWS: dict[int, Row] = {
    1: Row("MNIST, twelve policies by influence", f"`{_MNIST} --policies paper --score influence`", _UNKNOWN),
    2: Row("MNIST, twelve policies by loss", f"`{_MNIST} --policies paper --score loss`", _UNKNOWN),
    3: Row(
        "CIFAR-10, twelve policies by influence",
        f"`{_CIFAR} --policies paper --score influence`",
        "translate: 96.32 with no copies, 97.32 with all (97.14 down-weighted); at 100 of 1,000 random 96.81, "
        "influence-proportional 97.05, +update 96.92, +down-weight 96.88; at 250 96.99, 97.23, 97.19 and 97.00",
    ),
    4: Row("CIFAR-10, twelve policies by loss", f"`{_CIFAR} --policies paper --score loss`", _UNKNOWN),
    5: Row("NORB, twelve policies by influence", f"`{_NORB} --policies paper --score influence`", _UNKNOWN),
    6: Row("NORB, twelve policies by loss", f"`{_NORB} --policies paper --score loss`", _UNKNOWN),
    7: Row("MNIST, twelve policies by margin", f"`{_MNIST} --policies paper --score margin`", _UNKNOWN),
    8: Row("CIFAR-10, twelve policies by margin", f"`{_CIFAR} --policies paper --score margin`", _UNKNOWN),
    9: Row("NORB, twelve policies by margin", f"`{_NORB} --policies paper --score margin`", _UNKNOWN),
    10: Row("CIFAR-10, k-DPP weighted by influence", f"`{_CIFAR} --selectors k-dpp-influence {_BUDGETS}`", _UNKNOWN),
    11: Row("CIFAR-10, k-DPP without weights", f"`{_CIFAR} --selectors k-dpp {_BUDGETS}`", _UNKNOWN),
    12: Row("MNIST, cluster by cluster", f"`{_MNIST} {_CLUSTERS}`", _UNKNOWN),
    13: Row("CIFAR-10, cluster by cluster", f"`{_CIFAR} {_CLUSTERS}`", _UNKNOWN),
    14: Row("NORB, cluster by cluster", f"`{_NORB} {_CLUSTERS}`", _UNKNOWN),
    15: Row("MNIST, how many clusters", f"`{_MNIST} {_SWEEP}`", _UNKNOWN),
    16: Row("CIFAR-10, how many clusters", f"`{_CIFAR} {_SWEEP}`", _UNKNOWN),
    17: Row("NORB, how many clusters", f"`{_NORB} {_SWEEP}`", _UNKNOWN),
    18: Row(
        "MNIST, images of highest and lowest influence",
        f"`{_MNIST} --selectors influence`",
        "pictures, which we could not obtain",
    ),
    19: Row(
        "CIFAR-10, images of highest and lowest loss",
        f"`{_CIFAR} --selectors max-loss`",
        "the script stops before its pictures",
    ),
    20: Row("CIFAR-10, network of the features", "as row 3: `model.safetensors` in its folder", _UNKNOWN),
    21: Row("NORB, network of the features", "as row 5: `model.safetensors` in its folder", _UNKNOWN),
    22: Row(
        "NORB, network trained with augmentation",
        "`auglean fit --data NORB --policy translate6-rotate2.5-flip --steps 1500 --out NET`, then "
        f"`{_NORB} --model NET/model.safetensors --policies paper`",
        _UNKNOWN,
    ),
    23: Row("Copies of the support vectors", "in each of rows 1 to 14: “support vectors”", _UNKNOWN),
}  # fmt: skip


def got(row: int) -> tuple[str, str]:
    """Say what a row gave, a line for each curve, and how it was run."""
    results, how = [], []
    say = _sweep if 15 <= row <= 17 else _sheets if row in (18, 19) else _support if row == 23 else _curve
    if row in (20, 21):  # the networks of rows 3 and 5
        say, row = _network, {20: 3, 21: 5}[row]
    for path in [RESULTS / f"row-{row}.json", *sorted(RESULTS.glob(f"row-{row}-*.json"))]:
        if path.exists():
            found = json.loads(path.read_text())
            word = path.stem.removeprefix(f"row-{row}").replace("-", " ").strip()
            results += [f"{f'{word}, ' * bool(word)}{name}: {say(curve)}" for name, curve in found["curves"].items()]
            how.append(f"{f'{word}: ' * bool(word)}{_run(list(found['curves'].values()), found)}")
    without = NOT_SUPPLIED if ROWS[row].title.startswith("NORB") else NOT_RUN
    return "<br>".join(results) or without, "<br>".join(how)


def table() -> str:
    """Give the table in Markdown, a line for each row."""
    lines = [
        "| row | experiment | command | published | what we got | how it was run |",
        "|---:|---|---|---|---|---|",
    ]
    for number, row in ROWS.items():
        cells = [str(number), row.title, row.command, row.published, *got(number)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _curve(curve: dict[str, Any]) -> str:
    """Tell the ends of the curve, the arm that validation chose beside random, and how often arms differ from it."""
    arms, answer, ends = curve["arms"], curve["answer"], curve["references"]
    best = next(arm for arm in arms if arm["name"] == answer["best"])
    words = [f"{_percent(ends['floor']['accuracy'])} with no copies, {_percent(ends['ceiling']['accuracy'])} with all"]
    for arm in [arms[0], *([best] if best is not arms[0] else [])]:
        at = arm["budgets"].index(answer["budget"])
        mean, low, high = (_signed(arm["over_random"][side][at]) for side in ("mean", "low", "high"))
        against = f" ({mean} [{low}, {high}])" if arm is not arms[0] else ""
        words.append(f"{arm['name']} at {answer['budget']} {_percent(arm['accuracy'][at])}{against}")
    if curve["data"]["noise"]:
        told = [
            f"{arm['name']} {100 * arm['noisy_share'][arm['budgets'].index(answer['budget'])]:.0f}%" for arm in arms
        ]
        words.append(f"wrong labels among those {answer['budget']}: {', '.join(told)}")
    words += [
        f"{arm['name']} cannot choose {', '.join(map(str, arm['skipped']))}, over the rank of its kernel"
        for arm in arms
        if arm["skipped"]
    ]
    others = [arm["over_random"] for arm in arms[1:]]
    ahead = sum(low > 0 for over in others for low in over["low"])
    behind = sum(high < 0 for over in others for high in over["high"])
    points = sum(len(arm["budgets"]) for arm in arms[1:])
    return "; ".join([*words, f"clearly over random in {ahead} and under it in {behind} of {points} points"])


def _sweep(curve: dict[str, Any]) -> str:
    """Tell the number of clusters of the highest silhouette."""
    rows = [row for row in curve["clusters"] if row["silhouette_train"] is not None]
    best, last = max(rows, key=lambda row: float(row["silhouette_train"])), rows[-1]
    return (
        f"of {len(rows)} numbers of clusters the silhouette is highest at {best['k']} "
        f"({best['silhouette_train']:.2f}); {last['silhouette_train']:.2f} at {last['k']}"
    )


def _sheets(curve: dict[str, Any]) -> str:
    """Tell how scores before augmentation go with those after it; the images are in the report."""
    told = ", ".join(f"{name} {rank:.3f}" for name, rank in curve["spearman"].items() if rank is not None)
    return f"the images are in the report; Spearman before and after augmentation: {told}"


def _network(curve: dict[str, Any]) -> str:
    """Tell what the network of the features was trained on, and what a linear head on it gets right."""
    about, clean = curve["features"], _percent(curve["references"]["clean"]["accuracy"])
    of_task = "none of them" if about["disjoint"] else "with those"
    return (
        f"{about['steps']:,} steps on {about['trained_on']:,} images, {of_task} of the task; head on originals {clean}"
    )


def _support(curve: dict[str, Any]) -> str:
    """Tell the accuracy with the copies of the support vectors."""
    ends = curve["references"]
    return (
        f"{_percent(ends['support_vectors']['accuracy'])} with {ends['support_vectors']['budget']} support vectors; "
        f"{_percent(ends['floor']['accuracy'])} with no copies, {_percent(ends['ceiling']['accuracy'])} with all"
    )


def _run(curves: list[dict[str, Any]], found: dict[str, Any]) -> str:
    """Tell the rounds, the network and the seconds."""
    rounds = "/".join(map(str, dict.fromkeys(curve["config"]["rounds"] for curve in curves)))
    features = [curve["features"] for curve in curves]
    networks = "/".join(dict.fromkeys(f"{one['network']}{', retrained' * one['retrained']}" for one in features))
    return f"{rounds} round{'s' * (rounds != '1')}, {networks}, {found['seconds']:,.0f} s"
