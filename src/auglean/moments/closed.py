"""Forms that need no nodes: which policies have one."""

from __future__ import annotations

from dataclasses import replace

from auglean.moments.blends import Blends
from auglean.moments.covariances import Covariance
from auglean.moments.forms import Mirrored, Mixed
from auglean.moments.geometric_rules import displacements
from auglean.moments.laws import Discrete, hats
from auglean.moments.masks import Masks, boxes, random_boxes
from auglean.moments.noise import Noisy
from auglean.moments.noisy_masks import NoisyMasks
from auglean.moments.ramps import Ramps
from auglean.moments.resized import resized_crops
from auglean.moments.rules import Kind
from auglean.moments.shifts import Shifts
from auglean.moments.tasks import Found, Task
from auglean.policies import (
    ColorJitter,
    Compose,
    Flip,
    GaussianNoise,
    Policy,
    RandomCrop,
    RandomErasing,
    RandomOrder,
    RandomResizedCrop,
    Shift,
    Translate,
)
from auglean.policies.colour import Line
from auglean.policies.warping import check_size


def closed(task: Task) -> Found | None:
    """Take the forms that need no nodes."""
    policy, x = task.policy, task.x
    none = x.new_zeros(len(x))
    if isinstance(policy, RandomCrop | RandomResizedCrop):
        check_size(policy, policy.size, x)
    if isinstance(policy, Translate | Shift | RandomCrop):
        form, kind = _shifted(task, policy)
        return None if form is None else Found(form, kind, none, form.width, none)
    if isinstance(policy, Compose) and len(policy.parts) == 2:
        return _mirrored(task, *policy.parts)
    if isinstance(policy, RandomResizedCrop):
        crops = resized_crops(x, policy, exact=task.exact, most=task.most, limit=task.limit, seed=task.seed)
        return None if crops is None else Found(crops, crops.m4_kind, none, crops.width, none)
    if isinstance(policy, GaussianNoise):
        return Found(Noisy(x.flatten(1), policy, limit=task.limit), "exact finite", none, 1, none)
    if isinstance(policy, ColorJitter) and policy.parts and policy.linear:
        blends = Blends(x, policy)
        return Found(blends, "exact finite", none, blends.width, none)
    line = _line(policy)
    if line is not None:
        ramps = Ramps(x, line, replace(task, policy=line).by, limit=task.limit)
        return Found(ramps, "exact panels", none, 2, none)
    if isinstance(policy, RandomErasing) and policy.fill == "noise":
        noisy = NoisyMasks(x, random_boxes(policy, *x.shape[2:]), limit=task.limit)
        return Found(noisy, "exact finite", none, noisy.width, none)
    law = boxes(policy, *x.shape[2:])
    if law is not None:
        masks = Masks(x, law, fill=policy.fill, limit=task.limit)  # type: ignore[arg-type]
        return Found(masks, "exact finite", none, masks.width, none)
    return None


def _mirrored(task: Task, first: Policy, second: Policy) -> Found | None:
    """Take a displacement and a flip as a mixture of two displacements, one of them seen in the mirror."""
    flip, move = (first, second) if isinstance(first, Flip) else (second, first)
    if not isinstance(flip, Flip) or not isinstance(move, Translate | Shift | RandomCrop):
        return None
    plain = closed(replace(task, policy=move))
    if plain is None:
        return None
    dim = 2 if flip.vertical else 3
    if flip is second:
        other: Covariance = Mirrored(plain.form, task.x.shape[1:], dim - 1)
    else:
        turned = closed(replace(task, policy=move, x=task.x.flip(dim)))
        assert turned is not None  # as for the image itself
        other = turned.form
    form = Mixed(
        [plain.form, other],
        [1 - flip.p, flip.p],
        m4=lambda: task.fourth().m4,
        m4_kind=plain.kind,
        limit=task.limit,
    )
    return Found(form, plain.kind, plain.error, 2 * plain.nodes, plain.dropped) if form.fits else None


def _line(policy: Policy) -> Line | None:
    """Name the one clamped factor that a policy draws, if it draws no more."""
    if isinstance(policy, RandomOrder) and len(policy.parts) == 1:
        policy = policy.parts[0]
    return policy if isinstance(policy, Line) and policy.clamp and policy.low < policy.high else None


def _shifted(task: Task, policy: Translate | Shift | RandomCrop) -> tuple[Shifts | None, Kind]:
    """Take the mass form, if a move is a mixture of whole shifts."""
    across, down = displacements(policy, *task.x.shape[2:])
    whole = all(isinstance(law, Discrete) or law.low == law.high == 0 for law in (across, down))
    kind: Kind = "exact finite" if whole else "exact panels"
    padding = policy.outside if isinstance(policy, RandomCrop) else policy.padding
    if padding == "masked" and not whole:
        return None, kind
    form = Shifts(
        task.x,
        hats(down),
        hats(across),
        padding=padding,
        fill=policy.fill,
        fourth=task.fourth,
        m4_kind=kind,
        limit=task.limit,
    )
    return form, kind
