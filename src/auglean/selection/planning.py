"""Which way to solve facility location: by the number of points, their dimension and a limit of memory."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

import torch

from auglean.errors import InputError
from auglean.products import inner_products
from auglean.selection.cells import looked_at
from auglean.selection.distances import at_once
from auglean.selection.matrices import TYPES, Storage

Solver = Literal["auto", "decremental", "lazy", "naive", "stochastic", "cells", "cells+prune"]

#: Memory that a choice may take where no limit is given: a number, so that machines choose alike.
MAX_MEMORY = 4 << 30

#: Points up to which float64 costs nothing, and up to which float32 is worth twice the memory of float16.
_FINE, _SINGLE = 1024, 16384

#: Points of a cell, and the fewest that are worth one.
_CELL, _SMALLEST_CELL = 2500, 64

#: Distances from all points to all picks, in multiplications, up to which pruning is worth its seconds.
_PRUNE = 2e12

#: Seconds from which a plan is told before it begins.
_WORTH_TELLING = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How facility location will be solved, and what that takes.

    Attributes:
        solver: The solver.
        storage: In which numbers distances are kept.
        cell: Points of a cell; 0 where all are solved together.
        bytes: Work memory beyond the points.
        reason: Why this one.
        together: Cells that are solved in step, as an accelerator can.
    """

    solver: Solver
    storage: Storage
    cell: int
    bytes: int
    reason: str
    together: int = 1

    @property
    def guarantee(self) -> str:
        """What is known of the result."""
        if self.solver == "stochastic":
            return "F at least 1 − 1/e − ε of the best on average"
        if self.cell:
            after = ", then pruned by least loss" if self.solver == "cells+prune" else ""
            return f"order of naive greedy within each cell, merged by gain{after}; no bound on F over all"
        order = f"order of naive greedy on {self.storage} distances, ties to the lowest index"
        return f"{order}; F at least 1 − 1/e of the best"

    def seconds(self, n: int, k: int, dimension: int) -> float:
        """Estimate the seconds on this machine, from the speed of a small matrix product."""
        product, cells = 2 * dimension / _rate(dimension), math.ceil(n / (self.cell or n))
        # beside the products: tiles, sweeps and, in cells, the splits and many small steps
        found = n * (self.cell or n) / 2 * (product + (1.5e-8 if self.cell else 0.8e-8))
        if self.solver == "cells+prune":
            found += n * 1.2 * k * looked_at(n, k, dimension, cells) / cells * (product + 2e-9)
        return found

    def tell(self, n: int, k: int, dimension: int) -> None:
        """Say what is coming, on stderr, where it takes more than a few seconds."""
        if n * (self.cell or n) * dimension < 1e10:  # under a second on any machine
            return
        expected = self.seconds(n, k, dimension)
        if expected >= _WORTH_TELLING:
            from auglean.progress import console

            console().print(
                f"Choosing {k:,} of {n:,} points by {self.solver} ({self.storage} distances; {self.reason}): "
                f"about {self.bytes / 2**30:.1f} GiB and {_plain(expected)}.",
                highlight=False,
            )


def plan(
    n: int,
    k: int,
    dimension: int,
    *,
    solver: Solver = "auto",
    storage: Storage | None = None,
    max_memory: int | None = None,
    given: bool = False,
    device: torch.device | str = "cpu",
) -> Plan:
    """Choose a solver and a storage.

    Args:
        n: Points.
        k: How many are chosen.
        dimension: Numbers of a point.
        solver: One that is wanted, or `"auto"`.
        storage: Numbers that are wanted for distances; by default what is finest within reason.
        max_memory: Bytes of work memory beyond the points; by default 4 GiB.
        given: Whether the matrix is given, and cells cannot be made.
        device: Where the points are.

    Raises:
        InputError: If the limit is too small for what is wanted, or for any solver.

    >>> plan(50_000, 5_000, 512).solver, plan(50_000, 5_000, 512, max_memory=6 << 30).storage
    ('cells+prune', 'float16')
    """
    limit, device = MAX_MEMORY if max_memory is None else max_memory, torch.device(device)
    if solver not in ("cells", "cells+prune"):
        need = {name: _dense_bytes(n, dimension, name, device) for name in _storages(n, storage, given)}
        for name, size in need.items():
            if size <= limit:
                why = f"the {name} matrix of {_size(size)} is within the limit of {_size(limit)}"
                return Plan("decremental" if solver == "auto" else solver, name, 0, size, why)
        least = _size(min(need.values()))
        if solver != "auto" or given or storage is not None:
            way_out = "" if given else ', or solver="cells"'
            raise InputError(
                f"The distances of {n:,} points take {least} but the limit is {_size(limit)}; "
                f"give more as max_memory, a coarser storage{way_out}."
            )
        why = f"a matrix of {least} is over the limit of {_size(limit)}"
        solver = "cells+prune" if n * k * dimension <= _PRUNE else "cells"
    else:
        if storage not in (None, "float32"):
            raise InputError(f"Cells are solved in float32, but storage {storage} is given; leave the storage out.")
        why = "cells were asked for"
    cell = _CELL
    while cell > _SMALLEST_CELL and _cells_bytes(n, cell, dimension, device) > limit:
        cell = max(_SMALLEST_CELL, cell * 3 // 4)
    size = _cells_bytes(n, cell, dimension, device)
    if size > limit:
        raise InputError(
            f"The limit of {_size(limit)} is too small for any solver on {n:,} points; "
            f"give {_size(size)} or more as max_memory."
        )
    if device.type == "cpu":
        return Plan(solver, "float32", min(cell, n), size, why)
    cells = 1 << (math.ceil(n / cell) - 1).bit_length()  # by halving
    together = min(cells, 1 + (limit - size) // (4 * cell * cell))
    return Plan(solver, "float32", min(cell, n), size + 4 * cell * cell * (together - 1), why, together)


def _storages(n: int, wanted: Storage | None, given: bool) -> list[Storage]:
    """List the storages to try: finer numbers than it takes only cost time; a given matrix may hold any numbers."""
    if wanted is not None:
        return [wanted]
    if given:
        return ["float64", "float32"]
    return ["float64", "float32", "float16"] if n <= _FINE else ["float32", "float16"] if n <= _SINGLE else ["float16"]


def _dense_bytes(n: int, dimension: int, storage: str, device: torch.device) -> int:
    """Bytes of the matrix, of the points shifted, and of the tiles and rows in work."""
    shifted = (8 if storage == "float64" else 4) * n * dimension
    return n * n * TYPES[storage].itemsize + shifted + 64 * n + at_once(32 << 20, device)


def _cells_bytes(n: int, size: int, dimension: int, device: torch.device) -> int:
    """Bytes of a cell's matrix and points, of what is kept of each point, and of the blocks in work."""
    blocks = at_once((100 << 10) * min(dimension, 1024) + (16 << 20), device)
    return 4 * size * size + 12 * size * dimension + 150 * n + blocks


def _rate(dimension: int) -> float:
    """Measure the multiplications and additions per second of a small matrix product."""
    block = torch.ones(512, max(1, min(dimension, 512)))
    inner_products(block, block)  # the first one takes longer
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        inner_products(block, block)
        best = min(best, time.perf_counter() - start)
    return float(2 * block.shape[0] ** 2 * block.shape[1] / best)


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1000 or unit == "TiB":
            return f"{number:.3g} {unit}"
        number /= 1024
    raise AssertionError


def _plain(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
