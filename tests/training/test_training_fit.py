"""`fit`: against a loop written out, its steps, its seconds, and what it leaves alone."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import auglean as al
from auglean.errors import InputError
from auglean.policies import Policy
from auglean.randomness import derive
from auglean.signals import Recorder
from auglean.training import AugmentSampler, AugmentSubset, Diverged, Hooks, Recipe, fit, weighted_loss

FAST = Recipe(batch_size=16, lr=0.05)


def linear(seed=0, classes=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


class Dropped(nn.Module):
    """Dropout and batch norm: draws while it trains, and has state beside its weights."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.last = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, x):
        x = functional.dropout(self.norm(self.hidden(x.flatten(1))), 0.3, self.training)
        return self.last(x)


def dropped(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Dropped()


def weights(model):
    return torch.cat([t.double().flatten() for t in model.state_dict().values()])


def plain(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# against a loop written out


def plain_loop(model, data, *, policy, weak, selector, budget, role, mode, every, steps, recipe, seed):
    """Train by the book: whole epochs in a row, cut into batches, plain SGD written out."""
    train = AugmentSubset(data, policy, weak=weak, seed=derive(seed, "images"))
    sampler = AugmentSampler(
        data, selector=selector, budget=budget, every=every, role=role, weights=mode, seed=derive(seed, "sampler")
    )
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    rows, epoch = [], 0
    for step in range(steps):
        while len(rows) < recipe.batch_size:
            sampler.set_epoch(epoch)
            sampler.reselect(model)
            rows, epoch = rows + sampler.plan().items(), epoch + 1
        batch, rows = rows[: recipe.batch_size], rows[recipe.batch_size :]
        items = train.__getitems__(batch)
        x, y = torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])
        log_p = torch.log_softmax(model(x), 1)
        loss = -sum(item.weight * log_p[i, y[i]] for i, item in enumerate(batch)) / recipe.batch_size
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        rising = math.ceil(recipe.warmup * steps)
        rate = recipe.lr * (
            (step + 1) / rising if step < rising else (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2
        )
        with torch.no_grad():
            for p, g, v in zip(model.parameters(), gradients, velocity, strict=True):
                v.mul_(recipe.momentum).add_(g + recipe.weight_decay * p)
                p.sub_(rate * v)
    return model


@pytest.mark.parametrize(
    ("selector", "role", "mode", "n"),
    [
        (None, "full+subset", "sampled", 40),
        ("max-loss", "full+subset", "sampled", 40),
        ("coreset", "full+subset", "raw", 40),
        ("coreset", "subset+subset", "mean1", 40),
        ("random-each-epoch", "random+subset", "none", 40),
        ("coreset", "subset", "sampled", 12),  # epochs of six images: a batch takes from several
    ],
)
def test_fit_is_the_loop_written_out(noise, selector, role, mode, n):
    data, recipe = noise(n), Recipe(batch_size=16, lr=0.2, warmup=0.2)
    options = {"policy": "rotate30", "weak": "translate2", "selector": selector, "role": role, "every": 2}
    options |= {"budget": None if selector is None else 0.5, "steps": 13, "recipe": recipe, "seed": 4}
    expected = plain_loop(linear(), data, mode=mode, **options)
    found = fit(linear(), data, weights=mode, **options)
    torch.testing.assert_close(weights(found.model), weights(expected), rtol=1e-5, atol=1e-6)
    assert (weights(found.model) - weights(linear())).norm() > 0.1


class Watcher(nn.Module):
    """Notes which examples each training batch holds; the pixels of `numbered` images are their number."""

    def __init__(self):
        super().__init__()
        self.last, self.batches = nn.Linear(64, 4), []

    def forward(self, x):
        if self.training:
            self.batches.append((x[:, 0, 0, 0] * 255).round().long().tolist())
        return self.last(x.flatten(1))


@pytest.mark.parametrize(("n", "batch"), [(40, 16), (9, 32), (5, 1), (8, 8)])
def test_batches_follow_one_another_through_the_epochs_without_a_gap(numbered, n, batch):
    """Every batch is full, also where an epoch holds fewer images than one."""
    data, model = numbered(n), Watcher()
    still = al.as_policy(lambda x: x.clone())
    result = fit(model, data, policy=still, selector="random", budget=3, steps=11, recipe=Recipe(batch_size=batch))
    assert [len(rows) for rows in model.batches] == [batch] * 11
    sampler = AugmentSampler(data, selector="random", budget=3, seed=derive(0, "sampler"))
    items = []
    for epoch in range(11 * batch // n + 1):
        sampler.set_epoch(epoch)
        sampler.reselect()
        items += sampler.plan().items()
    items = items[: 11 * batch]
    assert [i for rows in model.batches for i in rows] == [item.id for item in items]
    assert result.images_augmented == sum(item.copy > 0 for item in items)
    assert result.steps == 11


def test_images_augmented_are_those_that_the_policy_saw(noise):
    seen = []

    class Watch(Policy):
        def _draw(self, n, generator, device):
            return {"unused": torch.zeros(n)}

        def _operate(self, x, params):
            seen.append(len(x))
            return x

    result = fit(linear(), noise(), policy=Watch(), selector="max-loss", budget=0.3, steps=20, recipe=FAST)
    assert result.images_augmented == sum(seen) > 0


def test_no_policy_means_no_copies(numbered):
    model = Watcher()
    result = fit(model, numbered(16), steps=2, recipe=Recipe(batch_size=16))
    assert result.images_augmented == 0
    assert [sorted(rows) for rows in model.batches] == [list(range(16))] * 2


def test_history_has_the_rate_of_its_step_and_ends_with_the_last(noise):
    recipe = Recipe(batch_size=16, lr=1.0, schedule="multistep", warmup=0.25)
    found = fit(linear(), noise(), steps=16, eval_every=3, recipe=recipe, validation=noise())
    assert [row["step"] for row in found.history] == [3, 6, 9, 12, 15, 16]
    assert [row["lr"] for row in found.history] == pytest.approx([0.75, 1, 0.1, 0.1, 0.01, 0.01])
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4, 5, 6]  # of 40 images: batch 3 reaches into epoch 1
    again = fit(linear(), noise(), steps=100)
    assert [row["step"] for row in again.history] == list(range(10, 101, 10))


def test_validation_sets_have_their_columns(noise):
    sets = {"one": noise(), "other": torch.utils.data.TensorDataset(torch.rand(8, 1, 8, 8), torch.arange(8) % 4)}
    found = fit(linear(), noise(), steps=40, validation=sets, recipe=Recipe(lr=0.5))
    right = (found.model(sets["one"].images / 255).argmax(1) == sets["one"].labels).float().mean()
    assert found.history[-1]["one"] == pytest.approx(float(right))
    assert 0 <= found.history[-1]["other"] <= 1
    assert "accuracy" not in found.history[-1]


# what is fixed by the seed, and what is left alone


@pytest.mark.parametrize("selector", [None, "coreset", "random-each-epoch"])
def test_a_seed_fixes_everything(noise, selector):
    def run(seed):
        torch.rand(seed + 3)  # the state of the process must not matter
        return fit(
            dropped(), noise(), policy="rotate30", selector=selector, budget=0.2 if selector else None, steps=12,
            seed=seed, recipe=FAST, validation=noise(12),
        )  # fmt: skip

    first, again, other = run(0), run(0), run(1)
    assert torch.equal(weights(first.model), weights(again.model))
    assert plain(first.history) == plain(again.history)
    assert first.gradient_errors == again.gradient_errors
    assert not torch.allclose(weights(first.model), weights(other.model))


def test_networks_by_name_start_from_the_seed(noise):
    first, again, other = (fit("mlp", noise(), steps=1, seed=seed, recipe=Recipe(lr=1e-9)) for seed in (0, 0, 1))
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.allclose(weights(first.model), weights(other.model))


def process_state():
    return torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()


def same(one, other):
    return torch.equal(one[0], other[0]) and one[1:] == other[1:]


def test_the_random_state_of_the_process_is_left_alone(noise):
    before = process_state()
    fit(dropped(), noise(), policy="rotate30", selector="coreset", budget=0.2, steps=5, recipe=FAST, validation=noise())
    assert same(before, process_state())

    def fail(step):
        raise RuntimeError("from a hook")

    with pytest.raises(RuntimeError, match="from a hook"):
        fit(dropped(), noise(), policy="rotate30", steps=5, hooks=Hooks(progress=fail))
    assert same(before, process_state())
    with pytest.raises(Diverged):
        fit(dropped(), noise(), steps=50, recipe=Recipe(lr=1e30))
    assert same(before, process_state())


def test_a_module_is_trained_in_place_and_comes_back_in_eval_mode(noise):
    model = dropped()
    before = weights(model)
    result = fit(model, noise(), steps=3, recipe=FAST)
    assert result.model is model
    assert not model.training
    assert not torch.equal(weights(model), before)
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_weights_stay(noise):
    model = dropped()
    model.hidden.requires_grad_(False)
    before = model.hidden.weight.clone()
    fit(model, noise(), steps=3, recipe=FAST)
    assert torch.equal(model.hidden.weight, before)


def test_diagnosis_changes_nothing_but_what_is_told(noise):
    options = {"policy": "rotate30", "selector": "random", "budget": 0.2, "steps": 12, "recipe": FAST, "every": 2}
    dumb, told = (fit(dropped(), noise(), diagnose=diagnose, **options) for diagnose in (False, True))
    assert torch.equal(weights(dumb.model), weights(told.model))
    assert dumb.gradient_errors == ()
    assert [epoch for epoch, _ in told.gradient_errors] == [0, 2]  # 12 batches of 16 are four epochs of 48
    assert all(error > 0 for _, error in told.gradient_errors)


@pytest.mark.parametrize(
    ("selector", "start", "every", "epochs"),
    [("max-loss", 0, 2, [0, 2, 4, 6]), ("max-loss", 3, 3, [3, 6]), ("random-each-epoch", 5, 3, [5, 6, 7])],
)
def test_choices_are_made_when_due(noise, selector, start, every, epochs):
    told = []
    hooks = Hooks(selected=lambda epoch, selection: told.append((epoch, len(selection))))
    options = {"policy": "flip", "selector": selector, "budget": 8, "start": start, "every": every}
    result = fit(linear(), noise(), steps=8 * 3, recipe=Recipe(batch_size=16), hooks=hooks, **options)  # 48 per epoch
    assert told == [(epoch, 8) for epoch in epochs]
    assert len(result.selection) == 8


# signals from the steps, and κ


def loop_with_recorder(model, data, *, steps, batch_size, lr, every, reselect_above=None):
    """Train by the book, and choose by what the steps said: batches straddle epochs, and a choice comes before the
    rest of an epoch that is shorter than a batch."""
    train = AugmentSubset(data, "rotate30", weak="flip", seed=derive(0, "images"))
    options = {"selector": "coreset-last-layer", "budget": 9, "every": every, "reselect_above": reselect_above}
    sampler = AugmentSampler(data, signals="steps", seed=derive(0, "sampler"), **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    plan, epoch, chosen, measured = None, 0, {}, []
    with sampler.recorder.watch(model, data):
        for step in range(steps):
            while plan is None or len(plan) < batch_size:
                sampler.set_epoch(epoch)
                if sampler.reselect(model):
                    chosen[epoch] = sampler.selection.indices.tolist()
                measured += [(step, epoch, *m) for m in sampler.measured]
                plan, epoch = sampler.plan() if plan is None else plan.join(sampler.plan()), epoch + 1
            batch, plan = plan[:batch_size], plan[batch_size:]
            x, y = train.render(batch)
            logits = model(x)
            sampler.recorder.record(batch.ids, logits, y, copy=batch.copy)
            optimizer.zero_grad()
            weighted_loss(logits, y, batch.weight).backward()
            optimizer.step()
    return chosen, measured


@pytest.mark.parametrize("threshold", [None, 0.7])
def test_signals_from_the_steps_are_those_of_a_loop_written_out(noise, threshold):
    recipe = Recipe(batch_size=16, lr=0.3, momentum=0, weight_decay=0, schedule="constant", warmup=0)
    options = {"every": 3, "reselect_above": threshold}
    chosen, measured = loop_with_recorder(linear(), noise(), steps=40, batch_size=16, lr=0.3, **options)
    told, rows = {}, []
    hooks = Hooks(selected=lambda epoch, s: told.update({epoch: s.indices.tolist()}), measured=rows.append)
    options |= {"selector": "coreset-last-layer", "budget": 9, "policy": "rotate30", "weak": "flip"}
    result = fit(linear(), noise(), steps=40, recipe=recipe, signals="steps", hooks=hooks, **options)
    assert told == chosen
    assert len({tuple(rows) for rows in told.values()}) > 2
    assert tuple(rows) == result.kappa
    assert [(row["step"], row["epoch"], row["reselected"]) for row in rows] == [m[:2] + m[3:] for m in measured]
    assert [row["kappa"] for row in rows] == pytest.approx([m[2] for m in measured], rel=1e-4)
    assert all(row["staleness"]["never"] == 0 for row in rows)
    assert 0.9 < max(row["staleness"]["epochs"] for row in rows) < 1 + 16 / 49 + 1e-9  # an epoch and a step
    other = fit(linear(), noise(), steps=40, recipe=recipe, **options)
    assert not torch.equal(weights(other.model), weights(result.model))
    assert "staleness" not in other.kappa[0]


def test_between_choices_kappa_is_asked_at_each_epoch_if_there_is_a_threshold(noise):
    options = {"policy": "flip", "selector": "coreset", "budget": 8, "every": 4, "start": 1, "recipe": FAST}
    silent = fit(linear(), noise(), steps=18, **options)  # six epochs of 48
    assert [(row["epoch"], row["reselected"]) for row in silent.kappa] == [(1, True), (5, False), (5, True)]
    assert silent.kappa[0]["step"] == 3
    never = fit(linear(), noise(), steps=18, reselect_above=1e6, **options)
    assert torch.equal(weights(never.model), weights(silent.model))
    assert [(r["epoch"], r["reselected"]) for r in never.kappa if r not in silent.kappa] == [
        (2, False), (3, False), (4, False)
    ]  # fmt: skip
    always = fit(linear(), noise(), steps=18, reselect_above=1e-6, **options)
    each = [(epoch, new) for epoch in (2, 3, 4, 5) for new in (False, True)]
    assert [(row["epoch"], row["reselected"]) for row in always.kappa] == [(1, True), *each]
    assert [epoch for epoch, _ in always.gradient_errors] == [1, 2, 3, 4, 5]


def test_random_is_measured_at_nobodys_choice(noise):
    options = {"policy": "flip", "selector": "random", "budget": 8, "every": 4, "recipe": FAST, "steps": 15}
    told = fit(linear(), noise(), diagnose=True, reselect_above=1e-6, **options)
    assert [(row["epoch"], row["reselected"]) for row in told.kappa] == [
        (0, True), (1, False), (2, False), (3, False), (4, False)
    ]  # fmt: skip
    assert fit(linear(), noise(), reselect_above=1e-6, **options).kappa == ()


def test_a_gradient_of_nothing_has_no_kappa():
    """Two images of one class each way: their gradients cancel, and one alone is infinitely far from their sum."""
    data = al.ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2))
    model = linear(classes=2)
    torch.nn.init.zeros_(model[1].weight), torch.nn.init.zeros_(model[1].bias)
    rows = fit(model, data, policy="flip", selector="max-loss", budget=1, steps=1, reselect_above=0.5).kappa
    assert rows[0]["kappa"] is None


# seconds


class Ticks:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(("selector", "choices"), [("random", 0), ("max-loss", 2)])
def test_seconds_are_charged_to_what_took_them(noise, monkeypatch, selector, choices):
    """Policy 1 s, training pass 10 s, any other pass 100 s: only a selector that asks pays for passes of its own."""
    ticks, calls = Ticks(), []
    monkeypatch.setattr("auglean.training.clock.time", ticks)

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64, 4)

        def forward(self, x):
            ticks.now += 10 if self.training else 100
            return self.last(x.flatten(1))

    class SlowPolicy(Policy):
        def _draw(self, n, generator, device):
            return {"unused": torch.zeros(n)}

        def _operate(self, x, params):
            calls.append(len(x))
            ticks.now += 1
            return x

    before = ticks.now
    al.collect(Slow(), noise())
    asking = ticks.now - before
    options = {"policy": SlowPolicy(), "budget": 8, "every": 2, "steps": 12, "recipe": FAST}  # four epochs of 48
    options |= {"validation": noise(), "eval_every": 1, "diagnose": True}
    result = fit(Slow(), noise(), selector=selector, **options)
    expected = {"select": choices * asking, "augment": len(calls), "train": 120}
    assert dict(result.seconds) == {**expected, "total": sum(expected.values())}
    assert result.history[-1]["seconds"] == result.seconds["total"]
    assert [row["seconds"] for row in result.history] == sorted(row["seconds"] for row in result.history)


def test_recording_and_probing_are_charged_to_choosing(noise, monkeypatch):
    """A training pass takes 10 s, a pass over all 100 s, one over a part 1 s, recording a step 2 s."""
    ticks = Ticks()
    monkeypatch.setattr("auglean.training.clock.time", ticks)

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64, 4)

        def forward(self, x):
            ticks.now += 10 if self.training else 100 if len(x) == 600 else len(x) != 2
            return self.last(x.flatten(1))

    class SlowRecorder(Recorder):
        def record(self, *args, **options):
            ticks.now += 2
            super().record(*args, **options)

    monkeypatch.setattr("auglean.training.augmenting.Recorder", SlowRecorder)
    monkeypatch.setattr(
        "auglean.training.augmenting.collect", lambda *a, **o: al.collect(*a, **{**o, "batch_size": 900})
    )
    options = {"selector": "max-loss", "budget": 40, "every": 3, "steps": 64, "recipe": Recipe(batch_size=50)}
    options |= {"policy": "flip"}  # 640 images an epoch, so five epochs; choices at 0 and 3
    assert fit(Slow(), noise(600), **options).seconds["select"] == 2 * 100
    probed = fit(Slow(), noise(600), reselect_above=1e6, **options)
    assert probed.seconds["select"] == 2 * 100 + 3 * 1
    assert probed.seconds["train"] == 64 * 10
    random = {**options, "selector": "random", "diagnose": True}
    unpaid = fit(Slow(), noise(600), reselect_above=1e6, **random)
    assert (len(unpaid.kappa), unpaid.seconds["select"]) == (5, 0)
    recorded = fit(Slow(), noise(600), signals="steps", **options)
    # before the first step a pass in two batches, and later one for those that wait at the end of an epoch
    assert recorded.seconds["select"] == 64 * 2 + 2 * 1 + 1
    assert recorded.seconds["train"] == 64 * 10


def test_no_policy_costs_no_augmentation_seconds(noise):
    result = fit(linear(), noise(), steps=5, recipe=FAST)
    assert (result.seconds["select"], result.seconds["augment"]) == (0, 0)
    assert result.seconds["train"] == result.seconds["total"] > 0


# what cannot be used


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"reselect_above": -1.0}, "reselect_above is -1.0"),
        ({"signals": "stebs"}, "did you mean 'steps'"),
        ({"selector": "coreset", "budget": 8, "role": "subset", "signals": "steps"}, "the role 'subset' leaves out"),
        ({"eval_every": 0}, "eval_every is 0"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"policy": "rotat15"}, "did you mean 'rotate'"),
        ({"weak": "rotat15"}, "did you mean 'rotate'"),
        ({"selector": "corset", "budget": 0.1}, "did you mean 'coreset'"),
        ({"selector": "coreset"}, "needs a budget"),
        ({"selector": "coreset", "budget": 0.0}, "budget is 0.0"),
        ({"selector": "coreset", "budget": -3}, "budget is -3"),
        ({"selector": "coreset", "budget": 1.5}, "over 1 as a fraction"),
        ({"selector": "coreset", "budget": 41}, "over the 40 examples"),
        ({"role": "whole"}, "Unknown role"),
        ({"weights": "heavy"}, "Unknown weight mode"),
        ({"every": 0}, "every 0 epochs"),
        ({"validation": al.ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4))}, "validation images"),
        ({"validation": al.ImageSet(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6))}, "of 6 classes"),
    ],
)
def test_bad_options_are_told_before_a_step_is_taken(noise, options, word):
    model = linear()
    before = weights(model)
    with pytest.raises(InputError, match=word):
        fit(model, noise(), **{"steps": 3, **options})
    assert torch.equal(weights(model), before)


def test_the_network_must_fit_the_data(noise):
    with pytest.raises(InputError, match="gives 5 outputs but the data have 4 classes"):
        fit(linear(classes=5), noise(), steps=3)
    with pytest.raises(InputError, match="did you mean 'resnet"):
        fit("resnet21", noise(), steps=3)


def test_a_class_without_images_is_named(noise):
    data = al.ImageSet(noise().images, noise().labels, ("ant", "bee", "cat", "dog", "eel"))
    with pytest.raises(InputError, match="'eel'"):
        fit("mlp", data, steps=3)


def test_classes_must_be_numbered_alike(noise):
    train = al.ImageSet(noise().images, noise().labels, ("ant", "bee", "cat", "dog"))
    other = al.ImageSet(noise().images, noise().labels, ("ant", "cat", "bee", "dog"))
    with pytest.raises(InputError, match="Class 1 is 'bee' in the training images but 'cat' in the validation images"):
        fit("mlp", train, steps=3, validation=other)
    fit("mlp", train, steps=1, validation=noise())  # numbers for names say nothing else


# losses and weights that are no numbers


class Poisoned(nn.Module):
    """Gives NaN, or a NaN gradient, at one training pass."""

    def __init__(self, forward_at=None, backward_at=None):
        super().__init__()
        self.last = nn.Linear(64, 4)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.passes, self.forward_at, self.backward_at = 0, forward_at, backward_at

    def forward(self, x):
        x = x.flatten(1)
        self.passes += self.training
        if self.training and self.passes == self.forward_at:
            x = x * math.nan
        y = self.last(x)
        if self.training and self.passes == self.backward_at:
            y.register_hook(lambda gradient: gradient * math.nan)
        return y


def test_a_loss_that_is_no_number_is_told_with_its_step(noise, tmp_path):
    rows = []
    with pytest.raises(Diverged, match="The loss is not a number at step 7 of 20; lower the learning rate"):
        fit(Poisoned(7), noise(), steps=20, eval_every=3, hooks=Hooks(row=rows.append))
    assert [row["step"] for row in rows] == [3, 6]


def test_the_last_good_state_is_kept_and_can_be_gone_on_from(noise, tmp_path):
    options = {"policy": "rotate30", "steps": 20, "eval_every": 3, "recipe": FAST}
    path = tmp_path / "state.safetensors"
    with pytest.raises(Diverged, match=r"step 7 of 20; the last good state is in .*state\.safetensors"):
        fit(Poisoned(7), noise(), checkpoint=path, **options)
    whole = fit(Poisoned(), noise(), **options)
    resumed = []
    mended = fit(Poisoned(), noise(), checkpoint=path, resume=True, hooks=Hooks(resumed=resumed.append), **options)
    assert resumed == [6]
    assert torch.isfinite(weights(mended.model)).all()
    assert torch.equal(weights(mended.model), weights(whole.model))


@pytest.mark.parametrize("at", [3, 7, 20])
def test_a_step_that_spoils_the_weights_is_found_out(noise, tmp_path, at):
    """Before they are kept, judged or returned: after the 3rd step (an evaluation) and after the 20th (the last)."""
    path = tmp_path / "state.safetensors"
    expected = "weights are not finite after step" if at != 7 else "loss is not a number at step 8"
    rows = []
    with pytest.raises(Diverged, match=expected):
        fit(Poisoned(None, at), noise(), steps=20, eval_every=3, checkpoint=path, hooks=Hooks(row=rows.append))
    assert [row["step"] for row in rows] == list(range(3, at, 3))
    assert path.exists() == (at > 3)


def test_spoilt_weights_choose_nobody(noise):
    """The 3rd batch ends an epoch of 48 images: the selector would be asked next."""
    with pytest.raises(Diverged, match="weights are not finite after step 3 of 20"):
        fit(Poisoned(None, 3), noise(), policy="flip", selector="max-loss", budget=8, every=1, steps=20, recipe=FAST)


def test_a_huge_learning_rate_diverges_and_says_so(noise):
    with pytest.raises(Diverged, match=r"of 200; lower the learning rate \(it was 1e\+30\)"):
        fit("cnn", noise(), steps=200, recipe=Recipe(lr=1e30))


def test_a_network_may_be_in_float64(noise):
    options = {"policy": "rotate30", "selector": "max-loss", "budget": 0.2, "steps": 6, "recipe": FAST}
    wide, narrow = fit(linear().double(), noise(), **options), fit(linear(), noise(), **options)
    assert next(wide.model.parameters()).dtype == torch.float64
    torch.testing.assert_close(weights(wide.model), weights(narrow.model), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("selector", [None, "coreset", "max-loss", "influence"])
def test_gpu_trains_as_a_cpu_does(selector):
    data = al.load("digits")
    results = {
        device: fit(
            "cnn", data, policy="translate1-rotate10", selector=selector, budget=0.2, steps=150, seed=1, device=device
        )
        for device in ("cpu", "cuda")
    }
    found = {device: al.collect(result.model, data, device="cpu") for device, result in results.items()}
    accuracy = {device: float((signals.margin > 0).float().mean()) for device, signals in found.items()}
    assert accuracy["cuda"] > 0.8
    assert accuracy["cuda"] == pytest.approx(accuracy["cpu"], abs=0.05)
