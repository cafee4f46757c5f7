"""Losses of a network at the nodes of a policy: what every question about losses is answered from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.moments.examples import Examples
from auglean.moments.planning import Question, channelwise, rule
from auglean.moments.rules import Rule, values
from auglean.moments.sampling import keyed_rule
from auglean.networks.probing import bare, placement
from auglean.policies import Policy
from auglean.progress import track
from auglean.signals.collecting import check_labels

#: A loss by name, or from outputs `(B, K)` and targets `(B, …)` to one number for each image, `(B,)`.
Named = Literal["cross-entropy", "squared"]
Loss = Named | Callable[[Tensor, Tensor], Tensor]
LOSSES = ("cross-entropy", "squared")
Method = Literal["auto", "nodes", "stratified", "monte carlo"]
METHODS = ("auto", "nodes", "stratified", "monte carlo")
#: Independent scrambles among which the nodes of a stratified estimate are shared; their spread is its error.
REPLICATES = 4


def loss_function(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Give the function of a loss by name: from outputs and targets to one float64 number for each image.

    `"squared"` is `‖y − f(x)‖²`, summed over the outputs, with y the label's one-hot vector or float targets.

    Raises:
        InputError: If the name is unknown.

    >>> loss_function("squared")(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).item()
    2.0
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return _cross_entropy if loss == "cross-entropy" else _squared


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.double(), targets, reduction="none")


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (target_vectors(targets, outputs.shape[1]).to(outputs.device) - outputs.double()).square().sum(1)


def target_vectors(targets: Tensor, outputs: int) -> Tensor:
    """Bring labels to one-hot vectors, and float targets to `(B, outputs)`. float64.

    Raises:
        InputError: If labels are outside `0 … outputs − 1`, or targets are of another length.
    """
    if targets.is_floating_point():
        if targets.numel() != len(targets) * outputs:
            raise InputError(
                f"Targets of shape {tuple(targets.shape)} do not fit {outputs} outputs; give one for each."
            )
        return targets.double().reshape(len(targets), outputs)
    if targets.ndim != 1 or bool(((targets < 0) | (targets >= outputs)).any()):
        raise InputError(
            f"Labels of shape {tuple(targets.shape)} from {int(targets.min())} to {int(targets.max())} do not fit "
            f"{outputs} outputs; give one for each image, from 0 to {outputs - 1}."
        )
    return F.one_hot(targets, outputs).double()


@dataclass(frozen=True, slots=True)
class Setting:
    """Whose losses are asked for, and how much may be spent.

    Attributes:
        model: From images `(B, C, H, W)` to outputs `(B, K)`.
        loss: The loss.
        policy: The policy.
        examples: The data.
        nodes: Forward passes for each image, at most.
        seed: Of what is drawn.
        batch_size: Images in a forward pass.
    """

    model: nn.Module
    loss: Loss
    policy: Policy
    examples: Examples
    nodes: int
    seed: int
    batch_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Losses of some images.

    Attributes:
        ids: Positions in the data. Shape `(B,)`.
        targets: Shape `(B, …)`.
        clean: Losses of the images themselves. Shape `(B,)`, float64.
        rules: Rules whose `losses` there are: the finer before the coarser, or independent replicates of one.
        losses: For each rule, shape `(K, B)`, float64.
    """

    ids: Tensor
    targets: Tensor
    clean: Tensor
    rules: list[Rule]
    losses: list[Tensor]


def resolve(setting: Setting, method: Method, shape: tuple[int, int, int]) -> Method:
    """Resolve `"auto"`: all the atoms of a law that has `nodes` of them or fewer, else stratified draws.

    Raises:
        InputError: If the method is unknown, the nodes are too few, or no rule of so many nodes is known.
    """
    policy, nodes = setting.policy, setting.nodes
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if nodes < 2 * REPLICATES:
        raise InputError(f"Expected {2 * REPLICATES} nodes or more for each image but found {nodes}.")
    if method in ("stratified", "monte carlo"):
        return method
    found = _ladder(policy, nodes, shape)
    finite = bool(found) and found[0].kind == "exact finite"
    if method == "nodes" and not finite and len(found) < 2:
        raise InputError(
            f"No rule of {nodes} nodes or fewer with one half as fine is known for {policy!r}; give more nodes or "
            "method='stratified'."
        )
    return "nodes" if finite or method == "nodes" else "stratified"


def rules_of(setting: Setting, method: Method, ids: Tensor, shape: tuple[int, int, int]) -> list[Rule]:
    """Give the rules of some images by a method that is resolved: one with a coarser one, or replicates."""
    if method == "nodes":
        return _ladder(setting.policy, setting.nodes, shape)
    if method == "monte carlo":
        return [keyed_rule(setting.policy, ids, setting.nodes, seed=setting.seed)]
    each = setting.nodes // REPLICATES
    return [
        keyed_rule(setting.policy, ids, each, seed=setting.seed, stream=r, stratified=True) for r in range(REPLICATES)
    ]


def _ladder(policy: Policy, most: int, shape: tuple[int, int, int]) -> list[Rule]:
    """Give the finest rule of at most so many nodes and, where it is not exact, the next coarser one.

    What follows the policy is a network, so that only finite laws are exact.
    """
    question = Question(shape, None, linear=False, most=most)
    found: list[Rule] = []
    for level in range(16):
        own = rule(policy, replace(question, level=level))
        if own is None or len(own) > most:
            break
        found.insert(0, own)
        if own.kind == "exact finite":
            break
    return found[:2]


def node_losses(setting: Setting, method: Method) -> Iterator[Chunk]:
    """Go through the data in chunks, and through the nodes of each; the caller keeps the model undisturbed.

    Raises:
        InputError: If the data, an option or a label does not fit, or a loss is not finite.
    """
    size = setting.batch_size
    if size < 1:
        raise InputError(f"The batch size was given as {size}; give 1 or more.")
    device, dtype = placement(bare(setting.model))
    alike = channelwise(setting.policy)
    resolved: Method | None = None
    for ids in track(torch.arange(len(setting.examples)).split(size), "losses"):
        images, targets = setting.examples.batch(ids)
        x, y = images.to(device, dtype), targets.to(device)
        shape: tuple[int, int, int] = tuple(x.shape[1:])  # type: ignore[assignment]
        resolved = resolved or resolve(setting, method, shape)
        clean = measured(setting, x, y, ids)
        rules, losses = rules_of(setting, resolved, ids.to(device), shape), []
        for own in rules:
            step = max(1, size // len(x))
            parts = []
            for start in range(0, len(own), step):
                stop = min(start + step, len(own))
                made = values(setting.policy, own, x, start, stop, channelwise=alike).flatten(0, 1)
                repeated = y.repeat(stop - start, *[1] * (y.ndim - 1))
                parts.append(measured(setting, made, repeated, ids).view(stop - start, len(x)))
            losses.append(torch.cat(parts))
        yield Chunk(ids, targets, clean, rules, losses)


def measured(setting: Setting, images: Tensor, targets: Tensor, ids: Tensor) -> Tensor:
    """Give the losses of copies of some examples, all of the first copy first. float64, one for each image.

    Raises:
        InputError: If a label does not fit, or a loss is not finite.
    """
    outputs = bare(setting.model)(images)
    if setting.loss == "cross-entropy":
        check_labels(targets[: len(ids)], ids, outputs.shape[1])
    found = loss_function(setting.loss)(outputs, targets).double()
    if found.shape != (len(images),):
        raise InputError(
            f"The loss gave shape {tuple(found.shape)} for {len(images)} images; give one number for each."
        )
    wrong = (~torch.isfinite(found)).nonzero()
    if len(wrong):
        bad = int(ids[int(wrong[0]) % len(ids)])
        raise InputError(f"The loss of example {bad} is not finite; look at its image and at the weights.")
    return found


def saliency(setting: Setting, images: Tensor, targets: Tensor, ids: Tensor) -> Tensor:
    """Give the gradient of each image's loss in its pixels. Shape `(B, D)`, float64; the caller keeps the model so.

    Raises:
        InputError: If a label does not fit, or a loss is not finite.
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        found: Tensor = torch.autograd.grad(measured(setting, x, targets, ids).sum(), x)[0]
    return found.flatten(1).double()
