"""What a selection's weights become in training, and how well they imitate augmenting everything."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.randomness import generator
from auglean.selection.budgets import neyman
from auglean.selection.selection import Selection

WeightMode = Literal["raw", "mean1", "none", "sampled", "neyman"]


def effective_weights(
    selection: Selection, mode: WeightMode, *, seed: int = 0, epoch: int = 0, period: int = 1
) -> tuple[Tensor, Tensor]:
    """Give the copies that an epoch holds of each chosen example, and the weight of each copy.

    | mode | copies | weight of a copy | mass |
    |---|---|---|---|
    | `raw` | 1 | how many examples it stands for, γ | n |
    | `mean1` | 1 | γ scaled to mean 1 over the selection | k |
    | `none` | 1 | 1 (what the published code does) | k |
    | `sampled` | kγ/n on average, drawn anew each epoch | 1 | k |
    | `neyman` | n_i/period on average, by γσ | γ·period/n_i, scaled as in `mean1` | k on average |

    `sampled` has the direction of `raw` on average, without large weights: systematic resampling, so that each
    example comes ⌊kγ/n⌋ or ⌈kγ/n⌉ times. The mass is how much the copies count for beside n originals: `raw` has
    that of augmenting everything, at the price of steps that a few heavy copies make noisy.

    `neyman` asks σ, how far the policy moves the loss of each (`Selection.loss_sd`): over the epochs for which a choice
    stands, its period, an example has n_i ≥ 1 of the k·period copies, by `auglean.selection.neyman`. Their weighted
    mean loss has the expectation of `mean1` and the least variance that so many copies can have; with a period of 1 it
    is `mean1`. Any so many epochs in a row hold each copy once, and each epoch holds k.

    Args:
        selection: The selection.
        mode: One of the table.
        seed: Seed of the run, for `sampled` and `neyman`.
        epoch: Pass over the data, for `sampled` and `neyman`.
        period: Epochs for which the selection stands, for `neyman`.

    Returns:
        `(copies (k,) int64, weight (k,) float64)`.

    Raises:
        InputError: If the mode is unknown, or the selection does not hold what `neyman` asks.

    >>> chosen = Selection(torch.tensor([2, 3]), torch.tensor([3.0, 2.0]), torch.zeros(2), total=5)
    >>> effective_weights(chosen, "mean1")[1].tolist()
    [1.2, 0.8]
    """
    weights, k = selection.weights.double(), len(selection)
    once = torch.ones(k, dtype=torch.int64)
    if mode == "none":
        return once, torch.ones(k, dtype=torch.float64)
    if mode == "raw":
        return once, weights
    if mode == "mean1":
        return once, weights * k / weights.sum()
    if mode == "sampled":
        stood_for = torch.cumsum(weights, 0)
        expected = k * (stood_for / stood_for[-1])  # the last is k exactly, so k copies are drawn
        shift = torch.rand((), generator=generator(seed, "sampled", epoch), dtype=torch.float64)
        reached = torch.floor(expected + shift).long()
        return torch.diff(reached, prepend=reached.new_zeros(1)), torch.ones(k, dtype=torch.float64)
    if mode == "neyman":
        return _stratified(selection, weights * k / weights.sum(), seed, epoch, period)
    raise unknown("weight mode", mode, get_args(WeightMode))


def _stratified(selection: Selection, weights: Tensor, seed: int, epoch: int, period: int) -> tuple[Tensor, Tensor]:
    """Give the copies of an epoch and their weights where a period's copies are allocated after Neyman."""
    if selection.loss_sd is None:
        raise InputError(
            "The weight mode 'neyman' asks how far the policy moves each loss, and the selection does not hold it; "
            "give loss_sd, as auglean.collect with a policy does."
        )
    each = neyman(weights * selection.loss_sd, period * len(weights))
    shift = int(torch.randint(period, (), generator=generator(seed, "neyman")))
    # one after another the copies go to one epoch after another
    dealt = torch.div(torch.cumsum(each, 0) + (epoch + shift) % period, period, rounding_mode="floor")
    return torch.diff(dealt, prepend=dealt.new_zeros(1)), weights * period / each


def gradient_error(residual: Tensor, indices: Tensor, weights: Tensor, *, feature: Tensor | None = None) -> float:
    """Give the relative error of the gradient that a weighted selection stands for.

    `‖Σ_i g_i − (n/Σw) Σ_j w_j g_j‖ / ‖Σ_i g_i‖` with `g_i = residual_i ⊗ (feature_i, 1)`, the cross-entropy
    gradient of the last layer's weights and bias, or `g_i = residual_i` without features. The weights are
    scaled to sum to n first: their total is a learning rate, not an error. It is the κ of inexact gradient
    descent; sums need K·(D+1) numbers, never n·K·D.

    Args:
        residual: Shape `(n, K)`, softmax minus one-hot.
        indices: Shape `(k,)`.
        weights: Shape `(k,)`.
        feature: Shape `(n, D)`, the input of the last layer.

    Returns:
        The error; where the gradients sum to zero, 0 if the estimate does too and infinity if not.

    >>> residual = torch.tensor([[1.0], [1.0], [4.0]])
    >>> gradient_error(residual, torch.tensor([0, 2]), torch.tensor([2.0, 1.0]))
    0.0
    """
    n, mass = len(residual), weights.double().sum()
    change = torch.full((n,), 1.0, dtype=torch.float64)
    change.index_add_(0, indices.cpu(), -weights.double().cpu() * (n / mass.cpu()))
    full = _gradient_sum(residual, feature, torch.ones(n, dtype=torch.float64))
    error = _gradient_sum(residual, feature, change)
    top, bottom = float(error.norm()), float(full.norm())
    return 0.0 if top == 0.0 else top / bottom if bottom else float("inf")


def _gradient_sum(residual: Tensor, feature: Tensor | None, weights: Tensor) -> Tensor:
    """Sum `weights_i · residual_i ⊗ (feature_i, 1)` in float64, a chunk of examples at a time."""
    total: Tensor | float = 0.0
    for rows in torch.arange(len(residual)).split(8192):
        r = residual[rows].cpu().double() * weights[rows, None]  # (rows, K)
        bias = r.sum(0, keepdim=True).T  # (K, 1)
        total = total + (bias if feature is None else torch.cat([r.T @ feature[rows].cpu().double(), bias], 1))
    return torch.as_tensor(total)
