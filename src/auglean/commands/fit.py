"""`auglean fit`."""

from __future__ import annotations

from typing import Literal

from auglean.commands.common import begin, show, show_json, stoppable, tell, usable
from auglean.training import Recipe


def fit(
    data: str = "digits",
    policy: str | None = None,
    weak: str | None = None,
    network: str = "cnn",
    selector: str | None = None,
    budget: int | float | None = None,
    role: Literal["full+subset", "subset+subset", "random+subset", "subset"] = "full+subset",
    weights: Literal["sampled", "raw", "mean1", "none", "neyman"] = "sampled",
    steps: int = 600,
    seed: int = 0,
    every: int = 5,
    start: int = 0,
    reselect_above: float | None = None,
    signals: Literal["pass", "steps"] = "pass",
    eval_every: int | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008
    size: int | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    skip_corrupt: bool = False,
    device: str | None = None,
    out: str | None = None,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Train one network, augmenting the chosen images only, and test it once.

    Writes a run folder with config.yaml, metrics.jsonl, result.json, selections/ and model.safetensors.

    Args:
        data: As of `auglean compare`.
        policy: Augmentation of the chosen. Default: translate and rotate for grey images, rand-m9-n2 for colour.
        weak: Light augmentation of every image. Default: none for grey, crop and flip for colour.
        network: cnn, mlp, lenet, convnet, resnet20, resnet32, resnet56, wrn-28-10, or timm:NAME.
        selector: random, random-each-epoch, or one of `auglean compare`. Default: every image is augmented.
        budget: Fraction (0.1) or count (100) of images to choose; needed with a selector.
        role: What the originals are; see `auglean compare`.
        weights: How the weights of a choice enter; see `auglean compare`.
        steps: Optimiser steps.
        seed: Fixes everything that is drawn.
        every: Epochs between choices.
        start: Epoch of the first choice.
        reselect_above: Choose anew, too, at an epoch at which the gradient error of the present choice, measured on a
            probe, is above this (0 is perfect, 1 is what choosing nothing would give); such as 0.5.
        signals: Where selectors hear of the images: pass (a forward pass over all before each choice) or steps (the
            training steps themselves, at no extra pass, but stale by up to an epoch; role full+subset only).
        eval_every: Steps between validation accuracies. Default: a tenth of the steps.
        recipe: Options of stochastic gradient descent.
        size: Resize images to size × size.
        limit: Train on at most so many images, drawn at random, class by class.
        test_limit: Test on at most so many images.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where to train, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/fit-DATA, numbered.
        resume: Go on with the stopped run in the folder --out; its options are taken from there.
        json: Print result.json on stdout; progress goes to stderr.
    """
    from auglean import studies

    folder, sets, origin = begin("fit", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with stoppable("fit", folder) as narrator:
        found = studies.fit_once(
            sets,
            out=folder,
            policy=policy,
            weak=weak,
            network=network,
            selector=selector,
            budget=budget,
            role=role,
            weights=weights,
            steps=steps,
            seed=seed,
            every=every,
            start=start,
            reselect_above=reselect_above,
            signals=signals,
            eval_every=eval_every,
            recipe=recipe,
            device=usable(device),
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    if json:
        show_json(found)
    else:
        seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in found["seconds"].items())
        show(
            f"Test accuracy {found['accuracy']:.4f}, transformed {found['accuracy_transformed']:.4f}; "
            f"{found['images_augmented']} images augmented in {found['steps']} steps; {seconds}."
        )
    tell(f"Run folder: {folder}")
