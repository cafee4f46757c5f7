"""`Signals`: what a model says of each example."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.files import read_object, write_object


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Signals:
    """What a model says of each of N examples.

    Attributes:
        loss: Cross-entropy of the label. Shape `(N,)`, float32.
        margin: Probability of the likeliest class minus that of the second, in [0, 1], whatever the label.
            Higher means that the model is more certain. Shape `(N,)`, float32.
        residual: Softmax minus one-hot label: the gradient of the loss with respect to the logits. Each row
            sums to 0. Shape `(N, K)`, float32.
        feature: Input of the last linear layer. The gradient of the loss with respect to that layer's
            weight is `residual ⊗ feature`, and with respect to its bias `residual`. Shape `(N, D)`, float32.
        prediction: Likeliest class. Shape `(N,)`, int64.
        seconds: Wall-clock time that it took to collect them.
        forward_passes: Examples that were sent through the network for it.
        forgetting: How often training found the example wrong that it had found right the time before (Toneva et al.
            2019), or, if it was never right, how often it was seen, which is more than any other can reach (the paper
            has infinity); higher = augment first. Only from a `Recorder`. Shape `(N,)`, float32.
        tracin: Self-influence of the last layer along training, `Σ_t lr_t ‖residual_t‖² (‖feature_t‖² + 1)` over the
            steps that held the example (Pruthi et al. 2020, TracIn, with each of its steps as a checkpoint); higher =
            augment first. Only from a `Recorder`. Shape `(N,)`, float32.
        loss_sd: Standard deviation of the loss under a policy, estimated from draws; higher =
            augment first. Only from `collect` with a policy, or from `auglean.moments.first_order_signals`. Shape
            `(N,)`, float32.
        gap: Relative error of `loss_sd` on a probe where it is of first order; None where it is from draws.

    >>> signals = Signals(torch.tensor([0.1, 2.0]), torch.tensor([0.8, 0.2]), torch.zeros(2, 3),
    ...                   torch.zeros(2, 4), torch.tensor([1, 0]))
    >>> signals[1:].loss
    tensor([2.])
    """

    loss: Tensor
    margin: Tensor
    residual: Tensor
    feature: Tensor
    prediction: Tensor
    seconds: float = 0.0
    forward_passes: int = 0
    forgetting: Tensor | None = None
    tracin: Tensor | None = None
    loss_sd: Tensor | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        n, (k, d) = self.loss.numel(), (rows.shape[-1:].numel() for rows in (self.residual, self.feature))
        expected = {name: {"residual": (n, k), "feature": (n, d)}.get(name, (n,)) for name in shapes}
        if shapes != expected:
            raise InputError(
                f"Signals were given shapes {shapes}; expected loss, margin and prediction (N,), "
                "residual (N, K) and feature (N, D), and (N,) of what is optional."
            )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name: five, and the optional ones that are there."""
        own = {"loss": self.loss, "margin": self.margin, "residual": self.residual,
               "feature": self.feature, "prediction": self.prediction}  # fmt: skip
        others = {"forgetting": self.forgetting, "tracin": self.tracin, "loss_sd": self.loss_sd}
        return own | {name: tensor for name, tensor in others.items() if tensor is not None}

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.residual.shape[1]

    def __len__(self) -> int:
        return len(self.loss)

    def __getitem__(self, indices: Tensor | Sequence[int] | slice) -> Signals:
        """Give the signals of some examples: by positions, a mask or a slice."""
        if isinstance(indices, int):
            raise TypeError("Signals are indexed by several positions; write signals[[i]] for one example.")
        where = indices if isinstance(indices, slice) else torch.as_tensor(indices, device=self.loss.device)
        if isinstance(where, Tensor) and not len(where):
            where = where.long()  # an empty list becomes a float tensor
        return self._map(lambda tensor: tensor[where])

    def to(self, device: torch.device | str) -> Signals:
        """Give the same signals on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Signals:
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in self.tensors.items()}
        return replace(self, **changed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one safetensors file; a file that was there is replaced when the new one is whole."""
        state = {"seconds": self.seconds, "forward_passes": self.forward_passes, "gap": self.gap}
        write_object(Path(path), "Signals", self.tensors, state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Signals:
        """Read what `save` wrote, to the CPU.

        Raises:
            InputError: If there is no such file, or it holds something else.
        """
        return cls(**read_object(Path(path), "Signals"))

    def __repr__(self) -> str:
        lines = [
            f"Signals of {len(self)} examples, {self.classes} classes "
            f"({self.forward_passes} forward passes, {self.seconds:.2f} s)",
            f"{'':12}{'shape':16}{'least':>10}{'median':>10}{'most':>10}",
        ]
        for name, tensor in self.tensors.items():
            row = f"{name:12}{tuple(tensor.shape)!s:16}"
            if tensor.is_floating_point() and tensor.numel():
                row += "".join(f"{of().item():10.4g}" for of in (tensor.min, tensor.median, tensor.max))
            lines.append(row)
        return "\n".join(lines)
