"""Budgets: how many examples a fraction means, and how many of them each class gets."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown

Allocation = Literal["proportional", "equal"]


def count(budget: float | int, total: int) -> int:
    """Turn a budget into a number of examples.

    A `float` is a fraction in (0, 1], rounded to the nearest count and never under one; an `int` is a count; numbers of
    numpy are what they are in Python.

    Raises:
        InputError: If the budget is zero, negative, not a number, over 1 as a fraction, or over `total` as a count.

    >>> count(0.1, 1000), count(100, 1000), count(1.0, 1000), count(1, 1000)
    (100, 100, 1000, 1)
    """
    budget = plain(budget)
    if not budget > 0:
        raise InputError(f"The budget is {budget}; give a fraction in (0, 1] such as 0.1, or a count of at least 1.")
    if isinstance(budget, float):
        if budget > 1:
            raise InputError(
                f"The budget {budget} is over 1 as a fraction; give a fraction in (0, 1], or a count without a point."
            )
        return max(1, int(budget * total + 0.5))
    if budget > total:
        raise InputError(f"The budget {budget} is over the {total} examples there are; give at most {total}.")
    return budget


def plain(budget: Any) -> float | int:
    """Turn the numbers of numpy, among others, into those of Python, or raise `InputError` where it is no number."""
    if isinstance(budget, bool) or not isinstance(budget, Real):
        raise InputError(f"The budget is {budget!r}; give a fraction in (0, 1] such as 0.1, or a whole count.")
    return int(budget) if isinstance(budget, Integral) else float(budget)


def allocate(total: int, sizes: Sequence[int], mode: Allocation = "proportional") -> list[int]:
    """Share a budget among classes by largest remainder, capped by the class sizes.

    What a full class cannot take goes to the others. Every class that has examples gets at least one where
    the budget has one for each. Remainders tie to the lowest class.

    Args:
        total: Examples to choose.
        sizes: Examples in each class.
        mode: `"proportional"` to class size, or `"equal"`.

    Returns:
        A count per class that sums to `total`.

    Raises:
        InputError: If there are fewer examples than `total`.

    >>> allocate(15, [10, 3, 10], "equal")
    [6, 3, 6]
    >>> allocate(5, [60, 30, 10])
    [3, 1, 1]
    """
    if mode not in ("proportional", "equal"):
        raise unknown("allocation", mode, ["proportional", "equal"])
    if not 0 <= total <= sum(sizes):
        raise InputError(f"The budget of {total} does not fit the {sum(sizes)} examples there are.")
    weights = [size if mode == "proportional" else min(size, 1) for size in sizes]
    counts = [0] * len(sizes)
    open_classes = [c for c, size in enumerate(sizes) if size]
    # fill the classes whose share exceeds their size, then share the rest anew
    while open_classes:
        left, mass = total - sum(counts), sum(weights[c] for c in open_classes)
        full = [c for c in open_classes if left * weights[c] >= sizes[c] * mass]
        if not full:
            break
        for c in full:
            counts[c] = sizes[c]
        open_classes = [c for c in open_classes if c not in full]
    if open_classes:
        left, mass = total - sum(counts), sum(weights[c] for c in open_classes)
        for c in open_classes:
            counts[c] = left * weights[c] // mass
        remainder = sorted(open_classes, key=lambda c: (-(left * weights[c] % mass), c))
        for c in remainder[: total - sum(counts)]:
            counts[c] += 1
    if total >= sum(1 for size in sizes if size):
        for c in [c for c, size in enumerate(sizes) if size and not counts[c]]:
            # the one that is furthest above its share gives
            rich = [other for other in range(len(counts)) if counts[other] > 1]
            counts[max(rich, key=lambda other: counts[other] * sum(weights) - total * weights[other])] -= 1
            counts[c] = 1
    return counts


def members(labels: Tensor) -> list[Tensor]:
    """List the examples of each class that has any, both ascending, in one pass. Tensors of int64."""
    order = torch.argsort(labels, stable=True)
    return list(torch.split(order, labels.unique(return_counts=True)[1].tolist()))


def neyman(spread: Tensor, copies: int) -> Tensor:
    """Share out copies so that the sum of the examples' expected losses is estimated with the least variance.

    Minimises `Σ_i s_i² / n_i` over whole `n_i ≥ 1` of that sum. Neyman's n_i ∝ s_i (1934) solves it but for whole
    numbers; one each, and then one after another to the largest `s_i² / (n_i (n_i + 1))`, solves it exactly
    (Wright 2012, *The equivalence of Neyman optimum allocation for sampling and equal proportions for apportioning the
    U.S. House of Representatives*). Ties go to fewest copies, then to the lowest index.

    Args:
        spread: `s_i`: weight times standard deviation of the loss. Shape `(k,)`, ≥ 0.
        copies: Their number, at least k.

    Returns:
        Shape `(k,)`, int64.

    Raises:
        InputError: If there are fewer copies than examples, or a deviation is no number ≥ 0.

    >>> neyman(torch.tensor([3.0, 1.0, 0.0]), 6).tolist()
    [4, 1, 1]
    """
    values = spread.double().cpu()
    if copies < len(values):
        raise InputError(f"{copies} copies were to be shared among {len(values)} examples; give at least one each.")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise InputError("The deviations are not all numbers of at least 0; collect them anew.")
    squares = values.square().tolist()
    queue = [(-square / 2, 1, i) for i, square in enumerate(squares)]
    heapq.heapify(queue)
    for _ in range(copies - len(squares)):
        _, n, i = queue[0]
        heapq.heapreplace(queue, (-squares[i] / ((n + 1) * (n + 2)), n + 1, i))
    counts = torch.ones(len(squares), dtype=torch.int64)
    for _, n, i in queue:
        counts[i] = n
    return counts
