"""Condensed images at work: memories of continual learning, and the ranking of architectures.

python benchmarks/condensation_uses.py [--data digits] [--per-class 5] [--orders 2] [--candidates 8]
"""

from __future__ import annotations

import argparse

import torch
from common import RESULTS, write

from auglean import DM, condense, continual, rank_architectures, splits
from auglean.condensation import search_space
from auglean.randomness import generator
from auglean.studies.folder import describe_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="As of auglean condense.")
    parser.add_argument("--per-class", type=int, default=5)
    parser.add_argument("--network", default="convnet-w32-d2", help="In which images are matched, and the learner.")
    parser.add_argument("--steps", type=int, default=100, help="Of condensation.")
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=8, help="Networks to draw from the search space.")
    parser.add_argument("--widths", type=int, nargs="+", default=[32], help="Of these; narrow for a processor's sake.")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--whole-steps", type=int, default=150)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    sets, method = splits(options.data), DM(pool=50)
    learned = continual(
        sets.train,
        sets.test,
        memories=["random", "k-means", method],
        per_class=options.per_class,
        orders=options.orders,
        network=options.network,
        steps=options.steps,
        epochs=options.epochs,
        device=options.device,
    )
    print(learned, flush=True)
    tiny = condense(
        sets.train, per_class=options.per_class, method=method, steps=options.steps, network=options.network,
        device=options.device,
    )  # fmt: skip
    wide = [f"-w{width}-" for width in options.widths]
    space = [name for name in search_space(sets.train.size) if any(part in name for part in wide)]
    drawn = torch.randperm(len(space), generator=generator(0, "candidates"))[: options.candidates].tolist()
    ranked = rank_architectures(
        tiny,
        sets.train,
        sets.test,
        validation=sets.validation,
        candidates=[space[i] for i in drawn],
        epochs=options.epochs,
        whole_steps=options.whole_steps,
        device=options.device,
    )
    print(ranked)
    write(
        RESULTS / "condensation-uses.json",
        options.device,
        data=describe_data(sets),
        continual={"config": learned.config, "rows": learned.rows},
        ranking={
            "config": ranked.config,
            "candidates": ranked.candidates,
            "rows": ranked.rows,
            "accuracies": ranked.accuracies,
        },
    )


if __name__ == "__main__":
    main()
