"""The subset of largest log-determinant, greedily: the picks of plain greedy from products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

#: Leverages that differ by less than this share are equal up to rounding: the lowest index wins.
_SLACK = 1e-12
#: Rows that a product takes at a time, so that what it makes stays in the cache.
_BLOCK = 4096


def greedy_log_determinant(points: Tensor, k: int, *, tau: float = 1.0) -> tuple[Tensor, Tensor]:
    """Maximise `log det(I + τ² Φ_S Φ_Sᵀ)` over subsets S of k rows of Φ, one pick at a time.

    The gain of a row is `log(1 + q)`, where `q = φᵀM⁻¹φ`, `M = I/τ² + Φ_SᵀΦ_S`, is its ridge leverage. The objective is
    monotone and submodular, so greedy reaches at least 1 − 1/e of the best (Nemhauser, Wolsey & Fisher 1978). A pick j
    lowers every leverage by `(φ_iᵀa)²`, `a = M⁻¹φ_j / √(1 + q_j)`: n·d products that wait for memory. But leverages
    only fall, so an old one is a bound (Minoux 1978): the candidates, whose leverages are highest, follow each pick;
    the others catch up many picks at a time, by a product of matrices, when the best candidate may not be best of all.

    The picks are those of plain greedy, ties to the lowest index (up to a relative 10⁻¹²). 2·n·d·k operations, and
    n·d numbers.

    Args:
        points: The rows of Φ, finite. Shape `(n, d)`, float64.
        k: How many to choose, at most n.
        tau: τ, over 0: the larger, the sooner a direction that is covered is worth nothing.

    Returns:
        The picks in order `(k,)` int64, and what each added to the objective `(k,)` float64.

    >>> points = torch.tensor([[1.0, 0], [1, 0.1], [0, 1]], dtype=torch.float64)
    >>> greedy_log_determinant(points, 2)[0].tolist()
    [1, 2]
    """
    d = points.shape[1]
    matrix = torch.eye(d, dtype=points.dtype, device=points.device) / tau**2  # M
    leverage = points.square().sum(1) * tau**2  # (n,), −∞ for those picked
    start = float(leverage.max())
    picks: list[int] = []
    leverages: list[float] = []
    while len(picks) < k:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        candidates = _candidates(leverage)
        rows, current = points[candidates], leverage[candidates]
        directions: list[Tensor] = []
        others = float(leverage.index_fill(0, candidates, -torch.inf).max())
        while len(picks) < k:
            best = float(current.max())
            # the first of a round is certain: until then all leverages are exact
            if directions and best * (1 - _SLACK) <= others:
                break
            at = _first_of_highest(current, best)
            direction = inverse @ rows[at] / (1 + best) ** 0.5
            inverse.addr_(direction, direction, alpha=-1)
            current -= (rows @ direction).square_()
            current[at] = -torch.inf
            picks.append(int(candidates[at]))
            leverages.append(best)
            directions.append(direction)
        chosen = torch.tensor(picks, device=points.device)
        matrix.addmm_(points[chosen[-len(directions) :]].T, points[chosen[-len(directions) :]])
        if best < start / 2:  # the subtractions have cost a digit: anew
            start = best
            leverage = _anew(points, matrix)
        else:
            _lower(leverage, points, torch.stack(directions, 1))
        leverage[chosen] = -torch.inf
    return torch.tensor(picks), torch.tensor(leverages, dtype=torch.float64).log1p()


def _candidates(leverage: Tensor) -> Tensor:
    """Give the rows of highest leverage, ascending, the first of equal highest ones among them. Shape `(m,)`."""
    m = min(len(leverage), max(256, len(leverage) // 64))
    first = _first_of_highest(leverage, float(leverage.max()))
    rows: Tensor = torch.cat([leverage.topk(m).indices, torch.tensor([first], device=leverage.device)]).unique()
    return rows


def _first_of_highest(leverage: Tensor, highest: float) -> int:
    return int((leverage >= highest * (1 - _SLACK)).nonzero()[0])


def _lower(leverage: Tensor, points: Tensor, directions: Tensor) -> None:
    """Subtract what picks took, in place, with their directions `(d, t)`."""
    for part, lowered in zip(points.split(_BLOCK), leverage.split(_BLOCK), strict=True):
        lowered -= (part @ directions).square_().sum(1)


def _anew(points: Tensor, matrix: Tensor) -> Tensor:
    """Compute leverages `φᵀM⁻¹φ = ‖L⁻¹φ‖²`, `M = LLᵀ`, for all rows. Shape `(n,)`."""
    factor = torch.linalg.cholesky(matrix)
    parts = points.split(_BLOCK)
    return torch.cat([torch.linalg.solve_triangular(factor, part.T, upper=False).square_().sum(0) for part in parts])
