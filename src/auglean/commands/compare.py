"""`auglean compare`."""

from __future__ import annotations

from typing import Literal

from auglean.commands.common import begin, show, show_json, stoppable, tell, usable
from auglean.training import Recipe


def compare(
    data: str = "digits",
    policy: str | None = None,
    weak: str | None = None,
    network: str = "cnn",
    selectors: list[str] = ["max-loss", "coreset"],  # noqa: B006 (only read)
    budgets: list[int | float] = [0.1],  # noqa: B006
    condensed: list[str] = [],  # noqa: B006
    role: list[str] = ["full+subset"],  # noqa: B006
    weights: Literal["sampled", "raw", "mean1", "none", "neyman"] = "sampled",
    steps: int = 600,
    seeds: int = 3,
    seed: int = 0,
    every: int = 5,
    start: int = 0,
    reselect_above: float | None = None,
    signals: Literal["pass", "steps"] = "pass",
    eval_every: int | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    size: int | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    skip_corrupt: bool = False,
    device: str | None = None,
    out: str | None = None,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Is it worth augmenting every image? Compare choices of whom to augment, at equal steps and seeds.

    Trains one network per arm and seed: weak augmentation only, everything augmented, and for each budget a
    random choice (drawn once, and re-drawn each epoch: always among them) and the selectors. Prints a table and
    writes a run folder with config.yaml, metrics.jsonl, result.json, selections/ and report.html.

    Args:
        data: "digits", a folder with one folder per class, a Parquet file or a folder of them, "torchvision:NAME",
            or a data set on the Hugging Face hub.
        policy: Augmentation to judge, such as translate2-rotate15, rand-m9-n2, augmix-m3-w3, trivial, cutout8.
            Default: translate and rotate for grey images, rand-m9-n2 for colour.
        weak: Light augmentation of every image in every arm. Default: none for grey, crop and flip for colour.
        network: cnn, mlp, lenet, convnet, resnet20, resnet32, resnet56, wrn-28-10, or timm:NAME.
        selectors: Comma-separated: max-loss, max-loss-proportional, max-loss-inverse, max-loss-per-class,
            random-per-class, el2n, el2n-proportional, grand, grand-proportional, influence, influence-proportional,
            influence-inverse, margin, margin-proportional, margin-inverse, margin-svm, forgetting, tracin, ccs,
            info-batch, herding, k-center, gradient-matching, gradient-matching-per-batch, coreset, coreset-last-layer,
            k-dpp, k-dpp-influence, k-dpp-loss, k-dpp-greedy, support-vectors, variance, variance-proportional,
            variance-gradient; each score also with -bottom, -proportional, -inverse or -softmax behind.
        budgets: Comma-separated: fractions of the training images (0.1,0.3) or counts (100,300).
        condensed: Comma-separated files of condensed images, as of `auglean condense` of the same training images:
            arms that are trained on these alone, at equal steps.
        role: Comma-separated: full+subset (all originals and copies of the chosen), subset+subset (the chosen and
            their copies), random+subset (random originals and copies of the chosen), subset (the chosen, weak only).
        weights: How the weights of a choice enter: sampled (copies in proportion), raw, mean1, none, or
            neyman (copies in proportion also to how far the policy moves the loss).
        steps: Optimiser steps of every run.
        seeds: Runs per arm.
        seed: The first seed.
        every: Epochs between choices.
        start: Epoch of the first choice.
        reselect_above: Choose anew, too, at an epoch at which the gradient error of the present choice, measured on a
            probe, is above this (0 is perfect, 1 is what choosing nothing would give); such as 0.5.
        signals: Where selectors hear of the images: pass (a forward pass over all before each choice) or steps (the
            training steps themselves, at no extra pass, but stale by up to an epoch; role full+subset only).
        eval_every: Steps between validation accuracies. Default: a twentieth of the steps.
        recipe: Options of stochastic gradient descent.
        size: Resize images to size × size.
        limit: Train on at most so many images, drawn at random, class by class.
        test_limit: Test on at most so many images.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where to train, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/compare-DATA, numbered.
        resume: Go on with the stopped run in the folder --out; its options are taken from there.
        json: Print result.json on stdout in place of the table; progress goes to stderr.
    """
    from auglean import reports, studies

    folder, sets, origin = begin("compare", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with stoppable("compare", folder) as narrator:
        found = studies.compare(
            sets,
            policy=policy,
            weak=weak,
            network=network,
            selectors=selectors,
            budgets=budgets,
            condensed=condensed,
            role=role,
            weights=weights,
            steps=steps,
            seeds=seeds,
            seed=seed,
            recipe=recipe,
            every=every,
            start=start,
            reselect_above=reselect_above,
            signals=signals,
            eval_every=eval_every,
            device=usable(device),
            out=folder,
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    page = reports.write(found)
    if json:
        show_json(found.result)
    else:
        show(reports.comparison_table(found.result))
        show(found.answer)
    tell(f"Report: {page}")
