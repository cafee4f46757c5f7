"""Facility location beside submodlib and apricot: from points to the order chosen, k = 10 %, on one thread.

    python benchmarks/selection.py [--data FOLDER] [--cases A,B] [--contestants A,B] [--rounds N]

`--data` is a folder of CIFAR-10 in Parquet; without it the points are imitated. Every contestant runs in a process of
its own, and in each round they take turns; there the libraries are loaded and warmed up before the clock starts, and
small cases repeat for a second. A ratio is the median over rounds of (their seconds) / (ours): above 1 we are faster.
Memory is the peak of the process above the loaded points, at the first call. The peers get what serves them best:
distances by BLAS as a symmetric product, in place, and their lazy greedy; in one case submodlib also runs as it is
usually fed, with distances by scikit-learn. apricot compiles its kernel in every call,
which is in its seconds, and in the column "fixed", the seconds of a call for 200 points.

Quality is L, the sum of the distances to the nearest pick, computed anew in float64 for every contestant and divided by
that of exact greedy. The objective itself, F = n·max − L, is within 4 % of the best even for random picks.

Results are merged into the file by case, so that cases can be run one after another.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, seconds
from points import make
from rich import box
from rich.console import Console
from rich.table import Table

from auglean.products import inner_products
from auglean.selection import facility_location
from auglean.studies.folder import environment

SHARE = 10  # k is n over this

# The contestants: from points (n, d) and k to the indices in the order chosen, and what there is to tell

Found = tuple[Any, dict[str, Any]]
Contestant = Callable[[np.ndarray, int], Found]


def ours(device: str = "cpu", reuse: bool = False, **options: Any) -> Contestant:
    """Our engine; with `reuse` all calls share one buffer, as the classes of a data set do."""
    if reuse:
        from auglean.selection.matrices import Workspace

        options["workspace"] = Workspace()

    def choose(points: np.ndarray, k: int) -> Found:
        chosen = facility_location(torch.from_numpy(points).to(device), k, **options)
        told = {name: chosen.how[name] for name in ("solver", "storage", "cells") if name in chosen.how}
        return chosen.indices, told | {
            "stated_megabytes": chosen.cost["bytes"] / 1e6,
            "mass": float(chosen.weights.sum()),
        }

    return choose


def kernel(points: np.ndarray) -> np.ndarray:
    """The peers' similarity, max − distance: float32, one symmetric product (numpy takes syrk), all else in place."""
    square = (points * points).sum(1)
    found = points @ points.T
    found *= -2
    found += square[:, None]
    found += square
    np.maximum(found, 0, out=found)
    np.sqrt(found, out=found)
    np.fill_diagonal(found, 0)
    return np.subtract(found.max(), found, out=found)


def graph(points: np.ndarray, neighbours: int) -> Any:
    """The same for the nearest neighbours alone, as apricot's compiled code wants it: 32-bit indices."""
    from scipy.sparse import csr_matrix

    n, square = len(points), (points * points).sum(1)
    column, distance = np.empty((n, neighbours), np.int32), np.empty((n, neighbours), np.float32)
    for begin in range(0, n, 1024):
        rows = slice(begin, min(n, begin + 1024))
        found = points[rows] @ points.T
        found *= -2
        found += square
        column[rows] = np.argpartition(found, neighbours - 1, axis=1)[:, :neighbours]
        distance[rows] = np.take_along_axis(found, column[rows], 1) + square[rows, None]
    distance = np.sqrt(np.maximum(distance, 0, out=distance), out=distance)
    similarity = (1.001 * distance.max() - distance).astype(np.float64)  # a missing neighbour has 0
    start = np.arange(0, n * neighbours + 1, neighbours, dtype=np.int32)
    found = csr_matrix((n, n))
    found.data, found.indices, found.indptr = similarity.ravel(), column.ravel(), start
    return found


def usual_kernel(points: np.ndarray) -> np.ndarray:
    """The same as their users make it, by scikit-learn."""
    from sklearn.metrics import pairwise_distances

    distance = pairwise_distances(points)
    return distance.max() - distance


def submodlib(similarity: Callable[[np.ndarray], np.ndarray] = kernel) -> Contestant:
    def choose(points: np.ndarray, k: int) -> Found:
        from submodlib import FacilityLocationFunction

        function = FacilityLocationFunction(
            n=len(points), mode="dense", sijs=similarity(points), separate_rep=False, pybind_mode="array"
        )
        picks = function.maximize(
            budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, show_progress=False
        )
        return [index for index, _ in picks], {}

    return choose


def apricot(neighbours: int | None = None) -> Contestant:
    def choose(points: np.ndarray, k: int) -> Found:
        from apricot import FacilityLocationSelection

        similarity = kernel(points) if neighbours is None else graph(points, neighbours)
        return FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(similarity).ranking, {}

    return choose


def contestants(device: str = "cpu") -> dict[str, Contestant]:
    """All of them by name; those that begin with "exact" or "cells" are ours."""
    exact: dict[str, Any] = {"solver": "decremental", "max_memory": (16 if device == "cpu" else 120) << 30}
    return {
        "exact": ours(device, **exact, storage="float32"),
        "exact one buffer": ours(device, **exact, storage="float32", reuse=True),
        "exact 16 bit": ours(device, **exact, storage="float16"),
        "cells": ours(device, solver="cells"),
        "cells + prune": ours(device, solver="cells+prune"),
        "submodlib": submodlib(),
        "submodlib by scikit-learn": submodlib(usual_kernel),
        "apricot": apricot(),
        "apricot 64 neighbours": apricot(64),
    }


def is_ours(name: str) -> bool:
    return name.startswith(("exact", "cells"))


# The cases


@dataclass(frozen=True)
class Case:
    """Points, and who chooses a tenth of them; the first of the names is the reference for L."""

    kind: str  # see points.py
    n: int
    d: int
    names: tuple[str, ...]
    rounds: int
    aim: str = ""
    accelerator: bool = False  # whether it takes one

    @property
    def k(self) -> int:
        """How many to choose."""
        return self.n // SHARE


PEERS = ("submodlib", "apricot")
EXACT = ("exact", "exact 16 bit")
#: From these the exponent is fitted, and the figure drawn.
SCALE = (1_250, 2_500, 5_000, 10_000, 20_000)

CASES = {
    "1300x1000": Case(
        "wide", 1300, 1000, ("exact", "exact one buffer", "submodlib by scikit-learn", *PEERS), 7, "2.5 times faster"
    ),
    "5000x10": Case("residuals", 5000, 10, (*EXACT, *PEERS), 5, "6 times faster, 135 MB"),
    "5000x512": Case("gradients", 5000, 512, (*EXACT, *PEERS), 5, "5 times faster, 135 MB"),
    **{f"block {n}": Case("block", n, 512, (*EXACT, *PEERS), 3) for n in SCALE[:-1]},
    "block 20000": Case(
        "block",
        20_000,
        512,
        (*EXACT, "cells + prune", *PEERS),
        3,
        "5 times faster, 1.7 GB or half of it at 16 bit",
    ),
    "block 50000": Case(
        "block",
        50_000,
        512,
        ("exact 16 bit", "cells", "cells + prune", "apricot 64 neighbours"),
        1,
        "cells 3 s at L 1.02, pruned 7 s at 1.005, exact within 5.5 GB",
    ),
    "block 200000": Case(
        "block", 200_000, 512, ("exact 16 bit", "cells", "cells + prune"), 1, "exact 1 to 3 s", accelerator=True
    ),
    "block 1200000": Case(
        "block", 1_200_000, 512, ("cells", "cells + prune"), 1, "100 s, 1 GB, L a fifth under that of random picks"
    ),
}


# One contestant in a process of its own


def status(field: str) -> int:
    """Bytes in a field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def work(path: str, name: str, k: int, device: str) -> dict[str, Any]:
    """Run a contestant on a file of points. Repeats for a second; memory is that of the first call."""
    torch.set_num_threads(1)
    bare = status("VmRSS")
    points = np.load(path)
    choose = contestants(device)[name]

    def call(points: np.ndarray, k: int) -> Found:
        found = choose(points, k)
        if device != "cpu":
            torch.cuda.synchronize()
        return found

    few = np.ascontiguousarray(points[:: len(points) // 200][:200])
    call(few, 20)
    fixed = seconds(lambda: call(few, 20))
    gc.collect()
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what there is now
    # a system that takes idle pages back would have them count as new when they are needed again
    before = max(status("VmRSS"), bare + points.nbytes)
    picks, told, spent = [], {}, []
    while not spent or (sum(wall for wall, _ in spent) < 1.0 and len(spent) < 15):
        wall, processor = time.perf_counter(), time.process_time()
        picks, told = call(points, k)
        spent.append((time.perf_counter() - wall, time.process_time() - processor))
        if len(spent) == 1:
            peak = status("VmHWM") - before if device == "cpu" else torch.cuda.max_memory_allocated() - points.nbytes
    return {
        "seconds": statistics.median(wall for wall, _ in spent),
        "processor_seconds": statistics.median(processor for _, processor in spent),
        "fixed_seconds": fixed,
        "megabytes": peak / 1e6,
        "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt,
        "told": told,
        "picks": [int(pick) for pick in picks],
    }


def machine(device: str) -> dict[str, Any]:
    """Measure what one thread, or the accelerator, can do at best: the fastest float32 matrix product, and reading."""
    torch.set_num_threads(1)
    size = 2048 if device == "cpu" else 8192
    x = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device)
    long = torch.ones(1 << (28 if device == "cpu" else 30), device=device)
    products: dict[str, Callable[[], Any]] = {"torch": lambda: x @ x, "ours": lambda: inner_products(x, x)}
    if device == "cpu":
        a = x.numpy()
        products["numpy"] = lambda: a @ a

    def least(work: Callable[[], Any]) -> float:
        def whole() -> None:
            work()
            if device != "cpu":
                torch.cuda.synchronize()

        return min(seconds(whole) for _ in range(5))

    rates = {name: 2 * size**3 / least(product) / 1e9 for name, product in products.items()}
    read = long.nbytes / min(least(lambda f=f: f(long)) for f in (torch.sum, torch.max)) / 1e9
    return {"gigaflops": max(rates.values()), "gigaflops_of": rates, "read_gigabytes": read}


def apart(*words: str) -> dict[str, Any]:
    """Run this script on one thread in a process of its own, and give what it found."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA")
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, __file__, "--apart", file.name, *words]
        threads = {f"{name}_NUM_THREADS": "1" for name in names}
        subprocess.run(command, check=True, env={**os.environ, **threads}, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(Path(file.name).read_text())
    return found


# What was chosen, judged anew


def served(points: np.ndarray, picks: Iterable[int], rows: int = 20_000) -> tuple[float, float, float]:
    """Mean distance to the nearest pick, its standard error (0 if exact), and how often the nearest changes per point.

    In float64, from all points up to 50,000, else from a sample; on an accelerator where there is one.
    """
    n, chosen = len(points), torch.as_tensor(list(picks))
    every, device = n <= 50_000, "cuda" if torch.cuda.is_available() else "cpu"
    sample = torch.arange(n) if every else torch.randperm(n, generator=torch.Generator().manual_seed(4))[:rows]
    x = torch.from_numpy(np.asarray(points[chosen])).double().to(device)
    square = x.square().sum(1)
    nearest, changes = [], 0
    for part in sample.split(max(1, (1 << (24 if device == "cpu" else 28)) // len(x))):
        y = torch.from_numpy(points[part.numpy()]).double().to(device)
        found = torch.addmm(square, y, x.T, alpha=-2).add_(y.square().sum(1, keepdim=True)).clamp_(min=0)
        found[(part[:, None] == chosen).to(device)] = 0.0
        falling = found.cummin(1).values
        changes += len(part) + int((falling[:, 1:] < falling[:, :-1]).sum())
        nearest.append(falling[:, -1].sqrt().cpu())
    distance = torch.cat(nearest)
    error = 0.0 if every else float(distance.std()) / len(distance) ** 0.5
    return float(distance.mean()), error, changes / len(sample)


def floor(case: Case, found: dict[str, Any], sweeps: float, rates: dict[str, Any]) -> float:
    """Seconds that the symmetric product and the reading of its result take at the rates of this machine.

    In cells, of one cell after another, each read from memory once for its distances and `sweeps` times to choose.
    """
    told = found["told"]
    pairs = case.n * case.n / told.get("cells", 1)
    size = {"float16": 2, "float32": 4, "float64": 8}[told["storage"]]
    return pairs * case.d / rates["gigaflops"] / 1e9 + pairs * size * (1 + sweeps) / rates["read_gigabytes"] / 1e9


def measure(case: Case, path: Path, names: tuple[str, ...], rounds: int, device: str) -> dict[str, Any]:
    """Let the contestants take turns, and judge what they chose."""
    rates = apart("machine", device)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            runs[name].append(apart("work", str(path), name, str(case.k), device))
            print(f"  round {turn + 1}: {name}, {runs[name][-1]['seconds']:.3f} s", file=sys.stderr, flush=True)
    points = np.load(path, mmap_mode="r")
    g = torch.Generator().manual_seed(0)
    chance = [served(points, torch.randperm(case.n, generator=g)[: case.k].tolist()) for _ in range(3)]
    judged = {name: served(points, run[0]["picks"]) for name, run in runs.items()}
    best, order = judged[names[0]][0], runs[names[0]][0]["picks"]
    table = {}
    for name, run in runs.items():
        distance, error, sweeps = judged[name]
        first = run[0]
        row = {key: statistics.median(r[key] for r in run) for key in ("seconds", "processor_seconds", "fixed_seconds")}
        row |= {"megabytes": first["megabytes"], **first["told"], "rounds": [r["seconds"] for r in run]}
        row |= {"L": distance * case.n, "L_error": error * case.n, "L_ratio": distance / best, "sweeps": sweeps}
        row |= {"same_order": first["picks"] == order, "overlap": len({*order} & {*first["picks"]}) / case.k}
        if is_ours(name):
            lowest = floor(case, first, sweeps, rates)
            row |= {"floor_seconds": lowest, "times_floor": row["seconds"] / lowest}
        table[name] = row
    mine, theirs = [name for name in names if is_ours(name)], [name for name in names if not is_ours(name)]
    ratios = {
        name: {
            peer: statistics.median(b / a for a, b in zip(table[name]["rounds"], table[peer]["rounds"], strict=True))
            for peer in theirs
        }
        for name in mine
    }
    mean = statistics.mean(distance for distance, _, _ in chance)
    return {
        "n": case.n,
        "d": case.d,
        "k": case.k,
        "kind": case.kind,
        "aim": case.aim,
        "reference": names[0],
        "random_L_ratio": mean / best,
        "machine": {**environment(device), "threads": 1, **rates},
        "command": shlex.join(["python", "benchmarks/selection.py", *sys.argv[1:]]),
        "times_faster": ratios,
        "contestants": table,
    }


def exponents(cases: dict[str, Any]) -> dict[str, float]:
    """Fit seconds ∝ n^exponent from 5,000 to 20,000 points of the block, without the seconds that are fixed."""
    rows = [cases[f"block {n}"] for n in SCALE if n >= 5_000 and f"block {n}" in cases]
    if len(rows) < 3:
        return {}
    names = [name for name in rows[0]["contestants"] if all(name in row["contestants"] for row in rows)]
    sizes = np.log([row["n"] for row in rows])
    found = {}
    for name in names:
        lines = [row["contestants"][name] for row in rows]
        growing = np.log([line["seconds"] - min(line["fixed_seconds"], 0.9 * line["seconds"]) for line in lines])
        found[name] = float(np.polyfit(sizes, growing, 1)[0])
    return found


def draw(cases: dict[str, Any], fitted: dict[str, float], path: Path) -> None:
    """Draw seconds over n for the block, with the floor of the exact solver."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [cases[f"block {n}"] for n in (*SCALE, 50_000) if f"block {n}" in cases]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name in contestants():
        line = [(row["n"], row["contestants"][name]["seconds"]) for row in rows if name in row["contestants"]]
        if line:
            label = f"{name} ∝ n^{fitted[name]:.2f}" if name in fitted else name
            style = {"marker": "o", "linewidth": 2} if is_ours(name) else {"marker": "s", "linestyle": "--"}
            axes.plot(*zip(*line, strict=True), label=label, **style)
    lowest = [(r["n"], r["contestants"]["exact"]["floor_seconds"]) for r in rows if "exact" in r["contestants"]]
    if lowest:
        axes.plot(*zip(*lowest, strict=True), color="grey", linestyle=":", label="floor of exact")
    axes.set(
        xscale="log", yscale="log", xlabel="points of 512 dimensions, a tenth chosen", ylabel="seconds, one thread"
    )
    axes.set_xticks([row["n"] for row in rows], [f"{row['n']:,}" for row in rows], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def show(name: str, found: dict[str, Any]) -> Table:
    """Lay out a case as a table."""
    title = (
        f"{name}: n {found['n']:,}, d {found['d']}, k {found['k']:,}; random picks have L {found['random_L_ratio']:.3f}"
    )
    title += f"\naim: {found['aim']}" if found["aim"] else ""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    peers = [peer for peer in found["contestants"] if not is_ours(peer)]
    for head in (
        "contestant",
        "s",
        "fixed s",
        "MB",
        "L",
        "same order",
        "times floor",
        *(f"× {peer}" for peer in peers),
    ):
        table.add_column(head, justify="left" if head == "contestant" else "right")
    for contestant, row in found["contestants"].items():
        times = found["times_faster"].get(contestant, {})
        table.add_row(
            contestant,
            f"{row['seconds']:.3f}",
            f"{row['fixed_seconds']:.3f}",
            f"{row['megabytes']:,.0f}",
            f"{row['L_ratio']:.4f}",
            "yes" if row["same_order"] else f"{100 * row['overlap']:.1f}%",
            f"{row['times_floor']:.1f}" if "times_floor" in row else "–",
            *(f"{times[peer]:.2f}" if peer in times else "–" for peer in peers),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of CIFAR-10 in Parquet; by default the points are imitated")
    parser.add_argument("--cases", default="all", help=f"comma-separated, of: {', '.join(CASES)}; by default all")
    parser.add_argument("--contestants", default="all", help=f"comma-separated, of: {', '.join(contestants())}")
    parser.add_argument("--rounds", type=int, help="by default as many as the case has")
    parser.add_argument(
        "--steps", type=int, default=18_768, help="that the network is trained for; by default 24 epochs"
    )
    parser.add_argument("--device", default="cpu", help="where ours run; on another than cpu the peers are left out")
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmark-points"), help="where points are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "selection.json")
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.out.exists() else {"cases": {}}
    suited = [name for name, case in CASES.items() if options.device != "cpu" or not case.accelerator]
    for name in suited if options.cases == "all" else options.cases.split(","):
        case = CASES[name]
        wanted = case.names if options.contestants == "all" else options.contestants.split(",")
        names = tuple(n for n in wanted if n in contestants() and (options.device == "cpu" or is_ours(n)))
        path = make(options.cache, case.kind, case.n, case.d, options.data, options.steps)
        found = measure(case, path, names, options.rounds or case.rounds, options.device)
        result["cases"][name] = {**found, "points": path.parent.name, "steps": options.steps}
        result["cases"] = {known: result["cases"][known] for known in CASES if known in result["cases"]}
        result["exponents"] = exponents(result["cases"])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        Console(width=120).print(show(name, found))
    if any(name.startswith("block") for name in result["cases"]):
        draw(result["cases"], result["exponents"], options.out.with_suffix(".png"))
    for name, exponent in result["exponents"].items():
        print(f"{name}: seconds, less the fixed, grow as n^{exponent:.2f} from 5,000 to 20,000 points")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--apart"]:
        target, task, *words = sys.argv[2:]
        answer = machine(*words) if task == "machine" else work(words[0], words[1], int(words[2]), words[3])
        Path(target).write_text(json.dumps(answer))
    else:
        main()
