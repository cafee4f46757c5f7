"""Contact sheets: the images that a selector chose first, and those that it never chose, before and after."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auglean.files import read_tensors
from auglean.randomness import Keys
from auglean.reports.tables import key, place
from auglean.selection import Selection

if TYPE_CHECKING:
    from auglean.studies import Comparison

#: Images on a sheet.
TILES = 24
#: Side above which an image is made smaller, in pixels.
SIDE = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """An image of a sheet: before and after augmentation as data URIs, its class and its score."""

    before: str
    after: str
    label: str
    score: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Sheets:
    """The two sheets of a selector, from the run of one seed."""

    selector: str
    budget: float | int
    seed: int
    epoch: int
    choices: int
    first: tuple[Tile, ...]
    never: tuple[Tile, ...]
    never_count: int


def sheets(comparison: Comparison) -> list[Sheets]:
    """Make the sheets of every selector that asks the network, coresets first.

    The role and budget are those that the answer speaks of, the seed is the first. The list is empty where the
    comparison has no run folder, or nothing asked the network.

    Args:
        comparison: With its folder.
    """
    if comparison.folder is None:
        return []
    arms = comparison.arms
    spoken = next(row for row in arms if key(row) == comparison.result["answer"]["best"])
    seed = int(comparison.result["config"]["seed"])
    found = []
    for row in arms:
        if place(row) == place(spoken):
            folder = comparison.folder / "selections" / key(row) / f"seed{seed}"
            if (folder / "final.safetensors").exists():  # kept for those that ask the network
                found.append(_sheets(comparison, row, folder, seed))
    return sorted(found, key=lambda sheet: not sheet.selector.startswith("coreset"))


def _sheets(comparison: Comparison, row: Mapping[str, Any], folder: Path, seed: int) -> Sheets:
    scores: list[tuple[str, ...]]
    files = sorted(folder.glob("epoch*.json"))
    last = Selection.load(files[-1])
    kept, _ = read_tensors(folder / "final.safetensors")
    never = (kept["times_chosen"] == 0).nonzero().squeeze(1)
    by_loss = never[kept["loss"][never].argsort(stable=True)]
    # evenly over the ranks of the loss, so that the sheet stands for all of them
    shown = by_loss[torch.linspace(0, max(len(by_loss) - 1, 0), min(TILES, len(by_loss))).round().long()]
    first = last.indices[:TILES]
    if row["name"].startswith("coreset"):
        pairs = zip(last.gains.tolist(), last.weights.tolist(), strict=True)
        scores = [(f"gain {number(gain)}", f"for {weight:.0f}") for gain, weight in pairs]
    else:
        word = "loss" if row["name"].startswith("max-loss") else "score"
        scores = [(f"{word} {number(score)}",) for score in last.gains.tolist()]
    return Sheets(
        selector=row["name"],
        budget=row["budget"],
        seed=seed,
        epoch=int(files[-1].stem.removeprefix("epoch")),
        choices=len(files),
        first=_tiles(comparison, first, scores[:TILES], seed),
        never=_tiles(comparison, shown, [(f"loss {number(loss)}",) for loss in kept["loss"][shown].tolist()], seed),
        never_count=len(never),
    )


def number(value: float) -> str:
    """Write a score short.

    >>> number(153.2), number(12.34), number(0.5), number(0.018), number(0.00001), number(0.0)
    ('153', '12.3', '0.50', '0.018', '< 0.001', '0')
    """
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return "< 0.001"
    digits = next((d for d, least in enumerate((100, 10, 0.1)) if abs(value) >= least), 3)
    return f"{value:,.{digits}f}"


def _tiles(comparison: Comparison, ids: Tensor, scores: Sequence[tuple[str, ...]], seed: int) -> tuple[Tile, ...]:
    if not len(ids):
        return ()
    train = comparison.splits.train
    images, labels = train.batch(ids)
    before = images.cpu().float().div_(255)
    after = comparison.policy(before, generator=Keys(ids, seed=seed)).clamp(0, 1)
    rows = zip(before, after, labels.tolist(), scores, ids.tolist(), strict=True)
    return tuple(Tile(data_uri(x), data_uri(y), train.class_names[label], score, i) for x, y, label, score, i in rows)


def data_uri(image: Tensor) -> str:
    """Encode an image as a PNG in a data URI, made smaller where its longer side is above `SIDE`.

    Args:
        image: Shape `(C, H, W)` with 1 or 3 channels, in [0, 1].
    """
    from PIL import Image

    pixels = (image.mul(255).round().to(torch.uint8)).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((SIDE, SIDE))
    out = BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
