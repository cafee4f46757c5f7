"""What `quantify` tells: rows of plain values, and the answer in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from auglean.data import ImageSet
from auglean.moments import Alignment, ExpectedLoss, LossCurve, SamplesNeeded
from auglean.moments.ranking import by_class
from auglean.policies import Policy
from auglean.studies.policy_measures import NAMES, Measures, draws_needed, summary


def policy_row(
    policy: Policy, measures: Measures, probe: ImageSet, *, eps: float, delta: float, seed: int
) -> dict[str, Any]:
    """Give all that is told of a policy."""
    draws = draws_needed(measures, eps=eps, delta=delta)
    labels, names = probe.labels.cpu(), probe.class_names
    return {
        "name": policy.name,
        "linear": policy.linear,
        **{name: getattr(measures, name) for name in ("kind", "error", "nodes", "seconds", "note")},
        **{name: summary(getattr(measures, name)) for name in NAMES},
        "draws": {name: summary(count) for name, count in draws.items()},
        "classes": {
            name: by_class(getattr(measures, name), labels, names, seed) for name in ("spread", "displacement")
        },
        "shares": [float(f"{share:.6g}") for share in measures.shares.mean(0).tolist()],
    }


def network_told(
    loss: ExpectedLoss, draws: SamplesNeeded, aligned: Alignment | None, curves: Sequence[LossCurve]
) -> dict[str, Any]:
    """Give all that is told of a network under a policy; `aligned` takes two images."""
    return {
        "clean": float(loss.clean.mean()),
        "expected": loss.average,
        "error": loss.average_error,
        **{name: getattr(loss, name) for name in ("kind", "nodes", "passes", "seconds")},
        "draws": {"confident": summary(draws.confident), "data_confident": draws.data_confident, "how": draws.how},
        "alignment": None if aligned is None else _alignment(aligned),
        "curves": [curve.to_dict() for curve in curves],
        "values": {name: getattr(loss, name).tolist() for name in ("clean", "mean", "sd", "standard_error")},
    }


def _alignment(found: Alignment) -> dict[str, Any]:
    plain = found.to_dict()
    return {name: plain[name] for name in ("energy", "energy_shuffled", "spearman", "policy", "how")} | {
        "images": len(found.ids),
        **{name: _median(getattr(found, name)) for name in ("ratio", "isotropic", "in_range")},
    }


def _median(values: Tensor) -> float | None:
    middle = float(values.nanmedian())
    return middle if math.isfinite(middle) else None


def answer(told: Mapping[str, Any], *, eps: float, delta: float) -> list[str]:
    """Say what was found: how strong the policy is, how many draws tell it, whom it changes, and a network's loss."""
    first, n = told["policies"][0], told["probe"]["images"]
    spread, moved, rank = (first[name]["median"] for name in ("spread", "displacement", "effective_rank"))
    mean, covariance = (first["draws"][name]["median"] for name in ("confident", "covariance"))
    directions = "direction" if round(rank) == 1 else "directions"
    found = [
        f"{first['name']} leaves the mean of an image's copies {moved:.0%} of the image's size away from it, and each "
        f"copy {spread:.0%} of that mean's size away from the mean, in about {rank:.0f} {directions} (medians of {n:,} "
        "images).",
        f"It takes {rounded(mean)} draws of the median image to know its mean to {eps:.2g} of its size with "
        f"{1 - delta:.0%} confidence, and {rounded(covariance)} to know its covariance.",
    ]
    classes = first["classes"]["spread"]
    if len(classes) > 1:
        most, least = classes[0]["name"], classes[-1]["name"]
        found.append(f"Of the classes it spreads “{most}” most and “{least}” least{_sure(classes)}.")
    if len(told["policies"]) > 1:
        found.append(_strongest(told["policies"]))
    if told["network"] is not None:
        loss = told["network"]
        needed = rounded(loss["draws"]["confident"]["median"])
        found.append(
            f"The network's loss is {loss['expected']:.3g} ± {loss['error']:.1g} in expectation over the copies, and "
            f"{loss['clean']:.3g} on the images as they are; it takes {needed} draws of the median image "
            f"to know its loss to {eps:.2g} of itself."
        )
    return found


def rounded(count: float) -> str:
    """Write a number of draws, three digits of it.

    >>> rounded(14032.6), rounded(62.1)
    ('14,100', '63')
    """
    digits = max(0, len(str(math.ceil(count))) - 3)
    return f"{math.ceil(count / 10**digits) * 10**digits:,}"


def _sure(classes: Sequence[Mapping[str, Any]]) -> str:
    """Say where the intervals of the first and the last class overlap."""
    first, last = classes[0], classes[-1]
    if 1 in (first["images"], last["images"]):
        return ", by a single image"
    return ", but their intervals overlap" if first["low"] <= last["high"] else ""


def _strongest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name the policy that spreads copies furthest, and that which does so in most directions."""
    strong = max(rows, key=lambda row: float(row["spread"]["median"]))
    diverse = max(rows, key=lambda row: float(row["effective_rank"]["median"]))
    if strong is diverse:
        return f"Of the {len(rows)} policies {strong['name']} is the strongest and the most diverse."
    return f"Of the {len(rows)} policies {strong['name']} is the strongest and {diverse['name']} the most diverse."
