"""Which of several policies is stronger, which is more diverse, and do they do the same?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.answers import Answer, aligned
from auglean.moments.examples import Examples
from auglean.moments.moments import Moments
from auglean.moments.rules import Kind, worst
from auglean.policies import Policy, as_policy
from auglean.progress import track
from auglean.randomness import generator

_PIECE = 8  # images at once, of which every policy's nodes are kept
_SHOWN = 64  # leading eigenvalues that are kept
_COLUMNS = 128  # of a factor, multiplied at once


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PolicyComparison(Answer):
    """Strength and diversity of P policies on N images. Prints as a table of medians over the images.

    Attributes:
        policies: Names.
        trace: Variance of the augmented image in all. Shape `(P, N)`, float64.
        displacement: `‖μ − x‖ / ‖x‖`. Shape `(P, N)`.
        effective_rank: `tr² C / ‖C‖²`: in how many directions the policy moves an image. Shape `(P, N)`.
        rank90: Directions that hold 90 % of the trace. Shape `(P, N)`, int64.
        rank99: Directions that hold 99 % of it. Shape `(P, N)`, int64.
        spectrum: Leading eigenvalues as shares of the trace, mean over the images. Shape `(P, r)`.
        overlap: `⟨C₁, C₂⟩ / (‖C₁‖ ‖C₂‖)`, mean over the images: 1 where two policies do the same up to strength, 0
            where they move an image in directions at right angles. Shape `(P, P)`.
        ids: Positions of the images. Shape `(N,)`, int64.
        kinds: How the moments of each policy were got.
        seconds: Wall-clock time.
    """

    policies: tuple[str, ...]
    trace: Tensor
    displacement: Tensor
    effective_rank: Tensor
    rank90: Tensor
    rank99: Tensor
    spectrum: Tensor
    overlap: Tensor
    ids: Tensor
    kinds: tuple[Kind, ...]
    seconds: float

    def __repr__(self) -> str:
        heads = ["policy", "trace", "displacement", "effective rank", "90 %", "99 %", "overlap with the first", ""]
        columns = (self.trace, self.displacement, self.effective_rank, self.rank90, self.rank99)
        rows = [heads]
        for i, name in enumerate(self.policies):
            medians = [f"{float(values[i].double().median()):.3g}" for values in columns]
            rows.append([name, *medians, f"{float(self.overlap[0, i]):.2f}", self.kinds[i]])
        return "\n".join([f"Medians over {len(self.ids):,} images ({self.seconds:.2f} s)", *aligned(rows)])


def compare_policies(
    policies: Sequence[Policy], data: Any, *, images: int = 100, seed: int = 0, **options: Any
) -> PolicyComparison:
    """Compare what policies do to the same images: how strongly, in how many directions, and in which.

    Args:
        policies: One or more, or callables for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, labels).
        images: So many of the images, or all where there are fewer.
        seed: Of the choice of the images.
        options: Of `Policy.moments`.

    Raises:
        InputError: If there is no policy, or an option or the data do not fit.

    >>> from auglean.policies import Flip, RandomCrop
    >>> x = torch.rand(3, 1, 8, 8)
    >>> compare_policies([Flip(), RandomCrop(1)], (x, torch.arange(3))).rank99[0].tolist()
    [1, 1, 1]
    """
    start = time.perf_counter()
    if not policies or images < 1:
        raise InputError(
            f"A comparison expected one or more policies and images but found {len(policies)} policies and {images} "
            "images."
        )
    policies, examples = [as_policy(policy) for policy in policies], Examples(data)
    chosen = torch.randperm(len(examples), generator=generator(seed, "images"))[:images].sort().values
    count = len(policies)
    numbers: list[Tensor] = []
    spectra, overlap = torch.zeros(count, _SHOWN, dtype=torch.float64), torch.zeros(count, count, dtype=torch.float64)
    kinds: list[list[Kind]] = [[] for _ in policies]
    for ids in track(chosen.split(_PIECE), "policies"):
        x, _ = examples.batch(ids)
        found = [policy.moments(x, **options) for policy in policies]
        told = [strength(own, x) for own in found]
        numbers.append(torch.stack([part for part, _ in told], 1).cpu())
        spectra += torch.stack([shares.sum(0) for _, shares in told]).cpu()
        overlap += _overlaps(found).cpu()
        for own, kind in zip(found, kinds, strict=True):
            kind.append(own.kind)
    trace, displacement, effective, rank90, rank99 = torch.cat(numbers, 2)
    return PolicyComparison(
        policies=tuple(policy.name for policy in policies),
        trace=trace,
        displacement=displacement,
        effective_rank=effective,
        rank90=rank90.long(),
        rank99=rank99.long(),
        spectrum=spectra / len(chosen),
        overlap=overlap / len(chosen),
        ids=chosen,
        kinds=tuple(worst(own) for own in kinds),
        seconds=time.perf_counter() - start,
    )


def strength(found: Moments, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give how strongly and in how many directions images are moved; see `PolicyComparison`.

    Args:
        found: Moments of B images.
        x: The images. Shape `(B, C, H, W)`.

    Returns:
        Trace, displacement, effective rank, and the ranks for 90 and 99 %, `(5, B)`; and the leading shares of the
        trace, `(B, 64)`.
    """
    factor = found.covariance.columns()
    small = factor.mT @ factor if factor.shape[2] <= factor.shape[1] else factor @ factor.mT
    values = torch.linalg.eigvalsh(small).flip(1).clamp(min=0)  # (B, r)
    shares = values / values.sum(1, keepdim=True).clamp(min=1e-300)
    held = shares.cumsum(1)
    ranks = [torch.where(found.trace > 0, (held < share - 1e-12).sum(1) + 1, 0) for share in (0.9, 0.99)]
    size = x.double().flatten(1).norm(dim=1).clamp(min=1e-300)
    displacement = (found.mean - x).flatten(1).norm(dim=1) / size
    effective = 1 / shares.square().sum(1).clamp(min=1e-300)
    effective = torch.where(found.trace > 0, effective, 0.0)
    leading = torch.nn.functional.pad(shares, (0, max(0, _SHOWN - shares.shape[1])))[:, :_SHOWN]
    return torch.stack([found.trace, displacement, effective, *(rank.double() for rank in ranks)]), leading


def _overlaps(found: Sequence[Moments]) -> Tensor:
    """Give `⟨C₁, C₂⟩ / (‖C₁‖ ‖C₂‖)` of all pairs, summed over the images. Shape `(P, P)`."""
    table = torch.zeros(len(found), len(found), dtype=torch.float64)
    for i, first in enumerate(found):
        for j, second in enumerate(found[: i + 1]):
            # ⟨F Fᵀ, C⟩ = ⟨F, C F⟩, by the factor that is narrower
            narrow, other = sorted((first.covariance, second.covariance), key=lambda own: own.width)
            parts = narrow.columns().split(_COLUMNS, dim=2)
            inner = torch.stack([(part * other.matvec(part)).sum((1, 2)) for part in parts]).sum(0)
            norms = (first.frobenius2 * second.frobenius2).sqrt()
            table[i, j] = table[j, i] = torch.where(norms > 0, inner / norms.clamp(min=1e-300), 0.0).sum()
    return table
