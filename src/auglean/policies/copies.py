"""Fixed lists of copies: the same few transformations of every image, without chance.

A `Policy` draws; these do not. Studies that count copies, as Kuchnik & Smith (ICLR 2019) do, augment an image by a
list of m transformations, all of them or none. The border is repeated, and sizes stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.policies.warping import rotation, translation, warp

Kind = Literal["translate", "rotate", "crop"]
_KINDS = ("translate", "rotate", "crop")
#: An angle under this is none: `linspace` may miss zero by a rounding.
_NO_ANGLE = 1e-6


@dataclass(frozen=True, slots=True)
class Copies:
    """A list of m transformations, each applied to every image.

    Args:
        kind: `"translate"`, `"rotate"` or `"crop"`.
        amounts: For each copy: how far the content moves (right, down) in pixels; by how many degrees it turns about
            the centre, counter-clockwise as seen; or how many pixels are removed from each side before the rest
            is enlarged to the old size.

    Raises:
        InputError: If there is no such kind, or an amount has no meaning.

    >>> copies = Copies("translate", ((1, 0), (-1, 0)))
    >>> copies.apply(torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)).tolist()
    [[[[[1, 1, 2]]]], [[[[2, 3, 3]]]]]
    """

    kind: Kind
    amounts: tuple[float | tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise unknown("kind of copies", self.kind, _KINDS)
        pairs = [isinstance(amount, tuple) for amount in self.amounts]
        if not all(pair == (self.kind == "translate") for pair in pairs):
            raise InputError(
                f"Copies by {self.kind} were given {self.amounts!r}; give pairs (right, down) to translate, and single "
                "numbers to rotate or crop."
            )
        if self.kind == "crop" and any(amount < 0 or amount != int(amount) for amount in self.amounts):  # type: ignore[operator, arg-type]
            raise InputError(f"Copies by crop were given {self.amounts!r}; give whole numbers of pixels from 0.")

    @property
    def m(self) -> int:
        """Number of copies of an image."""
        return len(self.amounts)

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind

    def apply(self, images: Tensor) -> Tensor:
        """Make the copies, transform by transform: all images under the first, then all under the second, and so on.

        Bilinear; displacements by whole pixels are exact. In uint8, values are rounded.

        Args:
            images: uint8, or floats. Shape `(B, C, H, W)`.

        Returns:
            Of the same type. Shape `(m, B, C, H, W)`.

        Raises:
            InputError: If a crop would leave nothing.
        """
        made = images.new_empty(self.m, *images.shape)
        x = images if images.is_floating_point() else images.float()
        for copy, amount in zip(made, self.amounts, strict=True):
            y = self._one(x, amount)
            copy.copy_(y if images.is_floating_point() else y.round_().clamp_(0, 255))
        return made

    def _one(self, x: Tensor, amount: float | tuple[float, float]) -> Tensor:
        if self.kind == "crop":
            return _crop(x, int(amount))  # type: ignore[arg-type]
        number = torch.tensor([amount], dtype=torch.float64, device=x.device)
        matrix = (translation if self.kind == "translate" else rotation)(number).expand(len(x), 2, 3)
        whole = self.kind == "translate" and bool((number == number.round()).all())
        return warp(x, matrix, padding="border", mode="nearest" if whole else "bilinear")


def _crop(x: Tensor, pixels: int) -> Tensor:
    height, width = x.shape[2:]
    if 2 * pixels >= min(height, width):
        raise InputError(
            f"A crop by {pixels} pixels on each side leaves nothing of {height}×{width}; crop by at most "
            f"{(min(height, width) - 1) // 2}."
        )
    inner = x[:, :, pixels : height - pixels, pixels : width - pixels]
    return F.interpolate(inner, (height, width), mode="bilinear", align_corners=False)


def translate_copies(pixels: float) -> Copies:
    """Move by so many pixels along the four diagonals: m = 4.

    >>> translate_copies(2).amounts
    ((-2, -2), (-2, 2), (2, -2), (2, 2))
    """
    return Copies("translate", tuple((x, y) for x in (-pixels, pixels) for y in (-pixels, pixels)))


def rotate_copies(degrees: float, count: int) -> Copies:
    """Turn by `count` angles evenly spaced from −degrees to degrees, less the one that is zero.

    >>> rotate_copies(30, 15).m, rotate_copies(5, 4).m
    (14, 4)
    """
    angles = torch.linspace(-degrees, degrees, count, dtype=torch.float64).tolist()
    return Copies("rotate", tuple(angle for angle in angles if abs(angle) > _NO_ANGLE))


def crop_copies(pixels: int | Sequence[int]) -> Copies:
    """Remove each of these numbers of pixels from each side.

    >>> crop_copies(range(1, 7)).m
    6
    """
    return Copies("crop", (pixels,) if isinstance(pixels, int) else tuple(pixels))


#: The lists of Kuchnik & Smith (ICLR 2019), section 4.
PAPER: dict[str, Copies] = {
    "mnist-translate": translate_copies(2),
    "mnist-rotate": rotate_copies(30, 15),
    "mnist-crop": crop_copies(range(1, 7)),
    "cifar10-translate": translate_copies(3),
    "cifar10-rotate": rotate_copies(5, 4),
    "cifar10-crop": crop_copies(2),
    "norb-translate": translate_copies(6),
    "norb-rotate": rotate_copies(5, 4),
    "norb-crop": crop_copies(2),
}


def copies_for(name: str | Copies, *, channels: int, size: tuple[int, int]) -> Copies:
    """Find the list of copies by its name: `translate`, `rotate`, `crop`, or one of the paper's such as `mnist-crop`.

    A bare kind means the paper's list for images like these: NORB's for grey ones of 96×96; MNIST's for other grey
    ones; CIFAR's for colour; the last two in proportion to the size, and exactly the paper's at 28×28 and 32×32.

    Raises:
        InputError: If there is no such name.

    >>> copies_for("translate", channels=1, size=(28, 28)) == PAPER["mnist-translate"]
    True
    >>> copies_for("translate", channels=1, size=(8, 8)).amounts[0]
    (-1, -1)
    """
    if isinstance(name, Copies):
        return name
    word = re.sub(r"\s+", "", name).lower()
    if word in PAPER:
        return PAPER[word]
    if word not in _KINDS:
        raise unknown("transform", name, [*_KINDS, *PAPER])
    side = min(size)
    if channels == 1 and side == 96:
        return PAPER[f"norb-{word}"]
    if channels == 1:
        lists = {
            "translate": translate_copies(max(1, round(2 * side / 28))),
            "rotate": PAPER["mnist-rotate"],
            "crop": crop_copies(range(1, max(1, 6 * side // 28) + 1)),
        }
    else:
        lists = {
            "translate": translate_copies(max(1, round(3 * side / 32))),
            "rotate": PAPER["cifar10-rotate"],
            "crop": crop_copies(max(1, round(2 * side / 32))),
        }
    return lists[word]
