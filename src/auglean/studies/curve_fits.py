"""One fit of a budget curve: the rows that it sees, with what weights, and what comes of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auglean.signals import LogisticHead


def assemble(features: Tensor, labels: Tensor, chosen: Tensor, *, downweight: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Give the rows of a fit: all originals, and the copies of the chosen sources and of no other.

    Args:
        features: Originals first, then copy by copy. Shape `(m + 1, n, d)`.
        labels: Shape `(n,)`.
        chosen: Sources. Shape `(k,)`.
        downweight: A chosen source and its copies have weight 1/(m + 1) each, so that every source counts 1;
            otherwise all rows do.

    Returns:
        Features `(n + k m, d)`, labels and weights, the copies transform by transform.

    >>> x, y, w = assemble(torch.arange(6.0).view(3, 2, 1), torch.tensor([0, 1]), torch.tensor([1]), downweight=True)
    >>> x.flatten().tolist(), y.tolist(), w.mul(3).tolist()
    ([0.0, 1.0, 3.0, 5.0], [0, 1, 1, 1], [3.0, 1.0, 1.0, 1.0])
    """
    m = len(features) - 1
    x = torch.cat([features[0], features[1:, chosen].flatten(0, 1)])
    y = torch.cat([labels, labels[chosen].repeat(m)])
    w = torch.ones(len(y), dtype=torch.float64)
    if downweight:
        w[chosen] = 1 / (m + 1)
        w[len(labels) :] = 1 / (m + 1)
    return x, y, w


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A head and what it gets right.

    Attributes:
        head: The logistic head.
        train: Features that the head stands on: of the originals, and of the copies too where the network is frozen or
            none or all of the sources were chosen. Shape `(1 or m + 1, n, d)`.
        chosen: Sources whose copies it saw, ascending. Shape `(k,)`.
        downweight: Whether those have the weights of `assemble`.
        number: The round, of a retrained network.
        key: What it came of: the same key, the same fit.
        test: For each test source, how many of it and its m copies are right. Shape `(t,)`, int16.
        validation: The same of the validation sources.
        clean: Which test originals are right. Shape `(t,)`, bool.
        seconds: What the fit took.
    """

    head: LogisticHead
    train: Tensor
    chosen: Tensor
    downweight: bool
    number: int
    key: str
    test: Tensor
    validation: Tensor
    clean: Tensor
    seconds: float


def pack(counts: Tensor) -> str:
    """Write small counts `(t,)` int16 as text.

    >>> unpack(pack(torch.tensor([3, 0, 15], dtype=torch.int16)))
    tensor([ 3,  0, 15], dtype=torch.int16)
    """
    return base64.b64encode(counts.numpy().tobytes()).decode()


def unpack(text: str) -> Tensor:
    """Read what `pack` wrote."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.int16).copy())
