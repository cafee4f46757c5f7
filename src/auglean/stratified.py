"""Stratified random numbers: each one uniform, several together spread evenly over the unit cube.

They are Sobol points under a nested scramble (Owen 1995): bit j of a coordinate is flipped at random, and all points
that agree in the bits before share the flip. A scrambled point alone is uniform on the cube, so averages stay
unbiased; any 2^m points that follow each other from a multiple of 2^m on put one in each of 2^m equal intervals of
every coordinate.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from auglean.randomness import _GOLDEN, Keys, Randomness, _mix, _signed

#: Leading bits under the nested scramble; points are told apart by them up to index 2¹⁶. Bits below are independent.
_NESTED = 16
_MOST_DIMENSIONS = 21_201


class Strata(Keys):
    """Hands out coordinates of scrambled Sobol points where random numbers are asked for.

    Args:
        index: Number of the Sobol point of each row, 0 or more. Shape `(n,)`, int64.
        scramble: Fixes the scramble of each row; rows of one scramble are stratified together. Shape `(n,)`, int64.

    >>> from auglean.randomness import uniform
    >>> u = uniform((8, 2), Strata(torch.arange(8), torch.zeros(8, dtype=torch.int64)))
    >>> (8 * u).long().sort(0).values.T.tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]]
    """

    def __init__(self, index: Tensor, scramble: Tensor) -> None:
        super().__init__(scramble)
        self._state, self._index = scramble, index & ((1 << 30) - 1)

    def bits(self, columns: int) -> Tensor:
        """Give 64 bits for each row of the next coordinates. Shape `(n, columns)`, int64."""
        first = self._calls
        self._calls += columns
        directions = _directions(first + columns)[first:].to(self.device)  # (columns, 30)
        chosen = (self._index[:, None] >> torch.arange(30, device=self.device)) & 1  # (n, 30)
        point = torch.zeros(len(self), columns, dtype=torch.int64, device=self.device)
        for bit in range(int(self._index.max()).bit_length() if len(self) else 0):
            point ^= chosen[:, bit, None] * directions[:, bit]
        coordinate = torch.arange(first + 1, first + columns + 1, device=self.device) * _signed(_GOLDEN)
        key = _mix(self._state[:, None] + coordinate)  # (n, columns)
        # the bits before each, with a leading one, so that prefixes of different lengths differ
        place = torch.arange(_NESTED, device=self.device)
        before = (point[..., None] >> (30 - place)) | (1 << place)  # (n, columns, _NESTED)
        flips = (_mix(key[..., None] + before * _signed(_GOLDEN)) & 1) << (_NESTED - 1 - place)
        top = (point >> (30 - _NESTED)) ^ flips.sum(-1)
        below = _mix(key + (self._index[:, None] + (1 << 32)) * _signed(_GOLDEN)) & ((1 << (64 - _NESTED)) - 1)
        return top << (64 - _NESTED) | below


@lru_cache(maxsize=64)
def _directions(dimensions: int) -> Tensor:
    """Direction numbers of Sobol's sequence (Joe & Kuo 2008), as 30-bit integers. Shape `(dimensions, 30)`."""
    engine = torch.quasirandom.SobolEngine(min(dimensions, _MOST_DIMENSIONS), scramble=False)
    found: Tensor = engine.sobolstate
    return found[torch.arange(dimensions) % len(found)].long()


def strata(n: int, generator: Randomness) -> Strata:
    """Make the stratified counterpart of a source of randomness, for n rows.

    From a generator the n rows are stratified together, in random order. `Keys` promise that the numbers of an example
    do not depend on its batch, so there the *epochs* of each example and stream are stratified together.
    """
    if isinstance(generator, Keys):
        return Strata(*generator.split())
    at = generator.device if generator is not None else None
    high, low = torch.randint(2**31, (2,), generator=generator, device=at)
    order = torch.randperm(n, generator=generator, device=at)
    return Strata(order, (high << 32 | low).expand(n))
