"""Every policy through the shared case."""

from __future__ import annotations

import numpy as np
import policy_references as ref
import torch
from policy_case import PolicyCase

from auglean.policies import (
    Affine,
    AugMix,
    AutoContrast,
    Brightness,
    Compose,
    Contrast,
    Cutout,
    Equalize,
    Flip,
    Identity,
    Posterize,
    RandAugment,
    RandomCrop,
    Rotate,
    Saturation,
    Scale,
    Sharpness,
    Shear,
    Solarize,
    Translate,
    TrivialAugment,
    as_policy,
    auto,
    mixture,
    sometimes,
)


class TestTranslate(PolicyCase):
    fill, padding = 0.0, "fill"

    def make(self):
        return Translate(3.5, fill=self.fill, padding=self.padding)

    def reference(self, image, params):
        return ref.moved(image, ref.shift(*params["shift"]), fill=self.fill, padding=self.padding)


class TestTranslateFill(TestTranslate):
    fill = 0.7


class TestTranslateBorder(TestTranslate):
    padding = "border"


class TestTranslateReflection(TestTranslate):
    padding = "reflection"


class TestTranslateCircular(TestTranslate):
    padding = "circular"


class TestRotate(PolicyCase):
    fill, padding = 0.0, "fill"

    def make(self):
        return Rotate(180, fill=self.fill, padding=self.padding)

    def reference(self, image, params):
        return ref.moved(image, ref.turn(params["angle"]), fill=self.fill, padding=self.padding)


class TestRotateFill(TestRotate):
    fill = 0.4


class TestRotateCircular(TestRotate):
    padding = "circular"


class TestScale(PolicyCase):
    def make(self):
        return Scale(0.3)

    def reference(self, image, params):
        return ref.moved(image, ref.zoom(params["factor"]))


class TestShear(PolicyCase):
    def make(self):
        return Shear(20)

    def reference(self, image, params):
        return ref.moved(image, ref.slide(np.tan(np.deg2rad(params["angle"]))))


class TestAffine(PolicyCase):
    def make(self):
        return Affine(degrees=30, pixels=2, scale=0.2, shear=10, fill=0.2)

    def reference(self, image, params):
        slide = ref.slide(np.tan(np.deg2rad(params["shear"])))
        zoom, turn, shift = ref.zoom(params["factor"]), ref.turn(params["angle"]), ref.shift(*params["shift"])
        return ref.moved(image, slide, zoom, turn, shift, fill=0.2)


class TestFlip(PolicyCase):
    tolerance = tolerance32 = 1e-7

    def make(self):
        return Flip(0.3)

    def reference(self, image, params):
        return image[:, :, ::-1] if params["flip"] else image


class TestFlipVertical(PolicyCase):
    def make(self):
        return Flip(vertical=True)

    def reference(self, image, params):
        return image[:, ::-1] if params["flip"] else image


class TestRandomCrop(PolicyCase):
    tolerance = 0.0
    fill = 0.0

    def make(self):
        return RandomCrop(2, fill=self.fill)

    def reference(self, image, params):
        x, y = (2 - params["shift"]).astype(int)
        _, h, w = image.shape
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), constant_values=self.fill)
        return padded[:, y : y + h, x : x + w]


class TestRandomCropFill(TestRandomCrop):
    fill = 0.7


class TestCutout(PolicyCase):
    side, fill = 4, 0.0

    def make(self):
        return Cutout(self.side, fill=self.fill)

    def reference(self, image, params):
        y, (_, h, w) = image.copy(), image.shape
        column, row = int(params["centre"][0] * w), int(params["centre"][1] * h)
        half = self.side // 2
        for i in range(row - half, row - half + self.side):
            for j in range(column - half, column - half + self.side):
                if 0 <= i < h and 0 <= j < w:
                    y[:, i, j] = self.fill
        return y


class TestCutoutOddFill(TestCutout):
    side, fill = 3, 0.5


class EnhanceCase(PolicyCase):
    word, clamp = "", True

    def reference(self, image, params):
        return ref.enhance(self.word, image, params["factor"], clamp=self.clamp)


class TestBrightness(EnhanceCase):
    word = "brightness"

    def make(self):
        return Brightness(0.4)


class TestContrast(EnhanceCase):
    word = "contrast"

    def make(self):
        return Contrast(0.8)


class TestSaturation(EnhanceCase):
    word = "saturation"

    def make(self):
        return Saturation(0.8)


class TestSharpness(EnhanceCase):
    word = "sharpness"

    def make(self):
        return Sharpness(1.5)


class UnclampedCase(EnhanceCase):
    clamp = False

    def test_keeps_shape_type_and_range(self):
        y = self.make()(torch.ones(64, 3, 8, 8) * torch.rand(3, 8, 8))
        assert y.shape == (64, 3, 8, 8)
        assert self.make().linear


class TestBrightnessUnclamped(UnclampedCase):
    word = "brightness"

    def make(self):
        return Brightness(0.4, clamp=False)


class TestContrastUnclamped(UnclampedCase):
    word = "contrast"

    def make(self):
        return Contrast(0.4, clamp=False)


class TestSaturationUnclamped(UnclampedCase):
    word = "saturation"

    def make(self):
        return Saturation(0.4, clamp=False)


class TestSharpnessUnclamped(UnclampedCase):
    word = "sharpness"

    def make(self):
        return Sharpness(0.4, clamp=False)


class TestPosterize(PolicyCase):
    differentiable = False

    def make(self):
        return Posterize(2)

    def reference(self, image, params):
        return ref.posterize(image, params["bits"])


class TestSolarize(PolicyCase):
    def make(self):
        return Solarize(0.9)

    def reference(self, image, params):
        return ref.solarize(image, params["threshold"])


class TestAutoContrast(PolicyCase):
    deterministic = True

    def make(self):
        return AutoContrast()

    def reference(self, image, params):
        return ref.autocontrast(0.5 * image) if image.max() < 0.5 else ref.autocontrast(image)

    def test_does_something(self):
        x = 0.2 + 0.5 * torch.rand(4, 3, 5, 5)
        y = AutoContrast()(x)
        assert torch.equal(y.amin((2, 3)), torch.zeros(4, 3))
        assert torch.equal(y.amax((2, 3)), torch.ones(4, 3))


class TestEqualize(PolicyCase):
    size = (3, 19, 17)  # fewer than 255 pixels are never changed
    differentiable = False
    deterministic = True

    def make(self):
        return Equalize()

    def reference(self, image, params):
        return ref.equalize(image)

    def test_does_something(self):
        x = (torch.rand(4, 3, 32, 32) * 60).round() / 255
        assert Equalize()(x).max() > 0.9


class StrongCase(PolicyCase):
    differentiable = False
    jumps = True
    tolerance = 1e-6  # factors are computed in float32 there and in float64 here


class TestRandAugment(StrongCase):
    def make(self):
        return RandAugment(2, 7)

    def reference(self, image, params):
        for op, sign in zip(params["op"], params["sign"], strict=True):
            image = ref.operator(auto._RAND, image, op, float(np.float32(0.7)), sign)
        return image


class TestTrivialAugment(StrongCase):
    def make(self):
        return TrivialAugment()

    def reference(self, image, params):
        return ref.operator(auto._WIDE, image, params["op"], params["level"], params["sign"])


class TestAugMix(StrongCase):
    def make(self):
        return AugMix(2, None, 5)

    def reference(self, image, params):
        mixed = np.zeros_like(image)
        for j, weight in enumerate(params["weight"]):
            chain = image
            for k in range(int(params["depth"][j])):
                op, level, sign = (params[name][j, k] for name in ("op", "level", "sign"))
                chain = ref.operator(auto._MIX, chain, op, level, sign)
            mixed += weight * chain
        return (1 - params["share"]) * image + params["share"] * mixed


class TestAugMixDeep(TestAugMix):
    def make(self):
        return AugMix(1, 4, 3)


class TestIdentity(PolicyCase):
    deterministic = True
    tolerance = tolerance32 = 0.0

    def make(self):
        return Identity()

    def reference(self, image, params):
        return image

    def test_equals_the_plain_formula(self):
        x = torch.rand(4, 3, 5, 5)
        assert torch.equal(Identity()(x), x)

    def test_does_something(self):
        assert Identity().draw(3) == {}


class TestCompose(PolicyCase):
    def make(self):
        return Translate(2) | Rotate(20) | Flip()

    def reference(self, image, params):
        image = ref.moved(image, ref.shift(*params["0.shift"]))
        image = ref.moved(image, ref.turn(params["1.angle"]))
        return image[:, :, ::-1] if params["2.flip"] else image


class TestComposeNested(PolicyCase):
    def make(self):
        return Compose([sometimes(0.4, RandomCrop(1) | Flip()), Brightness(0.5)])

    def reference(self, image, params):
        if params["0.branch"] == 0:
            x, y = (1 - params["0.0.0.shift"]).astype(int)
            _, h, w = image.shape
            image = np.pad(image, ((0, 0), (1, 1), (1, 1)))[:, y : y + h, x : x + w]
            image = image[:, :, ::-1] if params["0.0.1.flip"] else image
        return ref.enhance("brightness", image, params["1.factor"])


class TestMixture(PolicyCase):
    def make(self):
        return mixture([Translate(2), Rotate(20), Contrast(0.4, clamp=False)], [2, 1, 1])

    def reference(self, image, params):
        match int(params["branch"]):
            case 0:
                return ref.moved(image, ref.shift(*params["0.shift"]))
            case 1:
                return ref.moved(image, ref.turn(params["1.angle"]))
        return ref.enhance("contrast", image, params["2.factor"], clamp=False)

    def test_keeps_shape_type_and_range(self):
        assert self.make()(torch.rand(5, 3, 6, 8)).shape == (5, 3, 6, 8)


class TestSometimes(PolicyCase):
    def make(self):
        return sometimes(0.7, Scale(0.4))

    def reference(self, image, params):
        return ref.moved(image, ref.zoom(params["0.factor"])) if params["branch"] == 0 else image


def noisy_square(image):
    return (image * torch.rand(image.shape, dtype=image.dtype).to(image.device)).clamp(0, 1) ** 2


class TestAdapted(PolicyCase):
    def make(self):
        return as_policy(noisy_square)

    def reference(self, image, params):
        own = torch.Generator().manual_seed(int(params["seed"]))
        return (image * torch.rand(image.shape, dtype=torch.float64, generator=own).numpy()) ** 2

    tolerance32 = 2.0  # torch draws other numbers in float32
