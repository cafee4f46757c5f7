"""`auglean select`, which chooses images, or checks a list of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from auglean.commands.common import show, show_json, tell, usable
from auglean.errors import InputError

#: What is chosen by where nothing else is said.
_SELECTOR, _BUDGET = "coreset", 0.1


def select(
    model: str | None = None,
    data: str = "digits",
    selector: str = _SELECTOR,
    budget: int | float = _BUDGET,
    policy: str | None = None,
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
        policy: Augmentation, for the selectors variance and variance-gradient. Default: as of `auglean compare`.
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
        if (selector, budget, policy) != (_SELECTOR, _BUDGET, None):
            raise InputError(
                "--audit checks a list in place of choosing one; leave --selector, --budget and --policy out."
            )
        _audit(audit, model, data, seed, size, limit, skip_corrupt, device, out, json)
        return
    if model is None:
        raise InputError("--model is missing; give the model.safetensors of a run, or a list to check as --audit FILE.")
    from auglean import selection
    from auglean.data import splits
    from auglean.moments import first_order_signals
    from auglean.signals import collect
    from auglean.studies.comparing import resolve_policies
    from auglean.training import load_network

    chooser = selection.parse(selector)[0]
    network = load_network(model)
    target = Path(out) if out else Path(model).with_name("selection.json")
    if target.exists():
        raise InputError(f"{target} exists; give another file as --out.")
    train = splits(data, seed=seed, size=size, limit=limit, skip_corrupt=skip_corrupt).train
    selection.count(budget, len(train))
    asked = resolve_policies(policy, None, train)[0] if chooser.needs_policy else None
    if asked is not None and chooser.first_order:
        signals = first_order_signals(network, train, asked, device=usable(device), seed=seed)
    else:
        signals = collect(network, train, device=usable(device), policy=asked, seed=seed)
    chosen = selection.select(signals, train.labels, chooser, budget=budget, seed=seed)
    chosen = chosen.with_(how={**chosen.how, "data": train.name, "fingerprint": train.fingerprint})
    chosen.save(target)
    if json:
        show_json(chosen.to_dict())
    else:
        show(repr(chosen))
    tell(f"Selection: {target}")


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
    signals = None if network is None else collect(network, train, device=usable(device))
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
        show_json(found.to_dict())
    else:
        show(repr(found))
    if out:
        tell(f"Audit: {out}")
