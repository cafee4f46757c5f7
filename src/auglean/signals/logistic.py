"""Logistic regression with an L2 penalty on fixed features: the head that scores and studies refit again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from auglean.errors import InputError
from auglean.signals.collecting import measure
from auglean.signals.record import Signals

#: Newton steps after which a fit gives up.
_STEPS = 200
#: Products with the Hessian in a step before the preconditioner is made anew.
_STALE = 12
#: Numbers that the blocks of the preconditioner may hold; beyond, all classes share one.
_BLOCKS = 1 << 27


@dataclass(frozen=True, slots=True, eq=False)
class LogisticHead:
    """A linear classifier on features, as `fit_logistic` gives it.

    Attributes:
        weight: Shape `(1, d)` for two classes, the second against the first; else `(K, d)`. float64.
        bias: Shape `(1,)` or `(K,)`, float64.
        C: Inverse strength of the penalty it was fitted with.

    >>> head = LogisticHead(torch.tensor([[2.0]]).double(), torch.tensor([-1.0]).double(), C=1.0)
    >>> head.logits(torch.tensor([[0.0], [1.0]])).tolist()
    [[0.0, -1.0], [0.0, 1.0]]
    """

    weight: Tensor
    bias: Tensor
    C: float

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return max(2, len(self.bias))

    def logits(self, features: Tensor) -> Tensor:
        """Give the logits `(n, K)`, float64; of two classes the first has 0."""
        if features.ndim != 2 or features.shape[1] != self.weight.shape[1]:
            raise InputError(
                f"The head was given features of shape {tuple(features.shape)}; "
                f"give (n, {self.weight.shape[1]}), as those it was fitted on."
            )
        z = features.to(self.weight) @ self.weight.T + self.bias
        return torch.cat([torch.zeros_like(z), z], 1) if len(self.bias) == 1 else z

    def correct(self, features: Tensor, labels: Tensor) -> Tensor:
        """Tell for each example whether the likeliest class is its label. Shape `(n,)`, bool."""
        return self.logits(features).argmax(1) == check_labels(labels, features, self.classes)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Give the share of examples whose likeliest class is their label."""
        return float(self.correct(features, labels).double().mean())

    def signals(self, features: Tensor, labels: Tensor) -> Signals:
        """Give the `Signals` of examples under this head, so that any selector can choose among them.

        Raises:
            InputError: If a label is no class of the head, or the shapes differ.
        """
        logits = self.logits(features)
        loss, margin, residual, prediction = measure(logits, check_labels(labels, features, self.classes))
        return Signals(loss.float(), margin.float(), residual.float(), features.detach().float(), prediction)


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int | None = None,
    C: float = 1.0,
    fit_intercept: bool = True,
    sample_weight: Tensor | None = None,
    start: LogisticHead | None = None,
    tol: float = 1e-8,
) -> LogisticHead:
    """Minimise `J = Σ_i w_i ℓ_i + ‖W‖² / (2C)` with ℓ the cross-entropy and an intercept without penalty.

    The objective is that of scikit-learn's `LogisticRegression(C=C)`. Two classes have one weight vector (sigmoid),
    more have one each (softmax). Newton's method with a backtracking line search, in float64; each step is solved
    by conjugate gradients, preconditioned with the Hessian's blocks of single classes. With two classes the one block
    is the Hessian, which is formed once and serves for several steps.

    Args:
        features: Shape `(n, d)`.
        labels: Whole numbers from 0. Shape `(n,)`.
        classes: Number of classes K; by default the highest label and one.
        C: Inverse strength of the penalty, above 0.
        fit_intercept: Whether there is an intercept; without, the bias is 0.
        sample_weight: How many examples each stands for, ≥ 0; by default 1. Shape `(n,)`.
        start: A head of the same shape to begin from; the result is the same, and comes sooner if it is near.
        tol: Stop when no derivative of J exceeds it, or when rounding allows no further progress.

    Raises:
        InputError: If a class has no example, a label is outside 0 … K − 1, a feature or weight is not finite, a weight
            is negative, C is not above 0, or the shapes differ.

    >>> x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    >>> head = fit_logistic(x, torch.tensor([0, 0, 1, 1]), C=10.0)
    >>> head.accuracy(x, torch.tensor([0, 0, 1, 1])), bool((-head.bias / head.weight - 2.5).abs() < 1e-6)
    (1.0, True)
    """
    check_inputs(features, labels, C, sample_weight)
    check_labels(labels, features, classes or 1 << 31)
    count = int(labels.max()) + 1 if classes is None else classes
    if count < 2:
        raise InputError(f"All {len(labels)} labels are {int(labels[0])}; give examples of two classes or more.")
    y = check_labels(labels, features, count)
    w = torch.ones(len(y), dtype=torch.float64, device=features.device)
    w = w if sample_weight is None else sample_weight.to(w)
    absent = (torch.bincount(y, weights=w, minlength=count) == 0).nonzero()
    if len(absent):
        raise InputError(
            f"Class {int(absent[0, 0])} of {count} has no example of positive weight, so its intercept has no finite "
            "optimum; give examples of each class, or number the classes that there are from 0."
        )
    columns, x = 1 if count == 2 else count, features.detach().double()
    x = torch.cat([x, torch.full_like(x[:, :1], float(fit_intercept))], 1)  # (n, d + 1)
    theta = _Problem(x, y, w, columns, C).solve(_begin(start, columns, x), tol)
    return LogisticHead(theta[:-1].T.contiguous(), theta[-1].clone(), float(C))


def check_inputs(features: Tensor, labels: Tensor, C: float, sample_weight: Tensor | None) -> None:
    """Raise `InputError` unless features, labels and weights agree and are finite, and C is above 0."""
    if not C > 0 or math.isinf(C):
        raise InputError(f"C, the inverse strength of the penalty, is {C}; give a finite number above 0.")
    if features.ndim != 2 or labels.ndim != 1 or len(features) != len(labels) or not len(labels):
        raise InputError(
            f"Features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}; expected (n, d) and (n,)."
        )
    if not torch.isfinite(features.sum()):  # quicker than asking each, which a finite sum makes needless
        bad = (~torch.isfinite(features)).any(1).nonzero()
        if len(bad):
            raise InputError(
                f"Features of {len(bad)} of {len(features)} examples are not finite, first those of example "
                f"{int(bad[0, 0])}; mend or leave out these examples."
            )
    if sample_weight is None:
        return
    if sample_weight.shape != labels.shape:
        raise InputError(
            f"Sample weights have shape {tuple(sample_weight.shape)}; give one for each of the {len(labels)} examples."
        )
    wrong = (~(torch.isfinite(sample_weight) & (sample_weight >= 0))).nonzero()
    if len(wrong):
        raise InputError(
            f"Sample weight {int(wrong[0, 0])} is {float(sample_weight[wrong[0, 0]])}; "
            "give finite weights of 0 or more."
        )


def check_labels(labels: Tensor, features: Tensor, classes: int) -> Tensor:
    """Give the labels as int64 beside the features, or raise `InputError` where one is no class."""
    if labels.shape != features.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"Labels have shape {tuple(labels.shape)} and type {labels.dtype}; "
            f"give one whole number for each of the {len(features)} examples."
        )
    y = labels.to(features.device, torch.int64)
    wrong = ((y < 0) | (y >= classes)).nonzero()
    if len(wrong):
        at = int(wrong[0, 0])
        raise InputError(f"Example {at} has label {int(y[at])}; give labels from 0 to {classes - 1}.")
    return y


def _begin(start: LogisticHead | None, columns: int, x: Tensor) -> Tensor:
    """Give the first parameters, one column per class. Shape `(d + 1, K)`."""
    shape = (columns, x.shape[1] - 1)
    if start is None:
        return x.new_zeros(shape[1] + 1, columns)
    if start.weight.shape != shape:
        raise InputError(
            f"The fit was given a start with weights of shape {tuple(start.weight.shape)} but has {shape}; "
            "give the head of a fit with as many features and classes."
        )
    theta = torch.cat([start.weight, start.bias[:, None]], 1).T.to(x) * (x.abs().amax(0) > 0)[:, None]
    return theta if columns == 1 else theta - theta.mean(1, keepdim=True)  # what classes share says nothing


class _Problem:
    """The objective at parameters θ `(d + 1, K)`, one column per class, or one in all for two classes."""

    def __init__(self, x: Tensor, y: Tensor, w: Tensor, columns: int, C: float) -> None:
        self.x, self.y, self.w, self.columns = x, y, w, columns
        self.ridge = x.new_full((x.shape[1], 1), 1 / C)
        self.ridge[-1] = 0 if bool(x[:1, -1] > 0) else 1  # the intercept is free; where there is none it stays 0
        self.truth = y[:, None].double() if columns == 1 else functional.one_hot(y, columns).double()  # (n, K)

    def solve(self, theta: Tensor, tol: float) -> Tensor:
        """Take Newton steps until the gradient is within the tolerance or at rounding."""
        z, factor, least, stalled = self.x @ theta, None, float("inf"), 0
        value = self.value(z, theta)
        for _ in range(_STEPS):
            p = self.probability(z)
            slope = self.x.T @ (self.w[:, None] * (p - self.truth)) + self.ridge * theta
            size = float(slope.abs().max())
            stalled = stalled if size > 0.5 * least else 0
            least = min(least, size)
            if size <= tol or stalled == 20:
                return theta
            if factor is None:
                factor = self.factor(p)
            step, products = self.step(p, slope, factor, min(0.1, size / (1 + float(self.w.sum()))))
            factor = None if products > _STALE else factor
            last = value
            theta, z, value, moved = self.search(theta, z, value, step, float((step * slope).sum()))
            stalled += last - value <= 8 * torch.finfo(torch.float64).eps * abs(value)  # J is at rounding
            if not moved:
                return theta
        return theta

    def value(self, z: Tensor, theta: Tensor) -> float:
        """Give J from the logits."""
        if self.columns == 1:
            losses = -functional.logsigmoid((2 * self.truth - 1) * z)[:, 0]
        else:
            losses = functional.cross_entropy(z, self.y, reduction="none")
        return float(losses @ self.w) + 0.5 * float((self.ridge * theta.square()).sum())

    def probability(self, z: Tensor) -> Tensor:
        """Give the probability of each class, or of the second of two. Shape `(n, K)`."""
        return torch.sigmoid(z) if self.columns == 1 else torch.softmax(z, 1)

    def factor(self, p: Tensor) -> Tensor:
        """Give Cholesky factors of the Hessian's diagonal blocks `Σ_i w_i p_ik (1 − p_ik) x̃x̃ᵀ + ridge`."""
        weights = self.w[:, None] * p * (1 - p)  # (n, K)
        d = self.x.shape[1]
        if self.columns * d * d > _BLOCKS:
            weights = weights.mean(1, keepdim=True)
        blocks = torch.stack([self.x.T @ (self.x * weight[:, None]) for weight in weights.T])
        # a preconditioner may be a little off, but must be positive where features are collinear or weights vanish
        floor = torch.finfo(torch.float64).eps * blocks.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)  # (K, 1)
        blocks.diagonal(dim1=1, dim2=2).add_(self.ridge[:, 0] + d * floor + 1e-300)
        return torch.cholesky_inverse(torch.linalg.cholesky(blocks))

    def product(self, p: Tensor, v: Tensor) -> Tensor:
        """Multiply the Hessian by v `(d + 1, K)`."""
        u = p * (self.x @ v)  # (n, K)
        return self.x.T @ (self.w[:, None] * (u - p * u.sum(1, keepdim=True))) + self.ridge * v

    def step(self, p: Tensor, slope: Tensor, inverse: Tensor, accuracy: float) -> tuple[Tensor, int]:
        """Solve `H step = −slope` by preconditioned conjugate gradients; also give the number of products."""

        def precondition(r: Tensor) -> Tensor:
            solved = inverse[0] @ r if len(inverse) == 1 else (inverse @ r.T[:, :, None])[:, :, 0].T
            # what is common to all classes changes no probability: only the ridge would hold it back
            return solved if self.columns == 1 else solved - solved.mean(1, keepdim=True)

        step, residual = torch.zeros_like(slope), -slope
        solved = precondition(residual)
        direction, energy = solved, float((residual * solved).sum())
        goal, count = accuracy**2 * energy, 0
        while energy > goal and count < 200:
            product = self.product(p, direction)
            curvature = float((direction * product).sum())
            if not curvature > 0:
                break
            step = step + energy / curvature * direction
            residual = residual - energy / curvature * product
            solved = precondition(residual)
            last, energy = energy, float((residual * solved).sum())
            direction = solved + energy / last * direction
            count += 1
        return step, count

    def search(
        self, theta: Tensor, z: Tensor, value: float, step: Tensor, slope: float
    ) -> tuple[Tensor, Tensor, float, bool]:
        """Halve the step until J falls enough (Armijo); the logits move in proportion."""
        move, length = self.x @ step, 1.0
        rounding = 4 * torch.finfo(torch.float64).eps * abs(value)
        for _ in range(60):
            there, logits = theta + length * step, z + length * move
            found = self.value(logits, there)
            if found <= value + 1e-4 * length * slope + rounding:
                return there, logits, found, True
            length /= 2
        return theta, z, value, False
