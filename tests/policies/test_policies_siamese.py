"""The six operations of differentiable siamese augmentation: formulas, laws, and what is shared."""

from __future__ import annotations

import random

import numpy as np
import policy_references as ref
import pytest
import torch
from policy_case import PolicyCase, generator, images
from torch.nn import functional as F

from auglean.errors import InputError
from auglean.policies import AddBrightness, Compose, Flip, Mixture, RandomCrop, Rotate, Siamese
from auglean.policies.siamese import (
    DIGITS,
    PHOTOGRAPHS,
    EdgeCutout,
    MeanContrast,
    MeanSaturation,
    Stretch,
)

MEAN, STD, FILL = 0.4, 0.25, 0.1


class Unclamped(PolicyCase):
    def test_keeps_shape_type_and_range(self):
        pytest.skip("leaves [0, 1] on purpose")


class TestAddBrightnessUnclamped(Unclamped):
    def make(self):
        return AddBrightness(0.5, clamp=False)

    def reference(self, image, params):
        return image + params["offset"]


class TestMeanSaturation(Unclamped):
    def make(self):
        return MeanSaturation(1)

    def reference(self, image, params):
        mean = image.mean(0)
        return mean + params["factor"] * (image - mean)


class TestMeanContrast(Unclamped):
    def make(self):
        return MeanContrast(0.5)

    def reference(self, image, params):
        return image.mean() + params["factor"] * (image - image.mean())


def erased(image, centre, side, fill=0.0):
    y, (_, h, w) = image.copy(), image.shape
    places = [length + 1 - side % 2 for length in (w, h)]
    column, row = (min(int(np.float32(share) * np.float32(n)), n - 1) for share, n in zip(centre, places, strict=True))
    for i in range(row - side // 2, row - side // 2 + side):
        for j in range(column - side // 2, column - side // 2 + side):
            if 0 <= i < h and 0 <= j < w:
                y[:, i, j] = fill
    return y


class TestEdgeCutout(PolicyCase):
    side = 4

    def make(self):
        return EdgeCutout(self.side)

    def reference(self, image, params):
        return erased(image, params["centre"], self.side)


class TestEdgeCutoutOdd(TestEdgeCutout):
    side = 5


class TestStretch(PolicyCase):
    def make(self):
        return Stretch(1.5)

    def reference(self, image, params):
        across, down = params["shrink"]
        return ref.moved(image, np.diag([1 / across, 1 / down, 1.0]))


class TestSiamese(Unclamped):
    """Of images of height 8, so that crops move by 1 and holes have side 4."""

    strategy, fill = PHOTOGRAPHS, None

    def make(self):
        fill = None if self.fill is None else [self.fill]
        return Siamese(self.strategy, height=8, mean=[MEAN], std=[STD], fill=fill)

    def reference(self, image, params):
        z, outside = (image - MEAN) / STD, 0.0 if self.fill is None else (self.fill - MEAN) / STD
        branch = int(params["branch"])
        match self.strategy.split("_")[branch]:
            case "color":
                z = z + params["0.0.offset"]
                z = z.mean(0) + params["0.1.factor"] * (z - z.mean(0))
                z = z.mean() + params["0.2.factor"] * (z - z.mean())
            case "crop":
                z = ref.moved(z, ref.shift(*params[f"{branch}.shift"]), fill=outside)
            case "cutout":
                z = erased(z, params[f"{branch}.centre"], 4, outside)
            case "flip":
                z = z[:, :, ::-1] if params[f"{branch}.flip"] else z
            case "scale":
                z = ref.moved(z, np.diag([*(1 / params[f"{branch}.shrink"]), 1.0]), fill=outside)
            case "rotate":
                z = ref.moved(z, ref.turn(params[f"{branch}.angle"]), fill=outside)
        return z * STD + MEAN


class TestSiameseDigitsOnBlack(TestSiamese):
    strategy, fill = DIGITS, 0.0


class TestSiameseFill(TestSiamese):
    strategy, fill = "crop_cutout_rotate_scale", FILL


# ---- values of the published operations on a given image


def wave():
    n, c, i, j = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (2, 3, 8, 8)), indexing="ij")
    return torch.sin(0.37 * n + 1.3 * c + 0.11 * i**2 + 0.23 * j).float()


def edge(*place):
    return {"centre": [(p + 0.5) / 9 for p in reversed(place)]}


GOLDEN = [
    (AddBrightness(0.5, clamp=False), {"offset": 0.3}, 134.161911, None, None),
    (MeanSaturation(1), {"factor": 0.6}, 18.961910, 10.034493, None),
    (MeanContrast(0.5), {"factor": 0.8}, 18.961910, 11.154171, None),
    (RandomCrop(1), {"shift": [1, -1]}, 6.738259, 12.189575, None),
    (EdgeCutout(4), edge(0, 0), 7.031753, None, None),
    (EdgeCutout(4), edge(3, 5), 25.942768, None, None),
    (EdgeCutout(4), edge(8, 8), 10.086458, None, None),
    (Flip(), {"flip": True}, 18.961912, 13.919075, [0.887362, 0.969109, 0.999816, 0.977865]),
    (Rotate(15), {"angle": 10.0}, 10.570290, 12.262650, [0.307426, 0.556557, 0.763517, 0.913266]),
    (Stretch(1.2), {"shrink": [1.1, 0.9]}, 3.229771, 12.213838, [0.316844, 0.623390, 0.792830, 0.912701]),
]


@pytest.mark.parametrize(("policy", "row", "total", "norm", "start"), GOLDEN, ids=lambda value: repr(value)[:16])
def test_published_values(policy, row, total, norm, start):
    y = policy.apply(wave(), {name: torch.tensor([value]) for name, value in row.items()})
    assert float(y.double().sum()) == pytest.approx(total, abs=1e-5)
    if norm is not None:
        assert float(y.double().norm()) == pytest.approx(norm, abs=2e-6)
    if start is not None:
        assert y[0, 0, 2, :4].tolist() == pytest.approx(start, abs=1e-6)


@pytest.mark.parametrize(("centre", "zeros"), [((0, 0), 4), ((3, 5), 16), ((8, 8), 4)])
def test_cutout_erases_as_many_at_both_edges(centre, zeros):
    params = {name: torch.tensor([value]) for name, value in edge(*centre).items()}
    assert (EdgeCutout(4).apply(torch.ones(1, 3, 8, 8), params) == 0).sum((2, 3)).unique().tolist() == [zeros]


@pytest.mark.parametrize("align", [True, False])
def test_turns_and_stretches_are_the_affine_grids_of_either_convention(align):
    x, angle = wave().double(), torch.tensor(0.17, dtype=torch.float64)
    cos, sin = angle.cos(), angle.sin()
    for theta, y in [
        ([[cos, -sin, 0], [sin, cos, 0]], Rotate(15).apply(x, {"angle": torch.rad2deg(angle)[None]})),
        (
            [[1.1, 0, 0], [0, 0.9, 0]],
            Stretch(1.2).apply(x, {"shrink": torch.tensor([[1.1, 0.9]], dtype=torch.float64)}),
        ),
    ]:
        theta = torch.tensor(theta, dtype=torch.float64).expand(2, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=align)
        expected = F.grid_sample(x, grid, "bilinear", "zeros", align_corners=align)
        assert torch.allclose(y, expected, atol=1e-12)


def test_identity_parameters_change_nothing():
    x = wave()
    for policy, row in [
        (AddBrightness(0.5, clamp=False), {"offset": 0.0}),
        (MeanSaturation(1), {"factor": 1.0}),
        (MeanContrast(0.5), {"factor": 1.0}),
        (RandomCrop(1), {"shift": [0, 0]}),
        (EdgeCutout(0), {"centre": [0.5, 0.5]}),
        (Flip(), {"flip": False}),
        (Rotate(15), {"angle": 0.0}),
        (Stretch(1.2), {"shrink": [1.0, 1.0]}),
    ]:
        y = policy.apply(x, {name: torch.tensor([value]) for name, value in row.items()})
        assert torch.allclose(y, x, atol=1e-6), policy
    grey = x[:, :1]
    assert torch.equal(MeanSaturation(1).apply(grey, {"factor": torch.tensor([0.3])}), grey)


# ---- the laws


def test_laws():
    n = 100_000
    params = Siamese(PHOTOGRAPHS, height=32, mean=[0.5], std=[0.2]).draw(n, generator=generator())
    shares = torch.bincount(params["branch"], minlength=6) / n
    assert (shares - 1 / 6).abs().max() < 0.005
    for name, low, high in [
        ("0.0.offset", -0.5, 0.5),
        ("0.1.factor", 0, 2),
        ("0.2.factor", 0.5, 1.5),
        ("4.shrink", 1 / 1.2, 1.2),
        ("5.angle", -15, 15),
    ]:
        values, width = params[name].double().flatten(), high - low
        assert low - 1e-6 <= values.min() < low + 1e-3 * width
        assert high - 1e-3 * width < values.max() <= high + 1e-6
        assert abs(float(values.mean()) - (low + high) / 2) < 0.005 * width
        assert abs(float(values.std()) - width / 12**0.5) < 0.005 * width
    assert params["1.shift"].unique().tolist() == list(range(-4, 5))
    assert abs(float(params["3.flip"].float().mean()) - 0.5) < 0.01
    places = (params["2.centre"][:, 0] * 33).long()
    assert torch.bincount(places).shape == (33,)
    assert (torch.bincount(places) / n - 1 / 33).abs().max() < 0.002


@pytest.mark.parametrize(("height", "pad", "side"), [(32, 4, 16), (28, 4, 14), (8, 1, 4), (64, 8, 32)])
def test_crop_and_cutout_go_by_the_height(height, pad, side):
    mixture = Siamese("crop_cutout", height=height, mean=[0.5], std=[0.2])._within.policy
    assert isinstance(mixture, Mixture)
    crop, cutout = mixture.parts
    assert (crop.padding, cutout.size) == (pad, side)


# ---- sharing


@pytest.mark.parametrize("strategy", PHOTOGRAPHS.split("_"))
def test_a_shared_draw_is_the_same_in_any_company(strategy):
    policy = Siamese(strategy, height=28, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])
    x = images(256, (3, 28, 28))
    shared = policy.draw(1, generator=generator(3))
    whole = policy.apply(x, shared)
    for n in (1, 7, 16):
        assert torch.equal(policy.apply(x[:n], shared), whole[:n])
    # the real and the synthetic copy of an image
    assert torch.equal(policy.apply(x[5:6].clone(), shared), whole[5:6])
    # the wrong twin: a draw for each image is not shared
    apart = policy.apply(x, policy.draw(256, generator=generator(3)))
    assert not torch.equal(apart[1:], whole[1:])


def test_a_batch_draw_has_one_operation_and_its_own_parameters():
    policy = Siamese(height=32, mean=[0.5], std=[0.2])
    params = policy.draw_batch(64, generator=generator())
    assert len(params["branch"].unique()) == 1
    assert len(params["5.angle"].unique()) == 64
    seen = {int(policy.draw_batch(4, generator=generator(seed))["branch"][0]) for seed in range(60)}
    assert seen == set(range(6))
    assert len(policy.draw(64, generator=generator())["branch"].unique()) == 6


def test_draws_touch_no_generator_but_their_own():
    policy = Siamese(height=32, mean=[0.5], std=[0.2])
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    policy.apply(images(4), policy.draw(1, generator=generator()))
    policy.draw_batch(4, generator=generator())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_fill_is_grey_unless_told():
    hole = {"branch": torch.tensor([0]), "0.centre": torch.tensor([[0.5, 0.5]])}
    x, mean = torch.ones(1, 3, 8, 8), [0.5, 0.4, 0.3]
    for fill, expected in [(None, mean), ([0.0, 0.0, 0.0], [0, 0, 0]), ([0.1, 0.2, 0.9], [0.1, 0.2, 0.9])]:
        y = Siamese("cutout", height=8, mean=mean, std=[0.2, 0.25, 0.3], fill=fill).apply(x, hole)
        assert y[0, :, 4, 4].tolist() == pytest.approx(expected, abs=1e-6)
        assert torch.allclose(y[0, :, 0, 0], torch.ones(3))


def test_refuses():
    with pytest.raises(InputError, match="did you mean 'rotate'"):
        Siamese("color_rotat", height=8, mean=[0.5], std=[0.2])
    with pytest.raises(InputError, match="one number per channel"):
        Siamese(height=8, mean=[0.5, 0.5], std=[0.2])
    with pytest.raises(InputError, match="2 channels"):
        Siamese(height=8, mean=[0.5, 0.5], std=[0.2, 0.2])(images(2))
    with pytest.raises(InputError, match="1 or more"):
        Stretch(0.9)


def test_color_is_three_in_a_row():
    color = Siamese("color", height=8, mean=[0.5], std=[0.2])._within.policy.parts[0]
    assert isinstance(color, Compose)
    assert [type(part) for part in color.parts] == [AddBrightness, MeanSaturation, MeanContrast]
