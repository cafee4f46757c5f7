"""Anybody's transform as a policy: one seed is drawn for each image, and the transform replays it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy
from auglean.randomness import Randomness, integers


class Adapted(Policy):
    """A callable made a policy by `as_policy`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function  # a Module is registered, so that `to(device)` reaches it

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        high, low = integers((n, 2), 2**24, generator, device=device).unbind(1)
        return {"seed": high << 24 | low}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        call = _through_numpy if type(self.function).__module__.startswith("albumentations") else _through_tensor
        with _borrowed_randomness(x.device) as reseed:
            images = []
            for image, seed in zip(x, params["seed"].tolist(), strict=True):
                reseed(seed)
                images.append(call(self.function, image.clone(), seed))
        return torch.stack(images) if images else x

    def extra_repr(self) -> str:
        """The callable."""
        return getattr(self.function, "__name__", None) or repr(self.function)

    def __repr__(self) -> str:
        return f"as_policy({self.extra_repr()})"


def _through_tensor(function: Callable[..., Any], image: Tensor, seed: int) -> Tensor:
    y = function(image)
    if isinstance(y, Tensor) and y.shape == (
        1,
        *image.shape,
    ):  # kornia answers a single image by a batch of one
        y = y[0]
    if not isinstance(y, Tensor) or y.shape != image.shape or not y.is_floating_point():
        found = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(
            f"A callable given to as_policy must keep the shape of the image: expected a floating tensor "
            f"{tuple(image.shape)} but found {found}."
        )
    return y.to(image)


def _through_numpy(function: Callable[..., Any], image: Tensor, seed: int) -> Tensor:
    """Call an albumentations transform: float32 (H, W, C) in and out, by the keyword `image`."""
    if hasattr(function, "set_random_seed"):  # from 2.0 on it owns its generators
        function.set_random_seed(seed % 2**32)
    y = function(image=image.detach().permute(1, 2, 0).contiguous().float().cpu().numpy())["image"]
    result = torch.from_numpy(np.ascontiguousarray(y))
    result = result[..., None] if result.ndim == 2 else result
    return _through_tensor(lambda _: result.permute(2, 0, 1), image, seed)


@contextmanager
def _borrowed_randomness(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Lend out the generators of torch, numpy and `random`, to be seeded at will, and put them back."""
    devices = [device] if device.type == "cuda" else []
    python, legacy = random.getstate(), np.random.get_state()

    def reseed(seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    try:
        with torch.random.fork_rng(devices=devices):
            yield reseed
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def as_policy(function: Callable[..., Any]) -> Policy:
    """Make a policy of any callable on a float image `(C, H, W)`: of torchvision v2, kornia, or your own.

    One seed is drawn for each image, and the callable is called on that image while torch's, numpy's and
    Python's default generators are seeded by it; afterwards they are put back. So it replays, follows `Keys`,
    and leaves the process as it was, at the price of one call per image. Randomness from elsewhere (a fresh
    `numpy.random.default_rng()`) cannot be replayed. Albumentations transforms are recognised and get a
    float32 array `(H, W, C)`; they are not differentiable.

    Args:
        function: Takes `(C, H, W)`, gives the same shape. A policy is given back as it is.

    Raises:
        InputError: If `function` cannot be called; on use, if it changes the shape.

    >>> import torch
    >>> noise = as_policy(lambda image: (image + 0.1 * torch.randn(image.shape)).clamp(0, 1))
    >>> x, params = torch.rand(4, 3, 8, 8), noise.draw(4)
    >>> torch.equal(noise.apply(x, params), noise.apply(x, params))
    True
    """
    if isinstance(function, Policy):
        return function
    if not callable(function):
        raise InputError(f"as_policy expected a callable but found {type(function).__name__}.")
    return Adapted(function)
