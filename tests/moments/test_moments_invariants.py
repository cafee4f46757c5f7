"""What holds for every image and policy, and the forms that only some sizes and laws show."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_case import MomentCase, brute, images

import auglean as al
from auglean.moments import moments_of
from auglean.moments.masks import boxes
from auglean.moments.planning import Question, rule
from auglean.moments.rules import integer_knots, panel_rule
from auglean.policies import (
    Brightness,
    Compose,
    Cutout,
    Flip,
    RandomErasing,
    RandomResizedCrop,
    Rotate,
    Translate,
    parse,
    sometimes,
)

WORDS = [
    *("flip", "flip0.2", "crop1", "cutout2", "translate1.4", "rotate20", "scale0.3", "shear12", "brightness0.6"),
    *("contrast0.5", "saturation0.7", "sharpness0.9", "posterize3", "solarize0.5", "rand-m9-n1", "crop1-flip"),
    *("brightness0.3-flip", "rotate10-flip", "translate1-flip-cutout2", "none"),
]
SIZES = [(3, 4, 5), (1, 1, 1), (1, 1, 4), (3, 5, 1), (1, 6, 3)]


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


@given(st.sampled_from(WORDS), st.sampled_from(SIZES), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_covariance_is_one(word, size, seed):
    x = images(*size, seed=seed)
    found = parse(word).moments(x, tol=1e-2, most=1024)
    dense = found.dense()
    close(dense, dense.T)
    assert torch.linalg.eigvalsh(dense).min() > -1e-12
    close(found.trace, found.variance.sum())
    close(dense.diagonal(), found.variance.flatten(), 1e-11)
    close(found.frobenius2, dense.square().sum(), 1e-9)
    # E ‖T − x‖² = tr C + ‖μ − x‖², and Jensen for the fourth power
    assert found.trace >= 0
    assert found.m4 >= found.trace.square() * (1 - 1e-2) - 1e-12
    close(found.matvec(torch.zeros_like(x)), torch.zeros_like(x))


@given(st.sampled_from(WORDS), st.sampled_from(SIZES))
@settings(max_examples=30, deadline=None)
def test_weights_are_a_law(word, size):
    x = images(2, *size)
    own = rule(parse(word), Question(size, x))
    if own is not None:
        assert own.weights.min() >= 0
        close(own.weights.sum(0), torch.ones(own.weights.shape[1]))


@given(st.sampled_from(WORDS), st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_now_and_then_is_between(word, p, seed):
    x, policy = images(3, 4, 4, seed=seed), parse(word)
    options = {"tol": 1e-2, "most": 512}
    found, always = sometimes(p, policy).moments(x, **options), policy.moments(x, **options)
    slack = 1e-10 if found.kind.startswith("exact") else 3e-2
    step = (always.mean - x).flatten()
    close(found.mean, x + p * (always.mean - x), slack)
    close(found.dense(), p * always.dense() + p * (1 - p) * torch.outer(step, step), slack)


@given(st.sampled_from(WORDS), st.booleans())
@settings(max_examples=25, deadline=None)
def test_nothing_before_or_after_changes_nothing(word, first):
    x, policy = images(3, 4, 4), parse(word)
    joined = Compose([parse("none"), policy]) if first else Compose([policy, parse("none")])
    found, alone = joined.moments(x, tol=1e-2), policy.moments(x, tol=1e-2)
    slack = 1e-10 if found.kind.startswith("exact") else 3e-2
    close(found.mean, alone.mean, slack)
    close(found.variance, alone.variance, slack)


def test_circular_whole_shifts_twice_convolve_their_laws():
    x, policy = images(1, 5, 7), parse("translate1")
    policy.padding = "circular"
    # hats of hats: independent laws add up
    once, (nodes, weights) = policy, panel_rule(integer_knots(-1, 1), 2)
    shifts = torch.cartesian_prod(nodes, nodes)
    weight = (weights[:, None] * weights).flatten()
    y = once.apply(x.expand(len(shifts), -1, -1, -1), {"shift": shifts})
    twice = torch.cat([once.apply(one.expand(len(shifts), -1, -1, -1), {"shift": shifts}) for one in y])
    mean, covariance = brute(twice, (weight[:, None] * weight).flatten())
    found = moments_of(once | once, x, method="exact", most=100)
    close(found.mean.flatten(), mean)
    close(found.dense(), covariance, 1e-10)


@pytest.mark.parametrize("word", ["brightness0.4", "contrast0.4", "saturation0.4"])
def test_colour_without_clamping_has_one_direction(word):
    x, policy = images(3, 5, 5), parse(word)
    found = type(policy)(policy.amount, clamp=False).moments(x)
    assert found.factor(tol=1e-10).shape == (75, 1)


def test_the_error_of_a_rotation_keeps_its_bound():
    """Composite midpoints of K nodes miss the mean of each pixel by L V / (8 K²) at most, V found on a fine grid."""
    x, limit = images(1, 9, 9), math.radians(15)
    policy = Rotate(15)

    def run(k):
        knots = torch.linspace(-15, 15, k + 1, dtype=torch.float64)
        nodes = (knots[1:] + knots[:-1]) / 2
        return policy.apply(x.expand(k, -1, -1, -1), {"angle": nodes}).flatten(1)

    truth = policy.moments(x, method="exact").mean.flatten()
    fine = run(50_000)
    slope = fine.diff(dim=0) / (2 * limit / 50_000)
    variation = slope.diff(dim=0).abs().sum(0)
    errors = {k: (run(k).mean(0) - truth).abs() for k in (32, 64, 128, 256, 512)}
    for k, error in errors.items():
        assert (error <= 2 * limit * variation / (8 * k**2) * 1.01 + 1e-8).all()
    # order K⁻²: a quarter for each doubling, on the average of four
    assert 3 < (errors[32].norm() / errors[512].norm()) ** 0.25 < 5


@pytest.mark.parametrize("size", [(3, 5, 4), (1, 1, 6), (1, 7, 1)])
def test_a_batch_has_knots_of_its_own(size):
    x = images(3, *size)
    x[1] = x[1] * 0.2  # few pixels reach white
    policy = Brightness(0.9)
    both = policy.moments(x)
    for i in range(3):
        params = {"factor": 0.1 + 1.8 * (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000}
        y = policy.apply(x[i].expand(20_000, -1, -1, -1), params)
        mean, covariance = brute(y, torch.full((20_000,), 1 / 20_000, dtype=torch.float64))
        close(both.mean[i].flatten(), mean, 1e-7)
        close(both.dense()[i], covariance, 1e-7)


@pytest.mark.parametrize("word", ["crop1", "rotate15", "contrast0.5", "crop1-flip-cutout2"])
def test_float32_images_are_taken_in_float64(word):
    x = images(3, 5, 5).float()
    found, exact = parse(word).moments(x), parse(word).moments(x.double())
    assert found.mean.dtype == found.variance.dtype == found.eig(1)[0].dtype == torch.float64
    torch.testing.assert_close(found.mean, exact.mean, rtol=0, atol=0)


def test_no_parts_do_nothing():
    x = images(1, 3, 3)
    found = Compose([]).moments(x)
    assert found.kind == "exact finite"
    close(found.mean, x)
    assert found.trace == 0
    assert found.eig(2)[0].tolist() == [0.0, 0.0]
    assert found.factor().shape == (9, 0)


@pytest.mark.parametrize(
    "make", [lambda: Translate(-1), lambda: Rotate(-5), lambda: Brightness(-0.1), lambda: Cutout(-1)]
)
def test_a_strength_below_zero_is_refused(make):
    with pytest.raises(al.InputError, match="-"):
        make()


def test_what_does_not_fit_says_how_much_it_would_take():
    found = Translate(2).moments(images(1, 32, 32), max_memory=100_000)
    with pytest.raises(al.InputError, match="would take"):
        found.covariance.columns()
    assert found.matvec(images(1, 32, 32)).shape == (1, 32, 32)
    with pytest.raises(al.InputError, match="eig expected"):
        found.eig(0)


class TestErasing(MomentCase):
    draws = 40_000

    def make(self):
        return RandomErasing(0.7, scale=(0.1, 0.4), fill=0.3)

    def truth(self, x):
        law = boxes(self.make(), 6, 7)
        y, weights = [], []
        for weight, box in law.all():
            y.append(x * (1 - box) + 0.3 * box)
            weights.append(weight)
        return *brute(torch.stack(y), torch.tensor(weights, dtype=torch.float64)), 1e-12


def test_an_erased_box_comes_last_in_its_own_form():
    x = images(1, 6, 6)
    policy = parse("crop1-flip") | RandomErasing(0.5, scale=(0.1, 0.4))
    found = policy.moments(x, tol=1e-9)
    assert found.kind == "exact finite"
    n = 40_000
    y = policy(x.expand(n, -1, -1, -1).contiguous(), generator=torch.Generator().manual_seed(2)).flatten(1)
    assert (y.mean(0) - found.mean.flatten()).norm() < 4 * (found.trace / n).sqrt()
    error = ((found.m4 - found.trace**2) / n).sqrt()
    assert abs(y.var(0).sum() - found.trace) < 4 * error
    spread = ((found.m4 - found.frobenius2) / n).sqrt()
    assert (torch.cov(y.T) - found.dense()).norm() < 3 * spread


def test_a_resized_crop_may_come_first():
    x = images(3, 6, 6)
    crop = RandomResizedCrop((0.3, 1.0))
    found, alone = (crop | Flip()).moments(x, tol=1e-9), crop.moments(x)
    assert found.kind == "exact finite"
    close(found.mean, (alone.mean + alone.mean.flip(2)) / 2)
    turned = alone.dense().view(3, 6, 6, 3, 6, 6).flip(2, 5).reshape(108, 108)
    step = (alone.mean - alone.mean.flip(2)).flatten() / 2
    close(found.dense(), (alone.dense() + turned) / 2 + torch.outer(step, step), 1e-8)
