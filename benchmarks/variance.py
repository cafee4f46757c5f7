"""Does it pay to augment first what the policy disturbs most, and to share out copies after Neyman?

Two comparisons at equal steps and seeds: the selector `variance` beside random choices, max-loss and coreset, with the
default weights; and the same choices with the weight mode `neyman`. Differences from `random` are those of the same
seed. Of the last choice of the first seed it is told, too, how much the allocation lowers the variance of the loss.

    python benchmarks/variance.py [--data digits] [--limit N] [--network cnn] [--steps 1000] [--seeds 4] [--out FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write
from rich.console import Console

import auglean as al
from auglean.selection import Selection, neyman
from auglean.studies.statistics import spread

SELECTORS = ("variance", "variance-proportional", "max-loss", "coreset")
MODES = ("sampled", "neyman")


def lowered(chosen: Selection, period: int) -> float:
    """Give the variance of a period's weighted loss under Neyman's copies, relative to one copy in each epoch."""
    assert chosen.loss_sd is not None
    share = chosen.weights * chosen.loss_sd
    return float((share.square() / neyman(share, period * len(share))).sum() / (share.square() / period).sum())


def last_choice(folder: Path) -> Selection:
    """Read the last choice of a run."""
    return Selection.load(max(folder.glob("epoch*.json")))


def rows_of(sets: al.data.Splits, mode: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare with one weight mode."""
    with tempfile.TemporaryDirectory() as folder:
        found = al.compare(
            sets,
            network=options.network,
            selectors=SELECTORS,
            budgets=[options.budget],
            weights=mode,
            steps=options.steps,
            seeds=options.seeds,
            every=options.every,
            out=folder,
        )
        rows = []
        for arm in found.arms:
            if arm["budget"] is None and mode != MODES[0]:
                continue  # the same as with the other mode
            row = {"name": arm["name"], "mode": None if arm["budget"] is None else mode, "seconds": arm["seconds"]}
            row["images_augmented"] = arm["images_augmented"]
            for name in ("accuracy", "accuracy_transformed"):
                row[name] = arm[name]
                pairs = zip(arm[name]["values"], found["random"][name]["values"], strict=True)
                row[f"{name}_less_random"] = spread([mine - random for mine, random in pairs])
            if row["mode"] == "neyman":
                role = f"{arm['name']}-{arm['budget']}-{arm['role']}"
                chosen = last_choice(Path(folder) / "selections" / role / "seed0")
                row["variance"] = lowered(chosen, 1 if arm["name"] == "random-each-epoch" else options.every)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="As of auglean compare: a Parquet folder, for instance.")
    parser.add_argument("--limit", type=int, help="Training images, at most.")
    parser.add_argument("--test-limit", type=int, help="Test images, at most.")
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--every", type=int, default=5, help="Epochs between choices.")
    parser.add_argument("--out", type=Path, default=RESULTS / "variance.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = al.splits(options.data, limit=options.limit, test_limit=options.test_limit)
    rows = [row for mode in MODES for row in rows_of(sets, mode, options)]
    write(
        options.out,
        "cpu",
        data={"name": sets.train.name, "train": len(sets.train), "test": len(sets.test)},
        policy=al.studies.default_policies(sets.train)[0],
        network=options.network,
        budget=options.budget,
        steps=options.steps,
        seeds=options.seeds,
        every=options.every,
        rows=rows,
    )
    for row in rows:
        Console().print(row["name"], row["mode"], row.get("variance"), row["seconds"], soft_wrap=True)
        for name in ("accuracy", "accuracy_transformed"):
            less = row[f"{name}_less_random"]
            Console().print(f"    {name} {row[name]['mean']:.4f}, less random {less['mean']:+.4f} ± {less['std']:.4f}")


if __name__ == "__main__":
    main()
