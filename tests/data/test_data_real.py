"""Real CIFAR-10 and MNIST, where a checkout has them beside it."""

import io
from pathlib import Path

import numpy as np
import pytest

from auglean.data import load, splits

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def folder(name):
    if not (FOLDER / name / "train.parquet").is_file():
        pytest.skip(f"the real data set {name} is not beside this checkout")
    return FOLDER / name


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("cifar10", (10_000, 3, 32, 32), [1000] * 10),
        ("mnist", (10_000, 1, 28, 28), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_test_sets(name, shape, counts):
    path = folder(name)
    Image = pytest.importorskip("PIL.Image", reason="needs the extra [data]")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [data]")
    data = load(path, split="test")
    assert data.images.shape == shape
    assert data.counts.tolist() == counts
    assert load(path / "test.parquet").fingerprint == data.fingerprint
    table = pq.read_table(path / "test.parquet")
    for row in (0, 1023, 1024, 9999):
        with Image.open(io.BytesIO(table["image"][row].as_py()["bytes"])) as image:
            wanted = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
        assert np.array_equal(data.images[row].numpy(), wanted)
        assert int(data.labels[row]) == table["label"][row].as_py()


@pytest.mark.slow
def test_cifar10_splits():
    parts = splits(folder("cifar10"), limit=5000, test_limit=500)
    assert parts.train.class_names[:3] == ("airplane", "automobile", "bird")
    assert parts.train.counts.tolist() == [500] * 10
    assert parts.validation.counts.tolist() == [500] * 10
    assert parts.test.counts.tolist() == [50] * 10
