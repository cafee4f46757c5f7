"""Work shared among the processes of `torchrun`: each does its part, and every one has all results."""

from __future__ import annotations

import heapq
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import torch
from torch import distributed

Item = TypeVar("Item")
Result = TypeVar("Result")

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Run a block without sharing: for what one rank does while the others do something else.

    >>> with alone():
    ...     shared_map(abs, [-1, 2])
    [1, 2]
    """
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that `torchrun` started, for the length of a block; without it a process stays by itself.

    Where there are GPUs, each process on a machine gets another one as its present device.

    >>> with joined():
    ...     ranks()
    1
    """
    available = distributed.is_available() and distributed.is_torchelastic_launched()
    if not available or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def ranks() -> int:
    """Count the processes that share work here: 1 without a group, or inside `alone`.

    >>> ranks()
    1
    """
    if _ALONE.get() or not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def is_first() -> bool:
    """Tell whether this process is the one of a group that writes files.

    >>> is_first()
    True
    """
    return ranks() == 1 or distributed.get_rank() == 0


def speaks() -> bool:
    """Tell whether this process is the one of a group that tells the user how far the work is, alone or not.

    >>> speaks()
    True
    """
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def from_first(run: Callable[[], Result]) -> Result:
    """Give `run()` as the first process of a group finds it, which alone runs it: for what is read from files.

    **All ranks have to call this together.** What `run` shares in its turn is not shared.

    Raises:
        Exception: On every rank, what `run` raised.

    >>> from_first(lambda: 3)
    3
    """
    if ranks() == 1:
        return run()
    said: list[Any] = [None]
    if is_first():
        try:
            with alone():
                said = [(_packed(run()), None)]
        except Exception as raised:  # to be raised by all, for the others wait
            said = [(None, _portable(raised))]
    distributed.broadcast_object_list(said)
    value, error = said[0]
    if error is not None:
        raise error
    return cast(Result, _unpacked(value))


def anywhere(ask: Callable[[], bool]) -> bool:
    """Tell whether a process of the group says yes: asked of all together, so that all of them go the same way.

    >>> anywhere(lambda: False)
    False
    """
    return any(shared_map(lambda _: ask(), range(ranks())))


def shared_map(
    run: Callable[[Item], Result], items: Sequence[Item], sizes: Sequence[float] | None = None
) -> list[Result]:
    """Give `[run(item) for item in items]`, each item run by one process of torch.distributed's default group.

    Without such a group, or inside `alone`, the one process runs them all. With one, **all its ranks have to call
    this together, with the same items**, or the group waits in vain; with NCCL each rank has to have set its
    device. Every rank gets every result, with its tensors on the CPU.

    Args:
        run: What to do. What it shares in its turn is not shared, unless it is the only item.
        items: The items, the same on each rank.
        sizes: The work that each item is, to balance the ranks; by default all the same.

    Raises:
        Exception: On every rank, what `run` raised for the first item for which it did.

    >>> shared_map(abs, [-1, 2])
    [1, 2]
    """
    if ranks() == 1:
        return [run(item) for item in items]
    if len(items) == 1:  # nothing to share here, but there may be inside
        return [run(items[0])]
    rank = distributed.get_rank()
    owners = _share([1.0] * len(items) if sizes is None else sizes, ranks())
    mine: dict[int, Any] = {}
    error: tuple[int, Exception] | None = None
    for i in (i for i, owner in enumerate(owners) if owner == rank):
        try:
            with alone():
                mine[i] = _packed(run(items[i]))
        except Exception as raised:  # to be raised by all, for the others wait
            error = (i, _portable(raised))
            break
    gathered: list[Any] = [None] * ranks()
    distributed.all_gather_object(gathered, (mine, error))
    errors = [raised for _, raised in gathered if raised is not None]
    if errors:
        # each rank runs its items in order, so the first of all is the one that one process would meet
        raise min(errors, key=lambda pair: pair[0])[1]
    return [_unpacked(gathered[owner][0][i]) for i, owner in enumerate(owners)]


def _share(sizes: Sequence[float], ranks: int) -> list[int]:
    """Give each item an owner: the longest first, to the rank that has least (Graham 1969)."""
    loads = [(0.0, rank) for rank in range(ranks)]
    owners = [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        load, rank = loads[0]
        owners[i] = rank
        heapq.heapreplace(loads, (load + sizes[i], rank))
    return owners


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(packed: bytes) -> Any:
    # another rank's devices are not ours; its objects are as trusted as its program, which is ours
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=False)


def _portable(error: Exception) -> Exception:
    """Give the error, or its text where it cannot travel."""
    try:
        _unpacked(_packed(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
