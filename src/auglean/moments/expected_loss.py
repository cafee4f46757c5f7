"""The loss that a policy makes of each image: its mean and its spread over the policy's law."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from auglean.errors import unknown
from auglean.moments.answers import Answer, aligned, class_name
from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.linear_loss import affine_map, cross_entropy_bounds, squared_loss
from auglean.moments.losses import METHODS, Chunk, Loss, Setting, measured, node_losses
from auglean.moments.losses import Method as NodeMethod
from auglean.moments.rules import Kind
from auglean.moments.taylor import Point, check_gap, taylor_loss
from auglean.networks.probing import bare, placement, undisturbed
from auglean.policies import Policy, as_policy
from auglean.randomness import generator

Method = NodeMethod | Literal["taylor"]
_PROBE = 64  # images on which a Taylor value must stand before it is given out


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExpectedLoss(Answer):
    """Loss of each image under a policy. Prints as a table of the classes. All float64, on the CPU.

    Attributes:
        mean: Expected loss `E L(f(T x), y)`. Shape `(N,)`.
        sd: Standard deviation of the loss over the policy's law. Shape `(N,)`.
        standard_error: Of `mean`: zero where all atoms of a finite law were enumerated, `4/3` of the change when the
            nodes were doubled for `"quadrature"`, the gap for `"taylor"`, else standard error of the draws. `(N,)`.
        clean: Loss of the image itself. Shape `(N,)`.
        labels: Classes `(N,)`, or None where targets are real numbers.
        class_names: As the data name them; may be empty.
        lower: Jensen's bound of the mean, for cross-entropy of a linear model where the moments are not sampled; else
            None. Rigorous but for the error of the moments. Shape `(N,)`.
        upper: Böhning's bound, loose unless the policy is weak. Shape `(N,)`.
        gap: Linearisation gap of a Taylor value, `|Taylor − nodes| / nodes` of the mean loss of a probe.
        kind: How `mean` was got: `"exact finite"`, `"exact panels"`, `"quadrature"`, `"randomised qmc"`,
            `"monte carlo"` or `"taylor"`.
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
    lower: Tensor | None
    upper: Tensor | None
    gap: float | None
    kind: Kind | Literal["taylor"]
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
        notes = []
        if self.lower is not None and self.upper is not None:
            notes.append(f"Bounds of the mean: {float(self.lower.mean()):.4g} to {float(self.upper.mean()):.4g}.")
        if self.gap is not None:
            notes.append(f"Taylor expansion: off by {self.gap:.1%} on a probe.")
        loss = "squared loss" if self.loss == "squared" else self.loss
        return "\n".join(
            [
                f"Expected {loss} of {len(self):,} images under {self.policy}: {self.average:.4g} ± "
                f"{self.average_error:.1g}, {float(self.clean.mean()):.4g} clean",
                *aligned(rows),
                *notes,
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
    point: Point = "image",
    seed: int = 0,
    batch_size: int = 512,
) -> ExpectedLoss:
    """Compute mean and standard deviation of the loss of each image under a policy.

    `"nodes"` takes the policy's rule: all atoms of a finite law, else composite Gauss nodes, up to `nodes` of them. All
    images share them, which compares image with image best. `"stratified"` draws for each image on its own, evenly
    over the law: unbiased, and errors average out over images. `"auto"` enumerates a law of at most `nodes` atoms and
    stratifies any other; for a model that is linear in the pixels it takes the mean of a squared loss from the moments
    in closed form, and adds bounds to that of a cross-entropy. `"taylor"` expands the network, which holds for
    weak policies only: it is compared with draws on a probe of 64 images and refused where it is off by a fifth.

    The model is put in eval mode for the pass and comes back as it was. Float64 sums.

    Args:
        model: From images `(B, C, H, W)` in [0, 1] to outputs `(B, K)`.
        loss: `"cross-entropy"`, `"squared"` (`‖y − f‖²`, labels as one-hot vectors) or a function from outputs and
            targets to one number for each image.
        policy: The policy, or a callable for `as_policy`.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, targets).
        method: `"auto"`, `"nodes"`, `"stratified"` or `"monte carlo"`.
        nodes: Forward passes for each image, at most; 8 or more.
        point: Where `"taylor"` expands: at the image, or at the mean of its augmentations.
        seed: Of the draws. The draws of an image do not depend on the others.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If the data, a label or an option does not fit, a loss is not finite, or a Taylor value fails.

    >>> from auglean.policies import Flip
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> found = expected_loss(model, "cross-entropy", Flip(), (torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1])))
    >>> found.kind, found.nodes, found.mean.shape
    ('exact finite', 2, torch.Size([3]))
    """
    start = time.perf_counter()
    setting = Setting(model, loss, as_policy(policy), Examples(data), nodes, seed, batch_size)
    if method == "taylor":
        found = _by_taylor(setting, point)
    elif method in METHODS:
        found = by_nodes(setting, method)
        if method == "auto" and loss in ("cross-entropy", "squared"):
            found = _closed(setting, found)
    else:
        raise unknown("method", method, [*METHODS, "taylor"])
    return replace(found, seconds=time.perf_counter() - start)


def by_nodes(setting: Setting, method: NodeMethod) -> ExpectedLoss:
    """Answer from the losses at nodes alone."""
    count = len(setting.examples)
    mean, sd, error, clean = torch.empty(4, count, dtype=torch.float64)
    targets: list[Tensor] = []
    with undisturbed(setting.model, seed=setting.seed):
        for chunk in node_losses(setting, method):
            mean[chunk.ids], sd[chunk.ids], error[chunk.ids] = (part.cpu() for part in summary(chunk))
            clean[chunk.ids] = chunk.clean.cpu()
            targets.append(chunk.targets.cpu())
            kind, spent = chunk.rules[0].kind, sum(len(own) for own in chunk.rules)
    loss = setting.loss
    return ExpectedLoss(
        mean=mean,
        sd=sd,
        standard_error=error,
        clean=clean,
        labels=_labels(targets),
        class_names=setting.examples.class_names,
        lower=None,
        upper=None,
        gap=None,
        kind=kind,
        nodes=spent if kind == "randomised qmc" else len(chunk.rules[0]),
        passes=count * (1 + spent),
        policy=setting.policy.name,
        loss=loss if isinstance(loss, str) else getattr(loss, "__name__", "loss"),
        seconds=0.0,
    )


def _labels(targets: list[Tensor]) -> Tensor | None:
    return None if targets[0].is_floating_point() else torch.cat(targets)


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


def _closed(setting: Setting, found: ExpectedLoss) -> ExpectedLoss:
    """Put in the closed form of a linear model, or bounds of its cross-entropy, where the moments are closed."""
    image = setting.examples.batch(torch.tensor([0]))[0]
    linear = affine_map(bare(setting.model), tuple(image.shape[1:]))
    if linear is None:
        return found
    squared, kind = setting.loss == "squared", setting.policy.moments(image).kind
    if kind not in ("exact finite", "exact panels") and (squared or kind != "quadrature"):
        return found
    first, second = torch.empty(2, len(found), dtype=torch.float64)
    for ids, _, targets, moments in moments_in_pieces(setting.policy, setting.examples, device=linear.weight.device):
        if squared and bool(moments.error.any()):  # directions of little variance were left out
            return found
        outputs = linear.moments(moments)
        if squared:
            first[ids] = squared_loss(*outputs, targets).cpu()
        else:
            first[ids], second[ids] = (bound.cpu() for bound in cross_entropy_bounds(*outputs, targets))
    if squared:
        return replace(found, mean=first, standard_error=torch.zeros_like(first), kind=kind)
    return replace(found, lower=first, upper=second)


def _by_taylor(setting: Setting, point: Point) -> ExpectedLoss:
    """Expand for every image, after a probe has shown that the expansion holds."""
    chosen = torch.randperm(len(setting.examples), generator=generator(setting.seed, "probe"))[:_PROBE]
    probe = replace(setting, examples=Examples(setting.examples.batch(chosen)))
    truth = by_nodes(probe, "stratified")
    gap = check_gap(_expand(probe, point)["mean"], truth.mean, policy=setting.policy.name)
    found = _expand(setting, point)
    count = len(setting.examples)
    return replace(
        truth,
        **found,
        standard_error=gap * found["mean"].abs(),
        class_names=setting.examples.class_names,
        gap=gap,
        kind="taylor",
        nodes=0,
        passes=truth.passes + 2 * count,
    )


def _expand(setting: Setting, point: Point) -> dict[str, Any]:
    network = bare(setting.model)
    device, dtype = placement(network)
    mean, sd, clean = torch.empty(3, len(setting.examples), dtype=torch.float64)
    labels: list[Tensor] = []
    with undisturbed(network, seed=setting.seed):
        for ids, images, targets, moments in moments_in_pieces(setting.policy, setting.examples, device=device):
            x = images.to(dtype)
            clean[ids] = measured(setting, x, targets, ids).cpu()
            found = taylor_loss(network, setting.loss, moments, x, targets, point=point)
            mean[ids], sd[ids] = (part.cpu() for part in found)
            labels.append(targets.cpu())
    return {"mean": mean, "sd": sd, "clean": clean, "labels": _labels(labels)}
