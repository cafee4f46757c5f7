"""The arms of a budget curve: whom to augment, whether to ask again, and whether copies share the weight of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection import KDPP, Clustered, Influence, Margin, MaxLoss, Random, Selector
from auglean.selection import parse as parse_selectors
from auglean.selection.scores import Draw, Scored
from auglean.signals import Signals

Policies = Literal["plain", "refined", "paper"]
#: The paper's words for scores, and one that is ours.
SCORES = ("influence", "loss", "margin", "group-influence")
DEFAULT = ("influence-proportional", "max-loss-proportional")


@dataclass(frozen=True)
class GroupInfluence(Scored):
    """The sources that, with all their copies, move their own loss most: `auglean.signals.group_influence`.

    Not in the paper: it is ours. The gradients are those of a source and of all its copies, whether they are in the fit
    or not, so that every image is transformed before any is chosen. For heads of two classes, in budget curves only.

    Args:
        draw: How the order is made of the score, see `Scored`.
    """

    name: ClassVar[str] = "group-influence"

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        raise InputError("Signals hold no copies, whose gradients group influence sums; take it to budget_curve.")


@dataclass(frozen=True)
class CurveArm:
    """One line of a budget curve.

    Attributes:
        selector: Chooses the sources.
        update: Score anew with the present head after each budget; what was chosen stays chosen.
        downweight: A chosen source and its m copies have weight 1/(m + 1) each.
        clusters: Choose by turns from so many clusters of the features, `"budget"` for as many as are to be chosen.
    """

    selector: Selector
    update: bool = False
    downweight: bool = False
    clusters: int | str | None = None

    @property
    def name(self) -> str:
        """The selector's label, with the clusters."""
        return self.selector.label if self.clusters is None else f"{self.selector.label}-clusters-{self.clusters}"

    @property
    def label(self) -> str:
        """The name, with what is done beside selecting."""
        return self.name + "+update" * self.update + "+down-weight" * self.downweight

    @property
    def orders(self) -> bool:
        """Whether it gives one order, whose beginnings are the choices; otherwise each budget is chosen afresh."""
        return isinstance(self.selector, Random | Scored) and self.clusters != "budget"

    def selector_at(self, k: int) -> Selector:
        """Give the selector that chooses k."""
        if self.clusters is None:
            return self.selector
        return Clustered(k if self.clusters == "budget" else int(self.clusters), self.selector)

    def told(self) -> dict[str, Any]:
        """Describe the arm in plain values."""
        return {
            "name": self.label,
            "selector": self.selector.label,
            "score": self.selector.name,
            "draw": getattr(self.selector, "draw", None),
            "update": self.update,
            "downweight": self.downweight,
            "clusters": self.clusters,
        }


RANDOM = CurveArm(Random())


def arms_of(
    selectors: str | Selector | Sequence[str | Selector] | None,
    policies: Policies,
    score: str | Sequence[str],
    clusters: Sequence[int | str],
    *,
    n: int,
    C: float,
) -> list[CurveArm]:
    """List the arms; random, plain, is always the first.

    `"plain"` is each selector as it is, `"refined"` each with and without updates and down-weighting, and `"paper"`
    the paper's twelve policies of each score and the selectors, if any, as they are. Clusters add, to each selector
    that draws in proportion or at random (to each, if none does), the same within clusters. Influence and k-DPPs by
    name have the C of the head.

    Raises:
        InputError: If a name is unknown, or an arm has no meaning.
    """
    if policies not in ("plain", "refined", "paper"):
        raise unknown("group of policies", policies, ["plain", "refined", "paper"])
    words = [score] if isinstance(score, str) else list(score)
    if policies != "paper" and words != ["influence"]:
        raise InputError(
            f"The score {', '.join(words)} was given, which is for the policies 'paper', not {policies!r}; "
            "leave it out, or name selectors in its place."
        )
    if selectors is None or not (isinstance(selectors, Selector) or len(selectors)):
        selectors = () if policies == "paper" else DEFAULT
    given = [
        replace(named, C=C) if isinstance(entry, str) and isinstance(named, Influence | KDPP) else named
        for entry in _entries(selectors)
        for named in parse_selectors([entry])
    ]
    arms = [RANDOM]
    if policies == "paper":
        for word in words:
            arms += paper_arms(word, C)
    for selector in given:
        refinements = ((False, False), (True, False), (False, True), (True, True))
        for update, downweight in refinements if policies == "refined" else refinements[:1]:
            arms.append(CurveArm(selector, update, downweight))
    plain = [arm for arm in arms if arm.orders and not arm.update and not arm.downweight]
    drawn = [arm for arm in plain if isinstance(arm.selector, Random) or getattr(arm.selector, "draw", "") != "top"]
    for number in clusters:
        if number != "budget" and not (isinstance(number, int) and 1 <= number <= n):
            raise InputError(f"Clusters were given as {number!r}; give numbers from 1 to {n}, or 'budget'.")
        arms += [replace(arm, clusters=number) for arm in drawn or plain]
    arms = list(dict.fromkeys(arms))
    for arm in arms:
        if arm.selector.needs_steps:
            raise InputError(
                f"{arm.name} is recorded while a network learns the images, which a budget curve does not let it do; "
                "take another selector."
            )
        if arm.update and not arm.orders:
            raise InputError(
                f"{arm.name} chooses each budget afresh, so it cannot be updated; leave the update out, or take a "
                "selector that orders by a score."
            )
    return arms


def names_of(selectors: str | Selector | Sequence[str | Selector]) -> list[str]:
    """Name selectors as they were given."""
    return [entry if isinstance(entry, str) else entry.label for entry in _entries(selectors)]


def _entries(selectors: str | Selector | Sequence[str | Selector]) -> list[str | Selector]:
    if isinstance(selectors, Selector):
        return [selectors]
    return [entry.strip() for entry in selectors.split(",")] if isinstance(selectors, str) else list(selectors)


def paper_arms(score: str, C: float = 1.0) -> list[CurveArm]:
    """List the twelve policies of the paper for a score, of which the first is random.

    The paper ranks margins by |f(x)|, so that its proportional policies take what is far from the boundary first, while
    our `Margin` takes what is near: the draws change places.

    Raises:
        InputError: If there is no such score.
    """
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    draws: tuple[Draw, ...] = ("top", "proportional", "bottom", "inverse")
    if score == "margin":
        draws = ("bottom", "inverse", "top", "proportional")
    makers: dict[str, Callable[..., Selector]] = {
        "influence": partial(Influence, C=C),
        "loss": MaxLoss,
        "margin": partial(Margin, of="svm"),
        "group-influence": GroupInfluence,
    }
    top, drawn, bottom, inverse = (makers[score](draw=draw) for draw in draws)
    return [
        RANDOM,
        CurveArm(drawn),
        CurveArm(drawn, downweight=True),
        CurveArm(drawn, update=True),
        CurveArm(drawn, update=True, downweight=True),
        CurveArm(inverse),
        CurveArm(top),
        CurveArm(top, update=True),
        CurveArm(top, downweight=True),
        CurveArm(top, update=True, downweight=True),
        CurveArm(bottom),
        CurveArm(bottom, update=True),
    ]
