"""What can be learnt of any network by sending two images through it, and leaving it as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.randomness import isolated


class Head(NamedTuple):
    """The last linear layer of a network."""

    layer: nn.Linear
    name: str
    call: int  # which of the layer's calls in one forward pass gives the output: a layer may be used twice


@contextmanager
def undisturbed(model: nn.Module, *, seed: int = 0) -> Iterator[None]:
    """Run a block in eval mode and without gradients, and put everything back, also after an exception.

    Put back are the mode of every submodule and the states of the default generators of torch, numpy and
    Python. Torch's are seeded inside, so that a network that draws even in eval mode repeats itself.

    >>> model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2).eval())
    >>> with undisturbed(model):
    ...     [part.training for part in model.modules()]
    [False, False, False]
    >>> [part.training for part in model.modules()]
    [True, True, False]
    """
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()
    try:
        # no_grad, not inference_mode: what a network caches in its forward pass must stay fit for training
        with isolated(seed), torch.no_grad():
            # the flags themselves, since train() may be overridden and do more than set them
            for module, _ in modes:
                module.training = False
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])


def bare(model: nn.Module) -> nn.Module:
    """Take off the wrappers under which hooks do not see every example: compiled and parallel ones."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where the first weight or buffer of a network lies, and its floating type; else CPU and float32."""
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def find_head(model: nn.Module, images: Tensor) -> Head:
    """Find the linear layer whose output is the network's output. See `last_linear`."""
    calls: list[tuple[nn.Linear, str, int, Tensor]] = []

    def watch(layer: nn.Linear, name: str) -> torch.utils.hooks.RemovableHandle:
        def record(module: nn.Module, args: object, output: Tensor) -> None:
            # a copy, so that a network that changes the output in place afterwards is found out
            calls.append((layer, name, sum(seen is layer for seen, *_ in calls), output.clone()))

        return layer.register_forward_hook(record)

    handles = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                handles.append(watch(module, name))
        output = model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(output, Tensor):
        raise InputError(
            f"The network returned a {type(output).__name__} where a tensor of logits (B, K) was expected; "
            "wrap it in a module whose forward returns the logits alone."
        )
    if output.ndim != 2 or len(output) != len(images):
        raise InputError(
            f"The network gave an output of shape {tuple(output.shape)} for {len(images)} images where "
            f"({len(images)}, classes) was expected; let it return one row of logits for each image."
        )
    for layer, name, call, given in reversed(calls):
        if given.numel() == output.numel() and torch.equal(
            given.reshape(output.shape).nan_to_num(), output.nan_to_num()
        ):
            return Head(layer, name, call)
    ran = f"the last that runs is '{calls[-1][1]}', but its output is changed afterwards" if calls else "none runs"
    raise InputError(
        f"The output of the network is not the output of one of its nn.Linear layers ({ran}); "
        "let forward end in an nn.Linear and return its logits (leave softmax to the loss)."
    )


def last_linear(model: nn.Module, images: Tensor) -> nn.Linear:
    """Find the linear layer whose output is the network's output.

    Which one it is shows only in a forward pass: layers may be registered in any order, used twice, or
    belong to an auxiliary head. The network is left as it was.

    Args:
        model: Any module whose output is that of an `nn.Linear`.
        images: A small batch that it accepts, on its device. Shape `(B, C, H, W)`.

    Raises:
        InputError: If there is no such layer.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> last_linear(model, torch.zeros(1, 1, 2, 2))
    Linear(in_features=8, out_features=2, bias=True)
    """
    with undisturbed(model):
        return find_head(model, images).layer


def check(model: nn.Module, *, channels: int, classes: int, size: tuple[int, int]) -> None:
    """Make sure that a network takes such images, gives one logit per class and ends in a linear layer.

    Sends two random images through it and leaves it as it was.

    Raises:
        InputError: If not, with what to change.

    >>> check(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), channels=1, classes=10, size=(8, 8))
    Traceback (most recent call last):
    ...
    auglean.errors.InputError: The network gives 7 outputs but the data have 10 classes;
    make its last layer '1' nn.Linear(64, 10).
    """
    device, dtype = placement(model)
    with undisturbed(model):
        images = torch.rand(2, channels, *size).to(device, dtype)
        try:
            head = find_head(model, images)
        except InputError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = str(error).split("\n", 1)[0].rstrip(".")
            raise InputError(
                f"The network cannot take images of {channels}×{size[0]}×{size[1]} ({reason}); "
                "build it for images of this shape or resize the data."
            ) from error
    if head.layer.out_features != classes:
        raise InputError(
            f"The network gives {head.layer.out_features} outputs but the data have {classes} classes; "
            f"make its last layer '{head.name}' nn.Linear({head.layer.in_features}, {classes})."
        )
