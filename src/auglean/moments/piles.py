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


@dataclass(frozen=True, slots=True)
class Pile:
    """How columns are brought down in number.

    Attributes:
        share: Of the trace that may go, in all parts together.
        limit: Bytes of columns that wait until then.
    """

    share: float
    limit: int = MEMORY

    def settle(self, mean: Tensor, parts: Iterator[Tensor], before: float) -> State:
        """Compress columns that come in parts `(n, C, H, W)`; half of the share is for those that cannot wait."""
        waiting: list[Tensor] = []
        gone = held = 0.0
        for part in parts:
            waiting.append(part)
            held += 8 * part.numel()
            if held > self.limit / 4:
                less, lost = self._compress(torch.cat(waiting), self.share / 64)
                waiting, held, gone = [less], 0.0, gone + lost
        columns = torch.cat(waiting)
        total = float(columns.square().sum()) + gone
        left = max(self.share - (gone / total if total else 0.0), self.share / 2)
        columns, lost = self._compress(columns, left)
        return State(mean, columns, before + ((gone + lost) / total if total else 0.0))

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

    @staticmethod
    def _compress(columns: Tensor, share: float) -> tuple[Tensor, float]:
        small, gone = compress(columns.flatten(1).mT, share)
        return small.mT.reshape(-1, *columns.shape[1:]), gone
