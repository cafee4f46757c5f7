"""Weaker policies: the same draws nearer to what changes nothing, at every strength."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import auglean as al
from auglean.policies import (
    AddBrightness,
    Affine,
    Brightness,
    Clamp,
    ColorJitter,
    Compose,
    Contrast,
    Cutout,
    Flip,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    HSVSaturation,
    Hue,
    Normalize,
    Perspective,
    RandomCrop,
    Rotate,
    Saturation,
    Scale,
    Sharpness,
    Shear,
    Shift,
    Translate,
    mixture,
    parse,
    weaker,
)

# policy: the parameters that change nothing
NEUTRAL = [
    (Translate(2, padding="border"), {"shift": 0}),
    (Shift(0.2, 0.3, padding="masked", fill=0.5), {"share": 0}),
    (Rotate((-5, 20), interpolation="nearest"), {"angle": 0}),
    (Shear(10, vertical=True), {"angle": 0}),
    (Scale((0.8, 1.5)), {"factor": 1}),
    (Affine(degrees=10, pixels=2, scale=0.2, shear=(0, 5), shear_y=3), {"factor": 1}),
    (Affine(degrees=10, shares=(0.1, 0.2), centre=(1, 2)), {"factor": 1}),
    (Brightness(1.5), {"factor": 1}),
    (Contrast((0.5, 0.9), weights=(0.3, 0.4, 0.3)), {"factor": 1}),
    (Saturation(0.4, clamp=False), {"factor": 1}),
    (Sharpness(0.9), {"factor": 1}),
    (AddBrightness((-0.2, 0.1), clamp=False), {"offset": 0}),
    (Hue(0.2), {"hue": 0}),
    (HSVSaturation(1.5), {"factor": 1}),
    (Gamma((0.5, 2.0), gain=(0.8, 1.0)), {"gamma": 1, "gain": 1}),
    (GaussianBlur(3, (0.5, 2.0), border="replicate"), {"sigma": 0}),
]


@pytest.mark.parametrize(("policy", "neutral"), NEUTRAL, ids=lambda value: getattr(value, "name", None))
@given(strength=st.floats(0.01, 1))
@settings(max_examples=10, deadline=None)
def test_the_same_draws_are_nearer(policy, neutral, strength):
    strong, weak = (
        one.draw(20, generator=torch.Generator().manual_seed(0)) for one in (policy, weaker(policy, strength))
    )
    assert strong.keys() == weak.keys()
    for name, value in strong.items():
        still = neutral.get(name, 0)
        torch.testing.assert_close(weak[name], still + strength * (value - still), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", [policy for policy, _ in NEUTRAL], ids=repr)
def test_options_stay(policy):
    """What a weaker policy does with the same parameters is the same."""
    x = torch.rand(4, 3, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    params = policy.draw(4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(weaker(policy, 0.5).apply(x, params), policy.apply(x, params))


def test_parts_one_by_one():
    jitter = ColorJitter(0.4, hue=0.1)
    policy = (
        parse("translate2-rotate15") | mixture([Rotate(10), Brightness(0.2)], [1, 3]) | jitter | Normalize([0.5], [0.2])
    )
    shown = repr(policy)
    found = weaker(policy, 0.1)
    assert repr(policy) == shown  # which is left as it was
    assert isinstance(found, Compose)
    assert repr(found.parts[0]) == "Translate(0.2)"
    assert repr(found.parts[2].parts) == "[Rotate(1), Brightness(0.02)]"
    assert found.parts[2].weights == (0.25, 0.75)
    assert isinstance(found.parts[3], ColorJitter)
    assert found.parts[3].parts[1].amount == (-0.01, 0.01)
    assert found.parts[4] is policy.parts[4]
    noise = weaker(GaussianNoise(0.2, mean=0.1) | Clamp(), 0.5)
    assert (noise.parts[0].sigma, noise.parts[0].mean) == (0.1, 0.05)


def test_at_its_ends():
    policy = parse("translate2-rotate15")
    assert weaker(policy, 1) is policy
    x = torch.rand(1, 8, 8, dtype=torch.float64)
    assert weaker(policy | GaussianBlur(3, 1.0), 0).moments(x).trace == 0
    # a quarter of the strength has about a sixteenth of the variance
    found = [weaker(Rotate(2), strength).moments(x, tol=1e-6).trace for strength in (1, 0.25)]
    assert float(found[0] / found[1]) == pytest.approx(16, rel=0.1)


def test_whole_shifts_become_real_ones():
    assert repr(weaker(RandomCrop(4, outside="border"), 0.1)) == "Translate(0.4, padding='border')"
    assert not weaker(Shift(0.1, 0.1, whole=True), 0.5).whole


@pytest.mark.parametrize(
    "policy", [Flip(), Cutout(2), Perspective(0.2), Rotate(3) | Flip(), RandomCrop((1, 2, 3, 0)), parse("rand-m9-n1")]
)
def test_what_has_no_weaker_form_is_named(policy):
    with pytest.raises(al.InputError, match="has no weaker form"):
        weaker(policy, 0.1)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_that_are_none(strength):
    with pytest.raises(al.InputError, match="from 0 to 1"):
        weaker(Rotate(5), strength)
