"""What kornia draws against what we compute, and for each a wrong twin that must be seen."""

import pytest
import torch
from draws import agree
from moment_case import images

import auglean as al
from auglean.moments.box_laws import sides
from auglean.policies import (
    AddBrightness,
    Affine,
    Brightness,
    ClampedErasing,
    ColorJiggle,
    ColorJitter,
    Flip,
    GaussianBlur,
    HSVSaturation,
    RandomErasing,
    RandomResizedCrop,
    Rotate,
    Shift,
    mixture,
    sometimes,
)

K = pytest.importorskip("kornia.augmentation", reason="kornia is not installed")
MANY = 20_000


def drawn(module, x, n, *, together):
    """Draw n times, so many of them at once: what kornia draws for a batch is one draw."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [module(x.expand(together, -1, -1, -1).contiguous()) for _ in range(n // together)]
    return torch.cat(parts).flatten(1).double()


# name: module, kind, wrong twin, draws, draws of one batch
CASES = {
    "translation": (
        lambda: K.RandomAffine(0.0, (0.2, 0.3), p=1.0),
        "exact panels",
        Shift(0.2, 0.3, whole=True),
        MANY,
        MANY,
    ),
    "affine": (
        lambda: K.RandomAffine((0.0, 30.0), scale=(0.8, 1.2), p=1.0),
        "quadrature",
        Affine(degrees=(0.0, 30.0), scale=(0.8, 1.2)),  # the other way round
        MANY,
        MANY,
    ),
    "rotation": (
        lambda: K.RandomRotation((0.0, 30.0), p=0.7),
        "quadrature",
        sometimes(0.7, Rotate((-30.0, 0.0))),
        MANY,
        MANY,
    ),
    "flip": (lambda: K.RandomHorizontalFlip(0.3), "exact finite", Flip(0.5), MANY, MANY),
    "resized crop": (
        lambda: K.RandomResizedCrop((6, 7), scale=(0.3, 1.0)),
        "exact finite",
        RandomResizedCrop((0.3, 1.0)),
        MANY,
        MANY,
    ),
    "brightness": (
        lambda: K.RandomBrightness((0.5, 1.5)),
        "exact panels",
        Brightness((0.5, 1.5)),  # torchvision's
        MANY,
        MANY,
    ),
    "contrast": (
        lambda: K.RandomContrast((0.5, 1.5)),
        "exact panels",
        Brightness((0.5, 1.5), clamp=False),
        MANY,
        MANY,
    ),
    "saturation": (
        lambda: K.RandomSaturation((0.0, 3.0)),
        "exact panels",
        HSVSaturation((0.0, 2.0)),
        MANY,
        MANY,
    ),
    "jitter": (
        lambda: K.ColorJitter(0.4, 0.4, 0.4),
        "quadrature",
        ColorJitter(0.4, 0.4, 0.4, clamp=False),
        MANY,
        5,
    ),
    "jiggle": (lambda: K.ColorJiggle(0.3, 0.3), "quadrature", ColorJitter(0.3, 0.3), MANY, 5),
    "jitter of no other kind": (
        lambda: K.ColorJitter(0.3, 0.3),
        "quadrature",
        ColorJiggle(0.3, 0.3),
        MANY,
        5,
    ),
    "blur": (
        lambda: K.RandomGaussianBlur((3, 5), (0.1, 2.0), p=1.0),
        "quadrature",
        GaussianBlur((3, 5), (0.1, 2.0)),  # width for height
        MANY,
        MANY,
    ),
    "chosen by weight": (
        lambda: K.ImageSequential(
            K.RandomHorizontalFlip(p=1.0),
            K.RandomInvert(p=1.0),
            random_apply=(0, 2),
            random_apply_weights=[0.7, 0.6],
        ),
        "exact finite",
        mixture([al.policies.Identity(), Flip(1.0), al.policies.Invert()]),  # not the orders of two
        MANY,
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_against_kornia(name):
    make, kind, wrong, calls, together = CASES[name]
    x, module = images(3, 6, 7, seed=1) ** 0.5, make()
    draws = drawn(module.double(), x, calls, together=together)
    found = al.from_kornia(module).moments(x)
    assert found.kind == kind
    assert agree(draws, found)
    assert not agree(draws, wrong.moments(x))


def test_erasing():
    module, x = K.RandomErasing((0.1, 0.9), (0.3, 3.3), p=0.6), images(3, 6, 7)
    draws = drawn(module.double(), x, MANY, together=MANY)
    found = al.from_kornia(module).moments(x)
    assert found.kind == "exact finite"
    assert agree(draws, found)
    assert not agree(draws, RandomErasing(0.6, scale=(0.1, 0.9), ratio=(0.3, 3.3)).moments(x))  # drawn anew


def test_a_sequence_of_several():
    module = K.AugmentationSequential(
        K.RandomHorizontalFlip(0.4),
        K.RandomRotation((0.0, 20.0), p=1.0),
        K.RandomGrayscale(p=0.3),
        K.RandomBrightness((0.6, 1.2), p=0.8),
        data_keys=["input"],
    ).double()
    x = images(3, 5, 6, seed=2)
    draws = drawn(module, x, MANY, together=MANY)
    policy = al.from_kornia(module)
    assert agree(draws, policy.moments(x, tol=3e-3))
    parts = policy.parts
    wrong = parts[0] | parts[1] | parts[2] | sometimes(0.8, AddBrightness((-0.4, 0.2), clamp=False))
    assert not agree(draws, wrong.moments(x, tol=3e-3))


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.02, 0.33), (0.3, 3.3)), ((0.0, 1.0), (0.05, 20.0)), ((0.3, 0.3), (2.0, 2.0))]
)
def test_law_of_sides_that_are_cut_off(scale, ratio):
    """Against counts of what is drawn."""
    policy = ClampedErasing(1.0, scale=scale, ratio=ratio)
    law = sides(policy, 6, 9)
    assert float(law.weights.sum()) == pytest.approx(1, abs=1e-12)
    params = policy.draw(200_000, generator=torch.Generator().manual_seed(0))
    _, _, across, down = policy.boxes(params, 6, 9)
    counts = torch.bincount(down * 10 + across, minlength=70) / len(across)
    expected = torch.zeros(70, dtype=torch.float64).index_put((law.down * 10 + law.across,), law.weights)
    assert float((counts - expected).abs().max()) < 4 * (0.25 / len(across)) ** 0.5
