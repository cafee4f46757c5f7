"""Condensation beside the published loops, on one thread, and what it reaches in how many seconds.

The published step is written here as it is: a new network, batches of 256 real images of each class in one piece,
torch's own pool, gradients of every parameter with their graph, all classes before one `backward`. Ratios are medians
of neighbours that take turns, in seconds of the wall; the floor is in processor seconds. Accuracies are of
ConvNet-3/128, beside the processor seconds of condensation alone, by the protocol of `evaluate`: rates of training are
chosen on a held-out tenth of the training images for every row, and so were pools, rates and starts of condensation.

    python benchmarks/condensation.py --mnist MNIST --cifar10 CIFAR10 [--parts ratios,floor,mnist-dm,cifar10-dm]

Both are folders of Parquet files.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, take_turns, write
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import auglean as al
from auglean.condensation import DM, DSA, Method, Protocol, gradient_distance
from auglean.condensation.builders import Builder
from auglean.condensation.engine import Engine, State
from auglean.condensation.planning import SavedBytes
from auglean.condensation.starting import starting_images
from auglean.networks.layers import AveragePool

BATCH, CLASSES = 256, 10
#: Multiplications and additions of ConvNet-3/128 on an image of 3×32×32, in units of 10⁶ of both.
FORWARD = 2 * 32**2 * 128 * 3 * 9 / 1e6, 2 * 16**2 * 128 * 128 * 9 / 1e6, 2 * 8**2 * 128 * 128 * 9 / 1e6
AIMS = {  # processor seconds, and accuracy with augmentation
    "mnist-dm": [(30, 0.89)],
    "mnist-dm-longer": [(70, 0.91)],
    "mnist-dsa": [(90, 0.90)],
    "cifar10-dm": [(110, 0.42)],
}
_CENTRES = {"per_class": 1, "init": "k-means"}
RUNS: dict[str, dict[str, Any]] = {
    "mnist-dm": {**_CENTRES, "method": DM(pool=30, lr=10.0), "steps": 200},
    "mnist-dm-longer": {**_CENTRES, "method": DM(pool=60, lr=10.0), "steps": 500},
    "mnist-dsa": {**_CENTRES, "method": DSA(pool=40, lr=0.3, real_batch=32), "steps": 200},
    "cifar10-dm": {"per_class": 10, "method": DM(pool=50), "steps": 200},
}


def noise_images(count: int = 3000) -> al.ImageSet:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=g)
    return al.ImageSet(images, torch.arange(count) % CLASSES)


def as_published(network: nn.Module) -> nn.Module:
    """Give torch's own pool back to the network."""
    for place, layer in enumerate(network.features):
        if isinstance(layer, AveragePool):
            network.features[place] = nn.AvgPool2d(2)
    return network


def make_engine(data: al.ImageSet, method: Method, per_class: int) -> Engine:
    policy = method.policy(data)
    builder = Builder("convnet", data, policy, seed=0)
    return Engine(data, method, builder, policy, schedule="pooled", per_class=per_class, steps=1000, seed=0)


class _Published:
    """One step of the published loop."""

    def __init__(self, data: al.ImageSet, method: Method, per_class: int) -> None:
        self.data, self.method, self.engine = data, method, make_engine(data, method, per_class)
        self.images = self.engine.standardise(starting_images(data, per_class)).requires_grad_()
        self.step = 0

    def network(self) -> nn.Module:
        self.step += 1
        mean, std = self.data.mean_std()
        made = al.networks.create(
            "convnet", channels=3, classes=CLASSES, size=(32, 32), mean=mean, std=std, seed=self.step
        )
        return as_published(made)

    def real(self, network: nn.Module, label: int) -> list[Tensor]:
        chosen = self.engine.builder.members(label, BATCH, "real", self.step)
        images = self.engine._augment(self.data.batch(chosen)[0].float() / 255, ("step", self.step), label)
        return self.quantity(network, images, label, real=True)

    def quantity(self, network: nn.Module, images: Tensor, label: int, *, real: bool) -> list[Tensor]:
        if isinstance(self.method, DM):
            with torch.set_grad_enabled(not real):
                return [network[:2](images).mean(0)]
        loss = functional.cross_entropy(network(images), torch.full((len(images),), label))
        return list(torch.autograd.grad(loss, list(network.parameters()), create_graph=not real))

    def distance(self, network: nn.Module, label: int, target: list[Tensor]) -> Tensor:
        pixels = self.engine._augment(self.engine.pixels(self.images[label]), ("step", self.step), label)
        found = self.quantity(network, pixels, label, real=False)
        return ((found[0] - target[0]) ** 2).sum() if isinstance(self.method, DM) else gradient_distance(target, found)

    def synthetic(self, network: nn.Module, targets: list[list[Tensor]]) -> None:
        distances = [self.distance(network, label, target) for label, target in enumerate(targets)]
        torch.stack(distances).sum().backward()

    def __call__(self) -> None:
        network = self.network()
        self.synthetic(network, [self.real(network, label) for label in range(CLASSES)])


def processor_seconds(work: Callable[[], object], rounds: int = 10) -> float:
    """Give the least processor time of several calls."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def floor(data: al.ImageSet, method: Method) -> dict[str, Any]:
    """Hold a target of 256 real images against its operations at the rate of a lone convolution."""
    layer, x = nn.Conv2d(128, 128, 3, padding=1), torch.rand(16, 128, 16, 16)
    with torch.no_grad():
        rate = 16 * FORWARD[1] / 1e3 / processor_seconds(lambda: layer(x), 50)  # 10⁹ operations per second
    forward_only = isinstance(method, DM)
    operations = sum(FORWARD) if forward_only else 3 * sum(FORWARD) - FORWARD[0]  # no derivative in the images
    engine, found = make_engine(data, method, 1), {}
    for bfloat16 in (False, True):
        engine.bfloat16 = bfloat16
        network = engine.network(0)
        seconds = processor_seconds(lambda network=network: engine.target(network, ("pool", 0), 0, BATCH), 3) / BATCH
        found["bfloat16" if bfloat16 else "float32"] = {
            "us_per_image": seconds * 1e6,
            "gflops": operations / 1e3 / seconds,
            "times_the_floor": seconds * rate * 1e3 / operations,
        }
    cosine = engine.agreement()
    return {"million_operations": operations, "lone_convolution_gflops": rate, **found, "bfloat16_cosine": cosine}


def real_side(data: al.ImageSet, method: Method, rounds: int) -> dict[str, Any]:
    published, engine = _Published(data, method, 1), make_engine(data, method, 1)
    published.step = 1
    network = engine.builder.build("pool", 0)
    plain = as_published(engine.builder.build("pool", 0).module)
    chosen = engine.builder.members(0, BATCH, "real", "pool", 0)
    images = engine._augment(data.batch(chosen)[0].float() / 255, ("pool", 0), 0)
    first = lambda: published.quantity(plain, images, 0, real=True)  # noqa: E731
    second = lambda: engine.target(network, ("pool", 0), 0, BATCH)  # noqa: E731
    engine.bfloat16 = False
    wanted = [part for part in first() if part.ndim > 1 or isinstance(method, DM)]
    one, other = (torch.cat([part.flatten() for part in side]) for side in (wanted, second()))
    found = take_turns(first, second, rounds)
    return {
        "speedup": 1 / found["ratio"],
        "quartiles": [1 / found["ratio_quartiles"][1], 1 / found["ratio_quartiles"][0]],
        "published_us_per_image": found["first_seconds"] / BATCH * 1e6,
        "us_per_image": found["second_seconds"] / BATCH * 1e6,
        "relative_difference": float((one - other).norm() / one.norm()),
    }


def synthetic_side(data: al.ImageSet, per_class: int, rounds: int) -> dict[str, Any]:
    method = DSA()
    published, engine = _Published(data, method, per_class), make_engine(data, method, per_class)
    network, plain = engine.builder.build("pool", 0), published.network()
    targets = [engine.target(network, ("pool", 0), label, 16) for label in range(CLASSES)]
    everything = [published.quantity(plain, torch.rand(4, 3, 32, 32), label, real=True) for label in range(CLASSES)]
    images = published.images.detach()

    def ours() -> None:
        for label in range(CLASSES):
            engine.pull(network, ("pool", 0), label, images[label], targets[label])

    first = lambda: published.synthetic(plain, everything)  # noqa: E731
    found = take_turns(first, ours, rounds)
    whole, one = SavedBytes(), SavedBytes()
    with whole:
        first()
    with one:
        engine.pull(network, ("pool", 0), 0, images[0], targets[0])
    return {
        "per_class": per_class,
        "speedup": 1 / found["ratio"],
        "quartiles": [1 / found["ratio_quartiles"][1], 1 / found["ratio_quartiles"][0]],
        "published_seconds": found["first_seconds"],
        "seconds": found["second_seconds"],
        "published_graph_megabytes": whole.bytes / 1e6,
        "graph_megabytes": one.bytes / 1e6,
        "graph_ratio": whole.bytes / one.bytes,
    }


def whole_step(data: al.ImageSet, method: Method, rounds: int) -> dict[str, Any]:
    """A step of the pool after its first cycle beside one of the published schedule."""
    published, engine = _Published(data, method, 1), make_engine(data, method, 1)
    images = engine.standardise(starting_images(data, 1))
    state = State(images, torch.zeros_like(images))
    engine.pool = 2
    for _ in range(2):
        state, _ = engine.advance(state)

    def ours() -> None:
        nonlocal state
        for _ in range(10):
            state, _ = engine.advance(state)

    found = take_turns(published, ours, rounds)
    return {
        "published_seconds": found["first_seconds"],
        "seconds": found["second_seconds"] / 10,
        "speedup": 10 / found["ratio"],
        "quartiles": [10 / found["ratio_quartiles"][1], 10 / found["ratio_quartiles"][0]],
    }


def ratios(rounds: int) -> dict[str, Any]:
    data = noise_images()
    return {
        "real side, DSA": real_side(data, DSA(), rounds),
        "real side, DM": real_side(data, DM(), rounds),
        "synthetic side, 1": synthetic_side(data, 1, rounds),
        "synthetic side, 10": synthetic_side(data, 10, rounds),
        "step, DSA": whole_step(data, DSA(), max(2, rounds // 3)),
        "step, DM": whole_step(data, DM(), max(2, rounds // 3)),
    }


def condensed(part: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Condense with several seeds, and train networks on the images beside what costs nothing."""
    sets = al.splits(folder, test_limit=options.test)
    made, seconds = [], []
    for seed in range(options.sets):
        began = time.process_time()
        made.append(al.condense(sets.train, seed=seed, precision=options.precision, **RUNS[part]))
        seconds.append(time.process_time() - began)
        print(f"{part}: {seconds[-1]:.1f} processor seconds", flush=True)
    found = al.evaluate(
        made,
        sets.train,
        sets.test,
        validation=sets.validation,
        baselines=options.beside.split(",") if options.beside else [],
        repeats=options.networks,
        protocol=Protocol(options.epochs, options.epochs_augmented, rates=tuple(options.rates), whole_steps=None),
    )
    print(found, flush=True)
    row = found.row(found.config["synthetic"][0])
    reached = [[limit, aim, max(seconds) <= limit and row["accuracy"]["mean"] >= aim] for limit, aim in AIMS[part]]
    how = dict(made[0].how) | {"data": sets.train.name, "train": len(sets.train), "test": len(sets.test)}
    return {"how": how, "cpu_seconds": seconds, "aims": reached, **found.to_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--parts", default="ratios,floor,mnist-dm,mnist-dm-longer,mnist-dsa,cifar10-dm")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sets", type=int, default=2, help="condensed, each with a seed of its own")
    parser.add_argument("--networks", type=int, default=3, help="trained on each set")
    parser.add_argument("--epochs", type=int, default=300, help="of training without augmentation")
    parser.add_argument("--epochs-augmented", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03], help="to choose from")
    parser.add_argument("--beside", default="random,k-means", help="baselines under the same protocol")
    parser.add_argument("--test", type=int, help="test images, if not all")
    parser.add_argument("--precision", default="bfloat16", help="of the real side of the accuracies")
    parser.add_argument("--out", type=Path, default=RESULTS / "condensation.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    kept, commands = before.get("parts", {}), before.get("commands", {})
    folders = {"mnist": options.mnist, "cifar10": options.cifar10}
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "ratios": lambda: ratios(options.rounds),
        "floor": lambda: {method.name: floor(noise_images(), method) for method in (DSA(), DM())},
    }
    for part in RUNS:
        work[part] = lambda part=part: condensed(part, folders[part.split("-")[0]], options)
    for part in options.parts.split(","):
        kept[part] = work[part]()  # parts that are not run again stay as they were
        commands[part] = shlex.join(["python", "benchmarks/condensation.py", *sys.argv[1:]])
        write(options.out, "cpu", commands=commands, parts=kept)
    show(kept)


def show(parts: dict[str, Any]) -> None:
    table = Table("", "speed-up", "quartiles", "published", "ours")
    for name, row in parts.get("ratios", {}).items():
        low, high = row["quartiles"]
        one, other = (row.get(f"{prefix}us_per_image") for prefix in ("published_", ""))
        one, other = (
            (f"{one:.0f} µs", f"{other:.0f} µs")
            if one
            else (f"{row['published_seconds']:.3f} s", f"{row['seconds']:.3f} s")
        )
        table.add_row(name, f"{row['speedup']:.2f}", f"{low:.2f} – {high:.2f}", one, other)
    Console().print(table)


if __name__ == "__main__":
    main()
