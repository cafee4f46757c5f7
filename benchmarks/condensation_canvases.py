"""Several images on one canvas beside one: DM with decode 1 and 2, and random images, packed and not.

python benchmarks/condensation_canvases.py --data FOLDER [--per-class 1] [--limit 5000] [--test-limit 2000]
"""

from __future__ import annotations

import argparse
import time

import torch
from common import RESULTS, write

from auglean import DM, condense, evaluate, splits
from auglean.condensation import Protocol
from auglean.studies.folder import describe_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="As of auglean condense.")
    parser.add_argument("--per-class", type=int, default=1)
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--test-limit", type=int, default=2000)
    parser.add_argument("--network", default="convnet-w32-d3")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--pool", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = splits(options.data, limit=options.limit, test_limit=options.test_limit)
    condensed, made = {}, {}
    for decode in (1, 2):
        began = time.process_time()
        condensed[f"dm, decode {decode}"] = [
            condense(
                sets.train,
                per_class=options.per_class,
                method=DM(pool=options.pool),
                steps=options.steps,
                decode=decode,
                network=options.network,
                seed=seed,
            )
            for seed in range(options.sets)
        ]
        made[f"dm, decode {decode}"] = (time.process_time() - began) / options.sets
        print(made, flush=True)
    found = evaluate(
        condensed,
        sets.train,
        sets.test,
        validation=sets.validation,
        networks=options.network,
        baselines=["random", "k-means"],
        repeats=options.repeats,
        protocol=Protocol(options.epochs, options.epochs, whole_steps=None),
    )
    print(found)
    result = found.to_dict()
    write(
        RESULTS / f"condensation-{sets.train.name}-canvases.json",
        "cpu",
        data=describe_data(sets),
        canvases={**result, "cpu_seconds": made},
    )


if __name__ == "__main__":
    main()
