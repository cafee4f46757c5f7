"""What torchvision draws of uint8 images, which it rounds to whole levels, and of what is only called."""

import pytest
import torch
from draws import agree, drawn
from moment_case import images

import auglean as al

LEVEL = 1 / 255
N = 4000
# name: operators on whole levels, levels by which they round
ROUNDED = {
    "rotation": (lambda v2: [v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR, fill=51)], 0.5),
    "affine": (lambda v2: [v2.RandomAffine(0, scale=(0.7, 1.3), interpolation=v2.InterpolationMode.BILINEAR)], 0.5),
    "blur": (lambda v2: [v2.GaussianBlur(3, (0.3, 1.5))], 0.5),
    "brightness": (lambda v2: [v2.ColorJitter(brightness=0.4)], 1.0),
    "one after the other": (
        lambda v2: [
            v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(saturation=0.5),
        ],
        # grey is rounded down, too, and blended by at most a half
        0.5 + 1.5,
    ),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_moves_moments_by_as_much_as_is_said(v2, name):
    make, levels = ROUNDED[name]
    transform = v2.Compose([*make(v2), v2.ToDtype(torch.float32, scale=True)])
    x = (255 * images(3, 6, 7, seed=1)).to(torch.uint8)
    draws, policy = drawn(transform, x, N), al.from_torchvision(transform)
    found = policy.moments(x, tol=1e-3)
    assert "round to whole levels" in found.note
    assert "round to whole levels" in policy.describe(x).whole.reason
    sd, slack = found.variance.flatten().sqrt(), float(found.error)
    off = draws.mean(0) - found.mean.flatten()
    assert (off.abs() <= levels * LEVEL + 5 * sd / N**0.5 + slack).all()
    # a random image that is moved by a level at most has a deviation that is moved by no more
    size, trace = float(sd.norm()), float(found.trace)
    of_draws = ((max(float(found.m4) - trace**2, 0) / N) ** 0.5) / (2 * size)
    assert (
        abs(float(draws.var(0).sum().sqrt()) - size) <= levels * LEVEL * len(off) ** 0.5 + 4 * of_draws + slack * size
    )
    # which is little beside what is there
    assert levels * LEVEL * len(off) ** 0.5 < 0.1 * size


def test_single_operators_of_levels_are_read_as_such(v2):
    """The fill of the rotation above is a fifth of white."""
    transform = v2.Compose([*ROUNDED["rotation"][0](v2), v2.ToDtype(torch.float32, scale=True)])
    assert al.from_torchvision(transform).fill == 0.2


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugmentWide", "AutoAugment", "AugMix"])
def test_searched_policies_fall_to_draws(v2, name):
    """Never an error, and the reason, the draws and their interval in one sentence, whatever stands beside them."""
    x, transform = images(3, 8, 8, seed=2), getattr(v2, name)()
    policy = al.from_torchvision(v2.Compose([v2.RandomHorizontalFlip(), transform]))
    found = policy.moments(x, most=400)
    assert (found.kind, found.nodes) == ("monte carlo", 400)
    assert f"{name} draws among operators that are not linear in the image" in found.note
    interval = f"estimated with 400 draws, ±{100 * float(found.error):.2g} % with 95 % confidence, and closed-form"
    assert interval in found.note
    assert agree(drawn(transform, x, 400, seed=3), al.from_torchvision(transform).moments(x, most=400))
    flip, searched = policy.describe(x, most=50).rows
    assert (flip.kind, searched.kind) == ("exact finite", "monte carlo")
    assert "closed-form guarantees do not apply" in searched.reason
