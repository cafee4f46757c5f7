"""Moments of long compositions, on one thread: what they take, and how they were got.

    python benchmarks/chains.py --cifar10 CIFAR10

CIFAR10 is a folder of Parquet files. Compositions are taken of a photograph of 3×32×32 and of noise of that size, and
some of the photograph enlarged to 3×224×224. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, seconds, write
from torch import Tensor

import auglean as al
from auglean.policies import Flip, RandomErasing, RandomResizedCrop, parse

SMALL = (
    parse("crop4-rotate15-cutout8"),
    parse("crop4-rotate15-crop2"),
    parse("translate4-flip-rotate15"),
    parse("crop4-flip-brightness0.4-cutout8"),
    parse("rotate15-crop4"),
    RandomResizedCrop() | Flip() | RandomErasing(),
)
LARGE = (
    parse("translate8-flip-rotate15"),
    parse("rotate15-translate8"),
    RandomResizedCrop(),
    RandomResizedCrop() | Flip() | RandomErasing(),
)


def row(policy: al.Policy, image: str, x: Tensor, rounds: int) -> dict[str, Any]:
    """Mean, variance and trace of one composition, and one product by its covariance."""
    held: list[al.Moments] = []
    took = sorted(seconds(lambda: held.append(policy.moments(x)), time.process_time) for _ in range(rounds))
    found = held[-1]
    return {
        "policy": policy.name,
        "image": image,
        "seconds": took[len(took) // 2],
        "least": took[0],
        "most": took[-1],
        "product_seconds": seconds(lambda: found.matvec(x), time.process_time),
        "kind": found.kind,
        "error": float(found.error),
        "dropped": float(found.dropped),
        "nodes": found.nodes,
        "trace": float(found.trace),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path, default=Path("cifar10"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "chains.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    photograph = al.load(str(options.cifar10), split="test").images[0].double() / 255
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    large = torch.nn.functional.interpolate(photograph[None], (224, 224), mode="bilinear")[0]
    images = {"photograph, 3×32×32": photograph, "noise, 3×32×32": noise, "photograph, 3×224×224": large}
    rows = []
    for policies, names, rounds in ((SMALL, list(images)[:2], options.rounds), (LARGE, list(images)[2:], 1)):
        for policy in policies:
            for name in names:
                rows.append(row(policy, name, images[name], rounds))
                print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    write(options.out, "cpu", rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
