"""What torchvision draws against what we compute, and for each a wrong twin that must be seen."""

import pytest
from draws import agree, drawn
from moment_case import images

import auglean as al
from auglean.policies import Compose, Flip, Perspective, RandomCrop, Rotate, Scale, Shear, Shift, Translate

BILINEAR = {"interpolation": "bilinear"}
MANY, FEW = 20_000, 6_000
# name: transform, kind, wrong twin, calls
CASES = {
    "translation": (
        lambda v2: v2.RandomAffine(0, translate=(0.2, 0.3), **BILINEAR),
        "exact finite",
        Shift(0.2, 0.3),  # not rounded
        MANY,
    ),
    "translation of few pixels": (
        lambda v2: v2.RandomAffine(0, translate=(0.2, 0.3), fill=0.6),
        "exact finite",
        Shift(0.2, 0.3, whole=True),  # another fill
        FEW,
    ),
    "degrees": (
        lambda v2: v2.RandomAffine(25, **BILINEAR),
        "quadrature",
        Rotate(25),  # no mask
        MANY,
    ),
    "turned the other way": (
        lambda v2: v2.RandomAffine((0, 30), fill=None, **BILINEAR),
        "quadrature",
        Rotate((0, 30)),
        FEW,
    ),
    "scale": (
        lambda v2: v2.RandomAffine(0, scale=(0.6, 1.3), **BILINEAR),
        "exact panels",
        Scale((0.6, 1.3), interpolation="nearest"),
        MANY,
    ),
    "scale, nearest": (
        lambda v2: v2.RandomAffine(0, scale=(0.6, 1.3)),
        "exact panels",
        Scale((0.6, 1.3)),
        FEW,
    ),
    "shear": (
        lambda v2: v2.RandomAffine(0, shear=20, fill=None, **BILINEAR),
        "exact panels",
        Shear(20, padding="masked"),
        MANY,
    ),
    "shear, nearest": (
        lambda v2: v2.RandomAffine(0, shear=(0, 25)),
        "exact panels",
        Shear((0, 25)),
        FEW,
    ),
    "rotation, fill 0": (
        lambda v2: v2.RandomRotation(15, **BILINEAR),
        "quadrature",
        Rotate(15),
        MANY,
    ),
    "rotation, no fill": (
        lambda v2: v2.RandomRotation(15, fill=None, **BILINEAR),
        "quadrature",
        Rotate(15, padding="masked"),
        MANY,
    ),
    "rotation, nearest": (
        lambda v2: v2.RandomRotation(15),
        "exact panels",
        Rotate(15, padding="masked"),
        MANY,
    ),
    "rotation about a point": (
        lambda v2: v2.RandomRotation((-5, 20), center=(1.0, 2.5), **BILINEAR),
        "quadrature",
        Rotate((-5, 20), padding="masked", centre=(1.0, 2.5)),  # half a pixel off
        FEW,
    ),
    "crop": (
        lambda v2: v2.RandomCrop((6, 7), padding=2),
        "exact finite",
        Translate(2),
        MANY,
    ),
    "crop, reflected": (
        lambda v2: v2.RandomCrop((6, 7), padding=(1, 2, 3, 0), padding_mode="reflect"),
        "exact finite",
        RandomCrop((1, 2, 3, 0), outside="reflection"),
        FEW,
    ),
    "flip": (lambda v2: v2.RandomHorizontalFlip(0.3), "exact finite", Flip(0.3, vertical=True), MANY),
}


@pytest.mark.parametrize("name", CASES)
def test_against_torchvision(v2, name):
    make, kind, wrong, calls = CASES[name]
    x, transform = images(3, 6, 7, seed=1), make(v2)
    draws = drawn(transform, x, calls)
    found = al.from_torchvision(transform).moments(x)
    assert found.kind == kind
    assert agree(draws, found)
    assert not agree(draws, wrong.moments(x))


def test_joint_affine(v2):
    transform = v2.RandomAffine(20, translate=(0.2, 0.2), **BILINEAR)
    x, policy = images(3, 6, 7, seed=1), al.from_torchvision(transform)
    draws = drawn(transform, x, MANY)
    found = policy.moments(x)
    assert agree(draws, found)
    apart = Rotate((-20.0, 20.0), padding="masked") | Shift(0.2, 0.2, whole=True)  # two calls lose the corners
    assert not agree(draws, apart.moments(x))


def test_compose_of_four(v2):
    transform = v2.Compose(
        [
            v2.RandomCrop((5, 6), padding=1),
            v2.RandomHorizontalFlip(0.4),
            v2.RandomRotation(12, **BILINEAR),
            v2.Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)),
        ]
    )
    x, policy = images(3, 5, 6, seed=2), al.from_torchvision(transform)
    draws = drawn(transform, x, MANY)
    assert agree(draws, policy.moments(x))
    parts = policy.parts
    assert not agree(draws, Compose([*parts[:2], Rotate(12), parts[3]]).moments(x))
    assert not agree(draws, Compose([parts[0], parts[2], parts[3]]).moments(x))


def test_perspective(v2):
    # of a stronger one, torchvision makes not-a-number where a pixel lies on the horizon
    transform = v2.RandomPerspective(0.3, p=1.0)
    x, policy = images(1, 8, 9, seed=1), al.from_torchvision(transform)
    draws = drawn(transform, x, MANY)
    found = policy.moments(x, most=2048)
    assert found.kind == "randomised qmc"
    assert "closed-form guarantees do not apply" in found.note
    assert agree(draws, found)
    assert not agree(draws, Perspective(0.3, interpolation="nearest").moments(x, most=2048))
