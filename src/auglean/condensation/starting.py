"""The images that condensation starts from."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from auglean.condensation.decoding import check_factor, pack
from auglean.data import ImageSet
from auglean.errors import InputError, unknown
from auglean.randomness import derive, generator, normal

Init = Literal["real", "k-means", "noise"]


def starting_images(data: ImageSet, per_class: int, init: Init = "real", *, decode: int = 1, seed: int = 0) -> Tensor:
    """Give the images of each class to start from; also the rows that a condensed set has to beat.

    Args:
        data: The real images.
        per_class: Images of each class.
        init: `"real"`, distinct images drawn at random; `"k-means"`, the centres of that many clusters of the class's
            pixels, which for one image is its mean; `"noise"`, normal in each pixel, with the mean and the standard
            deviation of the data's channels.
        decode: Images on a canvas, down and across: there are decode² as many of them, and they are that much smaller.
        seed: Fixes the draw.

    Returns:
        Pixels, 0 black and 1 white. Shape `(classes, per_class, channels, height, width)`, float32.

    Raises:
        InputError: If a class has fewer images than asked for.

    >>> from auglean.data import load
    >>> starting_images(load("digits"), 2, "k-means").shape
    torch.Size([10, 2, 1, 8, 8])
    """
    if init not in get_args(Init):
        raise unknown("start", init, get_args(Init))
    check_factor(decode, data.size)
    if decode > 1:
        count = per_class * decode**2
        if init != "noise" and int(data.counts.min()) < count:
            raise InputError(
                f"per_class is {per_class} and decode {decode}, which takes {count} images of each class, but one has "
                f"{int(data.counts.min())}; give fewer, or init='noise'."
            )
        parts = starting_images(data, count, init, seed=seed).flatten(0, 1)
        return pack(parts, decode).view(data.classes, per_class, data.channels, *data.size)
    if per_class < 1:
        raise InputError(f"per_class is {per_class}; give 1 image or more for each class.")
    if init != "noise" and int(data.counts.min()) < per_class:
        at = int(data.counts.argmin())
        raise InputError(
            f"per_class is {per_class} but class {data.class_names[at]!r} has {int(data.counts[at])} images; "
            "give fewer, or init='noise'."
        )
    return torch.stack([_start(data, k, per_class, init, seed) for k in range(data.classes)])


def _start(data: ImageSet, label: int, per_class: int, init: Init, seed: int) -> Tensor:
    g = generator(seed, "start", label)
    if init == "noise":
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.mean_std())
        return normal((per_class, data.channels, *data.size), g) * std + mean
    members = (data.labels == label).nonzero().flatten().cpu()
    if init == "real":
        return data.batch(members[torch.randperm(len(members), generator=g)[:per_class]])[0].cpu().float() / 255
    pixels = data.batch(members)[0].cpu().float() / 255
    if per_class == 1:
        return pixels.mean(0, keepdim=True, dtype=torch.float64).float()
    from sklearn.cluster import KMeans

    means = KMeans(per_class, n_init=1, random_state=derive(seed, "k-means", label) % 2**32).fit(
        pixels.flatten(1).numpy()
    )
    return torch.from_numpy(means.cluster_centers_).float().view(per_class, *pixels.shape[1:])
