"""Draws of another library's transforms, held against moments."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.moments import Moments


def drawn(transform, x: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """Call a transform on one image n times, under torch's default generator. `(n, D)`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.stack([transform(x) for _ in range(n)]).flatten(1).double()


def mean_excess(draws: Tensor, found: Moments) -> float:
    """`N ‖μ̂ − μ‖² / tr C` over the 99.9 % point of its law `Σ λ χ²₁ / tr C`: above 1 where the mean is another's."""
    n = len(draws)
    spectrum = torch.linalg.eigvalsh(found.dense()).clamp(min=0)
    spectrum = spectrum[spectrum > 1e-9 * spectrum.sum()] / spectrum.sum()
    chance = torch.randn(20_000, len(spectrum), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bound = (chance.square() @ spectrum).quantile(0.999)
    distance = float((draws.mean(0) - found.mean.flatten()).norm()) - float(found.error * found.mean.norm())
    return float(n * max(distance, 0.0) ** 2 / found.trace / bound)


def trace_excess(draws: Tensor, found: Moments) -> float:
    """How far the trace of the draws is off, in four of its standard errors: above 1 where it is another's."""
    trace, n = float(found.trace), len(draws)
    error = (max(float(found.m4) - trace**2, 0.0) / n + 2 * trace**2 / n**2) ** 0.5  # a two-point law has m4 = tr²
    return abs(float(draws.var(0).sum()) - trace) / (4 * error + float(found.error) * trace)


def agree(draws: Tensor, found: Moments) -> bool:
    return mean_excess(draws, found) <= 1 and trace_excess(draws, found) <= 1
