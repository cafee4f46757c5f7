"""One forward pass over a data set that leaves the model as it was."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from auglean.errors import InputError
from auglean.networks.probing import bare, find_head, placement, undisturbed
from auglean.policies import Policy, as_given
from auglean.progress import track
from auglean.randomness import Keys, derive
from auglean.signals.record import Signals

KEEP = 1 << 30  # bytes of results that may wait on the device, so that it need not stop after each batch


class ImageData(Protocol):
    """A map-style data set of (image, label), as `torch.utils.data.Dataset` is."""

    def __len__(self) -> int:
        """Count the examples."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Give image and label of one example."""
        ...


def measure(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute loss, margin, residual and prediction from logits, in float64.

    With p the softmax and u the probability of all other classes together, the label's residual is −u and
    the loss −log(1 − u). Neither takes a difference from 1, so both stay exact for saturated logits.

    Args:
        logits: Shape `(B, K)`.
        labels: int64, shape `(B,)`.

    Returns:
        Loss `(B,)`, margin `(B,)` and residual `(B, K)` in float64, and prediction `(B,)`; see `Signals`.

    >>> loss, margin, residual, prediction = measure(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    >>> residual
    tensor([[-0.5000,  0.5000]], dtype=torch.float64)
    """
    log_p = torch.log_softmax(logits.double(), dim=1)  # (B, K)
    residual = log_p.exp()
    top = residual.topk(2, dim=1).values
    index = labels[:, None]
    residual.scatter_(1, index, 0.0)
    others = residual.sum(1, keepdim=True)  # (B, 1)
    residual.scatter_(1, index, -others)
    loss = torch.where(others < 0.5, -torch.log1p(-others), -log_p.gather(1, index))
    return loss[:, 0], top[:, 0] - top[:, 1], residual, logits.argmax(1)


def collect(
    model: nn.Module,
    data: ImageData,
    *,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    indices: Tensor | Sequence[int] | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    policy: Policy | str | None = None,
    draws: int = 8,
    seed: int = 0,
    keep_on_device: bool = False,
) -> Signals:
    """Collect `Signals` of a data set in one forward pass, in eval mode and without gradients.

    The model comes back as it was, also after an exception: the mode of every submodule, the statistics of
    BatchNorm, `requires_grad`, hooks, device. So do the default generators of torch, numpy and Python.
    Memory: N · (K + D) floats and one batch.

    Args:
        model: Any network whose output is that of an `nn.Linear`; see `auglean.networks.last_linear`.
        data: An `ImageSet`, or any map-style data set of (image, label). uint8 images are divided by 255;
            float images are taken as they are.
        batch_size: Examples in a forward pass.
        device: Where to compute; by default where the model is. On another device a copy of it is used.
        indices: The examples to use, in this order; by default all.
        transform: Applied to each float batch `(B, C, H, W)`. A policy draws by (seed, index), so that an
            example gets the same image whatever the batch.
        policy: Estimate also, by a further pass for each draw, how far it moves the loss: `Signals.loss_sd`.
        draws: Of `policy`, for each example; 2 or more.
        seed: For the draws of `transform` and of `policy`.
        keep_on_device: Leave the results where they were computed; by default they come to the CPU.

    Raises:
        InputError: If an index or a label is out of range, the network does not end in a linear layer, or its
            logits are not finite.

    >>> from torch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6) % 3)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> collect(model, data).feature.shape
    torch.Size([6, 64])
    """
    start = time.perf_counter()
    ids = _positions(indices, len(data))
    if batch_size < 1:
        raise InputError(f"The batch size was given as {batch_size}; give 1 or more.")
    network = bare(model)
    home, dtype = placement(network)
    place = home if device is None else torch.device(device)
    if place.type == home.type and place.index in (None, home.index):
        place = home
    else:
        network = copy.deepcopy(network).to(place)

    def load(chunk: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = fetch(data, chunk)
        x = images.to(place).to(dtype)
        if not images.is_floating_point():
            x = x.div_(255)
        if hasattr(transform, "draw"):
            x = cast(Any, transform)(x, generator=Keys(chunk.to(place), seed=seed))
        elif transform is not None:
            x = transform(x)
        return x, labels

    with undisturbed(network, seed=seed):
        head = find_head(network, load(ids[:2])[0])
        n, k, d = len(ids), head.layer.out_features, head.layer.in_features
        if k < 2:
            raise InputError("The network gives 1 output where one per class is expected; give it 2 for 2 classes.")
        store = place if keep_on_device or 4 * n * (k + d) <= KEEP else torch.device("cpu")
        loss, margin = torch.empty(n, device=store), torch.empty(n, device=store)
        residual, feature = torch.empty(n, k, device=store), torch.empty(n, d, device=store)
        prediction = torch.empty(n, dtype=torch.int64, device=store)
        rows, calls = slice(0), 0

        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal calls
            if calls == head.call:
                given: Tensor = args[0] if args else kwargs["input"]
                feature[rows] = given.reshape(-1, d)
            calls += 1

        handle = head.layer.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            for begin in track(range(0, n, batch_size), "signals"):
                rows, calls = slice(begin, begin + batch_size), 0
                chunk = ids[rows]
                x, labels = load(chunk)
                check_labels(labels, chunk, k)
                logits = network(x)
                if calls <= head.call:
                    raise InputError(
                        f"The last linear layer '{head.name}' did not run for the batch of examples from "
                        f"{int(chunk[0])}; signals need a network that runs the same layers for each batch."
                    )
                if logits.device.type == "mps":  # has no float64
                    logits = logits.cpu()
                results = measure(logits, labels.to(logits.device))
                for target, value in zip((loss, margin, residual, prediction), results, strict=True):
                    target[rows] = value
        finally:
            handle.remove()
    bad = (~torch.isfinite(loss)).nonzero()
    if len(bad):
        raise InputError(
            f"The network gives logits that are not finite for {len(bad)} of {n} examples, first example "
            f"{int(ids[bad[0, 0].cpu()])}; look for NaN in its weights or in that image."
        )
    found = Signals(loss, margin, residual, feature, prediction)
    found = found if keep_on_device else found.to("cpu")
    passes = n + len(ids[:2])
    if policy is not None:
        again = partial(collect, model, data, batch_size=batch_size, device=device, indices=ids)
        loss_sd, more = _deviation(again, as_given(policy), draws, seed)
        found, passes = replace(found, loss_sd=loss_sd.to(found.loss.device)), passes + more
    return replace(found, seconds=time.perf_counter() - start, forward_passes=passes)


def _deviation(collect_again: Callable[..., Signals], policy: Policy, draws: int, seed: int) -> tuple[Tensor, int]:
    """Give the standard deviation of each loss over draws of a policy, and the forward passes that took."""
    if draws < 2:
        raise InputError(f"{draws} draws of the policy show no deviation; give 2 or more.")
    found = [collect_again(transform=policy, seed=derive(seed, "loss_sd", draw)) for draw in range(draws)]
    losses = torch.stack([one.loss for one in found]).double()  # (draws, N)
    return losses.std(0).float(), sum(one.forward_passes for one in found)


def _positions(indices: Tensor | Sequence[int] | None, count: int) -> Tensor:
    """Check the wanted examples and give them as int64 on the CPU."""
    ids = torch.arange(count) if indices is None else torch.as_tensor(indices).cpu()
    if ids.dtype == torch.bool and ids.shape == (count,):
        ids = ids.nonzero()[:, 0]
    if ids.ndim != 1 or not len(ids) or ids.is_floating_point() or ids.dtype == torch.bool:
        raise InputError(
            f"Signals were asked for with indices of shape {tuple(ids.shape)} and type {ids.dtype}; "
            "give one or more whole numbers."
        )
    ids = ids.long()
    if ids.min() < 0 or ids.max() >= count:
        raise InputError(
            f"Signals were asked for examples {int(ids.min())} to {int(ids.max())} of data with {count}; "
            f"give indices from 0 to {count - 1}."
        )
    return ids


def fetch(data: Any, chunk: Tensor) -> tuple[Tensor, Tensor]:
    """Gather some images `(B, C, H, W)` and their labels `(B,)` from whatever kind of data set."""
    if hasattr(data, "batch"):
        images, labels = data.batch(chunk)
    elif isinstance(data, TensorDataset) and len(data.tensors) == 2:
        images, labels = data[chunk]
    else:
        items = [data[int(index)] for index in chunk]
        try:
            images = torch.stack([_as_tensor(image) for image, _ in items])
            labels = torch.tensor([int(label) for _, label in items])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The data do not give pairs (image, label) of one size ({error}); "
                "give images as tensors (C, H, W), arrays (H, W, C) or pictures, and labels as whole numbers."
            ) from error
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise InputError(
            f"A batch of images has shape {tuple(images.shape)} and type {images.dtype}; "
            "expected (B, C, H, W) of uint8 or of float in [0, 1]."
        )
    return images, labels.long().reshape(-1)


def _as_tensor(image: Any) -> Tensor:
    """Turn one image into `(C, H, W)`; arrays and pictures have the channels last."""
    if isinstance(image, Tensor):
        return image
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def check_labels(labels: Tensor, chunk: Tensor, classes: int) -> None:
    """Raise `InputError` if the label of one of these examples is no class of the network."""
    wrong = ((labels < 0) | (labels >= classes)).nonzero()
    if len(wrong):
        at = int(wrong[0, 0])
        raise InputError(
            f"Example {int(chunk[at])} has label {int(labels[at])} but the network gives {classes} outputs; "
            f"give labels from 0 to {classes - 1} or a network with more outputs."
        )
