"""How far a policy disturbs losses: measured against enumeration, chosen by, and shared out after Neyman."""

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from selection_references import make_signals
from torch import nn
from torch.utils.data import TensorDataset

import auglean as al
from auglean.errors import InputError
from auglean.policies import Flip
from auglean.selection import Selection, effective_weights, neyman
from auglean.signals import measure

spreads = st.lists(st.floats(0, 10), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def task():
    """A linear network and six noisy images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(6, 1, 4, 4)
    return model, TensorDataset(images, torch.arange(6) % 3)


def test_the_deviation_is_that_of_the_two_losses_of_a_flip(task):
    model, data = task
    images, labels = data.tensors
    with torch.no_grad():
        one, other = (measure(model(x), labels)[0] for x in (images, images.flip(3)))
    expected = 0.3**0.5 * 0.7**0.5 * (one - other).abs()
    found = al.collect(model, data, policy=Flip(0.3), draws=4000).loss_sd
    torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0)
    assert al.collect(model, data, policy="none").loss_sd.tolist() == [0] * 6
    assert al.collect(model, data).loss_sd is None


def test_what_collecting_it_costs_and_keeps(task):
    model, data = task
    before = torch.get_rng_state()
    plain, found = al.collect(model, data), al.collect(model, data, policy="translate1", draws=5)
    assert torch.equal(before, torch.get_rng_state())
    assert found.forward_passes == 6 * plain.forward_passes
    assert torch.equal(plain.loss, found.loss)
    # the same draws whatever the batch, the order and the company
    part = al.collect(model, data, policy="translate1", draws=5, indices=[4, 1], batch_size=1)
    torch.testing.assert_close(part.loss_sd, found.loss_sd[[4, 1]])
    assert not torch.equal(found.loss_sd, al.collect(model, data, policy="translate1", draws=5, seed=1).loss_sd)
    with pytest.raises(InputError, match="1 draws of the policy show no deviation; give 2 or more"):
        al.collect(model, data, policy="translate1", draws=1)


def test_the_most_disturbed_come_first():
    signals, labels = make_signals(30)
    order = signals.loss_sd.argsort(descending=True, stable=True)
    chosen = al.select(signals, labels, "variance", budget=7)
    assert torch.equal(chosen.indices, order[:7])
    torch.testing.assert_close(chosen.gains, signals.loss_sd[order[:7]].double())
    plain = al.Signals(signals.loss, signals.margin, signals.residual, signals.feature, signals.prediction)
    with pytest.raises(InputError, match="hold no deviations of the loss; collect them with policy=") as caught:
        al.select(plain, labels, al.Variance(), budget=7)
    assert "\n" not in str(caught.value)


def test_composed_selectors_ask_for_the_policy_as_their_inner_one_does():
    for inner in (al.Variance(), al.MaxLoss()):
        for outer in (al.PerClass(inner), al.Clustered(3, inner), al.InBlocks(inner)):
            assert outer.needs_policy == inner.needs_policy == isinstance(inner, al.Variance)
            assert not outer.needs_steps
    assert al.PerClass(al.Forgetting()).needs_steps


def variance(spread, counts):
    return sum(s * s / n for s, n in zip(spread, counts, strict=True))


@settings(max_examples=150, deadline=None)
@given(spread=spreads, more=st.integers(0, 7))
def test_no_whole_allocation_has_less_variance(spread, more):
    k, total = len(spread), len(spread) + more
    found = neyman(torch.tensor(spread, dtype=torch.float64), total).tolist()
    assert sum(found) == total
    assert min(found) >= 1
    cuts = itertools.combinations(range(1, total), k - 1)
    every = ([b - a for a, b in itertools.pairwise((0, *cut, total))] for cut in cuts)
    best = min(variance(spread, counts) for counts in every)
    assert variance(spread, found) == pytest.approx(best, rel=1e-12, abs=1e-300)


def test_without_deviations_all_have_as_many():
    assert neyman(torch.zeros(3), 8).tolist() == [3, 3, 2]
    assert neyman(torch.tensor([1.0, 2, 4]), 700).tolist() == [100, 200, 400]
    for spread, copies, told in (
        ([1.0, 1], 1, "at least one each"),
        ([-1.0], 2, "at least 0"),
        ([float("nan")], 2, "0"),
    ):
        with pytest.raises(InputError, match=told):
            neyman(torch.tensor(spread), copies)


def chosen_with(weights, loss_sd):
    weights = torch.tensor(weights, dtype=torch.float64)
    k = len(weights)
    sd = torch.tensor(loss_sd, dtype=torch.float64)
    return Selection(torch.arange(k), weights, torch.zeros(k), total=k, loss_sd=sd)


@settings(max_examples=150, deadline=None)
@given(
    each=st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 5)), min_size=1, max_size=12),
    period=st.integers(1, 6),
    seed=st.integers(0, 9),
    start=st.integers(0, 20),
)
def test_a_period_has_the_budget_and_the_weights_exactly(each, period, seed, start):
    chosen, k = chosen_with(*zip(*each, strict=True)), len(each)
    epochs = [effective_weights(chosen, "neyman", seed=seed, epoch=start + e, period=period) for e in range(period)]
    assert [int(copies.sum()) for copies, _ in epochs] == [k] * period
    share = chosen.weights * (k / chosen.weights.sum())
    mass = sum(copies * weight for copies, weight in epochs)
    torch.testing.assert_close(mass, period * share)
    assert torch.equal(sum(copies for copies, _ in epochs), neyman(share * chosen.loss_sd, k * period))
    if period == 1:
        copies, weight = epochs[0]
        assert copies.tolist() == [1] * k
        torch.testing.assert_close(weight, share)


@settings(max_examples=50, deadline=None)
@given(
    each=st.lists(st.tuples(st.floats(0.5, 20), st.floats(0.01, 5)), min_size=2, max_size=8), period=st.integers(2, 6)
)
def test_its_error_is_lowest_at_equal_copies(each, period):
    """The mean squared error of the estimated expected loss, beside as many copies each and copies by weight."""
    chosen, k = chosen_with(*zip(*each, strict=True)), len(each)
    copies = {}
    for mode in ("neyman", "mean1", "sampled"):
        epochs = [effective_weights(chosen, mode, epoch=e, period=period)[0] for e in range(period)]
        copies[mode] = sum(epochs)
        assert int(copies[mode].sum()) == k * period
    # as many copies of each by its weight as there are, but none without
    assume(int(copies["sampled"].min()) > 0)
    share = (chosen.weights * chosen.loss_sd).tolist()
    error = {mode: variance(share, counts.tolist()) for mode, counts in copies.items()}
    assert error["neyman"] <= error["mean1"] * (1 + 1e-12)
    assert error["neyman"] <= error["sampled"] * (1 + 1e-12)


def test_the_error_of_simulated_losses_is_the_formula_and_lowest():
    g = torch.Generator().manual_seed(0)
    chosen = chosen_with([4.0, 1, 1, 2], [0.1, 3.0, 0.2, 0.5])
    share, expected = chosen.weights / chosen.weights.sum(), torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    found = {}
    for name, counts in (
        ("neyman", neyman(share * chosen.loss_sd, 24)),
        ("uniform", torch.tensor([6, 6, 6, 6])),
        ("proportional", torch.tensor([12, 3, 3, 6])),
    ):
        total = torch.zeros(20_000, dtype=torch.float64)
        for i, n in enumerate(counts.tolist()):  # losses skew, as losses are
            noise = -torch.rand(20_000, n, generator=g, dtype=torch.float64).log() - 1
            total += share[i] * (expected[i] + chosen.loss_sd[i] * noise).mean(1)
        error = total - (share * expected).sum()
        assert float(error.mean()) == pytest.approx(0, abs=5 * float(error.std()) / 20_000**0.5)
        found[name] = float(error.square().mean())
        assert found[name] == pytest.approx(variance((share * chosen.loss_sd).tolist(), counts.tolist()), rel=0.06)
    assert found["neyman"] < 0.6 * found["uniform"]
    assert found["neyman"] < 0.6 * found["proportional"]


def test_a_selection_keeps_what_it_was_told(tmp_path):
    chosen = chosen_with([1.0, 2], [0.5, 0.25])
    chosen.save(tmp_path / "chosen.json")
    assert Selection.load(tmp_path / "chosen.json").loss_sd.tolist() == [0.5, 0.25]
    with pytest.raises(InputError, match="'neyman' asks how far the policy moves each loss") as caught:
        effective_weights(chosen.with_(loss_sd=None), "neyman", period=2)
    assert "\n" not in str(caught.value)


# to first order


@pytest.fixture(scope="module")
def smooth():
    """A network of soft steps and smooth images, which a weak policy moves to first order."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coarse = torch.rand(40, 1, 3, 3)
        layers = nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)
        model, images = nn.Sequential(*layers), nn.functional.interpolate(coarse, (6, 6), mode="bilinear")
        model[1].weight.data *= 5  # as far from a linear one as training makes it
    return model, TensorDataset(images, torch.arange(40) % 3)


def test_first_order_is_the_gradient_through_the_covariance(smooth):
    model, data = smooth
    images, labels = data.tensors
    policy = al.policies.Translate(0.1)
    found = al.moments.first_order_signals(model, data, policy)
    assert model.training
    model.eval()
    leaf = images.clone().requires_grad_()
    g = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), labels, reduction="sum"), leaf)[0].flatten(1)
    dense = policy.moments(images).dense()
    expected = torch.einsum("nd,nde,ne->n", g.double(), dense, g.double()).sqrt()
    torch.testing.assert_close(found.loss_sd.double(), expected, rtol=1e-5, atol=0)
    # and near what draws say, by as much as the gap tells
    truth = al.expected_loss(model, "cross-entropy", policy, data, nodes=256).sd
    assert float((found.loss_sd - truth).abs().mean() / truth.mean()) == pytest.approx(found.gap, abs=0.02)
    assert found.gap < 0.1
    model.train()


def test_where_first_order_fails_it_is_refused(smooth):
    model, data = smooth
    with pytest.raises(InputError, match=r"loss's deviation under translate3 is off by \d+% on a probe of 40 images"):
        al.moments.first_order_signals(model, data, "translate3")


def test_chosen_by_gradient(smooth, tmp_path):
    model, data = smooth
    selector, labels = al.Variance(by="gradient"), data.tensors[1]
    signals = al.moments.first_order_signals(model, data, "translate0.1")
    chosen = selector(signals, labels, budget=10)
    assert chosen.indices.tolist() == signals.loss_sd.argsort(descending=True, stable=True)[:10].tolist()
    assert chosen.how["gap"] == signals.gap
    assert (selector.label, al.Variance("proportional", "gradient").label) == (
        "variance-gradient", "variance-gradient-proportional",
    )  # fmt: skip
    signals.save(tmp_path / "signals.safetensors")
    assert al.signals.Signals.load(tmp_path / "signals.safetensors").gap == signals.gap
    with pytest.raises(InputError, match="hold no deviations to first order"):
        selector(al.collect(model, data, policy="translate0.1"), labels, budget=10)
    with pytest.raises(InputError, match="gradient"):
        al.Variance(by="gradints")


def test_training_asks_to_first_order_and_stops_where_it_fails():
    data = al.load("digits").subset(range(60))
    options = {"selector": al.Variance(by="gradient"), "budget": 0.2, "steps": 4}
    weak = al.fit("mlp", data, policy="translate0.1", **options)
    assert 0 < weak.selection.how["gap"] < 0.2
    with pytest.raises(InputError, match="loss's deviation"):
        al.fit("mlp", data, policy="translate4", **options)
