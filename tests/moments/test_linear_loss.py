"""Losses of linear models in closed form, bounds, and Taylor values: against enumeration and finite differences."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.linear_loss import affine_map
from auglean.moments.planning import finite, rule
from auglean.moments.rules import panel_rule
from auglean.moments.taylor import outputs_and_jacobian, taylor_loss
from auglean.networks.layers import Normalize
from auglean.policies import Cutout, Flip, Policy, RandomCrop, Rotate, Translate, mixture, warp
from auglean.randomness import uniform


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(scale=1.0, *, outputs=3, channels=2):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            Normalize([0.4] * channels, [0.3] * channels), nn.Flatten(), nn.Linear(channels * 30, outputs)
        )
    model = model.double()
    with torch.no_grad():
        model[2].weight.mul_(scale)
    return model


def smooth():
    """A network with two derivatives."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(60, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def data(n=9):
    x = F.interpolate(torch.rand(n, 2, 3, 3, generator=generator(), dtype=torch.float64), (5, 6), mode="bilinear")
    return x, torch.arange(n) % 3


class Sideways(Policy):
    """Translation along one axis, for the hand case."""

    linear = True

    def _draw(self, n, generator, device):
        return {"t": uniform(n, generator, low=-1.0, high=1.0, device=device)}

    def _operate(self, x, params):
        matrix = torch.eye(2, 3, dtype=x.dtype).repeat(len(x), 1, 1)
        matrix[:, 0, 2] = -params["t"]
        return warp(x, matrix)


@rule.register
def _sideways(policy: Sideways, question):
    nodes, weights = panel_rule(torch.tensor([-1.0, 0.0, 1.0]), 3)
    return finite({"t": nodes}, weights, "exact panels")


def row(weights):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([weights]))
        model[1].bias.zero_()
    return model


def test_the_case_computed_by_hand():
    x, y = torch.tensor([[[[0.0, 1.0, 0.0]]]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    found = al.expected_loss(row([1.0, 2.0, 3.0]), "squared", Sideways(), (x, y))
    assert found.kind == "exact panels"
    torch.testing.assert_close(found.mean, torch.tensor([1 / 3], dtype=torch.float64), rtol=0, atol=1e-14)
    # w = (1, 2, 2): (2 − 7/4)² + 5/48
    other = al.expected_loss(row([1.0, 2.0, 2.0]), "squared", Sideways(), (x, y))
    torch.testing.assert_close(other.mean, torch.tensor([1 / 6], dtype=torch.float64), rtol=0, atol=1e-14)


def grid(policy, x, nodes, weights):
    """All pairs of displacements of a translation."""
    shifts = torch.cartesian_prod(nodes, nodes)
    copies = torch.stack([policy.apply(x, {"shift": shift.expand(len(x), 2)}) for shift in shifts])
    return copies, (weights[:, None] * weights).flatten()


def enumerated(policy, x):
    """All copies of the images with their weights, exact for squares."""
    if isinstance(policy, Translate):
        return grid(policy, x, *panel_rule(torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]), 5))
    if isinstance(policy, RandomCrop):
        place = torch.arange(-1, 2, dtype=torch.float64)
        return grid(policy, x, place, torch.full((3,), 1 / 3, dtype=torch.float64))
    if isinstance(policy, Cutout):
        copies = [
            policy.apply(x, {"centre": torch.tensor([[(i + 0.5) / 6, (j + 0.5) / 5]])})
            for i in range(6)
            for j in range(5)
        ]
        return torch.stack(copies), torch.full((30,), 1 / 30, dtype=torch.float64)
    if isinstance(policy, Flip):
        return torch.stack([x, x.flip(3)]), torch.tensor([1 - policy.p, policy.p], dtype=torch.float64)
    parts = [enumerated(part, x) for part in policy.parts]
    return torch.cat([copies for copies, _ in parts]), torch.cat(
        [share * weights for share, (_, weights) in zip(policy.weights, parts, strict=True)]
    )


POLICIES = [Translate(1.5, fill=0.2), RandomCrop(1), Cutout(3), Flip(0.3), mixture([Flip(0.5), RandomCrop(1)], [1, 2])]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_closed_form_is_the_average_over_all_copies(policy):
    model, (x, y) = linear(), data()
    copies, weights = enumerated(policy, x)
    vectors = F.one_hot(y, 3).double()
    with torch.no_grad():
        truth = weights @ torch.stack([(vectors - model(copy)).square().sum(1) for copy in copies])
    found = al.expected_loss(model, "squared", policy, (x, y))
    assert found.kind.startswith("exact")
    assert not found.standard_error.any()
    torch.testing.assert_close(found.mean, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", [0.3, 8.0])
def test_bounds_hold(policy, scale):
    model, (x, y) = linear(scale), data()
    copies, weights = enumerated(policy, x)
    with torch.no_grad():
        truth = weights @ torch.stack([F.cross_entropy(model(copy), y, reduction="none") for copy in copies])
    found = al.expected_loss(model, "cross-entropy", policy, (x, y))
    assert bool((found.lower <= truth + 1e-12).all())
    assert bool((found.upper >= truth - 1e-12).all())
    assert "Bounds" in repr(found)
    if scale < 1:  # they close where the policy is weak
        assert float((found.upper - found.lower).max()) < 0.2


def test_bounds_of_a_quadrature_but_none_of_draws():
    model, examples = linear(), data()
    assert al.expected_loss(model, "cross-entropy", Rotate(10), examples).lower is not None
    free = al.as_policy(lambda image: image * torch.rand(()))
    assert al.expected_loss(model, "cross-entropy", free, examples).lower is None
    assert al.expected_loss(smooth(), "cross-entropy", Flip(), examples).lower is None


def test_which_models_are_linear():
    model = linear()
    found = affine_map(model, (2, 5, 6))
    x = data()[0]
    with torch.no_grad():
        torch.testing.assert_close(x.flatten(1) @ found.weight.T + found.bias, model(x), rtol=0, atol=1e-12)
    assert model.training
    assert affine_map(smooth(), (2, 5, 6)) is None

    class Bent(nn.Linear):
        def forward(self, x):
            return super().forward(x).relu()

    assert affine_map(nn.Sequential(nn.Flatten(), Bent(60, 3)), (2, 5, 6)) is None


def moments(policy, examples):
    return next(iter(moments_in_pieces(policy, Examples(examples))))[3]


@pytest.mark.parametrize("point", ["image", "mean"])
def test_a_taylor_value_of_a_square_is_exact(point):
    model, (x, y) = linear(), data()
    policy = Translate(1.5)
    truth = al.expected_loss(model, "squared", policy, (x, y)).mean
    found, _ = taylor_loss(model.eval(), "squared", moments(policy, (x, y)), x, y, point=point)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)


def test_the_second_order_of_a_softmax():
    model, (x, y) = linear().eval(), data()
    found = moments(Translate(1.5), (x, y))
    map_ = affine_map(model, (2, 5, 6))
    mean, covariance = map_.moments(found)
    p = mean.softmax(1)
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    expected = F.cross_entropy(mean, y, reduction="none") + (hessian * covariance).sum((1, 2)) / 2
    value, sd = taylor_loss(model, "cross-entropy", found, x, y, point="mean")
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    gradient = (p - F.one_hot(y, 3)) @ map_.weight
    dense = found.dense()
    torch.testing.assert_close(sd**2, torch.einsum("bi,bij,bj->b", gradient, dense, gradient), rtol=1e-9, atol=1e-12)


def test_jacobians_by_finite_differences():
    model, x = smooth(), data()[0][:2]
    _, found = outputs_and_jacobian(model, x)
    step = 1e-6
    for i in range(0, 60, 7):
        away = torch.zeros(60, dtype=torch.float64)
        away[i] = step
        away = away.view(2, 5, 6)
        with torch.no_grad():
            slope = (model(x + away) - model(x - away)) / (2 * step)
        torch.testing.assert_close(found[:, :, i], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("point", ["image", "mean"])
def test_the_error_of_a_taylor_value_falls_with_the_strength(point):
    model, examples = smooth(), data()
    gaps = []
    for pixels in (0.4, 0.1):
        truth = al.expected_loss(model, "cross-entropy", Translate(pixels), examples, method="nodes", nodes=256)
        found, _ = taylor_loss(
            model.eval(), "cross-entropy", moments(Translate(pixels), examples), *examples, point=point
        )
        gaps.append(float((found - truth.mean).abs().mean()))
    assert gaps[1] < gaps[0] / 8


def test_a_taylor_value_comes_with_its_gap_or_not_at_all():
    model, examples = smooth(), data()
    found = al.expected_loss(model, "cross-entropy", Translate(0.1), examples, method="taylor")
    truth = al.expected_loss(model, "cross-entropy", Translate(0.1), examples, method="nodes", nodes=256)
    assert found.kind == "taylor"
    assert found.gap < 0.01
    assert "Taylor" in repr(found)
    torch.testing.assert_close(found.mean, truth.mean, rtol=0.01, atol=0)
    torch.testing.assert_close(found.sd, truth.sd, rtol=0.3, atol=0)
    torch.testing.assert_close(found.clean, truth.clean)
    with torch.no_grad():
        model[1].weight.mul_(10)
        model[3].weight.mul_(10)
    with pytest.raises(al.InputError, match="on a probe of 9 images"):
        al.expected_loss(model, "cross-entropy", Translate(3), examples, method="taylor")
    with pytest.raises(al.InputError, match="needs loss="):
        al.expected_loss(model, lambda out, y: out[:, 0], Translate(0.1), examples, method="taylor")
    with pytest.raises(al.InputError, match="point"):
        al.expected_loss(model, "squared", Translate(0.1), examples, method="taylor", point="middle")
