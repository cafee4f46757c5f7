"""Colour jitter without clamps: a combination of the image, its grey image and its mean grey, whatever the order.

With G the grey image in every channel and M the mean grey in every pixel, brightness, saturation and contrast map the
span of x, G x and M x into itself, because grey of grey is grey times the sum g of the weights: saturation by s is
`s + (1 − s) G` with `G x ↦ g G x` and `M x ↦ g M x`, contrast alike. So `T = B c` with random c of three entries,

    μ = B E c,    C = B Cov(c) Bᵀ,    ‖T − μ‖⁴ = ((c − E c)ᵀ BᵀB (c − E c))²

of rank three at most, and c is a polynomial in the factors: Gauss nodes give its moments exactly.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import Covariance
from auglean.moments.rules import Kind, even_knots, panel_rule
from auglean.policies import ColorJitter, Contrast, Saturation
from auglean.policies.colour import Line, grey, mean_grey

_NODES = 3  # of a factor: fourth powers of what is linear in it


class Blends(Covariance):
    """Moments of images under a jitter without clamps and hue.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        policy: The jitter.
    """

    m4_kind: Kind = "exact finite"

    def __init__(self, x: Tensor, policy: ColorJitter) -> None:
        planes = (x, grey(x, policy.weights).expand_as(x), mean_grey(x, policy.weights).expand_as(x))
        self._basis = torch.stack([plane.flatten(1) for plane in planes], 2)  # (B, D, 3)
        coefficients, self._weights = (part.to(x) for part in _coefficients(policy, x.shape[1]))
        centre = self._weights @ coefficients
        self._off = coefficients - centre  # (K, 3)
        spectrum, vectors = torch.linalg.eigh(self._off.T @ (self._weights[:, None] * self._off))
        self._factor = self._basis @ (vectors * spectrum.clamp(min=0).sqrt())
        self.mean = self._basis @ centre
        self.variance = self._factor.square().sum(2)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        product: Tensor = self._factor @ (self._factor.mT @ v)
        return product

    @property
    def width(self) -> int:
        """Three."""
        return 3

    def columns(self) -> Tensor:
        """The factor."""
        factor: Tensor = self._factor
        return factor

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        gram = self._basis.mT @ self._basis
        distance = torch.einsum("ki,bij,kj->bk", self._off, gram, self._off)
        return distance.square() @ self._weights


def _coefficients(policy: ColorJitter, channels: int) -> tuple[Tensor, Tensor]:
    """Coefficients `(K, 3)` of image, grey and mean grey at every order and node, and their weights `(K,)`."""
    g = sum(policy.weights) if channels > 1 else 1.0
    eye = torch.eye(3, dtype=torch.float64)
    # columns tell where the image, the grey image and the mean grey go
    to_grey = torch.tensor([[0.0, 0.0, 0.0], [1.0, g, 0.0], [0.0, 0.0, g]], dtype=torch.float64)
    to_mean = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, g, g]], dtype=torch.float64)
    found, shares = [], []
    for order in policy.orders.tolist():
        now, weights = eye[:1], torch.ones(1, dtype=torch.float64)
        for i in order:
            part = policy.parts[i]
            assert isinstance(part, Line)  # hue is not linear
            nodes, share = panel_rule(even_knots(part.low, part.high, 1), _NODES)
            other = to_mean if isinstance(part, Contrast) else to_grey if isinstance(part, Saturation) else 0 * eye
            maps = nodes[:, None, None] * eye + (1 - nodes[:, None, None]) * other
            now = (maps[:, None] @ now[None, ..., None])[..., 0].flatten(0, 1)
            weights = (share[:, None] * weights).flatten()
        found.append(now)
        shares.append(weights / len(policy.orders))
    return torch.cat(found), torch.cat(shares)
