"""Audits: what a list of indices is worth, whoever chose it, beside random subsets of its size.

A `Selection` is distinct and in range by construction; the list of another tool may be neither. So `audit` takes
raw numbers, says what is wrong with them, and measures the rest. Nothing here trusts what a list says of itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.randomness import generator
from auglean.selection.reading import real_numbers, whole_numbers
from auglean.selection.weights import _gradient_sum
from auglean.signals import Signals

#: Multiplications that all subsets together may cost before distances are taken from a sample: some 20 s on a core.
_WORK = 5e11
#: What a distance costs beside its multiplications: a root's worth of sweeps over the block.
_OVERHEAD = 50
#: The least sample that distances are taken from.
_SAMPLE = 400
#: Picks, and numbers of the block (examples × picks), that are held at a time.
_PICKS, _NUMBERS = 4096, 1 << 22

#: The rows of the table, in its order.
_TITLES = {
    "objective": "distance to the nearest, L",
    "gradient_error_given": "gradient error, given weights",
    "gradient_error_clusters": "gradient error, cluster sizes",
    "gradient_error_equal": "gradient error, equal weights",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of the audited subset beside the same number of random ones. Less is better.

    Attributes:
        value: Of the audited subset.
        randoms: Of each random subset.
        standard_error: Of `value`, where it was taken from a sample; None where it is exact.

    >>> print(Measure(3.0, (5.0, 6.0, 7.0)).verdict)
    better than all 3 random: 0.5 of their mean
    """

    value: float
    randoms: tuple[float, ...]
    standard_error: float | None = None

    @property
    def mean(self) -> float:
        """Mean of the random subsets."""
        return math.fsum(self.randoms) / len(self.randoms)

    @property
    def sd(self) -> float:
        """Standard deviation of the random subsets."""
        mean = self.mean
        return math.sqrt(math.fsum((x - mean) ** 2 for x in self.randoms) / (len(self.randoms) - 1))

    @property
    def beaten(self) -> int:
        """How many of the random subsets have a larger value."""
        return sum(x > self.value for x in self.randoms)

    @property
    def verdict(self) -> str:
        """One sentence. A random subset comes before, or behind, all N others once in N + 1 times."""
        number = len(self.randoms)
        times = f"{self.value / self.mean:.3g} of their mean" if self.mean else "their mean is 0"
        if self.value < min(self.randoms):
            return f"better than all {number} random: {times}"
        if self.value > max(self.randoms):
            return f"worse than all {number} random: {times}"
        return f"cannot be told from random: better than {self.beaten} of {number}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers."""
        summary = {"mean": self.mean, "sd": self.sd, "least": min(self.randoms), "most": max(self.randoms)}
        return {**asdict(self), **summary, "beaten": self.beaten, "verdict": self.verdict}


@dataclass(frozen=True, slots=True, repr=False)
class Audit:
    """What was found of a list of indices. Prints as a table.

    Attributes:
        total: Examples that could be chosen, n.
        count: Indices in the list.
        distinct: Different ones among those in range.
        duplicates: Indices that come more than once.
        out_of_range: Indices that are not in `0 … n − 1`.
        class_counts: Distinct picks of each class; empty where no labels were given.
        class_sizes: Examples of each class.
        weights: `sum, least, most` of the finite weights; numbers of `zero, negative, not_finite` ones. Empty where
            none were given.
        measures: `objective`, `L(S) = Σ_i min_{j∈S} ‖g_i − g_j‖`, and `gradient_error_given`,
            `gradient_error_clusters`, `gradient_error_equal`: see `audit`. Empty without points.
        seed: Of the random subsets.
        notes: How the measures were taken where that is not as `audit` says, a sentence each.
        findings: What is wrong with the list, a sentence each.
    """

    total: int
    count: int
    distinct: int
    duplicates: tuple[int, ...]
    out_of_range: tuple[int, ...]
    class_counts: tuple[int, ...]
    class_sizes: tuple[int, ...]
    weights: Mapping[str, float]
    measures: Mapping[str, Measure]
    seed: int
    notes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers, fit for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        measures = {name: measure.to_dict() for name, measure in self.measures.items()}
        return {**plain, "weights": dict(self.weights), "measures": measures}

    def __repr__(self) -> str:
        lines = [f"Audit of {self.count:,} indices among {self.total:,} examples"]
        lines += [f"! {finding}" for finding in self.findings]
        lines.append(f"{'distinct':10}{self.distinct:,} of {self.count:,}")
        if self.class_sizes:
            lines.append(f"{'classes':10}{self._classes()}")
        if self.weights:
            given = self.weights
            lines.append(
                f"{'weights':10}sum {given['sum']:,.6g} for {self.total:,} examples; "
                f"{given['least']:.4g} to {given['most']:.4g}; {given['zero']:.0f} are zero"
            )
        return "\n".join([*lines, *self._table(), *self.notes])

    def _table(self) -> list[str]:
        if not self.measures:
            return []
        number = len(next(iter(self.measures.values())).randoms)
        lines = ["", f"{'':31}{'this':>10}{f'{number} random: mean':>16}{'sd':>9}{'least':>10}"]
        for name, m in self.measures.items():
            lines.append(f"{_TITLES[name]:31}{m.value:10.4g}{m.mean:16.4g}{m.sd:9.2g}{min(m.randoms):10.4g}")
        return [*lines, "", *(f"{_TITLES[name]:31}{m.verdict}" for name, m in self.measures.items())]

    def _classes(self) -> str:
        there = [c for c, size in enumerate(self.class_sizes) if size]
        shares = [self.distinct * size / self.total for size in self.class_sizes]
        covered = sum(self.class_counts[c] > 0 for c in there)
        furthest = max(there, key=lambda c: abs(self.class_counts[c] - shares[c]))
        return (
            f"{covered} of {len(there)} have examples; furthest from its share: class {furthest}, "
            f"{self.class_counts[furthest]} for {shares[furthest]:.1f}"
        )


def audit(
    indices: Tensor | Sequence[int],
    points: Tensor | Signals | None,
    labels: Tensor | None = None,
    *,
    weights: Tensor | Sequence[float] | None = None,
    seed: int = 0,
    randoms: int = 20,
    sample: int | None = None,
) -> Audit:
    """Check any list of indices, and hold it against random subsets of its size.

    A duplicate has spent its part of the budget, so the random subsets are as large as the list is long. They are
    uniform, whatever the labels, so that a uniform choice cannot be told from them. The measures, with `g_i` the
    rows of `points`, or the last layer's gradients `residual_i ⊗ (feature_i, 1)` (never formed) of `Signals`:

    | measure | audited subset | random subsets |
    |---|---|---|
    | `objective` | `L(S) = Σ_i min_{j∈S} ‖g_i − g_j‖`, among picks of the example's class where there are any | same |
    | `gradient_error_given` | the weights that were given | every pick counts alike |
    | `gradient_error_clusters` | a pick counts for the examples that it is nearest to | same |
    | `gradient_error_equal` | every pick counts alike | same |

    Gradient errors are relative, with weights scaled to sum to n: see `auglean.selection.gradient_error`. The
    objective is exact, in float64, where all subsets together take at most 5·10¹¹ multiplications; else it is taken
    from one random sample of the examples, the same for all subsets, with its standard error, and cluster sizes
    are left out.

    Args:
        indices: Any whole numbers. Shape `(k,)`.
        points: Gradient proxies or features, shape `(n, d)`; or `Signals`; or None to check the list alone.
        labels: Shape `(n,)`, int64.
        weights: How much each pick counts. Shape `(k,)`.
        seed: Fixes the random subsets and the sample.
        randoms: How many random subsets; at least 2.
        sample: Take the objective from so many examples, in place of the number that the limit allows.

    Returns:
        The audit; what is wrong with the list is among its `findings`, not an error.

    Raises:
        InputError: If the indices are not whole numbers, the lengths disagree, or the points are not finite.

    >>> line = torch.tensor([[0.0], [3], [4], [6], [12], [14], [17]])
    >>> found = audit([3, 5, 5, 9], line)
    >>> found.duplicates, found.out_of_range, found.measures["objective"].value
    ((5,), (9,), 16.0)
    >>> found.findings[0]
    '1 index comes more than once, so 2 of 4 are distinct and in range: 5.'
    """
    listed = whole_numbers(indices)
    given = None if weights is None else real_numbers(weights)
    classes = None if labels is None else torch.as_tensor(labels).cpu()
    gradients = _gradients(points)
    n = _total(gradients, classes)
    if given is not None and len(given) != len(listed):
        raise InputError(f"{len(given)} weights do not fit {len(listed)} indices; give one for each.")
    if randoms < 2:
        raise InputError(f"{randoms} random subsets show no spread; give at least 2.")
    in_range = (listed >= 0) & (listed < n)
    picks = listed[in_range]
    distinct, copies = picks.unique(return_counts=True)
    classes = classes if classes is None else classes.long()
    counts = () if classes is None else tuple(torch.bincount(classes[distinct], minlength=_top(classes)).tolist())
    sizes = () if classes is None else tuple(torch.bincount(classes).tolist())
    measures: dict[str, Measure] = {}
    notes: tuple[str, ...] = ()
    if gradients is not None and len(picks):
        usable = None if given is None else given[in_range]
        groups = torch.zeros(n, dtype=torch.int64) if classes is None else classes
        measures, notes = _measure(gradients, groups, picks, usable, seed, randoms, sample)
    found = Audit(
        total=n,
        count=len(listed),
        distinct=len(distinct),
        duplicates=tuple(distinct[copies > 1].tolist()),
        out_of_range=tuple(listed[~in_range].unique().tolist()),
        class_counts=counts,
        class_sizes=sizes,
        weights={} if given is None else _check(given),
        measures=measures,
        seed=seed,
        notes=notes,
    )
    return replace(found, findings=_findings(found))


def _top(labels: Tensor) -> int:
    return int(labels.max()) + 1


def _total(gradients: _Gradients | None, labels: Tensor | None) -> int:
    """Give the number of examples, if points and labels agree on it."""
    if gradients is None and labels is None:
        raise InputError("There is nothing to check the indices against; give points, labels or both.")
    if labels is not None:
        if labels.ndim != 1 or labels.is_floating_point() or not len(labels) or int(labels.min()) < 0:
            raise InputError(f"Labels must be class numbers 0, 1, …; got {labels.dtype}, {tuple(labels.shape)}.")
        if gradients is not None and len(gradients.left) != len(labels):
            raise InputError(f"{len(gradients.left)} points do not fit {len(labels)} labels; give one for each.")
    return len(labels) if labels is not None else len(gradients.left)  # type: ignore[union-attr]


def _check(weights: Tensor) -> dict[str, float]:
    finite = weights[torch.isfinite(weights)]
    return {
        "sum": float(finite.sum()),
        "least": float(finite.min()) if len(finite) else 0.0,
        "most": float(finite.max()) if len(finite) else 0.0,
        "zero": float((finite == 0).sum()),
        "negative": float((finite < 0).sum()),
        "not_finite": float(len(weights) - len(finite)),
    }


def _findings(found: Audit) -> tuple[str, ...]:
    """Say what is wrong with the list, a sentence each."""
    told = []
    if found.duplicates:
        verb = "index comes" if len(found.duplicates) == 1 else "indices come"
        told.append(
            f"{len(found.duplicates)} {verb} more than once, so {found.distinct:,} of {found.count:,} are distinct and "
            f"in range: {_some(found.duplicates)}."
        )
    if found.out_of_range:
        verb = "index is" if len(found.out_of_range) == 1 else "indices are"
        told.append(f"{len(found.out_of_range)} {verb} not in 0 … {found.total - 1}: {_some(found.out_of_range)}.")
    there = [c for c, size in enumerate(found.class_sizes) if size]
    bare = [c for c in there if not found.class_counts[c]]
    if bare:
        told.append(f"{len(bare)} of {len(there)} classes have no example: {_some(bare)}.")
    for name in ("negative", "not_finite"):
        if found.weights.get(name):
            told.append(f"{found.weights[name]:.0f} of {found.count:,} weights are {name.replace('_', ' ')}.")
    if found.weights and not found.weights["sum"] > 0:
        told.append(f"The weights sum to {found.weights['sum']:.6g}, so that they stand for nothing.")
    return tuple(told)


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")


@dataclass(frozen=True, slots=True)
class _Gradients:
    """`g_i = left_i ⊗ (right_i, 1)`, never formed; `right` has no columns where `g_i` is `left_i` itself."""

    left: Tensor
    right: Tensor

    @property
    def cost(self) -> int:
        """Multiplications, or as much time, that a distance costs."""
        return self.left.shape[1] + self.right.shape[1] + _OVERHEAD

    def __getitem__(self, rows: Tensor) -> _Gradients:
        return _Gradients(self.left[rows].double(), self.right[rows].double())

    def inner(self, other: _Gradients) -> Tensor:
        """`⟨g_i, g_j⟩`. Shape `(n, m)`."""
        return torch.mm(self.left, other.left.T).mul_(torch.mm(self.right, other.right.T).add_(1.0))

    def norm(self) -> Tensor:
        """`‖g_i‖²`. Shape `(n,)`."""
        return self.left.square().sum(1) * (self.right.square().sum(1) + 1.0)

    def apart(self, other: _Gradients) -> Tensor:
        """`‖g_i − g_i'‖`, row by row, from small differences so that near duplicates are near. Shape `(n,)`."""
        # ‖da ⊗ b + a' ⊗ db‖² with b = (right, 1)
        da, db = self.left - other.left, self.right - other.right
        square = da.square().sum(1) * (self.right.square().sum(1) + 1.0)
        square += other.left.square().sum(1) * db.square().sum(1)
        square += 2 * (da * other.left).sum(1) * (self.right * db).sum(1)
        return square.clamp_(min=0).sqrt_()


def _gradients(points: Tensor | Signals | None) -> _Gradients | None:
    """Give the gradients that the points stand for, if they are finite."""
    if points is None:
        return None
    if isinstance(points, Signals):
        left, right = points.residual, points.feature
    else:
        left = torch.as_tensor(points)
        right = left.new_empty(len(left), 0)
    if left.ndim != 2 or not len(left):
        raise InputError(f"points must have shape (n, d) or be Signals; got {tuple(left.shape)}.")
    for rows in torch.arange(len(left)).split(8192):
        bad = (~(torch.isfinite(left[rows]).all(1) & torch.isfinite(right[rows]).all(1))).nonzero()
        if len(bad):
            raise InputError(f"Row {int(rows[int(bad[0])])} of the points is not finite; remove or repair it.")
    return _Gradients(left, right)


def _measure(
    gradients: _Gradients,
    labels: Tensor,
    picks: Tensor,
    weights: Tensor | None,
    seed: int,
    randoms: int,
    sample: int | None,
) -> tuple[dict[str, Measure], tuple[str, ...]]:
    """Measure the picks and random subsets alike, and say what could not be measured."""
    n = len(labels)
    draws = (torch.randperm(n, generator=generator(seed, "audit", i))[: len(picks)] for i in range(randoms))
    subsets = [picks, *draws]
    size = min(n, max(1, sample)) if sample is not None else _affordable(gradients, labels, subsets)
    rows = torch.randperm(n, generator=generator(seed, "audit", "sample"))[:size].sort().values
    full = _gradient_sum(gradients.left, gradients.right, torch.ones(n, dtype=torch.float64))
    values: dict[str, list[float]] = {name: [] for name in _TITLES}
    spread = 0.0
    for subset in subsets:
        distance, owner = _nearest_pick(gradients, labels, rows, subset)
        values["objective"].append(float(distance.mean()) * n)
        if subset is picks and 1 < size < n:
            spread = float(distance.std()) * n * math.sqrt((1 - size / n) / size)
        alike = _error(gradients, full, subset, torch.ones(len(subset), dtype=torch.float64), n)
        values["gradient_error_equal"].append(alike)
        if size == n:
            clusters = torch.bincount(owner, minlength=len(subset)).double()
            values["gradient_error_clusters"].append(_error(gradients, full, subset, clusters, n))
        if weights is not None:
            mine = _error(gradients, full, subset, weights, n) if subset is picks else alike
            values["gradient_error_given"].append(mine)
    notes = []
    if size < n:
        notes.append(
            f"L is taken from a random sample of {size:,} examples, standard error {spread:.2g}; cluster sizes, "
            "which need all examples, are not measured."
        )
    if not float(full.norm()):
        notes.append("The gradients sum to zero, so there is no relative gradient error.")
    measures = {
        name: Measure(found[0], tuple(found[1:]), spread if name == "objective" and size < n else None)
        for name, found in values.items()
        if found and all(map(math.isfinite, found))
    }
    return measures, tuple(notes)


def _affordable(gradients: _Gradients, labels: Tensor, subsets: Sequence[Tensor]) -> int:
    """Give the number of examples whose distances to all subsets keep to the limit."""
    top = _top(labels)
    sizes, work = torch.bincount(labels).double(), 0.0
    for subset in subsets:
        counts = torch.bincount(labels[subset], minlength=top).double()
        counts[counts == 0] = len(subset)
        work += float((sizes * counts).sum()) * gradients.cost
    return min(len(labels), max(_SAMPLE, int(len(labels) * _WORK / work)))


def _by_class(labels: Tensor, classes: int) -> list[Tensor]:
    order = torch.argsort(labels, stable=True)
    return list(torch.split(order, torch.bincount(labels, minlength=classes).tolist()))


def _nearest_pick(gradients: _Gradients, labels: Tensor, rows: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
    """Give the distance of each row to the nearest pick of its class, or of any where its class has none.

    Returns:
        Distances `(rows,)`, float64, and the position of that pick `(rows,)`.
    """
    top = _top(labels)
    # a copy of an index stands for nothing more, so only the first of each takes part
    distinct, place = picks.unique(return_inverse=True)
    first = torch.full((len(distinct),), len(picks)).scatter_reduce_(0, place, torch.arange(len(picks)), "amin")
    first = first.sort().values
    distance, owner = torch.empty(len(rows), dtype=torch.float64), torch.empty(len(rows), dtype=torch.int64)
    for mine, near in zip(_by_class(labels[rows], top), _by_class(labels[picks[first]], top), strict=True):
        if len(mine):
            candidates = first[near] if len(near) else first
            distance[mine], position = _nearest(gradients, rows[mine], picks[candidates])
            owner[mine] = candidates[position]
    return distance, owner


def _nearest(gradients: _Gradients, rows: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
    """Find each row's nearest pick, block by block; only the distance to that one is then taken with care."""
    device = gradients.left.device
    best = torch.full((len(rows),), math.inf, dtype=torch.float64, device=device)
    position = torch.zeros(len(rows), dtype=torch.int64, device=device)
    for begin in range(0, len(picks), _PICKS):
        block = gradients[picks[begin : begin + _PICKS]]
        norm = block.norm()
        for part in torch.arange(len(rows)).split(max(1, _NUMBERS // len(norm))):
            # ‖g_i − g_j‖² less ‖g_i‖², which no pick depends on
            least, column = torch.sub(norm, gradients[rows[part]].inner(block), alpha=2).min(1)
            closer = least < best[part]
            best[part] = torch.where(closer, least, best[part])
            position[part] = torch.where(closer, column + begin, position[part])
    where = position.cpu()
    parts = torch.arange(len(rows)).split(8192)
    return torch.cat([gradients[rows[p]].apart(gradients[picks[where[p]]]).cpu() for p in parts]), where


def _error(gradients: _Gradients, full: Tensor, picks: Tensor, weights: Tensor, n: int) -> float:
    """Give the relative gradient error, as `gradient_error` does; the sum over all examples is known already."""
    mass = float(weights.sum())
    if not (math.isfinite(mass) and mass > 0):
        return math.nan
    norm = float(full.norm())
    error = float((full - _gradient_sum(gradients.left[picks], gradients.right[picks], weights * (n / mass))).norm())
    if not norm:
        return math.nan
    return error / norm if error > 1e-12 * norm else 0.0  # below that it is the order of the sums
