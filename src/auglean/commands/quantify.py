"""`auglean quantify`: what a policy does to images, or to the Jacobian of a network."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from auglean.commands.common import begin, show, show_json, tell, usable
from auglean.errors import InputError


def quantify(
    data: str = "digits",
    policy: str | None = None,
    policies: list[str] = [],  # noqa: B006 (only read)
    model: str | None = None,
    images: int = 100,
    eps: float = 0.01,
    delta: float = 0.05,
    tol: float = 0.01,
    spectrum: bool = False,
    weak: str | None = None,
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
    """What does this augmentation do, exactly? Mean and covariance of augmented images, and a network's loss on them.

    How far copies of an image are from each other and from the original, in how many directions, which images and
    classes are changed most, how many draws would tell as much; with a model, the loss in expectation over the copies.
    With --spectrum, in place of all that: the Jacobian of a trained network, against noise of the same size. Prints a
    table and writes a run folder with config.yaml, result.json and report.html.

    Args:
        data: As of `auglean compare`; the probe is drawn from the training images.
        policy: Augmentation to judge. Default: translate and rotate for grey images, rand-m9-n2 for colour.
        policies: Comma-separated: further augmentations to lay over the first.
        model: The model.safetensors of a run of `auglean fit`.
        images: Size of the probe, drawn class by class (with --spectrum, from all).
        eps: Relative error for which draws are counted.
        delta: Probability that it is missed.
        tol: Relative error of moments that is small enough where they are not exact.
        spectrum: Singular values, subspaces and residual alignment of the Jacobian before and after augmentation.
        weak: With --spectrum: light augmentation of every image, before and after alike. Default: as of `compare`.
        top: With --spectrum: leading singular values of the randomised method, and largest subspaces compared.
            Default: 50.
        draws: With --spectrum: draws of the augmentation, each beside one of noise.
        method: With --spectrum: exact, randomised, or auto (exact where that stays within 4 GiB).
        output: With --spectrum: logits (a row of the Jacobian per logit of each image) or sum (a row per image).
        seed: Fixes what is drawn, and how images are cut into training, validation and test sets.
        size: Resize images to size × size.
        limit: Draw the probe from at most so many images, as `auglean fit` with the same limit trains on.
        test_limit: As of `auglean compare`.
        skip_corrupt: Leave unreadable images out, and count them, in place of stopping at the first.
        device: Where to compute, such as cpu or cuda. Default: a GPU if there is one.
        out: Run folder. Default: runs/quantify-DATA, numbered.
        json: Print result.json on stdout in place of the table; progress goes to stderr.
    """
    from auglean import reports, studies

    of_spectrum: dict[str, Any] = {"weak": weak, "top": top, "draws": draws, "method": method, "output": output}
    _check(spectrum, model, policies, of_spectrum)
    folder, sets, origin = begin("quantify", data, seed, size, limit, test_limit, skip_corrupt, out, None)
    common: dict[str, Any] = {"images": images, "seed": seed, "device": usable(device), "origin": origin, "out": folder}
    if spectrum:
        result, found = studies.quantify_spectrum(sets, str(model), policy=policy, **common, **of_spectrum)
        page = reports.write_spectrum(result, folder / "report.html")
        told: list[Any] = [repr(found)]
    else:
        narrator = studies.Narrator(lines=True)
        options: dict[str, Any] = {"policies": policies, "eps": eps, "delta": delta, "tol": tol, "narrator": narrator}
        quantified = studies.quantify(policy, sets, model, **common, **options)
        result, page = dict(quantified.result), reports.write_quantified(quantified)
        told = [reports.quantified_table(result), *quantified.answer]
    if json:
        show_json(result)
    else:
        for part in told:
            show(part)
    tell(f"Report: {page}")


def _check(spectrum: bool, model: str | None, policies: list[str], of_spectrum: dict[str, Any]) -> None:
    """Refuse options that have no part in what is asked."""
    if spectrum and model is None:
        raise InputError("--model is missing; give the model.safetensors of a run, which `auglean fit` makes.")
    if spectrum and policies:
        raise InputError("--policies is no option of --spectrum; leave one of the two out.")
    usual = {name: parameter.default for name, parameter in inspect.signature(quantify).parameters.items()}
    foreign = [name for name, value in of_spectrum.items() if value != usual[name]]
    if foreign and not spectrum:
        raise InputError(f"--{foreign[0]} is an option of --spectrum; give that too, or leave --{foreign[0]} out.")
