"""Has a model learnt to look away from the directions in which a policy moves images?

To first order the loss varies by `gᵀ C g` under a policy of covariance C, where g is the gradient of the loss in the
pixels, its saliency. A model with little loss variance has saliencies outside the range of C (Balestriero, Misra &
LeCun 2022).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.moments.answers import Answer, aligned
from auglean.moments.examples import Examples
from auglean.moments.expected_loss import by_nodes
from auglean.moments.losses import Loss, Setting, saliency
from auglean.moments.moments import Moments
from auglean.networks.probing import bare, placement, undisturbed
from auglean.policies import Policy, as_policy, weaker
from auglean.progress import track
from auglean.randomness import generator

_PIECE = 8  # images whose covariances multiply all saliencies at once
_RANGE = 1e-6  # share of the trace outside what is called the range
_ROUNDING = 1e-12  # of what a random direction has: a baseline below is none
_RANKS = 64  # leading eigenvectors over which the energy of saliencies is told


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Alignment(Answer):
    """Saliencies of a model against the covariance of a policy. Prints as a short table.

    `R = gᵀ C g / ‖g‖²` of an image is compared with two directions that know nothing of it: a random one, and the
    saliencies of the other images under the same C. The second is the fair one: saliencies, like images, are smooth.

    Attributes:
        ratio: R over its mean with the other images' saliencies; below 1 the model looks away. Shape `(N,)`, float64.
        isotropic: R over `tr C / D`, that of a random direction. Shape `(N,)`.
        in_range: Share of `‖g‖²` in the directions that hold all but 1e-6 of the trace. Shape `(N,)`.
        energy: Share of `‖g‖²` in the leading k eigenvectors, mean over the images. Shape `(r,)`.
        energy_shuffled: The same for the other images' saliencies. Shape `(r,)`.
        predicted: `gᵀ C g`, first order of the variance of the loss. Shape `(N,)`.
        variance: Variance of the loss from its values at nodes. Shape `(N,)`.
        spearman: Rank correlation of the two.
        ids: Positions of the images. Where a gradient vanishes or nothing moves there is NaN. Shape `(N,)`, int64.
        policy: Name of the policy.
        how: How moments and losses were got.
        seconds: Wall-clock time.
    """

    ratio: Tensor
    isotropic: Tensor
    in_range: Tensor
    energy: Tensor
    energy_shuffled: Tensor
    predicted: Tensor
    variance: Tensor
    spearman: float
    ids: Tensor
    policy: str
    how: str
    seconds: float

    def __repr__(self) -> str:
        rows = [["", "25 %", "median", "75 %"]]
        for name, values in (
            ("R / other images' saliencies", self.ratio),
            ("R / a random direction", self.isotropic),
            ("share of saliency in range", self.in_range),
        ):
            rows.append([name, *(f"{float(values.nanquantile(q)):.3g}" for q in (0.25, 0.5, 0.75))])
        return "\n".join(
            [
                f"Alignment of saliencies with {self.policy} on {len(self.ids):,} images",
                *aligned(rows),
                f"First order ranks the variances of the loss with a Spearman correlation of {self.spearman:.2f}.",
                f"{self.how}; {self.seconds:.2f} s.",
            ]
        )


def alignment(
    model: nn.Module,
    policy: Policy,
    data: Any,
    *,
    strength: float = 1.0,
    loss: Loss = "cross-entropy",
    images: int = 150,
    nodes: int = 64,
    seed: int = 0,
    batch_size: int = 512,
) -> Alignment:
    """Compare a model's saliencies with the directions in which a policy moves its images.

    The comparison is of first order. For a model that is not linear take `strength=0.1`, a tenth of what it was trained
    with. The model is put in eval mode and comes back as it was.

    Args:
        model: From images `(B, C, H, W)` in [0, 1] to outputs `(B, K)`.
        policy: The policy, or a callable for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, labels).
        strength: Share of the policy's strength, by `auglean.policies.weaker`.
        loss: As in `expected_loss`.
        images: So many of the images, 2 or more, or all where there are fewer.
        nodes: Nodes of each image for the variance of its loss.
        seed: Of the choice of images, and of what is drawn.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If an option or the data do not fit, or the policy has no weaker form where one is asked for.

    >>> from auglean.policies import Translate
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> found = alignment(model, Translate(2), (torch.rand(8, 1, 4, 4), torch.arange(8) % 3), strength=0.1)
    >>> found.policy, found.ratio.shape, 0 < float(found.in_range.max()) <= 1 + 1e-9
    ('translate0.2', torch.Size([8]), True)
    """
    start = time.perf_counter()
    policy, examples = weaker(as_policy(policy), strength), Examples(data)
    chosen = torch.randperm(len(examples), generator=generator(seed, "images"))[:images].sort().values
    if len(chosen) < 2:
        raise InputError(f"An alignment expected 2 images or more but found {len(chosen)}.")
    some = Examples(examples.batch(chosen))
    setting = Setting(model, loss, policy, some, nodes, seed, batch_size)
    saliency = _saliencies(setting)  # (N, D)
    size2 = saliency.square().sum(1)
    unit = saliency / size2.sqrt().clamp(min=1e-300)[:, None]
    rows = []
    for ids in track(torch.arange(len(chosen)).split(_PIECE), "alignment"):
        x, _ = some.batch(ids)
        found = policy.moments(x.to(saliency.device))
        rows.append(_compared(found, unit, ids.to(saliency.device)))
    own, shuffled, isotropic, in_range, energy, energy_shuffled = (torch.cat(part) for part in zip(*rows, strict=True))
    losses = by_nodes(setting, "auto")
    predicted, variance = (own * size2).cpu(), losses.sd.square()
    return Alignment(
        ratio=_over(own, shuffled, (size2 > 0) & (shuffled > _ROUNDING * isotropic)),
        isotropic=_over(own, isotropic, (size2 > 0) & (isotropic > 0)),
        in_range=torch.where(size2 > 0, in_range, torch.nan).cpu(),
        energy=energy[size2 > 0].mean(0).cpu(),
        energy_shuffled=energy_shuffled.mean(0).cpu(),
        predicted=predicted,
        variance=variance,
        spearman=spearman(predicted, variance),
        ids=chosen,
        policy=policy.name,
        how=f"Moments: {found.kind}; losses: {losses.kind}, {losses.nodes} nodes an image",
        seconds=time.perf_counter() - start,
    )


def _saliencies(setting: Setting) -> Tensor:
    """Gradients of the loss in the pixels. Shape `(N, D)`, float64, on the model's device."""
    network = bare(setting.model)
    device, dtype = placement(network)
    rows = []
    with undisturbed(network, seed=setting.seed):
        for ids in torch.arange(len(setting.examples)).split(setting.batch_size):
            images, targets = setting.examples.batch(ids)
            rows.append(saliency(setting, images.to(device, dtype), targets.to(device), ids))
    return torch.cat(rows)


def _compared(found: Moments, unit: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    """Put the saliencies of all images, of length 1, through the covariances of some.

    Returns:
        R of the own saliency, mean of R of the others, R of a random direction, share in the range, and the cumulative
        shares of own and others in the leading eigenvectors. Shapes `(B,)`, the last two `(B, r)`.
    """
    columns = unit.T.expand(len(ids), *unit.T.shape).contiguous()  # (B, D, N)
    ratios = (columns * found.covariance.matvec(columns)).sum(1)  # (B, N)
    factor = found.factor(tol=_RANGE)
    short = max(1, _RANKS - factor.shape[2])  # columns of zeros, of which there is one where nothing moves
    leading = torch.nn.functional.pad(factor, (0, short))
    leading = leading / leading.norm(dim=1, keepdim=True).clamp(min=1e-300)
    held = (leading.mT @ unit.T).square().cumsum(1)  # (B, r, N)
    others = (unit.abs().sum(1) > 0).double().expand(len(ids), -1).clone()
    others.scatter_(1, ids[:, None], 0.0)
    others /= others.sum(1, keepdim=True).clamp(min=1)

    def own(table: Tensor) -> Tensor:
        return table.gather(-1, ids.view(-1, *[1] * (table.ndim - 1)).expand(*table.shape[:-1], 1))[..., 0]

    return (
        own(ratios),
        (ratios * others).sum(1),
        found.trace / unit.shape[1],
        own(held[:, -1]),
        own(held[:, :_RANKS]),
        (held[:, :_RANKS] * others[:, None]).sum(2),
    )


def _over(own: Tensor, baseline: Tensor, sound: Tensor) -> Tensor:
    """Divide, with NaN where there is nothing to compare."""
    return torch.where(sound, own / torch.where(sound, baseline, 1.0), torch.nan).cpu()


def spearman(first: Tensor, second: Tensor) -> float:
    """Rank correlation, ties sharing their mean rank.

    >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0]))
    1.0
    """
    from scipy.stats import rankdata

    ranks = [torch.from_numpy(rankdata(values.numpy())) for values in (first, second)]
    return round(float(torch.corrcoef(torch.stack(ranks))[0, 1]), 12)
