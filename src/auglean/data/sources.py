"""Where labelled images come from: each kind of source opened as named splits of undecoded records.

A source with splits of its own has some of "train", "validation" and "test"; any other has just "all".
"""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auglean.data.decoding import Records, reason
from auglean.errors import InputError, unknown

# What folders and files are called, and the split that is meant
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source: its name, its classes (empty if the labels alone tell), and its splits."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Records]


def digits() -> Source:
    """Open scikit-learn's 1,797 digits of 8×8 pixels: 1,000 to train, 297 to validate, 500 to test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    # numpy's legacy generator never changes its stream, so the split is the same for ever
    order = np.random.RandomState(0).permutation(len(labels))
    parts = zip(("train", "validation", "test"), np.split(order, [1000, 1297]), strict=True)

    def records(rows: Any) -> Records:
        return Records(len(rows), lambda: ((f"row {i} of digits", pixels[i], int(labels[i])) for i in rows))

    return Source("digits", tuple("0123456789"), {name: records(rows) for name, rows in parts})


def dataset(data: Any) -> Source:
    """Open any map-style data set of (image, label).

    Raises:
        InputError: If it is empty or no such data set; when read, if an item is no such pair.
    """
    return Source(type(data).__name__.lower(), _names_given(data), {"all": _items(data)})


def _items(data: Any) -> Records:
    kind = type(data).__name__
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise InputError(
            f"Cannot read images from a {kind}; give a path, a name, an ImageSet, "
            "or a map-style Dataset of (image, label)."
        )
    if len(data) == 0:
        raise InputError(f"The {kind} given is empty; give a data set with images.")

    def items() -> Iterator[tuple[str, Any, int]]:
        for i in range(len(data)):
            where = f"item {i} of the {kind}"
            try:
                item = data[i]
            except OSError as problem:  # what decoders raise on a damaged file
                yield where, problem, 0
                continue
            try:
                image, label = item
            except (TypeError, ValueError) as problem:
                raise InputError(
                    f"{where.capitalize()} is no pair (image, label); wrap the data set so that it is."
                ) from problem
            yield where, image, _integer(label, where)

    return Records(len(data), items)


def _integer(label: Any, where: str) -> int:
    try:
        return operator.index(label)
    except TypeError as problem:
        raise InputError(f"The label of {where} is {label!r}, no integer; number the classes from 0.") from problem


def _names_given(data: Any) -> tuple[str, ...]:
    classes = getattr(data, "classes", None)
    if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
        return tuple(classes)
    return ()


def torchvision(name: str) -> Source:
    """Open a data set of torchvision by its class name, downloaded to the user's cache on first use."""
    try:
        from torchvision import datasets
    except Exception as problem:  # a build for another torch fails with RuntimeError or OSError
        raise InputError(
            f"torchvision cannot be imported ({reason(problem)}); take torch and torchvision from the same "
            "package index (both CPU or both CUDA builds), or convert the data to Parquet."
        ) from problem
    known = {
        key: set(inspect.signature(value).parameters) for key, value in vars(datasets).items() if inspect.isclass(value)
    }
    known = {key: options for key, options in known.items() if {"root", "download"} <= options}
    if name not in known:
        raise unknown("torchvision data set", name, known)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "auglean", "torchvision")

    def part(split: str) -> Any:
        choice = {"train": split == "train"} if "train" in known[name] else {"split": split}
        try:
            return getattr(datasets, name)(root=str(root), download=True, **choice)
        except Exception as problem:  # no network, no such split, a damaged download
            raise InputError(
                f"torchvision does not give the {split} split of {name} ({reason(problem)}); "
                "check the network, or give a folder or a Parquet file."
            ) from problem

    parts = {split: part(split) for split in ("train", "test")}
    return Source(name, _names_given(parts["train"]), {split: _items(data) for split, data in parts.items()})
