"""One run in a folder of its own: train, test once, keep the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auglean import networks
from auglean.data import Splits
from auglean.data.splitting import part
from auglean.policies import Policy
from auglean.randomness import derive
from auglean.selection import Selection
from auglean.studies.comparing import CURVE_IMAGES, PLANNING, resolve_policies
from auglean.studies.folder import RunFolder, describe_data, environment, fingerprint
from auglean.studies.narration import Narrator
from auglean.training import AugmentSampler, Hooks, Recipe, correct, fit, new_network, save_network, transformed
from auglean.training.fitting import check_options


def fit_once(
    sets: Splits,
    *,
    out: str | Path,
    policy: Policy | str | None = None,
    weak: Policy | str | None = None,
    network: str = "cnn",
    selector: str | None = None,
    budget: float | int | None = None,
    recipe: Recipe | None = None,
    steps: int = 600,
    seed: int = 0,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    narrator: Narrator | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train one network in a run folder, test it once at the end, and keep its weights.

    Args:
        sets: Training, validation and test images.
        out: The run folder.
        policy: Augmentation of the chosen; by default one that suits the images.
        weak: Light augmentation of every image.
        network: A name.
        selector: A name; None augments every image.
        budget: Fraction or count; needed with a selector.
        recipe: Options of SGD.
        steps: Optimiser steps.
        seed: Fixes everything that is drawn.
        resume: Go on with the run in `out`.
        origin: How the data were given, for `config.yaml`.
        narrator: Who tells the progress.
        options: `role`, `weights`, `every`, `start`, `reselect_above`, `signals`, `eval_every`, `device` of
            `auglean.fit`.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: If an option or the data are not usable.
    """
    recipe, narrator = recipe or Recipe(), narrator or Narrator()
    check_options(steps=steps, eval_every=options.get("eval_every"), device=options.get("device"))
    strong, gentle = resolve_policies(policy, weak, sets.train)
    planning = {name: options[name] for name in ("role", *PLANNING) if name in options}
    AugmentSampler(sets.train, selector=selector, budget=budget, policy=strong, **planning)
    model = new_network(network, sets.train, seed)
    networks.check(model, channels=sets.train.channels, classes=sets.train.classes, size=sets.train.size)
    moved = transformed(sets.test, strong, seed=derive(0, "test"))
    config = {
        **(origin or {"data": None}),
        "policy": strong.name,
        "weak": gentle.name,
        "network": network,
        "selector": selector,
        "budget": budget,
        "steps": steps,
        "seed": seed,
        **options,
        "recipe": asdict(recipe),
    }
    folder = RunFolder(out, config, fingerprint=fingerprint(sets), resume=resume)
    if resume and (folder.path / "result.json").exists():
        finished: dict[str, Any] = json.loads((folder.path / "result.json").read_text())
        return finished
    checkpoint = folder.checkpoint("fit")
    curve = part(sets.validation, CURVE_IMAGES, seed=0)

    def log(row: Mapping[str, Any]) -> None:
        folder.log({"job": "fit", **row})

    def selected(epoch: int, chosen: Selection) -> None:
        chosen.save(folder.selections("fit") / f"epoch{epoch:04d}.json")

    if not checkpoint.exists():
        folder.forget("fit", after=-1)
    with narrator.telling(1, steps), narrator.job("fit"):
        result = fit(
            model,
            sets.train,
            policy=strong,
            weak=gentle,
            selector=selector,
            budget=budget,
            steps=steps,
            seed=seed,
            recipe=recipe,
            validation=curve,
            checkpoint=checkpoint,
            resume=True,
            hooks=Hooks(
                row=log,
                measured=log,
                selected=selected,
                progress=narrator.progress,
                stop=narrator.stop,
                resumed=lambda step: folder.forget("fit", step),
            ),
            **options,
        )
    found = {
        "command": "fit",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(options.get("device") or "cpu"),
        "data": describe_data(sets),
        "steps": result.steps,
        "count": None if result.selection is None else len(result.selection),
        "images_augmented": result.images_augmented,
        "accuracy": float(correct(result.model, sets.test).double().mean()),
        "accuracy_transformed": float(correct(result.model, moved).double().mean()),
        "gradient_errors": [{"epoch": epoch, "error": error} for epoch, error in result.gradient_errors],
        "kappa": [dict(row) for row in result.kappa],
        "seconds": dict(result.seconds),
    }
    about = {"network": network, "channels": sets.train.channels, "size": sets.train.size}
    save_network(folder.path / "model.safetensors", result.model, {**about, "classes": sets.train.classes})
    folder.write_result(found)
    checkpoint.unlink(missing_ok=True)
    return found
