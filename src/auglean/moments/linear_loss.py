"""Losses of linear models under a policy in closed form: exact for the squared loss, bounds for cross-entropy.

Outputs `z = W T + b` of an augmented image T with mean μ and covariance C have the mean `m = W μ + b` and the
covariance `V = W C Wᵀ`, so that (Balestriero, Misra & LeCun 2022; Böhning 1992 for the upper bound, with K outputs)

    E ‖y − z‖² = ‖y − m‖² + tr V,    CE(m) ≤ E CE(z) ≤ CE(m) + ¼ tr ((I − 11ᵀ/K) V)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auglean.moments.losses import target_vectors
from auglean.moments.moments import Moments
from auglean.networks.layers import Normalize

_AFFINE = (nn.Linear, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d, Normalize)


@dataclass(frozen=True, slots=True, eq=False)
class AffineMap:
    """What a linear model does to a flat image: `x ↦ W x + b`, float64.

    Attributes:
        weight: Shape `(K, D)`.
        bias: Shape `(K,)`.
    """

    weight: Tensor
    bias: Tensor

    def moments(self, found: Moments) -> tuple[Tensor, Tensor]:
        """Give mean `(B, K)` and covariance `(B, K, K)` of the outputs from the moments of B images."""
        rows = self.weight.T.expand(len(found.mean), *self.weight.T.shape).contiguous()  # (B, D, K)
        covariance = self.weight @ found.covariance.matvec(rows)
        return found.mean.flatten(1) @ self.weight.T + self.bias, (covariance + covariance.mT) / 2


def affine_map(model: nn.Module, shape: tuple[int, ...]) -> AffineMap | None:
    """Read the weights of a model that is linear in the pixels, None for one that is not known to be.

    Known are `nn.Linear` and `nn.Sequential` of layers that are affine in eval mode.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> found = affine_map(model, (1, 2, 2))
    >>> torch.equal(found.bias.float(), model[1].bias)
    True
    >>> affine_map(nn.Sequential(model, nn.ReLU()), (1, 2, 2)) is None
    True
    """
    parts = [part for part in model.modules() if type(part) is not nn.Sequential]
    if not all(type(part) in _AFFINE for part in parts):
        return None
    exact = copy.deepcopy(model).double().eval()
    size = torch.Size(shape).numel()
    device = next((value.device for value in exact.parameters()), torch.device("cpu"))
    with torch.no_grad():
        bias = exact(torch.zeros(1, *shape, dtype=torch.float64, device=device))
        if bias.ndim != 2:
            return None
        units = torch.eye(size, dtype=torch.float64, device=device).view(size, *shape)
        weight = torch.cat([exact(part) - bias for part in units.split(4096)]).T
    return AffineMap(weight.contiguous(), bias[0])


def squared_loss(mean: Tensor, covariance: Tensor, targets: Tensor) -> Tensor:
    """Expected squared loss of outputs with mean `(B, K)` and covariance `(B, K, K)`. Shape `(B,)`."""
    off = target_vectors(targets, mean.shape[1]).to(mean.device) - mean
    return off.square().sum(1) + covariance.diagonal(dim1=1, dim2=2).sum(1)


def cross_entropy_bounds(mean: Tensor, covariance: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of the expected cross-entropy of logits with such moments. Shapes `(B,)`.

    The lower bound is Jensen's; the upper one takes `½ (I − 11ᵀ/K)`, which is above every Hessian (Böhning 1992).
    """
    lower = F.cross_entropy(mean, labels, reduction="none")
    outputs = mean.shape[1]
    trace, total = covariance.diagonal(dim1=1, dim2=2).sum(1), covariance.sum((1, 2))
    return lower, lower + (trace - total / outputs) / 4
