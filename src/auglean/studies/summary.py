"""From the outcomes of all runs to the rows of a comparison and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from auglean.selection import Random
from auglean.studies.arms import Arm
from auglean.studies.statistics import gain_kept, interval, resampled_accuracies, seconds_to_reach, spread

#: Share of the validation gain at which a smaller budget is enough for the answer to speak of it.
ENOUGH = 0.9
#: Where accuracy is measured: the column of a history row.
MEASURES = {"clean": "accuracy", "transformed": "accuracy_transformed"}


def summarise(
    arms: Sequence[Arm], outcomes: Mapping[str, Sequence[Mapping[str, Any]]], n: int, steps: int, batch_size: int
) -> dict[str, Any]:
    """Turn the outcomes of all runs into the rows, the gains and the answer of `result.json`.

    Args:
        arms: The arms; `weak` and `full` are among them.
        outcomes: For each arm, the outcome of each seed.
        n: Training examples.
        steps: Optimiser steps of each run.
        batch_size: Images in a step.
    """
    hits = {
        measure: {arm.key: torch.stack([_bits(o["hits"][measure]) for o in outcomes[arm.key]]) for arm in arms}
        for measure in MEASURES
    }
    means = {m: {key: float(right.double().mean()) for key, right in h.items()} for m, h in hits.items()}
    draws = {m: resampled_accuracies(h) for m, h in hits.items()}
    final = {  # on validation: what choices are made on
        m: {arm.key: _mean([o["history"][-1][column] for o in outcomes[arm.key]]) for arm in arms}
        for m, column in MEASURES.items()
    }
    headline = _headline(final)
    seconds = {arm.key: _seconds(outcomes[arm.key]) for arm in arms}
    rows = []
    for arm in arms:
        key, runs = arm.key, outcomes[arm.key]
        errors = [error for o in runs for _, error in o["gradient_errors"]]
        row: dict[str, Any] = {
            "name": arm.name,
            "role": arm.role or None,
            "budget": arm.budget,
            "count": {"weak": 0, "full": n}.get(arm.name, runs[0]["count"]),
            "steps": steps,
            "images_augmented": round(_mean([o["images_augmented"] for o in runs])),
        }
        for measure, column in MEASURES.items():
            suffix = column.removeprefix("accuracy")
            row[column] = spread(hits[measure][key].double().mean(1).tolist())
            row[f"gain_kept{suffix}"] = gain_kept(
                means[measure][key],
                means[measure]["weak"],
                means[measure]["full"],
                {"arm": draws[measure][key], "weak": draws[measure]["weak"], "full": draws[measure]["full"]},
            )
            histories = [o["history"] for o in runs]
            for name, target in (("weak", final[measure]["weak"]), ("full99", 0.99 * final[measure]["full"])):
                row[f"seconds_to_{name}{suffix}"] = seconds_to_reach(histories, column, target)
        row["validation"] = {measure: final[measure][key] for measure in MEASURES}
        row["gradient_error"] = _mean(errors) if errors else None
        row["kappa"] = [o.get("kappa", []) for o in runs]  # a job finished by an earlier version has none
        row["seconds"] = seconds[key]
        row["speedup"] = seconds["full"]["total"] / seconds[key]["total"]
        rows.append(row)
    full = rows[[arm.key for arm in arms].index("full")]
    for row in rows:
        row["speedup_model"] = speedup_model(row, full, steps * batch_size) if row["role"] == "full+subset" else None
    answer = _answer(arms, rows, final[headline], draws[headline], headline)
    return {"headline": headline, "arms": rows, "answer": answer}


def speedup_model(row: Mapping[str, Any], full: Mapping[str, Any], images: int) -> dict[str, float]:
    """Predict the speed-up over `full` of augmenting a part f, from the seconds of its ingredients.

    An epoch of n originals and m copies takes `n·t + m·(t + a)` seconds and what choosing takes: t is a training step's
    share for one image, a what making a copy takes. In units of `n·t`, an epoch of *weak* is 1, one of *full* is 1 + k
    with `k = 1 + a/t`, and one of the arm 1 + f·k + s. At as many epochs, which is how the speed-ups of papers are
    counted, that of the arm is

        S(f) = (1 + k) / (1 + f·k + s)

    which no policy takes above 1/f. At as many steps of as many images, which is what `compare` does, *full* goes
    over the originals less often, and the speed-up is (1 + f)/2 of that.

    Each ratio of seconds is taken within the runs of one arm, so that a machine which was busier during another arm
    has no part in it. The measured speed-up has no such shield.

    Args:
        row: A row of `result.json` with the role `full+subset`.
        full: The row of `full`.
        images: Images in the steps of a run, originals and copies.

    Returns:
        f, k, s, the speed-ups `equal_epochs` and `equal_steps` of the model, and `measured_equal_epochs`, which is the
        measured one at equal steps, times 2/(1 + f).

    >>> seconds = {"select": 0.5, "augment": 2.0, "train": 2.0}
    >>> full = {"count": 10, "images_augmented": 10, "seconds": seconds}
    >>> speedup_model({"count": 1, "seconds": seconds, "speedup": 1.1}, full, 20)["k"]
    3.0
    """
    share = row["count"] / full["count"]
    copies = max(1, full["images_augmented"])
    k = 1 + (full["seconds"]["augment"] / copies) / (full["seconds"]["train"] / images)
    s = (1 + share) * row["seconds"]["select"] / row["seconds"]["train"]  # its epochs hold (1 + f)·n images
    gained = (1 + k) / (1 + share * k + s)
    return {
        "f": share,
        "k": k,
        "s": s,
        "equal_epochs": gained,
        "equal_steps": gained * (1 + share) / 2,
        "measured_equal_epochs": row["speedup"] * 2 / (1 + share),
    }


def _bits(text: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in text])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _seconds(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {phase: _mean([o["seconds"][phase] for o in runs]) for phase in ("select", "augment", "train", "total")}


def _headline(final: Mapping[str, Mapping[str, float]]) -> str:
    """Choose, on validation, the test set on which augmentation gained more: the one that the answer speaks of."""
    return max(MEASURES, key=lambda measure: final[measure]["full"] - final[measure]["weak"])


def _speaks(candidates: Sequence[Arm], rows: Mapping[str, Mapping[str, Any]], final: Mapping[str, float]) -> Arm:
    """Choose, on validation, the arm that the answer speaks of.

    The best one at the smallest budget that keeps `ENOUGH` of the gain, else the best one at the largest.
    """
    counts = sorted({rows[arm.key]["count"] for arm in candidates})
    best = candidates[0]
    for number in counts:
        best = max((arm for arm in candidates if rows[arm.key]["count"] == number), key=lambda arm: final[arm.key])
        if final[best.key] - final["weak"] >= ENOUGH * (final["full"] - final["weak"]):
            break
    return best


def _answer(
    arms: Sequence[Arm],
    rows: Sequence[Mapping[str, Any]],
    final: Mapping[str, float],
    draws: Mapping[str, Tensor],
    headline: str,
) -> dict[str, Any]:
    """Say whether augmenting a part was enough, and whether choosing it beat chance."""
    by_key = {arm.key: row for arm, row in zip(arms, rows, strict=True)}
    column = MEASURES[headline]
    # also where a wrapper draws at random in each class
    randoms = [arm for arm in arms if isinstance(getattr(arm.selector, "inner", arm.selector), Random)]
    chosen = [arm for arm in arms if arm.selector and arm not in randoms]
    best = _speaks(chosen or randoms, by_key, final)
    peers = [arm for arm in randoms if (arm.budget, arm.role) == (best.budget, best.role)]
    rival = max(peers, key=lambda arm: final[arm.key])
    weak, full, row = by_key["weak"][column], by_key["full"][column], by_key[best.key]
    low, high = interval(draws[best.key] - draws[rival.key])
    difference = row[column]["mean"] - by_key[rival.key][column]["mean"]
    where = "the test images as they are" if headline == "clean" else "test images transformed by the policy"
    share = row["count"] / by_key["full"]["count"]
    kept = row["gain_kept" + column.removeprefix("accuracy")]
    if kept["mean"] is None:
        first = (
            f"Augmenting everything brought no clear gain on {where} ({weak['mean']:.1%} to {full['mean']:.1%}), "
            f"so there is nothing for a choice to keep."
        )
    else:
        deed = f"{'Training on' if best.role == 'subset' else 'Augmenting'} {100 * share:.3g}% of the images"
        first = (
            f"{deed}, chosen by {best.name}, was no better than weak augmentation alone on {where} "
            f"({row[column]['mean']:.1%}, against {weak['mean']:.1%} and {full['mean']:.1%} with everything augmented)."
            if kept["mean"] <= 0
            else f"{deed}, chosen by {best.name}, kept {kept['mean']:.0%} "
            f"[{kept['low']:.0%}, {kept['high']:.0%}] of the gain of augmenting all of them on {where} "
            f"({weak['mean']:.1%} to {full['mean']:.1%})."
        )
    verdict = "was better than" if low > 0 else "was worse than" if high < 0 else "could not be told from"
    measured = f"difference {100 * difference:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}"
    seeds = len(row[column]["values"])
    if best is rival:
        second = "No selector but random was compared."
    elif seeds == 1:
        # the interval then knows nothing of other starts of the network, which often matter more
        second = f"One seed cannot tell whether {best.name} beats {rival.name} ({measured} over test images alone)."
    else:
        rough = ", rough with two seeds" if seeds == 2 else ""
        second = f"At the same budget and steps {best.name} {verdict} {rival.name} ({measured}{rough})."
    return {
        "sentence": f"{first} {second}",
        "measure": headline,
        "best": best.key,
        "rival": rival.key,
        "difference": {"mean": difference, "low": low, "high": high},
    }
