"""What the benchmarks share: taking turns, and a result file that names the machine."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from auglean.studies.folder import environment

RESULTS = Path(__file__).parent / "results"


Clock = Callable[[], float]


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Time one call."""
    start = clock()
    work()
    return clock() - start


def take_turns(
    first: Callable[[], object], second: Callable[[], object], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Time two ways of doing a thing in turns; the ratio is the median of second to first of neighbours."""
    pairs = []
    for turn in range(rounds + 1):
        pair = [0.0, 0.0]
        for arm in (0, 1) if turn % 2 else (1, 0):
            pair[arm] = seconds((first, second)[arm], clock)
        pairs.append(pair)
    pairs = pairs[1:]  # the first round warms up
    ratios = sorted(after / before for before, after in pairs)
    return {
        "first_seconds": statistics.median(before for before, _ in pairs),
        "second_seconds": statistics.median(after for _, after in pairs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]],
    }


def command() -> str:
    """Give the command that runs."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def write(path: Path, device: torch.device | str, **content: Any) -> None:
    """Write a result file with the command and the machine."""
    report = {
        "command": command(),
        "machine": environment(device),
        **content,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
