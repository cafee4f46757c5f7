"""Policies that change colours, through the shared case, against NumPy, colorsys and scipy."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import policy_references as ref
import pytest
import torch
from policy_case import PolicyCase, generator, images
from scipy import ndimage
from test_policies_each import UnclampedCase

from auglean.errors import InputError
from auglean.policies import (
    TORCHVISION_GREY,
    AddBrightness,
    Brightness,
    ChannelPermutation,
    Clamp,
    ColorJiggle,
    ColorJitter,
    Contrast,
    Equalize,
    Flip,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HSVSaturation,
    Hue,
    Invert,
    Posterize,
    Quantize,
    RandomOrder,
    Rotate,
    Saturation,
    Sharpness,
    Solarize,
    SolarizeAbove,
)
from auglean.randomness import Keys, normal


def per_pixel(function, image):
    """Send each colour through a function of three numbers; images of one channel stay."""
    if len(image) == 1:
        return image
    y = np.empty_like(image)
    for i, j in np.ndindex(image.shape[1:]):
        y[:, i, j] = function(*image[:, i, j])
    return y


def turned(image, hue):
    def turn(r, g, b):
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        return colorsys.hsv_to_rgb((h + hue) % 1, s, v)

    return per_pixel(turn, image)


def saturated(image, factor):
    def saturate(r, g, b):
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        return colorsys.hsv_to_rgb(h, min(1, s * factor), v)

    return per_pixel(saturate, image)


def blurred(image, sigma, kernel, mode="mirror"):
    for axis, size in zip((2, 1), kernel, strict=True):
        weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
        image = ndimage.correlate1d(image, weights / weights.sum(), axis=axis, mode=mode)
    return image


class TestAddBrightness(PolicyCase):
    def make(self):
        return AddBrightness((-0.3, 0.5))

    def reference(self, image, params):
        return (image + params["offset"]).clip(0, 1)


class TestGrayscale(PolicyCase):
    deterministic = True

    def make(self):
        return Grayscale()

    def reference(self, image, params):
        return np.broadcast_to(ref.grey(image), image.shape)


class TestHue(PolicyCase):
    tolerance32 = 1e-4  # what little chroma there is is divided by

    def make(self):
        return Hue(0.5)

    def reference(self, image, params):
        return turned(image, params["hue"])


class TestHSVSaturation(PolicyCase):
    def make(self):
        return HSVSaturation(0.9)

    def reference(self, image, params):
        return saturated(image, params["factor"])


class TestClamp(PolicyCase):
    deterministic = True

    def make(self):
        return Clamp()

    def reference(self, image, params):
        return image

    def test_equals_the_plain_formula(self):
        x = 3 * torch.rand(4, 3, 5, 5) - 1
        assert np.array_equal(Clamp()(x).numpy(), x.numpy().clip(0, 1))

    def test_does_something(self):
        assert torch.equal(Clamp()(torch.full((1, 1, 1, 1), 1.5)), torch.ones(1, 1, 1, 1))

    def test_linear_is_what_it_says(self):
        assert not Clamp().linear


class TestInvert(PolicyCase):
    deterministic = True

    def make(self):
        return Invert()

    def reference(self, image, params):
        return 1 - image


class TestQuantize(PolicyCase):
    deterministic, differentiable = True, False

    def make(self):
        return Quantize(3)

    def reference(self, image, params):
        return np.minimum(np.floor(image * 8), 7) / 8


class TestPosterizeFloor(PolicyCase):
    differentiable = False

    def make(self):
        return Posterize((2, 8), rounding="floor")

    def reference(self, image, params):
        return ref.posterize(image, params["bits"])  # of 8-bit levels, where both ways of rounding agree


class TestSolarizeAbove(PolicyCase):
    def make(self):
        return SolarizeAbove((0.3, 0.7), addition=(-0.1, 0.2))

    def reference(self, image, params):
        y = (image + params["addition"]).clip(0, 1)
        return np.where(y < params["threshold"], y, 1 - y)


class TestGamma(PolicyCase):
    def make(self):
        return Gamma((0.5, 2.0), gain=(0.8, 1.3))

    def reference(self, image, params):
        return (params["gain"] * image ** params["gamma"]).clip(0, 1)


class TestChannelPermutation(PolicyCase):
    tolerance = tolerance32 = 1e-7

    def make(self):
        return ChannelPermutation()

    def reference(self, image, params):
        orders = list(itertools.permutations(range(len(image))))
        return image[list(orders[int(params["order"] * len(orders))])]


class TestEqualizeFloor(PolicyCase):
    size = (3, 19, 17)
    differentiable, deterministic = False, True

    def make(self):
        return Equalize(rounding="floor")

    def reference(self, image, params):
        return ref.equalize(image)  # of 8-bit levels, where both ways of rounding agree

    def test_does_something(self):
        x = (torch.rand(4, 3, 32, 32) * 60).round() / 255
        assert self.make()(x).max() > 0.9


class TestGaussianBlur(PolicyCase):
    def make(self):
        return GaussianBlur((5, 3), (0.1, 2.0))

    def reference(self, image, params):
        return blurred(image, params["sigma"], (5, 3))


class TestGaussianBlurReplicate(PolicyCase):
    def make(self):
        return GaussianBlur(7, (0.3, 2.0), border="replicate")

    def reference(self, image, params):
        return blurred(image, params["sigma"], (7, 7), "nearest")


class TestGaussianNoise(PolicyCase):
    def make(self):
        return GaussianNoise(0.1, mean=0.02)

    def reference(self, image, params):
        drawn = normal((1, image.size), Keys([int(params["seed"])])).double().numpy().reshape(image.shape)
        return (image + 0.02 + 0.1 * drawn).clip(0, 1)


class TestContrastRange(PolicyCase):
    """A range in place of an amount, and other weights of grey."""

    def make(self):
        return Contrast((1.2, 1.9), weights=TORCHVISION_GREY)

    def reference(self, image, params):
        grey = image if len(image) == 1 else np.tensordot(TORCHVISION_GREY, image, 1)
        return (params["factor"] * image + (1 - params["factor"]) * grey.mean()).clip(0, 1)


class TestSaturationUnclampedWeights(UnclampedCase):
    def make(self):
        return Saturation((0.4, 0.9), clamp=False, weights=TORCHVISION_GREY)

    def reference(self, image, params):
        grey = image if len(image) == 1 else np.tensordot(TORCHVISION_GREY, image, 1)[None]
        return params["factor"] * image + (1 - params["factor"]) * grey


class TestRandomOrder(PolicyCase):
    def make(self):
        return RandomOrder([Flip(), Rotate(20), Brightness(0.5)])

    def reference(self, image, params):
        for i in list(itertools.permutations(range(3)))[int(params["order"])]:
            if i == 0:
                image = image[:, :, ::-1] if params["0.flip"] else image
            elif i == 1:
                image = ref.moved(image, ref.turn(params["1.angle"]))
            else:
                image = ref.enhance("brightness", image, params["2.factor"])
        return image


class TestColorJitter(PolicyCase):
    tolerance32 = 2e-4

    def make(self):
        return ColorJitter(0.4, 0.5, (0.2, 1.8), 0.2)

    def reference(self, image, params):
        for i in list(itertools.permutations(range(4)))[int(params["order"])]:
            if i == 3:
                image = turned(image, params["3.hue"])
            else:
                image = ref.enhance(["brightness", "contrast", "saturation"][i], image, params[f"{i}.factor"])
        return image


class TestColorJiggle(PolicyCase):
    tolerance32 = 2e-4

    def make(self):
        return ColorJiggle(0.3, 0.5, 0.6, 0.2)

    def reference(self, image, params):
        steps = [
            lambda x: (x + params["0.offset"]).clip(0, 1),
            lambda x: (x * params["1.factor"]).clip(0, 1),
            lambda x: saturated(x, params["2.factor"]),
            lambda x: turned(x, params["3.hue"]),
        ]
        for i in list(itertools.permutations(range(4)))[int(params["order"])]:
            image = steps[i](image)
        return image


@pytest.mark.parametrize("bits", [(0, 0), (3, 3), (2, 5)])
def test_posterize_between(bits):
    policy, x = Posterize(bits), images(200)
    params = policy.draw(200, generator=generator())
    assert set(params["bits"].tolist()) == set(range(bits[0], bits[1] + 1))
    y = policy.apply(x, params) * 255
    assert torch.equal(
        y.round().long(), (x * 255).round().long() & (256 - 2 ** (8 - params["bits"]))[:, None, None, None]
    )
    assert policy.token is None


def test_ranges_of_the_enhancers():
    for kind in (Brightness, Contrast, Saturation, Sharpness):
        x, amount, pair = images(6), kind(0.5), kind((0.5, 1.5))
        assert torch.equal(amount(x, generator=generator(3)), pair(x, generator=generator(3)))
        assert pair.token is None


def test_jitter_leaves_out_what_does_nothing():
    assert ColorJitter().parts == []
    x = images(2)
    assert torch.equal(ColorJitter()(x), x)
    assert [type(part) for part in ColorJitter(saturation=0.1).parts] == [Saturation]
    assert ColorJitter(0.4, 0.4, 0.4, clamp=False).linear
    assert not ColorJitter(0.4, 0.4, 0.4, 0.1, clamp=False).linear


def test_noise_has_its_law():
    noise = GaussianNoise(0.2, mean=0.1, clamp=False)
    y = noise(torch.zeros(400, 1, 16, 16), generator=generator())
    assert abs(float(y.mean()) - 0.1) < 4 * 0.2 / y.numel() ** 0.5
    assert abs(float(y.std()) - 0.2) < 4 * 0.2 / (2 * y.numel()) ** 0.5
    correlation = torch.corrcoef(y.flatten(1).T)[0, 1:]
    assert float(correlation.abs().max()) < 5 / 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: Brightness((1.5, 0.5)),
        lambda: Brightness((-0.5, 0.5)),
        lambda: Hue(0.6),
        lambda: GaussianBlur(4, 1.0),
        lambda: GaussianBlur(3, (0.0, 1.0)),
        lambda: GaussianBlur(3, 1.0, border="mirror"),
        lambda: GaussianNoise(-1.0),
        lambda: Quantize(9),
        lambda: Posterize((3, 2)),
        lambda: Equalize(rounding="up"),
        lambda: SolarizeAbove((0.5, 0.2)),
        lambda: RandomOrder([Flip()] * 8),
        lambda: GaussianBlur(9, 1.0)(images(1, (1, 4, 9))),
        lambda: Hue(0.1)(images(1, (2, 4, 9))),
        lambda: Grayscale()(images(1, (2, 4, 9))),
        lambda: ChannelPermutation()(images(1, (7, 2, 2))),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(InputError):
        make()


def test_solarize_ways_agree_on_levels():
    x = images(3)
    level = Solarize(0.5).apply(x, {"threshold": torch.tensor([128.0])})
    assert torch.equal(SolarizeAbove(128 / 255)(x), level)
