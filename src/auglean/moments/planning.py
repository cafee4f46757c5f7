"""Which rule suits which policy: its atoms, or nodes between the knots where interpolation has its kinks.

`rule(policy, question)` gives `None` where no rule of this kind is known or it would take too many nodes. To make the
rule of a new policy known, register a function for its class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import singledispatch

import torch
from torch import Tensor

from auglean.moments.rules import Kind, Rule, even_knots, panel_rule, product, union
from auglean.policies import (
    Affine,
    AutoContrast,
    Compose,
    Cutout,
    Equalize,
    Flip,
    Gamma,
    GaussianBlur,
    Identity,
    Mixture,
    Normalize,
    Params,
    Perspective,
    Policy,
    RandomCrop,
    Rotate,
    Scale,
    Shear,
    Shift,
    Translate,
)

_CHANNELWISE = (
    *(Identity, Flip, Translate, Rotate, Scale, Shear, Shift, Affine, Perspective, RandomCrop, Cutout),
    *(GaussianBlur, Gamma),
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a rule is asked for.

    Attributes:
        shape: `(C, H, W)`.
        image: Images that the policy sees, `(B, C, H, W)`; `None` where operators come before it.
        level: Each level doubles the panels of a rule that is not exact.
        tol: Relative error at which a rule is enough, which says how coarse the coarsest is.
        linear: Whether all that follows is affine in the image, so that exact panels stay exact.
        exact: Prefer exact panels to fewer nodes.
        most: Nodes, at most.
        fourth: Ask for what stands for fourth powers too, exactly where the covariance is exact.
    """

    shape: tuple[int, int, int]
    image: Tensor | None
    level: int = 0
    tol: float = 1e-3
    linear: bool = True
    exact: bool = False
    most: int = 4096
    fourth: bool = False

    @property
    def panels(self) -> int:
        """Panels of one parameter of a sampler: an error of order panels⁻² asks for fewer where `tol` is large."""
        fewer = min(2.0, math.log2(max(1.0, self.tol / 1e-3)) / 2)
        return (16 << self.level) >> round(fewer)


def channelwise(policy: Policy) -> bool:
    """Whether a policy treats every channel alike and apart from the others."""
    if isinstance(policy, Compose | Mixture):
        return all(channelwise(part) for part in policy.parts)
    return isinstance(policy, _CHANNELWISE) and not isinstance(getattr(policy, "fill", None), tuple)


def finite(params: Params, weights: Tensor | list[float] | None = None, kind: Kind = "exact finite") -> Rule:
    """Make a rule that all images share of parameters `(K, …)`; equal weights by default."""
    if weights is None:
        n = len(next(iter(params.values()))) if params else 1
        weights = torch.full((n,), 1 / n, dtype=torch.float64)
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if not weights.all():
        kept = weights > 0
        params, weights = {name: value[kept] for name, value in params.items()}, weights[kept]
    return Rule({name: value[:, None] for name, value in params.items()}, weights[:, None], kind)


def even(name: str, low: float, high: float, panels: int) -> Rule:
    """Make a composite two-point Gauss rule: error of order panels⁻² on integrands with kinks."""
    if low == high:
        return finite({name: torch.tensor([low], dtype=torch.float64)})
    nodes, weights = panel_rule(even_knots(low, high, panels), 2)
    return finite({name: nodes}, weights, "quadrature")


@singledispatch
def rule(policy: Policy, question: Question) -> Rule | None:
    """Give a policy's rule, or `None`."""
    return None


@rule.register(Identity)
@rule.register(AutoContrast)
@rule.register(Equalize)
@rule.register(Normalize)
def _certain(policy: Policy, question: Question) -> Rule:
    return finite({})


@rule.register
def _compose(policy: Compose, question: Question) -> Rule | None:
    found: list[Rule] = []
    most = question.most
    for i, part in enumerate(policy.parts):
        asked = replace(
            question,
            image=question.image if i == 0 else None,
            linear=question.linear and all(later.linear for later in policy.parts[i + 1 :]),
            most=most,
        )
        own = rule(part, asked)
        if own is None or len(own) > most:
            return None
        most //= len(own)
        found.append(own)
    return product(found)


@rule.register
def _mixture(policy: Mixture, question: Question) -> Rule | None:
    found = [rule(part, question) for part in policy.parts]
    known = [part for part in found if part is not None]
    if len(known) < len(found) or sum(len(part) for part in known) > question.most:
        return None
    joint = union(known, policy.weights)
    if joint.weights.shape[1] > 1:
        return joint
    kept = joint.weights[:, 0] > 0
    return Rule({name: value[kept] for name, value in joint.params.items()}, joint.weights[kept], joint.kind)
