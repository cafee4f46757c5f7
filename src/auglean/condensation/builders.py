"""The networks that images are matched in: made from a seed, ready to be asked for gradients or features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from auglean import networks
from auglean.condensation.learning import epochs_to_steps, learn
from auglean.condensation.matching import Network
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet
from auglean.networks.probing import find_head, undisturbed
from auglean.policies import Policy
from auglean.randomness import derive, generator, isolated
from auglean.training import Recipe

#: Makes a network from a seed, or the name of one of `auglean.networks`.
Factory = str | Callable[[int], nn.Module]

_STATISTICS_IMAGES = 16  # of each class, from which the statistics of batch norms are taken, as published


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
        self.mean_std = data.mean_std()
        self._members: tuple[Tensor, ...] = data.labels.argsort(stable=True).split(data.counts.tolist())
        self._head: tuple[str, int] | None = None  # the same in every network that the factory makes

    def build(self, *path: int | str, pretrain: int = 0) -> Network:
        """Make a network in eval mode, trained on real images for a number of steps.

        Raises:
            InputError: If the network does not suit the data.
        """
        module = self._make(derive(self.seed, "network", *path)).to(self.device)
        network = self._with_head(module)
        if pretrain:
            self._pretrain(network, pretrain, *path)
        self.hold_statistics(network, *path)
        return network

    def _make(self, seed: int) -> nn.Module:
        if isinstance(self.factory, str):
            mean, std = self.mean_std
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

        A class with fewer images has them repeated, so that each class weighs the same. Both sides are matched under
        them. Where training left a running average, it is replaced, not blended.
        """
        norms = [layer for layer in network.module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        each = max(1, min(_STATISTICS_IMAGES, 256 // self.data.classes))
        chosen = [self.members(k, each, "statistics", *path) for k in range(self.data.classes)]
        whole = [mine.repeat(-(-each // len(mine)))[:each] for mine in chosen]
        images = self.data.batch(torch.cat(whole))[0].float() / 255
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

    def count(self, label: int) -> int:
        """Count the real images of a class."""
        return len(self._members[label])

    def members(self, label: int, count: int, *path: int | str) -> Tensor:
        """Draw the numbers of `count` distinct real images of a class, or all where there are fewer."""
        mine = self._members[label]
        order = torch.randperm(len(mine), generator=generator(self.seed, *path, label))
        return mine[order[:count].to(mine.device)]

    def train(self, network: Network, images: Tensor, labels: Tensor, epochs: int, *path: int | str) -> None:
        """Train a network on synthetic pixels, in place, by plain SGD as published."""
        recipe = Recipe(batch_size=256, lr=self.lr, momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0)
        few = SyntheticSet(images, labels, self.data.class_names, *self.mean_std)
        self._learn(network, few, epochs_to_steps(epochs, len(few), recipe), recipe, "train", *path)

    def _pretrain(self, network: Network, steps: int, *path: int | str) -> None:
        recipe = Recipe(batch_size=64, lr=self.lr, momentum=0.9, weight_decay=0.0, schedule="constant", warmup=0.0)
        self._learn(network, self.data, steps, recipe, "pretrain", *path)

    def _learn(
        self, network: Network, data: SyntheticSet | ImageSet, steps: int, recipe: Recipe, *path: int | str
    ) -> None:
        learn(network.module, data, steps=steps, recipe=recipe, policy=self.policy, seed=derive(self.seed, *path))
        network.module.zero_grad(set_to_none=True)
