"""Data sets of images as questions about policies read them: in chunks, with the moments of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.moments import Moments
from auglean.policies import Policy
from auglean.progress import track
from auglean.signals.collecting import fetch

_PIECE = 64  # images whose moments are computed together
_FACTORS = 2**28  # bytes of the factors of their covariances


class Examples:
    """Images and targets behind one face, fetched in chunks.

    Args:
        data: An `ImageSet` or any map-style data set of (image, label); or a pair of tensors, images `(N, C, H, W)`,
            uint8 or floats in [0, 1], and labels `(N,)` or, for a squared loss, float targets `(N,)` or `(N, K)`.

    Raises:
        InputError: If there is no image, or as many targets as images are not there.
    """

    def __init__(self, data: Any) -> None:
        pair = isinstance(data, tuple | list)
        if pair and not (len(data) == 2 and all(isinstance(p, Tensor) for p in data) and len(data[0]) == len(data[1])):
            found = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in data]
            raise InputError(
                f"Data given as a pair expected images (N, C, H, W) and as many targets but found {found}."
            )
        self._data = data
        if not len(self):
            raise InputError("The data hold no image; give one or more.")

    def __len__(self) -> int:
        return len(self._data[0]) if isinstance(self._data, tuple | list) else len(self._data)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes where the data know them."""
        return tuple(getattr(self._data, "class_names", ()))

    def batch(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Gather float images in [0, 1], `(B, C, H, W)`, and targets `(B, …)`.

        Raises:
            InputError: If they are no images, or a value lies outside of [0, 1] or is not a number.
        """
        if isinstance(self._data, tuple | list):
            images, targets = (part[ids.to(part.device)] for part in self._data)
        else:
            images, targets = fetch(self._data, ids)
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise InputError(
                f"Images have shape {tuple(images.shape)} and type {images.dtype}; expected (N, C, H, W) of uint8 or "
                "of float in [0, 1]."
            )
        if not images.is_floating_point():
            return images.float() / 255, targets
        check_values(images, ids)
        return images, targets


def check_values(images: Tensor, ids: Tensor) -> None:
    """Raise `InputError` unless all values of images, of these positions, lie in [0, 1]."""
    rows = images.flatten(1)
    wrong = (~((rows >= 0) & (rows <= 1))).nonzero()  # what is not a number is neither
    if len(wrong):
        at, value = int(ids[int(wrong[0, 0])]), float(rows[tuple(wrong[0])])
        raise InputError(f"Image {at} has the value {value:.4g} where [0, 1] is expected; clean or scale the images.")


def moments_in_pieces(
    policy: Policy, examples: Examples, *, device: torch.device | None = None, **options: Any
) -> Iterator[tuple[Tensor, Tensor, Tensor, Moments]]:
    """Go through the data, a few images at once.

    Args:
        policy: Whose moments.
        examples: The data.
        device: Where to compute; by default where the images are.
        options: Of `Policy.moments`.

    Yields:
        Positions in the data `(B,)`, images `(B, C, H, W)`, targets `(B, …)` and `Moments` of them.
    """
    first = examples.batch(torch.tensor([0]))[0]
    width = policy.moments(first if device is None else first.to(device), **options).covariance.width
    step = max(1, min(_PIECE, _FACTORS // (8 * width * first.numel())))
    for ids in track(torch.arange(len(examples)).split(step), "moments"):
        x, targets = examples.batch(ids)
        if device is not None:
            x, targets = x.to(device), targets.to(device)
        yield ids, x, targets, policy.moments(x, **options)
