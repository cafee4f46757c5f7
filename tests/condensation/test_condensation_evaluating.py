"""`evaluate`: one protocol for every row, honest baselines, and scores as they are defined."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import auglean as al
from auglean import networks
from auglean.condensation import ARCHITECTURES, Protocol, SyntheticSet, baseline, evaluate, fair_scores, learn
from auglean.condensation.protocol import Memory
from auglean.condensation.reading import read_sets
from auglean.data import split
from auglean.errors import InputError
from auglean.policies import Siamese
from auglean.training import Recipe, correct

QUICK = Protocol(epochs=30, epochs_augmented=40, whole_steps=50, rates=(0.01,))


@pytest.fixture(scope="module")
def digits():
    train, held = split(al.load("digits"), [0.1])
    return train, held, al.load("digits", split="test")


@pytest.fixture(scope="module")
def found(digits):
    train, held, test = digits
    sets = [baseline("random", train, 2, seed=seed) for seed in (90, 91)]
    sets = [replace(one, how={**one.how, "method": "DM", "seconds": 2.0}) for one in sets]
    options = {"networks": ["mlp", "convnet-w4-d1"], "baselines": ["random", "k-means"], "repeats": 2}
    return evaluate(sets, train, test, validation=held, protocol=QUICK, **options), sets


def test_scores_by_hand():
    unit = lambda value: (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))  # noqa: E731
    got = fair_scores(real=0.9, synthetic=0.6, random=0.4, augmented=(0.6, 0.4), plain=(0.5, 0.45))
    assert got.hlr == pytest.approx(0.3)
    assert got.ior == pytest.approx(0.2)
    assert got.lrs == pytest.approx(unit(0.5 * 0.2 - 0.5 * 0.3))
    assert got.ars == pytest.approx(unit(0.5 * 0.2 + 0.5 * 0.05))
    assert fair_scores(real=0.0, synthetic=1.0, random=0.0).lrs == pytest.approx(1.0)
    assert fair_scores(real=1.0, synthetic=0.0, random=1.0).lrs == pytest.approx(0.0)
    assert fair_scores(real=None, synthetic=0.5, random=0.5)[:3] == (None, 0.0, None)


def test_baselines_are_what_they_say(digits):
    train = digits[0]
    drawn = baseline("random", train, 3, seed=1)
    real = train.images.float().div(255).flatten(1)
    for name in ("random", "herding"):
        made = baseline(name, train, 3, seed=1)
        assert made.counts.tolist() == [3] * 10
        for image, label in zip(made.images.flatten(1), made.labels, strict=True):
            hits = (real == image).all(1).nonzero().flatten()
            assert any(train.labels[i] == label for i in hits)
        assert len(made.images.flatten(1).unique(dim=0)) == 30
    assert torch.equal(drawn.images, baseline("random", train, 3, seed=1).images)
    assert not torch.equal(drawn.images, baseline("random", train, 3, seed=2).images)
    mean = baseline("class-mean", train, 3)
    assert mean.counts.tolist() == [1] * 10
    assert torch.allclose(mean.images[4].flatten(), real[train.labels == 4].mean(0), atol=1e-6)
    centres = baseline("k-means", train, 3).images[12:15].flatten(1)
    mine = real[train.labels == 4]
    near = torch.cdist(mine, centres).argmin(1)
    for k in range(3):  # a centre is the mean of those that it is nearest to
        assert torch.allclose(centres[k], mine[near == k].mean(0), atol=0.05)
    with pytest.raises(InputError, match="did you mean 'herding'"):
        baseline("herdin", train, 1)
    with pytest.raises(InputError, match="images of class '7'"):
        baseline("herding", train, 500)


def test_learn_is_sgd_on_whole_passes():
    g = torch.Generator().manual_seed(0)
    images, labels = torch.rand(70, 1, 8, 8, generator=g), torch.arange(70) % 2
    data = SyntheticSet(images, labels, ("a", "b"), (0.5,), (0.5,))
    recipe = Recipe(batch_size=100, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="step", warmup=0.0)
    network = networks.create("convnet-w4-d1", channels=1, classes=2, size=(8, 8)).double()
    by_hand = networks.create("convnet-w4-d1", channels=1, classes=2, size=(8, 8)).double()
    before = torch.get_rng_state()
    learn(network, data, steps=4, recipe=recipe)
    assert torch.equal(torch.get_rng_state(), before)
    for lr in (0.1, 0.1, 0.01, 0.01):
        loss = nn.functional.cross_entropy(by_hand(images.double()), labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(by_hand.parameters(), gradients, strict=True):
                weight -= lr * gradient
    for one, other in zip(network.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_learn_takes_batch_norm_in_one_piece_and_repeats_itself():
    data = al.load("digits").subset(range(64))
    policy = Siamese("crop_rotate", height=8, mean=[0.3], std=[0.3])

    def weights(seed):
        network = networks.create("convnet-w4-d1-batch", channels=1, classes=10, size=(8, 8))
        return learn(network, data, steps=3, policy=policy, seed=seed).state_dict()

    first = weights(1)
    assert first["features.1.num_batches_tracked"] == 3
    assert all(torch.equal(value, weights(1)[name]) for name, value in first.items())
    assert not torch.equal(first["classifier.weight"], weights(2)["classifier.weight"])


def test_rows_of_one_protocol(found, digits):
    result, sets = found
    assert [(row["name"], row["augmented"]) for row in result.rows if row["network"] == "mlp"] == [
        (name, way) for way in (False, True) for name in ("random", "k-means", "dm", "whole")
    ]
    row = result.row("dm")
    assert (row["network"], row["images"], row["steps"], row["rate"]) == ("mlp", 20, 40, 0.01)
    assert row["accuracy"]["mean"] == pytest.approx(sum(row["accuracy"]["values"]) / 2)
    assert len(row["accuracy"]["values"]) == len(sets)
    assert len(result.row("random")["accuracy"]["values"]) == 3
    assert row["seconds_made"] == 2.0
    assert row["bytes"] == 20 * 64 * 4
    whole = result.row("whole")
    assert (whole["images"], whole["steps"], whole["relative"]) == (len(digits[0]), 50, 1.0)
    assert row["relative"] == pytest.approx(row["accuracy"]["mean"] / whole["accuracy"]["mean"])
    assert whole["accuracy"]["mean"] > row["accuracy"]["mean"] > 0.2
    assert "dm on mlp: HLR" in repr(result)


def test_accuracy_is_that_of_the_images_as_they_are(found, digits):
    """Train the first network by hand: same weights, same images, last epoch."""
    result, sets = found
    train, _, test = digits
    from auglean.randomness import derive
    from auglean.training import new_network

    values = []
    for j in range(2):
        path = derive(0, "evaluate", 0, j)
        network = learn(new_network("mlp", train, path), sets[0], steps=30, seed=path)
        values.append(float(correct(network, test).double().mean()))
    assert result.row("dm", augmented=False)["accuracy"]["values"][0] == pytest.approx(sum(values) / 2)


def test_scores_are_of_the_rows(found):
    result, _ = found
    score = result.scores[0]
    way = score["own"]
    ours, random, whole = (result.row(name, augmented=way)["accuracy"]["mean"] for name in ("dm", "random", "whole"))
    assert score["hlr"] == pytest.approx(whole - ours)
    assert score["ior"] == pytest.approx(ours - random)


def test_rate_is_chosen_on_held_out_images(digits, monkeypatch):
    train, held, test = digits
    judged = []
    from auglean.condensation import evaluating

    real = evaluating.correct

    def watched(network, data, **options):
        judged.append(data)
        return real(network, data, **options)

    monkeypatch.setattr(evaluating, "correct", watched)
    protocol = Protocol(epochs=60, epochs_augmented=60, whole_steps=20, rates=(1e-6, 0.02))
    centres = baseline("class-mean", train, 1)
    result = evaluate(centres, train, test, validation=held, networks="mlp", baselines=["random"], sets=1, repeats=1,
                      protocol=protocol)  # fmt: skip
    assert {(row["name"], row["rate"]) for row in result.rows} == {
        ("random", 0.02),
        ("class-mean", 0.02),
        ("whole", 0.01),  # that of the recipe
    }
    assert sum(one is test for one in judged) == len(result.rows)  # once for each network that counts
    usual = replace(protocol, whole_steps=None, rates=())
    result = evaluate(centres, train, test, validation=held, networks="mlp", baselines=["random"], sets=1, repeats=1,
                      protocol=usual)  # fmt: skip
    assert {(row["rate"], row["relative"]) for row in result.rows} == {(0.01, None)}
    assert [trial["rate"] for trial in result.rows[0]["trials"]] == [0.001, 0.01]
    assert result.scores[0]["lrs"] is None


def test_each_row_has_the_rate_that_is_best_for_it(digits, monkeypatch):
    train, held, test = digits
    centres, chance = baseline("class-mean", train, 1), baseline("random", train, 1, seed=0)
    good = {"class-mean": 0.02, "random": 0.5}
    from auglean.condensation import evaluating

    right = []  # whether the network that was trained last had the rate that its images want
    monkeypatch.setattr(
        evaluating,
        "learn",
        lambda network, images, *, recipe, **_: right.append(good[images.how["method"]] == recipe.lr),
    )
    monkeypatch.setattr(evaluating, "correct", lambda network, data, **_: torch.full((len(data),), right[-1]))
    protocol = Protocol(2, 2, whole_steps=None, rates=(0.02, 0.5))
    result = evaluate({"class-mean": centres, "random": chance}, train, test, validation=held, networks="mlp",
                      baselines=[], sets=1, repeats=1, protocol=protocol)  # fmt: skip
    assert {(row["name"], row["rate"]) for row in result.rows} == set(good.items())


def test_memory_gives_back_what_was_kept(digits):
    train, held, test = digits
    kept, told = {}, []
    memory = Memory(kept.get, kept.__setitem__, lambda: len(kept) == 3)
    options = {"validation": held, "networks": "mlp", "baselines": ["random"], "sets": 1, "repeats": 1}
    run = lambda memory: evaluate(  # noqa: E731
        baseline("class-mean", train, 1), train, test, protocol=Protocol(2, 2, whole_steps=2), memory=memory, **options
    )
    with pytest.raises(KeyboardInterrupt):
        run(memory)
    assert len(kept) == 3
    again = run(Memory(kept.get, lambda name, rows: told.append(name)))
    assert told == ["mlp/augmented/random", "mlp/augmented/class-mean", "mlp/augmented/whole"]
    plain = run(None)
    assert [row["accuracy"] for row in again.rows] == [row["accuracy"] for row in plain.rows]


def test_architectures_of_the_paper_fit_digits():
    for name in ARCHITECTURES:
        networks.check(networks.create(name, channels=1, classes=10, size=(8, 8)), channels=1, classes=10, size=(8, 8))


def test_refuses(digits, tmp_path):
    train, _, test = digits
    tiny = baseline("class-mean", train, 1)
    names = replace(tiny, class_names=tuple("abcdefghij"))
    names.save(tmp_path / "other.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"\x00\xff" * 64)
    large = SyntheticSet(torch.zeros(10, 1, 9, 9), tiny.labels, tiny.class_names, (0.5,), (0.5,))
    for given, said in [
        (tmp_path / "other.safetensors", r"other\.safetensors is of .* the classes a, b, c"),
        (tmp_path / "noise.safetensors", r"written by SyntheticSet\.save"),
        (large, "of 1×9×9 pixels"),
        ([], "No synthetic set"),
    ]:
        with pytest.raises(InputError, match=said) as caught:
            evaluate(given, train, test)
        assert "\n" not in str(caught.value)
    # another data set of the same names and shape: not the pixels
    negative = replace(train, images=255 - train.images)
    with pytest.raises(InputError, match=r"was made of images whose channels have mean .* of digits have mean"):
        read_sets(tiny, negative)
    assert read_sets(tiny, train.subset(range(100)))  # a part of the same data will do
    for options, said in [
        ({"networks": "convnet-d4"}, "depth of at most 3"),
        ({"networks": "convnetz"}, "did you mean"),
        ({"repeats": 0}, "1 or more"),
        ({"sets": 0}, "1 or more"),
        ({"baselines": ["x"]}, "Unknown baseline"),
        ({"device": "nowhere"}, "device"),
    ]:
        with pytest.raises(InputError, match=said):
            evaluate(tiny, train, test, **options)
    with pytest.raises(InputError, match="0 epochs"):
        Protocol(epochs=0)
    with pytest.raises(InputError, match="lr"):
        Protocol(rates=(-1.0,))
    assert read_sets(tiny, train) == {"class-mean": [tiny]}
    assert read_sets({"a": tiny, "b": [tiny, tiny]}, train) == {"a": [tiny], "b": [tiny, tiny]}
