"""A selector that asks a second network what can be learnt at all: reducible hold-out loss."""

from __future__ import annotations

import hashlib
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, finite
from auglean.signals import Signals


@dataclass(frozen=True)
class ReducibleLoss(Selector):
    """Those whose loss is highest above that of a network that never saw them (RHO-loss, Mindermann et al. 2022).

    What a network trained on other data gets wrong, too, is mislabelled or beyond learning; `loss − held-out loss` is
    what is left to learn (equation 3 there). The paper takes the best of each large batch; here they are the best of
    all examples, whenever it is time to choose. Ties go to the lowest index; the weights are equal.

    It is in no list of names: it has to be made from the losses.

    Args:
        holdout: For each example the loss of the other network, shape `(n,)`; or the file that `Signals.save` wrote.

    Attributes:
        digest: 16 hexadecimal digits of those losses, which stand for them in `Selection.how` and in comparisons.

    Raises:
        InputError: If the losses are not finite numbers in one dimension.

    >>> ReducibleLoss(torch.tensor([0.1, 2.0, 0.3]))
    ReducibleLoss(digest='4725948bd8b2c661')
    """

    holdout: InitVar[Tensor | str | Path]
    digest: str = field(init=False)
    name: ClassVar[str] = "reducible-loss"

    def __post_init__(self, holdout: Tensor | str | Path) -> None:
        found = holdout if isinstance(holdout, Tensor) else Signals.load(holdout).loss
        if found.ndim != 1 or not len(found) or not bool(torch.isfinite(found).all()):
            raise InputError(
                f"The held-out losses have shape {tuple(found.shape)} or are not finite; give one finite loss per "
                "example, as auglean.collect does."
            )
        losses = found.detach().cpu().double().clone()
        # no field, which would put n numbers into every choice that is kept
        vars(self)["_losses"] = losses
        object.__setattr__(self, "digest", hashlib.sha256(losses.numpy().tobytes()).hexdigest()[:16])

    @property
    def losses(self) -> Tensor:
        """The held-out losses. Shape `(n,)`, float64."""
        losses: Tensor = vars(self)["_losses"]
        return losses

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Order by what is left to learn."""
        assert signals is not None
        if len(self.losses) != len(labels):
            raise InputError(
                f"{len(self.losses)} held-out losses do not fit {len(labels)} examples; give those of all examples, "
                "in their order, and do not ask in parts."
            )
        reducible = finite(signals.loss, "losses").double().cpu() - self.losses
        indices = torch.argsort(reducible, descending=True, stable=True)[:k]
        return equal_weights(indices, reducible[indices], len(labels))
