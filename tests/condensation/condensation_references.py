"""The network, the images and the weights with which the published code was run in float64, and plain formulas."""

from __future__ import annotations

import math

import torch
from torch import nn

from auglean.condensation.matching import Network


def waves(count, phase=0.0):
    """Images `(count, 3, 8, 8)` of a formula."""
    n, c, i, j = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (count, 3, 8, 8)), indexing="ij")
    return torch.sin(0.37 * n + 1.3 * c + 0.11 * i**2 + 0.23 * j + phase)


def small_network(activation=nn.ReLU):
    """Two blocks of width 4 on 8×8 images, then a linear layer, with weights of a formula."""
    layers = []
    for channels in (3, 4):
        layers += [nn.Conv2d(channels, 4, 3, padding=1), nn.GroupNorm(4, 4), activation(), nn.AvgPool2d(2)]
    head = nn.Linear(16, 3)
    module = nn.Sequential(*layers, nn.Flatten(), head).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(module.named_parameters()):
            v = torch.cos(0.7 * torch.arange(parameter.numel(), dtype=torch.float64) + k).view(parameter.shape)
            if parameter.ndim > 1:
                parameter.copy_(v / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * v + (1.0 if name in ("1.weight", "5.weight") else 0.0))
    return Network(module, head, 0)


def plain_distance(real, synthetic, metric, epsilon=1e-6):
    """The distances written once more, number by number."""
    if metric == "layerwise-cosine":
        total = 0.0
        for a, b in zip(real, synthetic, strict=True):
            if a.ndim < 2:
                continue
            for row, other in zip(a, b, strict=True):
                x, y = row.flatten().tolist(), other.flatten().tolist()
                inner = sum(p * q for p, q in zip(x, y, strict=True))
                total += 1 - inner / (math.hypot(*x) * math.hypot(*y) + epsilon)
        return total
    x, y = ([number for part in side for number in part.flatten().tolist()] for side in (real, synthetic))
    if metric == "mse":
        return sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
    return 1 - sum(p * q for p, q in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y) + epsilon)
