"""A selector that spreads out: determinantal point processes of fixed size, drawn exactly or their greedy mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.selection.dpp_greedy import greedy_log_determinant
from auglean.selection.dpp_sampling import sample_k_dpp, spectrum
from auglean.selection.scores import EL2N, GraNd, Influence, Margin, MaxLoss, Scored, scores
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, equal_weights, features
from auglean.signals import Signals

Quality = Literal["influence", "loss", "margin", "el2n", "grand"]

_QUALITIES: dict[str, Scored] = {
    "influence": Influence(),
    "loss": MaxLoss(),
    "margin": Margin(),
    "el2n": EL2N(),
    "grand": GraNd(),
}


@dataclass(frozen=True)
class KDPP(Selector):
    """A diverse subset: a draw from a k-DPP (Kulesza & Taskar 2011), as in Kuchnik & Smith 2019, or its greedy mode.

    A set S of k examples has a probability in proportion to `det(L_S)`, the squared volume that the rows
    `q_i^e φ_i` of its examples span: `L_ij = (q_i q_j)^e φ_iᵀφ_j`. Here φ are the features, less their mean, at unit
    length, and q the quality; the published code has e = 1, for which a set's probability holds each quality squared.
    Examples whose features are equal never come together. The scale of the kernel does not matter.

    `method="exact"` draws by the dual sampler, from products with d × d matrices, for every seed anew: a larger budget
    does not continue a smaller one. It needs k at most the rank of the kernel, which is at most d (less 1 for n ≤ d);
    where more are wanted, ask in classes or clusters (`PerClass(KDPP())`, `Clustered(20, KDPP())`), or
    `method="greedy"`. That maximises `log det(I + τ² Φ_S Φ_Sᵀ)`, for any k up to n, draws nothing, and a larger budget
    continues a smaller one.

    The gain of a pick is what it added to the log-determinant: of `L_S`, or of `I + τ² Φ_S Φ_Sᵀ`. Either is of rows
    scaled to a mean square of 1. Weights are equal.

    Args:
        quality: What examples are weighed by: `"influence"`, `"loss"`, `"margin"` (near the boundary first), `"el2n"`,
            `"grand"`, or None, for diversity alone.
        method: `"exact"` or `"greedy"`.
        exponent: The power e of the quality in a row of features, at least 0.
        centre: Take the mean from the features first: those behind a ReLU all point the same way, and a DPP of theirs
            is little more diverse than a uniform draw.
        normalise: Bring the features to unit length, so that diversity is of directions.
        tau: τ of the greedy method, over 0.
        C: Inverse strength of the penalty of the head, for the quality `"influence"`.
    """

    quality: Quality | None = None
    method: Literal["exact", "greedy"] = "exact"
    exponent: float = 1.0
    centre: bool = True
    normalise: bool = True
    tau: float = 1.0
    C: float = 1.0
    name: ClassVar[str] = "k-dpp"

    @property
    def label(self) -> str:
        """The name, with the quality and with the method where it is not exact."""
        parts = [self.name, self.quality or "", self.method if self.method != "exact" else ""]
        return "-".join(part for part in parts if part)

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Draw a set, or build the greedy one."""
        assert signals is not None
        points = self.factor(signals, labels)
        if self.method == "greedy":
            if not self.tau > 0:
                raise InputError(f"KDPP was given tau {self.tau}; give a number over 0.")
            indices, gains = greedy_log_determinant(points, k, tau=self.tau)
            told = {"solver": "greedy log det(I + τ² L)", "guarantee": "at least 1 − 1/e of the best"}
        elif self.method == "exact":
            log_values, vectors = spectrum(points)
            rank = len(log_values)
            if rank < k < len(points):
                raise InputError(
                    f"The kernel has rank {rank}, so a k-DPP cannot draw {k} examples; ask for at most {rank}, or take "
                    'KDPP(method="greedy"), by name k-dpp-greedy, or draw in parts by PerClass(KDPP()) or '
                    "Clustered(20, KDPP())."
                )
            everything = k == len(points)  # the only set of its size, whatever its volume
            indices = torch.randperm(k, generator=g) if everything else sample_k_dpp(log_values, vectors, k, g)
            # the determinant of L_S is the product of the squared heights of its rows
            heights = torch.linalg.qr(points[indices.to(points.device)].T, mode="r").R.diagonal().square()
            heights = torch.nn.functional.pad(heights, (0, k - len(heights)))  # of more rows than columns
            gains = heights.clamp(min=torch.finfo(heights.dtype).tiny).log().cpu()
            told = {"solver": "dual k-DPP", "guarantee": f"an exact draw, rank {rank}"}
        else:
            raise unknown("method", self.method, ["exact", "greedy"])
        chosen = equal_weights(indices, gains, len(labels))
        return chosen.with_(how={**told, "log_determinant": float(gains.sum())})

    def factor(self, signals: Signals, labels: Tensor) -> Tensor:
        """Give the rows `q_i^e φ_i` of Φ, whose kernel is `ΦΦᵀ`, scaled to a mean square of 1. Shape `(n, d)`, float64.

        Raises:
            InputError: If the exponent is negative, the quality is no known one, or the features or qualities are
                not finite.
        """
        if not self.exponent >= 0:
            raise InputError(f"KDPP was given the exponent {self.exponent}; give 0 or more.")
        points = features(signals).double()
        if self.centre:
            points = points - points.mean(0)
        if self.normalise:
            length = points.norm(dim=1, keepdim=True)
            # what differs from the mean by rounding alone has no direction
            level = 1e-12 * features(signals).double().norm(dim=1, keepdim=True).max()
            points = torch.where(length > level, points / length, 0.0)
        if self.quality is not None:
            if self.quality not in _QUALITIES:
                raise unknown("quality", self.quality, _QUALITIES)
            policy = Influence(C=self.C) if self.quality == "influence" else _QUALITIES[self.quality]
            quality = scores(policy, signals, labels).to(points.device)
            points = points * (quality / quality.max().clamp(min=1e-300))[:, None] ** self.exponent
        scale = points.square().sum(1).mean().sqrt()
        return points / scale if scale > 0 else points
