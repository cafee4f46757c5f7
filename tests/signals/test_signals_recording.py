"""`Recorder` against `collect`, a plain dictionary and hand-made batches; and what it leaves behind: nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from auglean import networks
from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.signals import Recorder, Staleness, collect, measure

SIGNALS = ("loss", "margin", "residual", "feature", "prediction")


def images(n=23, classes=4):
    g = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=g)
    return ImageSet(pixels, torch.randint(0, classes, (n,), generator=g))


def network(name="mlp"):
    return networks.create(name, channels=1, classes=4, size=(8, 8))


def feed(recorder, model, data, ids):
    x, y = data.batch(ids)
    recorder.record(ids, model(x.float() / 255), y)


def of_ids(ids, scale=1.0):
    """Logits and features that tell the example they are of, and the batch."""
    ids = torch.as_tensor(ids).float()[:, None]
    return ids * torch.tensor([0.1, -0.2, 0.3]) * scale, torch.cat([ids, ids.new_full((len(ids), 1), scale)], 1)


# what is kept


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet20"])
def test_a_pass_in_steps_is_a_pass(name):
    """With a network in eval mode that stands still, an epoch of steps says what `collect` does."""
    data, model, recorder = images(), network(name).eval(), Recorder(23)
    with recorder.watch(model, data):
        for ids in torch.randperm(23, generator=torch.Generator().manual_seed(0)).split(5):
            feed(recorder, model, data, ids)
    found, expected = recorder.signals(), collect(model, data)
    for key in SIGNALS:
        value, other = getattr(found, key), getattr(expected, key)
        assert value.dtype == other.dtype
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
    assert found.forward_passes == 0


def test_the_network_speaks_as_it_does_in_training():
    """In train mode, with the statistics of the batch; `collect` would say otherwise."""
    data, model, recorder = images(), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 4)), Recorder(23)
    ids = torch.arange(23)
    x = data.images / 255
    with recorder.watch(model, data):
        logits = model(x)
        recorder.record(ids, logits, data.labels)
    found = recorder.signals()
    normal = (x.flatten(1) - x.flatten(1).mean(0)) / (x.flatten(1).var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(found.feature, normal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.residual, logits.detach().softmax(1) - functional.one_hot(data.labels, 4))
    assert not torch.allclose(found.residual, collect(model, data).residual, atol=1e-2)


BATCH = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(st.lists(BATCH, max_size=6))
def test_the_last_original_of_each_example_is_kept(batches):
    """Against a dictionary that each image is written into in its turn."""
    recorder, kept, recorded = Recorder(8), {}, 0
    labels = torch.arange(8) % 3
    for step, batch in enumerate(batches):
        ids = torch.tensor([i for i, _ in batch], dtype=torch.int64)
        copy = torch.tensor([c for _, c in batch], dtype=torch.int64)
        logits = torch.randn(len(batch), 3, generator=torch.Generator().manual_seed(step))
        feature = torch.randn(len(batch), 2, generator=torch.Generator().manual_seed(100 + step))
        recorder.record(ids, logits, labels[ids], copy=copy, feature=feature)
        seen = {i: row for row, (i, c) in enumerate(batch) if c == 0}
        recorded += sum(c == 0 for _, c in batch)
        for i, row in seen.items():
            loss, margin, residual, prediction = measure(logits[row : row + 1], labels[i : i + 1])
            kept[i] = [loss.float(), margin.float(), residual.float(), feature[row : row + 1], prediction], step
    age = recorder.staleness()
    assert age.never == pytest.approx(1 - len(kept) / 8)
    if len(kept) < 8:
        with pytest.raises(InputError, match=f"{8 - len(kept)} of 8 examples were never recorded"):
            recorder.signals()
    else:
        found = recorder.signals()
        for i, (values, _) in kept.items():
            for key, value in zip(SIGNALS, values, strict=True):
                assert torch.equal(getattr(found, key)[i : i + 1], value), key
    ages = sorted(len(batches) - step for _, step in kept.values())
    if ages:
        assert (age.most, age.median) == (ages[-1], ages[(len(ages) - 1) // 2])
        assert age.epochs == pytest.approx(ages[-1] * recorded / len(batches) / 8)


def test_staleness_by_hand():
    """Four examples in two steps an epoch; after two epochs and a half, the second pair is three steps old."""
    recorder = Recorder(4, features=False)
    assert recorder.staleness() == Staleness(0.0, 0, 0.0, 1.0)
    for step in range(5):
        ids = [0, 1] if step % 2 == 0 else [2, 3]
        recorder.record(ids, of_ids(ids)[0], torch.zeros(2, dtype=torch.int64))
    assert recorder.staleness() == Staleness(median=1.0, most=2, epochs=1.0, never=0.0)
    recorder.record([], torch.empty(0, 3), torch.empty(0, dtype=torch.int64))  # a batch of copies alone is a step too
    assert recorder.staleness().most == 3
    assert repr(recorder) == "Recorder(4 examples, 6 steps, 0% never seen)"


def test_only_what_was_never_seen_is_asked_for():
    data, model, recorder = images(), network(), Recorder(23)
    with recorder.watch(model, data):
        feed(recorder, model, data, torch.arange(20))
    before = {name: value.clone() for name, value in recorder.state_dict().items()}
    asked = []
    handle = model.register_forward_hook(lambda module, args, output: asked.append(len(args[0])))
    assert recorder.fill(model, data) == 3
    assert recorder.fill(model, data) == 0
    handle.remove()
    assert max(asked) == 3
    signals, whole = recorder.signals(), collect(model, data)
    for key in SIGNALS:
        assert torch.equal(getattr(signals, key)[:20], before[key][:20])
        torch.testing.assert_close(getattr(signals, key)[20:], getattr(whole, key)[20:])
    assert recorder.staleness() == Staleness(median=1.0, most=1, epochs=pytest.approx(20 / 23), never=0.0)
    empty = Recorder(23, features=False)
    assert empty.fill(model, data) == 23
    assert torch.equal(empty.signals().loss, whole.loss)
    assert empty.signals().feature.shape == (23, 0)


def test_what_was_not_seen_for_an_epoch_is_asked_for():
    """Three epochs of five batches of four; the last example was in the first of them alone."""
    data, model, recorder = images(20), network(), Recorder(20)
    asked = []
    with recorder.watch(model, data):
        for epoch in range(3):
            for first in (0, 4, 8, 12, 15 if epoch else 16):
                feed(recorder, model, data, torch.arange(first, first + 4))
    assert recorder.staleness() == Staleness(median=3.0, most=11, epochs=pytest.approx(2.2), never=0.0)
    handle = model.register_forward_hook(lambda module, args, output: asked.append(len(args[0])))
    assert recorder.fill(model, data) == 1
    assert recorder.fill(model, data) == 0
    handle.remove()
    assert max(asked) == 1
    assert recorder.staleness().epochs <= 1


def test_what_is_given_is_not_changed_by_later_steps():
    recorder = Recorder(2)
    labels = torch.tensor([0, 1])
    logits, feature = of_ids([0, 1])
    recorder.record([0, 1], logits, labels, feature=feature)
    signals, state = recorder.signals(), {k: v.clone() for k, v in recorder.state_dict().items()}
    again = Recorder(2)
    again.load_state_dict(state)
    later, other = of_ids([0, 1], 5.0)
    again.record([0, 1], later, labels, feature=other)
    recorder.record([0, 1], later, labels, feature=other)
    assert signals.feature[:, 1].tolist() == [1, 1]
    assert state["feature"][:, 1].tolist() == [1, 1]
    assert recorder.signals().feature[:, 1].tolist() == [5, 5]


def test_a_state_goes_on_as_if_nothing_had_been():
    def batches(recorder, steps):
        for step in steps:
            g = torch.Generator().manual_seed(step)
            ids = torch.randint(0, 6, (4,), generator=g)
            labels, feature = torch.zeros(4, dtype=torch.int64), torch.randn(4, 2, generator=g)
            recorder.record(ids, torch.randn(4, 3, generator=g), labels, feature=feature)

    whole, first, second = Recorder(6), Recorder(6), Recorder(6)
    batches(whole, range(20))
    batches(first, range(9))
    second.load_state_dict(first.state_dict())
    batches(second, range(9, 20))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert whole.staleness() == second.staleness()
    with pytest.raises(InputError, match="a recorder of 6 examples, not 7"):
        Recorder(7).load_state_dict(first.state_dict())


# the feature


class Twice(nn.Module):
    """The last layer runs twice in a pass; only the second call gives the output."""

    def __init__(self):
        super().__init__()
        self.first, self.square = nn.Linear(64, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.square(torch.relu(self.square(self.first(x.flatten(1)))))


def test_the_feature_is_that_of_the_call_that_gives_the_output():
    data, model, recorder = images(), Twice(), Recorder(23)
    with recorder.watch(model, data):
        feed(recorder, model, data, torch.arange(23))
    expected = torch.relu(model.square(model.first(data.images.flatten(1) / 255))).detach()
    torch.testing.assert_close(recorder.signals().feature, expected)


@pytest.mark.parametrize("between", [1, 3])
def test_passes_between_the_steps_do_no_harm(between):
    data, model, recorder = images(), network(), Recorder(23)
    with recorder.watch(model, data):
        for ids in torch.arange(23).split(8):
            feed(recorder, model, data, ids)
            for _ in range(between):
                collect(model, data)
                model(torch.zeros(2, 1, 8, 8))
    torch.testing.assert_close(recorder.signals().feature, collect(model, data).feature)


def test_wrapped_networks_are_seen_through():
    data, model, recorder = images(), network(), Recorder(23)
    with recorder.watch(nn.DataParallel(model), data):  # without an accelerator it calls the module itself
        feed(recorder, model, data, torch.arange(23))
    torch.testing.assert_close(recorder.signals().feature, collect(model, data).feature)


def hooks(model):
    return [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]


def test_hooks_modes_and_generators_are_left_as_they_were():
    data, model, recorder = images(), network("resnet20"), Recorder(23)
    model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"), recorder.watch(model, data):
        raise RuntimeError("inside")
    assert set(hooks(model)) == {0}
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_are_those_of_a_step_that_is_not_watched():
    data, model = images(), network()
    x, y = data.images / 255, data.labels

    def gradient(record):
        model.zero_grad()
        logits = model(x)
        record(logits)
        functional.cross_entropy(logits, y).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    recorder = Recorder(23)
    with recorder.watch(model, data):
        watched = gradient(lambda logits: recorder.record(torch.arange(23), logits, y))
    assert torch.equal(watched, gradient(lambda logits: None))
    assert not recorder.signals().residual.requires_grad


def test_float_images_are_taken_as_they_are():
    data = TensorDataset(torch.rand(5, 1, 8, 8), torch.arange(5) % 4)
    recorder, model = Recorder(5), network()
    with recorder.watch(model, data):
        recorder.record(torch.arange(5), model(data.tensors[0]), data.tensors[1])
    torch.testing.assert_close(recorder.signals().residual, collect(model, data).residual)


# what cannot be used


def test_a_feature_that_was_not_seen_is_told():
    recorder, labels = Recorder(4), torch.zeros(2, dtype=torch.int64)
    logits, feature = of_ids([0, 1])
    with pytest.raises(InputError, match=r"was not seen with the 2 examples .* within watch\(model, data\)"):
        recorder.record([0, 1], logits, labels)
    with pytest.raises(InputError, match="was not seen with the 2 examples"):
        recorder.record([0, 1], logits, labels, feature=feature[:1])
    data, model = images(), network()
    with recorder.watch(model, data):
        logits = model(data.images[:2] / 255)
        recorder.record([0, 1], logits, labels)
        with pytest.raises(InputError, match="call record once after each forward pass"):
            recorder.record([0, 1], logits, labels)
    assert recorder.steps == 1
    Recorder(4, features=False).record([0, 1], logits, labels)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ids": [0, 4]}, "ids from 0 to 4; give numbers of examples from 0 to 3"),
        ({"ids": [-1, 2]}, "ids from -1 to 2"),
        ({"ids": [0]}, r"ids \(1,\), logits \(2, 3\) and labels \(2,\)"),
        ({"ids": [[0, 1]]}, r"ids \(1, 2\)"),
        ({"ids": torch.tensor([True, False])}, r"ids of torch\.bool"),
        ({"logits": torch.zeros(2)}, r"logits \(2,\)"),
        ({"labels": torch.tensor([0, 3])}, "Example 1 has label 3 but the network gives 3 outputs"),
        ({"logits": torch.zeros(2, 5)}, r"given \(5, 2\) logits and features of an example, but holds \(3, 2\)"),
        ({"feature": torch.zeros(2, 7)}, r"given \(3, 7\)"),
    ],
)
def test_bad_batches_are_told(change, word):
    recorder = Recorder(4)
    logits, feature = of_ids([0, 1])
    batch = {"ids": [0, 1], "logits": logits, "labels": torch.tensor([0, 1]), "feature": feature}
    recorder.record(**batch)
    with pytest.raises(InputError, match=word) as caught:
        recorder.record(**{**batch, **change})
    assert "\n" not in str(caught.value)


def test_a_recorder_of_nothing_and_a_network_without_a_last_layer():
    with pytest.raises(InputError, match="asked for 0 examples"):
        Recorder(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1))
    with (
        pytest.raises(InputError, match=r"not the output of one of its nn\.Linear"),
        Recorder(23).watch(model, images()),
    ):
        pass
    assert set(hooks(model)) == {0}
