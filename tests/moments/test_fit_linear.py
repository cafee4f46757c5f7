"""Least squares on the infinite data set against a plain solve on all copies, written out."""

import pytest
import torch
from torch import nn

import auglean as al
from auglean.moments.rules import panel_rule
from auglean.policies import (
    Affine,
    Brightness,
    Contrast,
    Cutout,
    Flip,
    Identity,
    RandomCrop,
    Rotate,
    Scale,
    Shift,
    Translate,
    mixture,
    sometimes,
)


def even(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=15, channels=1):
    x = torch.rand(n, channels, 4, 5, generator=generator(), dtype=torch.float64)
    return x, torch.arange(n) % 3


def solve(copies, targets, weights, ridge):
    """Weighted ridge regression with an intercept on all rows: minimise Σ w ‖y − W x − b‖² + ridge ‖W‖², Σ w = 1.

    By one least-squares solve, not by the normal equations.
    """
    x, root = copies.flatten(1), weights.sqrt()[:, None]
    rows = torch.cat([x, torch.ones(len(x), 1).double()], 1) * root
    penalty = torch.cat([ridge**0.5 * torch.eye(x.shape[1]).double(), torch.zeros(x.shape[1], 1).double()], 1)
    left = torch.cat([rows, penalty])
    right = torch.cat([targets * root, torch.zeros(x.shape[1], targets.shape[1]).double()])
    found = torch.linalg.lstsq(left, right).solution.T
    loss = (weights * (targets - x @ found[:, :-1].T - found[:, -1]).square().sum(1)).sum()
    return found[:, :-1], found[:, -1], float(loss)


def copies_of(policy, x):
    """All copies `(K, n, …)` of the images and their weights `(K,)`."""
    if isinstance(policy, Flip):
        return torch.stack([x, x.flip(3)]), torch.tensor([1 - policy.p, policy.p], dtype=torch.float64)
    if isinstance(policy, RandomCrop | Translate):
        place, share = torch.arange(-1.0, 2).double(), even(3)
        if isinstance(policy, Translate):
            place, share = panel_rule(torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]), 4)
        shifts = torch.cartesian_prod(place, place)
        made = [policy.apply(x, {"shift": shift.expand(len(x), 2)}) for shift in shifts]
        return torch.stack(made), (share[:, None] * share).flatten()
    if isinstance(policy, Shift):  # 1.5 of 5 pixels across, 1.2 of 4 down
        knots = (torch.tensor([-m, -1.0, 0.0, 1.0, m], dtype=torch.float64) for m in (1.5, 1.2))
        (across, first), (down, second) = (panel_rule(own / n, 4) for own, n in zip(knots, (5, 4), strict=True))
        made = [policy.apply(x, {"share": share[None]}) for share in torch.cartesian_prod(across, down)]
        return torch.stack(made), (first[:, None] * second).flatten()
    if isinstance(policy, Contrast | Brightness):
        factors, share = panel_rule(1 + policy.amount * torch.tensor([-1.0, 1.0], dtype=torch.float64), 3)
        return torch.stack([policy.apply(x, {"factor": factor.expand(len(x))}) for factor in factors]), share
    if isinstance(policy, Cutout):
        places = [((i + 0.5) / 5, (j + 0.5) / 4) for i in range(5) for j in range(4)]
        made = [policy.apply(x, {"centre": torch.tensor([place])}) for place in places]
        return torch.stack(made), even(20)
    if isinstance(policy, Identity):
        return x[None], torch.ones(1).double()
    parts = policy.parts
    if hasattr(policy, "weights"):
        found = [copies_of(part, x) for part in parts]
        shares = [share * weights for share, (_, weights) in zip(policy.weights, found, strict=True)]
        return torch.cat([made for made, _ in found]), torch.cat(shares)
    made, weights = x[None], torch.ones(1).double()
    for part in parts:
        each = [copies_of(part, own) for own in made]
        made = torch.cat([own for own, _ in each])
        weights = torch.cat([w * own for w, (_, own) in zip(weights, each, strict=True)])
    return made, weights


POLICIES = [
    Flip(0.3),
    RandomCrop(1, fill=0.7),
    Translate(1.5, fill=0.3),
    Translate(1.5, padding="masked", fill=0.3),
    Shift(0.3, 0.3, fill=0.2),
    Cutout(2, fill=0.4),
    Contrast(0.4, clamp=False),
    RandomCrop(1, fill=0.2) | Flip(0.3) | Brightness(0.4, clamp=False),
    mixture([Flip(0.5), RandomCrop(1, fill=0.5)], [1, 2]) | Flip(0.2),
    sometimes(0.4, Translate(1.5)),
]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("n", [6, 40])
def test_the_solution_on_all_copies(policy, n):
    x, y = data(n)
    made, weights = copies_of(policy, x)
    vectors = torch.nn.functional.one_hot(y, 3).double()
    rows = (weights[:, None] / n).expand(-1, n).flatten()
    weight, bias, loss = solve(made.flatten(0, 1), vectors.repeat(len(made), 1), rows, 0.01)
    fit = al.fit_linear(x, y, policy, ridge=0.01)
    assert fit.kind.startswith("exact")
    torch.testing.assert_close(fit.weight, weight, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(fit.bias, bias, rtol=1e-9, atol=1e-11)
    assert fit.loss == pytest.approx(loss, abs=1e-11)
    clean = (vectors - x.flatten(1) @ weight.T - bias).square().sum(1).mean()
    assert fit.clean == pytest.approx(float(clean), abs=1e-11)


def test_colours_by_channel():
    x, y = data(12, channels=3)
    policy = Contrast(0.4, clamp=False) | Flip(0.3)
    made, weights = copies_of(policy, x)
    vectors = torch.nn.functional.one_hot(y, 3).double()
    rows = (weights[:, None] / 12).expand(-1, 12).flatten()
    weight, _, _ = solve(made.flatten(0, 1), vectors.repeat(len(made), 1), rows, 0.01)
    torch.testing.assert_close(al.fit_linear(x, y, policy, ridge=0.01).weight, weight, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("policy", "most"), [(Rotate(20), 0.02), (Scale(0.2), 0.02), (Affine(degrees=10, pixels=1, scale=0.1), 0.05)]
)
def test_draws_converge_to_it(policy, most):
    x, y = data(10)
    fit = al.fit_linear(x, y, policy, ridge=0.05, tol=1e-4)
    gaps = []
    for copies in (40, 4000):
        made = policy(x.repeat(copies, 1, 1, 1), generator=generator())
        vectors = torch.nn.functional.one_hot(y, 3).double().repeat(copies, 1)
        weight, _, _ = solve(made, vectors, even(len(made)), 0.05)
        gaps.append(float((weight - fit.weight).norm() / fit.weight.norm()))
    assert gaps[1] < gaps[0] / 4  # a tenth, give or take
    assert gaps[1] < most


def test_its_loss_is_the_expected_loss_of_its_model():
    x, y = data()
    policy = Translate(1.5)
    fit = al.fit_linear(x, y, policy, ridge=0.01)
    model = fit.module().double()
    with torch.no_grad():
        model[1].weight.copy_(fit.weight)
        model[1].bias.copy_(fit.bias)
        torch.testing.assert_close(fit(x), model(x))
    found = al.expected_loss(model, "squared", policy, (x, y))
    assert fit.loss == pytest.approx(found.average, abs=1e-12)
    # and no other model near it has a smaller one, with the penalty
    best = fit.loss + 0.01 * float(fit.weight.square().sum())
    for seed in range(5):
        with torch.no_grad():
            model[1].weight.copy_(fit.weight + 1e-3 * torch.randn(3, 20, generator=generator(seed)))
            worse = al.expected_loss(model, "squared", policy, (x, y)).average
            assert worse + 0.01 * float(model[1].weight.square().sum()) > best


def test_real_targets_and_bytes():
    x, _ = data()
    levels = (255 * x).round().to(torch.uint8)
    targets = torch.rand(15, 2, generator=generator(), dtype=torch.float64)
    first = al.fit_linear(levels, targets, Flip(), ridge=0.01)
    second = al.fit_linear(levels.double() / 255, targets, Flip(), ridge=0.01)
    assert torch.equal(first.weight, second.weight)
    assert first.weight.shape == (2, 20)


def test_nodes_of_a_composition_add_up():
    x, y = data(30)
    fit = al.fit_linear(x, y, RandomCrop(1) | Flip() | RandomCrop(1), ridge=0.01)
    assert fit.nodes == (3 + 3) + 2 + (3 + 3)


def test_one_file(tmp_path):
    fit = al.fit_linear(*data(), Rotate(5), ridge=0.01)
    assert "relative error" in repr(fit)
    fit.save(tmp_path / "fit.json")
    again = al.moments.LinearFit.load(tmp_path / "fit.json")
    assert repr(again) == repr(fit)
    assert torch.equal(again.weight, fit.weight)
    assert isinstance(again.module(), nn.Module)


X, Y = data()


@pytest.mark.parametrize(
    ("images", "targets", "policy", "options", "words"),
    [
        (X, Y, Brightness(0.4), {}, "clamp=False"),
        (X, Y, Flip() | Contrast(0.4), {}, "clamp=False"),
        (X, Y, al.as_policy(lambda image: image), {}, "not"),
        (X[:0], Y[:0], Flip(), {}, "n targets"),
        (X, Y[:3], Flip(), {}, "n targets"),
        (X, Y - 1, Flip(), {}, "from -1 to 1"),
        (X, Y, Flip(), {"ridge": -1.0}, "ridge of 0"),
        (X, Y, Flip(), {"tol": 0.0}, "tol above 0"),
        (X[:3], Y[:3], Identity(), {"ridge": 0.0}, "ridge above 0"),
    ],
)
def test_bad_input(images, targets, policy, options, words):
    with pytest.raises(al.InputError, match=words):
        al.fit_linear(images, targets, policy, **{"ridge": 0.01, **options})
