"""How fast the mean and the covariance of drawn copies come near those of all copies: predicted, and measured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from auglean.moments import Moments
from auglean.policies import Policy
from auglean.randomness import generator

#: Numbers of draws at which the error is measured, if memory allows.
NUMBERS = (10, 30, 100, 300, 1000, 3000)
_BLOCKS = 6  # independent estimates of each number, at most
_MEMORY, _PRODUCTS = 2**28, 8e9  # bytes of draws, and multiplications of their products, at most
_QUANTILES = (0.05, 0.95)
_SIMULATED = 20_000
_SHAPE = 500  # other draws, from which the shape of a law is taken that no closed form gives


def convergence(policy: Policy, image: Tensor, moments: Moments, *, seed: int = 0) -> dict[str, Any]:
    """Predict the relative error of N draws from the moments, and measure it by draws.

    `E ‖μ̂ − μ‖² = tr C / N`, and its law is that of `Σ λ_i χ²₁ / N`, by the central limit theorem. Of the unbiased
    covariance `E ‖Ĉ − C‖² = (m₄ − ‖C‖²) / N + (‖C‖² + tr² C) / (N (N − 1))`, `m₄ = E ‖T − μ‖⁴`. Its first term has a
    law of the same form, by the eigenvalues of the covariance of `(T − μ)(T − μ)ᵀ`: their sum is known, and their
    shares of it are taken from 500 other draws.

    Args:
        policy: The policy.
        image: Shape `(C, H, W)`.
        moments: Of the policy on that image.
        seed: Of the draws.

    Returns:
        The numbers of draws `n`, and for `mean` and `covariance` the relative error of one draw at root mean square by
        the first term, `unit`, so that of N it is `unit / √N`, and the 5 and 95 % quantiles of it, `low` and `high`; of
        the covariance also `second`, the root of the other term; and lists of `measured` errors.
    """
    values = moments.factor().square().sum(0)  # eigenvalues of the covariance
    trace, frobenius2, m4 = (float(found) for found in (moments.trace, moments.frobenius2, moments.m4))
    size = float(moments.mean.norm())
    ends = _ends(values / size**2, seed)
    spread = max(m4 - frobenius2, 0.0) / frobenius2
    d = image.numel()
    numbers = [n for n in NUMBERS if 8 * n * d <= _MEMORY and n * min(n, d) * d <= _PRODUCTS] or [NUMBERS[0]]
    mean, covariance = _measured(policy, image, moments, numbers, seed)
    shape = _shares(policy, image, moments, seed) if spread else values[:1] * 0
    return {
        "n": numbers,
        "mean": {"unit": math.sqrt(trace) / size, **ends, "measured": mean},
        "covariance": {
            "unit": math.sqrt(spread),
            **_ends(spread * shape, seed),
            "second": math.sqrt((frobenius2 + trace**2) / frobenius2),
            "measured": covariance,
        },
    }


def _ends(values: Tensor, seed: int) -> dict[str, float]:
    """Give the 5 and 95 % quantiles of `√(Σ λ χ²₁)`."""
    chi = torch.randn(_SIMULATED, len(values), dtype=torch.float64, generator=generator(seed, "chi")).square()
    quantiles = torch.tensor(_QUANTILES, dtype=torch.float64)
    low, high = torch.quantile((chi @ values.cpu()).sqrt(), quantiles).tolist()
    return {"low": low, "high": high}


def _shares(policy: Policy, image: Tensor, moments: Moments, seed: int) -> Tensor:
    """Give the eigenvalues of the covariance of `a aᵀ`, `a = T − μ`, as shares of their sum, estimated from draws.

    Their Gram matrix has the entries `⟨a aᵀ − C, b bᵀ − C⟩ = (a·b)² − aᵀ C a − bᵀ C b + ‖C‖²`.
    """
    copies = policy(image.double().expand(_SHAPE, *image.shape), generator=generator(seed, "shape"))
    away = copies.flatten(1) - moments.mean.flatten()
    own = (away * moments.covariance.matvec(away.T[None])[0].T).sum(1)  # aᵀ C a
    gram = (away @ away.T).square() - own[:, None] - own + moments.frobenius2
    values: Tensor = torch.linalg.eigvalsh(gram).clamp(min=0)
    return values / values.sum()


def _measured(
    policy: Policy, image: Tensor, moments: Moments, numbers: list[int], seed: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Give the relative errors of means and covariances of N draws, several times for each N."""
    most = max(numbers)
    copies = policy(image.double().expand(most, *image.shape), generator=generator(seed, "convergence"))
    away = copies.flatten(1) - moments.mean.flatten()  # (most, D)
    product = moments.covariance.matvec(away.T[None])[0].T  # C times each
    size, norm = float(moments.mean.norm()), float(moments.frobenius2.sqrt())
    means: list[list[float]] = []
    covariances: list[list[float]] = []
    for n in numbers:
        blocks = [slice(n * i, n * (i + 1)) for i in range(min(_BLOCKS, most // n))]
        means.append([float(away[rows].mean(0).norm()) / size for rows in blocks])
        covariances.append([_distance(away[rows], product[rows], moments) / norm for rows in blocks])
    return means, covariances


def _distance(away: Tensor, product: Tensor, moments: Moments) -> float:
    """Give `‖Ĉ − C‖` without a D × D matrix: `‖Ĉ‖² − 2 ⟨Ĉ, C⟩ + ‖C‖²`."""
    n = len(away)
    centred = away - away.mean(0)
    gram = centred @ centred.T if n <= away.shape[1] else centred.T @ centred
    inner = ((away * product).sum() - n * away.mean(0) @ product.mean(0)) / (n - 1)
    return float((gram.square().sum() / (n - 1) ** 2 - 2 * inner + moments.frobenius2).clamp(min=0).sqrt())
