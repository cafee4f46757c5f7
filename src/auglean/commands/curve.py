"""`auglean curve`."""

from __future__ import annotations

from typing import Literal

from auglean.commands.common import begin, show, show_json, stoppable, tell, usable
from auglean.training import Recipe


def curve(
    data: str = "digits",
    classes: list[str | int] | None = None,
    transform: str = "translate",
    selectors: list[str] | None = None,
    policies: Literal["plain", "refined", "paper"] = "plain",
    score: list[str] = ["influence"],  # noqa: B006
    budgets: list[int | float] | None = None,
    rounds: int = 5,
    train: int | None = None,
    validation: int = 500,
    C: float = 1.0,
    noise: float = 0.0,
    clusters: list[int | str] = [],  # noqa: B006
    sweep: bool = False,
    network: str = "cnn",
    model: str | None = None,
    retrain: bool = False,
    steps: int = 600,
    recipe: Recipe = Recipe(),  # noqa: B008
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
    """How many images need augmented copies, and which? Accuracy against their number, policy by policy.

    The setting of Kuchnik & Smith (ICLR 2019): each training image has the same few copies, translated, rotated or
    cropped; a policy chooses the images whose copies are added; a logistic head on features of a network is fitted,
    and judged on the test images and all of their copies. The network is trained first, on images that are not in the
    task. Prints a table and writes a run folder with config.yaml, metrics.jsonl, result.json, selections/ and
    report.html. Such as: auglean curve --data photos/ --classes cat,dog --transform rotate --budgets 10,100,0.5.

    Args:
        data: "digits", a folder with one folder per class, a Parquet file or a folder of them, "torchvision:NAME",
            or a data set on the Hugging Face hub.
        classes: Comma-separated: two classes or more, by name or number. Default: the paper's pair if the data have it
            (3,8 or airplane,automobile), else all.
        transform: translate, rotate, crop (lists that suit the images), or one of the paper's: mnist-translate,
            cifar10-rotate, norb-crop, and so on.
        selectors: Comma-separated; random is always among them. Default: influence-proportional,max-loss-proportional.
            Others: influence, max-loss, margin, margin-svm, el2n, grand, variance (the highest first; or with -bottom,
            -proportional, -inverse or -softmax behind), k-dpp, k-dpp-influence, k-dpp-loss, k-dpp-greedy,
            support-vectors, and any of `auglean compare` but forgetting and tracin.
        policies: plain (each selector as it is), refined (each with and without updating scores after each budget and
            down-weighting copies), or paper (its twelve policies of each --score, beside the selectors, if any).
        score: For --policies paper, comma-separated: influence, loss, margin, group-influence (of an image together
            with all its copies; ours, not in the paper).
        budgets: Comma-separated: counts (1,10,50) or fractions (0.1,0.5). Default: 1,10,50,100,250,500,750 and all.
        rounds: Rounds of policies that draw; the others have one.
        train: Training images of the task. Default: 1000, or half of those there are.
        validation: Validation images, at most; the best policy is chosen on these.
        C: Inverse strength of the head's penalty.
        noise: Share of the training images whose label is made wrong, such as 0.1.
        clusters: Comma-separated: also choose by turns from so many clusters of the features; budget: as many as are
            to be chosen.
        sweep: Also judge 45 numbers of clusters by inertia and silhouette.
        network: The feature network: cnn, mlp, lenet, convnet, resnet20, resnet32, resnet56, wrn-28-10, or timm:NAME.
        model: The model.safetensors of a run as the feature network, in place of training one.
        retrain: Train the network anew for each fit on originals and copies of the chosen, at equal steps. Slow.
        steps: Optimiser steps of the network.
        recipe: Options of stochastic gradient descent.
        seed: Fixes everything that is drawn.
        size: Resize images to size × size.
        limit: Use at most so many training images, for the task and the network together.
        test_limit: Test on at most so many images.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where the network runs, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/curve-DATA, numbered.
        resume: Go on with the stopped run in the folder --out; its options are taken from there.
        json: Print result.json on stdout in place of the table; progress goes to stderr.
    """
    from auglean import reports, studies

    folder, sets, origin = begin("curve", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with stoppable("curve", folder) as narrator:
        found = studies.budget_curve(
            sets,
            classes=classes,
            transform=transform,
            selectors=selectors,
            policies=policies,
            score=score,
            budgets=budgets,
            rounds=rounds,
            train=train,
            validation=validation,
            C=C,
            noise=noise,
            clusters=clusters,
            sweep=sweep,
            network=network,
            model=model,
            retrain=retrain,
            steps=steps,
            recipe=recipe,
            seed=seed,
            device=usable(device),
            out=folder,
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    page = reports.write_curve(found)
    if json:
        show_json(found.result)
    else:
        show(reports.curve_table(found.result))
        show(found.answer)
    tell(f"Report: {page}")
