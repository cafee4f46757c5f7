"""The published way to judge a few images, written out in torch alone, beside `learn`.

Both train ConvNet-3/128 on the mean image of each class, without augmentation, from the same first weights. Written out
are the normalisation, the network with torch's own layers, and the loop with its one epoch too many and its new
optimiser at the drop of the rate, neither of which `learn` takes over.

python benchmarks/condensation_protocol.py --data FOLDER [--networks 2] [--test 5000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import RESULTS, write
from torch import Tensor, nn, optim
from torch.nn import functional

import auglean as al
from auglean.condensation import baseline, learn
from auglean.training import new_network

EPOCHS = 300


def written_out(channels: int, classes: int) -> nn.Sequential:
    """Make ConvNet-3/128 for images of 28×28, which its first convolution pads to 32×32."""
    layers: list[nn.Module] = []
    for block in range(3):
        conv = nn.Conv2d(128 if block else channels, 128, 3, padding=1 if block else 3)
        layers += [conv, nn.GroupNorm(128, 128), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, classes))


def train(network: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    """Train on all images at once."""

    def sgd(rate: float) -> optim.Optimizer:
        return optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)

    optimizer = sgd(0.01)
    for epoch in range(EPOCHS + 1):
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if epoch == EPOCHS // 2 + 1:
            optimizer = sgd(0.001)
    return network


def share(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Give the accuracy and the answers."""
    with torch.no_grad():
        answers = torch.cat([network(piece).argmax(1) for piece in images.split(16)])
    return float((answers == labels).float().mean()), answers


def main() -> None:
    """Write results/condensation-protocol.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--test", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, test = (al.load(options.data, split=split) for split in ("train", "test"))
    test = test.subset(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: options.test])
    means = baseline("class-mean", data, 1)
    pixels = test.images.float() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.mean_std())
    rows = []
    for seed in range(options.networks):
        ours = new_network("convnet", data, 1000 + seed)
        other = written_out(data.channels, data.classes)
        with torch.no_grad():
            for to, value in zip(other.parameters(), ours.parameters(), strict=True):
                to.copy_(value)
        learn(ours, means, steps=EPOCHS)
        train(other, (means.images - mean) / std, means.labels)
        one, answers = share(ours, pixels, test.labels)
        two, others = share(other, (pixels - mean) / std, test.labels)
        agree = float((answers == others).float().mean())
        rows.append({"learn": one, "written_out": two, "same_answers": agree})
        print(rows[-1], flush=True)
    write(RESULTS / "condensation-protocol.json", "cpu", test=len(test), epochs=EPOCHS, rows=rows)


if __name__ == "__main__":
    main()
