"""Training steps per second of `auglean.fit` beside a minimal loop written by hand.

Both train the same network on the same random images of CIFAR's size: batches of 64, half of them augmented
by the same policy, weighted cross-entropy, SGD with momentum, weight decay and a cosine schedule. The loop by
hand shuffles, slices, calls the policy on half of the batch with torch's generator, and keeps nothing. The two
take turns, and the ratio is the median over the rounds of (our steps per second) / (those by hand): 1 is equal,
below 1 we are slower.

    python benchmarks/training.py [--device cpu] [--rounds 11] [--out benchmarks/results/training.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from auglean import networks
from auglean.data import ImageSet
from auglean.policies import Policy, parse
from auglean.studies.folder import environment
from auglean.training import Recipe, fit

POLICY = "rand-m9-n2"
RECIPE = Recipe(batch_size=64, warmup=0.0)
EXAMPLES = 2048
STEPS = {"cnn": 48, "resnet20": 16}  # about the same time for both on one core


def by_hand(model: nn.Module, data: ImageSet, policy: Policy, steps: int, device: torch.device) -> None:
    """Train on originals and as many copies of them, as `fit` does without a selector."""
    images, labels = data.images.to(device), data.labels.to(device)
    n, size, half = len(data), RECIPE.batch_size, RECIPE.batch_size // 2
    g = torch.Generator(device).manual_seed(0)
    weight = torch.ones(size, device=device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )
    amp = RECIPE.amp and device.type == "cuda"
    model.train()
    for step in range(steps):
        if step % (2 * n // size) == 0:
            order = torch.randperm(2 * n, generator=torch.Generator().manual_seed(step)).to(device) % n
        start = step * size % (2 * n)
        rows = order[start : start + size]
        x, y = images[rows].float().div_(255), labels[rows]
        x[:half] = policy(x[:half], generator=g)
        for group in optimizer.param_groups:
            group["lr"] = RECIPE.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = model(x)
        loss = (functional.cross_entropy(logits.float(), y, reduction="none") * weight).mean()
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(model: nn.Module, data: ImageSet, policy: Policy, steps: int, device: torch.device) -> None:
    fit(model, data, policy=policy, steps=steps, recipe=RECIPE, eval_every=steps, device=device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, data: ImageSet, device: torch.device, rounds: int, scale: int) -> dict[str, Any]:
    policy, steps = parse(POLICY), STEPS[name] * scale
    model = networks.create(name, channels=3, classes=10, size=(32, 32)).to(device)
    times = []
    for turn in range(rounds + 1):
        pair = [0.0, 0.0]
        for arm in (0, 1) if turn % 2 else (1, 0):
            network, loop = copy.deepcopy(model), (by_hand, ours)[arm]
            pair[arm] = seconds(lambda network=network, loop=loop: loop(network, data, policy, steps, device))
        times.append(pair)
    times = times[1:]  # the first round warms up
    ratios = sorted(hand / our for hand, our in times)
    return {
        "network": name,
        "steps": steps,
        "by_hand_steps_per_second": steps / statistics.median(hand for hand, _ in times),
        "fit_steps_per_second": steps / statistics.median(our for _, our in times),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (EXAMPLES, 3, 32, 32), dtype=torch.uint8, generator=g)
    data = ImageSet(images, torch.arange(EXAMPLES) % 10)
    scale = 1 if device.type == "cpu" else 16
    rows = [measure(name, data, device, options.rounds, scale) for name in STEPS]
    report = {
        "command": shlex.join(["python", "benchmarks/training.py", *sys.argv[1:]]),
        "aim": "ratio at least 0.95",
        "policy": POLICY,
        "batch": RECIPE.batch_size,
        "rounds": options.rounds,
        "machine": environment(device),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    table = Table("network", "steps", "by hand, steps/s", "fit, steps/s", "ratio", "quartiles")
    for row in rows:
        low, high = row["ratio_quartiles"]
        table.add_row(
            row["network"],
            str(row["steps"]),
            f"{row['by_hand_steps_per_second']:.2f}",
            f"{row['fit_steps_per_second']:.2f}",
            f"{row['ratio']:.3f}",
            f"{low:.3f} – {high:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
