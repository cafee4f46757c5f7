"""`auglean condense` in a folder of its own: make the images, look at them on the way, and hold them against others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auglean import networks as named_networks
from auglean.condensation import (
    Hooks,
    Method,
    Plan,
    Protocol,
    Stopped,
    SyntheticSet,
    as_method,
    condense,
    evaluate,
    learn,
    starting_images,
)
from auglean.condensation.baselines import check_baseline
from auglean.condensation.condensing import Precision
from auglean.condensation.engine import Schedule
from auglean.condensation.evaluating import HELD_OUT, distinct
from auglean.condensation.protocol import Memory, stoppable_map
from auglean.condensation.starting import Init
from auglean.data import Splits
from auglean.data.splitting import part
from auglean.errors import InputError
from auglean.processes import from_first, is_first
from auglean.randomness import derive
from auglean.studies.folder import RunFolder, check_folder, describe_data, environment, fingerprint
from auglean.studies.narration import Narrator
from auglean.studies.statistics import spread
from auglean.training import correct, new_network
from auglean.training.fitting import check_options

#: The images, in the run folder.
FILE = "synthetic.safetensors"


@dataclass(frozen=True, slots=True)
class Condensed:
    """What `condense_and_judge` made and found.

    Attributes:
        result: What `result.json` holds, as plain values.
        synthetic: The images of the first seed.
        splits: The real images.
        folder: The run folder.
    """

    result: Mapping[str, Any]
    synthetic: SyntheticSet
    splits: Splits
    folder: Path

    @property
    def answer(self) -> str:
        """The answer in a few sentences."""
        return str(self.result["answer"])


def condense_and_judge(
    sets: Splits,
    *,
    out: str | Path,
    per_class: int = 10,
    method: Method | str = "dm",
    steps: int = 1000,
    init: Init = "real",
    decode: int = 1,
    schedule: Schedule = "pooled",
    network: str = "convnet",
    precision: Precision = "auto",
    networks: Sequence[str] = (),
    baselines: Sequence[str] = ("random", "herding", "k-means"),
    count: int = 1,
    repeats: int = 3,
    looks: int = 6,
    protocol: Protocol | None = None,
    seed: int = 0,
    device: str | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    narrator: Narrator | None = None,
) -> Condensed:
    """Condense the training images in a run folder, and train networks on the result and on what it has to beat.

    Validation images, which are no part of the training images, judge the images on the way and choose the recipe; the
    test images are used at the end.

    Args:
        sets: Training, validation and test images.
        out: The run folder.
        per_class: Images of each class to make.
        method: What is matched.
        steps: Steps of condensation.
        init: See `auglean.condense`.
        decode: Likewise.
        schedule: Likewise.
        network: The network in which images are matched.
        precision: See `auglean.condense`.
        networks: Networks that are trained on them; by default the same.
        baselines: See `auglean.condensation.baseline`.
        count: Sets to condense, of the seeds seed, seed + 1, …
        repeats: Networks that are trained on each set.
        looks: Accuracies of the first of these networks on the way of the first set, at steps that double.
        protocol: How networks are trained.
        seed: Fixes everything that is drawn.
        device: Where to compute.
        resume: Go on with the run in `out`.
        origin: How the data were given, for `config.yaml`.
        narrator: Who tells the progress.

    Raises:
        InputError: If an option or the data are not usable; nothing is written then.
        Interrupted: If the narrator was asked to stop; the folder has the images after the last whole step.
    """
    method, protocol, narrator = as_method(method), protocol or Protocol(), narrator or Narrator()
    judges = list(networks) or [network]
    check_options(steps=steps, eval_every=None, device=device)
    if min(count, repeats, looks) < 1:
        raise InputError(f"Got {count} sets, {repeats} repeats and {looks} looks; give 1 or more of each.")
    for name in {network: 0, **dict.fromkeys(judges)}:
        model = new_network(name, sets.train, 0)
        named_networks.check(model, channels=sets.train.channels, classes=sets.train.classes, size=sets.train.size)
    starting_images(sets.train, per_class, init, decode=decode)
    rows = distinct(baselines, per_class)
    for name in rows:
        check_baseline(name, sets.train, per_class)
    if decode > 1 and "random" in rows:
        check_baseline("random", sets.train, per_class * decode**2)
    from_first(lambda: check_folder(out, resume=resume))
    config = {
        **(origin or {"data": None}),
        "per_class": per_class,
        "method": method.name.lower(),
        "lr": method.lr,
        "real_batch": method.real_batch,
        "pool": method.pool,
        "steps": steps,
        "init": init,
        "decode": decode,
        "schedule": schedule,
        "network": network,
        "precision": precision,
        "networks": judges,
        "baselines": list(baselines),
        "sets": count,
        "repeats": repeats,
        "looks": looks,
        "epochs": protocol.epochs,
        "epochs_augmented": protocol.epochs_augmented,
        "whole_steps": protocol.whole_steps,
        "rates": list(protocol.rates),
        "seed": seed,
        "device": device,
    }
    folder = RunFolder(out, config, fingerprint=fingerprint(sets), resume=resume)
    path = folder.path
    if resume and from_first((path / "result.json").exists):
        done = from_first(lambda: json.loads((path / "result.json").read_text()))
        return Condensed(done, from_first(lambda: SyntheticSet.load(path / FILE)), sets, path)
    study = _Study(folder, sets, protocol, repeats, device, narrator)
    at = sorted({max(1, steps >> i) for i in range(looks)})
    options = {"per_class": per_class, "method": method, "steps": steps, "init": init, "decode": decode}
    options |= {"schedule": schedule, "network": network, "precision": precision}
    packed = decode > 1 and "random" in rows
    compared = 2 * len(judges) * (len(rows) + packed + 1 + (protocol.whole_steps is not None))
    with narrator.telling(count + len(at) + 1 + compared, steps):
        made = [study.make(i, seed + i, at if not i else [], **options) for i in range(count)]
        found = evaluate(
            made,
            sets.train,
            sets.test,
            validation=sets.validation,
            networks=judges,
            baselines=baselines,
            repeats=repeats,
            protocol=protocol,
            seed=seed,
            device=device,
            memory=Memory(study.recall, study.keep, narrator.stop, narrator.job),
        )
        rate = found.row(found.config["synthetic"][0])["rate"]
        course = [study.look(step, judges[0], rate) for step in [0, *at]]
    result = {
        "command": "condense",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(device or "cpu"),
        "data": describe_data(sets),
        "synthetic": [dict(one.how) for one in made],
        "course": course,
        **{name: value for name, value in found.to_dict().items() if name != "config"},
        "protocol": dict(found.config),
    }
    result["answer"] = answer(result)
    folder.write_result(result)
    return Condensed(result, made[0], sets, path)


@dataclass(frozen=True)
class _Study:
    """Runs the jobs, and knows which are done."""

    folder: RunFolder
    sets: Splits
    protocol: Protocol
    repeats: int
    device: str | None
    narrator: Narrator

    def recall(self, job: str) -> dict[str, Any] | None:
        """Give what was kept of a job."""
        found = self.folder.finished(job)
        if found is not None:
            self.narrator.skipped(job)
        return found

    def keep(self, job: str, found: Mapping[str, Any]) -> None:
        """Keep what a job found."""
        self.folder.finish(job, found)

    def make(self, i: int, seed: int, at: Sequence[int], **options: Any) -> SyntheticSet:
        """Condense once, or read what was condensed before."""
        job = f"condense/seed{seed}"
        file = self.folder.path / FILE if i == 0 else self.folder.path / "sets" / f"seed{seed}.safetensors"
        if self.recall(job) is not None:
            return from_first(lambda: SyntheticSet.load(file))

        def look(images: SyntheticSet) -> None:
            _save(images, self._look(int(images.how["steps"])))

        def tell(plan: Plan) -> None:
            self.narrator.say(f"{job}: {plan!r}")

        if at:
            decode = options["decode"]
            start = starting_images(self.sets.train, options["per_class"], options["init"], decode=decode, seed=seed)
            labels = self.sets.train.labels.new_tensor(range(len(start))).cpu().repeat_interleave(start.shape[1])
            train = self.sets.train
            _save(
                SyntheticSet(start.flatten(0, 1), labels, train.class_names, *train.mean_std(), how={"decode": decode}),
                self._look(0),
            )
        hooks = Hooks(tell, self.narrator.progress, self.narrator.stop, look, frozenset(at))
        state = self.folder.checkpoint(job)
        with self.narrator.job(job):
            try:
                tiny = condense(
                    self.sets.train,
                    seed=seed,
                    device=self.device,
                    checkpoint=state,
                    resume=True,
                    hooks=hooks,
                    **options,
                )
            except Stopped as stopped:
                _save(stopped.synthetic, file)
                raise
            _save(tiny, file)
            self.keep(job, {"seconds": float(tiny.history["seconds"][-1])})
        return tiny

    def look(self, step: int, network: str, rate: float) -> dict[str, Any]:
        """Train networks on the images after a step, and judge them on validation images."""
        job = f"course/step{step}"
        found = self.recall(job)
        if found is not None:
            return found
        images = from_first(lambda: SyntheticSet.load(self._look(step))).decoded()
        held, policy = part(self.sets.validation, HELD_OUT), as_method("dm").policy(self.sets.train)
        steps, recipe = self.protocol.steps(len(images), augmented=True), replace(self.protocol.recipe, lr=rate)

        def accuracy(j: int) -> float:
            model = new_network(network, self.sets.train, derive(j, "course")).to(self.device or "cpu")
            learn(model, images, steps=steps, recipe=recipe, policy=policy, seed=j)
            return float(correct(model, held, batch_size=64).double().mean())

        with self.narrator.job(job):
            values = stoppable_map(accuracy, range(self.repeats), self.narrator.stop, job)
            seconds = float(images.history["seconds"][-1]) if "seconds" in images.history else 0.0
            found = {"job": job, "step": step, "seconds": seconds, "accuracy": spread(values)}
            self.folder.log(found)
            self.keep(job, found)
        return found

    def _look(self, step: int) -> Path:
        return self.folder.path / "looks" / f"step{step:06d}.safetensors"


def _save(images: SyntheticSet, file: Path) -> None:
    if is_first():
        images.save(file)


def answer(result: Mapping[str, Any]) -> str:
    """Say what the images are worth, who was ahead, and what part of that is the augmentation.

    Args:
        result: What `result.json` holds.
    """
    config, ours = result["config"], result["scores"][0]["name"]
    first, own = config["networks"][0], result["scores"][0]["own"]
    at = {
        (row["name"], row["augmented"]): 100 * row["accuracy"]["mean"]
        for row in result["rows"]
        if row["network"] == first
    }
    mine, word = at[ours, own], "with" if own else "without"
    whole = (
        f"; all {result['data']['train']:,} images train it to {at['whole', own]:.1f}%" if ("whole", own) in at else ""
    )
    images = f"{config['per_class']} image{'s' * (config['per_class'] != 1)} per class"
    told = [
        f"Trained {word} augmentation on {images} made by {ours.upper()}, {first} is right on {mine:.1f}% of the test "
        f"images of {result['data']['name']}{whole}."
    ]
    rivals = {name: value for (name, way), value in at.items() if way == own and name not in (ours, "whole")}
    if rivals:
        best = max(rivals, key=lambda name: rivals[name])
        lead = rivals[best] - mine
        side = f"was ahead by {lead:.1f} points" if lead > 0 else f"was {-lead:.1f} points behind"
        told.append(f"The best of the images that cost little to make, {best}, {side}.")
    if ("random", True) in at:
        training, images = at["random", True] - at["random", False], at[ours, True] - at["random", True]
        told.append(
            f"Augmentation in training alone is worth {training:+.1f} points to random images; images made by "
            f"{ours.upper()} add {images:+.1f} to that."
        )
    return " ".join(told).replace(" -", " −")
