"""Condensed images as an arm of `compare`: trained on as they are, at equal steps, their making charged."""

from dataclasses import replace

import pytest
import torch

import auglean as al
from auglean.condensation import baseline
from auglean.data import splits
from auglean.errors import InputError
from auglean.reports import comparison_table, write
from auglean.training import AugmentSubset, Item


@pytest.fixture(scope="module")
def sets():
    return splits("digits", limit=200, test_limit=100)


def made(sets, method="DM", seconds=100.0):
    one = baseline("k-means", sets.train, 2)
    return replace(one, images=one.images * 1.3 - 0.1, how={**one.how, "method": method, "seconds": seconds})


def test_arm_beside_as_many_random_images(sets, tmp_path):
    made(sets, "DSA", 7.0).save(tmp_path / "dsa.safetensors")
    given = [made(sets), tmp_path / "dsa.safetensors", made(sets)]
    table = al.compare(
        sets, condensed=given, selectors=["max-loss"], steps=6, seeds=2, network="mlp", out=tmp_path / "run"
    )
    names = [(arm["name"], arm["role"], arm["budget"]) for arm in table.arms][-6:]
    assert names == [
        *((name, "subset+subset", 20) for name in ("random", "random-each-epoch", "random-per-class")),
        *((name, "subset+subset", 20) for name in ("dm", "dsa", "dm-2")),
    ]
    dm, again = table["dm"], table["dm-2"]
    assert (dm["count"], dm["steps"]) == (20, 6)
    assert dm["seconds"]["select"] == pytest.approx(100, abs=1)
    assert dm["seconds"]["total"] > 100
    assert 7 < table["dsa"]["seconds"]["total"] < 50
    assert all(row["seconds"] > 100 for run in table.histories["dm-20-subset+subset"] for row in run)
    assert dm["accuracy"] == again["accuracy"]
    assert dm["images_augmented"] == next(
        arm["images_augmented"] for arm in table.arms if (arm["name"], arm["budget"]) == ("random", 20)
    )
    assert "dsa" in "".join(map(str, comparison_table(table.result, width=160).columns[0]._cells))
    assert "dsa" in write(table).read_text()
    resumed = al.compare(sets, condensed=given, selectors=["max-loss"], steps=6, seeds=2, network="mlp",
                         out=tmp_path / "run", resume=True)  # fmt: skip
    assert resumed["dm"] == dm


def test_fit_takes_the_pixels_as_they_are(sets):
    tiny = made(sets)
    images, _, _ = AugmentSubset(tiny, "none")[Item(3, 0, 1.0, 0)]
    assert torch.equal(images, tiny.images[3])
    assert float(tiny.images.min()) < 0
    first, second = (al.fit("mlp", one, steps=4, seed=1).model.state_dict() for one in (tiny, tiny))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.allclose(first["normalize.mean"].flatten(), torch.tensor(tiny.mean))
    changed = replace(tiny, images=tiny.images.clamp(0, 1))
    assert changed.fingerprint != tiny.fingerprint
    assert not torch.equal(al.fit("mlp", changed, steps=4, seed=1).model[2].weight, first["classifier.weight"])


def test_refuses_sets_of_other_data(sets):
    tiny = made(sets)
    other = replace(tiny, class_names=tuple("abcdefghij"))
    with pytest.raises(InputError, match="classes a, b, c"):
        al.compare(sets, condensed=[other], steps=2, seeds=1, network="mlp")
    empty = replace(tiny, images=tiny.images[:18], labels=tiny.labels[:18])
    with pytest.raises(InputError, match="no images of 1 of its 10 classes"):
        al.fit("mlp", empty, steps=2)
