"""Cutting a data set into parts that keep the shares of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean.data.decoding import MAX_PIXELS
from auglean.data.images import ImageSet
from auglean.data.loading import open_source, read
from auglean.errors import InputError
from auglean.randomness import generator


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Splits:
    """What a study needs: a set to train on, one to choose by, and one to use once, at the end.

    Args:
        train: Training set; it has images of every class.
        validation: Every choice is made on this one.
        test: Used once.
        skipped: Unreadable images that were left out of all three.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    skipped: int = 0

    def __repr__(self) -> str:
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        rows = [f"{name:<10}  {len(data):>6}" for name, data in sets.items()]
        left_out = f", {self.skipped} unreadable left out" if self.skipped else ""
        return "\n".join([f"Splits {self.train.name}{left_out}", f"{'set':<10}  images", *rows])


def splits(
    source: Any,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    size: int | None = None,
    skip_corrupt: bool = False,
    limit: int | None = None,
    test_limit: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Read a source and give its training, validation and test sets.

    The source's own splits are used where it has them; those that are missing are cut from its training
    images, class by class.

    Args:
        source: As of `load`.
        validation: Share of the training images to cut for validation, if the source has no such split.
        test: Share of the training images to cut for the test, if the source has no such split.
        seed: Fixes which images are cut.
        size: As of `load`.
        skip_corrupt: As of `load`.
        limit: Train on a random part of at most so many images, stratified, for short runs.
        test_limit: The same for the test set.
        max_pixels: As of `load`.

    Raises:
        InputError: If the source cannot be read, or is too small to cut.

    >>> splits("digits", limit=200)
    Splits digits
    set         images
    train          200
    validation     297
    test           500
    """
    opened = open_source(source)
    own = {"all"} if isinstance(opened, ImageSet) else set(opened.splits)
    sets: dict[str, ImageSet] = {
        name: read(opened, name, size=size, skip_corrupt=skip_corrupt, max_pixels=max_pixels)
        for name in ("train", "validation", "test")
        if name == "train" or name in own
    }
    skipped = sum(data.skipped for data in sets.values())
    missing = {name: share for name, share in (("validation", validation), ("test", test)) if name not in sets}
    if missing:
        _check_can_cut(sets["train"])
        sets["train"], *parts = split(sets["train"], list(missing.values()), seed=seed)
        sets.update(zip(missing, parts, strict=True))
    sets["train"].require_every_class()
    if limit is not None:
        if limit < sets["train"].classes:
            raise InputError(
                f"limit is {limit}, fewer than the {sets['train'].classes} classes; allow one image of each."
            )
        sets["train"] = part(sets["train"], limit, seed=seed)
    if test_limit is not None:
        sets["test"] = part(sets["test"], test_limit, seed=seed)
    return Splits(sets["train"], sets["validation"], sets["test"], skipped)


def split(data: ImageSet, shares: Sequence[float], *, seed: int = 0) -> tuple[ImageSet, ...]:
    """Cut a set into what remains and one part for each share, at random, class by class.

    Every part gets its share of every class to within one image. Parts keep the order of the set.

    Args:
        data: The set to cut.
        shares: Fractions of the set, positive and below one in sum.
        seed: Fixes which images go where.

    Returns:
        The remainder first, then the parts in the order of their shares.

    Raises:
        InputError: If the shares are no such fractions, or a part would be empty.

    >>> data = ImageSet(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1] * 5))
    >>> rest, cut = split(data, [0.2])
    >>> rest.counts, cut.counts
    (tensor([4, 4]), tensor([1, 1]))
    """
    if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise InputError(
            f"The shares to cut are {', '.join(f'{share:g}' for share in shares)} but must each lie between "
            "0 and 1 and sum to less than 1; give smaller fractions."
        )
    rows = split_indices(data.labels, [1 - sum(shares), *shares], seed=seed)
    if any(len(indices) == 0 for indices in rows):
        raise InputError(f"{data.name} has {len(data)} images, too few to cut so; add images or cut larger shares.")
    return tuple(data.subset(indices) for indices in rows)


def split_indices(labels: Tensor, shares: Sequence[float], *, seed: int = 0) -> list[Tensor]:
    """Deal all positions out to parts by their shares (which sum to one), class by class at random.

    Of a class with n images a part with share p gets ⌊np⌋ or ⌈np⌉. The images left after rounding down go to
    the parts that are owed most so far, so that sizes do not drift when there are many small classes.

    Returns:
        For each share, sorted positions, int64. Disjoint, and together all of them.
    """
    share = torch.tensor(shares, dtype=torch.float64)  # (p,)
    owed = torch.zeros_like(share)
    dealt: list[list[Tensor]] = [[] for _ in shares]
    for k in range(int(labels.max()) + 1):
        rows = (labels == k).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator(seed, "split", k))]
        quota = len(rows) * share
        count = (quota + 1e-9).floor()  # a whole number may come out a hair short
        owed += quota - count
        left = len(rows) - int(count.sum())
        # only a part that was rounded down may get one more
        claim = torch.where(quota - count > 1e-9, owed, -torch.inf)
        more = claim.argsort(descending=True, stable=True)[:left]
        count[more] += 1
        owed[more] -= 1
        for rows_of, piece in zip(dealt, torch.split(rows, count.long().tolist()), strict=True):
            rows_of.append(piece)
    return [torch.cat(rows_of).sort().values for rows_of in dealt]


def part(data: ImageSet, count: int, *, seed: int = 0) -> ImageSet:
    """Take a random part of at most `count` images, class by class, with every class in it if `count` allows.

    Raises:
        InputError: If `count` is below one.

    >>> data = ImageSet(torch.zeros(11, 1, 2, 2, dtype=torch.uint8), torch.tensor([0] * 10 + [1]))
    >>> part(data, 4).counts
    tensor([3, 1])
    """
    return data if 1 <= len(data) <= count else data.subset(part_of(data, count, seed=seed))


def part_of(data: ImageSet, count: int, *, seed: int = 0) -> Tensor:
    """Give the positions, ascending, of the images that `part` takes. Shape `(m,)`, int64."""
    if count < 1:
        raise InputError(f"A part of {count} images was asked for; give a limit of at least 1.")
    if count >= len(data):
        return torch.arange(len(data))
    counts = data.counts
    quota = counts.double() * (count / len(data))  # (K,)
    keep = quota.floor().long()
    if count >= int((counts > 0).sum()):
        keep = keep.clamp(min=1).minimum(counts)
    while (excess := int(keep.sum()) - count) != 0:
        if excess > 0:  # from the class that has most above its quota, never its last image
            keep[torch.where(keep > 1, keep - quota, -torch.inf).argmax()] -= 1
        else:
            keep[torch.where(keep < counts, quota - keep, -torch.inf).argmax()] += 1
    rows = []
    for k, number in enumerate(keep.tolist()):
        of_class = (data.labels == k).nonzero().flatten()
        rows.append(of_class[torch.randperm(len(of_class), generator=generator(seed, "part", k))[:number]])
    return torch.cat(rows).sort().values


def _check_can_cut(data: ImageSet) -> None:
    data.require_every_class()
    single = (data.counts == 1).nonzero().flatten().tolist()
    if single:
        raise InputError(
            f"Class {data.class_names[single[0]]!r} of {data.name} has a single image, too few to cut a "
            "validation or test set from; add images, or give the source splits of its own."
        )
