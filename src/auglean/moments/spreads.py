"""How far one augmented sample is from the average, and what it adds to a sample covariance."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.losses import REPLICATES
from auglean.moments.planning import channelwise
from auglean.moments.rules import values, worst
from auglean.moments.sampling import keyed_rule
from auglean.policies import Policy
from auglean.randomness import generator

STRATA = 16  # stratified draws whose error is measured, and that of twice as many
_ROUNDING = 1e-12  # relative error of draws that hit a finite law exactly
_DENSE = 4096  # pixels up to which the average covariance of the data is formed


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Squared errors of one draw, and squared norms of what is to be known.

    Attributes:
        ids: Positions of the images. Shape `(n,)`.
        variance: `E ‖draw − average‖²`. Shape `(n,)`, float64.
        pairs: What pairs of draws add, over N (N − 1). Shape `(n,)`.
        size2: `‖average‖²`. Shape `(n,)`.
        freedom: Degrees of freedom of the squared error. Shape `(n,)`.
        data_variance: Mean of `variance` over n.
        data_size2: Squared norm of the average over the images; NaN where it was not formed.
        strata: K, a number of stratified draws.
        strata_error: Relative error of K stratified draws for the median image.
        rate: The error falls as `K^−rate`.
        how: How all this was got.
        seconds_of_draw: What one draw costs.
    """

    ids: Tensor
    variance: Tensor
    pairs: Tensor
    size2: Tensor
    freedom: Tensor
    data_variance: float
    data_size2: float
    strata: int
    strata_error: float
    rate: float
    how: str
    seconds_of_draw: float


def falling(errors2: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Give the median error and its rate from squared relative errors at K and 2K draws. Shapes `(n,)`."""
    first, second = (float(values.median().sqrt()) for values in errors2)
    if min(first, second) < _ROUNDING:
        return 0.0, 1.0
    rate = torch.log2(torch.tensor(first / second)).clamp(0.5, 4)
    return first, float(rate)


def probed(examples: Examples, probe: int, seed: int) -> Tensor:
    """Choose so many images, or all. Sorted positions."""
    chosen = torch.randperm(len(examples), generator=generator(seed, "probe"))[:probe]
    return chosen.sort().values


def moment_spread(
    policy: Policy, examples: Examples, target: Literal["mean", "covariance"], *, probe: int, seed: int
) -> Spread:
    """Give the spread of augmented images, or of what they add to a sample covariance."""
    rows: list[Tensor] = []
    kinds, errors = [], []
    average: Tensor | float = 0.0
    for _, x, _, found in moments_in_pieces(policy, examples):
        trace, norm2 = found.trace, found.frobenius2
        freedom = torch.where(norm2 > 0, trace.square() / norm2, 1.0)
        if target == "mean":
            rows.append(torch.stack([trace, torch.zeros_like(trace), found.mean.flatten(1).square().sum(1), freedom]))
            average = average + found.mean.sum(0)
        else:
            rows.append(torch.stack([(found.m4 - norm2).clamp(min=0), norm2 + trace.square(), norm2, 0 * norm2 + 1]))
            if x[0].numel() <= _DENSE:
                average = average + sum(columns @ columns.T for columns in found.covariance.columns())
            kinds.append(found.m4_kind)
        kinds.append(found.kind)
        errors.append(float(found.error.max()))
    variance, pairs, size2, freedom = torch.cat(rows, 1).cpu()
    count = len(examples)
    size = float(torch.as_tensor(average).square().sum()) / count**2
    error, rate = falling(_stratified_moments(policy, examples, target, probed(examples, probe, seed), seed))
    return Spread(
        ids=torch.arange(count),
        variance=variance,
        pairs=pairs,
        size2=size2,
        freedom=freedom,
        data_variance=float(variance.mean()) / count,
        data_size2=size if isinstance(average, Tensor) else float("nan"),
        strata=STRATA,
        strata_error=error,
        rate=rate,
        how=f"{worst(kinds)}" + (f", relative error up to {max(errors):.1g}" if max(errors) else ""),
        seconds_of_draw=_seconds_of_draw(policy, examples),
    )


def _seconds_of_draw(policy: Policy, examples: Examples) -> float:
    x, _ = examples.batch(torch.arange(min(len(examples), 64)))
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        policy(x, generator=torch.Generator(x.device).manual_seed(0))
        spent = time.perf_counter() - start
    return spent / len(x)


def _stratified_moments(
    policy: Policy, examples: Examples, target: str, chosen: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Give the squared relative errors of 16 and 32 stratified draws for some images. Shapes `(n,)`."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    alike = channelwise(policy)
    for ids, x, _, truth in moments_in_pieces(policy, Examples(examples.batch(chosen))):
        for double in (0, 1):
            squares = []
            for stream in range(REPLICATES):
                draws = STRATA << double
                own = keyed_rule(policy, ids.to(x.device), draws, seed=seed, stream=stream, stratified=True)
                copies = values(policy, own, x.double(), 0, len(own), channelwise=alike).flatten(2)  # (K, B, D)
                if target == "mean":
                    squares.append((copies.mean(0) - truth.mean.flatten(1)).square().sum(1))
                else:
                    factor = (copies - copies.mean(0)).permute(1, 2, 0) / (draws - 1) ** 0.5  # (B, D, K)
                    cross = (factor * truth.covariance.matvec(factor.contiguous())).sum((1, 2))
                    own2 = (factor.mT @ factor).square().sum((1, 2))
                    squares.append((own2 - 2 * cross + truth.frobenius2).clamp(min=0))
            size2 = truth.mean.flatten(1).square().sum(1) if target == "mean" else truth.frobenius2
            error = torch.stack(squares).mean(0)
            found[double].append(torch.where(size2 > 0, error / size2, 0.0).cpu())
    return torch.cat(found[0]), torch.cat(found[1])
