"""Linear support vector machines of scikit-learn on features: margins, and a selector of the support vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, features
from auglean.signals import Signals

#: Values of C that `C="grid"` tries (Kuchnik & Smith 2019).
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 4


@dataclass(frozen=True)
class SupportVectors(Selector):
    """The support vectors of a linear machine on the features, of smallest margin first: virtual SVs' sources.

    Virtual support vectors are the transformed copies of the support vectors alone (Schölkopf, Burges & Vapnik 1996;
    DeCoste & Schölkopf 2002), a baseline of Kuchnik & Smith 2019. The machine minimises
    `½‖w‖² + C Σ max(0, 1 − y f)`, one against one where there are more than two classes. The margin of an example is
    `y f`, the smallest over the pairs that its class is in, so that the most wrongly classified come first; the gain of
    a pick is minus its margin.

    The budget rules: it chooses the k of smallest margin, support vectors before all others. `how["support_vectors"]`
    is their number, the budget at which exactly they are chosen. A larger budget continues a smaller one.

    The cost is between n² and n³: for up to some 10,000 examples. The features are centred and scaled to a mean
    variance of 1, so that C means the same for features of any scale.

    Args:
        C: Price of a violated margin, over 0; or `"grid"`: of .01, .1, 1, 10 and 100 the one that classifies best in
            4-fold cross-validation, stratified and shuffled by the seed. `how["C"]` tells which.

    >>> signals = Signals(torch.zeros(4), torch.zeros(4), torch.zeros(4, 2), torch.tensor([[-3.0], [-1], [1], [3]]),
    ...                   torch.zeros(4).long())
    >>> chosen = SupportVectors(C=100)(signals, torch.tensor([0, 0, 1, 1]), budget=2)
    >>> chosen.indices.tolist(), chosen.how["support_vectors"]
    ([1, 2], 2)
    """

    C: float | Literal["grid"] = 1.0
    name: ClassVar[str] = "support-vectors"

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Fit the machine and order by margin."""
        from sklearn.svm import SVC

        assert signals is not None
        x, y = _prepared(features(signals), labels)
        C = _best_C(x, y, g) if self.C == "grid" else _positive(self.C)
        machine = SVC(
            kernel="linear", C=C, decision_function_shape="ovo", tol=1e-6, cache_size=500, random_state=0
        ).fit(x, y)
        margin = torch.from_numpy(_margins(machine, x, y))
        others = torch.ones(len(y), dtype=torch.bool)
        others[torch.from_numpy(machine.support_).long()] = False
        order = torch.argsort(margin, stable=True)
        indices = order[torch.argsort(others[order].long(), stable=True)][:k]
        how = {"solver": "libsvm", "C": C, "support_vectors": int((~others).sum())}
        return equal_weights(indices, -margin[indices], len(y)).with_(how=how)


def svm_margin(points: Tensor, labels: Tensor, C: float) -> Tensor:
    """Compute how far each example is from the boundary of a linear machine, in units of its decision function.

    `|f|` for two classes (Kuchnik & Smith 2019; not divided by ‖w‖); for more, the highest of the one-against-all
    functions minus the second. Of scikit-learn's `LinearSVC` with squared hinge loss, solved in the primal, which is
    the same whatever the order of the examples, and goes with n·d.

    Args:
        points: Features. Shape `(n, d)`.
        labels: Class numbers. Shape `(n,)`, int64.
        C: Price of a violated margin, over 0, after the features are centred and scaled to a mean variance of 1.

    Returns:
        Shape `(n,)`, float64, at least 0.

    Raises:
        InputError: If C is not over 0, or there are not two classes.

    >>> points = torch.tensor([[-3.0], [-1], [1], [3]])
    >>> svm_margin(points, torch.tensor([0, 0, 1, 1]), C=1.0).argsort(stable=True).tolist()[:2]
    [1, 2]
    """
    from sklearn.svm import LinearSVC

    x, y = _prepared(points, labels)
    machine = LinearSVC(C=_positive(C), dual=False, tol=1e-8, max_iter=10_000, random_state=0).fit(x, y)
    found = torch.from_numpy(machine.decision_function(x))
    if found.ndim == 1:
        return found.abs()
    top = found.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def _prepared(points: Tensor, labels: Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Centre and scale features, for scikit-learn."""
    y = labels.cpu().numpy()
    if len(np.unique(y)) < 2:
        raise InputError(
            f"A support vector machine parts classes, but all {len(y)} examples are of class {int(y[0])}; give "
            "examples of two classes or more."
        )
    x = points.detach().double().cpu()
    x = x - x.mean(0)
    scale = x.square().mean().sqrt()
    return (x / scale if scale > 0 else x).numpy(), y


def _positive(C: object) -> float:
    if isinstance(C, bool) or not isinstance(C, (int, float)) or not 0 < C < float("inf"):
        raise InputError(f'The support vector machine was given C {C!r}; give a number over 0, or "grid" to search.')
    return float(C)


def _best_C(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], g: torch.Generator) -> float:
    """Choose C by cross-validation; of equals the smallest."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.svm import SVC

    values, sizes = np.unique(y, return_counts=True)
    if sizes.min() < _FOLDS:
        raise InputError(
            f"Class {values[sizes.argmin()]} has {sizes.min()} examples, too few for {_FOLDS} folds; give C a number."
        )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=int(torch.randint(2**31, (), generator=g)))
    search = GridSearchCV(
        SVC(kernel="linear", cache_size=500, random_state=0), {"C": list(GRID)}, cv=folds, refit=False
    ).fit(x, y)
    return float(search.best_params_["C"])


def _margins(machine: Any, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the smallest `y f` over the pairs that an example's class is in. Shape `(n,)`."""
    found = machine.decision_function(x).reshape(len(y), -1)  # (n, pairs); over 0 speaks for the first of a pair
    classes = machine.classes_
    if len(classes) == 2:
        found = -found  # of two classes alone, for the second
    pairs = [(a, b) for a in range(len(classes)) for b in range(a + 1, len(classes))]
    margin = np.full(len(y), np.inf)
    for f, (a, b) in zip(found.T, pairs, strict=True):
        signed = np.where(y == classes[a], f, np.where(y == classes[b], -f, np.inf))
        margin = np.minimum(margin, signed)
    return margin
