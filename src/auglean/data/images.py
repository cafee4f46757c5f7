"""`ImageSet`: a labelled data set of images as two tensors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from auglean.errors import InputError

_FORMAT = "auglean.ImageSet/1"
_ROWS_SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageSet(Dataset[tuple[Tensor, int]]):
    """Images, their labels and the names of the classes; a map-style data set.

    Args:
        images: Pixels, 0 black and 255 white. Shape `(n, channels, height, width)`, uint8, 1 or 3 channels.
        labels: Classes as numbers 0 … K − 1. Shape `(n,)`, integers.
        class_names: The K names; by default "0", "1", … up to the largest label.
        name: What reports call the set.
        skipped: How many unreadable images were left out when the set was read.

    Raises:
        InputError: If shapes, types or labels do not fit together.

    >>> data = ImageSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    >>> len(data), data.classes, data.channels, data.size
    (3, 2, 1, (8, 8))
    >>> data
    ImageSet tensors: 3 images of 1×8×8, 2 classes
    class  images
    0           1
    1           2
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    name: str = "tensors"
    skipped: int = 0

    def __post_init__(self) -> None:
        _check_images(self.images)
        labels = _check_labels(self.labels, len(self.images))
        names = self.class_names or range(int(labels.max()) + 1)
        object.__setattr__(self, "labels", labels.to(self.images.device))
        object.__setattr__(self, "class_names", tuple(str(name) for name in names))
        outside = (labels < 0) | (labels >= self.classes)
        if outside.any():
            at = int(outside.nonzero()[0])
            raise InputError(
                f"Label {int(labels[at])} of example {at} is outside 0 … {self.classes - 1}; "
                f"labels must number the {self.classes} classes from 0."
            )

    @classmethod
    def from_tensors(
        cls,
        images: Tensor | np.ndarray[Any, Any],
        labels: Tensor | np.ndarray[Any, Any] | Sequence[int],
        class_names: Sequence[str] | None = None,
        *,
        name: str = "tensors",
    ) -> ImageSet:
        """Build a set from tensors or arrays whose pixels are uint8, or floats in [0, 1].

        Args:
            images: Shape `(n, channels, height, width)`, or `(n, height, width)` for grey. Floats are
                rounded to the nearest of the 256 levels.
            labels: Shape `(n,)`, integers.
            class_names: As of the class.
            name: As of the class.

        Raises:
            InputError: If a pixel is NaN, infinite or outside [0, 1], or if anything else does not fit.

        >>> ImageSet.from_tensors(np.full((1, 3, 2, 2), 0.5), [0]).images.unique()
        tensor([128], dtype=torch.uint8)
        """
        pixels = torch.as_tensor(images)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels
        if pixels.is_floating_point():
            pixels = _to_levels(pixels)
        return cls(pixels, torch.as_tensor(labels), tuple(class_names or ()), name=name)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Fetch many at once; `torch.utils.data.DataLoader` calls this for a whole batch."""
        images, labels = self.batch(indices)
        return list(zip(images.unbind(), labels.tolist(), strict=True))

    def batch(self, indices: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gather images `(b, channels, height, width)` uint8 and labels `(b,)` int64."""
        where = self._where(indices)
        return self.images[where], self.labels[where]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSet:
        """Keep the examples at the given positions (or where a mask is true), in that order.

        >>> data = ImageSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]))
        >>> data.subset([2, 0]).labels
        tensor([1, 0])
        """
        images, labels = self.batch(indices)
        return ImageSet(images, labels, self.class_names, self.name)

    def _where(self, indices: Tensor | Sequence[int]) -> Tensor:
        where = torch.as_tensor(indices, device=self.images.device)
        if where.dtype == torch.bool:
            return where.nonzero().flatten()
        if where.numel() and where.is_floating_point():
            raise InputError("Indices must be integers or a mask; floating-point numbers were given.")
        return where.long()

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def counts(self) -> Tensor:
        """Images per class. Shape `(K,)`, int64."""
        return torch.bincount(self.labels, minlength=self.classes)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pixel, label or class name (SHA-256, shortened).

        Computed at every access, so that it tells of a change made in place.
        """
        digest = hashlib.sha256(json.dumps([list(self.images.shape), self.class_names]).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().cpu().numpy().data)
        return digest.hexdigest()[:16]

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Compute mean and standard deviation of each channel, where 0 is black and 1 is white.

        >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> ImageSet(images, torch.tensor([0, 0])).mean_std()
        ((0.5,), (0.5,))
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in self.images.unbind(1):
            # a histogram has every sum in it, in exact integers and without a float copy of the images
            share = torch.bincount(channel.flatten(), minlength=256).cpu().double() / channel.numel()
            mean = (share * levels).sum()
            means.append(mean.item())
            deviations.append((share * (levels - mean) ** 2).sum().sqrt().item())
        return tuple(means), tuple(deviations)

    def require_every_class(self) -> None:
        """Raise `InputError` that names the classes without an image, if there are any."""
        empty = [self.class_names[k] for k in (self.counts == 0).nonzero().flatten().tolist()]
        if empty:
            listed = ", ".join(repr(name) for name in empty[:5]) + (", …" if len(empty) > 5 else "")
            raise InputError(
                f"{self.name} has no images of {len(empty)} of its {self.classes} classes ({listed}); "
                "add images or take the empty classes out."
            )

    def save(self, path: str | Path) -> None:
        """Write the set to one file (safetensors, no pickle)."""
        from safetensors.torch import save_file

        path = Path(path)
        about = {"class_names": self.class_names, "name": self.name, "skipped": self.skipped}
        tensors = {"images": self.images.contiguous(), "labels": self.labels.contiguous()}
        # written aside and moved, so that a crash leaves no half of a file
        aside = path.with_name(path.name + ".part")
        save_file(tensors, aside, metadata={"format": _FORMAT, "about": json.dumps(about)})
        os.replace(aside, path)

    @classmethod
    def load(cls, path: str | Path) -> ImageSet:
        """Read a set that `save` wrote.

        Raises:
            InputError: If the file is missing or is no such file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise InputError(f"{path} holds no ImageSet; give a file written by ImageSet.save.")
                about = json.loads(metadata["about"])
                images, labels = file.get_tensor("images"), file.get_tensor("labels")
        except (OSError, SafetensorError) as problem:
            raise InputError(f"Cannot read {path} ({problem}); give a file written by ImageSet.save.") from problem
        return cls(images, labels, tuple(about["class_names"]), about["name"], about["skipped"])

    def __repr__(self) -> str:
        shape = "×".join(str(length) for length in self.images.shape[1:])
        left_out = f", {self.skipped} unreadable left out" if self.skipped else ""
        counts = self.counts.tolist()
        rows = list(zip(self.class_names, counts, strict=True))[:_ROWS_SHOWN]
        wide = max(len("class"), *(len(name) for name, _ in rows))
        lines = [
            f"ImageSet {self.name}: {len(self)} images of {shape}, {self.classes} classes{left_out}",
            f"{'class':<{wide}}  images",
            *(f"{name:<{wide}}  {count:>6}" for name, count in rows),
        ]
        if self.classes > _ROWS_SHOWN:
            lines.append(f"… {self.classes - _ROWS_SHOWN} more")
        return "\n".join(lines)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputError(
            f"Images must be a uint8 tensor but are {kind}; "
            "use ImageSet.from_tensors for floats in [0, 1] and for numpy arrays."
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(
            f"Images must have the shape (n, 1 or 3 channels, height, width) but have {tuple(images.shape)}; "
            "move the channels to the second place."
        )
    if images.numel() == 0:
        raise InputError(f"An ImageSet needs at least one image of at least one pixel; got {tuple(images.shape)}.")


def _check_labels(labels: Tensor, count: int) -> Tensor:
    if not isinstance(labels, Tensor):
        raise InputError(
            f"Labels must be a tensor of integers but are {type(labels).__name__}; use ImageSet.from_tensors."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputError(f"Labels must be integers but are {labels.dtype}; number the classes from 0.")
    if labels.shape != (count,):
        raise InputError(
            f"{count} images need labels of the shape ({count},) but these have {tuple(labels.shape)}; "
            "give one label per image."
        )
    return labels.long()


def _to_levels(pixels: Tensor) -> Tensor:
    """Round floats in [0, 1] to uint8."""
    bad = ~((pixels >= 0) & (pixels <= 1))  # true for NaN as well
    if bad.any():
        at = tuple(bad.nonzero()[0].tolist())
        raise InputError(
            f"Pixel {at} is {pixels[at].item():g}; floating-point images must lie in [0, 1] without NaN, "
            "so clean them, and divide by 255 if they are in 0 … 255."
        )
    return (pixels.float() * 255).round().to(torch.uint8)
