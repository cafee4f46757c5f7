"""Rules: parameters of a policy with positive weights that sum to one, in place of its law.

`E g(T) ≈ Σ w_k g(T_k)`, where `T_k` is what the policy makes of the image with the k-th parameters. Weights are
positive, so that the covariance of a rule is positive semi-definite by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from auglean.policies import Params, Policy

Kind = Literal["exact finite", "exact panels", "truncated", "quadrature", "randomised qmc", "monte carlo"]
#: From the surest to the least sure.
KINDS: tuple[Kind, ...] = ("exact finite", "exact panels", "truncated", "quadrature", "randomised qmc", "monte carlo")


def worst(kinds: Sequence[Kind]) -> Kind:
    """Name the least sure of several kinds.

    >>> worst(["exact finite", "quadrature", "exact panels"])
    'quadrature'
    """
    return max(kinds, key=KINDS.index, default="exact finite")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Nodes and weights.

    Attributes:
        params: Parameters as the policy's `draw` names them, each of shape `(K, B, …)`, with B = 1 where all images
            of the batch share the nodes.
        weights: Shape `(K, B)` or `(K, 1)`, float64, 0 or more, one in all along K.
        kind: How well the weighted sum stands for the law.
    """

    params: Params
    weights: Tensor
    kind: Kind

    def __len__(self) -> int:
        return len(self.weights)


@lru_cache(maxsize=16)
def gauss(n: int) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes on [−1, 1], and weights that sum to one."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights / 2)


def panel_rule(knots: Tensor, n: int, density: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Put `n` Gauss nodes between each two knots: exact for what is a polynomial of degree 2n − 1 between them.

    Args:
        knots: Ascending, from end to end; equal ones make panels of no weight. Shape `(P + 1, …)`.
        n: Nodes of a panel.
        density: Density at the nodes; uniform by default.

    Returns:
        Nodes and weights, each of shape `(P n, …)`, float64.

    >>> nodes, weights = panel_rule(torch.tensor([0.0, 1.0, 3.0]), 2)
    >>> round(float((weights * nodes**3).sum()), 12)  # 81 / 4 / 3
    6.75
    """
    knots = knots.double()
    place, share = (value.view(-1, *[1] * (knots.ndim - 1)).to(knots.device) for value in gauss(n))
    a, b = knots[:-1, None], knots[1:, None]
    nodes = ((a + b) / 2 + (b - a) / 2 * place).flatten(0, 1)
    weights = ((b - a) * share).flatten(0, 1)
    if density is not None:
        weights = weights * density(nodes)
    return nodes, weights / weights.sum(0)


def even_knots(low: float, high: float, panels: int) -> Tensor:
    """Ends of panels of equal length. Shape `(panels + 1,)`, float64."""
    return torch.linspace(low, high, panels + 1, dtype=torch.float64)


def integer_knots(low: float, high: float, split: int = 1) -> Tensor:
    """The ends and the integers between, each panel split evenly.

    >>> integer_knots(-1.5, 1.0).tolist()
    [-1.5, -1.0, 0.0, 1.0]
    """
    inner = torch.arange(math.floor(low) + 1, math.ceil(high), dtype=torch.float64)
    ends = torch.cat([torch.tensor([low], dtype=torch.float64), inner, torch.tensor([high], dtype=torch.float64)])
    return split_panels(ends, split)


def split_panels(knots: Tensor, parts: int) -> Tensor:
    """Split each panel evenly.

    >>> split_panels(torch.tensor([0.0, 1.0, 3.0]), 2).tolist()
    [0.0, 0.5, 1.0, 2.0, 3.0]
    """
    if parts == 1:
        return knots
    part = torch.arange(parts, dtype=torch.float64) / parts
    return torch.cat([(knots[:-1, None] + (knots[1:] - knots[:-1])[:, None] * part).flatten(), knots[-1:]])


def product(rules: Sequence[Rule]) -> Rule:
    """Join independent rules of the parts of a composition; parameters get the prefixes `"0."`, `"1."`, ….

    The first part's nodes turn slowest.
    """
    params: Params = {}
    weights = torch.ones(1, 1, dtype=torch.float64)
    for i, rule in enumerate(rules):
        before, now = len(weights), len(rule)
        params = {name: value.repeat_interleave(now, 0) for name, value in params.items()}
        params |= {f"{i}.{name}": torch.cat([value] * before) for name, value in rule.params.items()}
        own = rule.weights
        weights = (weights.to(own.device)[:, None] * own[None]).flatten(0, 1)
    return Rule(params, weights, worst([rule.kind for rule in rules]))


def union(rules: Sequence[Rule], weights: Sequence[float]) -> Rule:
    """Join the rules of the branches of a mixture; parameters as `auglean.policies.Mixture` names them.

    The parameters of the branches that a node does not take are those of the branch's first node.
    """
    sizes = [len(rule) for rule in rules]
    width = max(rule.weights.shape[1] for rule in rules)
    at = rules[0].weights.device
    branch = torch.repeat_interleave(torch.arange(len(rules), device=at), torch.tensor(sizes, device=at))
    params: Params = {"branch": branch[:, None]}
    for i, rule in enumerate(rules):
        before, after = sum(sizes[:i]), sum(sizes[i + 1 :])
        for name, value in rule.params.items():
            first = value[:1]
            params[f"{i}.{name}"] = torch.cat(
                [first.expand(before, *first.shape[1:]), value, first.expand(after, *first.shape[1:])]
            )
    own = [weight * rule.weights.expand(-1, width) for weight, rule in zip(weights, rules, strict=True)]
    return Rule(params, torch.cat(own), worst([rule.kind for rule in rules]))


def values(policy: Policy, rule: Rule, x: Tensor, start: int, stop: int, *, channelwise: bool) -> Tensor:
    """Apply the nodes `start … stop − 1` to every image.

    Args:
        policy: Whose rule it is.
        rule: Nodes.
        x: Images. Shape `(B, C, H, W)`, float64.
        start: First node.
        stop: Behind the last node.
        channelwise: Whether the policy treats every channel alike and apart; images then share their grids.

    Returns:
        Shape `(stop − start, B, C, H, W)`.
    """
    k, b = stop - start, len(x)
    if rule.weights.shape[1] == 1:
        return apply_each(policy, rule, x.expand(k, *x.shape), start, stop, channelwise=channelwise)
    params = {name: value[start:stop].to(x.device) for name, value in rule.params.items()}
    rows = {name: value.expand(k, b, *value.shape[2:]).flatten(0, 1) for name, value in params.items()}
    return policy.apply(x.expand(k, *x.shape).flatten(0, 1), rows).view(k, *x.shape)


def apply_each(policy: Policy, rule: Rule, x: Tensor, start: int, stop: int, *, channelwise: bool) -> Tensor:
    """Apply each of the nodes `start … stop − 1` of a rule that all images share to images of its own.

    Args:
        policy: Whose rule it is.
        rule: Nodes, its weights `(K, 1)`.
        x: Images. Shape `(stop − start, n, C, H, W)`, float64.
        start: First node.
        stop: Behind the last node.
        channelwise: Whether the policy treats every channel alike and apart; images then share their grids.

    Returns:
        The shape of `x`.
    """
    params = {name: value[start:stop].to(x.device) for name, value in rule.params.items()}
    if channelwise:
        rows = {name: value[:, 0] for name, value in params.items()}
        return policy.apply(x.flatten(1, 2), rows).view(x.shape)
    rows = {name: value.expand(*x.shape[:2], *value.shape[2:]).flatten(0, 1) for name, value in params.items()}
    return policy.apply(x.flatten(0, 1), rows).view(x.shape)
