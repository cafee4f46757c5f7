"""A selector that asks what the policy does: those whose loss it disturbs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from auglean.selection.scores import Scored, recorded
from auglean.signals import Signals


@dataclass(frozen=True)
class Variance(Scored):
    """The examples whose loss the policy disturbs most: of largest standard deviation of the loss over its draws.

    Where an image's loss hardly moves, one copy of it says what all would say. By first order the variance is
    `gᵀ C g`, g the gradient of the loss at the image and C the covariance of its copies (Balestriero, Misra & LeCun
    2022), which holds at small strengths only; here it is estimated from draws, at any strength.
    `auglean.collect(model, data, policy=policy)` gives signals that hold it.

    Args:
        draw: How the order is made of the score, see `Scored`.

    >>> import torch
    >>> labels = torch.tensor([0, 1])
    >>> signals = Signals(torch.ones(2), torch.ones(2), torch.zeros(2, 2), torch.zeros(2, 1), labels,
    ...                   loss_sd=torch.tensor([0.1, 0.7]))
    >>> Variance()(signals, labels, budget=1).indices.tolist()
    [1]
    """

    name: ClassVar[str] = "variance"
    needs_policy: ClassVar[bool] = True

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        return recorded(signals, "loss_sd", "deviations of the loss", "collect them with policy=")
