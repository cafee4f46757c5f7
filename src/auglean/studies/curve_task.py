"""The task of a budget curve: a few classes, a small training set, every image with its fixed copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from auglean.data import ImageSet, Splits
from auglean.data.splitting import part
from auglean.errors import InputError, unknown
from auglean.policies.copies import Copies, copies_for
from auglean.randomness import generator
from auglean.selection.budgets import allocate
from auglean.studies.label_noise import wrong_labels

#: Classes that Kuchnik & Smith (2019) told apart, by the names that they have in the usual files.
PAIRS = (("3", "8"), ("airplane", "automobile"))
#: Training examples of the paper's tasks.
EXAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Task:
    """What a budget curve is measured on.

    Attributes:
        train: The n training images; under noise some of their labels are wrong.
        validation: Every choice between policies is made on these.
        test: Used once.
        rest: The training images that are none of `train`, of all classes: a feature network may learn from them.
        copies: The m transformations.
        wrong: Which training labels are wrong. Shape `(n,)`, bool.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    rest: ImageSet | None
    copies: Copies
    wrong: Tensor

    def pixels(self, data: ImageSet) -> Tensor:
        """Give the images and their copies, originals first. Shape `(m + 1, B, C, H, W)`, uint8."""
        return torch.cat([data.images[None], self.copies.apply(data.images)])


def make_task(
    sets: Splits,
    *,
    classes: Sequence[Any] | None,
    transform: str | Copies,
    train: int | None,
    validation: int,
    noise: float,
    seed: int,
) -> Task:
    """Cut the task out of a data set: training images drawn by the seed, as many of each class.

    Raises:
        InputError: If a class is unknown or there are too few images.
    """
    names = class_names(sets.train, classes)
    lists = copies_for(transform, channels=sets.train.channels, size=sets.train.size)
    lists.apply(sets.train.images[:1])  # a crop may be too large
    labels = sets.train.labels
    wanted = torch.tensor([sets.train.class_names.index(name) for name in names])
    sizes = [int((labels == label).sum()) for label in wanted]
    n = min(EXAMPLES, sum(sizes) // 2) if train is None else train
    if not 2 * len(names) <= n <= sum(sizes):
        raise InputError(
            f"The task was to have {n} training images of {sum(sizes)} of its {len(names)} classes; give a number from "
            f"{2 * len(names)} to {sum(sizes)}."
        )
    g = generator(seed, "task")
    rows = []
    for label, number in zip(wanted, allocate(n, sizes, "equal"), strict=True):
        of_class = (labels == label).nonzero().flatten()
        rows.append(of_class[torch.randperm(len(of_class), generator=g)[:number]])
    chosen = torch.cat(rows)
    chosen = chosen[torch.randperm(n, generator=g)]
    own = only(sets.train.subset(chosen), names)
    noisy, wrong = wrong_labels(own, noise, seed)
    left = torch.ones(len(labels), dtype=torch.bool)
    left[chosen] = False
    parts = {"validation": only(sets.validation, names), "test": only(sets.test, names)}
    return Task(
        train=noisy,
        validation=part(parts["validation"], validation, seed=seed),
        test=parts["test"],
        rest=sets.train.subset(left) if left.any() else None,
        copies=lists,
        wrong=wrong,
    )


def class_names(data: ImageSet, given: Sequence[Any] | None) -> list[str]:
    """Give the names of the classes of a task, which may be given by name or by number.

    By default they are the pair of the paper, if the data have it, else all.

    Raises:
        InputError: If one is unknown, or there are fewer than two.
    """
    if given is None:
        pair = next((pair for pair in PAIRS if {*pair} < {*data.class_names}), None)
        return list(pair or data.class_names)
    names = []
    for one in given:
        name = str(one).strip()
        if name not in data.class_names and name.isdigit() and int(name) < data.classes:
            name = data.class_names[int(name)]
        if name not in data.class_names:
            raise unknown("class", name, data.class_names)
        names.append(name)
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError(f"The classes of the task are {', '.join(names)}; give two or more different ones.")
    return names


def only(data: ImageSet, names: Sequence[str]) -> ImageSet:
    """Keep the images of some classes, numbered anew in the order of the names.

    Raises:
        InputError: If there is no image of one of them.

    >>> data = ImageSet(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 1]))
    >>> only(data, ["2", "1"]).labels
    tensor([1, 0, 1])
    """
    number = torch.full((data.classes,), -1)
    for new, name in enumerate(names):
        if name in data.class_names:
            number[data.class_names.index(name)] = new
    labels = number.to(data.labels.device)[data.labels]
    kept = (labels >= 0).nonzero().flatten()
    counts = torch.bincount(labels[kept], minlength=len(names))
    if int(counts.min()) == 0:
        missing = names[int(counts.argmin())]
        raise InputError(f"{data.name} has no image of the class {missing!r} in one of its parts; give more images.")
    return replace(data, images=data.images[kept], labels=labels[kept], class_names=tuple(names))
