"""A network's loss against a parameter of an operator: which strengths it bears, and where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.moments.answers import Answer
from auglean.moments.examples import Examples
from auglean.moments.losses import Loss, Setting, measured
from auglean.networks.probing import bare, placement, undisturbed
from auglean.policies import Compose, Mixture, Policy, RandomOrder, as_policy
from auglean.randomness import generator

_DRAWS = 1024  # from which the range of a parameter is read
_AXES = ("right", "down")  # of a parameter of two numbers
#: Parameters that are strengths, with their units; where an operator draws others too, no curve shows it.
UNITS = {
    **dict.fromkeys(("angle", "shear", "shear_y"), "°"),
    "shift": "px",
    "share": "of the side",
    "centre": "of the side",
    **dict.fromkeys(("factor", "offset", "hue", "gamma", "gain", "sigma", "threshold", "addition", "bits"), ""),
}


@dataclass(frozen=True, slots=True, eq=False)
class LossCurve(Answer):
    """The loss of some images under one operator, whose other parameters stand at their medians.

    Attributes:
        op: Name of the operator.
        parameter: Name of the parameter, of two numbers with `right` or `down`.
        unit: Of the parameter; may be empty.
        values: From the least to the greatest. Shape `(k,)`, float64.
        mean: Mean loss of the images at each. Shape `(k,)`.
        low: 25th percentile of the images' losses. Shape `(k,)`.
        high: 75th percentile. Shape `(k,)`.
    """

    op: str
    parameter: str
    unit: str
    values: Tensor
    mean: Tensor
    low: Tensor
    high: Tensor


def loss_curves(
    model: nn.Module,
    policy: Policy,
    data: Any,
    *,
    loss: Loss = "cross-entropy",
    points: int = 25,
    most: int = 6,
    seed: int = 0,
    batch_size: int = 512,
) -> list[LossCurve]:
    """Follow the loss along every strength of a policy's operators, one operator alone at a time.

    A flip has none, and neither have operators that draw what is done, such as `RandAugment`.

    Args:
        model: From images `(B, C, H, W)` in [0, 1] to outputs `(B, K)`; it comes back as it was.
        policy: The policy.
        data: An `ImageSet`, any map-style data set of (image, label), or a pair of tensors (images, labels).
        loss: As in `expected_loss`.
        points: Values of a parameter, 2 or more.
        most: Curves, at most.
        seed: Of the draws from which the range of a parameter is read.
        batch_size: Images in a forward pass.

    Raises:
        InputError: If an option or the data do not fit.

    >>> from auglean.policies import parse
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> curves = loss_curves(model, parse("translate1-rotate15-flip"), (torch.rand(5, 1, 8, 8), torch.arange(5) % 3))
    >>> [(curve.op, curve.parameter) for curve in curves]
    [('Translate', 'shift right'), ('Translate', 'shift down'), ('Rotate', 'angle')]
    """
    if points < 2 or most < 1:
        raise InputError(f"Curves expected 2 points or more, and 1 curve or more, but found {points} and {most}.")
    setting = Setting(model, loss, as_policy(policy), Examples(data), 0, seed, batch_size)
    found: list[LossCurve] = []
    with undisturbed(model, seed=seed):
        for part in _operators(setting.policy):
            for name, values, params in _sweeps(part, points, seed):
                if len(found) < most:
                    found.append(_curve(setting, part, name, values, params))
    return found


def _operators(policy: Policy) -> Iterator[Policy]:
    """The operators that a policy is made of."""
    if isinstance(policy, Compose | Mixture | RandomOrder):
        for part in policy.parts:
            yield from _operators(part)
    else:
        yield policy


def _sweeps(policy: Policy, points: int, seed: int) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
    """Give the name of each strength, its values, and all parameters `(points, …)` at these."""
    drawn = policy.draw(_DRAWS, generator=generator(seed, "sweep"), stratified=True)
    if not UNITS.keys() >= drawn.keys():
        return
    middle = {name: value.double().median(0).values.to(value.dtype) for name, value in drawn.items()}
    for name, value in drawn.items():
        for axis, column in enumerate(value.view(_DRAWS, -1).unbind(1)):
            values = column.double().unique()
            if len(values) < 2:
                continue
            if column.is_floating_point():
                values = torch.linspace(float(values[0]), float(values[-1]), points, dtype=torch.float64)
            params = {other: still.expand(len(values), *still.shape).clone() for other, still in middle.items()}
            params[name].view(len(values), -1)[:, axis] = values.to(value.dtype)
            yield name + (f" {_AXES[axis]}" if value.ndim > 1 else ""), values, params


def _curve(setting: Setting, policy: Policy, name: str, values: Tensor, params: dict[str, Tensor]) -> LossCurve:
    device, dtype = placement(bare(setting.model))
    rows = []
    for ids in torch.arange(len(setting.examples)).split(setting.batch_size):
        images, targets = setting.examples.batch(ids)
        x, y = images.to(device, dtype), targets.to(device)
        losses = [
            measured(setting, policy.apply(x, {other: value[i : i + 1] for other, value in params.items()}), y, ids)
            for i in range(len(values))
        ]
        rows.append(torch.stack(losses).cpu())
    table = torch.cat(rows, 1)  # (k, N)
    low, high = table.quantile(torch.tensor([0.25, 0.75], dtype=table.dtype), dim=1)
    unit = UNITS[name.partition(" ")[0]]
    return LossCurve(
        op=type(policy).__name__, parameter=name, unit=unit, values=values, mean=table.mean(1), low=low, high=high
    )
