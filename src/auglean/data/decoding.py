"""From whatever holds an image to uint8 pixels, and from many of them to an `ImageSet`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from auglean.data.images import ImageSet
from auglean.errors import InputError
from auglean.progress import track

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 89_478_485
"""Largest image that is decoded unless told otherwise; Pillow warns from the same size on."""

_GREY_MODES = {"1", "L", "LA", "La"}
_DEEP_MODES = {"I", "F"}


class Unreadable(Exception):
    """An image that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Records:
    """Labelled images that are not decoded yet.

    Args:
        count: How many there are.
        open: Gives, for each, where it lies (for messages), the image (encoded bytes, a path, a PIL image,
            a tensor or an array) and its label.
    """

    count: int
    open: Callable[[], Iterator[tuple[str, Any, int]]]


def gather(
    records: Records,
    *,
    class_names: tuple[str, ...],
    name: str,
    size: int | None = None,
    skip_corrupt: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """Decode records into one `ImageSet`: grey if every image is grey, else RGB.

    Raises:
        InputError: If an image is unreadable (and not skipped), too large, or of another size than the first.
    """
    images: Pixels | None = None
    labels: list[int] = []
    skipped = 0
    first = ""
    for where, payload, label in track(records.open(), f"Reading {name}", total=records.count):
        try:
            image = to_pixels(payload, where, max_pixels=max_pixels)  # (channels, height, width)
        except Unreadable as problem:
            if skip_corrupt:
                skipped += 1
                continue
            raise InputError(
                f"Cannot read {where} as an image ({problem}); mend or remove it, "
                "or leave such images out with skip_corrupt=True (--skip-corrupt)."
            ) from problem
        if size is not None:
            image = resize(torch.from_numpy(image)[None], size)[0].numpy()
        if images is None:
            images, first = _room(records.count, image), where
        if image.shape[1:] != images.shape[2:]:
            (h, w), (h2, w2) = images.shape[2:], image.shape[1:]
            raise InputError(
                f"Images differ in size: {first} is {w}×{h} and {where} is {w2}×{h2} (width×height); "
                "bring all to one size with size=N (--size N)."
            )
        if len(image) > images.shape[1]:  # the first colour image among grey ones
            grey, images = images, _room(records.count, image)
            images[: len(labels)] = grey[: len(labels)]
        images[len(labels)] = image
        labels.append(label)
    if images is None:
        raise InputError(f"None of the {records.count} images of {name} can be read; give a set with readable images.")
    kept = torch.from_numpy(images[: len(labels)])
    return ImageSet(kept, torch.tensor(labels), class_names, name, skipped)


def _room(count: int, image: Pixels) -> Pixels:
    try:
        return np.empty((count, *image.shape), dtype=np.uint8)
    except MemoryError as problem:
        raise InputError(
            f"{count} images of {'×'.join(map(str, image.shape))} need {count * image.size / 2**30:.0f} GiB, "
            "more than there is; make them smaller with size=N (--size N)."
        ) from problem


def to_pixels(payload: Any, where: str, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Turn encoded bytes, a path, a PIL image, a tensor or an array into pixels.

    Args:
        payload: One of these.
        where: What to call it in messages.
        max_pixels: The largest image that is decoded.

    Returns:
        Shape `(1 or 3, height, width)`, uint8.

    Raises:
        Unreadable: If the image is damaged or of a kind that has no 8-bit meaning.
        InputError: If it has more than `max_pixels` pixels by its header; it is not decoded then.
    """
    if isinstance(payload, Tensor | np.ndarray):
        return _from_array(payload)
    if payload is None:
        raise Unreadable("it is missing")
    if isinstance(payload, Exception):  # raised by a data set that decodes for itself
        raise Unreadable(reason(payload)) from payload
    return _from_encoded(payload, where, max_pixels)


def resize(images: Tensor, size: int) -> Tensor:
    """Cut the centre square and bring it to `size` × `size` by antialiased bilinear interpolation.

    Args:
        images: Shape `(n, channels, height, width)`, uint8.
        size: Wanted height and width.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    # the square first: scaling first could blow a long thin image up without limit
    square = images[:, :, top : top + side, left : left + side]
    if side == size:
        return square.contiguous()
    return functional.interpolate(square, size=(size, size), mode="bilinear", antialias=True)


def _from_encoded(payload: Any, where: str, max_pixels: int) -> Pixels:
    Image = pillow()
    try:
        if isinstance(payload, Image.Image):
            return _from_pil(payload, where, max_pixels)
        with Image.open(io.BytesIO(payload) if isinstance(payload, bytes) else payload) as image:
            if image.format == "EPS":  # Pillow would hand it to another program to be run
                raise Unreadable("PostScript is not taken")
            return _from_pil(image, where, max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        # Pillow's own limit, which counts where it is the lower one; a warning only under -W error
        raise InputError(
            f"{where} is refused ({str(problem).rstrip('.')}); remove it, or store it smaller."
        ) from problem
    except (InputError, Unreadable, MemoryError):
        raise
    except Exception as problem:  # decoders fail in many ways: OSError, SyntaxError, struct.error, …
        raise Unreadable(reason(problem)) from problem


def _from_pil(image: Any, where: str, max_pixels: int) -> Pixels:
    width, height = image.size  # from the header; nothing is decoded yet
    if width * height > max_pixels:
        raise InputError(
            f"{where} is an image of {width}×{height} pixels, more than the {max_pixels} allowed; "
            "remove it, store it smaller, or raise max_pixels."
        )
    image.load()
    image = _upright(image)
    if image.mode.startswith("I;16") or image.mode in _DEEP_MODES:
        return _from_deep(np.asarray(image), image.mode)[None]
    if image.mode in _GREY_MODES:
        return np.array(image.convert("L"))[None]
    pixels = np.array(image.convert("RGB")).transpose(2, 0, 1)
    if image.mode in ("P", "PA") and (pixels == pixels[:1]).all():
        return pixels[:1]  # a palette of greys
    return pixels


def _upright(image: Any) -> Any:
    """Turn the image as its EXIF orientation says."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image


def _from_deep(values: npt.NDArray[Any], mode: str) -> Pixels:
    """Bring grey of 16 bits (0 … 65535) or floating point (0 … 1) to 8 bits."""
    white = 1.0 if mode == "F" else 65535.0
    if not ((values >= 0) & (values <= white)).all():
        raise Unreadable(f"its pixels of mode {mode} are not within 0 … {white:g}")
    return np.rint(values * (255.0 / white)).astype(np.uint8)


def _from_array(values: Tensor | npt.NDArray[Any]) -> Pixels:
    """Take a tensor `(c, h, w)`, an array `(h, w, c)` or `(c, h, w)`, or either `(h, w)`."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    if array.ndim == 2:
        array = array[None]
    elif isinstance(values, np.ndarray) and array.ndim == 3 and array.shape[2] in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise Unreadable(f"its shape {tuple(values.shape)} is not that of an image with 1 or 3 channels")
    if np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise Unreadable("its floating-point pixels are not all within [0, 1]")
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise Unreadable(f"its pixels are {array.dtype}, not uint8 or floats in [0, 1]")
    return np.ascontiguousarray(array)


def reason(problem: Exception) -> str:
    """Give the first line of what went wrong, to stand inside a sentence."""
    text = str(problem).split("\n")[0].rstrip(".")
    if "cannot identify" in text:
        return "no known image format"
    return text or type(problem).__name__


def pillow() -> Any:
    """Import Pillow's `Image` module, or say how to install it."""
    try:
        from PIL import Image
    except ImportError as problem:
        raise InputError("Reading image files needs Pillow; run: pip install 'auglean[data]'.") from problem
    return Image
