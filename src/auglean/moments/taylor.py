"""Expected loss of a deep network from the moments of the image alone: a Taylor expansion, for small strengths only.

With outputs `f`, their Jacobian J in the pixels, g and H gradient and Hessian of the loss in the outputs, `δ = μ − x`,

    about the image:  E L ≈ L(f(x)) + gᵀ J_x δ + ½ tr (H J_x (C + δ δᵀ) J_xᵀ)
    about the mean:   E L ≈ L(f(μ)) + ½ tr (H J_μ C J_μᵀ)

which leaves out the second derivatives of the network, zero almost everywhere for one of ReLUs. To first order the
spread is `Var L ≈ gᵀ J C Jᵀ g`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from auglean.errors import InputError, unknown
from auglean.moments.losses import Loss, loss_function, target_vectors
from auglean.moments.moments import Moments

Point = Literal["image", "mean"]
_POINTS = ("image", "mean")
#: Largest linearisation gap at which a Taylor value is given out.
MOST_GAP = 0.2


def check_point(point: str) -> None:
    """Raise `InputError` unless this is a point of expansion."""
    if point not in _POINTS:
        raise unknown("point of expansion", point, _POINTS)


def outputs_and_jacobian(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give the outputs `(B, K)` and their derivatives in the pixels `(B, K, D)`, of a model in eval mode."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        outputs = model(leaf)
        rows = [
            torch.autograd.grad(outputs[:, k].sum(), leaf, retain_graph=k + 1 < outputs.shape[1])[0].flatten(1)
            for k in range(outputs.shape[1])
        ]
    return outputs.detach(), torch.stack(rows, 1)


def taylor_loss(
    model: nn.Module, loss: Loss, found: Moments, x: Tensor, targets: Tensor, *, point: Point = "image"
) -> tuple[Tensor, Tensor]:
    """Expand the loss to second order; the caller keeps the model in eval mode.

    Args:
        model: From images to outputs `(B, K)`.
        loss: `"cross-entropy"` or `"squared"`.
        found: Moments of the images.
        x: Images. Shape `(B, C, H, W)`.
        targets: Shape `(B, …)`.
        point: Where to expand: `"image"` or `"mean"`, which is a blurred image that no network was trained on.

    Returns:
        Expected loss and standard deviation of each image. Shapes `(B,)`, float64.

    Raises:
        InputError: If the loss is another.
    """
    check_point(point)
    if callable(loss):
        raise InputError("A Taylor value needs loss='cross-entropy' or 'squared'; use method='stratified' for others.")
    at = x if point == "image" else found.mean.to(x.dtype)
    outputs, jacobian = (value.double() for value in outputs_and_jacobian(model, at))
    covariance = jacobian @ found.covariance.matvec(jacobian.mT.contiguous())  # (B, K, K)
    value = loss_function(loss)(outputs, targets)
    if loss == "squared":
        gradient = 2 * (outputs - target_vectors(targets, outputs.shape[1]).to(outputs.device))
        hessian = 2 * torch.eye(outputs.shape[1], dtype=torch.float64, device=x.device).expand_as(covariance)
    else:
        p = outputs.softmax(1)
        gradient = p - target_vectors(targets, outputs.shape[1]).to(outputs.device)
        hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    sd = torch.einsum("bk,bkl,bl->b", gradient, covariance, gradient).clamp(min=0).sqrt()
    if point == "image":
        step = torch.einsum("bkd,bd->bk", jacobian, (found.mean - x.double()).flatten(1))
        value = value + (gradient * step).sum(1)
        covariance = covariance + step[:, :, None] * step[:, None]
    return value + (hessian * covariance).sum((1, 2)) / 2, sd


def check_gap(taylor: Tensor, nodes: Tensor, *, policy: str, each: bool = False, what: str = "loss") -> float:
    """Give the linearisation gap |Taylor value − node value| / node value over a probe batch.

    Args:
        taylor: Values of the probe's images. Shape `(n,)`.
        nodes: The same from nodes.
        policy: Name of the policy, for the message.
        each: Compare image with image, whose distances are averaged, in place of the means alone.
        what: What the values are, for the message.

    Raises:
        InputError: If it is above 0.2: then the Taylor value is no estimate.
    """
    truth, off = float(nodes.mean()), taylor - nodes
    gap = float(off.abs().mean() if each else off.mean().abs()) / max(abs(truth), 1e-12)
    if not gap <= MOST_GAP:
        raise InputError(
            f"The Taylor value of the {what} under {policy} is off by {gap:.0%} on a probe of {len(nodes)} images and "
            f"at most {MOST_GAP:.0%} is allowed; use a weaker policy, or draws."
        )
    return gap
