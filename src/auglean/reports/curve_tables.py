"""The numbers of a budget curve as cells: for terminals, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from auglean.reports.curve_arms import Arm, Result, is_baseline
from auglean.reports.tables import BEHIND, MISSING

if TYPE_CHECKING:
    from rich.console import Group

#: Marks an arm that is ahead of random by more than its interval.
AHEAD = "▴"
#: The accuracies that no choice enters, in words.
REFERENCES = {
    "clean": "nothing augmented, test images as they are",
    "floor": "nothing augmented",
    "ceiling": "everything augmented",
    "ceiling_downweighted": "everything augmented, down-weighted",
}


class Line(NamedTuple):
    """A row: the arm's name, a number and a mark per budget, its area, and whether the answer speaks of it."""

    name: str
    cells: tuple[tuple[str, str], ...]
    area: tuple[str, ...]
    spoken: bool


class Behind(NamedTuple):
    """How often random was ahead: cases are arms at budgets."""

    cases: int
    behind: int
    clearly: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def clear(self) -> int:
        """Cases in which the whole interval is on the side of random."""
        return sum(len(budgets) for _, budgets in self.clearly)


def budgets(result: Result) -> list[int]:
    """Give every budget at which an arm was measured."""
    return sorted({point["budget"] for arm in result["arms"] for point in arm["points"]})


def digits(result: Result) -> int:
    """Count the decimals of a percentage: two where a test image, copies counted, is less than a fiftieth of a point.

    >>> digits({"data": {"test": 2000, "copies": 4}}), digits({"data": {"test": 300, "copies": 4}})
    (2, 1)
    """
    return 2 if result["data"]["test"] * (result["data"]["copies"] + 1) >= 5000 else 1


def percent(value: float, places: int) -> str:
    """Write a share in per cent, without the sign."""
    return f"{100 * value:.{places}f}".replace("-", "−")


def points_ahead(value: float, places: int) -> str:
    """Write a difference in points, signed.

    >>> points_ahead(0.0123, 2), points_ahead(-0.002, 1), points_ahead(-1e-6, 1)
    ('+1.23', '−0.2', '0.0')
    """
    text = f"{100 * value:+.{places}f}".replace("-", "−")
    return text[1:] if not float(text[1:]) else text


def spread(accuracy: Mapping[str, Any], places: int) -> str:
    """Write a mean in per cent, with its standard deviation where there are several values."""
    mean = percent(accuracy["mean"], places)
    return f"{mean} ± {percent(accuracy['std'], places)}" if len(accuracy["values"]) > 1 else mean


def mark(point: Mapping[str, Any]) -> str:
    """Mark a point whose distance from random is clear: its 95% interval does not hold zero.

    >>> mark({"over_random": {"mean": 0.02, "low": 0.01, "high": 0.03}}), mark({"over_random": None})
    ('▴', '')
    """
    ahead = point["over_random"]
    if not ahead:
        return ""
    return AHEAD if ahead["low"] > 0 else BEHIND if ahead["high"] < 0 else ""


def lines(result: Result) -> list[Line]:
    """Give a row per arm: the accuracy at each budget, marked where clear, and the area under the curve.

    Args:
        result: What `result.json` holds.
    """
    places = digits(result)

    def cell(point: Mapping[str, Any] | None) -> tuple[str, str]:
        return (MISSING, "") if point is None else (percent(point["accuracy"]["mean"], places), mark(point))

    return [
        Line(
            arm["name"], tuple(cell(point) for point in by_budget(arm, result)), area(arm, places), spoken(arm, result)
        )
        for arm in result["arms"]
    ]


def area(arm: Arm, places: int) -> tuple[str, ...]:
    """Write an arm's area under the curve: mean, deviation over rounds, interval; and how far ahead of random it is."""
    found, ahead = arm["area"], arm["area_over_random"]
    std = percent(found["std"], places) if len(found["values"]) > 1 else MISSING
    inside = f"{percent(found['low'], places)} to {percent(found['high'], places)}"
    return percent(found["mean"], places), std, inside, MISSING if is_baseline(arm) else difference(ahead, places)


def difference(found: Mapping[str, Any], places: int) -> str:
    """Write a difference in points with its interval.

    >>> difference({"mean": 0.01, "low": -0.002, "high": 0.03}, 1)
    '+1.0 [−0.2, +3.0]'
    """
    mean, low, high = (points_ahead(found[side], places) for side in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def differences(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Give a row per arm and a pair per budget: accuracy ± deviation over rounds, and how far ahead of random it is.

    Args:
        result: What `result.json` holds.
    """
    places = digits(result)

    def cell(point: Mapping[str, Any] | None) -> tuple[str, str]:
        if point is None:
            return MISSING, ""
        level, ahead = spread(point["accuracy"], places), point["over_random"]
        if not ahead:
            return level, ""
        return level, f"{difference(ahead, places)} {mark(point)}".strip()

    return [
        (arm["name"], [(cell(p)[0], "" if is_baseline(arm) else cell(p)[1]) for p in by_budget(arm, result)])
        for arm in result["arms"]
    ]


def by_budget(arm: Arm, result: Result) -> list[Mapping[str, Any] | None]:
    """Give an arm's point at each budget of the result, None where it has none."""
    found = {point["budget"]: point for point in arm["points"]}
    return [found.get(budget) for budget in budgets(result)]


def spoken(arm: Arm, result: Result) -> bool:
    """Whether the answer speaks of an arm."""
    return bool(arm["name"] == result["answer"]["best"])


def behind(result: Result) -> Behind:
    """Count where random was ahead, at all and by more than the interval.

    Args:
        result: What `result.json` holds.
    """
    others = [arm for arm in result["arms"] if not is_baseline(arm)]
    cases = [(arm, p) for arm in others for p in arm["points"] if p["budget"] > 0 and p["over_random"]]
    clearly: dict[str, list[int]] = {}
    for arm, point in cases:
        if mark(point) == BEHIND:
            clearly.setdefault(arm["name"], []).append(point["budget"])
    return Behind(
        cases=len(cases),
        behind=sum(point["over_random"]["mean"] < 0 for _, point in cases),
        clearly=tuple((name, tuple(at)) for name, at in clearly.items()),
    )


def references(result: Result) -> list[tuple[str, str]]:
    """Give the accuracies that no choice enters, and that of the support vectors, with their words.

    Args:
        result: What `result.json` holds.
    """
    places, known = digits(result), result["references"]
    found = [
        (words, spread(known[name]["accuracy"], places))
        for name, words in REFERENCES.items()
        if known.get(name, {}).get("accuracy")
    ]
    support = known.get("support_vectors")
    if support:
        found.append((f"the {support['budget']:,} support vectors augmented", spread(support["accuracy"], places)))
    return found


def curve_table(result: Result, *, width: int | None = None) -> Group:
    """Give the accuracies of a budget curve for a terminal, titled; where it is narrow, at fewer budgets.

    Args:
        result: What `result.json` holds.
        width: Characters in a line; by default as many as the terminal has.
    """
    from rich import box
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    places, every = digits(result), budgets(result)
    names = max((len(arm["name"]) for arm in result["arms"]), default=3)
    column = places + 6  # 97.12 and a mark, two spaces between
    room = max(1, ((width or Console().width) - min(names, 48) - column - 2) // column)
    shown = every if len(every) <= room else _evenly(every, room)
    floor, ceiling = (percent(result["references"][end]["accuracy"]["mean"], places) for end in ("floor", "ceiling"))
    data = result["data"]
    notes = [f"{AHEAD} {BEHIND} ahead of random, behind it: the 95% interval of the difference does not hold zero."]
    if any(set(arm["skipped"]) & set(shown) for arm in result["arms"]):
        notes.append(f"{MISSING} this arm could not choose so many; the report says why.")
    if len(shown) < len(every):
        notes.append(f"{len(every) - len(shown)} further budgets are in result.json and in the report.")
    title = (
        f"{data['name']}, {' v '.join(data['classes'])}: test accuracy in %, by images whose copies are added\n"
        f"nothing augmented {floor}, all {data['train']:,} images augmented {ceiling}"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("arm", overflow="fold")
    for budget in shown:
        table.add_column(f"{budget:,}", justify="right", no_wrap=True)
    table.add_column("area", justify="right", no_wrap=True)
    for arm in result["arms"]:
        points = [p for budget, p in zip(every, by_budget(arm, result), strict=True) if budget in shown]
        cells = [MISSING if p is None else f"{percent(p['accuracy']['mean'], places)}{mark(p) or ' '}" for p in points]
        style = "bold" if spoken(arm, result) else ""
        table.add_row(Text(arm["name"], style), *(Text(cell) for cell in cells), Text(area(arm, places)[0]))
    return Group(Text(title, "bold"), table, Text("\n".join(["", *notes]), "dim"))  # a title may be wider than a table


def _evenly(every: Sequence[int], most: int) -> list[int]:
    """Take so many of a list, evenly by place, the last among them."""
    return [every[-1 - round(i * (len(every) - 1) / max(most - 1, 1))] for i in range(most)][::-1]
