"""Selectors that draw from all degrees of difficulty: stratified over it (CCS), or with known chances (InfoBatch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.budgets import allocate
from auglean.selection.scores import error_norm
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, finite
from auglean.signals import Signals

Difficulty = Literal["el2n", "loss", "margin"]


@dataclass(frozen=True)
class CCS(Selector):
    """Coverage-centric: without the hardest, as many from each degree of difficulty (Zheng et al. 2023, algorithm 1).

    The hardest share β of the examples is left out: at small budgets those are mislabelled or beyond learning, and
    displace what the network could learn. The range of difficulty of the others is cut into strata of equal
    width. The budget is spread evenly over the strata that are not empty, from the sparsest up, so that what a
    small one cannot take goes to the larger; within a stratum the draw is uniform. An example's weight is the
    size of its stratum over the number drawn from it, scaled so that all sum to n. (The paper has no weights.)

    Where β leaves fewer examples than the budget, the easiest of those left out come back.

    Args:
        beta: Share of the examples to leave out, in [0, 1). The smaller the budget, the larger it should be.
        strata: Number of strata.
        difficulty: `"el2n"` (`‖softmax − one-hot‖₂`), `"loss"` (its long tail puts most examples into the first
            stratum), or `"margin"` (1 minus the margin, which does not look at the label).
    """

    beta: float = 0.2
    strata: int = 50
    difficulty: Difficulty = "el2n"
    name: ClassVar[str] = "ccs"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Cut, stratify and draw."""
        assert signals is not None
        if not 0 <= self.beta < 1 or self.strata < 1:
            raise InputError(
                f"CCS was given beta {self.beta} and {self.strata} strata; give 0 ≤ beta < 1 and strata ≥ 1."
            )
        score, n = finite(self._score(signals), "scores").double().cpu(), len(labels)
        kept = torch.argsort(score, stable=True)[: max(k, n - int(self.beta * n))]  # easiest first
        low, high = score[kept[0]], score[kept[-1]]
        height = (score[kept] - low) / (high - low) if high > low else torch.zeros(len(kept))  # in [0, 1]
        stratum = (height * self.strata).long().clamp_(max=self.strata - 1)
        sizes = torch.bincount(stratum, minlength=self.strata)
        shuffled = torch.randperm(len(kept), generator=g)
        parts = kept[shuffled][torch.argsort(stratum[shuffled], stable=True)].split(sizes.tolist())
        # from the most crowded stratum down, because allocate gives what does not divide to the first ones
        parts = sorted(parts, key=len, reverse=True)
        shares = allocate(k, [len(part) for part in parts], "equal")
        drawn = [(part, share) for part, share in zip(parts, shares, strict=True) if share]
        weights = torch.tensor([len(part) / share for part, share in drawn], dtype=torch.float64)
        weights = weights.repeat_interleave(torch.tensor([share for _, share in drawn]))
        indices = torch.cat([part[:share] for part, share in drawn])
        return Selection(indices=indices, weights=weights * (n / weights.sum()), gains=score[indices], total=n)

    def _score(self, signals: Signals) -> Tensor:
        if self.difficulty == "el2n":
            return error_norm(signals)
        if self.difficulty == "loss":
            return signals.loss
        if self.difficulty == "margin":
            return 1 - signals.margin.double()
        raise unknown("difficulty", self.difficulty, ["el2n", "loss", "margin"])


@dataclass(frozen=True)
class InfoBatch(Selector):
    """Fewer of the examples that are learnt, each with more weight: an unbiased sample (Qin et al. 2024, section 3).

    Examples whose loss is below the mean are `1 − r` times as likely to be drawn as the others, and each has the
    weight `1/π_i` of its chance to be drawn, so that weighted sums over the sample are those over all examples
    *on average* (Horvitz & Thompson 1952); the weights sum to n on average, too, not in each draw. The paper fixes the
    chances, 1 and 1 − r; here they are scaled so that exactly k are drawn, and those that would be above 1 are 1.

    What the paper does besides is left to training: it takes losses from the steps themselves (as
    `auglean.signals.Recorder` does, at no cost; otherwise each draw costs a forward pass over the data), and goes
    back to all examples for the last part of training.

    Args:
        r: Share of the examples below the mean loss that is left out, in [0, 1).
        redraw: Draw anew each epoch, as published; otherwise only where the interval of re-selection says so.
    """

    r: float = 0.5
    redraw: bool = True
    name: ClassVar[str] = "info-batch"

    @property
    def each_epoch(self) -> bool:
        """Whether it is drawn anew each epoch."""
        return self.redraw

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Draw k examples with chances that their losses fix."""
        assert signals is not None
        if not 0 <= self.r < 1:
            raise InputError(f"InfoBatch was given r {self.r}; give 0 ≤ r < 1.")
        loss = finite(signals.loss, "losses").double().cpu()
        chance = _chances(loss < loss.mean(), k, self.r)
        indices = _systematic(chance, g)
        return Selection(indices=indices, weights=1 / chance[indices], gains=loss[indices], total=len(loss))


def _chances(low: Tensor, k: int, r: float) -> Tensor:
    """Give chances in the ratio of 1 − r (low) to 1 (the others) that sum to k and do not exceed 1. (n,) float64."""
    below, n = int(low.sum()), len(low)
    above = n - below
    scale = k / (above + (1 - r) * below)
    high = min(1.0, scale)
    rest = (1 - r) * scale if scale <= 1 else (k - above) / max(below, 1)
    return torch.full((n,), high, dtype=torch.float64).masked_fill_(low, rest)


def _systematic(chance: Tensor, g: torch.Generator) -> Tensor:
    """Draw as many examples as the chances sum to, each with exactly its chance (systematic sampling, Madow 1949).

    The examples are laid end to end, as long as their chance, and a comb of teeth at distance 1 picks where it
    falls. In random order within groups of equal chance, so that each group gives its expected number, rounded.
    """
    shuffled = torch.randperm(len(chance), generator=g)
    order = shuffled[torch.argsort(chance[shuffled], descending=True, stable=True)]
    sure = chance[order] > 1 - 1e-9  # rounding would let two teeth fall on one
    certain, rest = order[sure], order[~sure]
    if not len(rest):
        return certain
    end = torch.cumsum(chance[rest], 0)
    k = round(float(end[-1]))
    end = end * (k / end[-1])
    end[-1] = k
    comb = torch.rand((), generator=g, dtype=torch.float64)
    teeth = torch.floor(end + comb).clamp_(max=k)
    return torch.cat([certain, rest[torch.diff(teeth, prepend=teeth.new_zeros(1)) > 0]])
