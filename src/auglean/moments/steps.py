"""The parts of a chain: each makes mean and factor after it from those before, by the law of total covariance.

Where `T = M T′ + c` with M and c independent of T′, whose mean is μ′ and whose covariance is C′ = F′ F′ᵀ,

    μ = E[M μ′ + c],    C = E[M C′ Mᵀ] + Cov(M μ′ + c)

so that a rule of weights w_j makes of the columns of F′ those of F: `√w_j M_j F′` and `√w_j (M_j μ′ + c_j − μ)`. Their
number is brought down after each part, at a known share of the trace. The mean is that of the rules, and exact where
they are. Erased boxes, which have no low rank, keep a form of their own where they come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from auglean.moments.covariances import Covariance
from auglean.moments.forms import Factored
from auglean.moments.laws import Hats
from auglean.moments.lowrank import FEW, combine
from auglean.moments.masks import Boxes, Masks
from auglean.moments.noise import Noisy, noise_moments
from auglean.moments.piles import UNASKED, Fourth, Pile, State, TooDear
from auglean.moments.rules import Kind, Rule
from auglean.moments.shifts import extend
from auglean.moments.transformed import Transformed, copies
from auglean.policies import GaussianNoise, Policy
from auglean.policies.warping import Fill


class Step(Protocol):
    """One part of a chain."""

    @property
    def kind(self) -> Kind:
        """How well the part is integrated."""

    @property
    def nodes(self) -> int:
        """Nodes or shifts."""

    @property
    def bare(self) -> bool:
        """Whether it needs no columns, and goes over a covariance in any form, if no part behind it needs some."""

    def growth(self, *, last: bool) -> int:
        """How many columns it makes of each; fewer where it comes last, in a form of its own."""

    def __call__(self, state: State, pile: Pile) -> State:
        """Go on by this part."""

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Go on by this part, behind which nothing comes: the covariance, and all that was dropped."""

    def over(self, form: Covariance, shape: torch.Size, pile: Pile, fourth: Fourth) -> Covariance:
        """Go over a covariance in any form, where the part is bare."""


class BaseStep:
    """What steps share: they make a column of each node, and the last one has a factor."""

    @property
    def bare(self) -> bool:
        """It needs columns."""
        return False

    @property
    def nodes(self) -> int:
        """Nodes or shifts."""
        raise NotImplementedError

    def over(self, form: Covariance, shape: torch.Size, pile: Pile, fourth: Fourth) -> Covariance:
        """Only where the part is bare."""
        raise NotImplementedError

    def growth(self, *, last: bool) -> int:
        """How many columns it makes of each."""
        return self.nodes

    def __call__(self, state: State, pile: Pile) -> State:
        """Go on by this part."""
        raise NotImplementedError

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Go on by this part, behind which nothing comes."""
        found = self(state, pile)
        return _factored(found, pile, fourth), found.dropped


def _factored(state: State, pile: Pile, fourth: Fourth = UNASKED) -> Factored:
    """The covariance of which the columns are known."""
    factor = state.columns.flatten(1).mT[None]
    return Factored(state.mean.reshape(1, -1), factor, m4=fourth.of, m4_kind=fourth.kind, limit=pile.limit)


@dataclass(frozen=True)
class ByNodes(BaseStep):
    """A part whose rule does not depend on the image; the part is affine in it, unless it is the first."""

    policy: Policy
    rule: Rule

    @property
    def kind(self) -> Kind:
        """Kind of the rule."""
        return self.rule.kind

    @property
    def nodes(self) -> int:
        """Nodes of the rule."""
        return len(self.rule)

    @property
    def bare(self) -> bool:
        """Where pixels are copied."""
        return copies(self.policy)

    def growth(self, *, last: bool) -> int:
        """How many columns it makes of each."""
        return 1 if last and self.bare else self.nodes

    def __call__(self, state: State, pile: Pile) -> State:
        """Apply every node to the mean and to every column, and combine what neighbouring nodes make of these."""
        entries = self._check(state, pile)
        form = self._form(state, pile, UNASKED)
        spare = self.kind.startswith("exact") and pile.light(entries)
        at_once = pile.limit // (32 * self.nodes * state.mean.numel())

        def parts() -> Iterator[tuple[Tensor, float]]:
            means = form.between()
            between, gone = (means.columns()[0], 0.0) if means.fits else pile.thin(means, pile.share / 64)
            yield between.mT.reshape(-1, *state.mean.shape), gone
            if spare or self.nodes > FEW or not at_once:
                for weights, moved in form.parts():
                    yield (weights.sqrt()[..., None, None, None] * moved).flatten(0, 1), 0.0
                return
            for some in state.columns.split(at_once) if len(state.columns) else ():
                combined, gone = combine(form.all_nodes(some).flatten(2), pile.share / 4)
                yield combined.view(-1, *state.mean.shape), gone

        return pile.settle(form.mean.view_as(state.mean), parts(), state.dropped)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the nodes beside the factor."""
        self._check(state, pile)
        return self._form(state, pile, fourth), state.dropped

    def _check(self, state: State, pile: Pile) -> int:
        entries = self.nodes * (1 + len(state.columns)) * state.mean.numel()
        pile.check(entries)
        return entries

    def _form(self, state: State, pile: Pile, fourth: Fourth) -> Transformed:
        return self.over(_factored(state, pile), state.mean.shape, pile, fourth)

    def over(self, form: Covariance, shape: torch.Size, pile: Pile, fourth: Fourth) -> Transformed:
        """Go over a covariance in any form."""
        return Transformed(self.policy, self.rule, form, shape, m4=fourth.of, m4_kind=fourth.kind, limit=pile.limit)


@dataclass(frozen=True)
class AlongAxis(BaseStep):
    """A displacement along one axis, in mass form: each column goes to as many as there are whole shifts."""

    hats: Hats
    dim: int
    padding: str
    fill: Fill
    kind: Kind

    @property
    def nodes(self) -> int:
        """Number of shifts."""
        return len(self.hats)

    def __call__(self, state: State, pile: Pile) -> State:
        """Weigh the shifts of the mean and of every column by roots of their mass matrices."""
        # turned round: content moved by k is read at u − k, and windows count upwards
        centre, mass = (part.to(state.mean) for part in (self.hats.mean.flip(0), self.hats.mass.flip(0, 1)))
        ends = (self.hats.first + len(self.hats) - 1, -self.hats.first)
        around = (ends, (0, 0)) if self.dim == 2 else ((0, 0), ends)

        def shifts(x: Tensor, fill: Fill) -> Tensor:
            around_it = extend(x, *around, self.padding, fill)
            windows: Tensor = around_it.unfold(self.dim, len(centre), 1)  # (…, H, W, K)
            return windows

        moved = shifts(state.mean[None], self.fill)
        mean = moved @ centre

        pile.check(len(centre) * (1 + len(state.columns)) * state.mean.numel())

        def parts() -> Iterator[tuple[Tensor, float]]:
            yield _rows((moved - mean[..., None]) @ _root(mass - centre[:, None] * centre)), 0.0
            root = _root(mass)
            step = max(1, pile.limit // (32 * len(centre) * state.mean.numel()))
            for some in state.columns.split(step):
                yield _rows(shifts(some, 0.0) @ root), 0.0

        return pile.settle(mean[0], parts(), state.dropped)


def _rows(x: Tensor) -> Tensor:
    """`(n, C, H, W, K)` to `(K n, C, H, W)`."""
    return x.movedim(4, 0).flatten(0, 1)


def _root(matrix: Tensor) -> Tensor:
    """L of `L Lᵀ`, without columns of rounding."""
    spectrum, vectors = torch.linalg.eigh(matrix)
    kept = spectrum > 1e-15 * spectrum[-1]
    root: Tensor = vectors[:, kept] * spectrum[kept].sqrt()
    return root


@dataclass(frozen=True)
class Erased(BaseStep):
    """A box erased: in a form of its own where it comes last, and otherwise by its strongest directions."""

    law: Boxes
    fill: Fill
    kind: Kind = "exact finite"

    @property
    def nodes(self) -> int:
        """Number of boxes."""
        return len(self.law)

    def growth(self, *, last: bool) -> int:
        """None where it comes last."""
        return 1 if last else self.nodes

    def __call__(self, state: State, pile: Pile) -> State:
        """Find a factor by products alone."""
        return pile.thinned(self._form(state, pile, UNASKED), state)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the law of the box beside the factor."""
        return self._form(state, pile, fourth), state.dropped

    def _form(self, state: State, pile: Pile, fourth: Fourth) -> Masks:
        return self.over(_factored(state, pile), state.mean.shape, pile, fourth)

    def over(self, form: Covariance, shape: torch.Size, pile: Pile, fourth: Fourth) -> Masks:
        """Go over a covariance in any form; products need its columns."""
        certain = not form.width
        return Masks(
            form.mean.view(1, *shape),
            self.law,
            fill=self.fill,
            before=form,
            m4=None if certain else fourth.of,
            m4_kind="exact finite" if certain else fourth.kind,
            limit=pile.limit,
        )


@dataclass(frozen=True)
class Given(BaseStep):
    """A first part whose moments on the image are known in a form of their own."""

    form: Covariance
    kind: Kind

    @property
    def nodes(self) -> int:
        """Columns of the form."""
        return self.form.width

    def __call__(self, state: State, pile: Pile) -> State:
        """Find a factor by products alone, which takes patience."""
        if not pile.patient:
            raise TooDear
        return pile.thinned(self.form, state)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the form."""
        return self.form, state.dropped


@dataclass(frozen=True)
class Added(BaseStep):
    """Independent noise; where it has a clamp, on an image that is certain."""

    policy: GaussianNoise
    kind: Kind = "exact finite"
    nodes: int = 1
    bare: bool = True

    def __call__(self, state: State, pile: Pile) -> State:
        """Give the noise of every value a column of its own."""
        mean, variance, _ = noise_moments(state.mean, self.policy)
        own = torch.diag(variance.flatten().sqrt()).view(-1, *mean.shape)
        return pile.settle(mean, iter([(state.columns, 0.0), (own, 0.0)]), state.dropped)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the noise as a diagonal."""
        return self.over(_factored(state, pile), state.mean.shape, pile, fourth), state.dropped

    def over(self, form: Covariance, shape: torch.Size, pile: Pile, fourth: Fourth) -> Noisy:
        """Put the noise on the diagonal of a covariance in any form."""
        if not form.width:
            return Noisy(form.mean, self.policy, limit=pile.limit)
        return Noisy(form.mean, self.policy, before=form, m4=fourth.of, m4_kind=fourth.kind, limit=pile.limit)
