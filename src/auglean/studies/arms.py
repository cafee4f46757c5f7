"""The arms of a comparison: who is augmented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from auglean.condensation import SyntheticSet
from auglean.selection import SELECTORS, PerClass, Random, Selector


@dataclass(frozen=True)
class Arm:
    """One row of a comparison: who is augmented."""

    name: str
    role: str = ""
    selector: Selector | None = None
    budget: float | int | None = None
    images: SyntheticSet | None = None

    @property
    def key(self) -> str:
        """Name the arm in paths and rows."""
        return self.name if self.budget is None else f"{self.name}-{self.budget}-{self.role}"


#: The role of condensed images: they are trained on, with copies of them, and nothing else.
ALONE = "subset+subset"


def arms_of(
    selectors: Sequence[Selector],
    budgets: Sequence[float | int],
    roles: Sequence[str],
    condensed: Mapping[str, SyntheticSet] | None = None,
) -> list[Arm]:
    """List the arms: the two ends of the scale, and for each role and budget both randoms and the selectors.

    Random, drawn once and re-drawn each epoch, is always among them: a choice is worth what it adds to chance. So it is
    beside condensed images, where as many real ones from each class are drawn as well.
    """
    chosen: list[Selector] = [Random(), Random(redraw=True)]
    for selector in selectors:
        if selector not in chosen:
            chosen.append(selector)
    arms = [Arm("weak"), Arm("full")]
    for role in dict.fromkeys(roles):
        for budget in {str(budget): budget for budget in budgets}.values():  # 1 is a count and 1.0 is all of them
            arms += [Arm(_name(selector), role, selector, budget) for selector in chosen]
    for name, images in (condensed or {}).items():
        peers = [Arm(_name(each), ALONE, each, len(images)) for each in (*chosen[:2], PerClass(Random()))]
        arms += [peer for peer in peers if peer not in arms]
        arms.append(Arm(name, ALONE, None, len(images), images))
    return arms


def _name(selector: Selector) -> str:
    """Name a selector by its label, and by the options that the label does not tell."""
    if SELECTORS.get(selector.label) == selector:
        return selector.label
    options = [item for item in fields(selector) if getattr(selector, item.name) != item.default]
    told = ",".join(f"{item.name}={getattr(selector, item.name)}" for item in options)
    return f"{selector.label}({told})" if told else selector.label
