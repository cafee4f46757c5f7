"""The loss that a policy makes of each image: its mean and its spread over the policy's law."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auglean.moments.answers import Answer, aligned, class_name
from auglean.moments.losses import Chunk, Examples, Loss, Method, node_losses
from auglean.moments.rules import Kind
from auglean.networks.probing import undisturbed
from auglean.policies import Policy, as_policy


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExpectedLoss(Answer):
    """Loss of each image under a policy. Prints as a table of the classes. All float64, on the CPU.

    Attributes:
        mean: Expected loss `E L(f(T x), y)`. Shape `(N,)`.
        sd: Standard deviation of the loss over the policy's law. Shape `(N,)`.
        standard_error: Of `mean`: zero where all atoms of a finite law were enumerated, `4/3` of the change when the
            nodes were doubled for `"quadrature"`, standard error of the draws otherwise. Shape `(N,)`.
        clean: Loss of the image itself. Shape `(N,)`.
        labels: Classes `(N,)`, or None where targets are real numbers.
        class_names: As the data name them; may be empty.
        kind: `"exact finite"`, `"quadrature"`, `"randomised qmc"` or `"monte carlo"`.
        nodes: Nodes or draws of each image.
        passes: Images sent forward through the network.
        policy: Name of the policy.
        loss: Name of the loss.
        seconds: Wall-clock time.
    """

    mean: Tensor
    sd: Tensor
    standard_error: Tensor
    clean: Tensor
    labels: Tensor | None
    class_names: tuple[str, ...]
    kind: Kind
    nodes: int
    passes: int
    policy: str
    loss: str
    seconds: float

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def average(self) -> float:
        """Mean over the images."""
        return float(self.mean.mean())

    @property
    def average_error(self) -> float:
        """Error of `average`: draws of different images are independent, nodes are shared and their errors add up."""
        if self.kind in ("randomised qmc", "monte carlo"):
            return float(self.standard_error.square().sum().sqrt()) / len(self)
        return float(self.standard_error.mean())

    def __repr__(self) -> str:
        rows = [["class", "images", "clean", "expected", "sd"]]
        if self.labels is not None:
            for label in self.labels.unique().tolist():
                rows.append([class_name(self.class_names, label), *self._row(self.labels == label)])
        rows.append(["all", *self._row(slice(None))])
        return "\n".join(
            [
                f"Expected {self.loss} of {len(self):,} images under {self.policy}: {self.average:.4g} ± "
                f"{self.average_error:.1g}, {float(self.clean.mean()):.4g} clean",
                *aligned(rows),
                f"{self.kind}, {self.nodes} nodes an image; {self.passes:,} forward passes, {self.seconds:.2f} s.",
            ]
        )

    def _row(self, which: Tensor | slice) -> list[str]:
        found = (self.clean[which], self.mean[which], self.sd[which])
        return [f"{len(found[0]):,}", *(f"{float(values.mean()):.4g}" for values in found)]


def expected_loss(
    model: nn.Module,
    loss: Loss,
    policy: Policy,
    data: Any,
    *,
    method: Method = "auto",
    nodes: int = 64,
    seed: int = 0,
    batch_size: int = 512,
) -> ExpectedLoss:
    """Compute mean and standard deviation of the loss of each image under a policy.

    `"nodes"` takes the policy's rule: all atoms of a finite law, else composite Gauss nodes, up to `nodes` of them. All
    images share them, which compares image with image best. `"stratified"` draws for each image on its own, evenly
    over the law: unbiased, and errors average out over images. `"auto"` enumerates a law of at most `nodes` atoms and
    stratifies any other.

    The model is put in eval mode for the pass and comes back as it was. Float64 sums.

    Args:
        model: From images `(B, C, H, W)` in [0, 1] to outputs `(B, K)`.
        loss: `"cross-entropy"`, `"squared"` (`‖y − f‖²`, labels as one-hot vectors) or a function from outputs and
            targets to one number for each image.
        policy: The policy, or a callable for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, targets).
        method: `"auto"`, `"nodes"`, `"stratified"` or `"monte carlo"`.
        nodes: Forward passes for each image, at most; 8 or more.
        seed: Of the draws. The draws of an image do not depend on the others.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If the data, a label or an option does not fit, or a loss is not finite.

    >>> from auglean.policies import Flip
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> found = expected_loss(model, "cross-entropy", Flip(), (torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1])))
    >>> found.kind, found.nodes, found.mean.shape
    ('exact finite', 2, torch.Size([3]))
    """
    start = time.perf_counter()
    policy, examples = as_policy(policy), Examples(data)
    count = len(examples)
    mean, sd, error, clean = torch.empty(4, count, dtype=torch.float64)
    targets: list[Tensor] = []
    used = 0
    with undisturbed(model, seed=seed):
        for chunk in node_losses(
            model, loss, policy, examples, method=method, nodes=nodes, seed=seed, batch_size=batch_size
        ):
            mean[chunk.ids], sd[chunk.ids], error[chunk.ids] = (part.cpu() for part in summary(chunk))
            clean[chunk.ids] = chunk.clean.cpu()
            targets.append(chunk.targets.cpu())
            kind, spent = chunk.rules[0].kind, sum(len(own) for own in chunk.rules)
            used = spent if kind == "randomised qmc" else len(chunk.rules[0])
    labels = torch.cat(targets)
    return ExpectedLoss(
        mean=mean,
        sd=sd,
        standard_error=error,
        clean=clean,
        labels=None if labels.is_floating_point() else labels,
        class_names=examples.class_names,
        kind=kind,
        nodes=used,
        passes=count * (1 + spent),
        policy=policy.name,
        loss=loss if isinstance(loss, str) else getattr(loss, "__name__", "loss"),
        seconds=time.perf_counter() - start,
    )


def summary(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
    """Give mean, standard deviation and error of the losses of a chunk. Shapes `(B,)`."""
    weights = [own.weights.to(losses.device) for own, losses in zip(chunk.rules, chunk.losses, strict=True)]
    means = torch.stack([(w * losses).sum(0) for w, losses in zip(weights, chunk.losses, strict=True)])
    kind = chunk.rules[0].kind
    if kind == "randomised qmc":  # independent replicates of equal size
        mean, losses = means.mean(0), torch.cat(chunk.losses)
        error = means.std(0) / len(means) ** 0.5
        # deviations from a mean that was estimated are short by its variance
        return mean, ((losses - mean).square().mean(0) + error.square()).sqrt(), error
    mean = means[0]
    variance = (weights[0] * (chunk.losses[0] - mean).square()).sum(0)
    if kind == "monte carlo":
        variance = variance * len(chunk.losses[0]) / (len(chunk.losses[0]) - 1)
        return mean, variance.sqrt(), (variance / len(chunk.losses[0])).sqrt()
    error = torch.zeros_like(mean) if len(means) == 1 else 4 / 3 * (means[0] - means[1]).abs()
    return mean, variance.sqrt(), error
