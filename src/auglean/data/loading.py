"""`load`: one function that reads labelled images from wherever they are."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from auglean.data import sources
from auglean.data.decoding import MAX_PIXELS, Records, gather, reason, resize
from auglean.data.folders import folder
from auglean.data.images import ImageSet
from auglean.data.sources import Source
from auglean.data.tables import hub, parquet
from auglean.errors import InputError, unknown

SPLITS = ("train", "validation", "test", "all")


def load(
    source: Any,
    *,
    split: str = "train",
    size: int | None = None,
    skip_corrupt: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """Read labelled images from a name, a path, or a data set in memory.

    A set is grey if all of its images are grey, else RGB. EXIF orientation is honoured, transparency dropped,
    16-bit grey scaled to 8 bits, and of an animation the first frame taken.

    Args:
        source: One of

            - `"digits"`: 1,797 grey digits of 8×8 pixels that come with scikit-learn;
            - a `.parquet` file with encoded images in `image` and classes in `label`, as on the hub;
            - a folder of such files whose names begin with train, validation or test;
            - a folder with one folder of images per class, or with train/ and test/ folders of such;
            - a `.safetensors` file written by `ImageSet.save`;
            - an `ImageSet` or `SyntheticSet`, given back as it is;
            - any map-style torch `Dataset` of (image, label) whose images are tensors `(c, h, w)`, arrays
              `(h, w, c)` or PIL images;
            - `"torchvision:CIFAR10"`, or the name of a data set on the Hugging Face hub (extra `data`).
        split: "train", "validation", "test", or "all" of them. The training split is all of a source
            without splits, which `splits` can cut; data sets in memory are taken whole whatever is asked.
        size: Bring every image to size × size (centre square, antialiased bilinear).
        skip_corrupt: Leave unreadable images out; `ImageSet.skipped` counts them.
        max_pixels: Refuse an image that is larger by its header, before it is decoded.

    Raises:
        InputError: If the source is not found or cannot be used; the sentence names the file or row.

    >>> load("digits", split="test").images.shape
    torch.Size([500, 1, 8, 8])
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if size is None and hasattr(source, "batch") and hasattr(source, "fingerprint"):
        ready: ImageSet = source  # or what has its face, such as condensed images, whose pixels are no 8-bit levels
        return ready
    if not isinstance(source, str | Path):
        split = "all"  # what is in memory is taken whole
    return read(open_source(source), split, size=size, skip_corrupt=skip_corrupt, max_pixels=max_pixels)


def read(
    source: Source | ImageSet,
    split: str,
    *,
    size: int | None = None,
    skip_corrupt: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """Decode one split of an opened source; the options and errors are those of `load`."""
    if size is not None and size < 1:
        raise InputError(f"size is {size} but must be at least 1; give the height and width in pixels.")
    if isinstance(source, ImageSet):
        if size is None or source.size == (size, size):
            return source
        return replace(source, images=resize(source.images, size))
    records = _records(source, split)
    data = gather(
        records,
        class_names=source.class_names,
        name=source.name,
        size=size,
        skip_corrupt=skip_corrupt,
        max_pixels=max_pixels,
    )
    if split == "train":  # a test set may lack a class
        data.require_every_class()
    return data


def _records(source: Source, split: str) -> Records:
    parts = source.splits
    if split == "all":
        every = list(parts.values())
        return Records(sum(part.count for part in every), lambda: chain.from_iterable(part.open() for part in every))
    if split == "train" and set(parts) == {"all"}:
        return parts["all"]
    if split not in parts:
        has = f"only {', '.join(parts)}" if set(parts) != {"all"} else "no splits"
        raise InputError(f"{source.name} has {has}, so no {split} split; cut one with auglean.data.splits.")
    return parts[split]


def open_source(source: Any) -> Source | ImageSet:
    """Find out what kind of source is meant, and open it without decoding an image.

    Raises:
        InputError: If there is no such source, or what is there cannot be used.
    """
    if isinstance(source, ImageSet):
        return source
    if not isinstance(source, str | Path):
        return sources.dataset(source)
    if source == "digits":
        return sources.digits()
    if isinstance(source, str) and source.startswith("torchvision:"):
        return sources.torchvision(source.removeprefix("torchvision:"))
    path = Path(source).expanduser()
    try:
        if source and path.is_dir():
            return parquet(path) if any(path.glob("*.parquet")) else folder(path)
        if path.is_file():
            return ImageSet.load(path) if path.suffix == ".safetensors" else parquet(path)
    except OSError as problem:  # no permission, a name too long, a disk that fails
        raise InputError(f"Cannot read {source} ({reason(problem)}); give a path that can be read.") from problem
    if isinstance(source, str) and _may_be_on_hub(source):
        return hub(source, _hint(path))
    raise InputError(
        f"There is no file or folder {str(source)!r}{_hint(path)}; "
        "give a folder of images, a .parquet file or 'digits'."
    )


def _may_be_on_hub(text: str) -> bool:
    """Tell NAME and OWNER/NAME, but not a slip of "digits", from what can only be a path."""
    name = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", text) and not text.endswith((".parquet", ".safetensors"))
    return bool(name) and not difflib.get_close_matches(text, ["digits"], cutoff=0.8)


def _hint(path: Path) -> str:
    """Offer what could have been meant: "digits", or what lies beside the path."""
    try:
        beside = sorted(str(item) for item in path.parent.iterdir())
    except OSError:
        beside = []
    near = difflib.get_close_matches(str(path), ["digits", *beside], n=2)
    return f" (did you mean {' or '.join(repr(name) for name in near)}?)" if near else ""
