"""What a condensed set has to beat: as many real images, at random or herded, and the centres of each class."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from auglean.condensation.decoding import check_factor, pack
from auglean.condensation.starting import starting_images
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet
from auglean.errors import InputError, unknown
from auglean.randomness import derive
from auglean.selection import Herding, select
from auglean.signals import collect
from auglean.training import fit

BASELINES = ("random", "herding", "class-mean", "k-means")
#: Steps that the network is trained for whose features herding follows.
HERDING_STEPS = 300


def baseline(
    name: str,
    data: ImageSet,
    per_class: int,
    *,
    decode: int = 1,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> SyntheticSet:
    """Make the set of images that a baseline offers in place of condensed ones.

    | name | images of a class |
    |---|---|
    | `random` | drawn without replacement |
    | `herding` | those whose mean feature follows the class's, in a small CNN trained on all the data for 300 steps |
    | `class-mean` | their mean: one image, whatever `per_class` |
    | `k-means` | the centres of `per_class` clusters of their pixels; for one image it is the mean |

    Args:
        name: One of these.
        data: Real images.
        per_class: Images of each class.
        decode: Images on each of them, down and across, shrunk to fit: what a set of canvases has to beat.
        seed: Fixes what is drawn, the network and the first centres.
        device: Where the network of herding is trained; by default the CPU.

    Returns:
        The set; `how["seconds"]` is what it cost.

    Raises:
        InputError: If the name is unknown, or a class has fewer images than asked for.

    >>> from auglean import load
    >>> baseline("k-means", load("digits"), 2)
    SyntheticSet digits: 20 images of 1×8×8, 2 per class, 10 classes
    method  k-means
    seed    0
    """
    check_factor(decode, data.size)
    count = decode**2 if name == "class-mean" else per_class * decode**2
    check_baseline(name, data, per_class * decode**2)
    start = time.perf_counter()
    if name == "herding":
        images = _herding(data, count, seed, device)
    else:
        images = starting_images(data, count, "real" if name == "random" else "k-means", seed=seed)
    labels = torch.arange(data.classes).repeat_interleave(count // decode**2)
    how = {"data": data.name, "method": name, "seed": seed, "seconds": time.perf_counter() - start}
    how |= {"decode": decode} if decode > 1 else {}
    return SyntheticSet(pack(images.flatten(0, 1), decode), labels, data.class_names, *data.mean_std(), how=how)


def check_baseline(name: str, data: ImageSet, per_class: int) -> None:
    """Raise what `baseline` would raise."""
    if name not in BASELINES:
        raise unknown("baseline", name, BASELINES)
    least = int(data.counts.min())
    if per_class < 1 or (per_class > least and name != "class-mean"):
        rare = data.class_names[int(data.counts.argmin())]
        raise InputError(
            f"per_class is {per_class} but the baseline {name!r} finds {least} images of class {rare!r}; "
            f"give 1 to {least}, or no other baseline than class-mean."
        )


def _herding(data: ImageSet, per_class: int, seed: int, device: torch.device | str | None) -> Tensor:
    options: dict[str, Any] = {"steps": HERDING_STEPS, "eval_every": HERDING_STEPS, "device": device}
    signals = collect(fit("cnn", data, seed=derive(seed, "herding"), **options).model, data)
    herd = Herding(allocation="equal")
    chosen = select(signals, data.labels, herd, budget=per_class * data.classes, seed=seed).indices
    chosen = chosen[data.labels.cpu()[chosen].argsort(stable=True)]
    return data.batch(chosen)[0].cpu().float().div_(255).view(data.classes, per_class, data.channels, *data.size)
