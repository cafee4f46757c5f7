"""Which images, and which classes, does a policy change most?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from auglean.errors import InputError, unknown
from auglean.moments.answers import Answer, aligned, class_name
from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.expected_loss import expected_loss
from auglean.moments.losses import Loss
from auglean.moments.rules import worst
from auglean.policies import Policy, as_policy
from auglean.randomness import generator

By = Literal["rel_trace", "displacement", "loss_sd"]
_MEANINGS = {
    "rel_trace": "variance of the augmented image over its squared norm, tr C / ‖μ‖²",
    "displacement": "distance of the mean image over the norm of the image, ‖μ − x‖ / ‖x‖",
    "loss_sd": "standard deviation of the loss over the policy's law",
}
_RESAMPLES = 1000
_CELLS = 2**22  # numbers drawn at once


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ranking(Answer):
    """Images by how much a policy changes them. Prints as a table of the classes, most changed first.

    Attributes:
        by: What is compared.
        score: Of each image. Shape `(N,)`, float64.
        order: Positions of the images, most changed first. Shape `(N,)`, int64.
        classes: For each class, most changed first: `label`, `name`, `images`, `mean` of the score, and the ends `low`
            and `high` of a 95 % bootstrap interval of it. Empty where targets are real numbers.
        policy: Name of the policy.
        how: How the scores were got.
        seconds: Wall-clock time.
    """

    by: By
    score: Tensor
    order: Tensor
    classes: tuple[Mapping[str, Any], ...]
    policy: str
    how: str
    seconds: float

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        rows = [["class", "images", "mean", "95 % interval"]]
        for row in self.classes:
            interval = f"{row['low']:.4g} to {row['high']:.4g}"
            rows.append([row["name"], f"{row['images']:,}", f"{row['mean']:.4g}", interval])
        ends = [f"{int(i)} ({float(self.score[i]):.3g})" for i in (*self.order[:3], *self.order[-3:])]
        return "\n".join(
            [
                f"{len(self):,} images under {self.policy} by {self.by}: {_MEANINGS[self.by]}",
                *(aligned(rows) if self.classes else []),
                f"Most changed: {', '.join(ends[:3])}. Least: {', '.join(ends[3:])}.",
                f"{self.how}; {self.seconds:.2f} s.",
            ]
        )


def rank_images(
    policy: Policy,
    data: Any,
    *,
    by: By = "rel_trace",
    model: nn.Module | None = None,
    loss: Loss = "cross-entropy",
    nodes: int = 64,
    seed: int = 0,
    batch_size: int = 512,
) -> Ranking:
    """Rank images by how much a policy changes them, in pixels or in a model's loss.

    Args:
        policy: The policy, or a callable for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, labels).
        by: `"rel_trace"`, `tr C / ‖μ‖²`: how far augmented images spread; `"displacement"`, `‖μ − x‖ / ‖x‖`: how far
            their mean is from the image; `"loss_sd"`: how far a model's loss spreads.
        model: The model, for a loss.
        loss: Its loss.
        nodes: Nodes of each image for a loss.
        seed: Of what is drawn, and of the bootstrap.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If an option or the data do not fit, or a model is missing.

    >>> from auglean.policies import Flip
    >>> x = torch.tensor([[[[1.0, 1.0]]], [[[0.0, 1.0]]]])
    >>> rank_images(Flip(), (x, torch.tensor([0, 1]))).order.tolist()
    [1, 0]
    """
    start = time.perf_counter()
    if by not in _MEANINGS:
        raise unknown("ranking", by, _MEANINGS)
    policy, examples = as_policy(policy), Examples(data)
    if by == "loss_sd":
        if model is None:
            raise InputError("A ranking by 'loss_sd' needs a model; give model=, or rank by 'rel_trace'.")
        found = expected_loss(model, loss, policy, data, nodes=nodes, seed=seed, batch_size=batch_size)
        score, labels, how = found.sd, found.labels, f"{found.kind}, {found.nodes} nodes an image"
    else:
        score, labels, how = _moved(policy, examples, by)
    classes = [] if labels is None else by_class(score, labels, examples.class_names, seed)
    return Ranking(
        by=by,
        score=score,
        order=score.argsort(descending=True, stable=True),
        classes=tuple(classes),
        policy=policy.name,
        how=how,
        seconds=time.perf_counter() - start,
    )


def _moved(policy: Policy, examples: Examples, by: By) -> tuple[Tensor, Tensor | None, str]:
    scores, labels, kinds = [], [], []
    for _, x, targets, found in moments_in_pieces(policy, examples):
        if by == "rel_trace":
            part, whole = found.trace, found.mean.flatten(1).square().sum(1)
        else:
            part, whole = (found.mean - x).flatten(1).norm(dim=1), x.double().flatten(1).norm(dim=1)
        scores.append(torch.where(part > 0, part / whole.clamp(min=1e-300), 0.0).cpu())
        labels.append(targets.cpu())
        kinds.append(found.kind)
    real = labels[0].is_floating_point()
    return torch.cat(scores), None if real else torch.cat(labels), worst(kinds)


def by_class(score: Tensor, labels: Tensor, names: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
    """Give mean and percentile bootstrap interval (Efron 1979) of each class, the largest mean first."""
    rows = []
    for label in labels.unique().tolist():
        own = score[labels == label]
        random = generator(seed, "bootstrap", label)
        step = max(1, _CELLS // len(own))
        means = torch.cat(
            [
                own[torch.randint(len(own), (min(step, _RESAMPLES - done), len(own)), generator=random)].mean(1)
                for done in range(0, _RESAMPLES, step)
            ]
        )
        low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        rows.append(
            {
                "label": label,
                "name": class_name(names, label),
                "images": len(own),
                "mean": float(own.mean()),
                "low": low,
                "high": high,
            }
        )
    return sorted(rows, key=lambda row: -row["mean"])
