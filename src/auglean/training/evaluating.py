"""Which images of a set a network gets right, as they are and transformed by a policy."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from auglean.data import ImageSet
from auglean.networks.probing import placement, undisturbed
from auglean.policies import Policy
from auglean.randomness import Keys


def correct(model: nn.Module, data: ImageSet, *, batch_size: int = 256) -> Tensor:
    """Tell for each image whether the network's first choice is its label.

    Args:
        model: Asked in eval mode where it is, and left as it was.
        data: The images.
        batch_size: Images in a forward pass.

    Returns:
        Shape `(n,)`, bool, on the CPU.
    """
    device, dtype = placement(model)
    hits = []
    with undisturbed(model):
        for ids in torch.arange(len(data)).split(batch_size):
            images, labels = data.batch(ids)
            x = images.to(device).to(dtype).div_(255)
            hits.append((model(x).argmax(1) == labels.to(device)).cpu())
    return torch.cat(hits)


def transformed(data: ImageSet, policy: Policy, *, seed: int = 0, batch_size: int = 1000) -> ImageSet:
    """Transform each image by one draw of a policy, fixed by (seed, position), and round to 256 levels.

    Every network that is compared then meets the same transformed images.

    >>> from auglean import load, policies
    >>> transformed(load("digits"), policies.Rotate(15)).images.shape
    torch.Size([1000, 1, 8, 8])
    """
    images = torch.empty_like(data.images)
    for ids in torch.arange(len(data)).split(batch_size):
        x = data.batch(ids)[0].float().div_(255)
        images[ids] = policy(x, generator=Keys(ids, seed=seed)).mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    return replace(data, images=images)
