"""`Selector`: a small frozen dataclass of options that turns what a model says of each example into a `Selection`.

To add one: subclass it, set `name`, implement `choose`, and list it in `auglean.selection.SELECTORS`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.randomness import generator
from auglean.selection.budgets import count
from auglean.selection.selection import Selection
from auglean.selection.weights import gradient_error
from auglean.signals import Signals


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
        """Choose k of the examples. The hook that subclasses implement; call the selector instead."""
        raise NotImplementedError

    def __call__(self, signals: Signals | None, labels: Tensor, *, budget: float | int, seed: int = 0) -> Selection:
        """Choose, and measure the gradient error; see `auglean.select`."""
        chosen = choose(signals, labels, self, budget=budget, seed=seed)
        return chosen if signals is None else with_error(chosen, signals, chosen.weights)


def choose(
    signals: Signals | None, labels: Tensor, selector: Selector, *, budget: float | int, seed: int = 0
) -> Selection:
    """Choose as `auglean.select` does, without measuring the gradient error, which is no part of choosing."""
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
    return chosen.with_(
        cost={**chosen.cost, "seconds": time.perf_counter() - start},
        how={**chosen.how, **_told(selector), "budget": budget, "seed": seed},
    )


def _told(selector: Selector) -> dict[str, Any]:
    """Tell a selector, and those that it wraps, in plain values."""
    options = {item.name: getattr(selector, item.name) for item in fields(selector)}
    plain = {name: _told(value) if isinstance(value, Selector) else value for name, value in options.items()}
    return {"selector": selector.name, "options": plain}


def with_error(chosen: Selection, signals: Signals, weights: Tensor) -> Selection:
    """Add the gradient error that a selection has under some weights; None where it would be infinite."""
    error = gradient_error(signals.residual, chosen.indices, weights, feature=signals.feature)
    return chosen.with_(gradient_error=error if math.isfinite(error) else None)


def equal_weights(indices: Tensor, gains: Tensor, n: int) -> Selection:
    """Build the selection whose examples each stand for as many of the n."""
    weight = torch.full((len(indices),), n / len(indices), dtype=torch.float64)
    return Selection(indices=indices, weights=weight, gains=gains.double(), total=n)


def finite(values: Tensor, what: str) -> Tensor:
    """Give the values of that name back, or raise `InputError` where a model that diverged left them."""
    if not torch.isfinite(values).all():
        raise InputError(f"The {what} are not finite; train at a lower learning rate or collect anew.")
    return values
