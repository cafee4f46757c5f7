"""Scaling by composition: a selector applied part by part, and the picks of the parts merged into one selection.

`map_reduce` is the one way of doing so. Selectors that work class by class call it; `PerClass` and `InBlocks` wrap it
around any other. Under `torchrun` the parts are shared among the processes, see `auglean.processes.shared_map`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.processes import shared_map
from auglean.selection.budgets import Allocation, allocate, members
from auglean.selection.scores import MaxLoss, Scored, scores
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector
from auglean.signals import Signals

ChoosePart = Callable[[Tensor, int, torch.Generator], Selection]
"""Takes the examples of a part `(m,)`, its share and a generator; gives a selection numbered 0 … m − 1."""


def map_reduce(
    parts: Sequence[Tensor], shares: Sequence[int], choose_part: ChoosePart, *, total: int, g: torch.Generator
) -> Selection:
    """Choose in each part by itself, and merge the picks by gain.

    Each part has a generator of its own, derived from `g`, so that the result does not depend on which process
    runs it.

    Args:
        parts: Disjoint sets of examples, each of shape `(m,)`, int64.
        shares: Examples to choose from each part; a part with a share of 0 is left out.
        choose_part: Chooses in one part.
        total: Number of examples in all, n.
        g: Source of the parts' generators.

    Returns:
        The picks in descending order of gain, those of each part in their own order. Weights carry over, so the
        mass of a part that was left out is missing; so does the assignment, −1 for the examples of such a part.
        The objective is the sum, the bytes are those of the largest part. `how["left_out"]` is the number of examples
        with nobody to stand for them, where there are any.

    >>> def first(rows, share, g):
    ...     weights = torch.full((share,), len(rows) / share)
    ...     return Selection(torch.arange(share), weights, torch.zeros(share), total=len(rows))
    >>> parts = [torch.tensor([0, 2, 3]), torch.tensor([1, 4])]
    >>> chosen = map_reduce(parts, [2, 1], first, total=5, g=torch.Generator())
    >>> chosen.indices.tolist(), chosen.weights.tolist()
    ([0, 2, 1], [1.5, 1.5, 2.0])
    """
    seeds = torch.randint(2**62, (len(parts),), generator=g).tolist()
    jobs = [job for job in zip(parts, shares, seeds, strict=True) if job[1]]
    found = shared_map(
        lambda job: choose_part(job[0], job[1], torch.Generator().manual_seed(job[2])),
        jobs,
        sizes=[len(rows) * share for rows, share, _ in jobs],
    )
    rows_of = [rows for rows, _, _ in jobs]
    left_out = sum(len(rows) for rows, share in zip(parts, shares, strict=True) if not share)
    # a pick waits for those before it in its part, so that a part keeps its order even where gains rise
    order = torch.argsort(torch.cat([part.gains.cummin(0).values for part in found]), descending=True, stable=True)
    return Selection(
        indices=torch.cat([rows[part.indices] for rows, part in zip(rows_of, found, strict=True)])[order],
        weights=torch.cat([part.weights for part in found])[order],
        gains=torch.cat([part.gains for part in found])[order],
        total=total,
        cost={"bytes": max(part.cost["bytes"] for part in found)} if all("bytes" in p.cost for p in found) else {},
        how=_merge_how([part.how for part in found], left_out),
        assignment=_merge_assignments(rows_of, found, order, total),
    )


def _merge_how(hows: Sequence[Any], left_out: int) -> dict[str, Any]:
    """Name each solver and guarantee once, add up the objectives where all parts tell them, and those left out."""
    told: dict[str, Any] = {}
    for name in ("solver", "guarantee"):
        if all(name in how for how in hows):
            told[name] = "; ".join(dict.fromkeys(how[name] for how in hows))
    if all("objective" in how for how in hows):
        told["objective"] = math.fsum(how["objective"] for how in hows)
    left_out += sum(how.get("left_out", 0) for how in hows)  # by a composition within this one
    return {**told, "left_out": left_out} if left_out else told


def _merge_assignments(
    rows_of: Sequence[Tensor], found: Sequence[Selection], order: Tensor, total: int
) -> Tensor | None:
    """Renumber who stands for whom to positions in the merged order."""
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    assignment = torch.full((total,), -1)
    offset = 0
    for rows, part in zip(rows_of, found, strict=True):
        if part.assignment is None:
            return None
        assigned = part.assignment >= 0
        assignment[rows[assigned]] = position[part.assignment[assigned] + offset]
        offset += len(part)
    return assignment


class Composed(Selector):
    """Base of the wrappers, which are dataclasses: another selector, `inner`, asked part by part."""

    inner: Selector

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Selector):
            raise InputError(
                f"{type(self).__name__} was given {self.inner!r} as its selector; give an object such as "
                "auglean.selection.Random(), not a name."
            )

    @property
    def needs_signals(self) -> bool:  # type: ignore[override]  # what others say of their class, this one has to ask
        """Whether the inner selector asks a model."""
        return self.inner.needs_signals

    @property
    def needs_policy(self) -> bool:  # type: ignore[override]
        """Whether the inner selector asks what the policy does."""
        return self.inner.needs_policy

    @property
    def first_order(self) -> bool:
        """Whether the inner selector asks it to first order."""
        return self.inner.first_order

    @property
    def needs_steps(self) -> bool:  # type: ignore[override]
        """Whether the inner selector asks what only the steps of training record."""
        return self.inner.needs_steps

    @property
    def each_epoch(self) -> bool:
        """Whether the inner selector chooses anew at every epoch."""
        return self.inner.each_epoch

    @property
    def label(self) -> str:
        """The label of the inner selector and the name of this one."""
        return f"{self.inner.label}-{self.name}"

    def choose_in(
        self,
        parts: Sequence[Tensor],
        shares: Sequence[int],
        signals: Signals | None,
        labels: Tensor,
        g: torch.Generator,
    ) -> Selection:
        """Ask the inner selector for its share of each part, see `map_reduce`; scores are those in the whole."""
        inner = self.inner
        if isinstance(inner, Scored) and signals is not None:
            score = scores(inner, signals, labels).to(signals.loss.device)
            inner, signals = MaxLoss(draw=inner.draw), replace(signals, loss=score)

        def choose_part(rows: Tensor, share: int, own: torch.Generator) -> Selection:
            return inner.choose(None if signals is None else signals[rows], labels[rows], share, own)

        return map_reduce(parts, shares, choose_part, total=len(labels), g=g)


@dataclass(frozen=True)
class PerClass(Composed):
    """Any selector, asked class by class, with the budget shared among the classes.

    A class that a budget smaller than the number of classes leaves out has nobody to stand for it: its mass is
    missing from the weights, and `how["left_out"]` counts its examples.

    Args:
        inner: The selector.
        allocation: How the budget is shared, see `allocate`.

    >>> from auglean.selection import Random
    >>> chosen = PerClass(Random(), allocation="equal")(None, torch.tensor([0, 0, 0, 0, 1, 1]), budget=2)
    >>> chosen.weights.tolist()
    [4.0, 2.0]
    """

    inner: Selector
    allocation: Allocation = "proportional"
    name: ClassVar[str] = "per-class"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Ask the inner selector in each class."""
        classes = members(labels)
        return self.choose_in(classes, allocate(k, [len(c) for c in classes], self.allocation), signals, labels, g)


@dataclass(frozen=True)
class InBlocks(Composed):
    """Any selector, asked in random blocks of the data: time and memory of the blocks in place of the whole.

    Partition at random, choose in each block: the first round of GreeDi (Mirzasoleiman et al. 2013).

    Args:
        inner: The selector.
        size: Examples in a block, about.

    >>> from auglean.selection import Random
    >>> len(InBlocks(Random(), size=10)(None, torch.zeros(95, dtype=torch.int64), budget=20))
    20
    """

    inner: Selector
    size: int = 5000
    name: ClassVar[str] = "in-blocks"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Ask the inner selector in each block."""
        if self.size < 1:
            raise InputError(f"The size of a block is {self.size}; give 1 or more examples.")
        n = len(labels)
        blocks = min(math.ceil(n / self.size), k)  # so that each has a share
        shuffled = torch.randperm(n, generator=g)
        # ascending, so that ties go to the lowest index as they do in the whole
        parts = [block.sort().values for block in shuffled.tensor_split(blocks)]
        return self.choose_in(parts, allocate(k, [len(part) for part in parts]), signals, labels, g)
