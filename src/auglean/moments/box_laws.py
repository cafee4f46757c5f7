"""Law of the sides of a random box: area uniform, ratio uniform in its logarithm, rounded, and drawn anew if it fails.

Of one draw, the box is `h` by `w` pixels where the area lies between the limits at which the sides round to them; with
sides `√(a r)` across and `√(a / r)` down,

    P₁(h, w) = mean over log r of |{a : (w − ½)² ≤ a r < (w + ½)², (h − ½)² ≤ a / r < (h + ½)²}| / (a₁ − a₀)

and ten draws that succeed with probability q each leave `P = P₁ (1 − (1 − q)¹⁰) / q`. Where sides are cut off instead,
the limits of those at the ends are 0 and infinity, and there is but one draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.moments.rules import gauss
from auglean.policies import ClampedErasing, RandomErasing, RandomResizedCrop
from auglean.policies.boxes import TRIES

#: Lower and upper limit for each size. Shapes `(S,)`, float64.
Limits = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Sides of a box and their probabilities.

    Attributes:
        down: Heights. Shape `(S,)`, int64.
        across: Widths. Shape `(S,)`, int64.
        weights: Shape `(S,)`, float64.
        failed: Probability that no draw succeeded; all together are one.
    """

    down: Tensor
    across: Tensor
    weights: Tensor
    failed: float


def sides(policy: RandomErasing | RandomResizedCrop, height: int, width: int) -> Sides:
    """Give the law of the sides of the box on images of a size."""
    if isinstance(policy, ClampedErasing):
        return _clamped(policy, height, width)
    h, w = (torch.arange(n + 1) for n in (height, width))
    down, across = (grid.flatten() for grid in torch.meshgrid(h, w, indexing="ij"))
    good = policy.fits(across, down, height, width)
    down, across = down[good], across[good]
    area = (policy.scale[0] * height * width, policy.scale[1] * height * width)
    first, second = (down, across) if isinstance(policy, RandomErasing) else (across, down)
    once = _once([_limits(first), _limits(second)], area, policy.ratio)
    kept = once > 1e-16
    down, across, once = down[kept], across[kept], once[kept]
    q = min(float(once.sum()), 1.0)
    failed = (1 - q) ** TRIES
    return Sides(down, across, once * ((1 - failed) / q) if q else once, failed)


def _clamped(policy: ClampedErasing, height: int, width: int) -> Sides:
    h, w = (torch.arange(1, n + 1) for n in (height, width))
    down, across = (grid.flatten() for grid in torch.meshgrid(h, w, indexing="ij"))
    area = (policy.scale[0] * height * width, policy.scale[1] * height * width)
    ends = [_limits(down, height), _limits(across, width)]
    low, high = policy.ratio
    pieces = [(low, 1.0), (1.0, high)] if low < 1 < high else [(low, high)]
    once = torch.stack([_once(ends, area, piece, logarithmic=False) for piece in pieces]).mean(0)
    kept = once > 1e-16
    return Sides(down[kept], across[kept], once[kept], 0.0)


def _limits(side: Tensor, most: int | None = None) -> Limits:
    """Squares of the lengths that round to a side, or that are cut off to it where there is a largest one."""
    side = side.double()
    low, high = (side - 0.5).clamp(min=0).square(), (side + 0.5).square()
    if most is not None:
        low, high = torch.where(side == 1, 0.0, low), torch.where(side == most, math.inf, high)
    return low, high


def _once(
    ends: list[Limits], area: tuple[float, float], ratio: tuple[float, float], *, logarithmic: bool = True
) -> Tensor:
    """Chance that `a r` and `a / r` are within limits, r uniform in its logarithm or itself. `(S,)`."""
    low, high = (math.log(end) for end in ratio)
    if low == high:
        return _share(torch.full_like(ends[0][0], low)[:, None], ends, area)[:, 0]
    # the logarithms of r at which another limit begins to count
    kinks = [(a.log() - b.log()) / 2 for a in ends[0] for b in ends[1]]
    for level in {*area}:
        at = math.log(level) if level else -math.inf
        kinks += [a.log() - at for a in ends[0]] + [at - b.log() for b in ends[1]]
    inner = torch.stack(kinks, 1).nan_to_num(low).clamp(low, high).sort(1).values
    first, last = (torch.full_like(inner[:, :1], end) for end in (low, high))
    knots = torch.cat([first, inner, last], 1)
    place, share = gauss(8)
    a, b = knots[:, :-1, None], knots[:, 1:, None]
    log_ratio = (a + b) / 2 + (b - a) / 2 * place
    values = _share(log_ratio.flatten(1), ends, area).view_as(log_ratio)
    if logarithmic:
        return ((values @ share) * (b - a)[..., 0]).sum(1) / (high - low)
    return (((values * log_ratio.exp()) @ share) * (b - a)[..., 0]).sum(1) / (ratio[1] - ratio[0])


def _share(log_ratio: Tensor, ends: list[Limits], area: tuple[float, float]) -> Tensor:
    """Share of the areas that give the sides at each ratio. `(S, k)`."""
    r = log_ratio.exp()
    (a, b), (c, d) = ((low[:, None], high[:, None]) for low, high in ends)
    least, most = torch.maximum(a / r, c * r), torch.minimum(b / r, d * r)
    if area[0] == area[1]:
        return ((least <= area[0]) & (area[0] < most)).double()
    return (most.clamp(max=area[1]) - least.clamp(min=area[0])).clamp(min=0) / (area[1] - area[0])
