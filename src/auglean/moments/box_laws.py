"""Law of the sides of a random box: area uniform, ratio uniform in its logarithm, rounded, and drawn anew if it fails.

Of one draw, the box is `h` by `w` pixels where the area lies between the limits at which the sides round to them; with
sides `√(a r)` across and `√(a / r)` down,

    P₁(h, w) = mean over log r of |{a : (w − ½)² ≤ a r < (w + ½)², (h − ½)² ≤ a / r < (h + ½)²}| / (a₁ − a₀)

and ten draws that succeed with probability q each leave `P = P₁ (1 − (1 − q)¹⁰) / q`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.moments.rules import gauss
from auglean.policies import RandomErasing, RandomResizedCrop
from auglean.policies.boxes import TRIES


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
    h, w = (torch.arange(n + 1) for n in (height, width))
    down, across = (grid.flatten() for grid in torch.meshgrid(h, w, indexing="ij"))
    good = policy.fits(across, down, height, width)
    down, across = down[good], across[good]
    area = (policy.scale[0] * height * width, policy.scale[1] * height * width)
    first, second = (down, across) if isinstance(policy, RandomErasing) else (across, down)
    once = _once(first.double(), second.double(), area, policy.ratio)
    kept = once > 1e-16
    down, across, once = down[kept], across[kept], once[kept]
    q = min(float(once.sum()), 1.0)
    failed = (1 - q) ** TRIES
    return Sides(down, across, once * ((1 - failed) / q) if q else once, failed)


def _once(long: Tensor, short: Tensor, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Chance that `√(a r)` rounds to `long` and `√(a / r)` to `short`. `(S,)`."""
    ends = [((side - 0.5).clamp(min=0).square(), (side + 0.5).square()) for side in (long, short)]
    low, high = (math.log(end) for end in ratio)
    if low == high:
        return _share(torch.full_like(long, low)[:, None], ends, area)[:, 0]
    # the logarithms of r at which another limit begins to count
    kinks = [(a.log() - b.log()) / 2 for a in ends[0] for b in ends[1]]
    for level in {*area}:
        at = math.log(level) if level else -math.inf
        kinks += [a.log() - at for a in ends[0]] + [at - b.log() for b in ends[1]]
    inner = torch.stack(kinks, 1).nan_to_num(low).clamp(low, high).sort(1).values
    knots = torch.cat([torch.full_like(long, low)[:, None], inner, torch.full_like(long, high)[:, None]], 1)
    place, share = gauss(8)
    a, b = knots[:, :-1, None], knots[:, 1:, None]
    values = _share(((a + b) / 2 + (b - a) / 2 * place).flatten(1), ends, area).view(*a.shape[:2], -1)
    return ((values @ share) * (b - a)[..., 0]).sum(1) / (high - low)


def _share(log_ratio: Tensor, ends: list[tuple[Tensor, Tensor]], area: tuple[float, float]) -> Tensor:
    """Share of the areas that give the sides at each ratio. `(S, k)`."""
    r = log_ratio.exp()
    (a, b), (c, d) = ((low[:, None], high[:, None]) for low, high in ends)
    least, most = torch.maximum(a / r, c * r), torch.minimum(b / r, d * r)
    if area[0] == area[1]:
        return ((least <= area[0]) & (area[0] < most)).double()
    return (most.clamp(max=area[1]) - least.clamp(min=area[0])).clamp(min=0) / (area[1] - area[0])
