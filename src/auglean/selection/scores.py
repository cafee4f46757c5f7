"""Selectors that score each example on its own: random, loss, and norms of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import unknown
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, features, finite
from auglean.signals import Signals

Draw = Literal["top", "proportional", "inverse"]


@dataclass(frozen=True)
class Random(Selector):
    """Uniform without replacement: the baseline that every comparison holds.

    Args:
        redraw: Draw anew each epoch, which beats most pruning methods at no cost (Okanovic et al. 2023, RS2).
    """

    redraw: bool = False
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
        return equal_weights(_top(score, k), torch.zeros(k), len(labels))


@dataclass(frozen=True)
class Scored(Selector):
    """Base of the policies that order examples by a score, the higher the sooner; `_score` is the hook.

    Args:
        draw: `"top"`; `"proportional"` to the score, without replacement; or `"inverse"`, to its inverse.
    """

    draw: Draw = "top"

    @property
    def label(self) -> str:
        """The name, with the draw where it is not the top."""
        return self.name if self.draw == "top" else f"{self.name}-{self.draw}"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Order by score; ties go to the lowest index."""
        assert signals is not None
        score = finite(self._score(signals), "scores").double().cpu()
        indices = _top(_ranking_key(score, self.draw, g), k)
        return equal_weights(indices, score[indices], len(labels))

    def _score(self, signals: Signals) -> Tensor:
        """Give a score ≥ 0 for each example, shape `(n,)`."""
        raise NotImplementedError


@dataclass(frozen=True)
class MaxLoss(Scored):
    """The examples of highest cross-entropy (Kuchnik & Smith 2019).

    Args:
        draw: `"top"`; `"proportional"` to the loss, without replacement; or `"inverse"`, to its inverse.
    """

    name: ClassVar[str] = "max-loss"

    def _score(self, signals: Signals) -> Tensor:
        return signals.loss


@dataclass(frozen=True)
class EL2N(Scored):
    """The examples of largest error vector, `‖softmax − one-hot‖₂` (Paul, Ganguli & Dziugaite 2021, definition 2.4).

    Orders much as the loss does, but is bounded by √2: a hopeless example weighs no more than a wrong one.

    Args:
        draw: `"top"`; `"proportional"` to the score, without replacement; or `"inverse"`, to its inverse.
    """

    name: ClassVar[str] = "el2n"

    def _score(self, signals: Signals) -> Tensor:
        return error_norm(signals)


@dataclass(frozen=True)
class GraNd(Scored):
    """The examples of largest gradient norm (Paul, Ganguli & Dziugaite 2021, definition 2.1), in the last layer.

    The gradient of the last layer's weights and bias is `residual ⊗ (feature, 1)`, so its norm is
    `‖residual‖ · √(‖feature‖² + 1)`: no backward pass. The paper takes the gradient of all weights.

    Args:
        draw: `"top"`; `"proportional"` to the score, without replacement; or `"inverse"`, to its inverse.
    """

    name: ClassVar[str] = "grand"

    def _score(self, signals: Signals) -> Tensor:
        squares = features(signals).double().square().sum(1)
        return error_norm(signals) * (squares + 1).sqrt()


def error_norm(signals: Signals) -> Tensor:
    """Give `‖softmax − one-hot‖₂` of each example. Shape `(n,)`, float64."""
    norms: Tensor = torch.linalg.vector_norm(signals.residual, dim=1, dtype=torch.float64)
    return norms


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
