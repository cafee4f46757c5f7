"""`label_noise`: do selectors choose the mislabelled, and what does that do to the network?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from auglean import networks
from auglean.data import ImageSet, Splits, load, split, splits
from auglean.errors import InputError
from auglean.policies import Policy
from auglean.randomness import derive, generator
from auglean.selection import ReducibleLoss, Selection, Selector, WeightMode, parse
from auglean.signals import collect
from auglean.studies.arms import Arm, arms_of
from auglean.studies.comparing import resolve_policies
from auglean.studies.folder import RunFolder, environment
from auglean.studies.narration import Narrator
from auglean.studies.statistics import spread
from auglean.training import AugmentSampler, Hooks, Recipe, Role, correct, fit, new_network
from auglean.training.fitting import check_agree, check_options

#: The choices of a run that are told apart.
MOMENTS = ("first", "middle", "last")
#: Labels of the held-out images that the reference networks of `ReducibleLoss` learn from.
REFERENCES = ("noisy", "clean")
#: What a difference of noisy shares has to exceed to be spoken of, as a part of the share in the data.
CLEAR = 0.1


def wrong_labels(data: ImageSet, share: float, seed: int) -> tuple[ImageSet, Tensor]:
    """Change a share of the labels, each to one of the other classes with equal chances (symmetric noise).

    With the same seed, a larger share contains the changes of a smaller one.

    Args:
        data: The images, whose labels are left as they are.
        share: Fraction of wrong labels; exactly `round(share · n)` are changed.
        seed: Fixes which, and to what.

    Returns:
        The set with wrong labels, and where they are: shape `(n,)`, bool.

    Raises:
        InputError: If the share is not in [0, 1], or there is no other class.

    >>> noisy, wrong = wrong_labels(load("digits"), 0.1, seed=0)
    >>> int(wrong.sum()), bool((noisy.labels != load("digits").labels).equal(wrong))
    (100, True)
    """
    if not 0 <= share <= 1:
        raise InputError(f"The share of wrong labels is {share}; give a number from 0 to 1.")
    if data.classes < 2:
        raise InputError(f"{data.name} has a single class, so no label can be wrong; give images of several classes.")
    n, g = len(data), generator(seed, "wrong labels")
    order, shift = torch.randperm(n, generator=g), torch.randint(1, data.classes, (n,), generator=g)
    rows = order[: round(share * n)]
    labels, wrong = data.labels.cpu().clone(), torch.zeros(n, dtype=torch.bool)
    labels[rows] = (labels[rows] + shift[rows]) % data.classes
    wrong[rows] = True
    return replace(data, labels=labels), wrong


def noisy_share(chosen: Selection, wrong: Tensor) -> dict[str, float]:
    """Give the share of wrong labels among the chosen, by count and by weight.

    >>> chosen = Selection(torch.tensor([2, 0]), torch.tensor([3.0, 1.0]), torch.zeros(2), total=4)
    >>> noisy_share(chosen, torch.tensor([False, False, True, True]))
    {'count': 0.5, 'weight': 0.75}
    """
    hit, weight = wrong[chosen.indices].double(), chosen.weights.double()
    return {"count": float(hit.mean()), "weight": float((hit * weight).sum() / weight.sum())}


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """The result of `label_noise`.

    Attributes:
        rows: For each share of wrong labels and each arm: `share`, `name`, `role`, `budget`; `accuracy` on the test
            images, whose labels are right; `noisy`, the share of wrong labels in the first, middle and last choice,
            by `count` and by `weight`; `choices`, how many were made; and `seconds`, where `reference` is what the
            held-out network cost. Measurements have mean, std and a value per seed.
        config: The options.
        data: Name and sizes of the sets.
    """

    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    data: Mapping[str, Any]

    @property
    def verdict(self) -> dict[str, Any]:
        """Whether coreset is robust to wrong labels relative to max-loss only: for each role, see `judge`."""
        roles = dict.fromkeys(row["role"] for row in self.rows if row["role"])
        found = {role: judge([row for row in self.rows if row["role"] == role]) for role in roles}
        return {"roles": found, "sentence": " ".join(f"{role}: {told['sentence']}" for role, told in found.items())}

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, with the verdict."""
        return {**asdict(self), "rows": [dict(row) for row in self.rows], "verdict": self.verdict}

    def __repr__(self) -> str:
        lines = [
            f"{'wrong':>5} {'role':<13} {'budget':>6} {'arm':<22} "
            f"{'noisy: first':>12} {'middle':>6} {'last':>6} {'by weight':>9} {'accuracy':>15}"
        ]
        for row in self.rows:
            noisy, accuracy = row["noisy"], row["accuracy"]
            cells = [f"{noisy[moment]['count']['mean']:.3f}" if noisy else "" for moment in MOMENTS]
            mass = f"{noisy['last']['weight']['mean']:.3f}" if noisy else ""
            lines.append(
                f"{row['share']:>5.0%} {row['role'] or '':<13} {row['budget'] or '':>6} {row['name']:<22} "
                f"{cells[0]:>12} {cells[1]:>6} {cells[2]:>6} {mass:>9} {accuracy['mean']:.4f} ± {accuracy['std']:.4f}"
            )
        return "\n".join([*lines, self.verdict["sentence"]])


def judge(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Confirm or refute, from the rows, that coreset is robust to wrong labels relative to max-loss only.

    A case is a share of wrong labels, a role and a budget, and the choice is the last one. "Fewer" says: in every seed,
    and by more than a tenth of the share of wrong labels in the data, which random holds on average; "more accurate"
    says: in every seed. The reading is confirmed if coreset holds fewer than max-loss by count in more than half of
    the cases, and fewer than are in the data neither by count nor by weight in more than half.

    Returns:
        `cases`; in how many of them coreset holds `fewer_than_max_loss`, `fewer_than_prior` and
        `fewer_than_prior_by_weight`, and is `more_accurate_than` which other arm; `times_prior`, the noisy shares
        of both over that in the data, on average; `confirmed` (None if one of the two is missing); and a `sentence`.
    """
    cases: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["noisy"] and row["prior"]:
            cases.setdefault((row["share"], row["role"], row["budget"]), {})[row["name"]] = row
    pairs = [arms for arms in cases.values() if {"coreset", "max-loss"} <= set(arms)]
    if not pairs:
        return {"cases": 0, "confirmed": None, "sentence": "Coreset and max-loss were not both compared."}

    def over_prior(arms: Mapping[str, Mapping[str, Any]], name: str, by: str) -> list[float]:
        return [value / arms[name]["prior"] for value in arms[name]["noisy"]["last"][by]["values"]]

    def mean(name: str, by: str) -> float:
        values = [value for arms in pairs for value in over_prior(arms, name, by)]
        return sum(values) / len(values)

    def below(other: Callable[[Mapping[str, Mapping[str, Any]]], Sequence[float]], by: str) -> int:
        mine = [(over_prior(arms, "coreset", by), other(arms)) for arms in pairs]
        return sum(all(a < b - CLEAR for a, b in zip(*pair, strict=True)) for pair in mine)

    def ahead(rival: str) -> int:
        both = [[arms[name]["accuracy"]["values"] for name in ("coreset", rival)] for arms in pairs]
        return sum(all(a > b for a, b in zip(*pair, strict=True)) for pair in both)

    def prior(arms: Mapping[str, Mapping[str, Any]]) -> list[float]:
        return [1.0] * len(arms["coreset"]["accuracy"]["values"])

    total = len(pairs)
    fewer = {
        "fewer_than_max_loss": below(lambda arms: over_prior(arms, "max-loss", "count"), "count"),
        "fewer_than_prior": below(prior, "count"),
        "fewer_than_prior_by_weight": below(prior, "weight"),
    }
    times = {name: {by: mean(name, by) for by in ("count", "weight")} for name in ("coreset", "max-loss")}
    rivals = {name: ahead(name) for name in ("max-loss", "random", "random-each-epoch") if name in pairs[0]}
    against_loss, by_count, by_weight = fewer.values()
    confirmed = 2 * against_loss > total >= 2 * max(by_count, by_weight)
    sentence = (
        f"Coreset chose fewer wrong labels than max-loss in {against_loss} of {total} cases, and fewer than random "
        f"does on average in {by_count} by count and {by_weight} by weight: {times['coreset']['count']:.2f} times "
        f"their share in the data by count and {times['coreset']['weight']:.2f} by weight, max-loss "
        f"{times['max-loss']['count']:.2f}. It was more accurate than "
        + ", than ".join(f"{name} in {number}" for name, number in rivals.items())
        + f". Robust relative to max-loss only: {'confirmed' if confirmed else 'refuted'}."
    )
    return {
        "cases": total,
        **fewer,
        "times_prior": times,
        "more_accurate_than": rivals,
        "confirmed": confirmed,
        "sentence": sentence,
    }


def label_noise(
    data: Any,
    test: Any = None,
    *,
    shares: Sequence[float] = (0.1, 0.3, 0.5),
    selectors: str | Sequence[str | Selector] = ("max-loss", "coreset", "ccs"),
    budgets: Sequence[float | int] = (0.1,),
    role: str | Sequence[str] = ("full+subset", "subset+subset"),
    holdout: float = 0.5,
    policy: Policy | str | None = None,
    weak: Policy | str | None = None,
    network: str = "cnn",
    weights: WeightMode = "sampled",
    steps: int = 600,
    seeds: int = 3,
    seed: int = 0,
    recipe: Recipe | None = None,
    every: int = 1,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    narrator: Narrator | None = None,
) -> LabelNoise:
    """Measure how many wrong labels selectors choose, and the accuracy that comes of it, at equal steps.

    The arms are those of `auglean.compare`: weak augmentation only, everything augmented, random, drawn once and each
    epoch, and the selectors; and two of `ReducibleLoss`. Its reference network learns from a part of the data that no
    arm trains on, once with as many wrong labels as they have, and once with right ones: an advantage that no other
    arm has, and which seldom can be had. Each seed has its own wrong labels, held-out part and network. The test
    labels stay right.

    Args:
        data: Training images: an `ImageSet`, `Splits`, or anything that `auglean.data.splits` takes.
        test: Test images; may be left out for what has or can be cut some.
        shares: Fractions of wrong labels.
        selectors: Selectors or their names.
        budgets: Fractions (float) or counts (int) of examples to choose.
        role: One or more of the roles of `AugmentSampler`.
        holdout: Fraction of the training images held out for the reference networks; 0 leaves `ReducibleLoss` out.
        policy: The augmentation of the chosen; by default one that suits the images.
        weak: Light augmentation that every image gets.
        network: A name.
        weights: See `auglean.selection.effective_weights`.
        steps: Optimiser steps of every run, and of the reference networks.
        seeds: Runs per arm: the seeds are seed, seed + 1, …
        seed: The first seed.
        recipe: Options of SGD; by default `Recipe()`.
        every: Epochs between choices.
        device: Where to train.
        out: Folder to keep options, choices and result in; by default nothing is written.
        narrator: Who tells the progress; by default a bar on a terminal.

    Raises:
        InputError: If an option or the data are not usable; nothing is written then.

    >>> options = {"selectors": "max-loss", "role": "subset", "network": "mlp", "steps": 4, "seeds": 1}
    >>> found = label_noise("digits", shares=[0.3], **options)
    >>> [row["name"] for row in found.rows][-3:]
    ['max-loss', 'reducible-loss-noisy', 'reducible-loss-clean']
    """
    check_options(steps=steps, eval_every=None, device=device)
    if seeds < 1 or not len(shares) or not 0 <= holdout < 1:
        raise InputError(
            f"Got {seeds} seeds, {len(shares)} shares of wrong labels and {holdout} held out; give at least one seed, "
            "one share, and 0 or more but less than 1 to hold out."
        )
    train, judged = _sets(data, test)
    strong, gentle = resolve_policies(policy, weak, train)
    roles = [cast(Role, name) for name in ([role] if isinstance(role, str) else role)]
    arms = arms_of(parse(selectors), budgets, roles)
    cells = list(dict.fromkeys((arm.role, arm.budget) for arm in arms))
    for labels in REFERENCES if holdout else ():
        arms += [Arm(f"{ReducibleLoss.name}-{labels}", name, None, budget) for name, budget in cells[1:]]
    arms.sort(key=lambda arm: cells.index((arm.role, arm.budget)))  # those of a role and budget together
    trained, _ = _cut(train, holdout, seed)
    networks.check(new_network(network, trained, seed), channels=train.channels, classes=train.classes, size=train.size)
    sampling: dict[str, Any] = {"weights": weights, "every": every}
    for arm in arms[2:]:  # raise now what a run would raise later
        chosen_by = arm.selector or "max-loss"
        options = {"budget": arm.budget, "role": cast(Role, arm.role), "policy": strong, **sampling}
        AugmentSampler(trained, selector=chosen_by, **options)
    for share in shares:
        wrong_labels(trained, share, seed)
    recipe = recipe or Recipe()
    config = {
        "shares": list(shares),
        "selectors": list(dict.fromkeys(arm.name for arm in arms[2:])),
        "budgets": list(budgets),
        "role": roles,
        "holdout": holdout,
        "policy": strong.name,
        "weak": gentle.name,
        "network": network,
        **sampling,
        "steps": steps,
        "seeds": seeds,
        "seed": seed,
        "recipe": asdict(recipe),
    }
    about = {"name": train.name, "train": len(trained), "held_out": len(train) - len(trained), "test": len(judged)}
    study = _Study(
        network=network,
        common={"weak": gentle, "recipe": recipe, "steps": steps, "eval_every": steps, "device": device},
        arm={"policy": strong, **sampling},
        judged=judged,
        narrator=narrator or Narrator(),
        folder=None if out is None else RunFolder(out, config, fingerprint=train.fingerprint),
    )
    runs: dict[tuple[float, str], list[dict[str, Any]]] = {(share, arm.key): [] for share in shares for arm in arms}
    with study.narrator.telling(len(runs) * seeds, steps):
        for share in shares:
            for own in range(seed, seed + seeds):
                kept, held = _cut(train, holdout, own)
                noisy, wrong = wrong_labels(kept, share, own)
                references = {} if held is None else study.references(noisy, held, share, own)
                for arm in arms:
                    selector, cost = references.get(arm.name, (arm.selector, 0.0))
                    job = f"{share}/{arm.key}/seed{own}"
                    runs[share, arm.key].append(study.run(job, arm, selector, cost, noisy, wrong, own))
    rows = tuple(_row(share, arm, runs[share, arm.key]) for share in shares for arm in arms)
    found = LabelNoise(rows, config, about)
    if study.folder is not None:
        where = environment(device or "cpu")
        study.folder.write_result({"command": "label_noise", "environment": where, **found.to_dict()})
    return found


def _sets(data: Any, test: Any) -> tuple[ImageSet, ImageSet]:
    """Give the training and the test images."""
    if isinstance(data, Splits) or test is None:
        sets = data if isinstance(data, Splits) else splits(data)
        train, judged = sets.train, sets.test if test is None else load(test)
    else:
        train, judged = load(data), load(test)
    train.require_every_class()
    check_agree(train, judged, "test")
    return train, judged


def _cut(train: ImageSet, holdout: float, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """Give what the arms train on, and what is held out."""
    if not holdout:
        return train, None
    kept, held = split(train, [holdout], seed=seed)
    return kept, held


@dataclass(frozen=True)
class _Study:
    """Runs the jobs: the reference networks of a seed, and each arm."""

    network: str
    common: Mapping[str, Any]  # options of every `fit`
    arm: Mapping[str, Any]  # and of those of the arms
    judged: ImageSet
    narrator: Narrator
    folder: RunFolder | None

    def references(
        self, noisy: ImageSet, held: ImageSet, share: float, seed: int
    ) -> dict[str, tuple[Selector | None, float]]:
        """Train the reference networks, and give for each its selector and the seconds that it cost."""
        made: dict[str, tuple[Selector | None, float]] = {}
        for labels in REFERENCES:
            lesson = held if labels == "clean" else wrong_labels(held, share, derive(seed, "held out"))[0]
            # from another start than that of the networks that it advises
            result = fit(self.network, lesson, seed=derive(seed, "reference"), **self.common)
            said = collect(result.model, noisy)
            made[f"{ReducibleLoss.name}-{labels}"] = ReducibleLoss(said.loss), result.seconds["total"] + said.seconds
        return made

    def run(
        self, job: str, arm: Arm, selector: Selector | None, cost: float, noisy: ImageSet, wrong: Tensor, seed: int
    ) -> dict[str, Any]:
        """Train one network, and count the wrong labels in each choice."""
        choices: list[dict[str, float]] = []

        def selected(epoch: int, chosen: Selection) -> None:
            choices.append(noisy_share(chosen, wrong))
            if self.folder is not None:
                chosen.save(self.folder.selections(job) / f"epoch{epoch:04d}.json")

        with self.narrator.job(job):
            result = fit(
                self.network,
                noisy,
                selector=selector,
                budget=arm.budget,
                role=cast(Role, arm.role or "full+subset"),
                seed=seed,
                hooks=Hooks(selected=selected, progress=self.narrator.progress),
                **{**self.common, **self.arm, **({"policy": "none"} if arm.name == "weak" else {})},
            )
        return {
            "accuracy": float(correct(result.model, self.judged).double().mean()),
            "prior": float(wrong.double().mean()),
            "choices": choices,
            "seconds": {**result.seconds, "reference": cost},
        }


def _row(share: float, arm: Arm, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up the runs of an arm."""
    noisy = None
    if runs[0]["choices"]:
        at = {moment: [(len(run["choices"]) - 1) * i // 2 for run in runs] for i, moment in enumerate(MOMENTS)}
        noisy = {
            moment: {
                by: spread([run["choices"][i][by] for run, i in zip(runs, where, strict=True)])
                for by in ("count", "weight")
            }
            for moment, where in at.items()
        }
    return {
        "share": share,
        "prior": runs[0]["prior"],  # round(share · n) / n, the same for every seed
        "name": arm.name,
        "role": arm.role or None,
        "budget": arm.budget,
        "accuracy": spread([run["accuracy"] for run in runs]),
        "noisy": noisy,
        "choices": len(runs[0]["choices"]),
        "seconds": {
            phase: sum(run["seconds"][phase] for run in runs) / len(runs)
            for phase in ("select", "augment", "train", "total", "reference")
        },
    }
