"""Signals from the training steps beside a separate pass: test accuracy, seconds, gradient error of the choices.

The same network is trained from the same starts for as many steps; only where the selector hears of the examples
differs. The gradient error is measured anew at each choice, in eval mode on all training images, for both: what was
recorded would flatter itself. That measurement is charged to nobody. The table has means of the accuracies over the
seeds, and medians of the rest, since other work on the machine disturbs single runs.

    python benchmarks/recorder.py [--data digits] [--limit N] [--steps 600] [--seeds 5] [--every 1 5] [--out FILE]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write
from rich.console import Console
from rich.table import Table

from auglean.data import Splits, splits
from auglean.policies import parse
from auglean.randomness import derive
from auglean.selection import Selection, gradient_error
from auglean.signals import collect
from auglean.studies import default_policies
from auglean.studies.statistics import spread
from auglean.training import Hooks, Recipe, correct, fit, new_network, transformed


def run(sets: Splits, seed: int, signals: str, every: int, options: argparse.Namespace) -> dict[str, Any]:
    policy, weak = (parse(name) for name in default_policies(sets.train))
    model = new_network(options.network, sets.train, seed).to(options.device)
    errors: list[float] = []
    ages: list[dict[str, float]] = []

    def selected(epoch: int, chosen: Selection) -> None:
        now = collect(model, sets.train)
        errors.append(gradient_error(now.residual, chosen.indices, chosen.weights, feature=now.feature))
        if "staleness" in chosen.how:
            ages.append(chosen.how["staleness"])

    result = fit(
        model,
        sets.train,
        policy=policy,
        weak=weak,
        selector=options.selector,
        budget=options.budget,
        steps=options.steps,
        seed=seed,
        every=every,
        signals=signals,  # type: ignore[arg-type]
        recipe=Recipe(),
        hooks=Hooks(selected=selected),
    )
    moved = transformed(sets.test, policy, seed=derive(0, "test"))
    return {
        "accuracy": float(correct(model, sets.test).double().mean()),
        "accuracy_transformed": float(correct(model, moved).double().mean()),
        "select": result.seconds["select"],
        "total": result.seconds["total"],
        "choices": float(len(errors)),
        "gradient_error": statistics.mean(errors),
        "stale_epochs": max((age["epochs"] for age in ages), default=0.0),
    }


def summary(every: int, signals: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"every": every, "signals": signals, **{name: spread([run[name] for run in runs]) for name in runs[0]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="As of auglean compare: a Parquet folder, for instance.")
    parser.add_argument("--limit", type=int, help="Training images, at most.")
    parser.add_argument("--test-limit", type=int, help="Test images, at most.")
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--selector", default="coreset")
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 5], help="Epochs between choices.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "recorder.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = splits(options.data, limit=options.limit, test_limit=options.test_limit)
    rows = []
    for every in options.every:
        found: dict[str, list[dict[str, Any]]] = {"pass": [], "steps": []}
        for seed in range(options.seeds):
            for signals in sorted(found, reverse=bool(seed % 2)):  # in turns
                found[signals].append(run(sets, seed, signals, every, options))
        rows += [summary(every, signals, runs) for signals, runs in found.items()]
    write(
        options.out,
        options.device,
        data={"name": sets.train.name, "train": len(sets.train), "test": len(sets.test)},
        policies=default_policies(sets.train),
        network=options.network,
        selector=options.selector,
        budget=options.budget,
        steps=options.steps,
        rows=rows,
    )
    percent = {"accuracy": "clean, %", "accuracy_transformed": "transformed, %"}
    plain = {"choices": ".0f", "select": ".2f", "total": ".2f", "gradient_error": ".3f", "stale_epochs": ".1f"}
    table = Table("every", "signals", *percent.values(), *(name.replace("_", " ") for name in plain))
    for row in rows:
        accuracies = [f"{100 * row[name]['mean']:.2f} ± {100 * row[name]['std']:.2f}" for name in percent]
        numbers = [f"{statistics.median(row[name]['values']):{form}}" for name, form in plain.items()]
        table.add_row(str(row["every"]), row["signals"], *accuracies, *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
