"""What compositions of torchvision draw against moments that went part by part, and for each a wrong twin."""

import pytest
from draws import agree, drawn
from moment_case import images

import auglean as al
from auglean.moments import resized
from auglean.policies import Cutout, Flip, RandomCrop, RandomErasing, RandomResizedCrop, Rotate

BILINEAR = {"interpolation": "bilinear"}
SIZE, N = (6, 7), 2_500
TURN = Rotate(25, padding="masked")
ERASING = {"scale": (0.1, 0.4), "ratio": (0.5, 2.0)}
# transforms, kind, wrong twin
CASES = {
    "a crop, a rotation and a box": (
        lambda v2: [
            v2.RandomCrop(SIZE, padding=2),
            v2.RandomRotation(25, **BILINEAR),
            v2.RandomErasing(0.6, **ERASING),
        ],
        "quadrature",
        TURN | RandomCrop(2) | RandomErasing(0.6, **ERASING),  # another order
    ),
    "a rotation and a crop": (
        lambda v2: [v2.RandomRotation(25, **BILINEAR), v2.RandomCrop(SIZE, padding=2)],
        "quadrature",
        RandomCrop(2) | TURN,
    ),
    "a crop, a rotation and a crop": (
        lambda v2: [v2.RandomCrop(SIZE, padding=1), v2.RandomRotation(25, **BILINEAR), v2.RandomCrop(SIZE, padding=1)],
        "quadrature",
        RandomCrop(1) | TURN | RandomCrop(2),
    ),
    "brightness, a flip and a box": (
        lambda v2: [v2.ColorJitter(0.6), v2.RandomHorizontalFlip(0.3), v2.RandomErasing(0.8, **ERASING)],
        "quadrature",
        Flip(0.3) | RandomErasing(0.8, **ERASING),
    ),
    "a resized crop, a flip and a box": (
        lambda v2: [
            v2.RandomResizedCrop(SIZE, scale=(0.2, 1.0)),
            v2.RandomHorizontalFlip(0.3),
            v2.RandomErasing(0.8, **ERASING),
        ],
        "exact finite",
        RandomResizedCrop((0.2, 1.0)) | Flip(0.3) | Cutout(3),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_compositions_of_torchvision(v2, name):
    make, kind, twin = CASES[name]
    x, transform = images(3, *SIZE, seed=1), v2.Compose(make(v2))
    draws, policy = drawn(transform, x, N), al.from_torchvision(transform)
    found = policy.moments(x, most=64, tol=1e-2)
    assert found.kind == kind
    assert agree(draws, found)
    assert not agree(draws, twin.moments(x, most=64, tol=1e-2))


def test_a_resized_crop_of_a_large_image_of_torchvision(v2, monkeypatch):
    monkeypatch.setattr(resized, "_PRODUCT", 0)
    x, transform = images(3, *SIZE, seed=1), v2.RandomResizedCrop(SIZE, scale=(0.2, 1.0))
    draws, found = drawn(transform, x, N), al.from_torchvision(transform).moments(x)
    assert found.kind == "randomised qmc"
    assert agree(draws, found)
    assert not agree(draws, RandomResizedCrop((0.25, 1.0)).moments(x))
