"""How many augmented samples are needed before a mean, a covariance, a loss or a gradient is known well enough?

With μ and C of an augmented image, `m₄ = E ‖T − μ‖⁴`, n images and relative error ε, draws of each image are

| target | for one image, at root mean square |
|---|---|
| mean | `tr C / (ε² ‖μ‖²)` |
| covariance | N of `(m₄ − ‖C‖²) / N + (‖C‖² + tr² C) / (N (N − 1)) = ε² ‖C‖²`, of the unbiased estimator |
| loss, gradient | `Var / (ε² ‖mean‖²)` over the policy's law |

and, where only the average over the n images is wanted, `mean_i Var_i / (n ε² ‖average‖²)`. At confidence 1 − δ the
squared error is a weighted sum of χ²₁. For the mean its quantile is that of the Γ law with the same mean and variance
(Satterthwaite 1946); for the others that of a single χ²₁, which no other spectrum exceeds at usual δ.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from auglean.errors import InputError, unknown
from auglean.moments.answers import Answer, aligned
from auglean.moments.examples import Examples
from auglean.moments.loss_spreads import gradient_spread, loss_spread
from auglean.moments.losses import Loss, Setting
from auglean.moments.spreads import Spread, moment_spread
from auglean.policies import Policy, as_policy

Target = Literal["mean", "covariance", "loss", "gradient"]
_TARGETS = ("mean", "covariance", "loss", "gradient")
_WORST = 5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SamplesNeeded(Answer):
    """Draws of each image that bring a relative error down to `eps`. Prints as a table.

    Attributes:
        target: What is to be known.
        eps: Relative error.
        delta: Probability that the error is larger.
        rms: Draws for a root mean square error of `eps`, for each image. Shape `(N,)`, float64, 1 or more.
        confident: Draws for an error under `eps` with probability `1 − delta`. Shape `(N,)`.
        data_rms: Draws of each image if only the average over the images is wanted; below 1 where fewer images do.
        data_confident: The same with probability `1 − delta`.
        strata: Stratified draws that do for the median image what `rms` draws do.
        rate: Error of K stratified draws falls as `K^−rate`; of independent ones, 1/2.
        ids: Positions of the images in the data. Shape `(N,)`, int64.
        policy: Name of the policy.
        how: How the variances were got.
        seconds_of_draw: What one augmented image costs, with its forward and backward pass where there is one.
        seconds: What this answer cost.
    """

    target: Target
    eps: float
    delta: float
    rms: Tensor
    confident: Tensor
    data_rms: float
    data_confident: float
    strata: float
    rate: float
    ids: Tensor
    policy: str
    how: str
    seconds_of_draw: float
    seconds: float

    @property
    def worst(self) -> Tensor:
        """Positions of the five images that need most, in falling order."""
        return self.ids[self.rms.argsort(descending=True, stable=True)[:_WORST]]

    def __repr__(self) -> str:
        rows = [["", "root mean square", f"with {1 - self.delta:.3g}"]]
        for name, share in (("median image", 0.5), ("95 % of images", 0.95), ("worst image", 1.0)):
            rows.append([name, *(_count(float(found.quantile(share))) for found in (self.rms, self.confident))])
        rows.append([f"average of {len(self.rms):,}", _count(self.data_rms), _count(self.data_confident)])
        drawing = float(self.rms.median()) * self.seconds_of_draw
        return "\n".join(
            [
                f"Draws of each image until the {self.target} under {self.policy} is within {self.eps:.3g} of itself",
                *aligned(rows),
                f"{_count(self.strata)} stratified draws do for the median image (error ~ K^-{self.rate:.2f}). "
                f"Worst: {', '.join(map(str, self.worst.tolist()))}.",
                f"Variances: {self.how}, in {self.seconds:.2f} s; the median image's draws would take {drawing:.2g} s.",
            ]
        )


def _count(value: float) -> str:
    return f"{math.ceil(value):,}" if value >= 1 else f"{value:.2g}"


def samples_needed(
    policy: Policy,
    data: Any,
    *,
    target: Target = "mean",
    eps: float = 0.01,
    delta: float = 0.05,
    model: nn.Module | None = None,
    loss: Loss = "cross-entropy",
    nodes: int = 64,
    probe: int = 64,
    seed: int = 0,
    batch_size: int = 512,
) -> SamplesNeeded:
    """Count the augmented samples that bring the relative error of a mean, covariance, loss or gradient to `eps`.

    Args:
        policy: The policy, or a callable for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, labels).
        target: `"mean"` or `"covariance"` of the augmented image, `"loss"` of a model on it, or `"gradient"` of that
            loss in the weights.
        eps: Relative error wanted, above 0. A loss under 1 % of the data's average counts as that.
        delta: Probability that it is missed, between 0 and 1.
        model: The model, for a loss or a gradient.
        loss: Its loss.
        nodes: Nodes of each image for a loss or a gradient.
        probe: Images on which gradients, and errors of stratified draws, are measured.
        seed: Of what is drawn.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If an option or the data do not fit, or a model is missing.

    >>> from auglean.policies import Brightness
    >>> found = samples_needed(Brightness(0.5, clamp=False), (torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])))
    >>> [round(n) for n in found.rms.tolist()]  # (1 / 12) / 0.01²
    [833, 833]
    """
    start = time.perf_counter()
    if target not in _TARGETS:
        raise unknown("target", target, _TARGETS)
    if not eps > 0 or not 0 < delta < 1:
        raise InputError(f"Expected eps above 0 and delta between 0 and 1 but found eps={eps!r}, delta={delta!r}.")
    if target in ("loss", "gradient") and model is None:
        raise InputError(f"The target {target!r} needs a model; give model=, or the target 'mean' or 'covariance'.")
    if probe < 1:
        raise InputError(f"Expected a probe of 1 image or more but found {probe}.")
    policy, examples = as_policy(policy), Examples(data)
    if target == "mean" or target == "covariance":
        spread = moment_spread(policy, examples, target, probe=probe, seed=seed)
    else:
        assert model is not None
        setting = Setting(model, loss, policy, examples, nodes, seed, batch_size)
        spread = (loss_spread if target == "loss" else gradient_spread)(setting, probe)
    times = heavier(spread.freedom, delta)
    once = torch.ones((), dtype=torch.float64)
    average = torch.tensor([spread.data_variance, spread.data_size2], dtype=torch.float64)
    rms, confident = (draws_for(spread.variance, spread.pairs, eps**2 * spread.size2 / m) for m in (once, times))
    data_rms, data_confident = (float(average[0] / (eps**2 * average[1]) * m) for m in (once, heavier(once, delta)))
    return SamplesNeeded(
        target=target,
        eps=eps,
        delta=delta,
        rms=rms,
        confident=confident,
        data_rms=data_rms,
        data_confident=data_confident,
        strata=_strata(spread, eps),
        rate=spread.rate,
        ids=spread.ids,
        policy=policy.name,
        how=spread.how,
        seconds_of_draw=spread.seconds_of_draw,
        seconds=time.perf_counter() - start,
    )


def _strata(spread: Spread, eps: float) -> float:
    if not bool(spread.variance.any()):
        return 1.0
    if spread.strata_error == 0:  # so many hit the law exactly
        return spread.strata
    return float(max(1.0, spread.strata * (spread.strata_error / eps) ** (1 / spread.rate)))


def draws_for(variance: Tensor, pairs: Tensor, wanted: Tensor) -> Tensor:
    """Solve `variance / N + pairs / (N (N − 1)) = wanted` for N, at least 1. Shapes `(n,)`.

    >>> draws_for(torch.tensor([5.0, 0.0]), torch.tensor([0.0, 6.0]), torch.tensor([0.5, 1.0])).tolist()
    [10.0, 3.0]
    """
    both = wanted + variance
    root = (both.square() - 4 * wanted * (variance - pairs)).clamp(min=0).sqrt()
    return torch.where(variance + pairs > 0, (both + root) / (2 * wanted), 1.0).clamp(min=1)


def heavier(freedom: Tensor, delta: float) -> Tensor:
    """Ratio of the `1 − delta` quantile to the mean, of a χ² law of so many degrees of freedom.

    >>> round(float(heavier(torch.tensor(1.0), 0.05)), 3)
    3.841
    """
    from scipy.stats import chi2

    return torch.as_tensor(chi2.ppf(1 - delta, freedom.double().numpy()) / freedom.double().numpy())
