"""What a budget curve tells of scores and clusters, beside accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auglean.progress import track
from auglean.randomness import derive
from auglean.studies.curve_fits import Fit
from auglean.studies.curve_runs import Runs

#: Images of a contact sheet, at most.
SHEET = 100
#: Images whose silhouette is taken, at most: it takes every pair of them.
_SILHOUETTE = 5000


def scores_of(runs: Runs, fit: Fit) -> dict[str, Tensor]:
    """Give the scores of `Influence`, `MaxLoss` and `Margin` of the originals under a fit, each `(n,)`, float64."""
    signals = runs.signals(fit)
    found = {"influence": runs.influence(fit), "loss": signals.loss, "margin": 1 - signals.margin}
    return {name: score.double() for name, score in found.items()}


def before_and_after(runs: Runs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare scores with no copies and with all; and give the sources of highest and lowest score with none.

    Returns:
        For each score `before` and `after`, shape `(n,)` to six digits, and Spearman's rank correlation; and for each
        score the positions of the `highest` and the `lowest` in the training set of the task.
    """
    from scipy.stats import spearmanr

    before, after = scores_of(runs, runs.floor()), scores_of(runs, runs.ceiling())
    scores, sheets = {}, {}
    for name in before:
        rank = float(spearmanr(before[name].numpy(), after[name].numpy()).statistic)
        scores[name] = {
            "before": _short(before[name]),
            "after": _short(after[name]),
            "spearman": rank if np.isfinite(rank) else None,
        }
        order = torch.argsort(before[name], descending=True, stable=True)
        size = min(SHEET, runs.n // 2)
        sheets[name] = {"highest": order[:size].tolist(), "lowest": order.flip(0)[:size].tolist()}
    return scores, sheets


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def numbers_of_clusters(n: int) -> list[int]:
    """Give the numbers of clusters of the paper's sweep: 50 from 2 to n − 1, evenly spaced in logarithms, once each.

    >>> len(numbers_of_clusters(1000))
    45
    """
    return list(dict.fromkeys(np.geomspace(2, n - 1, 50).astype(int).tolist()))


def sweep_clusters(train: Tensor, test: Tensor, numbers: Sequence[int], *, seed: int = 0) -> list[dict[str, Any]]:
    """Cluster the originals' features by k-means for each number, and judge the clusters.

    Args:
        train: Features that are clustered. Shape `(n, d)`.
        test: Features that are assigned to the nearest centre. Shape `(t, d)`.
        numbers: Numbers of clusters.
        seed: Fixes the first centres.

    Returns:
        For each number `k`: `inertia`, and the mean silhouette `silhouette_train` and `silhouette_test`, None where
        there are fewer than two clusters or each image is one.
    """
    from sklearn.cluster import KMeans

    x, y = train.double().numpy(), test[:_SILHOUETTE].double().numpy()
    rows = []
    for k in track(numbers, "clusters"):
        found = KMeans(k, random_state=derive(seed, "sweep") % 2**32).fit(x)
        rows.append(
            {
                "k": k,
                "inertia": float(found.inertia_),
                "silhouette_train": _silhouette(x, found.labels_),
                "silhouette_test": _silhouette(y, found.predict(y)),
            }
        )
    return rows


def _silhouette(points: Any, labels: Any) -> float | None:
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points, labels)) if 2 <= len(np.unique(labels)) < len(points) else None
