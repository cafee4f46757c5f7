"""The page of a Jacobian's spectrum: what augmentation did to it, beside noise of the same size."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from auglean.files import write_text
from auglean.reports import plots
from auglean.reports.page import template
from auglean.spectra import Band, Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_AFTER: dict[str, Any] = {"color": "#0072b2"}
_NULL: dict[str, Any] = {"color": plots.MUTED, "linestyle": "--"}
_APPENDED: dict[str, Any] = {"color": "#009e73", "linestyle": "-.", "linewidth": 1.2}
_PREDICTED: dict[str, Any] = {"color": "#d55e00", "linestyle": ":", "linewidth": 1.8}


def write_spectrum(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write the report of `auglean quantify --spectrum`: one HTML page that needs no other file and no network.

    Args:
        result: What `result.json` holds.
        path: The file.

    Returns:
        Where the page is.
    """
    import yaml

    spectrum = Spectrum.from_dict(result["spectrum"])
    page = template("spectrum.html.jinja").render(
        s=spectrum,
        r=result,
        config=result["config"],
        data=result["data"],
        machine=result["environment"],
        command=f"auglean quantify --config {shlex.quote(str(Path(path).parent / 'config.yaml'))} --out NEW_FOLDER",
        growth=spectrum.growth.verdict,
        small=(spectrum.small.start + 1, spectrum.small.stop),
        lines=_lines(spectrum),
        figures=_figures(spectrum),
        options=yaml.safe_dump(dict(result["config"]), sort_keys=False, allow_unicode=True),
    )
    write_text(path, page)
    return Path(path)


def _lines(spectrum: Spectrum) -> list[list[str]]:
    """Give the table of singular values, a list of cells for each row."""
    scale, found = 1 / math.sqrt(spectrum.rows), []
    after, null = spectrum.ratio(spectrum.after), spectrum.ratio(spectrum.null)
    for i in spectrum.shown():
        cells = [f"{i + 1:,}", f"{float(spectrum.values[i]) * scale:.3g}"]
        for band, ratio in ((spectrum.after, after), (spectrum.null, null)):
            times = float(ratio[i])
            cells.append(f"{float(band.mean[i]) * scale:.3g} ± {float(band.std[i]) * scale:.1g}")
            cells.append("–" if math.isnan(times) else f"{times:.2f}" if times < 100 else f"{times:.3g}")
        if spectrum.stewart is not None:
            low, high = (float(side[i]) * scale for side in spectrum.stewart)
            cells.append(f"{low:.2g} to {high:.3g}")
        found.append(cells)
    return found


def _figures(spectrum: Spectrum) -> dict[str, str]:
    values, axes = plots.figure(columns=2, height=3.6)
    singular_values(axes[0], spectrum)
    relative_change(axes[1], spectrum)
    plots.legend(values, axes[0])
    found = {"values": plots.svg(values, name="values", label="Singular values before and after, and their ratio")}
    if spectrum.subspaces:
        turned, axes = plots.figure(columns=2, same_scale=True)
        subspace_angles(axes[0], spectrum, side="left")
        subspace_angles(axes[1], spectrum, side="right")
        plots.legend(turned, axes[0])
        found["angles"] = plots.svg(turned, name="angles", label="Largest angle between the leading subspaces")
    if spectrum.alignment is not None:
        aligned, axes = plots.figure()
        residual_alignment(axes[0], spectrum)
        plots.legend(aligned, axes[0])
        found["alignment"] = plots.svg(aligned, name="alignment", label="Share of the residual along leading vectors")
    return found


def picture(spectrum: Spectrum) -> Figure:
    """Draw what the page shows in one figure, to stand outside of it.

    Args:
        spectrum: What `auglean.jacobian_spectrum` gave, with logits as output.
    """
    made, axes = plots.figure(rows=2, columns=2, height=3.4)
    singular_values(axes[0], spectrum)
    relative_change(axes[1], spectrum)
    subspace_angles(axes[2], spectrum, side="right")
    residual_alignment(axes[3], spectrum)
    plots.legend(made, axes[0])
    made.patch.set(facecolor="white", alpha=1)
    return made


def singular_values(ax: Axes, spectrum: Spectrum) -> Axes:
    """Draw σ/√rows before and after, of the null, and of J and J̃ on top of each other."""
    scale = 1 / math.sqrt(spectrum.rows)
    ax.plot(_index(spectrum.values), scale * spectrum.values, color=plots.INK, linewidth=1.6, label="before")
    _band(ax, spectrum.after, scale, label="augmented", **_AFTER)
    _band(ax, spectrum.null, scale, label="as much noise", **_NULL)
    if spectrum.appended is not None:
        _band(ax, spectrum.appended, scale / math.sqrt(2), label="copies appended", **_APPENDED)
    if spectrum.predicted is not None:
        predicted = scale * (spectrum.values + spectrum.predicted)
        ax.plot(_index(predicted), predicted, label="predicted for plain noise", **_PREDICTED)
    ax.set_yscale("log")
    plain_numbers(ax.yaxis, "{:g}")
    ax.set_ylabel("singular value / √rows")
    return _by_index(ax)


def relative_change(ax: Axes, spectrum: Spectrum) -> Axes:
    """Draw σ̃/σ, that of the null, and what first order predicts for noise without structure."""
    ax.axhline(1, color=plots.INK, linewidth=1.6)
    for band, style in ((spectrum.after, _AFTER), (spectrum.null, _NULL)):
        ratio = spectrum.ratio(band)
        _band(ax, Band(ratio, band.std / band.mean * ratio), 1.0, **style)
    if spectrum.predicted is not None:
        ax.plot(_index(spectrum.values), 1 + spectrum.predicted / spectrum.values, **_PREDICTED)
    ax.set_yscale("log")
    plain_numbers(ax.yaxis, "×{:g}")
    ax.set_ylabel("singular value after / before")
    return _by_index(ax)


def subspace_angles(ax: Axes, spectrum: Spectrum, *, side: str) -> Axes:
    """Draw the largest principal angle between the top-k subspaces against k, and Wedin's bound where it says anything.

    Args:
        ax: Drawn on.
        spectrum: Drawn.
        side: `"left"` or `"right"`.
    """
    k = [row.k for row in spectrum.subspaces]
    for name, style, label in ((side, _AFTER, "augmented"), (f"null_{side}", _NULL, "as much noise")):
        angles = [getattr(row, name) for row in spectrum.subspaces]
        largest, spread = [row["largest"] for row in angles], [row["largest_std"] for row in angles]
        ax.errorbar(k, largest, yerr=spread, capsize=2, elinewidth=1, marker="o", markersize=4, label=label, **style)
    bounds = {row.k: 90.0 if row.vacuous else math.degrees(math.asin(row.wedin)) for row in spectrum.subspaces}
    for vacuous, marker, label in ((False, "v", "Wedin's bound"), (True, "x", "Wedin's bound, vacuous")):
        drawn = {row.k: bounds[row.k] for row in spectrum.subspaces if row.vacuous == vacuous}
        if drawn:
            ax.plot(
                list(drawn), list(drawn.values()), marker, color=plots.INK, markersize=5, label=label, clip_on=False
            )
    ax.set_ylim(0, 94)
    ax.set_yticks(range(0, 91, 15), [f"{angle}°" for angle in range(0, 91, 15)])
    ax.set_ylabel(f"largest angle, {side} subspaces")
    ax.set_xscale("log")
    ax.set_xticks(k, [f"{dimension:,}" for dimension in k])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("dimension k of the subspaces")
    return plots.tidy(ax)


def residual_alignment(ax: Axes, spectrum: Spectrum) -> Axes:
    """Draw the cumulative share of the residual along the leading left singular vectors."""
    if spectrum.alignment is None or spectrum.alignment_after is None or spectrum.alignment_null is None:
        return ax
    index = _index(spectrum.values)
    ax.plot(index, 100 * spectrum.alignment, color=plots.INK, linewidth=1.6, label="before")
    _band(ax, spectrum.alignment_after, 100.0, label="augmented", **_AFTER)
    _band(ax, spectrum.alignment_null, 100.0, label="as much noise", **_NULL)
    ax.set_ylim(0, 102)
    ax.set_ylabel("share of the residual, %")
    ax.set_xlabel("leading k left singular vectors")
    return plots.tidy(ax)


def _band(ax: Axes, band: Band, scale: float, **style: Any) -> None:
    mean, spread, index = scale * band.mean, scale * band.std, _index(band.mean)
    ax.fill_between(index, mean - spread, mean + spread, color=style["color"], alpha=0.18, linewidth=0)
    ax.plot(index, mean, **{"linewidth": 1.6, **style})


def _index(values: Tensor) -> range:
    return range(1, len(values) + 1)


def _by_index(ax: Axes) -> Axes:
    ax.set_xscale("log")
    plain_numbers(ax.xaxis, "{:,.0f}")
    ax.set_xlabel("index i of the singular value")
    return plots.tidy(ax)


def plain_numbers(axis: Axis, label: str) -> None:
    """Label a logarithmic axis by plain numbers: at 1, 2 and 5 where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label.format(value)))
    axis.set_minor_formatter(NullFormatter())
