"""Images mixed with a partner from a data set: mixup and CutMix.

With partners x′ of mean m and covariance S, and d = x − m, mixup `λ x + (1 − λ) x′`, λ ~ Beta(a, a), has

    μ = (x + m) / 2,    C = v d dᵀ + (v + ¼) S,    v = Var λ = 1 / (4 (2a + 1))

and CutMix, which shows x′ in a box B, p_u the chance that u is in it and P_uv that u and v both are,

    μ = x − p ∘ d,    C = (P − p pᵀ) ∘ d dᵀ + P ∘ S

S is never formed: products by it go through the partners, a few at a time. Labels mix as λ, or as the share of the box;
a label is so many more entries behind the pixels, in CutMix with the mean of B over the pixels as their B.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.covariances import MEMORY, Covariance, check_memory
from auglean.moments.examples import Examples, check_values
from auglean.moments.masks import Boxes
from auglean.moments.moments import Moments
from auglean.moments.rules import Kind

_PIECE = 64  # partners at once


class Partners:
    """A data set that images are mixed with: each of its images equally likely, the image itself among them.

    Args:
        data: An `ImageSet`, or images `(N, C, H, W)`, uint8 or floats in [0, 1], and their labels `(N,)` as a pair.
        labels: Whether the label of a partner, one-hot, stands behind its pixels.

    Raises:
        InputError: If there is no image.

    >>> images = torch.arange(4.0).view(4, 1, 1, 1) / 4
    >>> float(Partners((images, torch.tensor([0, 0, 1, 1]))).mean)
    0.375
    """

    def __init__(self, data: Any, *, labels: bool = False) -> None:
        self._examples = Examples(data)
        image, _ = self._examples.batch(torch.tensor([0]))
        #: `(C, H, W)` of the images.
        self.shape = (image.shape[1], image.shape[2], image.shape[3])
        self.device = image.device
        self.classes = 0
        if labels:
            names = len(self._examples.class_names)
            self.classes = names or 1 + max(int(y.max()) for _, y in self._batches())

    def __len__(self) -> int:
        return len(self._examples)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for ids in torch.arange(len(self)).split(_PIECE):
            yield self._examples.batch(ids)

    def vector(self, image: Tensor, label: Tensor) -> Tensor:
        """Put one-hot labels behind the pixels, if they are wanted. `(n, C, H, W)` to `(n, D)`, float64."""
        flat = image.double().flatten(1)
        return torch.cat([flat, torch.nn.functional.one_hot(label, self.classes).to(flat)], 1) if self.classes else flat

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the partners. Shape `(D,)`, float64."""
        return torch.stack([self.vector(x, y).sum(0) for x, y in self._batches()]).sum(0) / len(self)

    def deviations(self) -> Iterator[Tensor]:
        """Partners without their mean, a few at a time. `(n, D)`, float64."""
        for x, y in self._batches():
            yield self.vector(x, y) - self.mean

    @cached_property
    def variance(self) -> Tensor:
        """Diagonal of S. Shape `(D,)`."""
        return torch.stack([part.square().sum(0) for part in self.deviations()]).sum(0) / len(self)

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply by S. `(D, m)` to `(D, m)`."""
        total = torch.zeros_like(v)
        for part in self.deviations():
            total += part.mT @ (part @ v)
        return total / len(self)


class _Mixup(Covariance):
    m4_kind: Kind = "exact finite"

    def __init__(self, x: Tensor, partners: Partners, alpha: float, limit: int) -> None:
        self._partners, self._alpha, self.limit = partners, alpha, limit
        self._v = 1 / (4 * (2 * alpha + 1))
        self._d = x - partners.mean
        self.mean = ((x + partners.mean) / 2)[None]
        self.variance = (self._v * self._d.square() + (self._v + 0.25) * partners.variance)[None]

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(1, D, m)` to `(1, D, m)`."""
        own = self._d[:, None] * (self._d @ v[0])
        return (self._v * own + (self._v + 0.25) * self._partners.matvec(v[0]))[None]

    @property
    def width(self) -> int:
        """One, and number of partners."""
        return 1 + len(self._partners)

    def columns(self) -> Tensor:
        """The factor, if it fits."""
        check_memory("The factor of the covariance", self.width, len(self._d), limit=self.limit)
        share = ((self._v + 0.25) / len(self._partners)) ** 0.5
        rows = [self._v**0.5 * self._d[None], *(share * part for part in self._partners.deviations())]
        return torch.cat(rows).mT[None]

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, partner by partner, by a Gauss–Jacobi rule of three nodes. Shape `(1,)`."""
        from scipy.special import roots_jacobi

        nodes, weights = roots_jacobi(3, self._alpha - 1, self._alpha - 1)
        total = self._d.new_zeros(1)
        for part in self._partners.deviations():
            own, cross, theirs = self._d.square().sum(), part @ self._d, part.square().sum(1)
            for t, w in zip((nodes + 1) / 2, weights / weights.sum(), strict=True):
                # T − μ = (λ − ½) d + (1 − λ) (x′ − m)
                distance = (t - 0.5) ** 2 * own + 2 * (t - 0.5) * (1 - t) * cross + (1 - t) ** 2 * theirs
                total += w * distance.square().sum()
        return total / len(self._partners)


class _CutMix(Covariance):
    m4_kind: Kind = "exact finite"

    def __init__(self, x: Tensor, partners: Partners, law: Boxes, limit: int) -> None:
        self._x, self._partners, self._law, self.limit = x, partners, law, limit
        self._d = x - partners.mean
        chance = law.chance
        # E B² of a pixel is p, and that of the share of the box needs pairs
        both = self._spread(chance)
        both[chance.numel() * partners.shape[0] :] = self._together(torch.ones_like(chance)).mean() / chance.numel()
        p = self._p = self._spread(chance)
        self.mean = (x - p * self._d)[None]
        self.variance = ((both - p * p) * self._d.square() + both * partners.variance)[None]

    def _spread(self, plane: Tensor) -> Tensor:
        """Bring values of pixels to every channel, and their mean to the labels. `(…, H, W)` to `(…, D)`."""
        c, k = self._partners.shape[0], self._partners.classes
        pixels = plane.flatten(-2)
        return torch.cat(
            [pixels.repeat(*[1] * (pixels.ndim - 1), c), pixels.mean(-1, keepdim=True).expand(*pixels.shape[:-1], k)],
            -1,
        )

    def _gather(self, entries: Tensor) -> Tensor:
        """The transpose of `_spread`. `(…, D)` to `(…, H, W)`."""
        c, h, w = self._partners.shape
        planes: Tensor = entries[..., : c * h * w].unflatten(-1, (c, h, w)).sum(-3)
        return planes + entries[..., c * h * w :].sum(-1)[..., None, None] / (h * w)

    def _together(self, plane: Tensor) -> Tensor:
        """`P q` of planes `(…, H, W)`."""
        total = torch.zeros_like(plane)
        for rows, columns in self._law.pairs:
            total += rows @ plane @ columns
        return total

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply. `(1, D, m)` to `(1, D, m)`."""
        rows = v[0].mT  # (m, D)
        own = self._d * rows
        total = self._d * (self._spread(self._together(self._gather(own))) - self._p * (own @ self._p)[:, None])
        for part in self._partners.deviations():
            theirs = part[:, None] * rows  # (n, m, D)
            total += (part[:, None] * self._spread(self._together(self._gather(theirs)))).sum(0) / len(self._partners)
        return total.mT[None]

    @property
    def width(self) -> int:
        """Number of boxes for each partner."""
        return len(self._law) * len(self._partners)

    def columns(self) -> Tensor:
        """A column for each box and partner, if they fit."""
        check_memory("The factor of the covariance", self.width, len(self._d), limit=self.limit)
        found = []
        for w, box in self._law.all():
            shown = self._spread(box[0])
            for part in self._partners.deviations():
                off = self._x + shown * (part - self._d) - self.mean[0]
                found.append((w / len(self._partners)) ** 0.5 * off)
        return torch.cat(found).mT[None]

    @cached_property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`, over boxes and partners. Shape `(1,)`."""
        c, h, w = self._partners.shape
        size, total = c * h * w, self._d.new_zeros(1)
        here = self._x - self.mean[0]
        base = here[:size].square().sum()
        for part in self._partners.deviations():
            step = part - self._d  # x′ − x
            # inside the box, the square of what is shown is that much more
            more = ((here + step)[:, :size].square() - here[:size].square()).unflatten(1, (c, h, w)).sum(1)
            at, slope = here[size:], step[:, size:]
            for weight, rows, columns in zip(self._law.weights, self._law.rows, self._law.columns, strict=True):
                distance = base + rows @ more @ columns.mT  # (n, places, places)
                share = rows.sum(1)[:, None] * columns.sum(1) / (h * w)
                distance = distance + at.square().sum() + 2 * share * (slope @ at)[:, None, None]
                distance = distance + share.square() * slope.square().sum(1)[:, None, None]
                total += weight * distance.square().mean((1, 2)).sum()
            total += self._law.spared * len(part) * (base + here[size:].square().sum()).square()
        return total / len(self._partners)


def cutmix_boxes(height: int, width: int, alpha: float) -> Boxes:
    """Law of the box of CutMix, as torchvision has it.

    Half its sides are `⌊r H⌋` and `⌊r W⌋`, `r = ½ √(1 − λ)`, λ ~ Beta(alpha, alpha); its centre is uniform on the
    pixels, and what lies outside is cut off.

    >>> law = cutmix_boxes(4, 4, 1.0)  # half a side is one pixel where r is ¼ or more
    >>> [round(weight, 12) for weight in law.weights]
    [0.75]
    """
    from scipy.special import betainc

    ends = sorted({i / n for n in (height, width) for i in range(n // 2 + 1)} | {0.5})
    weights, rows, columns = [], [], []
    for low, high in pairwise(ends):
        middle = (low + high) / 2
        down, across = int(middle * height), int(middle * width)
        weight = float(betainc(alpha, alpha, 1 - 4 * low**2) - betainc(alpha, alpha, 1 - 4 * high**2))
        if down and across and weight > 0:
            weights.append(weight)
            rows.append(_covers(height, down))
            columns.append(_covers(width, across))
    if not weights:  # of images of two pixels half a side is none
        return Boxes([0.0], [_covers(height, 1)], [_covers(width, 1)])
    return Boxes(weights, rows, columns)


def _covers(n: int, half: int) -> Tensor:
    place = torch.arange(n)
    return ((place >= place[:, None] - half) & (place < place[:, None] + half)).double()


def mixup(
    image: Tensor, partners: Partners, *, alpha: float = 1.0, label: int | None = None, max_memory: int = MEMORY
) -> Moments:
    """Give the moments of an image under mixup with partners from a data set.

    Zhang, Cisse, Dauphin & Lopez-Paz 2018 (arXiv 1710.09412): `λ x + (1 − λ) x′`, λ ~ Beta(alpha, alpha).

    Args:
        image: Values in [0, 1], or uint8. Shape `(C, H, W)`.
        partners: What it is mixed with, each image equally likely.
        alpha: Of the Beta law, above 0.
        label: Class of the image, where partners have labels.
        max_memory: Bytes of columns.

    Returns:
        Exact moments; with labels of the vector of pixels and label, of shape `(1, 1, D + K)`.

    Raises:
        InputError: If shapes, labels or alpha do not fit.

    >>> partners = Partners((torch.rand(50, 1, 4, 4), torch.zeros(50, dtype=torch.int64)))
    >>> mixup(torch.ones(1, 4, 4), partners, alpha=0.4).kind
    'exact finite'
    """
    start, x = time.perf_counter(), _checked(image, partners, alpha, label)
    form = _Mixup(x, partners, alpha, max_memory)
    return _moments(form, image, partners, form.width, start)


def cutmix(
    image: Tensor, partners: Partners, *, alpha: float = 1.0, label: int | None = None, max_memory: int = MEMORY
) -> Moments:
    """Give the moments of an image under CutMix with partners from a data set.

    Yun et al. 2019 (arXiv 1905.04899), as torchvision has it: see `cutmix_boxes`. Arguments and result as of `mixup`.

    >>> partners = Partners((torch.rand(50, 1, 4, 4), torch.zeros(50, dtype=torch.int64)))
    >>> cutmix(torch.ones(1, 4, 4), partners).mean.shape
    torch.Size([1, 4, 4])
    """
    start, x = time.perf_counter(), _checked(image, partners, alpha, label)
    form = _CutMix(x, partners, cutmix_boxes(*partners.shape[1:], alpha).to(x), max_memory)
    return _moments(form, image, partners, form.width, start)


def _checked(image: Tensor, partners: Partners, alpha: float, label: int | None) -> Tensor:
    if tuple(image.shape) != partners.shape:
        raise InputError(f"The partners have shape {partners.shape} but the image has {tuple(image.shape)}.")
    if not 0 < alpha < np.inf:
        raise InputError(f"Mixing expected a finite alpha above 0 but found {alpha!r}.")
    if (label is None) != (partners.classes == 0) or (label is not None and not 0 <= label < partners.classes):
        known = f"0 … {partners.classes - 1}" if partners.classes else "none, as partners without labels have"
        raise InputError(f"Mixing expected a label {known} but found {label!r}; see Partners(…, labels=True).")
    x = image.double() / 255 if image.dtype == torch.uint8 else image.double()
    check_values(x[None], torch.zeros(1))
    return partners.vector(x[None].to(partners.device), torch.tensor([label or 0], device=partners.device))[0]


def _moments(form: Covariance, image: Tensor, partners: Partners, nodes: int, start: float) -> Moments:
    shape = (1, 1, -1) if partners.classes else image.shape
    return Moments(
        mean=form.mean[0].view(shape),
        variance=form.variance[0].view(shape),
        trace=form.variance.sum(),
        kind="exact finite",
        error=form.mean.new_zeros(()),
        dropped=form.mean.new_zeros(()),
        nodes=nodes,
        seconds=time.perf_counter() - start,
        note="The uint8 image was divided by 255." if image.dtype == torch.uint8 else "",
        covariance=form,
    )
