"""Files that are either the old ones or the new ones, whenever the process is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, making its folders."""
    _replace(Path(path), text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a binary file atomically, making its folders."""
    _replace(Path(path), content)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically. Not-a-number has no place in JSON, so it raises ValueError."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state as one safetensors file, atomically."""
    from safetensors.torch import save

    # copies, because safetensors refuses tensors that share memory, as tied weights do
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    _replace(Path(path), save(plain, metadata={"state": json.dumps(state)}))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote: the tensors and the state."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        state = json.loads((file.metadata() or {}).get("state", "{}"))
        return {name: torch.as_tensor(file.get_tensor(name)) for name in file.keys()}, state  # noqa: SIM118


def write_object(path: str | Path, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write an object of the class of that name, as its `save` does, as one safetensors file, atomically."""
    write_tensors(path, tensors, {"format": _format(name), **state})


def read_object(path: str | Path, name: str) -> dict[str, Any]:
    """Read what `write_object` wrote of a class: tensors and state, by the names of its fields.

    Raises:
        InputError: If there is no such file, or it holds something else.
    """
    from safetensors import SafetensorError

    try:
        tensors, state = read_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}); give a file written by {name}.save.") from error
    if state.pop("format", None) != _format(name):
        raise InputError(f"{path} holds no {name}; give a file written by {name}.save.")
    return {**tensors, **state}


def _format(name: str) -> str:
    return f"auglean.{name}/1"


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
