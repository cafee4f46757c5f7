"""`budget_curve`: how many images need to be augmented, and which, in the setting of Kuchnik & Smith (ICLR 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auglean import networks
from auglean.data import Splits, splits
from auglean.errors import InputError
from auglean.policies.copies import Copies
from auglean.selection import Selector, count
from auglean.studies.curve_features import given_network, left_over
from auglean.studies.curve_policies import GroupInfluence, Policies, arms_of, names_of
from auglean.studies.curve_scores import numbers_of_clusters
from auglean.studies.curve_study import Study
from auglean.studies.curve_task import Task, make_task
from auglean.studies.folder import RunFolder, environment, fingerprint
from auglean.studies.narration import Narrator
from auglean.training import Recipe, new_network
from auglean.training.fitting import check_options

#: The paper's budgets, of 1,000 sources.
BUDGETS = (1, 10, 50, 100, 250, 500, 750)


@dataclass(frozen=True, slots=True, repr=False)
class BudgetCurve:
    """The result of `budget_curve`.

    Attributes:
        result: What `result.json` holds.
        task: The images.
        folder: Where the run is kept, if it is.
    """

    result: Mapping[str, Any]
    task: Task
    folder: Path | None = None

    @property
    def arms(self) -> list[dict[str, Any]]:
        """A row for each policy."""
        return list(self.result["arms"])

    @property
    def answer(self) -> str:
        """The result in a sentence."""
        return str(self.result["answer"]["sentence"])

    def __repr__(self) -> str:
        told, references = self.result["data"], self.result["references"]
        budgets = sorted({point["budget"] for arm in self.arms for point in arm["points"]})
        wide = max(len(arm["name"]) for arm in self.arms)
        marks = {
            "no copies": "floor",
            "all copies": "ceiling",
            "all, down-weighted": "ceiling_downweighted",
            "clean": "clean",
        }
        lines = [
            f"BudgetCurve {told['name']} {' v '.join(told['classes'])}, {told['transform']}: {told['train']} sources, "
            f"{told['copies']} copies each",
            ", ".join(f"{name} {references[key]['accuracy']['mean']:.4f}" for name, key in marks.items()),
            f"{'policy':<{wide}} " + " ".join(f"{budget:>6}" for budget in budgets) + f" {'area':>6}",
        ]
        for arm in self.arms:
            found = {point["budget"]: f"{point['accuracy']['mean']:.4f}" for point in arm["points"]}
            cells = " ".join(f"{found.get(budget, ''):>6}" for budget in budgets)
            lines.append(f"{arm['name']:<{wide}} {cells} {arm['area']['mean']:.4f}")
        return "\n".join([*lines, self.answer])


def budget_curve(
    data: Any,
    *,
    classes: Sequence[str | int] | None = None,
    transform: str | Copies = "translate",
    selectors: str | Selector | Sequence[str | Selector] | None = None,
    policies: Policies = "plain",
    score: str | Sequence[str] = "influence",
    budgets: Sequence[float | int] | None = None,
    rounds: int = 5,
    train: int | None = None,
    validation: int = 500,
    C: float = 1.0,
    noise: float = 0.0,
    clusters: Sequence[int | str] = (),
    sweep: bool | Sequence[int] = False,
    network: str = "cnn",
    model: nn.Module | str | Path | None = None,
    retrain: bool = False,
    steps: int = 600,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    narrator: Narrator | None = None,
) -> BudgetCurve:
    """Measure the accuracy on transformed images against how many training images were augmented, policy by policy.

    Each of n training images has the same m copies; a policy chooses k sources, whose copies join the n originals, and
    a logistic head is fitted on features of a network. It is judged on the test images and all of their copies. The
    setting is that of Kuchnik & Smith (ICLR 2019), with what its code left open or undone: the feature network has seen
    no image of the task, sources are drawn by the seed, as many of each class, C is really passed, choices between
    policies are made on validation images, and intervals are over sources, not over their correlated copies.

    Args:
        data: `Splits`, or anything that `auglean.data.splits` takes.
        classes: Names or numbers of two classes or more; by default the paper's pair if the data have it (3 and 8,
            airplane and automobile), else all.
        transform: `translate`, `rotate`, `crop`, one of the paper's lists such as `cifar10-crop`, or `Copies`.
        selectors: Selectors or their names; by default influence and loss, drawn in proportion. Random is always there.
        policies: `"plain"`: each selector as it is. `"refined"`: each with and without updating the scores after each
            budget and down-weighting copies. `"paper"`: the paper's twelve of each `score`, and the selectors.
        score: For `"paper"`: one or more of influence, loss, margin, and group-influence, which is ours.
        budgets: Sources to choose: counts (int) or fractions (float); by default the paper's up to n.
        rounds: Rounds of arms that draw; others have one.
        train: Training images n; by default 1,000, or half of those there are.
        validation: Validation images, at most.
        C: Inverse strength of the head's penalty.
        noise: Share of the training images whose label is made wrong, copies alike.
        clusters: Also choose by turns from clusters: numbers of them, or `"budget"`.
        sweep: Judge numbers of clusters by inertia and silhouette: True for the paper's, or the numbers.
        network: Name of the feature network.
        model: A trained network, or the file of one, in place of training one; whether it has seen the task is not
            known then.
        retrain: Train the network anew for each fit on originals and the copies of the chosen, at equal steps, as the
            paper does for MNIST at equal epochs. Slow.
        steps: Optimiser steps of the network, of each one if it is retrained.
        recipe: Options of SGD.
        seed: Fixes everything that is drawn.
        device: Where the network runs.
        out: Folder to keep the run in; by default nothing is written.
        resume: Go on with the run in `out`.
        origin: How the data were given, for `config.yaml`.
        narrator: Who tells the progress; by default a bar on a terminal.

    Raises:
        InputError: If an option or the data are not usable; nothing is written then.
        Interrupted: If the narrator was asked to stop; what was done is kept in `out`.

    >>> found = budget_curve("digits", network="mlp", steps=30, budgets=[10, 50], rounds=2, selectors="max-loss")
    >>> [arm["name"] for arm in found.arms]
    ['random', 'max-loss']
    """
    if resume and out is None:
        raise InputError("There is no run to resume without its folder; give that as out.")
    check_options(steps=steps, eval_every=None, device=device)
    if rounds < 1 or validation < 1:
        raise InputError(f"Got {rounds} rounds and {validation} validation images; give 1 or more of each.")
    if not 0 < C < math.inf:
        raise InputError(f"C, the inverse strength of the penalty, is {C}; give a finite number above 0.")
    if retrain and model is not None:
        raise InputError("A trained network was given, and one that is retrained was asked for; give one of the two.")
    sets = data if isinstance(data, Splits) else splits(data, seed=seed)
    task = make_task(
        sets, classes=classes, transform=transform, train=train, validation=validation, noise=noise, seed=seed
    )
    n = len(task.train)
    given = [budget for budget in BUDGETS if budget < n] + [n] if budgets is None else budgets
    ready = sorted({0 if budget == 0 else count(budget, n) for budget in given})
    if not any(ready):
        raise InputError("No budget was given but 0; give at least one, such as 100.")
    numbers = numbers_of_clusters(n) if sweep is True else [] if sweep is False else list(sweep)
    if not all(2 <= k <= n for k in numbers):
        raise InputError(f"The sweep was given {numbers} clusters; give numbers from 2 to {n}.")
    arms = arms_of(selectors, policies, score, clusters, n=n, C=C)
    if task.train.classes > 2 and any(isinstance(arm.selector, GroupInfluence) for arm in arms):
        raise InputError(
            f"Group influence is that of a head of two classes, but the task has {task.train.classes}; give two, or "
            "another score."
        )
    known = None if model is None else given_network(model, task.train)
    if known is None:
        learns_from = task.train if retrain else left_over(task)
        new = new_network(network, learns_from, seed)
        networks.check(new, channels=learns_from.channels, classes=learns_from.classes, size=learns_from.size)
    recipe = recipe or Recipe()
    config = {
        **(origin or {"data": str(data) if isinstance(data, str | Path) else None}),
        "classes": list(task.train.class_names),
        "transform": transform if isinstance(transform, str) else repr(transform),
        "selectors": None if selectors is None else names_of(selectors),
        "policies": policies,
        "score": [score] if isinstance(score, str) else list(score),
        "budgets": ready,
        "rounds": rounds,
        "train": n,
        "validation": validation,
        "C": C,
        "noise": noise,
        "clusters": list(clusters),
        "sweep": sweep if isinstance(sweep, bool) else numbers,
        "network": network,
        "model": None if model is None else str(model) if isinstance(model, str | Path) else type(model).__name__,
        "retrain": retrain,
        "steps": steps,
        "recipe": asdict(recipe),
        "seed": seed,
        "device": None if device is None else str(device),
    }
    study = Study(
        task=task,
        config=config,
        network=known,
        recipe=recipe,
        device=device,
        narrator=narrator or Narrator(),
        folder=None if out is None else RunFolder(out, config, fingerprint=fingerprint(sets), resume=resume),
    )
    result = {
        "command": "curve",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(device or "cpu"),
        "data": {
            "name": sets.train.name,
            "fingerprint": fingerprint(sets),
            "classes": list(task.train.class_names),
            "train": n,
            "validation": len(task.validation),
            "test": len(task.test),
            "copies": task.copies.m,
            "transform": task.copies.name,
            "noise": noise,
            "wrong_labels": int(task.wrong.sum()),
            "drawn": "by the seed, as many of each class",
        },
        **study.run(arms, ready, rounds, numbers),
    }
    if study.folder is not None:
        study.folder.write_result(result)
    return BudgetCurve(result, task, None if out is None else Path(out))
