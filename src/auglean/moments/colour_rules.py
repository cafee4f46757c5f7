"""Rules of the operators that change values: polynomials in a factor, kinks where a pixel is clamped, and atoms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auglean.moments.planning import Question, even, finite, rule
from auglean.moments.rules import Rule, panel_rule
from auglean.policies import (
    Brightness,
    Contrast,
    Posterize,
    RandAugment,
    Saturation,
    Sharpness,
    Solarize,
    TrivialAugment,
)
from auglean.policies.auto import _RAND, _WARPS, _WIDE

_Enhancer = Brightness | Contrast | Saturation | Sharpness


@rule.register(Brightness)
@rule.register(Contrast)
@rule.register(Saturation)
@rule.register(Sharpness)
def _enhance(policy: _Enhancer, question: Question) -> Rule | None:
    low, high = max(0.0, 1 - policy.amount), 1 + policy.amount
    if low == high:
        return finite({"factor": torch.tensor([low], dtype=torch.float64)})
    if question.linear and not policy.clamp:  # of degree 1 in the factor, and 4 in the fourth power
        nodes, weights = panel_rule(torch.tensor([low, high]), 3)
        return finite({"factor": nodes}, weights)
    if question.linear and question.image is not None:
        knots = clamp_knots(policy, question.image, low, high)
        if 3 * (len(knots) - 1) <= question.most:
            nodes, weights = panel_rule(knots, 3)
            return Rule({"factor": nodes}, weights, "exact panels")
    return even("factor", low, high, 4 * 2**question.level)


def clamp_knots(policy: _Enhancer, image: Tensor, low: float, high: float) -> Tensor:
    """Factors at which some pixel of an image reaches 0 or 1, sorted, with both ends.

    Images with fewer knots than others repeat the upper end, which makes panels of no weight. Shape `(P + 1, B)`.
    """
    black = policy._degenerate(image)
    start = torch.zeros_like(image) if black is None else black.expand_as(image)
    slope = image - start
    found = []
    for e, s in zip(start.flatten(1), slope.flatten(1), strict=True):
        moving = s != 0
        crossings = torch.cat([-e[moving] / s[moving], (1 - e[moving]) / s[moving]])
        crossings = crossings[(crossings > low) & (crossings < high)]
        # crossings of equal levels may differ by a rounding
        span = high - low
        found.append(low + span * torch.unique(((crossings - low) / span * 2**40).round()) / 2**40)
    longest = max((len(knots) for knots in found), default=0)
    table = image.new_full((longest + 2, len(found)), high)
    table[0] = low
    for i, knots in enumerate(found):
        table[1 : 1 + len(knots), i] = knots
    return table


@rule.register
def _posterize(policy: Posterize, question: Question) -> Rule:
    return finite({"bits": torch.arange(policy.bits, 9)})


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


_FACTORS = ("saturation", "contrast", "brightness", "sharpness")


@rule.register
def _rand(policy: RandAugment, question: Question) -> Rule | None:
    single = _signs(_RAND.operators, _FACTORS)
    if len(single) ** policy.n > question.most:
        return None
    index = torch.cartesian_prod(*[torch.arange(len(single))] * policy.n).view(-1, policy.n)
    op, sign, weight = (torch.tensor(column) for column in zip(*single, strict=True))
    return finite({"op": op[index], "sign": sign[index]}, weight.double()[index].prod(1))


@rule.register
def _trivial(policy: TrivialAugment, question: Question) -> Rule | None:
    single = _signs(_WIDE.operators, _FACTORS)
    if 31 * len(single) > question.most:
        return None
    op, sign, weight = (torch.tensor(column).repeat_interleave(31) for column in zip(*single, strict=True))
    level = torch.arange(31).repeat(len(single)) / 30
    return finite({"op": op, "sign": sign, "level": level}, weight.double() / 31)
