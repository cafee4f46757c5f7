"""`GradientMatching`: a weighted subset whose gradients sum to those of all examples, by orthogonal matching pursuit.

A last-layer gradient `r_i ⊗ (h_i, 1)` is kept as its two factors: with R the gradient that is still missing,
`⟨g_i, R⟩ = r_iᵀ R (h_i, 1)`, and the Gram matrix of some examples is `(r rᵀ) ∘ (h hᵀ + 1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.budgets import Allocation, allocate, members
from auglean.selection.composition import map_reduce
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, features, finite
from auglean.signals import Signals

#: How often all weights are fitted anew on the way: after each pick where there are no more than so many.
_FITS = 32

#: Correlations that differ by less than this share of the largest at the start are equal up to rounding.
_SLACK = 1e-12


@dataclass(frozen=True)
class GradientMatching(Selector):
    """Examples and weights ≥ 0 whose gradients sum to the sum of all (Killamsetty et al. 2021, GradMatch).

    Orthogonal matching pursuit on `‖Σ_i g_i − Σ_{j∈S} w_j g_j‖² + λ ‖w − n/k‖²`: the next pick is the gradient that
    has most in common with what is missing, `⟨g_j, missing⟩ / √(‖g_j‖² + λ)`; then all weights are fitted anew by
    non-negative least squares (for more than 32 picks, several picks at a time). The sum of the missing norms of
    the classes, `how["objective"]`, bounds the error, which a coreset only bounds from distances; in exchange the
    weights stand for nobody in particular, and some may be 0. Where nothing is missing any more, the remaining
    picks are those that come next in the same order.

    Two things differ from the paper. The penalty draws weights towards equal ones, not towards 0, so that the
    choice of everything is exact. And each gradient has one coordinate more, the same for all, so that the weights
    sum to n but for a remainder, which scaling removes: a total of weights is a length of step, not a direction.

    Args:
        proxy: What stands for the gradient: `"residual"` (of the logits) or `"last-layer"` (residual ⊗ (feature, 1),
            of the last layer's weights and bias, in factor form).
        per: `"class"`: examples, class by class. `"batch"`: whole random batches of all classes, the last of them cut
            to fit the budget; the examples of a batch share its weight.
        ridge: λ in units of the mean square norm, at least 1e-6.
        allocation: How the budget is shared among classes.
        batch_size: Examples in a batch, about.
    """

    proxy: Literal["residual", "last-layer"] = "last-layer"
    per: Literal["class", "batch"] = "class"
    ridge: float = 0.01
    allocation: Allocation = "proportional"
    batch_size: int = 128
    name: ClassVar[str] = "gradient-matching"

    @property
    def label(self) -> str:
        """The name, with the proxy and with what is chosen where they are not the usual ones."""
        told = [self.name, "residual" if self.proxy == "residual" else "", "per-batch" if self.per == "batch" else ""]
        return "-".join(filter(None, told))

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Match the gradient of each class by examples, or that of all by batches."""
        assert signals is not None
        if not 1e-6 <= self.ridge < math.inf or self.batch_size < 1:
            raise InputError(
                f"GradientMatching was given ridge {self.ridge} and batch_size {self.batch_size}; "
                "give a ridge of at least 1e-6 and a batch_size of at least 1."
            )
        if self.proxy not in ("residual", "last-layer"):
            raise unknown("proxy", self.proxy, ["residual", "last-layer"])
        residual = finite(signals.residual, "residuals")
        feature = features(signals) if self.proxy == "last-layer" else residual[:, :0]

        def choose_part(rows: Tensor, share: int, _: torch.Generator) -> Selection:
            rows = rows.to(residual.device)
            return _match(_Gradients(residual[rows], feature[rows]), None, share, self.ridge)

        if self.per == "class":
            classes = members(labels)
            shares = allocate(k, [len(c) for c in classes], self.allocation)
            return map_reduce(classes, shares, choose_part, total=len(labels), g=g)
        if self.per == "batch":
            return _match(_Gradients(residual, feature), _batches(len(labels), k, self.batch_size, g), k, self.ridge)
        raise unknown("unit of matching", self.per, ["class", "batch"])


def _batches(n: int, k: int, batch_size: int, g: torch.Generator) -> Sequence[Tensor]:
    """Cut n examples into random batches of which whole ones fill a budget of k, but for a few examples."""
    size = math.ceil(k / math.ceil(k / batch_size))
    return torch.randperm(n, generator=g).tensor_split(max(1, n // size))


class _Gradients:
    """The gradients `g_i = (r_i ⊗ (h_i, 1), s)` in factor form, with s² the mean square norm of the rest.

    Args:
        residual: Shape `(n, K)`.
        feature: Shape `(n, D)`.
    """

    def __init__(self, residual: Tensor, feature: Tensor) -> None:
        self.left = residual.double()
        self.right = torch.cat([feature.double(), self.left.new_ones(len(residual), 1)], 1)
        squares = self.left.square().sum(1) * self.right.square().sum(1)
        self.constant = float(squares.mean()) or 1.0  # s²
        self.squares = squares + self.constant  # ‖g_i‖², (n,)

    def __len__(self) -> int:
        return len(self.left)

    def gram(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Give inner products. Shape `(rows, columns)`."""
        left, right = self.left[rows] @ self.left[columns].T, self.right[rows] @ self.right[columns].T
        return left * right + self.constant

    def correlate(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """Give `⟨g_i, Σ_{j∈rows} c_j g_j⟩` for all i. Shape `(n,)`."""
        left, right = self.left[rows] * coefficients[:, None], self.right[rows]
        (_, p), (_, q) = left.shape, right.shape
        if len(rows) * (p + q) < p * q:  # the cheaper order of the products
            product = ((self.left @ left.T) * (self.right @ right.T)).sum(1)
        else:
            product = ((self.right @ (right.T @ left)) * self.left).sum(1)
        return product + self.constant * coefficients.sum()


class _Fit:
    """The picks so far, their Gram matrix, and the weights ≥ 0 by which they fit best.

    Args:
        gradients: All gradients.
        aims: Inner products of all gradients with their sum. Shape `(n,)`.
        penalty: λ.
    """

    def __init__(self, gradients: _Gradients, aims: Tensor, penalty: float) -> None:
        self.gradients, self.aims, self.penalty = gradients, aims, penalty
        self.picks: list[Tensor] = []  # the examples of each
        self.gram = torch.zeros(0, 0, dtype=torch.float64)

    def weights(self) -> Tensor:
        """Give the weight of each chosen example, in the order of the picks. Float64 on the device of the gradients.

        `‖b − G w‖² + λ ‖w − m‖²` is `‖Lᵀ w − L⁻¹ (Gᵀ b + λ m)‖²` and a constant, where `L Lᵀ = Gᵀ G + λ`.
        """
        from scipy.optimize import nnls

        self._grow()
        sizes = torch.tensor([len(rows) for rows in self.picks])
        aim = torch.stack([self.aims[rows].sum() for rows in self.picks]).cpu()
        mean = len(self.gradients) / float(sizes.sum())
        lower = torch.linalg.cholesky(self.gram + self.penalty * torch.eye(len(aim), dtype=torch.float64))
        right = torch.linalg.solve_triangular(lower, (aim + self.penalty * mean)[:, None], upper=False)
        found, _ = nnls(lower.T.numpy(), right[:, 0].numpy(), maxiter=max(100, 10 * len(aim)))
        return torch.from_numpy(found).repeat_interleave(sizes).to(self.aims.device)

    def _grow(self) -> None:
        """Add the rows and columns of the picks that are not in the Gram matrix yet."""
        old, total = len(self.gram), len(self.picks)
        sizes = [torch.tensor([len(rows) for rows in picks]) for picks in (self.picks, self.picks[old:])]
        every, fresh = (torch.arange(len(counts)).repeat_interleave(counts) for counts in sizes)
        pairs = self.gradients.gram(torch.cat(self.picks), torch.cat(self.picks[old:])).cpu()
        block = pairs.new_zeros(total, len(fresh)).index_add_(0, every, pairs)
        block = pairs.new_zeros(total, total - old).index_add_(1, fresh, block)
        gram = pairs.new_zeros(total, total)
        gram[:old, :old], gram[:, old:], gram[old:, :old] = self.gram, block, block[:old].T
        self.gram = gram


def _match(gradients: _Gradients, batches: Sequence[Tensor] | None, k: int, ridge: float) -> Selection:
    """Match the sum of all gradients by k examples: single ones, or whole batches of them."""
    n, device = len(gradients), gradients.left.device
    everything = torch.arange(n, device=device)
    ones = torch.ones_like(gradients.squares)
    if batches is None:
        squares, picks = gradients.squares, k
    else:
        batches = [rows.to(device) for rows in batches]
        squares = torch.stack([gradients.gram(rows, rows).sum() for rows in batches])
        picks = math.ceil(k / len(batches[-1]))
    penalty = ridge * float(squares.mean())
    every = math.ceil(picks / _FITS)

    missing = aims = gradients.correlate(everything, ones)  # ⟨g_i, what is missing⟩
    fit = _Fit(gradients, aims, penalty)
    taken = torch.zeros(len(squares), dtype=torch.bool, device=device)
    gains: list[float] = []
    left, slack, change = k, 0.0, ones
    while left:
        common = missing if batches is None else torch.stack([missing[rows].sum() for rows in batches])
        score = (common / (squares + penalty).sqrt()).masked_fill(taken, -math.inf)
        slack = slack or _SLACK * float(score.max())
        j = int((score >= score.max() - slack).nonzero()[0])
        taken[j] = True
        rows = everything[j : j + 1] if batches is None else batches[j][:left]
        weight = max(0.0, float(common[j] / (squares[j] + penalty)))  # the best one if the others stay
        gains += [weight * float(common[j])] * len(rows)
        fit.picks.append(rows)
        left -= len(rows)
        if left and len(fit.picks) % every:
            missing = missing - gradients.correlate(rows, ones[rows] * weight)
        else:
            change = ones.clone()
            change[torch.cat(fit.picks)] -= fit.weights()
            missing = gradients.correlate(everything, change)
    indices = torch.cat(fit.picks)
    weights = 1 - change[indices]
    weights *= n / weights.sum()
    change[indices] = 1 - weights
    error = float((change * gradients.correlate(everything, change)).sum())
    return Selection(
        indices=indices.cpu(),
        weights=weights.cpu(),
        gains=torch.tensor(gains, dtype=torch.float64),
        total=n,
        how={"solver": "orthogonal matching pursuit, non-negative weights", "objective": math.sqrt(max(0.0, error))},
    )
