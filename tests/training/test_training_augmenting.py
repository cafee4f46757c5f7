"""What an epoch holds, with which weights, which images it becomes, and how a loader gives them."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import auglean as al
from auglean.errors import InputError
from auglean.policies import as_policy, parse
from auglean.selection import Random, Selection, Selector, neyman
from auglean.selection.weights import WeightMode, gradient_error
from auglean.signals import measure
from auglean.training import ROLES, AugmentSampler, AugmentSubset, Item, Plan, weighted_loss

MODES = get_args(WeightMode)
ANY = settings(max_examples=60, deadline=None)


def chosen(indices, weights, total):
    return Selection(torch.tensor(indices), torch.tensor(weights).double(), torch.zeros(len(indices)), total=total)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def split(plan):
    """Give the ids of the originals and those of the copies."""
    return plan.ids[plan.copy == 0].tolist(), plan.ids[plan.copy > 0].tolist()


# what an epoch holds


@pytest.mark.parametrize("weights", MODES)
@pytest.mark.parametrize(
    ("role", "items"), [("subset+subset", 20), ("subset", 10), ("full+subset", 50), ("random+subset", 20)]
)
def test_items_of_an_epoch_with_a_selector(numbered, role, items, weights):
    """Spec 1.5: A 2B, A0 B, B N+B, C 2B, for N = 40 and B = 10."""
    sampler = AugmentSampler(numbered(), selector="random", budget=10, role=role, weights=weights, policy="flip")
    originals, copies = split(sampler.plan())
    subset = set(sampler.selection.indices.tolist())
    assert len(sampler) == len(sampler.plan()) == items
    assert len(copies) == (0 if role == "subset" else 10)
    assert set(copies) <= subset
    if role == "full+subset":
        assert sorted(originals) == list(range(40))
    elif role == "random+subset":
        assert len(set(originals)) == 10
        assert set(originals) != subset
    else:
        assert set(originals) <= subset


@pytest.mark.parametrize(("augment", "items"), [(True, 80), (False, 40)])
def test_items_of_an_epoch_without_a_selector(numbered, augment, items):
    """Spec 1.5: D 2N, E N."""
    originals, copies = split(AugmentSampler(numbered(), augment=augment).plan())
    assert len(originals) + len(copies) == items
    assert sorted(originals) == list(range(40))
    assert sorted(copies) == (list(range(40)) if augment else [])


@ANY
@given(
    gammas=st.lists(st.floats(0.5, 50), min_size=1, max_size=30),
    role=st.sampled_from(ROLES),
    mode=st.sampled_from(MODES),
    epoch=st.integers(0, 1000),
)
def test_weights_have_mean_one_over_an_epoch(gammas, role, mode, epoch):
    k = len(gammas)
    data = al.ImageSet(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40) % 4)
    sampler = AugmentSampler(data, selector="random", budget=k, role=role, weights=mode, policy="flip")
    sampler.selection = chosen(list(range(k)), gammas, 40).with_(loss_sd=torch.arange(k).double())
    plan = sampler.plan(epoch)
    assert float(plan.weight.double().mean()) == pytest.approx(1.0, abs=1e-5)
    assert (plan.weight >= 0).all()


def test_weights_by_hand(numbered):
    """Raw: an original counts 1 and a copy what it stands for; mean1 scales the copies to mean 1; none to 1."""
    sampler = AugmentSampler(numbered(6, 2), selector="random", budget=2, weights="raw")
    sampler.selection = chosen([4, 1], [5.0, 1.0], 6)

    def ratio(mode, role):
        sampler.weights, sampler.role = mode, role
        plan = sampler.plan()
        mass = {(i.id, i.copy > 0): i.weight for i in plan.items()}
        return mass[4, True], mass[1, True], mass[next(i for i, copy in mass if not copy), False]

    for mode, expected in [("raw", (5, 1, 1)), ("mean1", (5 / 3, 1 / 3, 1)), ("none", (1, 1, 1))]:
        found = ratio(mode, "full+subset")
        assert [w / found[2] for w in found] == pytest.approx(expected)
    # beside as many random originals the copies weigh as much as those together, in every mode
    found = ratio("raw", "random+subset")
    assert [w / found[2] for w in found] == pytest.approx([5 / 3, 1 / 3, 1])


def test_sampled_copies_come_in_proportion(numbered):
    sampler = AugmentSampler(numbered(6, 2), selector="random", budget=2, weights="sampled")
    sampler.selection = chosen([4, 1], [4.5, 1.5], 6)
    epochs = 400
    found = Counter(i for epoch in range(epochs) for i in split(sampler.plan(epoch))[1])
    assert found[4] + found[1] == 2 * epochs
    assert found[4] / epochs == pytest.approx(1.5, abs=0.1)  # kγ/n; four standard errors
    assert {tuple(sorted(split(sampler.plan(epoch))[1])) for epoch in range(20)} == {(1, 4), (4, 4)}


def test_random_originals_are_drawn_anew_each_epoch(numbered):
    sampler = AugmentSampler(numbered(), selector="random", budget=10, role="random+subset")
    originals = [frozenset(split(sampler.plan(epoch))[0]) for epoch in range(5)]
    assert len(set(originals)) == 5
    assert frozenset(split(sampler.plan(0))[0]) == originals[0]


def test_order_is_fixed_by_seed_and_epoch(numbered):
    plans = {
        (seed, epoch): tuple(AugmentSampler(numbered(), seed=seed).plan(epoch).ids.tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(plans.values())) == 4
    assert plans[1, 1] == tuple(AugmentSampler(numbered(), seed=1).plan(1).ids.tolist())


# when the selector is asked


@dataclass(frozen=True)
class Highest(Selector):
    """The last k examples; asks a model only to be told that it did."""

    name: ClassVar[str] = "highest"

    def choose(self, signals, labels, k, g):
        assert signals is not None
        indices = torch.arange(len(labels) - k, len(labels))
        return Selection(indices, torch.ones(k).double(), torch.zeros(k), total=len(labels))


@pytest.mark.parametrize(
    ("selector", "start", "every", "epochs"),
    [(Highest(), 0, 4, [0, 4, 8]), (Highest(), 2, 3, [2, 5, 8]), (Random(redraw=True), 2, 3, [2, 3, 4, 5, 6, 7, 8, 9])],
)
def test_selector_chooses_at_start_and_every_so_many_epochs(numbered, selector, start, every, epochs):
    sampler = AugmentSampler(numbered(), selector=selector, budget=5, start=start, every=every)
    model, told, held = network(), [], []
    for epoch in range(10):
        sampler.set_epoch(epoch)
        told += [epoch] * (sampler.reselect(model) is not None)
        held.append(sorted(sampler.selection.indices.tolist()))
    assert told == epochs
    if isinstance(selector, Highest):
        assert all(held[epoch] == [35, 36, 37, 38, 39] for epoch in range(start, 10))
    assert all(len(rows) == 5 and rows != [35, 36, 37, 38, 39] for rows in held[:start])  # at random before


@pytest.mark.parametrize("start", [0, 3])
def test_random_is_drawn_once_and_redrawn_each_epoch_where_it_says_so(numbered, start):
    def draws(selector):
        sampler, found = AugmentSampler(numbered(), selector=selector, budget=5, every=2, start=start), []
        for epoch in range(8):
            sampler.set_epoch(epoch)
            sampler.reselect()
            found.append(tuple(sampler.selection.indices.tolist()))
        return found

    assert len(set(draws("random"))) == 1
    assert len(set(draws("random-each-epoch"))) == 8 - start + (start > 0)


def test_the_model_is_asked_in_eval_mode_and_left_as_it_was(numbered):
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.last = nn.Dropout(0.5), nn.Linear(64, 4)

        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return self.last(self.drop(x.flatten(1)))

    model = Net().train()
    state = torch.get_rng_state()
    first = AugmentSampler(numbered(), selector="max-loss", budget=5).reselect(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert set(seen) == {(False, False)}
    assert first.gradient_error >= 0
    assert first.how["weights"] == "sampled"


def test_the_gradient_error_is_that_of_the_weights_in_use(numbered):
    model = network()
    errors = {}
    for mode in MODES:
        sampler = AugmentSampler(numbered(), selector="coreset", budget=8, weights=mode, policy="flip")
        errors[mode] = sampler.reselect(model).gradient_error
    assert errors["raw"] == pytest.approx(errors["mean1"])  # the total of the weights is not an error
    assert errors["none"] != pytest.approx(errors["raw"], rel=1e-3)


# when the choice has aged


def aged(data, model, chosen):
    """The gradient error of a choice by its own weights, from signals collected anew."""
    signals = al.collect(model, data)
    return gradient_error(signals.residual, chosen.indices, chosen.weights, feature=signals.feature)


def turn(model, epoch):
    """Change what the network says."""
    g = torch.Generator().manual_seed(epoch)
    model[1].weight.data.add_(0.05 * torch.randn(4, 64, generator=g))


@pytest.mark.parametrize(("selector", "threshold"), [("coreset", 1.0), ("max-loss", 3.5)])
def test_a_choice_is_made_anew_where_kappa_has_passed_the_threshold(noise, selector, threshold):
    """Of forty images a probe holds all, so κ is the error itself; the threshold is one that some epochs reach."""
    data, model = noise(), network()
    sampler = AugmentSampler(data, selector=selector, budget=8, every=100, start=1, reselect_above=threshold)
    told = []
    for epoch in range(12):
        turn(model, epoch)
        before = sampler.selection
        sampler.set_epoch(epoch)
        anew = sampler.reselect(model)
        if epoch < 1:
            assert (anew, sampler.measured) == (None, ())
            continue
        ages = [aged(data, model, before), aged(data, model, sampler.selection)]
        told.append(anew is not None)
        assert told[-1] == (epoch == 1 or ages[0] > threshold)
        assert (anew is None) == (sampler.selection is before)
        expected = [(ages[0], False)] * (epoch > 1) + [(ages[1], True)] * told[-1]
        assert [m.reselected for m in sampler.measured] == [new for _, new in expected]
        assert [m.kappa for m in sampler.measured] == pytest.approx([age for age, _ in expected], rel=1e-5)
    assert 1 < sum(told) < 11


def test_at_a_choice_that_is_due_the_old_one_is_measured_too(noise):
    data, model = noise(), network()
    sampler = AugmentSampler(data, selector="coreset", budget=8, every=2)
    for epoch in range(4):
        turn(model, epoch)
        before = sampler.selection
        sampler.set_epoch(epoch)
        sampler.reselect(model)
        ages = [aged(data, model, before), aged(data, model, sampler.selection)]
        expected = [(ages[1], True)] if epoch == 0 else [(ages[0], False), (ages[1], True)] if epoch == 2 else []
        assert [m.reselected for m in sampler.measured] == [new for _, new in expected]
        assert [m.kappa for m in sampler.measured] == pytest.approx([age for age, _ in expected], rel=1e-5)


def test_what_asks_no_model_keeps_to_the_clock_and_is_measured_where_that_is_wished(noise):
    model = network()
    for name in ("random", "random-each-epoch"):
        for diagnose in (False, True):
            sampler = AugmentSampler(noise(), selector=name, budget=8, every=3, reselect_above=1e-6)
            told = []
            for epoch in range(5):
                sampler.set_epoch(epoch)
                chosen = sampler.reselect(model, diagnose=diagnose)
                told.append((chosen is not None, [m.reselected for m in sampler.measured]))
            if not diagnose:
                assert [m for _, m in told] == [[]] * 5
            elif name == "random":  # one choice for good
                assert told == [(True, [True]), (False, [False]), (False, [False]), (True, [False]), (False, [False])]
            else:
                assert told == [(True, [True]), (True, []), (True, []), (True, [True]), (True, [])]


def test_the_weights_of_a_mode_are_those_it_gives_on_average(noise):
    model, found = network(), {}
    for mode in MODES:
        sampler = AugmentSampler(noise(), selector="coreset", budget=8, weights=mode, policy="flip")
        sampler.reselect(model)
        found[mode] = sampler.measured[0].kappa
    assert found["raw"] == found["mean1"] == found["sampled"] == found["neyman"]
    assert found["none"] != pytest.approx(found["raw"], rel=1e-3)


# signals from the steps


@dataclass(frozen=True)
class Loud(Selector):
    """The examples of highest loss, anew each epoch: asks a model, and in every epoch."""

    name: ClassVar[str] = "loud"

    @property
    def each_epoch(self):
        return True

    def choose(self, signals, labels, k, g):
        indices = signals.loss.argsort(descending=True, stable=True)[:k]
        return Selection(indices, torch.ones(k).double(), torch.zeros(k), total=len(labels))


def counting(model):
    """Count the images that a network meets."""
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    return seen


@pytest.mark.parametrize(("selector", "every"), [("max-loss", 2), ("coreset-last-layer", 2), (Loud(), 5)])
def test_signals_from_the_steps_choose_without_a_pass(noise, selector, every):
    """A loop of one's own: what each choice used is what the steps said last, by a dictionary of what they said."""
    data, model = noise(), network()
    train = AugmentSubset(data, "rotate30", weak="flip")
    sampler = AugmentSampler(data, selector=selector, budget=8, every=every, signals="steps")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    said, choices, seen = {}, [], counting(model)
    with sampler.recorder.watch(model, data):
        for epoch in range(5):
            sampler.set_epoch(epoch)
            seen.clear()
            chosen = sampler.reselect(model)
            if chosen is not None:
                choices.append(epoch)
                assert sum(seen) == (0 if epoch else 2 + 40)  # two to find the last layer
                age = chosen.how["staleness"]  # an epoch is three batches
                assert (age["most"], age["never"]) == (3 if epoch else 0, 0)
                assert age["epochs"] == pytest.approx(1 if epoch else 0)
            if chosen is not None and epoch:
                expected = al.Signals(*(torch.stack([said[i][part] for i in range(40)]) for part in range(5)))
                again = AugmentSampler(data, selector=selector, budget=8)
                again.set_epoch(epoch)
                assert torch.equal(again.choose(expected).indices, chosen.indices)
                assert again.diagnose(expected).gradient_error == pytest.approx(chosen.gradient_error)
            for batch, (x, y, weight) in zip(
                sampler.plan().split(16), DataLoader(train, batch_size=16, sampler=sampler), strict=True
            ):
                logits = model(x)
                sampler.recorder.record(batch.ids, logits, y, copy=batch.copy)
                for row in (batch.copy == 0).nonzero()[:, 0].tolist():
                    loss, margin, residual, prediction = measure(logits[row : row + 1].detach(), y[row : row + 1])
                    feature = x[row].flatten()
                    said[int(batch.ids[row])] = (
                        loss[0].float(), margin[0].float(), residual[0].float(), feature, prediction[0],
                    )  # fmt: skip
                optimizer.zero_grad()
                weighted_loss(logits, y, weight).backward()
                optimizer.step()
    assert choices == ([0, 1, 2, 3, 4] if isinstance(selector, Loud) else [0, 2, 4])


def test_with_signals_from_the_steps_kappa_is_that_of_all_examples_and_costs_no_pass(noise):
    data, model = noise(), network()
    sampler = AugmentSampler(data, selector="coreset", budget=8, every=50, signals="steps", reselect_above=0.3)
    sampler.reselect(model)
    seen = counting(model)
    signals = al.collect(model, data)
    signals.residual.add_(0.1 * torch.randn(40, 4, generator=torch.Generator().manual_seed(1)))
    sampler.recorder.load_state_dict(
        {**signals.tensors, "seen": torch.full((40,), 7), "clock": torch.tensor([9, 40 * 3])}
    )
    seen.clear()
    sampler.set_epoch(1)
    old = sampler.selection
    error = gradient_error(signals.residual, old.indices, old.weights, feature=signals.feature)
    chosen = sampler.reselect(model)
    assert seen == []
    assert sampler.measured[0] == (pytest.approx(error), False)
    assert (chosen is not None) == (error > 0.3)
    assert chosen.how["staleness"] == {"median": 2.0, "most": 2, "epochs": pytest.approx(2 / 3), "never": 0.0}


@pytest.mark.parametrize("role", ["subset", "subset+subset", "random+subset"])
def test_roles_without_steps_on_every_example_are_refused(noise, role):
    with pytest.raises(InputError, match=re.escape(f"the role '{role}' leaves out")) as caught:
        AugmentSampler(noise(), selector="coreset", budget=8, role=role, signals="steps")
    assert "\n" not in str(caught.value)
    assert AugmentSampler(noise(), selector="random", budget=8, role=role, signals="steps").recorder is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"selector": "corset", "budget": 5}, "coreset"),
        ({"selector": "coreset"}, "needs a budget"),
        ({"selector": "random", "budget": 41}, "at most 40"),
        ({"role": "full"}, "Unknown role"),
        ({"weights": "row"}, "raw"),
        ({"every": 0}, "every ≥ 1"),
        ({"start": -1}, "start ≥ 0"),
        ({"reselect_above": 0.0}, "reselect_above is 0.0; give a relative error above 0"),
        ({"reselect_above": float("nan")}, "reselect_above is nan"),
        ({"signals": "step"}, "did you mean 'steps'"),
        ({"selector": "forgetting", "budget": 5}, "'forgetting' asks what the steps of training record"),
        ({"selector": "variance", "budget": 5}, "'variance' asks how far the policy moves the loss; give the policy"),
        ({"selector": "random", "budget": 5, "weights": "neyman"}, "weights='neyman' asks how far"),
        ({"selector": "variance", "budget": 5, "policy": "flip", "signals": "steps"}, "the steps do not say"),
    ],
)
def test_bad_options_are_told(numbered, options, word):
    with pytest.raises(InputError, match=word):
        AugmentSampler(numbered(), **options)


def test_a_selector_that_asks_needs_a_model(numbered):
    with pytest.raises(InputError, match="pass it to reselect"):
        AugmentSampler(numbered(), selector="coreset", budget=5).reselect()
    assert AugmentSampler(numbered(), selector="random", budget=5).reselect() is not None
    with pytest.raises(InputError, match="pass it to reselect"):
        AugmentSampler(numbered(), selector="random", budget=5, weights="neyman", policy="flip").reselect()


@pytest.mark.parametrize("selector", ["random", "variance", "coreset"])
def test_a_period_of_neyman_holds_each_chosen_as_often_as_its_deviation_asks(noise, selector):
    sampler = AugmentSampler(noise(), selector=selector, budget=8, every=4, weights="neyman", policy="translate2")
    mass = torch.zeros(len(sampler.data), dtype=torch.float64)
    copies = torch.zeros(len(sampler.data), dtype=torch.int64)
    for epoch in range(8):
        sampler.set_epoch(epoch)
        chosen = sampler.reselect(network())
        assert (chosen is not None) == (epoch % 4 == 0)
        if chosen is not None:
            mass.zero_()
            copies.zero_()
            first = chosen
        which, _, weight = sampler._copies(epoch)
        assert len(which) == 8
        mass.index_add_(0, which, weight)
        copies += torch.bincount(which, minlength=len(copies))
    share = first.weights * (8 / first.weights.sum())
    assert mass[first.indices].tolist() == pytest.approx((4 * share).tolist())  # that of mean1, exactly
    assert torch.equal(copies[first.indices], neyman(share * first.loss_sd, 32))
    assert float(first.loss_sd.min()) > 0
    assert len(set(copies[first.indices].tolist())) > 1


def test_a_plan_is_cut_into_batches(numbered):
    plan = AugmentSampler(numbered(10)).plan()
    parts = plan.split(8)
    assert [len(part) for part in parts] == [8, 8, 4]
    assert [item for part in parts for item in part.items()] == plan.items()


# the images


def test_copies_are_drawn_by_seed_epoch_and_example_whatever_the_batch(noise):
    data = noise()
    train = AugmentSubset(data, "translate3-rotate30-brightness0.5", seed=3)
    plan = AugmentSampler(data).plan(2)
    x, y = train.render(plan)
    assert torch.equal(y, data.labels[plan.ids])
    one_by_one = torch.cat([train.render(plan[row : row + 1])[0] for row in range(len(plan))])
    assert torch.equal(x, one_by_one)
    backwards = torch.arange(len(plan)).flip(0)
    assert torch.equal(train.render(plan[backwards])[0].flip(0), x)
    for other in (AugmentSubset(data, train.policy, seed=4), AugmentSubset(data, "translate3-rotate15", seed=3)):
        moved = other.render(plan)[0]
        assert torch.equal(moved[plan.copy == 0], x[plan.copy == 0])
        assert not any(torch.equal(a, b) for a, b in zip(moved[plan.copy > 0], x[plan.copy > 0], strict=True))


@pytest.mark.parametrize(("policy", "weak", "places"), [("rotate30", "none", [1]), ("none", "translate3", [0, 1])])
def test_images_are_drawn_anew_each_epoch(noise, policy, weak, places):
    data = noise()
    train = AugmentSubset(data, policy, weak=weak)
    images = [train.render(Plan(*(torch.tensor(c) for c in ([5, 5], [0, 1], [1.0, 1.0], [e, e]))))[0] for e in range(6)]
    for place in places:  # the original is moved by the weak policy, the copy by both
        drawn = {tuple(x[place].flatten().tolist()) for x in images}
        assert len(drawn) > 3


def test_originals_are_the_images_and_copies_of_one_example_differ(noise):
    data = noise()
    train = AugmentSubset(data, "rotate30")
    x, _ = train.render(Plan(torch.full((5,), 7), torch.arange(5), torch.ones(5), torch.zeros(5, dtype=torch.int64)))
    assert torch.equal(x[0], data.images[7].float() / 255)
    assert all(not torch.equal(x[i], x[j]) for i in range(5) for j in range(i))


def test_weak_comes_before_the_policy_and_touches_originals_too(noise):
    data = noise()
    half, raise_it = as_policy(lambda x: x * 0.5), as_policy(lambda x: x + 0.25)
    train = AugmentSubset(data, raise_it, weak=half)
    plan = Plan(torch.tensor([3, 3]), torch.tensor([0, 1]), torch.ones(2), torch.zeros(2, dtype=torch.int64))
    x, _ = train.render(plan)
    image = data.images[3].float() / 255
    torch.testing.assert_close(x[0], image * 0.5)
    torch.testing.assert_close(x[1], image * 0.5 + 0.25)


def test_the_policy_sees_the_copies_alone(noise):
    data, seen = noise(), []

    class Watch(al.Policy):
        def _draw(self, n, generator, device):
            return {"unused": torch.zeros(n)}

        def _operate(self, x, params):
            seen.append(len(x))
            return x

    sampler = AugmentSampler(data, selector="random", budget=10)
    train = AugmentSubset(data, Watch())
    train.render(sampler.plan())
    train.render(AugmentSampler(data, augment=False).plan())
    assert seen == [10]


def test_a_plain_index_gives_the_original(noise):
    data = noise()
    image, label, weight = AugmentSubset(data, "rotate30")[9]
    assert torch.equal(image, data.images[9].float() / 255)
    assert (label, float(weight)) == (1, 1.0)


# the weighted loss


def test_gradient_of_two_points_with_weights_two_and_zero_is_that_of_the_first_alone():
    logits = torch.tensor([[0.3, -1.0, 0.2], [2.0, 0.5, -0.7]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([2, 0])
    weighted_loss(logits, labels, torch.tensor([2.0, 0.0])).backward()
    residual = torch.softmax(logits[0], 0).detach() - functional.one_hot(labels[0], 3)  # ∇ℓ₁ by hand
    torch.testing.assert_close(logits.grad, torch.stack([residual, torch.zeros(3, dtype=torch.float64)]))


@pytest.mark.parametrize("mode", ["raw", "mean1"])
def test_mean_of_batch_losses_over_an_epoch_is_the_weighted_mean(numbered, mode):
    """Σγℓ/Σγ over the chosen, though batches have unequal sums of weights."""
    gammas = [7.0, 1.0, 1.0, 20.0, 3.0, 2.0, 5.0, 1.0]
    sampler = AugmentSampler(numbered(), selector="random", budget=8, role="subset", weights=mode)
    sampler.selection = chosen(list(range(8)), gammas, 40)
    logits = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = sampler.data.labels
    plan = sampler.plan(3)
    batches = [
        weighted_loss(logits[b.ids], labels[b.ids], b.weight) for b in (plan[:2], plan[2:4], plan[4:6], plan[6:])
    ]
    losses = [float(torch.logsumexp(logits[i], 0) - logits[i, labels[i]]) for i in range(8)]
    expected = sum(g * loss for g, loss in zip(gammas, losses, strict=True)) / sum(gammas)
    assert float(sum(batches)) / 4 == pytest.approx(expected, rel=1e-6)


def test_sampled_weights_give_the_weighted_mean_on_average(numbered):
    gammas = [30.0, 2.0, 5.0, 3.0]
    sampler = AugmentSampler(numbered(), selector="random", budget=4, role="subset", weights="sampled")
    sampler.selection = chosen([0, 1, 2, 3], gammas, 40)
    losses = torch.tensor([1.0, 10.0, 3.0, 7.0])
    means = [float((p.weight * losses[p.ids]).mean()) for p in (sampler.plan(epoch) for epoch in range(2000))]
    assert sum(means) / len(means) == pytest.approx((30 + 20 + 15 + 21) / 40, rel=0.03)


# loaders


def epochs_of(loader, sampler, model, epochs=3):
    rows = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        sampler.reselect(model)
        rows += [[t.clone() for t in batch] for batch in loader]
    return rows


def test_any_number_of_workers_gives_the_same_images_as_fit_renders(noise):
    data, model = noise(50), network()
    found = []
    for options in ({}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4}):
        train = AugmentSubset(data, "translate3-rotate30", weak="flip", seed=5)
        sampler = AugmentSampler(data, selector="coreset", budget=10, every=2, seed=6)
        found.append(epochs_of(DataLoader(train, batch_size=16, sampler=sampler, **options), sampler, model))
    sampler = AugmentSampler(data, selector="coreset", budget=10, every=2, seed=6)
    rendered = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        sampler.reselect(model)
        plan = sampler.plan()
        for rows in torch.arange(60).split(16):
            x, y = train.render(plan[rows])
            rendered.append([x, y, plan.weight[rows]])
    assert len(rendered) == 12
    for other in found:
        for (x, y, w), (x2, y2, w2) in zip(rendered, other, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)
            assert torch.equal(w, w2)
            assert (x2.dtype, y2.dtype, w2.dtype) == (torch.float32, torch.int64, torch.float32)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_sampler_goes_on_in_the_middle_of_an_epoch(noise, done):
    data, model = noise(50), network()
    train = AugmentSubset(data, "rotate30")

    def fresh():
        return AugmentSampler(data, selector="max-loss", budget=10, every=2)

    sampler = fresh()
    sampler.set_epoch(2)
    sampler.reselect(model)
    batches = iter(DataLoader(train, batch_size=16, sampler=sampler))
    for _ in range(done):
        next(batches)
    state = json.loads(json.dumps(sampler.state_dict()))
    left = list(batches)
    model[1].weight.data.neg_()  # a model that would choose otherwise
    again = fresh()
    again.load_state_dict(state)
    again.set_epoch(2)  # as the loop of a user does who begins at sampler.epoch
    if done:
        assert again.reselect(model) is None
    assert len(again) == 60 - 16 * done
    for (x, y, w), (x2, y2, w2) in zip(left, DataLoader(train, batch_size=16, sampler=again), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
        assert torch.equal(w, w2)
    again.set_epoch(3)
    assert len(again) == 60
    assert [item.epoch for item in again] == [3] * 60


def test_an_epoch_that_was_left_early_does_not_shorten_the_next(noise):
    sampler = AugmentSampler(noise())
    next(iter(sampler))
    sampler.set_epoch(1)
    assert len(list(sampler)) == 80


def test_items_name_what_they_are(numbered):
    items = list(AugmentSampler(numbered(), selector="random", budget=4))
    assert all(isinstance(item, Item) and item.epoch == 0 for item in items)
    assert sum(item.copy > 0 for item in items) == 4


def test_a_loop_of_ones_own_trains():
    """The loop of the README."""
    data, policy = al.load("digits"), parse("translate1-rotate15")
    model = al.networks.create("cnn", channels=1, classes=10, size=(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    epochs_told = []

    train = AugmentSubset(data, policy)
    sampler = AugmentSampler(data, selector="coreset", budget=0.1, every=2)
    loader = DataLoader(train, batch_size=64, sampler=sampler)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        epochs_told += [epoch] * (sampler.reselect(model) is not None)
        for x, y, weight in loader:
            loss = (functional.cross_entropy(model(x), y, reduction="none") * weight).mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()

    assert epochs_told == [0, 2]
    assert len(loader) == 18  # 1,100 images
    assert float(al.training.correct(model, al.load("digits", split="test")).float().mean()) > 0.85


class Pairs(Dataset):
    """A data set of a user's own: no tensor to index, an image at a time."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.full((3, 8, 8), index / 24), index % 3


def test_a_plain_torch_dataset_is_taken():
    train, sampler = AugmentSubset(Pairs(), "flip"), AugmentSampler(Pairs(), selector="random", budget=0.25)
    x, y, weight = next(iter(DataLoader(train, batch_size=30, sampler=sampler)))
    assert x.shape == (30, 3, 8, 8)
    assert torch.equal((x[:, 0, 0, 0] * 24).round().long() % 3, y)
    assert float(weight.mean()) == pytest.approx(1)
