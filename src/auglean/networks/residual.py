"""Bodies of the residual networks for small images: CIFAR ResNets and wide ResNets.

Convolutions start from the normal law of He et al. 2015 (equation 10: variance 2 / fan-in), BatchNorm from
scale 1 and shift 0, as both papers have it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    return conv


class _Basic(nn.Module):
    """Two 3×3 convolutions beside an identity, subsampled and padded with zeros where it must change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.missing:
            before = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))
        return F.relu(x + y)


class _Projected(nn.Module):
    """Two 3×3 convolutions beside an identity, or beside a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        changes = inputs != outputs or stride != 1
        beside = [_conv(inputs, outputs, kernel=1, stride=stride), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*beside) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class _Wide(nn.Module):
    """BatchNorm and ReLU before each convolution; a 1×1 convolution beside them where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, stride=stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs)
        changes = inputs != outputs or stride != 1
        self.shortcut = _conv(inputs, outputs, kernel=1, stride=stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        y: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        beside: Tensor = x if self.shortcut is None else self.shortcut(active)
        return y + beside


def _stages(
    block: type[_Basic | _Projected | _Wide], inputs: int, widths: tuple[int, ...], blocks: int
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for stage, width in enumerate(widths):
        for index in range(blocks):
            layers.append(block(inputs, width, 2 if stage and not index else 1))
            inputs = width
    return layers


def resnet(channels: int, *, depth: int) -> tuple[nn.Module, int]:
    """Build a CIFAR ResNet of depth 6n + 2 (He et al. 2016, section 4.2), with shortcut option A."""
    stem = [_conv(channels, 16), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = _stages(_Basic, 16, (16, 32, 64), (depth - 2) // 6)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 64


def resnet18(channels: int) -> tuple[nn.Module, int]:
    """Build ResNet-18 (He et al. 2016, table 1, shortcuts B), with a 3×3 stem for small images and no max-pool."""
    stem = [_conv(channels, 64), nn.BatchNorm2d(64), nn.ReLU()]
    blocks = _stages(_Projected, 64, (64, 128, 256, 512), 2)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512


def wide_resnet(channels: int, *, depth: int, width: int) -> tuple[nn.Module, int]:
    """Build WRN-depth-width, depth 6n + 4, without dropout (Zagoruyko & Komodakis 2016).

    BatchNorm keeps PyTorch's momentum of 0.1: a momentum of 0.9 in PyTorch's convention would make the
    running statistics those of the last batch.
    """
    outputs = 64 * width
    blocks = _stages(_Wide, 16, (16 * width, 32 * width, outputs), (depth - 4) // 6)
    tail = [nn.BatchNorm2d(outputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(_conv(channels, 16), *blocks, *tail), outputs
