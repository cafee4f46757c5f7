"""What is asked for, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auglean.moments.covariances import Covariance, Nodes, glimpse
from auglean.moments.planning import Question, channelwise, rule
from auglean.moments.rules import Kind, Rule, values
from auglean.moments.shared_grids import pays, shared_moments
from auglean.moments.windows import joint, margin, reach, still, windows_of
from auglean.policies import Policy

_ROUNDING = 1e-24  # trace, over the square of the image's norm, up to which an image is said not to move


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Moments that are asked for.

    Attributes:
        policy: Of what.
        x: Of which images. Shape `(B, C, H, W)`, float64.
        tol: Relative error at which nodes are enough.
        most: Nodes, at most.
        limit: Bytes of nodes or columns kept at once.
        seed: Of what is drawn.
        exact: Whether nothing else will do.
    """

    policy: Policy
    x: Tensor
    tol: float
    most: int
    limit: int
    seed: int
    exact: bool

    @property
    def law(self) -> Policy:
        """The policy whose rules are asked for: without its whole shifts, if they are windows of a canvas."""
        if not joint(self.policy):
            return self.policy
        across, down = (margin(own) for own in reach(self.policy, *self.x.shape[2:]))
        return still(self.policy, beside=(across, down))

    def question(self) -> Question:
        """Ask for the coarsest rule."""
        _, c, h, w = self.x.shape
        if joint(self.policy):  # on the canvas
            across, down = (margin(own) for own in reach(self.policy, h, w))
            h, w = h + 2 * down, w + 2 * across
        return Question((c, h, w), self.x, tol=self.tol, exact=self.exact, most=self.most)

    def by(
        self,
        own: Rule,
        *,
        fourth: bool = False,
        once: bool = False,
        sketched: bool = False,
        scale: float = 1.0,
        known: tuple[Tensor, Tensor, Tensor | None] | None = None,
    ) -> Covariance:
        """Take the covariance of a rule.

        Args:
            own: The rule.
            fourth: Whether fourth powers may need another rule.
            once: Make every node once if they fit, though mean and variance alone need none kept.
            sketched: Whether the covariance of another rule will be held against this one.
            scale: Factor of the covariance.
            known: Mean, variance and sketch of the rule, if they are, the first two `(B, D)`; spares most of the work.
        """
        if joint(self.policy):
            return windows_of(self.policy, own, self.x, scale=scale, limit=self.limit)
        alike, x = channelwise(self.policy), self.x
        seen = glimpse(x[0].numel(), x.device) if sketched else None
        if known is None and not once and pays(self.policy, own, x, self.limit, seen):
            mean, variance, sketch = shared_moments(self.policy, own, x, seen)
            known = mean, scale * variance, sketch

        def run(start: int, stop: int, group: slice) -> Tensor:
            return values(self.policy, _rows(own, group), x[group], start, stop, channelwise=alike).flatten(2)

        return Nodes(
            run,
            own.weights.to(x.device),
            images=len(x),
            size=x[0].numel(),
            m4_kind=own.kind,
            fourth=self.fourth if fourth else None,
            scale=scale,
            limit=self.limit,
            sketched=sketched,
            known=known,
            **({"hold": self.limit} if once else {}),
        )

    def fourth(self) -> Covariance:
        """Take the rule that stands for fourth powers too, whatever its nodes."""
        own = rule(self.law, replace(self.question(), fourth=True, most=2**62))
        assert own is not None  # one of fewer nodes was found before
        return self.by(own)


def _rows(own: Rule, group: slice) -> Rule:
    """The rule of some of the images."""
    if all(value.shape[1] == 1 for value in (own.weights, *own.params.values())):
        return own
    params = {name: value[:, group] if value.shape[1] > 1 else value for name, value in own.params.items()}
    return Rule(params, own.weights[:, group] if own.weights.shape[1] > 1 else own.weights, own.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Moments that were found.

    Attributes:
        form: The covariance.
        kind: How it was got.
        error: Shape `(B,)`.
        nodes: How many.
        dropped: Share of the trace that was left out. Shape `(B,)`.
    """

    form: Covariance
    kind: Kind
    error: Tensor
    nodes: int
    dropped: Tensor


def change(coarse: Covariance, fine: Covariance, x: Tensor) -> Tensor:
    """Estimate the error of the fine one by what changed: the larger of the relative errors. Shape `(B,)`.

    An error of order panels⁻² falls to a quarter when they are doubled, so that of the coarse one is 4/3 of the change,
    and stands for mean and trace: a number may change little by luck. Of the covariance, whose norm is a sum over many,
    a third of the change is taken, the error of the fine one itself, where both have a sketch. Of images that nothing
    moves, only the mean counts: the rest is rounding.
    """
    whole, trace = size(fine.mean, x), fine.variance.sum(1)
    mean = 4 / 3 * (fine.mean - coarse.mean).norm(dim=1) / whole
    spread = 4 / 3 * part_of((trace - coarse.variance.sum(1)).abs(), trace)
    if coarse.sketch is not None and fine.sketch is not None:
        new, old = fine.sketch.flatten(1), coarse.sketch.flatten(1)
        spread = torch.maximum(spread, part_of((new - old).norm(dim=1), new.norm(dim=1)) / 3)
    return torch.where(trace > _ROUNDING * whole.square(), torch.maximum(mean, spread), mean)


def size(mean: Tensor, x: Tensor) -> Tensor:
    """What errors of the mean are relative to: the norm of the mean or of the image, the larger. Shape `(B,)`."""
    return torch.maximum(mean.norm(dim=1), x.flatten(1).norm(dim=1)).clamp(min=1e-300)


def part_of(part: Tensor, whole: Tensor) -> Tensor:
    """Give `part / whole`, and 0 for no part of nothing."""
    return torch.where(part > 0, part / whole.clamp(min=1e-300), 0.0)
