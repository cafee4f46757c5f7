"""Rules of the operators that move pixels: atoms, or Gauss nodes between the knots of bilinear interpolation.

Between two knots, where source coordinates are whole numbers, every pixel is a polynomial in a displacement, in the
slope of a shear and in the inverse of a zoom, and a trigonometric one in an angle.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from auglean.moments.planning import Question, even, finite, rule
from auglean.moments.rules import Kind, Rule, integer_knots, panel_rule, product
from auglean.policies import Affine, Cutout, Flip, RandomCrop, Rotate, Scale, Shear, Translate


@rule.register
def _flip(policy: Flip, question: Question) -> Rule:
    return finite({"flip": torch.tensor([False, True])}, [1 - policy.p, policy.p])


@rule.register
def _translate(policy: Translate, question: Question) -> Rule | None:
    m = float(policy.pixels)
    if m == 0:
        return finite({"shift": torch.zeros(1, 2, dtype=torch.float64)})
    split = 1 if question.linear else 2**question.level
    nodes, weights = panel_rule(integer_knots(-m, m, split), 2)
    if len(nodes) ** 2 > question.most:
        return None
    return _square(nodes, weights, "exact panels" if question.linear else "quadrature")


def _square(nodes: Tensor, weights: Tensor, kind: Kind) -> Rule:
    return finite({"shift": torch.cartesian_prod(nodes, nodes)}, (weights[:, None] * weights).flatten(), kind)


def fourth_rule(pixels: float) -> Rule:
    """Give the rule of a translation that integrates fourth powers: three nodes in each cell and axis."""
    if pixels == 0:
        return finite({"shift": torch.zeros(1, 2, dtype=torch.float64)})
    return _square(*panel_rule(integer_knots(-pixels, pixels), 3), "exact panels")


@rule.register
def _crop(policy: RandomCrop, question: Question) -> Rule | None:
    place = torch.arange(-policy.padding, policy.padding + 1)
    if len(place) ** 2 > question.most:
        return None
    return finite({"shift": torch.cartesian_prod(place, place)})


@rule.register
def _cutout(policy: Cutout, question: Question) -> Rule | None:
    _, h, w = question.shape
    if h * w > question.most:
        return None
    x, y = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (w, h))
    return finite({"centre": torch.cartesian_prod(x, y)})


def _offsets(n: int) -> Tensor:
    """Distances from the centre, without the centre itself."""
    d = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return d[d != 0]


def _enough(question: Question) -> int:
    """How many nodes exactness is worth where a coarser rule would do."""
    return question.most if question.exact else question.most // 4


def _knots(inner: Tensor, low: float, high: float) -> Tensor:
    """Sort knots between two ends, those within rounding of each other once."""
    inner = inner[(inner > low) & (inner < high)]
    span = high - low
    inner = low + span * torch.unique(((inner - low) / span * 2**40).round()) / 2**40
    ends = torch.tensor([low, high], dtype=torch.float64)
    return torch.cat([ends[:1], inner, ends[1:]])


def _whole(n: int, reach: float) -> Tensor:
    """Whole source coordinates, counted from the centre of n pixels, a little further than a reach."""
    return torch.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2, dtype=torch.float64) - (n - 1) / 2 % 1


def rotation_knots(degrees: float, h: int, w: int) -> Tensor:
    """Angles in degrees at which a source coordinate of some pixel is a whole number.

    The source of the pixel at `r (cos φ, sin φ)` from the centre is at `r (cos(θ + φ), sin(θ + φ))`.
    """
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (h, w))
    dy, dx = torch.meshgrid(y, x, indexing="ij")
    radius, phase = torch.hypot(dx, dy).flatten(), torch.atan2(dy, dx).flatten()
    phase, radius = phase[radius > 0], radius[radius > 0]
    found = [torch.zeros(0, dtype=torch.float64)]
    for n, turn in ((w, 0.0), (h, math.pi / 2)):
        ratio = _whole(n, float(radius.max()) if len(radius) else 0.0)[:, None] / radius
        angle = torch.arccos(ratio.clamp(-1, 1))
        found += [(sign * angle + turn - phase)[ratio.abs() <= 1] for sign in (1.0, -1.0)]
    every = torch.remainder(torch.rad2deg(torch.cat(found)) + 180, 360) - 180
    turns = math.ceil(degrees / 360)
    return _knots(torch.cat([every + 360 * k for k in range(-turns, turns + 1)]), -degrees, degrees)


@rule.register
def _rotate(policy: Rotate, question: Question) -> Rule | None:
    limit = float(policy.degrees)
    if limit and question.exact and question.linear and max(question.shape[1:]) <= 64:
        knots = rotation_knots(limit, *question.shape[1:])
        if 4 * (len(knots) - 1) <= question.most:
            nodes, weights = panel_rule(knots, 4)
            return finite({"angle": nodes}, weights, "exact panels")
    return even("angle", -limit, limit, 16 * 2**question.level)


@rule.register
def _scale(policy: Scale, question: Question) -> Rule | None:
    low, high = 1 - policy.amount, 1 + policy.amount
    if question.linear and policy.amount and 1 / low <= 64:
        found = [torch.ones(1, dtype=torch.float64)]
        for n in question.shape[1:]:
            found.append((_whole(n, n / 2 / low)[:, None] / _offsets(n)).flatten())
        knots = _knots(torch.cat(found), 1 / high, 1 / low)
        if 5 * (len(knots) - 1) <= _enough(question):
            nodes, weights = panel_rule(knots, 5, lambda w: w**-2)
            return finite({"factor": 1 / nodes}, weights, "exact panels")
    return even("factor", low, high, 16 * 2**question.level)


@rule.register
def _shear(policy: Shear, question: Question) -> Rule | None:
    limit = float(policy.degrees)
    if question.linear and limit:
        d = _offsets(question.shape[1])
        most = math.tan(math.radians(limit)) * question.shape[1]
        if most <= 512:
            whole = torch.arange(-math.ceil(most), math.ceil(most) + 1, dtype=torch.float64)
            knots = _knots(torch.rad2deg(torch.atan((whole[:, None] / d).flatten())), -limit, limit)
            if 4 * (len(knots) - 1) <= _enough(question):
                nodes, weights = panel_rule(knots, 4)
                return finite({"angle": nodes}, weights, "exact panels")
    return even("angle", -limit, limit, 16 * 2**question.level)


@rule.register
def _affine(policy: Affine, question: Question) -> Rule | None:
    names = {"angle": policy.rotate, "factor": policy.scale, "shear": policy.shear, "shift": policy.translate}
    strengths = (policy.rotate.degrees, policy.scale.amount, policy.shear.degrees, policy.translate.pixels)
    moving = [name for name, strength in zip(names, strengths, strict=True) if strength]
    if len(moving) + ("shift" in moving) > 2:
        return None  # three parameters and more go by Sobol points
    # knots of two parameters at once are no grid
    inner = replace(question, linear=question.linear and len(moving) == 1)
    parts = [rule(names[name], inner) for name in moving]
    if any(part is None for part in parts) or math.prod(len(part) for part in parts if part) > question.most:
        return None
    joint = product([part for part in parts if part is not None])
    params = {
        "angle": torch.zeros(1, 1, dtype=torch.float64),
        "factor": torch.ones(1, 1, dtype=torch.float64),
        "shear": torch.zeros(1, 1, dtype=torch.float64),
        "shift": torch.zeros(1, 1, 2, dtype=torch.float64),
    }
    params = {name: value.expand(len(joint), *value.shape[1:]) for name, value in params.items()}
    for i, name in enumerate(moving):
        params[name] = joint.params[f"{i}.{'angle' if name == 'shear' else name}"]
    return Rule(params, joint.weights, joint.kind)
