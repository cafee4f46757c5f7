"""One matching step: what is shared, what is kept, what does not matter, and batch norms."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

import auglean as al
from auglean.condensation import DC, DM, DSA
from auglean.condensation.builders import Builder
from auglean.condensation.engine import Engine, State
from auglean.condensation.starting import starting_images

NETWORK = "convnet-w8-d2"
METHODS = [DC(pool=3, outer=2, inner=1), DSA(pool=3, outer=2, inner=1), DM(pool=3)]


@pytest.fixture(scope="module")
def digits():
    return al.load("digits", split="train").subset(torch.arange(300))


def make(data, method, *, network=NETWORK, schedule="pooled", per_class=2, steps=6, seed=0, **options):
    policy = method.policy(data)
    builder = Builder(network, data, policy, seed=seed)
    return Engine(
        data, method, builder, policy, schedule=schedule, per_class=per_class, steps=steps, seed=seed, **options
    )


def start(engine):
    images = engine.standardise(starting_images(engine.data, engine.per_class, seed=engine.seed))
    return State(images, torch.zeros_like(images))


def after(engine, steps):
    state = start(engine)
    for _ in range(steps):
        state, _ = engine.advance(state)
    return state.images


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("schedule", ["pooled", "paper"])
def test_the_seed_fixes_every_bit_and_nothing_global_is_touched(digits, method, schedule):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), torch.get_num_threads()
    one, other, third = (after(make(digits, method, schedule=schedule, seed=seed), 2) for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    assert torch.get_num_threads() == before[3]


@pytest.mark.parametrize("method", [DSA(pool=1), DM(pool=1)], ids=lambda method: method.name)
def test_synthetic_copies_of_the_real_images_match_them(digits, method):
    """Both sides share the draw: the same images give the same target, bit by bit, and no pull at all."""
    engine = make(digits, method, micro_batch=64)
    network, path, label = engine.network(0), ("pool", 0), 3
    engine.policy = al.policies.parse("rotate15-translate2")  # moves every image, whatever is drawn
    chosen = engine.builder.members(label, 20, "real", *path)
    pixels = digits.batch(chosen)[0].float() / 255
    real = torch.cat(list(engine._pieces(chosen, path, label)))
    assert torch.equal(engine._augment(pixels, path, label), real)
    assert not torch.equal(engine._augment(pixels, path, 4), real)  # the wrong twin: another class draws its own
    assert not torch.equal(engine._augment(pixels, ("pool", 1), label), real)
    target = engine.target(network, path, label, 20)
    _, distance = engine.pull(network, path, label, engine.standardise(pixels), target)
    _, apart = engine.pull(network, ("pool", 1), label, engine.standardise(pixels), target)
    assert float(distance) < 1e-4 < 10 * float(apart)
    assert float(apart) > 20 * float(distance)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_kept_targets_are_those_computed_anew(digits, method):
    engine, anew = make(digits, method), make(digits, method)
    state = other = start(engine)
    for _ in range(6):  # two cycles through a pool of 3
        anew._targets.clear()
        anew._networks.clear()
        state, loss = engine.advance(state)
        other, same = anew.advance(other)
        assert loss == same
    assert torch.equal(state.images, other.images)
    assert engine.passed["real"] < anew.passed["real"]
    for (entry, label), kept in engine._targets.items():
        found = anew.target(anew.network(entry), ("pool", entry), label, anew.real_batch)
        assert all(torch.equal(a, b) for a, b in zip(kept, found, strict=True))


def test_a_cycle_goes_through_the_pool_once(digits):
    engine = make(digits, DM(pool=3), steps=9)
    entries = [next(engine._pooled(step))[2] for step in range(9)]
    assert [sorted(entries[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len({tuple(entries[i : i + 3]) for i in (0, 3, 6)}) > 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_order_of_classes_and_the_size_of_pieces_do_not_matter(digits, method, monkeypatch):
    whole = after(make(digits, method), 3)

    def backwards(run, items):
        return [run(item) for item in reversed(items)][::-1]

    monkeypatch.setattr("auglean.condensation.engine.shared_map", backwards)
    assert torch.equal(after(make(digits, method), 3), whole)
    monkeypatch.undo()
    pieces = after(make(digits, method, micro_batch=5), 3)
    assert not torch.equal(pieces, whole)
    # a ReLU at the verge of zero may go either way, which a cosine of a small row amplifies
    assert float((pieces - whole).norm()) < 1e-3 * float((whole - start(make(digits, method)).images).norm())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_step_is_sgd_on_the_published_sum(digits, method):
    """By the paper's schedule: gradients of the plain sum, written without the engine's shortcuts."""
    method = method if method.name == "DM" else replace(method, outer=1)
    engine = make(digits, method, schedule="paper", per_class=1)
    images = start(engine).images
    moved = engine.advance(State(images, torch.zeros_like(images)))[0].images
    network = engine.builder.build("fresh", 0)
    path = ("fresh", 0, 0)
    expected = []
    for label in range(10):
        leaf = images[label].clone().requires_grad_()
        chosen = engine.builder.members(label, 256, "real", *path)
        real = engine._augment(digits.batch(chosen)[0].float() / 255, path, label)
        synthetic = engine._augment(engine.pixels(leaf), path, label)
        if method.name == "DM":
            loss = ((network.embed(real).mean(0) - network.embed(synthetic).mean(0)) ** 2).sum()
        else:
            sides = []
            for x in (real, synthetic):
                ce = nn.functional.cross_entropy(network.module(x), torch.full((len(x),), label))
                sides.append(torch.autograd.grad(ce, list(network.module.parameters()), create_graph=True))
            loss = al.condensation.gradient_distance([g.detach() for g in sides[0]], sides[1])
        loss.backward()
        expected.append(images[label] - method.lr * leaf.grad)
    expected = torch.stack(expected)
    assert float((moved - expected).norm()) < 1e-3 * float((expected - images).norm())


@pytest.mark.parametrize("side", [8, 28, 32])
def test_pooled_losses_are_scaled_to_the_reference(side):
    """The same pull at both schedules, but for the constant: images below 28×28 are moved less."""
    g = torch.Generator().manual_seed(0)
    images = al.ImageSet(
        torch.randint(0, 256, (20, 1, side, side), dtype=torch.uint8, generator=g), torch.arange(20) % 2
    )
    for method in (DSA(), DM()):
        pulls = []
        for schedule in ("pooled", "paper"):
            engine = make(images, method, schedule=schedule, per_class=2)
            network = engine.network(0)
            target = engine.target(network, ("pool", 0), 0, 10)
            pulls.append(engine.pull(network, ("pool", 0), 0, start(engine).images[0], target)[0])
        unit = 2048 / network.head.in_features if method.name == "DM" else 394 / (8 + 8 + 2)
        torch.testing.assert_close(pulls[0], 2 * unit * min(1, side**2 / 784) * pulls[1])


def test_published_loops():
    assert [DSA().loops(n) for n in (1, 10, 20, 30, 40, 50)] == [
        (1, 1),
        (10, 50),
        (20, 25),
        (30, 20),
        (40, 15),
        (50, 10),
    ]
    assert DC(outer=3, inner=2).loops(10) == (3, 2)
    assert DM().loops(50) == (1, 0)


def test_the_paper_trains_between_matches_but_not_after_the_last(digits, monkeypatch):
    engine = make(digits, DSA(outer=3, inner=2), schedule="paper")
    calls = []
    original = Builder.train

    def spy(self, network, images, labels, epochs, *path):
        before = [p.detach().clone() for p in network.module.parameters()]
        original(self, network, images, labels, epochs, *path)
        assert any(not torch.equal(a, b) for a, b in zip(before, network.module.parameters(), strict=True))
        assert not network.module.training
        calls.append((epochs, len(images), labels.tolist() == sorted(labels.tolist())))

    monkeypatch.setattr(Builder, "train", spy)
    engine.advance(start(engine))
    assert calls == [(2, 20, True)] * 2
    assert engine.passed == {
        "real": 3 * sum(min(256, n) for n in digits.counts.tolist()),
        "synthetic": 60,
        "training": 80,
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_images_and_matrices_are_differentiated(digits, method, monkeypatch):
    engine = make(digits, method, network="convnet-w8-d2-batch")
    network, state, asked, original = engine.network(0), start(engine), [], torch.autograd.grad

    def watched(outputs, inputs, *rest, **options):
        asked.extend([inputs] if isinstance(inputs, torch.Tensor) else inputs)
        return original(outputs, inputs, *rest, **options)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    engine.advance(state)
    images = [x for x in asked if x.shape == state.images.shape[1:]]
    matrices = [x for x in asked if x.ndim > 1 and x.shape != state.images.shape[1:]]
    assert len(images) == 10  # one for each class
    assert len(images) + len(matrices) == len(asked)
    assert bool(matrices) == (method.name != "DM")
    assert all(p.grad is None for net in engine._networks.values() for p in net.module.parameters())
    assert any(p.ndim == 1 for p in network.module.parameters())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_graph_of_a_class_is_gone_before_the_next(digits, method):
    engine = make(digits, method)
    network, state = engine.network(0), start(engine)
    targets = [engine.target(network, ("pool", 0), k, 8) for k in range(3)]
    seen, pulls = [], []
    for layer in network.module.modules():
        layer.register_forward_hook(lambda layer, given, out: seen.append(StorageWeakRef(out.untyped_storage())))
    for k in range(3):
        pulls.append(engine.pull(network, ("pool", 0), k, state.images[k], targets[k]))
        assert all(activation.expired() for activation in seen)
    assert len(seen) > 3 * 6
    assert not any(tensor.requires_grad for pull in pulls for tensor in pull)
    # the wrong twin: a distance that is not let go keeps what its derivative needs
    distance = engine.matching.distance(network, state.images[0].clone().requires_grad_(), 0, targets[0])
    assert distance.requires_grad
    assert not all(activation.expired() for activation in seen)


# ---- networks


def test_batch_norms_hold_class_balanced_real_statistics(digits):
    builder = Builder("convnet-w8-d2-batch", digits, None, seed=0)
    network = builder.build("pool", 0)
    norm = next(layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d))
    chosen = torch.cat([builder.members(k, 16, "statistics", "pool", 0) for k in range(10)])
    assert torch.bincount(digits.labels[chosen]).tolist() == [16] * 10
    with torch.no_grad():
        features = network.module.features[0](network.module.normalize(digits.batch(chosen)[0].float() / 255))
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)))
    assert norm.momentum == 0.1
    assert not norm.training


def test_a_class_of_few_images_weighs_as_much_in_batch_norms(digits):
    few = digits.subset(torch.cat([(digits.labels == 0).nonzero()[:20, 0], (digits.labels == 1).nonzero()[:4, 0]]))
    few = replace(few, class_names=("0", "1"))
    builder = Builder("convnet-w8-d2-batch", few, None, seed=0)
    network = builder.build("pool", 0)
    norm = next(layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d))

    def mean(rows):
        with torch.no_grad():
            return network.module.features[0](network.module.normalize(few.batch(rows)[0].float() / 255)).mean(
                (0, 2, 3)
            )

    chosen = [builder.members(k, 16, "statistics", "pool", 0) for k in range(2)]
    assert list(map(len, chosen)) == [16, 4]
    torch.testing.assert_close(norm.running_mean, (mean(chosen[0]) + mean(chosen[1])) / 2)
    pooled = mean(torch.cat(chosen))  # the wrong twin: each image weighs the same
    assert not torch.allclose(norm.running_mean, pooled, atol=1e-4)


def test_batch_norms_are_held_for_both_sides(digits):
    for method in (DSA(pool=1, outer=2, inner=1), DM(pool=1)):
        for schedule in ("pooled", "paper"):
            engine = make(digits, method, network="convnet-w8-d2-batch", schedule=schedule)
            state, _ = engine.advance(start(engine))
            assert torch.isfinite(state.images).all()
        network = engine.builder.build("pool", 0)
        norms = [layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d)]
        before = [norm.running_mean.clone() for norm in norms]
        engine.matching.prepare(network)
        target = engine.target(network, ("pool", 0), 0, 16)
        engine.pull(network, ("pool", 0), 0, start(engine).images[0], target)
        assert all(torch.equal(a, norm.running_mean) for a, norm in zip(before, norms, strict=True))


def test_pretrained_networks_know_the_data(digits):
    builder = Builder(NETWORK, digits, None, seed=0, lr=0.05)

    def accuracy(steps):
        network = builder.build("pool", 0, pretrain=steps)
        with torch.no_grad():
            logits = network.module(digits.images.float() / 255)
        return float((logits.argmax(1) == digits.labels).float().mean())

    assert accuracy(0) < 0.4
    assert accuracy(60) > 0.7
    engine = make(digits, DSA(pool=3, pretrain=8))
    steps = []
    engine.builder.build = lambda *path, pretrain=0: steps.append(pretrain) or builder.build(*path)
    for entry in range(3):
        engine.network(entry)
    assert steps == [0, 4, 8]


class Forked(nn.Module):
    """A head that is registered first, and dropout."""

    def __init__(self, seed):
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout())

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_network_in_float64_stays_in_float64(digits, method):
    def double(seed):
        return al.networks.create("convnet-w8-d1", channels=1, classes=10, size=(8, 8), seed=seed).double()

    engine = make(digits, method, network=double)
    target = engine.target(engine.network(0), ("pool", 0), 0, 16)
    assert {part.dtype for part in target} == {torch.float64}
    exact = after(engine, 2)
    single = after(make(digits, method, network=lambda seed: double(seed).float()), 2)
    moved = float((exact - start(engine).images).norm())
    assert 0 < float((exact - single).norm()) < 1e-2 * moved


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_any_module_that_ends_in_a_linear_layer_will_do(digits, method):
    engine = make(digits, method, network=Forked)
    network = engine.network(0)
    x = digits.images[:5].float() / 255
    assert torch.equal(network.embed(x), network.module.body(x))
    assert torch.isfinite(after(engine, 2)).all()
    assert torch.equal(after(make(digits, method, network=Forked), 2), after(make(digits, method, network=Forked), 2))


def test_bfloat16_is_close_and_says_how_close(digits):
    for method in (DSA(pool=2, real_batch=16), DM(pool=2, real_batch=16)):
        engine = make(digits, method, bfloat16=True)
        cosine = engine.agreement()
        assert 0.99 < cosine < 1.0
        assert engine.bfloat16
