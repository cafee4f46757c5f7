"""`Moments`: mean and covariance of what a policy makes of an image."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.answers import aligned
from auglean.moments.covariances import Covariance
from auglean.moments.lowrank import FEW, compress, leading, thin
from auglean.moments.rules import Kind


@dataclass(frozen=True, eq=False, repr=False)
class Moments:
    """Mean and covariance of an augmented image, and how they were got. All float64. Prints as a short table.

    With several images every shape begins with B.

    Attributes:
        mean: `μ = E T`. Shape `(C, H, W)`.
        variance: Diagonal of the covariance. Shape `(C, H, W)`.
        trace: Sum of the variances. Shape `()`.
        kind: `"exact finite"` or `"exact panels"`; `"truncated"`, which is exact but for the directions that were left
            out; `"quadrature"`, `"randomised qmc"` or `"monte carlo"`.
        error: Largest of the relative errors of mean (over the larger of ‖μ‖ and ‖x‖) and trace, and for quadrature of
            the covariance (in the Frobenius norm): zero where exact but for rounding and what was dropped; for
            quadrature 4/3 of the change of mean and trace when the panels were doubled, and a third of that of the
            covariance, seen in a few directions; half the width of the 95 % interval, for the last two. Shape `()`.
        dropped: Share of the trace that a composition left out on its way, and its covariance lacks; counted in
            `error`. Shape `()`.
        nodes: Nodes or integer shifts of the rule; of all parts together where a composition went part by part.
        seconds: What the computation took.
        note: A sentence: what was converted, or why there is no closed form. May be empty.
    """

    mean: Tensor
    variance: Tensor
    trace: Tensor
    kind: Kind
    error: Tensor
    dropped: Tensor
    nodes: int
    seconds: float
    note: str
    covariance: Covariance

    def __repr__(self) -> str:
        size = "×".join(map(str, self.mean.shape[-3:]))
        of = f"an image of {size}" if self._single else f"{len(self.mean):,} images of {size}"
        rows = [
            ["variance of all pixels", _told(self.trace)],
            ["pixels of the mean", f"{float(self.mean.min()):.4g} to {float(self.mean.max()):.4g}"],
            ["relative error", _told(self.error) if self.error.any() else "0: rounding"],
        ]
        if self.dropped.any():
            rows.append(["share left out", _told(self.dropped)])
        nodes = f"{self.nodes:,} node" + ("" if self.nodes == 1 else "s")
        first = f"Moments of {of}: {self.kind}, {nodes}, {self.seconds:.2g} s"
        return "\n".join([first, *aligned(rows), *textwrap.wrap(self.note, 100)])

    @property
    def _single(self) -> bool:
        return self.mean.ndim == 3

    def matvec(self, v: Tensor) -> Tensor:
        """Multiply an image of the shape of `mean` by the covariance.

        Raises:
            InputError: If the shape is another.
        """
        if v.shape != self.mean.shape:
            raise InputError(f"matvec expected shape {tuple(self.mean.shape)} but found {tuple(v.shape)}.")
        flat = v.to(self.mean).reshape(self.covariance.mean.shape)
        return self.covariance.matvec(flat[..., None])[..., 0].view_as(self.mean)

    def factor(self, rank: int | None = None, tol: float = 1e-12) -> Tensor:
        """Give F with `C ≈ F Fᵀ`, orthogonal columns by descending variance. Shape `(D, r)`, or `(B, D, r)`.

        Args:
            rank: Columns, at most.
            tol: Share of the trace that may be left out.
        """
        form = self.covariance
        if rank is not None and (not form.fits or min(form.width, form.mean.shape[1]) > FEW):
            values, vectors = leading(form, rank)
            parts = [compress(one, tol)[0] for one in vectors * values.sqrt()[:, None]]
        elif form.fits:
            parts = [compress(columns, tol)[0][:, :rank] for columns in form.columns()]
        else:
            parts = thin(form, tol, form.mean.shape[1])[0]
        widest = max(part.shape[1] for part in parts)
        padded = [torch.nn.functional.pad(part, (0, widest - part.shape[1])) for part in parts]
        return padded[0] if self._single else torch.stack(padded)

    def eig(self, k: int) -> tuple[Tensor, Tensor]:
        """Give the k largest eigenvalues, `(k,)`, and their images, `(k, C, H, W)`; zeros beyond the rank.

        By products alone where the factor is wide or does not fit in `max_memory`.
        """
        if not k >= 1:
            raise InputError(f"eig expected a number of eigenvalues of 1 or more but found {k!r}.")
        factor = self.factor(rank=k)
        factor = torch.nn.functional.pad(factor, (0, k - factor.shape[-1]))
        values = factor.square().sum(-2)
        vectors = factor / values.sqrt().clamp(min=1e-300)[..., None, :]
        shape = (*values.shape, *self.mean.shape[-3:])
        return values, vectors.mT.reshape(shape)

    @property
    def frobenius2(self) -> Tensor:
        """Squared Frobenius norm of the covariance."""
        return self.covariance.frobenius2[0] if self._single else self.covariance.frobenius2

    @property
    def m4(self) -> Tensor:
        """`E ‖T − μ‖⁴`; `m4_kind` says how it was got."""
        return self.covariance.m4[0] if self._single else self.covariance.m4

    @property
    def m4_kind(self) -> Kind:
        """How `m4` is got: as the rest by a rule; by Sobol points or draws where a composition went part by part."""
        return self.covariance.m4_kind

    def dense(self, *, force: bool = False) -> Tensor:
        """Give the covariance as a matrix `(D, D)`; refused above D = 4096 unless forced."""
        d = self.covariance.mean.shape[1]
        if d > 4096 and not force:
            raise InputError(f"A dense covariance of {d}×{d} was asked for; use matvec or factor, or force=True.")
        form = self.covariance
        if form.fits and form.width <= d:
            found = product(form.columns(), (form.variance > 0).any(0))
        else:
            eye = torch.eye(d, dtype=torch.float64, device=self.mean.device).expand(len(form.mean), d, d)
            found = form.matvec(eye)
        return found[0] if self._single else found


def _told(values: Tensor) -> str:
    """Write a number, or of several the median, the least and the most."""
    low, high = (f"{float(value):.4g}" for value in (values.min(), values.max()))
    return low if values.ndim == 0 else f"{float(values.median()):.4g} ({low} to {high})"


def product(columns: Tensor, live: Tensor) -> Tensor:
    """Give `F Fᵀ` of a factor `(B, D, r)` whose rows are zero but for the live ones, `(D,)`."""
    rows, width = live.nonzero()[:, 0], columns.shape[2]
    # to put an entry in its place takes as long as some 70 multiplications
    if (len(rows) / len(live)) ** 2 > width / (width + 70):
        return columns @ columns.mT
    some = columns.mT[..., rows]  # (B, r, n)
    found = columns.new_zeros(len(columns), len(live), len(live))
    places = (rows[:, None] * len(live) + rows).flatten().expand(len(columns), -1)
    found.flatten(1).scatter_(1, places, (some.mT @ some).flatten(1))
    return found
