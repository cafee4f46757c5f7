"""`auglean quantify`."""

from __future__ import annotations

from typing import Literal

from auglean.commands.common import begin, show, show_json, tell, usable
from auglean.errors import InputError


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

    folder, sets, origin = begin("quantify", data, seed, size, limit, test_limit, skip_corrupt, out, None)
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
        device=usable(device),
        origin=origin,
    )
    page = reports.write_spectrum(result, folder / "report.html")
    if json:
        show_json(result)
    else:
        show(repr(found))
    tell(f"Report: {page}")
