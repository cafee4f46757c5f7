"""Statistics of a budget curve: paired resamples of sources and rounds, and areas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from auglean.randomness import generator
from auglean.studies.statistics import RESAMPLES, interval, multinomial

#: Resamples that are held at a time.
_CHUNK = 200


class Bootstrap:
    """Resamples of test sources and rounds, the same for every arm, so that differences between arms are paired.

    A source is drawn with all of its copies: they are right and wrong together, and are no independent images.
    Arms with as many rounds share their draws of rounds too, as they share the seeds of those.

    Args:
        sources: Number t of test sources.
        copies: Images of each source, m + 1.
        seed: Fixes the draws.
        resamples: Number of draws.
    """

    def __init__(self, sources: int, copies: int, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.sources, self.copies, self.seed, self.resamples = sources, copies, seed, resamples
        self._rounds: dict[int, Tensor] = {}

    def draws(self, counts: Sequence[Tensor]) -> list[Tensor]:
        """Resample the accuracies of several points.

        Args:
            counts: For each point, how many images of each source are right in each round. Each `(rounds, t)`.

        Returns:
            For each point, an accuracy per resample. Each `(resamples,)`, float64.
        """
        if not counts:
            return []
        rows = torch.cat([point.double() for point in counts])  # (all rounds of all points, t)
        g = generator(self.seed, "sources")
        parts = []
        for chunk in torch.arange(self.resamples).split(_CHUNK):
            parts.append(multinomial(len(chunk), self.sources, g) @ rows.T)
        totals = torch.cat(parts).split([len(point) for point in counts], dim=1)
        scale = self.sources * self.copies
        return [(total * self._of_rounds(total.shape[1])).sum(1) / scale for total in totals]

    def _of_rounds(self, rounds: int) -> Tensor:
        """Give the weight of each round in each resample. Shape `(resamples, rounds)`, rows of sum 1."""
        if rounds not in self._rounds:
            drawn = multinomial(self.resamples, rounds, generator(self.seed, "rounds", rounds))
            self._rounds[rounds] = drawn / rounds
        return self._rounds[rounds]


def accuracies(counts: Tensor, copies: int) -> Tensor:
    """Give the accuracy of each round over all images: of each source itself and its copies. Shape `(rounds,)`.

    >>> accuracies(torch.tensor([[3, 1], [3, 3]]), 4)
    tensor([0.5000, 0.7500], dtype=torch.float64)
    """
    return counts.double().mean(1) / copies


def area(budgets: Sequence[int], values: Sequence[Any]) -> Any:
    """Integrate over budgets by trapezoids and divide by their range: the mean height of the curve.

    >>> area([0, 10, 20], [0.0, 1.0, 1.0])
    0.75
    """
    widths = [right - left for left, right in pairwise(budgets)]
    whole = sum(width * (a + b) / 2 for width, a, b in zip(widths, values[:-1], values[1:], strict=True))
    return whole / (budgets[-1] - budgets[0])


def bounds(draws: Tensor) -> dict[str, float]:
    """Give the percentile interval of resamples."""
    low, high = interval(draws)
    return {"low": low, "high": high}


def difference(mine: Tensor, other: Tensor, draws: Tensor, others: Tensor) -> dict[str, float]:
    """Give the difference of the means of two arms' rounds, and its interval by paired resamples."""
    return {"mean": float(mine.mean() - other.mean()), **bounds(draws - others)}
