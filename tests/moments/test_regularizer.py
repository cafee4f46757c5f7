"""The regulariser against the Taylor value by dense products, against finite differences and against draws."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.taylor import taylor_loss
from auglean.policies import Flip, RandomCrop, Translate


def data(n=6):
    coarse = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return F.interpolate(coarse, (6, 6), mode="bilinear"), torch.arange(n) % 3


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(), nn.Flatten(), nn.Linear(48, 3)
        ).double()


@pytest.mark.parametrize("point", ["image", "mean"])
@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
@pytest.mark.parametrize("policy", [Flip(0.3), RandomCrop(1)])
def test_it_is_the_second_order_of_the_expected_loss(policy, loss, point):
    model, (x, y) = network(), data()
    found = al.regularizer(model, policy, rank=24, point=point, loss=loss)(x, y)  # all directions
    assert model.training
    model.eval()
    whole, _ = taylor_loss(model, loss, policy.moments(x), x, y, point=point)
    clean = al.expected_loss(model, loss, policy, (x, y)).clean
    torch.testing.assert_close(found.detach(), (whole - clean).mean(), rtol=1e-9, atol=1e-12)


def test_few_directions_leave_the_others_out():
    model, (x, y) = network(), data()
    with torch.no_grad():
        values = [al.regularizer(model, RandomCrop(1), rank=rank, point="mean")(x, y) for rank in (1, 4, 24)]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("point", ["image", "mean"])
def test_gradients_by_finite_differences(point):
    model, (x, y) = network(), data()
    term = al.regularizer(model, Translate(0.5), rank=4, point=point)
    term(x, y).backward()
    step = 1e-6
    for weight in (model[0].weight, model[5].weight, model[5].bias):
        found = weight.grad.flatten()
        for i in (0, len(found) // 2):
            with torch.no_grad():
                values = []
                for sign in (1, -1):
                    weight.view(-1)[i] += sign * step
                    values.append(float(term(x, y).detach()))
                    weight.view(-1)[i] -= sign * step
            assert float(found[i]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_it_prints_its_gap(capsys):
    model, examples = network(), data()
    term = al.regularizer(model, Translate(0.2))
    assert "not measured" in repr(term)
    running = model[1].running_mean.clone()
    term(*examples)
    assert "translate0.2: linearisation gap" in capsys.readouterr().err
    assert f"{term.gap:.1%}" in repr(term)
    truth = al.expected_loss(model, "cross-entropy", Translate(0.2), examples, method="nodes", nodes=256).average
    expected = float(term(*examples).detach()) + float(
        al.expected_loss(model, "cross-entropy", Flip(), examples).clean.mean()
    )
    assert abs(expected - truth) / truth == pytest.approx(term.gap, abs=2e-4)
    assert capsys.readouterr().err == ""
    assert torch.equal(model[1].running_mean, running)
    assert all(module.training for module in model.modules())


def test_a_step_against_it_makes_the_loss_vary_less():
    model, (x, y) = network(), data()
    policy = Translate(0.3)
    before = al.expected_loss(model, "cross-entropy", policy, (x, y))
    term = al.regularizer(model, policy)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimiser.zero_grad()
        model.eval()
        (F.cross_entropy(model(x), y) + 10 * term(x, y)).backward()
        optimiser.step()
    after = al.expected_loss(model, "cross-entropy", policy, (x, y))
    assert after.average - float(after.clean.mean()) < before.average - float(before.clean.mean())


def test_bad_input():
    with pytest.raises(al.InputError, match="rank of 1"):
        al.regularizer(network(), Flip(), rank=0)
    with pytest.raises(al.InputError, match="point"):
        al.regularizer(network(), Flip(), point="x")
    with pytest.raises(al.InputError, match="did you mean 'squared'"):
        al.regularizer(network(), Flip(), loss="square")
