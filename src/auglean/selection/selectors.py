"""`Selector`: a small frozen dataclass of options that turns what a model says of each example into a `Selection`.

To add one: subclass it, set `name`, implement `choose`, and list it in `auglean.selection.SELECTORS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.randomness import generator
from auglean.selection.budgets import count, plain
from auglean.selection.selection import Selection
from auglean.selection.weights import gradient_error
from auglean.signals import Signals


@dataclass(frozen=True)
class Selector:
    """Base of all selectors: options in, `Selection` out.

    Attributes:
        name: How results and the command line call it.
        needs_signals: Whether it asks a model; the others cost no forward pass.
        needs_policy: Whether it asks what the policy does to each loss; that takes a forward pass for each draw.
        needs_steps: Whether it asks what only the steps of training record, as `auglean.signals.Recorder` does.
        each_epoch: Whether it chooses anew at every epoch.
        first_order: Whether it asks what the policy does to each loss to first order, in place of by draws.
    """

    name: ClassVar[str] = ""
    needs_signals: ClassVar[bool] = True
    needs_policy: ClassVar[bool] = False
    needs_steps: ClassVar[bool] = False

    @property
    def each_epoch(self) -> bool:
        """Whether it chooses anew at every epoch, whatever the interval of re-selection."""
        return False

    @property
    def first_order(self) -> bool:
        """Whether what the policy does to each loss is asked to first order, by a pass back for each example."""
        return False

    @property
    def label(self) -> str:
        """The name that tells this selector's options apart in a table."""
        return self.name

    @property
    def stream(self) -> str:
        """What its random numbers are derived from, beside the seed."""
        return self.name

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Choose k of the examples. The hook that subclasses implement; call the selector instead."""
        raise NotImplementedError

    def __call__(
        self, signals: Signals | None, labels: Tensor | Sequence[int], *, budget: float | int, seed: int = 0
    ) -> Selection:
        """Choose, and measure the gradient error; see `auglean.select`."""
        chosen = choose(signals, labels, self, budget=budget, seed=seed)
        return chosen if signals is None else with_error(chosen, signals, chosen.weights)


def choose(
    signals: Signals | None,
    labels: Tensor | Sequence[int],
    selector: Selector,
    *,
    budget: float | int,
    seed: int = 0,
) -> Selection:
    """Choose as `auglean.select` does, without measuring the gradient error, which is no part of choosing."""
    start = time.perf_counter()
    labels = _class_numbers(labels)
    k = count(budget, len(labels))
    if signals is None and selector.needs_signals:
        raise InputError(f"The selector {selector.name!r} needs signals of a model; pass what auglean.collect gives.")
    if signals is not None and len(signals.loss) != len(labels):
        raise InputError(f"Signals of {len(signals.loss)} examples do not fit {len(labels)} labels; collect them anew.")
    chosen = selector.choose(signals, labels, k, generator(seed, "select", selector.stream))
    return chosen.with_(
        cost={**chosen.cost, "seconds": time.perf_counter() - start},
        how={**chosen.how, **_told(selector), "budget": plain(budget), "seed": seed},
    )


def _class_numbers(labels: Any) -> Tensor:
    """Give labels as int64 on the processor, if they are class numbers."""
    try:
        found = torch.as_tensor(labels).cpu()
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"Labels must be class numbers 0, 1, … in one dimension; got no tensor ({str(error).splitlines()[0]})."
        ) from error
    if not found.numel():
        raise InputError("There are no examples to choose from; give at least one label.")
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    numbers = found.long() if whole else found
    if numbers.ndim != 1 or not whole or int(numbers.min()) < 0:
        least = f" from {numbers.min()}" if whole else ""
        raise InputError(
            f"Labels must be class numbers 0, 1, … in one dimension; got {found.dtype} of shape "
            f"{tuple(found.shape)}{least}."
        )
    return numbers


def _told(selector: Selector) -> dict[str, Any]:
    """Tell a selector, and those that it wraps, in plain values."""
    options = {item.name: getattr(selector, item.name) for item in fields(selector)}
    told = {name: _told(value) if isinstance(value, Selector) else value for name, value in options.items()}
    return {"selector": selector.name, "options": told}


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


def features(signals: Signals) -> Tensor:
    """Give the features, or raise `InputError` where the signals were collected without or they are not finite."""
    if not signals.feature.shape[1]:
        raise InputError("The signals hold no features; collect them with features.")
    return finite(signals.feature, "features")
