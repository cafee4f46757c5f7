"""Rules of the operators that move pixels: atoms, or Gauss nodes between the knots of interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from auglean.moments.knots import Place, rotation_knots, scale_knots, shear_knots
from auglean.moments.laws import Discrete, Uniform, integers_between, rounded_uniform
from auglean.moments.planning import Question, even, finite, rule
from auglean.moments.rules import Kind, Rule, integer_knots, panel_rule, product, split_panels
from auglean.policies import Affine, Cutout, Flip, RandomCrop, Rotate, Scale, Shear, Shift, Translate
from auglean.policies.warping import Warp

_PANELS = 8  # between the ends of a law, at least

#: Law of one displacement.
Spread = Uniform | Discrete


@rule.register
def _flip(policy: Flip, question: Question) -> Rule:
    return finite({"flip": torch.tensor([False, True])}, [1 - policy.p, policy.p])


def displacements(policy: Translate | Shift | RandomCrop, height: int, width: int) -> tuple[Spread, Spread]:
    """Laws of the displacements in pixels across and down: whole numbers where pixels are copied."""
    if isinstance(policy, RandomCrop):
        return integers_between(*policy.across), integers_between(*policy.down)
    if isinstance(policy, Translate):
        most, whole = (policy.pixels, policy.pixels), False
    else:
        most, whole = (policy.across * width, policy.down * height), policy.whole
    if whole or policy.interpolation == "nearest":
        return rounded_uniform(most[0]), rounded_uniform(most[1])
    return Uniform(-float(most[0]), float(most[0])), Uniform(-float(most[1]), float(most[1]))


def _along(law: Spread, question: Question, n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of one displacement."""
    if isinstance(law, Discrete):
        return torch.tensor(law.values, dtype=torch.float64), torch.tensor(law.weights, dtype=torch.float64)
    if law.low == law.high:
        return torch.tensor([law.low], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    split = 1 if question.linear else 2**question.level
    return panel_rule(integer_knots(law.low, law.high, split), n)


@rule.register(Translate)
@rule.register(Shift)
@rule.register(RandomCrop)
def _translate(policy: Translate | Shift | RandomCrop, question: Question) -> Rule | None:
    _, height, width = question.shape
    laws = displacements(policy, height, width)
    masked = not isinstance(policy, RandomCrop) and policy.padding == "masked"  # a mask doubles the degree
    n = (5 if masked else 3) if question.fourth else 3 if masked else 2
    (x, across), (y, down) = (_along(law, question, n) for law in laws)
    if len(x) * len(y) > question.most:
        return None
    shifts, weights = torch.cartesian_prod(x, y), (across[:, None] * down).flatten()
    if all(isinstance(law, Discrete) or law.low == law.high for law in laws):
        kind: Kind = "exact finite"
    else:
        kind = "exact panels" if question.linear else "quadrature"
    if isinstance(policy, Shift):
        return finite({"share": shifts / shifts.new_tensor([width, height])}, weights, kind)
    whole = isinstance(policy, RandomCrop)
    return finite({"shift": shifts.long() if whole else shifts}, weights, kind)


@rule.register
def _cutout(policy: Cutout, question: Question) -> Rule | None:
    _, h, w = question.shape
    if h * w > question.most:
        return None
    x, y = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (w, h))
    return finite({"centre": torch.cartesian_prod(x, y)})


def _enough(question: Question) -> int:
    """How many nodes exactness is worth where a coarser rule would do: as many as it takes, where `tol` is large."""
    if question.exact:
        return question.most
    return question.most // 4 if question.tol <= 1e-3 else 8 * replace(question, level=0).panels


def _panels(
    policy: Warp,
    question: Question,
    knots: Callable[[], Tensor],
    n: int,
    density: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Nodes and weights between knots, so many in each, if they are not too many.

    Pixels to the nearest are constant there, whatever follows. A mask doubles the degree of the others.
    """
    nearest = policy.interpolation == "nearest"
    if not nearest and not question.linear:
        return None
    n = 1 if nearest else n + 2 * (policy.padding == "masked")
    found, most = knots(), question.most if nearest else _enough(question)
    count = n * (len(found) - 1)
    if count > most:
        return None
    # small images have wide panels, on which densities and tangents are no polynomials of few nodes
    parts = 1 if nearest else -(-_PANELS // (len(found) - 1))
    return panel_rule(split_panels(found, parts if count * parts <= question.most else 1), n, density)


@rule.register
def _rotate(policy: Rotate, question: Question) -> Rule | None:
    (low, high), (_, height, width) = policy.range, question.shape
    near = policy.interpolation == "nearest"
    if low < high and (near or question.exact) and max(height, width) <= 64:
        found = _panels(policy, question, lambda: rotation_knots(low, high, Place.of(policy, height, width)), 4)
        if found is not None:
            return finite({"angle": found[0]}, found[1], "exact panels")
    return even("angle", low, high, question.panels)


@rule.register
def _scale(policy: Scale, question: Question) -> Rule | None:
    (low, high), (_, height, width) = policy.range, question.shape
    if low < high and 1 / low <= 64:
        place = Place.of(policy, height, width)
        if place.nearest:
            found = _panels(policy, question, lambda: 1 / scale_knots(1 / high, 1 / low, place).flip(0), 1)
        else:  # a polynomial in the inverse
            inverse = _panels(policy, question, lambda: scale_knots(1 / high, 1 / low, place), 5, lambda w: w**-2)
            found = None if inverse is None else (1 / inverse[0], inverse[1])
        if found is not None:
            return finite({"factor": found[0]}, found[1], "exact panels")
    return even("factor", low, high, question.panels)


@rule.register
def _shear(policy: Shear, question: Question) -> Rule | None:
    (low, high), (_, height, width) = policy.range, question.shape
    if low < high and max(abs(low), abs(high)) <= 80:
        place = Place.of(policy, height, width)
        found = _panels(policy, question, lambda: shear_knots(low, high, place, vertical=policy.vertical), 4)
        if found is not None:
            return finite({"angle": found[0]}, found[1], "exact panels")
    return even("angle", low, high, question.panels)


@rule.register
def _affine(policy: Affine, question: Question) -> Rule | None:
    alone = policy.alone
    if alone is not None:
        name = next(name for name, part in policy.parts.items() if part is alone)
        joint = rule(alone, question)
        return None if joint is None else _completed(policy, Rule({name: _only(joint)}, joint.weights, joint.kind))
    spread = [name for name, part in policy.parts.items() if not _fixed(part)]
    whole = isinstance(policy.translate, Shift) and policy.translate.whole
    continuous = sum(1 + (name in ("shift", "share")) for name in spread if not (whole and name == "share"))
    if continuous > 2:
        return None  # three parameters and more go by Sobol points
    # knots of two parameters at once are no grid
    found = [_evenly(name, policy.parts[name], question) for name in spread]
    if any(part is None for part in found) or math.prod(len(part) for part in found if part) > question.most:
        return None
    joint = product([part for part in found if part is not None])
    params = {name: joint.params[f"{i}.{name}"] for i, name in enumerate(spread)}
    return _completed(policy, Rule(params, joint.weights, joint.kind))


def _only(found: Rule) -> Tensor:
    """The one parameter of a rule."""
    (value,) = found.params.values()
    return value


def _evenly(name: str, part: Warp, question: Question) -> Rule | None:
    """Nodes of one part of a joint affine, wherever the kinks are."""
    if isinstance(part, Rotate | Scale | Shear):
        return even(name, *part.range, question.panels)
    if part.interpolation == "nearest" and not (isinstance(part, Shift) and part.whole):
        return None  # jumps at other places than alone
    return rule(part, replace(question, linear=False))


def _fixed(part: Warp) -> bool:
    """Whether a part of a joint affine draws one value alone."""
    return part.range[0] == part.range[1] if isinstance(part, Rotate | Scale | Shear) else part.idle


def _completed(policy: Affine, found: Rule) -> Rule:
    """Add the parameters that do not move."""
    params = dict(found.params)
    for name, part in policy.parts.items():
        if name not in params:
            value = torch.tensor(part.range[0]) if isinstance(part, Rotate | Scale | Shear) else torch.zeros(2)
            params[name] = value.double().expand(len(found), 1, *value.shape)
    return Rule(params, found.weights, found.kind)
