"""What must hold for every image, strength and policy: fifteen invariants, as properties.

Where an invariant is held elsewhere too, the number stands beside the name of that test:
 1 here; `MomentCase.test_every_face_shows_one_covariance` for every policy
 2 here; `test_nothing_moves_in_a_constant_image`, `test_no_strength_is_no_change`
 3, 4, 5, 6 here
 7 here; `test_mass_form_is_node_form`
 8 here; `test_nothing_before_or_after_changes_nothing`, `test_two_flips_are_one`
 9 `test_the_law_of_total_covariance_is_enumeration`
10 here; `test_now_and_then_is_between`
11 `draws.agree`, for every transform of torchvision and kornia that is read
12 here; `test_the_closed_form_is_the_average_over_all_copies`, `test_bounds_hold`
13 `test_the_error_of_a_rotation_keeps_its_bound`
14 `test_policies_importing_geometry.py`, `…_colour.py` and `…_kornia.py`, at the same parameters
15 here
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_case import brute, images
from torch import nn

import auglean as al
from auglean.moments.geometric_rules import displacements
from auglean.moments.knots import Place, scale_knots, shear_knots
from auglean.moments.planning import Question, rule
from auglean.moments.rules import integer_knots, panel_rule
from auglean.moments.rules import values as at_nodes
from auglean.policies import (
    ChannelPermutation,
    ColorJitter,
    Contrast,
    Flip,
    GaussianBlur,
    RandomCrop,
    RandomErasing,
    Saturation,
    Scale,
    Shear,
    Translate,
    parse,
    sometimes,
)
from auglean.policies.colour import TORCHVISION_GREY

seeds, shares, pixels = st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 3)
sizes = st.tuples(st.sampled_from([1, 3]), st.integers(2, 6), st.integers(2, 6))
few = settings(max_examples=25, deadline=None)


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


def by_nodes(policy, x):
    """Copies of an image at all nodes of a finite or panel rule, and their weights."""
    own = rule(policy, Question(tuple(x.shape), x[None], exact=True, most=2**16))
    return at_nodes(policy, own, x[None], 0, len(own), channelwise=False)[:, 0], own.weights[:, 0]


# 1


FINITE = ["flip0.3", "crop1", "cutout2", "translate1.3", "scale0.2", "shear12", "brightness0.6", "crop1-flip"]


@given(st.sampled_from(FINITE), sizes, seeds)
@few
def test_1_weights_are_a_law_and_covariances_are_ones(word, size, seed):
    policy, x = parse(word), images(*size, seed=seed)
    _, weights = by_nodes(policy, x)
    assert weights.min() > 0
    close(weights.sum(), 1)
    found = policy.moments(x)
    dense = found.dense()
    close(dense, dense.T)
    assert torch.linalg.eigvalsh(dense).min() > -1e-12
    close(found.trace, found.variance.sum())
    close(dense.diagonal(), found.variance.flatten())


# 2


@given(st.sampled_from(["translate2", "rotate20", "scale0.3", "shear12", "crop1", "cutout2", "rand-m5-n1"]), seeds)
@few
def test_2_never_is_nothing(word, seed):
    x = images(3, 5, 4, seed=seed)
    found = sometimes(0.0, parse(word)).moments(x)
    close(found.mean, x)
    assert not found.variance.any()


STILL = {
    "flip": (lambda: Flip(0.4), 1e-28),
    "blur": (lambda: GaussianBlur(3, (0.3, 2.0)), 1e-28),
    "crop": (lambda: RandomCrop(2, outside="border"), 1e-28),
    "mirrored crop": (lambda: RandomCrop(1, outside="mirror"), 1e-28),
    "contrast": (lambda: Contrast(0.5), 1e-28),
    "saturation": (lambda: Saturation(0.5), 1e-28),
    "contrast of torchvision": (lambda: Contrast(0.5, weights=TORCHVISION_GREY), 3e-7),
    "saturation of torchvision": (lambda: Saturation(0.5, weights=TORCHVISION_GREY), 3e-7),
}


@pytest.mark.parametrize("name", STILL)
@given(st.floats(0, 1))
@few
def test_2_a_grey_image_stays(name, level):
    make, bound = STILL[name]
    found = make().moments(torch.full((3, 4, 5), level, dtype=torch.float64))
    assert found.trace <= bound
    assert found.error < 1e-12  # rounding is no spread whose error were to be brought down
    assert found.nodes <= 32
    if bound == 3e-7 and level > 0.5:  # weights that sum to 0.9999 are no average
        assert found.trace > 1e-9


# 3


@given(pixels, st.booleans(), seeds)
@few
def test_3_what_moves_round_or_flips_keeps_its_sum(amount, flips, seed):
    x = images(3, 4, 5, seed=seed)
    found = (Flip(amount / 3, vertical=True) if flips else Translate(amount, padding="circular")).moments(x)
    close(found.mean.sum((1, 2)), x.sum((1, 2)))
    for channel in range(3):  # each on its own
        ones = torch.zeros_like(x)
        ones[channel] = 1
        close(found.matvec(ones), torch.zeros_like(x))


@given(seeds)
@few
def test_3_channels_that_change_places_keep_their_sum(seed):
    x = images(3, 3, 4, seed=seed)
    found = ChannelPermutation().moments(x)
    close(found.mean, x.mean(0, keepdim=True).expand(3, -1, -1))
    close(found.matvec(torch.ones_like(x)), torch.zeros_like(x))
    assert found.trace > 0


# 4


@given(st.sampled_from(["translate", "crop", "cutout", "erasing"]), st.integers(1, 3), seeds)
@few
def test_4_black_outside_loses_light(kind, amount, seed):
    x = images(2, 4, 5, seed=seed)
    policy = RandomErasing(amount / 3, scale=(0.1, 0.5)) if kind == "erasing" else parse(f"{kind}{amount}")
    assert policy.moments(x).mean.sum() < x.sum()


@given(st.tuples(*[st.floats(0.05, 1)] * 3), seeds)
@few
def test_4_unclamped_jitter_has_three_directions(amounts, seed):
    found = ColorJitter(*amounts, clamp=False).moments(images(3, 4, 5, seed=seed))
    values = torch.linalg.eigvalsh(found.dense()).flip(0)
    assert values[2] > 1e-9 * values[0]
    # the orders of brightness, contrast and saturation agree, as these grey weights sum to one
    assert values[3] < 1e-13 * values[0]


# 5


@given(st.sampled_from([*FINITE[:6], "crop1-flip"]), shares, shares, seeds)
@few
def test_5_linear_in_the_image(word, a, b, seed):
    (x, y), policy = images(2, 1, 4, 5, seed=seed), parse(word)
    a, b = a / 2, b / 2
    first, second, joined = policy.moments(x), policy.moments(y), policy.moments(a * x + b * y)
    close(joined.mean, a * first.mean + b * second.mean)
    close(policy.moments(a * x).dense(), a**2 * first.dense())


# 6


def halved(knots):
    """Each panel in two."""
    return torch.cat([knots[:1], torch.stack([(knots[1:] + knots[:-1]) / 2, knots[1:]], 1).flatten()])


def by_panels(kind, amount, x, n, halves):
    """Mean, covariance and fourth moment by n nodes between the knots, with every panel whole or halved."""
    size = tuple(x.shape[1:])
    if kind == "translate":
        policy, knots = Translate(3 * amount), integer_knots(-3 * amount, 3 * amount)
        nodes, weights = panel_rule(halved(knots) if halves else knots, n)
        params = {"shift": torch.cartesian_prod(nodes, nodes)}
        weights = torch.outer(weights, weights).flatten()
    elif kind == "scale":  # a polynomial in the inverse of the factor
        policy = Scale(amount / 4)
        knots = scale_knots(1 / policy.range[1], 1 / policy.range[0], Place.of(policy, *size))
        inverse, weights = panel_rule(halved(knots) if halves else knots, n, lambda w: w**-2)
        params = {"factor": 1 / inverse}
    else:  # in the slope, of which the angle is drawn
        policy = Shear(20 * amount)
        knots = shear_knots(*policy.range, Place.of(policy, *size), vertical=False)
        nodes, weights = panel_rule(halved(knots) if halves else knots, n)
        params = {"angle": nodes}
    y = policy.apply(x.expand(len(weights), -1, -1, -1), params)
    mean, covariance = brute(y, weights)
    return policy, mean, covariance, weights @ (y.flatten(1) - mean).square().sum(1).square()


@pytest.mark.parametrize(
    ("kind", "least", "tolerance"), [("translate", 2, 1e-12), ("scale", 5, 1e-10), ("shear", 5, 1e-10)]
)
@given(st.floats(0.1, 0.5), st.tuples(st.integers(4, 6), st.integers(4, 6)), seeds)
@settings(max_examples=8, deadline=None)
def test_6_more_nodes_and_split_panels_change_nothing(kind, least, tolerance, amount, size, seed):
    x = images(1, *size, seed=seed)
    policy, mean, covariance, fourth = by_panels(kind, amount, x, 7, True)
    _, coarse_mean, coarse_covariance, _ = by_panels(kind, amount, x, least, False)
    close(coarse_mean, mean, tolerance)
    close(coarse_covariance, covariance, tolerance)
    close(by_panels(kind, amount, x, least + 1, False)[3], fourth, tolerance)
    found = policy.moments(x, method="exact")
    assert found.kind == "exact panels"
    close(found.mean.flatten(), mean)
    close(found.dense(), covariance)
    torch.testing.assert_close(found.m4, fourth, rtol=1e-8, atol=1e-13)


def test_6_one_node_less_is_too_few():
    x = images(1, 4, 5)
    _, _, covariance, fourth = by_panels("translate", 0.5, x, 7, False)
    assert (by_panels("translate", 0.5, x, 1, False)[2] - covariance).abs().max() > 1e-3
    assert (by_panels("translate", 0.5, x, 2, False)[3] - fourth).abs() > 1e-6


# 7


@given(st.sampled_from([*FINITE, "rotate20", "translate1.2-flip"]), sizes, seeds)
@few
def test_7_every_form_is_one_covariance(word, size, seed):
    x = images(*size, seed=seed)
    found = parse(word).moments(x, tol=1e-2)
    dense, factor = found.dense(), found.factor()
    close(found.matvec(x).flatten(), dense @ x.flatten())
    gram = (factor.T @ factor).square().sum()
    torch.testing.assert_close(gram, found.frobenius2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dense.square().sum(), found.frobenius2, rtol=1e-12, atol=1e-12)


# 8


@given(st.integers(0, 2), st.integers(0, 2), seeds)
@few
def test_8_whole_shifts_twice_convolve_their_laws(first, second, seed):
    """On a torus, where the order of two shifts is no matter: laws by counting pairs."""
    x = images(1, 3, 4, seed=seed)
    once, again = (Translate(m, padding="circular", interpolation="nearest") for m in (first, second))
    laws = [displacements(policy, 3, 4)[0] for policy in (once, again)]
    chance: dict[int, float] = {}
    for a, p in zip(laws[0].values, laws[0].weights, strict=True):
        for b, q in zip(laws[1].values, laws[1].weights, strict=True):
            chance[int(a + b)] = chance.get(int(a + b), 0) + p * q
    y = [x.roll((down, across), (1, 2)) for down in chance for across in chance]
    weights = [p * q for p in chance.values() for q in chance.values()]
    mean, covariance = brute(torch.stack(y), torch.tensor(weights, dtype=torch.float64))
    found = (once | again).moments(x, tol=1e-9)
    close(found.mean.flatten(), mean)
    close(found.dense(), covariance)


# 10


@given(st.sampled_from(FINITE), sizes, seeds)
@few
def test_10_distance_from_the_image_is_spread_and_displacement(word, size, seed):
    """`E ‖T − x‖² = tr C + ‖μ − x‖²`, the left by all nodes."""
    x, policy = images(*size, seed=seed), parse(word)
    copies, weights = by_nodes(policy, x)
    distance = weights @ (copies - x).flatten(1).square().sum(1)
    found = policy.moments(x)
    close(found.trace + (found.mean - x).square().sum(), distance)
    assert found.trace <= distance + 1e-12


# 12


@given(st.sampled_from(FINITE[:6]), seeds)
@few
def test_12_expected_losses_of_linear_models(word, seed):
    """The squared loss is the average over nodes, and the cross-entropy lies between Jensen's and Böhning's bounds."""
    x, policy = images(1, 2, 3, 4, seed=seed)[0], parse(word)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3)).double()
    data = x[None], torch.tensor([seed % 3])
    copies, weights = by_nodes(policy, x)
    with torch.no_grad():
        outputs = model(copies)
    one_hot = nn.functional.one_hot(data[1], 3)
    squared = al.expected_loss(model, "squared", policy, data)
    close(squared.mean[0], weights @ (one_hot - outputs).square().sum(1))
    entropy = nn.functional.cross_entropy(outputs, data[1].expand(len(outputs)), reduction="none")
    found = al.expected_loss(model, "cross-entropy", policy, data)
    assert found.lower is not None
    assert found.lower[0] <= weights @ entropy + 1e-12
    assert weights @ entropy <= found.upper[0] + 1e-12


# 15


def test_15_more_strength_may_be_less_spread():
    """Shifts far beyond the image leave it empty almost always."""
    x = images(1, 5, 5)
    traces = [float(Translate(most).moments(x).trace) for most in (1, 3, 50)]
    assert traces[0] < traces[1]
    assert traces[2] < traces[1]
