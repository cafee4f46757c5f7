"""Parts of a chain that are made of parts: one after another, along two axes, or one of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from auglean.moments.covariances import Covariance
from auglean.moments.drifted import Drifted
from auglean.moments.forms import Mixed
from auglean.moments.piles import Fourth, Pile, State
from auglean.moments.rules import Kind, worst
from auglean.moments.steps import AlongAxis, BaseStep, Erased, Given, Step

#: How many times as long as making it a column takes to be moved in mass form.
_MOVING = 4


@dataclass(frozen=True)
class _OfSteps(BaseStep):
    """Something made of parts."""

    steps: list[Step]

    @property
    def kind(self) -> Kind:
        """The least sure of the parts."""
        return worst([step.kind for step in self.steps])

    @property
    def nodes(self) -> int:
        """Of all parts together."""
        return sum(step.nodes for step in self.steps)


@dataclass(frozen=True)
class Sequence(_OfSteps):
    """Parts one after another."""

    def growth(self, *, last: bool) -> int:
        """What the parts make of a column, one after another."""
        return self._behind(-1, last=last)

    def _behind(self, i: int, *, last: bool) -> int:
        end = len(self.steps) - 1
        final = self._bare() - 1 if last else end + 1
        return prod(self.steps[j].growth(last=j >= final) for j in range(i + 1, end + 1))

    def __call__(self, state: State, pile: Pile) -> State:
        """Go through the parts."""
        for i, step in enumerate(self.steps):
            state = step(state, self._portion(pile, i, last=False))
        return state

    def _portion(self, pile: Pile, i: int, *, last: bool) -> Pile:
        """Portion of the share for a part, and what those behind it make of a column."""
        growth = pile.growth * self._behind(i, last=last)
        return replace(pile, share=pile.share / len(self.steps), growth=growth)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Go through the parts; the last ones may have forms of their own."""
        bare = self._bare()
        for i, step in enumerate(self.steps[: bare - 1]):
            state = step(state, self._portion(pile, i, last=True))
        form, dropped = self.steps[bare - 1].last(state, self._portion(pile, bare - 1, last=True), fourth)
        for step in self.steps[bare:]:
            form = step.over(form, state.mean.shape, pile, fourth)
        return form, dropped

    def _bare(self) -> int:
        """The first of the parts at the end that need no columns, as those behind a first part of a form of its own."""
        end = len(self.steps)
        erased = isinstance(self.steps[-1], Erased)
        i = end - erased
        while i > 1 and self.steps[i - 1].bare:
            i -= 1
        return end if erased and not (i == 1 and isinstance(self.steps[0], Given)) else i


@dataclass(frozen=True)
class Moved(BaseStep):
    """A displacement along two independent axes: one after the other, or in a form of its own where it comes last."""

    down: AlongAxis
    across: AlongAxis

    @property
    def kind(self) -> Kind:
        """That of both."""
        return self.down.kind

    @property
    def nodes(self) -> int:
        """Shifts along both axes."""
        return self.down.nodes + self.across.nodes

    def growth(self, *, last: bool) -> int:
        """None where it comes last, though columns take some time to move."""
        return _MOVING if last else self.down.nodes * self.across.nodes

    def __call__(self, state: State, pile: Pile) -> State:
        """Go along the axes one after the other."""
        return Sequence([self.down, self.across])(state, pile)

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the law beside the factor."""
        pile.check(_MOVING * (1 + len(state.columns)) * state.mean.numel())
        form = Drifted(
            state.mean,
            state.columns,
            down=self.down.hats,
            across=self.across.hats,
            padding=self.down.padding,
            fill=self.down.fill,
            m4=fourth.of,
            m4_kind=fourth.kind,
            limit=pile.limit,
        )
        return form, state.dropped


@dataclass(frozen=True)
class Branches(_OfSteps):
    """One of several parts: `C = Σ π_i (C_i + (μ_i − μ)(μ_i − μ)ᵀ)`."""

    weights: list[float]

    def growth(self, *, last: bool) -> int:
        """Those of all branches."""
        return sum(step.growth(last=last) for step in self.steps)

    def __call__(self, state: State, pile: Pile) -> State:
        """Go through every branch, and join them."""
        found = [step(state, pile) for step in self.steps]
        mean = sum((w * one.mean for w, one in zip(self.weights, found, strict=True)), torch.zeros_like(state.mean))

        def parts() -> Iterator[tuple[Tensor, float]]:
            for w, one in zip(self.weights, found, strict=True):
                yield w**0.5 * torch.cat([one.columns, (one.mean - mean)[None]]), 0.0

        return pile.settle(mean, parts(), max(one.dropped for one in found))

    def last(self, state: State, pile: Pile, fourth: Fourth) -> tuple[Covariance, float]:
        """Keep the forms of the branches."""
        found = [step.last(state, pile, fourth) for step in self.steps]
        forms = [form for form, _ in found]
        joined = Mixed(forms, self.weights, m4=fourth.of, m4_kind=fourth.kind, limit=pile.limit)
        return joined, max(dropped for _, dropped in found)
