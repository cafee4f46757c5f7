"""kornia's operators at the same parameters, and which policies its modules become."""

import itertools

import pytest
import torch

import auglean as al
from auglean.policies import (
    AddBrightness,
    Affine,
    Brightness,
    ChannelPermutation,
    Clamp,
    ClampedErasing,
    ColorJiggle,
    ColorJitter,
    Compose,
    Contrast,
    Flip,
    Gamma,
    Grayscale,
    Invert,
    Normalize,
    RandomCrop,
    Rotate,
    Shear,
    Shift,
)
from auglean.policies.importing.kornia import _ways

K = pytest.importorskip("kornia.augmentation", reason="kornia is not installed")


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = images(4, 3, 9, 12)
read = al.from_kornia


def same(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def drawn(module, x=X):
    """Kornia's own draws in float64, and what it makes of them."""
    module = module.double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        params = module.forward_parameters(x.shape)
    return params, module(x, params=params)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", "fill"])
@pytest.mark.parametrize("resample", ["bilinear", "nearest"])
def test_affine(padding, resample):
    for corners in (False, True):
        options = {"padding_mode": padding, "resample": resample, "align_corners": corners, "p": 1.0}
        fill = {"fill_value": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)} if padding == "fill" else {}
        module = K.RandomAffine(30.0, (0.2, 0.3), (0.7, 1.4), (-9.0, 9.0, -8.0, 8.0), **options, **fill)
        policy = read(module)
        if padding == "reflection" and corners:
            assert "align_corners" in policy.note
            continue
        params, expected = drawn(module)
        ours = {
            "angle": -params["angle"],
            "share": params["translations"] / torch.tensor([12.0, 9.0], dtype=torch.float64),
            "factor": params["scale"][:, 0],
            "shear": params["shear_x"],
            "shear_y": params["shear_y"],
        }
        same(policy.apply(X, ours), expected)


@pytest.mark.parametrize("corners", [False, True])
def test_rotation(corners):
    module = K.RandomRotation(50.0, align_corners=corners, p=1.0)
    params, expected = drawn(module)
    same(read(module).apply(X, {"angle": params["degrees"]}), expected)


def test_single_moves():
    params, expected = drawn(K.RandomShear((-20.0, 20.0), p=1.0))
    same(read(K.RandomShear((-20.0, 20.0), p=1.0)).apply(X, {"angle": params["shear_x"]}), expected)
    module = K.RandomTranslate((-0.2, 0.2), (-0.3, 0.3), p=1.0)
    params, expected = drawn(module)
    share = torch.stack([params["translate_x"].double() / 12, params["translate_y"].double() / 9], 1)
    same(read(module).apply(X, {"share": share}), expected)


@pytest.mark.parametrize("mode", ["constant", "replicate", "reflect"])
@pytest.mark.parametrize("padding", [2, (3, 1), (1, 2, 3, 4)])
def test_crop(mode, padding):
    module = K.RandomCrop((9, 12), padding=padding, padding_mode=mode, fill=0.3 if mode == "constant" else 0)
    policy = read(module)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = module(X)
    corner = module._params["src"][:, 0]
    left, top = (policy.across[1], policy.down[1])
    assert torch.equal(policy.apply(X, {"shift": torch.tensor([left, top]) - corner.long()}), expected)


@pytest.mark.parametrize(("resample", "corners"), [("bilinear", True), ("bilinear", False), ("nearest", False)])
def test_resized_crop(resample, corners):
    module = K.RandomResizedCrop((9, 12), scale=(0.1, 1.0), resample=resample, align_corners=corners, ratio=(0.5, 2.0))
    params, expected = drawn(module)
    left, top = params["src"][:, 0].unbind(1)
    across, down = (params["src"][:, 2] - params["src"][:, 0] + 1).unbind(1)
    place = torch.stack([(left + 0.5) / (13 - across), (top + 0.5) / (10 - down)], 1)
    ours = {"area": (down * across / 108)[:, None], "ratio": (across / down)[:, None], "place": place}
    same(read(module).apply(X, ours), expected)


def test_erasing():
    module = K.RandomErasing((0.05, 0.9), (0.2, 4.0), 0.25, p=1.0)
    params, expected = drawn(module, images(60, 3, 9, 12))
    place = torch.stack(
        [(params["xs"] + 0.5) / (13 - params["widths"]), (params["ys"] + 0.5) / (10 - params["heights"])], 1
    )
    sides = params["heights"] * params["widths"]
    ours = {"area": (sides / 108)[:, None], "ratio": (params["heights"] / params["widths"])[:, None], "place": place}
    found = read(module).apply(images(60, 3, 9, 12), ours | {"erase": torch.ones(60, dtype=torch.bool)})
    assert torch.equal(found, expected)


def test_erased_sides_are_cut_off():
    policy = ClampedErasing(1.0, scale=(0.9, 1.0), ratio=(0.1, 10.0))
    _, _, across, down = policy.boxes(policy.draw(500, generator=torch.Generator().manual_seed(0)), 9, 12)
    assert (int(across.max()), int(down.max())) == (12, 9)
    assert bool(((across == 12) & (down < 7)).any())


NAMES = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")


@pytest.mark.parametrize(
    ("kind", "mine", "hue", "atol"),
    [
        (K.ColorJitter, ColorJitter, 0.0, 1e-12),
        # kornia adds 1e-8 to what saturations are divided by
        (K.ColorJitter, ColorJitter, 0.3, 1e-7),
        (K.ColorJiggle, ColorJiggle, 0.3, 1e-7),
    ],
)
def test_jitters_in_every_order(kind, mine, hue, atol):
    module = kind(0.5, 0.9, 0.9, hue)
    policy = read(module)
    assert isinstance(policy, mine)
    params, _ = drawn(module)
    n = 4 if hue else 3
    names = ["offset" if mine is ColorJiggle else "factor", "factor", "factor", "hue"][:n]
    ours = {f"{i}.{name}": params[NAMES[i]] for i, name in enumerate(names)}
    if mine is ColorJiggle:
        ours["0.offset"] = ours["0.offset"] - 1
    for j, order in enumerate(itertools.permutations(range(n))):
        full = torch.tensor([*order, *range(n, 4)])
        expected = module(X, params=params | {"order": full})
        same(policy.apply(X, ours | {"order": torch.tensor([j])}), expected, atol)


def test_jitter_in_a_given_order():
    policy = read(K.ColorJitter(0.4, 0.4, order=[1, 0]))
    assert [type(part) for part in policy.parts] == [Contrast, Brightness]


@pytest.mark.parametrize(
    ("module", "parameters", "atol"),
    [
        (K.RandomBrightness((0.5, 1.6)), {"offset": ("brightness_factor", -1.0)}, 1e-12),
        (K.RandomBrightness((0.5, 1.6), clip_output=False), {"offset": ("brightness_factor", -1.0)}, 1e-12),
        (K.RandomContrast((0.5, 1.6)), {"factor": ("contrast_factor", 0.0)}, 1e-12),
        (K.RandomSaturation((0.2, 2.5)), {"factor": ("saturation_factor", 0.0)}, 1e-7),
        (K.RandomHue((-0.4, 0.4)), {"hue": ("hue_factor", 0.0)}, 1e-7),
        (K.RandomGamma((0.5, 2.0), (0.7, 1.5)), {"gamma": ("gamma_factor", 0.0), "gain": ("gain_factor", 0.0)}, 1e-12),
        (K.RandomSharpness(3.0, p=1.0), {"factor": ("sharpness", 0.0)}, 1e-12),
        (
            K.RandomSolarize(0.3, 0.2, p=1.0),
            {"threshold": ("thresholds", 0.0), "addition": ("additions", 0.0)},
            1e-12,
        ),
        (K.RandomGaussianBlur((3, 5), (0.1, 2.0), p=1.0), {"sigma": ("sigma", 0.0)}, 1e-12),
        (K.RandomGaussianBlur(3, (0.1, 2.0), "replicate", p=1.0), {"sigma": ("sigma", 0.0)}, 1e-12),
        (K.RandomGaussianBlur(3, (0.1, 2.0), "constant", p=1.0), {"sigma": ("sigma", 0.0)}, 1e-12),
        (K.RandomGrayscale(p=1.0), {}, 1e-12),
        (K.RandomGrayscale(torch.tensor([0.2, 0.5, 0.3]), p=1.0), {}, 1e-7),
        (K.RandomInvert(p=1.0), {}, 1e-12),
        (K.Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), {}, 1e-7),
    ],
)
def test_single_colours(module, parameters, atol):
    policy = read(module)
    params, expected = drawn(module)
    ours = {name: params[theirs] + add for name, (theirs, add) in parameters.items()}
    same(policy.apply(X, ours), expected, atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_posterize(dtype):
    module = K.RandomPosterize((0.0, 8.0), p=1.0)
    x = torch.cat([X.to(dtype), (X * 255).round().to(dtype) / 255])
    for bits, policy in zip(range(9), read(module).parts, strict=True):
        expected = module.apply_transform(x, {"bits_factor": torch.full((8,), bits, dtype=torch.int32)}, {})
        same(policy(x), expected, 1e-6 if dtype == torch.float32 else 1e-12)
    assert read(K.RandomPosterize(3, p=1.0)).weights == pytest.approx((0.1, 0.2, 0.2, 0.2, 0.2, 0.1))


def test_what_is_read():
    assert read(K.RandomHorizontalFlip(0.3)).p == 0.3
    assert read(K.RandomVerticalFlip()).vertical
    assert read(K.RandomRotation(10.0)).weights == (0.5, 0.5)
    assert isinstance(read(K.RandomRotation(10.0, p=1.0)), Rotate)
    assert read(K.RandomAffine((-5.0, 10.0), p=1.0)).range == (-10.0, 5.0)
    assert type(read(K.RandomAffine(0.0, (0.1, 0.1), p=1.0))) is Shift
    assert type(read(K.RandomAffine(0.0, shear=10.0, p=1.0))) is Shear
    assert type(read(K.RandomAffine(5.0, (0.1, 0.1), p=1.0))) is Affine
    assert read(K.RandomCrop((8, 8), 2, p=0.3)).weights == (0.3, 0.7)
    assert isinstance(read(K.RandomCrop((8, 8), 2)), RandomCrop)
    assert isinstance(read(K.RandomChannelShuffle(p=1.0)), ChannelPermutation)
    assert isinstance(read(K.RandomGamma()), Gamma)
    assert isinstance(read(K.RandomInvert(p=1.0)), Invert)
    noise = read(K.RandomGaussianNoise(0.1, 0.2, p=1.0))
    assert (noise.mean, noise.sigma, noise.clamp) == (0.1, 0.2, False)
    assert "same_on_batch" in read(K.RandomHorizontalFlip(same_on_batch=True)).note


def test_names_that_mean_something_else():
    """Trap: kornia's brightness adds, its contrast multiplies, and only ColorJitter is torchvision's."""
    assert isinstance(read(K.RandomBrightness((0.5, 1.5))), AddBrightness)
    assert isinstance(read(K.RandomContrast((0.5, 1.5))), Brightness)
    assert isinstance(read(K.ColorJitter(0.4)), Brightness)
    assert isinstance(read(K.ColorJiggle(0.4)), AddBrightness)
    assert isinstance(read(K.RandomGrayscale(p=1.0)), Grayscale)


def test_sequences():
    chain = read(K.AugmentationSequential(K.RandomHorizontalFlip(), K.Normalize(0.5, 0.2), data_keys=["input"]))
    assert [type(part) for part in chain.parts] == [Flip, Normalize]
    assert isinstance(read(torch.nn.Sequential(K.RandomHorizontalFlip(), K.RandomInvert(p=1.0))), Compose)
    one = read(K.ImageSequential(K.RandomInvert(p=1.0), K.RandomHorizontalFlip(), random_apply=1))
    assert one.weights == (0.5, 0.5)
    many = K.ImageSequential(*[K.RandomHorizontalFlip(0.1 * i) for i in range(6)], random_apply=True)
    assert "more than 64 ways" in read(many).note


def test_what_left_the_unit_interval_is_cut_off_before_colours():
    module = torch.nn.Sequential(K.Normalize(0.5, 0.25), K.RandomBrightness((0.9, 0.9)), K.RandomGrayscale(p=1.0))
    policy = read(module)
    assert [type(part) for part in policy.parts] == [Normalize, Clamp, AddBrightness, Grayscale]
    same(policy(X), module(X), 1e-6)


def test_ways_of_a_random_choice():
    ways = _ways(3, (2, 3), [1.0, 2.0, 1.0])
    assert sum(ways.values()) == pytest.approx(1)
    assert ways[1, 0] == pytest.approx(2 / 4 * 1 / 2)
    assert ways[0, 1] == pytest.approx(1 / 4 * 2 / 3)
    again = _ways(2, (3, 4), [1.0, 1.0])  # more than there are: with replacement
    assert len(again) == 8
    assert again[0, 0, 1] == pytest.approx(1 / 8)
    assert _ways(2, (0, 2), [1.0, 1.0]) == pytest.approx({(): 0.5, (0,): 0.25, (1,): 0.25})


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (K.RandomPerspective(), "RandomPerspective has more random numbers"),
        (K.RandomAffine(5.0, scale=(0.5, 1.0, 0.8, 1.2)), "apart"),
        (K.RandomTranslate((-0.1, 0.2)), "further to one side"),
        (K.RandomAffine(5.0, resample="bicubic"), "bicubic"),
        (K.RandomJPEG(), "RandomJPEG is not a transform of kornia that can be read"),
        (K.RandomResizedCrop((8, 24)), "none fits"),
        (K.RandomErasing((0.5, 1.5)), "larger than the image"),
    ],
)
def test_what_is_only_called(module, reason):
    policy = read(module)
    assert not policy.linear
    assert reason in policy.note


def test_a_subclass_is_another_class():
    class Own(K.RandomHorizontalFlip):
        pass

    assert read(Own()).note == "Own overrides RandomHorizontalFlip of kornia, so it is called image by image."


def test_what_mixes_images_is_refused():
    with pytest.raises(al.InputError, match="mixes several images"):
        read(K.RandomMixUpV2())
    with pytest.raises(al.InputError, match="Expected a transform of kornia"):
        read(3)
