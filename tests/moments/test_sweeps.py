"""Losses along the strengths of a policy, against the operators called by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments import loss_curves
from auglean.policies import Affine, ColorJitter, Flip, GaussianBlur, Rotate, Translate, parse, sometimes


@pytest.fixture(scope="module")
def task():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)).double()
        return model, (torch.rand(7, 3, 6, 6, dtype=torch.float64), torch.arange(7) % 3)


def losses(model, x, y):
    return F.cross_entropy(model(x), y, reduction="none")


def test_a_curve_is_the_loss_of_each_rotation(task):
    model, (x, y) = task
    (curve,) = loss_curves(model, Rotate(20), (x, y), points=9, batch_size=3)
    assert model.training
    assert (curve.op, curve.parameter, curve.unit) == ("Rotate", "angle", "°")
    torch.testing.assert_close(curve.values, torch.linspace(-20, 20, 9).double(), rtol=0, atol=0.05)
    model.eval()
    with torch.no_grad():
        table = torch.stack([losses(model, Rotate(20).apply(x, {"angle": v[None]}), y) for v in curve.values])
    model.train()
    torch.testing.assert_close(curve.mean, table.mean(1))
    torch.testing.assert_close(curve.low, table.quantile(0.25, dim=1))
    torch.testing.assert_close(curve.high, table.quantile(0.75, dim=1))


def test_one_parameter_moves_and_the_others_stand(task):
    model, (x, y) = task
    right, down = loss_curves(model, Translate(2), (x, y), points=5)
    assert (right.parameter, down.parameter, right.unit) == ("shift right", "shift down", "px")
    model.eval()
    with torch.no_grad():
        for axis, curve in enumerate((right, down)):
            shifts = torch.zeros(5, 2, dtype=torch.float64)
            shifts[:, axis] = curve.values
            own = [float(losses(model, Translate(2).apply(x, {"shift": s[None]}), y).mean()) for s in shifts]
            assert curve.mean.tolist() == pytest.approx(own, rel=0.02)  # the median of draws is near zero
    model.train()


def names(policy, task, **options):
    return [f"{curve.op} {curve.parameter}" for curve in loss_curves(*[task[0], policy, task[1]], **options)]


def test_which_operators_have_curves(task):
    assert names(parse("crop2-flip-cutout4"), task) == [
        "RandomCrop shift right", "RandomCrop shift down", "Cutout centre right", "Cutout centre down",
    ]  # fmt: skip
    crop = loss_curves(task[0], parse("crop2"), task[1])[0]
    assert crop.values.tolist() == [-2, -1, 0, 1, 2]
    affine = Affine(degrees=10, scale=(0.8, 1.2), shares=(0.1, 0.0))
    assert names(affine, task) == ["Affine angle", "Affine share right", "Affine factor"]
    jitter = sometimes(0.5, ColorJitter(0.4, hue=0.1) | GaussianBlur(3, (0.1, 2.0)))
    assert names(jitter, task) == ["Brightness factor", "Hue hue", "GaussianBlur sigma"]
    assert names(jitter, task, most=2) == ["Brightness factor", "Hue hue"]
    for policy in (Flip(), parse("rand-m9-n2"), parse("augmix-m3-w1"), al.as_policy(lambda image: image)):
        assert names(policy, task) == []


def test_one_file_and_bad_input(task, tmp_path):
    curve = loss_curves(task[0], Rotate(5), task[1])[0]
    curve.save(tmp_path / "curve.json")
    assert torch.equal(al.moments.LossCurve.load(tmp_path / "curve.json").mean, curve.mean)
    for options in ({"points": 1}, {"most": 0}):
        with pytest.raises(al.InputError, match="2 points or more"):
            loss_curves(task[0], Rotate(5), task[1], **options)
