"""Expected losses against enumeration, hand cases and draws of their own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.answers import aligned
from auglean.policies import Brightness, Cutout, Flip, RandomCrop, Rotate, Translate, sometimes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(outputs=3, size=36, *, deep=True):
    """A small network with dropout and BatchNorm, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Linear(size, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, outputs)]
        return nn.Sequential(nn.Flatten(), *(body if deep else [nn.Linear(size, outputs)])).double()


def data(n=7, *, outputs=3, seed=0):
    coarse = torch.rand(n, 1, 3, 3, generator=generator(seed), dtype=torch.float64)
    return F.interpolate(coarse, (6, 6), mode="bilinear"), torch.arange(n) % outputs


def brute(model, images, labels, outputs, weights):
    """Mean and standard deviation of the cross-entropy over weighted copies `(K, N, …)`."""
    model.eval()
    with torch.no_grad():
        losses = torch.stack([F.cross_entropy(model(copy), labels, reduction="none") for copy in outputs])
    mean = weights @ losses
    return mean, (weights @ (losses - mean).square()).sqrt()


def test_a_finite_law_is_enumerated():
    model, (x, y) = network(), data()
    found = al.expected_loss(model, "cross-entropy", Flip(0.3), (x, y))
    assert (found.kind, found.nodes, found.passes) == ("exact finite", 2, 21)
    mean, sd = brute(model, x, y, [x, x.flip(3)], torch.tensor([0.7, 0.3], dtype=torch.float64))
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sd, sd, rtol=0, atol=1e-12)
    assert not found.standard_error.any()
    with torch.no_grad():
        torch.testing.assert_close(found.clean, F.cross_entropy(model(x), y, reduction="none"), rtol=0, atol=1e-12)


def test_crops_one_by_one():
    model, (x, y) = network(), data()
    padded = F.pad(x, (1, 1, 1, 1))
    copies = [padded[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    mean, sd = brute(model, x, y, copies, torch.full((9,), 1 / 9, dtype=torch.float64))
    for size in (1, 3, 512):  # of a batch
        found = al.expected_loss(model, "cross-entropy", RandomCrop(1), (x, y), batch_size=size)
        torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.sd, sd, rtol=0, atol=1e-12)


@pytest.mark.parametrize("policy", [Rotate(20), Brightness(0.5), sometimes(0.5, Rotate(20)) | Brightness(0.3)])
@pytest.mark.parametrize("method", ["auto", "nodes", "monte carlo"])
def test_within_its_own_error(policy, method):
    nodes = 1100 if method == "nodes" else 128
    model, (x, y) = network(), data(60)
    found = al.expected_loss(model, "cross-entropy", policy, (x, y), method=method, nodes=nodes)
    truth = al.expected_loss(model, "cross-entropy", policy, (x, y), method="nodes", nodes=5000)
    if method == "nodes":
        assert found.kind == "quadrature"
        assert ((found.mean - truth.mean).abs() <= found.standard_error + 1e-9).double().mean() > 0.9
        return
    assert found.kind == {"auto": "randomised qmc"}.get(method, method)
    z = (found.mean - truth.mean) / found.standard_error
    assert abs(found.average - truth.average) < 4 * found.average_error
    # of a replicated estimate with 3 degrees of freedom, Var t = 3; of independent draws, 1
    expected = 3 if method == "auto" else 1
    assert 0.3 * expected < float(z.square().mean()) < 3 * expected
    torch.testing.assert_close(found.sd, truth.sd, rtol=0.3, atol=1e-4)
    assert abs(float((found.sd.square() - truth.sd.square()).mean())) < 0.05 * float(truth.sd.square().mean())


def test_images_draw_on_their_own_and_keep_their_draws():
    model, (x, y) = network(), data(1)
    same = (x.expand(40, -1, -1, -1), y.expand(40))
    found = al.expected_loss(model, "cross-entropy", Rotate(30), same)
    assert len(found.mean.unique()) == 40
    again = al.expected_loss(model, "cross-entropy", Rotate(30), (same[0][:10], same[1][:10]), batch_size=3)
    torch.testing.assert_close(again.mean, found.mean[:10], rtol=0, atol=1e-12)
    other = al.expected_loss(model, "cross-entropy", Rotate(30), same, seed=1)
    assert not torch.isclose(other.mean, found.mean, rtol=0, atol=1e-12).any()


def test_stratified_draws_beat_independent_ones():
    model, examples = network(), data(80)
    truth = al.expected_loss(model, "cross-entropy", Rotate(30), examples, method="nodes", nodes=5000)
    errors = [
        float(
            (al.expected_loss(model, "cross-entropy", Rotate(30), examples, method=method).mean - truth.mean)
            .square()
            .mean()
        )
        for method in ("stratified", "monte carlo")
    ]
    assert errors[1] > 50 * errors[0]


def test_squared_loss_and_a_loss_of_ones_own():
    model, (x, y) = network(deep=False), data()
    named = al.expected_loss(model, "squared", RandomCrop(1), (x, y))
    own = al.expected_loss(model, lambda out, t: (out - F.one_hot(t, 3)).square().sum(1), RandomCrop(1), (x, y))
    vectors = al.expected_loss(model, "squared", RandomCrop(1), (x, F.one_hot(y, 3).double()))
    for other in (own, vectors):
        torch.testing.assert_close(other.mean, named.mean, rtol=0, atol=1e-12)
    assert vectors.labels is None


def test_an_image_set_is_divided_by_255():
    levels = torch.randint(0, 256, (6, 1, 6, 6), dtype=torch.uint8, generator=generator())
    labels = torch.arange(6) % 3
    found = al.expected_loss(network().float(), "cross-entropy", Flip(), al.ImageSet(levels, labels, ("a", "b", "c")))
    plain = al.expected_loss(network().float(), "cross-entropy", Flip(), (levels / 255, labels))
    torch.testing.assert_close(found.mean, plain.mean)
    assert "\na " in repr(found)


def test_the_model_and_the_generators_come_back():
    model, examples = network(), data()
    model[2].eval()
    modes = [part.training for part in model.modules()]
    running = model[2].running_mean.clone()
    before = torch.get_rng_state()
    first = al.expected_loss(model, "cross-entropy", Rotate(10), examples)
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(model[2].running_mean, running)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    model.eval()
    assert torch.equal(al.expected_loss(model, "cross-entropy", Rotate(10), examples).mean, first.mean)
    with pytest.raises(al.InputError):
        al.expected_loss(model.train(), "cross-entropy", Rotate(10), (examples[0], examples[1] + 5))
    assert model.training


def test_one_file(tmp_path):
    found = al.expected_loss(network(), "cross-entropy", Cutout(3), data())
    found.save(tmp_path / "loss.json")
    again = al.moments.ExpectedLoss.load(tmp_path / "loss.json")
    assert repr(again) == repr(found)
    for name in ("mean", "sd", "standard_error", "clean", "labels"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    (tmp_path / "loss.json").write_text('{"format": "auglean.Other/1"}')
    with pytest.raises(al.InputError, match="holds no ExpectedLoss"):
        al.moments.ExpectedLoss.load(tmp_path / "loss.json")


def test_long_tables_are_cut():
    assert aligned([["class"], *([str(i)] for i in range(20))])[-1] == "… 4 more"


X, Y = data()


@pytest.mark.parametrize(
    ("examples", "options", "words"),
    [
        ((X[:0], Y[:0]), {}, "no image"),
        ((X, Y[:3]), {}, "as many targets"),
        ((X, Y + 1), {}, "label 3"),
        ((X, Y + 1), {"loss": "squared"}, "from 1 to 3 do not fit 3 outputs"),
        ((X, X.flatten(1)), {"loss": "squared"}, r"\(7, 36\) do not fit 3 outputs"),
        ((X, Y), {"loss": "crossentropy"}, "did you mean 'cross-entropy'"),
        ((X, Y), {"method": "node"}, "did you mean 'nodes'"),
        ((X, Y), {"nodes": 4}, "8 nodes or more"),
        ((X, Y), {"batch_size": 0}, "batch size"),
        ((X, Y), {"policy": Translate(5), "method": "nodes"}, "No rule of 64 nodes"),
        ((X, Y), {"loss": lambda out, y: out}, "one number for each"),
        ((torch.where(X > 2, 0.0, torch.nan), Y), {}, "Image 0 has the value nan"),
        ((2 * X, Y), {}, r"where \[0, 1\] is expected"),
        ((X, Y), {"loss": lambda out, y: out.sum(1) / 0}, "example 0 is not finite"),
        ((X[:, 0], Y), {}, r"\(N, C, H, W\)"),
        ((X.long(), Y), {}, "int64"),
    ],
)
def test_bad_input(examples, options, words):
    options = {"loss": "cross-entropy", "policy": Rotate(5), **options}
    loss, policy = options.pop("loss"), options.pop("policy")
    with pytest.raises(al.InputError, match=words):
        al.expected_loss(network(), loss, policy, examples, **options)
