"""The selectors by name, and `select`, which takes either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.composition import PerClass
from auglean.selection.coreset import Coreset
from auglean.selection.determinantal import KDPP
from auglean.selection.geometry import Herding, KCenter
from auglean.selection.matching import GradientMatching
from auglean.selection.sampling import CCS, InfoBatch
from auglean.selection.scores import DRAWS, EL2N, Forgetting, GraNd, Influence, Margin, MaxLoss, Random, Scored, TracIn
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector
from auglean.selection.support import SupportVectors
from auglean.selection.variance import Variance
from auglean.signals import Signals

SELECTORS: dict[str, Selector] = {
    selector.label: selector
    for selector in (
        Random(),
        Random(redraw=True),
        PerClass(Random()),
        MaxLoss(),
        MaxLoss(draw="proportional"),
        MaxLoss(draw="inverse"),
        PerClass(MaxLoss()),
        EL2N(),
        EL2N(draw="proportional"),
        GraNd(),
        GraNd(draw="proportional"),
        Influence(),
        Influence(draw="proportional"),
        Influence(draw="inverse"),
        Margin(),
        Margin(draw="proportional"),
        Margin(draw="inverse"),
        Margin(of="svm"),
        Forgetting(),
        TracIn(),
        Variance(),
        Variance(draw="proportional"),
        Variance(by="gradient"),
        CCS(),
        InfoBatch(),
        Herding(),
        KCenter(),
        GradientMatching(),
        GradientMatching(per="batch"),
        Coreset(),
        Coreset(proxy="last-layer"),
        KDPP(),
        KDPP(quality="influence"),
        KDPP(quality="loss"),
        KDPP(method="greedy"),
        SupportVectors(),
    )
}
"""The selectors by the name that the command line takes; a score's name and a draw is a name, too: `el2n-inverse`."""


def parse(names: str | Selector | Sequence[str | Selector]) -> list[Selector]:
    """Turn names, comma-separated or in a list, into selectors.

    Beside the names of `SELECTORS`, each that orders by a score takes a draw: `el2n-inverse`, `margin-svm-bottom`.

    Raises:
        InputError: If a name is unknown; the nearest ones are offered.

    >>> parse("max-loss,random-each-epoch")
    [MaxLoss(draw='top'), Random(redraw=True)]
    """
    if isinstance(names, Selector):
        return [names]
    if isinstance(names, type):
        raise InputError(f"The selector is the class {names.__name__}; give one of its objects, {names.__name__}().")
    entries: list[Any] = names.split(",") if isinstance(names, str) else list(names)
    chosen = []
    for entry in entries:
        chosen.append(entry if isinstance(entry, Selector) else _named(str(entry).strip()))
    return chosen


def _named(name: str) -> Selector:
    if name in SELECTORS:
        return SELECTORS[name]
    score, _, draw = name.rpartition("-")
    base = SELECTORS.get(score)
    if isinstance(base, Scored) and base.draw == "top" and draw in DRAWS[1:]:
        return replace(base, draw=draw)  # type: ignore[arg-type]  # one of them
    raise unknown("selector", name, SELECTORS)


def select(
    signals: Signals | None,
    labels: Tensor | Sequence[int],
    selector: Selector | str,
    *,
    budget: float | int,
    seed: int = 0,
) -> Selection:
    """Choose the examples worth augmenting.

    Args:
        signals: What the model says of each of the n examples (`auglean.collect`); None for selectors that do
            not ask.
        labels: Class numbers, shape `(n,)`: anything that `torch.as_tensor` takes.
        selector: Such as `auglean.Coreset()`, or a name.
        budget: A fraction in (0, 1] as a float, or a count as an int.
        seed: Fixes what is drawn at random.

    Returns:
        The selection, with its seconds and its gradient error.

    Raises:
        InputError: If the budget is out of range, the labels are not class numbers, the signals are missing or
            not finite, or the lengths differ.

    >>> import torch
    >>> select(None, torch.tensor([0, 0, 1, 1]), Random(), budget=0.5).indices.shape
    torch.Size([2])
    """
    return parse(selector)[0](signals, labels, budget=budget, seed=seed)
