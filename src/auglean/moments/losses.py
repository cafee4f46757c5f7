"""Losses of a network at the nodes of a policy: what every question about losses is answered from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auglean.errors import InputError, unknown
from auglean.moments.planning import Question, channelwise, rule
from auglean.moments.rules import Rule, values
from auglean.moments.sampling import keyed_rule
from auglean.networks.probing import bare, placement
from auglean.policies import Policy
from auglean.signals.collecting import check_labels, fetch

#: A loss by name, or from outputs `(B, K)` and targets `(B, …)` to one number for each image, `(B,)`.
Loss = Literal["cross-entropy", "squared"] | Callable[[Tensor, Tensor], Tensor]
_LOSSES = ("cross-entropy", "squared")
Method = Literal["auto", "nodes", "stratified", "monte carlo"]
_METHODS = ("auto", "nodes", "stratified", "monte carlo")
#: Independent scrambles among which the nodes of a stratified estimate are shared; their spread is its error.
REPLICATES = 4


class Examples:
    """Images and targets behind one face, fetched in chunks.

    Args:
        data: An `ImageSet` or any map-style data set of (image, label); or a pair of tensors, images `(N, C, H, W)`,
            uint8 or floats in [0, 1], and labels `(N,)` or, for a squared loss, float targets `(N,)` or `(N, K)`.

    Raises:
        InputError: If there is no image, or as many targets as images are not there.
    """

    def __init__(self, data: Any) -> None:
        pair = isinstance(data, tuple | list)
        if pair and not (len(data) == 2 and all(isinstance(p, Tensor) for p in data) and len(data[0]) == len(data[1])):
            found = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in data]
            raise InputError(
                f"Data given as a pair expected images (N, C, H, W) and as many targets but found {found}."
            )
        self._data = data
        if not len(self):
            raise InputError("The data hold no image; give one or more.")

    def __len__(self) -> int:
        return len(self._data[0]) if isinstance(self._data, tuple | list) else len(self._data)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes where the data know them."""
        return tuple(getattr(self._data, "class_names", ()))

    def batch(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Gather float images in [0, 1], `(B, C, H, W)`, and targets `(B, …)`."""
        if isinstance(self._data, tuple | list):
            images, targets = (part[ids.to(part.device)] for part in self._data)
        else:
            images, targets = fetch(self._data, ids)
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise InputError(
                f"Images have shape {tuple(images.shape)} and type {images.dtype}; expected (N, C, H, W) of uint8 or "
                "of float in [0, 1]."
            )
        return (images if images.is_floating_point() else images.float() / 255), targets


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
    if loss not in _LOSSES:
        raise unknown("loss", loss, _LOSSES)
    return _cross_entropy if loss == "cross-entropy" else _squared


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.double(), targets, reduction="none")


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (target_vectors(targets, outputs.shape[1]).to(outputs.device) - outputs.double()).square().sum(1)


def target_vectors(targets: Tensor, outputs: int) -> Tensor:
    """Bring labels to one-hot vectors, and float targets to `(B, outputs)`. float64."""
    if targets.is_floating_point():
        return targets.double().reshape(len(targets), outputs)
    return F.one_hot(targets, outputs).double()


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How the nodes of each image are found.

    Attributes:
        policy: The policy.
        method: As resolved: `"nodes"`, `"stratified"` or `"monte carlo"`.
        nodes: At most, for each image.
        seed: Of what is drawn.
    """

    policy: Policy
    method: Method
    nodes: int
    seed: int

    @classmethod
    def make(cls, policy: Policy, method: Method, nodes: int, seed: int, shape: tuple[int, int, int]) -> Plan:
        """Resolve `"auto"`: all the atoms of a law that has `nodes` of them or fewer, else stratified draws.

        Raises:
            InputError: If the method is unknown, the nodes are too few, or no rule of so many nodes is known.
        """
        if method not in _METHODS:
            raise unknown("method", method, _METHODS)
        if nodes < 2 * REPLICATES:
            raise InputError(f"Expected {2 * REPLICATES} nodes or more for each image but found {nodes}.")
        if method in ("auto", "nodes"):
            found = _ladder(policy, nodes, shape)
            finite = bool(found) and found[0].kind == "exact finite"
            if method == "auto":
                method = "nodes" if finite else "stratified"
            elif not finite and len(found) < 2:
                raise InputError(
                    f"No rule of {nodes} nodes or fewer with one half as fine is known for {policy!r}; give more "
                    "nodes or method='stratified'."
                )
        return cls(policy, method, nodes, seed)

    def rules(self, ids: Tensor, shape: tuple[int, int, int]) -> list[Rule]:
        """Give the rules of some images."""
        if self.method == "nodes":
            return _ladder(self.policy, self.nodes, shape)
        if self.method == "monte carlo":
            return [keyed_rule(self.policy, ids, self.nodes, seed=self.seed)]
        each = self.nodes // REPLICATES
        return [
            keyed_rule(self.policy, ids, each, seed=self.seed, stream=r, stratified=True) for r in range(REPLICATES)
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


def node_losses(
    model: nn.Module,
    loss: Loss,
    policy: Policy,
    examples: Examples,
    *,
    method: Method,
    nodes: int,
    seed: int,
    batch_size: int,
) -> Iterator[Chunk]:
    """Go through the data in chunks, and through the nodes of each; the caller keeps the model undisturbed.

    Raises:
        InputError: If the data, an option or a label does not fit, or a loss is not finite.
    """
    if batch_size < 1:
        raise InputError(f"The batch size was given as {batch_size}; give 1 or more.")
    function, network = loss_function(loss), bare(model)
    device, dtype = placement(network)
    plan: Plan | None = None
    alike = channelwise(policy)
    for ids in torch.arange(len(examples)).split(batch_size):
        images, targets = examples.batch(ids)
        x, y = images.to(device, dtype), targets.to(device)
        shape: tuple[int, int, int] = tuple(x.shape[1:])  # type: ignore[assignment]
        plan = plan or Plan.make(policy, method, nodes, seed, shape)

        def measure(images: Tensor, targets: Tensor, chunk: Tensor = ids) -> Tensor:
            outputs = network(images)
            if loss == "cross-entropy":
                check_labels(targets[: len(chunk)], chunk, outputs.shape[1])
            found = function(outputs, targets).double()
            if found.shape != (len(images),):
                raise InputError(
                    f"The loss gave shape {tuple(found.shape)} for {len(images)} images; give one number for each."
                )
            if not bool(torch.isfinite(found).all()):
                bad = int(chunk[int((~torch.isfinite(found)).nonzero()[0]) % len(chunk)])
                raise InputError(f"The loss of example {bad} is not finite; look at its image and at the weights.")
            return found

        clean = measure(x, y)
        rules, losses = plan.rules(ids.to(device), shape), []
        for own in rules:
            step = max(1, batch_size // len(x))
            parts = []
            for start in range(0, len(own), step):
                stop = min(start + step, len(own))
                made = values(policy, own, x, start, stop, channelwise=alike).flatten(0, 1)
                parts.append(measure(made, y.repeat(stop - start, *[1] * (y.ndim - 1))).view(stop - start, len(x)))
            losses.append(torch.cat(parts))
        yield Chunk(ids, targets, clean, rules, losses)
