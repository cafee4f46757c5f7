"""Seconds of `fit` beside a minimal hand-written loop: same network, batch size, augmentation and optimiser.

Both train the network for as many steps on random images of CIFAR's size, half of each batch being augmented
copies. The hand-written loop does no more than it must: shuffled indices, a gather, the policy on half of the batch,
cross-entropy, SGD at a constant rate. It draws from one torch generator, has no weights, no checkpoint, no history.

    python benchmarks/training.py [--device cpu] [--rounds 9] [--out benchmarks/results/training.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, take_turns, write
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from auglean import networks
from auglean.data import ImageSet
from auglean.policies import Policy, parse
from auglean.training import Recipe, fit

BATCH = 64
STEPS = {"cnn": 20, "resnet20": 8}
POLICIES = ("crop4-flip", "rand-m9-n2")
RECIPE = Recipe(batch_size=BATCH, schedule="constant", warmup=0.0)


def by_hand(name: str, data: ImageSet, policy: Policy, steps: int, device: torch.device) -> None:
    model = networks.create(name, channels=3, classes=10, size=(32, 32)).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum, weight_decay=5e-4)
    g = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(len(data), generator=g) for _ in range(1 + steps * BATCH // len(data))])
    for step in range(steps):
        images, labels = data.batch(order[step * BATCH : (step + 1) * BATCH])
        x = images.to(device).float().div_(255)
        x[: BATCH // 2] = policy(x[: BATCH // 2], generator=g)
        loss = functional.cross_entropy(model(x), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def by_fit(name: str, data: ImageSet, policy: Policy, steps: int, device: torch.device) -> None:
    model = networks.create(name, channels=3, classes=10, size=(32, 32))
    fit(model, data, policy=policy, steps=steps, recipe=RECIPE, device=device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "training.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1000, 3, 32, 32), dtype=torch.uint8, generator=g)
    data = ImageSet(images, torch.arange(len(images)) % 10)
    rows: list[dict[str, Any]] = []
    table = Table("network", "policy", "by hand, steps/s", "fit, steps/s", "ratio of seconds", "quartiles")
    for name, steps in STEPS.items():
        steps *= 1 if device.type == "cpu" else 50
        for text in POLICIES:
            arms = [lambda f=f, n=name, p=text, s=steps: f(n, data, parse(p), s, device) for f in (by_hand, by_fit)]
            found = take_turns(*arms, options.rounds)
            rows.append({"network": name, "policy": text, "steps": steps, **found})
            low, high = found["ratio_quartiles"]
            speeds = [f"{steps / found[f'{which}_seconds']:.2f}" for which in ("first", "second")]
            table.add_row(name, text, *speeds, f"{found['ratio']:.3f}", f"{low:.3f} – {high:.3f}")
    write(options.out, device, aim="ratio at most 1.05", batch=BATCH, rounds=options.rounds, rows=rows)
    Console().print(table)


if __name__ == "__main__":
    main()
