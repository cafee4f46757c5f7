"""Influence beside the published way to compute it, and beside one solve for each example; logistic fits; softmax.

The published code builds the Hessian by automatic differentiation and takes one gradient for each example; here by the
package autograd (extra `bench`). Solving for
each example is what a library for general networks does; here by `torch.linalg.solve`, a stand-in for kronfluence and
pyDVL. The floor of the exact softmax influence is what its specification counts, 4.1 TFLOP at 50,000 × 512 × 10, at the
rate of a large float32 product measured in the same run by the fastest way that torch has.

    python benchmarks/influence.py [--count 50000] [--threads 1] [--rounds 5] [--out benchmarks/results/influence.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, seconds, take_turns, write
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from auglean.products import inner_products
from auglean.signals import LogisticHead, fit_logistic, logistic_influence, softmax_influence


def task(n: int, d: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Imitate features of a ReLU network, labels, and the probabilities of a model that is right mostly."""
    g = torch.Generator().manual_seed(0)
    centres, y = torch.randn(classes, d, generator=g), torch.randint(0, classes, (n,), generator=g)
    x = (0.35 * centres[y] + torch.randn(n, d, generator=g) * torch.linspace(0.2, 2, d)).relu()
    logits = 0.1 * x @ centres.T
    return x, y, (logits - logits.mean(0)).double().softmax(1)


def published(x: Tensor, y: Tensor, head: LogisticHead) -> Tensor:
    """Take Hessian and gradients of the log-likelihood by autograd, invert, and go example by example."""
    import autograd.numpy as anp
    from autograd import grad, hessian

    rows, labels = np.concatenate([x.double().numpy(), np.ones((len(x), 1))], 1), y.numpy()
    theta = torch.cat([head.weight[0], head.bias]).numpy()

    def loss(t: Any, x: Any, y: Any) -> Any:
        p = 1 / (1 + anp.exp(-anp.dot(x, t)))
        return 1e-10 * anp.dot(t[:-1], t[:-1]) - anp.sum(anp.log(p * y + (1 - p) * (1 - y)))

    inverse = np.linalg.inv(hessian(loss)(theta, rows, labels))
    gradients = [grad(loss)(theta, rows[i : i + 1], labels[i]) for i in range(len(rows))]
    return torch.tensor([g @ inverse @ g for g in gradients])


def per_example(x: Tensor, y: Tensor, head: LogisticHead) -> Tensor:
    """Solve with the Hessian for each example."""
    rows = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    p = head.logits(x).softmax(1)[:, 1]
    ridge = torch.full((rows.shape[1],), 1 / head.C, dtype=torch.float64)
    ridge[-1] = 0
    hessian = rows.T @ (rows * (p * (1 - p))[:, None]) + ridge.diag()
    gradients = (p - y)[:, None] * rows
    return torch.stack([g @ torch.linalg.solve(hessian, g) for g in gradients])


def binary(rounds: int) -> list[dict[str, Any]]:
    x, y, _ = task(1000, 256, 2)
    head = fit_logistic(x, y)
    rows = []
    for name, other, reference in (("autograd Hessian", published, True), ("solve per example", per_example, False)):
        mine = logistic_influence(x, y, head=head, reference=reference).score
        found = take_turns(
            lambda reference=reference: logistic_influence(x, y, head=head, reference=reference),
            lambda other=other: other(x, y, head),
            rounds,
        )
        agreement = float((other(x, y, head) / mine - 1).abs().median())
        rows.append({"against": name, "n": 1000, "d": 256, **found, "median_relative_difference": agreement})
    return rows


def fits(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for n, d in ((5000, 128), (5000, 512)):
        x, y, _ = task(n, d, 2)
        start = fit_logistic(x[: n * 9 // 10], y[: n * 9 // 10])
        peer = LogisticRegression(solver="newton-cholesky", warm_start=True, tol=1e-8, max_iter=1000)
        numbers, given = (x.double().numpy(), y.numpy()), (start.weight.numpy(), start.bias.numpy())
        peer.fit(*numbers)

        def sklearn(peer: Any = peer, numbers: Any = numbers, given: Any = given) -> None:
            peer.coef_, peer.intercept_ = given[0].copy(), given[1].copy()
            peer.fit(*numbers)

        found = take_turns(lambda x=x, y=y, start=start: fit_logistic(x, y, start=start), sklearn, rounds)
        rows.append({"against": "scikit-learn, newton-cholesky", "n": n, "d": d, **found})
    return rows


def softmax(count: int, rounds: int) -> dict[str, Any]:
    d, classes = 512, 10
    x, y, p = task(count, d, classes)
    a, b = torch.randn(4096, 4096), torch.randn(4096, 4096)

    def rate() -> dict[str, float]:
        arms = {"torch.mm": lambda: a @ b, "oneDNN": lambda: inner_products(a, b)}
        return {name: 2 * 4096**3 / min(seconds(work) for _ in range(3)) for name, work in arms.items()}

    before = rate()
    quick = [softmax_influence(x, y, probabilities=p, method="ek-fac") for _ in range(rounds)]
    exact = softmax_influence(x, y, probabilities=p, method="exact")
    after = rate()
    size = classes * (d + 1)
    operations = classes * (classes + 1) * count * d**2 + (classes * d) ** 3 / 3 + 2 * count * size**2
    best = max(*before.values(), *after.values())
    fast = sorted(found.seconds for found in quick)[len(quick) // 2]
    return {
        "n": count,
        "d": d,
        "classes": classes,
        "exact_seconds": exact.seconds,
        "ek_fac_seconds": fast,
        "ek_fac_times_faster": exact.seconds / fast,
        "spearman": float(spearmanr(exact.score, quick[0].score).statistic),
        "flop_per_second": {"before": before, "after": after},
        "floor_flop": operations,
        "floor_seconds": operations / best,
        "over_floor": exact.seconds * best / operations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "influence.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, large = [*binary(options.rounds), *fits(options.rounds)], softmax(options.count, options.rounds)
    aim = "autograd Hessian 50 times slower; exact softmax within 1.3 floors; EK-FAC 20 times faster, Spearman 0.99"
    write(options.out, "cpu", aim=aim, threads=options.threads, rounds=options.rounds, rows=rows, softmax=large)
    table = Table("against", "n", "d", "ours, s", "theirs, s", "ratio")
    for row in rows:
        times = f"{row['first_seconds']:.4f}", f"{row['second_seconds']:.4f}", f"{row['ratio']:.1f}"
        table.add_row(row["against"], str(row["n"]), str(row["d"]), *times)
    Console().print(table)
    Console().print(large)


if __name__ == "__main__":
    main()
