"""Long compositions: which parts there are, and how finely each must be integrated."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch

from auglean.moments.covariances import Covariance
from auglean.moments.forms import Rescaled, Stacked
from auglean.moments.geometric_rules import displacements
from auglean.moments.joined_steps import Branches, Moved, Sequence
from auglean.moments.laws import Discrete, hats
from auglean.moments.masks import Masks, boxes
from auglean.moments.piles import Fourth, Pile, State, TooDear
from auglean.moments.planning import Question, rule
from auglean.moments.resized import resized_crops
from auglean.moments.rules import Kind, worst
from auglean.moments.sampling import fourth_by_chance, rescaled
from auglean.moments.steps import Added, AlongAxis, ByNodes, Erased, Given, Step
from auglean.moments.tasks import Found, Task, change
from auglean.policies import (
    Compose,
    GaussianNoise,
    Mixture,
    Policy,
    RandomCrop,
    RandomResizedCrop,
    Shift,
    Translate,
)

#: Finest level of the parts that are not exact: 64 times the panels of the coarsest.
_FINEST = 6
#: Values of an image, at most, whose noise goes through the parts behind it.
_NOISY = 1024
#: Columns that must fit twice.
_FEWEST = 64
#: Share of the trace that may go and leave what is exact so.
_ROUNDING = 1e-12


def by_chain(task: Task) -> Found | None:
    """Go through a composition part by part; panels that are not exact are doubled until the error is below `tol`.

    A quarter of `tol` is for the directions that are left out.

    Returns:
        `None` where a part has no rule of `most` nodes or fewer, or what follows it is not affine; or where the memory
        is not enough for some dozens of columns.
    """
    if 16 * _FEWEST * task.x[0].numel() > task.limit:
        return None
    share = _ROUNDING if task.exact else task.tol / 4
    question = task.question()
    try:
        found = _at(task, question, share)
    except TooDear:
        return None
    if found is None or (task.exact and found.kind == "quadrature"):
        return None
    if found.kind != "quadrature":
        return found
    finer, level = found, 0
    while level < _FINEST:
        level += 1
        try:
            next_one = _at(task, replace(question, level=level), share)
        except TooDear:
            break
        if next_one is None:
            break
        error = change(finer.form, next_one.form, task.x) + next_one.dropped
        finer = replace(next_one, error=error)
        if float(error.max()) < task.tol:
            break
    return finer if level else None


def _at(task: Task, question: Question, share: float) -> Found | None:
    pile = Pile(share, task.limit, patient=task.exact)
    alike = task.policy.linear and not any(isinstance(part, RandomResizedCrop) for part in task.policy.modules())
    shared = steps(task.policy, replace(question, image=None)) if alike else None
    forms: list[Covariance] = []
    dropped = []
    step: Step | None = None
    for i in range(len(task.x)):
        x = task.x[i : i + 1]
        step = shared if shared is not None else steps(task.policy, replace(question, image=x))
        if step is None:
            return None
        empty = State(x[0], x.new_zeros(0, *x.shape[1:]))
        own = replace(task, x=x)
        form: Covariance | None
        form, gone = step.last(empty, pile, Fourth(*fourth_by_chance(own)))
        if isinstance(form, Masks) and not form.closed:
            if task.exact:
                return None
            form = rescaled(form, own)
        if form is None:
            return None
        forms.append(form)
        dropped.append(gone)
    assert step is not None
    lost = torch.tensor(dropped, dtype=torch.float64, device=task.x.device)
    kinds: list[Kind] = [step.kind, *(form.m4_kind for form in forms if isinstance(form, Rescaled))]
    kind = worst([*kinds, "truncated"] if max(dropped) > _ROUNDING else kinds)
    return Found(forms[0] if len(forms) == 1 else Stacked(forms), kind, lost, step.nodes, lost)


def steps(policy: Policy, question: Question) -> Step | None:
    """Give the steps of a policy that is affine in the image, or of one whose first parts alone are not.

    Returns:
        `None` where some part has no rule of `question.most` nodes or fewer.
    """
    if isinstance(policy, Compose):
        return _sequence(policy, question)
    if isinstance(policy, Mixture):
        kept = [(part, w) for part, w in zip(policy.parts, policy.weights, strict=True) if w > 0]
        known = [steps(part, question) for part, _ in kept]
        branches = [step for step in known if step is not None]
        return Branches(branches, [w for _, w in kept]) if len(branches) == len(known) else None
    _, height, width = question.shape
    law = boxes(policy, height, width)
    if law is not None:
        return Erased(law, policy.fill)  # type: ignore[arg-type]
    if isinstance(policy, GaussianNoise):
        return Added(policy)
    if isinstance(policy, Translate | Shift | RandomCrop):
        moved = _moved(policy, height, width)
        if moved is not None:
            return moved
    return _by_nodes(policy, question)


def _resized(policy: RandomResizedCrop, question: Question) -> Step | None:
    assert question.image is not None
    form = resized_crops(question.image, policy, exact=question.exact, most=question.most)
    return None if form is None else Given(form, form.m4_kind)


def _moved(policy: Translate | Shift | RandomCrop, height: int, width: int) -> Step | None:
    """Both axes apart; `None` where a move is no mixture of whole shifts."""
    across, down = displacements(policy, height, width)
    whole = isinstance(across, Discrete) and isinstance(down, Discrete)
    padding = policy.outside if isinstance(policy, RandomCrop) else policy.padding
    if padding == "masked" and not whole:
        return None
    kind: Kind = "exact finite" if whole else "exact panels"
    return Moved(*(AlongAxis(hats(law), dim, padding, policy.fill, kind) for dim, law in ((2, down), (3, across))))


def _by_nodes(policy: Policy, question: Question) -> Step | None:
    own = rule(policy, question)
    return None if own is None or own.weights.shape[1] > 1 else ByNodes(policy, own)


def _sequence(policy: Compose, question: Question) -> Step | None:
    parts = policy.parts
    if prod(question.shape) > _NOISY and any(_noisy(part) for part in parts[:-1]):
        return None
    bent = max((i + 1 for i, part in enumerate(parts) if not part.linear), default=0)
    found: list[Step | None] = []
    if bent:  # no covariance goes through what is not affine: all until there is one part
        found.append(steps(parts[0], question) if bent == 1 else _by_nodes(Compose(parts[:bent]), question))
    elif parts and isinstance(parts[0], RandomResizedCrop) and question.image is not None:
        found.append(_resized(parts[0], question))
        bent = 1
    found += [steps(part, replace(question, image=None)) for part in parts[bent:]]
    known = [step for step in found if step is not None]
    return Sequence(known) if len(known) == len(found) else None


def _noisy(policy: Policy) -> bool:
    return any(isinstance(part, GaussianNoise) for part in policy.modules())
