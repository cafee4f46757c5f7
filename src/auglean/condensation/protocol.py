"""How networks are trained to judge a few images, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from auglean.condensation.learning import PUBLISHED, epochs_to_steps
from auglean.errors import InputError
from auglean.processes import anywhere, ranks, shared_map
from auglean.progress import track
from auglean.training import Recipe

SCORES = ("hlr", "ior", "lrs", "ars")
Row = Mapping[str, Any]
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How networks are trained: alike for every row, each at the best of the same few rates.

    Args:
        epochs: Passes over the images without augmentation; 300 as published.
        epochs_augmented: Passes with augmentation; 1000 as published.
        recipe: Options of SGD.
        rates: Learning rates that every row of few images may choose from, for each network, with augmentation and
            without: the one by which a network that is trained on its first set is best on held-out real images. By
            default that of the recipe and a tenth of it; the whole data have that of the recipe in any case.
        whole_steps: Steps on the whole data; None leaves out that row, and all that is relative to it.
    """

    epochs: int = 300
    epochs_augmented: int = 1000
    recipe: Recipe = PUBLISHED
    rates: tuple[float, ...] = ()
    whole_steps: int | None = 2000

    def __post_init__(self) -> None:
        least = min(self.epochs, self.epochs_augmented, 1 if self.whole_steps is None else self.whole_steps)
        if least < 1:
            raise InputError(
                f"The protocol was given {self.epochs} epochs, {self.epochs_augmented} with augmentation and "
                f"{self.whole_steps} steps on the whole data; give 1 or more of each."
            )
        for rate in self.rates:
            replace(self.recipe, lr=rate)

    @property
    def choice(self) -> tuple[float, ...]:
        """The rates to choose from."""
        return self.rates or (self.recipe.lr / 10, self.recipe.lr)

    def steps(self, images: int, *, augmented: bool) -> int:
        """Count the optimiser steps on so many images."""
        return epochs_to_steps(self.epochs_augmented if augmented else self.epochs, images, self.recipe)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        rows: One for each kind of images, network, and training with or without augmentation. `accuracy` has the mean
            and the standard deviation over sets, and the mean of each set; `within` is the spread over networks that
            are trained on the same set; `rate` is the best one of its `trials`, if there was a choice.
        scores: HLR, IOR, LRS and ARS of the synthetic images on each network, see `fair_scores`; `own` says whether
            their own recipe, chosen on held-out images, is the augmented one.
        config: How it was done.
    """

    rows: tuple[Row, ...]
    scores: tuple[Row, ...]
    config: Mapping[str, Any]

    def row(self, name: str, *, network: str | None = None, augmented: bool = True) -> Row:
        """Give the row of a name, by default of the first network."""
        wanted = name, network or self.config["networks"][0], augmented
        for row in self.rows:
            if (row["name"], row["network"], row["augmented"]) == wanted:
                return row
        raise InputError(f"There is no row {wanted}; there are {sorted({row['name'] for row in self.rows})}.")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return {"config": dict(self.config), "rows": list(self.rows), "scores": list(self.scores)}

    def __repr__(self) -> str:
        lines = [f"{'network':<14} {'images':<12} {'plain':>14} {'augmented':>14} {'of whole':>9}"]
        for network in self.config["networks"]:
            for name in dict.fromkeys(row["name"] for row in self.rows):
                cells, best = [], None
                for augmented in (False, True):
                    row = self.row(name, network=network, augmented=augmented)
                    accuracy = row["accuracy"]
                    cells.append(f"{100 * accuracy['mean']:>6.1f} ± {100 * accuracy['std']:<5.1f}")
                    best = row["relative"]
                told = "" if best is None else f"{100 * best:.1f} %"
                lines.append(f"{network:<14} {name:<12} {cells[0]:>14} {cells[1]:>14} {told:>9}")
        for score in self.scores:
            told = ", ".join(f"{key.upper()} {score[key]:.3f}" for key in SCORES if score[key] is not None)
            lines.append(f"{score['name']} on {score['network']}: {told}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a caller keeps of an evaluation, so that one that was stopped need not begin anew.

    Attributes:
        recall: Gives what was kept under a name, or None.
        keep: Keeps plain values under a name.
        stop: Asked after each network; True raises `KeyboardInterrupt`.
        job: Gives a context in which the part of a name runs.
    """

    recall: Callable[[str], Mapping[str, Any] | None] = lambda name: None
    keep: Callable[[str, Mapping[str, Any]], None] = lambda name, found: None
    stop: Callable[[], bool] = lambda: False
    job: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()


def stoppable_map(
    run: Callable[[Item], Found], items: Sequence[Item], stop: Callable[[], bool], told: str
) -> list[Found]:
    """Give `[run(item) for item in items]`, shared among processes; where one of them is asked to stop, all end.

    Args:
        run: What to do.
        items: The items.
        stop: Asked after each item, or after one for each process.
        told: What the progress is called.

    Raises:
        KeyboardInterrupt: If `stop()`.
    """
    found: list[Found] = []
    for begin in track(range(0, len(items), ranks()), told):
        found += shared_map(run, items[begin : begin + ranks()])
        if anywhere(stop):
            raise KeyboardInterrupt
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Give mean, standard deviation (n − 1; 0 for one value) and the values.

    >>> spread([0.5, 0.5])
    {'mean': 0.5, 'std': 0.0, 'values': [0.5, 0.5]}
    """
    column = torch.tensor(values, dtype=torch.float64)
    std = float(column.std()) if len(values) > 1 else 0.0
    return {"mean": float(column.mean()), "std": std, "values": list(values)}
