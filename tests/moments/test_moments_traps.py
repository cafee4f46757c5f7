"""Mistakes that are easily made with moments of augmented images, and what would see each; see also the properties."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
#: Each with the tests that would fail, or with how the code is made so that it cannot be made.
TRAPS = {
    "torchvision takes the nearest pixel by default": "test_affine_and_rotation, test_against_torchvision",
    "fill=0 multiplies by the mask once more": "test_case_j_with_a_mask, test_against_torchvision",
    "translations are rounded, signs differ, shear is an angle": "test_affine_and_rotation, test_rotation, test_case_k",
    "align_corners": "test_rotation, test_case_i_a_law_on_one_side",
    "reflection repeats the edge pixel or not": "test_crop, test_against_torchvision",
    "clamping is no detail": "test_hand_case_f, test_the_share_that_clamps_change_is_said, test_against_torchvision",
    "uint8 is rounded after each operator": "test_rounding_moves_moments_by_as_much_as_is_said",
    "names that mean something else": "test_names_that_mean_something_else, test_other_weights_of_grey_would_be_seen",
    "operators that are not linear in the image": "test_linear_is_what_it_says, test_searched_policies_fall_to_draws",
    "the order of erasing and normalizing": "test_what_is_erased_before_and_after_normalizing, test_containers",
    "a joint affine is no product": "test_joint_affine, test_joint_affine_of_torchvision",
    "tangents by autograd are wrong at whole pixels": "by construction: only covariances give directions, none of "
    "which is a derivative in a parameter",
    "one tangent misses the blur of interpolation": "by construction: the same, test_case_d",
    "a flip does not make pixels independent": "test_case_e",
    "factors scale columns, not rows": "test_every_face_shows_one_covariance",
    "shared nodes have errors that do not average out": "test_stratified_draws_beat_independent_ones, "
    "test_images_draw_on_their_own_and_keep_their_draws",
    "midpoints lose variance, global Gauss rules are poor": "test_cases_f_and_g, "
    "test_unclamped_factors_keep_all_digits, test_the_error_of_a_rotation_keeps_its_bound",
    "float32, and relative errors of nothing": "test_a_faint_pattern_on_a_bright_image_keeps_its_digits, "
    "test_a_loss_near_zero_is_not_held_to_a_share_of_itself, test_2_a_grey_image_stays",
    "the mean image is no example": "test_a_taylor_value_comes_with_its_gap_or_not_at_all",
    "batch norm and dropout": "test_the_model_and_the_generators_come_back, test_it_prints_its_gap",
    "labels that change with the image": "test_labels_of_a_pixel_are_the_share_of_the_box, test_mixup",
    "dense matrices, full ranks, noise": "test_bad_options, test_what_goes_is_told_and_no_more_than_that, "
    "test_what_does_not_fit_says_how_much_it_would_take",
    "even and odd sizes": "test_knots_of_a_rotation_leave_nothing_to_find",
}


@pytest.fixture(scope="module")
def names():
    """Names of all tests of moments and policies."""
    files = [path for room in ("moments", "policies") for path in (TESTS / room).glob("*.py")]
    return {name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text())}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_tests(names, trap):
    named = re.findall(r"test_\w+", TRAPS[trap])
    assert named or TRAPS[trap].startswith("by construction")
    assert set(named) <= names


def test_every_invariant_has_its_tests(names):
    text = (TESTS / "moments" / "test_moments_properties.py").read_text()
    listed = text[: text.index("import pytest")]
    named = re.findall(r"`(?:\w+\.)?(test_\w+)`", listed)
    assert len(named) >= 10
    assert set(named) <= names
    held = {int(number) for number in re.findall(r"def test_(\d+)_", text)}
    assert held | {9, 11, 13, 14} == set(range(1, 16))
