"""Points for the benchmark of selection: gradients of a network on CIFAR-10, or numbers that look like them.

A case is n points of d dimensions. `residuals` are p − y of one class; `gradients` are residual ⊗ feature, projected by
random signs to d dimensions, of one class; `block` is the same of all classes, shuffled; `wide` are residuals of a
random head of d classes on the features of one class. More points than images are views of the images under
augmentation. Files are kept, since a network has to be trained for the first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import auglean as al

IMAGES, CLASSES, CLASS = 50_000, 10, 3
NETWORK, POLICY = "cnn", "crop4-flip"

#: Features and residuals of a view of all images: `(N, D)` and `(N, 10)`.
Views = Callable[[int], tuple[Tensor, Tensor]]


def make(folder: Path, kind: str, n: int, d: int, data: str | None, steps: int) -> Path:
    """Give the file of a case, made if it is missing."""
    path = folder / ("cifar10" if data else "imitated") / f"{kind}-{n}x{d}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        views, labels = of_images(path.parent, data, steps) if data else imitated()
        fresh = path.with_suffix(".tmp.npy")
        written = np.lib.format.open_memmap(fresh, mode="w+", dtype=np.float32, shape=(n, d))
        if kind == "block":
            order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
            for view in range(-(-n // IMAGES)):
                rows = slice(view * IMAGES, min(n, (view + 1) * IMAGES))
                feature, residual = views(view)
                chosen = order[: rows.stop - rows.start]
                written[rows] = projected(feature[chosen], residual[chosen], d)
        else:
            feature, residual = (part[labels == CLASS][:n] for part in views(0))
            form = {"residuals": lambda: residual, "gradients": lambda: projected(feature, residual, d)}
            written[:] = form.get(kind, lambda: wide(feature, d))()
        written.flush()
        fresh.rename(path)
    return path


def of_images(folder: Path, data: str, steps: int) -> tuple[Views, Tensor]:
    """Train a network once, and ask it about views of the images: the images as they are, then augmented ones.

    On an accelerator where there is one: the points are what is chosen from, not what is timed.
    """
    images, device = al.load(data), "cuda" if torch.cuda.is_available() else "cpu"
    kept = folder / f"{NETWORK}-{steps}.safetensors"
    if not kept.exists():
        model = al.networks.create(NETWORK, channels=3, classes=CLASSES, size=images.size)
        found = al.fit(model, images, steps=steps, seed=0, device=device)
        about = {"network": NETWORK, "channels": 3, "classes": CLASSES, "size": images.size}
        al.training.save_network(kept, found.model, about)
    model = al.training.load_network(kept)

    def views(view: int) -> tuple[Tensor, Tensor]:
        transform = al.policies.parse(POLICY) if view else None
        signals = al.collect(model, images, transform=transform, seed=view, device=device)
        return signals.feature, signals.residual

    return views, images.labels


def imitated(width: int = 128) -> tuple[Views, Tensor]:
    """Classes that overlap in a space of falling spectrum, and a head that is right about 78 % of them.

    Random picks then have about the L, relative to greedy ones, that they have on gradients of a real network.
    """
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=g)
    centres = 0.3 * torch.randn(CLASSES, width, generator=g)
    spread = torch.randn(width, width, generator=g) * torch.arange(1, width + 1) ** -0.5
    feature = functional.relu(centres[labels] + torch.randn(IMAGES, width, generator=g) @ spread.T * 0.5)

    def views(view: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(feature.shape, generator=torch.Generator().manual_seed(view))
        seen = feature + 0.2 * noise if view else feature
        logits = (seen - feature.mean(0)) @ (centres - centres.mean(0)).T
        return seen, logits.softmax(1) - functional.one_hot(labels, CLASSES)

    return views, labels


def projected(feature: Tensor, residual: Tensor, d: int) -> Tensor:
    """Project `residual ⊗ feature` by random signs, some rows at a time."""
    g = torch.Generator().manual_seed(2)
    signs = torch.randint(0, 2, (residual.shape[1] * feature.shape[1], d), generator=g).float().mul_(2).sub_(1)
    rows = zip(feature.split(2048), residual.split(2048), strict=True)
    return torch.cat([(r[:, :, None] * f[:, None, :]).flatten(1) @ signs for f, r in rows]) / d**0.5


def wide(feature: Tensor, d: int) -> Tensor:
    """Give the residuals of a random head of d classes, the first of which is right."""
    g = torch.Generator().manual_seed(3)
    centred = functional.normalize(feature - feature.mean(0))
    logits = 4 * centred @ torch.randn(feature.shape[1], d, generator=g)
    return logits.softmax(1) - functional.one_hot(torch.zeros(len(feature), dtype=torch.int64), d)
