"""Normalisation as the last operator of a pipeline, where another library has it there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy
from auglean.randomness import Randomness


class Normalize(Policy):
    """Subtract a mean and divide by a standard deviation, channel by channel: `(x − mean) / std`.

    Values leave [0, 1]. Networks of this library normalise by themselves; this policy is there so that pipelines of
    others are read as they are.

    Args:
        mean: A number for all channels, or one for each.
        std: Likewise, above zero.

    Raises:
        InputError: If a standard deviation is not above zero, or there is none.

    >>> Normalize((0.5,), (0.25,))(torch.tensor([[[0.5, 1.0]]]))
    tensor([[[0., 2.]]])
    """

    linear = True

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        given = (value if isinstance(value, Sequence) else [value] for value in (mean, std))
        self.mean, self.std = (tuple(map(float, values)) for values in given)
        if not self.mean or not self.std or not min(self.std) > 0:
            raise InputError(f"Normalize expected means and standard deviations above 0 but found {mean} and {std}.")

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        for values in (self.mean, self.std):
            if len(values) not in (1, x.shape[1]):
                raise InputError(f"{self!r} expected {len(values)} channels but found {x.shape[1]}.")
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (x - mean) / std

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.mean}, {self.std}"
