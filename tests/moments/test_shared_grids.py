"""Many images at once, beside each alone: nodes that are sampled by shared taps are those of the policy."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_case import images

from auglean.moments.covariances import glimpse
from auglean.moments.rules import Rule, apply_each
from auglean.moments.shared_grids import pays, shared_moments
from auglean.policies import Affine, Cutout, Rotate, Scale, Shear, Shift, Translate

POLICIES = [
    Rotate(200),
    Scale((0.3, 3)),
    Shear(60, fill=0.25),
    Shear(50, vertical=True),
    Translate(9, fill=(0.1, 0.5, 1.0)),
    Shift(0.4, 0.9, fill=1.0),
    Affine(degrees=30, pixels=3, scale=0.4, shear=20, centre=(0.5, 3.0)),
]


def drawn(policy, nodes, seed):
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(nodes, 1, generator=g, dtype=torch.float64)
    params = {name: value.double()[:, None] for name, value in policy.draw(nodes, generator=g).items()}
    return Rule(params, weights / weights.sum(), "quadrature")


@given(
    st.sampled_from(POLICIES),
    st.sampled_from([(3, 5, 7), (3, 1, 6), (3, 8, 8), (3, 6, 1)]),
    st.integers(1, 9),
    st.integers(1, 30),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_they_are_the_weighted_sums_over_what_the_policy_makes(policy, size, count, nodes, seed):
    x, own = images(count, *size, seed=seed), drawn(policy, nodes, seed)
    made = apply_each(policy, own, x.expand(nodes, *x.shape), 0, nodes, channelwise=False).flatten(2)  # (K, B, D)
    centre = (own.weights[..., None] * made).sum(0)
    off = made - centre
    pixels, directions = glimpse(x[0].numel(), x.device)
    covariance = torch.einsum("k,kbd,kbe->bde", own.weights[:, 0], off, off)
    mean, variance, sketch = shared_moments(policy, own, x, (pixels, directions))
    for found, expected in (
        (mean, centre),
        (variance, covariance.diagonal(dim1=1, dim2=2)),
        (sketch, covariance[:, pixels, pixels] @ directions),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert shared_moments(policy, own, x)[2] is None


@pytest.mark.parametrize("count", [100, 3])
def test_groups_and_steps_join(count, monkeypatch):
    x, policy = images(count, 3, 9, 7), Rotate(30)
    own = drawn(policy, 12, 0)
    whole = shared_moments(policy, own, x, glimpse(189, x.device))
    for name, value in (("_PLANES", 7), ("_BLOCK", 5000), ("_TAPS", 40)):
        monkeypatch.setattr(f"auglean.moments.shared_grids.{name}", value)
    for found, expected in zip(shared_moments(policy, own, x, glimpse(189, x.device)), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_a_batch_is_as_each_image_alone(monkeypatch):
    from auglean.moments import tasks

    asked = []
    monkeypatch.setattr(tasks, "shared_moments", lambda *given: asked.append(len(given[1])) or shared_moments(*given))
    x, policy = images(96, 1, 12, 12), Rotate(20)
    many = policy.moments(x)
    assert asked
    asked.clear()
    for i in (0, 17, 95):
        alone = policy.moments(x[i])
        torch.testing.assert_close(many.mean[i], alone.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(many.variance[i], alone.variance, rtol=0, atol=1e-12)
        torch.testing.assert_close(many.matvec(x)[i], alone.matvec(x[i]), rtol=0, atol=1e-12)
        torch.testing.assert_close(many.error[i], alone.error, rtol=1e-9, atol=1e-12)
    assert not asked


def test_where_it_pays():
    x, limit = images(96, 1, 12, 12), 2**29
    own = drawn(Rotate(20), 32, 0)
    assert pays(Rotate(20), own, x, limit, None)
    for option in ({"padding": "border"}, {"padding": "masked"}, {"interpolation": "nearest"}):
        assert not pays(Rotate(20, **option), own, x, limit, None)
    assert not pays(Cutout(4), own, x, limit, None)
    assert not pays(Rotate(20), own, x[:20].repeat(1, 1, 9, 9), limit, None)  # few planes
    assert not pays(Rotate(20), drawn(Rotate(20), 9, 0), x, limit, None)  # few nodes, which are kept
    assert not pays(Rotate(20), replace(own, weights=own.weights.expand(-1, 96)), x, limit, None)  # not shared
    assert not pays(Rotate(20), own, x, 2**20, None)
    assert not pays(Rotate(20), drawn(Rotate(20), 4096, 0), x, limit, glimpse(144, x.device))  # few at once
