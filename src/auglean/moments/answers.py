"""What the answers to questions about a policy share: plain numbers for JSON, one file, tables as text."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.files import write_json

_WIDEST = 16  # rows of a table that are shown


class Answer:
    """Base of frozen dataclasses of tensors, numbers and text."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers, fit for JSON: what is not finite becomes None."""
        name = f"auglean.{type(self).__name__}/1"
        return {"format": name, **{item.name: _plain(getattr(self, item.name)) for item in fields(self)}}  # type: ignore[arg-type]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one JSON file."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If there is no such file, or it holds something else.
        """
        try:
            stored = json.loads(Path(path).read_text())
            if stored.pop("format") != f"auglean.{cls.__name__}/1":
                raise ValueError("another format")
            kinds = {item.name: str(item.type) for item in fields(cls)}  # type: ignore[arg-type]
            return cls(**{name: _read(kinds[name], value) for name, value in stored.items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no {cls.__name__}; give a file that {cls.__name__}.save wrote.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: str, value: Any) -> Any:
    if kind.startswith("Tensor") and value is not None:
        return torch.from_numpy(np.array(_numbers(value)))  # float64 or int64
    if kind.startswith("tuple"):
        return tuple(value)
    return math.nan if kind == "float" and value is None else value


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return math.nan if value is None else value


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Set rows of cells in columns, the first to the left and the others to the right; long tables are cut.

    >>> aligned([["class", "mean"], ["cat", "0.5"]])
    ['class  mean', 'cat     0.5']
    """
    shown = list(rows[: _WIDEST + 1])
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in shown
    ]
    return [
        *(line.rstrip() for line in lines),
        *([f"… {len(rows) - len(shown)} more"] if len(rows) > len(shown) else []),
    ]


def class_name(names: Sequence[str], label: int) -> str:
    """Name a class, by its number where the data do not."""
    return names[label] if label < len(names) else str(label)
