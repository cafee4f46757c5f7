"""Influence of each example on its own loss under a softmax layer: exact where the Hessian fits, else by EK-FAC."""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.signals.influence import Influence
from auglean.signals.last_layer import LastLayer, exact_bytes
from auglean.signals.logistic import check_inputs, check_labels, fit_logistic

#: Bytes that the exact method may plan for its matrices.
MAX_MEMORY = 4 << 30


def softmax_influence(
    features: Tensor,
    labels: Tensor,
    *,
    probabilities: Tensor | None = None,
    C: float = 1.0,
    sample_weight: Tensor | None = None,
    method: Literal["auto", "exact", "ek-fac"] = "auto",
    max_memory: int = MAX_MEMORY,
) -> Influence:
    """Influence `g_iᵀ H⁻¹ g_i` of each example on its own loss, for a softmax layer over K classes.

    The gradient is `g_i = r_i ⊗ x̃_i` with `r = p − one-hot` and `x̃ = (x, 1)`; the Hessian
    `H = Σ_i w_i (diag p_i − p_i p_iᵀ) ⊗ x̃_i x̃_iᵀ + I/C`, without penalty on the intercepts. Of the model only the
    probabilities count, so those of any network serve, with its last features. There the score is a score: a network at
    which this layer is not at its optimum has no such leave-one-out.

    Two classes have a weight vector each here, and one in `logistic_influence`, which gives the same with twice the C.

    Cost: exact `2 K² n (d + 1)²` operations and `24 ((K − 1)(d + 1))²` bytes; EK-FAC `4 n d²`, a copy of the
    features.

    Args:
        features: Shape `(n, d)`. float64 is worked on in float64, anything else in float32, with sums in float64.
        labels: Whole numbers from 0. Shape `(n,)`.
        probabilities: Of the classes, by the model. Shape `(n, K)`. By default those of a logistic head that is fitted.
        C: Inverse strength of the penalty, above 0.
        sample_weight: Weights ≥ 0 of the examples in the fit; by default 1. Shape `(n,)`.
        method: `"exact"`; `"ek-fac"` with the true Fisher; or `"auto"`: exact while its matrices fit.
        max_memory: Bytes that `"auto"` may plan for them; by default 4 GiB.

    Returns:
        Scores ≥ 0, higher = augment first. `method` tells which was used, and why. The leverage is the score over
        `e^loss − 1`, exact in [0, 1] at a fitted head and with two classes that of `logistic_influence`; that of EK-FAC
        can be above 1.

    Raises:
        InputError: If a class has no example (without probabilities), a label is no class, an input is not finite, a
            weight is negative, rows of probabilities do not sum to 1, C is not above 0, or the shapes differ.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> found = softmax_influence(x, torch.tensor([0, 0, 1, 1, 2, 2]))
    >>> found.method, bool((found.score >= 0).all())
    ('exact', True)
    """
    begin = time.perf_counter()
    if method not in ("auto", "exact", "ek-fac"):
        raise unknown("method", method, ["auto", "exact", "ek-fac"])
    check_inputs(features, labels, C, sample_weight)
    if probabilities is None:
        classes = int(labels.max()) + 1
        y = check_labels(labels, features, classes)
        # two classes with a vector each: the half of C is the penalty on their difference
        head = fit_logistic(features, y, C=2 * C if classes == 2 else C, sample_weight=sample_weight)
        probabilities = torch.softmax(head.logits(features), 1)
    else:
        classes = _check_probabilities(probabilities, features)
        y = check_labels(labels, features, classes)
    p = probabilities.detach().to(features.device, torch.float64)
    residual = p.clone()
    residual.scatter_(1, y[:, None], 0.0)
    others = residual.sum(1, keepdim=True)  # no difference from 1 where the model is certain
    residual.scatter_(1, y[:, None], -others)
    tiny = torch.finfo(torch.float64).tiny
    loss = torch.where(others < 0.5, -torch.log1p(-others), -p.gather(1, y[:, None]).clamp(min=tiny).log())[:, 0]
    weight = torch.ones_like(loss) if sample_weight is None else sample_weight.to(loss)

    need, how = exact_bytes(features.shape[1], classes), str(method)
    if method == "auto":
        how = "exact" if need <= max_memory else f"ek-fac (exact would take {need / 2**30:.1f} GiB)"
    layer = LastLayer(features, p, weight, C)
    score = layer.exact(residual) if how == "exact" else layer.ek_fac(residual)
    leverage = torch.where(loss > 0, score / torch.expm1(loss).clamp(min=tiny), 0.0)
    return Influence(score, leverage, loss, how, time.perf_counter() - begin)


def _check_probabilities(probabilities: Tensor, features: Tensor) -> int:
    """Give the number of classes, or raise `InputError` unless each row is a distribution over 2 or more."""
    shape = tuple(probabilities.shape)
    if len(shape) != 2 or shape[0] != len(features) or shape[1] < 2:
        raise InputError(f"Probabilities have shape {shape}; give ({len(features)}, K) for two classes or more.")
    off = (probabilities.double().sum(1) - 1).abs()
    wrong = (~(off < 1e-3) | (probabilities < 0).any(1)).nonzero()
    if len(wrong):
        raise InputError(
            f"The probabilities of example {int(wrong[0, 0])} are negative, not finite or do not sum to 1; "
            "give the softmax of the logits."
        )
    return shape[1]
