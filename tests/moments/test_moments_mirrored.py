"""A displacement and a flip, in either order, as a mixture of two displacements: against the nodes of both."""

from __future__ import annotations

import pytest
import torch
from moment_case import brute, images

from auglean.moments.planning import Question, rule
from auglean.moments.rules import values
from auglean.policies import Affine, Flip, RandomCrop, Shift, Translate

MOVES = [
    RandomCrop((2, 0, 1, 1)),
    RandomCrop(1, outside="reflection"),
    Translate(1.5, fill=0.3, padding="border"),
    Shift(0.2, 0.3, whole=True),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("flip", [Flip(0.3), Flip(0.6, vertical=True)])
@pytest.mark.parametrize("flip_last", [False, True])
def test_all_moments_are_those_of_the_nodes(move, flip, flip_last):
    policy = move | flip if flip_last else flip | move
    x = images(2, 3, 5, 6)
    found = policy.moments(x)
    own = rule(policy, Question((3, 5, 6), x, fourth=True))
    assert own is not None
    assert found.kind == own.kind
    assert not found.error.any()
    outputs = values(policy, own, x, 0, len(own), channelwise=False)
    v = images(2, 3, 5, 6, seed=1)
    for i in range(2):
        mean, covariance = brute(outputs[:, i], own.weights[:, 0])
        torch.testing.assert_close(found.mean[i].flatten(), mean, rtol=0, atol=1e-13)
        torch.testing.assert_close(found.variance[i].flatten(), covariance.diagonal(), rtol=0, atol=1e-13)
        torch.testing.assert_close(found.matvec(v)[i].flatten(), covariance @ v[i].flatten(), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.dense()[i], covariance, rtol=0, atol=1e-12)
        distance = (outputs[:, i].flatten(1) - mean).square().sum(1)
        torch.testing.assert_close(found.m4[i], own.weights[:, 0] @ distance.square(), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.frobenius2[i], covariance.square().sum(), rtol=1e-11, atol=0)


def test_an_affine_that_only_shifts_needs_no_nodes():
    x = images(1, 24, 24)
    alone, joint = Shift(0.3, 0.2, whole=True).moments(x), Affine(shares=(0.3, 0.2), whole=True).moments(x, most=9)
    assert joint.kind == "exact finite"
    torch.testing.assert_close(joint.mean, alone.mean, rtol=0, atol=0)
    torch.testing.assert_close(joint.variance, alone.variance, rtol=0, atol=0)
