"""`rank_architectures`: can a few images tell which network would be best on all of them?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from auglean.condensation.baselines import baseline
from auglean.condensation.evaluating import seconds_of
from auglean.condensation.learning import learn
from auglean.condensation.protocol import Protocol
from auglean.condensation.reading import Given, read_sets, stored_per_class
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import ImageSet, load, split
from auglean.errors import InputError
from auglean.progress import track
from auglean.randomness import derive, generator
from auglean.training import correct, new_network
from auglean.training.fitting import check_agree, check_options

_WIDTHS, _DEPTHS = (32, 64, 128, 256), (1, 2, 3, 4)
_NORMS = ("none", "batch", "layer", "instance", "group")
_ACTIVATIONS, _POOLS = ("sigmoid", "relu", "leaky"), ("nopool", "max", "avg")


def search_space(size: tuple[int, int] = (32, 32)) -> list[str]:
    """List the ConvNets of Zhao & Bilen 2021: 720, or those of them that images of a size are large enough for.

    >>> len(search_space()), len(search_space((8, 8)))
    (720, 600)
    """
    side = 32 if size == (28, 28) else min(size)
    return [
        f"convnet-w{width}-d{depth}-{norm}-{activation}-{pool}"
        for width, depth, norm, activation, pool in product(_WIDTHS, _DEPTHS, _NORMS, _ACTIVATIONS, _POOLS)
        if pool == "nopool" or side >= 2**depth
    ]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What `rank_architectures` found.

    Attributes:
        rows: One for each proxy: `correlation` of its ranks with those of training on all images, over all candidates,
            and over the better half of them (`correlation_top`); the network that it would choose, the test accuracy of
            that network trained on all images, and the `seconds` that the choice took.
        accuracies: For each proxy, and for `whole`, the accuracy of each candidate: on held-out images for proxies, on
            test images for the whole.
        candidates: The networks.
        config: How it was done.
    """

    rows: tuple[Mapping[str, Any], ...]
    accuracies: Mapping[str, Sequence[float]]
    candidates: tuple[str, ...]
    config: Mapping[str, Any]

    def __repr__(self) -> str:
        lines = [f"{'proxy':<16} {'correlation':>11} {'top half':>9} {'accuracy of choice':>19} {'seconds':>9}  choice"]
        for row in self.rows:
            cells = ["–" if row[key] is None else f"{row[key]:.2f}" for key in ("correlation", "correlation_top")]
            lines.append(
                f"{row['proxy']:<16} {cells[0]:>11} {cells[1]:>9} {100 * row['accuracy']:>18.1f}% "
                f"{row['seconds']:>9.1f}  {row['chosen']}"
            )
        return "\n".join(lines)


def rank_architectures(
    synthetic: Given,
    train: Any,
    test: Any,
    *,
    validation: Any = None,
    candidates: int | Sequence[str] = 24,
    epochs: int = 300,
    whole_steps: int = 1000,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Ranking:
    """Train candidates on a few images and on all, and see whether the few rank them as all do.

    Beside the synthetic images stand as many random ones, and training on all images that is stopped after as many
    steps as the few get. A proxy chooses on held-out images; its choice is then judged on test images after training on
    all. Every network is trained once, at the published rate and without augmentation.

    Args:
        synthetic: As of `auglean.evaluate`; of several sets of a name the first is used.
        train: The real images.
        test: Test images.
        validation: Held-out real images; by default a tenth of `train`.
        candidates: Names of networks, or how many to draw from `search_space`.
        epochs: Passes over the few images.
        whole_steps: Steps on all images.
        seed: Fixes what is drawn.
        device: Where to train; by default the CPU.

    Raises:
        InputError: If an option or the data are not usable.

    >>> tiny = baseline("class-mean", load("digits"), 1)
    >>> options = {"candidates": ["mlp", "convnet-w4-d1"], "epochs": 5, "whole_steps": 5}
    >>> found = rank_architectures(tiny, "digits", load("digits", split="test"), **options)
    >>> [row["proxy"] for row in found.rows]
    ['random', 'class-mean', 'early-stopping', 'whole']
    """
    check_options(steps=whole_steps, eval_every=None, device=device)
    real, judged = load(train), load(test)
    check_agree(real, judged, "test")
    real, held = split(real, [0.1], seed=seed) if validation is None else (real, load(validation))
    given = {name: sets[0] for name, sets in read_sets(synthetic, real).items()}
    names = _candidates(candidates, real, seed)
    if len(names) < 2 or epochs < 1:
        raise InputError(
            f"Got {len(names)} candidates and {epochs} epochs; give 2 networks or more to rank, and 1 epoch."
        )
    per_class = max(map(stored_per_class, given.values()))
    proxies = {"random": baseline("random", real, per_class, seed=derive(seed, "set")), **given}
    few = Protocol(epochs=epochs).steps(max(map(len, proxies.values())), augmented=False)
    search = _Search(names, seed, device or "cpu")
    trained = {name: search.train(name, images, few, held, real) for name, images in proxies.items()}
    trained["early-stopping"] = search.train("early-stopping", real, few, held, real)
    whole, whole_seconds = search.train("whole", real, whole_steps, judged, real)
    made = {name: seconds_of(images) for name, images in proxies.items()}
    rows = [
        _row(name, found, whole, seconds + made.get(name, 0.0), names) for name, (found, seconds) in trained.items()
    ]
    rows.append(_row("whole", whole, whole, whole_seconds, names))
    accuracies = {**{name: found for name, (found, _) in trained.items()}, "whole": whole}
    config = {"data": real.name, "per_class": per_class, "epochs": epochs, "whole_steps": whole_steps, "seed": seed}
    return Ranking(tuple(rows), accuracies, tuple(names), config)


def _candidates(given: int | Sequence[str], real: ImageSet, seed: int) -> list[str]:
    if not isinstance(given, int):
        return list(given)
    space = search_space(real.size)
    order = torch.randperm(len(space), generator=generator(seed, "candidates"))
    return [space[i] for i in order[: max(0, given)].tolist()]


@dataclass(frozen=True)
class _Search:
    """Trains every candidate on some images."""

    names: Sequence[str]
    seed: int
    device: torch.device | str

    def train(
        self, what: str, images: SyntheticSet | ImageSet, steps: int, judged: ImageSet, real: ImageSet
    ) -> tuple[list[float], float]:
        """Give the accuracy of each candidate, and the seconds of training them all."""
        accuracies, seconds = [], 0.0
        for name in track(self.names, what):
            began = time.perf_counter()
            model = new_network(name, real, derive(self.seed, "candidate")).to(self.device)
            learn(model, images, steps=steps, seed=derive(self.seed, "candidate"))
            seconds += time.perf_counter() - began
            accuracies.append(float(correct(model, judged, batch_size=64).double().mean()))
        return accuracies, seconds


def _row(
    proxy: str, found: Sequence[float], whole: Sequence[float], seconds: float, names: Sequence[str]
) -> dict[str, Any]:
    best = max(range(len(names)), key=lambda i: found[i])
    top = sorted(range(len(names)), key=lambda i: -whole[i])[: -(-len(names) // 2)]
    return {
        "proxy": proxy,
        "correlation": rank_correlation(found, whole),
        "correlation_top": rank_correlation([found[i] for i in top], [whole[i] for i in top]),
        "chosen": names[best],
        "accuracy": whole[best],
        "seconds": seconds,
    }


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Compute Spearman's rank correlation, ties at their mean rank; None where one side is constant or has under two.

    >>> rank_correlation([1, 2, 3], [10, 30, 20])
    0.5
    """
    from scipy.stats import rankdata

    one, other = (torch.from_numpy(rankdata(side)) for side in (first, second))
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    return round(float(one @ other) / size, 12) if len(first) > 1 and size else None
