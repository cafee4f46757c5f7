"""`SyntheticSet` as a data set and as a file."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

import auglean as al
from auglean.condensation import SyntheticSet
from auglean.errors import InputError


def make(channels=3, per_class=2, classes=3, **changes):
    count = per_class * classes
    images = torch.rand(count, channels, 8, 6, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    given = {
        "images": images,
        "labels": torch.arange(classes).repeat_interleave(per_class),
        "class_names": tuple("abcdefgh"[:classes]),
        "mean": (0.1, 1 / 3, 0.7)[:channels],
        "std": (0.2, 0.3, 0.4)[:channels],
        "history": {"loss": torch.tensor([1.0, 1 / 3], dtype=torch.float64), "seconds": torch.tensor([0.5, 1.0])},
        "how": {"data": "made up", "method": "DM", "steps": 2, "options": {"lr": 0.1}},
    }
    return SyntheticSet(**{**given, **changes})


@pytest.mark.parametrize("channels", [1, 3])
def test_file_gives_back_every_bit(tmp_path, channels):
    one = make(channels)
    one.save(tmp_path / "deep" / "set.safetensors")
    other = SyntheticSet.load(tmp_path / "deep" / "set.safetensors")
    for name in ("images", "labels"):
        assert torch.equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.class_names, one.mean, one.std, one.how) == (other.class_names, other.mean, other.std, other.how)
    assert one.history.keys() == other.history.keys()
    assert all(torch.equal(one.history[name], other.history[name]) for name in one.history)
    assert repr(one) == repr(other)


def test_is_a_data_set():
    tiny = make()
    assert len(tiny) == 6
    assert (tiny.classes, tiny.channels, tiny.size, tiny.counts.tolist()) == (3, 3, (8, 6), [2, 2, 2])
    images, labels = next(iter(DataLoader(tiny, batch_size=4)))
    assert torch.equal(images, tiny.images[:4])
    assert labels.tolist() == [0, 0, 1, 1]
    image, label = tiny[5]
    assert torch.equal(image, tiny.images[5])
    assert label == 2
    assert torch.equal(tiny.batch(torch.tensor([4, 1]))[0], tiny.images[[4, 1]])


def test_rounded_is_an_image_set():
    tiny = make()
    levels = tiny.rounded()
    assert isinstance(levels, al.ImageSet)
    assert levels.class_names == tiny.class_names
    assert (levels.images / 255 - tiny.images.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


def test_prints_a_short_table():
    assert repr(make()).splitlines() == [
        "SyntheticSet made up: 6 images of 3×8×6, 2 per class, 3 classes",
        "method   DM",
        "steps    2",
        "loss     1 → 0.3333",
        "seconds  0.5 → 1",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": torch.zeros(6, 3, 8, 6, dtype=torch.uint8)}, "divide 8-bit levels by 255"),
        ({"images": torch.full((6, 3, 8, 6), float("nan"))}, "not finite"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "one number per image"),
        ({"labels": torch.tensor([0, 0, 1, 1, 2, 3])}, "from 0 to 3"),
        ({"mean": (0.5,)}, "3 channels"),
    ],
)
def test_refuses(changes, said):
    with pytest.raises(InputError, match=said):
        make(**changes)


def test_damaged_pixels_name_the_file(tmp_path):
    make().save(tmp_path / "good")
    tensors, about = load_file(tmp_path / "good"), safe_open(tmp_path / "good", "pt").metadata()
    tensors["images"][2, 1, 0, 0] = float("nan")
    save_file(tensors, tmp_path / "nan", metadata=about)
    del tensors["labels"]
    save_file(tensors, tmp_path / "bare", metadata=about)
    for name, said in [("nan", "not finite"), ("bare", "labels")]:
        with pytest.raises(InputError, match=rf"{name} holds no usable set \(.*{said}") as caught:
            SyntheticSet.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_refuses_other_files(tmp_path):
    make().save(tmp_path / "good")
    content = (tmp_path / "good").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "noise").write_bytes(b"\x00\xff" * 100)
    (tmp_path / "empty").write_bytes(b"")
    save_file({"images": torch.zeros(2)}, tmp_path / "foreign", metadata={"state": json.dumps({"format": "x"})})
    save_file({"images": torch.zeros(2)}, tmp_path / "bare")
    for name in ("cut", "noise", "empty", "foreign", "bare", "missing"):
        with pytest.raises(InputError, match=r"written by SyntheticSet\.save") as caught:
            SyntheticSet.load(tmp_path / name)
        assert "\n" not in str(caught.value)
