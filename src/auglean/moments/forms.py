"""Covariances that are put together: from a factor, from the branches of a mixture, from single images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.rules import Kind, worst


class Factored(Covariance):
    """A covariance of which only a factor is known.

    Args:
        mean: Shape `(B, D)`.
        factor: F of `C = F Fᵀ`. Shape `(B, D, r)`.
        m4: Gives `E ‖T − μ‖⁴`, `(B,)`, when it is asked for.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self, mean: Tensor, factor: Tensor, *, m4: Callable[[], Tensor], m4_kind: Kind, limit: int = MEMORY
    ) -> None:
        self.mean, self._factor, self._m4, self.m4_kind, self.limit = mean, factor, m4, m4_kind, limit
        self.variance = factor.square().sum(2)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        return self._factor @ (self._factor.mT @ v)

    @property
    def width(self) -> int:
        """Number of columns."""
        return self._factor.shape[2]

    def columns(self) -> Tensor:
        """The factor."""
        return self._factor

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        return self._m4()


class Rescaled(Covariance):
    """A covariance of known diagonal, of which all else is that of some nodes, brought to mean and diagonal.

    Args:
        mean: Shape `(B, D)`.
        variance: Shape `(B, D)`.
        width: Number of nodes.
        nodes: Makes their covariance, when something else than mean and variance is first asked for.
        m4_kind: How well the nodes stand for fourth powers.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        mean: Tensor,
        variance: Tensor,
        width: int,
        nodes: Callable[[], Covariance],
        *,
        m4_kind: Kind,
        limit: int = MEMORY,
    ) -> None:
        self.mean, self.variance, self._width, self._make = mean, variance, width, nodes
        self.m4_kind, self.limit = m4_kind, limit

    @cached_property
    def _nodes(self) -> Covariance:
        return self._make()

    @cached_property
    def _scale(self) -> Tensor:
        """Ratios of standard deviations. Shape `(B, D, 1)`."""
        own = self._nodes.variance
        return torch.where(own > 0, self.variance / own.clamp(min=1e-300), 0.0).sqrt()[..., None]

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        return self._scale * self._nodes.matvec(self._scale * v)

    @property
    def width(self) -> int:
        """Number of nodes."""
        return self._width

    def columns(self) -> Tensor:
        """The factor of the nodes, row by row to scale, if it fits."""
        return self._scale * self._nodes.columns()

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, which goes as the squared trace. Shape `(B,)`."""
        return self._nodes.m4 * (self.variance.sum(1) / self._nodes.variance.sum(1).clamp(min=1e-300)).square()


class Mixed(Covariance):
    """The covariance of a mixture: `C = Σ π_i (C_i + (μ_i − μ)(μ_i − μ)ᵀ)`.

    Args:
        forms: Those of the branches.
        weights: Their probabilities π.
        m4: Gives `E ‖T − μ‖⁴`, `(B,)`, when it is asked for: the branches' own are about their own means.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        forms: Sequence[Covariance],
        weights: Sequence[float],
        *,
        m4: Callable[[], Tensor],
        m4_kind: Kind,
        limit: int = MEMORY,
    ) -> None:
        self._forms, self._weights, self._m4, self.m4_kind, self.limit = forms, weights, m4, m4_kind, limit
        parts = list(zip(weights, forms, strict=True))
        self.mean = sum((w * form.mean for w, form in parts), torch.zeros_like(forms[0].mean))
        steps = [w**0.5 * (form.mean - self.mean) for w, form in parts]
        self._between = torch.stack(steps, 2)  # (B, D, branches)
        self.variance = sum((w * form.variance for w, form in parts), self._between.square().sum(2))

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        parts = zip(self._weights, self._forms, strict=True)
        return sum((w * form.matvec(v) for w, form in parts), self._between @ (self._between.mT @ v))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._forms) + sum(form.width for form in self._forms)

    def columns(self) -> Tensor:
        """Those of the branches, and the branches' means, if they fit."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        parts = [w**0.5 * form.columns() for w, form in zip(self._weights, self._forms, strict=True)]
        return torch.cat([*parts, self._between], 2)

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        return self._m4()


class Stacked(Covariance):
    """Covariances of images side by side.

    Args:
        forms: Each of one image or more.
    """

    def __init__(self, forms: Sequence[Covariance]) -> None:
        self._forms, self.limit = forms, forms[0].limit
        self.mean = torch.cat([form.mean for form in forms])
        self.variance = torch.cat([form.variance for form in forms])
        self.m4_kind = worst([form.m4_kind for form in forms])

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        parts = v.split([len(form.mean) for form in self._forms])
        return torch.cat([form.matvec(part) for form, part in zip(self._forms, parts, strict=True)])

    @property
    def width(self) -> int:
        """Columns of the widest."""
        return max(form.width for form in self._forms)

    def columns(self) -> Tensor:
        """All columns, with zeros up to the widest."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        found = [form.columns() for form in self._forms]
        return torch.cat([torch.nn.functional.pad(part, (0, self.width - part.shape[2])) for part in found])

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(B,)`."""
        return torch.cat([form.frobenius2 for form in self._forms])

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        return torch.cat([form.m4 for form in self._forms])


class Picked(Covariance):
    """Some of the images of a covariance, in an order of their own.

    Args:
        form: The covariance of them and perhaps of others.
        places: Where the images stand in it. Shape `(b,)`.
    """

    def __init__(self, form: Covariance, places: Tensor) -> None:
        self._form, self._places, self.limit, self.m4_kind = form, places, form.limit, form.m4_kind
        self.mean, self.variance = form.mean[places], form.variance[places]
        self.sketch = None if form.sketch is None else form.sketch[places]

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(b, D, m)` to `(b, D, m)`."""
        every = v.new_zeros(len(self._form.mean), *v.shape[1:])
        every[self._places] = v
        return self._form.matvec(every)[self._places]

    @property
    def width(self) -> int:
        """As of all."""
        return self._form.width

    def columns(self) -> Tensor:
        """Those of the images."""
        return self._form.columns()[self._places]

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm. Shape `(b,)`."""
        return self._form.frobenius2[self._places]

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(b,)`."""
        return self._form.m4[self._places]


def frobenius2_by_products(form: Covariance) -> Tensor:
    """`‖C‖²` in the Frobenius norm, by products with all unit vectors, a few at a time. `(B,)`."""
    (b, d), total = form.mean.shape, torch.zeros_like(form.mean[:, 0])
    for start in range(0, d, 256):
        some = torch.zeros(d, min(256, d - start), dtype=torch.float64, device=form.mean.device)
        some[start:].fill_diagonal_(1.0)
        total += form.matvec(some.expand(b, -1, -1)).square().sum((1, 2))
    return total


class Mirrored(Covariance):
    """A covariance of mirrored images.

    Args:
        form: That of the images.
        shape: `(C, H, W)`.
        dim: Which of these is turned round.
    """

    def __init__(self, form: Covariance, shape: tuple[int, ...], dim: int) -> None:
        self._form, self._shape, self._dim = form, tuple(shape), dim + 1
        self.limit, self.m4_kind = form.limit, form.m4_kind
        self.mean, self.variance = self._turned(form.mean), self._turned(form.variance)

    def _turned(self, flat: Tensor) -> Tensor:
        """Mirror what has a row for each value. `(B, D, …)`."""
        turned: Tensor = flat.unflatten(1, self._shape).flip(self._dim).flatten(1, 3)
        return turned

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        return self._turned(self._form.matvec(self._turned(v)))

    @property
    def width(self) -> int:
        """As of the images."""
        return self._form.width

    def columns(self) -> Tensor:
        """The factor, mirrored."""
        return self._turned(self._form.columns())

    @property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        return self._form.m4
