"""Moments in closed form beside Monte Carlo to the same error, on one thread.

    python benchmarks/moments.py --mnist MNIST --cifar10 CIFAR10
    python benchmarks/moments.py --draw    # only the plot, from the result file

MNIST and CIFAR10 are folders of Parquet files. Geometry is applied to a zero of MNIST, the rest to the luma of an
image of CIFAR-10. Monte Carlo draws with the same policies in batches of float32 and sums in float64; N draws reach a
relative error ε of the covariance where N = (m4 − ‖C‖²) / (ε ‖C‖)², and of the mean where N = tr C / (ε ‖μ‖)²; the
table of convergence holds both against draws. The closed form is asked for the same error, by `tol`; what both are
truly off by is held against the exact moments. Seconds of draws are those of N draws at the pace of a few thousand,
which take turns with ten calls of the closed form, and are those of the processor, which others on the machine hardly
lengthen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, command, seconds, take_turns, write
from torch import Tensor

import auglean as al
from auglean.moments.planning import Question, rule
from auglean.moments.tasks import Task
from auglean.policies import Brightness, Policy, RandomErasing, RandomResizedCrop, Shear, Shift, parse
from auglean.policies.colour import grey

PLOT = RESULTS.parents[1] / "docs" / "moments.png"
BATCH = 1024
CLOSED = ("translate3", "rotate15", "scale0.2", "shear15", "crop4", "cutout8")
#: Calls of a closed form in a turn.
CALLS = 10
#: Relative errors that closed forms and draws are asked for.
ERRORS = {"covariance": 1e-2, "mean": 1e-3}
SHARED = ("translate3", "rotate15", "scale0.2", "shear10", "crop4", "cutout8", "crop4-flip", "brightness0.4")


def operators() -> dict[str, tuple[str, Policy]]:
    """Name, kind of image and policy of the operators that draws are held against."""
    colour = Brightness(0.4) | parse("contrast0.4")
    return {
        "translate ±3 px": ("mnist", parse("translate3")),
        "rotate ±15°": ("mnist", parse("rotate15")),
        "zoom 0.8 to 1.2": ("mnist", parse("scale0.2")),
        "shear ±15°": ("mnist", Shear(15)),
        "crop, padding 4": ("cifar10", parse("crop4")),
        "resized crop, 0.25 to 1": ("cifar10", RandomResizedCrop((0.25, 1.0))),
        "flip": ("cifar10", parse("flip")),
        "brightness, contrast 0.4": ("cifar10", colour),
        "cutout 16": ("cifar10", parse("cutout16")),
        "erasing, p = 0.5": ("cifar10", RandomErasing(0.5)),
    }


def subjects(options: argparse.Namespace) -> dict[str, Tensor]:
    """An image of each kind, `(C, H, W)` float64."""
    digits, photographs = (al.load(str(folder), split="test") for folder in (options.mnist, options.cifar10))
    zero = digits.images[int((digits.labels == 0).nonzero()[0])].double() / 255
    colours = photographs.images[:64].double() / 255
    return {"mnist": zero, "cifar10": grey(colours)[0], "colours": colours, "digits": digits.images[:64].double() / 255}


def draws(policy: Policy, x: Tensor, n: int, chance: torch.Generator, *, covariance: bool) -> tuple[Tensor, Tensor]:
    """Sums of n draws and of their products, less the image itself. `(D,)` and `(D, D)`."""
    d = x.numel()
    total, square = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    copies = x.float().expand(min(n, BATCH), *x.shape).contiguous()
    for start in range(0, n, BATCH):
        some = copies[: n - start]
        off = (policy(some, generator=chance) - some).flatten(1)
        total += off.sum(0, dtype=torch.float64)
        if covariance:
            square += off.T @ off
    return total, square


def convergence(name: str, x: Tensor, policy: Policy, most: int) -> dict[str, Any]:
    """Errors of means and covariances of draws, beside those that the moments predict."""
    found = policy.moments(x, tol=1e-4, most=16_384)
    dense = found.dense()
    chance, flat = torch.Generator().manual_seed(0), found.mean.flatten()
    row: dict[str, Any] = {"operator": name, "kind": found.kind, "nodes": found.nodes, "trace": float(found.trace)}
    fourth = float(found.m4 - found.frobenius2)
    row |= {
        "N_mean": float(found.trace / (0.01 * flat.norm()) ** 2),
        "N_covariance": fourth / (0.01 * float(dense.norm())) ** 2,
    }
    row["errors"] = []
    done, total, square = 0, torch.zeros_like(flat), torch.zeros_like(dense)
    for n in (100, 10_000, most):
        new = draws(policy, x, n - done, chance, covariance=True)
        done, total, square = n, total + new[0], square + new[1]
        mean = total / n
        covariance = (square - n * mean[:, None] * mean) / (n - 1)
        row["errors"].append(
            {
                "N": n,
                "mean": float((mean + x.flatten() - flat).norm() / flat.norm()),
                "mean_predicted": float((found.trace / n).sqrt() / flat.norm()),
                "covariance": float((covariance - dense).norm() / dense.norm()),
                "covariance_predicted": (max(fourth, 0.0) / n) ** 0.5 / float(dense.norm()),
            }
        )
    return row


def advantage(word: str, x: Tensor, rounds: int) -> dict[str, Any]:
    """How much longer draws take to the same error as is asked of the closed form, and how far off both truly are."""
    policy = parse(word)
    exact = policy.moments(x, method="exact")
    truth = {"covariance": exact.dense(), "mean": exact.mean.flatten()}
    needed = {
        "covariance": float((exact.m4 - exact.frobenius2) / (ERRORS["covariance"] ** 2 * exact.frobenius2)),
        "mean": float(exact.trace / (ERRORS["mean"] * exact.mean.norm()) ** 2),
    }
    row: dict[str, Any] = {"policy": word, "shape": list(x.shape)}
    for what, n in needed.items():
        some, covariance, tol = min(int(n) + 1, 4096), what == "covariance", ERRORS[what]

        def closed_form(tol: float = tol, covariance: bool = covariance) -> None:
            for _ in range(CALLS):
                found = policy.moments(x, tol=tol)
                _ = found.dense() if covariance else found.mean

        turns = take_turns(
            closed_form,
            lambda c=covariance, s=some: draws(policy, x, s, torch.Generator().manual_seed(0), covariance=c),
            rounds,
            time.process_time,
        )
        scale, found = CALLS * n / some, policy.moments(x, tol=tol)
        drawn = drawn_moments(policy, x, int(n) + 1, covariance=covariance)
        closed = found.dense() if covariance else found.mean.flatten()
        row[what] = {
            "kind": found.kind,
            "nodes": found.nodes,
            "error": float(found.error),
            "closed_error": float((closed - truth[what]).norm() / truth[what].norm()),
            "drawn_error": float((drawn - truth[what]).norm() / truth[what].norm()),
            "draws": n,
            "closed_seconds": turns["first_seconds"] / CALLS,
            "drawn_seconds": n / some * turns["second_seconds"],
            "ratio": scale * turns["ratio"],
            "ratio_quartiles": [scale * end for end in turns["ratio_quartiles"]],
        }
    return row


def drawn_moments(policy: Policy, x: Tensor, n: int, *, covariance: bool) -> Tensor:
    """Mean `(D,)` or covariance `(D, D)` of n draws."""
    total, square = draws(policy, x, n, torch.Generator().manual_seed(0), covariance=covariance)
    off = total / n
    return (square - n * off[:, None] * off) / (n - 1) if covariance else x.flatten() + off


def sharing(word: str, images: Tensor, rounds: int) -> dict[str, Any]:
    """One call on a batch beside a call for each image."""
    policy = parse(word)
    turns = take_turns(
        lambda: policy.moments(images), lambda: [policy.moments(x) for x in images], rounds, time.process_time
    )
    return {"policy": word, "shape": list(images.shape), **turns}


def repeat(work: Callable[[], Any]) -> None:
    """Do it as often as in a turn."""
    for _ in range(CALLS):
        work()


def targets(found: dict[str, Tensor], rounds: int) -> list[dict[str, Any]]:
    """The times that were aimed at, in milliseconds."""
    large = torch.nn.functional.interpolate(found["colours"][:1], (224, 224), mode="bilinear")[0]
    translate, rotate, whole = parse("translate3"), parse("rotate15"), Shift(0.1, 0.1, whole=True)
    x = found["colours"][0]
    task = Task(rotate, x[None], tol=1e-3, most=4096, limit=2**29, seed=0, exact=False)
    own = rule(rotate, Question((3, 32, 32), task.x, level=1))
    assert own is not None
    rows: list[tuple[str, float, Any]] = [
        ("mean and variance of translate3, 1×28×28", 1.0, lambda: translate.moments(found["mnist"])),
        ("mean and variance of translate3, 3×224×224", 10.0, lambda: translate.moments(large)),
        ("mean and variance of shifts by whole pixels up to a tenth, 3×224×224", 10.0, lambda: whole.moments(large)),
        (f"mean and variance of rotate15 by {len(own)} nodes, 3×32×32", 10.0, lambda: task.by(own)),
        ("rotate15 to tol=1e-3, 3×32×32", float("nan"), lambda: rotate.moments(x)),
        ("crop4-flip-cutout8, 3×32×32", float("nan"), lambda: parse("crop4-flip-cutout8").moments(x)),
        ("translate4-flip-rotate15, 3×32×32", float("nan"), lambda: parse("translate4-flip-rotate15").moments(x)),
        ("ten eigen-images of translate3, 3×224×224", float("nan"), lambda: translate.moments(large).eig(10)),
        ("frobenius2 of translate3, 3×224×224", float("nan"), lambda: translate.moments(large).frobenius2),
    ]
    table = []
    for what, aim, work in rows:
        work()
        times = sorted(1000 / CALLS * seconds(partial(repeat, work), time.process_time) for _ in range(rounds))
        row = {"what": what, "milliseconds": times[len(times) // 2], "least": times[0], "most": times[-1]}
        table.append(row | ({"aim": aim} if aim == aim else {}))
    return table


def peak(case: tuple[str, int, int]) -> dict[str, Any]:
    """Seconds and megabytes of mean and variance, and of a product by the covariance, in a process of its own."""
    word, size, nodes = case

    def status(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def form() -> Any:
        task = Task(policy, x[None], tol=1e-3, most=4096, limit=2**29, seed=0, exact=False)
        own = rule(policy, Question((3, size, size), task.x, level=(nodes // 32).bit_length() - 1)) if nodes else None
        return task.by(own) if own else policy.moments(x).covariance

    policy = parse(word)
    x = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = status("VmRSS")
    made = form()
    megabytes = (status("VmHWM") - before) / 1e6
    took = min(seconds(form, time.process_time) for _ in range(3))
    v = x.flatten()[None, :, None]
    made.matvec(v)
    return {
        "policy": word,
        "size": size,
        "nodes": nodes,
        "seconds": took,
        "megabytes": megabytes,
        "product_seconds": min(seconds(lambda: made.matvec(v), time.process_time) for _ in range(3)),
        "product_megabytes": (status("VmHWM") - before) / 1e6,
    }


def growth() -> list[dict[str, Any]]:
    """Seconds and memory against size, and against nodes."""
    cases = [("translate3", size, 0) for size in (28, 56, 112, 224)]
    cases += [("rotate15", size, 64) for size in (28, 56, 112, 224)]
    cases += [("rotate15", size, nodes) for size in (56, 224) for nodes in (32, 128, 256)]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(peak, cases, chunksize=1)


def draw(path: Path) -> None:
    """Plot seconds and memory against size and nodes."""
    from matplotlib.figure import Figure

    result = json.loads(path.read_text())
    if "growth" not in result:  # other parts alone have nothing to plot
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines = {
        "translate3, mean and variance": ("translate3", 0, "", "o-"),
        "translate3, product": ("translate3", 0, "product_", "o--"),
        "rotate15 by 64 nodes, mean and variance": ("rotate15", 64, "", "s-"),
        "rotate15 by 64 nodes, product": ("rotate15", 64, "product_", "s--"),
    }
    for label, (word, nodes, prefix, style) in lines.items():
        rows = [row for row in result["growth"] if (row["policy"], row["nodes"]) == (word, nodes)]
        colour = f"C{style[0] == 's':d}"
        pixels = [row["size"] for row in rows]
        left.plot(pixels, [1000 * row[prefix + "seconds"] for row in rows], style, color=colour, label=label)
    for size, style in ((56, "^-"), (224, "s-")):
        rows = sorted(
            (row for row in result["growth"] if row["policy"] == "rotate15" and row["size"] == size),
            key=lambda row: row["nodes"],
        )
        nodes_of = [row["nodes"] for row in rows]
        right.plot(nodes_of, [row["megabytes"] for row in rows], style, label=f"3×{size}×{size}, mean and variance")
        kept = [row["product_megabytes"] for row in rows]
        right.plot(nodes_of, kept, style[0] + "--", label=f"3×{size}×{size}, and a product")
    left.set(xscale="log", yscale="log", xlabel="side of the image (3 channels)", ylabel="milliseconds, one thread")
    left.set_xticks([28, 56, 112, 224], ["28", "56", "112", "224"], minor=False)
    left.minorticks_off()
    right.set(xscale="log", yscale="log", xlabel="nodes of rotate15", ylabel="megabytes at the peak")
    right.set_xticks([32, 64, 128, 256], ["32", "64", "128", "256"], minor=False)
    right.minorticks_off()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, default=Path("mnist"))
    parser.add_argument("--cifar10", type=Path, default=Path("cifar10"))
    parser.add_argument(
        "--parts", default="growth,targets,advantage,sharing,convergence", help="Others stay as they are."
    )
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "moments.json")
    parser.add_argument("--draw", action="store_true", help="Only draw the plot anew.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.draw:
        found = subjects(options)
        parts = {
            "growth": growth,  # first by default, while there is little memory to use again
            "targets": lambda: targets(found, options.rounds),
            "advantage": lambda: [
                advantage(word, found["mnist" if i < 4 else "cifar10"], options.rounds) for i, word in enumerate(CLOSED)
            ],
            "sharing": lambda: [
                sharing(word, found[kind], options.rounds) for kind in ("digits", "colours") for word in SHARED
            ],
            "convergence": lambda: [
                convergence(name, found[kind], policy, options.draws) for name, (kind, policy) in operators().items()
            ],
        }
        held = json.loads(options.out.read_text()) if options.out.exists() else {}
        results = {name: held[name] for name in parts if name in held}
        commands, rounds = held.get("commands", {}), held.get("rounds", {})  # parts may be run one by one
        for name in options.parts.split(","):
            results[name] = parts[name]()
            for row in results[name]:
                print(json.dumps(row, ensure_ascii=False), flush=True)
            commands[name], rounds[name] = command(), options.rounds
            write(options.out, "cpu", rounds=rounds, commands=commands, **results)
    draw(options.out)


if __name__ == "__main__":
    main()
