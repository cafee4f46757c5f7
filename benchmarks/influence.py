"""Influence beside leaving out and fitting again, beside how others compute it; logistic fits; softmax.

- Leave-one-out: each surrogate and the published Hessian against fits without each example in turn.
- The published code (Kuchnik & Smith 2019) builds the Hessian by automatic differentiation and takes one gradient for
  each example; here by the package autograd (extra `bench`), step by step as there.
- A solve for each example by `torch.linalg.solve`, as libraries for general networks do it; and kronfluence (extra
  `bench`), which has EK-FAC for any network, at a linear head.
- The floor of the exact softmax influence is what its specification counts, 4.1 TFLOP at 50,000 × 512 × 10, at the
  rate of a large float32 product measured in the same run by the fastest way that torch has.

    python benchmarks/influence.py [--count 50000] [--threads 1] [--rounds 5] [--out benchmarks/results/influence.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from common import RESULTS, seconds, take_turns, write
from rich.console import Console
from rich.table import Table
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from auglean.products import inner_products
from auglean.signals import LogisticHead, fit_logistic, logistic_influence, softmax_influence

SURROGATES = ("influence", "leave-one-out", "newton")


def task(n: int, d: int, classes: int) -> tuple[Tensor, Tensor, nn.Linear]:
    """Imitate features of a ReLU network, labels, and a linear head that is right mostly."""
    g = torch.Generator().manual_seed(0)
    centres, y = torch.randn(classes, d, generator=g), torch.randint(0, classes, (n,), generator=g)
    x = (0.35 * centres[y] + torch.randn(n, d, generator=g) * torch.linspace(0.2, 2, d)).relu()
    head = nn.Linear(d, classes).requires_grad_(False)
    head.weight.copy_(0.1 * centres)
    head.bias.copy_(-(x @ head.weight.T).mean(0))
    return x, y, head


def noise(n: int, d: int, seed: int, relu: bool) -> tuple[Tensor, Tensor]:
    """Draw features of which one, with noise, decides the label."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = (x[:, 0] + torch.randn(n, generator=g) > 0).long()
    return x.relu() if relu else x, y


def left_out(x: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """Leave out each example, fit again, and hold each score against the rise of the example's loss."""
    head = fit_logistic(x, y, tol=1e-11)
    found = {name: logistic_influence(x, y, head=head, surrogate=name) for name in SURROGATES}
    found["published Hessian"] = logistic_influence(x, y, head=head, reference=True)
    rise = -found["influence"].loss
    for i in range(len(y)):
        rest = torch.arange(len(y)) != i
        other = fit_logistic(x[rest], y[rest], start=head, tol=1e-10)
        rise[i] += functional.cross_entropy(other.logits(x[i : i + 1]), y[i : i + 1])
    return {
        name: {
            "pearson": float(pearsonr(one.score, rise)[0]),
            "spearman": float(spearmanr(one.score, rise).statistic),
            "relative_error": float((one.score / rise - 1).abs().median()),
        }
        for name, one in found.items()
    }


def leave_one_out() -> list[dict[str, Any]]:
    """Give the agreement of each score with leaving out: where d > n, over ten data sets, the least and the worst."""
    rows = []
    for d in (256, 512):
        x, y, _ = task(1000, d, 2)
        rows.append({"n": 1000, "d": d, "features": "imitated", "sets": 1, "scores": left_out(x, y)})
    for n, d, relu in ((200, 10, False), (120, 150, False), (120, 150, True)):
        sets = [left_out(*noise(n, d, seed, relu)) for seed in range(10)]
        worst = {
            name: {
                figure: (max if figure == "relative_error" else min)(one[name][figure] for one in sets)
                for figure in sets[0][name]
            }
            for name in sets[0]
        }
        features = "normal, ReLU" if relu else "normal"
        rows.append({"n": n, "d": d, "features": features, "sets": len(sets), "scores": worst})
    return rows


def published(x: Tensor, y: Tensor, head: LogisticHead) -> Tensor:
    """Go the way of the published code: Hessian and gradients by autograd, an inverse, and example by example.

    Of its likelihood and penalty, too, the steps are the same: a sigmoid by tanh, the weights flattened, ones appended
    to each example, and a function for its gradient made.
    """
    import autograd.numpy as anp
    from autograd import grad, hessian
    from autograd.misc import flatten

    features, labels = x.double().numpy(), y.numpy()
    theta = np.concatenate([head.weight.numpy()[0], head.bias.numpy()])

    def loss(theta: Any, rows: Any, labels: Any) -> Any:
        p = 0.5 * (anp.tanh(anp.dot(rows, theta) / 2) + 1)
        weights, _ = flatten(theta[:-1])
        return 1e-10 * anp.dot(weights, weights) - anp.sum(anp.log(p * labels + (1 - p) * (1 - labels)))

    def with_ones(rows: Any) -> Any:
        return np.concatenate([rows, np.ones((len(rows), 1))], 1)

    inverse = scipy.linalg.inv(hessian(loss)(theta, with_ones(features), labels))
    scores = np.zeros(len(features))
    for i, label in enumerate(labels):
        slope = grad(loss)(theta, with_ones(features[i : i + 1]), label)
        scores[i] = slope.dot(inverse).dot(slope)
    return torch.from_numpy(scores)


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


def kronfluence_scores(x: Tensor, y: Tensor, head: nn.Linear, C: float = 1.0) -> Tensor:
    """Compute self-influence at a linear head by kronfluence's EK-FAC, the penalty as its damping."""
    from kronfluence import Analyzer, ScoreArguments, Task, prepare_model

    class Classify(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            logits, labels = model(batch[0]), batch[1]
            if sample:  # the true Fisher takes labels from the model
                labels = torch.multinomial(logits.detach().softmax(1), 1)[:, 0]
            return functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    own = nn.Sequential(nn.Linear(head.in_features, head.out_features))
    own[0].load_state_dict(head.state_dict())
    data, n = torch.utils.data.TensorDataset(x, y), len(x)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        options: dict[str, Any] = {"cpu": True, "disable_tqdm": True, "log_level": logging.ERROR, "output_dir": folder}
        analyzer = Analyzer("head", prepare_model(own, Classify()), Classify(), **options)
        analyzer.fit_all_factors("factors", data, per_device_batch_size=1024)
        # its Fisher is a mean over examples, so that the scores are n times those of the sum
        damped = ScoreArguments(damping_factor=1 / (C * n))
        analyzer.compute_self_scores("scores", "factors", data, per_device_train_batch_size=1024, score_args=damped)
        return analyzer.load_self_scores("scores")["all_modules"] / n


def several_classes(rounds: int) -> list[dict[str, Any]]:
    """Hold EK-FAC against kronfluence's, and both against the exact scores."""
    if importlib.util.find_spec("kronfluence") is None:
        print("kronfluence is not installed, so it is left out; the extra bench has it.")
        return []
    n, d, classes = 5000, 256, 10
    x, y, head = task(n, d, classes)
    p = head(x).double().softmax(1)

    def ours(method: Any = "ek-fac") -> Tensor:
        return softmax_influence(x, y, probabilities=p, method=method).score

    def theirs() -> Tensor:
        return kronfluence_scores(x, y, head)

    found, exact = take_turns(ours, theirs, rounds), ours("exact")
    ranks = [float(spearmanr(score, exact).statistic) for score in (ours(), theirs())]
    told = {"against": "kronfluence, EK-FAC", "n": n, "d": d, "classes": classes}
    return [{**told, **found, "spearman": ranks[0], "their_spearman": ranks[1]}]


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
    x, y, head = task(count, d, classes)
    p = head(x).double().softmax(1)
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
    rows = [*binary(options.rounds), *several_classes(options.rounds), *fits(options.rounds)]
    large, agreement = softmax(options.count, options.rounds), leave_one_out()
    aim = (
        "leave-one-out: Spearman 0.99, Newton within 1%; autograd Hessian 50 times slower; exact softmax within 1.3 "
        "floors; EK-FAC 20 times faster, Spearman 0.99"
    )
    write(options.out, "cpu", aim=aim, threads=options.threads, rounds=options.rounds, rows=rows, softmax=large,
          leave_one_out=agreement)  # fmt: skip
    table = Table("against", "n", "d", "ours, s", "theirs, s", "ratio")
    for row in rows:
        times = f"{row['first_seconds']:.4f}", f"{row['second_seconds']:.4f}", f"{row['ratio']:.1f}"
        table.add_row(row["against"], str(row["n"]), str(row["d"]), *times)
    Console().print(table)
    Console().print(large, agreement)


if __name__ == "__main__":
    main()
