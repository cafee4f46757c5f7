"""`load`: every kind of source made small, and every kind of bad input named."""

import io
import json
import struct
import subprocess
import sys
import types
import zlib

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from auglean.data import load, splits
from auglean.data.decoding import Records, Unreadable, gather, resize, to_pixels
from auglean.errors import InputError

Image = pytest.importorskip("PIL.Image", reason="needs the extra [data]")
pa = pytest.importorskip("pyarrow", reason="needs the extra [data]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [data]")


def pixels(seed=0, size=(6, 8), channels=3):
    """Random uint8, (h, w, 3) or (h, w)."""
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def class_folder(root, classes=("cat", "dog"), each=3, channels=3, size=(6, 8)):
    """Write PNGs; image i of class k has the seed 10 k + i."""
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            (root / name / f"{i}.png").write_bytes(png(pixels(10 * k + i, size, channels)))
    return root


def write_parquet(path, images, labels, *, names=None, columns=("image", "label"), label_type=None):
    structs = pa.array(
        [{"bytes": b, "path": None} for b in images], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    table = pa.table({columns[0]: structs, columns[1]: pa.array(labels, label_type)})
    if names:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def bomb(width=100_000, height=100_000):
    """Make a PNG whose header promises pixels that are not there."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# digits


def test_digits_are_scikit_learns_scaled_to_white():
    from sklearn.datasets import load_digits

    raw = load_digits()
    data = load("digits", split="all")
    assert data.images.shape == (1797, 1, 8, 8)
    assert torch.bincount(data.labels).tolist() == np.bincount(raw.target).tolist()
    assert int(data.images.max()) == 255
    # the same images in another order, on a scale where 16 is white
    there = {(bytes(np.rint(x * 255 / 16).astype(np.uint8)), y) for x, y in zip(raw.data, raw.target, strict=True)}
    here = {(bytes(x.numpy()), y) for x, y in zip(data.images.flatten(1), data.labels.tolist(), strict=True)}
    assert here == there
    parts = [load("digits", split=name) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1000, 297, 500]
    assert torch.equal(torch.cat([part.images for part in parts]), data.images)


def test_the_split_of_digits_never_changes():
    assert load("digits").fingerprint == "7fb2b12bab168ad4"


# folders


def test_a_folder_per_class(tmp_path):
    data = load(class_folder(tmp_path / "pets"))
    assert (data.name, data.class_names) == ("pets", ("cat", "dog"))
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for row, seed in enumerate([0, 1, 2, 10, 11, 12]):
        assert np.array_equal(data.images[row].permute(1, 2, 0).numpy(), pixels(seed))


def test_what_is_passed_over_in_a_class_folder(tmp_path):
    root = class_folder(tmp_path)
    before = load(root).fingerprint
    for name in ("cat/notes.txt", "cat/.hidden.png", "dog/Thumbs.db", "readme.md"):
        (root / name).write_bytes(b"no image")
    (root / ".cache" / "x").mkdir(parents=True)
    assert load(str(root)).fingerprint == before
    (root / "cat" / "deeper").mkdir()
    (root / "cat" / "deeper" / "9.PNG").write_bytes(png(pixels(9)))
    assert len(load(root)) == 7


def test_folders_for_the_splits(tmp_path):
    class_folder(tmp_path / "train", each=6)
    class_folder(tmp_path / "test", classes=("dog",), each=2)
    class_folder(tmp_path / "val", each=1)
    assert [len(load(tmp_path, split=name)) for name in ("train", "validation", "test", "all")] == [
        12,
        2,
        2,
        16,
    ]
    test = load(tmp_path, split="test")
    assert test.class_names == ("cat", "dog")
    assert test.labels.tolist() == [1, 1]
    parts = splits(tmp_path)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [12, 2, 2]


def test_validation_is_cut_where_only_train_and_test_are_given(tmp_path):
    class_folder(tmp_path / "train", each=10)
    class_folder(tmp_path / "test", each=2)
    parts = splits(tmp_path, validation=0.2)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [16, 4, 4]
    assert parts.test.fingerprint == load(tmp_path, split="test").fingerprint
    rows = [x.numpy().tobytes() for p in (parts.train, parts.validation) for x in p.images]
    assert sorted(rows) == sorted(x.numpy().tobytes() for x in load(tmp_path).images)


def test_a_class_called_train_is_a_class(tmp_path):
    assert load(class_folder(tmp_path, classes=("plane", "train"))).class_names == ("plane", "train")


def test_a_stranger_beside_the_splits_is_named(tmp_path):
    class_folder(tmp_path / "train")
    class_folder(tmp_path / "extra")
    with pytest.raises(InputError, match=r"extra does not fit"):
        load(tmp_path)


def test_a_test_class_without_training_images_is_named(tmp_path):
    class_folder(tmp_path / "train")
    class_folder(tmp_path / "test", classes=("cat", "yak"))
    with pytest.raises(InputError, match=r"'yak'"):
        load(tmp_path)


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"has no images"):
        load(tmp_path)


def test_images_without_class_folders(tmp_path):
    (tmp_path / "a.png").write_bytes(png(pixels()))
    with pytest.raises(InputError, match=r"1 images outside class folders"):
        load(tmp_path)


def test_class_folder_without_images(tmp_path):
    root = class_folder(tmp_path)
    (root / "emu").mkdir()
    (root / "emu" / "notes.txt").write_text("soon")
    with pytest.raises(InputError, match=r"emu has no images"):
        load(root)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("./pet/", "did you mean 'pets'"),
        ("digit", "did you mean 'digits'"),
        ("pets/train.parquet", "no file or folder 'pets/train.parquet'"),
        ("set.safetensors", "no file or folder 'set.safetensors'"),
        ("pest", "did you mean 'pets'.*pip install"),  # may be a name on the hub
        ("", "no file or folder ''"),
        ("x" * 5000, "Cannot read xxx"),
    ],
)
def test_missing_path_and_nearest_name(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    class_folder(tmp_path / "pets")
    with pytest.raises(InputError, match=says):
        load(given)
    if given == "pest":
        with pytest.raises(InputError, match=r"no file or folder .*did you mean .*pets'"):
            load(tmp_path / given)


def test_unknown_split(tmp_path):
    with pytest.raises(InputError, match="did you mean 'train'"):
        load("digits", split="trian")
    with pytest.raises(InputError, match="no splits, so no test split"):
        load(class_folder(tmp_path), split="test")


# pixels


def test_png_jpeg_and_greys_give_what_pillow_gives(tmp_path):
    root = class_folder(tmp_path, classes=("a",), each=1)
    Image.fromarray(pixels(5)).save(root / "a" / "1.jpg", quality=75)
    data = load(root)
    with Image.open(root / "a" / "1.jpg") as image:
        assert np.array_equal(data.images[1].permute(1, 2, 0).numpy(), np.asarray(image))


def test_grey_when_all_are_grey_else_rgb(tmp_path):
    root = class_folder(tmp_path, classes=("a",), channels=1)
    grey = load(root)
    assert grey.channels == 1
    assert np.array_equal(grey.images[2, 0].numpy(), pixels(2, channels=1))
    (root / "a" / "1b.png").write_bytes(png(pixels(7)))  # a colour image among them, neither first nor last
    mixed = load(root)
    assert mixed.channels == 3
    assert torch.equal(mixed.images[[0, 1, 3]], grey.images.expand(-1, 3, -1, -1))
    assert np.array_equal(mixed.images[2].permute(1, 2, 0).numpy(), pixels(7))


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return to_pixels(file.getvalue(), "it")


def test_palette_alpha_and_two_levels():
    colour, grey = Image.fromarray(pixels()), Image.fromarray(pixels(channels=1))
    palette = colour.quantize(16)
    assert np.array_equal(saved(palette).transpose(1, 2, 0), np.asarray(palette.convert("RGB")))
    assert saved(grey.quantize(16)).shape == (1, 6, 8)
    alpha = colour.copy()
    alpha.putalpha(grey)
    assert np.array_equal(saved(alpha).transpose(1, 2, 0), pixels())
    assert np.array_equal(saved(grey.convert("LA"))[0], pixels(channels=1))
    two = pixels(channels=1) > 127
    assert np.array_equal(saved(Image.fromarray(two))[0], two * np.uint8(255))


def test_cmyk_becomes_rgb():
    cmyk = Image.new("CMYK", (8, 6), (255, 0, 0, 0))  # cyan
    assert saved(cmyk, "TIFF")[:, 0, 0].tolist() == [0, 255, 255]


def test_sixteen_bits_are_scaled():
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    wanted = np.rint(deep / 257.0).astype(np.uint8)
    assert np.array_equal(saved(Image.fromarray(deep))[0], wanted)
    assert np.array_equal(saved(Image.fromarray(deep.astype(np.int32)), "TIFF")[0], wanted)
    assert np.array_equal(saved(Image.fromarray((deep / 65535).astype(np.float32)), "TIFF")[0], wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    # EXIF 2.3, tag 0x0112: which side of the scene row 0 and column 0 of the file are
    scene = pixels(channels=1)
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.T,
        6: scene.T[::-1],  # row 0 is the right side, column 0 the top
        7: scene.T[::-1, ::-1],
        8: scene.T[:, ::-1],  # row 0 is the left side, column 0 the bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(saved(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)[0], scene)


@pytest.mark.parametrize(("size", "wanted"), [((40, 56), 16), ((57, 32), 16), ((8, 8), 20), ((20, 30), 20)])
def test_resize_against_pillow(size, wanted):
    array = pixels(3, size)
    ours = resize(torch.from_numpy(array).permute(2, 0, 1)[None], wanted)[0].permute(1, 2, 0).numpy()
    (h, w), side = size, min(size)
    left, top = (w - side) // 2, (h - side) // 2
    square = Image.fromarray(array).crop((left, top, left + side, top + side))
    theirs = np.asarray(square.resize((wanted, wanted), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


# sizes, corruption, bombs


def test_two_sizes_are_named_and_size_mends_it(tmp_path):
    root = class_folder(tmp_path, classes=("a",))
    (root / "a" / "1b.png").write_bytes(png(pixels(7, size=(12, 9))))
    with pytest.raises(InputError, match=r"0\.png is 8×6 and .*1b\.png is 9×12 .*--size") as caught:
        load(root)
    assert "\n" not in str(caught.value)
    data = load(root, size=5)
    assert data.images.shape == (4, 3, 5, 5)
    with pytest.raises(InputError, match="size is 0"):
        load(root, size=0)


def test_a_corrupt_image_is_named_or_counted(tmp_path):
    root = class_folder(tmp_path)
    whole = (root / "cat" / "1.png").read_bytes()
    for damage in (whole[: len(whole) // 2], b"no image at all", b"", whole[:30] + b"\0" * 20 + whole[50:]):
        (root / "cat" / "1.png").write_bytes(damage)
        with pytest.raises(InputError, match=r"1\.png as an image .*--skip-corrupt"):
            load(root)
        data = load(root, skip_corrupt=True)
        assert (len(data), data.skipped) == (5, 1)
        assert data.labels.tolist() == [0, 0, 1, 1, 1]
        assert "1 unreadable left out" in repr(data)
    data.save(tmp_path / "set.safetensors")
    assert load(tmp_path / "set.safetensors").fingerprint == data.fingerprint


def test_skips_are_counted_over_all_splits(tmp_path):
    for name in ("train", "test"):
        class_folder(tmp_path / name, each=5)
        (tmp_path / name / "dog" / "0.png").write_bytes(b"")
    assert splits(tmp_path, skip_corrupt=True).skipped == 2


def test_a_class_of_corrupt_images_only(tmp_path):
    root = class_folder(tmp_path, each=1)
    (root / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"'cat'"):
        load(root, skip_corrupt=True)
    (root / "dog" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match="None of the 2 images"):
        load(root, skip_corrupt=True)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 12_000, 100_000])  # nothing, a warning and an error from Pillow
@pytest.mark.parametrize("skip", [False, True])
def test_a_bomb_is_refused_by_its_header(tmp_path, side, skip):
    root = class_folder(tmp_path, classes=("a",))
    (root / "a" / "bomb.png").write_bytes(bomb(side, side))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match=r"bomb\.png is .*pixels"):
        load(root, skip_corrupt=skip, max_pixels=80_000_000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_bomb_where_warnings_are_errors(tmp_path):
    root = class_folder(tmp_path, classes=("a",))
    (root / "a" / "bomb.png").write_bytes(bomb(12_000, 12_000))
    with pytest.raises(InputError, match=r"bomb\.png is refused"):
        load(root)


def test_postscript_is_never_run():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(Unreadable, match="PostScript"):
        to_pixels(eps, "it")


def test_more_images_than_memory_holds():
    few = [("a", pixels(), 0)]
    with pytest.raises(InputError, match=r"3×6×8 need \d+ GiB.*--size"):
        gather(Records(2**50, lambda: iter(few)), class_names=(), name="huge")


# Parquet


def test_parquet_with_class_names(tmp_path):
    images = [png(pixels(i)) for i in range(5)]
    data = load(write_parquet(tmp_path / "pets.parquet", images, [1, 0, 1, 2, 0], names=["x", "a", "m"]))
    assert (data.name, data.class_names, data.labels.tolist()) == ("pets", ("x", "a", "m"), [1, 0, 1, 2, 0])
    for i in range(5):
        assert np.array_equal(data.images[i].permute(1, 2, 0).numpy(), pixels(i))
    assert [item.name for item in tmp_path.iterdir()] == ["pets.parquet"]


def test_parquet_as_datasets_writes_it(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra [data]")
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "id": datasets.Value("int64"),
            "kind": datasets.ClassLabel(names=["b", "a"]),
        }
    )
    rows = {"img": [Image.fromarray(pixels(i)) for i in range(3)], "id": [7, 8, 9], "kind": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    data = load(tmp_path)
    assert (data.class_names, data.labels.tolist()) == (("b", "a"), [1, 0, 1])
    assert np.array_equal(data.images[2].permute(1, 2, 0).numpy(), pixels(2))


def test_parquet_without_names(tmp_path):
    images = [png(pixels(i)) for i in range(4)]
    text = load(write_parquet(tmp_path / "text.parquet", images, ["dog", "cat", "emu", "cat"]))
    assert (text.class_names, text.labels.tolist()) == (("cat", "dog", "emu"), [1, 0, 2, 0])
    integers = load(write_parquet(tmp_path / "integers.parquet", images, [2, 0, 1, 2], columns=("png", "labels")))
    assert (integers.class_names, integers.labels.tolist()) == (("0", "1", "2"), [2, 0, 1, 2])


def test_a_folder_of_shards_by_split(tmp_path):
    images = [png(pixels(i)) for i in range(8)]
    for name, rows in (
        ("train-00000-of-00002", [0, 1]),
        ("train-00001-of-00002", [2, 3, 4]),
        ("test", [5, 6, 7]),
    ):
        path = tmp_path / f"{name}.parquet"
        write_parquet(path, [images[i] for i in rows], ["cat" if i % 2 else "ant" for i in rows])
    train, test = load(tmp_path), load(tmp_path, split="test")
    assert train.labels.tolist() == [0, 1, 0, 1, 0]
    assert test.labels.tolist() == [1, 0, 1]
    assert np.array_equal(train.images[4].permute(1, 2, 0).numpy(), pixels(4))
    assert len(load(tmp_path, split="all")) == 8
    with pytest.raises(InputError, match="only test, train, so no validation split"):
        load(tmp_path, split="validation")
    write_parquet(tmp_path / "odd.parquet", images[:1], ["ant"])
    with pytest.raises(InputError, match=r"odd\.parquet belongs to no split"):
        load(tmp_path)


def test_shards_that_disagree_on_names(tmp_path):
    write_parquet(tmp_path / "train.parquet", [png(pixels())], [0], names=["a"])
    write_parquet(tmp_path / "test.parquet", [png(pixels())], [0], names=["b"])
    with pytest.raises(InputError, match=r"class names of .* differ"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        ([0, 1, 2], ["a", "b"], r"row 2 of .*x\.parquet is 2, not one of 0 … 1"),
        ([0, -1, 1], ["a", "b"], r"row 1 of .* is -1"),
        ([0, None, 1], ["a", "b"], r"row 1 of .* is missing"),
        ([0, None, 1], None, r"row 1 of .* is missing"),
        ([0, -3, 1], None, r"row 1 of .* is -3"),
        ([0, 0, 2], None, r"no images of 1 of its 3 classes \('1'\)"),
        ([0, 0, 0], ["a", "b"], r"\('b'\)"),
        ([0.5, 1.0, 2.0], None, "neither integers nor text"),
        ([None, None, None], None, "no one column of labels|neither integers nor text"),
    ],
)
def test_labels_that_cannot_be(tmp_path, labels, names, says):
    path = write_parquet(tmp_path / "x.parquet", [png(pixels(i)) for i in range(3)], labels, names=names)
    with pytest.raises(InputError, match=says):
        load(path)


def test_parquet_rows_that_cannot_be_read(tmp_path):
    images = [png(pixels(i)) for i in range(5)]
    images[3] = images[3][:60]
    images[4] = None
    path = write_parquet(tmp_path / "x.parquet", images, [0, 1, 0, 1, 0])
    with pytest.raises(InputError, match=r"row 3 of .*x\.parquet as an image"):
        load(path)
    data = load(path, skip_corrupt=True)
    assert (len(data), data.skipped, data.labels.tolist()) == (3, 2, [0, 1, 0])


def test_parquet_files_that_are_none(tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(InputError, match=r"text\.parquet as Parquet"):
        load(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match="no column of encoded images among a, b"):
        load(tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"image": [b""], "id": [1], "kind": [2]}), tmp_path / "ids.parquet")
    with pytest.raises(InputError, match="no one column of labels among image, id, kind"):
        load(tmp_path / "ids.parquet")
    write_parquet(tmp_path / "none.parquet", [], [], label_type=pa.int64())
    with pytest.raises(InputError, match="no rows"):
        load(tmp_path / "none.parquet")


# in memory


def test_an_image_set_is_given_back():
    data = load("digits")
    assert load(data) is data
    assert load(data, split="test") is data
    assert load(data, size=8) is data
    small = load(data, size=4)
    assert small.images.shape == (1000, 1, 4, 4)
    assert torch.equal(small.labels, data.labels)


class Pairs(Dataset):
    def __init__(self, *items, classes=None):
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


def test_data_sets_of_every_kind_of_image():
    array = pixels()
    chw = torch.from_numpy(array.transpose(2, 0, 1).copy())
    kinds = [
        chw,
        chw.float() / 255,
        chw.double() / 255,
        array,
        array.astype(np.float64) / 255,
        chw.numpy(),
        Image.fromarray(array),
    ]
    data = load(Pairs(*[(image, i % 2) for i, image in enumerate(kinds)], classes=["a", "b"]))
    assert data.class_names == ("a", "b")
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    for image in data.images:
        assert torch.equal(image, chw)
    grey = load(Pairs((pixels(channels=1), 0), (torch.from_numpy(pixels(channels=1)), np.int64(1))))
    assert grey.images.shape == (2, 1, 6, 8)
    tensors = load(TensorDataset(torch.stack([chw, chw]), torch.tensor([0, 1])))
    assert tensors.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "empty"),
        ([(pixels(), 0), pixels()], "Item 1 of the pairs is no pair"),
        ([(pixels(), 0.5)], "label of item 0 of the Pairs is 0.5"),
        ([(pixels(), "cat")], "label of item 0 of the Pairs is 'cat'"),
        ([(pixels(), 0), (pixels(), -1)], "Label -1 of example 1"),
        ([(pixels() / 255 * np.nan, 0)], "item 0 of the Pairs as an image .*within"),
        ([(pixels().astype(np.int32), 0)], "int32"),
        ([(torch.zeros(2, 6, 8), 0)], r"shape \(2, 6, 8\)"),
        ([(pixels(), 0), (OSError("broken file"), 0)], "item 1 of the Pairs as an image .broken file"),
        (
            [(pixels(), 0), (pixels(size=(6, 9)), 0)],
            r"item 0 of the Pairs is 8×6 and item 1 of the Pairs is 9×6",
        ),
    ],
)
def test_data_sets_that_cannot_be_used(items, says):
    items = [item[0] if isinstance(item, tuple) and isinstance(item[0], Exception) else item for item in items]
    with pytest.raises(InputError, match=says):
        load(Pairs(*items))


def test_the_errors_of_a_data_set_itself_come_through():
    with pytest.raises(ZeroDivisionError):
        load(Pairs(ZeroDivisionError("a slip in the user's code")))


def test_no_map_style_data_set():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ()

    for given in (Stream(), 3, None):
        with pytest.raises(InputError, match="map-style"):
            load(given)


# extras that are not there, hub and torchvision


def test_absent_extras_are_named(tmp_path, monkeypatch):
    root = class_folder(tmp_path / "pets")
    path = write_parquet(tmp_path / "x.parquet", [png(pixels())], [0])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        with pytest.raises(InputError, match=r"Pillow.*pip install 'auglean\[data\]'"):
            load(root)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(InputError, match=r"Parquet.*pip install 'auglean\[data\]'"):
            load(path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)
        with pytest.raises(InputError, match=r"no file or folder 'owner/name' here.*pip install 'auglean\[data\]'"):
            load("owner/name")


def test_a_hub_name(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra [data]")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

    def split(rows):
        images = [{"bytes": png(pixels(i)), "path": None} for i in rows]
        return datasets.Dataset.from_dict({"img": images, "label": [i % 2 for i in rows]}, features=features)

    asked = []

    def load_dataset(name):
        asked.append(name)
        return datasets.DatasetDict({"train": split(range(4)), "test": split(range(4, 6))})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    train, test = load("owner/pets"), load("owner/pets", split="test")
    assert asked == ["owner/pets"] * 2
    assert (train.name, train.class_names, train.labels.tolist()) == ("pets", ("a", "b"), [0, 1, 0, 1])
    assert np.array_equal(test.images[1].permute(1, 2, 0).numpy(), pixels(5))

    def refuse(name):
        raise ConnectionError("no route to the hub.\nmore")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"'owner/pets' is no file or folder .*\(no route to the hub\)"):
        load("owner/pets")


def fake_torchvision(monkeypatch, **classes):
    module, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    vars(datasets).update(classes)
    module.datasets = datasets
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_torchvision_names(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    class CIFAR10(Pairs):
        def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
            made.append((root, train, download))
            super().__init__(*[(Image.fromarray(pixels(i)), i % 2) for i in range(4 if train else 2)])
            self.classes = ["a", "b"]

    class SVHN(Pairs):
        def __init__(self, root, split="train", transform=None, target_transform=None, download=False):
            made.append((root, split, download))
            super().__init__(*[(Image.fromarray(pixels(i)), i % 2) for i in range(4)])

    class FakeData(Pairs):
        def __init__(self, size=10):
            super().__init__()

    fake_torchvision(monkeypatch, CIFAR10=CIFAR10, SVHN=SVHN, FakeData=FakeData)
    data = load("torchvision:CIFAR10", split="test")
    assert (data.name, data.class_names, data.labels.tolist()) == ("CIFAR10", ("a", "b"), [0, 1])
    root = str(tmp_path / "auglean" / "torchvision")
    assert made == [(root, True, True), (root, False, True)]
    assert len(load("torchvision:SVHN")) == 4
    assert made[2:] == [(root, "train", True), (root, "test", True)]
    with pytest.raises(InputError, match="did you mean 'CIFAR10'"):
        load("torchvision:CIFAR")
    with pytest.raises(InputError, match="Unknown torchvision data set 'FakeData'"):
        load("torchvision:FakeData")


def test_torchvision_that_cannot_be_had(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"torchvision cannot be imported .*same package index .*Parquet"):
        load("torchvision:CIFAR10")

    class CIFAR10:
        def __init__(self, root, train=True, download=False):
            raise OSError("network down")

    fake_torchvision(monkeypatch, CIFAR10=CIFAR10)
    with pytest.raises(InputError, match=r"train split of CIFAR10 \(network down\)"):
        load("torchvision:CIFAR10")


def test_importing_data_imports_no_extra():
    extras = ("PIL", "pyarrow", "datasets", "sklearn", "torchvision")
    code = f"import sys, auglean.data; print([name for name in {extras} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
