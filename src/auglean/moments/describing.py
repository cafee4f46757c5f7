"""What a policy is made of, operator by operator, and how the moments of each are got."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.computing import moments_of
from auglean.policies import (
    Affine,
    ClampedErasing,
    Cutout,
    Flip,
    Perspective,
    Policy,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Rotate,
    Scale,
    Shear,
    Shift,
    Translate,
)
from auglean.policies.adapting import Adapted
from auglean.policies.base import number
from auglean.policies.combining import Compose, Mixture
from auglean.policies.warping import Warp
from auglean.randomness import generator

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One operator.

    Attributes:
        op: Its name, behind the probability of its branch where it is in a mixture.
        law: Law of each parameter; U is uniform.
        interpolation: How pixels are sampled; empty where they are copied or stay.
        padding: What is outside; empty where nothing is.
        fill: Its value; empty where there is none.
        kind: How the moments of the operator alone are got, as `Moments.kind` has it; empty where they cannot.
        nodes: How many nodes, integer shifts or boxes.
        reason: What was left out, or why there is no closed form; may be empty.
    """

    op: str
    law: str
    interpolation: str
    padding: str
    fill: str
    kind: str
    nodes: int
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """A policy as a table, which is how it prints.

    Attributes:
        size: `(C, H, W)` of the image for which classes and nodes hold.
        rows: One for each operator, in order.
        whole: The policy as one: its kind, nodes and reason.
    """

    size: Size
    rows: tuple[Row, ...]
    whole: Row

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists and numbers, fit for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        heads = ("operator", "law", "interpolation", "padding", "fill", "moments", "nodes")
        rows = list(self.rows) if len(self.rows) == 1 else [*self.rows, self.whole]
        blocks: list[list[tuple[str, ...]]] = [[heads], *map(_lines, rows)]
        shown = [i for i in range(len(heads)) if any(line[i] for block in blocks[1:] for line in block)]
        widths = [max(len(line[i]) for block in blocks for line in block) for i in shown]
        lines = ["Moments for images of {}×{}×{}".format(*self.size)]
        for block, row in zip(blocks, [None, *rows], strict=True):
            lines += [
                "  ".join(line[i].ljust(w) for i, w in zip(shown, widths, strict=True)).rstrip() for line in block
            ]
            if row and row.reason:
                lines += textwrap.wrap(row.reason, 110, initial_indent="    ! ", subsequent_indent="      ")
        return "\n".join(lines)


def _lines(row: Row) -> list[tuple[str, ...]]:
    """The cells of a row, with a line for the law of each parameter."""
    laws = row.law.split("; ")
    nodes = f"{row.nodes:,}" if row.nodes else ""
    first = (row.op, laws[0], row.interpolation, row.padding, row.fill, row.kind, nodes)
    return [first, *(("", law, "", "", "", "", "") for law in laws[1:])]


def describe(policy: Policy, image: Tensor | None = None, **options: Any) -> Description:
    """Tell what a policy is made of; see `auglean.policies.Policy.describe`."""
    x = _noise(policy) if image is None else image
    rows = tuple(_rows(policy, x, "", options))
    whole = _row("together", policy, x, options)
    # what was said of a part is not said again
    reason = policy.note if any(row.reason for row in rows) else whole.reason
    whole = replace(whole, law="", interpolation="", padding="", fill="", reason=reason)
    return Description((x.shape[-3], x.shape[-2], x.shape[-1]), rows, whole)


def _noise(policy: Policy) -> Tensor:
    """An image of the size that the policy asks for."""
    sizes = [size for part in policy.modules() if isinstance(size := getattr(part, "size", None), tuple)]
    return torch.rand(3, *(sizes[0] if sizes else (32, 32)), generator=generator(0, "describe"), dtype=torch.float64)


def _rows(policy: Policy, x: Tensor, before: str, options: dict[str, Any]) -> Iterator[Row]:
    if isinstance(policy, Compose):
        for part in policy.parts:
            yield from _rows(part, x, before, options)
    elif isinstance(policy, Mixture):
        for part, weight in zip(policy.parts, policy.weights, strict=True):
            yield from _rows(part, x, f"{before}{100 * weight:.3g} %: ", options)
    else:
        yield _row(before + _name(policy), policy, x, options)


def _name(policy: Policy) -> str:
    return type(policy.function).__name__ if isinstance(policy, Adapted) else type(policy).__name__


def _row(name: str, policy: Policy, x: Tensor, options: dict[str, Any]) -> Row:
    try:
        found = moments_of(policy, x, **options)
        kind: str = found.kind
        nodes, reason = found.nodes, found.note
    except InputError as error:
        kind, nodes, reason = "", 0, str(error)
    law = "; ".join(f"{name}: {text}" if name else text for name, text in laws(policy, *x.shape[-2:]).items())
    padding, fill = _outside(policy)
    copied = isinstance(policy, Shift) and policy.whole
    interpolation = "" if copied else str(getattr(policy, "interpolation", ""))
    return Row(name, law, interpolation, padding, fill, kind, nodes, reason)


def _outside(policy: Policy) -> tuple[str, str]:
    """What is outside, and the value that shows, as text."""
    padding = policy.outside if isinstance(policy, RandomCrop) else policy.padding if isinstance(policy, Warp) else ""
    fill = getattr(policy, "fill", None)
    return padding, "" if fill is None or padding not in ("", "fill", "masked") else _written(fill)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_written, value)) + ")"
    return f"{value + 0.0:.4g}" if isinstance(value, int | float) else str(value)


def _between(low: float, high: float) -> str:
    return _written(low) if low == high else f"U[{_written(low)}, {_written(high)}]"


@singledispatch
def laws(policy: Policy, height: int, width: int) -> dict[str, str]:
    """Give the law of each parameter in words; the arguments where a class has none of its own.

    To say it for another policy, register a function for its class.
    """
    names = list(policy.draw(0))
    low, high = getattr(policy, "range", (getattr(policy, "low", None), getattr(policy, "high", None)))
    if len(names) == 1 and low is not None and high is not None:
        return {names[0]: _between(low, high)}
    return (
        {"": policy.extra_repr()} if policy.extra_repr() and not isinstance(policy, Compose | Mixture | Adapted) else {}
    )


@laws.register(Rotate)
@laws.register(Shear)
def _angle(policy: Rotate | Shear, height: int, width: int) -> dict[str, str]:
    return {"angle": _between(*policy.range) + "°"}


@laws.register
def _scale(policy: Scale, height: int, width: int) -> dict[str, str]:
    return {"factor": _between(*policy.range)}


@laws.register
def _translate(policy: Translate, height: int, width: int) -> dict[str, str]:
    return {"shift": f"{_between(-policy.pixels, policy.pixels)} px each way"}


@laws.register
def _shift(policy: Shift, height: int, width: int) -> dict[str, str]:
    both = (policy.across * width, policy.down * height)
    texts = [_between(-most, most) if most else "0" for most in both]
    across, down = (f"round {text}" if policy.whole and text != "0" else text for text in texts)
    return {"right": f"{across} px", "down": f"{down} px"}


@laws.register
def _affine(policy: Affine, height: int, width: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, part in policy.parts.items():
        own = laws(part, height, width)
        found |= own if len(own) > 1 else {name: next(iter(own.values()))}
    return {name: text for name, text in found.items() if text not in ("0°", "1", "0 px", "0 px each way")}


@laws.register
def _crop(policy: RandomCrop, height: int, width: int) -> dict[str, str]:
    return {
        name: f"{low} to {high} px, equally likely"
        for name, (low, high) in zip(("right", "down"), (policy.across, policy.down), strict=True)
    }


@laws.register
def _cutout(policy: Cutout, height: int, width: int) -> dict[str, str]:
    return {"centre": "each pixel, equally likely", "side": f"{policy.size} px"}


@laws.register
def _flip(policy: Flip, height: int, width: int) -> dict[str, str]:
    return {"flip": f"with probability {number(policy.p)}"}


@laws.register
def _erasing(policy: RandomErasing, height: int, width: int) -> dict[str, str]:
    return {"erase": f"with probability {number(policy.p)}"} | _box(policy)


@laws.register
def _resized(policy: RandomResizedCrop, height: int, width: int) -> dict[str, str]:
    return _box(policy)


@laws.register
def _perspective(policy: Perspective, height: int, width: int) -> dict[str, str]:
    across, down = (int(policy.distortion * (size // 2)) for size in (width, height))
    return {"corners": f"0 to {across} px across, 0 to {down} px down, equally likely"}


def _box(policy: RandomErasing | RandomResizedCrop) -> dict[str, str]:
    if isinstance(policy, ClampedErasing):
        low, high = policy.ratio
        pieces = f"U[{low:.4g}, 1] or U[1, {high:.4g}]" if low < 1 < high else _between(low, high)
        return {"area": _between(*policy.scale), "ratio": pieces}
    return {"area": _between(*policy.scale), "ratio": f"exp U[log {policy.ratio[0]:.4g}, log {policy.ratio[1]:.4g}]"}
