"""What torchvision draws of colours against what we compute, and for each a wrong twin that must be seen."""

import pytest
from draws import agree, drawn
from moment_case import images

import auglean as al
from auglean.policies import (
    Brightness,
    ColorJitter,
    Contrast,
    Equalize,
    GaussianBlur,
    Grayscale,
    Hue,
    Invert,
    Posterize,
    Quantize,
    Saturation,
    Sharpness,
    SolarizeAbove,
    sometimes,
)

BRIGHT = images(3, 6, 7, seed=1) ** 0.5
MANY = 20_000
# name: transform, kind, wrong twin, calls
CASES = {
    "brightness": (
        lambda v2: v2.ColorJitter(brightness=0.4),
        "exact panels",
        Brightness(0.4, clamp=False),
        MANY,
    ),
    "contrast": (
        lambda v2: v2.ColorJitter(contrast=(1.0, 2.5)),
        "exact panels",
        Contrast((1.0, 2.5), clamp=False),
        MANY,
    ),
    "saturation": (
        lambda v2: v2.ColorJitter(saturation=(0.0, 3.0)),
        "exact panels",
        Saturation((0.0, 3.0), weights=(0.114, 0.587, 0.299)),  # blue for red
        MANY,
    ),
    "hue": (lambda v2: v2.ColorJitter(hue=0.2), "exact panels", Hue((0.0, 0.2)), MANY),
    "jitter": (
        lambda v2: v2.ColorJitter(0.5, 0.5, 0.5),
        "quadrature",
        ColorJitter(0.5, 0.5, 0.5, clamp=False),
        MANY,
    ),
    "blur": (lambda v2: v2.GaussianBlur(5, (0.1, 2.0)), "quadrature", GaussianBlur(3, (0.1, 2.0)), MANY),
    "blur by two sizes": (
        lambda v2: v2.GaussianBlur((7, 3), (0.5, 1.5)),
        "quadrature",
        GaussianBlur((3, 7), (0.5, 1.5)),  # height for width
        MANY,
    ),
    "grayscale": (
        lambda v2: v2.RandomGrayscale(0.3),
        "exact finite",
        sometimes(0.3, Grayscale(weights=(1 / 3, 1 / 3, 1 / 3))),
        MANY,
    ),
    "posterize": (
        lambda v2: v2.RandomPosterize(2, 0.4),
        "exact finite",
        sometimes(0.4, Posterize((2, 2))),  # of levels
        MANY,
    ),
    "solarize": (
        lambda v2: v2.RandomSolarize(0.6, 0.4),
        "exact finite",
        sometimes(0.4, SolarizeAbove(0.7)),
        MANY,
    ),
    "sharpness": (
        lambda v2: v2.RandomAdjustSharpness(4.0, 0.4),
        "exact finite",
        sometimes(0.4, Sharpness((4.0, 4.0), clamp=False)),
        MANY,
    ),
    "invert": (lambda v2: v2.RandomInvert(0.3), "exact finite", sometimes(0.5, Invert()), MANY),
    "equalize": (
        lambda v2: v2.RandomEqualize(0.4),
        "exact finite",
        sometimes(0.4, Quantize(8)),
        MANY,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_against_torchvision(v2, name):
    make, kind, wrong, calls = CASES[name]
    size = (3, 20, 20) if name == "equalize" else (3, 6, 7)
    x = BRIGHT if size == BRIGHT.shape else images(*size) ** 2
    transform = make(v2)
    draws = drawn(transform, x, calls)
    found = al.from_torchvision(transform).moments(x)
    assert found.kind == kind
    assert agree(draws, found)
    assert not agree(draws, wrong.moments(x))


def test_weights_of_grey_that_are_almost_the_same(v2):
    """No number of draws tells 0.2989 from 0.299, but a certain operator does."""
    x = images(3, 6, 7)
    right, wrong = al.from_torchvision(v2.RandomGrayscale(1.0)).moments(x), Grayscale().moments(x)
    assert float((right.mean - v2.functional.rgb_to_grayscale(x, 3)).abs().max()) < 1e-12
    assert float((wrong.mean - right.mean).abs().max()) > 1e-5
    assert Equalize(rounding="floor").moments(x).kind == "exact finite"
