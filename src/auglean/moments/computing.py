"""From a policy and images to `Moments`: which form, how many nodes, and what error is left."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.moments.chains import by_chain
from auglean.moments.clamps import clamp_remarks
from auglean.moments.closed import closed
from auglean.moments.covariances import MEMORY, Covariance
from auglean.moments.forms import Mixed, Picked, Stacked
from auglean.moments.moments import Moments
from auglean.moments.planning import rule
from auglean.moments.rules import worst
from auglean.moments.sampling import by_chance, fourth_by_chance
from auglean.moments.tasks import Found, Task, change
from auglean.policies import Affine, Compose, Mixture, Policy, as_policy

Method = Literal["auto", "exact", "qmc", "monte carlo"]
_METHODS = ("auto", "exact", "qmc", "monte carlo")
#: Level of the finest rule, if no limit of nodes comes before.
_FINEST = 15


def moments_of(
    policy: Policy,
    image: Tensor,
    *,
    method: Method = "auto",
    tol: float = 1e-3,
    seed: int = 0,
    most: int = 4096,
    max_memory: int = MEMORY,
) -> Moments:
    """Compute the moments of a policy on one image or several; see `auglean.policies.Policy.moments`."""
    start = time.perf_counter()
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    if not tol > 0:
        raise InputError(f"moments expected tol above 0 but found {tol!r}.")
    x, note = _checked(image)
    task = Task(as_policy(policy), x, tol=tol, most=most, limit=max_memory, seed=seed, exact=method == "exact")
    with torch.no_grad():
        found = by_chance(task, method) if method in ("qmc", "monte carlo") else _find(task)
    if found is None:
        raise InputError(f"{task.policy!r} has no exact rule of {most} nodes or fewer; use method='auto'.")
    trace, single = found.form.variance.sum(1), image.ndim == 3
    return Moments(
        mean=found.form.mean.view(image.shape),
        variance=found.form.variance.view(image.shape),
        trace=trace[0] if single else trace,
        kind=found.kind,
        error=found.error[0] if single else found.error,
        dropped=found.dropped[0] if single else found.dropped,
        nodes=found.nodes,
        seconds=time.perf_counter() - start,
        note=" ".join(filter(None, [note, *task.policy.notes, *_remarks(task, found)])),
        covariance=found.form,
    )


def _checked(image: Tensor) -> tuple[Tensor, str]:
    if not isinstance(image, Tensor) or image.ndim not in (3, 4) or not image.numel():
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"moments expected an image (C, H, W) or images (B, C, H, W), not empty, but found {found}.")
    note = ""
    if image.dtype == torch.uint8:
        image, note = image.double() / 255, "The uint8 image was divided by 255."
    elif not image.is_floating_point():
        raise InputError(f"moments expected a floating or uint8 image but found {image.dtype}.")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise InputError(f"moments expected values in [0, 1] but found {low:.4g} to {high:.4g}; scale the image.")
    x = image.detach().double()
    return (x[None] if x.ndim == 3 else x), note


def _find(task: Task) -> Found | None:
    """Take the surest way that there is; `None` where only what is exact will do, and there is none."""
    if isinstance(task.policy, Affine) and task.policy.alone is not None:
        task = replace(task, policy=task.policy.alone)
    found = closed(task)
    if found is not None:
        return found
    joined = isinstance(task.policy, Compose | Mixture)
    plain = _by_rule(task) if not joined or _small(task) else None
    if plain is not None and bool((plain.error <= task.tol).all()):
        return plain
    chained = by_chain(task) if joined else None
    if plain is None and chained is None:
        plain = _by_rule(task)
    ways = [way for way in (plain, chained) if way is not None]
    if ways:
        return min(ways, key=lambda way: float(way.error.max()))
    if isinstance(task.policy, Mixture):
        return _by_branches(task, task.policy)
    return None if task.exact else by_chance(task, "auto")


def _small(task: Task) -> bool:
    """Whether the rule of a composition as a whole is worth trying: few nodes, and room to double them if need be."""
    question = task.question()
    own = rule(task.law, question)
    if own is None or 8 * len(own) * task.x[0].numel() > MEMORY:
        return False
    return own.kind != "quadrature" or rule(task.law, replace(question, level=2)) is not None


def _by_rule(task: Task) -> Found | None:
    """Take a rule, and double the panels of one that is not exact until the error is below `tol`."""
    question = task.question()
    own = rule(task.law, question)
    if own is None or (task.exact and own.kind == "quadrature"):
        return None
    quadrature = own.kind == "quadrature"
    form, none = task.by(own, fourth=not quadrature, sketched=quadrature), task.x.new_zeros(len(task.x))
    if not quadrature:
        return Found(form, own.kind, none, len(own), none)
    return _doubled(task, form, 1)


def _doubled(task: Task, coarse: Covariance, level: int) -> Found | None:
    """Double the panels until the error of every image is below `tol`; each stops by itself.

    Returns:
        `None` where there is no rule of the level.
    """
    finer = rule(task.law, replace(task.question(), level=level))
    if finer is None or len(finer) > task.most:
        return None
    form = task.by(finer, sketched=True)
    error = change(coarse, form, task.x)
    found = Found(form, "quadrature", error, len(finer), torch.zeros_like(error))
    rough = error >= task.tol
    if level == _FINEST or not rough.any():
        return found
    left, done = rough.nonzero()[:, 0], (~rough).nonzero()[:, 0]
    if not len(done):
        return _doubled(task, form, level + 1) or found
    rest = _doubled(replace(task, x=task.x[left]), Picked(form, left), level + 1)
    if rest is None:
        return found
    places = torch.cat([done, left]).argsort()
    joined = Picked(Stacked([Picked(form, done), rest.form]), places)
    return Found(joined, "quadrature", torch.cat([error[done], rest.error])[places], rest.nodes, found.dropped)


def _by_branches(task: Task, policy: Mixture) -> Found | None:
    """Join the moments of the branches, each got in its own way."""
    found, weights = [], []
    for part, weight in zip(policy.parts, policy.weights, strict=True):
        if weight > 0:
            own = _find(replace(task, policy=part))
            if own is None:
                return None
            found.append(own)
            weights.append(weight)
    of, kind = fourth_by_chance(task)
    form = Mixed([own.form for own in found], weights, m4=of, m4_kind=kind, limit=task.limit)
    error = torch.stack([own.error for own in found]).amax(0)
    dropped = torch.stack([own.dropped for own in found]).amax(0)
    return Found(form, worst([own.kind for own in found]), error, sum(own.nodes for own in found), dropped)


def _remarks(task: Task, found: Found) -> list[str]:
    """Say why there is no closed form, and what error is left where it is above `tol`."""
    remarks, worst_error = clamp_remarks(task), float(found.error.max())
    if found.kind == "randomised qmc" and not worst_error:
        remarks.append(
            "Mean and variances are exact; the rest of the covariance is that of as many scrambled Sobol points as fit "
            "in max_memory, brought to these variances."
        )
    elif found.kind in ("randomised qmc", "monte carlo"):
        way = "scrambled Sobol points" if found.kind == "randomised qmc" else "draws"
        why = (
            "is not linear in the image"
            if not task.policy.linear
            else "has more parameters than nodes can cover in seconds"
        )
        remarks.append(
            f"{task.policy!r} {why}; its moments were estimated with {found.nodes} {way}, ±{100 * worst_error:.2g} % "
            "with 95 % confidence, and closed-form guarantees do not apply."
        )
    if worst_error > task.tol:
        remarks.append(f"The error is {worst_error:.2g}, above tol={task.tol:g}; raise most={task.most} to lower it.")
    return remarks
