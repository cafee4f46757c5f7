"""Rules by chance: Sobol points through a policy's own draws, or independent draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.moments.covariances import Covariance
from auglean.moments.forms import Rescaled
from auglean.moments.rules import Kind, Rule
from auglean.moments.tasks import Found, Task, part_of, size
from auglean.policies import Policy, RandomErasing, RandomResizedCrop
from auglean.policies.boxes import TRIES
from auglean.randomness import Keys, derive, generator

_REPLICATES = 8
_STUDENT = 2.3646  # 97.5 % point of Student's t of 7 degrees of freedom
_DIMENSIONS = 8  # beyond, Sobol points of these numbers are little better than draws


class Points(Keys):
    """Hands out the columns of given points of the unit cube where a policy asks for random numbers."""

    def __init__(self, points: Tensor) -> None:
        super().__init__(torch.arange(len(points)))
        self._points, self.used = points, 0

    def bits(self, columns: int) -> Tensor:
        """The next columns, in the 24 bits that count."""
        taken = self._points[:, self.used : self.used + columns]
        self.used += columns
        if taken.shape[1] < columns:  # a dry run that counts columns
            taken = self._points.new_zeros(len(self._points), columns)
        return (taken * 2**24).long().clamp(max=2**24 - 1) << 40


def dimension(policy: Policy) -> int:
    """Count the uniform numbers that one draw takes."""
    points = Points(torch.zeros(1, 0, dtype=torch.float64))
    policy.draw(1, generator=points)
    return points.used


def sobol_rule(policy: Policy, n: int, seed: int, *, skip: int = 0) -> Rule:
    """Give n scrambled Sobol points behind the first `skip`, equally weighted."""
    engine = torch.quasirandom.SobolEngine(dimension(policy), scramble=True, seed=seed % 2**31).fast_forward(skip)
    params = policy.draw(n, generator=Points(engine.draw(n, dtype=torch.float64)))
    weights = torch.full((n, 1), 1 / n, dtype=torch.float64)
    return Rule({name: value[:, None] for name, value in params.items()}, weights, "randomised qmc")


def drawn_rule(policy: Policy, n: int, generator: torch.Generator) -> Rule:
    """Give n independent draws, equally weighted."""
    params = policy.draw(n, generator=generator)
    weights = torch.full((n, 1), 1 / n, dtype=torch.float64)
    return Rule({name: value[:, None] for name, value in params.items()}, weights, "monte carlo")


def keyed_rule(policy: Policy, ids: Tensor, n: int, *, seed: int, stream: int = 0, stratified: bool = False) -> Rule:
    """Give n draws of each image by its own `Keys`, independent or stratified, equally weighted."""
    epochs = torch.arange(n, device=ids.device).repeat_interleave(len(ids))
    keys = Keys(ids.repeat(n), seed=derive(seed, "losses"), epoch=epochs, stream=stream)
    drawn = policy.draw(n * len(ids), generator=keys, stratified=stratified)
    params = {name: value.view(n, len(ids), *value.shape[1:]) for name, value in drawn.items()}
    weights = torch.full((n, len(ids)), 1 / n, dtype=torch.float64, device=ids.device)
    return Rule(params, weights, "randomised qmc" if stratified else "monte carlo")


def by_chance(task: Task, method: str) -> Found:
    """Take Sobol points where the parameters are few, and draws otherwise.

    Raises:
        InputError: If Sobol points are asked for and cannot be had.
    """
    if method == "qmc" or (method == "auto" and _smooth(task.law)):
        return _by_sobol(task)
    return _by_draws(task)


def fourth_by_chance(task: Task) -> tuple[Callable[[], Tensor], Kind]:
    """Say how fourth powers are estimated where no rule gives them: `E ‖T − μ‖⁴` when called, `(B,)`; and the kind."""
    if _smooth(task.law):
        return lambda: task.by(sobol_rule(task.law, task.most, derive(task.seed, "m4"))).m4, "randomised qmc"
    return lambda: task.by(drawn_rule(task.law, task.most, generator(task.seed, "m4"))).m4, "monte carlo"


def rescaled(form: Covariance, task: Task) -> Rescaled | None:
    """Keep mean and variance of a covariance, and take all else from scrambled Sobol points.

    A power of two of them, as many as fit in `task.limit`; `None` where there are none.
    """
    fitting = min(task.most, task.limit // (8 * task.x.numel()))
    if fitting < 2 or _foreign(task.law) or not dimension(task.law):
        return None
    n = 2 ** (fitting.bit_length() - 1)

    def nodes() -> Covariance:
        return task.by(sobol_rule(task.law, n, derive(task.seed, "rescaled")))

    return Rescaled(form.mean, form.variance, n, nodes, m4_kind="randomised qmc", limit=task.limit)


def _by_sobol(task: Task) -> Found:
    if _foreign(task.law) or not dimension(task.law):
        raise InputError(f"{task.policy!r} has no parameters for Sobol points; use method='monte carlo'.")
    seeds = [derive(task.seed, "moments", r) for r in range(_REPLICATES)]
    rules: list[Rule] = []
    means = variances = torch.zeros(0)
    done, n = 0, 32
    while True:
        new = [sobol_rule(task.law, n - done, seed, skip=done) for seed in seeds]
        parts = [task.by(own) for own in new]
        found = torch.stack([part.mean for part in parts]), torch.stack([part.variance for part in parts])
        if done:  # as many as before
            found = (means + found[0]) / 2, (variances + found[1]) / 2 + (means - found[0]).square() / 4
        (means, variances), done = found, n
        rules += new
        mean = means.mean(0)
        off = means - mean
        # about the joint mean, as the joint covariance is
        variance = (variances + off.square()).mean(0)
        traces = variances.sum(2) + off.square().sum(2)
        factor = _STUDENT / (_REPLICATES * (_REPLICATES - 1)) ** 0.5
        mean_error = factor * off.square().sum((0, 2)).sqrt() / size(mean, task.x)
        trace_error = factor * part_of((traces - traces.mean(0)).square().sum(0).sqrt(), variance.sum(1))
        error = torch.maximum(mean_error, trace_error)
        if float(error.max()) < task.tol or 2 * n * _REPLICATES > task.most:
            break
        n *= 2
    params = {name: torch.cat([own.params[name] for own in rules]) for name in rules[0].params}
    weights = torch.full((n * _REPLICATES, 1), 1 / (n * _REPLICATES), dtype=torch.float64)
    form = task.by(Rule(params, weights, "randomised qmc"), known=(mean, variance, None))
    return Found(form, "randomised qmc", error, len(weights), torch.zeros_like(error))


def _by_draws(task: Task) -> Found:
    n = max(2, task.most)
    form = task.by(drawn_rule(task.law, n, generator(task.seed, "moments")), once=True, scale=n / (n - 1))
    trace = form.variance.sum(1)
    spread = ((form.m4 - trace.square()).clamp(min=0) / n).sqrt()
    error = 1.96 * torch.maximum((trace / n).sqrt() / size(form.mean, task.x), part_of(spread, trace))
    return Found(form, "monte carlo", error, n, torch.zeros_like(error))


def _smooth(policy: Policy) -> bool:
    # of the numbers for boxes that are drawn anew, the first two nearly always count alone
    spare = 2 * (TRIES - 1) * sum(isinstance(part, RandomErasing | RandomResizedCrop) for part in policy.modules())
    return not _foreign(policy) and 0 < dimension(policy) - spare <= _DIMENSIONS


def _foreign(policy: Policy) -> bool:
    """Whether a seed, and no smooth parameter, stands behind some operator."""
    return any(name.rpartition(".")[2] == "seed" for name in policy.draw(0))
