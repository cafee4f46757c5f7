"""Gaussian noise in place of E, with rows of the same lengths: what any augmentation is to be held against.

Neither form makes the n × m numbers. An exact computation needs the noise only up to a rotation of the columns that
keeps the row space of J, where its part outside is the root of a Wishart matrix; a randomised one asks for products,
and noise that is asked in few directions need be drawn in these only. Both are the law itself, not approximations.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from auglean.spectra.jacobian import Operator


def rotated(lengths: Tensor, columns: int, inside: int, *, seed: int) -> Tensor:
    """Draw noise of given row lengths in coordinates whose first ones span a given space of rows.

    Entry (i, j) of the noise is normal with deviation `lengths[i] / √columns`. Of its columns, `inside` are kept; the
    others are turned, all rows by the same rotation, so that at most n of them are not zero: they are then the lower
    triangular root of a Wishart matrix (Bartlett 1933), drawn entry by entry.

    Args:
        lengths: Expected root mean square length of each row. Shape `(n,)`, float64.
        columns: Columns m of the noise before the rotation.
        inside: Dimension of the space of rows.
        seed: Fixes the draw.

    Returns:
        Shape `(n, inside + min(n, columns − inside))`.

    >>> rotated(torch.ones(3, dtype=torch.float64), 1000, 2, seed=0).shape
    torch.Size([3, 5])
    """
    n, free = len(lengths), columns - inside
    draw = np.random.default_rng(seed)
    part = draw.standard_normal((n, inside))
    if free <= n:
        outside = draw.standard_normal((n, free))
    else:
        outside = np.tril(draw.standard_normal((n, n)), -1)
        outside[np.diag_indices(n)] = np.sqrt(draw.chisquare(free - np.arange(n)))
    unit = torch.from_numpy(np.concatenate([part, outside], 1)).to(lengths.device)
    return unit * (lengths / math.sqrt(columns))[:, None]


class Noise:
    """A matrix of independent standard normal entries, drawn as far as its products show it.

    The first product with a direction draws the image of that direction, given all that was shown before: known
    combinations of rows or columns stay what they were, and the rest of a normal matrix is independent of them. So
    products agree with each other as those of one matrix, whose n × m entries are never made.

    Args:
        shape: Rows n and columns m.
        generator: What is drawn from, on the CPU, so that a seed gives the same noise on every device.

    >>> noise = Noise((3, 4), torch.Generator().manual_seed(0))
    >>> whole = noise.times(torch.eye(4))
    >>> u = torch.tensor([[1.0], [2.0], [0.0]])
    >>> torch.allclose(noise.transposed(u), whole.T @ u, atol=1e-5)
    True
    """

    def __init__(self, shape: tuple[int, int], generator: torch.Generator) -> None:
        self.shape, self._generator = shape, generator
        self._right = _Shown(shape[1], shape[0])  # orthonormal (m, ·) and what the matrix makes of them (n, ·)
        self._left = _Shown(shape[0], shape[1])

    def times(self, v: Tensor) -> Tensor:
        """Multiply by `(m, b)` from the right."""
        return self._show(v, self._right, self._left)

    def transposed(self, u: Tensor) -> Tensor:
        """Multiply the transpose by `(n, b)`."""
        return self._show(u, self._left, self._right)

    def _show(self, v: Tensor, here: _Shown, there: _Shown) -> Tensor:
        new = here.unknown(v)
        fresh = torch.randn(there.length, new.shape[1], generator=self._generator).to(v)
        known = there.directions.to(v)
        # along the directions shown from the other side, the images are known; across them, they are free
        images = fresh + known @ (there.images.to(v).T @ new - known.T @ fresh)
        here.add(new, images)
        return here.images @ (here.directions.T @ v)


class _Shown:
    """Orthonormal directions on one side of a matrix, and what it makes of them."""

    def __init__(self, length: int, images: int) -> None:
        self.length = length
        self.directions, self.images = torch.empty(length, 0), torch.empty(images, 0)

    def unknown(self, v: Tensor) -> Tensor:
        """Give an orthonormal basis of what `v` spans beyond the directions."""
        # of all columns at once: Householder's reflections keep even those of no length orthogonal to the others
        basis: Tensor = torch.linalg.qr(torch.cat([self.directions.to(v), v], 1)).Q
        return basis[:, self.directions.shape[1] :]

    def add(self, directions: Tensor, images: Tensor) -> None:
        self.directions = torch.cat([self.directions.to(directions), directions], 1)
        self.images = torch.cat([self.images.to(images), images], 1)


class Noisy:
    """J plus noise whose rows have given lengths, by its products.

    Args:
        before: J.
        lengths: Expected root mean square length of each row of the noise. Shape `(n,)`.
        generator: Fixes the noise.
    """

    def __init__(self, before: Operator, lengths: Tensor, generator: torch.Generator) -> None:
        self.before, self.shape, self.like = before, before.shape, before.like
        self.noise, self.scale = Noise(before.shape, generator), (lengths / math.sqrt(before.shape[1]))[:, None]

    def times(self, v: Tensor) -> Tensor:
        """Multiply by `(m, b)` from the right."""
        return self.before.times(v) + self.scale * self.noise.times(v)

    def transposed(self, u: Tensor) -> Tensor:
        """Multiply the transpose by `(n, b)`."""
        return self.before.transposed(u) + self.noise.transposed(self.scale * u)
