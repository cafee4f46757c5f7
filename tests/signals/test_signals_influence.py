"""Influence against exact leave-one-out, a case worked by hand, autodiff, and the invariants of the closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch.nn import functional

from auglean.errors import InputError
from auglean.signals import Influence, LogisticHead, fit_logistic, group_influence, logistic_influence

SURROGATES = ("influence", "leave-one-out", "newton")


def task(n=80, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = (x[:, 0] + torch.randn(n, generator=g) > 0).long()
    y[:2] = torch.tensor([0, 1])
    return x, y


def same(a, b):
    for key in ("score", "leverage", "loss"):
        torch.testing.assert_close(getattr(a, key), getattr(b, key), rtol=1e-6, atol=1e-10)


# leave-one-out by retraining


def rise_without(x, y, head, which):
    """How far the loss of some examples rises when they are left out, one by one, and the head is fitted again."""
    loss = functional.cross_entropy(head.logits(x), y, reduction="none")
    rises = []
    for i in which.tolist():
        rest = torch.arange(len(y)) != i
        other = fit_logistic(x[rest], y[rest], start=head, tol=1e-11)
        rises.append(functional.cross_entropy(other.logits(x[i : i + 1]), y[i : i + 1]) - loss[i])
    return torch.stack(rises)


def surrogates_against(rise, x, y, head, which):
    """Hold each surrogate to its gates; give the published Hessian's rank correlation."""
    found = {name: logistic_influence(x, y, head=head, surrogate=name).score[which] for name in SURROGATES}
    for name in SURROGATES:
        assert spearmanr(found[name], rise).statistic >= 0.99, name
    error = {name: float((found[name] / rise - 1).abs().median()) for name in SURROGATES}
    assert error["newton"] < 0.01
    assert error["newton"] < error["leave-one-out"] < error["influence"]
    reference = logistic_influence(x, y, head=head, reference=True).score[which]
    return spearmanr(reference, rise).statistic


@pytest.mark.parametrize(("n", "d", "relu"), [(200, 10, False), (150, 60, False), (300, 150, True)])
def test_every_surrogate_against_retraining(n, d, relu):
    x, y = task(n, d)
    x = x.relu() if relu else x
    head, which = fit_logistic(x, y, tol=1e-11), torch.arange(n)
    ranks = surrogates_against(rise_without(x, y, head, which), x, y, head, which)
    if d < n / 2:
        assert ranks >= 0.99


@pytest.mark.parametrize(("d", "count"), [(256, 200), (512, 100)])
def test_every_surrogate_at_the_sizes_of_the_paper(d, count):
    """Some of 1,000 examples behind a ReLU are left out; `benchmarks/influence.py` leaves out all."""
    g = torch.Generator().manual_seed(d)
    centres, y = torch.randn(2, d, generator=g), torch.randint(0, 2, (1000,), generator=g)
    x = (0.35 * centres[y] + torch.randn(1000, d, generator=g) * torch.linspace(0.2, 2, d)).relu().double()
    head, which = fit_logistic(x, y, tol=1e-11), torch.randperm(1000, generator=g)[:count]
    assert surrogates_against(rise_without(x, y, head, which), x, y, head, which) >= 0.99


@pytest.mark.parametrize("relu", [False, True])
def test_with_more_features_than_examples_the_corrected_ranks_stay(relu):
    """Leverages are near 1 there, which plain influence does not divide by: its ranks may fall under 0.99."""
    x, y = task(120, 150)
    x = x.relu() if relu else x
    head = fit_logistic(x, y, tol=1e-11)
    rise = rise_without(x, y, head, torch.arange(120))
    found = {name: logistic_influence(x, y, head=head, surrogate=name).score for name in SURROGATES}
    rank = {name: spearmanr(found[name], rise).statistic for name in SURROGATES}
    assert rank["newton"] > rank["leave-one-out"] > max(rank["influence"], 0.99)
    assert float((found["newton"] / rise - 1).abs().median()) < 0.01


def test_the_case_worked_by_hand():
    """w = ln 3, p = 3/4, H = .830120 (specification of the method, section 6)."""
    x, y, C = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0]), 2 * math.log(3)
    found = {name: logistic_influence(x, y, C, False, surrogate=name) for name in SURROGATES}
    expected = {"influence": 0.0752903, "leave-one-out": 0.097258, "newton": 0.112335}
    for name, value in expected.items():
        assert found[name].score.tolist() == pytest.approx([value, value], abs=6e-7)
    assert found["influence"].leverage.tolist() == pytest.approx([0.225871] * 2, abs=6e-7)
    assert found["influence"].loss.expm1().tolist() == pytest.approx([1 / 3] * 2)


# the formula


@pytest.mark.parametrize("intercept", [True, False])
def test_gradient_and_hessian_are_those_of_autodiff(intercept):
    x, y = task()
    w = torch.rand(len(y), generator=torch.Generator().manual_seed(1)).double() + 0.1
    head = fit_logistic(x, y, C=0.7, fit_intercept=intercept, sample_weight=w, tol=1e-12)
    rows = torch.cat([x, torch.ones(len(x), 1).double()], 1) if intercept else x
    theta = torch.cat([head.weight[0], head.bias])[: rows.shape[1]]
    losses = lambda t: functional.softplus((1 - 2 * y) * (rows @ t))  # noqa: E731
    objective = lambda t: losses(t) @ w + t[: x.shape[1]].square().sum() / 1.4  # noqa: E731
    hessian = torch.autograd.functional.hessian(objective, theta)
    gradients = torch.autograd.functional.jacobian(losses, theta)
    expected = (gradients @ torch.linalg.inv(hessian) * gradients).sum(1)
    found = logistic_influence(x, y, 0.7, intercept, sample_weight=w)
    torch.testing.assert_close(found.score, expected, rtol=1e-8, atol=1e-12)


def test_the_derivative_of_the_loss_by_its_own_weight():
    x, y = task()
    score, step = logistic_influence(x, y).score, 1e-4
    for i in (0, 3, 11):
        losses = []
        for sign in (1, -1):
            w = torch.ones(len(y), dtype=torch.float64)
            w[i] += sign * step
            losses.append(logistic_influence(x, y, head=fit_logistic(x, y, sample_weight=w, tol=1e-12)).loss[i])
        assert float(losses[1] - losses[0]) / (2 * step) == pytest.approx(float(score[i]), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.sampled_from([0.01, 1.0, 100.0]), st.sampled_from([4, 120]))
def test_closed_form_and_bounds(seed, C, d):
    x, y = task(d=d, seed=seed)
    found = logistic_influence(x, y, C)
    assert (found.score >= 0).all()
    assert (found.leverage >= 0).all()
    assert (found.leverage <= 1 + 1e-12).all()
    torch.testing.assert_close(found.score, found.loss.expm1() * found.leverage, rtol=1e-9, atol=1e-14)
    head = fit_logistic(x, y, C=C, tol=1e-10)
    p = head.logits(x).softmax(1)[:, 1]
    rows = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    data = rows.T @ (rows * (p * (1 - p))[:, None])
    ridge = torch.full((d + 1,), 1 / C, dtype=torch.float64)
    ridge[-1] = 0
    freedom = torch.linalg.solve(data + ridge.diag(), data).trace()
    torch.testing.assert_close(found.leverage.sum(), freedom, rtol=1e-6, atol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from(SURROGATES))
def test_symmetries(seed, surrogate):
    x, y = task(seed=seed)
    found = logistic_influence(x, y, surrogate=surrogate)
    g = torch.Generator().manual_seed(seed)
    same(logistic_influence(x, 1 - y, surrogate=surrogate), found)  # classes swapped
    same(logistic_influence(-x, y, surrogate=surrogate), found)
    same(logistic_influence(x + 100, y, surrogate=surrogate), found)  # the intercept takes it up
    same(logistic_influence(torch.cat([x, torch.zeros(len(x), 3)], 1), y, surrogate=surrogate), found)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    same(logistic_influence(x @ turn, y, surrogate=surrogate), found)
    order = torch.randperm(len(y), generator=g)
    torch.testing.assert_close(logistic_influence(x[order], y[order], surrogate=surrogate).score, found.score[order])
    w = torch.randint(1, 4, (len(y),), generator=g)
    copies = logistic_influence(x.repeat_interleave(w, 0), y.repeat_interleave(w), surrogate=surrogate)
    weighted = logistic_influence(x, y, sample_weight=w, surrogate=surrogate)
    torch.testing.assert_close(copies.score, weighted.score.repeat_interleave(w), rtol=1e-5, atol=1e-9)


# what breaks a careless implementation


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_saturated_logits_stay_finite(scale, surrogate):
    x, y = task(30, 5)
    head = LogisticHead(torch.full((1, 5), scale).double(), torch.zeros(1).double(), 1.0)
    found = logistic_influence(x, y, head=head, surrogate=surrogate)
    for values in (found.score, found.leverage, found.loss):
        assert values.isfinite().all()
    assert float(found.loss.max()) > scale / 10


@pytest.mark.parametrize("reference", [False, True])
def test_more_features_than_examples_without_penalty(reference):
    """Each example has all the leverage it can have, and influence orders as the loss."""
    x, y = task(30, 60)
    head = fit_logistic(x, y)
    loose = LogisticHead(head.weight, head.bias, 1e10)
    found = logistic_influence(x, y, head=loose, reference=reference)
    torch.testing.assert_close(found.leverage, torch.ones(30).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.score, found.loss.expm1(), rtol=1e-4, atol=0)
    assert logistic_influence(x, y, head=loose, surrogate="newton").score.isfinite().all()


def test_collinear_features():
    x, y = task()
    twice = torch.cat([x, x], 1) / math.sqrt(2)  # the same penalty in effect
    same(logistic_influence(twice, y), logistic_influence(x, y))
    for C in (1e6, 1e14):
        assert logistic_influence(twice, y, C).score.isfinite().all()


def test_the_published_hessian_has_neither_penalty_nor_weights():
    x, y = task()
    w = torch.rand(len(y), generator=torch.Generator().manual_seed(1)).double() + 0.5
    head = fit_logistic(x, y, sample_weight=w)
    found = logistic_influence(x, y, head=head, sample_weight=w, reference=True)
    free = logistic_influence(x, y, head=LogisticHead(head.weight, head.bias, 5e9))
    torch.testing.assert_close(found.score, free.score, rtol=1e-7, atol=0)
    assert "published" in found.method
    assert (found.score > logistic_influence(x, y, head=head).score).all()


# the result as an object


def test_a_file_brings_back_every_bit(tmp_path):
    found = logistic_influence(*task(), surrogate="newton")
    found.save(tmp_path / "found.safetensors")
    back = Influence.load(str(tmp_path / "found.safetensors"))
    for key in ("score", "leverage", "loss"):
        assert torch.equal(getattr(back, key), getattr(found, key))
        assert getattr(back, key).dtype == torch.float64
    assert (back.method, back.seconds) == ("newton", found.seconds)
    assert repr(back) == repr(found)
    assert [path.name for path in tmp_path.iterdir()] == ["found.safetensors"]


def test_other_files_are_no_influence(tmp_path):
    head = fit_logistic(*task())
    head.signals(*task()).save(tmp_path / "signals")
    (tmp_path / "text").write_text("no tensors")
    for name, word in {"signals": "holds no Influence", "text": "Cannot read", "missing": "Cannot read"}.items():
        with pytest.raises(InputError, match=word) as caught:
            Influence.load(tmp_path / name)
        assert "give a file written by Influence.save" in str(caught.value)


def test_it_prints_as_a_short_table():
    found = logistic_influence(*task())
    lines = repr(found).splitlines()
    assert lines[0].startswith("Influence of 80 examples (influence, ")
    assert [line.split()[0] for line in lines[2:]] == ["score", "leverage", "loss"]
    assert lines[2].split()[1:] == [
        f"{of().item():.4g}" for of in (found.score.min, found.score.median, found.score.max)
    ]


# groups


def test_groups_against_sums_of_gradients():
    x, y = task()
    w = torch.rand(len(y), generator=torch.Generator().manual_seed(1)).double() + 0.1
    groups = torch.arange(len(y)) % 7
    head = fit_logistic(x, y, sample_weight=w, tol=1e-11)
    p = head.logits(x).softmax(1)[:, 1]
    rows = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    ridge = torch.tensor([1.0] * 5 + [0.0]).double()
    hessian = rows.T @ (rows * (w * p * (1 - p))[:, None]) + ridge.diag()
    total = torch.stack([((w * (p - y))[:, None] * rows)[groups == k].sum(0) for k in range(7)])
    found = group_influence(x, y, groups, sample_weight=w)
    torch.testing.assert_close(found.score, (total @ torch.linalg.inv(hessian) * total).sum(1), rtol=1e-7, atol=1e-12)
    alone = group_influence(x, y, torch.arange(len(y)))
    same(alone, logistic_influence(x, y))


def test_rows_that_are_not_in_the_fit_count_where_they_are_told_to():
    """Twice an example in its group has four times its influence, whatever its weight in the fit."""
    x, y = task()
    w = torch.ones(len(y))
    w[3] = 0
    groups, head = torch.arange(len(y)), fit_logistic(x, y, sample_weight=w)
    found = logistic_influence(x, y, head=head, sample_weight=w).score
    assert float(group_influence(x, y, groups, sample_weight=w, head=head).score[3]) == 0
    counted = group_influence(x, y, groups, sample_weight=w, head=head, counts=2 * torch.ones(len(y)))
    torch.testing.assert_close(counted.score, 4 * found)
    for counts in (torch.ones(3), -w - 1, w * float("nan")):
        with pytest.raises(InputError, match="Give as counts a finite number of 0 or more for each of the 80 rows"):
            group_influence(x, y, groups, counts=counts)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labels": torch.zeros(80, dtype=torch.int64)}, "give examples of both classes"),
        ({"labels": torch.arange(80) % 3}, "Example 2 has label 2; give labels from 0 to 1"),
        ({"features": torch.full((80, 2), float("inf"))}, "not finite"),
        ({"C": -1.0}, "penalty, is -1.0"),
        ({"surrogate": "loo"}, "Unknown surrogate 'loo'"),
        ({"sample_weight": torch.zeros(3)}, "one for each of the 80"),
        ({"head": LogisticHead(torch.zeros(3, 5), torch.zeros(3), 1.0)}, "The head has 3 classes"),
        ({"head": LogisticHead(torch.zeros(1, 4), torch.zeros(1), 1.0)}, r"\(80, 5\); give \(n, 4\)"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, word):
    x, y = task()
    with pytest.raises(InputError, match=word) as caught:
        logistic_influence(**{"features": x, "labels": y, **change})
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="Groups have shape"):
        group_influence(x, y, torch.zeros(3, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_gpu_gives_the_same(surrogate):
    x, y = task()
    there = logistic_influence(x.cuda(), y.cuda(), surrogate=surrogate)
    here = logistic_influence(x, y, surrogate=surrogate)
    assert torch.allclose(there.score.cpu(), here.score, rtol=1e-6, atol=1e-10)
