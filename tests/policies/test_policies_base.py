"""The algebra, the errors, and callables made policies."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

import numpy as np
import policy_case
import pytest
import torch
from policy_case import PolicyCase, generator, images, superposition_gap
from torch import nn

from auglean.errors import InputError
from auglean.policies import (
    Brightness,
    Compose,
    Cutout,
    Flip,
    Identity,
    Policy,
    RandAugment,
    RandomCrop,
    Rotate,
    Saturation,
    Scale,
    Shear,
    Translate,
    as_policy,
    mixture,
    sometimes,
)
from auglean.randomness import Keys


class BatchMean(Policy):
    """The wrong twin of brightness: looks at its neighbours, and calls itself linear."""

    linear = True

    def _draw(self, n, generator, device):
        return {"factor": torch.rand(n, generator=generator if isinstance(generator, torch.Generator) else None)}

    def _operate(self, x, params):
        return (x - 0.1 * x.mean()).clamp(0, 1) ** 2


class WrongTwin(PolicyCase):
    def make(self):
        return BatchMean()

    def reference(self, image, params):
        return image**2


@pytest.mark.parametrize(
    "test",
    [
        "test_linear_is_what_it_says",
        "test_keys_fix_the_image_whatever_the_batch",
        "test_one_draw_for_all",
        "test_touches_no_generator_but_its_own",
    ],
)
def test_the_shared_case_catches_a_wrong_policy(test):
    with torch.random.fork_rng(), pytest.raises(AssertionError):
        getattr(WrongTwin(), test)()


def test_the_shared_case_catches_a_wrong_formula():
    with pytest.raises(AssertionError):
        WrongTwin().test_equals_the_plain_formula((3, 8, 8))


# ---- algebra


def test_composition_is_one_after_the_other():
    x, first, second = images(5), Translate(3), Rotate(40)
    params = (first | second).draw(5, generator=generator())
    parts = [{name[2:]: value for name, value in params.items() if name[:2] == prefix} for prefix in ("0.", "1.")]
    expected = second.apply(first.apply(x, parts[0]), parts[1])
    assert torch.equal((first | second).apply(x, params), expected)
    assert not torch.equal(first.apply(second.apply(x, parts[1]), parts[0]), expected)


def test_composition_is_flat_and_linear_where_its_parts_are():
    policy = (Translate(1) | Flip()) | (Rotate(5) | Identity())
    assert [type(part) for part in policy.parts] == [Translate, Flip, Rotate, Identity]
    assert policy.linear
    assert not (policy | Brightness(0.4)).linear
    assert (policy | Brightness(0.4, clamp=False)).linear
    assert sometimes(0.5, Flip()).linear
    assert not sometimes(0.5, RandAugment()).linear
    assert Compose([]).apply(images(2), {}).shape == (2, 3, 11, 7)


def test_one_shared_draw_composes_a_mixture():
    policy, x = mixture([Translate(2), Flip()]) | sometimes(0.5, Rotate(9)), images(6)
    params = policy.draw(1, generator=generator(8))
    assert all(len(value) == 1 for value in params.values())
    assert torch.equal(policy.apply(x, params)[2:3], policy.apply(x[2:3], params))


def test_mixture_frequencies():
    policy, n = mixture([Identity(), Flip(), Rotate(1)], [1, 2, 5]), 20_000
    counts = policy.draw(n, generator=generator())["branch"].bincount(minlength=3).double()
    p = torch.tensor([1, 2, 5]) / 8
    assert ((counts - n * p).abs() < 5 * (n * p * (1 - p)).sqrt()).all()


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_sometimes_at_its_ends(p):
    x = images(50)
    y = sometimes(p, Flip(1))(x, generator=generator())
    assert torch.equal(y, x.flip(3) if p else x)


def test_mixture_passes_gradients_to_every_branch():
    x = images(12, dtype=torch.float64).requires_grad_()
    policy = mixture([Flip(1), Brightness(0.5, clamp=False), Identity()])
    params = policy.draw(12, generator=generator())
    assert set(params["branch"].tolist()) == {0, 1, 2}
    policy.apply(x, params).sum().backward()
    assert (x.grad.flatten(1) > 0).all()


def test_module_apply_still_reaches_inside():
    seen = []
    (Translate(1) | Flip()).apply(seen.append)
    assert {type(module).__name__ for module in seen} >= {"Translate", "Flip", "Compose"}


# ---- bad input


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "expected a floating tensor .* found torch.uint8"),
        (torch.zeros(4, 4), r"expected images of shape \(B, C, H, W\) but found \(4, 4\)"),
        ([[1.0]], "expected a floating tensor .* found list"),
    ],
)
def test_apply_says_what_was_expected(x, message):
    with pytest.raises(InputError, match=message):
        Translate(1).apply(x, Translate(1).draw(1))


def test_parameters_must_fit():
    x = images(4)
    with pytest.raises(InputError, match=r"'shift' expected first dimension 4 or 1 .* found shape \(3, 2\)"):
        Translate(1).apply(x, Translate(1).draw(3))
    with pytest.raises(InputError, match=r"No parameter 'shift' among \['angle'\]"):
        Translate(1).apply(x, Rotate(1).draw(4))
    with pytest.raises(ValueError, match="Keys hold 3 examples but 4"):
        Translate(1)(x, generator=Keys([1, 2, 3]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Translate(-1),
        lambda: Translate(float("nan")),
        lambda: Translate(float("inf")),
        lambda: Translate(1, fill=2),
        lambda: Translate(1, padding="zeros"),
        lambda: Scale(1),
        lambda: Shear(90),
        lambda: Flip(1.1),
        lambda: RandomCrop(1.5),
        lambda: Cutout(-1),
        lambda: RandAugment(2, 11),
        lambda: mixture([]),
        lambda: mixture([Flip()], [0]),
        lambda: mixture([Flip()], [1, 2]),
        lambda: mixture([Flip(), Identity()], [1, -1]),
        lambda: sometimes(-0.1, Flip()),
        lambda: Compose([Flip(), abs]),
        lambda: as_policy(3),
        lambda: Saturation(0.1)(torch.rand(2, 4, 5, 5)),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(InputError):
        make()


# ---- callables


class Noise(nn.Module):
    def forward(self, x):
        return (x + 0.2 * torch.rand(x.shape) + 0.1 * random.random() + 0.1 * float(np.random.rand())) / 1.4


def test_as_policy_gives_a_policy_back():
    policy = Flip()
    assert as_policy(policy) is policy


def test_a_module_that_draws_from_everywhere_replays_and_leaves_no_trace():
    policy, x = as_policy(Noise()), images(6)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    params = policy.draw(6, generator=generator())
    y = policy.apply(x, params)
    assert torch.equal(policy.apply(x, params), y)
    assert torch.equal(policy.apply(x[4:], {"seed": params["seed"][4:]}), y[4:])
    assert not torch.equal(policy(x, generator=generator(1)), y)
    assert len({round(float(d), 5) for d in (y - x).mean((1, 2, 3))}) == 6
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_generators_come_back_when_the_callable_fails():
    def fail(image):
        torch.rand(3), random.random(), np.random.rand()
        raise RuntimeError("no")

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with pytest.raises(RuntimeError, match="no"):
        as_policy(fail).apply(images(2), {"seed": torch.tensor([1, 2])})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_a_callable_that_works_in_place_does_not_change_the_batch():
    x = images(3)
    before = x.clone()
    y = as_policy(lambda image: image.mul_(0.5))(x)
    assert torch.equal(x, before)
    assert torch.equal(y, 0.5 * before)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda image: image[:, 1:], r"\(3, 10, 7\)"),
        (lambda image: (image * 255).byte(), "uint8"),
        (lambda image: image.numpy(), "ndarray"),
    ],
)
def test_a_callable_must_keep_the_image(function, found):
    with pytest.raises(InputError, match=rf"must keep the shape .* \(3, 11, 7\) but found .*{found}"):
        as_policy(function)(images(2))


def test_callable_is_differentiable():
    x = images(2, dtype=torch.float64).requires_grad_()
    as_policy(lambda image: image**2)(x).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_kornia_module():
    kornia = pytest.importorskip("kornia.augmentation")
    policy, x = as_policy(kornia.RandomHorizontalFlip(p=0.5)), images(40)
    y = policy(x, generator=Keys(range(40)))
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(y, x, strict=True)]
    assert all(torch.equal(a, b.flip(2) if turned else b) for a, b, turned in zip(y, x, flipped, strict=True))
    assert 5 < sum(flipped) < 35
    order = [7, 3, 30]
    assert torch.equal(policy(x[order], generator=Keys(order)), y[order])


def test_albumentations_by_its_interface():
    """A stand-in with the interface of albumentations (array in and out by keyword, its own generator)."""

    class Transform:
        def set_random_seed(self, seed):
            self.own = np.random.default_rng(seed)

        def __call__(self, *, image):
            assert image.dtype == np.float32
            assert image.shape == (11, 7, 3)
            return {"image": (image * self.own.random()).astype(np.float32)}

    Transform.__module__ = "albumentations.stand_in"
    policy, x = as_policy(Transform()), images(5)
    params = policy.draw(5, generator=generator())
    y = policy.apply(x, params)
    assert torch.equal(policy.apply(x, params), y)
    factors = (y / x.clamp(min=1e-6)).amax((1, 2, 3))
    torch.testing.assert_close(y, x * factors[:, None, None, None])
    assert len(set(factors.tolist())) == 5


def test_superposition_gap_sees_a_fill():
    """Affine counts as linear here: the gap of a filled translation is zero, that of a clamp is not."""
    x, z = (images(8, seed=seed, dtype=torch.float64) for seed in (1, 2))
    filled, clamped = Translate(3, fill=0.5), Brightness(0.5)
    assert superposition_gap(filled, filled.draw(8, generator=generator()), x, z) < 1e-12
    assert superposition_gap(clamped, clamped.draw(8, generator=generator()), x, z) > 1e-3


def test_every_public_policy_goes_through_the_shared_case():
    from auglean import policies

    modules = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_policies_*.py"))]
    cases = [
        case
        for module in modules
        for case in vars(module).values()
        if isinstance(case, type) and issubclass(case, policy_case.PolicyCase)
    ]
    made = {type(case().make()) for case in cases if case.__name__.startswith("Test")}
    public = {
        thing
        for name in policies.__all__
        if isinstance(thing := getattr(policies, name), type) and issubclass(thing, Policy)
    }
    assert public - {Policy} <= made
