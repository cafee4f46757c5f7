"""Who tells the progress of a study: a bar on a terminal, plain lines elsewhere, nothing unless asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auglean.processes import speaks
from auglean.progress import console, watched

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Narrator:
    """Tells which of several jobs runs and how far it is, on stderr; of several processes, the first does.

    Args:
        lines: Print a plain line for each finished job where stderr is not a terminal.
    """

    def __init__(self, *, lines: bool = False) -> None:
        self.stopping = False
        self._lines = lines and speaks()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._jobs = self._steps = self._done = 0

    def stop(self) -> bool:
        """Whether the study was asked to stop; it saves its state and ends."""
        return self.stopping

    @contextmanager
    def telling(self, jobs: int, steps: int) -> Iterator[None]:
        """Tell of that many jobs of so many steps each, for the length of a block."""
        self._jobs, self._steps, self._done = jobs, steps, 0
        if not watched():
            yield
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console(), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task("starting", total=jobs * steps)
            try:
                yield
            finally:
                self._bar = None

    def say(self, line: str) -> None:
        """Tell a line of its own, where there is no terminal on which a bar tells more."""
        if self._bar is None and self._lines:
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """Tell of one job, for the length of a block."""
        start = time.monotonic()
        if self._bar is not None and self._task is not None:
            told = f"{name} ({self._done + 1} of {self._jobs})"
            self._bar.update(self._task, completed=self._done * self._steps, description=told)
        yield
        self._done += 1
        self.say(f"{self._done} of {self._jobs}: {name}, {time.monotonic() - start:.1f} s")

    def skipped(self, name: str) -> None:
        """Tell of a job that was finished before."""
        self._done += 1
        self.progress(0)
        self.say(f"{self._done} of {self._jobs}: {name}, done before")

    def progress(self, step: int) -> None:
        """Tell how many steps of the present job are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done * self._steps + step)
