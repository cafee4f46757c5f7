"""`Spectrum`: singular values and vectors of a network's Jacobian before and after augmentation, against noise."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.files import write_json

_FORMAT = "auglean.Spectrum/1"
#: Indices that the table shows, of the singular values that there are.
_SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)

Verdict = Literal["less", "more", "alike"]


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Mean and standard deviation over draws, entry by entry.

    >>> Band.of([torch.tensor([1.0, 5.0]), torch.tensor([3.0, 5.0])])
    Band(mean=tensor([2., 5.], dtype=torch.float64), std=tensor([1.4142, 0.0000], dtype=torch.float64))
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, draws: list[Tensor]) -> Band:
        """Summarise one tensor per draw."""
        values = torch.stack(draws).double().cpu()
        return cls(values.mean(0), values.std(0))


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """One number of every draw, after augmentation and after noise of the same size.

    Attributes:
        after: Shape `(draws,)`, float64.
        null: Shape `(draws,)`, float64: the noise of a draw has rows as long as those of that draw's E.

    >>> Contrast(torch.tensor([1.0, 1.1, 0.9]), torch.tensor([2.0, 2.1, 2.0])).verdict
    'less'
    """

    after: Tensor
    null: Tensor

    @property
    def verdict(self) -> Verdict:
        """Whether the number is less or more than the null's, by a t-test on the draws' differences, at 5 %."""
        from scipy.stats import t

        difference = (self.after - self.null).double()
        count = len(difference)
        mean, error = float(difference.mean()), float(difference.std()) / math.sqrt(count)
        if abs(mean) <= float(t.ppf(0.975, count - 1)) * error or mean == 0:
            return "alike"
        return "less" if mean < 0 else "more"


@dataclass(frozen=True, slots=True)
class Subspaces:
    """Principal angles between the top-k subspaces before and after, in degrees; mean and spread over draws.

    Attributes:
        k: Dimension.
        left: Of the left subspaces (outputs): `largest`, `largest_std` and `average`, the mean of the k angles.
        right: Of the right subspaces (weights).
        null_left: Of the left subspaces of J and J plus noise.
        null_right: Of the right subspaces of J and J plus noise.
        wedin: The greatest of the draws' bounds on the sine of the largest angle; infinite where there is no gap.
    """

    k: int
    left: Mapping[str, float]
    right: Mapping[str, float]
    null_left: Mapping[str, float]
    null_right: Mapping[str, float]
    wedin: float

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing."""
        return not self.wedin < 1

    @property
    def bound(self) -> str:
        """The bound on the largest angle as text, or “vacuous”."""
        return "vacuous" if self.vacuous else f"≤ {math.degrees(math.asin(self.wedin)):.1f}°"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Spectrum:
    """The Jacobian of a network before and after augmentation, beside noise of the same size. Prints as a table.

    J has a row per output of each probe image and a column per trainable weight; J̃ is that of the same images
    augmented, `E = J̃ − J`. The null is J plus Gaussian noise whose rows are as long as those of E. See
    `docs/spectrum.md` for the formulas and how to read them.

    Attributes:
        rows: n, images times outputs.
        columns: m, trainable weights.
        images: Probe images.
        output: `"logits"`, a row per logit, or `"sum"`, a row per image.
        policy: Name of the augmentation.
        weak: Name of what every image goes through first, before and after alike.
        draws: Draws of the augmentation, and of the noise.
        seed: Fixes the probe, the draws and the noise.
        values: Singular values of J, falling: all of them, or the leading ones. Shape `(t,)`, float64.
        after: Those of J̃.
        null: Those of J plus noise.
        appended: Those of J on top of J̃, the leading t; None where they were not computed.
        predicted: First-order prediction for noise without structure, NaN where it does not hold; or None.
        stewart: Least and greatest values that Stewart's decomposition allows in any draw, `(2, t)`; or None.
        spectral: `‖E‖₂` of each draw, which is Weyl's bound on every `|σ̃_i − σ_i|`. Shape `(draws,)`.
        frobenius: `‖E‖_F` of each draw.
        subspaces: Angles for several k.
        alignment: Cumulative share of the residual along the leading left vectors of J, A(k); None without residual.
        alignment_after: That of J̃.
        alignment_null: That of J plus noise.
        slow: Share of the residual on slowly learnt directions of J, `λ rᵀ(JJᵀ + λI)⁻¹ r / ‖r‖²` with
            `λ = (σ₁ / 100)²`; None without residual.
        slow_contrast: That of J̃ and of J plus noise, draw by draw.
        growth: Mean of `log(σ̃_i / σ_i)` over the smaller half of the values above the floor, draw by draw.
        floor: Values below this multiple of the largest are rounding.
        error: Bound on the relative error of the leading ten values of every matrix; 0 where they are exact.
        method: `"rows"`, `"gram"` (both exact) or `"randomised"`.
        why: Why this method.
        passes: Images sent through the network, once forward or once backward.
        seconds: Wall-clock time.
        bytes: Work memory that the method plans for, beside the activations of the network.
    """

    rows: int
    columns: int
    images: int
    output: str
    policy: str
    weak: str
    draws: int
    seed: int
    values: Tensor
    after: Band
    null: Band
    appended: Band | None
    predicted: Tensor | None
    stewart: Tensor | None
    spectral: Tensor
    frobenius: Tensor
    subspaces: tuple[Subspaces, ...]
    alignment: Tensor | None
    alignment_after: Band | None
    alignment_null: Band | None
    slow: float | None
    slow_contrast: Contrast | None
    growth: Contrast
    floor: float
    error: float
    method: str
    why: str
    passes: int
    seconds: float
    bytes: int

    @property
    def small(self) -> slice:
        """The smaller half of the values above the floor."""
        return smaller_half(self.values, self.floor)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What was found, a sentence each."""
        words = {"less": "grew no more than", "more": "grew more than", "alike": "could not be told apart from"}
        grown, noise = (float(draws.mean().exp()) for draws in (self.growth.after, self.growth.null))
        told = (
            f"The smaller singular values {words[self.growth.verdict]} the null's: augmentation makes ×{grown:.3g} of "
            f"them, noise ×{noise:.3g}."
        )
        if self.small.start:
            ratios = (self.ratio(band)[: self.small.start] for band in (self.after, self.null))
            grown, noise = (float(ratio.log().mean().exp()) for ratio in ratios)
            told += f" Of the larger ones, augmentation makes ×{grown:.3g}, noise ×{noise:.3g}."
        if self.slow is None or self.slow_contrast is None:
            return (told,)
        slow, slow_noise = (float(draws.mean()) for draws in (self.slow_contrast.after, self.slow_contrast.null))
        words = {
            "less": "less of the residual lies on slowly learnt directions than noise would leave there",
            "more": "more of the residual lies on slowly learnt directions than noise would leave there",
            "alike": "what lies on slowly learnt directions of the residual could not be told apart from the null's",
        }
        shares = f"{_percent(slow)} against {_percent(slow_noise)}, and {_percent(self.slow)} before"
        return told, f"After augmentation, {words[self.slow_contrast.verdict]}: {shares}."

    def ratio(self, band: Band) -> Tensor:
        """Give σ̃ / σ of the draws' mean, NaN where σ is rounding. Shape `(t,)`."""
        return torch.where(self.values > self.floor * self.values[0], band.mean / self.values, math.nan)

    @property
    def weyl_says(self) -> int:
        """For how many values Weyl's bound does not reach down to 0."""
        return int((self.values > self.spectral.max()).sum())

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers, fit for JSON: what is not finite becomes None."""
        plain = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        verdicts = {"growth": self.growth.verdict, "slow": self.slow_contrast and self.slow_contrast.verdict}
        return {"format": _FORMAT, **plain, "verdicts": verdicts, "sentences": list(self.verdicts)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one JSON file."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Spectrum:
        """Read what `save` wrote.

        Raises:
            InputError: If there is no such file, or it holds something else.
        """
        try:
            stored = json.loads(Path(path).read_text())
            if stored["format"] != _FORMAT:
                raise ValueError(stored["format"])
            return cls.from_dict(stored)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no spectrum; give a file that Spectrum.save wrote.") from error

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Spectrum:
        """Build from what `to_dict` gave."""
        made: dict[str, Any] = {}
        for item in fields(cls):
            value, kind = stored[item.name], str(item.type)
            if value is None:
                made[item.name] = None
            elif kind.startswith("Tensor"):
                made[item.name] = _tensor(value)
            elif kind.startswith(("Band", "Contrast")):
                build = Band if kind.startswith("Band") else Contrast
                made[item.name] = build(**{name: _tensor(part) for name, part in value.items()})
            elif item.name == "subspaces":
                rows = ({**row, "wedin": math.inf if row["wedin"] is None else row["wedin"]} for row in value)
                made[item.name] = tuple(Subspaces(**row) for row in rows)
            else:
                made[item.name] = value
        return cls(**made)

    def __repr__(self) -> str:
        outputs = f" × {self.rows // self.images} logits" if self.output == "logits" else ""
        return "\n".join(
            [
                f"Jacobian of {self.rows:,} rows ({self.images:,} images{outputs}) × {self.columns:,} weights, "
                f"{self.policy}, {self.draws} draws",
                *self._value_lines(),
                "",
                *self._angle_lines(),
                "",
                f"‖E‖₂ {float(self.spectral.mean()):.3g}, ‖E‖_F {float(self.frobenius.mean()):.3g}; Weyl's bound "
                f"says something of {self.weyl_says:,} of {len(self.values):,} values",
                *self.verdicts,
                self.cost,
            ]
        )

    @property
    def cost(self) -> str:
        """How it was computed and what that took, in one sentence."""
        error = f", the top ten within {100 * self.error:.1g}%" if self.error else ""
        return (
            f"Computed by {self.method} ({self.why}{error}): {self.passes:,} image passes, "
            f"{self.seconds:.1f} s, {self.bytes / 2**20:,.0f} MiB."
        )

    def shown(self) -> list[int]:
        """Give the positions, from 0, of the singular values that a table shows."""
        last = len(self.values)
        return [i - 1 for i in (*(i for i in _SHOWN if i < 0.8 * last), last)]

    def _value_lines(self) -> list[str]:
        scale = 1 / math.sqrt(self.rows)
        lines = [f"{'i':>6}  {'σ/√rows':>9}  {'augmented':>18}  {'noise':>18}  {'×':>6}  {'× noise':>7}"]
        for i in self.shown():
            before = float(self.values[i])
            cells = [f"{i + 1:>6,}", f"{before * scale:>9.3g}"]
            for band in (self.after, self.null):
                cells.append(f"{float(band.mean[i]) * scale:>9.3g} ±{float(band.std[i]) * scale:<8.1g}")
            for band, width in ((self.after, 6), (self.null, 7)):
                ratio = float(self.ratio(band)[i])
                cells.append(f"{'–' if math.isnan(ratio) else f'{ratio:.3g}':>{width}}")
            lines.append("  ".join(cells))
        return lines

    def _angle_lines(self) -> list[str]:
        lines = [f"{'k':>6}  {'left angle':>10}  {'noise':>6}  {'right angle':>11}  {'noise':>6}  Wedin"]
        for row in self.subspaces:
            largest = [side["largest"] for side in (row.left, row.null_left, row.right, row.null_right)]
            cells = [f"{angle:.1f}°" for angle in largest]
            lines.append(f"{row.k:>6,}  {cells[0]:>10}  {cells[1]:>6}  {cells[2]:>11}  {cells[3]:>6}  {row.bound}")
        return lines


def smaller_half(values: Tensor, floor: float) -> slice:
    """Give where the smaller half of falling values lies, those below `floor` times the largest left out."""
    sound = max(1, int((values > floor * values[0]).sum()))
    return slice(sound // 2, sound)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Band | Contrast | Subspaces):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _tensor(value: list[Any]) -> Tensor:
    def fill(item: Any) -> Any:
        return [fill(part) for part in item] if isinstance(item, list) else math.nan if item is None else item

    return torch.tensor(fill(value), dtype=torch.float64)
