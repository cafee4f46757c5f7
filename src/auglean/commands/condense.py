"""`auglean condense`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from auglean.commands.common import begin, show, show_json, stoppable, tell, usable


def condense(
    data: str = "digits",
    per_class: int = 10,
    method: Literal["dm", "dsa", "dc"] = "dm",
    steps: int = 1000,
    lr: float | None = None,
    real_batch: int | None = None,
    pool: int | None = None,
    init: Literal["real", "k-means", "noise"] = "real",
    decode: int = 1,
    schedule: Literal["pooled", "paper"] = "pooled",
    network: str = "convnet",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    networks: list[str] = [],  # noqa: B006 (only read)
    baselines: list[str] = ["random", "herding", "k-means"],  # noqa: B006
    sets: int = 1,
    repeats: int = 3,
    looks: int = 6,
    epochs: int = 300,
    epochs_augmented: int = 300,
    whole_steps: int | None = 1000,
    rates: list[float] = [],  # noqa: B006
    seed: int = 0,
    size: int | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    skip_corrupt: bool = False,
    device: str | None = None,
    out: str | None = None,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Can a few synthetic images stand for the data set? Make some of each class, and see what they teach.

    New networks are trained on them and, by the same protocol, on as many real images at random or herded, on class
    means or k-means centres, and on all images; each with augmentation and without. Prints a table and writes a run
    folder with config.yaml, synthetic.safetensors, synthetic.png, result.json and report.html. Processes share the work
    where they are started by `torchrun --nproc-per-node 2 -m auglean condense …`.

    Args:
        data: As of `auglean compare`.
        per_class: Images of each class to make.
        method: dm (match mean features), dsa (match gradients under shared augmentation) or dc (match gradients).
        steps: Steps of condensation.
        lr: Learning rate of the images. Default: that of the method.
        real_batch: Real images of a class at a time. Default: 64, or 256 with --schedule paper.
        pool: Networks in the pool. Default: that of the method.
        init: What to start from: real, k-means or noise.
        decode: Images that each stored one holds, down and across, which are enlarged to train on. Above 1, rows are
            named so, and packed random images stand beside them.
        schedule: pooled (a fixed pool of networks, what real images say there kept) or paper (the published loops, one
            to two orders slower).
        network: Where images are matched; see `auglean compare`. convnet-w32-d2 is enough for 8×8 images.
        precision: Of the real images on their way through a network: float32, bfloat16, or auto: bfloat16 on a GPU that
            has it. How near that comes is measured and told.
        networks: Comma-separated: networks to train on the images. Default: the same.
        baselines: Comma-separated: random, herding, class-mean, k-means.
        sets: How often to condense, each time with another seed.
        repeats: Networks trained on each set.
        looks: Accuracies on the way, on validation images, at steps that double.
        epochs: Passes over the images in training without augmentation.
        epochs_augmented: Passes with augmentation; 1000 as published.
        whole_steps: Steps of training on all images; null leaves that out.
        rates: Comma-separated: learning rates of that training, of which every row of few images has the one that is
            best on validation images. Default: the published 0.01 and a tenth of it. All images have 0.01.
        seed: Fixes everything that is drawn.
        size: Resize images to size × size.
        limit: Condense at most so many images, drawn at random, class by class.
        test_limit: Test on at most so many images.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where to compute, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/condense-DATA, numbered.
        resume: Go on with the stopped run in the folder --out; its options are taken from there.
        json: Print result.json on stdout in place of the table; progress goes to stderr.
    """
    from auglean import reports
    from auglean.condensation import Protocol, as_method
    from auglean.processes import from_first
    from auglean.studies.condensing import condense_and_judge

    given: dict[str, Any] = {"lr": lr, "real_batch": real_batch, "pool": pool}
    chosen = replace(as_method(method), **{name: value for name, value in given.items() if value is not None})
    protocol = Protocol(epochs, epochs_augmented, rates=tuple(rates), whole_steps=whole_steps)
    folder, images, origin = begin("condense", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with stoppable("condense", folder) as narrator:
        found = condense_and_judge(
            images,
            out=folder,
            per_class=per_class,
            method=chosen,
            steps=steps,
            init=init,
            decode=decode,
            schedule=schedule,
            network=network,
            precision=precision,
            networks=networks,
            baselines=baselines,
            count=sets,
            repeats=repeats,
            looks=looks,
            protocol=protocol,
            seed=seed,
            device=usable(device),
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    page = from_first(lambda: reports.write_condensation(found))
    if json:
        show_json(found.result)
    else:
        show(reports.condensation_table(found.result))
        show(found.answer)
    tell(f"Report: {page}")
