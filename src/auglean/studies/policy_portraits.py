"""What a policy makes of single images, to be looked at: mean, deviation, and the directions in which copies differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from auglean.data import ImageSet
from auglean.policies import Policy

#: Directions that are shown of each image.
DIRECTIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """What a policy makes of one image. Tensors are float64, on the CPU.

    Attributes:
        id: Position in the set that the image is from.
        label: Name of its class.
        image: The original. Shape `(C, H, W)`.
        mean: Mean of its copies.
        deviation: Standard deviation of each pixel over the copies.
        directions: Leading eigen-images of their covariance, of length one. Shape `(k, C, H, W)`.
        shares: Share of the trace along each. Shape `(k,)`.
        trace: `tr C`.
        spread: `√(tr C) / ‖μ‖`.
        effective_rank: `(tr C)² / ‖C‖²`.
    """

    id: int
    label: str
    image: Tensor
    mean: Tensor
    deviation: Tensor
    directions: Tensor
    shares: Tensor
    trace: float
    spread: float
    effective_rank: float


def portraits(policy: Policy, data: ImageSet, ids: Tensor, **options: Any) -> list[Portrait]:
    """Make the portraits of some images of a set.

    Args:
        policy: The policy.
        data: The set.
        ids: Positions in it. Shape `(m,)`, int64.
        options: Of `Policy.moments`.

    >>> import torch
    >>> data = ImageSet(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.tensor([0]), ("line",))
    >>> from auglean.policies import Flip
    >>> found, = portraits(Flip(0.5), data, torch.tensor([0]))
    >>> found.mean.tolist(), found.deviation.tolist(), found.shares.tolist(), found.label
    ([[[0.5, 0.5]]], [[[0.5, 0.5]]], [1.0, 0.0], 'line')
    """
    images, labels = data.batch(ids)
    found = []
    for i, x, label in zip(ids.tolist(), images.double() / 255, labels.tolist(), strict=True):
        moments = policy.moments(x, **options)
        values, directions = moments.eig(min(DIRECTIONS, x.numel()))
        trace = float(moments.trace)
        found.append(
            Portrait(
                id=i,
                label=data.class_names[label],
                image=x.cpu(),
                mean=moments.mean.cpu(),
                deviation=moments.variance.clamp(min=0).sqrt().cpu(),
                directions=directions.cpu(),
                shares=(values / max(trace, 1e-300)).cpu(),
                trace=trace,
                spread=trace**0.5 / max(float(moments.mean.norm()), 1e-12),
                effective_rank=trace**2 / float(moments.frobenius2) if trace else 0.0,
            )
        )
    return found
