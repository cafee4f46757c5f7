"""What `quantify` tells: rows of plain values, and the answer in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auglean.data import ImageSet
from auglean.moments import ExpectedLoss, SamplesNeeded
from auglean.policies import Policy
from auglean.studies.policy_measures import NAMES, Measures, by_class, draws_needed, summary


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
            name: by_class(getattr(measures, name), labels, names, seed=seed) for name in ("spread", "displacement")
        },
        "shares": [float(f"{share:.6g}") for share in measures.shares.mean(0).tolist()],
    }


def loss_row(loss: ExpectedLoss, draws: SamplesNeeded) -> dict[str, Any]:
    """Give all that is told of the loss of a network under a policy."""
    return {
        "clean": float(loss.clean.mean()),
        "expected": loss.average,
        "error": loss.average_error,
        **{name: getattr(loss, name) for name in ("kind", "nodes", "passes", "seconds")},
        "draws": {"confident": summary(draws.confident), "data_confident": draws.data_confident, "how": draws.how},
        "values": {name: getattr(loss, name).tolist() for name in ("clean", "mean", "sd", "standard_error")},
    }


def answer(told: Mapping[str, Any], *, eps: float, delta: float) -> list[str]:
    """Say what was found: how strong the policy is, how many draws tell it, whom it changes, and a network's loss."""
    first, n = told["policies"][0], told["probe"]["images"]
    spread, moved, rank = (first[name]["median"] for name in ("spread", "displacement", "effective_rank"))
    mean, covariance = (first["draws"][name]["median"] for name in ("confident", "covariance"))
    directions = "direction" if round(rank) == 1 else "directions"
    found = [
        f"A copy by {first['name']} differs from the mean of all copies by {spread:.0%} of its size, in about "
        f"{rank:.0f} {directions}; that mean differs from the original by {moved:.0%} (medians of {n:,} images).",
        f"To know the mean image to {eps:.2g} of its size, with {1 - delta:.0%} confidence, takes "
        f"{math.ceil(mean):,} draws of the median image; its covariance takes {math.ceil(covariance):,}.",
    ]
    classes = first["classes"]["spread"]
    if len(classes) > 1:
        found.append(f"It changes {classes[0]['name']} most and {classes[-1]['name']} least{_sure(classes)}.")
    if len(told["policies"]) > 1:
        found.append(_strongest(told["policies"]))
    if told["network"] is not None:
        loss = told["network"]
        found.append(
            f"The network's loss is {loss['expected']:.3g} ± {loss['error']:.1g} in expectation over the copies, and "
            f"{loss['clean']:.3g} on the images as they are; {math.ceil(loss['draws']['confident']['median']):,} draws "
            f"tell that of the median image to {eps:.2g} of itself, with {1 - delta:.0%} confidence."
        )
    return found


def _sure(classes: Sequence[Mapping[str, Any]]) -> str:
    """Say where the intervals of the first and the last class overlap."""
    first, last = classes[0], classes[-1]
    if first["low"] is None or last["high"] is None:
        return ", by one image each"
    return ", but their intervals overlap" if first["low"] <= last["high"] else ""


def _strongest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name the policy that spreads copies furthest, and that which does so in most directions."""
    strong = max(rows, key=lambda row: float(row["spread"]["median"]))
    diverse = max(rows, key=lambda row: float(row["effective_rank"]["median"]))
    if strong is diverse:
        return f"Of the {len(rows)} policies {strong['name']} is the strongest and the most diverse."
    return f"Of the {len(rows)} policies {strong['name']} is the strongest and {diverse['name']} the most diverse."
