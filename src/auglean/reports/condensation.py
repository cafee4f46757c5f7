"""What condensed images look like and what they are worth: a table, a picture and the page of `auglean condense`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from auglean.condensation import SyntheticSet
from auglean.data import ImageSet
from auglean.files import write_bytes, write_text
from auglean.reports import plots
from auglean.reports.page import template
from auglean.reports.sheets import data_uri
from auglean.reports.tables import MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from auglean.studies.condensing import Condensed

#: Pairs of a synthetic image and its nearest real one that a page shows.
PAIRS = 100
#: Side that each image of the picture has at least, in pixels.
SIDE = 32

_WORDS = {
    "random": "real images drawn at random",
    "herding": "real images whose mean feature follows that of their class, in a small network trained on all",
    "class-mean": "the mean image of each class",
    "k-means": "the centres of clusters of the pixels of each class",
    "whole": "all training images",
}
_LOOKS: Mapping[str, dict[str, Any]] = {
    "random": {"color": plots.FAINT, "linestyle": "--"},
    "herding": {"color": "#e69f00", "linestyle": "-."},
    "class-mean": {"color": "#009e73", "linestyle": ":"},
    "k-means": {"color": "#009e73", "linestyle": ":"},
}

Result = Mapping[str, Any]
HEADS = ("images", "plain", "augmented", "of whole", "s to make", "s to train", "rates", "kB")


class Pair(NamedTuple):
    """A synthetic image beside the real image of its class that is nearest: as data URIs, and how far they are."""

    made: str
    real: str
    label: str
    number: int
    distance: float


def lines(result: Result, network: str) -> list[tuple[str, ...]]:
    """Give the table of a network as cells: a row per kind of images, under `HEADS`.

    Args:
        result: What `result.json` holds.
        network: One of those that were trained.
    """
    rows = {(row["name"], row["augmented"]): row for row in result["rows"] if row["network"] == network}
    found = []
    for name in dict.fromkeys(name for name, _ in rows):
        plain, augmented = rows[name, False], rows[name, True]
        best = max(plain, augmented, key=lambda row: float(row["validation"]))
        relative = best["relative"]
        found.append(
            (
                name,
                *(_accuracy(row) for row in (plain, augmented)),
                MISSING if relative is None else f"{100 * relative:.1f}%",
                f"{plain['seconds_made']:,.1f}",
                f"{plain['seconds']:,.1f} / {augmented['seconds']:,.1f}",
                f"{plain['rate']:g} / {augmented['rate']:g}",
                f"{plain['bytes'] / 1000:,.1f}",
            )
        )
    return found


def _accuracy(row: Mapping[str, Any]) -> str:
    accuracy = row["accuracy"]
    spread = f" ± {100 * accuracy['std']:.1f}" if len(accuracy["values"]) > 1 else ""
    return f"{100 * accuracy['mean']:.1f}{spread}"


def condensation_table(result: Result) -> Table:
    """Give the table of a `condense` result for a terminal.

    Args:
        result: What `result.json` holds.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    config, data = result["config"], result["data"]
    title = (
        f"{data['name']}: {config['per_class']} per class by {result['scores'][0]['name'].upper()}, test accuracy in %"
    )
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    for i, head in enumerate(HEADS[:5]):
        table.add_column(head, justify="right" if i else "left", no_wrap=True)
    for network in config["networks"]:
        table.add_section()
        if len(config["networks"]) > 1:
            table.add_row(Text(network, "bold"))
        for cells in lines(result, network):
            table.add_row(*cells[:5])
    return table


def write_condensation(found: Condensed) -> Path:
    """Write `report.html`, one page that needs no other file, and `synthetic.png` into the folder of a run.

    Args:
        found: What `auglean.studies.condensing.condense_and_judge` gave.

    Returns:
        Where the page is.
    """
    import yaml

    write_bytes(found.folder / "synthetic.png", grid(found.synthetic))
    result, images = found.result, found.synthetic.images
    config = result["config"]
    rows = [row for row in result["rows"] if row["network"] == config["networks"][0]]
    text = template("condensation.html.jinja").render(
        r=result,
        config=config,
        data=result["data"],
        machine=result["environment"],
        words=_words(dict.fromkeys(row["name"] for row in rows)),
        heads=HEADS,
        tables={network: lines(result, network) for network in config["networks"]},
        pairs=nearest(found.synthetic.decoded(), found.splits.train),
        outside=float(((images < 0) | (images > 1)).double().mean()),
        rates=sorted({trial["rate"] for row in rows for trial in row["trials"]}),
        figure=_course(result),
        made=sum(sum(one["cost"]["seconds"].values()) for one in result["synthetic"]),
        judged=sum(
            row["seconds"] * len(row["accuracy"]["values"]) * config["repeats"] + row["seconds_choosing"]
            for row in result["rows"]
        ),
        command=f"auglean condense --config {shlex.quote(str(found.folder / 'config.yaml'))} --out NEW_FOLDER",
        options=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    )
    write_text(found.folder / "report.html", text)
    return found.folder / "report.html"


def _words(names: Iterable[str]) -> dict[str, str]:
    found = {name: _WORDS[name] for name in names if name in _WORDS}
    packed = {name: f"{_WORDS['random']}, several shrunk onto each stored one" for name in names if "random-" in name}
    return found | packed


def grid(synthetic: SyntheticSet, *, columns: int = 50) -> bytes:
    """Draw the images as a PNG: the classes below each other, or beside each other where they have few images.

    What lies outside black and white is cut off.

    Args:
        synthetic: The images.
        columns: Images in a row, at most; the further ones of a class are left out.

    >>> grid(SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.5,)))[1:4]
    b'PNG'
    """
    from PIL import Image

    rows = [list(synthetic.images[synthetic.labels == k][:columns]) for k in range(synthetic.classes)]
    if 2 * max(map(len, rows)) <= len(rows):  # a tall and narrow picture is turned
        rows = [[row[j] for row in rows if j < len(row)] for j in range(max(map(len, rows)))]
    scale = max(1, -(-SIDE // min(synthetic.size)))
    high, wide = (side * scale + 2 for side in synthetic.size)
    sheet = torch.ones(synthetic.channels, high * len(rows), wide * max(map(len, rows)))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            tile = image.clamp(0, 1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
            sheet[:, i * high + 1 : (i + 1) * high - 1, j * wide + 1 : (j + 1) * wide - 1] = tile
    levels = sheet.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    out = BytesIO()
    Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(out, format="PNG", optimize=True)
    return out.getvalue()


def nearest(synthetic: SyntheticSet, real: ImageSet, *, count: int = PAIRS) -> dict[str, list[Pair]]:
    """Put beside each synthetic image the real one of its class that is nearest, pixel by pixel.

    Args:
        synthetic: The images.
        real: Those that they were made of.
        count: Pairs at most, the same number from each class.

    Returns:
        Pairs for each class name; the distance is the root mean square difference of pixels in [0, 1].
    """
    found: dict[str, list[Pair]] = {}
    for k, name in enumerate(synthetic.class_names):
        made = synthetic.images[synthetic.labels == k][: max(1, count // synthetic.classes)]
        rows = (real.labels == k).nonzero().flatten().cpu()
        distance, at = _closest(made, real, rows)
        pictures = real.batch(rows[at])[0].cpu().float() / 255
        found[name] = [
            Pair(data_uri(image.clamp(0, 1)), data_uri(picture), name, int(row), float(far))
            for image, picture, row, far in zip(made, pictures, rows[at], distance, strict=True)
        ]
    return found


def _closest(made: Tensor, real: ImageSet, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Give root mean square distance and place among the rows of the nearest of them; a few thousand at a time."""
    found = []
    for begin in range(0, len(rows), 4096):
        points = real.batch(rows[begin : begin + 4096])[0].cpu().float().div_(255).flatten(1)
        least, at = torch.cdist(made.flatten(1), points).min(1)
        found.append((least, at + begin))
    least, which = torch.stack([part for part, _ in found]).min(0)
    return least / made[0].numel() ** 0.5, torch.stack([at for _, at in found]).gather(0, which[None])[0]


def _course(result: Result) -> str:
    made, axes = plots.figure(columns=2, same_scale=True)
    for ax, column, label in (
        (axes[0], "step", "steps of condensation"),
        (axes[1], "seconds", "seconds of condensation"),
    ):
        course(ax, result, column)
        ax.set_xlabel(label)
    axes[0].set_ylabel("validation accuracy, %")
    plots.legend(made, axes[0])
    return plots.svg(made, name="course", label="Validation accuracy against steps and seconds of condensation")


def course(ax: Axes, result: Result, column: str) -> Axes:
    """Draw the accuracy on validation images while the images are made, and that of the baselines as levels.

    Args:
        ax: Drawn on.
        result: What `result.json` holds.
        column: `"step"` or `"seconds"`.
    """
    rows: Sequence[Mapping[str, Any]] = result["course"]
    x = [row[column] for row in rows]
    y, spread = ([100 * row["accuracy"][key] for row in rows] for key in ("mean", "std"))
    ax.errorbar(
        x, y, spread, color="#0072b2", marker="o", markersize=5, capsize=2, label=result["scores"][0]["name"].upper()
    )
    for row in result["rows"]:
        if row["augmented"] and row["network"] == result["config"]["networks"][0] and row["name"] in _LOOKS:
            ax.axhline(100 * row["validation"], linewidth=1.4, label=row["name"], **_LOOKS[row["name"]])
    ax.set_xlim(left=-0.02 * max(x))
    return plots.tidy(ax)
