"""Which quantity of real and synthetic images is matched: `DC`, `DSA` and `DM`, with their options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from auglean.condensation.distances import Metric
from auglean.condensation.matching import DistributionMatching, GradientMatching, Matching
from auglean.data import ImageSet
from auglean.errors import InputError, unknown
from auglean.policies import Policy, Siamese, as_given
from auglean.policies.siamese import DIGITS, PHOTOGRAPHS

#: Matching steps for each network, and epochs of training on the synthetic images between them, by images per class.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


@dataclass(frozen=True, slots=True)
class Method:
    """What the methods have in common.

    Args:
        lr: Learning rate of the images, which are standardised. With the pooled schedule it means the same at every
            width, depth, number of images per class and size of images, see `auglean.condense`.
        momentum: Momentum of SGD on the images.
        real_batch: Real images of a class that a target is computed from; by default 64, and 256 by the published
            schedule.
        pool: Networks in the pool, each with one augmentation and one real batch for each class.
        pretrain: The networks of the pool are trained on real images first, for a number of steps spread evenly over
            0 … pretrain.
        augment: Augmentation shared by real and synthetic images: `"siamese"`, which is `auglean.policies.Siamese`
            without a flip for grey images, which are mostly digits; its strategy, such as `"crop_flip"`; any policy; or
            None.

    Raises:
        InputError: If an option is out of range.
    """

    lr: float
    momentum: float = 0.5
    real_batch: int | None = None
    pool: int = 50
    pretrain: int = 0
    augment: Policy | str | None = "siamese"

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("lr", 0 < self.lr < math.inf, "a number above 0"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("real_batch", self.real_batch is None or self.real_batch >= 1, "at least 1"),
            ("pool", self.pool >= 1, "at least 1"),
            ("pretrain", self.pretrain >= 0, "0 or more"),
        ):
            if not good:
                raise InputError(f"{name} of {self.name} is {getattr(self, name)}; give {expected}.")

    def matching(self) -> Matching:
        """Give the quantity that is matched."""
        raise NotImplementedError

    def loops(self, per_class: int) -> tuple[int, int]:
        """Give matching steps for each network, and epochs of training it between them, of the published schedule."""
        raise NotImplementedError

    def policy(self, data: ImageSet) -> Policy | None:
        """Give the augmentation for a data set."""
        if not isinstance(self.augment, str):
            return self.augment
        words = self.augment
        if words == "siamese":
            words = DIGITS if data.channels == 1 else PHOTOGRAPHS
        if words.split("_")[0] in PHOTOGRAPHS.split("_"):
            mean, std = data.mean_std()
            return Siamese(words, height=data.size[0], mean=mean, std=std)
        return as_given(words)

    def options(self) -> dict[str, Any]:
        """Give the options as plain values."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value.name if isinstance(value, Policy) else value for name, value in plain.items()}


@dataclass(frozen=True, slots=True)
class DC(Method):
    """Match gradients of the loss (Zhao, Mopuri & Bilen 2021, "Dataset Condensation with Gradient Matching").

    Args:
        lr: As of every method; 0.1 is the published value.
        pool: As of every method; a target is as large as the network, for each class.
        augment: As of every method; this one has none.
        metric: See `auglean.condensation.gradient_distance`.
        epsilon: Likewise.
        outer: Matching steps for each network of the published schedule; by default by images per class.
        inner: Epochs for which the network is trained on the synthetic images between them, likewise.
        net_lr: Learning rate of that training.

    >>> DC(metric="mse").options()["metric"]
    'mse'
    """

    lr: float = 0.1
    pool: int = 32
    augment: Policy | str | None = None
    metric: Metric = "layerwise-cosine"
    epsilon: float = 1e-6
    outer: int | None = None
    inner: int | None = None
    net_lr: float = 0.01

    name: ClassVar[str] = "DC"

    def matching(self) -> Matching:
        """Give the quantity that is matched."""
        return GradientMatching(self.metric, self.epsilon)

    def loops(self, per_class: int) -> tuple[int, int]:
        """Give the published numbers of loops, those of the next number of images per class where there are none."""
        outer, inner = _LOOPS[min((n for n in _LOOPS if n >= per_class), default=50)]
        return self.outer or outer, self.inner or inner


@dataclass(frozen=True, slots=True)
class DSA(DC):
    """Match gradients under augmentation that both sides share (Zhao & Bilen 2021). Options of `DC`.

    >>> DSA().augment
    'siamese'
    """

    augment: Policy | str | None = "siamese"

    name: ClassVar[str] = "DSA"


@dataclass(frozen=True, slots=True)
class DM(Method):
    """Match the mean feature under shared augmentation.

    Zhao & Bilen, "Dataset Condensation with Distribution Matching" (WACV 2023). No second derivative and no training of
    networks; features are the input of the last linear layer.

    Args:
        lr: As of every method; 1 is the published value.
        pool: As of every method; a target is one feature vector for each class.

    >>> DM().options()["lr"]
    1.0
    """

    lr: float = 1.0
    pool: int = 100

    name: ClassVar[str] = "DM"

    def matching(self) -> Matching:
        """Give the quantity that is matched."""
        return DistributionMatching()

    def loops(self, per_class: int) -> tuple[int, int]:
        """One matching step for each network."""
        return 1, 0


METHODS: Mapping[str, type[Method]] = {"dc": DC, "dsa": DSA, "dm": DM}


def as_method(method: Method | str | None) -> Method:
    """Take a method, its name, or None for `DM`.

    Raises:
        InputError: If the name is not known.

    >>> as_method("dsa").name
    'DSA'
    """
    if isinstance(method, Method):
        return method
    if method is None:
        return DM()
    if str(method).lower() not in METHODS:
        raise unknown("method of condensation", method, METHODS)
    return METHODS[str(method).lower()]()  # type: ignore[call-arg]  # each has defaults for all
