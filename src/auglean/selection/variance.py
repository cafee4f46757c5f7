"""A selector that asks what the policy does: those whose loss it disturbs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.scores import Scored, recorded
from auglean.selection.selection import Selection
from auglean.signals import Signals


@dataclass(frozen=True)
class Variance(Scored):
    """The examples whose loss the policy disturbs most: of largest standard deviation of the loss over its draws.

    Where an image's loss hardly moves, one copy of it says what all would say. `by="loss"` estimates it from draws, at
    any strength: `auglean.collect(model, data, policy=policy)` gives signals that hold it. `by="gradient"` takes
    `√(gᵀ C g)`, g the gradient of the loss at the image and C the covariance of its copies (Balestriero, Misra & LeCun
    2022), for weak policies: `auglean.moments.first_order_signals` gives signals that hold it, and refuses where it is
    off by more than a fifth. By how much it is off stands in `how["gap"]` of the selection.

    Args:
        draw: How the order is made of the score, see `Scored`.
        by: `"loss"` or `"gradient"`.

    >>> import torch
    >>> labels = torch.tensor([0, 1])
    >>> signals = Signals(torch.ones(2), torch.ones(2), torch.zeros(2, 2), torch.zeros(2, 1), labels,
    ...                   loss_sd=torch.tensor([0.1, 0.7]))
    >>> Variance()(signals, labels, budget=1).indices.tolist()
    [1]
    """

    by: Literal["loss", "gradient"] = "loss"
    name: ClassVar[str] = "variance"
    needs_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.by not in ("loss", "gradient"):
            raise unknown("deviation", self.by, ["loss", "gradient"])

    @property
    def first_order(self) -> bool:
        """Whether deviations to first order are asked for."""
        return self.by == "gradient"

    @property
    def label(self) -> str:
        """The name, with `gradient` where it is by that, and with the draw where it is not the top."""
        label = super().label
        return label.replace(self.name, f"{self.name}-gradient", 1) if self.first_order else label

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Order by deviation; ties go to the lowest index."""
        chosen = super().choose(signals, labels, k, g)
        return chosen.with_(how={**chosen.how, "gap": signals.gap}) if signals and self.first_order else chosen

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        if self.first_order and signals.gap is None:
            raise InputError(
                "The selector 'variance' by gradient was given signals that hold no deviations to first order; take "
                "them from auglean.moments.first_order_signals, or by='loss'."
            )
        return recorded(signals, "loss_sd", "deviations of the loss", "collect them with policy=")
