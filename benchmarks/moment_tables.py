"""What the moments of policies answer on MNIST and CIFAR-10: the tables of docs/questions.md.

Parts: `linear`, least squares on the infinite data set against sampled copies; `deep`, where Taylor values of a
network's loss hold and what nodes do instead; `reference`, sample sizes of ten operators; `alignment`, saliencies of
models trained with and without a policy, and sample sizes of their losses. Each part replaces its rows in the result
file.

    python benchmarks/moment_tables.py --data FOLDER [--parts linear,deep,reference,alignment] [--seeds 3] [--out FILE]

FOLDER holds the folders `mnist` and `cifar10`, as `auglean.load` reads them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write
from torch import Tensor, nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.taylor import taylor_loss
from auglean.networks.probing import undisturbed
from auglean.policies import Flip, GaussianBlur, Identity, Policy, RandomCrop, parse
from auglean.randomness import generator

TRAIN, STEPS = 10_000, 1000
CNN = "convnet-w8-d2-none"
RIDGE = 1e-3


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def per_class(data: al.ImageSet, count: int) -> al.ImageSet:
    """The first so many images of each class."""
    return data.subset(torch.cat([(data.labels == c).nonzero()[:count, 0] for c in range(data.classes)]))


# linear models


def on_copies(x: Tensor, y: Tensor, policy: Policy, copies: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ridge regression on so many sampled copies of each image: weight and bias."""
    total = len(x) * copies
    second, first, cross = torch.zeros(x[0].numel(), x[0].numel()).double(), 0.0, 0.0
    random = generator(seed, "copies")
    for _ in range(copies):
        made = policy(x, generator=random).flatten(1)
        second, first, cross = second + made.T @ made, first + made.sum(0), cross + y.T @ made
    mean, centre = first / total, y.mean(0)
    second = second - total * mean[:, None] * mean
    second.diagonal().add_(total * RIDGE)
    weight = torch.linalg.solve(second, (cross - total * centre[:, None] * mean).T).T
    return weight, centre - weight @ mean


def network_of(weight: Tensor, bias: Tensor) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], weight.shape[0])).double()
    model[1].weight.data, model[1].bias.data = weight.clone(), bias.clone()
    return model


def linear(folder: Path, seeds: int) -> list[dict[str, Any]]:
    train = al.load(folder / "mnist", split="train")
    test = al.load(folder / "mnist", split="test").subset(torch.arange(4000))
    rows = []
    for name in ("translate2", "rotate15"):
        policy = parse(name)
        for n in (200, 1000, 5000):
            images, labels = train.images[:n], train.labels[:n]
            x, y = images.double() / 255, F.one_hot(labels, 10).double()

            def judged(weight: Tensor, bias: Tensor, x: Tensor = x, y: Tensor = y, policy: Policy = policy):
                loss = al.expected_loss(network_of(weight, bias), "squared", policy, (x, y), nodes=64).average
                guess = test.images.double().flatten(1) / 255 @ weight.T + bias
                return loss, float((guess.argmax(1) == test.labels).double().mean())

            start = time.process_time()  # which other work on the machine does not lengthen
            fit = al.fit_linear(images, labels, policy, ridge=RIDGE)
            spent = time.process_time() - start
            plain = al.fit_linear(images, labels, Identity(), ridge=RIDGE)
            row: dict[str, Any] = {"policy": name, "n": n, "kind": fit.kind, "seconds": spent, "loss": fit.loss}
            row["accuracy"] = judged(fit.weight, fit.bias)[1]
            row["plain_loss"], row["plain_accuracy"] = judged(plain.weight, plain.bias)
            row["copies"] = []
            for copies in (1, 4, 16, 64):
                if n * copies > 100_000:
                    continue
                start = time.process_time()
                found = [on_copies(x, y, policy, copies, seed) for seed in range(seeds)]
                spent = (time.process_time() - start) / seeds
                gaps = [float((weight - fit.weight).norm() / fit.weight.norm()) for weight, _ in found]
                losses = [judged(*pair)[0] for pair in found]
                row["copies"].append(
                    {"copies": copies, "error": spread(gaps), "loss": spread(losses), "seconds": spent}
                )
            rows.append(row)
            print(row, flush=True)
    return rows


# deep networks


@cache
def trained(folder: Path, name: str, weak: str, seed: int) -> nn.Module:
    """Train a network on images that all go through `weak`."""
    train = al.load(folder / "mnist", split="train").subset(torch.arange(TRAIN))
    if name == "softmax":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            size = train.channels * train.size[0] * train.size[1]
            model: Any = nn.Sequential(nn.Flatten(), nn.Linear(size, train.classes))
    else:
        model = name
    return al.fit(model, train, weak=weak, steps=STEPS, seed=seed).model


STRENGTHS = {"rotate": (1.5, 3.75, 7.5, 15.0), "translate": (0.3, 0.75, 1.5, 3.0)}


def expansions(model: nn.Module, policy: Policy, data: al.ImageSet) -> dict[str, Any]:
    """Relative bias of the mean loss, and root mean square over images, of four ways to do without augmented images."""
    nodes = 256 if "translate" in policy.name else 64
    truth = al.expected_loss(model, "cross-entropy", policy, data, method="stratified", nodes=nodes)
    found: dict[str, list[Tensor]] = {"clean": [truth.clean], "mean image": [], "about mean": [], "about image": []}
    with undisturbed(model):
        for _, x, y, moments in moments_in_pieces(policy, Examples(data)):
            found["mean image"].append(F.cross_entropy(model(moments.mean.float()).double(), y, reduction="none"))
            found["about mean"].append(taylor_loss(model, "cross-entropy", moments, x, y, point="mean")[0])
            found["about image"].append(taylor_loss(model, "cross-entropy", moments, x, y)[0])
    row: dict[str, Any] = {"loss": truth.average, "loss_error": truth.average_error}
    for way, parts in found.items():
        off = torch.cat(parts) - truth.mean
        row[way] = {"bias": float(off.mean()) / truth.average, "rms": float(off.square().mean().sqrt()) / truth.average}
    try:
        row["gap"] = al.expected_loss(model, "cross-entropy", policy, data, method="taylor").gap
    except al.InputError as error:
        row["refused"] = str(error)
    return row


def node_errors(model: nn.Module, policy: Policy, data: al.ImageSet, counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Error of each image's expected loss by n stratified draws, and how many independent ones do the same."""
    truth = al.expected_loss(model, "cross-entropy", policy, data, method="stratified", nodes=1024)
    rows = []
    for n in counts:
        found = al.expected_loss(model, "cross-entropy", policy, data, method="stratified", nodes=n)
        error2 = float((found.mean - truth.mean).square().mean())
        rows.append({"draws": n, "rms": error2**0.5, "independent": float(truth.sd.square().mean()) / error2})
    return rows


def deep(folder: Path, seeds: int) -> dict[str, Any]:
    data = al.load(folder / "mnist", split="test").subset(torch.arange(150))
    rows, nodes = [], {}
    for weak, families in (("none", ("rotate", "translate")), ("translate3", ("translate",))):
        models = [trained(folder, CNN, weak, seed) for seed in range(seeds)]
        for family in families:
            for strength in STRENGTHS[family]:
                policy = parse(f"{family}{strength:g}")
                each = [expansions(model, policy, data) for model in models]
                row = {"trained_with": weak, "policy": policy.name, "each": each}
                rows.append(row)
                print(row, flush=True)
        if weak == "none":
            for name in ("rotate15", "scale0.2", "shear15", "translate3"):
                nodes[name] = node_errors(models[0], parse(name), data, (16, 32, 64, 128))
                print(name, nodes[name], flush=True)
    return {"images": len(data), "expansions": rows, "nodes": nodes}


# sample sizes of operators


def operators(size: int) -> dict[str, Policy]:
    return {
        "rotate ±15°": parse("rotate15"),
        "translate ±10 %": parse(f"translate{size / 10:g}"),
        "zoom 0.8–1.2": parse("scale0.2"),
        "shear ±15°": parse("shear15"),
        "crop, 4 pixels": RandomCrop(4),
        "flip": Flip(),
        "brightness 0.4, clamped": parse("brightness0.4"),
        "contrast 0.4, clamped": parse("contrast0.4"),
        "cutout 8": parse("cutout8"),
        "blur, 5 × 5, σ 0.1–2": GaussianBlur(5, (0.1, 2.0)),
    }


def reference(folder: Path, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for name in ("mnist", "cifar10"):
        data = per_class(al.load(folder / name, split="test"), 20)
        for told, policy in operators(data.size[0]).items():
            start = time.process_time()
            moments = [found for *_, found in moments_in_pieces(policy, Examples(data))]
            spent = (time.process_time() - start) / len(data)
            ranks = torch.cat([(own.trace.square() / own.frobenius2).nan_to_num() for own in moments])
            mean, covariance = (al.samples_needed(policy, data, target=t) for t in ("mean", "covariance"))
            relative = al.rank_images(policy, data, by="rel_trace").classes
            traces = torch.cat([own.trace for own in moments])
            by_trace = torch.stack([traces[data.labels == c].mean() for c in range(data.classes)])
            row = {
                "data": name,
                "images": len(data),
                "operator": told,
                "kind": moments[0].kind,
                "milliseconds": 1000 * spent,
                "mean": quartiles(mean.rms),
                "covariance": quartiles(covariance.rms),
                "mean_confident": float(mean.confident.median()),
                "strata": mean.strata,
                "rank": quartiles(ranks[ranks > 0]),
                "by_trace": [data.class_names[int(by_trace.argmax())], data.class_names[int(by_trace.argmin())]],
                "by_relative_trace": [relative[0]["name"], relative[-1]["name"]],
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def quartiles(values: Tensor) -> list[float]:
    return values.double().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()


# alignment and losses


def alignment(folder: Path, seeds: int) -> dict[str, Any]:
    test = al.load(folder / "mnist", split="test")
    data = test.subset(torch.arange(150))
    aligned, losses = [], []
    for network, weak, weaker, full in (
        ("softmax", "translate3", "translate0.3", "translate3"),
        (CNN, "translate3", "translate0.3", "translate3"),
        (CNN, "rotate15", "rotate1.5", "rotate15"),
    ):
        for with_policy in ("none", weak):
            models = [trained(folder, network, with_policy, seed) for seed in range(seeds)]
            for strength in (weaker, full):
                found = [al.alignment(model, parse(strength), data) for model in models]
                row = {"network": network, "trained_with": with_policy, "policy": strength}
                for key in ("ratio", "isotropic", "in_range"):
                    row[key] = spread([float(getattr(own, key).nanmedian()) for own in found])
                row["ratio_mean"] = spread([float(own.ratio.nanmean()) for own in found])
                row["spearman"] = spread([own.spearman for own in found])
                row["seconds"] = statistics.fmean(own.seconds for own in found)
                aligned.append(row)
                print(row, flush=True)
            if network == CNN and (weak, with_policy) != ("rotate15", "none"):
                losses += [loss_sizes(models[0], with_policy, name, per_class(test, 20)) for name in LOSSES]
    return {"images": len(data), "rows": aligned, "losses": losses}


LOSSES = ("rotate15", "translate3", "scale0.2", "shear15")


def loss_sizes(model: nn.Module, weak: str, name: str, data: al.ImageSet) -> dict[str, Any]:
    found = al.samples_needed(parse(name), data, target="loss", eps=0.1, model=model)
    row = {
        "trained_with": weak,
        "policy": name,
        "median": float(found.rms.median()),
        "p90": float(found.rms.quantile(0.9)),
        "worst": float(found.rms.max()),
        "data_1": 100 * found.data_rms,  # at 1 % where `found` is at 10 %
        "strata": found.strata,
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", default="linear,deep,reference,alignment")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "moment-tables.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"linear": linear, "deep": deep, "reference": reference, "alignment": alignment}
    content = json.loads(given.out.read_text()) if given.out.is_file() else {}
    for name in given.parts.split(","):
        start = time.perf_counter()
        content[name] = parts[name](given.data, given.seeds)
        content.setdefault("seconds", {})[name] = time.perf_counter() - start
        kept = {key: value for key, value in content.items() if key not in ("command", "machine")}
        write(given.out, "cpu", **{**kept, "seeds": given.seeds, "train": TRAIN, "steps": STEPS, "network": CNN})


if __name__ == "__main__":
    main()
