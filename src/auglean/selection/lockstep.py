"""Greedy on many matrices of one size, step by step together: an accelerator would be idle on one small matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from auglean.selection.distances import PointSet, at_once
from auglean.selection.greedy import CHUNK_BYTES, Picks
from auglean.selection.matrices import CostMatrix, Storage, Workspace


class _Page(Workspace):
    """One square of a larger memory."""

    def __init__(self, square: Tensor) -> None:
        self._square = square

    def square(self, n: int, storage: Storage, device: torch.device) -> Tensor:
        return self._square


def matrices_of(
    points: PointSet, parts: Sequence[Tensor], storage: Storage, workspace: Workspace
) -> tuple[list[CostMatrix], Tensor]:
    """Compute the distances within each of B parts of n points.

    Returns:
        The matrices; and their values, one after the other in one memory, `(B, n, n)`.
    """
    values = workspace.squares(len(parts), len(parts[0]), storage, points.device)
    pages = zip(parts, values, strict=True)
    return [CostMatrix.of_points(points[rows.to(points.device)], storage, _Page(page)) for rows, page in pages], values


@torch.inference_mode()
def in_step(matrices: Sequence[CostMatrix], values: Tensor, k: int) -> list[Picks]:
    """Take k candidates of each matrix, as `decremental` does: the same picks and gains, since sums are exact.

    Args:
        matrices: B symmetric matrices.
        values: Theirs, in one memory. Shape `(B, n, n)`.
        k: How many to take of each.
    """
    batch, n, device = len(values), values.shape[1], values.device
    # numbers that are not negative order as their bit patterns do, and integers are compared faster than float16
    bits = (values.view(torch.int16) if values.dtype == torch.float16 else values).view(batch * n, n)
    largest = torch.tensor([matrix.largest for matrix in matrices], dtype=torch.float64, device=device)[:, None]
    nearest = largest.to(values.dtype).repeat(1, n)
    gain = n * largest - torch.stack([matrix.sums for matrix in matrices])  # (B, n)
    most = max(1, at_once(CHUNK_BYTES, device) // (values.element_size() * n))
    order = torch.empty(batch, k, dtype=torch.int64, device=device)
    gains = torch.empty(batch, k, dtype=torch.float64, device=device)
    changed = []  # as b·n + point
    for step in range(k):
        j = gain.argmax(1, keepdim=True)  # (B, 1), the first of equals
        order[:, step : step + 1], gains[:, step : step + 1] = j, gain.gather(1, j)
        column = values.gather(1, j[:, :, None].expand(-1, -1, n))[:, 0]  # (B, n)
        closer = (column < nearest).view(-1).nonzero().squeeze(1)
        changed.append(closer)
        old, new = (side.reshape(-1).view(bits.dtype) for side in (nearest, column))
        for rows in closer.split(most):
            clipped = bits.index_select(0, rows)
            torch.maximum(clipped, new[rows, None], out=clipped)
            torch.minimum(clipped, old[rows, None], out=clipped)
            gain.index_add_(0, rows // n, clipped.view(values.dtype).double())  # exact in whatever order
        gain -= gain.gather(1, j)  # Σ old, exactly: what was picked has nothing left to gain
        torch.minimum(nearest, column, out=nearest)
        gain.scatter_(1, j, -math.inf)
    return _picks(order.cpu(), gains.cpu(), [rows.cpu() for rows in changed], n)


def _picks(order: Tensor, gains: Tensor, changed: list[Tensor], n: int) -> list[Picks]:
    steps = torch.arange(len(changed)).repeat_interleave(torch.tensor([len(rows) for rows in changed]))
    places = torch.cat(changed)
    which = places // n
    by_matrix = torch.argsort(which, stable=True)  # steps stay ascending
    counts = torch.bincount(which, minlength=len(order)).tolist()
    points, steps = (part[by_matrix].split(counts) for part in (places % n, steps))
    with torch.inference_mode(False):
        return [
            Picks(picks.clone(), own.clone(), (at.clone(), when.clone()))
            for picks, own, at, when in zip(order, gains, points, steps, strict=True)
        ]
