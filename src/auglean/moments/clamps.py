"""How much clamps do: the share of the values that they change."""

from __future__ import annotations

import copy
import math

from auglean.moments.tasks import Task
from auglean.policies import ColorJitter, GaussianNoise
from auglean.policies.adapting import Adapted
from auglean.policies.colour import Line
from auglean.randomness import generator

_DRAWS = 64


def clamp_remarks(task: Task) -> list[str]:
    """Say which share of the values the clamps of a policy change, if it has any: by draws with clamps and without."""
    parts = list(task.policy.modules())
    clamped = [i for i, part in enumerate(parts) if isinstance(part, Line | ColorJitter | GaussianNoise) and part.clamp]
    if not clamped or any(isinstance(part, Adapted) for part in parts):
        return []
    bare = copy.deepcopy(task.policy)
    copies = list(bare.modules())
    for i in clamped:
        copies[i].clamp = False  # type: ignore[assignment]
    each = math.ceil(_DRAWS / len(task.x))
    x = task.x.repeat(each, 1, 1, 1)
    params = task.policy.draw(len(x), generator=generator(task.seed, "clamps"), device=x.device)
    changed = (task.policy.apply(x, params) - bare.apply(x, params)).abs() > 1e-12
    share = float(changed.double().mean())
    return [f"Clamps change {share:.2g} of the values ({len(x)} draws)."] if share else []
