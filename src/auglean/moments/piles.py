"""What is known between the parts of a chain, and how its columns are brought down in number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.moments.covariances import MEMORY, Covariance
from auglean.moments.lowrank import compress, thin
from auglean.moments.rules import Kind

#: Columns of a factor, at most, where products alone can find it.
_WIDEST = 1024
#: Entries of columns that are made without leaving any out: a second or so.
_FREE = 2**27
#: Entries of columns that a part may make: some five seconds.
_MOST = 2**29
#: Columns whose inner products take as long as making them.
_EVEN = 150


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known of one image after some parts.

    Attributes:
        mean: Shape `(C, H, W)`.
        columns: Factor of the covariance, as images. Shape `(r, C, H, W)`.
        dropped: Sum of the shares of the trace that were left out after each part.
    """

    mean: Tensor
    columns: Tensor
    dropped: float = 0.0


@dataclass(frozen=True, slots=True)
class Fourth:
    """How fourth powers are got, which no factor tells: `E ‖T − μ‖⁴` of one image, and its kind."""

    of: Callable[[], Tensor]
    kind: Kind


#: Where parts come behind.
UNASKED = Fourth(lambda: torch.zeros(1), "monte carlo")


class TooDear(Exception):
    """A part would make more columns than it may."""


@dataclass(frozen=True, slots=True)
class Pile:
    """How columns are brought down in number, where that is worth what it costs.

    Attributes:
        share: Of the trace that may go, in all parts together.
        limit: Bytes of columns that wait until then.
        growth: How many columns the parts behind make of each.
        patient: Whether any work will do.
    """

    share: float
    limit: int = MEMORY
    growth: int = 1
    patient: bool = False

    def settle(self, mean: Tensor, parts: Iterator[tuple[Tensor, float]], before: float) -> State:
        """Take columns, and compress them if there are too many; half of the share is for those that cannot wait.

        Args:
            mean: Shape `(C, H, W)`.
            parts: Columns `(n, C, H, W)`, and the variance that they lack.
            before: Share of the trace that earlier parts left out.
        """
        waiting: list[Tensor] = []
        gone = held = 0.0
        for part, lost in parts:
            waiting.append(part)
            gone += lost
            held += 8 * part.numel()
            if held > self.limit / 4:
                less, lost = self._compress(torch.cat(waiting), self.share / 64)
                waiting, held, gone = [less], 0.0, gone + lost
        columns = torch.cat(waiting)
        total = float(columns.square().sum()) + gone
        if not self.light(columns.numel()):
            left = max(self.share - (gone / total if total else 0.0), self.share / 2)
            columns, lost = self._compress(columns, left)
            gone += lost
        return State(mean, columns, before + (gone / total if total else 0.0))

    def light(self, entries: int) -> bool:
        """Whether so many entries of columns may stay: there is room, and what is behind makes not too many of them."""
        return 8 * entries <= self.limit / 4 and entries * self.growth <= _FREE

    def check(self, entries: float) -> None:
        """Refuse a part that would make so many entries of columns.

        Raises:
            TooDear: If they are too many.
        """
        if entries > _MOST and not self.patient:
            raise TooDear

    def thin(self, form: Covariance, share: float) -> tuple[Tensor, float]:
        """Find the factor `(D, r)` of a covariance of one image by products alone, and the variance that it lacks."""
        (factor,), (gone,) = thin(form, share, min(_WIDEST, self.limit // (16 * form.mean.numel())))
        return factor, gone

    def thinned(self, form: Covariance, before: State) -> State:
        """Go on with the factor that products alone find."""
        factor, gone = self.thin(form, self.share)
        trace, shape = float(form.variance.sum()), before.mean.shape
        share = gone / trace if trace else 0.0
        return State(form.mean.view(shape), factor.mT.reshape(-1, *shape), before.dropped + share)

    def _compress(self, columns: Tensor, share: float) -> tuple[Tensor, float]:
        self.check(columns.numel() * min(columns.shape[0], columns[0].numel()) / _EVEN)
        small, gone = compress(columns.flatten(1).mT, share)
        return small.mT.reshape(-1, *columns.shape[1:]), gone
