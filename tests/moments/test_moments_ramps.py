"""One clamped factor in closed form, against Gauss nodes between the knots of every value, found apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moment_case import brute, images

from auglean.policies import (
    AddBrightness,
    Brightness,
    ColorJitter,
    Contrast,
    HSVSaturation,
    Saturation,
    Sharpness,
)

POLICIES = [
    Brightness(0.6),
    Brightness((1.5, 4.0)),  # some values stand still throughout
    Contrast(0.9),
    Saturation(3.0),
    Sharpness(4.0),
    AddBrightness(0.7),
    HSVSaturation(1.0),
]


def reference(policy, x, order=6):
    """Outputs and weights: Gauss nodes of each piece between the points at which some value bends."""
    low, high = policy.low, policy.high
    grid = torch.linspace(low, high, 3, dtype=torch.float64)
    if isinstance(policy, HSVSaturation):
        top, bottom = x.amax(0).flatten().numpy(), x.amin(0).flatten().numpy()
        knots = top[top > bottom] / (top - bottom)[top > bottom]
    else:
        free = type(policy)((low, high), clamp=False)
        y = free.apply(x.expand(3, *x.shape), {policy.parameter: grid}).flatten(1).numpy()
        slope = (y[2] - y[0]) / (high - low)
        assert np.allclose(y[1], (y[0] + y[2]) / 2)
        moving = slope != 0
        knots = np.concatenate([low + (to - y[0][moving]) / slope[moving] for to in (0.0, 1.0)])
    knots = np.unique(np.concatenate([[low, high], knots[(knots > low) & (knots < high)]]))
    place, share = np.polynomial.legendre.leggauss(order)
    half = np.diff(knots)[:, None] / 2
    nodes = torch.from_numpy(((knots[1:] + knots[:-1])[:, None] / 2 + half * place).ravel())
    weights = torch.from_numpy((half * share / (high - low)).ravel())
    return policy.apply(x.expand(len(nodes), *x.shape), {policy.parameter: nodes}), weights


@pytest.mark.parametrize("policy", POLICIES)
def test_all_moments_of_a_clamped_factor_are_exact(policy):
    x = images(2, 3, 5, 6)
    x[1, :, 0, :3] = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)  # ends, and grey
    found = policy.moments(x)
    assert found.kind == "exact panels"
    assert not found.error.any()
    v = images(2, 3, 5, 6, seed=1)
    for i in range(2):
        outputs, weights = reference(policy, x[i])
        mean, covariance = brute(outputs, weights)
        off = outputs.flatten(1) - mean
        torch.testing.assert_close(found.mean[i].flatten(), mean, rtol=0, atol=1e-13)
        torch.testing.assert_close(found.variance[i].flatten(), covariance.diagonal(), rtol=0, atol=1e-13)
        torch.testing.assert_close(found.matvec(v)[i].flatten(), covariance @ v[i].flatten(), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.dense()[i], covariance, rtol=0, atol=1e-13)
        torch.testing.assert_close(found.m4[i], weights @ off.square().sum(1).square(), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.frobenius2[i], covariance.square().sum(), rtol=1e-12, atol=0)


def test_many_distinct_values_need_no_more_nodes():
    x = images(1, 20, 20)  # hundreds of knots, which would be more nodes than `most`
    found = Brightness(0.9).moments(x, most=64)
    assert found.kind == "exact panels"
    factors = 0.1 + 1.8 * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    y = Brightness(0.9).apply(x.expand(2000, 1, 20, 20), {"factor": factors}).flatten(1)
    torch.testing.assert_close(found.mean.flatten(), y.mean(0), rtol=0, atol=1e-5)
    off = y - y.mean(0)
    v = images(1, 20, 20, seed=2)
    torch.testing.assert_close(found.matvec(v).flatten(), off.T @ (off @ v.flatten()) / 2000, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.frobenius2, (off @ off.T).square().sum() / 2000**2, rtol=1e-5, atol=0)


def test_what_stands_still_has_no_variance():
    x = torch.zeros(1, 2, 3, dtype=torch.float64)
    x[0, 1] = 1.0
    found = Brightness((1.0, 2.0)).moments(x)
    torch.testing.assert_close(found.mean, x)
    assert not found.variance.any()
    assert not found.matvec(images(1, 2, 3)).any()


def test_a_jitter_of_one_factor_is_that_factor():
    x = images(3, 5, 6)
    jitter, alone = ColorJitter(0.5).moments(x), Brightness(0.5).moments(x)
    torch.testing.assert_close(jitter.mean, alone.mean, rtol=0, atol=0)
    torch.testing.assert_close(jitter.dense(), alone.dense(), rtol=0, atol=0)
