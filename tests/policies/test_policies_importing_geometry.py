"""torchvision's operators at the same parameters, and what is refused or only called."""

import pytest
import torch

import auglean as al
from auglean.policies import Affine, Flip, RandomCrop, RandomErasing, Rotate, Scale, Shear, Shift


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row(*values):
    return torch.tensor([values if len(values) > 1 else values[0]], dtype=torch.float64)


X = images(2, 3, 9, 12)
FILLS = [None, 0, 0.4, (0.1, 0.2, 0.3)]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("centre", [None, (3.0, 5.5)])
def test_affine_and_rotation(v2, mode, fill, centre):
    options = {"interpolation": v2.InterpolationMode(mode), "fill": fill, "center": centre}
    given = {**options, "fill": list(fill) if isinstance(fill, tuple) else fill, "center": centre and list(centre)}
    policy = al.from_torchvision(
        v2.RandomAffine(20, translate=(0.3, 0.2), scale=(0.7, 1.3), shear=(-9, 9, -8, 8), **options)
    )
    expected = v2.functional.affine(X, 7.3, [2, -1], 1.17, [5.0, -4.0], **given)
    params = {
        "angle": row(-7.3),
        "share": row(2 / 12, -1 / 9),
        "factor": row(1.17),
        "shear": row(5),
        "shear_y": row(-4),
    }
    torch.testing.assert_close(policy.apply(X, params), expected, rtol=0, atol=1e-12)

    policy = al.from_torchvision(v2.RandomRotation((-10, 40), **options))
    expected = v2.functional.rotate(X, 27.3, **given)
    torch.testing.assert_close(policy.apply(X, {"angle": row(27.3)}), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_crop(v2, mode):
    transform = v2.RandomCrop((9, 12), padding=(1, 2, 3, 4), fill=0.3, padding_mode=mode)
    policy = al.from_torchvision(transform)
    for top, left in [(0, 0), (3, 1), (6, 4)]:
        padded = v2.functional.pad(X, [1, 2, 3, 4], fill=0.3, padding_mode=mode)
        expected = v2.functional.crop(padded, top, left, 9, 12)
        assert torch.equal(policy.apply(X, {"shift": torch.tensor([[1 - left, 2 - top]])}), expected)
    assert (policy.across, policy.down) == ((-3, 1), (-4, 2))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "nearest-exact"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resized_crop(v2, mode, antialias):
    mode = v2.InterpolationMode(mode)
    policy = al.from_torchvision(v2.RandomResizedCrop((9, 12), interpolation=mode, antialias=antialias))
    for left, top, across, down in [(0, 0, 12, 9), (3, 2, 5, 7), (11, 8, 1, 1), (4, 1, 8, 3)]:
        options = {"size": [9, 12], "interpolation": mode, "antialias": antialias}
        expected = v2.functional.resized_crop(X, top, left, down, across, **options)
        place = row((left + 0.5) / (13 - across), (top + 0.5) / (10 - down))
        params = {"area": row([down * across / 108]), "ratio": row([across / down]), "place": place}
        torch.testing.assert_close(policy.apply(X, params), expected, rtol=0, atol=1e-12)


def test_erasing(v2):
    policy = al.from_torchvision(v2.RandomErasing(p=1, value=(0.25, 0.5, 0.75)))
    value = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)[:, None, None]
    for left, top, across, down in [(0, 0, 11, 8), (3, 2, 5, 7), (11, 8, 1, 1)]:
        expected = v2.functional.erase(X, top, left, down, across, value)
        place = row((left + 0.5) / (13 - across), (top + 0.5) / (10 - down))
        params = {"area": row([down * across / 108]), "ratio": row([down / across]), "place": place}
        assert torch.equal(policy.apply(X, params | {"erase": torch.tensor([True])}), expected)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill", FILLS)
def test_perspective(v2, mode, fill):
    given = {"interpolation": v2.InterpolationMode(mode), "fill": list(fill) if isinstance(fill, tuple) else fill}
    policy = al.from_torchvision(v2.RandomPerspective(0.5, 0.3, given["interpolation"], fill)).parts[0]
    params = policy.draw(6, generator=torch.Generator().manual_seed(0))
    corners = policy.corners(params, 9, 12)
    for i in range(6):
        start = [[0, 0], [11, 0], [11, 8], [0, 8]]
        expected = v2.functional.perspective(X, start, corners[i].long().tolist(), **given)
        off = (policy.apply(X, {"corners": params["corners"][i : i + 1]}) - expected).abs()
        # by rounding, a position half-way between two pixels may go to either
        assert (off > 1e-12).double().mean() <= (0.01 if mode == "nearest" else 0)


def test_what_is_read(v2):
    read = al.from_torchvision
    assert isinstance(read(v2.RandomHorizontalFlip(0.3)), Flip)
    assert read(v2.RandomVerticalFlip(0.3)).vertical
    rotate = read(v2.RandomRotation(15))
    assert (rotate.interpolation, rotate.padding, rotate.range) == ("nearest", "fill", (-15.0, 15.0))
    assert read(v2.RandomRotation(15, interpolation="bilinear")).padding == "masked"
    assert read(v2.RandomRotation(15, interpolation="bilinear", fill=None)).padding == "fill"
    assert read(v2.RandomRotation(15, interpolation=2)).interpolation == "bilinear"
    assert read(v2.RandomAffine((-10, 30))).range == (-30.0, 10.0)
    kinds = {Shift: {"translate": (0.1, 0.2)}, Scale: {"scale": (0.8, 1.2)}, Shear: {"shear": 10}}
    assert all(type(read(v2.RandomAffine(0, **options))) is kind for kind, options in kinds.items())
    assert type(read(v2.RandomAffine(5, scale=(0.8, 1.2)))) is Affine
    kinds = {"Image": 0.2, "others": 0.4}
    del kinds["Image"]
    assert read(v2.RandomRotation(15, fill=kinds)).fill == 0.4
    assert read(v2.RandomErasing(value="random")).fill == "noise"


def test_fills_in_levels(v2):
    whole = v2.Compose(
        [v2.RandomCrop(5, 1, fill=51), v2.RandomRotation(9, fill=102), v2.ToDtype(torch.float32, scale=True)]
    )
    policy = al.from_torchvision(v2.Compose([v2.ToImage(), whole, v2.RandomErasing(value=0.5)]))
    crop, rotate, erasing = policy.parts
    assert (crop.fill, rotate.fill, erasing.fill) == (0.2, 0.4, 0.5)
    assert "whole levels" in policy.moments(images(3, 5, 5), most=8).note
    assert isinstance(al.from_torchvision(v2.RandomCrop(32, 4, fill=0.2)), RandomCrop)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda v2: v2.RandomAffine(5, fill=3), "outside"),
        (lambda v2: v2.RandomCrop(9, 1, fill=3), "outside"),
        (lambda v2: v2.RandomRotation(5, interpolation=v2.InterpolationMode.BICUBIC), "bicubic"),
        (lambda v2: v2.RandomResizedCrop(9, interpolation=v2.InterpolationMode.LANCZOS), "lanczos"),
        (lambda v2: v2.RandomPerspective(0.8), "on a line"),
        (lambda v2: v2.ElasticTransform(), "ElasticTransform"),
    ],
)
def test_what_is_only_called(v2, make, reason):
    policy = al.from_torchvision(make(v2))
    assert not policy.linear
    assert reason in policy.note


def test_what_is_refused(v2):
    for transform in (v2.RandomRotation(5, expand=True), v2.RandomZoomOut(), v2.RandomIoUCrop()):
        with pytest.raises(al.InputError, match="keeps the size"):
            al.from_torchvision(transform)
    for transform in (v2.RandomCrop(8), v2.RandomResizedCrop(8)):
        with pytest.raises(al.InputError, match="8×8 but found 9×12"):
            al.from_torchvision(transform)(X)
    assert isinstance(al.from_torchvision(v2.RandomErasing()), RandomErasing)
    assert isinstance(al.from_torchvision(v2.RandomRotation(5)), Rotate)
    assert isinstance(al.from_torchvision(v2.RandomAffine(0, (0.1, 0.1))), Shift)
