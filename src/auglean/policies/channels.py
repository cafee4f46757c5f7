"""Operators that mix up channels."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, Policy
from auglean.randomness import Randomness, uniform

Device = torch.device | str | None
_MOST = 6


class ChannelPermutation(Policy):
    """Put the channels in an order uniform on all orders. Linear. Parameter `order (n,)`, a share of the orders.

    Order `⌊share · C!⌋` in lexicographic order tells which channel each channel becomes.

    >>> x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    >>> ChannelPermutation().apply(x, {"order": torch.tensor([0.99])}).flatten()
    tensor([3., 2., 1.])
    """

    linear = True

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"order": uniform(n, generator, device=device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        c = x.shape[1]
        if c > _MOST:
            raise InputError(f"ChannelPermutation takes {_MOST} channels at most but found shape {tuple(x.shape)}.")
        orders = torch.tensor(list(itertools.permutations(range(c))), device=x.device)
        index = (params["order"] * math.factorial(c)).long().clamp(max=len(orders) - 1)
        return x.gather(1, orders[index][:, :, None, None].expand_as(x))

    def extra_repr(self) -> str:
        """No arguments."""
        return ""
