"""The policies that importers need, and the options of others that they use, through the shared case."""

import math

import numpy as np
import policy_references as ref
import pytest
import torch
from policy_case import PolicyCase, generator, images

from auglean.errors import InputError
from auglean.policies import (
    Affine,
    ClampedErasing,
    Normalize,
    Perspective,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Rotate,
    Shear,
    Shift,
)


def slope(angle):
    return np.tan(np.deg2rad(angle))


class TestNormalize(PolicyCase):
    deterministic = True
    MEAN, STD = (-0.1,), (1.2,)  # that stay in [0, 1], as the case asks

    def make(self):
        return Normalize(self.MEAN, self.STD)

    def reference(self, image, params):
        return (image - np.array(self.MEAN)[:, None, None]) / np.array(self.STD)[:, None, None]


def test_one_number_normalizes_every_channel():
    assert repr(Normalize(0.5, 0.2)) == repr(Normalize((0.5,), (0.2,))) == "Normalize((0.5,), (0.2,))"


class TestRotateMasked(PolicyCase):
    fill, point, nearest = 0.4, (3.0, 4.5), False

    def make(self):
        mode = "nearest" if self.nearest else "bilinear"
        return Rotate((-20, 70), fill=self.fill, padding="masked", interpolation=mode, centre=self.point)

    def reference(self, image, params):
        turn = ref.turn(params["angle"])
        return ref.moved(image, turn, fill=self.fill, padding="masked", point=self.point, nearest=self.nearest)


class TestRotateMaskedWithoutFill(TestRotateMasked):
    fill, point = 0.0, None


class TestRotateNearest(TestRotateMasked):
    nearest = jumps = True
    point = (3.1, 4.3)  # no pixel stays half-way between two


class TestShift(PolicyCase):
    whole = False

    def make(self):
        return Shift(0.3, 0.2, whole=self.whole)

    def reference(self, image, params):
        _, h, w = image.shape
        x, y = params["share"] * (w, h)
        return ref.moved(image, ref.shift(round(x), round(y)) if self.whole else ref.shift(x, y))


class TestShiftWhole(TestShift):
    whole = True


class TestShearVertical(PolicyCase):
    def make(self):
        return Shear((0, 20), vertical=True)

    def reference(self, image, params):
        return ref.moved(image, ref.slide(slope(params["angle"]), vertical=True))


class TestAffineWhole(PolicyCase):
    def make(self):
        return Affine(
            degrees=(0, 30), shares=(0.2, 0.1), whole=True, scale=(0.5, 1.5), shear=10, shear_y=(2, 9), padding="masked"
        )

    def reference(self, image, params):
        _, h, w = image.shape
        slides = ref.slide(slope(params["shear"])), ref.slide(slope(params["shear_y"]), vertical=True)
        shift = ref.shift(*np.round(params["share"] * (w, h)))
        turn = ref.turn(params["angle"])
        return ref.moved(image, *slides, ref.zoom(params["factor"]), turn, shift, padding="masked")


class TestRandomCropMirror(PolicyCase):
    tolerance = 0.0
    outside, mode = "mirror", "reflect"

    def make(self):
        return RandomCrop((2, 0, 1, 3), outside=self.outside)

    def reference(self, image, params):
        x, y = ((2, 0) - params["shift"]).astype(int)
        _, h, w = image.shape
        padded = np.pad(image, ((0, 0), (0, 3), (2, 1)), mode=self.mode)
        return padded[:, y : y + h, x : x + w]


class TestRandomCropReflection(TestRandomCropMirror):
    outside, mode = "reflection", "symmetric"


class TestRandomCropBorder(TestRandomCropMirror):
    outside, mode = "border", "edge"


class TestPerspective(PolicyCase):
    def make(self):
        return Perspective(0.6, padding="masked", fill=0.3)

    def reference(self, image, params):
        """Solve for the homography, and sample its positions as a grid."""
        _, h, w = image.shape
        corners = self.make().corners({"corners": torch.from_numpy(params["corners"])[None]}, h, w)[0].numpy()
        rows, values = [], []
        for (x, y), (s, t) in zip(corners, [(0, 0), (w - 1, 0), (w - 1, h - 1), (0, h - 1)], strict=True):
            rows += [[x, y, 1, 0, 0, 0, -s * x, -s * y], [0, 0, 0, x, y, 1, -t * x, -t * y]]
            values += [s, t]
        solved = np.linalg.solve(np.array(rows), np.array(values)).astype(np.float32)
        matrix = np.append(solved.astype(float), 1).reshape(3, 3)
        points = np.array([[x + 0.5, y + 0.5, 1] for y in range(h) for x in range(w)]) @ matrix.T
        grid = (points[:, :2] / points[:, 2:] * 2 / (w, h) - 1).reshape(1, h, w, 2)
        shown = [
            torch.nn.functional.grid_sample(torch.from_numpy(x)[None], torch.from_numpy(grid), align_corners=False)
            for x in (image, np.ones_like(image))
        ]
        return (shown[1] * (shown[0] - 0.3) + 0.3)[0].numpy()

    def test_corners_stay_apart(self):
        corners = self.make().corners(self.make().draw(500, generator=generator()), 9, 12)
        assert corners[:, 0].amax(0).tolist() == [3, 2]
        assert corners[:, 2].amin(0).tolist() == [8, 6]
        assert (corners[:, 0].amin(0) == 0).all()


def first_box(policy, params, h, w, *, good):
    """Width and height of the first box that fits, by the definition."""
    for area, ratio in zip(params["area"] * h * w, params["ratio"], strict=True):
        long, short = math.sqrt(area * ratio), math.sqrt(area / ratio)
        sides = (round(short), round(long)) if isinstance(policy, RandomErasing) else (round(long), round(short))
        if good(*sides):
            return sides
    return None


class TestRandomErasing(PolicyCase):
    def make(self):
        return RandomErasing(0.7, scale=(0.1, 1.0), fill=0.6)

    def reference(self, image, params):
        _, h, w = image.shape
        box = first_box(self.make(), params, h, w, good=lambda across, down: across < w and down < h)
        y = image.copy()
        if box and params["erase"]:
            across, down = box
            i, j = int(params["place"][1] * (h - down + 1)), int(params["place"][0] * (w - across + 1))
            y[:, i : i + down, j : j + across] = 0.6
        return y


class TestRandomResizedCrop(PolicyCase):
    mode, options = "bilinear", {"align_corners": False, "antialias": True}

    def make(self):
        return RandomResizedCrop((0.1, 1.0), (0.5, 2.0), interpolation=self.mode)

    def reference(self, image, params):
        _, h, w = image.shape
        across, down = first_box(self.make(), params, h, w, good=lambda a, d: 0 < a <= w and 0 < d <= h) or (w, h)
        i, j = int(params["place"][1] * (h - down + 1)), int(params["place"][0] * (w - across + 1))
        box = torch.from_numpy(image[None, :, i : i + down, j : j + across])
        return torch.nn.functional.interpolate(box, (h, w), mode=self.mode, **self.options)[0].numpy()


class TestClampedErasing(PolicyCase):
    def make(self):
        return ClampedErasing(0.7, scale=(0.02, 1.0), ratio=(0.1, 8.0), fill=0.6)

    def reference(self, image, params):
        _, h, w = image.shape
        area = params["area"][0] * h * w
        down = min(max(round((area * params["ratio"][0]) ** 0.5), 1), h)
        across = min(max(round((area / params["ratio"][0]) ** 0.5), 1), w)
        y = image.copy()
        if params["erase"]:
            i, j = int(params["place"][1] * (h - down + 1)), int(params["place"][0] * (w - across + 1))
            y[:, i : i + down, j : j + across] = 0.6
        return y


class TestRandomResizedCropCorners(TestRandomResizedCrop):
    mode = "bilinear-corners"

    def reference(self, image, params):
        _, h, w = image.shape
        across, down = first_box(self.make(), params, h, w, good=lambda a, d: 0 < a <= w and 0 < d <= h) or (w, h)
        i, j = int(params["place"][1] * (h - down + 1)), int(params["place"][0] * (w - across + 1))
        box = torch.from_numpy(image[None, :, i : i + down, j : j + across])
        return torch.nn.functional.interpolate(box, (h, w), mode="bilinear", align_corners=True)[0].numpy()


class TestRandomResizedCropNearest(TestRandomResizedCrop):
    mode, options = "nearest", {}


class TestRandomResizedCropNearestExact(TestRandomResizedCrop):
    mode, options = "nearest-exact", {}


@pytest.mark.parametrize("antialias", [False, True])
def test_bicubic_crops(antialias):
    policy, x = RandomResizedCrop(interpolation="bicubic", antialias=antialias), images(8, dtype=torch.float64)
    params = policy.draw(8, generator=generator())
    boxes = policy.boxes(params, 11, 7)
    for image, y, (j, i, across, down) in zip(x, policy.apply(x, params), zip(*boxes, strict=True), strict=True):
        box = image[None, :, i : i + down, j : j + across]
        options = {"mode": "bicubic", "align_corners": False, "antialias": antialias}
        expected = torch.nn.functional.interpolate(box, (11, 7), **options)[0]
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-14)


def test_erasing_by_noise_and_by_colour():
    x = torch.full((2000, 3, 6, 7), 2.0, dtype=torch.float64)
    policy = RandomErasing(1, fill="noise")
    params = policy.draw(2000, generator=generator())
    y = policy.apply(x, params)
    noise = y[y != 2]
    assert abs(noise.mean()) < 4 / len(noise) ** 0.5
    assert abs(noise.var() - 1) < 6 / len(noise) ** 0.5
    assert torch.equal(policy.apply(x[:1], {name: value[:1] for name, value in params.items()}), y[:1])
    colour = RandomErasing(1, fill=(0.1, 0.2, 0.3)).apply(x, params)
    assert torch.equal(colour.amin((0, 2, 3)), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    assert torch.equal(colour == x, y == x)


def test_nothing_fits():
    x = images(4)
    erasing, crop = RandomErasing(1, scale=(1, 1), ratio=(1, 1)), RandomResizedCrop((1, 1), (3, 3))
    assert torch.equal(erasing(x, generator=generator()), x)
    left, top, across, down = crop.boxes(crop.draw(1), 11, 7)
    assert (int(left), int(top), int(across), int(down)) == (0, 4, 7, 2)  # the largest central box, 3 times as wide


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomErasing(scale=(0.5, 0.1)), "areas"),
        (lambda: RandomResizedCrop(ratio=(0, 1)), "ratios"),
        (lambda: RandomResizedCrop(interpolation="cubic"), "bicubic"),
        (lambda: RandomCrop((1, 2)), "whole pixels"),
        (lambda: RandomCrop(1, outside="wrap"), "padding"),
        (lambda: Rotate((3, 1)), "range"),
        (lambda: Rotate(3, interpolation="bicubic"), "interpolation"),
        (lambda: Affine(pixels=2, shares=(0.1, 0.1)), "one of them"),
        (lambda: Rotate(3, fill=(0.1, 0.2))(images(1)), "2 values"),
        (lambda: RandomCrop(1, size=(4, 4))(images(1)), "keeps the size"),
        (lambda: RandomResizedCrop(size=(4, 4))(images(1)), "keeps the size"),
        (lambda: Normalize(0.5, 0.0), "above 0"),
        (lambda: Normalize((0.5,), (-0.2,)), "above 0"),
    ],
)
def test_bad_options(make, words):
    with pytest.raises(InputError, match=words):
        make()
