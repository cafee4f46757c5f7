"""The arms of a budget curve: which of them are drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Arm = Mapping[str, Any]
Result = Mapping[str, Any]

#: The arm that the others are held against.
BASELINE = "random"
#: Draws by chance.
BY_CHANCE = ("proportional", "inverse", "softmax")
#: Orders by the score alone.
WITHOUT = ("top", "bottom", "lowest")
#: Lines in a panel beside those that each panel has, at most.
MOST = 6


class Panel(NamedTuple):
    """Arms that are drawn together."""

    title: str
    arms: tuple[Arm, ...]


def is_baseline(arm: Arm) -> bool:
    """Whether an arm is the random baseline, not refined."""
    return bool(arm["name"] == BASELINE)


def is_plain(arm: Arm) -> bool:
    """Whether an arm is not refined: neither updated, nor down-weighted, nor by clusters."""
    return not arm["update"] and not arm["downweight"] and arm["clusters"] is None


def is_dpp(arm: Arm) -> bool:
    """Whether an arm draws from a determinantal point process."""
    return str(arm["name"]).startswith("k-dpp")


def baseline(result: Result) -> Arm | None:
    """Give the random baseline, if it is there."""
    return next(filter(is_baseline, result["arms"]), None)


def variants(result: Result, *, by_chance: bool) -> list[Panel]:
    """Give a panel per score: its draws and their refinements, those by chance or those without.

    A lone arm that stands beside those of other scores has no panel here.
    """
    told = [arm["name"] for panel in scores(result) for arm in panel.arms]
    draws = BY_CHANCE if by_chance else WITHOUT
    fit = [arm for arm in result["arms"] if arm["draw"] in draws and arm["clusters"] is None]
    found = []
    for score in dict.fromkeys(str(arm["score"]) for arm in fit):
        own = [arm for arm in fit if arm["score"] == score]
        if len(own) > 1 or own[0]["name"] not in told:
            found += _panels(score, result, own)
    return found


def scores(result: Result) -> list[Panel]:
    """Give the scores side by side, drawn in proportion and from the top; none where there is one score only."""
    found = []
    for draw, title in (("proportional", "drawn in proportion to the score"), ("top", "highest scores first")):
        alike = [arm for arm in result["arms"] if arm["draw"] == draw and is_plain(arm)]
        if len(alike) > 1:
            # as the paper's figure has it, beside the margin its inverse
            near = [
                arm
                for arm in result["arms"]
                if arm["score"] == "margin" and arm["draw"] == "inverse" and is_plain(arm) and draw == "proportional"
            ]
            found += _panels(title, result, [*alike, *near])
    return found


def diverse(result: Result) -> list[Panel]:
    """Give the determinantal point processes beside the draws in proportion to their qualities."""
    processes = [arm for arm in result["arms"] if is_dpp(arm)]
    qualities = {str(arm["name"]).removeprefix("k-dpp-") for arm in processes}
    rivals = [
        arm
        for arm in result["arms"]
        if is_plain(arm) and arm["draw"] == "proportional" and str(arm["score"]).removeprefix("max-") in qualities
    ]
    return _panels("", result, processes, beside=rivals)


def clustered(result: Result) -> list[Panel]:
    """Give a panel per selector that chose cluster by cluster, beside the same without clusters."""
    by_turns = [arm for arm in result["arms"] if arm["clusters"] is not None]
    found = []
    for name in dict.fromkeys(arm["selector"] for arm in by_turns):
        whole = [arm for arm in result["arms"] if arm["name"] == name and not is_baseline(arm)]
        found += _panels(name, result, [arm for arm in by_turns if arm["selector"] == name], beside=whole)
    return found


def others(result: Result, panels: Sequence[Panel]) -> list[Panel]:
    """Give the arms that are in none of these panels; random alone where there is nothing else at all."""
    drawn = {arm["name"] for panel in panels for arm in panel.arms}
    found = _panels("", result, [arm for arm in result["arms"] if arm["name"] not in drawn and not is_baseline(arm)])
    alone = baseline(result)
    return found if found or panels or alone is None else [Panel("", (alone,))]


def noisy(result: Result) -> list[Panel]:
    """Give, where labels were made wrong, a panel per score with its draws, and one of what has no score."""
    if not result["data"].get("noise"):
        return []
    plain = [arm for arm in result["arms"] if is_plain(arm) and not is_baseline(arm)]
    scored = [arm for arm in plain if arm["draw"] is not None and not is_dpp(arm)]
    panels = [
        panel
        for score in dict.fromkeys(str(arm["score"]) for arm in scored)
        for panel in _panels(score, result, [arm for arm in scored if arm["score"] == score])
    ]
    return panels + _panels("others" if panels else "", result, [arm for arm in plain if arm not in scored])


def _panels(title: str, result: Result, arms: Sequence[Arm], *, beside: Sequence[Arm] = ()) -> list[Panel]:
    """Give arms over as many panels as they need, each with random and those beside."""
    if not arms:
        return []
    parts, first = list(_evenly(arms, MOST - len(beside))), [arm for arm in (baseline(result),) if arm is not None]
    several = [f"{title} ({i + 1} of {len(parts)})".strip() for i in range(len(parts))] if len(parts) > 1 else [title]
    return [Panel(name, (*first, *beside, *part)) for name, part in zip(several, parts, strict=True)]


def _evenly(arms: Sequence[Arm], most: int) -> Iterator[Sequence[Arm]]:
    """Cut a list into as few parts as can be, of nearly equal size.

    >>> list(_evenly("abcdefg", 6))
    ['abc', 'defg']
    """
    parts = -(-len(arms) // most)
    for i in range(parts):
        yield arms[i * len(arms) // parts : (i + 1) * len(arms) // parts]
