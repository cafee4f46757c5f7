"""An experiment: train on the Taylor expansion of the expected loss in place of augmented images.

`E L ≈ L(f(x)) + gᵀ J δ + ½ tr (H J (C + δ δᵀ) Jᵀ)`, with C cut to its leading directions (Balestriero, Misra & LeCun
2022; Simard et al. 1992 for one tangent). It holds for weak policies only; the mean loss over a few stratified draws of
each image has no such limit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from auglean.errors import InputError, unknown
from auglean.moments.examples import Examples
from auglean.moments.expected_loss import by_nodes
from auglean.moments.losses import LOSSES, Named, Setting, loss_function, target_vectors
from auglean.moments.taylor import Point, check_point
from auglean.policies import Policy, as_policy


class Regularizer:
    """What a policy adds to the mean loss of a batch, to second order, differentiable in the weights.

    Made by `regularizer`. The first batch is also sent through the network under stratified draws, and how far the
    expansion is off, its linearisation gap, is written to stderr.

    Attributes:
        gap: `|Taylor − draws| / draws` of the mean loss when it was last measured; None before the first batch.
    """

    def __init__(self, model: nn.Module, policy: Policy, rank: int, point: Point, loss: Named) -> None:
        self.model, self.policy, self.rank, self.point, self.loss = model, policy, rank, point, loss
        self.gap: float | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Give the term that goes on top of the mean loss of the images themselves.

        Args:
            x: Images in [0, 1]. Shape `(B, C, H, W)`.
            y: Labels `(B,)`, or for a squared loss targets `(B, K)`.
        """
        if self.gap is None:
            print(f"{self.policy.name}: linearisation gap {self.measure(x, y):.1%}", file=sys.stderr)
        return (self._expected(x, y) - self._clean(x, y)).mean()

    def measure(self, x: Tensor, y: Tensor, *, nodes: int = 64, seed: int = 0) -> float:
        """Compare the expansion on a batch with the mean loss under stratified draws, and keep the gap."""
        truth = by_nodes(
            Setting(self.model, self.loss, self.policy, Examples((x, y)), nodes, seed, len(x)), "stratified"
        )
        with torch.no_grad():
            found = float(self._expected(x, y).mean())
        self.gap = abs(found - truth.average) / max(abs(truth.average), 1e-12)
        return self.gap

    def _clean(self, x: Tensor, y: Tensor) -> Tensor:
        with _evaluating(self.model):
            return loss_function(self.loss)(self.model(x), y)

    def _expected(self, x: Tensor, y: Tensor) -> Tensor:
        """Expand the loss of each image. Shape `(B,)`, float64."""
        with torch.no_grad():
            found = self.policy.moments(x)
            columns = found.factor(self.rank).permute(2, 0, 1).reshape(-1, *x.shape).to(x.dtype)  # (r, B, C, H, W)
            step = (found.mean - x.double()).to(x.dtype)
            at = x if self.point == "image" else found.mean.to(x.dtype)
            directions = torch.cat([columns, step[None]]) if self.point == "image" else columns
        with _evaluating(self.model):

            def along(direction: Tensor) -> Tensor:
                derivative: Tensor = jvp(self.model, (at,), (direction,))[1]
                return derivative

            outputs: Tensor = self.model(at)
            moved = vmap(along)(directions).double()  # (r, B, K)
        value = loss_function(self.loss)(outputs, y)
        if self.loss == "squared":
            gradient = 2 * (outputs.double() - target_vectors(y, outputs.shape[1]))
            curvature = 2 * moved.square().sum(2)
        else:
            p = outputs.double().softmax(1)
            gradient = p - target_vectors(y, outputs.shape[1])
            curvature = (p * moved.square()).sum(2) - (p * moved).sum(2).square()
        if self.point == "image":
            value = value + (gradient * moved[-1]).sum(1)
        return value + curvature.sum(0) / 2

    def __repr__(self) -> str:
        gap = "not measured" if self.gap is None else f"{self.gap:.1%}"
        return (
            f"Regularizer of {self.policy.name}, rank {self.rank}, about the {self.point} (experimental; linearisation "
            f"gap {gap})"
        )


def regularizer(
    model: nn.Module, policy: Policy, *, rank: int = 8, point: Point = "image", loss: Named = "cross-entropy"
) -> Regularizer:
    """Make the term that stands for a policy in training without augmented images. Experimental.

    It costs about `rank` forward passes and their backward pass, beside the moments of the batch. BatchNorm and dropout
    are in eval mode inside it.

    Args:
        model: From images `(B, C, H, W)` in [0, 1] to outputs `(B, K)`, of layers that have forward-mode derivatives.
        policy: A weak policy: a displacement under a pixel, some degrees.
        rank: Directions of the covariance, 1 or more.
        point: Where to expand: at the `"image"`, or at the `"mean"` of its augmentations.
        loss: `"cross-entropy"` or `"squared"`.

    Raises:
        InputError: If an option does not fit.

    >>> from auglean.policies import Translate
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> term = regularizer(model, Translate(0.2), rank=4)
    >>> x, y = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> loss = nn.functional.cross_entropy(model(x), y) + term(x, y)
    >>> loss.backward()
    >>> term.gap < 0.05
    True
    """
    check_point(point)
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    if rank < 1:
        raise InputError(f"A regularizer expected a rank of 1 or more but found {rank}.")
    return Regularizer(model, as_policy(policy), rank, point, loss)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block in eval mode, with gradients."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
