"""Additive Gaussian noise, drawn by one seed for each image."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.policies.base import Params, Policy, magnitude, number
from auglean.randomness import Keys, Randomness, integers, normal

Device = torch.device | str | None


class GaussianNoise(Policy):
    """Add independent normal noise to every value. Parameter `seed (n,)`, int64, which stands for the noise.

    Args:
        sigma: Standard deviation.
        mean: Mean.
        clamp: Keep the result in [0, 1]; without it the operator is affine in the image.

    >>> x = torch.full((1, 1, 64, 64), 0.5)
    >>> y = GaussianNoise(0.1).apply(x, {"seed": torch.tensor([7])})
    >>> abs(float((y - x).std()) - 0.1) < 0.005
    True
    """

    def __init__(self, sigma: float, *, mean: float = 0.0, clamp: bool = True) -> None:
        super().__init__()
        self.sigma = magnitude("The standard deviation of GaussianNoise", sigma)
        self.mean = float(mean)
        self.clamp = clamp
        self.linear = not clamp

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        high, low = integers((n, 2), 2**24, generator, device=device).unbind(1)
        return {"seed": high << 24 | low}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        noise = normal((len(x), x[:1].numel()), Keys(params["seed"])).to(x).view_as(x)
        y = x + (noise * self.sigma + self.mean)
        return y.clamp(0, 1) if self.clamp else y

    def extra_repr(self) -> str:
        """The arguments."""
        mean = f", mean={number(self.mean)}" if self.mean else ""
        return number(self.sigma) + mean + ("" if self.clamp else ", clamp=False")
