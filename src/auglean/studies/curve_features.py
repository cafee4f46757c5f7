"""Features of a task's images and copies: from one frozen network, or from one that is trained anew for each choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.files import read_tensors, write_tensors
from auglean.randomness import derive
from auglean.signals import collect
from auglean.studies.curve_task import Task
from auglean.training import Hooks, Recipe, fit, load_network, new_network

#: Chosen sources and the number of a round, to features.
Represent = Callable[[Tensor, int], "Features"]


@dataclass(frozen=True, slots=True)
class Features:
    """What a network makes of the images of a task, originals first, then copy by copy. Each `(m + 1, images, d)`."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        write_tensors(path, {"train": self.train, "validation": self.validation, "test": self.test}, {})

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read what `save` wrote."""
        return cls(**read_tensors(path)[0])


def extract(model: nn.Module, task: Task, device: torch.device | str | None = None) -> Features:
    """Send the images of a task and their copies through a network once."""

    def of(data: ImageSet) -> Tensor:
        pixels = task.pixels(data)
        flat = pixels.flatten(0, 1)
        labels = torch.zeros(len(flat), dtype=torch.int64)  # not asked for; the network may have other classes
        found = collect(model, TensorDataset(flat, labels), device=device)
        return found.feature.view(len(pixels), len(data), -1)

    return Features(of(task.train), of(task.validation), of(task.test))


def train_network(
    task: Task,
    network: str,
    *,
    steps: int,
    seed: int,
    recipe: Recipe,
    device: torch.device | str | None = None,
    **options: Any,
) -> nn.Module:
    """Train the feature network on images that are none of the task's.

    Raises:
        InputError: If none of a class are left.
    """
    rest = left_over(task)
    model = new_network(network, rest, seed)
    fit(model, rest, steps=steps, seed=seed, recipe=recipe, device=device, **options)
    return model


def left_over(task: Task) -> ImageSet:
    """Give the training images that are not in the task, or raise `InputError` where it leaves none of a class."""
    rest = task.rest
    empty = [] if rest is None else [rest.class_names[k] for k in (rest.counts == 0).nonzero().flatten().tolist()]
    if rest is None or empty:
        which = f" of the class {empty[0]!r}" if empty else ""
        raise InputError(
            f"With {len(task.train)} training images in the task none{which} are left to train a feature network on; "
            "give a smaller number of them, or a trained network."
        )
    return rest


def given_network(model: nn.Module | str | Path, data: ImageSet) -> nn.Module:
    """Give a network, or read one that a run kept.

    Raises:
        InputError: If it is none, or does not take such images.
    """
    network = model if isinstance(model, nn.Module) else load_network(model)
    first = TensorDataset(data.images[:2], torch.zeros(len(data.images[:2]), dtype=torch.int64))
    try:
        collect(network, first)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        shape = "×".join(str(length) for length in data.images.shape[1:])
        raise InputError(
            f"The network cannot take images of {shape} ({str(error).splitlines()[0].rstrip('.')}); give one that was "
            "trained on such images."
        ) from error
    return network


@dataclass(frozen=True)
class Retrained:
    """Trains a network on the originals and the copies of the chosen, with the same number of steps whatever they are.

    In the paper the epochs were the same, so that more copies also meant more steps.
    """

    task: Task
    network: str
    steps: int
    seed: int
    recipe: Recipe
    device: torch.device | str | None = None
    hooks: Hooks | None = None

    def __call__(self, chosen: Tensor, number: int) -> Features:
        """Train, and give the features."""
        data, own = self.task.train, derive(self.seed, "round", number)
        moved = self.task.copies.apply(data.images[chosen]).flatten(0, 1)
        labels = torch.cat([data.labels, data.labels[chosen].repeat(self.task.copies.m)])
        augmented = replace(data, images=torch.cat([data.images, moved]), labels=labels)
        model = new_network(self.network, data, own)
        fit(
            model,
            augmented,
            steps=self.steps,
            seed=own,
            recipe=self.recipe,
            device=self.device,
            eval_every=self.steps,
            hooks=self.hooks,
        )
        return extract(model, self.task, self.device)
