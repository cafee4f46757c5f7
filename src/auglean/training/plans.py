"""The images of an epoch or of a batch, as numbers: which examples, which copies of them, with which weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


class Item(NamedTuple):
    """One image of an epoch: an example, which copy of it (0 is the original), its loss weight, the epoch."""

    id: int
    copy: int
    weight: float
    epoch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The images of an epoch, or of a batch, as columns of shape `(m,)`; see `Item`."""

    ids: Tensor
    copy: Tensor
    weight: Tensor
    epoch: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor) -> Plan:
        return Plan(*(getattr(self, column.name)[rows] for column in fields(self)))

    def to(self, device: torch.device) -> Plan:
        """Move the columns."""
        return Plan(*(getattr(self, column.name).to(device) for column in fields(self)))

    def join(self, other: Plan) -> Plan:
        """Append another plan."""
        pairs = ((getattr(self, c.name), getattr(other, c.name)) for c in fields(self))
        return Plan(*(torch.cat(pair) for pair in pairs))

    def split(self, size: int) -> list[Plan]:
        """Cut into batches of a size; the last may be smaller."""
        return [self[begin : begin + size] for begin in range(0, len(self), size)]

    def items(self) -> list[Item]:
        """List the images one by one."""
        columns = (getattr(self, column.name).tolist() for column in fields(self))
        return [Item(*row) for row in zip(*columns, strict=True)]
