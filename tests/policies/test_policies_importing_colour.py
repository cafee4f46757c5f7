"""torchvision's colour operators at the same parameters, and which policies its transforms become."""

import itertools

import pytest
import torch

import auglean as al
from auglean.policies import (
    TORCHVISION_GREY,
    Brightness,
    ChannelPermutation,
    ColorJitter,
    Contrast,
    Equalize,
    Grayscale,
    Hue,
    Mixture,
    Posterize,
    Quantize,
    SolarizeAbove,
)


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = images(2, 3, 9, 12)
GREY = images(2, 1, 9, 12)


def one(value):
    return torch.tensor([value], dtype=torch.float64)


def same(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("x", [X, GREY])
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.8])
def test_enhancers(v2, x, factor):
    read, params = al.from_torchvision, {"factor": one(factor)}
    F = v2.functional
    same(read(v2.ColorJitter(brightness=0.9)).apply(x, params), F.adjust_brightness(x, factor))
    same(read(v2.ColorJitter(contrast=0.9)).apply(x, params), F.adjust_contrast(x, factor))
    same(read(v2.ColorJitter(saturation=0.9)).apply(x, params), F.adjust_saturation(x, factor))
    sharpness = read(v2.RandomAdjustSharpness(factor, p=1.0))
    same(sharpness(x), F.adjust_sharpness(x, factor))


def test_other_weights_of_grey_would_be_seen():
    x, params = X, {"factor": one(0.3)}
    assert (Contrast(1).apply(x, params) - Contrast(1, weights=TORCHVISION_GREY).apply(x, params)).abs().max() > 1e-6


@pytest.mark.parametrize("hue", [-0.5, -0.1, 0.0, 0.23, 0.5])
def test_hue(v2, hue):
    # torchvision turns hues in float32, whatever the image
    policy = al.from_torchvision(v2.ColorJitter(hue=0.5))
    same(policy.apply(X, {"hue": one(hue)}), v2.functional.adjust_hue(X, hue), 1e-5)
    same(policy.apply(GREY, {"hue": one(hue)}), v2.functional.adjust_hue(GREY, hue))


def test_jitter_in_every_order(v2):
    transform = v2.ColorJitter(0.9, 0.9, 0.9)
    policy = al.from_torchvision(transform)
    assert isinstance(policy, ColorJitter)
    factors = {"brightness_factor": 1.6, "contrast_factor": 0.4, "saturation_factor": 1.7}
    ours = {f"{i}.factor": one(value) for i, value in enumerate(factors.values())}
    for j, order in enumerate(itertools.permutations(range(3))):
        expected = transform.transform(X, {"fn_idx": torch.tensor(order), "hue_factor": None, **factors})
        same(policy.apply(X, ours | {"order": torch.tensor([j])}), expected)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("kernel", [3, 5, (7, 3)])
def test_blur(v2, sigma, kernel):
    policy = al.from_torchvision(v2.GaussianBlur(kernel, (0.1, 2.0)))
    expected = v2.functional.gaussian_blur(X, [kernel, kernel] if isinstance(kernel, int) else list(kernel), [sigma])
    same(policy.apply(X, {"sigma": one(sigma)}), expected)
    assert policy.linear


@pytest.mark.parametrize(
    ("make", "call"),
    [
        (lambda v2: v2.RandomGrayscale(1.0), lambda F: F.rgb_to_grayscale(X, 3)),
        (lambda v2: v2.Grayscale(3), lambda F: F.rgb_to_grayscale(X, 3)),
        (lambda v2: v2.RandomInvert(1.0), lambda F: F.invert(X)),
        (lambda v2: v2.RandomAutocontrast(1.0), lambda F: F.autocontrast(X)),
        (lambda v2: v2.RandomPosterize(3, 1.0), lambda F: F.posterize(X, 3)),
        (lambda v2: v2.RandomPosterize(0, 1.0), lambda F: F.posterize(X, 0)),
        (lambda v2: v2.RandomSolarize(0.4, 1.0), lambda F: F.solarize(X, 0.4)),
    ],
)
def test_certain_operators(v2, make, call):
    same(al.from_torchvision(make(v2))(X), call(v2.functional))


def test_equalize(v2):
    x = images(2, 3, 30, 31) ** 3
    policy = al.from_torchvision(v2.RandomEqualize(1.0))
    same(policy(x), v2.functional.equalize(x))
    same(policy(X), v2.functional.equalize(X))  # too small to be equalised, and rounded nevertheless


def test_whole_levels(v2):
    """Before ToDtype thresholds and bits count levels of uint8."""
    x = torch.randint(0, 256, (1, 3, 30, 31), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for transform in (v2.RandomSolarize(100, 1.0), v2.RandomPosterize(3, 1.0), v2.RandomEqualize(1.0)):
        whole = v2.Compose([transform, v2.ToDtype(torch.float64, scale=True)])
        policy = al.from_torchvision(whole)
        same(policy(x.double() / 255), whole(x))
    inner = policy.parts[0]
    assert isinstance(inner, Equalize)
    assert inner.rounding == "nearest"


def test_what_is_read(v2):
    read = al.from_torchvision
    assert isinstance(read(v2.ColorJitter(0.4)), Brightness)
    assert isinstance(read(v2.ColorJitter(hue=0.1)), Hue)
    assert read(v2.ColorJitter()).parts == []
    assert isinstance(read(v2.RandomGrayscale(0.3)).parts[0], Grayscale)
    assert read(v2.RandomGrayscale(0.3)).weights == (0.3, 0.7)
    assert isinstance(read(v2.RandomPosterize(3)).parts[0], Quantize)
    assert isinstance(read(v2.RandomSolarize(0.5)).parts[0], SolarizeAbove)
    assert isinstance(read(v2.RandomChannelPermutation()), ChannelPermutation)
    noise = read(v2.GaussianNoise(0.1, 0.2, clip=False))
    assert (noise.mean, noise.sigma, noise.clamp) == (0.1, 0.2, False)
    assert isinstance(
        read(v2.Compose([v2.RandomPosterize(3), v2.ToDtype(torch.float32, scale=True)])).parts[0], Posterize
    )


def test_photometric_distortion_has_two_orders(v2):
    policy = al.from_torchvision(v2.RandomPhotometricDistort())
    assert isinstance(policy, Mixture)
    assert policy.weights == (0.5, 0.5)
    first, second = (["".join(str(part.parts[0]).partition("(")[0]) for part in way.parts] for way in policy.parts)
    assert first == ["Brightness", "Contrast", "Saturation", "Hue", "ChannelPermutation"]
    assert second == ["Brightness", "Saturation", "Hue", "Contrast", "ChannelPermutation"]


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugmentWide", "AutoAugment", "AugMix", "JPEG"])
def test_what_is_only_called(v2, name):
    policy = al.from_torchvision(getattr(v2, name)(*[50] * (name == "JPEG")))
    assert not policy.linear
    assert policy.note.startswith(name)


def test_what_is_refused(v2):
    with pytest.raises(al.InputError, match="one channel"):
        al.from_torchvision(v2.Grayscale())
