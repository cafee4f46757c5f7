"""Translations in mass form: integer shifts of the image, weighed by moments of hat functions.

With `S_k` the shift by k pixels, bilinear interpolation gives `T = Σ_k φ(t − k) S_k x`, so that

    μ = Σ_k c_k S_k x,    C = Σ_kl (M_kl − c_k c_l) S_k x (S_l x)ᵀ,    c_k = E φ(t − k),  M_kl = E φ(t − k) φ(t − l)

exactly, and over two independent axes c and M are Kronecker products. Mean and variance are separable correlations,
O(D) whatever the range where the law is uniform; a product by C is two correlations, done by Fourier transforms.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.laws import Hats
from auglean.moments.rules import Kind
from auglean.policies.warping import Fill, colour, outside


def correlate(z: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Give `Σ_a weights_a z[u + a]` along a dimension, without padding.

    The most frequent weight goes through running sums, at a cost that does not grow with its number; the others, few
    where a law is uniform, are added one by one.
    """
    count, n = len(weights), z.shape[dim] - len(weights) + 1
    common = float(weights.median())
    rest = (weights - common).tolist()
    if common == 0 or count < 8:
        rest, common = weights.tolist(), 0.0
    total: Tensor | None = None
    if common:
        sums = z.cumsum(dim)
        total = sums.narrow(dim, count - 1, n).clone()
        total.narrow(dim, 1, n - 1).sub_(sums.narrow(dim, 0, n - 1))
        total *= common
    for a, weight in enumerate(rest):
        if abs(weight) > 1e-14 * abs(common):
            part = z.narrow(dim, a, n)
            total = part * weight if total is None else total.add_(part, alpha=weight)
    return torch.zeros_like(z.narrow(dim, 0, n)) if total is None else total


def extend(x: Tensor, vertical: tuple[int, int], horizontal: tuple[int, int], padding: str, fill: Fill) -> Tensor:
    """Show so many pixels of the world above and below, left and right of the image."""
    if padding in ("fill", "masked"):  # whole pixels are masked altogether or not at all
        value = colour(fill, x)
        return F.pad(x - value, (*horizontal, *vertical)) + value
    for dim, (before, after) in ((2, vertical), (3, horizontal)):
        place = torch.arange(-before, x.shape[dim] + after, device=x.device)
        x = x.index_select(dim, outside(place, x.shape[dim], padding))
    return x


class Shifts(Covariance):
    """Moments of an image moved by independent laws in y and x.

    Args:
        x: Images. Shape `(B, C, H, W)`, float64.
        vertical: Hats of the displacement downwards.
        horizontal: Hats of the displacement to the right.
        padding: What is outside, as `auglean.policies.warp` has it.
        fill: Value outside, with `padding="fill"`, or `"masked"` where laws are of whole numbers.
        fourth: Makes the rule that integrates fourth powers.
        m4_kind: Its kind.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        x: Tensor,
        vertical: Hats,
        horizontal: Hats,
        *,
        padding: str,
        fill: Fill,
        fourth: Callable[[], Covariance],
        m4_kind: Kind,
        limit: int = MEMORY,
    ) -> None:
        self._shape, self._fourth, self.m4_kind, self.limit = x.shape, fourth, m4_kind, limit

        # turned round: content moved by k is read at u − k, and a correlation counts upwards
        def turned(hats: Hats) -> tuple[Tensor, Tensor, Tensor]:
            return tuple(part.flip(0) for part in (hats.mean, hats.diagonal, hats.off))  # type: ignore[return-value]

        (cy, dy, oy), (cx, dx, ox) = turned(vertical), turned(horizontal)
        self._axes = (vertical, horizontal)
        self._c = (cy.to(x), cx.to(x))
        ends = [(hats.first + len(hats) - 1, -hats.first) for hats in (vertical, horizontal)]
        above, aside = ((max(a, 0), max(b, 0)) for a, b in ends)
        z = extend(x, above, aside, padding, fill)
        for dim, (a, b) in zip((2, 3), ends, strict=True):  # a law on one side of zero needs less than all
            z = z.narrow(dim, max(-a, 0), z.shape[dim] - max(-a, 0) - max(-b, 0))
        # no covariance knows a constant, and what is small loses fewest digits in squares
        level = x.mean((2, 3), keepdim=True)
        self._z = z = z - level
        mean = correlate(correlate(z, cx, 3), cy, 2)
        square = z.square()
        across, down = correlate(square, dx, 3), None
        if len(ox) and bool(ox.any()):
            across += correlate(2 * z[..., :-1] * z[..., 1:], ox, 3)
        if len(oy) and bool(oy.any()):
            down = correlate(2 * z[:, :, :-1] * z[:, :, 1:], dx, 3)
            if len(ox) and bool(ox.any()):
                both = z[:, :, :-1, :-1] * z[:, :, 1:, 1:] + z[:, :, :-1, 1:] * z[:, :, 1:, :-1]
                down += correlate(both.mul_(2), ox, 3)
        variance = correlate(across, dy, 2)
        if down is not None:
            variance += correlate(down, oy, 2)
        self.variance = variance.sub_(mean.square()).clamp_(min=0).flatten(1)
        self.mean = (mean + level).flatten(1)

    def _mass(self) -> tuple[Tensor, Tensor]:
        return tuple(hats.mass.flip(0, 1).to(self._z) for hats in self._axes)  # type: ignore[return-value]

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        b, c, h, w = self._shape
        (cy, cx), (my, mx) = self._c, self._mass()
        size = self._z.shape[2:]
        z = torch.fft.rfft2(self._z)[:, None]  # (B, 1, C, …)
        right = v.mT.reshape(b, -1, c, h, w)
        lags = torch.fft.irfft2((z * torch.fft.rfft2(right, s=size).conj()).sum(2), s=size)[..., : len(cy), : len(cx)]
        middle = torch.einsum("y,bmyx,x->bm", cy, lags, cx)
        weights = my @ lags @ mx - middle[..., None, None] * (cy[:, None] * cx)
        found = torch.fft.irfft2(z * torch.fft.rfft2(weights, s=size).conj()[:, :, None], s=size)[..., :h, :w]
        product: Tensor = found.flatten(2).mT
        return product

    @property
    def width(self) -> int:
        """Number of shifts."""
        return len(self._c[0]) * len(self._c[1])

    def columns(self) -> Tensor:
        """The factor `Sᵀ L` with `L Lᵀ = M − c cᵀ`, if it fits."""
        b, c, h, w = self._shape
        check_memory("The factor of the covariance", self.width, b, c, h, w, limit=self.limit)
        (cy, cx), (my, mx) = self._c, self._mass()
        centre = (cy[:, None] * cx).flatten()
        spectrum, vectors = torch.linalg.eigh(torch.kron(my, mx) - centre[:, None] * centre)
        root = vectors * spectrum.clamp(min=0).sqrt()
        shifted = self._z.unfold(2, len(cy), 1).unfold(3, len(cx), 1)  # (B, C, H, W, Ky, Kx)
        factor: Tensor = shifted.reshape(b, c * h * w, -1) @ root
        return factor

    @cached_property
    def frobenius2(self) -> Tensor:
        """`‖C‖² = tr (G Γ G Γ)`, with the inner products Γ of all shifts. Shape `(B,)`."""
        if self.fits:
            return super().frobenius2
        check_memory("The inner products of all shifts", len(self._z), self.width, self.width, limit=self.limit)
        (cy, cx), (my, mx) = self._c, self._mass()
        centre = (cy[:, None] * cx).flatten()
        product = (torch.kron(my, mx) - centre[:, None] * centre) @ self._gram()
        return (product * product.mT).sum((1, 2))

    def _gram(self) -> Tensor:
        """Inner products of the shifts, from sums over windows of the image times itself moved. `(B, K, K)`."""
        (ky, kx), (b, _, h, w) = (len(c) for c in self._c), self._shape
        z, gram = self._z, self._z.new_zeros(len(self._z), ky, kx, ky, kx)
        ones = z.new_ones(max(h, w))
        for dy in range(ky):
            for dx in range(1 - kx if dy else 0, kx):
                left = z[:, :, : z.shape[2] - dy, max(0, -dx) : z.shape[3] - max(0, dx)]
                right = z[:, :, dy:, max(0, dx) : z.shape[3] - max(0, -dx)]
                sums = correlate(correlate((left * right).sum(1, keepdim=True), ones[:h], 2), ones[:w], 3)[:, 0]
                y, x = torch.meshgrid(torch.arange(ky - dy), torch.arange(max(0, -dx), kx - max(0, dx)), indexing="ij")
                gram[:, y, x, y + dy, x + dx] = sums
                gram[:, y + dy, x + dx, y, x] = sums
        return gram.view(b, ky * kx, ky * kx)

    @property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`. Shape `(B,)`."""
        return self._fourth().m4
