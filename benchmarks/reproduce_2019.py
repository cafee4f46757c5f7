"""Run the experiments of Kuchnik & Smith (ICLR 2019), row by row of the table in `docs/reproduce-2019.md`.

    python benchmarks/reproduce_2019.py --rows 1,3 --rounds 5

Writes `benchmarks/results/reproduce-2019/row-N.json`, one for each row, without what is told per example. The images
are read from `--mnist` and `--cifar10`, by default `../shared/data`; rows on small NORB run where `--norb` gives a
folder of Parquet files or of images by class, with classes 0 (animal) and 1 (human).

The network of features is trained once per data set, on images that are none of the task's. `--seen` trains CIFAR's
on the task's training images too, as the paper's was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import auglean as al
from auglean.data import Splits
from auglean.files import write_text
from auglean.selection import KDPP, Influence, Margin, MaxLoss
from auglean.studies import BudgetCurve, Narrator
from auglean.studies.curve_features import left_over
from auglean.studies.curve_task import make_task
from auglean.training import Recipe, load_network, new_network, save_network

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "reproduce-2019"
TRANSFORMS = ("translate", "rotate", "crop")
B8 = [1, 10, 50, 100, 250, 500, 750, 1000]
B9 = [1, 10, 30, 50, 70, 100, 150, 200, 250]
K8 = [1, 10, 50, 100, 250, 500, 750, 1000]


@dataclass(frozen=True)
class Setting:
    """A data set of the paper, and the network that stands for its feature network."""

    name: str
    classes: tuple[Any, Any]
    network: str
    steps: int
    batch_size: int


SETTINGS = {
    # LeNet ends in a dense layer of ReLUs, as the paper's CNN does; our cnn averages over positions, which makes it
    # nearly blind to translations before any augmentation
    "mnist": Setting("mnist", (3, 8), "lenet", 600, 64),
    "cifar10": Setting("cifar10", (0, 1), "cnn", 1500, 128),
    "norb": Setting("norb", (0, 1), "cnn", 1500, 128),
}


class Bench:
    """The images and feature networks of this call, each made once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.trained_on: dict[str, int] = {}
        self.sets: Callable[[str], Splits] = cache(self._sets)
        self.network: Callable[[str], nn.Module] = cache(self._network)

    def _sets(self, name: str) -> Splits:
        path = getattr(self.options, name)
        if path is None:
            raise SystemExit(f"This row needs the images of {name}; give their folder as --{name}.")
        return al.splits(path, seed=0)

    def _network(self, name: str) -> nn.Module:
        setting, sets = SETTINGS[name], self.sets(name)
        task = make_task(
            sets, classes=setting.classes, transform="translate", train=1000, validation=500, noise=0.0, seed=0
        )
        images = sets.train if self.options.seen else left_over(task)
        self.trained_on[name] = len(images)
        folder = self.options.networks
        kept = None if folder is None else folder / f"{name}{'-seen' if self.options.seen else ''}.safetensors"
        if kept is not None and kept.exists():
            return load_network(kept)
        model = new_network(setting.network, images, 0)
        al.fit(model, images, steps=setting.steps, seed=0, recipe=Recipe(batch_size=setting.batch_size))
        if kept is not None:
            about = {"network": setting.network, "channels": images.channels, "size": images.size}
            save_network(kept, model, {**about, "classes": images.classes})
        return model

    def curve(self, name: str, transform: str, **options: Any) -> BudgetCurve:
        """Measure one curve of the paper's task on a data set."""
        common: dict[str, Any] = {"train": 1000, "rounds": self.options.rounds, "budgets": B8, "seed": 0}
        if not options.get("retrain"):
            common["model"] = self.network(name)
        return al.budget_curve(
            self.sets(name),
            classes=SETTINGS[name].classes,
            transform=f"{name}-{transform}",
            narrator=Narrator(),
            **{**common, **options},
        )


NAMES = {"accuracy": "mean", "std": "std"}
Curves = Iterator[tuple[str, BudgetCurve]]


def twelve(name: str, score: str) -> Callable[[Bench], Curves]:
    """Rows 1 to 9: each transform with the twelve policies of a score."""

    def run(bench: Bench) -> Curves:
        for transform in TRANSFORMS:
            yield transform, bench.curve(name, transform, policies="paper", score=score)

    return run


def processes(quality: Any) -> Callable[[Bench], Curves]:
    """Rows 10 and 11: determinantal point processes beside influence, on CIFAR."""

    def run(bench: Bench) -> Curves:
        selectors = [Influence("proportional"), KDPP(quality=quality)]
        for transform in TRANSFORMS:
            yield transform, bench.curve("cifar10", transform, selectors=selectors, budgets=B9)

    return run


def clusters(name: str) -> Callable[[Bench], Curves]:
    """Rows 12 to 14: random and scores drawn in proportion, from so many clusters, and from as many as are chosen."""

    def run(bench: Bench) -> Curves:
        selectors = ["random", Influence("proportional"), MaxLoss("proportional")]
        for transform in TRANSFORMS:
            yield transform, bench.curve(name, transform, selectors=selectors, clusters=[*K8, "budget"])

    return run


def sweep(name: str) -> Callable[[Bench], Curves]:
    """Rows 15 to 17: inertia and silhouette of 45 numbers of clusters. Frozen features do not know the transform."""

    def run(bench: Bench) -> Curves:
        yield "translate", bench.curve(name, "translate", selectors="random", budgets=[1000], sweep=True)

    return run


def sheets(name: str, score: str) -> Callable[[Bench], Curves]:
    """Rows 18 and 19: the sources of highest and lowest score."""

    def run(bench: Bench) -> Curves:
        selector = {"influence": Influence(), "loss": MaxLoss()}[score]
        yield "translate", bench.curve(name, "translate", selectors=selector, budgets=[10, 100])

    return run


def support_vectors(bench: Bench) -> Curves:
    """Row 23: the copies of the support vectors alone, beside random and near-margin sources."""
    for name in ("mnist", "cifar10"):
        for transform in TRANSFORMS:
            yield f"{name} {transform}", bench.curve(name, transform, selectors=Margin(of="svm"))


def retrained(bench: Bench) -> Curves:
    """Row 1 as the paper has it, the CNN trained anew at each budget, but at equal steps; fewer budgets and arms."""
    options = {"retrain": True, "network": "lenet", "steps": 300, "budgets": [100, 1000], "rounds": 1}
    selectors = [Influence("proportional"), Influence()]
    yield "translate", bench.curve("mnist", "translate", selectors=selectors, **options)


def noisy(share: float) -> Callable[[Bench], Curves]:
    """Rows 1 and 2 with so many wrong labels among the training sources, which high scores pick first."""

    def run(bench: Bench) -> Curves:
        selectors = "influence,influence-proportional,max-loss,max-loss-proportional"
        yield "translate", bench.curve("mnist", "translate", selectors=selectors, noise=share)

    return run


ROWS: dict[str, Callable[[Bench], Curves]] = {
    "1": twelve("mnist", "influence"),
    "1-retrained": retrained,
    "2": twelve("mnist", "loss"),
    "2-noise-10": noisy(0.1),
    "2-noise-30": noisy(0.3),
    "3": twelve("cifar10", "influence"),
    "4": twelve("cifar10", "loss"),
    "5": twelve("norb", "influence"),
    "6": twelve("norb", "loss"),
    "7": twelve("mnist", "margin"),
    "8": twelve("cifar10", "margin"),
    "9": twelve("norb", "margin"),
    "10": processes("influence"),
    "11": processes(None),
    "12": clusters("mnist"),
    "13": clusters("cifar10"),
    "14": clusters("norb"),
    "15": sweep("mnist"),
    "16": sweep("cifar10"),
    "17": sweep("norb"),
    "18": sheets("mnist", "influence"),
    "19": sheets("cifar10", "loss"),
    "23": support_vectors,
}


def compact(found: BudgetCurve, bench: Bench) -> dict[str, Any]:
    """Keep what is told of policies and budgets, and nothing that is told of single examples."""
    result = dict(found.result)
    features = dict(result["features"])
    if not features["retrained"]:
        setting = SETTINGS[next(name for name in SETTINGS if f"{name}-" in str(result["config"]["transform"]))]
        features |= {"network": setting.network, "steps": setting.steps, "disjoint": not bench.options.seen}
        features["trained_on"] = bench.trained_on[setting.name]
    arms = []
    for arm in result["arms"]:
        points = arm["points"]
        columns: dict[str, Any] = {"budgets": [point["budget"] for point in points]}
        columns |= {key: [_rounded(point["accuracy"][kind]) for point in points] for key, kind in NAMES.items()}
        columns["over_random"] = {
            key: [_rounded(point["over_random"][key]) for point in points] for key in ("mean", "low", "high")
        }
        columns["noisy_share"] = [_rounded(point["noisy_share"]) for point in points]
        area = {key: _rounded(arm["area"][key]) for key in ("mean", "std", "low", "high")}
        over = {key: _rounded(value) for key, value in arm["area_over_random"].items()}
        kept = {key: arm[key] for key in ("name", "rounds", "skipped")}
        arms.append({**kept, **columns, "area": area, "area_over_random": over})
    return {
        "data": result["data"],
        "config": {key: result["config"][key] for key in ("transform", "policies", "score", "rounds", "C", "seed")},
        "features": features,
        "references": {
            name: {
                "accuracy": _rounded(told["accuracy"]["mean"]),
                **({"budget": told["budget"]} if "budget" in told else {}),
            }
            for name, told in result["references"].items()
        },
        "arms": arms,
        "spearman": {name: _rounded(told["spearman"]) for name, told in result["scores"].items()},
        "clusters": [{key: _rounded(value) for key, value in row.items()} for row in result["clusters"]],
        "answer": result["answer"],
        "fits": result["fits"],
        "seconds": {key: round(value, 2) for key, value in result["seconds"].items()},
    }


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def main() -> None:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,3", help=f"comma-separated, of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5)
    shared = HERE.parent.parent / "shared" / "data"
    parser.add_argument("--mnist", type=Path, default=shared / "mnist")
    parser.add_argument("--cifar10", type=Path, default=shared / "cifar10")
    parser.add_argument("--norb", type=Path, default=None)
    parser.add_argument("--seen", action="store_true", help="the feature network sees the task's training images too")
    parser.add_argument("--networks", type=Path, default=None, help="folder to keep trained feature networks in")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    bench = Bench(options)
    rows = options.rows.split(",")
    for row in rows:
        if row not in ROWS:
            parser.error(f"there is no row {row!r}; known are {', '.join(ROWS)}")
    for row in rows:
        began, curves = time.perf_counter(), {}
        for name, found in ROWS[row](bench):
            print(f"row {row}, {name}\n{found!r}\n", flush=True)
            curves[name] = compact(found, bench)
        kept = {"row": row, "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - began, 1)}
        seen = "-seen" if options.seen else ""
        told = json.dumps({**kept, "curves": curves}, allow_nan=False)
        write_text(options.out / f"row-{row}{seen}.json", told.replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
