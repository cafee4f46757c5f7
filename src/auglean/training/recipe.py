"""How a network is trained: the options of SGD and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from auglean.errors import InputError, unknown


@dataclass(frozen=True)
class Recipe:
    """Options of stochastic gradient descent, the same for every arm of a comparison.

    Args:
        batch_size: Images in a step, copies included.
        lr: Peak learning rate.
        momentum: Momentum of SGD.
        weight_decay: L2 penalty, of every parameter.
        schedule: "cosine" to zero; "step", a tenth from half of the steps on; "multistep", a tenth at 1/2 and again at
            3/4 of the steps; or "constant".
        warmup: Share of the steps over which the rate rises linearly to its peak.
        amp: Mixed precision (bfloat16 autocast) on a GPU that has it.
    """

    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "step", "multistep", "constant"] = "cosine"
    warmup: float = 0.05
    amp: bool = True

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "step", "multistep", "constant"):
            raise unknown("schedule", self.schedule, ["cosine", "step", "multistep", "constant"])
        for name, good, expected in (
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "a number above 0"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "a number of at least 0"),
            ("warmup", 0 <= self.warmup < 1, "at least 0 and below 1"),
        ):
            if not good:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give {expected}.")

    def rate(self, step: int, steps: int) -> float:
        """Give the learning rate of step 0 … steps − 1.

        >>> recipe = Recipe(lr=1.0, warmup=0.1)
        >>> [round(recipe.rate(step, 100), 3) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
        """
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * done))
        if self.schedule == "step":
            return self.lr * 0.1 ** (step >= steps / 2)
        if self.schedule == "multistep":
            return self.lr * 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4))
        return self.lr
