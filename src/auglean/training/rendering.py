"""From the plan of an epoch to its images: originals as they are, copies through the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from auglean.data import ImageSet, load
from auglean.policies import Identity, Policy, as_given
from auglean.randomness import Keys
from auglean.training.plans import Item, Plan

Timer = Callable[[], AbstractContextManager[None]]


class AugmentSubset(Dataset[tuple[Tensor, int, Tensor]]):
    """Gives originals, and augmented copies of the chosen, as `(image, label, weight)`.

    A view of a data set without state of its own: it is indexed by the `Item`s of an `AugmentSampler`, so
    that any number of loader workers, persistent or not, gives the same images. A plain integer gives the
    original.

    Args:
        data: An `ImageSet`, anything that `auglean.load` takes, or any map-style data set of (image, label).
        policy: The augmentation of the copies: a `Policy` or its name.
        weak: Applied to originals and copies alike, before the policy.
        seed: With the epoch and the example it fixes every image.
        stratified: Spread the draws of each example evenly over its epochs, as `Policy.draw` does.

    >>> data = load("digits")
    >>> train = AugmentSubset(data, "rotate15")
    >>> image, label, weight = train[Item(id=7, copy=1, weight=2.0, epoch=0)]
    >>> image.shape, label, weight
    (torch.Size([1, 8, 8]), 9, tensor(2.))
    """

    def __init__(
        self,
        data: Any,
        policy: Policy | str,
        *,
        weak: Policy | str = "none",
        seed: int = 0,
        stratified: bool = False,
    ) -> None:
        self.data: ImageSet = load(data)
        self.policy, self.weak = as_given(policy), as_given(weak)
        self.seed, self.stratified = seed, stratified

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: Item | int) -> tuple[Tensor, int, Tensor]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[Item | int]) -> list[tuple[Tensor, int, Tensor]]:
        """Make a batch at once; `torch.utils.data.DataLoader` calls this."""
        rows = [item if isinstance(item, tuple) else Item(item, 0, 1.0, 0) for item in items]
        ids, copy, weight, epoch = zip(*rows, strict=True)
        plan = Plan(torch.tensor(ids), torch.tensor(copy), torch.tensor(weight), torch.tensor(epoch))
        x, y = self.render(plan)
        # weights as tensors: a loader would make plain floats float64
        return list(zip(x, y.tolist(), plan.weight, strict=True))

    def render(
        self,
        plan: Plan,
        *,
        device: torch.device | None = None,
        timer: Timer = nullcontext,
    ) -> tuple[Tensor, Tensor]:
        """Make the images of a plan.

        Args:
            plan: m images.
            device: Where to make them; by default where the data are.
            timer: Gives a context in which the policy runs, to charge its seconds.

        Returns:
            Images float32 `(m, C, H, W)` in [0, 1] and labels int64 `(m,)`.
        """
        copies = plan.copy.nonzero().squeeze(1)  # found where the plan is, so that a GPU need not stop for it
        images, labels = self.data.batch(plan.ids)
        device = images.device if device is None else device
        x, labels, plan = images.to(device).float(), labels.to(device), plan.to(device)
        if not images.is_floating_point():
            x.div_(255)
        if not isinstance(self.weak, Identity):
            keys = Keys(plan.ids, seed=self.seed, epoch=plan.epoch, stream=2 * plan.copy)
            x = self._augment(self.weak, x, keys)
        if len(copies):
            with timer():
                part = plan[copies.to(device)]
                keys = Keys(part.ids, seed=self.seed, epoch=part.epoch, stream=2 * part.copy + 1)
                x[copies] = self._augment(self.policy, x[copies], keys)
        return x, labels

    def _augment(self, policy: Policy, x: Tensor, keys: Keys) -> Tensor:
        params = policy.draw(len(x), generator=keys, device=x.device, stratified=self.stratified)
        return policy.apply(x, params)
