"""`continual`: classes come a few at a time, and all that may be kept of them is a small memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean import networks
from auglean.condensation.baselines import baseline
from auglean.condensation.condensing import condense
from auglean.condensation.evaluating import seconds_of
from auglean.condensation.learning import learn
from auglean.condensation.methods import DM, Method
from auglean.condensation.protocol import Protocol, spread
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet, load
from auglean.errors import InputError
from auglean.progress import track
from auglean.randomness import derive, generator
from auglean.training import correct
from auglean.training.fitting import check_agree, check_options


@dataclass(frozen=True, slots=True)
class Continual:
    """What `continual` found.

    Attributes:
        rows: One for each memory and stage: `classes` seen so far, `images` kept of them, `accuracy` on the test images
            of all of them with mean and standard deviation over orders, and `seconds` to make the memory until then.
        config: How it was done.
    """

    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]

    def accuracies(self, memory: str) -> list[float]:
        """Give the mean accuracy of a memory after each stage."""
        return [row["accuracy"]["mean"] for row in self.rows if row["memory"] == memory]

    def __repr__(self) -> str:
        classes = sorted({row["classes"] for row in self.rows})
        lines = [f"{'memory':<12}" + "".join(f"{f'{count} classes':>16}" for count in classes) + f"{'seconds':>9}"]
        for memory in dict.fromkeys(row["memory"] for row in self.rows):
            rows = [row for row in self.rows if row["memory"] == memory]
            cells = [
                f"{100 * row['accuracy']['mean']:.1f} ± {100 * row['accuracy']['std']:.1f}".rjust(16) for row in rows
            ]
            lines.append(f"{memory:<12}" + "".join(cells) + f"{rows[-1]['seconds']:>9.1f}")
        return "\n".join(lines)


def continual(
    data: Any,
    test: Any,
    *,
    memories: Sequence[str | Method] = ("random", "herding", DM()),
    per_class: int = 20,
    stages: int = 5,
    orders: int = 3,
    repeats: int = 1,
    network: str = "convnet",
    steps: int = 1000,
    epochs: int = 300,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Continual:
    """Learn classes incrementally, keeping a few images of each in a memory, as Zhao & Bilen 2023 (DM) test it.

    The classes are shuffled and cut into stages. At each stage the memory of its classes is made of their training
    images alone, which are then gone; a new network is trained on the whole memory so far, with augmentation, and
    judged on the test images of all classes seen. Pixels are standardised by the images of the first stage.

    Args:
        data: Training images: an `ImageSet` or anything that `auglean.load` takes.
        test: Test images.
        memories: Names of baselines, see `auglean.condensation.baseline`, and methods of condensation.
        per_class: Images kept of each class.
        stages: Parts into which the classes are cut, of 2 classes or more each.
        orders: How often, with another order of the classes.
        repeats: Networks trained at each stage.
        network: Their name; images are matched in the same.
        steps: Steps of condensation at each stage.
        epochs: Passes over the memory.
        seed: Fixes everything that is drawn.
        device: Where to compute; by default the CPU.

    Raises:
        InputError: If an option or the data are not usable.

    >>> options = {"memories": ["random"], "per_class": 2, "orders": 1, "network": "mlp", "epochs": 5}
    >>> [row["classes"] for row in continual("digits", load("digits", split="test"), **options).rows]
    [2, 4, 6, 8, 10]
    """
    train, judged = load(data), load(test)
    train.require_every_class()
    check_agree(train, judged, "test")
    check_options(steps=steps, eval_every=None, device=device)
    if min(orders, repeats, epochs, stages) < 1 or train.classes < 2 * stages:
        raise InputError(
            f"Got {stages} stages, {orders} orders, {repeats} repeats and {epochs} epochs for {train.classes} classes; "
            "give 1 or more of each, and 2 classes or more to a stage."
        )
    kinds = {kind.name.lower() if isinstance(kind, Method) else str(kind): kind for kind in memories}
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    jobs = [(name, order) for order in range(orders) for name in kinds]
    for name, order in track(jobs, "continual"):
        learner = _Learner(kinds[name], per_class, network, repeats, steps, epochs, derive(seed, order), device)
        for seen, accuracy, seconds in learner.run(*_ordered(train, judged, order, seed), stages):
            found.setdefault((name, seen), []).append((accuracy, seconds))
    rows = tuple(
        {
            "memory": name,
            "classes": seen,
            "images": seen * per_class,
            "accuracy": spread([accuracy for accuracy, _ in each]),
            "seconds": sum(seconds for _, seconds in each) / len(each),
        }
        for (name, seen), each in sorted(found.items(), key=lambda item: list(kinds).index(item[0][0]))
    )
    config = {"data": train.name, "memories": list(kinds), "per_class": per_class, "stages": stages, "orders": orders}
    options = {"repeats": repeats, "network": network, "steps": steps, "epochs": epochs, "seed": seed}
    return Continual(rows, {**config, **options})


def _ordered(train: ImageSet, test: ImageSet, order: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Number the classes in the order in which they come."""
    classes = torch.randperm(train.classes, generator=generator(seed, "classes", order))
    return only(train, classes), only(test, classes)


def only(data: ImageSet, classes: Tensor) -> ImageSet:
    """Keep the images of some classes, which are numbered from 0 in the given order.

    Args:
        data: The images.
        classes: Numbers of classes. Shape `(k,)`, int64.

    >>> only(load("digits"), torch.tensor([7, 3])).class_names
    ('7', '3')
    """
    place = torch.full((data.classes,), -1)
    place[classes] = torch.arange(len(classes))
    labels = place[data.labels.cpu()]
    images, _ = data.batch(labels >= 0)
    return ImageSet(images, labels[labels >= 0], tuple(data.class_names[k] for k in classes.tolist()), data.name)


@dataclass(frozen=True)
class _Learner:
    """Learns the stages of one order with one kind of memory."""

    kind: str | Method
    per_class: int
    network: str
    repeats: int
    steps: int
    epochs: int
    seed: int
    device: torch.device | str | None

    def run(self, train: ImageSet, test: ImageSet, stages: int) -> list[tuple[int, float, float]]:
        """Give classes seen, accuracy on them, and seconds spent on the memory, after each stage."""
        kept: list[SyntheticSet] = []
        found, seconds = [], 0.0
        for stage, classes in enumerate(torch.arange(train.classes).tensor_split(stages)):
            kept.append(self._memory(only(train, classes), stage))
            seconds += seconds_of(kept[-1])
            seen = only(test, torch.arange(int(classes[-1]) + 1))
            found.append((seen.classes, self._accuracy(_joined(kept, seen), seen), seconds))
        return found

    def _memory(self, data: ImageSet, stage: int) -> SyntheticSet:
        seed = derive(self.seed, "memory", stage)
        if isinstance(self.kind, str):
            return baseline(self.kind, data, self.per_class, seed=seed, device=self.device)
        options = {"network": self.network, "steps": self.steps, "device": self.device}
        return condense(data, per_class=self.per_class, method=self.kind, seed=seed, **options)  # type: ignore[arg-type]

    def _accuracy(self, memory: SyntheticSet, test: ImageSet) -> float:
        policy = DM().policy(memory)  # type: ignore[arg-type]  # asks for the face that both sets have
        steps, total = Protocol(epochs=self.epochs).steps(len(memory), augmented=False), 0.0
        for repeat in range(self.repeats):
            own = derive(self.seed, "learn", memory.classes, repeat)
            shape = {"channels": memory.channels, "size": memory.size, "mean": memory.mean, "std": memory.std}
            model = networks.create(self.network, classes=memory.classes, seed=own, **shape)  # type: ignore[arg-type]
            learn(model.to(self.device or "cpu"), memory, steps=steps, policy=policy, seed=own)
            total += float(correct(model, test, batch_size=64).double().mean())
        return total / self.repeats


def _joined(kept: Sequence[SyntheticSet], seen: ImageSet) -> SyntheticSet:
    """Put the memories of all stages into one set, standardised as that of the first."""
    first, labels, offset = kept[0], [], 0
    for one in kept:
        labels.append(one.labels + offset)
        offset += one.classes
    return SyntheticSet(
        torch.cat([one.images for one in kept]), torch.cat(labels), seen.class_names, first.mean, first.std
    )
