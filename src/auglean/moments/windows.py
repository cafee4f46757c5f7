"""A warp followed, in the same interpolation, by an independent shift by whole pixels: windows of a larger canvas.

A shift by whole pixels moves the positions of the pixels, not what lies between them. So the image warped by θ and
moved by k is the window at k of the warp by θ shown on a canvas with a margin, exactly, and by the law of total
covariance

    μ = Σ w_θ μ_θ,    C = Σ w_θ C_θ + Σ w_θ (μ_θ − μ)(μ_θ − μ)ᵀ

with the moments of all windows of one canvas in the mass form of `auglean.moments.shifts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.geometric_rules import displacements
from auglean.moments.laws import Discrete, hats
from auglean.moments.rules import Kind, Rule
from auglean.moments.shifts import Shifts
from auglean.policies import Affine, Policy, Shift
from auglean.policies.warping import warp

#: Bytes of canvases worked on at once.
_BLOCK = 2**24


def margin(law: Discrete) -> int:
    """How far a law reaches, in pixels."""
    return int(max(abs(law.low), abs(law.high)))


class Windows(Covariance):
    """Moments of the windows of canvases.

    Args:
        canvas: Gives what the nodes `start … stop − 1` show, with as much margin as the laws reach.
            Shape `(stop − start, B, C, H + 2 m_y, W + 2 m_x)`.
        weights: Of the nodes. Shape `(K,)`.
        shape: `(B, C, H, W)`.
        down: Law of the shift downwards.
        across: Law of the shift to the right.
        m4_kind: How well the nodes stand for fourth powers.
        scale: Factor of the second sum; K / (K − 1) makes that of K draws unbiased.
        limit: Bytes of columns.
    """

    def __init__(
        self,
        canvas: Callable[[int, int], Tensor],
        weights: Tensor,
        shape: tuple[int, int, int, int],
        *,
        down: Discrete,
        across: Discrete,
        m4_kind: Kind,
        scale: float = 1.0,
        limit: int = MEMORY,
    ) -> None:
        self._canvas, self._weights, self._shape, self._scale = canvas, weights, shape, scale
        self._laws, self.m4_kind, self.limit = (down, across), m4_kind, limit
        self._margin = (margin(down), margin(across))
        b, c, h, w = shape
        size = 8 * b * c * (h + 2 * self._margin[0]) * (w + 2 * self._margin[1])
        self._step = max(1, min(_BLOCK, limit // 8) // size)
        first: Tensor | None = None
        mean, within, square = (weights.new_zeros(b, c * h * w) for _ in range(3))
        for share, form in self._forms():
            means = self._inner(form.mean)
            first = means[0] if first is None else first
            mean += torch.tensordot(share, means - first, 1)
            square += torch.tensordot(share, (means - first).square(), 1)
            within += torch.tensordot(share, self._inner(form.variance), 1)
        assert first is not None  # a rule has nodes
        self.mean = first + mean
        self.variance = within + scale * (square - mean.square()).clamp(min=0)

    def _forms(self) -> Iterator[tuple[Tensor, Shifts]]:
        """The weights of a few nodes `(k,)`, and the moments of their windows, as if canvases were images."""
        down, across = (hats(law) for law in self._laws)
        for start in range(0, len(self._weights), self._step):
            stop = min(start + self._step, len(self._weights))
            z = self._canvas(start, stop).flatten(0, 1)  # (k · B, C, …)
            # the windows in the middle see nothing of what is outside the canvas
            form = Shifts(
                z, down, across, padding="fill", fill=0.0, fourth=_never, m4_kind=self.m4_kind, limit=self.limit
            )
            yield self._weights[start:stop], form

    def _inner(self, flat: Tensor) -> Tensor:
        """Cut the image out of canvases `(k · B, D′, …)`. `(k, B, D, …)`."""
        b, c, h, w = self._shape
        y, x = self._margin
        canvases = flat.unflatten(1, (c, h + 2 * y, w + 2 * x))[:, :, y : y + h, x : x + w]
        inner: Tensor = canvases.flatten(1, 3).unflatten(0, (-1, b))
        return inner

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(B, D, m)` to `(B, D, m)`."""
        b, c, h, w = self._shape
        y, x = self._margin
        right = F.pad(v.mT.reshape(b, -1, c, h, w), (x, x, y, y)).flatten(2).mT  # (B, D′, m)
        total = torch.zeros_like(v)
        for share, form in self._forms():
            within = self._inner(form.matvec(right.repeat(len(share), 1, 1)))
            off = self._inner(form.mean) - self.mean  # (k, B, D)
            between = off[..., None] * (off[..., None] * v).sum(2, keepdim=True)
            total += torch.tensordot(share, within + self._scale * between, 1)
        return total

    @property
    def width(self) -> int:
        """Number of windows, and one for each node."""
        down, across = (len(law.values) for law in self._laws)
        return len(self._weights) * (down * across + 1)

    def columns(self) -> Tensor:
        """A factor of each canvas and the means, if they fit."""
        check_memory("The factor of the covariance", self.width, *self._shape, limit=self.limit)
        found = []
        for share, form in self._forms():
            root = share.sqrt()[:, None, None, None]
            within = root * self._inner(form.columns())  # (k, B, D, windows)
            between = self._scale**0.5 * root * (self._inner(form.mean) - self.mean)[..., None]
            found.append(torch.cat([within, between], 3).permute(1, 2, 0, 3).flatten(2))
        return torch.cat(found, 2)

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, from the distance of every window. Shape `(B,)`."""
        b, c, h, w = self._shape
        mean, total = self.mean.view(b, c, h, w), self._weights.new_zeros(b)
        down, across = (mean.new_tensor(law.weights).flip(0) for law in self._laws)  # window 0 is the largest shift
        for start in range(0, len(self._weights), self._step):
            share = self._weights[start : start + self._step]
            z = self._canvas(start, start + len(share))
            # a level common to both changes no distance, and what is small loses fewest digits
            level = mean.mean((2, 3), keepdim=True)
            size = z.shape[3:]
            spectrum = torch.fft.rfft2(z - level)
            cross = torch.fft.irfft2((spectrum * torch.fft.rfft2(mean - level, s=size).conj()).sum(2), s=size)
            ones = torch.fft.rfft2(mean.new_ones(h, w), s=size).conj()
            own = torch.fft.irfft2(torch.fft.rfft2((z - level).square().sum(2)) * ones, s=size)
            distance = (own - 2 * cross)[..., : len(down), : len(across)]
            distance = distance + (mean - level).square().sum((1, 2, 3))[:, None, None]
            total += share @ torch.einsum("y,kbyx,x->kb", down, distance.square(), across)
        return total


def _never() -> Covariance:
    raise NotImplementedError  # fourth powers of one canvas are of no use


def joint(policy: Policy) -> TypeGuard[Affine]:
    """Whether a policy warps and shifts by whole pixels in one interpolation."""
    if not isinstance(policy, Affine) or policy.alone is not None:
        return False
    return isinstance(policy.translate, Shift) and policy.translate.whole and not policy.translate.idle


def still(policy: Affine, *, beside: tuple[int, int] = (0, 0)) -> Affine:
    """The same without its shift, on images with a margin (across, down)."""
    options = policy.options
    if policy.centre is not None:
        options["centre"] = (policy.centre[0] + beside[0], policy.centre[1] + beside[1])
    return Affine(
        degrees=policy.rotate.range,
        scale=policy.scale.range,
        shear=policy.shear.range,
        shear_y=policy.shear_y.range if policy.shear_y else 0.0,
        **options,
    )


def reach(policy: Affine, height: int, width: int) -> tuple[Discrete, Discrete]:
    """Laws of the whole shifts across and down."""
    assert isinstance(policy.translate, Shift)
    across, down = displacements(policy.translate, height, width)
    assert isinstance(across, Discrete)
    assert isinstance(down, Discrete)
    return across, down


def windows_of(policy: Affine, own: Rule, x: Tensor, *, scale: float = 1.0, limit: int = MEMORY) -> Windows:
    """Take all shifts of a joint affine for each node of a rule of what is left without them."""
    b, c, h, w = x.shape
    across, down = reach(policy, h, w)
    rest = still(policy)

    def canvas(start: int, stop: int) -> Tensor:
        rows = {name: value[start:stop, 0].to(x.device) for name, value in own.params.items()}
        matrix = rest.matrix(rows, h, w)
        k = len(matrix)
        shown = warp(
            x.expand(k, b, c, h, w).reshape(k * b, c, h, w),
            matrix.repeat_interleave(b, 0),
            fill=policy.fill,
            padding=policy.padding,
            mode=policy.interpolation,
            margin=(margin(down), margin(across)),
        )
        found: Tensor = shown.unflatten(0, (k, b))
        return found

    weights = own.weights[:, 0].to(x)
    return Windows(canvas, weights, (b, c, h, w), down=down, across=across, m4_kind=own.kind, scale=scale, limit=limit)
