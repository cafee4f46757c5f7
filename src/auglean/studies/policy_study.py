"""`quantify`: what does a policy do to these images, exactly where that is possible, and to the loss of a network?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auglean import networks
from auglean.data import ImageSet, Splits, load
from auglean.data.splitting import part_of
from auglean.errors import InputError
from auglean.moments import alignment, compare_policies, expected_loss, loss_curves, samples_needed
from auglean.policies import Identity, Policy, as_given, weaker
from auglean.studies.comparing import default_policies
from auglean.studies.folder import RunFolder, check_folder, describe_data, environment, fingerprint
from auglean.studies.narration import Narrator
from auglean.studies.policy_convergence import convergence
from auglean.studies.policy_measures import Measures, measure_policy
from auglean.studies.policy_portraits import Portrait, portraits
from auglean.studies.policy_summary import answer, network_told, policy_row
from auglean.training import load_network

#: Images that are shown at either end of the order.
SHOWN = 3
#: Nodes of the moments of an image, at most.
NODES = 1024
#: Images on which policies are overlaid, and saliencies compared, at most: both take pairs.
PAIRED = 20
#: Share of the policy's strength at which saliencies are compared, which is of first order.
WEAK = 0.1
AnyPolicy = Policy | str | Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Quantified:
    """The result of `quantify`. Prints as a table.

    Attributes:
        result: What `result.json` holds, as plain values.
        most: The images that the policy changes most, the most first.
        least: Those that it changes least, the least first.
        folder: The run folder, if one was kept.
    """

    result: Mapping[str, Any]
    most: Sequence[Portrait]
    least: Sequence[Portrait]
    folder: Path | None = None

    @property
    def answer(self) -> list[str]:
        """What was found, in sentences."""
        return list(self.result["answer"])

    def __repr__(self) -> str:
        lines = [f"{'policy':<28} {'spread':>7} {'moved':>7} {'directions':>10} {'how':>16} {'error':>8}"]
        for row in self.result["policies"]:
            spread, moved, rank = (row[name]["median"] for name in ("spread", "displacement", "effective_rank"))
            lines.append(
                f"{row['name']:<28} {spread:>7.3f} {moved:>7.3f} {rank:>10.1f} {row['kind']:>16} {row['error']:>8.1g}"
            )
        return "\n".join([*lines, *self.answer])


def quantify(
    policy: AnyPolicy | None,
    data: Any,
    model: nn.Module | str | Path | None = None,
    *,
    policies: Sequence[AnyPolicy] = (),
    images: int = 100,
    eps: float = 0.01,
    delta: float = 0.05,
    tol: float = 0.01,
    seed: int = 0,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    origin: Mapping[str, Any] | None = None,
    narrator: Narrator | None = None,
) -> Quantified:
    """Say what a policy does to images, exactly where that is possible, and to the loss of a network.

    Of each image of a probe the mean and the covariance of its augmented copies are taken (`Policy.moments`): how far
    the mean is from the original, how far the copies are from the mean, in how many directions, and how many draws
    would tell as much. Further policies are laid over the first.

    Args:
        policy: The policy, its name, or any callable on images; None for one that suits the images.
        data: Training images: an `ImageSet`, `Splits`, or anything that `auglean.load` takes.
        model: A network, or the `model.safetensors` of a run: to tell also what the policy does to its loss.
        policies: Others to compare with the policy.
        images: Size of the probe, drawn class by class.
        eps: Relative error for which draws are counted.
        delta: Probability that it is missed.
        tol: Relative error of moments at which nodes are enough, where there is no exact form.
        seed: Of the probe, and of all that is drawn.
        device: Where to compute; by default where the images are.
        out: Folder to keep the result in; by default nothing is written.
        origin: How the data were given, for `config.yaml`.
        narrator: Who tells the progress.

    Returns:
        The result; print it, or give it to `auglean.reports.write_quantified`.

    Raises:
        InputError: If an option, a policy, the network or the data are not usable; nothing is written then.

    >>> found = quantify("rotate15", "digits", images=20)
    >>> found.result["policies"][0]["kind"], len(found.most)
    ('quadrature', 3)
    """
    start, narrator = time.perf_counter(), narrator or Narrator()
    if out is not None:
        check_folder(out, resume=None)
    sets = data if isinstance(data, Splits) else None
    train = load(data) if sets is None else sets.train
    _check(train, images=images, eps=eps, delta=delta, tol=tol)
    laws = _policies(policy, policies, train)
    network = None if model is None else _network(model, train, device)
    ids = part_of(train, images, seed=seed)
    probe = train.subset(ids)
    options: dict[str, Any] = {"tol": tol, "most": NODES, "seed": seed}
    if device is not None:
        probe = replace(probe, images=probe.images.to(device), labels=probe.labels.to(device))
    with narrator.telling(len(laws) + 1 + (network is not None), 1):
        found = []
        for law in laws:
            with narrator.job(law.name):
                found.append(_measured(law, probe, options))
        with narrator.job("draws"):
            order = found[0].spread.argsort(descending=True, stable=True)
            most, least = (portraits(laws[0], train, ids[some[:SHOWN]], **options) for some in (order, order.flip(0)))
            middle = int(order[len(order) // 2])
            x = train.batch(ids[[middle]])[0][0].double() / 255
            curve = convergence(laws[0], x, laws[0].moments(x, **options), seed=seed)
        overlap = None
        if len(laws) > 1:
            overlap = compare_policies(laws, probe, images=PAIRED, **options).overlap.tolist()
        network_row = None
        if network is not None:
            with narrator.job("network"):
                network_row = _asked(network, laws[0], probe, eps=eps, delta=delta, seed=seed)
    told: dict[str, Any] = {
        "probe": {"images": len(ids), "ids": ids.tolist(), "labels": probe.labels.tolist()},
        "policies": [
            {
                **policy_row(law, one, probe, eps=eps, delta=delta, seed=seed),
                "parts": law.describe(x, **options).to_dict()["rows"],
            }
            for law, one in zip(laws, found, strict=True)
        ],
        "overlap": overlap,
        "convergence": {"id": int(ids[middle]), **curve},
        "network": network_row,
    }
    config = {
        **(origin or {"data": str(data) if isinstance(data, str | Path) else None}),
        "policy": laws[0].name,
        "policies": [law.name for law in laws[1:]],
        "model": str(model) if isinstance(model, str | Path) else None,
        "images": images,
        "eps": eps,
        "delta": delta,
        "tol": tol,
        "seed": seed,
        "device": None if device is None else str(device),
    }
    result = {
        "command": "quantify",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(device or "cpu"),
        "data": _described(train) if sets is None else describe_data(sets),
        "answer": answer(told, eps=eps, delta=delta),
        **told,
        "seconds": time.perf_counter() - start,
    }
    if out is not None:
        mark = train.fingerprint if sets is None else fingerprint(sets)
        RunFolder(out, config, fingerprint=mark).write_result(result)
    return Quantified(result, most, least, None if out is None else Path(out))


def _check(train: ImageSet, *, images: int, eps: float, delta: float, tol: float) -> None:
    if not 1 <= images <= len(train):
        raise InputError(f"images is {images}, but there are {len(train):,} training images; give 1 to {len(train)}.")
    for name, value, example in (("eps", eps, 0.01), ("delta", delta, 0.05), ("tol", tol, 0.01)):
        if not 0 < value < 1:
            raise InputError(f"{name} is {value}; give a number between 0 and 1, such as {example}.")


def _policies(policy: AnyPolicy | None, others: Sequence[AnyPolicy], train: ImageSet) -> list[Policy]:
    """Give the policies, each name once."""
    first = as_given(default_policies(train)[0] if policy is None else policy)
    laws = [first, *map(as_given, others)]
    if any(isinstance(law, Identity) for law in laws):
        raise InputError("A policy to quantify is 'none'; give one that changes images, such as translate2-rotate15.")
    return list({law.name: law for law in laws}.values())


def _described(train: ImageSet) -> dict[str, Any]:
    return {
        "name": train.name,
        "fingerprint": train.fingerprint,
        "train": len(train),
        "classes": list(train.class_names),
        "shape": list(train.images.shape[1:]),
    }


def _network(model: nn.Module | str | Path, train: ImageSet, device: torch.device | str | None) -> nn.Module:
    network = model if isinstance(model, nn.Module) else load_network(model)
    networks.check(network, channels=train.channels, classes=train.classes, size=train.size)
    return network if device is None or isinstance(model, nn.Module) else network.to(device)


def _asked(
    network: nn.Module, policy: Policy, probe: ImageSet, *, eps: float, delta: float, seed: int
) -> dict[str, Any]:
    """Ask what a policy does to a network."""
    loss = expected_loss(network, "cross-entropy", policy, probe, seed=seed)
    draws = samples_needed(policy, probe, target="loss", model=network, eps=eps, delta=delta, seed=seed)
    aligned = alignment(network, _weak(policy), probe, images=PAIRED, seed=seed) if len(probe) > 1 else None
    return network_told(loss, draws, aligned, loss_curves(network, policy, probe, seed=seed))


def _weak(policy: Policy) -> Policy:
    """Give a weaker policy where there is one; flips, for example, have none."""
    try:
        return weaker(policy, WEAK)
    except InputError:
        return policy


def _measured(policy: Policy, probe: ImageSet, options: Mapping[str, Any]) -> Measures:
    """Measure a policy, or raise `InputError` where it changes nothing."""
    found = measure_policy(policy, probe, **options)
    if not float(found.trace.max()) and not float(found.displacement.max()):
        raise InputError(f"The policy {policy.name!r} changed none of the {len(probe)} images; give one that does.")
    return found
