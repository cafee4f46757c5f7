"""Policies in an order that is drawn, and the colour jitters that are made so."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.policies.base import Operator, Params, Policy
from auglean.policies.colour import BT601, AddBrightness, Brightness, Contrast, Range, Saturation, Weights, interval
from auglean.policies.combining import branches, nested, part
from auglean.policies.hsv import HSVSaturation, Hue
from auglean.randomness import Randomness, integers

Device = torch.device | str | None
#: Policies whose orders are counted.
MOST = 7


class RandomOrder(Policy):
    """Apply every policy once, in an order uniform on all orders. Parameter `order (n,)`, and those of the parts.

    Order j is the j-th permutation in lexicographic order. The parameters of part i carry the prefix `"i."`.

    Args:
        policies: Seven at most.

    Raises:
        InputError: If there are more.

    >>> from auglean.policies import Brightness, Flip
    >>> sorted(RandomOrder([Flip(), Brightness(0.4)]).draw(1))
    ['0.flip', '1.factor', 'order']
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        super().__init__()
        if len(policies) > MOST:
            raise InputError(f"{type(self).__name__} takes {MOST} policies at most but found {len(policies)}.")
        self._parts = nn.ModuleList(policies)
        self.linear = all(policy.linear for policy in policies)

    @property
    def parts(self) -> list[Policy]:
        """The policies, in the order in which they were given."""
        return cast(list[Policy], list(self._parts))

    @property
    def orders(self) -> Tensor:
        """All orders. Shape `(n!, n)`, int64."""
        n = len(self._parts)
        return torch.tensor(list(itertools.permutations(range(n)))).view(math.factorial(n), n)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        order = integers(n, math.factorial(len(self._parts)), generator, device=device)
        return {"order": order, **nested(self.parts, n, generator, device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        def run(i: int) -> Operator:
            return lambda x, params: self.parts[i].apply(x, part(params, i))

        functions = [run(i) for i in range(len(self._parts))]
        for place in self.orders.to(x.device)[params["order"]].unbind(1):
            x = branches(x, place, params, functions)
        return x

    def extra_repr(self) -> str:
        """The policies."""
        return str(self.parts)


def _change(kind: str, amount: Range, **options: float) -> tuple[float, float] | None:
    """The range of a step, `None` where it would never change anything."""
    found = interval(kind, amount, **options)
    neutral = options.get("centre", 0.0)
    return None if found == (neutral, neutral) else found


class ColorJitter(RandomOrder):
    """Brightness, contrast, saturation and hue in random order, clamped after each: torchvision's and kornia's jitter.

    Each of the four may be left out. The steps are `Brightness`, `Contrast`, `Saturation` and `Hue`, in this order.

    Args:
        brightness: Largest change of the factor, or its range as a pair; likewise the next two.
        contrast: As `brightness`.
        saturation: As `brightness`.
        hue: Largest turn, up to 0.5, or the range as a pair.
        clamp: Keep the result in [0, 1] after each step; without it, and without hue, linear in the image.
        weights: Of the channels in grey, `BT601` or `TORCHVISION_GREY`.

    >>> ColorJitter(0.4, 0.4).parts
    [Brightness((0.6, 1.4)), Contrast((0.6, 1.4))]
    """

    def __init__(
        self,
        brightness: Range = 0.0,
        contrast: Range = 0.0,
        saturation: Range = 0.0,
        hue: Range = 0.0,
        *,
        clamp: bool = True,
        weights: Weights = BT601,
    ) -> None:
        steps: list[Policy] = []
        if found := _change("The brightness of ColorJitter", brightness, centre=1.0):
            steps.append(Brightness(found, clamp=clamp))
        if found := _change("The contrast of ColorJitter", contrast, centre=1.0):
            steps.append(Contrast(found, clamp=clamp, weights=weights))
        if found := _change("The saturation of ColorJitter", saturation, centre=1.0):
            steps.append(Saturation(found, clamp=clamp, weights=weights))
        if found := _change("The hue of ColorJitter", hue, low=-0.5, high=0.5):
            steps.append(Hue(found))
        super().__init__(steps)
        self.clamp, self.weights = clamp, tuple(weights)


class ColorJiggle(RandomOrder):
    """Kornia's `ColorJiggle`: additive brightness, contrast without the mean, saturation of HSV and hue, in any order.

    The steps are `AddBrightness`, `Brightness` (which multiplies, and is called contrast there), `HSVSaturation` and
    `Hue`, in this order; each may be left out.

    Args:
        brightness: Largest change, or the range of `1 + addition` as a pair.
        contrast: Largest change of the factor, or its range as a pair; likewise `saturation`.
        saturation: As `contrast`.
        hue: Largest turn, up to 0.5, or the range as a pair.

    >>> ColorJiggle(0.4, hue=0.1).parts
    [AddBrightness((-0.4, 0.4)), Hue((-0.1, 0.1))]
    """

    def __init__(
        self, brightness: Range = 0.0, contrast: Range = 0.0, saturation: Range = 0.0, hue: Range = 0.0
    ) -> None:
        steps: list[Policy] = []
        if found := _change("The brightness of ColorJiggle", brightness, centre=1.0):
            steps.append(AddBrightness((round(found[0] - 1, 12), round(found[1] - 1, 12))))
        if found := _change("The contrast of ColorJiggle", contrast, centre=1.0):
            steps.append(Brightness(found))
        if found := _change("The saturation of ColorJiggle", saturation, centre=1.0):
            steps.append(HSVSaturation(found))
        if found := _change("The hue of ColorJiggle", hue, low=-0.5, high=0.5):
            steps.append(Hue(found))
        super().__init__(steps)
