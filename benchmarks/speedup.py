"""The speed-up of augmenting a part over augmenting everything, measured in turns, beside its model.

A comparison trains one arm after the other; on a machine with other work to do their seconds tell more of that work
than of the arms. Here an arm and `full` take turns for as many steps: two epochs of the arm, with one choice. Two
networks, as the model's k is large where a training step is cheap beside making a copy.

    python benchmarks/speedup.py --data cifar10 [--policy augmix-m3-w3] [--limit 500] [--rounds 4] [--out FILE]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, take_turns, write
from rich.console import Console

from auglean.data import ImageSet, splits
from auglean.studies.summary import speedup_model
from auglean.training import FitResult, Recipe, fit

EVERY = 2
SELECTORS = ("random-each-epoch", "coreset")
BUDGETS = (0.1, 0.3)
NETWORKS = ("cnn", "mlp")
RECIPE = Recipe()


def row_of(runs: list[FitResult], count: int, **more: Any) -> dict[str, Any]:
    """Give what the model asks of a row of a comparison, medians over the runs."""
    seconds = {phase: statistics.median(run.seconds[phase] for run in runs) for phase in runs[0].seconds}
    return {"count": count, "images_augmented": runs[0].images_augmented, "seconds": seconds, **more}


def measure(data: ImageSet, network: str, selector: str, budget: float, options: argparse.Namespace) -> dict[str, Any]:
    n, k = len(data), round(budget * len(data))
    steps = EVERY * (n + k) // RECIPE.batch_size
    runs: dict[str, list[FitResult]] = {"arm": [], "full": []}
    choice: dict[str, Any] = {"selector": selector, "budget": budget, "every": EVERY}
    both: dict[str, Any] = {"policy": options.policy, "weak": options.weak, "steps": steps, "device": options.device}

    def arm() -> None:
        runs["arm"].append(fit(network, data, **both, **choice))

    def full() -> None:
        runs["full"].append(fit(network, data, **both))

    take_turns(arm, full, options.rounds)
    kept = {name: found[1:] for name, found in runs.items()}  # the first round warms up
    ratios = [a.seconds["total"] / b.seconds["total"] for a, b in zip(kept["full"], kept["arm"], strict=True)]
    mine = row_of(kept["arm"], k, speedup=statistics.median(ratios))
    all_of_them = row_of(kept["full"], n)
    model = speedup_model(mine, all_of_them, steps * RECIPE.batch_size)
    return {
        "name": selector,
        "network": network,
        "budget": budget,
        "steps": steps,
        "speedup": mine["speedup"],
        "lowest_and_highest": [min(ratios), max(ratios)],
        "speedup_model": model,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="As of auglean compare: a Parquet folder, for instance.")
    parser.add_argument("--policy", default="augmix-m3-w3")
    parser.add_argument("--weak", default="crop4-flip")
    parser.add_argument("--limit", type=int, default=500, help="Training images, at most.")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "speedup.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = splits(options.data, limit=options.limit).train
    cases = [(network, name, budget) for network in NETWORKS for budget in BUDGETS for name in SELECTORS]
    rows = [measure(data, *case, options) for case in cases]
    write(
        options.out,
        options.device,
        data={"name": data.name, "train": len(data)},
        policy=options.policy,
        weak=options.weak,
        every=EVERY,
        rounds=options.rounds,
        arms=rows,
    )
    for row in rows:
        model = {name: round(value, 2) for name, value in row["speedup_model"].items()}
        Console().print(row["network"], row["name"], row["budget"], f"{row['speedup']:.2f}", model, soft_wrap=True)


if __name__ == "__main__":
    main()
