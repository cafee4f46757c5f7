"""How far the gradients of synthetic images are from those of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from auglean.errors import InputError, unknown

Metric = Literal["layerwise-cosine", "cosine", "mse"]


def gradient_distance(
    real: Sequence[Tensor],
    synthetic: Sequence[Tensor],
    metric: Metric = "layerwise-cosine",
    *,
    epsilon: float = 1e-6,
) -> Tensor:
    """Measure the distance of two lists of gradients, one tensor for each parameter.

    | metric | |
    |---|---|
    | `layerwise-cosine` | Σ over rows of `1 − ⟨a, b⟩ / (‖a‖ ‖b‖ + ε)`, a row being the gradient of one output unit |
    | `cosine` | `1 − ⟨a, b⟩ / (‖a‖ ‖b‖ + ε)` of everything in one vector |
    | `mse` | `‖a − b‖²` of everything in one vector |

    Rows are counted over all tensors of two dimensions or more: `(out, in, h, w)` has `out` rows of `in · h · w`.
    Tensors of one dimension, biases and the scales of norms, add nothing to the first and count in the others.
    Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching" (ICLR 2021), equation 10; ε as in their code.

    Args:
        real: Gradients of the loss on real images.
        synthetic: Those on synthetic images, of the same shapes.
        metric: See above.
        epsilon: Added to the product of two norms. A row whose product is no larger counts as orthogonal, and where a
            synthetic row is exactly zero, the derivative is of the order of 1/ε.

    Returns:
        A scalar of the gradients' type, differentiable in both.

    Raises:
        InputError: If the lists do not match, or the metric is not known.

    >>> a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    >>> gradient_distance([a, torch.tensor([1.0, 2.0])], [b, torch.tensor([5.0, -1.0])])
    tensor(0.2929)
    """
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))
    shapes = [[tuple(gradient.shape) for gradient in side] for side in (real, synthetic)]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise InputError(
            f"Gradients of shapes {shapes[0]} and {shapes[1]} cannot be compared; give one tensor per parameter, of "
            "the same parameters in the same order."
        )
    if metric == "layerwise-cosine":
        distances = [
            _cosine_distance(a.flatten(1), b.flatten(1), epsilon).sum()
            for a, b in zip(real, synthetic, strict=True)
            if a.ndim > 1
        ]
        return torch.stack(distances).sum() if distances else real[0].new_zeros(())
    one, other = (torch.cat([gradient.flatten() for gradient in side]) for side in (real, synthetic))
    return ((one - other) ** 2).sum() if metric == "mse" else _cosine_distance(one, other, epsilon)


def _cosine_distance(a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    """Compare vectors along the last dimension."""
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    cosine: Tensor = (a * b).sum(-1) / (norms + epsilon)
    return 1 - cosine


def rows(gradients: Sequence[Tensor]) -> int:
    """Count the rows that `layerwise-cosine` sums over.

    >>> rows([torch.zeros(128, 3, 3, 3), torch.zeros(128), torch.zeros(10, 2048)])
    138
    """
    return sum(len(gradient) for gradient in gradients if gradient.ndim > 1)
