"""How a network learns from a few images: the recipe that published figures were got with, last epoch and all."""

from __future__ import annotations

from torch import Generator, Tensor, nn, optim, randperm
from torch.nn import functional

from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet
from auglean.networks.probing import placement
from auglean.policies import Params, Policy, Siamese
from auglean.randomness import derive, generator, isolated
from auglean.training import Recipe

#: SGD of Zhao & Bilen 2021: rate 0.01, momentum 0.9, a tenth of the rate from half of the steps on.
PUBLISHED = Recipe(batch_size=256, lr=0.01, schedule="step", warmup=0.0)

#: Images that go through a network at once on a CPU, where fresh memory for more would cost as much as the arithmetic.
_PIECE = 32


def learn(
    network: nn.Module,
    data: SyntheticSet | ImageSet,
    *,
    steps: int,
    recipe: Recipe = PUBLISHED,
    policy: Policy | None = None,
    seed: int = 0,
) -> nn.Module:
    """Train a network on a small set of images where it is, and give it back in eval mode.

    Batches are cut from one shuffled pass after another; a set smaller than a batch is one batch. A loss that
    becomes infinite is no error here: the network is then as bad as its accuracy says.

    Args:
        network: From images in pixel units to logits.
        data: The images; their pixels are taken as they are.
        steps: Optimiser steps.
        recipe: Options of SGD.
        policy: Augmentation, drawn anew for each image and step; of `Siamese`, one operation for all images of a step.
        seed: Fixes the order and the draws.

    >>> from auglean import load, networks
    >>> network = networks.create("mlp", channels=1, classes=10, size=(8, 8))
    >>> learn(network, load("digits"), steps=3).training
    False
    """
    device, dtype = placement(network)
    piece = recipe.batch_size if device.type != "cpu" or _mixes(network) else _PIECE
    g, order = generator(seed, "learn"), Tensor()
    optimizer = optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    network.train()
    with isolated(derive(seed, "learn")):
        for step in range(steps):
            if not len(order):
                order = randperm(len(data), generator=g)
            batch, order = order[: recipe.batch_size], order[recipe.batch_size :]
            images, labels = data.batch(batch)
            x = pixels(images.to(device)).to(dtype)
            if policy is not None:
                x = policy.apply(x, draw(policy, len(x), generator=g))
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            for part, answers in zip(x.split(piece), labels.to(device).split(piece), strict=True):
                (functional.cross_entropy(network(part), answers) * (len(part) / len(x))).backward()
            optimizer.step()
    return network.eval()


def _mixes(network: nn.Module) -> bool:
    """Tell whether what a network says of an image in training depends on the others of its batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def draw(policy: Policy, n: int, *, generator: Generator) -> Params:
    """Draw parameters for the n images of a batch, as networks are trained by the paper if the policy is its own."""
    made = policy.draw_batch if isinstance(policy, Siamese) else policy.draw
    return made(n, generator=generator)


def pixels(images: Tensor) -> Tensor:
    """Bring 8-bit levels to pixel units, 0 black and 1 white; floats are in them already."""
    return images if images.is_floating_point() else images.float().div_(255)


def epochs_to_steps(epochs: int, images: int, recipe: Recipe = PUBLISHED) -> int:
    """Count the steps of so many passes over so many images.

    >>> epochs_to_steps(300, 10), epochs_to_steps(300, 500)
    (300, 600)
    """
    return epochs * -(-images // recipe.batch_size)
