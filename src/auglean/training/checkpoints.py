"""The state of a run in one file without pickle: weights, momentum, random state, and where it stood."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.files import read_tensors, write_tensors

#: Options that runs of earlier versions did not have, with what those did.
ADDED: Mapping[str, Any] = {"signals": "pass", "reselect_above": None, "condensed": [], "stratified": False}


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    recorder: Mapping[str, Tensor],
) -> None:
    """Write model, optimiser, torch's random state and `state` (plain values, `options` among them) atomically.

    The state of a recorder, tensors by name, is written beside; it may be empty.
    """
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors.update({f"recorder/{name}": value for name, value in recorder.items()})
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{slot}"] = value
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_initialized():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write_tensors(path, tensors, state)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Put model, optimiser and torch's random state back; give the plain values, and the state of the recorder.

    Raises:
        InputError: If the file is no checkpoint, or is of another network or of a run with other options.
    """
    try:
        tensors, state = read_tensors(path)
        found = {**ADDED, **state["options"]}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} holds no state of a run to resume; give another file, or start anew.") from error
    differing = [name for name, value in options.items() if found.get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"The checkpoint {path} is of a run with {name} {found.get(name)!r}, not {options[name]!r}; "
            "resume with the options and the data it began with."
        )
    try:
        model.load_state_dict(_part(tensors, "model/"))
    except RuntimeError as error:
        raise InputError(
            f"The checkpoint {path} is of another network; resume with the options it began with."
        ) from error
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        index, slot = name.split("/", 1)
        slots.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return state, _part(tensors, "recorder/")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
