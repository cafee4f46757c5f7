"""What a budget curve tells of its arms: points, areas, and the policy that validation images choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.studies.curve_statistics import Bootstrap, accuracies, area, bounds, difference
from auglean.studies.statistics import spread


@dataclass(frozen=True)
class _Curve:
    """What an arm got right at its budgets, after that of no source.

    Attributes:
        budgets: 0, and those that the arm could choose in every round.
        accuracy: Of each round at each of them, on test images. Each `(rounds,)`.
        validation: The same on validation images.
        draws: Resampled test accuracies. Each `(resamples,)`.
    """

    budgets: list[int]
    accuracy: list[Tensor]
    validation: list[Tensor]
    draws: list[Tensor]

    def until(self, budgets: Sequence[int]) -> _Curve:
        """Keep some of the budgets."""
        kept = [self.budgets.index(budget) for budget in budgets]
        columns = ([column[i] for i in kept] for column in (self.accuracy, self.validation, self.draws))
        return _Curve([self.budgets[i] for i in kept], *columns)


def summary(
    arms: Sequence[Mapping[str, Any]],
    outcomes: Mapping[str, Sequence[Mapping[str, Any]]],
    floor: Mapping[str, Tensor],
    copies: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Give the arms of a result: for each its points and area, from what each round got right.

    Args:
        arms: What each arm is, in plain values; random is the first, and could choose every budget.
        outcomes: For each arm's name, its rounds, each with `budgets`, and right copies of each source under `test`
            and `validation`, one tensor per budget.
        floor: Right copies of each source without augmentation, under `test` and `validation`, `(rounds, t)`.
        copies: Images of each source, m + 1.
        seed: Fixes the bootstrap.

    Raises:
        InputError: If an arm could choose no budget.
    """
    counts = {name: _counts(outs, floor) for name, outs in outcomes.items()}
    bootstrap = Bootstrap(floor["test"].shape[1], copies, seed=seed)
    drawn = iter(bootstrap.draws([point["test"] for points in counts.values() for point in points.values()]))
    curves = {
        name: _Curve(
            budgets=list(points),
            accuracy=[accuracies(point["test"], copies) for point in points.values()],
            validation=[accuracies(point["validation"], copies) for point in points.values()],
            draws=[next(drawn) for _ in points],
        )
        for name, points in counts.items()
    }
    random = curves[arms[0]["name"]]
    return [{**arm, **_told(curves[arm["name"]], random, outcomes[arm["name"]])} for arm in arms]


def _counts(outs: Sequence[Mapping[str, Any]], floor: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Give the right copies of each source by budget, that of no source first, `(rounds, t)`."""
    shared = [k for k in outs[0]["budgets"] if k and all(k in out["budgets"] for out in outs)]
    if not shared:
        refusal = next((out["why"] for out in outs if out["why"]), None)
        raise InputError(refusal or "No budget was given but 0; give at least one, such as 100.")
    return {
        # a frozen network has one floor for all rounds
        0: {which: right[: len(outs)] if len(right) > 1 else right for which, right in floor.items()},
        **{
            k: {which: torch.stack([out[which][out["budgets"].index(k)] for out in outs]) for which in floor}
            for k in shared
        },
    }


def _told(curve: _Curve, random: _Curve, outs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell an arm's points and areas, beside random at the same budgets."""
    other = random.until(curve.budgets)
    points = []
    for i, budget in enumerate(curve.budgets):
        if budget in outs[0]["budgets"]:
            mine, draws = curve.accuracy[i], curve.draws[i]
            rows = [(out, out["budgets"].index(budget)) for out in outs]
            points.append(
                {
                    "budget": budget,
                    "accuracy": spread(mine.tolist()),
                    "validation": spread(curve.validation[i].tolist()),
                    "over_random": difference(mine, other.accuracy[i], draws, other.draws[i]),
                    "interval": bounds(draws),
                    "noisy_share": _mean([out["noisy"][at] for out, at in rows]),
                    "seconds": _mean([out["seconds"][at] for out, at in rows]),
                }
            )
    mine, theirs = (area(each.budgets, each.accuracy) for each in (curve, other))
    draws, others = (area(each.budgets, each.draws) for each in (curve, other))
    return {
        "rounds": len(outs),
        "points": points,
        "area": {**spread(mine.tolist()), **bounds(draws)},
        "area_over_random": difference(mine, theirs, draws, others),
        "validation_area": float(area(curve.budgets, curve.validation).mean()),
        "skipped": sorted({budget for out in outs for budget in out["skipped"]}),
        "why_skipped": next((out["why"] for out in outs if out["why"]), None),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def answer(arms: Sequence[Mapping[str, Any]], floor: float, ceiling: float, n: int) -> dict[str, Any]:
    """Choose the policy with the largest area under its validation curve, and tell its test figures beside random's.

    The budget that is told of is the one nearest to a tenth of the n training images.

    Args:
        arms: The arms of a result; the first one is random.
        floor: Test accuracy with no copies.
        ceiling: Test accuracy with all copies.
        n: Number of training images.

    Returns:
        `sentence`, the `best` arm's name, `why`, and the `budget`.
    """
    whole = [arm for arm in arms if not arm["skipped"]] or list(arms)
    best = max(whole, key=lambda arm: arm["validation_area"])
    random = arms[0]
    budget = min((point["budget"] for point in best["points"]), key=lambda b: (abs(b - n / 10), b))
    points = {arm["name"]: {point["budget"]: point for point in arm["points"]} for arm in (best, random)}
    point = points[best["name"]][budget]
    why = (
        f"Of {len(whole)} policies {best['name']} has the largest area under its curve on validation images "
        f"({_percent(best['validation_area'])})."
    )
    told = {"best": best["name"], "why": why, "budget": budget}
    gain = f"no copies {_percent(floor)}, all copies {_percent(ceiling)}"
    accuracy = (
        f"{_percent(point['accuracy']['mean'])} of the transformed test images right with the copies of {budget:,}"
    )
    if best["name"] == random["name"]:
        sentence = f"Random wins: chosen on validation images, it gets {accuracy} of {n:,} images ({gain})."
        return {"sentence": sentence, **told}
    over, against = point["over_random"], points[random["name"]][budget]
    mean, low, high = (f"{100 * over[side]:+.2f}".replace("-", "−") for side in ("mean", "low", "high"))
    points_over = f"{mean} points [{low}, {high}]"
    verdict = "more than" if over["low"] > 0 else "less than" if over["high"] < 0 else "no clear difference from"
    sentence = (
        f"Chosen on validation images, {best['name']} gets {accuracy} of {n:,} images, {verdict} random's "
        f"{_percent(against['accuracy']['mean'])} ({points_over}; {gain})."
    )
    return {"sentence": sentence, **told}


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
