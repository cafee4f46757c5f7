"""Portraits of images under a policy as pictures of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auglean.policies import AugMix, Policy
from auglean.policies.adapting import Adapted
from auglean.policies.combining import Compose, Mixture
from auglean.reports.sheets import data_uri
from auglean.studies.policy_portraits import Portrait, portraits
from auglean.studies.policy_summary import rounded

if TYPE_CHECKING:
    from auglean.studies import Comparison

#: Images of a comparison that are shown, entries of one at most, and nodes of its moments.
_SHOWN, _ENTRIES, _NODES = 3, 3 * 64 * 64, 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a gallery: pictures as data URIs, and what is said of it.

    Attributes:
        portrait: Its numbers.
        original: The image.
        mean: Mean of its copies.
        deviation: Standard deviation of each pixel, dark to light, the lightest being `largest`.
        largest: Largest standard deviation of a pixel.
        directions: Leading eigen-images with their share of the trace, blue below and red above zero.
    """

    portrait: Portrait
    original: str
    mean: str
    deviation: str
    largest: float
    directions: tuple[tuple[str, float], ...]

    def draws(self, eps: float) -> str:
        """Say how many draws bring the relative error of their mean down to `eps`, at root mean square."""
        return rounded(max(1.0, (self.portrait.spread / eps) ** 2))


def compared(comparison: Comparison) -> list[Frame]:
    """Draw what the policy of a comparison makes of an image of each of the first classes.

    The list is empty where that would take more than a second or two: of policies that can only be drawn from, one
    call after another, and of large images.

    Args:
        comparison: What `auglean.compare` gave.
    """
    train, policy = comparison.splits.train, comparison.policy
    if train.images[0].numel() > _ENTRIES or _only_drawn(policy):
        return []
    firsts = [(train.labels == label).nonzero()[0] for label in range(min(_SHOWN, train.classes))]
    return frames(portraits(policy, train, torch.cat(firsts).cpu(), tol=0.01, most=_NODES))


def _only_drawn(policy: Policy) -> bool:
    if isinstance(policy, Compose | Mixture):
        return any(_only_drawn(part) for part in policy.parts)
    return isinstance(policy, Adapted | AugMix)


def frames(drawn: Sequence[Portrait]) -> list[Frame]:
    """Draw portraits.

    Args:
        drawn: Of images of 1 or 3 channels.
    """
    return [
        Frame(
            portrait=portrait,
            original=data_uri(portrait.image),
            mean=data_uri(portrait.mean.clamp(0, 1)),
            deviation=data_uri(_heat(portrait.deviation)),
            largest=float(portrait.deviation.max()),
            directions=tuple(
                (data_uri(_signed(direction)), float(share))
                for direction, share in zip(portrait.directions, portrait.shares, strict=True)
                if share > 1e-6
            ),
        )
        for portrait in drawn
    ]


def _heat(deviation: Tensor) -> Tensor:
    """Colour standard deviations `(C, H, W)`, over the channels at root mean square."""
    level = deviation.square().mean(0).sqrt()
    return _coloured(level / level.max().clamp(min=1e-12), "magma")


def _signed(direction: Tensor) -> Tensor:
    """Colour an eigen-image `(C, H, W)` by sign, its channels averaged; white is zero."""
    level = direction.mean(0)
    return _coloured(0.5 + level / (2 * level.abs().max().clamp(min=1e-12)), "RdBu_r")


def _coloured(level: Tensor, name: str) -> Tensor:
    """Send values in [0, 1], `(H, W)`, through a colour map: `(3, H, W)`."""
    from matplotlib import colormaps

    return torch.from_numpy(colormaps[name](level.numpy())[..., :3]).permute(2, 0, 1).float()
