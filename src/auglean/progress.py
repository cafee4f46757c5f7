"""A progress bar that shows itself only to somebody who has been waiting."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from auglean.processes import speaks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

T = TypeVar("T")


@functools.cache
def console() -> Console:
    """Give the one console on stderr, shared so that two bars at a time do not overwrite each other."""
    from rich.console import Console

    return Console(stderr=True)


def watched() -> bool:
    """Tell whether somebody at a terminal sees what this process writes on stderr; of several processes, the first."""
    return sys.stderr is not None and sys.stderr.isatty() and speaks()


def track(items: Iterable[T], description: str, *, total: int | None = None, delay: float = 2.0) -> Iterator[T]:
    """Yield the items, with a bar and the time left on stderr once `delay` seconds have passed.

    Nothing is shown unless stderr is a terminal.

    Args:
        items: What to go through.
        description: A word or two before the bar.
        total: Number of items, where `items` has no length.
        delay: Seconds before the bar appears.

    >>> list(track(range(3), "counting"))
    [0, 1, 2]
    """
    if not watched():
        yield from items
        return
    total = len(items) if total is None and isinstance(items, Sized) else total
    start, bar = time.monotonic(), None
    try:
        for done, item in enumerate(items, start=1):
            yield item
            if bar is None and time.monotonic() - start > delay:
                bar = _bar()
                task = bar.add_task(description, total=total)
            if bar is not None:
                bar.update(task, completed=done)
    finally:
        if bar is not None:
            bar.stop()


def note(text: str) -> None:
    """Print a line on stderr if that is a terminal."""
    if watched():
        console().print(text, highlight=False)


def _bar() -> Progress:
    from rich.errors import LiveError
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console(), transient=True)
    try:
        bar.start()
    except LiveError:  # another bar is up, and rich before 14.1 shows one at a time
        bar.disable = True
    return bar
