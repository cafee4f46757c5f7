"""Influence of each example on its own loss under a logistic head: leave-one-out without leaving out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from auglean.errors import InputError, unknown
from auglean.files import read_object, write_object
from auglean.signals.logistic import LogisticHead, check_inputs, check_labels, fit_logistic

Surrogate = Literal["influence", "leave-one-out", "newton"]
#: What the published code adds to the diagonal of its Hessian in place of the penalty.
_REFERENCE_RIDGE = 2e-10
#: Where exponentials are cut off to stay finite, and what may be divided by.
_LOG_MOST, _TINY = 700.0, 1e-300
#: Rows whose quadratic forms are worked out together.
_ROWS = 1024
#: Columns of a symmetric product that are worked out together.
_COLUMNS = 64


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Influence:
    """How far the loss of each example, or group, rises when it is left out of the fit, to first order or better.

    Attributes:
        score: Higher = augment first; never negative. Shape `(n,)`, float64.
        leverage: Share of a parameter's freedom that the example takes up; `score = (e^loss − 1) · leverage` to first
            order. In [0, 1], but for EK-FAC, whose can be above 1, and for groups, where it is their sum. Shape
            `(n,)`, float64.
        loss: Cross-entropy of the label. Shape `(n,)`, float64.
        method: How the score was got.
        seconds: Wall-clock time, that of a fit included.

    >>> found = Influence(torch.tensor([0.1, 0.0]), torch.tensor([0.5, 0.2]), torch.tensor([0.2, 0.0]), "influence")
    >>> len(found), found.method
    (2, 'influence')
    """

    score: Tensor
    leverage: Tensor
    loss: Tensor
    method: str
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.score)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one safetensors file; a file that was there is replaced when the new one is whole."""
        tensors = {"score": self.score, "leverage": self.leverage, "loss": self.loss}
        write_object(Path(path), "Influence", tensors, {"method": self.method, "seconds": self.seconds})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Influence:
        """Read what `save` wrote, to the CPU.

        Raises:
            InputError: If there is no such file, or it holds something else.
        """
        return cls(**read_object(Path(path), "Influence"))

    def __repr__(self) -> str:
        lines = [f"Influence of {len(self)} examples ({self.method}, {self.seconds:.2f} s)"]
        lines.append(f"{'':12}{'least':>10}{'median':>10}{'most':>10}")
        for name, tensor in (("score", self.score), ("leverage", self.leverage), ("loss", self.loss)):
            lines.append(
                f"{name:12}" + "".join(f"{of().item():10.4g}" for of in (tensor.min, tensor.median, tensor.max))
            )
        return "\n".join(lines)


def logistic_influence(
    features: Tensor,
    labels: Tensor,
    C: float = 1.0,
    fit_intercept: bool = True,
    *,
    sample_weight: Tensor | None = None,
    head: LogisticHead | None = None,
    surrogate: Surrogate = "influence",
    reference: bool = False,
) -> Influence:
    """Influence of each example on its own loss, exact, for L2 logistic regression on two classes.

    Up-weighting example i moves the parameters by `−H⁻¹ g_i` (Koh & Liang 2017, equation 1), with `g_i = r_i x̃_i`,
    `r_i = p_i − y_i`, `x̃ = (x, 1)`, and `H = Σ_i w_i p_i (1 − p_i) x̃_i x̃_iᵀ + diag(1/C, …, 1/C, 0)`: the Hessian
    of what is minimised, penalty and weights in it, the intercept free. Leaving it out raises its own loss by about
    `g_iᵀ H⁻¹ g_i = (e^{ℓ_i} − 1) h_i`, with the leverage `h_i = p_i (1 − p_i) x̃_iᵀ H⁻¹ x̃_i`: a loss on a steeper scale
    times a leverage, the score of Kuchnik & Smith (2019). Where weights differ from 1, score and leverage are those of
    a unit of weight, so that an example of weight 2 has those of each of two copies.

    Cost: `2nd²` operations and d² numbers, in float64.

    Args:
        features: Shape `(n, d)`.
        labels: 0 or 1. Shape `(n,)`.
        C: Inverse strength of the penalty, above 0.
        fit_intercept: Whether the model has an intercept.
        sample_weight: Weights ≥ 0 of the examples in the fit; by default 1. Shape `(n,)`.
        head: The fitted head, whose C then counts; by default one is fitted.
        surrogate: `"influence"`, as above. `"leave-one-out"` divides by `1 − h_i`, which the Newton step without
            example i calls for. `"newton"` takes that step and gives the rise of the true loss, which is nearly exact.
            The last two leave out a unit of weight, or what there is of it, and count per unit.
        reference: Take the Hessian of the published code: no penalty but 2·10⁻¹⁰, and no weights. For comparison.

    Returns:
        Scores ≥ 0: the negative of the influence function of the literature, higher = augment first.

    Raises:
        InputError: If a class has no example, a label is not 0 or 1, a feature or weight is not finite, a weight is
            negative, C is not above 0, or the shapes differ.

    >>> x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
    >>> found = logistic_influence(x, y, C=2.1972245773362196, fit_intercept=False)
    >>> [round(value, 6) for value in found.score.tolist()], round(float(found.leverage[0]), 6)
    ([0.07529, 0.07529], 0.225871)
    """
    begin = time.perf_counter()
    if surrogate not in ("influence", "leave-one-out", "newton"):
        raise unknown("surrogate", surrogate, ["influence", "leave-one-out", "newton"])
    model = _Model(features, labels, C, fit_intercept, sample_weight, head, reference)
    leverage, score = model.times(model.log_curvature), model.times(2 * model.log_residual)
    unit = model.weight.clamp(max=1.0)  # what is left out
    # 1 − h vanishes with the penalty where d > n; there is no more than rounding left of it
    kept = (1 - unit * leverage).clamp(min=torch.finfo(torch.float64).eps)
    if surrogate == "leave-one-out":
        score = score / kept
    elif surrogate == "newton":
        fall = unit * model.times(model.log_residual) / kept  # of the label's margin
        risen = -functional.logsigmoid(model.margin - fall) - model.loss
        score = torch.where(unit > 0, risen / unit.clamp(min=_TINY), score).clamp(min=0)
    method = surrogate + (", published Hessian" if reference else "")
    return Influence(score, leverage, model.loss, method, time.perf_counter() - begin)


def group_influence(
    features: Tensor,
    labels: Tensor,
    groups: Tensor,
    C: float = 1.0,
    fit_intercept: bool = True,
    *,
    sample_weight: Tensor | None = None,
    counts: Tensor | None = None,
    head: LogisticHead | None = None,
) -> Influence:
    """Influence of whole groups, as a source and all of its copies: `G_gᵀ H⁻¹ G_g` with G_g the sum of its gradients.

    The first-order rise of the group's summed loss when the whole group is left out of the fit, or its fall when the
    group is added once more, with H as in `logistic_influence`. The paper has no such score, nor its code: it is ours.
    A group of one example of weight 1 has that example's influence.

    Args:
        features: Shape `(n, d)`, copies among them.
        labels: 0 or 1. Shape `(n,)`.
        groups: The group of each row, whole numbers from 0, so of a copy the number of its source. Shape `(n,)`.
        C: Inverse strength of the penalty, above 0.
        fit_intercept: Whether the model has an intercept.
        sample_weight: Weights ≥ 0 of the rows in the fit; by default 1. Shape `(n,)`.
        counts: How often each row is in its group, also rows that have no weight in the fit, as copies that are not
            added yet; by default its weight. Shape `(n,)`.
        head: The fitted head, whose C then counts; by default one is fitted.

    Returns:
        One score for each group from 0 to the highest, with its sums of leverages and losses, each times its count.

    Raises:
        InputError: As `logistic_influence`, or if the groups are not whole numbers from 0, one for each row.

    >>> x, y = torch.tensor([[1.0], [-1.0], [1.0]]), torch.tensor([1, 0, 1])
    >>> group_influence(x, y, torch.tensor([0, 1, 0])).score.shape
    torch.Size([2])
    """
    begin = time.perf_counter()
    if groups.shape != labels.shape or groups.dtype not in (torch.int64, torch.int32) or bool((groups < 0).any()):
        raise InputError(
            f"Groups have shape {tuple(groups.shape)} and type {groups.dtype}; "
            f"give a whole number from 0 for each of the {len(labels)} rows."
        )
    if counts is not None and not (
        counts.shape == labels.shape and bool((counts >= 0).all() & counts.isfinite().all())
    ):
        raise InputError(f"Give as counts a finite number of 0 or more for each of the {len(labels)} rows.")
    model = _Model(features, labels, C, fit_intercept, sample_weight, head, reference=False)
    times = model.weight if counts is None else counts.to(model.weight)
    groups = groups.to(features.device, torch.int64)
    number = int(groups.max()) + 1
    leverage = model.times(model.log_curvature)

    def add(values: Tensor) -> Tensor:
        total = values.new_zeros(number, *values.shape[1:])
        return total.index_add_(0, groups, values * times.view(-1, *[1] * (values.ndim - 1)))

    score = model.form(add(model.x * model.residual[:, None]))
    if fit_intercept:
        score = score + add(model.residual).square() * (-model.log_total).clamp(max=_LOG_MOST).exp()
    return Influence(score, add(leverage), add(model.loss), "group", time.perf_counter() - begin)


class _Model:
    """A head at its examples and the Hessian there, the intercept eliminated.

    With `W_i = p_i (1 − p_i)`, the intercept is free, so minimising over it leaves the features about their mean with
    weights `w_i W_i`, and `x̃ᵀ H⁻¹ x̃ = 1 / Σ_i w_i W_i + (x − x̄)ᵀ H_c⁻¹ (x − x̄)` with `H_c` of the centred features,
    which the penalty keeps regular however saturated the logits are.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        C: float,
        fit_intercept: bool,
        sample_weight: Tensor | None,
        head: LogisticHead | None,
        reference: bool,
    ) -> None:
        check_inputs(features, labels, C, sample_weight)
        y = check_labels(labels, features, 2)
        if len(y.unique()) < 2:
            raise InputError(f"All {len(y)} labels are {int(y[0])}; give examples of both classes, 0 and 1.")
        if head is None:
            head = fit_logistic(
                features, y, classes=2, C=C, fit_intercept=fit_intercept, sample_weight=sample_weight, tol=1e-10
            )
        elif head.classes != 2:
            raise InputError(f"The head has {head.classes} classes; give one of two, or use softmax_influence.")
        self.intercept = fit_intercept
        x = features.detach().to(torch.float64, copy=True)  # (n, d)
        z = head.logits(x)[:, 1]  # (n,)
        self.weight = torch.ones_like(z) if sample_weight is None else sample_weight.to(z)
        self.margin = (2 * y - 1) * z  # of the label's logit over the other
        self.loss = -functional.logsigmoid(self.margin)
        # logarithms, since a saturated logit leaves neither |p − y| nor p (1 − p) a digit, or the sum of these
        self.log_residual = functional.logsigmoid(-self.margin)
        self.log_curvature = self.log_residual - self.loss
        self.residual = (1 - 2 * y) * self.log_residual.exp()
        w = torch.ones_like(z) if reference else self.weight
        if fit_intercept:
            logs = w.log() + self.log_curvature
            self.log_total = torch.logsumexp(logs, 0)
            x -= torch.softmax(logs, 0) @ x
        self.x = x
        ridge = _REFERENCE_RIDGE if reference else 1 / head.C
        self._factor(_lower_square(x, w * self.log_curvature.exp()), ridge)
        self.quadratic = self.form(x)

    def _factor(self, hessian: Tensor, ridge: float) -> None:
        """Prepare `form`: by Cholesky, or by eigenvectors where rounding has left the Hessian indefinite."""
        d = len(hessian)
        ridged = hessian.clone()
        ridged.diagonal().add_(ridge)
        # as the transposed upper factor, whose layout the solves go through faster
        upper, info = torch.linalg.cholesky_ex(ridged.mT, upper=True)
        self.root = upper.mT
        self.basis: Tensor | None = None
        if int(info):
            values, self.basis = torch.linalg.eigh(hessian)
            # no example reaches into a null direction; what rounding puts there must not be divided by the ridge
            floor = d * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
            self.root = (torch.maximum(values, floor) + ridge).sqrt()

    def form(self, v: Tensor) -> Tensor:
        """Give `v_iᵀ H_c⁻¹ v_i` of each row `(m, d)`."""
        if self.basis is not None:
            return torch.cat([((part @ self.basis) / self.root).square().sum(1) for part in v.split(_ROWS)])
        solve = torch.linalg.solve_triangular
        parts = [solve(self.root, part.T, upper=False) for part in v.split(_ROWS)]
        return torch.cat([torch.linalg.vector_norm(part, dim=0).square() for part in parts])

    def times(self, log_factor: Tensor) -> Tensor:
        """Give `exp(log_factor_i) · x̃_iᵀ H⁻¹ x̃_i` of each example, finite."""
        found = log_factor.exp() * self.quadratic
        return found + (log_factor - self.log_total).clamp(max=_LOG_MOST).exp() if self.intercept else found


def _lower_square(x: Tensor, weight: Tensor) -> Tensor:
    """Give `Σ_i w_i x_i x_iᵀ`, of which only the lower triangle is sure to be there: half of the work, in blocks."""
    d = x.shape[1]
    square = x.new_zeros(d, d)
    for end in range(_COLUMNS, d + _COLUMNS, _COLUMNS):
        rows = slice(end - _COLUMNS, end)
        torch.mm((x[:, rows] * weight[:, None]).T, x[:, :end], out=square[rows, :end])
    return square
