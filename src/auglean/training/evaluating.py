"""Which images of a set a network gets right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auglean.data import ImageSet
from auglean.networks.probing import placement, undisturbed
from auglean.policies import Policy
from auglean.randomness import Keys


def correct(
    model: nn.Module, data: ImageSet, *, policy: Policy | None = None, seed: int = 0, batch_size: int = 1000
) -> Tensor:
    """Tell for each image whether the network's first choice is its label.

    Args:
        model: Asked in eval mode where it is, and left as it was.
        data: The images.
        policy: Transforms each image by one draw that depends on (seed, position) alone, so that every network
            meets the same transformed set.
        seed: For the draws.
        batch_size: Images in a forward pass.

    Returns:
        Shape `(n,)`, bool, on the CPU.
    """
    device, dtype = placement(model)
    hits = []
    with undisturbed(model):
        for ids in torch.arange(len(data), device=data.images.device).split(batch_size):
            images, labels = data.batch(ids)
            x = images.to(device).to(dtype).div_(255)
            if policy is not None:
                x = policy(x, generator=Keys(ids.to(device), seed=seed))
            hits.append((model(x).argmax(1) == labels.to(device)).cpu())
    return torch.cat(hits)
