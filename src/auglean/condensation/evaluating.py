"""`evaluate`: what a few images are worth, beside as many real ones and all of them, under one protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from auglean import networks as named_networks
from auglean.condensation.baselines import baseline
from auglean.condensation.learning import learn
from auglean.condensation.methods import DM
from auglean.condensation.protocol import SCORES, Evaluation, Memory, Protocol, Row, spread, stoppable_map
from auglean.condensation.reading import Given, read_sets, stored_per_class
from auglean.condensation.scoring import fair_scores
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet, load, split
from auglean.data.splitting import part
from auglean.errors import InputError
from auglean.policies import Policy, as_given
from auglean.processes import shared_map
from auglean.randomness import derive
from auglean.training import correct, new_network
from auglean.training.fitting import check_agree, check_options

#: The networks on which it shows whether images were made for one architecture only.
ARCHITECTURES = ("convnet", "convnet-batch", "resnet18", "mlp", "lenet")
#: Images that the recipe is chosen on, at most.
HELD_OUT = 1000
_JUDGED_AT_ONCE = 64

Images = SyntheticSet | ImageSet
Job = tuple[int | str, ...]


def evaluate(
    synthetic: Given,
    train: Any,
    test: Any,
    *,
    validation: Any = None,
    networks: str | Sequence[str] = "convnet",
    baselines: Sequence[str] = ("random", "herding", "k-means"),
    sets: int | None = None,
    repeats: int = 5,
    protocol: Protocol | None = None,
    policy: Policy | str | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    memory: Memory | None = None,
) -> Evaluation:
    """Train new networks on the images of one or several synthetic sets, and on what they have to beat.

    Networks are shared among the processes of `torchrun`, each of which has to call this and gets the whole answer.

    Every row is trained alike, with augmentation and without: from scratch, with the same initial weights, for the same
    epochs, on hard labels; what counts is the accuracy after the last epoch. Rows of few images are trained at the best
    of the same few rates; all images, as the recipe says. The images are those of the files, pixel by pixel. Choices
    are made on real images that are held out; the test images are used once for each network.

    Args:
        synthetic: The set, or sets that were made with different seeds; files of them will do. The row is called by the
            method that made them; of several methods, give a mapping from the names of rows to their sets.
        train: The real images: an `ImageSet` or anything that `auglean.load` takes.
        test: Test images, as of `train`.
        validation: Held-out real images; by default a tenth of `train` is cut for them. If the synthetic images were
            made of all of `train`, they have seen that tenth; give images that they have not.
        networks: Names for `auglean.networks.create`, such as `ARCHITECTURES`; the first is that of the headline.
        baselines: See `auglean.condensation.baseline`.
        sets: Sets of each baseline; by default as many as synthetic ones, but not under 3.
        repeats: Networks that are trained on each set.
        protocol: How they are trained; by default `Protocol()`.
        policy: Augmentation; by default that of Zhao & Bilen 2021 for such images, see `auglean.policies.Siamese`.
        seed: Fixes what is drawn.
        device: Where to train; by default the CPU.
        memory: For an evaluation that may be stopped.

    Raises:
        InputError: If a set was made of other classes or shapes than the real images have, a file is damaged, or a
            network does not fit the images.

    >>> from auglean.condensation import baseline
    >>> data = load("digits")
    >>> quick = Protocol(epochs=20, epochs_augmented=20, whole_steps=20)
    >>> centres, options = baseline("class-mean", data, 1), {"baselines": ["random"], "repeats": 1}
    >>> found = evaluate(centres, data, load("digits", split="test"), networks="mlp", protocol=quick, **options)
    >>> [row["name"] for row in found.rows if row["augmented"]]
    ['random', 'class-mean', 'whole']
    """
    check_options(steps=1, eval_every=None, device=device)
    if repeats < 1 or (sets is not None and sets < 1):
        raise InputError(f"Got sets {sets} and repeats {repeats}; give 1 or more of each.")
    real, held, test = _real(load(train), validation, load(test), seed)
    given = read_sets(synthetic, real)
    names = networks.split(",") if isinstance(networks, str) else list(networks)
    for network in names:
        model = new_network(network, real, 0)
        named_networks.check(model, channels=real.channels, classes=real.classes, size=real.size)
    policy = DM().policy(real) if policy is None else as_given(policy)
    assert policy is not None
    per_class = max(stored_per_class(one) for ones in given.values() for one in ones)
    count = sets or max(3, *map(len, given.values()))
    kinds = [(other, 1) for other in distinct(baselines, per_class)]
    # beside decoded canvases, which may be better for their number alone, random images that are packed likewise
    factors = sorted({int(one.how.get("decoded", 1)) for ones in given.values() for one in ones})
    kinds += [("random", factor) for factor in factors if factor > 1 and "random" in baselines]
    drawn = [(*kind, i) for kind in kinds for i in range(1 if kind[0] == "class-mean" else count)]  # no draw in that

    def make(one: tuple[str, int, int]) -> SyntheticSet:
        other, factor, i = one
        own = derive(seed, "set", i)
        return baseline(other, real, per_class, decode=factor, seed=own, device=device).decoded()

    contestants: dict[str, list[Images]] = {}
    for images in shared_map(make, drawn):
        contestants.setdefault(images.how["method"], []).append(images)
    contestants.update({name: list(ones) for name, ones in given.items()})
    protocol = protocol or Protocol()
    if protocol.whole_steps is not None:
        contestants["whole"] = [real]
    run = _Evaluation(
        contestants, real, held, test, protocol, policy, repeats, seed, device or "cpu", memory or Memory()
    )
    rows = tuple(row for network in names for augmented in (False, True) for row in run.rows(network, augmented))
    config = {
        "synthetic": list(given),
        "per_class": per_class,
        "networks": names,
        "sets": {other: len(images) for other, images in contestants.items()},
        "repeats": repeats,
        "policy": policy.name,
        "protocol": asdict(protocol),
        "held_out": len(held),
        "test": len(test),
        "seed": seed,
    }
    return Evaluation(rows, tuple(_scores(rows, ours, network) for network in names for ours in given), config)


def _real(train: ImageSet, validation: Any, test: ImageSet, seed: int) -> tuple[ImageSet, ImageSet, ImageSet]:
    train.require_every_class()
    if validation is None:
        train, held = split(train, [0.1], seed=seed)
    else:
        held = load(validation)
        check_agree(train, held, "validation")
    check_agree(train, test, "test")
    return train, part(held, HELD_OUT), test


def distinct(baselines: Sequence[str], per_class: int) -> list[str]:
    """List the baselines once each; of one image the centre is the mean, and is called so."""
    names = ["class-mean" if name == "k-means" and per_class == 1 else name for name in baselines]
    return list(dict.fromkeys(names))


def _scores(rows: Sequence[Row], ours: str, network: str) -> dict[str, Any]:
    at = {(row["name"], row["augmented"]): row for row in rows if row["network"] == network}
    own = at[ours, True]["validation"] >= at[ours, False]["validation"]

    def accuracy(name: str, augmented: bool) -> float | None:
        return float(at[name, augmented]["accuracy"]["mean"]) if (name, augmented) in at else None

    told: dict[str, Any] = {"name": ours, "network": network, "own": own}
    synthetic, random = accuracy(ours, own), accuracy("random", own)
    if random is None or synthetic is None:
        return {**told, **dict.fromkeys(SCORES)}
    both = [
        (float(at[ours, way]["accuracy"]["mean"]), float(at["random", way]["accuracy"]["mean"]))
        for way in (True, False)
    ]
    real = accuracy("whole", own)
    found = fair_scores(real=real, synthetic=synthetic, random=random, augmented=both[0], plain=both[1])
    return {**told, **found._asdict()}


@dataclass(frozen=True)
class _Evaluation:
    """Trains the networks of one evaluation."""

    contestants: Mapping[str, Sequence[Images]]
    real: ImageSet
    held: ImageSet
    test: ImageSet
    protocol: Protocol
    policy: Policy
    repeats: int
    seed: int
    device: torch.device | str
    memory: Memory

    def rows(self, network: str, augmented: bool) -> list[dict[str, Any]]:
        """Give the row of each contestant."""
        rows = [self._row(name, network, augmented) for name in self.contestants]
        whole = next((row["accuracy"]["mean"] for row in rows if row["name"] == "whole"), None)
        return [{**row, "relative": row["accuracy"]["mean"] / whole if whole else None} for row in rows]

    def _rate(self, name: str, trials: Sequence[Mapping[str, float]]) -> float:
        """Give the rate of a row: the best on held-out images."""
        if trials:
            return max(trials, key=lambda trial: trial["validation"])["rate"]
        return self.protocol.recipe.lr if name == "whole" else self.protocol.choice[0]

    def _trials(self, job: str, name: str, network: str, augmented: bool) -> list[dict[str, float]]:
        """Try the rates that a row may choose from, if there is a choice."""
        rates = self.protocol.choice
        if name == "whole" or len(rates) == 1:
            return []
        first: tuple[Images, Job] = self.contestants[name][0], ("rate",)
        found = self._trained(job, network, augmented, [(*first, rate) for rate in rates])
        return [{"rate": rate} | one for rate, one in zip(rates, found, strict=True)]

    def _row(self, name: str, network: str, augmented: bool) -> dict[str, Any]:
        job = f"{network}/{_way(augmented)}/{name}"
        found = self.memory.recall(job)
        if found is None:
            with self.memory.job(job):
                trials = self._trials(job, name, network, augmented)
                rate = self._rate(name, trials)
                found = {"rate": rate, "trials": trials, "runs": self._runs(job, name, network, augmented, rate)}
            self.memory.keep(job, found)
        sets, runs = self.contestants[name], found["runs"]
        means = [_mean([run["accuracy"] for run in each]) for each in runs]
        within = [spread([run["accuracy"] for run in each])["std"] for each in runs]
        return {
            "name": name,
            "network": network,
            "augmented": augmented,
            "images": len(sets[0]),
            "bytes": _bytes(sets[0]),
            "rate": found["rate"],
            "trials": [{"rate": trial["rate"], "validation": trial["validation"]} for trial in found["trials"]],
            "steps": self._steps(sets[0], augmented),
            "accuracy": spread(means),
            "within": _mean(within),
            "validation": _mean([run["validation"] for each in runs for run in each]),
            "seconds": _mean([run["seconds"] for each in runs for run in each]),
            "seconds_choosing": sum(trial["seconds"] for trial in found["trials"]),
            "seconds_made": _mean([seconds_of(one) for one in sets]),
        }

    def _runs(self, job: str, name: str, network: str, augmented: bool, rate: float) -> list[list[dict[str, float]]]:
        sets = self.contestants[name]
        each = [(one, (i, j), rate) for i, one in enumerate(sets) for j in range(self.repeats)]
        flat = self._trained(job, network, augmented, each)
        return [flat[begin : begin + self.repeats] for begin in range(0, len(flat), self.repeats)]

    def _steps(self, images: Images, augmented: bool) -> int:
        if images is self.real:
            assert self.protocol.whole_steps is not None
            return self.protocol.whole_steps
        return self.protocol.steps(len(images), augmented=augmented)

    def _trained(
        self, job: str, network: str, augmented: bool, each: Sequence[tuple[Images, Job, float]]
    ) -> list[dict[str, float]]:
        """Train a network on each of some images."""

        def run(one: tuple[Images, Job, float]) -> dict[str, float]:
            return self._train(network, *one, augmented)

        return stoppable_map(run, each, self.memory.stop, job)

    def _train(self, network: str, images: Images, path: Job, rate: float, augmented: bool) -> dict[str, float]:
        """Train one network; those of the same path begin with the same weights, whatever they are trained on."""
        began = time.perf_counter()
        model = new_network(network, self.real, derive(self.seed, "evaluate", *path)).to(self.device)
        learn(
            model,
            images,
            steps=self._steps(images, augmented),
            recipe=replace(self.protocol.recipe, lr=rate),
            policy=self.policy if augmented else None,
            seed=derive(self.seed, "evaluate", *path),
        )
        seconds = time.perf_counter() - began
        judged = {"validation": self.held, "accuracy": self.test} if path != ("rate",) else {"validation": self.held}
        found = {
            key: float(correct(model, judge, batch_size=_JUDGED_AT_ONCE).double().mean())
            for key, judge in judged.items()
        }
        return {**found, "seconds": seconds}


def _way(augmented: bool) -> str:
    return "augmented" if augmented else "plain"


def _bytes(images: Images) -> int:
    stored = None if isinstance(images, ImageSet) else images.how.get("bytes")
    return images.images.nbytes if stored is None else int(stored)


def seconds_of(images: Images) -> float:
    """Tell what it cost to make a set: nothing, if it is real."""
    if isinstance(images, ImageSet):
        return 0.0
    if "seconds" in images.history and len(images.history["seconds"]):
        return float(images.history["seconds"][-1])
    return float(images.how.get("seconds", 0.0))


def _mean(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
