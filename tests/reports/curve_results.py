"""Made-up results of a budget curve, with the shapes of real ones and every optional part there or not."""

import copy
import math

import torch

from auglean.randomness import generator

BUDGETS = (1, 10, 50, 100, 250, 500, 750, 1000)
VARIANTS = ((False, False), (True, False), (False, True), (True, True))


def spread(values):
    values = torch.tensor(values, dtype=torch.float64)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()) if len(values) > 1 else 0.0,
        "values": values.tolist(),
    }


def made_up(*, budgets=BUDGETS, scores=("influence", "loss", "margin"), rounds=5, noise=0.0, extras=True, floor=0.9632):
    """A whole result; without extras it has no clusters, DPP, sheets, scores or support vectors."""
    g, n, ceiling, lowered = generator(0, "made up"), budgets[-1], 0.9732, 0.9714

    def arm(name, score, draw, speed, *, update=False, downweight=False, clusters=None, runs=rounds, only=budgets):
        top, points = (lowered if downweight else ceiling), []
        for k in only:
            share = (1 - math.exp(-speed * k / n)) / (1 - math.exp(-speed))
            values = (floor + (top - floor) * share + 0.0004 * torch.randn(runs, generator=g)).tolist()
            ahead = sum(values) / runs - (floor + (ceiling - floor) * (1 - math.exp(-3 * k / n)) / (1 - math.exp(-3)))
            mean = sum(values) / runs
            points.append(
                {
                    "budget": k,
                    "accuracy": spread(values),
                    "validation": spread(values),
                    "over_random": {"mean": ahead, "low": ahead - 0.001, "high": ahead + 0.001},
                    "interval": {"low": mean - 0.002, "high": mean + 0.002},
                    "noisy_share": min(1.0, noise * (1 + (speed - 3) / 3 * (1 - k / n))) if noise else None,
                    "seconds": 0.1,
                }
            )
        mean = sum(p["accuracy"]["mean"] for p in points) / len(points)
        area = {**spread([mean + 0.0002 * i for i in range(runs)]), "low": mean - 0.002, "high": mean + 0.002}
        return {
            "name": name
            + f"-clusters-{clusters}" * (clusters is not None)
            + "+update" * update
            + "+down-weight" * downweight,
            "selector": name,
            "score": score or name,
            "draw": draw,
            "update": update,
            "downweight": downweight,
            "clusters": clusters,
            "rounds": runs,
            "points": points,
            "area": area,
            "area_over_random": {"mean": mean - 0.968, "low": mean - 0.969, "high": mean - 0.967},
            "validation_area": mean,
            "skipped": [b for b in budgets if b not in only],
            "why_skipped": "It asks for more images than the rank." if len(only) < len(budgets) else None,
        }

    arms = [arm("random", None, None, 3.0)]
    for at, score in enumerate(scores):
        fast = 9.0 - 2 * at
        for update, down in VARIANTS:
            flags = {"update": update, "downweight": down}
            arms.append(arm(f"{score}-proportional", score, "proportional", fast - update - down, **flags))
            arms.append(arm(score, score, "top", fast - 1 - update - down, runs=1, **flags))
        arms.append(arm(f"{score}-inverse", score, "inverse", 1.5))
        arms += [arm(f"{score}-lowest", score, "lowest", 1.0, runs=1, update=update) for update in (False, True)]
    if extras:
        arms += [
            arm(name, s, None, 7.0, only=budgets[:5]) for name, s in (("k-dpp", None), (f"k-dpp-{scores[0]}", None))
        ]
        arms += [arm(f"{scores[0]}-proportional", scores[0], "proportional", 8.0, clusters=k) for k in (10, 100)]
    for made in arms:
        if made["name"] == "random":
            made["area_over_random"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
            for point in made["points"]:
                point["over_random"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
    before = {name: (-torch.rand(n, generator=g).log()).pow(3).tolist() for name in scores}
    after = {name: [v * 0.5 ** (i % 5) for i, v in enumerate(values)] for name, values in before.items()}
    ranked = {name: sorted(range(n), key=values.__getitem__) for name, values in before.items()}
    sweep = [
        {"k": k, "inertia": 1000.0 / k, "silhouette_train": 0.3 / k, "silhouette_test": 0.25 / k if k < 300 else None}
        for k in (2, 3, 5, 10, 30, 100, 300)
    ]
    support = {"budget": min(123, n), "accuracy": spread([0.9701])}
    levels = {"clean": 0.98, "floor": floor, "ceiling": ceiling, "ceiling_downweighted": lowered}
    machine = {"auglean": "0.1.0", "torch": "2.13.0", "python": "3.11", "system": "Linux", "processor": "a processor"}
    told = {name: {"before": before[name], "after": after[name], "spearman": 0.9876} for name in scores}
    return {
        "command": "curve",
        "version": "0.1.0",
        "config": {"data": "made-up", "seed": 0, "budgets": list(budgets), "rounds": rounds},
        "environment": {**machine, "cores": 2, "threads": 1, "device": "cpu"},
        "data": {
            "name": "made-up",
            "fingerprint": "1234-5678-9abc",
            "classes": ["0", "1"],
            "train": n,
            "validation": 500,
            "test": 2000,
            "copies": 4,
            "transform": "translate",
            "noise": noise,
        },
        "features": {
            "network": "cnn",
            "dimension": 128,
            "trained_on": 40000,
            "disjoint": True,
            "retrained": False,
            "steps": 600,
        },
        "references": {
            **{name: {"accuracy": spread([value])} for name, value in levels.items()},
            **({"support_vectors": support} if extras else {}),
        },
        "arms": arms,
        "scores": told if extras else {},
        "sheets": {name: {"highest": ranked[name][:-25:-1], "lowest": ranked[name][:24]} for name in scores[:2]}
        if extras
        else {},
        "clusters": sweep if extras else [],
        "answer": {
            "sentence": "Augmenting 100 of 1,000 images drawn by influence gets 97.01 %, more than random's 96.81 %.",
            "best": f"{scores[0]}-proportional",
            "why": "Of 37 policies it has the largest area under its curve on validation images.",
            "budget": 100,
        },
        "seconds": {"features": 12.5, "arms": 100.0, "total": 112.5},
    }


def edited(result, change):
    """A result that was changed by a function."""
    other = copy.deepcopy(result)
    change(other)
    return other


def without(*names):
    """A change that takes parts away, as a study that did not measure them."""

    def change(result):
        for name in names:
            result[name] = type(result[name])()

    return change


__all__ = ["BUDGETS", "edited", "made_up", "spread", "without"]
