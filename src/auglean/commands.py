"""The commands: each a thin face of the Python call of the same name, whose docstring is its `--help`."""

from __future__ import annotations

import json as json_module
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from auglean.errors import InputError
from auglean.training import Recipe

if TYPE_CHECKING:
    from auglean.data import Splits
    from auglean.studies import Narrator


#: What `select` chooses by where nothing else is said.
_SELECTOR, _BUDGET = "coreset", 0.1


def compare(
    data: str = "digits",
    policy: str | None = None,
    weak: str | None = None,
    network: str = "cnn",
    selectors: list[str] = ["max-loss", "coreset"],  # noqa: B006 (only read)
    budgets: list[int | float] = [0.1],  # noqa: B006
    role: list[str] = ["full+subset"],  # noqa: B006
    weights: Literal["sampled", "raw", "mean1", "none"] = "sampled",
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
            influence-inverse, margin, margin-proportional, margin-inverse, forgetting, tracin, ccs, info-batch,
            herding, k-center, gradient-matching, gradient-matching-per-batch, coreset, coreset-last-layer, k-dpp,
            k-dpp-influence, k-dpp-loss, k-dpp-greedy, support-vectors.
        budgets: Comma-separated: fractions of the training images (0.1,0.3) or counts (100,300).
        role: Comma-separated: full+subset (all originals and copies of the chosen), subset+subset (the chosen and
            their copies), random+subset (random originals and copies of the chosen), subset (the chosen, weak only).
        weights: How the weights of a choice enter: sampled (copies in proportion), raw, mean1, none.
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

    folder, sets, origin = _begin("compare", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with _stoppable("compare", folder) as narrator:
        found = studies.compare(
            sets,
            policy=policy,
            weak=weak,
            network=network,
            selectors=selectors,
            budgets=budgets,
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
            device=_device(device),
            out=folder,
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    page = reports.write(found)
    if json:
        _print_json(found.result)
    else:
        _print(reports.comparison_table(found.result))
        _print(found.answer)
    _tell(f"Report: {page}")


def fit(
    data: str = "digits",
    policy: str | None = None,
    weak: str | None = None,
    network: str = "cnn",
    selector: str | None = None,
    budget: int | float | None = None,
    role: Literal["full+subset", "subset+subset", "random+subset", "subset"] = "full+subset",
    weights: Literal["sampled", "raw", "mean1", "none"] = "sampled",
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

    folder, sets, origin = _begin("fit", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with _stoppable("fit", folder) as narrator:
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
            device=_device(device),
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    if json:
        _print_json(found)
    else:
        seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in found["seconds"].items())
        _print(
            f"Test accuracy {found['accuracy']:.4f}, transformed {found['accuracy_transformed']:.4f}; "
            f"{found['images_augmented']} images augmented in {found['steps']} steps; {seconds}."
        )
    _tell(f"Run folder: {folder}")


def select(
    model: str | None = None,
    data: str = "digits",
    selector: str = _SELECTOR,
    budget: int | float = _BUDGET,
    seed: int = 0,
    size: int | None = None,
    limit: int | None = None,
    skip_corrupt: bool = False,
    device: str | None = None,
    audit: str | None = None,
    out: str | None = None,
    json: bool = False,
) -> None:
    """Choose the images worth augmenting, by a network that `auglean fit` trained; or check a choice.

    Args:
        model: The model.safetensors of a run. Choosing needs it; a check without it looks at the list alone.
        data: As of `auglean compare`; the training images are chosen from.
        selector: random, random-each-epoch, or one of `auglean compare`.
        budget: Fraction (0.1) or count (100) of images to choose.
        seed: Fixes what is drawn, and how images are cut into training, validation and test sets.
        size: Resize images to size × size.
        limit: Choose from at most so many images, as `auglean fit` with the same limit trains on.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where the network runs. Default: a GPU if there is one.
        audit: Check this list of training images in place of choosing: duplicates, classes, weights, and, with a model,
            distances and gradient error beside random choices of its size. A selection of ours, a list in JSON, an
            array of numpy, or text with an index on each line and perhaps a weight behind it. What is wrong with the
            list is told, and is no error: the exit code is 0.
        out: File for the selection (JSON). Default: selection.json in the folder of the model. For a check, its
            result; by default it is printed only.
        json: Print the selection, or the result of the check, on stdout.
    """
    if audit is not None:
        if (selector, budget) != (_SELECTOR, _BUDGET):
            raise InputError("--audit checks a list in place of choosing one; leave --selector and --budget out.")
        _audit(audit, model, data, seed, size, limit, skip_corrupt, device, out, json)
        return
    if model is None:
        raise InputError("--model is missing; give the model.safetensors of a run, or a list to check as --audit FILE.")
    from auglean import selection
    from auglean.data import splits
    from auglean.signals import collect
    from auglean.training import load_network

    chooser = selection.parse(selector)[0]
    network = load_network(model)
    target = Path(out) if out else Path(model).with_name("selection.json")
    if target.exists():
        raise InputError(f"{target} exists; give another file as --out.")
    train = splits(data, seed=seed, size=size, limit=limit, skip_corrupt=skip_corrupt).train
    selection.count(budget, len(train))
    signals = collect(network, train, device=_device(device))
    chosen = selection.select(signals, train.labels, chooser, budget=budget, seed=seed)
    chosen = chosen.with_(how={**chosen.how, "data": train.name, "fingerprint": train.fingerprint})
    chosen.save(target)
    if json:
        _print_json(chosen.to_dict())
    else:
        _print(repr(chosen))
    _tell(f"Selection: {target}")


def quantify(
    data: str = "digits",
    policy: str | None = None,
    weak: str | None = None,
    model: str | None = None,
    spectrum: bool = False,
    images: int = 100,
    top: int | None = None,
    draws: int = 5,
    method: Literal["auto", "exact", "randomised"] = "auto",
    output: Literal["logits", "sum"] = "logits",
    seed: int = 0,
    size: int | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    skip_corrupt: bool = False,
    device: str | None = None,
    out: str | None = None,
    json: bool = False,
) -> None:
    """What does this augmentation do? For now: to the Jacobian of a trained network, against noise of the same size.

    Prints a table and writes a run folder with config.yaml, result.json and report.html.

    Args:
        data: As of `auglean compare`; the probe is drawn from the training images.
        policy: Augmentation to judge. Default: translate and rotate for grey images, rand-m9-n2 for colour.
        weak: Light augmentation of every image, before and after alike. Default: as of `auglean compare`.
        model: The model.safetensors of a run of `auglean fit`.
        spectrum: Singular values, subspaces and residual alignment of the Jacobian before and after augmentation.
        images: Size of the probe.
        top: Leading singular values of the randomised method, and largest subspaces compared. Default: 50.
        draws: Draws of the augmentation, each beside one of noise.
        method: exact, randomised, or auto (exact where that stays within 4 GiB).
        output: logits (a row of the Jacobian per logit of each image) or sum (a row per image).
        seed: Fixes what is drawn, and how images are cut into training, validation and test sets.
        size: Resize images to size × size.
        limit: Draw the probe from at most so many images, as `auglean fit` with the same limit trains on.
        test_limit: As of `auglean compare`.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where to compute, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/quantify-DATA, numbered.
        json: Print result.json on stdout in place of the table; progress goes to stderr.
    """
    if not spectrum:
        raise InputError("Nothing to quantify was named; --spectrum is what quantify offers today.")
    if model is None:
        raise InputError("--model is missing; give the model.safetensors of a run, which `auglean fit` makes.")
    from auglean import reports
    from auglean.studies.quantifying import quantify_spectrum

    folder, sets, origin = _begin("quantify", data, seed, size, limit, test_limit, skip_corrupt, out, None)
    result, found = quantify_spectrum(
        sets,
        model,
        out=folder,
        policy=policy,
        weak=weak,
        images=images,
        top=top,
        draws=draws,
        method=method,
        output=output,
        seed=seed,
        device=_device(device),
        origin=origin,
    )
    page = reports.write_spectrum(result, folder / "report.html")
    if json:
        _print_json(result)
    else:
        _print(repr(found))
    _tell(f"Report: {page}")


def _audit(
    file: str,
    model: str | None,
    data: str,
    seed: int,
    size: int | None,
    limit: int | None,
    skip_corrupt: bool,
    device: str | None,
    out: str | None,
    json: bool,
) -> None:
    """Check a list of training images; what is wrong with it is told, and is no error."""
    from auglean import selection
    from auglean.data import splits
    from auglean.files import write_json
    from auglean.signals import collect
    from auglean.training import load_network

    if out and Path(out).exists():
        raise InputError(f"{out} exists; give another file as --out.")
    listed = selection.read_indices(file)
    network = None if model is None else load_network(model)
    train = splits(data, seed=seed, size=size, limit=limit, skip_corrupt=skip_corrupt).train
    if listed.total not in (None, len(train)):
        raise InputError(
            f"{file} was chosen from {listed.total} images, but there are {len(train)} training images; "
            "give the --data, --seed and --limit that it was chosen with."
        )
    signals = None if network is None else collect(network, train, device=_device(device))
    found = selection.audit(listed.indices, signals, train.labels, weights=listed.weights, seed=seed)
    if listed.fingerprint not in (None, train.fingerprint):
        told = "It was chosen from other images, of another --data, --seed or --size, so its indices may mean others."
        found = replace(found, findings=(told, *found.findings))
    if network is None:
        told = "Give the network as --model to have distances and gradient error measured."
        found = replace(found, notes=(*found.notes, told))
    if out:
        write_json(out, found.to_dict())
    if json:
        _print_json(found.to_dict())
    else:
        _print(repr(found))
    if out:
        _tell(f"Audit: {out}")


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
    """How many images need to be augmented, and which? Accuracy against the number of sources, policy by policy.

    The setting of Kuchnik & Smith (ICLR 2019): each training image has the same few copies; a policy chooses whose
    copies are added; a logistic head on features of a network is fitted, and judged on the test images and all of
    their copies. The network is trained first, on images that are not in the task. Prints a table and writes a run
    folder with config.yaml, metrics.jsonl, result.json, selections/ and report.html.

    Args:
        data: As of `auglean compare`.
        classes: Comma-separated: two classes or more, by name or number. Default: the paper's pair if the data have it
            (3,8 or airplane,automobile), else all.
        transform: translate, rotate, crop (lists that suit the images), or one of the paper's: mnist-translate,
            cifar10-rotate, norb-crop, and so on.
        selectors: Comma-separated selectors, as of `auglean compare`; random is always among them. Default:
            influence-proportional,max-loss-proportional.
        policies: plain (each selector as it is), refined (each with and without updating scores after each budget and
            down-weighting copies), or paper (its twelve policies of each --score, beside the selectors, if any).
        score: For --policies paper, comma-separated: influence, loss, margin.
        budgets: Comma-separated: counts (1,10,50) or fractions (0.1,0.5). Default: 1,10,50,100,250,500,750 and all.
        rounds: Rounds of policies that draw; the others have one.
        train: Training images of the task. Default: 1000, or half of those there are.
        validation: Validation images, at most; the best policy is chosen on these.
        C: Inverse strength of the head's penalty.
        noise: Share of the training images whose label is made wrong, such as 0.1.
        clusters: Comma-separated: also choose by turns from so many clusters of the features; budget: as many as are
            to be chosen.
        sweep: Also judge 45 numbers of clusters by inertia and silhouette.
        network: The feature network; see `auglean compare`.
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

    folder, sets, origin = _begin("curve", data, seed, size, limit, test_limit, skip_corrupt, out, resume)
    with _stoppable("curve", folder) as narrator:
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
            device=_device(device),
            out=folder,
            resume=resume,
            origin=origin,
            narrator=narrator,
        )
    page = reports.write_curve(found)
    if json:
        _print_json(found.result)
    else:
        _print(reports.curve_table(found.result))
        _print(found.answer)
    _tell(f"Report: {page}")


def _begin(
    command: str,
    data: str,
    seed: int,
    size: int | None,
    limit: int | None,
    test_limit: int | None,
    skip_corrupt: bool,
    out: str | None,
    resume: bool | None,
) -> tuple[Path, Splits, dict[str, Any]]:
    """Check the run folder, then read the images; give also how they were asked for."""
    from auglean.data import splits
    from auglean.studies.folder import check_folder

    folder = Path(out) if out else _free_folder(command, data)
    check_folder(folder, resume=resume)
    sets = splits(data, seed=seed, size=size, limit=limit, test_limit=test_limit, skip_corrupt=skip_corrupt)
    origin = {"data": data, "size": size, "limit": limit, "test_limit": test_limit, "skip_corrupt": skip_corrupt}
    return folder, sets, origin


@contextmanager
def _stoppable(command: str, folder: Path) -> Iterator[Narrator]:
    """Turn the first Ctrl-C into a wish to stop after the step that runs; a second one stops at once."""
    from auglean.studies import Narrator
    from auglean.training import Interrupted

    narrator = Narrator(lines=True)

    def ask(number: int, frame: Any) -> None:
        narrator.stopping = True
        signal.signal(signal.SIGINT, before)
        print("Stopping after this step; Ctrl-C again stops at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield narrator
    except (Interrupted, KeyboardInterrupt) as stopped:
        told = str(stopped) or "stopped at once"
        raise Interrupted(f"{told}; go on with: auglean {command} --resume --out {folder}") from stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _device(name: str | None) -> str:
    """Give the device that was named, or a GPU if there is one."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used here; leave --device out, or give cpu.") from error
    return name


def _free_folder(command: str, data: str) -> Path:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).stem or "data").strip("-") or "data"
    numbers = iter(range(2, 1_000_000))
    folder = Path("runs") / f"{command}-{stem}"
    while folder.exists():
        folder = Path("runs") / f"{command}-{stem}-{next(numbers)}"
    return folder


def _print(what: Any) -> None:
    from rich.console import Console

    Console().print(what, highlight=False, markup=False)


def _print_json(result: Any) -> None:
    sys.stdout.write(json_module.dumps(result, allow_nan=False) + "\n")


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
