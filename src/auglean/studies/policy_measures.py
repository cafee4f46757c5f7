"""What a policy does to each of some images, in numbers: spread, displacement, directions, and draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean.data import ImageSet
from auglean.moments import Moments
from auglean.moments.comparing import strength
from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.rules import worst
from auglean.moments.sample_sizes import draws_for, heavier
from auglean.policies import Policy

#: What is told of each image by name; see `Measures`.
NAMES = ("trace", "displacement", "effective_rank", "rank_90", "rank_99", "spread", "fourth")


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers of each image, `(n,)`, float64, and how they were got.

    Attributes:
        trace: `tr C`: the variances of all pixels together.
        displacement: `‖μ − x‖ / ‖x‖`: how far the mean of all copies is from the original.
        effective_rank: `(tr C)² / ‖C‖²`, the number of equally strong directions that would be as concentrated.
        rank_90: Leading directions that hold 90 % of the trace.
        rank_99: Leading directions that hold 99 % of the trace.
        spread: `√(tr C) / ‖μ‖`: how far a copy is from that mean, relative to it.
        fourth: `√((E ‖T − μ‖⁴ − ‖C‖²) / ‖C‖²)`: relative error of the covariance of one draw, by its first term.
        shares: Share of the trace that each leading direction holds. Shape `(n, k)`, descending.
        kind: The least sure way in which moments were got.
        error: Largest relative error of the means and traces.
        nodes: Nodes, shifts or draws, at most.
        seconds: Of the moments.
        note: What the moments say of themselves.
    """

    trace: Tensor
    displacement: Tensor
    effective_rank: Tensor
    rank_90: Tensor
    rank_99: Tensor
    spread: Tensor
    fourth: Tensor
    shares: Tensor
    kind: str
    error: float
    nodes: int
    seconds: float
    note: str


def measure_policy(policy: Policy, data: ImageSet, *, device: torch.device | None = None, **options: Any) -> Measures:
    """Measure a policy on each of some images.

    Args:
        policy: The policy.
        data: The images.
        device: Where to compute.
        options: Of `Policy.moments`.

    >>> from auglean.policies import Flip
    >>> data = ImageSet(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.tensor([0]))
    >>> found = measure_policy(Flip(0.5), data)
    >>> found.trace.tolist(), found.displacement.tolist(), found.rank_99.tolist(), found.kind
    ([0.5], [0.7071067811865476], [1.0], 'exact finite')
    """
    rows: list[Tensor] = []
    shares: list[Tensor] = []
    parts: list[Moments] = []
    for _, x, _, moments in moments_in_pieces(policy, Examples(data), device=device, **options):
        numbers, own = strength(moments, x)
        trace, _, effective, *_ = numbers
        squares = trace.square() / effective.clamp(min=1e-300)  # ‖C‖²
        spread = trace.sqrt() / moments.mean.flatten(1).norm(dim=1).clamp(min=1e-12)
        fourth = ((moments.m4 - squares).clamp(min=0) / squares.clamp(min=1e-300)).sqrt()
        rows.append(torch.cat([numbers, spread[None], fourth[None]]).cpu())
        shares.append(own.cpu())
        parts.append(moments)
    return Measures(
        **dict(zip(NAMES, torch.cat(rows, 1), strict=True)),
        shares=torch.cat(shares),
        kind=worst([part.kind for part in parts]),
        error=max(float(part.error.max()) for part in parts),
        nodes=max(part.nodes for part in parts),
        seconds=sum(part.seconds for part in parts),
        note=next((part.note for part in parts if part.note), ""),
    )


def draws_needed(measures: Measures, *, eps: float, delta: float) -> dict[str, Tensor]:
    """Count the draws of each image that bring a relative error down to `eps`.

    `mean` and `covariance` are for a root mean square error, `confident` is for the mean with probability `1 − δ`; the
    formulas are those of `auglean.samples_needed`.

    >>> from auglean.policies import Brightness
    >>> grey = ImageSet(torch.full((1, 1, 4, 4), 51, dtype=torch.uint8), torch.tensor([0]))
    >>> found = draws_needed(measure_policy(Brightness(0.5), grey), eps=0.01, delta=0.05)
    >>> [round(float(found[name])) for name in ("mean", "covariance", "confident")]  # (1 / 12) / 0.01², 0.8 / 0.01²
    [833, 8002, 3201]
    """
    none, wanted = torch.zeros_like(measures.trace), torch.full_like(measures.trace, eps**2)
    variance, rank = measures.spread.square(), measures.effective_rank.clamp(min=1)
    pairs = torch.where(measures.trace > 0, 1 + rank, none)  # (‖C‖² + tr² C) / ‖C‖²
    return {
        "mean": draws_for(variance, none, wanted),
        "confident": draws_for(variance, none, wanted / heavier(rank, delta)),
        "covariance": draws_for(measures.fourth.square(), pairs, wanted),
    }


def summary(values: Tensor) -> dict[str, Any]:
    """Give median, 5th and 95th percentile, and the values to six digits."""
    low, middle, high = torch.quantile(values, torch.tensor([0.05, 0.5, 0.95], dtype=values.dtype)).tolist()
    return {"median": middle, "p5": low, "p95": high, "values": [float(f"{value:.6g}") for value in values.tolist()]}
