"""Several images on one canvas: parts, enlargement, and that it is the parts that are matched and judged."""

import pytest
import torch

import auglean as al
from auglean.condensation import DM, DSA, Protocol, SyntheticSet, baseline, evaluate, starting_images
from auglean.condensation.builders import Builder
from auglean.condensation.decoding import decode, pack
from auglean.condensation.engine import Engine
from auglean.errors import InputError

NETWORK = "convnet-w8-d2"


@pytest.fixture(scope="module")
def digits():
    return al.load("digits", split="train").subset(torch.arange(300))


def enlarged(part, size):
    """Bilinear interpolation between the centres of pixels, number by number; beyond the outer ones it is constant."""
    found = torch.zeros(size, dtype=part.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            at = [(k + 0.5) * n / whole - 0.5 for k, n, whole in zip((i, j), part.shape, size, strict=True)]
            at = [min(max(place, 0.0), n - 1.0) for place, n in zip(at, part.shape, strict=True)]
            (a, s), (b, t) = ((int(place), place - int(place)) for place in at)
            c, d = min(a + 1, part.shape[0] - 1), min(b + 1, part.shape[1] - 1)
            top, bottom = (1 - t) * part[a, b] + t * part[a, d], (1 - t) * part[c, b] + t * part[c, d]
            found[i, j] = (1 - s) * top + s * bottom
    return found


@pytest.mark.parametrize(("factor", "size"), [(2, (8, 8)), (3, (6, 9)), (2, (4, 6))])
def test_parts_are_enlarged_row_by_row(factor, size):
    canvases = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = decode(canvases, factor)
    assert found.shape == (2 * factor**2, 3, *size)
    high, wide = size[0] // factor, size[1] // factor
    number = 0
    for canvas in canvases:
        for i in range(factor):
            for j in range(factor):
                for channel in range(3):
                    part = canvas[channel, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
                    torch.testing.assert_close(found[number, channel], enlarged(part, size), rtol=0, atol=1e-12)
                number += 1
    assert torch.equal(decode(canvases, 1), canvases)


def test_packed_images_come_back_less_sharp():
    images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    canvases = pack(images, 2)
    assert canvases.shape == (2, 1, 6, 6)
    assert torch.equal(canvases[1, 0, 0, 3], images[5, 0, :2, :2].mean())  # the second part of the second canvas
    flat = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 6, 6)
    assert torch.equal(decode(pack(flat, 2), 2), flat)
    assert torch.equal(pack(images, 1), images)


def test_derivatives():
    canvases = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decode(x, 2), canvases)
    assert torch.autograd.gradgradcheck(lambda x: decode(x, 2) ** 3, canvases)


def test_starts_and_random_canvases_pack_real_images(digits):
    start = starting_images(digits, 2, decode=2, seed=3)
    whole = starting_images(digits, 8, seed=3)
    assert start.shape == (10, 2, 1, 8, 8)
    assert torch.equal(start[4], pack(whole[4], 2))
    packed = baseline("random", digits, 2, decode=2, seed=3)
    assert torch.equal(packed.images, start.flatten(0, 1))
    assert packed.decoded().how["method"] == "random-decode2"
    with pytest.raises(InputError, match="which takes 40 images of each class, but one has 19"):
        starting_images(digits, 10, decode=2)


@pytest.mark.parametrize("method", [DM(pool=1), DSA(pool=1)], ids=lambda method: method.name)
def test_it_is_the_parts_that_are_matched(digits, method):
    """The pull on a canvas is that on its parts, as four images, carried back through the enlargement."""
    policy = method.policy(digits)

    def engine(factor, per_class):
        builder = Builder(NETWORK, digits, policy, seed=0)
        options = {"schedule": "paper", "per_class": per_class, "decode": factor, "steps": 1, "seed": 0}
        return Engine(digits, method, builder, policy, **options)

    canvases, parts = engine(2, 1), engine(1, 4)
    network, path = canvases.builder.build("pool", 0), ("pool", 0)
    target = canvases.target(network, path, 3, 16)
    z = canvases.standardise(starting_images(digits, 1, decode=2))[3]
    pull, distance = canvases.pull(network, path, 3, z, target)
    leaf = z.clone().requires_grad_()
    four = decode(leaf, 2)
    expected, same = parts.pull(network, path, 3, four.detach(), target)
    torch.testing.assert_close(distance, same)
    (carried,) = torch.autograd.grad(four, leaf, expected)
    torch.testing.assert_close(pull, carried, rtol=1e-4, atol=1e-6 * float(carried.abs().max()))
    whole, _ = parts.pull(network, path, 3, z, target)  # the wrong twin: the canvas as one image
    assert float((pull - whole).norm()) > 0.1 * float(pull.norm())


@pytest.mark.parametrize("schedule", ["pooled", "paper"])
def test_condensing_canvases(digits, tmp_path, schedule):
    method = DSA(pool=2, real_batch=8, outer=2, inner=1)
    options = {"per_class": 1, "decode": 2, "method": method, "network": NETWORK, "schedule": schedule, "steps": 3}
    tiny = al.condense(digits, checkpoint=tmp_path / "state", **options)
    assert (len(tiny), tiny.decode, tiny.how["decode"]) == (10, 2, 2)
    passed = tiny.how["cost"]["images"]
    matches = 3 if schedule == "pooled" else 6
    assert (passed["synthetic"], passed["training"]) == (40 * matches, 0 if schedule == "pooled" else 3 * 40)
    tiny.save(tmp_path / "set")
    again = SyntheticSet.load(tmp_path / "set").decoded()
    assert torch.equal(again.images, decode(tiny.images, 2))
    assert again.labels.tolist() == [k for k in range(10) for _ in range(4)]
    assert again.decoded() is again
    with pytest.raises(InputError, match="with decode 2, not 1"):
        al.condense(digits, checkpoint=tmp_path / "state", resume=True, **{**options, "decode": 1})
    with pytest.raises(InputError, match="cannot be cut into 3×3 equal parts"):
        al.condense(digits, **{**options, "decode": 3})


def test_rows_of_canvases_stand_apart(digits):
    test = al.load("digits", split="test")
    sets = {"one": baseline("random", digits, 2, seed=5), "packed": baseline("random", digits, 2, decode=2, seed=5)}
    protocol = Protocol(2, 2, whole_steps=None)
    found = evaluate(sets, digits, test, networks="mlp", baselines=["random"], sets=1, repeats=1, protocol=protocol)
    rows = {row["name"]: row for row in found.rows if row["augmented"]}
    assert {name: row["images"] for name, row in rows.items()} == {
        "random": 20,
        "random-decode2": 80,
        "one": 20,
        "packed": 80,
    }
    assert {row["bytes"] for row in rows.values()} == {20 * 64 * 4}
    assert found.config["per_class"] == 2
