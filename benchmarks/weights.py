"""Which weight mode imitates augmenting everything: in its gradients, and in what comes of training.

The gradients are those of the last layer, along the training of the arm `full`: at a few steps of it each selector
chooses, and each mode turns its choice into weights. *kappa* is the gradient error of these weights on the images as
they are, which is what is reported everywhere. *epoch* compares the mean gradients of whole epochs, originals and
augmented copies together: that of the mode, and that of augmenting everything. It feels the mass of the copies too.

What comes of it are test accuracies at equal steps, from the same starts, less those of `full`.

`sampled, mass n` is a candidate that the library does not have: `sampled`, each copy with the weight n/k.

    python benchmarks/weights.py [--data digits] [--limit N] [--network cnn] [--steps 1000] [--seeds 4] [--out FILE]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from common import RESULTS, write
from rich.console import Console
from torch import Tensor

from auglean.data import Splits, splits
from auglean.policies import Policy, parse
from auglean.randomness import derive
from auglean.selection import Selection, effective_weights, gradient_error, select
from auglean.signals import Signals, collect
from auglean.studies import default_policies
from auglean.studies.statistics import spread
from auglean.training import Hooks, augmenting, correct, fit, new_network, transformed

MODES = ("none", "mean1", "sampled", "raw", "sampled, mass n")
SELECTORS = ("coreset", "random")
#: For random the others are one of these two: its weights are all n/k.
OF_RANDOM = ("none", "raw")
DRAWS = 10


def weights_of(chosen: Selection, mode: str, epoch: int) -> Tensor:
    """Give what each of the chosen counts for in an epoch, beside originals that count for 1."""
    copies, weight = effective_weights(chosen, mode.partition(",")[0], epoch=epoch)  # type: ignore[arg-type]
    return copies * weight * (chosen.total / len(chosen) if "mass n" in mode else 1.0)


def on_average(chosen: Selection, mode: str) -> Tensor:
    """Give the expectation of `weights_of`."""
    return weights_of(chosen, {"sampled": "mean1", "sampled, mass n": "raw"}.get(mode, mode), 0)


def gradient_sum(signals: Signals, weights: Tensor) -> Tensor:
    """Sum last-layer gradients, weights and bias."""
    wide = torch.cat([signals.feature, torch.ones(len(signals.feature), 1)], 1).double()
    return (signals.residual.double() * weights[:, None]).T @ wide


def measure(plain: Signals, moved: Signals, chosen: Selection, weights: Tensor) -> dict[str, float]:
    """Compare a choice's weights with augmenting everything, by signals of the originals and of their copies."""
    n, ones = chosen.total, torch.ones(chosen.total, dtype=torch.float64)
    full = gradient_sum(plain, ones) + gradient_sum(moved, ones)
    spread_out = torch.zeros(n, dtype=torch.float64).index_add_(0, chosen.indices, weights)
    mine = (gradient_sum(plain, ones) + gradient_sum(moved, spread_out)) * (2 * n / (n + float(weights.sum())))
    return {
        "kappa": gradient_error(plain.residual, chosen.indices, weights, feature=plain.feature),
        "epoch": float((mine - full).norm() / full.norm()),
        "cosine": float((mine * full).sum() / (mine.norm() * full.norm())),
    }


def gradients(
    sets: Splits, policy: Policy, seed: int, options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Measure each mode at some steps of the training of `full`: on average, and in single epochs."""
    model = new_network(options.network, sets.train, seed)
    found: dict[str, list[dict[str, float]]] = {f"{name}/{mode}": [] for name in SELECTORS for mode in MODES}
    moved = transformed(sets.train, policy, seed=derive(seed, "copies"))

    def look(row: Any) -> None:
        plain, copies = collect(model, sets.train), collect(model, moved)
        for name in SELECTORS:
            chosen = select(plain, sets.train.labels, name, budget=options.budget, seed=seed + int(row["step"]))
            for mode in MODES:
                once = [measure(plain, copies, chosen, weights_of(chosen, mode, e)) for e in range(DRAWS)]
                mean = measure(plain, copies, chosen, on_average(chosen, mode))
                drawn = {f"{key}_drawn": statistics.mean(one[key] for one in once) for key in mean}
                found[f"{name}/{mode}"].append({**mean, **drawn})

    every = options.steps // options.points
    fit(model, sets.train, policy=policy, steps=options.steps, seed=seed, eval_every=every, hooks=Hooks(row=look))
    return found


@contextmanager
def candidate(mode: str) -> Iterator[str]:
    """Give the library's mode; for a candidate, let its copies weigh n/k for as long."""

    def heavier(chosen: Selection, known: Any, **which: int) -> tuple[Tensor, Tensor]:
        copies, weight = effective_weights(chosen, known, **which)
        return copies, weight * (chosen.total / len(chosen))

    if "mass n" in mode:
        with patch.object(augmenting, "effective_weights", heavier):
            yield mode.partition(",")[0]
    else:
        yield mode


def outcome(sets: Splits, policy: Policy, arm: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train one arm: `weak`, `full`, or a selector and a mode."""
    selector, _, mode = arm.partition("/")
    model = new_network(options.network, sets.train, seed)
    choice: dict[str, Any] = {"selector": selector, "budget": options.budget, "every": options.every} if mode else {}
    with candidate(mode) as known:
        if mode:
            choice["weights"] = known
        fit(model, sets.train, policy="none" if arm == "weak" else policy, steps=options.steps, seed=seed, **choice)
    moved = transformed(sets.test, policy, seed=derive(0, "test"))
    return {
        "accuracy": float(correct(model, sets.test).double().mean()),
        "accuracy_transformed": float(correct(model, moved).double().mean()),
    }


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
    parser.add_argument("--points", type=int, default=5, help="Steps at which gradients are measured.")
    parser.add_argument("--out", type=Path, default=RESULTS / "weights.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = splits(options.data, limit=options.limit, test_limit=options.test_limit)
    policy = parse(default_policies(sets.train)[0])
    seeds = range(options.seeds)
    along = [gradients(sets, policy, seed, options) for seed in seeds]
    modes = {"coreset": MODES, "random": OF_RANDOM}
    arms = ["weak", "full", *(f"{name}/{mode}" for name in SELECTORS for mode in modes[name])]
    runs = {arm: [outcome(sets, policy, arm, seed, options) for seed in seeds] for arm in arms}
    n, k = len(sets.train), round(options.budget * len(sets.train))
    rows = []
    for arm in arms:
        row: dict[str, Any] = {"selector": arm.partition("/")[0], "mode": arm.partition("/")[2] or None}
        if row["mode"]:
            mass = n if row["mode"] in ("raw", "sampled, mass n") else k
            row["copies_share"] = mass / (n + mass)
            points = [point for seed in along for point in seed[arm]]
            row["gradients"] = {name: statistics.median(point[name] for point in points) for name in points[0]}
        for name in ("accuracy", "accuracy_transformed"):
            row[name] = spread([run[name] for run in runs[arm]])
            pairs = zip(runs[arm], runs["full"], strict=True)
            row[f"{name}_less_full"] = spread([mine[name] - full[name] for mine, full in pairs])
        rows.append(row)
    write(
        options.out,
        "cpu",
        data={"name": sets.train.name, "train": n, "test": len(sets.test)},
        policy=policy.name,
        network=options.network,
        budget=options.budget,
        steps=options.steps,
        seeds=options.seeds,
        every=options.every,
        points=options.points,
        rows=rows,
    )
    for row in rows:
        Console().print(row["selector"], row["mode"], row.get("gradients"), soft_wrap=True)
        for name in ("accuracy", "accuracy_transformed"):
            less = row[f"{name}_less_full"]
            Console().print(f"    {name} {row[name]['mean']:.4f}, less full {less['mean']:+.4f} ± {less['std']:.4f}")


if __name__ == "__main__":
    main()
