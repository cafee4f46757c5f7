"""Tables with a column of encoded images and a column of labels: Parquet files and data sets of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from auglean.data.decoding import Records, reason
from auglean.data.sources import SPLIT_WORDS, Source
from auglean.errors import InputError

_LABEL_TYPES = ("int", "uint", "string", "large_string", "dictionary")


def parquet(path: Path) -> Source:
    """Open a Parquet file, or a folder of Parquet files whose names begin with train, validation or test.

    The layout is that of the Hugging Face `image` feature. Read by pyarrow, row group by row group, so that
    nothing is written to a cache.

    Raises:
        InputError: If a file is no Parquet file, lacks the columns, or has a label missing or out of range.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    by_split: dict[str, list[Path]] = {}
    for file in files:
        word = file.stem.lower().replace("_", "-").replace(".", "-").split("-")[0]
        by_split.setdefault("all" if path.is_file() else SPLIT_WORDS.get(word, "all"), []).append(file)
    if len(by_split) > 1 and "all" in by_split:
        raise InputError(
            f"The file {by_split['all'][0]} belongs to no split; "
            "begin the names of all the files with train, validation or test, or of none."
        )
    tables = {split: [_Table.of(file) for file in files] for split, files in by_split.items()}
    every = list(chain.from_iterable(tables.values()))
    other = next((table for table in every if table.names != every[0].names), None)
    if other is not None:
        raise InputError(f"The class names of {every[0].path} and {other.path} differ; give files of one data set.")
    names = every[0].names or _names_of(chain.from_iterable(table.labels for table in every), every[0].path)
    stem = path.stem if path.is_file() else path.resolve().name
    return Source(stem, names, {split: _rows(group, names) for split, group in tables.items()})


@dataclass(frozen=True, slots=True)
class _Table:
    """One Parquet file: its columns, its labels (already read) and the class names of its schema."""

    path: Path
    image: str
    label: str
    labels: list[Any]
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> _Table:
        pq = _pyarrow_parquet()
        try:
            schema = pq.read_schema(path)
            metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            features = (metadata.get("info") or {}).get("features") or {}
            image, label = _columns({name: str(schema.field(name).type) for name in schema.names}, features, str(path))
            labels = pq.read_table(path, columns=[label]).column(label).to_pylist()
        except InputError:
            raise
        except (OSError, ValueError) as problem:  # pyarrow's own errors are of these two kinds
            raise InputError(
                f"Cannot read {path} as Parquet ({reason(problem)}); give a whole Parquet file."
            ) from problem
        if not labels:
            raise InputError(f"The file {path} has no rows; give a file with images.")
        return cls(path, image, label, labels, tuple((features.get(label) or {}).get("names") or ()))

    def images(self) -> Iterator[Any]:
        pq = _pyarrow_parquet()
        with pq.ParquetFile(self.path) as file:
            for chunk in file.iter_batches(batch_size=1024, columns=[self.image]):
                for value in chunk.column(0).to_pylist():
                    yield value.get("bytes") if isinstance(value, dict) else value


def _rows(tables: Sequence[_Table], names: tuple[str, ...]) -> Records:
    known = {name: k for k, name in enumerate(names)}

    def rows() -> Iterator[tuple[str, Any, int]]:
        for table in tables:  # all labels before the first image: a bad one shows at once
            for row, label in enumerate(table.labels):
                _number(label, known, f"row {row} of {table.path}")
        for table in tables:
            for row, (image, label) in enumerate(zip(table.images(), table.labels, strict=True)):
                where = f"row {row} of {table.path}"
                yield where, image, _number(label, known, where)

    return Records(sum(len(table.labels) for table in tables), rows)


def _columns(types: Mapping[str, str], features: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Find the image and the label column: by the declared features, else by type and by name.

    Args:
        types: The Arrow type of each column.
        features: The Hugging Face feature of each column, where declared.
        where: The table, for the message.
    """
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    images = [name for name in types if kinds.get(name) == "Image"] or [
        name for name, kind in types.items() if kind.startswith(("struct<bytes", "binary", "large_binary"))
    ]
    labels = (
        [name for name in ("label", "labels", "fine_label") if name in types][:1]
        or [name for name in types if kinds.get(name) == "ClassLabel"]
        or [name for name, kind in types.items() if kind.startswith(_LABEL_TYPES)]
    )
    if not images or len(labels) != 1:
        lacks = "no column of encoded images" if not images else "no one column of labels"
        raise InputError(
            f"{where} has {lacks} among {', '.join(types)}; name them 'image' (encoded bytes) and 'label'."
        )
    return images[0], labels[0]


def _names_of(labels: Iterable[Any], where: object) -> tuple[str, ...]:
    """Name the classes by the labels themselves: text sorted, or the integers up to the largest."""
    values = set(labels) - {None}
    if values and all(isinstance(value, str) for value in values):
        return tuple(sorted(values))
    if not values or not all(isinstance(value, int) for value in values):
        raise InputError(f"The labels of {where} are neither integers nor text; give one class per image.")
    return tuple(str(k) for k in range(max(values) + 1))


def _number(label: Any, known: Mapping[str, int], where: str) -> int:
    """Give the class number of a label, or name the row whose label is missing or out of range."""
    number = known.get(label) if isinstance(label, str) else label
    if not isinstance(number, int) or not 0 <= number < len(known):
        raise InputError(
            f"The label of {where} is {'missing' if label is None else repr(label)}, "
            f"not one of 0 … {len(known) - 1}; correct the label or remove the row."
        )
    return number


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as problem:
        raise InputError("Reading Parquet files needs an extra; run: pip install 'auglean[data]'.") from problem
    return pq


def hub(name: str, hint: str = "") -> Source:
    """Open a data set of the Hugging Face hub, through its own cache.

    Args:
        name: NAME or OWNER/NAME.
        hint: What to add to the message if it is not to be had.
    """
    try:
        import datasets
    except ImportError as problem:
        raise InputError(
            f"There is no file or folder {name!r} here{hint}; to read it from the Hugging Face hub "
            "run: pip install 'auglean[data]'."
        ) from problem
    try:
        found = datasets.load_dataset(name)
    except Exception as problem:  # no such name, no network, no permission: each with a class of its own
        raise InputError(
            f"{name!r} is no file or folder here{hint}, and not to be had from the Hugging Face hub "
            f"({reason(problem)}); check the name, or use 'digits', which needs no network."
        ) from problem
    parts = {SPLIT_WORDS[split]: part for split, part in found.items() if split in SPLIT_WORDS}
    if not parts:
        raise InputError(f"{name} has the splits {', '.join(found)}; expected train, validation or test.")
    columns = next(iter(parts.values())).features
    image, label = _columns(
        {key: str(getattr(feature, "dtype", "")) for key, feature in columns.items()},
        {key: {"_type": type(feature).__name__} for key, feature in columns.items()},
        name,
    )
    names = tuple(getattr(columns[label], "names", None) or ())
    names = names or _names_of(chain.from_iterable(part[label] for part in parts.values()), name)
    known = {name: k for k, name in enumerate(names)}

    def records(split: str) -> Records:
        # undecoded bytes, so that limits, orientation and errors are the same as for files
        part = parts[split].cast_column(image, datasets.Image(decode=False))

        def rows() -> Iterator[tuple[str, Any, int]]:
            for i, row in enumerate(part):
                where = f"row {i} of {split} of {name}"
                held = row[image] or {}
                yield where, held.get("bytes") or held.get("path"), _number(row[label], known, where)

        return Records(len(part), rows)

    return Source(name.split("/")[-1], names, {split: records(split) for split in parts})
