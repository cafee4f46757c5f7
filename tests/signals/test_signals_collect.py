"""`collect` against hand computation, float64 and autograd; and what it leaves behind: nothing."""

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from auglean import networks
from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.randomness import uniform
from auglean.signals import collect, measure

SIGNALS = ("loss", "margin", "residual", "feature", "prediction")


def images(n=23, channels=1, side=8, classes=4):
    g = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=g)
    return ImageSet(pixels, torch.randint(0, classes, (n,), generator=g), tuple("abcdefgh"[:classes]))


def network(name="cnn", classes=4):
    return networks.create(name, channels=1, classes=classes, size=(8, 8))


class Logits(nn.Module):
    """Gives wanted logits: the linear layer is the identity and the images hold the numbers."""

    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(classes, classes, bias=False)
        nn.init.eye_(self.head.weight)

    def forward(self, x):
        return self.head(x.flatten(1))


def of_logits(rows, labels):
    x = torch.tensor(rows, dtype=torch.float32)[:, None, None]
    return collect(Logits(x.shape[-1]), TensorDataset(x, torch.tensor(labels)))


# ---------------------------------------------------------------- values


def test_hand_computed_case():
    log = math.log
    signals = of_logits([[log(1), log(2), log(5)], [log(6), log(1), log(1)]], [1, 0])  # p = 1/8, 2/8, 5/8 and 6/8, …
    assert signals.loss.tolist() == pytest.approx([log(4), log(4 / 3)], rel=1e-6)
    assert signals.residual[0].tolist() == pytest.approx([1 / 8, -6 / 8, 5 / 8], rel=1e-6)
    assert signals.residual[1].tolist() == pytest.approx([-2 / 8, 1 / 8, 1 / 8], rel=1e-6)
    assert signals.margin.tolist() == pytest.approx([3 / 8, 5 / 8], rel=1e-6)
    assert signals.prediction.tolist() == [2, 0]
    assert signals.feature[0].tolist() == pytest.approx([0, log(2), log(5)], rel=1e-6)


def test_margin_is_of_the_two_likeliest_whatever_the_label():
    rows = [[0.0, 3.0, 1.0]] * 3
    margin = of_logits(rows, [0, 1, 2]).margin
    p = torch.tensor(rows[0], dtype=torch.float64).softmax(0)
    assert margin.tolist() == pytest.approx([(p[1] - p[2]).item()] * 3, rel=1e-6)


def test_saturated_logits_keep_their_small_numbers():
    signals = of_logits([[60.0, 0.0], [60.0, 0.0], [1e4, -1e4], [1e4, -1e4]], [0, 1, 0, 1])
    u = math.exp(-60)
    assert signals.loss.tolist() == pytest.approx([u, 60, 0, 2e4], rel=1e-6, abs=0)
    assert signals.residual[0].tolist() == pytest.approx([-u, u], rel=1e-6, abs=0)
    assert signals.residual[1].tolist() == pytest.approx([1, -1], rel=1e-6)
    assert signals.residual[2:].tolist() == [[0, 0], [1, -1]]


def test_equal_logits_give_no_margin():
    signals = of_logits([[2.0] * 5], [3])
    assert signals.margin.item() == 0
    assert signals.loss.item() == pytest.approx(math.log(5), rel=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda k: st.lists(st.lists(st.floats(-80, 80, width=32), min_size=k, max_size=k), min_size=1, max_size=8)
    ),
    st.randoms(use_true_random=False),
)
def test_measure_agrees_with_exact_sums_of_exponentials(rows, rnd):
    labels = [rnd.randrange(len(rows[0])) for _ in rows]
    loss, margin, residual, prediction = measure(torch.tensor(rows), torch.tensor(labels))
    assert residual.sum(1).abs().max() <= 1e-12
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        # relative to the label's own term, so that nothing cancels
        rest = math.fsum(math.exp(z - row[label]) for j, z in enumerate(row) if j != label)
        assert loss[i].item() == pytest.approx(math.log1p(rest), rel=1e-11, abs=0)
        assert residual[i, label].item() == pytest.approx(-rest / (1 + rest), rel=1e-11, abs=0)
        total = math.fsum(math.exp(z) for z in row)
        ordered = sorted(row)
        assert margin[i].item() == pytest.approx((math.exp(ordered[-1]) - math.exp(ordered[-2])) / total, abs=1e-14)
        assert row[prediction[i]] == ordered[-1]


@pytest.mark.parametrize("name", ["cnn", "convnet-w16-d2", "resnet20"])
def test_agrees_with_a_plain_pass_in_float64(name):
    data, model = images(), network(name)
    model(data.images[:8].float() / 255)  # running statistics other than their start
    signals = collect(model, data)
    wide = networks.create(name, channels=1, classes=4, size=(8, 8)).double().eval()
    wide.load_state_dict(model.state_dict())
    with torch.no_grad():
        feature = wide.features(wide.normalize(data.images.double() / 255))
        logits = wide.classifier(feature)
    p = logits.softmax(1)
    expected = {
        "loss": F.cross_entropy(logits, data.labels, reduction="none"),
        "margin": p.sort(1).values[:, -1] - p.sort(1).values[:, -2],
        "residual": p - F.one_hot(data.labels, 4),
        "feature": feature,
    }
    for key, value in expected.items():
        found = getattr(signals, key)
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), value, rtol=1e-5, atol=1e-5), key
    assert torch.equal(signals.prediction, logits.argmax(1))
    assert signals.residual.sum(1).abs().max() <= 1e-6


def test_residual_times_feature_is_the_gradient_of_the_last_layer():
    data, model = images(9), network("mlp").double()
    signals = collect(model, data)
    for i in range(len(data)):
        x, y = data.images[i : i + 1].double() / 255, data.labels[i : i + 1]
        weight, bias = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.classifier.parameters()))
        assert torch.allclose(torch.outer(signals.residual[i], signals.feature[i]).double(), weight, atol=1e-7)
        assert torch.allclose(signals.residual[i].double(), bias, atol=1e-7)
        assert weight.abs().max() > 1e-3


def test_feature_is_that_of_the_call_that_gives_the_output():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 4)
            self.square = nn.Linear(4, 4)
            self.later = nn.Linear(4, 4)

        def forward(self, x):
            logits = self.square(self.square(self.first(x.flatten(1))))
            self.seen = self.square(self.later(logits))
            return logits

    data, model = images(), Twice()
    with torch.no_grad():
        expected = model.square(model.first(data.images.flatten(1) / 255))
    assert torch.allclose(collect(model, data, batch_size=5).feature, expected, atol=1e-6)


# ---------------------------------------------------------------- batches and examples


@settings(max_examples=25, deadline=None)
@given(batch_size=st.integers(1, 40), n=st.integers(1, 23))
def test_the_batch_size_changes_nothing_beyond_rounding(batch_size, n):
    # within 1e-6, not bit for bit: matrix products round differently for different numbers of rows
    data, model = images(), network()
    whole = collect(model, data, batch_size=1000, indices=range(n))
    parts = collect(model, data, batch_size=batch_size, indices=range(n))
    for key in SIGNALS:
        assert torch.allclose(getattr(whole, key).double(), getattr(parts, key).double(), rtol=1e-6, atol=1e-6)


def test_indices_choose_and_order():
    data, model = images(), network()
    whole, order = collect(model, data), [7, 0, 22, 7]
    some = collect(model, data, indices=order, batch_size=3)
    for key in SIGNALS:
        assert torch.allclose(getattr(some, key).double(), getattr(whole, key)[order].double(), atol=1e-6)
    mask = torch.zeros(23, dtype=torch.bool)
    mask[[3, 5]] = True
    assert torch.allclose(collect(model, data, indices=mask).loss, whole.loss[[3, 5]], atol=1e-6)


class Listed(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_every_kind_of_data_set_gives_the_same():
    data, model = images(channels=3), networks.create("mlp", channels=3, classes=4, size=(8, 8))
    expected = collect(model, data)
    pairs = [(image, int(label)) for image, label in zip(data.images, data.labels, strict=True)]
    kinds = {
        "tensors": TensorDataset(data.images, data.labels),
        "uint8": Listed(pairs),
        "floats": Listed([(image / 255, torch.tensor(label)) for image, label in pairs]),
        "arrays": Listed([(image.movedim(0, -1).numpy(), np.int64(label)) for image, label in pairs]),
        "subset": torch.utils.data.Subset(data, range(23)),
    }
    for kind, other in kinds.items():
        found = collect(model, other, batch_size=10)
        for key in SIGNALS:
            assert torch.allclose(getattr(found, key).double(), getattr(expected, key).double(), atol=1e-6), kind


def test_grey_arrays_without_channel():
    data, model = images(), network("mlp")
    listed = Listed([(image[0].numpy(), int(label)) for image, label in zip(data.images, data.labels, strict=True)])
    assert torch.allclose(collect(model, listed).loss, collect(model, data).loss, atol=1e-6)


def test_transform_is_applied_to_the_float_batch():
    data, model = images(), network()
    flipped = ImageSet(data.images.flip(3), data.labels, data.class_names)
    found = collect(model, data, transform=lambda x: x.flip(3), batch_size=4)
    assert torch.allclose(found.loss, collect(model, flipped).loss, atol=1e-6)


class Noise(nn.Module):
    """A policy by its face: `draw` and a `generator` in the call."""

    def draw(self, n, *, generator=None):
        return {"level": uniform(n, generator)}

    def forward(self, x, *, generator=None):
        return x * self.draw(len(x), generator=generator)["level"][:, None, None, None]


def test_policies_draw_by_example_and_seed():
    data, model = images(), network()
    whole = collect(model, data, transform=Noise(), seed=1)
    parts = collect(model, data, transform=Noise(), seed=1, batch_size=4, indices=[9, 2, 20])
    assert torch.allclose(parts.loss, whole.loss[[9, 2, 20]], atol=1e-6)
    assert not torch.allclose(collect(model, data, transform=Noise(), seed=2).loss, whole.loss, atol=1e-3)


def test_cost_and_memory_of_the_result():
    signals = collect(network(), images(), batch_size=4)
    assert signals.seconds > 0
    assert signals.forward_passes == 23 + 2  # two to find the last layer
    assert signals.residual.shape == (23, 4)
    assert signals.feature.shape == (23, 64)


# ---------------------------------------------------------------- what is left behind


class Trap(nn.Module):
    """Passes everything on, draws random numbers, and raises at a given call."""

    def __init__(self, fails_at):
        super().__init__()
        self.fails_at, self.calls = fails_at, 0

    def forward(self, x):
        self.calls += 1
        torch.rand(1), random.random(), np.random.rand()
        if self.calls == self.fails_at:
            raise KeyError("trap")
        return x


@pytest.mark.parametrize("fails_at", [None, 1, 3])
def test_the_model_and_the_generators_come_back_untouched(fails_at):
    model = nn.Sequential(network(), nn.Identity())
    model.trap = Trap(fails_at)
    model = nn.Sequential(model.trap, nn.Dropout(0.5), model[0])
    model[2].features[1].eval()
    model[2].features[0].requires_grad_(False)
    heard = []
    model[2].classifier.register_forward_hook(lambda *_: heard.append("forward"))
    model[2].classifier.register_forward_pre_hook(lambda *_: heard.append("pre"))

    def everything():
        return {
            "state": {key: value.clone() for key, value in model.state_dict().items()},
            "modes": [m.training for m in model.modules()],
            "grads": [p.requires_grad for p in model.parameters()],
            "none": [p.grad for p in model.parameters()],
            "hooks": [
                [list(getattr(m, kind)) for m in model.modules()]
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
            ],
            "numpy": np.random.get_state()[1].tolist(),
            "python": random.getstate(),
            "torch": torch.get_rng_state().tolist(),
            "grad mode": torch.is_grad_enabled(),
        }

    before = everything()
    if fails_at is None:
        collect(model, images(), batch_size=10)
        assert heard == ["pre", "forward"] * 4  # the probe and three batches
    else:
        with pytest.raises(KeyError, match="trap"):
            collect(model, images(), batch_size=10)
        assert model[0].calls == fails_at
    after = everything()
    assert before["state"].keys() == after["state"].keys()
    assert all(torch.equal(after["state"][key], value) for key, value in before["state"].items())
    for key in before.keys() - {"state"}:
        assert before[key] == after[key], key


def test_eval_mode_inside_whatever_the_mode_outside():
    data, model = images(), network()
    model.features.append(nn.Dropout(0.5))
    training = collect(model.train(), data)
    assert torch.equal(training.loss, collect(model.eval(), data).loss)


def test_networks_that_draw_at_random_repeat_themselves():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    model.append(type("Always", (nn.Module,), {"forward": lambda self, x: F.dropout(x, 0.5, training=True)})())
    model.append(nn.Linear(8, 4))
    assert torch.equal(collect(model, images()).loss, collect(model, images()).loss)
    assert not torch.equal(collect(model, images(), seed=1).loss, collect(model, images()).loss)


def test_what_a_network_caches_can_still_be_trained_on():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.cache = None
            self.body, self.head = nn.Linear(64, 8), nn.Linear(8, 4)

        def forward(self, x):
            if self.cache is None:
                self.cache = torch.full((8,), 2.0)
            return self.head(self.body(x.flatten(1)) * self.cache)

    model = Caching()
    collect(model, images())
    model(torch.rand(2, 1, 8, 8)).sum().backward()  # inference mode would make this raise
    assert model.body.weight.grad is not None


def test_another_device_leaves_the_model_where_it_is():
    model = network()
    with pytest.raises((RuntimeError, NotImplementedError, InputError)):  # meta has no numbers to give
        collect(model, images(), device="meta")
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert collect(model, images(), device="cpu").loss.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same_and_can_keep_it():
    data, model = images(), network()
    expected = collect(model, data)
    rng = torch.cuda.get_rng_state()
    for found in (
        collect(model, data, device="cuda"),
        collect(network().cuda(), data, batch_size=7),
        collect(network().cuda(), data, keep_on_device=True).to("cpu"),
    ):
        assert found.loss.device.type == "cpu"
        assert torch.allclose(found.loss, expected.loss, atol=1e-3)
    assert collect(network().cuda(), data, keep_on_device=True).feature.is_cuda
    assert next(model.parameters()).device.type == "cpu"
    assert torch.equal(torch.cuda.get_rng_state(), rng)


def test_wrapped_models_are_served():
    data, model = images(), network()
    expected = collect(model, data)
    assert torch.equal(collect(nn.DataParallel(model), data).feature, expected.feature)
    assert torch.equal(collect(torch.compile(model, backend="eager"), data).feature, expected.feature)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([23], "examples 23 to 23 of data with 23"),
        ([-1], "give indices from 0 to 22"),
        ([], "one or more whole numbers"),
        ([0.5], "one or more whole numbers"),
        ([[1]], "one or more whole numbers"),
    ],
)
def test_bad_indices(indices, words):
    with pytest.raises(InputError, match=words):
        collect(network(), images(), indices=indices)


def test_label_without_an_output_is_named():
    data = TensorDataset(torch.zeros(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 1, 9]))
    with pytest.raises(InputError, match="Example 5 has label 9 but the network gives 4 outputs"):
        collect(network(), data, batch_size=4)
    with pytest.raises(InputError, match="Example 0 has label -1"):
        collect(network(), TensorDataset(torch.zeros(1, 1, 8, 8), torch.tensor([-1])))


def test_logits_that_are_not_numbers_name_the_first_example():
    x = torch.zeros(9, 1, 8, 8)
    x[[4, 7]] = float("nan")
    data = TensorDataset(x, torch.zeros(9, dtype=torch.int64))
    with pytest.raises(InputError, match="not finite for 2 of 9 examples, first example 4"):
        collect(network(), data, batch_size=3)
    with pytest.raises(InputError, match="first example 7"):
        collect(network(), data, indices=[3, 7, 4])


def test_one_output_and_no_linear_layer():
    with pytest.raises(InputError, match="1 output"):
        collect(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), images())
    with pytest.raises(InputError, match=r"end in an nn\.Linear"):
        collect(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1)), images())


def test_layer_that_stops_running_is_found_out():
    class Changing(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.other = nn.Linear(64, 4), nn.Linear(64, 4)

        def forward(self, x):
            return (self.head if len(x) == 2 else self.other)(x.flatten(1))

    with pytest.raises(InputError, match="'head' did not run"):
        collect(Changing(), images())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Listed([(torch.zeros(1, 8, 8), 0), (torch.zeros(1, 9, 9), 0)]), "of one size"),
        (Listed([("picture", 0)]), "of one size"),
        (Listed([(torch.zeros(8, 8), 0)]), r"shape \(1, 8, 8\)"),
        (Listed([(torch.zeros(1, 8, 8, dtype=torch.int64), 0)]), "type torch.int64"),
    ],
)
def test_data_that_give_no_images(data, words):
    with pytest.raises(InputError, match=words):
        collect(network(), data)


def test_bad_batch_size():
    with pytest.raises(InputError, match="batch size"):
        collect(network(), images(), batch_size=0)
