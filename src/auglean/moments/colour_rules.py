"""Rules of the operators that change values: polynomials in a factor, kinks where a pixel is clamped, and atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from auglean.moments.planning import Question, even, finite, rule
from auglean.moments.rules import Rule, even_knots, panel_rule, product
from auglean.policies import (
    ChannelPermutation,
    Clamp,
    Gamma,
    GaussianBlur,
    Grayscale,
    Hue,
    Invert,
    Params,
    Policy,
    Posterize,
    Quantize,
    RandAugment,
    RandomOrder,
    Solarize,
    SolarizeAbove,
    TrivialAugment,
)
from auglean.policies.auto import _RAND, _WARPS, _WIDE
from auglean.policies.colour import Line
from auglean.policies.hsv import value_chroma_hue


def smooth(name: str, low: float, high: float, n: int) -> Rule:
    """Make a Gauss rule for what is smooth in a parameter, or one atom where there is but one value."""
    if low == high:
        return finite({name: torch.tensor([low], dtype=torch.float64)})
    nodes, weights = panel_rule(even_knots(low, high, 1), n)
    return finite({name: nodes}, weights, "quadrature")


@rule.register(Clamp)
@rule.register(Invert)
@rule.register(Quantize)
@rule.register(Grayscale)
def _certain(policy: Policy, question: Question) -> Rule:
    return finite({})


@rule.register
def _line(policy: Line, question: Question) -> Rule:
    low, high = policy.low, policy.high
    if low == high:
        return finite({policy.parameter: torch.tensor([low], dtype=torch.float64)})
    if question.linear and not policy.clamp:  # of degree 1 in the factor, and 4 in the fourth power
        nodes, weights = panel_rule(even_knots(low, high, 1), 3)
        return finite({policy.parameter: nodes}, weights)
    if question.linear and question.image is not None:
        knots = clamp_knots(policy, question.image)
        if 3 * (len(knots) - 1) <= question.most:
            nodes, weights = panel_rule(knots, 3)
            return Rule({policy.parameter: nodes}, weights, "exact panels")
    return even(policy.parameter, low, high, 4 * 2**question.level)


def clamp_knots(policy: Line, image: Tensor) -> Tensor:
    """Factors at which some pixel of an image reaches 0 or 1, sorted, with both ends. Shape `(P + 1, B)`."""
    found = []
    for start, slope in zip(*(part.expand_as(image).flatten(1) for part in policy.line(image)), strict=True):
        moving = slope != 0
        e, s = start[moving], slope[moving]
        found.append(torch.cat([-e / s, (1 - e) / s]))
    return _table(found, policy.low, policy.high)


def hue_knots(policy: Hue, image: Tensor) -> Tensor:
    """Turns at which a channel of some pixel of an image goes from one slope to another. Shape `(P + 1, B)`."""
    _, chroma, hue = value_chroma_hue(image)
    sixths = torch.arange(-4, 10, dtype=image.dtype, device=image.device)
    found = [((sixths[:, None] - h[c > 0]) / 6).flatten() for c, h in zip(chroma, hue, strict=True)]
    return _table(found, policy.low, policy.high)


def _table(found: Sequence[Tensor], low: float, high: float) -> Tensor:
    """Sort the knots of each image between two ends, those within rounding of each other once.

    Images with fewer knots than others repeat the upper end, which makes panels of no weight. Shape `(P + 1, B)`.
    """
    span = high - low
    inner = [
        low + span * torch.unique(((knots[(knots > low) & (knots < high)] - low) / span * 2**40).round()) / 2**40
        for knots in found
    ]
    longest = max((len(knots) for knots in inner), default=0)
    table = found[0].new_full((longest + 2, len(inner)), high)
    table[0] = low
    for i, knots in enumerate(inner):
        table[1 : 1 + len(knots), i] = knots
    return table


@rule.register
def _hue(policy: Hue, question: Question) -> Rule:
    if question.linear and question.image is not None and question.shape[0] == 3 and policy.low < policy.high:
        knots = hue_knots(policy, question.image)
        if 3 * (len(knots) - 1) <= (question.most if question.exact else question.most // 4):
            nodes, weights = panel_rule(knots, 3)
            return Rule({"hue": nodes}, weights, "exact panels")
    return even("hue", policy.low, policy.high, 8 * 2**question.level)


@rule.register
def _gamma(policy: Gamma, question: Question) -> Rule:
    gain = even("gain", *policy.gain, 2 * 2**question.level)
    return _together([smooth("gamma", *policy.gamma, 8 * 2**question.level), gain])


def _together(rules: Sequence[Rule]) -> Rule:
    """Join independent rules of the parameters of one policy."""
    joint = product(rules)
    params: Params = {name.partition(".")[2]: value for name, value in joint.params.items()}
    return Rule(params, joint.weights, joint.kind)


@rule.register
def _blur(policy: GaussianBlur, question: Question) -> Rule:
    return smooth("sigma", *policy.sigma, 16 * 2**question.level)


@rule.register
def _permutation(policy: ChannelPermutation, question: Question) -> Rule:
    orders = math.factorial(question.shape[0])
    return finite({"order": (torch.arange(orders, dtype=torch.float64) + 0.5) / orders})


@rule.register
def _order(policy: RandomOrder, question: Question) -> Rule | None:
    parts, orders = policy.parts, len(policy.orders)
    rules, most = [], question.most // orders
    for part in parts:
        affine = question.linear and all(other.linear for other in parts if other is not part)
        alone = question.image if len(parts) == 1 else None
        own = rule(part, replace(question, image=alone, linear=affine, most=most))
        if own is not None and own.kind == "quadrature" and len(parts) > 1 and isinstance(part, Line | Hue):
            # the kinks of many pixels in several factors are no grid, and blur each other
            name = part.parameter if isinstance(part, Line) else "hue"
            own = smooth(name, part.low, part.high, 4 * 2**question.level)
        if own is None or len(own) > most:
            return None
        most //= len(own)
        rules.append(own)
    joint = product(rules)
    params = {name: value.repeat_interleave(orders, 0) for name, value in joint.params.items()}
    params["order"] = torch.arange(orders).repeat(len(joint))[:, None]
    return Rule(params, joint.weights.repeat_interleave(orders, 0) / orders, joint.kind)


@rule.register
def _posterize(policy: Posterize, question: Question) -> Rule:
    return finite({"bits": torch.arange(policy.bits[0], policy.bits[1] + 1)})


@rule.register
def _solarize_above(policy: SolarizeAbove, question: Question) -> Rule:
    addition = even("addition", *policy.addition, 4 * 2**question.level)
    return _together([even("threshold", *policy.threshold, 16 * 2**question.level), addition])


@rule.register
def _solarize(policy: Solarize, question: Question) -> Rule:
    # levels are whole numbers: any threshold in (k − 1, k] inverts the levels from k on
    low = 256 * (1 - policy.amount)
    tops = torch.arange(math.floor(low) + 1, 257, dtype=torch.float64)
    if policy.amount == 0:
        return finite({"threshold": torch.tensor([256.0], dtype=torch.float64)})
    lengths = tops - (tops - 1).clamp(min=low)
    return finite({"threshold": tops - lengths / 2}, lengths / lengths.sum())


def _signs(names: tuple[str, ...], enhancers: tuple[str, ...]) -> list[tuple[int, int, float]]:
    """Operator, sign and probability; operators without a direction need one sign."""
    directed = {*_WARPS, *enhancers}
    return [
        (i, sign, (0.5 if name in directed else 1.0) / len(names))
        for i, name in enumerate(names)
        for sign in ((1, -1) if name in directed else (1,))
    ]


def _columns(single: list[tuple[int, int, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Operators, signs and probabilities, the last in float64."""
    op, sign, weight = zip(*single, strict=True)
    return torch.tensor(op), torch.tensor(sign), torch.tensor(weight, dtype=torch.float64)


_FACTORS = ("saturation", "contrast", "brightness", "sharpness")


@rule.register
def _rand(policy: RandAugment, question: Question) -> Rule | None:
    single = _signs(_RAND.operators, _FACTORS)
    if len(single) ** policy.n > question.most:
        return None
    index = torch.cartesian_prod(*[torch.arange(len(single))] * policy.n).view(-1, policy.n)
    op, sign, weight = _columns(single)
    return finite({"op": op[index], "sign": sign[index]}, weight[index].prod(1))


@rule.register
def _trivial(policy: TrivialAugment, question: Question) -> Rule | None:
    single = _signs(_WIDE.operators, _FACTORS)
    if 31 * len(single) > question.most:
        return None
    op, sign, weight = (column.repeat_interleave(31) for column in _columns(single))
    level = torch.arange(31).repeat(len(single)) / 30
    return finite({"op": op, "sign": sign, "level": level}, weight / 31)
