"""Mean and variance of many images that share the grids of a warp, a few pixels at a time.

A warp sends every plane of every image through the same grids. To read the four neighbours of a pixel once for all
planes, which lie side by side, is cheaper than to read them plane by plane; and with all nodes of a few pixels at hand,
mean and variance need no joining.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from auglean.moments.rules import Rule
from auglean.policies import Affine, Policy, Rotate, Scale, Shear, Shift, Translate
from auglean.policies.warping import Warp, colour

#: Planes that are worked on at once, at most, and from which on it pays.
_PLANES, _FEW = 256, 48
#: Bytes of all nodes that are worked on at once, and of those kept for a glimpse of the covariance.
_BLOCK, _SEEN = 2**21, 2**25
#: Pixels of all nodes whose neighbours are found at once.
_TAPS = 2**15
#: Columns and rows of nothing around a plane: of four neighbours, the first is one outside at most, the last two.
_EDGE = (1, 2, 1, 2)
#: What is an affine warp.
_WARPS = (Translate, Shift, Rotate, Scale, Shear, Affine)

#: Which n of the D entries of an image the covariance is asked of, and directions `(n, m)` to multiply it by.
Glimpse = tuple[slice, Tensor]


def pays(policy: Policy, own: Rule, x: Tensor, limit: int, glimpse: Glimpse | None) -> TypeGuard[Warp]:
    """Whether nodes of images `(B, C, H, W)` are those of one warp, and planes many enough.

    Args:
        policy: Which may be a warp.
        own: Its nodes.
        x: Images.
        limit: Bytes that may be taken.
        glimpse: As of `shared_moments`.
    """
    return (
        isinstance(policy, _WARPS)
        and policy.interpolation == "bilinear"
        and policy.padding == "fill"
        and own.weights.shape[1] == 1
        and 8 * len(own) * x.numel() > _BLOCK  # fewer nodes are made once and kept
        and limit >= 2 * (_BLOCK + _SEEN)
        and min(len(x), _together(own, x, glimpse)) * x.shape[1] >= _FEW
        and x.device.type == "cpu"  # elsewhere to sample planes costs little
    )


def _together(own: Rule, x: Tensor, glimpse: Glimpse | None) -> int:
    """How many images are worked on at once."""
    seen = 0 if glimpse is None else len(glimpse[1])
    return max(1, min(_PLANES // x.shape[1], _SEEN // (8 * len(own) * max(1, seen))))


def shared_moments(
    policy: Warp, own: Rule, x: Tensor, glimpse: Glimpse | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Give mean and variance of a rule, and products by its covariance.

    Args:
        policy: One for which it `pays`.
        own: Its nodes.
        x: Images. Shape `(B, C, H, W)`, float64.
        glimpse: Which products, if any.

    Returns:
        Mean and variance, `(B, D)` each, and the products, `(B, n, m)`, if they are asked for.
    """
    b, c, h, w = x.shape
    pixels, directions = glimpse or (slice(0), x.new_empty(0, 0))
    entries = torch.arange(c * h * w, device=x.device)[pixels]
    params = {name: value[:, 0].to(x.device) for name, value in own.params.items()}
    matrix, weights = policy.matrix(params, h, w).double(), own.weights.T.to(x.device)
    fill = colour(policy.fill, x)
    mean, variance = x.new_empty(2, b, c, h * w)
    sketch = x.new_empty(b, *directions.shape)
    many = _together(own, x, glimpse)
    for group in range(0, b, many):
        images = slice(group, group + many)
        count = len(x[images])
        planes = F.pad(x[images] - fill, _EDGE).flatten(0, 1).flatten(1).T.contiguous()  # (pixels and edge, b C)
        seen = _Seen(entries, h * w, len(own), count)
        step = max(1, _BLOCK // (8 * len(own) * count * c))
        for start, places, shares in _taps(matrix, step, h, w):
            found = F.embedding_bag(places, planes, per_sample_weights=shares, mode="sum").view(len(own), -1)
            centre = weights @ found
            off = found.sub_(centre)
            seen.look(start, off.view(len(own), -1, count, c))
            spread = weights @ off.square_()
            for whole, part in ((mean, centre), (variance, spread)):
                whole[images, :, start : start + step] = part.view(-1, count, c).permute(1, 2, 0)
        sketch[images] = seen.products(weights[0], directions)
    mean.add_(fill.flatten(1) if isinstance(fill, Tensor) else fill)
    return mean.flatten(1), variance.flatten(1), sketch if glimpse else None


def _taps(matrix: Tensor, step: int, height: int, width: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Give the pixels between which a warp interpolates, and the share of each, for so many pixels at a time.

    Args:
        matrix: Source maps, as `auglean.policies.warping.warp` takes them. Shape `(K, 2, 3)`.
        step: P, pixels at a time.
        height: Of the image.
        width: Of the image.

    Yields:
        The first of P or fewer pixels; positions in a plane with its edge, and shares, each of shape `(K P, 4)`.
    """
    size, nodes, edged = height * width, len(matrix), width + _EDGE[0] + _EDGE[1]
    (ax, bx, x0), (ay, by, y0) = matrix[..., None].permute(1, 2, 0, 3)  # (K, 1) each
    beside = torch.tensor([0, 1, edged, edged + 1], device=matrix.device)
    together = step * max(1, _TAPS // (nodes * step))  # of small tensors, calls would take longer than the work
    for begin in range(0, size, together):
        pixels = torch.arange(begin, min(begin + together, size), device=matrix.device)
        column = (pixels % width) - (width - 1) / 2
        row = pixels.div(width, rounding_mode="floor") - (height - 1) / 2
        x = (ax * column + bx * row).add_(x0 + (width - 1) / 2).clamp_(-1, width)  # further outside, all is the same
        y = (ay * column + by * row).add_(y0 + (height - 1) / 2).clamp_(-1, height)
        left, top = x.floor(), y.floor()
        x, y = x.sub_(left), y.sub_(top)
        places = ((top + 1) * edged + (left + 1)).long()[..., None] + beside
        above = 1 - y
        shares = torch.stack([above * (1 - x), above * x, y * (1 - x), y * x], -1)
        for start in range(0, len(pixels), step):
            some = slice(start, start + step)
            yield begin + start, places[:, some].reshape(-1, 4), shares[:, some].reshape(-1, 4)


class _Seen:
    """Deviations of some entries of the images, for products by their covariance."""

    def __init__(self, entries: Tensor, plane: int, nodes: int, images: int) -> None:
        self._order = (entries % plane).argsort()
        self._places, self._channels = entries[self._order] % plane, entries[self._order] // plane
        self._found = torch.empty(images, nodes, len(entries), dtype=torch.float64, device=entries.device)

    def look(self, start: int, off: Tensor) -> None:
        """Keep what is asked for of some pixels `(K, P, b, C)`, the first of which is at `start`."""
        low, high = torch.searchsorted(self._places, self._places.new_tensor([start, start + off.shape[1]])).tolist()
        places, channels = self._places[low:high] - start, self._channels[low:high]
        self._found[:, :, low:high] = off.permute(2, 0, 1, 3)[:, :, places, channels]

    def products(self, weights: Tensor, directions: Tensor) -> Tensor:
        """Multiply the covariance of all that was seen. `(n, m)` to `(b, n, m)`."""
        along = weights[:, None] * (self._found @ directions[self._order])
        return (self._found.mT @ along)[:, self._order.argsort()]
