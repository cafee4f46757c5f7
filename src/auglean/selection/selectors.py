"""Selectors: small frozen dataclasses of options that turn what a model says of each example into a `Selection`.

To add one: subclass `Selector`, set `name`, implement `choose`, and list it in `SELECTORS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.randomness import generator
from auglean.selection.budgets import Allocation, allocate, count, members
from auglean.selection.facility_location import Solver, facility_location, pairwise, pairwise_outer
from auglean.selection.selection import Selection
from auglean.selection.weights import gradient_error
from auglean.signals import Signals

Draw = Literal["top", "proportional", "inverse"]


@dataclass(frozen=True)
class Selector:
    """Base of all selectors: options in, `Selection` out.

    Attributes:
        name: How results and the command line call it.
        needs_signals: Whether it asks a model; the others cost no forward pass.
        each_epoch: Whether it chooses anew at every epoch.
    """

    name: ClassVar[str] = ""
    needs_signals: ClassVar[bool] = True

    @property
    def each_epoch(self) -> bool:
        """Whether it chooses anew at every epoch, whatever the interval of re-selection."""
        return False

    @property
    def label(self) -> str:
        """The name that tells this selector's options apart in a table."""
        return self.name

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Choose k of the examples. The hook that subclasses implement; call `select` instead."""
        raise NotImplementedError

    def __call__(self, signals: Signals | None, labels: Tensor, *, budget: float | int, seed: int = 0) -> Selection:
        """Call `select(signals, labels, self, budget=…, seed=…)`."""
        return select(signals, labels, self, budget=budget, seed=seed)


def select(
    signals: Signals | None, labels: Tensor, selector: Selector | str, *, budget: float | int, seed: int = 0
) -> Selection:
    """Choose the examples worth augmenting.

    Args:
        signals: What the model says of each of the n examples (`auglean.collect`); None for selectors that do
            not ask.
        labels: Shape `(n,)`, int64.
        selector: Such as `auglean.Coreset()`, or a name.
        budget: A fraction in (0, 1] as a float, or a count as an int.
        seed: Fixes what is drawn at random.

    Returns:
        The selection, with its seconds and its gradient error.

    Raises:
        InputError: If the budget is out of range, the labels are not class numbers, the signals are missing or
            not finite, or the lengths differ.

    >>> select(None, torch.tensor([0, 0, 1, 1]), Random(), budget=0.5).indices.shape
    torch.Size([2])
    """
    chosen = choose(signals, labels, parse(selector)[0], budget=budget, seed=seed)
    return chosen if signals is None else with_error(chosen, signals, chosen.weights)


def choose(
    signals: Signals | None, labels: Tensor, selector: Selector, *, budget: float | int, seed: int = 0
) -> Selection:
    """Choose as `select` does, without measuring the gradient error, which is no part of choosing."""
    start = time.perf_counter()
    labels = labels.cpu()
    if not labels.numel():
        raise InputError("There are no examples to choose from; give at least one label.")
    if labels.ndim != 1 or labels.is_floating_point() or int(labels.min()) < 0:
        raise InputError(
            f"Labels must be class numbers 0, 1, … in one dimension; got {labels.dtype} of shape "
            f"{tuple(labels.shape)} from {labels.min().item()}."
        )
    k = count(budget, len(labels))
    if signals is None and selector.needs_signals:
        raise InputError(f"The selector {selector.name!r} needs signals of a model; pass what auglean.collect gives.")
    if signals is not None and len(signals.loss) != len(labels):
        raise InputError(f"Signals of {len(signals.loss)} examples do not fit {len(labels)} labels; collect them anew.")
    chosen = selector.choose(signals, labels, k, generator(seed, "select", selector.name))
    options = asdict(selector)
    return chosen.with_(
        cost={**chosen.cost, "seconds": time.perf_counter() - start},
        how={**chosen.how, "selector": selector.name, "options": options, "budget": budget, "seed": seed},
    )


def with_error(chosen: Selection, signals: Signals, weights: Tensor) -> Selection:
    """Add the gradient error that a selection has under some weights; None where it would be infinite."""
    error = gradient_error(signals.residual, chosen.indices, weights, feature=signals.feature)
    return chosen.with_(gradient_error=error if math.isfinite(error) else None)


def _equal_weights(indices: Tensor, gains: Tensor, n: int) -> Selection:
    weight = torch.full((len(indices),), n / len(indices), dtype=torch.float64)
    return Selection(indices=indices, weights=weight, gains=gains.double(), total=n)


@dataclass(frozen=True)
class Random(Selector):
    """Uniform without replacement: the baseline that every comparison holds.

    Args:
        redraw: Draw anew each epoch, which beats most pruning methods at no cost (Okanovic et al. 2023, RS2).
        per_class: Share the budget among classes in proportion.
    """

    redraw: bool = False
    per_class: bool = False
    name: ClassVar[str] = "random"
    needs_signals: ClassVar[bool] = False

    @property
    def each_epoch(self) -> bool:
        """Whether it is drawn anew each epoch."""
        return self.redraw

    @property
    def label(self) -> str:
        """`random` or `random-each-epoch`."""
        return "random-each-epoch" if self.redraw else "random"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Draw k examples."""
        score = torch.rand(len(labels), generator=g, dtype=torch.float64)
        return _by_score(score, labels, k, "top", g, self.per_class).with_(gains=torch.zeros(k, dtype=torch.float64))


@dataclass(frozen=True)
class MaxLoss(Selector):
    """The examples of highest cross-entropy (Kuchnik & Smith 2019).

    Args:
        draw: `"top"`; `"proportional"` to the loss, without replacement; or `"inverse"`, to its inverse.
        per_class: Share the budget among classes in proportion; the published policy does not.
    """

    draw: Draw = "top"
    per_class: bool = False
    name: ClassVar[str] = "max-loss"

    @property
    def label(self) -> str:
        """`max-loss`, with the draw where it is not the top."""
        return self.name if self.draw == "top" else f"{self.name}-{self.draw}"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Order by loss; ties go to the lowest index."""
        assert signals is not None
        return _by_score(signals.loss.cpu(), labels, k, self.draw, g, self.per_class)


@dataclass(frozen=True)
class Coreset(Selector):
    """Medoids of the per-example gradients, class by class (CRAIG 2020; Liu & Mirzasoleiman 2022).

    The weighted gradient sum of the medoids is off by at most `L(S) = Σ_i min_{j∈S} ‖g_i − g_j‖`, and each
    medoid's weight is the number of examples that it is nearest to. Seconds grow with the square of the
    largest class.

    Args:
        proxy: What stands for the gradient: `"residual"` (of the logits) or `"last-layer"` (residual ⊗ (feature,
            1), of the last layer's weights and bias, in factor form).
        allocation: How the budget is shared among classes.
        solver: See `facility_location`.
    """

    proxy: Literal["residual", "last-layer"] = "residual"
    allocation: Allocation = "proportional"
    solver: Solver = "auto"
    name: ClassVar[str] = "coreset"

    @property
    def label(self) -> str:
        """`coreset` or `coreset-last-layer`."""
        return self.name if self.proxy == "residual" else f"{self.name}-{self.proxy}"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Run greedy facility location in each class and merge the picks by gain."""
        assert signals is not None
        classes = members(labels)
        parts = []
        for rows, share in zip(classes, allocate(k, [len(c) for c in classes], self.allocation), strict=True):
            if share:
                part = facility_location(None, share, distances=self._distances(signals, rows), solver=self.solver)
                parts.append((rows, part))
        indices = torch.cat([rows[part.indices] for rows, part in parts])
        gains = torch.cat([part.gains for _, part in parts])
        order = torch.argsort(gains, descending=True, stable=True)  # within a class gains never increase
        position = torch.empty_like(order)
        position[order] = torch.arange(len(order))
        # a class without a share has nobody to stand for it: −1, and its mass is missing from the weights
        assignment = torch.full((len(labels),), -1)
        offset = 0
        for rows, part in parts:
            assert part.assignment is not None
            assignment[rows] = position[part.assignment + offset]
            offset += len(part)
        weights = torch.cat([part.weights for _, part in parts])[order]
        return Selection(
            indices=indices[order],
            weights=weights,
            gains=gains[order],
            total=len(labels),
            cost={"bytes": max(part.cost["bytes"] for _, part in parts)},
            how={
                "solver": parts[0][1].how["solver"],
                "guarantee": parts[0][1].how["guarantee"],
                "objective": sum(part.how["objective"] for _, part in parts),
            },
            assignment=assignment,
        )

    def _distances(self, signals: Signals, rows: Tensor) -> Tensor:
        residual = signals.residual[rows]
        if not torch.isfinite(residual).all():
            raise InputError("The model's residuals are not finite; train at a lower learning rate or collect anew.")
        if self.proxy == "residual":
            return pairwise(residual)
        if self.proxy == "last-layer":
            feature = signals.feature[rows]
            return pairwise_outer(residual, torch.cat([feature, feature.new_ones(len(feature), 1)], 1))
        raise unknown("proxy", self.proxy, ["residual", "last-layer"])


def _by_score(score: Tensor, labels: Tensor, k: int, draw: Draw, g: torch.Generator, per_class: bool) -> Selection:
    """Choose by a score, higher first, in the whole set or class by class."""
    if not torch.isfinite(score).all():
        raise InputError("The scores are not finite; train at a lower learning rate or collect anew.")
    key = _ranking_key(score.double(), draw, g)
    if per_class:
        classes = members(labels)
        shares = allocate(k, [len(rows) for rows in classes])
        picks = [rows[_top(key[rows], share)] for rows, share in zip(classes, shares, strict=True)]
        indices = torch.cat(picks)
        indices = indices[_top(key[indices], k)]
    else:
        indices = _top(key, k)
    return _equal_weights(indices, score[indices], len(score))


def _top(key: Tensor, k: int) -> Tensor:
    return torch.argsort(key, descending=True, stable=True)[:k]


def _ranking_key(score: Tensor, draw: Draw, g: torch.Generator) -> Tensor:
    """Give the numbers whose descending order is the draw.

    `log p + Gumbel noise` orders as sequential sampling in proportion to p without replacement (Yellott 1977),
    so a larger budget continues a smaller one. Zeros come last under `proportional`, first under `inverse`.
    """
    if draw == "top":
        return score
    if draw not in ("proportional", "inverse"):
        raise unknown("draw", draw, ["top", "proportional", "inverse"])
    # beyond the logarithm of any positive number by more than the noise can bridge
    logs = torch.where(score > 0, score.log(), -2000.0)
    uniform = torch.rand(score.shape, generator=g, dtype=torch.float64).clamp_(min=1e-300)
    return (logs if draw == "proportional" else -logs) - torch.log(-torch.log(uniform))


SELECTORS: dict[str, Selector] = {
    selector.label: selector
    for selector in (
        Random(),
        Random(redraw=True),
        MaxLoss(),
        MaxLoss(draw="proportional"),
        MaxLoss(draw="inverse"),
        Coreset(),
        Coreset(proxy="last-layer"),
    )
}
"""Every selector by the name that the command line takes."""


def parse(names: str | Selector | Sequence[str | Selector]) -> list[Selector]:
    """Turn names, comma-separated or in a list, into selectors.

    Raises:
        InputError: If a name is unknown; the nearest ones are offered.

    >>> parse("coreset,random-each-epoch")
    [Coreset(proxy='residual', allocation='proportional', solver='auto'), Random(redraw=True, per_class=False)]
    """
    if isinstance(names, Selector):
        return [names]
    if isinstance(names, type):
        raise InputError(f"The selector is the class {names.__name__}; give one of its objects, {names.__name__}().")
    entries: list[Any] = names.split(",") if isinstance(names, str) else list(names)
    chosen = []
    for entry in entries:
        if not isinstance(entry, Selector) and str(entry).strip() not in SELECTORS:
            raise unknown("selector", str(entry).strip(), SELECTORS)
        chosen.append(entry if isinstance(entry, Selector) else SELECTORS[str(entry).strip()])
    return chosen
