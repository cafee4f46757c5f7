"""Seconds by phase, on the processor and on an accelerator alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up the seconds spent in named phases.

    On CUDA the seconds are the device's, from events that are read only when asked for, so that measuring
    does not make the host wait.

    >>> clock = Clock()
    >>> with clock("train"):
    ...     pass
    >>> clock.seconds()["train"] >= 0
    True
    """

    def __init__(self, device: torch.device | str = "cpu", seconds: dict[str, float] | None = None) -> None:
        self._cuda = torch.device(device).type == "cuda"
        self._seconds = dict(seconds or {})
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the block to a phase."""
        if self._cuda:
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            yield
            after.record()
            self._pending.append((phase, before, after))
        else:
            start = time.perf_counter()
            yield
            self.add(phase, time.perf_counter() - start)

    def add(self, phase: str, seconds: float) -> None:
        """Charge seconds that were measured elsewhere."""
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Give the seconds of each phase so far."""
        if self._pending:
            torch.cuda.synchronize()
            for phase, before, after in self._pending:
                self.add(phase, before.elapsed_time(after) / 1000)
            self._pending.clear()
        return dict(self._seconds)
