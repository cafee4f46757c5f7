"""A clamped factor: each value stands still, moves along a line, and stands still again.

With t the factor brought to [0, 1], where it is uniform, a value is `T_u = f_u + r_u (R_u − l_u)`, with `R_u = t` kept
between two stops l_u ≤ h_u. Mean and variance follow value by value. The covariance of two ramps is (Hoeffding 1940)

    Cov(R_u, R_v) = ∫_{l_u}^{h_u} ∫_{l_v}^{h_v} (min(s, t) − s t) ds dt

and what stands under the integrals is Green's function of `−y″ = g` with `y(0) = y(1) = 0`. So a product by C needs no
nodes: `g = Σ r_v v_v 1[l_v, h_v]` is constant between the sorted stops, three running sums integrate it, and
`(C v)_u = r_u (Y(h_u) − Y(l_u))` with `Y′ = y`. All is exact but for rounding, in O(D log D).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.colour_rules import clamp_knots
from auglean.moments.covariances import MEMORY, Covariance
from auglean.moments.rules import Kind, Rule, gauss, panel_rule
from auglean.policies import HSVSaturation
from auglean.policies.colour import Line
from auglean.policies.hsv import value_chroma_hue

_COLUMNS = 64  # of the unit matrix at once


class Ramps(Covariance):
    """Moments of images under one clamped factor.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        policy: What moves every value along a line, its range not empty.
        by: Takes the covariance of a rule of the policy.
        limit: Bytes of columns.
    """

    m4_kind: Kind = "exact panels"

    def __init__(self, x: Tensor, policy: Line, by: Callable[[Rule], Covariance], *, limit: int = MEMORY) -> None:
        self._x, self._policy, self._by, self.limit = x, policy, by, limit
        self._first, last = (
            policy.apply(x, {policy.parameter: x.new_full((len(x),), end)}).flatten(1)
            for end in (policy.low, policy.high)
        )
        self._stops = stops(policy, x)  # (B, D) each
        low, high = self._stops
        self._rise = (last - self._first) / torch.where(high > low, high - low, 1.0)
        middle = (self._first + last) / 2
        self.mean = low * self._first + (1 - high) * last + (high - low) * middle
        self.variance = (
            low * (self._first - self.mean).square()
            + (1 - high) * (last - self.mean).square()
            + (high - low) * ((last - self._first).square() / 12 + (middle - self.mean).square())
        )

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        """Both stops of every value in ascending order, and where they come from. `(B, 2 D)` each."""
        places, order = torch.cat(self._stops, 1).sort(1)
        return places, order

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        places, order = self._sorted
        step, taken = places.diff(dim=1)[..., None], order[..., None].expand(-1, -1, v.shape[2])
        weights = self._rise[..., None] * v
        density = torch.cat([weights, -weights], 1).gather(1, taken).cumsum(1)[:, :-1]  # g between two stops
        zero = torch.zeros_like(v[:, :1])
        once = torch.cat([zero, (density * step).cumsum(1)], 1)  # ∫ g up to each stop
        twice = torch.cat([zero, ((once[:, :-1] + density * step / 2) * step).cumsum(1)], 1)
        parts = ((density * step / 3 + once[:, :-1]) * step / 2 + twice[:, :-1]) * step
        thrice = torch.cat([zero, parts.cumsum(1)], 1)
        slope = twice[:, -1:] + once[:, -1:] * (1 - places[:, -1:, None])  # which brings y(1) to 0
        found = torch.empty_like(thrice).scatter_(1, taken, slope * places[..., None].square() / 2 - thrice)
        low, high = found.chunk(2, 1)
        return self._rise[..., None] * (high - low)

    @cached_property
    def _nodes(self) -> Covariance:
        """The covariance by two nodes between each two knots."""
        nodes, weights = panel_rule(clamp_knots(self._policy, self._x), 2)
        return self._by(Rule({self._policy.parameter: nodes}, weights, "exact panels"))

    @property
    def width(self) -> int:
        """Two for each two knots."""
        return self._nodes.width

    def columns(self) -> Tensor:
        """Those of the nodes, if they fit."""
        return self._nodes.columns()

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm, by unit vectors where there are more nodes than values. Shape `(B,)`."""
        b, d = self.mean.shape
        if self.fits and self.width <= d:
            return super().frobenius2
        total = self.mean.new_zeros(b)
        for start in range(0, d, _COLUMNS):
            some = self.mean.new_zeros(b, d, min(_COLUMNS, d - start))
            some[:, start : start + _COLUMNS].diagonal(dim1=1, dim2=2).fill_(1.0)
            total += self.matvec(some).square().sum((1, 2))
        return total

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`: the distance is a parabola between two stops. Shape `(B,)`."""
        low, high = self._stops
        off, last = self._first - self.mean, self._first + self._rise * (high - low) - self.mean
        still = torch.zeros_like(off)
        # (off + rise (t − low))² by powers of t, and what it adds at the first stop and takes at the second
        start = off - self._rise * low
        moving = torch.stack([start.square(), 2 * self._rise * start, self._rise.square()], 2)  # (B, D, 3)
        before, after = (torch.stack([at.square(), still, still], 2) for at in (off, last))
        places, order = self._sorted
        jumps = torch.cat([moving - before, after - moving], 1)
        taken = jumps.gather(1, order[..., None].expand(-1, -1, 3)).cumsum(1)
        parabolas = before.sum(1, keepdim=True) + torch.nn.functional.pad(taken, (0, 0, 1, 0))  # (B, 2 D + 1, 3)
        ends = torch.nn.functional.pad(places, (1, 1))
        ends[:, -1] = 1.0
        place, share = (part.to(ends) for part in gauss(3))
        t = (ends[:, 1:] + ends[:, :-1])[..., None] / 2 + ends.diff(dim=1)[..., None] / 2 * place  # (B, 2 D + 1, 3)
        zeroth, first, second = parabolas[..., None].unbind(2)
        distance = zeroth + t * (first + t * second)
        return ((distance.square() @ share) * ends.diff(dim=1)).sum(1)


def stops(policy: Line, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where every value begins and ends to move, as shares of the range of the factor. `(B, D)` each."""
    start, slope = (part.expand_as(x).flatten(1) for part in policy.line(x))
    moving = slope != 0
    slope = torch.where(moving, slope, 1.0)
    if isinstance(policy, HSVSaturation):  # a pixel stands still, once its saturation is full
        value, chroma, _ = value_chroma_hue(x)
        full = torch.where(chroma > 0, value / torch.where(chroma > 0, chroma, 1.0), policy.high)
        ends = [torch.full_like(start, policy.low), full.expand_as(x).flatten(1)]
    else:
        ends = [-start / slope, (1 - start) / slope]
    low, high = (
        torch.where(moving, (end - policy.low) / (policy.high - policy.low), default).clamp(0, 1)
        for end, default in ((torch.minimum(*ends), 0.0), (torch.maximum(*ends), 1.0))
    )
    return low, high
