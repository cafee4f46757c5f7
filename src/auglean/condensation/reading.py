"""Synthetic sets as they are given, in memory or as files, held against the real images that they are to stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet
from auglean.errors import InputError

One = SyntheticSet | str | Path
Given = One | Sequence[One] | Mapping[str, One | Sequence[One]]

#: How far the mean or the deviation of a channel may be from that of the real images, in deviations: a part of the data
#: that a set was made of is nearer by far, other data are mostly not.
_APART = 0.25


def read_sets(synthetic: Given, real: ImageSet) -> dict[str, list[SyntheticSet]]:
    """Read synthetic sets under their names, and make sure that they are of the kind of the real images.

    Those of canvases come decoded, under a name of their own.

    Raises:
        InputError: If one is of other classes or another shape, was made of much brighter or bolder images, or is a
            damaged file.
    """
    if isinstance(synthetic, Mapping):
        return {name: one for name, given in synthetic.items() for one in read_sets(given, real).values()}
    several = [synthetic] if isinstance(synthetic, SyntheticSet | str | Path) else list(synthetic)
    if not several:
        raise InputError("No synthetic set was given; give at least one, or the file of one.")
    found = [one if isinstance(one, SyntheticSet) else SyntheticSet.load(one) for one in several]
    for one, source in zip(found, several, strict=True):
        _check(one, "The synthetic set" if isinstance(source, SyntheticSet) else str(source), real)
    found = [one.decoded() for one in found]
    return {str(found[0].how.get("method", "synthetic")).lower(): found}


def stored_per_class(one: SyntheticSet) -> int:
    """Count the images that are stored of a class, at most: canvases, where each holds several.

    >>> from auglean.condensation import baseline
    >>> from auglean.data import load
    >>> canvases = baseline("random", load("digits"), 1, decode=2)
    >>> stored_per_class(canvases), stored_per_class(canvases.decoded()), len(canvases.decoded())
    (1, 1, 40)
    """
    return int(one.counts.max()) // int(one.how.get("decoded", 1)) ** 2


def _check(one: SyntheticSet, what: str, real: ImageSet) -> None:
    if (one.class_names, one.channels, one.size) != (real.class_names, real.channels, real.size):
        raise InputError(
            f"{what} is of {'×'.join(map(str, one.images.shape[1:]))} pixels and the classes {_few(one)}, but "
            f"{real.name} of {'×'.join(map(str, real.images.shape[1:]))} and {_few(real)}; give the set that was "
            "made of these data."
        )
    spreads = [max(std, 1 / 255) for std in real.mean_std()[1]]
    for made, mine in zip(one.mean_std(), real.mean_std(), strict=True):
        if any(abs(a - b) > _APART * std for a, b, std in zip(made, mine, spreads, strict=True)):
            raise InputError(
                f"{what} was made of images whose channels have {_brightness(one)}, but those of {real.name} have "
                f"{_brightness(real)}; give the set that was made of these data."
            )


def _few(images: SyntheticSet | ImageSet) -> str:
    names = images.class_names
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''} ({len(names)})"


def _brightness(images: SyntheticSet | ImageSet) -> str:
    return ", ".join(f"mean {mean:.3f} ± {std:.3f}" for mean, std in zip(*images.mean_std(), strict=True))
