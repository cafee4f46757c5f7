"""Selectors that score each example on its own, the higher the sooner: random, loss, gradients, influence, margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, features, finite
from auglean.selection.support import svm_margin
from auglean.signals import Signals
from auglean.signals.softmax_influence import softmax_influence

Draw = Literal["top", "bottom", "proportional", "inverse", "softmax"]
_FROM_TRAINING = "take them from training, by auglean.signals.Recorder"
#: How an order is made of a score.
DRAWS = ["top", "bottom", "proportional", "inverse", "softmax"]


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

    A larger budget continues a smaller one, whatever the draw. The random draws are without replacement, one after
    another, and do not change when the score is multiplied by a number, but for `"softmax"`.

    Args:
        draw: `"top"`, the highest first, or `"bottom"`, the lowest first, with ties to the lowest index; or at random,
            in proportion to the score (`"proportional"`: zeros come last, but they come), to its inverse
            (`"inverse"`: zeros come first), or to its exponential (`"softmax"`).
    """

    draw: Draw = "top"

    @property
    def label(self) -> str:
        """The name, with the draw where it is not the top."""
        return self.name if self.draw == "top" else f"{self.name}-{self.draw}"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Order by score; ties go to the lowest index."""
        assert signals is not None
        score = scores(self, signals, labels)
        indices = _top(_ranking_key(score, self.draw, g), k)
        return equal_weights(indices, score[indices], len(labels))

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        """Give a score ≥ 0 for each example, shape `(n,)`; labels are on the processor."""
        raise NotImplementedError


def scores(policy: Scored, signals: Signals, labels: Tensor) -> Tensor:
    """Give the score of each example under a policy: higher = augment first. Shape `(n,)`, float64, on the processor.

    Args:
        policy: Such as `MaxLoss()`; its draw does not matter.
        signals: What the model says of each of the n examples.
        labels: Class numbers. Shape `(n,)`, int64.

    Raises:
        InputError: If the scores are not one number ≥ 0 for each example.

    >>> labels = torch.tensor([0, 1])
    >>> signals = Signals(torch.tensor([0.5, 2]), torch.ones(2), torch.zeros(2, 2), torch.zeros(2, 1), labels)
    >>> scores(MaxLoss(), signals, labels).tolist()
    [0.5, 2.0]
    """
    score = policy._score(signals, labels.cpu())
    if score.shape != labels.shape:
        raise InputError(
            f"The scores of {policy.name!r} have shape {tuple(score.shape)} for {len(labels)} examples; give one "
            "number per example."
        )
    score = finite(score, "scores").double().cpu()
    if len(score) and float(score.min()) < 0:
        raise InputError(
            f"The scores of {policy.name!r} fall to {float(score.min()):.3g}; give scores of at least 0, where higher "
            "means to augment first."
        )
    return score


@dataclass(frozen=True)
class MaxLoss(Scored):
    """The examples of highest cross-entropy (Kuchnik & Smith 2019).

    Args:
        draw: How the order is made of the loss, see `Scored`.
    """

    name: ClassVar[str] = "max-loss"

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        return signals.loss


@dataclass(frozen=True)
class EL2N(Scored):
    """The examples of largest error vector, `‖softmax − one-hot‖₂` (Paul, Ganguli & Dziugaite 2021, definition 2.4).

    Orders much as the loss does, but is bounded by √2: a hopeless example weighs no more than a wrong one.

    Args:
        draw: How the order is made of the score, see `Scored`.
    """

    name: ClassVar[str] = "el2n"

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        return error_norm(signals)


@dataclass(frozen=True)
class GraNd(Scored):
    """The examples of largest gradient norm (Paul, Ganguli & Dziugaite 2021, definition 2.1), in the last layer.

    The gradient of the last layer's weights and bias is `residual ⊗ (feature, 1)`, so its norm is
    `‖residual‖ · √(‖feature‖² + 1)`: no backward pass. The paper takes the gradient of all weights.

    Args:
        draw: How the order is made of the score, see `Scored`.
    """

    name: ClassVar[str] = "grand"

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        squares = features(signals).double().square().sum(1)
        return error_norm(signals) * (squares + 1).sqrt()


@dataclass(frozen=True)
class Influence(Scored):
    """The examples whose removal would raise their own loss most (Koh & Liang 2017; Kuchnik & Smith 2019).

    The score is `g_iᵀH⁻¹g_i` of a softmax head on the features, g its gradient for the example and H the Hessian of
    all, the penalty `‖W‖²/(2C)` in it: a loss on a steeper scale, times a leverage. The head is the model's last layer,
    by the probabilities that the signals hold; see `auglean.signals.softmax_influence`. For two classes the penalty is
    that of one vector, the difference of the two, so that the score is that of binary logistic regression at C.
    For a network it is a score, not what retraining would give.

    Args:
        draw: How the order is made of the score, see `Scored`.
        C: Inverse strength of the penalty, over 0.
    """

    C: float = 1.0
    name: ClassVar[str] = "influence"

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        residual = finite(signals.residual, "residuals").double()
        at = labels.to(residual.device)[:, None]
        one_hot = torch.zeros_like(residual).scatter_(1, at, 1.0)
        C = self.C / 2 if residual.shape[1] == 2 else self.C  # two vectors ±w/2 are penalised by half of one
        found = softmax_influence(features(signals), labels, probabilities=(residual + one_hot).clamp(min=0), C=C)
        return found.score


@dataclass(frozen=True)
class Margin(Scored):
    """The examples nearest to the boundary between two classes, whatever their label.

    `of="softmax"`: the score is 1 less the probability of the likeliest class minus that of the second, in [0, 1].
    `of="svm"`: a linear support vector machine is fitted to the features, and the score is `1/|f|` of its decision
    function, or for more than two classes of the highest of the one-against-all functions minus the second. So
    `"top"` and `"proportional"` are what Kuchnik & Smith 2019 call inverse, who rank by |f|, and `"bottom"` and
    `"inverse"` are what they call proportional. A confidently wrong example is as far as a confidently right one.

    Args:
        draw: How the order is made of the score, see `Scored`.
        of: `"softmax"` or `"svm"`.
        C: Inverse strength of the machine's penalty, over 0; its features are centred and scaled to a mean variance
            of 1.
    """

    of: Literal["softmax", "svm"] = "softmax"
    C: float = 1.0
    name: ClassVar[str] = "margin"

    @property
    def label(self) -> str:
        """The name, with `svm` where it is of a machine, and with the draw where it is not the top."""
        label = super().label
        return label.replace(self.name, f"{self.name}-svm", 1) if self.of == "svm" else label

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        if self.of == "svm":
            return 1 / svm_margin(features(signals), labels, self.C).clamp(min=1e-20)
        if self.of != "softmax":
            raise unknown("margin", self.of, ["softmax", "svm"])
        return 1 - signals.margin.double()


@dataclass(frozen=True)
class Forgetting(Scored):
    """The examples that training got right and then wrong most often (Toneva et al. 2019).

    Counted by `auglean.signals.Recorder` during training. Those that were never right come before all others, as in
    the paper.

    Args:
        draw: How the order is made of the score, see `Scored`.
    """

    name: ClassVar[str] = "forgetting"
    needs_steps: ClassVar[bool] = True

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        return recorded(signals, "forgetting", "counts of forgetting", _FROM_TRAINING)


@dataclass(frozen=True)
class TracIn(Scored):
    """The examples whose own steps lowered their loss most over training: TracIn's self-influence (Pruthi et al. 2020).

    Summed over training by `auglean.signals.Recorder`, in the last layer: `Σ_t η_t ‖r_t‖² (‖φ_t‖² + 1)`.

    Args:
        draw: How the order is made of the score, see `Scored`.
    """

    name: ClassVar[str] = "tracin"
    needs_steps: ClassVar[bool] = True

    def _score(self, signals: Signals, labels: Tensor) -> Tensor:
        return recorded(signals, "tracin", "sums of TracIn", _FROM_TRAINING)


def recorded(signals: Signals, name: str, what: str, remedy: str) -> Tensor:
    """Give an optional field of the signals, or raise `InputError` with what to do where they do not hold it."""
    values: Tensor | None = getattr(signals, name, None)
    if values is None:
        raise InputError(f"The signals hold no {what}; {remedy}.")
    return values


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
    if draw not in DRAWS:
        raise unknown("draw", draw, DRAWS)
    if draw in ("top", "bottom"):
        return score if draw == "top" else -score
    # beyond the logarithm of any positive number by more than the noise can bridge
    logs = score if draw == "softmax" else torch.where(score > 0, score.log(), -2000.0)
    uniform = torch.rand(score.shape, generator=g, dtype=torch.float64).clamp_(min=1e-300)
    return (-logs if draw == "inverse" else logs) - torch.log(-torch.log(uniform))
