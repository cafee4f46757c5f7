"""`quantify`: its numbers against dense covariances and draws; the result is plain, and bad options are told."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import auglean as al
from auglean.data.splitting import part, part_of
from auglean.errors import InputError
from auglean.policies import Flip, Translate, parse
from auglean.randomness import generator
from auglean.studies.policy_convergence import convergence
from auglean.studies.policy_measures import draws_needed, measure_policy
from auglean.studies.policy_portraits import portraits


@pytest.fixture(scope="module")
def probe():
    return part(al.load("digits"), 12)


def dense(policy, images):
    """Mean and covariance of each image, by numpy from the moments' matrix."""
    found = policy.moments(images.double() / 255)
    return found.mean.flatten(1).numpy(), found.dense().numpy(), found.m4.numpy()


@pytest.mark.parametrize("name", ["translate1", "rotate15", "cutout4", "flip0.3", "crop1-flip"])
def test_measures_are_those_of_the_dense_covariance(probe, name):
    policy = parse(name)
    found = measure_policy(policy, probe)
    means, covariances, fourths = dense(policy, probe.images)
    x = probe.images.flatten(1).double().numpy() / 255
    for i, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        values = np.clip(np.linalg.eigvalsh(covariance)[::-1], 0, None)
        trace, squares = np.trace(covariance), (covariance**2).sum()
        held = values.cumsum() / trace
        expected = {
            "trace": trace,
            "spread": trace**0.5 / np.linalg.norm(mean),
            "displacement": np.linalg.norm(mean - x[i]) / np.linalg.norm(x[i]),
            "effective_rank": trace**2 / squares,
            "rank_90": (held < 0.9 - 1e-9).sum() + 1,
            "rank_99": (held < 0.99 - 1e-9).sum() + 1,
        }
        for measure, value in expected.items():
            assert float(getattr(found, measure)[i]) == pytest.approx(value, rel=1e-7), measure
        assert float(found.fourth[i]) ** 2 == pytest.approx(max(fourths[i] / squares - 1, 0), rel=1e-6, abs=1e-8)
        np.testing.assert_allclose(found.shares[i, : len(values)], values[:64] / trace, atol=1e-9)


def test_draws_are_those_that_samples_needed_counts(probe):
    for policy in (Translate(1), Flip(0.3)):
        mine = draws_needed(measure_policy(policy, probe), eps=0.02, delta=0.1)
        theirs = {
            name: al.samples_needed(policy, probe, target=name, eps=0.02, delta=0.1) for name in ("mean", "covariance")
        }
        torch.testing.assert_close(mine["mean"], theirs["mean"].rms, rtol=1e-6, atol=0)
        torch.testing.assert_close(mine["confident"], theirs["mean"].confident, rtol=1e-6, atol=0)
        torch.testing.assert_close(mine["covariance"], theirs["covariance"].rms, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["translate1", "rotate15", "cutout4"])
def test_predicted_errors_are_those_of_draws(probe, name):
    policy, x = parse(name), probe.images[3].double() / 255
    found = convergence(policy, x, policy.moments(x), seed=1)
    assert found["n"] == [10, 30, 100, 300, 1000, 3000]
    for target in ("mean", "covariance"):
        curve = found[target]
        ratios = [
            error / (curve["unit"] ** 2 / n + curve.get("second", 0.0) ** 2 / (n * (n - 1))) ** 0.5
            for n, errors in zip(found["n"], curve["measured"], strict=True)
            for error in errors
        ]
        assert len(ratios) == 6 + 6 + 6 + 6 + 3 + 1
        assert 0.7 < np.mean(np.square(ratios)) ** 0.5 < 1.4
        ends = [
            [(curve[end] ** 2 / n + curve.get("second", 0.0) ** 2 / (n * (n - 1))) ** 0.5 for end in ("low", "high")]
            for n in found["n"]
        ]
        inside = [
            low <= error <= high
            for (low, high), errors in zip(ends, curve["measured"], strict=True)
            for error in errors
        ]
        assert np.mean(inside) > 0.6  # nine tenths, of 28 that share their draws
        assert np.mean([high / low for low, high in ends]) < 8


def test_the_band_of_the_covariance_covers(probe):
    """Nine of ten errors of 300 draws lie in it, and its law has the mean that the fourth moment says."""
    policy, x = parse("rotate15"), probe.images[3].double() / 255
    moments = policy.moments(x)
    curve = convergence(policy, x, moments, seed=1)["covariance"]
    n, dense = 300, moments.dense()
    errors = []
    for seed in range(200):
        y = policy(x.expand(n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).flatten(1)
        errors.append(float((torch.cov(y.T) - dense).norm() / dense.norm()))
    low, high = ((curve[end] ** 2 / n + curve["second"] ** 2 / n**2) ** 0.5 for end in ("low", "high"))
    assert 0.82 < np.mean([low <= error <= high for error in errors]) < 0.97


def test_the_measured_covariance_error_is_that_of_dense_matrices(probe):
    policy, x = parse("flip0.3-translate1"), probe.images[5].double() / 255
    moments = policy.moments(x)
    found = convergence(policy, x, moments, seed=4)
    drawn = policy(x.expand(3000, 1, 8, 8), generator=generator(4, "convergence")).flatten(1).numpy()
    for n, mine, means in zip(found["n"], found["covariance"]["measured"], found["mean"]["measured"], strict=True):
        covariance = np.cov(drawn[:n].T)
        expected = np.linalg.norm(covariance - moments.dense().numpy()) / np.linalg.norm(moments.dense().numpy())
        assert mine[0] == pytest.approx(expected, rel=1e-6)
        mean = moments.mean.flatten().numpy()
        assert means[0] == pytest.approx(np.linalg.norm(drawn[:n].mean(0) - mean) / np.linalg.norm(mean))


def test_portraits_show_eigenvectors(probe):
    policy = Translate(1)
    one, other = portraits(policy, probe, torch.tensor([7, 2]))
    assert (one.id, other.id) == (7, 2)
    assert one.label == probe.class_names[int(probe.labels[7])]
    moments = policy.moments(one.image)
    for direction, share in zip(one.directions, one.shares, strict=True):
        torch.testing.assert_close(moments.matvec(direction), share * moments.trace * direction, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(one.deviation.square(), moments.variance)


def test_positions_of_a_part_are_those_of_its_images():
    data = al.load("digits")
    ids = part_of(data, 25, seed=3)
    assert torch.equal(data.subset(ids).images, part(data, 25, seed=3).images)
    assert part_of(data, 5000).tolist() == list(range(len(data)))


@pytest.fixture(scope="module")
def network():
    return al.networks.create("mlp", channels=1, classes=10, size=(8, 8))


@pytest.fixture(scope="module")
def quantified(network, tmp_path_factory):
    network.train()
    before = torch.get_rng_state()
    found = al.quantify(
        "translate1",
        al.splits("digits"),
        network,
        policies=["rotate15", Flip(0.3), "rotate15"],
        images=30,
        out=tmp_path_factory.mktemp("run") / "here",
    )
    assert network.training
    assert torch.equal(before, torch.get_rng_state())
    return found


def test_the_result_is_plain_and_whole(quantified):
    result = json.loads((quantified.folder / "result.json").read_text())
    assert result == json.loads(json.dumps(quantified.result, allow_nan=False))
    assert [row["name"] for row in result["policies"]] == ["translate1", "rotate15", "flip0.3"]
    assert [row["kind"] for row in result["policies"]] == ["exact panels", "quadrature", "exact finite"]
    assert (result["command"], result["data"]["name"], result["probe"]["images"]) == ("quantify", "digits", 30)
    assert len(set(result["probe"]["ids"])) == len(result["policies"][0]["spread"]["values"]) == 30
    labels = al.splits("digits").train.labels[result["probe"]["ids"]].tolist()
    assert labels == result["probe"]["labels"]
    assert min(labels.count(label) for label in range(10)) >= 2
    assert {path.name for path in quantified.folder.iterdir()} == {"config.yaml", "result.json", "checkpoint"}


def test_policies_are_overlaid_and_described(quantified):
    overlap = torch.tensor(quantified.result["overlap"])
    assert overlap.shape == (3, 3)
    torch.testing.assert_close(overlap.diagonal(), torch.ones(3))
    torch.testing.assert_close(overlap, overlap.T)
    assert [row["parts"][0]["op"] for row in quantified.result["policies"]] == ["Translate", "Rotate", "Flip"]


def test_the_ends_are_the_images_of_largest_and_smallest_spread(quantified):
    row, ids = quantified.result["policies"][0], quantified.result["probe"]["ids"]
    by_spread = sorted(zip(row["spread"]["values"], ids, strict=True))
    assert [image.id for image in quantified.least] == [i for _, i in by_spread[:3]]
    assert [image.id for image in quantified.most] == [i for _, i in by_spread[:-4:-1]]
    assert quantified.result["convergence"]["id"] in ids


def test_what_it_says_of_a_network_is_what_expected_loss_says(quantified, network):
    told = quantified.result["network"]
    train = al.splits("digits").train
    alone = al.expected_loss(network, "cross-entropy", Translate(1), train.subset(quantified.result["probe"]["ids"]))
    assert told["expected"] == pytest.approx(alone.average)
    probe = train.subset(quantified.result["probe"]["ids"])
    again = al.alignment(network, Translate(1), probe, images=20, strength=0.1)  # which is of first order
    assert told["alignment"]["policy"] == "translate0.1"
    assert told["alignment"]["energy"] == pytest.approx(again.energy.tolist())
    assert told["alignment"]["ratio"] == pytest.approx(float(again.ratio.nanmedian()))
    assert told["values"]["sd"] == pytest.approx(alone.sd.tolist())
    assert (told["kind"], told["nodes"], told["passes"]) == (alone.kind, alone.nodes, alone.passes)
    curves = al.moments.loss_curves(network, Translate(1), probe)
    assert [curve["parameter"] for curve in told["curves"]] == ["shift right", "shift down"]
    assert [curve["mean"] for curve in told["curves"]] == [pytest.approx(curve.mean.tolist()) for curve in curves]


def test_it_speaks_of_the_policy_the_classes_the_rivals_and_the_network(quantified):
    sentences = quantified.answer
    assert len(sentences) == 5
    spread = quantified.result["policies"][0]["spread"]["median"]
    assert f"copy {spread:.0%} of that mean's size away" in sentences[0]
    assert sentences[3].startswith("Of the 3 policies ")
    text = repr(quantified)
    assert all(sentence in text for sentence in sentences)
    assert "exact panels" in text


def test_the_seed_fixes_it_and_images_may_be_given_alone(quantified):
    data = al.load("digits")
    one, two, other = (al.quantify("cutout3", data, images=20, seed=seed).result for seed in (0, 0, 1))
    for result in (one, two, other):
        for part_of_it in (result, result["policies"][0]):
            part_of_it.pop("seconds")
    assert one == two
    assert one["probe"]["ids"] != other["probe"]["ids"]
    assert one["data"].keys() == {"name", "fingerprint", "train", "classes", "shape"}
    assert one["network"] is None


def test_a_callable_is_told_by_draws():
    found = al.quantify(lambda image: (image + 0.1 * torch.randn(image.shape)).clamp(0, 1), "digits", images=2)
    row = found.result["policies"][0]
    assert (row["kind"], row["nodes"]) == ("monte carlo", 1024)
    assert 0 < row["error"] < 0.2
    assert row["note"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": "none"}, "to quantify is 'none'; give one that changes images"),
        ({"policy": "translate0"}, "'translate0' changed none of the 10 images"),
        ({"policies": ["rotate15", "none"]}, "is 'none'"),
        ({"policy": "rotat15"}, "did you mean 'rotate'"),
        ({"policy": "rotate-15"}, "needs a magnitude"),
        ({"images": 0}, "images is 0, but there are 1,000 training images; give 1 to 1000"),
        ({"images": 1001}, "give 1 to 1000"),
        ({"eps": 0}, "eps is 0; give a number between 0 and 1"),
        ({"delta": 1.5}, "delta is 1.5"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"model": "none.safetensors"}, "holds no network"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3))}, "nn.Linear(64, 10)"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(784, 10))}, "cannot take images of 1×8×8"),
    ],
)
def test_bad_options_are_told_in_a_sentence_and_nothing_is_written(tmp_path, options, told):
    with pytest.raises(InputError) as caught:
        al.quantify(**{"policy": "rotate15", "data": "digits", "images": 10, "out": tmp_path / "run", **options})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_image_that_is_too_large_is_refused_with_the_size_needed():
    data = al.ImageSet(torch.full((1, 3, 224, 224), 99, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(InputError, match=r"would take \d+ MiB but the limit is"):
        al.quantify("cutout60", data, images=1)
