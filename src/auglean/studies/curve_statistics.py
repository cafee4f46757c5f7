"""Statistics of a budget curve: paired over sources and rounds, areas, and a policy chosen by validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.randomness import generator
from auglean.studies.statistics import RESAMPLES, interval, spread

#: Resamples that are held at a time.
_CHUNK = 200


class Bootstrap:
    """Resamples of test sources and rounds, the same for every arm, so that differences between arms are paired.

    A source is drawn with all of its copies: they are right and wrong together, and are no independent images.
    Arms with as many rounds share their draws of rounds too, as they share the seeds of those.

    Args:
        sources: Number t of test sources.
        copies: Images of each source, m + 1.
        seed: Fixes the draws.
        resamples: Number of draws.
    """

    def __init__(self, sources: int, copies: int, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.sources, self.copies, self.seed, self.resamples = sources, copies, seed, resamples
        self._rounds: dict[int, Tensor] = {}

    def draws(self, counts: Sequence[Tensor]) -> list[Tensor]:
        """Resample the accuracies of several points.

        Args:
            counts: For each point, how many images of each source are right in each round. Each `(rounds, t)`.

        Returns:
            For each point, an accuracy per resample. Each `(resamples,)`, float64.
        """
        if not counts:
            return []
        rows = torch.cat([point.double() for point in counts])  # (all rounds of all points, t)
        g = generator(self.seed, "sources")
        parts = []
        for chunk in torch.arange(self.resamples).split(_CHUNK):
            parts.append(_multinomial(len(chunk), self.sources, g) @ rows.T)
        totals = torch.cat(parts).split([len(point) for point in counts], dim=1)
        scale = self.sources * self.copies
        return [(total * self._of_rounds(total.shape[1])).sum(1) / scale for total in totals]

    def _of_rounds(self, rounds: int) -> Tensor:
        """Give the weight of each round in each resample. Shape `(resamples, rounds)`, rows of sum 1."""
        if rounds not in self._rounds:
            drawn = _multinomial(self.resamples, rounds, generator(self.seed, "rounds", rounds))
            self._rounds[rounds] = drawn / rounds
        return self._rounds[rounds]


def _multinomial(draws: int, n: int, g: torch.Generator) -> Tensor:
    """Count how often each of n comes up in n draws with replacement. Shape `(draws, n)`, float64."""
    picks = torch.randint(n, (draws, n), generator=g)
    return torch.zeros(draws, n, dtype=torch.float64).scatter_add_(1, picks, torch.ones(draws, n, dtype=torch.float64))


def accuracies(counts: Tensor, copies: int) -> list[float]:
    """Give the accuracy of each round over all images: of each source itself and its copies.

    >>> accuracies(torch.tensor([[3, 1], [3, 3]]), 4)
    [0.5, 0.75]
    """
    shares: list[float] = (counts.double().mean(1) / copies).tolist()
    return shares


def area(budgets: Sequence[int], values: Sequence[Any]) -> Any:
    """Integrate over budgets by trapezoids and divide by their range: the mean height of the curve.

    >>> area([0, 10, 20], [0.0, 1.0, 1.0])
    0.75
    """
    widths = [right - left for left, right in pairwise(budgets)]
    whole = sum(width * (a + b) / 2 for width, a, b in zip(widths, values[:-1], values[1:], strict=True))
    return whole / (budgets[-1] - budgets[0])


def bounds(draws: Tensor) -> dict[str, float]:
    """Give the percentile interval of resamples."""
    low, high = interval(draws)
    return {"low": low, "high": high}


def difference(mine: Sequence[float], other: Sequence[float], draws: Tensor, others: Tensor) -> dict[str, float]:
    """Give the difference of two mean accuracies, and its interval by paired resamples."""
    return {"mean": sum(mine) / len(mine) - sum(other) / len(other), **bounds(draws - others)}


def answer(arms: Sequence[Mapping[str, Any]], floor: float, ceiling: float, n: int) -> dict[str, Any]:
    """Choose the policy with the largest area under its validation curve, and tell its test figures beside random's.

    The budget that is told of is the one nearest to a tenth of the n sources.

    Args:
        arms: The arms of a result; the first one is random.
        floor: Test accuracy with no copies.
        ceiling: Test accuracy with all copies.
        n: Number of training sources.

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
    accuracy = f"{_percent(point['accuracy']['mean'])} of the transformed test images right with the copies of {budget}"
    if best["name"] == random["name"]:
        sentence = f"Random wins: chosen on validation images, it gets {accuracy} of {n} sources ({gain})."
        return {"sentence": sentence, **told}
    over, against = point["over_random"], points[random["name"]][budget]
    points_over = f"{100 * over['mean']:+.2f} points [{100 * over['low']:+.2f}, {100 * over['high']:+.2f}]"
    verdict = "more than" if over["low"] > 0 else "less than" if over["high"] < 0 else "no clear difference from"
    sentence = (
        f"Chosen on validation images, {best['name']} gets {accuracy} of {n} sources, {verdict} random's "
        f"{_percent(against['accuracy']['mean'])} ({points_over}; {gain})."
    )
    return {"sentence": sentence, **told}


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def summary(
    arms: Sequence[Mapping[str, Any]], outcomes: Mapping[str, Sequence[Mapping[str, Any]]], floor: Mapping[str, Tensor],
    copies: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Give the arms of a result: for each its points and area, from what each round got right.

    Args:
        arms: What each arm is, in plain values; random is the first.
        outcomes: For each arm's name, its rounds, each with `budgets`, and right copies of each source under `test`
            and `validation`, one tensor per budget.
        floor: Right copies of each source without augmentation, under `test` and `validation`, `(rounds, t)`.
        copies: Images of each source, m + 1.
        seed: Fixes the bootstrap.
    """
    common = {name: _common(outs) for name, outs in outcomes.items()}
    stacked = {
        (name, budget, which): torch.stack([out[which][out["budgets"].index(budget)] for out in outs])
        for name, outs in outcomes.items()
        for budget in common[name]
        for which in ("test", "validation")
    }
    bootstrap = Bootstrap(floor["test"].shape[1], copies, seed=seed)
    keys = [key for key in stacked if key[2] == "test"]
    *drawn, at_floor = bootstrap.draws([*(stacked[key] for key in keys), floor["test"]])
    draws = dict(zip(keys, drawn, strict=True))
    found, random = [], arms[0]["name"]
    for arm in arms:
        name, outs = arm["name"], outcomes[arm["name"]]
        budgets, points = common[name], []
        for budget in budgets:
            key, against = (name, budget, "test"), (random, budget, "test")
            mine = accuracies(stacked[key], copies)
            point = {
                "budget": budget,
                "accuracy": spread(mine),
                "validation": spread(accuracies(stacked[name, budget, "validation"], copies)),
                "over_random": difference(mine, accuracies(stacked[against], copies), draws[key], draws[against]),
                "interval": bounds(draws[key]),
                "noisy_share": _mean([out["noisy"][out["budgets"].index(budget)] for out in outs]),
                "seconds": _mean([out["seconds"][out["budgets"].index(budget)] for out in outs]),
            }
            points.append(point)
        rounds = len(outs)
        known = [(b, which) for b in budgets if b for which in ("test", "validation")]
        curves = {
            "test": [_each(floor["test"], copies, rounds)],
            "validation": [_each(floor["validation"], copies, rounds)],
        }
        for b, which in known:
            curves[which].append(torch.tensor(accuracies(stacked[name, b, which], copies), dtype=torch.float64))
        at = [0, *(b for b in budgets if b)]
        resampled = area(at, [at_floor, *(draws[name, b, "test"] for b in budgets if b)])
        others = area(at, [at_floor, *(draws[random, b, "test"] for b in budgets if b)])
        found.append(
            {
                **arm,
                "rounds": rounds,
                "points": points,
                "area": {**spread(area(at, curves["test"]).tolist()), **bounds(resampled)},
                "area_over_random": bounds(resampled - others),
                "validation_area": float(area(at, curves["validation"]).mean()),
                "skipped": sorted({budget for out in outs for budget in out["skipped"]}),
                "why_skipped": next((out["why"] for out in outs if out["why"]), None),
            }
        )
    for arm in found:
        own = sum(arm["area"]["values"]) / arm["rounds"]
        reference = _random_area(found[0], [point["budget"] for point in arm["points"]], floor["test"], copies)
        arm["area_over_random"] = {"mean": own - reference, **arm["area_over_random"]}
    return found


def _common(outs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Give the budgets that an arm could choose in every round, of which there must be some."""
    found = [budget for budget in outs[0]["budgets"] if all(budget in out["budgets"] for out in outs)]
    if not any(found):
        refusal = next((out["why"] for out in outs if out["why"]), None)
        raise InputError(refusal or "No budget was given but 0; give at least one, such as 100.")
    return found


def _random_area(random: Mapping[str, Any], budgets: Sequence[int], floor: Tensor, copies: int) -> float:
    """Give the area under random's mean curve over the budgets of another arm."""
    mean = {point["budget"]: point["accuracy"]["mean"] for point in random["points"]}
    start = sum(accuracies(floor, copies)) / len(floor)
    return float(area([0, *(b for b in budgets if b)], [start, *(mean[b] for b in budgets if b)]))


def _each(floor: Tensor, copies: int, rounds: int) -> Tensor:
    """Give the floor's accuracy for each round of an arm; a frozen network has one for all."""
    found = torch.tensor(accuracies(floor, copies), dtype=torch.float64)
    return found[:rounds] if len(found) >= rounds else found[:1].expand(rounds)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
