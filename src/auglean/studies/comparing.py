"""`compare`: is it worth augmenting everything? Every arm with the same seeds and the same number of steps."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auglean import networks
from auglean.condensation import SyntheticSet
from auglean.condensation.evaluating import seconds_of
from auglean.condensation.reading import read_sets
from auglean.data import ImageSet, Splits, load, split
from auglean.data.splitting import part
from auglean.errors import InputError, unknown
from auglean.files import write_tensors
from auglean.policies import Identity, Policy, as_given
from auglean.randomness import derive, isolated
from auglean.selection import Coreset, MaxLoss, Selection, Selector, WeightMode, count
from auglean.selection import parse as parse_selectors
from auglean.signals import collect
from auglean.studies.arms import Arm, arms_of
from auglean.studies.folder import RunFolder, describe_data, environment, fingerprint
from auglean.studies.narration import Narrator
from auglean.studies.summary import MEASURES, summarise
from auglean.training import (
    ROLES,
    AugmentSampler,
    Diverged,
    FitResult,
    Hooks,
    Recipe,
    Role,
    correct,
    fit,
    new_network,
    transformed,
)
from auglean.training.augmenting import Source
from auglean.training.fitting import check_agree, check_options

#: Options of a run that are those of its `AugmentSampler`.
PLANNING = ("every", "start", "reselect_above", "signals", "weights")
#: Images of the validation set that the accuracy curves are measured on, at most.
CURVE_IMAGES = 1000
Network = str | nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        result: What `result.json` holds, as plain values.
        histories: For each arm, the rows of each seed's run.
        splits: The images it was made on.
        policy: The augmentation that was judged.
        folder: The run folder, if one was kept.
    """

    result: Mapping[str, Any]
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]
    splits: Splits
    policy: Policy
    folder: Path | None = None

    @property
    def arms(self) -> list[dict[str, Any]]:
        """The rows, as in `result.json`."""
        return list(self.result["arms"])

    @property
    def answer(self) -> str:
        """The answer in one sentence or two."""
        return str(self.result["answer"]["sentence"])

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Give the first arm of a name."""
        found = next((arm for arm in self.arms if arm["name"] == name), None)
        if found is None:
            raise unknown("arm", name, {arm["name"] for arm in self.arms})
        return found

    def __repr__(self) -> str:
        lines = [f"{'arm':<28} {'budget':>7} {'clean':>15} {'transformed':>15} {'augmented':>10} {'seconds':>9}"]
        for arm in self.arms:
            clean, moved = arm["accuracy"], arm["accuracy_transformed"]
            lines.append(
                f"{arm['name']:<28} {arm['budget'] if arm['budget'] is not None else '':>7} "
                f"{clean['mean']:.4f} ± {clean['std']:.4f} {moved['mean']:.4f} ± {moved['std']:.4f} "
                f"{arm['images_augmented']:>10} {arm['seconds']['total']:>9.2f}"
            )
        return "\n".join([*lines, self.answer])


def default_policies(data: ImageSet) -> tuple[str, str]:
    """Name a strong and a weak policy for a set, for those who name none.

    Colour photographs get RandAugment over crop and flip; grey images, often digits or letters, whose mirror
    image is another thing, get small translations and rotations over nothing.
    """
    if data.channels == 3:
        return "rand-m9-n2", f"crop{max(1, data.size[0] // 8)}-flip"
    return f"translate{max(1, data.size[0] // 10)}-rotate15", "none"


def resolve_policies(policy: Policy | str | None, weak: Policy | str | None, data: ImageSet) -> tuple[Policy, Policy]:
    """Give the strong and the weak policy, those that were not named being the default ones.

    Raises:
        InputError: If the strong one changes nothing.
    """
    strong, gentle = (
        as_given(default if given is None else given)
        for given, default in zip((policy, weak), default_policies(data), strict=True)
    )
    if isinstance(strong, Identity):
        raise InputError("The policy to judge is 'none'; give one that changes images, such as translate2-rotate15.")
    return strong, gentle


def compare(
    data: Any,
    test: Any = None,
    *,
    policy: Policy | str | None = None,
    weak: Policy | str | None = None,
    network: Network = "cnn",
    selectors: str | Sequence[str | Selector] = (MaxLoss(), Coreset()),
    budgets: Sequence[float | int] = (0.1,),
    condensed: Sequence[SyntheticSet | str | Path] = (),
    role: str | Sequence[str] = "full+subset",
    weights: WeightMode = "sampled",
    steps: int = 600,
    seeds: int = 3,
    seed: int = 0,
    recipe: Recipe | None = None,
    every: int = 5,
    start: int = 0,
    reselect_above: float | None = None,
    signals: Source = "pass",
    eval_every: int | None = None,
    validation: Any = None,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    narrator: Narrator | None = None,
) -> Comparison:
    """Compare ways to choose whom to augment, at equal steps, on the same seeds.

    Arms: weak augmentation only; everything augmented; and for each role and budget, random (drawn once, and
    re-drawn each epoch, which cannot be left out) and the selectors. Seconds count choosing, augmenting and
    training. Choices between arms are made on validation images; the test images are used once, at the end.

    Args:
        data: Training images: an `ImageSet`, `Splits`, or anything that `auglean.load` takes.
        test: Test images; may be left out for `Splits`, else a fifth of the data is cut for them.
        policy: The augmentation to judge; by default one that suits the images, see `default_policies`.
        weak: Light augmentation that every image gets, in every arm.
        network: A name, a module (copied for each run, with its weights), or a function that makes one.
        selectors: Selectors or their names.
        budgets: Fractions (float) or counts (int) of examples to augment.
        condensed: Sets that `auglean.condense` made of the training images, or files of them. Each is an arm that is
            trained on these images and copies of them alone, beside as many random real ones; what it took to make
            them is charged to it.
        role: One or more of the roles of `AugmentSampler`.
        weights: See `auglean.selection.effective_weights`.
        steps: Optimiser steps of every run.
        seeds: Runs per arm: the seeds are seed, seed + 1, …
        seed: The first seed.
        recipe: Options of SGD; by default `Recipe()`.
        every: Epochs between choices.
        start: Epoch of the first choice.
        reselect_above: Choose anew, too, where the gradient error κ on a probe is above this; see `AugmentSampler`.
        signals: Where selectors hear of the examples: `"pass"` or `"steps"`; see `AugmentSampler`.
        eval_every: Steps between validation accuracies; by default a twentieth of the steps.
        validation: Validation images; by default a tenth of the data is cut for them.
        device: Where to train.
        out: Folder to keep the run in; by default nothing is written.
        resume: Go on with the run in `out`.
        origin: How the data were given, for `config.yaml`; by default `data` if that is a name or a path. What was
            given as an object leaves it empty, and the command line then asks for it.
        narrator: Who tells the progress; by default a bar on a terminal.

    Returns:
        The comparison; print it, or give it to `auglean.reports.write`.

    Raises:
        InputError: If any option or the data are not usable; nothing is written then.
        Interrupted: If the narrator was asked to stop; what was done is kept in `out`.

    >>> table = compare("digits", steps=20, seeds=1, network="mlp")
    >>> [arm["name"] for arm in table.arms]
    ['weak', 'full', 'random', 'random-each-epoch', 'max-loss', 'coreset']
    """
    if resume and out is None:
        raise InputError("There is no run to resume without its folder; give that as out.")
    check_options(steps=steps, eval_every=eval_every, device=device)
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; give 1 or more.")
    if not len(budgets):
        raise InputError("No budget was given; give at least one, such as 0.1.")
    sets = _splits(data, test, validation, seed)
    strong, gentle = resolve_policies(policy, weak, sets.train)
    roles = [role] if isinstance(role, str) else list(role)
    for budget in budgets:
        count(budget, len(sets.train))
    tiny = _condensed(condensed, sets.train)
    arms = arms_of(parse_selectors(selectors), budgets, [_role(name) for name in roles], tiny)
    recipe = recipe or Recipe()
    study = _Study(
        sets=sets,
        strong=strong,
        weak=gentle,
        network=network,
        recipe=recipe,
        options={
            "steps": steps,
            "weights": weights,
            "every": every,
            "start": start,
            "reselect_above": reselect_above,
            "signals": signals,
            "eval_every": eval_every or max(1, steps // 20),
            "device": None if device is None else str(device),
        },
        narrator=narrator or Narrator(),
    )
    study.check(arms)
    config = {
        **(origin or {"data": str(data) if isinstance(data, str | Path) else None}),
        "policy": strong.name,
        "weak": gentle.name,
        "network": network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__),
        "selectors": list(dict.fromkeys(arm.name for arm in arms if arm.selector)),
        "budgets": list(budgets),
        "condensed": [given.fingerprint if isinstance(given, SyntheticSet) else str(given) for given in condensed],
        "role": roles,
        "seeds": seeds,
        "seed": seed,
        **study.options,
        "recipe": asdict(recipe),
    }
    if out is not None:
        study.folder = RunFolder(out, config, fingerprint=fingerprint(sets), resume=resume)
    outcomes = study.run(arms, range(seed, seed + seeds))
    result = {
        "command": "compare",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(device or "cpu"),
        "data": describe_data(sets),
        **summarise(arms, outcomes, len(sets.train), steps, recipe.batch_size),
    }
    if study.folder is not None:
        study.folder.write_result(result)
    histories = {arm.key: [outcome["history"] for outcome in outcomes[arm.key]] for arm in arms}
    return Comparison(result, histories, sets, strong, None if out is None else Path(out))


def _splits(data: Any, test: Any, validation: Any, seed: int) -> Splits:
    """Give the three sets, cutting those that are missing from the training images."""
    if isinstance(data, Splits):
        sets = replace(
            data,
            validation=data.validation if validation is None else load(validation),
            test=data.test if test is None else load(test),
        )
    elif isinstance(data, str | Path) and test is None and validation is None:
        from auglean.data import splits

        sets = splits(data, seed=seed)
    else:
        train = load(data)
        given = {"validation": validation, "test": test}
        ready = {name: load(source) for name, source in given.items() if source is not None}
        shares = {"validation": 0.1, "test": 0.2}
        missing = [name for name in given if name not in ready]
        if missing:
            train, *parts = split(train, [shares[name] for name in missing], seed=seed)
            ready.update(zip(missing, parts, strict=True))
        sets = Splits(train, ready["validation"], ready["test"])
    sets.train.require_every_class()
    check_agree(sets.train, sets.validation, "validation")
    check_agree(sets.train, sets.test, "test")
    return sets


def _condensed(given: Sequence[SyntheticSet | str | Path], train: ImageSet) -> dict[str, SyntheticSet]:
    """Read condensed sets under the names of their methods, numbered where a name comes again."""
    found: dict[str, SyntheticSet] = {}
    for one in given:
        for name, (images,) in read_sets(one, train).items():
            number = sum(other.split("-")[0] == name for other in found)
            found[f"{name}-{number + 1}" if number else name] = images
    return found


def _role(name: str) -> Role:
    if name not in ROLES:
        raise unknown("role", name, ROLES)
    return name  # type: ignore[return-value]


@dataclass
class _Study:
    """Runs the jobs of a comparison: one `fit` for each arm and seed."""

    sets: Splits
    strong: Policy
    weak: Policy
    network: Network
    recipe: Recipe
    options: dict[str, Any]
    narrator: Narrator
    folder: RunFolder | None = None

    def check(self, arms: Sequence[Arm]) -> None:
        """Raise what a run would raise later, before anything is written."""
        train = self.sets.train
        networks.check(self._model(0), channels=train.channels, classes=train.classes, size=train.size)
        for policy in (self.weak, self.strong):
            transformed(part(train, 2), policy)
        for arm in arms:
            AugmentSampler(
                train,
                selector=arm.selector,
                budget=arm.budget if arm.selector else None,
                role=_role(arm.role) if arm.selector else "full+subset",
                policy=self.strong,
                **{name: self.options[name] for name in PLANNING},
            )

    def run(self, arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
        """Give the outcome of each arm and seed. Seeds are the outer loop: a stopped run holds whole comparisons."""
        self.judges = {
            "clean": self.sets.test,
            "transformed": transformed(self.sets.test, self.strong, seed=derive(0, "test")),
        }
        curve = part(self.sets.validation, CURVE_IMAGES, seed=0)
        self.curve = {
            MEASURES["clean"]: curve,
            MEASURES["transformed"]: transformed(curve, self.strong, seed=derive(0, "validation")),
        }
        self.first_seed = seeds[0]
        outcomes: dict[str, list[dict[str, Any]]] = {arm.key: [] for arm in arms}
        with self.narrator.telling(len(arms) * len(seeds), self.options["steps"]):
            for seed in seeds:
                for arm in arms:
                    job = f"{arm.key}/seed{seed}"
                    found = self.folder.finished(job) if self.folder else None
                    if found is None:
                        try:
                            found = self._job(job, arm, seed)
                        except Diverged as error:
                            raise Diverged(f"{job}: {error}") from error
                    else:
                        self.narrator.skipped(job)
                    outcomes[arm.key].append(found)
        return outcomes

    def _job(self, job: str, arm: Arm, seed: int) -> dict[str, Any]:
        folder = self.folder

        def selected(epoch: int, chosen: Selection) -> None:
            if folder is not None:
                chosen.save(folder.selections(job) / f"epoch{epoch:04d}.json")

        def log(values: Mapping[str, Any]) -> None:
            if folder is not None:
                folder.log(
                    {"job": job, "arm": arm.name, "budget": arm.budget, "role": arm.role, "seed": seed, **values}
                )

        if folder is not None and not folder.checkpoint(job).exists():
            folder.forget(job, after=-1)
        with self.narrator.job(job):
            result = fit(
                self._model(seed),
                self.sets.train if arm.images is None else arm.images,
                policy="none" if arm.name == "weak" else self.strong,
                weak=self.weak,
                selector=arm.selector,
                budget=arm.budget if arm.selector else None,
                role=_role(arm.role) if arm.selector else "full+subset",
                seed=seed,
                recipe=self.recipe,
                validation=self.curve,
                diagnose=True,
                checkpoint=None if folder is None else folder.checkpoint(job),
                resume=folder is not None,
                hooks=Hooks(
                    row=log,
                    measured=log,
                    selected=selected,
                    progress=self.narrator.progress,
                    stop=self.narrator.stop,
                    resumed=lambda step: folder.forget(job, step) if folder else None,
                ),
                **self.options,
            )
            outcome = self._outcome(result) if arm.images is None else _charged(self._outcome(result), arm.images)
            if folder is not None:
                if arm.selector is not None and arm.selector.needs_signals and seed == self.first_seed:
                    self._keep_signals(folder, job, result)
                folder.finish(job, outcome)
        return outcome

    def _model(self, seed: int) -> nn.Module:
        if isinstance(self.network, nn.Module):
            return copy.deepcopy(self.network)
        if not isinstance(self.network, str):
            with isolated(derive(seed, "network")):
                made = self.network()
            if not isinstance(made, nn.Module):
                raise InputError(f"The function for the network gave {made!r:.80}; let it give an nn.Module.")
            return made
        return new_network(self.network, self.sets.train, seed)

    def _outcome(self, result: FitResult) -> dict[str, Any]:
        hits = {name: correct(result.model, images) for name, images in self.judges.items()}
        return {
            "history": [dict(row) for row in result.history],
            "seconds": dict(result.seconds),
            "images_augmented": result.images_augmented,
            "count": None if result.selection is None else len(result.selection),
            "gradient_errors": [list(pair) for pair in result.gradient_errors],
            "kappa": [dict(row) for row in result.kappa],
            "hits": {name: "".join("01"[hit] for hit in right.tolist()) for name, right in hits.items()},
        }

    def _keep_signals(self, folder: RunFolder, job: str, result: FitResult) -> None:
        """Keep how often each example was chosen and its final loss, for the contact sheets; one seed will do."""
        times = torch.zeros(len(self.sets.train), dtype=torch.int64)
        for path in sorted(folder.selections(job).glob("epoch*.json")):
            times[json.loads(path.read_text())["indices"]] += 1
        loss = collect(result.model, self.sets.train).loss
        write_tensors(folder.selections(job) / "final.safetensors", {"times_chosen": times, "loss": loss}, {})


def _charged(outcome: dict[str, Any], images: SyntheticSet) -> dict[str, Any]:
    """Charge a run on condensed images with the seconds that it took to make them, as what choosing costs."""
    cost, seconds = seconds_of(images), outcome["seconds"]
    return {
        **outcome,
        "count": len(images),
        "seconds": {**seconds, "select": seconds["select"] + cost, "total": seconds["total"] + cost},
        "history": [{**row, "seconds": row["seconds"] + cost} for row in outcome["history"]],
    }
