"""Time of `collect` beside a bare forward pass of the same network over the same batches.

The bare pass gathers the same uint8 batches, scales them to [0, 1] and runs the network in eval mode without
gradients; it keeps nothing. The two take turns, and the ratio is the median of the ratios of neighbours.

    python benchmarks/collect.py [--device cpu] [--rounds 15] [--out benchmarks/results/collect.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, take_turns, write
from rich.console import Console
from rich.table import Table
from torch import nn

from auglean import networks
from auglean.data import ImageSet
from auglean.signals import collect

BATCH = 256
EXAMPLES = {"resnet20": 512, "cnn": 1024}  # about the same time for both on one core


def bare(model: nn.Module, data: ImageSet, device: torch.device) -> None:
    with torch.no_grad():
        for begin in range(0, len(data), BATCH):
            images, _ = data.batch(torch.arange(begin, min(begin + BATCH, len(data))))
            model(images.to(device).float().div_(255))
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, device: torch.device, rounds: int, scale: int) -> dict[str, Any]:
    count = EXAMPLES[name] * scale
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=g)
    data = ImageSet(images, torch.arange(count) % 10)
    model = networks.create(name, channels=3, classes=10, size=(32, 32)).eval().to(device)
    arms = (lambda: bare(model, data, device), lambda: collect(model, data, batch_size=BATCH))
    found = take_turns(*arms, rounds)
    return {"network": name, "examples": count, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS / "collect.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    rows = [measure(name, device, options.rounds, 1 if device.type == "cpu" else 16) for name in EXAMPLES]
    write(options.out, device, aim="ratio at most 1.05", batch=BATCH, rounds=options.rounds, rows=rows)
    table = Table("network", "examples", "bare, s", "collect, s", "ratio", "quartiles")
    for row in rows:
        low, high = row["ratio_quartiles"]
        table.add_row(
            row["network"],
            str(row["examples"]),
            f"{row['first_seconds']:.3f}",
            f"{row['second_seconds']:.3f}",
            f"{row['ratio']:.3f}",
            f"{low:.3f} – {high:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
