"""`SyntheticSet`: condensed images in pixel units, their labels, and how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from auglean.condensation.decoding import decode
from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.files import read_object, write_object

#: Fields that a file holds as lists, and what stands before the names of what happened on the way.
_TUPLES, _HISTORY = ("class_names", "mean", "std"), "history/"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SyntheticSet(Dataset[tuple[Tensor, int]]):
    """A few synthetic images that stand for a data set; a map-style data set that any loop can train on.

    Args:
        images: Pixels, 0 black and 1 white. The optimiser moves them freely, so some lie a little outside; they are
            kept as they are, for these are the images that were optimised. Shape `(m, channels, height, width)`,
            float32.
        labels: Classes as numbers 0 … K − 1. Shape `(m,)`, integers.
        class_names: The K names.
        mean: Mean of each channel of the real images, by which they were standardised. Length channels.
        std: Standard deviation of each channel, likewise.
        history: What was recorded while they were made, a value per step: `loss`, and `seconds` since the start.
        how: What they were made of and by: plain values, such as `data`, `fingerprint`, `method`, `network`, `steps`,
            `seed`.

    Raises:
        InputError: If shapes, types or labels do not fit together, or a pixel is not finite.

    >>> tiny = SyntheticSet(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), ("no", "yes"), (0.5,), (0.25,))
    >>> tiny
    SyntheticSet: 4 images of 1×8×8, 2 per class, 2 classes
    >>> images, labels = tiny.batch([3, 0])
    >>> images.shape, labels
    (torch.Size([2, 1, 8, 8]), tensor([1, 0]))
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    history: Mapping[str, Tensor] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
            raise InputError(
                f"Synthetic images must be float32 of shape (m, 1 or 3 channels, height, width) but are {images.dtype} "
                f"of shape {tuple(images.shape)}; divide 8-bit levels by 255."
            )
        if not torch.isfinite(images).all():
            raise InputError(
                "A synthetic image has a pixel that is not finite; lower the learning rate and condense anew."
            )
        if labels.shape != (len(images),) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(
                f"{len(images)} synthetic images need as many integer labels but have {labels.dtype} of shape "
                f"{tuple(labels.shape)}; give one number per image."
            )
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.class_names):
            raise InputError(
                f"Labels of synthetic images must lie in 0 … {len(self.class_names) - 1} for the classes "
                f"{list(self.class_names)}; they reach from {int(labels.min())} to {int(labels.max())}."
            )
        if not len(self.mean) == len(self.std) == images.shape[1]:
            raise InputError(
                f"The normalisation has {len(self.mean)} means and {len(self.std)} deviations; "
                f"give one each for {images.shape[1]} channels."
            )
        object.__setattr__(self, "labels", labels.long())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Fetch many at once; `torch.utils.data.DataLoader` calls this for a whole batch."""
        images, labels = self.batch(indices)
        return list(zip(images.unbind(), labels.tolist(), strict=True))

    def batch(self, indices: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gather images `(b, channels, height, width)` float32 and labels `(b,)` int64."""
        where = torch.as_tensor(indices, device=self.images.device)
        return self.images[where], self.labels[where]

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
    def decode(self) -> int:
        """Images that a stored one holds, down and across; above 1, train on those of `decoded`."""
        return int(self.how.get("decode", 1))

    def decoded(self) -> SyntheticSet:
        """Give the images that are to be trained on: the parts of each canvas, enlarged, or the set itself.

        `how["bytes"]` is what is stored of them.

        >>> canvas = torch.rand(1, 1, 8, 8)
        >>> tiny = SyntheticSet(canvas, torch.tensor([0]), ("a",), (0.5,), (0.25,), how={"decode": 2, "method": "DM"})
        >>> tiny.decoded()
        SyntheticSet: 4 images of 1×8×8, 4 per class, 1 classes
        method  DM-decode2
        """
        if self.decode == 1:
            return self
        how = {**self.how, "decode": 1, "method": f"{self.how.get('method', 'synthetic')}-decode{self.decode}"}
        how |= {"decoded": self.decode, "bytes": self.images.nbytes}
        images, labels = decode(self.images, self.decode), self.labels.repeat_interleave(self.decode**2)
        return replace(self, images=images, labels=labels, how=how)

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Give `mean` and `std`, those of the real images, as an `ImageSet` does its own."""
        return self.mean, self.std

    def require_every_class(self) -> None:
        """Raise `InputError` if there are no images of some class."""
        self.rounded().require_every_class()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pixel, label or class name (SHA-256, shortened)."""
        digest = hashlib.sha256(json.dumps([list(self.images.shape), self.class_names]).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().cpu().numpy().data)
        return digest.hexdigest()[:16]

    def rounded(self) -> ImageSet:
        """Give the images as 8-bit levels, what lies outside black and white cut off: to look at, or for `auglean.fit`.

        >>> tiny = SyntheticSet(torch.full((1, 1, 2, 2), 1.1), torch.tensor([0]), ("a",), (0.5,), (0.25,))
        >>> tiny.rounded().images.unique()
        tensor([255], dtype=torch.uint8)
        """
        levels = (self.images.clamp(0, 1) * 255).round().to(torch.uint8)
        return ImageSet(levels, self.labels, self.class_names, f"{self.how.get('data', 'synthetic')}, condensed")

    def save(self, path: str | Path) -> None:
        """Write the set to one file (safetensors, no pickle), atomically."""
        about = {name: list(getattr(self, name)) for name in _TUPLES} | {"how": dict(self.how)}
        history = {_HISTORY + name: value for name, value in self.history.items()}
        write_object(path, "SyntheticSet", {"images": self.images, "labels": self.labels, **history}, about)

    @classmethod
    def load(cls, path: str | Path) -> SyntheticSet:
        """Read a set that `save` wrote.

        Raises:
            InputError: If the file is missing, damaged, or no such file.
        """
        found = read_object(path, "SyntheticSet")
        history = {name.removeprefix(_HISTORY): found.pop(name) for name in list(found) if name.startswith(_HISTORY)}
        try:
            return cls(**found | {name: tuple(found[name]) for name in _TUPLES}, history=history)
        except (InputError, KeyError, TypeError) as error:  # a file that was tampered with, or grew damaged
            raise InputError(
                f"{path} holds no usable set ({str(error).rstrip('.')}); give a file written by SyntheticSet.save."
            ) from error

    def __repr__(self) -> str:
        counts = sorted(set(self.counts.tolist()))
        each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        shape = "×".join(str(length) for length in self.images.shape[1:])
        of = f" {self.how['data']}" if "data" in self.how else ""
        rows = [
            (name, str(self.how[name]))
            for name in ("method", "network", "init", "schedule", "steps", "seed")
            if name in self.how
        ]
        rows += [("decode", str(self.decode))] if self.decode > 1 else []
        rows += [(name, _course(values)) for name, values in self.history.items() if len(values)]
        wide = max((len(name) for name, _ in rows), default=0)
        lines = [f"SyntheticSet{of}: {len(self)} images of {shape}, {each} per class, {self.classes} classes"]
        return "\n".join(lines + [f"{name:<{wide}}  {value}" for name, value in rows])


def _course(values: Tensor) -> str:
    first, last = float(values[0]), float(values[-1])
    return f"{first:.4g} → {last:.4g}"
