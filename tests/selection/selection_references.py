"""Slow and obviously right: what the selection room is held to. Plain Python numbers or float64 numpy."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from auglean.selection import Selection
from auglean.signals import Signals


def plain_greedy(similarity: list[list[Any]], k: int) -> tuple[list[int], list[Any]]:
    """Maximise Σ_i max_{j∈S} s_ij from F(∅) = 0 by trying every candidate; ties to the lowest index.

    Exact where the numbers are integers or fractions.
    """
    n = len(similarity)
    chosen: list[int] = []
    gains: list[Any] = []
    value = 0
    for _ in range(k):
        best, best_value = -1, None
        for j in (j for j in range(n) if j not in chosen):
            trial = sum(max(row[i] for i in [*chosen, j]) for row in similarity)
            if best_value is None or trial > best_value:
                best, best_value = j, trial
        chosen.append(best)
        gains.append(best_value - value)
        value = best_value
    return chosen, gains


def best_subset(similarity: np.ndarray, k: int) -> float:
    """F* by trying every subset of k."""
    subsets = itertools.combinations(range(len(similarity)), k)
    return max(float(similarity[:, list(subset)].max(1).sum()) for subset in subsets)


def nearest_pick(distances: np.ndarray, picks: list[int]) -> np.ndarray:
    """Position of the pick nearest to each point, the first of equals. numpy's argmin takes the first."""
    return distances[:, picks].argmin(1)


def explicit_distances(points: np.ndarray) -> np.ndarray:
    difference = points[:, None].astype(np.float64) - points[None].astype(np.float64)
    return np.sqrt((difference**2).sum(-1))


def gradients(residual: torch.Tensor, feature: torch.Tensor | None) -> np.ndarray:
    """One cross-entropy gradient of the last layer per example: weights and bias, or logits alone. (n, K·(D+1))."""
    r = residual.double().numpy()
    if feature is None:
        return r
    h = np.concatenate([feature.double().numpy(), np.ones((len(r), 1))], axis=1)
    return np.einsum("nk,nd->nkd", r, h).reshape(len(r), -1)


def largest_remainder(total: int, sizes: list[int], equal: bool) -> list[int]:
    """Share a budget by largest remainder, with neither caps nor minima; ties to the lowest class."""
    weights = [min(size, 1) if equal else size for size in sizes]
    quotas = [Fraction(total * weight, max(sum(weights), 1)) for weight in weights]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda c: counts[c] - quotas[c])
    for c in by_remainder[: total - sum(counts)]:
        counts[c] += 1
    return counts


def make_signals(n: int, *, classes: int = 3, dim: int = 4, seed: int = 0) -> tuple[Signals, torch.Tensor]:
    """Signals of a random softmax model, as a recorder fills them, and the labels."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=g)
    logits = 2 * torch.randn(n, classes, generator=g)
    probability = logits.softmax(1)
    top = probability.sort(1, descending=True).values
    return (
        Signals(
            loss=torch.nn.functional.cross_entropy(logits, labels, reduction="none"),
            margin=top[:, 0] - top[:, min(1, classes - 1)],
            residual=probability - torch.nn.functional.one_hot(labels, classes),
            feature=torch.randn(n, dim, generator=g),
            prediction=logits.argmax(1),
            forgetting=torch.randperm(n, generator=g),
            tracin=torch.rand(n, generator=g),
            loss_sd=torch.rand(n, generator=g),
            gap=0.05,
        ),
        labels,
    )


def score_signals(loss: list[float] | torch.Tensor) -> Signals:
    """Signals of which only the loss matters."""
    loss = torch.as_tensor(loss, dtype=torch.float32)
    n = len(loss)
    return Signals(loss, torch.zeros(n), torch.ones(n, 2), torch.zeros(n, 1), torch.zeros(n, dtype=torch.int64))


def class_counts(labels: torch.Tensor, chosen: Selection) -> list[int]:
    """How many examples of each class were chosen."""
    return torch.bincount(labels[chosen.indices], minlength=int(labels.max()) + 1).tolist()
