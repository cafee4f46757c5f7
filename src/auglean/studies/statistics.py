"""Means, spreads and intervals of a comparison, from which test images each run got right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from auglean.randomness import generator

RESAMPLES = 2000
LEVEL = 0.95


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Give mean, standard deviation (n − 1; 0 for one value) and the values.

    >>> spread([1.0, 3.0])
    {'mean': 2.0, 'std': 1.4142135623730951, 'values': [1.0, 3.0]}
    """
    column = torch.tensor(values, dtype=torch.float64)
    std = float(column.std()) if len(values) > 1 else 0.0
    return {"mean": float(column.mean()), "std": std, "values": [float(value) for value in values]}


def resampled_accuracies(hits: Mapping[str, Tensor], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Tensor]:
    """Bootstrap the accuracies of several arms together, over seeds and test images.

    The same seeds and images are drawn for every arm, so differences between arms are paired: what a hard test
    image or an unlucky initialisation does to all of them cancels.

    Args:
        hits: For each arm, which images each seed's run got right. Shape `(seeds, images)`, bool.
        seed: Fixes the draws.
        resamples: Number of draws.

    Returns:
        For each arm, an accuracy per draw. Shape `(resamples,)`, float64.
    """
    seeds, images = next(iter(hits.values())).shape
    g = generator(seed, "bootstrap")
    runs = multinomial(resamples, seeds, g)
    totals = {arm: [] for arm in hits}  # type: dict[str, list[Tensor]]
    for rows in torch.arange(resamples).split(200):
        drawn = multinomial(len(rows), images, g)
        for arm, right in hits.items():
            totals[arm].append(((drawn @ right.double().T) * runs[rows]).sum(1))
    return {arm: torch.cat(parts) / (seeds * images) for arm, parts in totals.items()}


def multinomial(draws: int, n: int, g: torch.Generator) -> Tensor:
    """Count how often each of n comes up in n draws with replacement. Shape `(draws, n)`, float64."""
    picks = torch.randint(n, (draws, n), generator=g)
    return torch.zeros(draws, n, dtype=torch.float64).scatter_add_(1, picks, torch.ones(draws, n, dtype=torch.float64))


def interval(draws: Tensor) -> tuple[float, float]:
    """Give the percentile interval at `LEVEL`."""
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(draws, torch.tensor([tail, 1 - tail], dtype=draws.dtype)).tolist()
    return low, high


def gain_kept(arm: float, weak: float, full: float, draws: Mapping[str, Tensor]) -> dict[str, float | str | None]:
    """Give the share of the gain of full augmentation that an arm kept, `(arm − weak) / (full − weak)`.

    Args:
        arm: Mean accuracy of the arm.
        weak: Mean accuracy with weak augmentation only.
        full: Mean accuracy with everything augmented.
        draws: Resampled accuracies under the names `"arm"`, `"weak"` and `"full"`.

    Returns:
        `mean`, `low` and `high`. They are None, with a `reason`, where the gain itself cannot be told from
        zero: a share of nothing has no meaning.
    """
    gain = draws["full"] - draws["weak"]
    low, high = interval(gain)
    if low <= 0:
        reason = (
            f"augmenting everything changed accuracy by {100 * (full - weak):+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}]: no clear gain"
        )
        return {"mean": None, "low": None, "high": None, "reason": reason}
    some = gain > 0  # in all but a few draws; in those there is no share
    below, above = interval((draws["arm"] - draws["weak"])[some] / gain[some])
    return {"mean": (arm - weak) / (full - weak), "low": below, "high": above}


def seconds_to_reach(histories: Sequence[Sequence[Mapping[str, float]]], column: str, target: float) -> dict[str, Any]:
    """Give the training seconds until a validation accuracy is first reached.

    Args:
        histories: Rows of each seed's run, with `seconds` and the accuracy.
        column: Name of the accuracy.
        target: What is to be reached.

    Returns:
        `mean` over the seeds, None unless all reached it; `reached` of `seeds`; and the `target`.

    >>> seconds_to_reach([[{"a": 0.4, "seconds": 1.0}, {"a": 0.6, "seconds": 2.0}]], "a", 0.5)
    {'mean': 2.0, 'reached': 1, 'seeds': 1, 'target': 0.5}
    """
    times = [next((row["seconds"] for row in rows if row[column] >= target), None) for rows in histories]
    found = [time for time in times if time is not None]
    mean = sum(found) / len(found) if len(found) == len(times) else None
    return {"mean": mean, "reached": len(found), "seeds": len(times), "target": target}
