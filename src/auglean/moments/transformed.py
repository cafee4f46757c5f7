"""The covariance behind a last part by nodes: `C = E[M F Fᵀ Mᵀ] + Cov(M μ + c)`, without a column of it.

A rule of K nodes makes K (r + 1) columns of r. Products need none: Mᵀ v is what backward differentiation through the
operator gives, and all that is kept is the covariance before, in whatever form. The diagonal needs its columns, unless
every pixel is a copy of one pixel, as a flip has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance, Nodes, check_memory
from auglean.moments.forms import frobenius2_by_products
from auglean.moments.planning import channelwise
from auglean.moments.rules import Kind, Rule, apply_each
from auglean.policies import Compose, Flip, Identity, Mixture, Policy


class Transformed(Covariance):
    """Moments of one image after a part that is affine in it.

    Args:
        policy: The part.
        rule: Its rule, which does not depend on the image.
        before: Moments of the image before.
        shape: `(C, H, W)`.
        m4: Gives `E ‖T − μ‖⁴`, `(1,)`, when it is asked for.
        m4_kind: How.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        policy: Policy,
        rule: Rule,
        before: Covariance,
        shape: torch.Size,
        *,
        m4: Callable[[], Tensor],
        m4_kind: Kind,
        limit: int = MEMORY,
    ) -> None:
        self._policy, self._rule, self._before, self._m4 = policy, rule, before, m4
        self._shape, self.m4_kind, self.limit = shape, m4_kind, limit
        mean = before.mean.view(shape)
        self._alike, self._weights = channelwise(policy), rule.weights.to(mean)
        self._offset = self._shared(torch.zeros_like(mean)[None], 0, len(rule))  # (K, 1, C, H, W)
        self._means = Nodes(
            lambda start, stop, _: self._shared(mean[None], start, stop).flatten(2),
            self._weights,
            images=1,
            size=mean.numel(),
            m4_kind=rule.kind,
            limit=limit,
        )
        self.mean = self._means.mean

    @cached_property
    def variance(self) -> Tensor:  # type: ignore[override]
        """Diagonal, for which every column is made once if need be. Shape `(1, D)`."""
        found = self._means.variance.clone()
        if copies(self._policy):
            own = self.all_nodes(self._before.variance.view(1, *self._shape), roots=False)
            return found + own.sum(0).flatten(1)
        for weights, moved in self.parts():
            found += torch.einsum("k,krd->d", weights[:, 0], moved.flatten(2).square_())
        return found

    def _shared(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Nodes of the same images. `(n, C, H, W)` to `(k, n, C, H, W)`."""
        return apply_each(
            self._policy, self._rule, x.expand(stop - start, *x.shape), start, stop, channelwise=self._alike
        )

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """`M_j F`, a few nodes at a time: weights `(k, 1)`, images `(k, r, C, H, W)`."""
        columns = self._before.columns()[0].mT.reshape(-1, *self._shape)
        for nodes in self._steps(len(columns)):
            moved = self._shared(columns, nodes.start, nodes.stop) - self._offset[nodes]
            yield self._weights[nodes], moved

    def all_nodes(self, columns: Tensor, *, roots: bool = True) -> Tensor:
        """What every node makes of columns, by the (roots of the) weights. `(r, C, H, W)` to `(K, r, C, H, W)`."""
        moved = self._shared(columns, 0, len(self._rule)) - self._offset
        return moved.mul_((self._weights.sqrt() if roots else self._weights)[..., None, None, None])

    def between(self) -> Nodes:
        """The covariance of `M μ + c`."""
        return self._means

    def _steps(self, images: int) -> Iterator[slice]:
        """A few nodes at a time, which work on so many images each."""
        if images:
            step = max(1, min(self.limit // 8, 2**24) // (8 * images * self.mean.shape[1]))
            for start in range(0, len(self._rule), step):
                yield slice(start, min(start + step, len(self._rule)))

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(1, D, m)` alike."""
        m = v.shape[2]
        images = v[0].mT.reshape(m, *self._shape)  # (m, C, H, W)
        total = torch.zeros_like(images)
        for nodes in self._steps(m if self._before.width else 0):
            back = self._adjoint(images, nodes).flatten(2)  # (k, m, D)
            mixed = self._before.matvec(back.flatten(0, 1).mT[None])[0].mT.reshape(-1, *images.shape)
            moved = apply_each(self._policy, self._rule, mixed, nodes.start, nodes.stop, channelwise=self._alike)
            total += ((moved - self._offset[nodes]) * self._weights[nodes][..., None, None, None]).sum(0)
        return self._means.matvec(v) + total.flatten(1).mT[None]

    def _adjoint(self, images: Tensor, nodes: slice) -> Tensor:
        """`M_jᵀ v`. `(m, C, H, W)` to `(k, m, C, H, W)`."""
        with torch.enable_grad():
            at = images.new_zeros(nodes.stop - nodes.start, *images.shape, requires_grad=True)
            y = apply_each(self._policy, self._rule, at, nodes.start, nodes.stop, channelwise=self._alike)
            return torch.autograd.grad(y, at, images.expand_as(y))[0]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._rule) * (1 + self._before.width)

    def columns(self) -> Tensor:
        """All columns, if they fit."""
        check_memory("The factor of the covariance", self.width, *self.mean.shape, limit=self.limit)
        found = [(weights.sqrt()[..., None] * moved.flatten(2)).flatten(0, 1) for weights, moved in self.parts()]
        return torch.cat([self._means.columns()[0].mT, *found]).mT[None]

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖²` in the Frobenius norm; through the covariance itself, if there is room for it. Shape `(1,)`."""
        d = self.mean.shape[1]
        if 24 * d**2 > self.limit or not (self._means.fits and self._before.fits):
            return frobenius2_by_products(self)
        means = self._means.columns()[0]
        whole = means @ means.mT
        for weights, moved in self.parts():
            flat = (weights.sqrt()[..., None] * moved.flatten(2)).flatten(0, 1)
            whole.addmm_(flat.mT, flat)
        return whole.square().sum()[None]

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(1,)`."""
        return self._m4()


def copies(policy: Policy) -> bool:
    """Whether every pixel of the result is a copy of one pixel."""
    if isinstance(policy, Compose | Mixture):
        return all(copies(part) for part in policy.parts)
    return isinstance(policy, Flip | Identity)
