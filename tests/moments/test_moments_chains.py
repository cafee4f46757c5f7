"""Compositions that go part by part: against enumeration of all their nodes, and against their own draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_case import MomentCase, images

from auglean.moments import moments_of, piles
from auglean.moments.chains import by_chain
from auglean.moments.covariances import MEMORY, Nodes
from auglean.moments.lowrank import compress, leading, thin
from auglean.moments.planning import rule
from auglean.moments.tasks import Task
from auglean.policies import (
    Brightness,
    Contrast,
    Cutout,
    Flip,
    Mixture,
    RandomCrop,
    Rotate,
    Scale,
    Translate,
    mixture,
    parse,
    sometimes,
)


def close(found, expected, atol=1e-10):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


class Apart:
    """A policy of which no rule as a whole is taken: few nodes are allowed at once."""

    def __init__(self, policy, **options):
        self.policy, self.options = policy, {"tol": 1e-10, **options}

    def moments(self, x, **options):
        return moments_of(self.policy, x, **{**self.options, **options})

    def __call__(self, x, **options):
        return self.policy(x, **options)


def whole(policy, x):
    """Mean and covariance by every combination of nodes."""
    task = Task(policy, x[None], tol=1e-3, most=4096, limit=MEMORY, seed=0, exact=False)
    own = rule(policy, task.question())
    assert own.kind.startswith("exact")
    form = task.by(own)
    assert isinstance(form, Nodes)
    columns = form.columns()[0]
    return form.mean[0].view_as(x), columns @ columns.T


class ChainCase(MomentCase):
    size = (2, 4, 5)
    draws = 10_000

    def test_it_says_how_it_was_got(self):
        found = self.make().moments(images(*self.size))
        assert found.kind == self.kind
        assert found.error >= found.dropped >= 0
        assert found.m4_kind == "randomised qmc"

    def test_a_batch_is_its_images(self):
        x = images(2, *self.size)
        both = self.make().moments(x)
        for i in range(2):
            one = self.make().moments(x[i])
            close(both.mean[i], one.mean)
            close(both.variance[i], one.variance)
            close(both.matvec(x)[i], one.matvec(x[i]))
            close(both.frobenius2[i], one.frobenius2)
        assert both.factor().shape[0] == both.dense().shape[0] == 2

    def test_streaming_changes_nothing(self):
        x = images(*self.size)
        kept, streamed = self.make().moments(x), self.make().moments(x, max_memory=50_000)
        close(streamed.mean, kept.mean)
        close(streamed.variance, kept.variance)
        close(streamed.matvec(x), kept.matvec(x))
        close(streamed.m4, kept.m4)


class TestCropFlipCutout(ChainCase):
    def make(self):
        return Apart(parse("crop1-flip-cutout2"), most=25)

    def truth(self, x):
        mean, covariance = whole(parse("crop1-flip-cutout2"), x)
        return mean.flatten(), covariance, 1e-10


class TestTranslateFlipShear(ChainCase):
    kind = "exact panels"

    def make(self):
        return Apart(parse("translate1-flip-shear15"), most=64)

    def truth(self, x):
        mean, covariance = whole(parse("translate1-flip-shear15"), x)
        return mean.flatten(), covariance, 1e-10


class TestSometimesErased(ChainCase):
    def make(self):
        return Apart(parse("crop1-flip") | sometimes(0.3, Cutout(2, fill=0.5)), most=25)

    def truth(self, x):
        mean, covariance = whole(parse("crop1-flip") | sometimes(0.3, Cutout(2, fill=0.5)), x)
        return mean.flatten(), covariance, 1e-10


ATOMS = st.sampled_from(
    [
        Flip(0.3),
        Flip(0.6, vertical=True),
        RandomCrop(1, fill=0.4),
        Translate(1, fill=0.7),
        Translate(0.5, padding="circular"),
        Scale(0.3, padding="border"),
        Cutout(2, fill=0.2),
        Cutout(1),
        Brightness(0.5, clamp=False),
        Contrast(0.5, clamp=False),
        sometimes(0.4, RandomCrop(1)),
        mixture([Flip(1.0), Cutout(1), parse("none")], [1, 2, 3]),
    ]
)


@given(ATOMS, ATOMS, st.sampled_from([(1, 4, 4), (3, 3, 4), (1, 1, 1), (1, 1, 5)]), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_law_of_total_covariance_is_enumeration(first, second, size, compressed, flipped):
    x, policy = images(*size, seed=4), first | second
    policy = policy | Flip(0.3) if flipped else policy
    mean, covariance = whole(policy, x)
    task = Task(policy, x[None], tol=1e-3, most=4096, limit=MEMORY, seed=0, exact=True)
    with pytest.MonkeyPatch.context() as patch:
        if compressed:
            patch.setattr(piles, "_FREE", 0)
        form = by_chain(task).form
    assert not isinstance(form, Nodes)
    near = 1e-9  # a zoom alone may have its panels split more finely than one of several parts
    close(form.mean[0], mean.flatten(), near)
    close(form.matvec(torch.eye(x.numel(), dtype=torch.float64)[None])[0], covariance, near)
    close(form.variance[0], covariance.diagonal(), near)
    close(form.frobenius2[0], covariance.square().sum(), near)
    factor = form.columns()[0]
    close(factor @ factor.T, covariance, near)


def test_clamping_may_come_first():
    x = images(3, 4, 4)
    found = moments_of(parse("brightness0.5-crop1"), x, method="exact", most=300)
    mean, covariance = whole(parse("brightness0.5-crop1"), x)
    assert found.kind == "exact panels"
    close(found.mean, mean)
    close(found.dense(), covariance)


def test_what_goes_is_told_and_no_more_than_that(monkeypatch):
    monkeypatch.setattr(piles, "_FREE", 0)  # else nothing goes, as the columns are few
    x, policy = images(1, 6, 6), parse("translate2-flip-cutout2")
    rough, fine = moments_of(policy, x, tol=0.2), moments_of(policy, x, tol=1e-10)
    assert (rough.kind, fine.kind) == ("truncated", "exact panels")
    assert 0.01 < rough.dropped < 0.05 < 0.2
    assert rough.error >= rough.dropped
    close(rough.mean, fine.mean)
    lost = (fine.trace - rough.trace) / fine.trace
    assert 0 < lost <= rough.dropped


def test_panels_are_doubled_until_the_error_is_small():
    x, policy = images(1, 8, 8), parse("translate2-rotate15")
    rough, fine = moments_of(policy, x, tol=3e-2), moments_of(policy, x, tol=3e-4)
    assert rough.kind == fine.kind == "quadrature"
    assert rough.error < 3e-2
    assert fine.error < 3e-4
    assert (rough.mean - fine.mean).norm() < 3e-2 * fine.mean.norm()
    assert abs(rough.trace - fine.trace) < float(rough.error) * fine.trace


def test_branches_each_in_their_own_way():
    x = images(1, 4, 5)
    policy = Mixture([parse("augmix-m3-w1"), parse("crop1")], [0.4, 0.6])
    found = policy.moments(x, most=512)
    assert found.kind == "monte carlo"
    mix, crop = parse("augmix-m3-w1").moments(x, most=512), parse("crop1").moments(x)
    close(found.mean, 0.4 * mix.mean + 0.6 * crop.mean)
    step = (mix.mean - crop.mean).flatten()
    close(found.dense(), 0.4 * mix.dense() + 0.6 * crop.dense() + 0.24 * torch.outer(step, step))
    factor = found.factor()
    close(factor @ factor.T, found.dense())


def test_an_error_above_tol_is_said():
    found = parse("crop2-rand-m9-n2").moments(images(3, 5, 5), most=256)
    assert found.error > 1e-3
    assert f"The error is {float(found.error):.2g}, above tol=0.001" in found.note
    assert "above tol" not in parse("crop2").moments(images(3, 5, 5)).note


def test_fourth_moments_are_estimated_and_near_what_they_are():
    x = images(1, 5, 5)
    exact = parse("crop1-flip-cutout2").moments(x)
    found = Apart(parse("crop1-flip-cutout2"), most=400).moments(x)
    assert exact.m4_kind == "exact finite"
    assert found.m4_kind == "randomised qmc"
    torch.testing.assert_close(found.m4, exact.m4, rtol=0.05, atol=0)


def test_fourth_moments_of_a_product_of_rules_are_exact():
    x = images(1, 5, 4)
    found = parse("translate1-flip").moments(x)
    place, weights = torch.linspace(-1, 1, 401, dtype=torch.float64), torch.full((401,), 2.0, dtype=torch.float64)
    weights[[0, -1]] = 1.0
    weights /= weights.sum()
    y = Translate(1).apply(x.expand(401**2, -1, -1, -1), {"shift": torch.cartesian_prod(place, place)})
    y = torch.cat([y, y.flip(3)]).flatten(1)
    weight = torch.cat([(weights[:, None] * weights).flatten()] * 2) / 2
    fourth = weight @ (y - found.mean.flatten()).square().sum(1).square()
    torch.testing.assert_close(found.m4, fourth, rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [(500, 450), (450, 500)])
def test_compressing_by_random_directions(size):
    chance = torch.Generator().manual_seed(0)
    factor = torch.randn(*size, generator=chance, dtype=torch.float64) * 0.97 ** torch.arange(size[1])
    small, gone = compress(factor, 1e-4)
    total = factor.square().sum()
    close((total - small.square().sum()) / total, gone / total, 1e-12)
    assert 0 < gone <= 1e-4 * total
    spectrum = torch.linalg.svdvals(factor).square()
    needed = int((total - spectrum.cumsum(0) > 1e-4 * total).sum()) + 1
    assert needed <= small.shape[1] <= 1.3 * needed
    off = torch.linalg.eigvalsh(factor @ factor.T - small @ small.T)
    assert off.min() > -1e-9 * total
    assert off.max() <= gone * (1 + 1e-9)


def test_products_alone_find_factor_and_eigenvalues():
    form = parse("crop2").moments(images(2, 1, 8, 8)).covariance
    truth = form.matvec(torch.eye(64, dtype=torch.float64).expand(2, 64, 64))
    factors, gone = thin(form, 1e-12, 64)
    for factor, lost, dense in zip(factors, gone, truth, strict=True):
        assert lost < 1e-10
        close(factor @ factor.T, dense)
    factors, gone = thin(form, 0.1, 64)
    for factor, lost, dense in zip(factors, gone, truth, strict=True):
        assert factor.shape[1] < 24
        close((dense.trace() - factor.square().sum()), lost)
        assert 0 < lost <= 0.1 * dense.trace()
    values, vectors = leading(form, 5)
    close(values, torch.linalg.eigvalsh(truth).flip(1)[:, :5])
    close(truth @ vectors, vectors * values[:, None], 1e-6)


@pytest.mark.parametrize(
    "word", ["translate9", "crop9", "translate6-flip", "cutout3", "translate3-flip-rotate15", "flip-cutout3"]
)
def test_what_does_not_fit_is_found_by_products(word):
    x = torch.nn.functional.interpolate(images(1, 1, 6, 6), (24, 20), mode="bilinear")[0]
    found, tight = parse(word).moments(x), parse(word).moments(x, max_memory=1_100_000)
    assert not tight.covariance.fits
    values, vectors = tight.eig(2)
    exact, _ = found.eig(2)
    torch.testing.assert_close(values, exact, rtol=1e-9, atol=float(tight.dropped * tight.trace))
    close(tight.matvec(vectors[0]), values[0] * vectors[0], 1e-6)
    torch.testing.assert_close(tight.frobenius2, found.frobenius2, rtol=1e-9 + 2 * float(tight.dropped), atol=0)


def test_without_memory_for_columns_there_is_chance():
    x = images(1, 8, 8)
    found = moments_of(parse("crop2-flip-cutout2"), x, most=1000, max_memory=60_000)
    assert found.kind == "randomised qmc"


def test_a_rotation_of_no_angle_between():
    x = images(1, 5, 5)
    found = moments_of(RandomCrop(1) | Rotate(0) | Flip(), x, most=17)
    mean, covariance = whole(RandomCrop(1) | Flip(), x)
    close(found.mean, mean)
    close(found.dense(), covariance, 1e-3)
