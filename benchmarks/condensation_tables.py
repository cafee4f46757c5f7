"""Condensed images beside real ones under one protocol, and accuracy by processor second while they are made.

python benchmarks/condensation_tables.py --data FOLDER --per-class 1 [--methods dm dsa] [--steps 200 400]
    [--pool 40 32] [--sets 2] [--repeats 2] [--epochs 300] [--epochs-augmented 300] [--test-limit 2000] [--device cuda]
python benchmarks/condensation_tables.py --draw    # only the plot, from the result files
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write

from auglean.condensation import Hooks, Protocol, SyntheticSet, as_method, condense, evaluate, learn
from auglean.condensation.learning import PUBLISHED
from auglean.data import Splits, splits
from auglean.data.splitting import part
from auglean.studies.folder import describe_data
from auglean.training import correct, new_network

PLOT = Path(__file__).parents[1] / "docs" / "condensation.png"
COLORS = {"dm": "#1f5fa8", "dsa": "#c0392b", "dc": "#2e8b57"}


def made(method: str, sets: Splits, options: argparse.Namespace, i: int) -> tuple[SyntheticSet, list[dict[str, Any]]]:
    """Condense once; give the set, and the images on the way with the processor seconds until then."""
    k = options.methods.index(method)
    steps, chosen = options.steps[k], as_method(method)
    chosen = replace(chosen, pool=options.pool[k], **({"lr": options.lr[k]} if options.lr else {}))
    at = frozenset(max(1, steps >> j) for j in range(options.looks))
    course: list[dict[str, Any]] = []
    begun = time.process_time()

    def look(images: SyntheticSet) -> None:
        course.append({"step": images.how["steps"], "cpu_seconds": time.process_time() - begun, "images": images})

    tiny = condense(
        sets.train,
        per_class=options.per_class,
        method=chosen,
        steps=steps,
        seed=i,
        device=options.device,
        hooks=Hooks(snapshot=look, at=at, plan=lambda plan: print(method, plan, flush=True)),
    )
    return replace(tiny, how={**tiny.how, "cpu_seconds": time.process_time() - begun}), course


def judged(
    course: list[dict[str, Any]], sets: Splits, rate: float, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Give the accuracy on held-out images of each look, trained with augmentation."""
    held, rows = part(sets.validation, 1000), []
    policy, recipe = as_method("dm").policy(sets.train), replace(PUBLISHED, lr=rate)
    for row in course:
        images, values = row.pop("images"), []
        for j in range(options.repeats):
            network = new_network("convnet", sets.train, j).to(options.device)
            learn(network, images, steps=options.epochs_augmented, recipe=recipe, policy=policy, seed=j)
            values.append(float(correct(network, held, batch_size=64).double().mean()))
        rows.append({**row, "held_out": sum(values) / len(values), "values": values})
    return rows


def draw(path: Path) -> None:
    """Plot accuracy on held-out images over processor seconds, a panel for each result file that has them."""
    from matplotlib.figure import Figure

    found = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("condensation-*.json"))]
    found = [result for result in found if any(len(course) > 1 for course in result.get("course", {}).values())]
    figure = Figure(figsize=(3.6 * len(found), 3.4), layout="constrained")
    shown: dict[str, Any] = {}
    for ax, result in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        for name, course in result["course"].items():
            seconds = [row["cpu_seconds"] for row in course]
            ax.plot(seconds, [100 * row["held_out"] for row in course], "o-", color=COLORS[name], label=name)
        for row in result["rows"]:
            if row["augmented"] and row["name"] in ("random", "k-means", "class-mean"):
                dashes = {"random": ":", "k-means": "--", "class-mean": "-."}[row["name"]]
                ax.axhline(100 * row["validation"], color="#888888", linestyle=dashes, linewidth=1.2, label=row["name"])
        where = result["machine"].get("gpu", "one thread")
        ax.set_title(f"{result['data']['name']}, {result['config']['per_class']} per class, {where}", fontsize=9)
        ax.set_xlabel("processor seconds of condensation")
        ax.set_xlim(left=0)
        shown |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.axes[0].set_ylabel("accuracy on held-out images, %")
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown), edgecolor="none")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="As of auglean condense.")
    parser.add_argument("--per-class", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=["dm", "dsa"])
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400], help="Of each method.")
    parser.add_argument("--pool", type=int, nargs="+", default=[40, 32], help="Of each method.")
    parser.add_argument("--lr", type=float, nargs="+", help="Of each method; by default its own.")
    parser.add_argument("--baselines", nargs="+", default=["random", "herding", "k-means"])
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--baseline-sets", type=int, help="By default as many as --sets, but not under 3.")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=["convnet"])
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--epochs-augmented", type=int, default=300)
    parser.add_argument("--looks", type=int, default=6, help="Accuracies on the way, at steps that double.")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03], help="As of auglean condense."
    )
    parser.add_argument("--whole-steps", type=int, help="By default there is no row of the whole data.")
    parser.add_argument("--test-limit", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draw", action="store_true", help="Only draw the plot anew.")
    options = parser.parse_args()
    if options.draw:
        draw(PLOT)
        return
    if options.device == "cpu":
        torch.set_num_threads(1)
    sets = splits(options.data, test_limit=options.test_limit)
    condensed: dict[str, list[SyntheticSet]] = {method: [] for method in options.methods}
    looks = {}
    for method in options.methods:
        for i in range(options.sets):
            tiny, course = made(method, sets, options, i)
            condensed[method].append(tiny)
            looks.setdefault(method, course)
            print(f"{method} {i}: {tiny.how['cpu_seconds']:.1f} processor seconds", flush=True)
    begun = time.process_time()
    found = evaluate(
        condensed,
        sets.train,
        sets.test,
        validation=sets.validation,
        networks=options.networks,
        baselines=options.baselines,
        sets=options.baseline_sets,
        repeats=options.repeats,
        protocol=Protocol(
            options.epochs, options.epochs_augmented, rates=tuple(options.rates), whole_steps=options.whole_steps
        ),
        device=options.device,
    )
    print(found, flush=True)
    seconds = time.process_time() - begun
    courses = {name: judged(course, sets, found.row(name)["rate"], options) for name, course in looks.items()}
    name = "-".join(["condensation", sets.train.name, str(options.per_class), *options.methods])
    write(
        options.out or RESULTS / f"{name}{'' if options.device == 'cpu' else '-gpu'}.json",
        options.device,
        data=describe_data(sets),
        made={name: [dict(tiny.how) for tiny in several] for name, several in condensed.items()},
        course=courses,
        cpu_seconds_evaluating=seconds,
        **found.to_dict(),
    )


if __name__ == "__main__":
    main()
