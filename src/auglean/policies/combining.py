"""Policies made of policies: one after another, one of several, one at times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.policies.base import Identity, Operator, Params, Policy, magnitude
from auglean.randomness import Randomness, uniform


def nested(policies: Sequence[Policy], n: int, generator: Randomness, device: Any) -> Params:
    """Draw the parameters of several policies together, those of policy i with the prefix `"i."`."""
    return {
        f"{i}.{name}": value
        for i, policy in enumerate(policies)
        for name, value in policy.draw(n, generator=generator, device=device).items()
    }


def part(params: Params, i: int) -> Params:
    """Give back the parameters of policy i."""
    prefix = f"{i}."
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}


class Compose(Policy):
    """Apply policies one after another, the first named first. Written `first | second`.

    The parameters of part `i` carry the prefix `"i."`; compositions inside are flattened.

    >>> from auglean.policies import Rotate, Translate
    >>> Translate(4) | Rotate(15)
    Translate(4) | Rotate(15)
    >>> (Translate(4) | Rotate(15)).name
    'translate4-rotate15'
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        super().__init__()
        flat: list[Policy] = []
        said: list[str] = []
        for policy in policies:
            if not isinstance(policy, Policy):
                raise InputError(f"Expected a Policy but found {type(policy).__name__}; wrap it by as_policy.")
            flat.extend(policy.parts if isinstance(policy, Compose) else [policy])
            said += [policy.note] if isinstance(policy, Compose) and policy.note else []
        self._parts = nn.ModuleList(flat)
        self.note = " ".join(dict.fromkeys(said))
        self.linear = all(policy.linear for policy in flat)

    @property
    def parts(self) -> list[Policy]:
        """The policies in the order of application."""
        return cast(list[Policy], list(self._parts))

    @property
    def token(self) -> str | None:
        """The words of the parts joined by dashes, `None` where a part has none."""
        tokens = [policy.token for policy in self.parts]
        return "-".join(cast(list[str], tokens)) if all(tokens) else None

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        return nested(self.parts, n, generator, device)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        for i, policy in enumerate(self.parts):
            x = policy.apply(x, part(params, i))
        return x

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts)) or "Compose([])"


class Mixture(Policy):
    """Draw for each image which one of several policies it goes through. Made by `mixture` and `sometimes`.

    Every branch draws parameters for every image, so that the random numbers of an image do not depend on
    the choices of others; each branch computes only the images that chose it.
    """

    def __init__(self, policies: Sequence[Policy], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(policies) if weights is None else [float(weight) for weight in weights]
        if not policies or len(weights) != len(policies) or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise InputError(
                f"A mixture expected one weight of 0 or more for each of {len(policies)} policies, "
                f"not all zero, but found {weights}."
            )
        self._parts = nn.ModuleList(policies)
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.linear = all(policy.linear for policy in policies)

    @property
    def parts(self) -> list[Policy]:
        """The branches."""
        return cast(list[Policy], list(self._parts))

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        branch = choose(self.weights, n, generator, device)
        return {"branch": branch, **nested(self.parts, n, generator, device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        def run(i: int) -> Operator:
            return lambda x, params: self.parts[i].apply(x, part(params, i))

        return branches(x, params["branch"], params, [run(i) for i in range(len(self.parts))])

    def extra_repr(self) -> str:
        """The branches and their probabilities."""
        return f"{self.parts}, weights={self.weights}"


def choose(weights: Sequence[float], n: int, generator: Randomness, device: torch.device | str | None) -> Tensor:
    """Draw `n` indices with probabilities proportional to the weights (inverse distribution function)."""
    unit = uniform(n, generator, device=device).double()  # (n,)
    edges = torch.tensor(weights, dtype=torch.float64, device=unit.device).cumsum(0)  # (k,)
    return torch.searchsorted(edges[:-1] / edges[-1], unit, right=True)


def branches(x: Tensor, branch: Tensor, params: Params, functions: Sequence[Operator]) -> Tensor:
    """Send each image through the function that its branch names; images of another branch stay.

    Each function computes its own images alone.
    """
    y = x
    for i, function in enumerate(functions):
        chosen = (branch == i).nonzero()[:, 0]
        if len(chosen) == len(x):
            return function(x, params)
        if len(chosen):
            rows = {name: value.index_select(0, chosen) for name, value in params.items()}
            made = function(x.index_select(0, chosen), rows)
            y = y.index_copy(0, chosen, made) if y is x else y.index_copy_(0, chosen, made)
    return y


def mixture(policies: Sequence[Policy], weights: Sequence[float] | None = None) -> Mixture:
    """Draw one of several policies for each image.

    Args:
        policies: The branches.
        weights: Their relative probabilities, equal by default.

    Raises:
        InputError: If the weights do not fit.

    >>> from auglean.policies import Rotate, Translate
    >>> mixture([Translate(4), Rotate(15)], [3, 1])
    Mixture([Translate(4), Rotate(15)], weights=(0.75, 0.25))
    """
    return Mixture(policies, weights)


def sometimes(p: float, policy: Policy) -> Mixture:
    """Apply a policy to each image with probability `p`.

    Raises:
        InputError: If `p` is no probability.

    >>> from auglean.policies import Rotate
    >>> sometimes(0.3, Rotate(15)).weights
    (0.3, 0.7)
    """
    magnitude("The probability of sometimes", p, 1)
    return Mixture([policy, Identity()], [p, 1 - p])
