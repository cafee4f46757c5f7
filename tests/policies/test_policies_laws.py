"""The laws of the drawn parameters, and values known from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from policy_case import generator, images

from auglean.policies import (
    Affine,
    AugMix,
    AutoContrast,
    Brightness,
    Contrast,
    Cutout,
    Equalize,
    Flip,
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
)
from auglean.randomness import Keys

N = 40_000
CONTINUOUS = [
    (Translate(3.5), "shift", -3.5, 3.5),
    (Rotate(15), "angle", -15, 15),
    (Scale(0.2), "factor", 0.8, 1.2),
    (Shear(10), "angle", -10, 10),
    (Affine(degrees=15, pixels=2, scale=0.1, shear=5), "shear", -5, 5),
    (Brightness(0.4), "factor", 0.6, 1.4),
    (Contrast(1.5), "factor", 0, 2.5),
    (Saturation(1), "factor", 0, 2),
    (Sharpness(0.9), "factor", 0.1, 1.9),
    (Solarize(0.5), "threshold", 128, 256),
    (Cutout(4), "centre", 0, 1),
    (AugMix(2, severity=5), "level", 0.01, 0.5),
    (AugMix(2), "share", 0, 1),
    (AugMix(2), "weight", 0, 1),  # Dirichlet(1, 1)
]
DISCRETE = [
    (Flip(), "flip", [0, 1]),
    (RandomCrop(4), "shift", range(-4, 5)),
    (Posterize(4), "bits", range(4, 9)),
    (RandAugment(), "op", range(14)),
    (RandAugment(), "sign", [-1, 1]),
    (TrivialAugment(), "op", range(14)),
    (TrivialAugment(), "level", [k / 30 for k in range(31)]),
    (AugMix(), "op", range(9)),
    (AugMix(), "depth", [1, 2, 3]),
]


def sources():
    return [generator(1), Keys(range(N), seed=1)]


@pytest.mark.parametrize("source", [0, 1], ids=["generator", "keys"])
@pytest.mark.parametrize(("policy", "name", "low", "high"), CONTINUOUS)
def test_uniform_law(policy, name, low, high, source):
    values = policy.draw(N, generator=sources()[source])[name].double().view(N, -1)
    half = (high - low) / 2
    assert low - 1e-5 <= values.min() < low + 0.01 * half  # both ends, both signs
    assert high - 0.01 * half < values.max() <= high + 1e-5
    for column in values.T:  # each column alone, and no two alike
        assert abs(column.mean() - (low + high) / 2) < 5 * half / math.sqrt(3 * N)
        # variance of (v − centre)²: half⁴ (1/5 − 1/9)
        second = ((column - (low + high) / 2) ** 2).mean()
        assert abs(second - half**2 / 3) < 5 * half**2 * math.sqrt((1 / 5 - 1 / 9) / N)


@pytest.mark.parametrize("source", [0, 1], ids=["generator", "keys"])
@pytest.mark.parametrize(("policy", "name", "support"), DISCRETE)
def test_discrete_uniform_law(policy, name, support, source):
    values = policy.draw(N, generator=sources()[source])[name].double().view(N, -1)
    p = 1 / len(support)
    for column in values.T:
        counts = torch.stack([(column - value).abs().lt(1e-6).sum() for value in support])
        assert counts.sum() == N
        assert ((counts - N * p).abs() < 5 * math.sqrt(N * p * (1 - p))).all()


@pytest.mark.parametrize("name", ["shift", "sign", "op"])
def test_columns_are_independent(name):
    policy = {"shift": Translate(1), "sign": RandAugment(), "op": RandAugment()}[name]
    a, b = policy.draw(N, generator=Keys(range(N)))[name].double().T
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / math.sqrt(N)


def test_flip_probability():
    rate = Flip(0.3).draw(N, generator=generator())["flip"].double().mean()
    assert abs(rate - 0.3) < 5 * math.sqrt(0.3 * 0.7 / N)


def test_augmix_weights_lie_on_the_simplex():
    weight = AugMix(4).draw(N, generator=generator())["weight"].double()
    assert weight.min() >= 0
    torch.testing.assert_close(weight.sum(1), torch.ones(N, dtype=torch.float64), atol=1e-6, rtol=0)
    # Dirichlet(1, 1, 1, 1): each weight Beta(1, 3), mean 1/4 and variance 3/80
    assert ((weight.mean(0) - 1 / 4).abs() < 5 * math.sqrt(3 / 80 / N)).all()
    assert ((weight.var(0) - 3 / 80).abs() < 0.002).all()


def test_seeds_of_a_callable_do_not_collide():
    assert len(as_policy(abs).draw(N, generator=generator())["seed"].unique()) == N


@pytest.mark.parametrize(
    "policy",
    [
        Translate(0),
        Rotate(0),
        Scale(0),
        Shear(0),
        RandomCrop(0),
        Cutout(0),
        Flip(0),
        Brightness(0),
        Contrast(0),
    ],
)
def test_zero_strength_changes_nothing(policy):
    x = images(4, (3, 10, 13))
    torch.testing.assert_close(policy(x, generator=generator()), x, atol=2e-6, rtol=0)


@pytest.mark.parametrize("policy", [Solarize(0), Posterize(8), RandAugment(0), Sharpness(0), Saturation(0)])
def test_zero_strength_of_the_others(policy):
    x = images(4, (3, 10, 13))
    torch.testing.assert_close(policy(x, generator=generator()), x, atol=2e-6, rtol=0)


# ---- values known from elsewhere


def wave():
    """The 2 × 3 × 8 × 8 image sin(0.37 n + 1.3 c + 0.11 i² + 0.23 j), for which published code was run."""
    n, c, i, j = np.meshgrid(np.arange(2), np.arange(3), np.arange(8), np.arange(8), indexing="ij")
    return torch.tensor(np.sin(0.37 * n + 1.3 * c + 0.11 * i**2 + 0.23 * j))


@pytest.mark.parametrize(
    ("policy", "params", "total", "norm", "row"),
    [
        (Rotate(10), {"angle": [10.0]}, 10.570290, 12.262650, [0.307426, 0.556557, 0.763517, 0.913266]),
        (Flip(), {"flip": [True]}, 18.961912, 13.919075, [0.887362, 0.969109, 0.999816, 0.977865]),
        # t = (1, −1) reads one row further down and one column further left
        (RandomCrop(1), {"shift": [[1, -1]]}, 6.738259, 12.189575, None),
    ],
)
def test_published_siamese_operators(policy, params, total, norm, row):
    x = wave()
    assert x.sum().item() == pytest.approx(18.961912, abs=1e-5)
    y = policy.apply(x, {name: torch.tensor(value) for name, value in params.items()})
    assert y.sum().item() == pytest.approx(total, abs=1e-5)
    assert y.norm().item() == pytest.approx(norm, abs=1e-5)
    if row:
        np.testing.assert_allclose(y[0, 0, 2, :4], row, atol=1e-6)
    else:
        assert (y[..., 0] == 0).all()


def test_translation_moments_by_hand():
    """x = (0, 1, 0), t uniform on [−1, 1], zeros outside: mean (1/4, 1/2, 1/4), trace of covariance 7/24."""
    x = torch.tensor([[[[0.0, 1.0, 0.0]]]]).expand(N, 1, 1, 3)
    shift = torch.zeros(N, 2)
    shift[:, 0] = Translate(1).draw(N, generator=generator())["shift"][:, 0]
    y = Translate(1).apply(x, {"shift": shift}).flatten(1).double()
    np.testing.assert_allclose(y.mean(0), [1 / 4, 1 / 2, 1 / 4], atol=5 * 0.3 / math.sqrt(N))
    assert y.var(0).sum().item() == pytest.approx(7 / 24, abs=0.01)


def pillow(x: torch.Tensor, function) -> np.ndarray:
    arrays = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a) for a in arrays]
    results = [np.asarray(function(p)).reshape(arrays.shape[1:]) for p in pictures]
    return np.stack(results).transpose(0, 3, 1, 2).astype(float)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7])
@pytest.mark.parametrize(
    ("policy", "enhancer"),
    [
        (Brightness(1), ImageEnhance.Brightness),
        (Contrast(1), ImageEnhance.Contrast),
        (Saturation(1), ImageEnhance.Color),
        (Sharpness(1), ImageEnhance.Sharpness),
    ],
)
def test_enhancers_of_pillow(policy, enhancer, factor, channels):
    x = images(3, (channels, 16, 20))
    y = policy.apply(x, {"factor": torch.tensor([factor])}) * 255
    expected = pillow(x, lambda picture: enhancer(picture).enhance(factor))
    # Pillow rounds the degenerate image (half a level, times |1 − f| < 1) and truncates the result (one)
    np.testing.assert_allclose(y.numpy(), expected, atol=0.5 + 1 + 0.01)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spread", [3, 40, 255])
def test_levels_of_pillow_exactly(channels, spread):
    generator_ = generator(spread)
    levels = torch.randint(0, spread + 1, (4, channels, 24, 31), generator=generator_)
    x = levels.float() / 255
    x[0] = 0.2  # a constant image, and one below with two levels
    x[1] = torch.where(levels[1] % 2 == 0, 0.4, 0.6)

    def same(y, function):
        np.testing.assert_allclose((y * 255).numpy(), pillow(x, function), atol=1e-3)

    same(Equalize()(x), ImageOps.equalize)
    for bits in range(1, 9):
        same(
            Posterize(1).apply(x, {"bits": torch.tensor([bits])}),
            lambda p, bits=bits: ImageOps.posterize(p, bits),
        )
    for threshold in (0, 1, 100, 255, 256):
        params = {"threshold": torch.tensor([threshold])}
        same(Solarize(1).apply(x, params), lambda p, t=threshold: ImageOps.solarize(p, t))
    stretched = (AutoContrast()(x) * 255).numpy()
    np.testing.assert_allclose(stretched, pillow(x, ImageOps.autocontrast), atol=1.001)  # Pillow truncates


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_of_pillow(degrees):
    x = images(2, (3, 9, 9))
    y = Rotate(180).apply(x, {"angle": torch.tensor([float(degrees)])}) * 255
    np.testing.assert_allclose(y.numpy(), pillow(x, lambda picture: picture.rotate(degrees)), atol=1e-2)


def test_geometry_of_kornia():
    geometry = pytest.importorskip("kornia.geometry")
    x = images(6, (3, 9, 14), dtype=torch.float64)
    angle, shift = (torch.randn(6, *size, dtype=torch.float64, generator=generator()) for size in [(), (2,)])
    turned = Rotate(180).apply(x, {"angle": 40 * angle})
    torch.testing.assert_close(turned, geometry.rotate(x, 40 * angle), atol=1e-12, rtol=0)
    moved = Translate(4).apply(x, {"shift": 3 * shift})
    torch.testing.assert_close(moved, geometry.translate(x, 3 * shift), atol=1e-12, rtol=0)


def test_grey_images_have_no_saturation():
    x = images(4, (1, 8, 8))
    assert torch.equal(Saturation(1)(x, generator=generator()), x)


def test_joint_affine_interpolates_once():
    """A turn there and back in one interpolation is no change; in two it blurs."""
    x = images(1, (1, 15, 15), dtype=torch.float64)
    params = {
        "shear": torch.tensor([0.0]),
        "factor": torch.tensor([1.0]),
        "angle": torch.tensor([30.0]),
        "shift": torch.tensor([[0.0, 0.0]]),
    }
    joint = Affine(degrees=30).apply(x, params)
    torch.testing.assert_close(joint, Rotate(30).apply(x, params), atol=1e-12, rtol=0)
    assert (Rotate(30) | Rotate(30)).apply(x, {"0.angle": torch.tensor([30.0]), "1.angle": torch.tensor([-30.0])}).sub(
        x
    ).abs().max() > 0.05
