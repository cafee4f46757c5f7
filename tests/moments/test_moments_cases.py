"""Cases computed by hand, properties that hold for every image, and bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_case import images

import auglean as al
from auglean.moments import Discrete, Normal, Uniform, hats, rounded_uniform
from auglean.moments.knots import Place, rotation_knots
from auglean.moments.rules import panel_rule
from auglean.moments.shifts import Shifts
from auglean.policies import (
    Brightness,
    Contrast,
    Cutout,
    Flip,
    Identity,
    Rotate,
    Translate,
    mixture,
    parse,
    sometimes,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def shifted(x, law, padding):
    """Moments of a row moved by a law sideways."""
    return Shifts(
        x.view(1, 1, 1, -1),
        hats(Discrete((0,), (1.0,))),
        hats(law),
        padding=padding,
        fill=0.0,
        fourth=lambda: None,
        m4_kind="exact finite",
    )


def dense(form):
    return form.matvec(torch.eye(form.mean.shape[1], dtype=torch.float64)[None])[0]


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


X = tensor(1, 2, 4)


@pytest.mark.parametrize(
    ("law", "padding", "mean", "covariance"),
    [
        (Discrete((-1, 1), (0.5, 0.5)), "circular", (3, 2.5, 1.5), torch.outer(tensor(2, -3, 1), tensor(2, -3, 1)) / 4),
        (Discrete((-1, 0, 1), (1 / 3,) * 3), "circular", (7 / 3,) * 3, (torch.eye(3) * 3 - 1).double() * 7 / 9),
        (Discrete((-1, 1), (0.5, 0.5)), "fill", (1, 2.5, 1), torch.outer(tensor(-2, -3, 2), tensor(-2, -3, 2)) / 4),
    ],
    ids="ABC",
)
def test_integer_shifts(law, padding, mean, covariance):
    found = shifted(X, law, padding)
    close(found.mean[0], mean)
    close(dense(found), covariance)
    close(found.columns()[0] @ found.columns()[0].T, covariance)


def test_case_d():
    found = shifted(tensor(0, 1, 0), Uniform(-1.0, 1.0), "fill")
    close(found.mean[0], (0.25, 0.5, 0.25))
    close(dense(found), tensor(5, -2, -3, -2, 4, -2, -3, -2, 5).view(3, 3) / 48)


def test_case_e():
    found = Flip(0.3).moments(X.view(1, 1, 3) / 4)
    close(4 * found.mean.flatten(), (1.9, 2, 3.1))
    v = tensor(3, 0, -3)
    close(16 * found.dense(), 0.21 * torch.outer(v, v))
    close(16 * found.trace, 3.78)


def test_cases_f_and_g():
    found = Brightness(0.5).moments(tensor(0.8).view(1, 1, 1))
    close(found.mean.flatten(), [0.775])
    close(found.trace, 0.039375)
    x = X.view(1, 1, 3) / 4
    free = Brightness(0.5, clamp=False).moments(x)
    assert free.kind == "exact finite"
    close(free.mean, x)
    close(16 * free.dense(), torch.outer(X, X) / 12)
    close(16 * free.trace, 1.75)


def test_case_h():
    found = Cutout(1).moments(X.view(1, 1, 3) / 4)
    close(4 * found.mean.flatten(), X * 2 / 3)
    close(16 * found.dense(), torch.outer(X, X) * (torch.eye(3, dtype=torch.float64) / 3 - 1 / 9))
    close(16 * found.trace, 14 / 3)


def test_case_i_a_law_on_one_side():
    found = shifted(tensor(2, 6), Uniform(0.0, 0.5), "fill")
    close(found.mean[0], (1.5, 5))
    close(dense(found), tensor(4, 8, 8, 16).view(2, 2) / 48)


def test_case_j():
    found = shifted(tensor(1), Uniform(-1.0, 1.0), "fill")
    close(found.mean[0], [0.5])
    close(found.variance[0], [1 / 12])


def test_case_k():
    weights = rounded_uniform(3.2).weights
    close(tensor(*weights), (0.109375, *[0.15625] * 5, 0.109375))
    assert rounded_uniform(0.4).weights == (1.0,)


def test_case_l():
    found = Contrast(0.5, clamp=False).moments(tensor(1, 2, 3).view(1, 1, 3) / 4)
    close(4 * found.mean.flatten(), (1, 2, 3))
    close(16 * found.dense(), torch.outer(tensor(-1, 0, 1), tensor(-1, 0, 1)) / 12)


def test_hats_of_the_normal_law_against_fine_panels():
    law = Normal(0.3, 0.8)
    t, w = panel_rule(
        torch.linspace(law.low, law.high, 4001, dtype=torch.float64), 5, lambda t: (-((t - 0.3) ** 2) / 1.28).exp()
    )
    found = hats(law)
    k = found.first + torch.arange(len(found))
    phi = (1 - (t - k[:, None]).abs()).clamp(min=0)
    close(found.mean, phi @ w, 1e-7)
    close(found.mass, phi @ (w[:, None] * phi.T), 1e-7)


@pytest.mark.parametrize("padding", ["fill", "border", "reflection", "circular"])
@pytest.mark.parametrize("pixels", [0, 0.4, 1.5, 2, 9.25])
def test_mass_form_is_node_form(padding, pixels):
    x, policy = images(2, 5, 4), Translate(pixels, padding=padding, fill=0.3 if padding == "fill" else 0.0)
    form, nodes = policy.moments(x), (policy | Identity()).moments(x)
    close(form.mean, nodes.mean)
    close(form.variance, nodes.variance)
    close(form.dense(), nodes.dense())


@pytest.mark.parametrize("size", [(1, 5, 5), (1, 4, 7), (1, 6, 6)])
def test_knots_of_a_rotation_leave_nothing_to_find(size):
    x, policy = images(*size), Rotate(20)
    found = policy.moments(x, method="exact")
    assert found.kind == "exact panels"
    nodes, weights = panel_rule(rotation_knots(-20, 20, Place.of(policy, *size[1:])), 8)
    y = policy.apply(x.expand(len(nodes), -1, -1, -1), {"angle": nodes}).flatten(1)
    close(found.mean.flatten(), weights @ y, 1e-7)
    fine, fine_weights = panel_rule(torch.linspace(-20, 20, 20001, dtype=torch.float64), 1)
    y = policy.apply(x.expand(len(fine), -1, -1, -1), {"angle": fine}).flatten(1)
    close(found.mean.flatten(), fine_weights @ y, 1e-7)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_two_flips_are_one(p, q):
    x = images(1, 3, 4)
    found, one = (Flip(p) | Flip(q)).moments(x), Flip(p * (1 - q) + q * (1 - p)).moments(x)
    close(found.mean, one.mean)
    close(found.dense(), one.dense())


@given(st.floats(0.01, 0.99))
@settings(max_examples=20, deadline=None)
def test_mixture_identity(p):
    x, policy = images(1, 4, 4), parse("crop1")
    found, always = sometimes(p, policy).moments(x), policy.moments(x)
    step = (always.mean - x).flatten()
    close(found.mean, x + p * (always.mean - x))
    close(found.dense(), p * always.dense() + p * (1 - p) * torch.outer(step, step))


def test_branches_with_knots_of_their_own():
    x = images(2, 3, 4, 4)
    policy = mixture([Brightness(0.5), Flip(0.5)], [1, 3])
    found, bright, flip = policy.moments(x), Brightness(0.5).moments(x), Flip(0.5).moments(x)
    close(found.mean, 0.25 * bright.mean + 0.75 * flip.mean)


@pytest.mark.parametrize("word", ["translate2", "rotate20", "scale0.2", "shear10"])
@pytest.mark.parametrize("padding", ["border", "reflection", "circular"])
def test_nothing_moves_in_a_constant_image(word, padding):
    policy = parse(word)
    policy.padding = padding
    found = policy.moments(torch.full((1, 5, 6), 0.4))
    assert found.trace < 1e-20
    close(found.mean, torch.full((1, 5, 6), 0.4).double())


def test_a_faint_pattern_on_a_bright_image_keeps_its_digits():
    x = images(1, 6, 6)
    found = Translate(1, padding="border").moments(0.9 + 1e-7 * x)
    plain = Translate(1, padding="border").moments(x)
    torch.testing.assert_close(found.variance * 1e14, plain.variance, rtol=1e-6, atol=1e-7)


def test_uint8_is_converted_and_said():
    x = torch.randint(0, 256, (1, 4, 4), dtype=torch.uint8)
    found = Flip().moments(x)
    assert "255" in found.note
    close(found.mean, Flip().moments(x.double() / 255).mean)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.full((1, 2, 2), 1.5), "in \\[0, 1\\]"),
        (torch.tensor([[[float("nan")]]]), "nan"),
        (torch.zeros(1, 0, 3), "empty"),
        (torch.zeros(3, 3), "\\(C, H, W\\)"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), "int64"),
    ],
)
def test_bad_images(image, words):
    with pytest.raises(al.InputError, match=words):
        Flip().moments(image)


def test_bad_options():
    x = images(1, 4, 4)
    with pytest.raises(al.InputError, match="tol"):
        Flip().moments(x, tol=0)
    with pytest.raises(al.InputError, match="method"):
        Flip().moments(x, method="exakt")
    with pytest.raises(al.InputError, match="no exact rule"):
        parse("augmix-m3-w1").moments(x, method="exact")
    with pytest.raises(al.InputError, match="max_memory"):
        Flip().moments(x, max_memory=1).factor()
    with pytest.raises(al.InputError, match="dense"):
        Flip().moments(images(1, 65, 64)).dense()


def test_chance_says_so_and_leaves_the_generators_alone():
    state = torch.get_rng_state()
    found = al.as_policy(lambda image: image * torch.rand(())).moments(images(1, 2, 2), most=500)
    assert found.kind == "monte carlo"
    assert "500 draws" in found.note
    close(found.mean, images(1, 2, 2) / 2, 0.1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("amount", [0.3, 0.4, 0.7])
def test_unclamped_factors_keep_all_digits(amount):
    x = images(1, 3, 3)
    found = Brightness(amount, clamp=False).moments(x)
    close(found.mean, x, 1e-15)
    close(found.variance, amount**2 / 3 * x.square(), 1e-15)
