"""Rules by chance: Sobol points through a policy's own draws, or independent draws."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.moments.rules import Rule
from auglean.policies import Policy
from auglean.randomness import Keys, derive


class Points(Keys):
    """Hands out the columns of given points of the unit cube where a policy asks for random numbers."""

    def __init__(self, points: Tensor) -> None:
        super().__init__(torch.arange(len(points)))
        self._points, self.used = points, 0

    def bits(self, columns: int) -> Tensor:
        """The next columns, in the 24 bits that count."""
        taken = self._points[:, self.used : self.used + columns]
        self.used += columns
        if taken.shape[1] < columns:  # a dry run that counts columns
            taken = self._points.new_zeros(len(self._points), columns)
        return (taken * 2**24).long().clamp(max=2**24 - 1) << 40


def dimension(policy: Policy) -> int:
    """Count the uniform numbers that one draw takes."""
    points = Points(torch.zeros(1, 0, dtype=torch.float64))
    policy.draw(1, generator=points)
    return points.used


def sobol_rule(policy: Policy, n: int, seed: int) -> Rule:
    """Give n scrambled Sobol points, equally weighted."""
    engine = torch.quasirandom.SobolEngine(dimension(policy), scramble=True, seed=seed % 2**31)
    params = policy.draw(n, generator=Points(engine.draw(n, dtype=torch.float64)))
    weights = torch.full((n, 1), 1 / n, dtype=torch.float64)
    return Rule({name: value[:, None] for name, value in params.items()}, weights, "randomised qmc")


def drawn_rule(policy: Policy, n: int, generator: torch.Generator) -> Rule:
    """Give n independent draws, equally weighted."""
    params = policy.draw(n, generator=generator)
    weights = torch.full((n, 1), 1 / n, dtype=torch.float64)
    return Rule({name: value[:, None] for name, value in params.items()}, weights, "monte carlo")


def keyed_rule(policy: Policy, ids: Tensor, n: int, *, seed: int, stream: int = 0, stratified: bool = False) -> Rule:
    """Give n draws of each image by its own `Keys`, independent or stratified, equally weighted."""
    epochs = torch.arange(n, device=ids.device).repeat_interleave(len(ids))
    keys = Keys(ids.repeat(n), seed=derive(seed, "losses"), epoch=epochs, stream=stream)
    drawn = policy.draw(n * len(ids), generator=keys, stratified=stratified)
    params = {name: value.view(n, len(ids), *value.shape[1:]) for name, value in drawn.items()}
    weights = torch.full((n, len(ids)), 1 / n, dtype=torch.float64, device=ids.device)
    return Rule(params, weights, "randomised qmc" if stratified else "monte carlo")
