"""Selectors that cover the space of features: herding keeps its mean, k-center its extent.

Both cost O(n·k·d) operations and hold n·d numbers, never n².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auglean.selection.budgets import Allocation, allocate, members
from auglean.selection.composition import map_reduce
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, features
from auglean.signals import Signals

#: Values that differ by less than this share of their scale are equal up to rounding: the lowest index wins.
_SLACK = 1e-12


@dataclass(frozen=True)
class Herding(Selector):
    """Class by class, the examples whose mean feature follows the class's (Welling 2009; Rebuffi et al. 2017).

    The t-th pick is the example that brings the mean of the picks closest to the mean of the class,
    `argmin_i ‖μ − (φ_i + Σ_{picked} φ) / t‖`, without replacement. The gain of a pick is by how much that distance
    falls, for the first from the root mean square distance, which is that of an example at random.

    Args:
        allocation: How the budget is shared among classes.
    """

    allocation: Allocation = "proportional"
    name: ClassVar[str] = "herding"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Herd in each class and merge the picks by gain."""
        assert signals is not None
        points, classes = features(signals), members(labels)

        def choose_part(rows: Tensor, share: int, _: torch.Generator) -> Selection:
            return _herd(points[rows.to(points.device)].double(), share)

        return map_reduce(classes, allocate(k, [len(c) for c in classes], self.allocation), choose_part,
                          total=len(labels), g=g)  # fmt: skip


def _herd(points: Tensor, k: int) -> Selection:
    points = points - points.mean(0)  # now the mean of the picks has to stay at zero
    n, square = len(points), points.square().sum(1)
    slack = _SLACK * float(square.max())
    taken = torch.zeros(n, dtype=torch.bool, device=points.device)
    pull = torch.zeros_like(square)  # ⟨Σ picked, φ_i⟩
    length = 0.0  # ‖Σ picked‖²
    before = float(square.mean()) ** 0.5
    picks, gains = [], []
    for step in range(1, k + 1):
        # ‖Σ picked + φ_i‖² less what does not depend on i
        rise = (2 * pull + square).masked_fill_(taken, float("inf"))
        j = _first(rise <= rise.min() + slack * step)
        length = max(0.0, length + float(rise[j]))
        after = length**0.5 / step
        picks.append(j)
        gains.append(before - after)
        taken[j], before = True, after
        pull += points @ points[j]
    return equal_weights(torch.tensor(picks), torch.tensor(gains, dtype=torch.float64), n)


@dataclass(frozen=True)
class KCenter(Selector):
    """The examples that leave none far from all of them, in feature space (Gonzalez 1985; Sener & Savarese 2018).

    Farthest first: begins at the example nearest to the mean, then takes the one furthest from those taken. The largest
    distance that is left, `how["radius"]`, is at most twice the least possible. The gain of a pick is its
    distance from those before it (of the first: the largest distance from it); a weight is the number of examples
    nearest to a pick. Outliers are what it looks for. Over the whole set; `PerClass(KCenter())` goes class by class.
    """

    name: ClassVar[str] = "k-center"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Take the farthest, k times."""
        assert signals is not None
        points = features(signals).double()
        centre = _distances(points, points.mean(0))
        j = _first(centre <= centre.min() * (1 + _SLACK))
        nearest = _distances(points, points[j])
        owner = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        picks, gains = [j], [float(nearest.max())]
        taken = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        taken[j] = True
        for step in range(1, k):
            far = nearest.masked_fill(taken, -1.0)  # where only duplicates are left, none comes twice
            j = _first(far >= far.max() * (1 - _SLACK))
            picks.append(j)
            gains.append(float(nearest[j]))
            taken[j] = True
            distance = _distances(points, points[j])
            closer = distance < nearest  # strictly, so that earlier picks keep ties
            owner[closer], nearest = step, torch.minimum(nearest, distance)
        owner = owner.cpu()
        return Selection(
            indices=torch.tensor(picks),
            weights=torch.bincount(owner, minlength=k).double(),
            gains=torch.tensor(gains, dtype=torch.float64),
            total=len(points),
            how={
                "solver": "farthest first",
                "guarantee": "radius at most twice the least",
                "radius": float(nearest.max()),
            },
            assignment=owner,
        )


def _distances(points: Tensor, point: Tensor) -> Tensor:
    """Give the distance of each point by direct differences, so that equal points are equally far to the bit."""
    return torch.cdist(points, point[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]


def _first(mask: Tensor) -> int:
    return int(mask.nonzero()[0])
