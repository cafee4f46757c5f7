"""What a run of condensation will take, measured on a few images before it begins."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from auglean.condensation.engine import Engine, State
from auglean.condensation.methods import DC
from auglean.errors import InputError
from auglean.processes import ranks
from auglean.training.clock import Clock

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Plan:
    """Work, memory and time of a run.

    Attributes:
        real_images: Real images to go through a network for targets.
        synthetic_images: Synthetic images to be matched.
        training_images: Synthetic images for networks to be trained on, of the published schedule.
        pool_bytes: What the networks of the pool and their targets take.
        working_bytes: What a network keeps of one class's images for their derivative.
        seconds: Estimated from one micro-batch and one class; without the training of networks on real images.

    >>> Plan(6400, 10_000, 0, 2**28, 2**25, 75.0)
    about 1 min 15 s; 268 MB for the pool, 34 MB for the images of a class; 6400 real and 10000 synthetic images
    """

    real_images: int
    synthetic_images: int
    training_images: int
    pool_bytes: int
    working_bytes: int
    seconds: float

    def __repr__(self) -> str:
        pool = f"{self.pool_bytes / 1e6:.0f} MB for the pool, " if self.pool_bytes else ""
        trained = f", {self.training_images} to train on" if self.training_images else ""
        return (
            f"about {_duration(self.seconds)}; {pool}{self.working_bytes / 1e6:.0f} MB for the images of a class; "
            f"{self.real_images} real and {self.synthetic_images} synthetic images{trained}"
        )


def plan_run(engine: Engine, state: State, steps: int) -> Plan:
    """Measure one class in a network that is not used, and multiply.

    Raises:
        InputError: If the pool does not fit into memory.
    """
    pooled, each = engine.schedule == "pooled", engine.shown_per_class
    counts = engine.data.counts.tolist()
    matches = (steps - state.step) * engine.outer
    real = (engine.pool if pooled else matches) * sum(min(engine.real_batch, count) for count in counts)
    synthetic = matches * len(counts) * each
    trained = 0
    if isinstance(engine.method, DC) and not pooled:
        trained = (
            (steps - state.step) * (engine.outer - 1) * engine.method.loops(engine.per_class)[1] * len(counts) * each
        )

    network = engine.builder.build("probe")
    engine.matching.prepare(network)
    piece = min(engine.micro_batch, engine.real_batch, counts[0])
    clock, engine.clock = engine.clock, Clock(engine.device)
    seconds_real, target = _timed(engine, lambda: engine.target(network, ("probe",), 0, piece))
    kept = SavedBytes()
    with kept:
        seconds_class, _ = _timed(engine, lambda: engine.pull(network, ("probe",), 0, state.images[0], target))
    engine.clock = clock

    pool = 0
    if pooled:
        weights = sum(parameter.nbytes for parameter in network.module.parameters())
        pool = engine.pool * (weights + sum(part.nbytes for part in target) * len(counts) // ranks())
        _check_memory(pool, engine)
    per_image = seconds_real / piece
    seconds = (real * per_image + matches * len(counts) * seconds_class) / ranks() + trained * per_image
    return Plan(real, synthetic, trained, pool, kept.bytes, seconds)


def _timed(engine: Engine, work: Callable[[], Found]) -> tuple[float, Found]:
    """Time the second of two calls: the first one sets kernels up."""
    work()
    _wait(engine.device)
    began = time.perf_counter()
    found = work()
    _wait(engine.device)
    return time.perf_counter() - began, found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that a graph keeps for its derivative, each piece of memory once."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        super().__init__(self._count, lambda tensor: tensor)

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        """Bytes so far; what was freed and used again between two passes is counted once."""
        return sum(self._seen.values())


def _check_memory(needed: int, engine: Engine) -> None:
    if engine.device.type == "cuda":
        free = torch.cuda.mem_get_info(engine.device)[0]
    else:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):  # not told on this system
            return
    if needed > free:
        raise InputError(
            f"The pool of {engine.pool} networks and their targets would take {needed / 1e9:.1f} GB, where "
            f"{free / 1e9:.1f} GB of memory are free; give a pool of {max(1, int(engine.pool * free / needed * 0.8))}."
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
