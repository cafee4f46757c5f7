"""From a policy and images to `Moments`: which form, how many nodes, and what error is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.moments.covariances import MEMORY, Covariance, Nodes
from auglean.moments.geometric_rules import displacements, fourth_rule
from auglean.moments.laws import Discrete, hats
from auglean.moments.masks import Masks
from auglean.moments.moments import Moments
from auglean.moments.planning import Question, channelwise, rule
from auglean.moments.resized import ResizedCrops, worthwhile
from auglean.moments.rules import Kind, Rule, values
from auglean.moments.sampling import dimension, drawn_rule, sobol_rule
from auglean.moments.shifts import Shifts
from auglean.moments.windows import joint, margin, reach, still, windows_of
from auglean.policies import Cutout, Policy, RandomCrop, RandomResizedCrop, Shift, Translate, as_policy
from auglean.policies.base import Adapted, Compose, Mixture
from auglean.policies.warping import check_size
from auglean.randomness import derive, generator

Method = Literal["auto", "exact", "qmc", "monte carlo"]
_METHODS = ("auto", "exact", "qmc", "monte carlo")
_REPLICATES = 8
_STUDENT = 2.3646  # 97.5 % point of Student's t of 7 degrees of freedom


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
    policy = as_policy(policy)
    note = " ".join(filter(None, [note, *policy.notes]))

    def run(own: Rule, scale: float = 1.0) -> Covariance:
        if joint(policy):
            return windows_of(policy, own, x, scale=scale, limit=max_memory)
        return _nodes(policy, own, x, scale=scale, limit=max_memory)

    law, shape = policy, tuple(x.shape[1:])
    if joint(policy):  # nodes of what is left without the shifts, on the canvas that they reach
        across, down = (margin(own) for own in reach(policy, *shape[1:]))
        law, shape = still(policy, beside=(across, down)), (shape[0], shape[1] + 2 * down, shape[2] + 2 * across)
    with torch.no_grad():
        found = _closed(policy, x, max_memory, run) if method in ("auto", "exact") else None
        if found is None and method in ("auto", "exact"):
            question = Question(shape, x, exact=method == "exact", most=most)  # type: ignore[arg-type]
            found = _by_rule(law, question, x, tol, run)
        if found is None and method == "exact":
            raise InputError(f"{policy!r} has no exact rule of {most} nodes or fewer; use method='auto'.")
        if found is None:
            found = _by_chance(law, x, tol, most, method, seed, run)
            note = (note + " " + _reason(policy, found[1], found[3])).strip()
    form, kind, error, nodes = found
    shape = image.shape
    trace = form.variance.sum(1)
    single = image.ndim == 3
    return Moments(
        mean=form.mean.view(shape),
        variance=form.variance.view(shape),
        trace=trace[0] if single else trace,
        kind=kind,
        error=error[0] if single else error,
        nodes=nodes,
        seconds=time.perf_counter() - start,
        note=note,
        covariance=form,
    )


_Found = tuple[Covariance, Kind, Tensor, int]


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


def _nodes(policy: Policy, own: Rule, x: Tensor, *, scale: float, limit: int) -> Nodes:
    alike = channelwise(policy)

    def run(start: int, stop: int) -> Tensor:
        return values(policy, own, x, start, stop, channelwise=alike).flatten(2)

    size = x[0].numel()
    return Nodes(run, own.weights.to(x.device), images=len(x), size=size, scale=scale, limit=limit)


def _closed(policy: Policy, x: Tensor, limit: int, run: Callable[[Rule], Covariance]) -> _Found | None:
    """Take the forms that need no nodes."""
    if isinstance(policy, RandomCrop | RandomResizedCrop):
        check_size(policy, policy.size, x)
    exact = x.new_zeros(len(x))
    if isinstance(policy, Translate | Shift | RandomCrop):
        height, width = x.shape[2:]
        across, down = displacements(policy, height, width)
        finite = isinstance(across, Discrete) and isinstance(down, Discrete)
        if not finite and not isinstance(policy, RandomCrop) and policy.padding == "masked":
            return None  # no mixture of integer shifts
        form = Shifts(
            x,
            hats(down),
            hats(across),
            padding=policy.outside if isinstance(policy, RandomCrop) else policy.padding,
            fill=policy.fill,
            nodes=lambda: run(fourth_rule(policy, height, width)),
            limit=limit,
        )
        return form, "exact finite" if finite else "exact panels", exact, form.width
    if isinstance(policy, RandomResizedCrop) and worthwhile(*x.shape[2:]):
        crops = ResizedCrops(x, policy, limit=limit)
        return crops, "exact finite", exact, crops.width
    if isinstance(policy, Cutout):
        return Masks(x, policy.size, fill=policy.fill, limit=limit), "exact finite", exact, x[0, 0].numel()
    return None


def _by_rule(
    policy: Policy, question: Question, x: Tensor, tol: float, run: Callable[[Rule], Covariance]
) -> _Found | None:
    """Take a rule, and double the panels of one that is not exact until `(4/3) |Q_K − Q_2K|` is below `tol`."""
    own = rule(policy, question)
    if own is None or (question.exact and own.kind == "quadrature"):
        return None
    form = run(own)
    if own.kind != "quadrature":
        return form, own.kind, x.new_zeros(len(x)), len(own)
    error: Tensor | None = None
    for level in range(1, 16):
        finer = rule(policy, replace(question, level=level))
        if finer is None or len(finer) > question.most:
            break
        coarse, form, own = form, run(finer), finer
        mean = (form.mean - coarse.mean).norm(dim=1) / _size(form.mean, x)
        trace = form.variance.sum(1)
        error = 4 / 3 * torch.maximum(mean, _share((trace - coarse.variance.sum(1)).abs(), trace))
        if float(error.max()) < tol:
            break
    return None if error is None else (form, "quadrature", error, len(own))


def _by_chance(
    policy: Policy, x: Tensor, tol: float, most: int, method: str, seed: int, run: Callable[..., Covariance]
) -> _Found:
    smooth = dimension(policy)
    if method == "qmc" or (method == "auto" and 0 < smooth <= 8 and not _foreign(policy)):
        if _foreign(policy) or not smooth:
            raise InputError(f"{policy!r} has no parameters for Sobol points; use method='monte carlo'.")
        n = 32
        while True:
            rules = [sobol_rule(policy, n, derive(seed, "moments", r)) for r in range(_REPLICATES)]
            names = rules[0].params
            params = {name: torch.cat([own.params[name] for own in rules]) for name in names}
            weights = torch.cat([own.weights for own in rules]) / _REPLICATES
            form = run(Rule(params, weights, "randomised qmc"))
            parts = [run(own) for own in rules]
            means = torch.stack([part.mean for part in parts]) - form.mean
            # about the joint mean, as the joint covariance is
            traces = torch.stack([part.variance.sum(1) for part in parts]) + means.square().sum(2)
            trace = form.variance.sum(1)
            factor = _STUDENT / (_REPLICATES * (_REPLICATES - 1)) ** 0.5
            mean_error = factor * means.square().sum((0, 2)).sqrt() / _size(form.mean, x)
            trace_error = factor * _share((traces - traces.mean(0)).square().sum(0).sqrt(), trace)
            error = torch.maximum(mean_error, trace_error)
            if float(error.max()) < tol or 2 * n * _REPLICATES > most:
                return form, "randomised qmc", error, n * _REPLICATES
            n *= 2
    n = max(2, most)
    form = run(drawn_rule(policy, n, generator(seed, "moments")), n / (n - 1))
    trace = form.variance.sum(1)
    spread = ((form.m4 - trace.square()).clamp(min=0) / n).sqrt()
    error = 1.96 * torch.maximum((trace / n).sqrt() / _size(form.mean, x), _share(spread, trace))
    return form, "monte carlo", error, n


def _foreign(policy: Policy) -> bool:
    """Whether a seed, and no smooth parameter, stands behind some operator."""
    if isinstance(policy, Compose | Mixture):
        return any(_foreign(part) for part in policy.parts)
    return isinstance(policy, Adapted)


def _size(mean: Tensor, x: Tensor) -> Tensor:
    return torch.maximum(mean.norm(dim=1), x.flatten(1).norm(dim=1)).clamp(min=1e-300)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(part > 0, part / whole.clamp(min=1e-300), 0.0)


def _reason(policy: Policy, kind: Kind, n: int) -> str:
    way = "scrambled Sobol points" if kind == "randomised qmc" else "draws"
    why = "is not linear in the image" if not policy.linear else "has more parameters than nodes can cover"
    return f"{policy!r} {why}; its moments were estimated with {n} {way}, and closed-form guarantees do not apply."
