"""Seconds per 10,000 images of 3 × 32 × 32 for each policy, beside kornia and torchvision v2, on one thread.

    python benchmarks/policies.py

All run on the same float batch, one after another in each round; a ratio is the median over the rounds of
(their time) / (our time), so above 1 we are faster. torchvision draws one parameter for a whole batch: called
once per image it does the same work as the others (`per image`); called once per batch it does less
(`per batch`), and so do kornia's RandAugment and TrivialAugment, which draw one operator for the batch. Where
torchvision is not installed, its columns stay empty.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, seconds, write
from torch import Tensor, nn

from auglean.policies import parse

Transform = Callable[[Tensor], Tensor]


def import_torchvision() -> Any:
    """Give `torchvision`, or `None` where it is not installed.

    Its ordinary wheel is a CUDA build, whose import beside a CPU build of torch fails for want of two
    operator schemas that no transform here uses; they are declared only in that case.
    """
    try:
        import torchvision
    except ImportError:
        return None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision._schemas_of_benchmark = library  # the schemas live as long as this object
    return torchvision


def kornia_counterparts() -> dict[str, Transform]:
    import kornia.augmentation as K

    def affine(degrees: float = 0.0, **options: Any) -> nn.Module:
        return K.RandomAffine(degrees, p=1.0, **options)

    return {
        "flip": K.RandomHorizontalFlip(p=0.5),
        "crop4": K.RandomCrop((32, 32), padding=4),
        "cutout8": K.RandomErasing(scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0), p=1.0),
        "translate4": affine(translate=(4 / 32, 4 / 32)),
        "rotate15": K.RandomRotation(15.0, p=1.0),
        "scale0.2": affine(scale=(0.8, 1.2)),
        "shear10": affine(shear=(-10.0, 10.0)),
        "translate4-rotate15": nn.Sequential(affine(translate=(4 / 32, 4 / 32)), K.RandomRotation(15.0, p=1.0)),
        "crop4-flip": nn.Sequential(K.RandomCrop((32, 32), padding=4), K.RandomHorizontalFlip(p=0.5)),
        "brightness0.4": K.ColorJitter(brightness=0.4, p=1.0),
        "contrast0.4": K.ColorJitter(contrast=0.4, p=1.0),
        "saturation0.4": K.ColorJitter(saturation=0.4, p=1.0),
        "sharpness0.4": K.RandomSharpness(0.4, p=1.0),
        "posterize4": K.RandomPosterize(4.0, p=1.0),
        "solarize0.5": K.RandomSolarize(0.25, p=1.0),
        "autocontrast": K.RandomAutoContrast(p=1.0),
        "equalize": K.RandomEqualize(p=1.0),
        "rand-m9-n2": K.auto.RandAugment(n=2, m=9),
        "trivial": K.auto.TrivialAugment(),
    }


def torchvision_counterparts() -> dict[str, Transform]:
    if import_torchvision() is None:
        return {}
    from torchvision.transforms import InterpolationMode, v2

    def affine(degrees: float = 0.0, **options: Any) -> nn.Module:
        return v2.RandomAffine(degrees, interpolation=InterpolationMode.BILINEAR, **options)

    rotate = v2.RandomRotation(15, interpolation=InterpolationMode.BILINEAR)
    return {
        "flip": v2.RandomHorizontalFlip(0.5),
        "crop4": v2.RandomCrop(32, padding=4),
        "cutout8": v2.RandomErasing(scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0), p=1.0),
        "translate4": affine(translate=(4 / 32, 4 / 32)),
        "rotate15": rotate,
        "scale0.2": affine(scale=(0.8, 1.2)),
        "shear10": affine(shear=(-10.0, 10.0)),
        "translate4-rotate15": v2.Compose([affine(translate=(4 / 32, 4 / 32)), rotate]),
        "crop4-flip": v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(0.5)]),
        "brightness0.4": v2.ColorJitter(brightness=0.4),
        "contrast0.4": v2.ColorJitter(contrast=0.4),
        "saturation0.4": v2.ColorJitter(saturation=0.4),
        "sharpness0.4": v2.RandomAdjustSharpness(1.4, p=1.0),
        "posterize4": v2.RandomPosterize(4, p=1.0),
        "solarize0.5": v2.RandomSolarize(0.75, p=1.0),
        "autocontrast": v2.RandomAutocontrast(p=1.0),
        "equalize": v2.RandomEqualize(p=1.0),
        "rand-m9-n2": v2.RandAugment(2, 9, interpolation=InterpolationMode.BILINEAR),
        "trivial": v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR),
        "augmix-m3-w3": v2.AugMix(severity=3, mixture_width=3, interpolation=InterpolationMode.BILINEAR),
    }


def measure(contestants: dict[str, Transform], x: Tensor, rounds: int) -> dict[str, Any]:
    """Time all contestants in turn, `rounds` times after one to warm up."""
    table: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds + 1):
        for name, transform in contestants.items():
            taken = seconds(lambda t=transform: t(x))
            if i:
                table[name].append(taken)
    ours = table["auglean"]
    return {
        "seconds_per_10000": {name: statistics.median(times) * 10_000 / len(x) for name, times in table.items()},
        "ratio": {
            name: statistics.median(a / b for a, b in zip(times, ours, strict=True))
            for name, times in table.items()
            if name != "auglean"
        },
    }


def version(module: str) -> str | None:
    loaded = sys.modules.get(module)
    return getattr(loaded, "__version__", None)


def cell(values: dict[str, float], name: str, form: str) -> str:
    return format(values[name], form) if name in values else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "policies.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.rand(options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kornia, torchvision = kornia_counterparts(), torchvision_counterparts()
    note = None if torchvision else "torchvision is not installed"
    if note:
        print(note, file=sys.stderr)
    columns = {"kornia": "kornia", "torchvision per image": "tv image", "torchvision per batch": "tv batch"}
    print(
        f"{'seconds per 10,000':22}{'auglean':>9}"
        + "".join(f"{c:>10}" for c in columns.values())
        + "   times ours:"
        + "".join(f"{c:>10}" for c in columns.values())
    )
    rows = []
    with torch.no_grad():
        for name in dict.fromkeys([*kornia, *torchvision, "augmix-m3-w3"]):
            contestants: dict[str, Transform] = {"auglean": parse(name)}
            if name in kornia:
                contestants["kornia"] = kornia[name]
            if name in torchvision:
                v2 = torchvision[name]
                contestants["torchvision per image"] = lambda x, v2=v2: torch.stack([v2(i) for i in x])
                contestants["torchvision per batch"] = v2
            row = {"policy": name, **measure(contestants, x, options.rounds)}
            rows.append(row)
            each, ratio = row["seconds_per_10000"], row["ratio"]
            print(
                f"{name:22}{each['auglean']:9.4f}"
                + "".join(f"{cell(each, c, '.4f'):>10}" for c in columns)
                + " " * 14
                + "".join(f"{cell(ratio, c, '.2f'):>10}" for c in columns),
                flush=True,
            )
    packages = {module: version(module) for module in ("kornia", "torchvision")}
    write(options.out, "cpu", packages=packages, batch=list(x.shape), rounds=options.rounds, note=note, rows=rows)


if __name__ == "__main__":
    main()
