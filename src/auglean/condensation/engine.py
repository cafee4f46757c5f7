"""The matching loop: one network after another, and in each of them a step of every class's images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from auglean.condensation.builders import Builder
from auglean.condensation.decoding import decode
from auglean.condensation.matching import Matching, Network
from auglean.condensation.methods import DC, Method
from auglean.data import ImageSet
from auglean.policies import Policy
from auglean.processes import shared_map
from auglean.randomness import generator
from auglean.training.clock import Clock

Schedule = Literal["pooled", "paper"]
Path = tuple[int | str, ...]

#: Just below the largest block that glibc will ever serve from its heap, 32 MiB.
_HEAP_BLOCK = 2**25 - 2**14
#: Pixels of the smallest images that the published learning rates were found with.
_PIXELS = 28 * 28


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where the images stand: standardised pixels and their velocities, `(classes, per_class, C, H, W)` each."""

    images: Tensor
    velocity: Tensor
    step: int = 0


class Engine:
    """Moves synthetic images, one step of the schedule at a time.

    Classes do not see each other within a matching step, so that the processes of `torchrun` share them.

    Args:
        data: The real images, on the device to compute on.
        method: What is matched, with its options.
        builder: Makes the networks.
        policy: Augmentation shared by both sides.
        schedule: See `auglean.condense`.
        per_class: Canvases of each class that are moved.
        decode: See `auglean.condense`.
        seed: Of the run.
        steps: Of the run; a pool larger than that is not filled.
        micro_batch: Real images that go through a network at once; by default 16 on a CPU, where fresh memory for more
            would cost as much as the arithmetic, and 256 elsewhere.
        bfloat16: Whether the real images do so in bfloat16.
    """

    def __init__(
        self,
        data: ImageSet,
        method: Method,
        builder: Builder,
        policy: Policy | None,
        *,
        schedule: Schedule,
        per_class: int,
        decode: int = 1,
        steps: int,
        seed: int,
        micro_batch: int | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.data, self.method, self.builder, self.policy = data, method, builder, policy
        self.matching: Matching = method.matching()
        self.schedule, self.per_class, self.decode, self.seed = schedule, per_class, decode, seed
        self.bfloat16 = bfloat16
        self.real_batch = method.real_batch or (64 if schedule == "pooled" else 256)
        self.pool = min(method.pool, steps)
        self.device = data.images.device
        self.micro_batch = micro_batch or (16 if self.device.type == "cpu" else 256)
        self.clock = Clock(self.device)
        self.passed = {"real": 0, "synthetic": 0, "training": 0}  # images through a network, in all processes
        mean, std = (torch.tensor(values, device=self.device).view(-1, 1, 1) for values in builder.mean_std)
        self._mean, self._std = mean, torch.where(std > 0, std, 1.0)
        self._networks: dict[int, Network] = {}
        self._targets: dict[tuple[int, int], list[Tensor]] = {}
        if self.device.type == "cpu":
            _grow_heap()

    def standardise(self, pixels: Tensor) -> Tensor:
        """Give the images that are moved, from pixels in [0, 1]."""
        return (pixels.to(self.device) - self._mean) / self._std

    def pixels(self, images: Tensor) -> Tensor:
        """Give pixels in [0, 1] of images as they are moved."""
        return images * self._std + self._mean

    def shown(self, images: Tensor) -> Tensor:
        """Give what networks see, pixels in [0, 1], of canvases. Shape `(n · decode², channels, height, width)`."""
        return decode(self.pixels(images), self.decode)

    # ---- the schedules

    def advance(self, state: State) -> tuple[State, float]:
        """Take one step of the schedule; give the new state and the mean loss, per row or feature."""
        images, velocity, losses = state.images, state.velocity, []
        steps = self._pooled(state.step) if self.schedule == "pooled" else self._published(state.step)
        for network, path, entry in steps:
            images, velocity, loss = self._match(network, path, entry, images, velocity)
            losses.append(loss)
            if self.schedule == "paper" and len(losses) < self.outer:
                self._train(network, images, (*path, len(losses)))
        return State(images, velocity, state.step + 1), sum(losses) / len(losses)

    @property
    def shown_per_class(self) -> int:
        """Images of each class that networks see."""
        return self.per_class * self.decode**2

    @property
    def outer(self) -> int:
        """Matching steps in one network."""
        return self.method.loops(self.per_class)[0] if self.schedule == "paper" else 1

    def _pooled(self, step: int) -> Iterator[tuple[Network, Path, int | None]]:
        cycle, place = divmod(step, self.pool)
        entry = int(torch.randperm(self.pool, generator=generator(self.seed, "order", cycle))[place])
        yield self.network(entry), ("pool", entry), entry

    def _published(self, step: int) -> Iterator[tuple[Network, Path, int | None]]:
        with self.clock("networks"):
            network = self.builder.build("fresh", step)
            self.matching.prepare(network)
        for place in range(self.outer):
            if place:
                self.builder.hold_statistics(network, "fresh", step, place)
            yield network, ("fresh", step, place), None

    def network(self, entry: int) -> Network:
        """Give a network of the pool."""
        if entry not in self._networks:
            with self.clock("networks"):
                trained = self.method.pretrain * entry // max(1, self.pool - 1)
                network = self.builder.build("pool", entry, pretrain=trained)
                self.matching.prepare(network)
                self._networks[entry] = network
        return self._networks[entry]

    def _train(self, network: Network, images: Tensor, path: Path) -> None:
        assert isinstance(self.method, DC)  # others take one matching step
        epochs = self.method.loops(self.per_class)[1]
        labels = torch.arange(self.data.classes, device=self.device).repeat_interleave(self.shown_per_class)
        with self.clock("training"):
            self.builder.train(network, self.shown(images.flatten(0, 1)), labels, epochs, *path)
        self.passed["training"] += epochs * len(labels)

    # ---- one matching step

    def _match(
        self, network: Network, path: Path, entry: int | None, images: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor, float]:
        """Move the images of every class by one step of SGD."""

        def run(label: int) -> tuple[Tensor, Tensor, int]:
            target, real = self._target(network, path, entry, label)
            return (*self.pull(network, path, label, images[label], target), real)

        found = shared_map(run, range(self.data.classes))
        gradient = torch.stack([gradient.to(self.device) for gradient, _, _ in found])
        velocity = self.method.momentum * velocity + gradient
        losses = torch.stack([loss for _, loss, _ in found])
        self.passed["real"] += sum(real for _, _, real in found)
        self.passed["synthetic"] += self.data.classes * self.shown_per_class
        return images - self.method.lr * velocity, velocity, float(losses.double().mean())

    def _target(self, network: Network, path: Path, entry: int | None, label: int) -> tuple[list[Tensor], int]:
        """Give the target of a class, kept for a network of the pool, and the real images that it took."""
        kept = self._targets.get((entry, label)) if entry is not None else None
        if kept is not None:
            return kept, 0
        with self.clock("real"):
            made = self.target(network, path, label, self.real_batch)
        if entry is not None:
            self._targets[entry, label] = made
        return made, min(self.real_batch, self.builder.count(label))

    def target(self, network: Network, path: Path, label: int, count: int) -> list[Tensor]:
        """Compute the target of a class from `count` real images, a few at a time."""
        chosen = self.builder.members(label, count, "real", *path)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.matching.target(network, self._pieces(chosen, path, label), label, len(chosen))

    def pull(
        self, network: Network, path: Path, label: int, images: Tensor, target: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Give the derivative of a class's loss in its images, and its distance per row or feature."""
        with self.clock("synthetic"):
            leaf = images.detach().requires_grad_()
            pixels = self._augment(self.shown(leaf), path, label)
            distance = self.matching.distance(network, pixels, label, target)
            (gradient,) = torch.autograd.grad(distance, leaf)
            unit = self.matching.unit(target)
        if self.schedule == "pooled":
            gradient *= self._scale(images, unit)
        return gradient, distance.detach() / unit

    def _scale(self, images: Tensor, unit: float) -> float:
        """Give what a learning rate is multiplied by to mean the same for every network, number and size of images."""
        # published sums grow with the network, the share of an image in a mean shrinks with their number, and that of a
        # pixel in an image grows where there are few; the published rates serve images of 28×28 to 64×64
        small = min(1.0, images.shape[-2] * images.shape[-1] / _PIXELS)
        return self.matching.reference * self.per_class / unit * small

    def _pieces(self, chosen: Tensor, path: Path, label: int) -> Iterator[Tensor]:
        for piece in chosen.split(self.micro_batch):
            yield self._augment(self.data.batch(piece)[0].float() / 255, path, label)

    def _augment(self, pixels: Tensor, path: Path, label: int) -> Tensor:
        if self.policy is None:
            return pixels
        # drawn anew from the same seed, so that the real and the synthetic side share it whenever they are computed
        shared = self.policy.draw(1, generator=generator(self.seed, "augment", *path, label))
        return self.policy.apply(pixels, shared)

    def agreement(self) -> float:
        """Measure the cosine of a target in bfloat16 to the same one in float32."""
        network, sides = self.network(0), {}
        for bfloat16 in (False, True):
            self.bfloat16 = bfloat16
            parts = self.target(network, ("pool", 0), 0, self.real_batch)
            sides[bfloat16] = torch.cat([part.flatten().double() for part in parts])
        return float(functional.cosine_similarity(sides[False], sides[True], dim=0))


def resident(data: ImageSet, device: torch.device) -> ImageSet:
    """Put a data set on the device."""
    if device.type == "cpu":
        return data
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def _grow_heap() -> None:
    """Let glibc serve activations from memory that it keeps.

    A block that was mapped on its own and is freed raises the size from which blocks are mapped, up to 32 MiB, and
    twice as much is then kept in place of being handed back. Without this, each micro-batch has its activations
    mapped and filled with zeros by the kernel anew, which takes a fifth of the time of a gradient.
    """
    torch.empty(_HEAP_BLOCK, dtype=torch.uint8)
