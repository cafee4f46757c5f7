"""Fixed copies: exact shifts with the border repeated, the paper's counts, ranges and types kept."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from auglean.errors import InputError
from auglean.policies.copies import PAPER, Copies, copies_for, crop_copies, rotate_copies, translate_copies


def noise(n=3, channels=2, size=(9, 7), seed=0, dtype=torch.float64):
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def moved(image, right, down):
    """Move an array by whole pixels, repeating its border, by indices."""
    height, width = image.shape[-2:]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[..., rows[:, None], columns]


@given(right=st.integers(-9, 9), down=st.integers(-9, 9), levels=st.booleans())
def test_a_shift_by_whole_pixels_copies_them_and_repeats_the_border(right, down, levels):
    x = (noise() * 255).to(torch.uint8) if levels else noise()
    made = Copies("translate", ((right, down),)).apply(x)
    assert made.dtype == x.dtype
    assert np.array_equal(made[0].numpy(), moved(x.numpy(), right, down))


def test_a_shift_by_half_a_pixel_is_the_mean_of_two():
    x = noise()
    made = Copies("translate", ((0.5, 0.0),)).apply(x)[0]
    torch.testing.assert_close(made, (x + torch.from_numpy(moved(x.numpy(), 1, 0))) / 2)


@pytest.mark.parametrize("angle", [-30.0, 4.2857, 5.0, 90.0])
def test_a_turn_is_scipys_with_the_nearest_border(angle):
    x = noise(size=(9, 9))
    made = Copies("rotate", (angle,)).apply(x)[0]
    turned = ndimage.rotate(x.numpy(), angle, axes=(2, 3), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(made.numpy(), turned, atol=1e-9)


def test_turning_forth_and_back_is_almost_nothing_inside():
    grid = torch.linspace(-1, 1, 33, dtype=torch.float64)
    smooth = torch.exp(-2 * ((grid[:, None] - 0.2) ** 2 + grid**2))[None, None]
    there = Copies("rotate", (10.0,)).apply(smooth)[0]
    back = Copies("rotate", (-10.0,)).apply(there)[0]
    inside = (..., slice(8, -8), slice(8, -8))
    # bilinear interpolation errs by at most h² (|f_xx| + |f_yy|) / 8, here h = 1/16 and both derivatives at most 4
    assert (back - smooth)[inside].abs().max() < 2 * (1 / 16) ** 2 * (4 + 4) / 8
    assert (there - smooth)[inside].abs().max() > 0.03


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_a_crop_is_the_inner_part_sampled_at_pixel_centres(pixels):
    x = noise(size=(12, 10))
    made = crop_copies(pixels).apply(x)[0].numpy()
    height, width = 12 - 2 * pixels, 10 - 2 * pixels
    inner = x.numpy()[..., pixels:-pixels, pixels:-pixels]
    rows = (np.arange(12) + 0.5) * height / 12 - 0.5
    columns = (np.arange(10) + 0.5) * width / 10 - 0.5
    for i, j in np.ndindex(3, 2):
        expected = ndimage.map_coordinates(
            inner[i, j], np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"
        )
        np.testing.assert_allclose(made[i, j], expected, atol=1e-9)


@pytest.mark.parametrize(("name", "m"), list(zip(PAPER, [4, 14, 6, 4, 4, 1, 4, 4, 1], strict=True)))
def test_the_papers_lists_have_its_counts_and_leave_constant_images_alone(name, m):
    assert PAPER[name].m == m
    constant = torch.full((2, 1, 28, 28), 77, dtype=torch.uint8)
    made = PAPER[name].apply(constant)
    assert made.shape == (m, 2, 1, 28, 28)
    assert torch.equal(made, constant.expand_as(made))


@pytest.mark.parametrize("name", PAPER)
def test_type_and_range_are_kept_and_the_input_is_not_touched(name):
    x = noise(size=(32, 32), dtype=torch.float32)
    before = x.clone()
    made = PAPER[name].apply(x)
    assert made.dtype == x.dtype
    assert made.min() >= x.min()
    assert made.max() <= x.max()
    assert torch.equal(x, before)
    levels = (x * 255).to(torch.uint8)
    assert (PAPER[name].apply(levels).double() - PAPER[name].apply(levels.double())).abs().max() <= 0.5 + 1e-4


def test_the_order_is_transform_major_and_sources_do_not_mix():
    x = noise()
    made = translate_copies(2).apply(x)
    for j, amount in enumerate(translate_copies(2).amounts):
        for i in range(len(x)):
            assert torch.equal(made[j, i], Copies("translate", (amount,)).apply(x[i : i + 1])[0, 0])


def test_the_zero_angle_is_dropped_and_no_other():
    angles = rotate_copies(30, 15).amounts
    assert len(angles) == 14
    np.testing.assert_allclose(np.diff(angles), [60 / 14] * 6 + [120 / 14] + [60 / 14] * 6)
    np.testing.assert_allclose(rotate_copies(5, 4).amounts, [-5, -5 / 3, 5 / 3, 5])
    assert rotate_copies(0.3, 7).m == 6  # linspace misses zero by a rounding


def test_a_bare_kind_is_the_papers_list_for_such_images():
    for kind in ("translate", "rotate", "crop"):
        assert copies_for(kind, channels=1, size=(28, 28)) == PAPER[f"mnist-{kind}"]
        assert copies_for(kind, channels=3, size=(32, 32)) == PAPER[f"cifar10-{kind}"]
        assert copies_for(kind, channels=1, size=(96, 96)) == PAPER[f"norb-{kind}"]
        assert copies_for(f"norb-{kind}", channels=3, size=(8, 8)) == PAPER[f"norb-{kind}"]
        assert copies_for(kind, channels=1, size=(8, 8)).apply(torch.zeros(1, 1, 8, 8)).shape[1:] == (1, 1, 8, 8)
    given = translate_copies(5)
    assert copies_for(given, channels=1, size=(28, 28)) is given


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: copies_for("shift", channels=1, size=(8, 8)), "Unknown transform 'shift'"),
        (lambda: Copies("shear", (1.0,)), "Unknown kind of copies 'shear'"),
        (lambda: Copies("rotate", ((1.0, 2.0),)), "single numbers"),
        (lambda: Copies("translate", (1.0,)), "pairs"),
        (lambda: Copies("crop", (-1,)), "whole numbers"),
        (lambda: crop_copies(4).apply(torch.zeros(1, 1, 8, 8)), "leaves nothing of 8×8; crop by at most 3"),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, told):
    with pytest.raises(InputError, match=told):
        make()
