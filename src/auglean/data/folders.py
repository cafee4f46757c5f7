"""Image folders: one folder per class, with or without folders for the splits above them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from auglean.data.decoding import Records
from auglean.data.sources import SPLIT_WORDS, Source
from auglean.errors import InputError

# Those that Pillow may lack a decoder for are in the list too: they are named as unreadable, not passed over.
_SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}


def folder(path: Path) -> Source:
    """Open a folder with one folder of images per class, or with train/ test/ validation/ folders of such.

    Raises:
        InputError: If there are no class folders, or one of them has no images.
    """
    below = _subfolders(path)
    if not below:
        loose = len(_images_in(path))
        found = f"{loose} images outside class folders" if loose else "no images"
        raise InputError(f"The folder {path} has {found}; put one folder of images per class or Parquet files into it.")
    train = next((item for item in below if SPLIT_WORDS.get(item.name.lower()) == "train"), None)
    if train is None or not _subfolders(train):
        roots = {"all": path}
    else:
        roots = {}
        for item in below:
            split = SPLIT_WORDS.get(item.name.lower())
            if split is None or split in roots:
                raise InputError(f"{item} does not fit beside {train}; keep one each of train, validation and test.")
            roots[split] = item
    found_in = {split: {item.name: _images_in(item) for item in _subfolders(root)} for split, root in roots.items()}
    for split, classes in found_in.items():
        for name, files in classes.items():
            if not files:
                raise InputError(
                    f"The class folder {roots[split] / name} has no images; add images or remove the folder."
                )
    names = sorted(set(chain.from_iterable(found_in.values())))
    number = {name: k for k, name in enumerate(names)}

    def records(classes: Mapping[str, Sequence[Path]]) -> Records:
        files = [(file, number[name]) for name, paths in classes.items() for file in paths]
        return Records(len(files), lambda: ((str(file), file, label) for file, label in files))

    return Source(path.resolve().name, tuple(names), {split: records(classes) for split, classes in found_in.items()})


def _subfolders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))


def _images_in(path: Path) -> list[Path]:
    """List the image files in a folder and in the folders below it, hidden ones left out."""

    def refuse(problem: OSError) -> None:
        raise problem  # os.walk would pass an unreadable folder over

    files = []
    for place, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return [file for file in files if file.suffix.lower() in _SUFFIXES]
