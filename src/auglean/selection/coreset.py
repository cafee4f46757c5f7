"""`Coreset`: medoids of the per-example gradients, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.budgets import Allocation, allocate, members
from auglean.selection.composition import map_reduce
from auglean.selection.distances import OuterProducts, PointSet, Vectors
from auglean.selection.facility_location import facility_location
from auglean.selection.matrices import Storage, Workspace
from auglean.selection.planning import Solver
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector
from auglean.signals import Signals

Proxy = Literal["residual", "last-layer"]


@dataclass(frozen=True)
class Coreset(Selector):
    """Medoids of the per-example gradients, class by class (CRAIG 2020; Liu & Mirzasoleiman 2022).

    The weighted gradient sum of the medoids is off by at most `L(S) = Σ_i min_{j∈S} ‖g_i − g_j‖`, and each
    medoid's weight is the number of examples that it is nearest to. Seconds grow with the square of the
    largest class, until that is solved in cells.

    Args:
        proxy: What stands for the gradient: `"residual"` (of the logits) or `"last-layer"` (residual ⊗ (feature,
            1), of the last layer's weights and bias, in factor form).
        allocation: How the budget is shared among classes.
        solver: See `facility_location`, as of storage and max_memory.
        storage: In which numbers the distances are kept.
        max_memory: Bytes of work memory that a class may take.
    """

    proxy: Proxy = "residual"
    allocation: Allocation = "proportional"
    solver: Solver = "auto"
    storage: Storage | None = None
    max_memory: int | None = None
    name: ClassVar[str] = "coreset"

    @property
    def label(self) -> str:
        """`coreset` or `coreset-last-layer`."""
        return self.name if self.proxy == "residual" else f"{self.name}-{self.proxy}"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Run greedy facility location in each class and merge the picks by gain."""
        assert signals is not None
        classes, workspace = members(labels), Workspace()
        self._check(signals)

        def medoids(rows: Tensor, share: int, own: torch.Generator) -> Selection:
            return facility_location(
                self._points(signals, rows.to(signals.loss.device)),
                share,
                solver=self.solver,
                storage=self.storage,
                max_memory=self.max_memory,
                seed=own.initial_seed(),
                workspace=workspace,
            )

        shares = allocate(k, [len(rows) for rows in classes], self.allocation)
        return map_reduce(classes, shares, medoids, total=len(labels), g=g)

    def _check(self, signals: Signals) -> None:
        if self.proxy not in get_args(Proxy):
            raise unknown("proxy", self.proxy, get_args(Proxy))
        if not bool(torch.isfinite(signals.residual).all()):
            raise InputError("The model's residuals are not finite; train at a lower learning rate or collect anew.")

    def _points(self, signals: Signals, rows: Tensor) -> PointSet:
        residual = signals.residual[rows]
        if self.proxy == "residual":
            return Vectors.of(residual)
        feature = signals.feature[rows]
        if not feature.shape[1]:
            raise InputError(
                'The signals hold no features, which the proxy "last-layer" needs; collect them with features.'
            )
        return OuterProducts.of(residual, torch.cat([feature, feature.new_ones(len(feature), 1)], 1))
