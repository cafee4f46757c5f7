"""The folder of a run: its configuration, what it measured, what it chose, and where it stood when it was stopped."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from auglean.data import Splits
from auglean.errors import InputError
from auglean.files import write_json, write_text
from auglean.processes import from_first, is_first
from auglean.training.checkpoints import ADDED

CONFIG = "config.yaml"


class RunFolder:
    """Owns one run's files; every write leaves the old file or the new one.

    Of the processes of `torchrun` the first one writes and reads, and all of them know what it found.

    ```
    config.yaml     the resolved options; running them again gives the same numbers on the same machine
    metrics.jsonl   a row per evaluation, and per measurement of κ, appended while running
    result.json     the result
    selections/     what was chosen, by arm, seed and epoch
    checkpoint/     finished jobs, and the state of the one that runs
    report.html     the page for people
    ```

    Args:
        path: The folder; made if missing.
        config: Resolved options, plain values.
        fingerprint: Of the data, which a resumed run must find as they were.
        resume: Go on with the run that is there.

    Raises:
        InputError: If the folder holds another run, or there is none to resume, or its options differ.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], *, fingerprint: str, resume: bool = False) -> None:
        self.path = Path(path)
        self._rows = from_first(lambda: self._begin(config, fingerprint, resume))

    def _begin(self, config: Mapping[str, Any], fingerprint: str, resume: bool) -> list[dict[str, Any]]:
        """Give the rows of the run so far."""
        check_folder(self.path, resume=resume)
        mark = self.path / "checkpoint" / "fingerprint"
        if resume:
            found = {**{name: value for name, value in ADDED.items() if name in config}, **read_config(self.path)}
            differing = sorted(key for key in {*found, *config} if found.get(key) != config.get(key))
            if differing:
                key = differing[0]
                raise InputError(
                    f"{self.path} holds a run with {key} {found.get(key)!r}, not {config.get(key)!r}; "
                    "resume with the options it began with, or choose another folder."
                )
            if mark.exists() and mark.read_text() != fingerprint:
                raise InputError(f"The data are not those that the run in {self.path} began with; start a new run.")
            for cut_off in self.path.rglob(".*.tmp"):  # by a kill in the middle of a write
                cut_off.unlink()
        else:
            text = _yaml(config)
            write_text(mark, fingerprint)
            write_text(self.path / CONFIG, text)
        if resume and self.metrics.exists():
            return [json.loads(line) for line in self.metrics.read_text().splitlines() if _whole(line)]
        return []

    @property
    def metrics(self) -> Path:
        """The file of rows."""
        return self.path / "metrics.jsonl"

    def checkpoint(self, job: str) -> Path:
        """The file of the state of a job that runs."""
        return self._job(job).with_suffix(".safetensors")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to `metrics.jsonl`."""
        self._rows.append(dict(row))
        if is_first():
            with open(self.metrics, "a") as file:
                file.write(json.dumps(row) + "\n")

    def forget(self, job: str, after: int) -> None:
        """Drop the rows of a job beyond a step, which a resumed run writes again."""
        # the state after a step is written after its evaluation, but before κ is measured and the next step begins
        self._rows = [row for row in self._rows if row["job"] != job or row["step"] + ("kappa" in row) <= after]
        if is_first():
            write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in self._rows))

    def finished(self, job: str) -> dict[str, Any] | None:
        """Give what `finish` kept of a job, or None."""
        return from_first(lambda: self._finished(job))

    def _finished(self, job: str) -> dict[str, Any] | None:
        path = self._job(job)
        if not path.exists():
            return None
        self.checkpoint(job).unlink(missing_ok=True)  # a kill may have come between the two
        return dict(json.loads(path.read_text()))

    def finish(self, job: str, outcome: Mapping[str, Any]) -> None:
        """Keep the outcome of a job, and drop its state."""
        if is_first():
            write_json(self._job(job), outcome)
            self.checkpoint(job).unlink(missing_ok=True)

    def _job(self, job: str) -> Path:
        return self.path / "checkpoint" / f"{job.replace('/', '_')}.json"

    def selections(self, job: str) -> Path:
        """The folder of a job's selections."""
        return self.path / "selections" / job

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`."""
        if is_first():
            write_json(self.path / "result.json", result)


def check_folder(path: str | Path, *, resume: bool | None) -> None:
    """Refuse a folder that a run cannot write to, before any work is done; resume is None where runs cannot be resumed.

    Raises:
        InputError: See `RunFolder`.
    """
    path = Path(path)
    if resume and not (path / CONFIG).exists():
        raise InputError(f"There is no run to resume in {path}; give the folder of a run that was stopped as --out.")
    if not resume and any((path / name).exists() for name in (CONFIG, "result.json", "metrics.jsonl")):
        instead = "" if resume is None else ", or --resume to go on with that run"
        raise InputError(f"{path} holds another run; give an empty folder as --out{instead}.")
    parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not parent.is_dir():
        raise InputError(f"{parent} is a file, not a folder; give another --out.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent} cannot be written to; give another folder as --out.")


def read_config(path: str | Path) -> dict[str, Any]:
    """Read the options of the run in a folder."""
    import yaml

    found: dict[str, Any] = yaml.safe_load((Path(path) / CONFIG).read_text())
    return found


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    plain = json.loads(json.dumps(config))  # a numpy float, say, becomes a number
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False  # the process was killed while it wrote this line
    return True


def describe_data(sets: Splits) -> dict[str, Any]:
    """Describe the images that a result was got with."""
    return {
        "name": sets.train.name,
        "fingerprint": fingerprint(sets),
        "train": len(sets.train),
        "validation": len(sets.validation),
        "test": len(sets.test),
        "skipped": sets.skipped,
        "classes": list(sets.train.class_names),
        "shape": list(sets.train.images.shape[1:]),
    }


def fingerprint(sets: Splits) -> str:
    """Mark the training, validation and test images: changes with any pixel, label or class name."""
    return "-".join(data.fingerprint[:8] for data in (sets.train, sets.validation, sets.test))


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Describe the machine and the software that a result was got with."""
    found: dict[str, Any] = {
        "auglean": version("auglean"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
