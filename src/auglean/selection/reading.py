"""Lists of indices that this library or another tool wrote, read as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from auglean.errors import InputError


class Listed(NamedTuple):
    """What a file says: indices, weights if it has any, and, of a `Selection`, where it was chosen from."""

    indices: Tensor
    weights: Tensor | None = None
    total: int | None = None
    fingerprint: str | None = None


def read_indices(path: str | Path) -> Listed:
    """Read a list of indices that this library or another tool wrote.

    | file | holds |
    |---|---|
    | JSON | what `Selection.save` wrote; a list; or `{"indices": […], "weights": […]}` |
    | `.npy` | an array of indices |
    | `.npz` | an array `indices`, and perhaps `weights`; or one array |
    | any other | text, an index on each line and perhaps a weight behind it; a first line of words is passed over |

    In JSON and in arrays, a mask of true and false stands for the indices at which it is true.

    Raises:
        InputError: If the file cannot be read as any of these.
    """
    path = Path(path)
    try:
        if path.suffix in (".npy", ".npz"):
            found = _from_numpy(path)
        else:
            text = path.read_text(encoding="utf-8-sig")
            found = _from_json(text) if text.lstrip()[:1] in ("[", "{") else _from_text(text)
        indices = whole_numbers(_unmasked(found["indices"]))
        weights = None if found.get("weights") is None else real_numbers(found["weights"])
        if not len(indices):
            raise InputError("it holds no indices")
        if weights is not None and len(weights) != len(indices):
            raise InputError(f"it holds {len(indices)} indices and {len(weights)} weights")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        told = _told(error)
        raise InputError(
            f"Cannot read indices from {path} ({told}); give a Selection, a list in JSON, an array of numpy, "
            "or text with an index on each line."
        ) from error
    how = found.get("how")
    return Listed(indices, weights, found.get("total"), how.get("fingerprint") if isinstance(how, dict) else None)


def _from_json(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    return {"indices": found} if isinstance(found, list) else found


def _from_numpy(path: Path) -> Mapping[str, Any]:
    found = np.load(path, allow_pickle=False)
    arrays = {"indices": found} if isinstance(found, np.ndarray) else dict(found)
    if len(arrays) == 1:
        arrays = {"indices": next(iter(arrays.values()))}
    return arrays


def _unmasked(indices: Any) -> Any:
    found = np.asarray(indices)
    return np.flatnonzero(found) if found.dtype == bool and found.ndim == 1 else indices


def _told(error: Exception) -> str:
    """Say in a few words why a file cannot be read."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0].rstrip(".")


def _from_text(text: str) -> Mapping[str, Any]:
    lines = [line.split("#")[0].replace(",", " ").replace(";", " ") for line in text.splitlines()]
    rows = [line.split() for line in lines if line.strip()]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if widths - {1, 2} or len(widths) > 1:
        raise InputError("its lines should all hold an index, or all an index and a weight")
    columns = [[float(row[i]) for row in rows] for i in range(max(widths, default=1))]
    return dict(zip(("indices", "weights"), columns, strict=False))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def whole_numbers(indices: Any) -> Tensor:
    """Give indices as int64, if that is what they are."""
    found = _plain(indices)
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise InputError(f"Indices must be whole numbers in one dimension; got {found.dtype}, shape {found.shape}.")
    broken = found[~(np.isfinite(found) & (found == np.round(found)))]
    if len(broken):
        raise InputError(f"Indices must be whole numbers; got {broken[0]}.")
    vast = found[np.abs(found.astype(np.float64)) >= 2.0**63]
    if len(vast):
        raise InputError(f"Indices must be whole numbers of 64 bits; got {vast[0]}.")
    return torch.from_numpy(found.astype(np.int64))


def real_numbers(weights: Any) -> Tensor:
    """Give weights as float64, whatever their values."""
    found = _plain(weights)
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise InputError(f"Weights must be numbers in one dimension; got {found.dtype}, shape {found.shape}.")
    return torch.from_numpy(found.astype(np.float64))


def _plain(numbers: Any) -> np.ndarray[Any, np.dtype[Any]]:
    found = np.asarray(numbers.cpu() if isinstance(numbers, Tensor) else numbers)
    return found if found.size else found.astype(np.float64)  # an empty list has no type
