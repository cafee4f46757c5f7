"""Stratified draws: every marginal is the law, averages are unbiased and vary less, `Keys` keep their promise."""

import pytest
import torch
from scipy import stats

from auglean.policies import Cutout, Flip, RandAugment, Rotate, Translate, mixture, sometimes
from auglean.randomness import Keys, normal, uniform
from auglean.stratified import Strata, strata


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def scrambles(count, columns, index):
    """The same Sobol points under many scrambles. Shape `(count, columns)`."""
    return uniform((count, columns), Strata(torch.full((count,), index), torch.arange(count)))


@pytest.mark.parametrize("m", [0, 1, 4, 7])
def test_one_point_in_each_stratum_of_each_coordinate(m):
    n = 2**m
    u = uniform((n, 9), strata(n, gen(m)))
    assert torch.equal((n * u).long().sort(0).values, torch.arange(n)[:, None].expand(n, 9))


def test_two_coordinates_fill_the_square():
    u = uniform((64, 2), strata(64, gen()))
    cells = (8 * u).long()
    assert len(set(map(tuple, cells.tolist()))) == 64  # a (0, 6, 2)-net


@pytest.mark.parametrize("index", [0, 1, 5, 100])
def test_each_point_alone_is_uniform(index):
    u = scrambles(4000, 3, index).double()
    for column in u.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    cells = (4 * u).long() @ torch.tensor([16, 4, 1])
    assert stats.chisquare(torch.bincount(cells, minlength=64).numpy()).pvalue > 1e-3


def test_what_is_below_the_strata_is_independent():
    pair = torch.stack([scrambles(4000, 1, i)[:, 0] for i in (2, 3)])
    within = (pair.double() * 2**16).frac()
    assert abs(float(torch.corrcoef(within)[0, 1])) < 4 / 4000**0.5


def test_keys_are_stratified_over_epochs_whatever_the_company():
    ids = torch.arange(50)
    epochs = torch.stack([uniform((50, 2), strata(50, Keys(ids, seed=3, epoch=16 + e))) for e in range(16)])
    assert torch.equal((16 * epochs).long().sort(0).values, torch.arange(16)[:, None, None].expand(16, 50, 2))
    alone = uniform((1, 2), strata(1, Keys([7], seed=3, epoch=20)))
    assert torch.equal(alone[0], epochs[4, 7])
    each = uniform((2, 2), strata(2, Keys([7, 7], seed=3, epoch=torch.tensor([20, 21]))))
    assert torch.equal(each, epochs[4:6, 7])
    other = uniform((50, 2), strata(50, Keys(ids, seed=3, epoch=16, stream=1)))
    assert not torch.isclose(other, epochs[0]).any()


def test_epochs_of_keys_are_uniform_over_examples():
    u = uniform((4000, 2), strata(4000, Keys(torch.arange(4000), epoch=5)))
    for column in u.T:
        assert stats.kstest(column.double().numpy(), "uniform").pvalue > 1e-3


def test_the_law_of_every_parameter():
    n = 4096
    policy = sometimes(0.3, Translate(3)) | mixture([Rotate(10), Flip(0.2)], [1, 3]) | RandAugment(2, 5) | Cutout(4)
    one = [policy.draw(8, generator=gen(seed), stratified=True) for seed in range(n // 8)]
    params = {name: torch.cat([draw[name][:1] for draw in one]) for name in one[0]}  # independent rows
    for name, low, high in (("0.0.shift", -3, 3), ("1.0.angle", -10, 10), ("3.centre", 0, 1)):
        for column in params[name].reshape(len(one), -1).double().T:
            assert stats.kstest(column.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
    for name, expected in (
        ("0.branch", [0.3, 0.7]),
        ("1.branch", [0.25, 0.75]),
        ("1.1.flip", [0.8, 0.2]),
        ("2.op", [1 / 14] * 14),
    ):
        found = torch.bincount(params[name].reshape(len(one), -1)[:, 0].long(), minlength=len(expected))
        assert stats.chisquare(found.numpy(), [share * len(one) for share in expected]).pvalue > 1e-3
    whole = policy.draw(n, generator=gen(), stratified=True)
    assert int((whole["0.branch"] == 0).sum()) in range(int(0.3 * n) - 1, int(0.3 * n) + 3)


def test_shapes_types_and_replay_are_those_of_draw():
    policy = Translate(2) | Flip() | RandAugment()
    plain = policy.draw(5, generator=gen())
    found, again = (policy.draw(5, generator=gen(), stratified=True) for _ in range(2))
    assert {name: (value.shape, value.dtype) for name, value in plain.items()} == {
        name: (value.shape, value.dtype) for name, value in found.items()
    }
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert len(policy.draw(0, generator=gen(), stratified=True)["0.shift"]) == 0


def test_normals_are_normal():
    z = torch.cat([normal((1, 1), strata(1, gen(seed)))[0] for seed in range(2000)])
    assert stats.kstest(z.double().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("policy", "times"), [(Rotate(30), 100), (Translate(2), 8), (Rotate(30) | Flip(0.5), 8)])
def test_averages_are_unbiased_and_vary_less(policy, times):
    x = torch.rand(1, 1, 8, 8, generator=gen())
    weights = torch.randn(8, 8, generator=gen(1))

    def average(seed, stratified):
        params = policy.draw(32, generator=gen(seed), stratified=stratified)
        return float((policy.apply(x.expand(32, -1, -1, -1), params) * weights).sum((1, 2, 3)).mean())

    even, plain = (torch.tensor([average(s, kind) for s in range(300)]).double() for kind in (True, False))
    assert plain.var() > times * even.var()
    truth = float((policy.moments(x[0], tol=1e-6, most=2**15).mean * weights).sum())
    assert abs(float(even.mean()) - truth) < 4 * float(even.std()) / 300**0.5 + 1e-5 * abs(truth)
