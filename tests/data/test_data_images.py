"""`ImageSet`: what it holds, what it refuses, and that it is the same after a round trip."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from auglean.data import ImageSet
from auglean.errors import InputError


def small(n=7, channels=3, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, 4, 5), dtype=torch.uint8, generator=g)
    return ImageSet(images, torch.arange(n) % classes, name="small")


def test_what_it_says_of_itself():
    data = small()
    assert (len(data), data.classes, data.channels, data.size) == (7, 3, 3, (4, 5))
    assert data.class_names == ("0", "1", "2")
    assert data.counts.tolist() == [3, 2, 2]
    assert repr(data).splitlines()[0] == "ImageSet small: 7 images of 3×4×5, 3 classes"
    assert repr(data).splitlines()[2].split() == ["0", "3"]


def test_a_long_table_is_cut():
    data = ImageSet(torch.zeros(30, 1, 2, 2, dtype=torch.uint8), torch.arange(30))
    assert repr(data).splitlines()[-1] == "… 18 more"


def test_items_batches_and_the_loader_agree():
    data = small()
    image, label = data[-1]
    assert torch.equal(image, data.images[6])
    assert label == 0
    assert isinstance(label, int)
    images, labels = data.batch([4, 1, 4])
    assert torch.equal(images, torch.stack([data[4][0], data[1][0], data[4][0]]))
    assert labels.tolist() == [1, 1, 1]
    with pytest.raises(IndexError):
        data[7]
    batches = list(DataLoader(data, batch_size=3))
    assert torch.equal(torch.cat([x for x, _ in batches]), data.images)
    assert torch.equal(torch.cat([y for _, y in batches]), data.labels)


def test_subset_by_positions_and_by_mask():
    data = small()
    by_position = data.subset([0, 3, 6])
    assert torch.equal(by_position.images, data.images[[0, 3, 6]])
    assert by_position.class_names == data.class_names
    assert data.subset(data.labels == 0).fingerprint == by_position.fingerprint
    with pytest.raises(InputError, match="at least one image"):
        data.subset([])
    with pytest.raises(InputError, match="must be integers"):
        data.subset([0.5])


def test_mean_and_std_against_float64():
    data = small(n=11)
    pixels = data.images.double().div(255).transpose(0, 1).flatten(1)  # (channels, values)
    mean, std = data.mean_std()
    np.testing.assert_allclose(mean, pixels.mean(1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(1, correction=0).numpy(), rtol=1e-12)


def test_fingerprint_tells_every_change():
    data = small()
    pixel = data.images.clone()
    pixel[3, 1, 2, 2] ^= 1
    label = data.labels.clone()
    label[5] = 0
    variants = [
        data,
        ImageSet(pixel, data.labels),
        ImageSet(data.images, label, data.class_names),
        ImageSet(data.images, data.labels, ("a", "b", "c")),
        ImageSet(data.images.reshape(7, 3, 5, 4), data.labels),
        data.subset([1, 0, 2, 3, 4, 5, 6]),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    renamed = ImageSet(data.images.clone(), data.labels.int(), data.class_names, name="other", skipped=2)
    assert renamed.fingerprint == data.fingerprint


def test_fingerprint_is_the_same_in_every_version():
    # held fixed: run folders written by older versions are compared by it
    data = ImageSet(torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2), torch.tensor([0]), ("é",))
    assert data.fingerprint == "102bcb972d3e7fb8"


def test_round_trips(tmp_path):
    data = ImageSet(small().images, small().labels, ("a", "b", "c", "never"), name="n", skipped=4)
    path = tmp_path / "set.safetensors"
    data.save(path)
    for back in (ImageSet.load(path), pickle.loads(pickle.dumps(data))):
        assert back.fingerprint == data.fingerprint
        assert (back.class_names, back.name, back.skipped) == (data.class_names, "n", 4)
    assert [item.name for item in tmp_path.iterdir()] == ["set.safetensors"]


def test_load_refuses_other_files(tmp_path):
    from safetensors.torch import save_file

    save_file({"images": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("other", "text", "missing"):
        with pytest.raises(InputError, match=f"{name}.safetensors"):
            ImageSet.load(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), "float32.*from_tensors"),
        (np.zeros((2, 1, 4, 4), np.uint8), torch.tensor([0, 1]), "ndarray.*from_tensors"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.tensor([0, 1]), r"\(2, 4, 4, 3\)"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), r"\(2, 4, 4\)"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0).long(), "at least one image"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0]), "one label per image"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([[0], [1]]), "one label per image"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0.0, 1.0]), "float32"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 1], "list"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, -1]), "Label -1 of example 1"),
    ],
)
def test_what_does_not_fit_is_refused(images, labels, says):
    with pytest.raises(InputError, match=says):
        ImageSet(images, labels)


def test_labels_beyond_the_names_are_refused():
    with pytest.raises(InputError, match=r"Label 2 of example 2 is outside 0 … 1"):
        ImageSet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), ("a", "b"))


def test_every_class_must_be_there_to_train():
    data = ImageSet(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2]), ("a", "b", "c", "d"))
    with pytest.raises(InputError, match=r"no images of 2 of its 4 classes \('b', 'd'\)"):
        data.require_every_class()
    small().require_every_class()


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_floats_are_rounded_to_the_nearest_level(values):
    array = np.array(values, dtype=np.float64).reshape(1, 1, 2, 2)
    levels = ImageSet.from_tensors(array, [0]).images.double().numpy()
    assert np.abs(levels - array * 255).max() <= 0.5 + 1e-4


def test_every_level_survives_as_float():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert torch.equal(ImageSet.from_tensors(levels.to(dtype) / 255, [0]).images, levels)
    assert torch.equal(ImageSet.from_tensors(levels.numpy()[:, 0], np.array([0])).images, levels)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.01, 255.0])
def test_floats_outside_are_refused_with_their_place(bad):
    images = torch.zeros(3, 1, 2, 2)
    images[2, 0, 1, 0] = bad
    with pytest.raises(InputError, match=r"Pixel \(2, 0, 1, 0\)"):
        ImageSet.from_tensors(images, [0, 1, 2])
