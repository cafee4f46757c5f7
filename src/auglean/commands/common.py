"""What the commands share: the folder and the images of a run, its interruption, its device, and how they speak."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from auglean.errors import InputError
from auglean.processes import from_first, speaks

if TYPE_CHECKING:
    from auglean.data import Splits
    from auglean.studies import Narrator


def begin(
    command: str,
    data: str,
    seed: int,
    size: int | None,
    limit: int | None,
    test_limit: int | None,
    skip_corrupt: bool,
    out: str | None,
    resume: bool | None,
) -> tuple[Path, Splits, dict[str, Any]]:
    """Check the run folder, then read the images; give also how they were asked for."""
    from auglean.data import splits
    from auglean.studies.folder import check_folder

    folder = Path(out) if out else from_first(lambda: _free_folder(command, data))
    from_first(lambda: check_folder(folder, resume=resume))
    sets = splits(data, seed=seed, size=size, limit=limit, test_limit=test_limit, skip_corrupt=skip_corrupt)
    origin = {"data": data, "size": size, "limit": limit, "test_limit": test_limit, "skip_corrupt": skip_corrupt}
    return folder, sets, origin


@contextmanager
def stoppable(command: str, folder: Path) -> Iterator[Narrator]:
    """Turn the first Ctrl-C into a wish to stop after the step that runs; a second one stops at once."""
    from auglean.studies import Narrator
    from auglean.training import Interrupted

    narrator = Narrator(lines=True)

    def ask(number: int, frame: Any) -> None:
        narrator.stopping = True
        signal.signal(signal.SIGINT, before)
        tell("Stopping after this step; Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield narrator
    except (Interrupted, KeyboardInterrupt) as stopped:
        told = str(stopped) or "stopped at once"
        raise Interrupted(f"{told}; go on with: auglean {command} --resume --out {folder}") from stopped
    finally:
        signal.signal(signal.SIGINT, before)


def usable(name: str | None) -> str:
    """Give the device that was named, or a GPU if there is one."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used here; leave --device out, or give cpu.") from error
    return name


def _free_folder(command: str, data: str) -> Path:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).stem or "data").strip("-") or "data"
    numbers = iter(range(2, 1_000_000))
    folder = Path("runs") / f"{command}-{stem}"
    while folder.exists():
        folder = Path("runs") / f"{command}-{stem}-{next(numbers)}"
    return folder


def show(what: Any) -> None:
    """Print a table or text on stdout; of several processes, the first does."""
    from rich.console import Console

    if speaks():
        Console().print(what, highlight=False, markup=False)


def show_json(result: Any) -> None:
    """Print one object on a line of stdout; of several processes, the first does."""
    if speaks():
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")


def tell(line: str) -> None:
    """Tell a line on stderr; of several processes, the first does."""
    if speaks():
        sys.stderr.write(line + "\n")
