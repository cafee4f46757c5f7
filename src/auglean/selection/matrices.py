"""The matrix that facility location works on: distances on a grid on which every sum is exact.

Two points that would only serve each other have equal gains in theory, so ties are normal: some 4 to 10 % of the
steps. Rounding in the sums would break them at random. All distances are therefore multiples of one unit so large
that n of them sum exactly in float64, in whatever order: equal gains are equal numbers, and the lowest index wins.

| storage | unit | digits |
|---|---|---|
| float64 | 2^(log₂ n − 52) of the largest | those of the unit |
| float32 | the same | 24 bits, down to the unit |
| float16 | 2^−24 of a distance that is scaled to 4,096 at most | 11 bits, down to the unit |

Distances are stored, never similarities: those would have their coarsest rounding where near neighbours live.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.selection.distances import PointSet, at_once

Storage = Literal["float64", "float32", "float16"]
TYPES: dict[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16}

#: A tile has so many rows, and up to so many columns: it stays in the cache of a CPU while its distances are finished.
_TILE_ROWS, _TILE_COLUMNS = 256, 1024

#: Bytes of a buffer that the system's large pages are for. More than that a virtual machine has to ask its host for,
#: which may take longer by large pages than by small ones (measured: 5 s in place of 0.8 s for 1.6 GB).
_LARGE = range(1 << 22, 1 << 28)


class Workspace:
    """Memory for one matrix after the other: the first touch of fresh memory costs as much as the arithmetic."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def square(self, n: int, storage: Storage, device: torch.device) -> Tensor:
        """Give an `(n, n)` matrix of whatever numbers; the one that was given before is lost."""
        return self.squares(1, n, storage, device)[0]

    def squares(self, count: int, n: int, storage: Storage, device: torch.device) -> Tensor:
        """Give several of them, one after the other in one memory. Shape `(count, n, n)`."""
        dtype = TYPES[storage]
        size = count * n * n * dtype.itemsize
        if len(self._memory) < size or self._memory.device != device:
            self._memory = torch.empty(0, dtype=torch.uint8)  # let go of the old one first
            with torch.inference_mode(False):  # for whatever comes later
                self._memory = _fresh(size, device)
        return self._memory[:size].view(dtype).view(count, n, n)


def _fresh(size: int, device: torch.device) -> Tensor:
    if device.type != "cpu" or size not in _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size, dtype=torch.uint8, device=device)
    # private, since shared memory gets no large pages by default: a tenth of the seconds of the first touch
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)


@dataclass(frozen=True, slots=True)
class CostMatrix:
    """What it costs to serve a point by a candidate, in units.

    Attributes:
        values: Rows are the points to serve, columns the candidates. Shape `(n, n)`.
        unit: The cost that 1 stands for.
        sums: Sums of the columns, exact. Shape `(n,)`, float64.
        largest: The largest value.
        symmetric: Whether rows may be read in place of columns.
    """

    values: Tensor
    unit: float
    sums: Tensor
    largest: float
    symmetric: bool

    def __len__(self) -> int:
        return len(self.values)

    def column(self, j: int | Tensor) -> Tensor:
        """Give the cost of serving each point by candidate j, a number or a tensor `(1,)`. Shape `(n,)`."""
        if isinstance(j, Tensor):
            return self.values.index_select(0 if self.symmetric else 1, j).view(-1)
        return self.values[j] if self.symmetric else self.values[:, j]

    @classmethod
    @torch.inference_mode()
    def of_points(
        cls, points: PointSet, storage: Storage, workspace: Workspace, *, total: int | None = None
    ) -> CostMatrix:
        """Compute the distances, the upper triangle only: the lower is its mirror image to the bit.

        Args:
            points: n points.
            storage: How to keep them.
            workspace: Memory; the matrix is lost when it is asked again.
            total: How many numbers sums run over; by default n.
        """
        n, dtype = len(points), TYPES[storage]
        points = points[:]  # shifted once, not with each tile
        unit = exact_unit(points.span(), total or n, storage)
        values = workspace.square(n, storage, points.device)
        sums = torch.zeros(n, dtype=torch.float64, device=points.device)
        largest = torch.zeros((), dtype=points.squares.dtype, device=points.device)
        # what is below the diagonal is wasted, so few points have lower tiles, but one for all columns
        grown = math.isqrt(at_once(1, points.device))
        height, width = grown * _TILE_ROWS, grown * _TILE_COLUMNS
        if n < 8 * height:
            height, width = 3 * height // 4, n
        for top in range(0, n, height):
            rows = slice(top, min(top + height, n))
            for left in range(top, n, width):
                columns = slice(left, min(left + width, n))
                tile = _on_grid(points[rows].to(points[columns], same=left == top).mul_(1 / unit), storage)
                if left == top:  # the square on the diagonal
                    corner = tile[:, : len(tile)]
                    corner += corner.T.clone()
                values[rows, columns] = tile
                torch.maximum(largest, tile.amax(), out=largest)  # a list of them would scatter the heap
                sums[columns] += tile.sum(0, dtype=torch.float64)
                mirrored = slice(max(rows.stop, left), columns.stop)  # what is not on the diagonal
                if mirrored.start < mirrored.stop:
                    beside = tile[:, mirrored.start - left :]
                    sums[rows] += beside.sum(1, dtype=torch.float64)
                    values[mirrored, rows] = beside.to(dtype).T.contiguous()
        return cls(values, unit, sums, float(largest), symmetric=True)

    @classmethod
    def of_matrix(
        cls, square: Tensor, storage: Storage, workspace: Workspace, *, top: float | None = None
    ) -> CostMatrix:
        """Keep costs that are given: `square` itself, or `top − square` for a similarity.

        Raises:
            InputError: If costs are too large for the storage.
        """
        n = len(square)
        low, high = (float(square.min()), float(square.max())) if n else (0.0, 0.0)
        # below 0 there may be numbers too, of which differences are taken
        span = max(high, -low, high - low) if top is None else top - low
        unit = exact_unit(span, n, storage)
        values = workspace.square(n, storage, square.device)
        sums = torch.zeros(n, dtype=torch.float64, device=square.device)
        tops = []
        height = max(1, _TILE_ROWS * _TILE_COLUMNS // n)
        for begin in range(0, n, height):
            rows = square[begin : begin + height].double()
            tile = _on_grid((rows if top is None else top - rows) / unit, storage)
            values[begin : begin + height] = tile
            sums += tile.sum(0, dtype=torch.float64)
            tops.append(tile.max())
        largest = float(torch.stack(tops).max()) if n else 0.0
        return cls(values, unit, sums, largest, symmetric=False)


def exact_unit(reach: float, n: int, storage: Storage) -> float:
    """Give the unit in which n values up to `reach` sum exactly in float64."""
    if not math.isfinite(reach):
        raise InputError("The distances are too large to be computed; scale the points down.")
    if reach == 0.0:
        return 1.0
    power = math.floor(math.log2(reach)) + 1  # reach < 2^power
    bits = math.ceil(math.log2(n + 1))
    if storage == "float16":
        # numbers below 2^12 in steps of 2^-24 at least sum exactly up to 2^17 of them, two for each point
        return max(2.0 ** (power - 12 + max(0, bits - 16)), math.ulp(0.0))
    return max(2.0 ** (power + bits - 52), math.ulp(0.0))


def _on_grid(tile: Tensor, storage: Storage) -> Tensor:
    """Round distances in units, in place where that can be, to numbers that sum exactly and are stored as they are."""
    if storage == "float16":  # has steps of its own
        return tile.half().float()
    return tile.round_().to(TYPES[storage])
