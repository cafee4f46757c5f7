"""Policies from strings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_case import generator, images

from auglean.errors import InputError
from auglean.policies import Compose, Flip, Rotate, Translate, parse, sometimes

NAMES = {
    "none": "Identity()",
    "flip": "Flip(0.5)",
    "flip0.3": "Flip(0.3)",
    "crop4-flip": "RandomCrop(4) | Flip(0.5)",
    "translate4-rotate15": "Translate(4) | Rotate(15)",
    "scale0.2": "Scale(0.2)",
    "shear10": "Shear(10)",
    "cutout8": "Cutout(8)",
    "brightness0.4-contrast0.4-saturation0.4": "Brightness(0.4) | Contrast(0.4) | Saturation(0.4)",
    "sharpness.5": "Sharpness(0.5)",
    "posterize4-solarize0.5": "Posterize(4) | Solarize(0.5)",
    "autocontrast-equalize": "AutoContrast() | Equalize()",
    "rand": "RandAugment(n=2, m=9)",
    "rand-m9-n2": "RandAugment(n=2, m=9)",
    "rand-n3-m5.5": "RandAugment(n=3, m=5.5)",
    "rand-m7-inc1": "RandAugment(n=2, m=7)",
    "rand-m7-cutout4": "RandAugment(n=2, m=7) | Cutout(4)",
    "augmix-w3": "AugMix(width=3, depth=None, severity=3)",
    "augmix-m5-w4-d2": "AugMix(width=4, depth=2, severity=5)",
    "crop4-flip-trivial": "RandomCrop(4) | Flip(0.5) | TrivialAugment()",
    " Flip ": "Flip(0.5)",
}


@pytest.mark.parametrize("text", NAMES)
def test_parse(text):
    policy = parse(text)
    assert repr(policy) == NAMES[text]
    assert repr(parse(policy.name)) == NAMES[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "Unknown policy 'flop'; did you mean 'flip'"),
        ("translat4", "did you mean 'translate'"),
        ("randaugment", "Unknown policy 'randaugment'"),
        ("", "Unknown policy ''"),
        ("flip-", "Unknown policy ''"),
        ("rotate15-15", "Unknown policy '15'"),
        ("rotate", "'rotate' needs a magnitude, such as 'rotate15'"),
        ("none4", "'none' takes no magnitude"),
        ("crop2.5", "RandomCrop expected a padding of 0 or more whole pixels but found 2.5"),
        ("scale1.5", "Scale expected an amount of 0 or more and below 1"),
        ("flip2", "probability of Flip expected a finite number from 0 to 1"),
        ("posterize9", "from 1 to 8"),
        ("rand-m12", "from 0 to 10"),
        ("rand-m9-mstd0.5", "'rand' has no option 'mstd0.5'; its options are m, n"),
        ("rand-m9-inc0", "'rand' has no option 'inc0'"),
        ("rand-m9-m3", "option 'm' twice"),
        ("augmix-a2", "'augmix' has no option 'a2'; its options are m, w, d"),
        ("augmix-w0", "width of 1 or more"),
        ("rotate1e3", "Unknown policy"),
    ],
)
def test_bad_strings(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


@given(
    st.floats(0, 1e6, allow_nan=False),
    st.floats(0, 360, width=32),
    st.floats(0, 1),
)
def test_any_magnitude_reads_back_exactly(pixels, degrees, p):
    policy = Translate(pixels) | Rotate(degrees) | Flip(p)
    again = parse(policy.name)
    assert isinstance(again, Compose)
    first, second, third = again.parts
    assert (first.pixels, second.degrees, third.p) == (pixels, degrees, p)


def test_what_no_string_says_is_named_by_its_repr():
    for policy in (Translate(4, fill=0.5), sometimes(0.5, Flip()), Flip() | Translate(4, padding="border")):
        assert policy.name == repr(policy)
        with pytest.raises(InputError):
            parse(policy.name)


def test_order_is_from_left_to_right():
    x = images(4)
    chain = Translate(4) | Rotate(15)
    assert torch.equal(parse("translate4-rotate15")(x, generator=generator()), chain(x, generator=generator()))
