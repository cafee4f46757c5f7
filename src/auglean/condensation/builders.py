"""The networks that images are matched in: made from a seed, ready to be asked for gradients or features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from auglean import networks
from auglean.condensation.matching import Network
from auglean.data import ImageSet
from auglean.networks.probing import find_head, undisturbed
from auglean.policies import Policy, Siamese
from auglean.randomness import Randomness, derive, generator, isolated

#: Makes a network from a seed, or the name of one of `auglean.networks`.
Factory = str | Callable[[int], nn.Module]

_STATISTICS_IMAGES = 16  # of each class, from which the statistics of batch norms are taken, as published
_PRETRAIN_BATCH, _PRETRAIN_MOMENTUM = 64, 0.9


class Builder:
    """Makes networks for a data set, each fixed by the seed and a path of names.

    Args:
        factory: What makes one.
        data: The real images, on the device on which networks are wanted.
        policy: Augmentation in training; None for none.
        seed: Of the run.
        lr: Learning rate of training.
    """

    def __init__(self, factory: Factory, data: ImageSet, policy: Policy | None, *, seed: int, lr: float = 0.01) -> None:
        self.factory, self.data, self.policy, self.seed, self.lr = factory, data, policy, seed, lr
        self.device = data.images.device
        self._mean_std = data.mean_std()
        self._head: tuple[str, int] | None = None  # the same in every network that the factory makes

    def build(self, *path: int | str, pretrain: int = 0) -> Network:
        """Make a network in eval mode, trained on real images for a number of steps.

        Raises:
            InputError: If the network does not suit the data.
        """
        module = self._make(derive(self.seed, "network", *path)).to(self.device)
        network = self._with_head(module)
        if pretrain:
            self._pretrain(network, pretrain, path)
        self.hold_statistics(network, *path)
        return network

    def _make(self, seed: int) -> nn.Module:
        if isinstance(self.factory, str):
            mean, std = self._mean_std
            data = self.data
            return networks.create(
                self.factory,
                channels=data.channels,
                classes=data.classes,
                size=data.size,
                mean=mean,
                std=std,
                seed=seed,
            )
        with isolated(seed):
            return self.factory(seed)

    def _with_head(self, module: nn.Module) -> Network:
        data = self.data
        if self._head is None:
            networks.check(module, channels=data.channels, classes=data.classes, size=data.size)
            with undisturbed(module):
                images = torch.rand(2, data.channels, *data.size).to(self.device)
                head = find_head(module, images)
            self._head = head.name, head.call
        name, call = self._head
        layer = module.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        return Network(module.eval(), layer, call)

    def hold_statistics(self, network: Network, *path: int | str) -> None:
        """Set the statistics of batch norms to those of as many real images of each class, and hold them.

        Both sides are matched under them. Where training left a running average, it is replaced, not blended.
        """
        norms = [layer for layer in network.module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        each = max(1, min(_STATISTICS_IMAGES, 256 // self.data.classes))
        chosen = [self.members(k, each, "statistics", *path) for k in range(self.data.classes)]
        images = self.data.batch(torch.cat(chosen))[0].float() / 255
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = 1.0
            norm.train()
        with torch.no_grad():
            network.module(images)
        network.module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def members(self, label: int, count: int, *path: int | str) -> Tensor:
        """Draw the numbers of `count` distinct real images of a class, or all where there are fewer."""
        if not hasattr(self, "_members"):
            self._members = [(self.data.labels == k).nonzero().flatten() for k in range(self.data.classes)]
        mine = self._members[label]
        order = torch.randperm(len(mine), generator=generator(self.seed, *path, label))
        return mine[order[:count].to(mine.device)]

    def train(self, network: Network, images: Tensor, labels: Tensor, epochs: int, *path: int | str) -> None:
        """Train a network on synthetic images, in place, by plain SGD on batches of 256 as published."""
        optimizer = torch.optim.SGD(network.module.parameters(), lr=self.lr)
        g = generator(self.seed, "train", *path)
        with isolated(derive(self.seed, "layers", *path)):
            network.module.train()
            for _ in range(epochs):
                for batch in torch.randperm(len(images), generator=g).split(256):
                    self._descend(network, optimizer, images[batch], labels[batch], g)
        network.module.eval()

    def _pretrain(self, network: Network, steps: int, path: tuple[int | str, ...]) -> None:
        optimizer = torch.optim.SGD(network.module.parameters(), lr=self.lr, momentum=_PRETRAIN_MOMENTUM)
        g = generator(self.seed, "pretrain", *path)
        with isolated(derive(self.seed, "layers", *path)):
            network.module.train()
            for _ in range(steps):
                images, labels = self.data.batch(torch.randint(len(self.data), (_PRETRAIN_BATCH,), generator=g))
                self._descend(network, optimizer, images.float() / 255, labels, g)
        network.module.eval()

    def _descend(
        self, network: Network, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, g: Randomness
    ) -> None:
        if isinstance(self.policy, Siamese):
            images = self.policy.apply(images, self.policy.draw_batch(len(images), generator=g))
        elif self.policy is not None:
            images = self.policy(images, generator=g)
        optimizer.zero_grad()
        functional.cross_entropy(network.module(images), labels).backward()
        optimizer.step()
