"""Parameters at which a sampler has its kinks: where the source coordinate of some pixel is a whole number.

Between two of them a pixel is a polynomial in a displacement, in the slope of a shear and in the inverse of a zoom, and
a trigonometric one in an angle. Nearest pixels jump where a coordinate is half-way between two, and are constant
elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from auglean.policies.warping import Warp


@dataclass(frozen=True, slots=True)
class Place:
    """Pixels about a fixed point.

    Attributes:
        size: (width, height).
        point: The fixed point (x, y), in pixels from the centre of the first one.
        nearest: Whether the nearest pixel is taken, which jumps between whole coordinates.
    """

    size: tuple[int, int]
    point: tuple[float, float]
    nearest: bool = False

    @staticmethod
    def of(policy: Warp, height: int, width: int) -> Place:
        """Where a policy acts on images of a size."""
        point = policy.centre or ((width - 1) / 2, (height - 1) / 2)
        return Place((width, height), point, policy.interpolation == "nearest")

    def distances(self, axis: int) -> Tensor:
        """Distances of the pixels from the point along an axis: 0 is x, 1 is y."""
        return torch.arange(self.size[axis], dtype=torch.float64) - self.point[axis]

    def lattice(self, axis: int, reach: float) -> Tensor:
        """Distances from the point at which a coordinate has a knot, a little further than a reach."""
        start = -self.point[axis] + 0.5 * self.nearest
        return torch.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2, dtype=torch.float64) + start % 1


def sorted_knots(inner: Tensor, low: float, high: float) -> Tensor:
    """Sort knots between two ends, those within rounding of each other once."""
    inner = inner[(inner > low) & (inner < high)]
    span = high - low
    inner = low + span * torch.unique(((inner - low) / span * 2**40).round()) / 2**40
    ends = torch.tensor([low, high], dtype=torch.float64)
    return torch.cat([ends[:1], inner, ends[1:]])


@lru_cache(maxsize=16)
def rotation_knots(low: float, high: float, place: Place) -> Tensor:
    """Knots of an angle in degrees.

    The source of the pixel at `r (cos φ, sin φ)` from the fixed point is at `r (cos(θ + φ), sin(θ + φ))`.
    """
    dy, dx = torch.meshgrid(place.distances(1), place.distances(0), indexing="ij")
    radius, phase = torch.hypot(dx, dy).flatten(), torch.atan2(dy, dx).flatten()
    phase, radius = phase[radius > 0], radius[radius > 0]
    reach = float(radius.max()) if len(radius) else 0.0
    found = [torch.zeros(0, dtype=torch.float64)]
    for axis, turn in ((0, 0.0), (1, math.pi / 2)):
        ratio = place.lattice(axis, reach)[:, None] / radius
        angle = torch.arccos(ratio.clamp(-1, 1))
        found += [(sign * angle + turn - phase)[ratio.abs() <= 1] for sign in (1.0, -1.0)]
    every = torch.remainder(torch.rad2deg(torch.cat(found)) + 180, 360) - 180
    turns = range(math.floor(low / 360) - 1, math.ceil(high / 360) + 2)
    return sorted_knots(torch.cat([every + 360 * k for k in turns]), low, high)


def _ratios(lattice: Tensor, distances: Tensor) -> Tensor:
    """All ratios of a lattice to distances, without the fixed point itself."""
    return (lattice[:, None] / distances[distances != 0]).flatten()


@lru_cache(maxsize=16)
def scale_knots(low: float, high: float, place: Place) -> Tensor:
    """Knots of the inverse of a factor."""
    found = []
    for axis in (0, 1):
        d = place.distances(axis)
        found.append(_ratios(place.lattice(axis, high * float(d.abs().max())), d))
    return sorted_knots(torch.cat(found), low, high)


@lru_cache(maxsize=16)
def shear_knots(low: float, high: float, place: Place, *, vertical: bool) -> Tensor:
    """Knots of an angle of shear in degrees: the offset is a whole number, whatever the column."""
    along, by = (1, 0) if vertical else (0, 1)
    steep = max(abs(math.tan(math.radians(end))) for end in (low, high))
    reach = steep * float(place.distances(by).abs().max())
    # what counts is the offset from the pixel itself, which stands on a whole number
    offsets = Place(place.size, (0.0, 0.0), place.nearest).lattice(along, reach)
    return sorted_knots(torch.rad2deg(torch.atan(_ratios(offsets, place.distances(by)))), low, high)
