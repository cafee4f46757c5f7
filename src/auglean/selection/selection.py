"""`Selection`: which examples were chosen, in which order, and how many others each stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.files import write_text

if TYPE_CHECKING:
    from auglean.selection.auditing import Audit
    from auglean.signals import Signals


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Chosen examples. Built by a `Selector`; immutable; saved as JSON.

    Attributes:
        indices: Numbers of the chosen examples in the order chosen, distinct. Shape `(k,)`, int64.
        weights: How many examples each stands for; they sum to `total`, less the classes that a coreset of
            fewer examples than classes had to leave out. Shape `(k,)`, float64.
        gains: What each added to the selector's objective when it was chosen (coreset), or its score
            (score policies). Shape `(k,)`, float64.
        total: Number of examples chosen from, n.
        cost: Seconds and other prices of choosing, by name.
        how: The selector's name and options, the solver and its guarantee, and the objective reached; `left_out`,
            the number of examples with nobody to stand for them, where there are any.
        assignment: For coresets, the position in `indices` of the chosen example that stands for each
            example, −1 where none does. Shape `(n,)`, int64; None for score policies.
        gradient_error: `‖Σ_i g_i − Σ_j w_j g_j‖ / ‖Σ_i g_i‖` over last-layer gradients, see
            `auglean.selection.gradient_error`; None where no model was asked.
        loss_sd: Standard deviation of each one's loss under the policy; None where it was not asked.
            Shape `(k,)`, float64.

    Raises:
        InputError: If the indices are not distinct or not in `0 … total − 1`, or the shapes disagree.

    >>> chosen = Selection(torch.tensor([2, 0]), torch.tensor([3.0, 1.0]), torch.tensor([9.0, 1.0]), total=4)
    >>> chosen.rest
    tensor([1, 3])
    >>> chosen
    Selection(2 of 4, first [2, 0])
    """

    indices: Tensor
    weights: Tensor
    gains: Tensor
    total: int
    cost: Mapping[str, float] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    assignment: Tensor | None = None
    gradient_error: float | None = None
    loss_sd: Tensor | None = None

    def __post_init__(self) -> None:
        indices = self.indices
        if not len(indices) == len(self.weights) == len(self.gains):
            raise InputError(
                f"A selection needs as many weights and gains as indices; got {len(indices)} indices, "
                f"{len(self.weights)} weights and {len(self.gains)} gains."
            )
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < self.total):
            raise InputError(f"Selected indices must lie in 0 … {self.total - 1}; check the set they belong to.")
        if len(indices.unique()) != len(indices):
            raise InputError("Selected indices must be distinct; give each example once, with its weight.")

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        parts = [f"{len(self)} of {self.total}", f"first {self.indices[:5].tolist()}"]
        if "selector" in self.how:
            parts.insert(0, str(self.how["selector"]))
        if self.gradient_error is not None:
            parts.append(f"gradient error {self.gradient_error:.3g}")
        if "seconds" in self.cost:
            parts.append(f"{self.cost['seconds']:.3g} s")
        return f"Selection({', '.join(parts)})"

    @property
    def rest(self) -> Tensor:
        """The examples that were not chosen, ascending. Shape `(n − k,)`, int64."""
        left = torch.ones(self.total, dtype=torch.bool)
        left[self.indices] = False
        return left.nonzero().squeeze(1)

    def with_(self, **changes: Any) -> Selection:
        """Copy this selection with some attributes changed."""
        return replace(self, **changes)

    def audit(
        self, points: Tensor | Signals, labels: Tensor | None = None, *, seed: int = 0, randoms: int = 20
    ) -> Audit:
        """Check this selection anew, beside random subsets of its size; see `auglean.selection.audit`.

        Args:
            points: What it was chosen by: gradient proxies or features, shape `(total, d)`, or `Signals`.
            labels: Shape `(total,)`, int64.
            seed: Fixes the random subsets.
            randoms: How many random subsets.

        Raises:
            InputError: If the points are not as many as the examples chosen from, or not finite.

        >>> chosen = Selection(torch.tensor([1]), torch.tensor([3.0]), torch.zeros(1), total=3)
        >>> found = chosen.audit(torch.tensor([[0.0], [1], [5]]))
        >>> found.measures["objective"].value, found.findings
        (5.0, ())
        """
        from auglean.selection.auditing import audit

        if len(points) != self.total:
            raise InputError(f"{len(points)} points do not fit a selection from {self.total}; give those it is from.")
        return audit(self.indices, points, labels, weights=self.weights, seed=seed, randoms=randoms)

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers, as `save` writes them."""
        plain: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in plain.items()}

    def save(self, path: str | Path) -> None:
        """Write one JSON file (atomically), to be published or loaded again."""
        write_text(path, json.dumps(self.to_dict()))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Selection:
        """Build from what `to_dict` gave."""
        tensors = {name: torch.tensor(plain[name], dtype=torch.float64) for name in ("weights", "gains")}
        for name, dtype in (("indices", torch.int64), ("assignment", torch.int64), ("loss_sd", torch.float64)):
            if plain.get(name) is not None:
                tensors[name] = torch.tensor(plain[name], dtype=dtype)
        return cls(**{**plain, **tensors})

    @classmethod
    def load(cls, path: str | Path) -> Selection:
        """Read what `save` wrote.

        Raises:
            InputError: If the file is not a selection.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"Cannot read a selection from {path} ({error}); give a file that Selection.save wrote."
            ) from error
