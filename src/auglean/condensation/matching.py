"""What is matched: a target computed once from real images, and how far synthetic images are from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from auglean.condensation.distances import Metric, gradient_distance, rows

#: Size of a target of the network that the published learning rates were found with, ConvNet-3/128 and 10 classes.
REFERENCE_ROWS, REFERENCE_FEATURES = 394, 2048


class Network(NamedTuple):
    """A network and its last linear layer."""

    module: nn.Module
    head: nn.Linear
    call: int  # which of the layer's calls in one forward pass is the last layer of the network

    def embed(self, images: Tensor) -> Tensor:
        """Give the features, which are the input of the last linear layer. Shape `(n, d)`."""
        inputs: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        try:
            self.module(images)
        finally:
            handle.remove()
        return inputs[self.call].flatten(1)


class Matching(Protocol):
    """A quantity that real and synthetic images are to agree in: a list of tensors, each a mean over images."""

    def prepare(self, network: Network) -> None:
        """Freeze what needs no gradient."""

    def target(self, network: Network, pieces: Iterable[Tensor], label: int, count: int) -> list[Tensor]:
        """Compute the quantity of `count` real images of a class, given in pieces so that none is large."""

    def distance(self, network: Network, images: Tensor, label: int, target: list[Tensor]) -> Tensor:
        """Give the published distance of synthetic images, differentiable in them."""

    def unit(self, target: list[Tensor]) -> float:
        """Give what the distance grows with: divided by it, it is a mean that no longer depends on the width."""

    @property
    def reference(self) -> float:
        """The unit of the network for which the published learning rates were found."""


@dataclass(frozen=True, slots=True)
class GradientMatching:
    """Gradients of the cross-entropy, layer by layer."""

    metric: Metric
    epsilon: float

    @property
    def reference(self) -> float:
        """The rows of ConvNet-3/128."""
        return REFERENCE_ROWS

    def prepare(self, network: Network) -> None:
        """Leave everything to be differentiated."""

    def _parameters(self, network: Network) -> list[nn.Parameter]:
        # vectors add nothing to the layer-wise distance, so their gradients are not even computed
        return [p for p in network.module.parameters() if p.ndim > 1 or self.metric != "layerwise-cosine"]

    def target(self, network: Network, pieces: Iterable[Tensor], label: int, count: int) -> list[Tensor]:
        """Compute the gradient of the mean loss."""
        parameters = self._parameters(network)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for images in pieces:
            loss = _cross_entropy(network, images, label, "sum") / count
            torch._foreach_add_(total, torch.autograd.grad(loss, parameters))
        return total

    def distance(self, network: Network, images: Tensor, label: int, target: list[Tensor]) -> Tensor:
        """Give `gradient_distance`."""
        loss = _cross_entropy(network, images, label, "mean")
        gradients = torch.autograd.grad(loss, self._parameters(network), create_graph=True)
        return gradient_distance(target, gradients, self.metric, epsilon=self.epsilon)

    def unit(self, target: list[Tensor]) -> float:
        """Give the rows, 1 for `cosine`, and for `mse` the squared norm of the target."""
        if self.metric == "layerwise-cosine":
            return rows(target)
        if self.metric == "cosine":
            return 1.0
        return sum(float(gradient.double().square().sum()) for gradient in target)


@dataclass(frozen=True, slots=True)
class DistributionMatching:
    """The mean feature vector."""

    @property
    def reference(self) -> float:
        """The features of ConvNet-3/128 on images of 32×32."""
        return REFERENCE_FEATURES

    def prepare(self, network: Network) -> None:
        """Freeze all parameters: only the images are differentiated."""
        network.module.requires_grad_(False)

    def target(self, network: Network, pieces: Iterable[Tensor], label: int, count: int) -> list[Tensor]:
        """Compute the mean feature."""
        with torch.no_grad():
            sums = [network.embed(images).sum(0, dtype=torch.float64) for images in pieces]
            mean = torch.stack(sums).sum(0) / count
        return [mean.to(next(network.module.parameters()).dtype)]

    def distance(self, network: Network, images: Tensor, label: int, target: list[Tensor]) -> Tensor:
        """Give the squared distance of the mean features (equation 5 of the paper), summed over features."""
        return ((network.embed(images).mean(0) - target[0]) ** 2).sum()

    def unit(self, target: list[Tensor]) -> float:
        """Give the number of features."""
        return target[0].numel()


def _cross_entropy(network: Network, images: Tensor, label: int, reduction: str) -> Tensor:
    logits = network.module(images)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    labels = torch.full((len(images),), label, device=images.device)
    return functional.cross_entropy(logits, labels, reduction=reduction)
