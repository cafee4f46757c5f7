"""Wrong labels: how many of them each selector chooses, and the accuracy on right ones.

python benchmarks/label_noise.py [--data digits] [--limit N] [--steps 300] [--seeds 3] [--budgets 0.1 0.3]
python benchmarks/label_noise.py --draw    # only the plot, from the result file
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write

from auglean.data import splits
from auglean.studies import Narrator, label_noise

PLOT = Path(__file__).parents[1] / "docs" / "label-noise.png"
STYLE = {
    "random": ("#888888", "-"),
    "random-each-epoch": ("#888888", "--"),
    "max-loss": ("#c0392b", "-"),
    "coreset": ("#1f5fa8", "-"),
    "ccs": ("#b8860b", "-"),
    "reducible-loss-noisy": ("#2e8b57", "-"),
    "reducible-loss-clean": ("#2e8b57", "--"),
}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Plot the share of wrong labels chosen and the accuracy over the share of wrong labels in the data."""
    from matplotlib.figure import Figure

    rows, config = result["rows"], result["config"]
    cells = [(role, budget) for role in config["role"] for budget in config["budgets"]]
    made = Figure(figsize=(3.1 * len(cells), 5.6), layout="constrained")
    axes = made.subplots(2, len(cells), sharex=True, sharey="row", squeeze=False)
    shares = [100 * share for share in config["shares"]]
    for column, (role, budget) in enumerate(cells):
        above, below = axes[:, column]
        above.plot(shares, shares, color="black", linewidth=0.8, linestyle=":", label="share in the data")
        for name, (color, line) in STYLE.items():
            found = [row for row in rows if (row["name"], row["role"], row["budget"]) == (name, role, budget)]
            noisy = [row["noisy"]["last"]["count"] for row in found]
            for ax, values in ((above, noisy), (below, [row["accuracy"] for row in found])):
                ax.errorbar(
                    shares,
                    [100 * value["mean"] for value in values],
                    [100 * value["std"] for value in values],
                    color=color,
                    linestyle=line,
                    linewidth=1.4,
                    capsize=2,
                    label=name,
                )
        above.set_title(f"{role}, {budget:.0%} chosen", fontsize=10)
        below.set_xlabel("wrong labels in the data, %")
        below.set_xticks(shares)
    axes[0, 0].set_ylabel("wrong among the last chosen, %")
    axes[1, 0].set_ylabel("test accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    made.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="As of auglean compare: a Parquet folder, for instance.")
    parser.add_argument("--limit", type=int, help="Training images, at most, the half that is held out included.")
    parser.add_argument("--test-limit", type=int, help="Test images, at most.")
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "label_noise.json")
    parser.add_argument("--draw", action="store_true", help="Only draw the plot anew.")
    options = parser.parse_args()
    if not options.draw:
        torch.set_num_threads(1)
        start = time.perf_counter()
        found = label_noise(
            splits(options.data, limit=options.limit, test_limit=options.test_limit),
            shares=options.shares,
            budgets=options.budgets,
            network=options.network,
            steps=options.steps,
            seeds=options.seeds,
            device=options.device,
            narrator=Narrator(lines=True),
        )
        write(options.out, options.device, seconds=time.perf_counter() - start, **found.to_dict())
        print(found)
    draw(json.loads(options.out.read_text()), PLOT)


if __name__ == "__main__":
    main()
