"""Least squares on infinitely many augmented copies of every image, solved exactly.

The normal equations ask for the sums `Σ_n E T_n T_nᵀ`, `Σ_n E T_n` and `Σ_n y_n E T_nᵀ` over the images alone
(Balestriero, Misra & LeCun 2022). With `T = M x + c` linear and `S = Σ_n x_n x_nᵀ`, a rule gives the first as
`Σ_j w_j M_j S M_jᵀ` and terms in c: what it costs does not depend on the number of images. Policies that follow each
other are independent, so the sums go through one after the other; a mixture mixes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.moments.answers import Answer
from auglean.moments.examples import check_values
from auglean.moments.losses import target_vectors
from auglean.moments.planning import Question, channelwise, finite, rule
from auglean.moments.rules import Kind, Rule, worst
from auglean.moments.sampling import dimension, sobol_rule
from auglean.policies import Params, Policy, RandomCrop, Shift, Translate, as_policy
from auglean.policies.combining import Compose, Mixture

_MOST = 2**16  # nodes of a rule
_SOBOL = 512  # points for a policy of many parameters


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LinearFit(Answer):
    """A linear model trained on the expected squared loss of augmented images. Prints as a short table.

    Attributes:
        weight: W. Shape `(K, D)`, float64.
        bias: b. Shape `(K,)`.
        loss: Expected loss `mean_n E ‖y_n − W T x_n − b‖²`, without the ridge.
        clean: Loss on the images themselves, `mean_n ‖y_n − W x_n − b‖²`.
        ridge: Of the penalty `ridge · ‖W‖²`.
        images: How many.
        kind: How the sums were got: `"exact finite"`, `"exact panels"`, `"quadrature"` or `"randomised qmc"`.
        error: Relative error of Q, by doubling the nodes where it is no rounding.
        nodes: Nodes of all parts of the policy.
        policy: Name of the policy.
        seconds: Wall-clock time.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    clean: float
    ridge: float
    images: int
    kind: Kind
    error: float
    nodes: int
    policy: str
    seconds: float

    def __call__(self, images: Tensor) -> Tensor:
        """Give the outputs `(B, K)` of images `(B, C, H, W)`, uint8 or floats in [0, 1]."""
        return _flat(images.to(self.weight.device)) @ self.weight.T + self.bias

    def module(self) -> nn.Module:
        """Give the model as a network, in float32."""
        with torch.random.fork_rng(devices=[]):
            layer = nn.Linear(self.weight.shape[1], self.weight.shape[0], device=self.weight.device)
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            layer.bias.copy_(self.bias)
        return nn.Sequential(nn.Flatten(), layer)

    def __repr__(self) -> str:
        error = f", relative error {self.error:.1g}" if self.error else ""
        return "\n".join(
            [
                f"Linear model of {self.images:,} images under {self.policy}, ridge {self.ridge:g}",
                f"expected loss {self.loss:.4g}, clean {self.clean:.4g}",
                f"{self.kind}{error}; {self.nodes:,} nodes, {self.seconds:.2f} s.",
            ]
        )


def fit_linear(images: Tensor, targets: Tensor, policy: Policy, *, ridge: float, tol: float = 1e-3) -> LinearFit:
    """Solve ridge regression on the infinite data set: every copy of every image, weighted by the policy's law.

    Minimises `mean_n E ‖y_n − W T x_n − b‖² + ridge ‖W‖²`. Not always better than the fit to the images themselves:
    look at both accuracies.

    Args:
        images: uint8, or floats in [0, 1]. Shape `(n, C, H, W)`.
        targets: Labels `(n,)`, taken as one-hot vectors, or real targets `(n, K)`.
        policy: A policy that is linear in the image: operators that clamp their result are not.
        ridge: Weight of the penalty, 0 or more.
        tol: Relative error of the sums at which quadrature stops doubling its nodes.

    Raises:
        InputError: If the policy is not linear, or something else does not fit.

    >>> from auglean.policies import Translate
    >>> x, y = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
    >>> fit = fit_linear(x, y, Translate(1), ridge=1e-3)
    >>> fit.kind, fit.loss > fit_linear(x, y, Translate(0), ridge=1e-3).loss
    ('exact panels', True)
    """
    start = time.perf_counter()
    policy = as_policy(policy)
    if images.ndim != 4 or not len(images) or len(images) != len(targets):
        raise InputError(
            f"fit_linear expected images (n, C, H, W) and n targets but found shapes {tuple(images.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if not 0 <= ridge < float("inf") or not tol > 0:
        raise InputError(f"fit_linear expected a ridge of 0 or more and tol above 0 but found {ridge!r} and {tol!r}.")
    x = _flat(images)
    check_values(x, torch.arange(len(x)))
    classes = int(targets.max()) + 1 if targets.ndim == 1 and not targets.is_floating_point() else targets[0].numel()
    y = target_vectors(targets, classes).to(x.device)
    shape: tuple[int, int, int] = tuple(images.shape[1:])  # type: ignore[assignment]
    sums = _Sums(x.T @ x, x.sum(0), y.T @ x, "exact finite", 0.0, 0)
    after = _Pipe(y.sum(0), len(x), shape, tol).through(policy, sums)
    weight, bias = _solve(after, y.sum(0), len(x), ridge)
    return LinearFit(
        weight=weight,
        bias=bias,
        loss=_loss(after, y, weight, bias),
        clean=_loss(sums, y, weight, bias),
        ridge=ridge,
        images=len(x),
        kind=after.kind,
        error=after.error,
        nodes=after.nodes,
        policy=policy.name,
        seconds=time.perf_counter() - start,
    )


def _flat(images: Tensor) -> Tensor:
    return (images.double() if images.is_floating_point() else images.double() / 255).flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over n images of expectations: `Σ E T Tᵀ` `(D, D)`, `Σ E T` `(D,)` and `Σ y E Tᵀ` `(K, D)`."""

    second: Tensor
    first: Tensor
    cross: Tensor
    kind: Kind
    error: float
    nodes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pipe:
    """What does not change while the sums go through a policy.

    Attributes:
        total: `Σ y`. Shape `(K,)`.
        count: n.
        shape: `(C, H, W)`.
        tol: Relative error at which quadrature is fine enough.
    """

    total: Tensor
    count: int
    shape: tuple[int, int, int]
    tol: float

    def through(self, policy: Policy, sums: _Sums) -> _Sums:
        """Send the sums through a policy."""
        if isinstance(policy, Compose):
            for part in policy.parts:
                sums = self.through(part, sums)
            return sums
        if isinstance(policy, Mixture):
            return _mixed([self.through(part, sums) for part in policy.parts], policy.weights, sums.nodes)
        if not policy.linear:
            raise InputError(
                f"fit_linear needs operators that are linear in the image, and {policy!r} is not; colour operators are "
                "with clamp=False."
            )
        before: _Sums | None = None
        for own in _ladder(policy, Question(self.shape, None, most=_MOST)):
            after = sums
            for axis in _axes(policy, own):
                after = self._sent(policy, axis, after)
            if own.kind not in ("quadrature", "randomised qmc"):
                return after
            if before is not None:
                error = 4 / 3 * float((after.second - before.second).norm() / after.second.norm())
                after = replace(after, error=max(sums.error, error))
                if error < self.tol:
                    break
            before = after
        return after

    def _sent(self, policy: Policy, own: Rule, sums: _Sums) -> _Sums:
        """Send the sums through the nodes of one operator, one by one, which keeps them in the cache."""
        size, alike = len(sums.first), channelwise(policy)
        rows = torch.cat([sums.second, sums.first[None], sums.cross])  # each an image
        second, first, cross = (torch.zeros_like(part) for part in (sums.second, sums.first, sums.cross))

        def operate(images: Tensor, params: Params) -> Tensor:
            """Apply a node to flat images `(m, D)`."""
            x = images.view(1, -1, *self.shape[1:]) if alike else images.view(-1, *self.shape)
            return policy.apply(x, params).reshape(images.shape)

        for j, w in enumerate(own.weights[:, 0].tolist()):
            params = {name: value[j].to(rows.device) for name, value in own.params.items()}
            offset = operate(rows.new_zeros(1, size), params)  # c
            still = not bool(offset.any())
            moved = operate(rows, params)  # S Mᵀ, M s and C Mᵀ
            moved = moved if still else moved - offset
            mean, twice = moved[size], operate(moved[:size].T.contiguous(), params)
            if not still:
                mixed = mean[:, None] * offset  # M s cᵀ
                twice = twice - offset + mixed + mixed.T + self.count * offset.T * offset
            second.add_(twice, alpha=w)
            first.add_(mean + self.count * offset[0], alpha=w)
            cross.add_(moved[size + 1 :] + self.total[:, None] * offset, alpha=w)
        return _Sums(second, first, cross, worst([sums.kind, own.kind]), sums.error, sums.nodes + len(own))


def _mixed(branches: Sequence[_Sums], weights: Sequence[float], before: int) -> _Sums:
    def mean(parts: list[Tensor]) -> Tensor:
        return torch.stack([share * part for share, part in zip(weights, parts, strict=True)]).sum(0)

    return _Sums(
        mean([branch.second for branch in branches]),
        mean([branch.first for branch in branches]),
        mean([branch.cross for branch in branches]),
        worst([branch.kind for branch in branches]),
        max(branch.error for branch in branches),
        before + sum(branch.nodes - before for branch in branches),
    )


def _axes(policy: Policy, own: Rule) -> list[Rule]:
    """Split the rule of displacements over the axes, which are independent, so that one can go after the other."""
    if not isinstance(policy, Translate | Shift | RandomCrop) or getattr(policy, "padding", "") == "masked":
        return [own]
    ((name, shifts),) = own.params.items()
    found = []
    for axis in (0, 1):
        place, which = shifts[:, 0, axis].unique(return_inverse=True)
        weights = torch.zeros(len(place), dtype=torch.float64).index_add_(0, which, own.weights[:, 0])
        moved = torch.zeros(len(place), 2, dtype=shifts.dtype)
        moved[:, axis] = place
        found.append(finite({name: moved}, weights, own.kind))
    return found


def _ladder(policy: Policy, question: Question) -> Iterator[Rule]:
    """Give the policy's rule and finer ones where it is not exact, or two sets of scrambled Sobol points."""
    for level in range(7):
        own = rule(policy, replace(question, level=level))
        if own is None:
            break
        yield own
    if level == 0:
        if not dimension(policy):
            raise InputError(f"fit_linear knows no rule for {policy!r}.")
        for seed in (0, 1):
            yield sobol_rule(policy, _SOBOL, seed)


def _solve(sums: _Sums, total: Tensor, count: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Solve the normal equations with the intercept eliminated."""
    mean, centre = sums.first / count, total / count
    second = sums.second - count * mean[:, None] * mean
    second.diagonal().add_(count * ridge)
    root, failed = torch.linalg.cholesky_ex(second)
    if int(failed):
        raise InputError("fit_linear cannot solve singular equations; give a ridge above 0.")
    weight = torch.cholesky_solve((sums.cross - count * centre[:, None] * mean).T, root).T
    return weight, centre - weight @ mean


def _loss(sums: _Sums, y: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Give `mean E ‖y − b − W T‖²`."""
    off = y - bias
    linear = (weight * (sums.cross - bias[:, None] * sums.first)).sum()
    return float(off.square().sum() - 2 * linear + (weight @ sums.second * weight).sum()) / len(y)
