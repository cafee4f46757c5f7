"""Scores that take out of an accuracy what any images would have given (the definitions of DD-Ranking)."""

from __future__ import annotations

import math
from typing import NamedTuple


class Scores(NamedTuple):
    """How good synthetic images are, the recipe of training taken out; accuracies are fractions.

    Attributes:
        hlr: Hard-label recovery, `real − synthetic`: what is still missing; lower is better. None if it is not known
            what the whole data give.
        ior: Improvement over random, `synthetic − random` under the same protocol; higher is better.
        lrs: Label-robust score, both in one number in [0, 1].
        ars: Augmentation-robust score, the improvement over random with augmentation and without, in [0, 1].
    """

    hlr: float | None
    ior: float
    lrs: float | None
    ars: float | None


def fair_scores(
    *,
    real: float | None,
    synthetic: float,
    random: float,
    augmented: tuple[float, float] | None = None,
    plain: tuple[float, float] | None = None,
    w: float = 0.5,
    gamma: float = 0.5,
) -> Scores:
    """Compute HLR, IOR, LRS and ARS from accuracies that were all got under hard labels.

    `LRS = (e^α − e^−1) / (e − e^−1)` with `α = w·IOR − (1 − w)·HLR`; ARS the same of
    `β = γ·(synthetic − random, augmented) + (1 − γ)·(synthetic − random, not augmented)`. Accuracies are fractions: of
    percentages the exponential is not the normalisation to [0, 1] that it is meant to be.

    Args:
        real: Accuracy of training on the whole data; None if that was not done.
        synthetic: Of training on the synthetic images, under the recipe chosen for them.
        random: Of as many real ones at random, under the same protocol.
        augmented: Accuracies of synthetic and random images, trained with augmentation.
        plain: The same without.
        w: Weight of IOR against HLR.
        gamma: Weight of training with augmentation.

    >>> fair_scores(real=1.0, synthetic=1.0, random=0.0).lrs
    0.544...
    >>> fair_scores(real=0.5, synthetic=0.5, random=0.5, augmented=(0.5, 0.5), plain=(0.4, 0.4)).ars
    0.268...
    """
    hlr = None if real is None else real - synthetic
    ior = synthetic - random
    lrs = None if hlr is None else _unit(w * ior - (1 - w) * hlr)
    if augmented is None or plain is None:
        return Scores(hlr, ior, lrs, None)
    beta = gamma * (augmented[0] - augmented[1]) + (1 - gamma) * (plain[0] - plain[1])
    return Scores(hlr, ior, lrs, _unit(beta))


def _unit(value: float) -> float:
    """Bring [−1, 1] to [0, 1], exponentially."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))
