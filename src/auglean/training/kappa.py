"""κ, the relative gradient error of a choice, estimated on a probe: what tells when to choose anew.

Let the gradients of gradient descent be off by at most κ < 1 times their norm. For a smooth loss L with
½‖∇L‖² ≥ α(L − L*) and steps η that are small enough, L − L* then shrinks by 1 − ηα(1 − κ²) in each step: without error
at full rate, at κ = 1 not at all. A choice ages as the network moves, and κ says how far.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from auglean.selection import Selection
from auglean.signals import Signals

#: Examples that a probe draws, at most.
PROBE = 512


def squared_errors(
    selection: Selection,
    weights: Tensor,
    ask: Callable[[Tensor], Signals],
    g: torch.Generator,
    *,
    size: int = PROBE,
) -> tuple[float, float]:
    """Estimate the squared gradient error of a weighted choice and the squared gradient, both without bias.

    They are `‖ḡ − Σ_j w_j g_j / Σ w‖²` and `‖ḡ‖²`, where ḡ is the mean over the n examples of the last layer's
    gradients `g_i = residual_i ⊗ (feature_i, 1)`, which are never formed. Their ratio is the square of what
    `auglean.selection.gradient_error` gives with the signals of all examples.

    The probe is drawn without replacement. Where the weights are the cluster sizes of an assignment a, the error is the
    mean of `g_i − (n / Σ w) g_a(i)`, and its two parts, asked together, nearly cancel: such a pair varies far less than
    its parts. Elsewhere the chosen are asked for, all of them or as many as the probe has, drawn by weight.
    The squared norm of a mean over a sample is too large by the mean's variance, which for m of n examples is
    `(1 − m/n) s²/m` (Cochran 1977, theorem 2.2), and is subtracted; so an estimate may be negative.

    Args:
        selection: A choice from n examples.
        weights: What the chosen count for. Shape `(k,)`.
        ask: Gives the signals of some examples.
        g: Draws the probe.
        size: Examples to draw.

    >>> signals = Signals(torch.zeros(3), torch.zeros(3), torch.tensor([[1.0], [1], [4]]), torch.empty(3, 0),
    ...                   torch.zeros(3, dtype=torch.int64))
    >>> chosen = Selection(torch.tensor([0]), torch.tensor([3.0]), torch.zeros(1), total=3)
    >>> squared_errors(chosen, chosen.weights, lambda ids: signals[ids], torch.Generator())
    (1.0, 4.0)
    """
    n, m = selection.total, min(size, selection.total)
    weights = weights.double()
    ids = torch.randperm(n, generator=g)[:m]
    owner = _owners(selection, weights)
    if owner is not None:
        owner = owner[ids]
        mates = selection.indices[owner.clamp(min=0)]
        share = (owner >= 0) * (n / weights.sum()) / m  # none stands for −1
    elif len(selection) <= size:
        mates, share = selection.indices, weights / weights.sum()
    else:
        mates = selection.indices[torch.multinomial(weights, size, replacement=True, generator=g)]
        share = torch.full((size,), 1 / size, dtype=torch.float64)
    asked, place = torch.unique(torch.cat([ids, mates]), return_inverse=True)
    signals = ask(asked)
    left = signals.residual[place].double()
    right = torch.cat([signals.feature, signals.feature.new_ones(len(asked), 1)], 1)[place].double()
    square = left.square().sum(1) * right.square().sum(1)  # (m + mates,)
    full = left[:m].T @ right[:m] / m  # (K, D + 1)
    chosen = (left[m:] * share[:, None]).T @ right[m:]
    error, unseen = full - chosen, 1 - m / n
    full_variance = unseen * _variance(square[:m], full)
    if owner is not None:
        scale = m * share
        product = (left[:m] * left[m:]).sum(1) * (right[:m] * right[m:]).sum(1)
        pairs = square[:m] - 2 * scale * product + scale.square() * square[m:]
        variance = unseen * _variance(pairs, error)
    else:
        variance = full_variance + (_variance(square[m:], chosen) if len(selection) > size else 0.0)
    return float(error.square().sum()) - variance, float(full.square().sum()) - full_variance


def _owners(selection: Selection, weights: Tensor) -> Tensor | None:
    """Give the assignment `(n,)` if the weights are the sizes of its clusters."""
    owner = selection.assignment
    if owner is None:
        return None
    sizes = torch.bincount(owner[owner >= 0], minlength=len(selection)).double()
    return owner if torch.equal(sizes, weights) else None


def _variance(squares: Tensor, mean: Tensor) -> float:
    """Give the variance of a mean of independent vectors, by their squared norms `(m,)` and that mean."""
    m = len(squares)
    return float((squares.sum() - m * mean.square().sum()).clamp(min=0)) / (m - 1) / m if m > 1 else 0.0


def kappa(error: float, gradient: float) -> float:
    """Give κ by estimates of the squared error and of the squared gradient.

    An error that cannot be told from none is 0; one beside a gradient that cannot be told from none is infinite.

    >>> kappa(1.0, 4.0), kappa(-1e-9, 4.0), kappa(1.0, -1e-9)
    (0.5, 0.0, inf)
    """
    return 0.0 if error <= 0 else math.sqrt(error / gradient) if gradient > 0 else math.inf
