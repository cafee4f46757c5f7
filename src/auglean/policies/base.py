"""A policy is a law over image operators: draw the parameters, then apply them, never both mixed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.randomness import Randomness, integers, uniform
from auglean.stratified import strata

if TYPE_CHECKING:
    from auglean.moments import Description, Moments

Params = dict[str, Tensor]
Operator = Callable[[Tensor, Params], Tensor]


class Policy(nn.Module):
    """A distribution over image operators, on float batches `(B, C, H, W)` in [0, 1].

    A subclass writes two hooks, `_draw` and `_operate`; everything else follows from them. The result on
    an image depends on that image and its row of the parameters alone, never on the rest of the batch,
    so that with `auglean.randomness.Keys` as generator the same (seed, epoch, example) gives the same
    image whatever the batch. `train()` and `eval()` change nothing.

    Attributes:
        linear: Whether `apply` is affine in the image for every value of the parameters,
            `x ↦ M x + c`; without a fill or an offset `c` is zero and it is linear in the strict sense.
        note: What should be said beside every number: what was left out, or why there is no closed form. May be empty.

    >>> import torch
    >>> from auglean.policies import Flip, Translate
    >>> policy = Translate(2) | Flip()
    >>> x = torch.rand(8, 3, 32, 32)
    >>> params = policy.draw(8, generator=torch.Generator().manual_seed(0))
    >>> {name: tuple(value.shape) for name, value in params.items()}
    {'0.shift': (8, 2), '1.flip': (8,)}
    >>> policy.apply(x, params).shape
    torch.Size([8, 3, 32, 32])
    """

    linear: bool = False
    note: str = ""

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        """Draw `n` independent parameters, always by the same number of random numbers for each.

        Draw with `auglean.randomness` alone, which takes torch generators and `Keys` alike.
        """
        raise NotImplementedError

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        """Apply row i of the parameters to image i. `x` is `(B, C, H, W)`, each parameter `(B, …)`."""
        raise NotImplementedError

    def draw(
        self,
        n: int,
        *,
        generator: Randomness = None,
        device: torch.device | str | None = None,
        stratified: bool = False,
    ) -> Params:
        """Draw the parameters of `n` images.

        Args:
            n: How many; `draw(1)` is shared by every image of any batch (siamese).
            generator: A torch generator, `auglean.randomness.Keys`, or `None` for torch's default.
            device: Where the parameters are wanted; by default where the generator is.
            stratified: Spread the draws evenly over the law, which every one of them still follows exactly: averages
                stay unbiased and vary less. With a generator the n draws are spread; with `Keys` the draws of each
                example over its epochs, in any 2^m epochs from a multiple of 2^m on.

        Returns:
            A dict of tensors of shape `(n, …)`.
        """
        return self._draw(n, strata(n, generator) if stratified else generator, device)

    @overload
    def apply(self, x: Tensor, params: Mapping[str, Tensor]) -> Tensor: ...

    @overload
    def apply(self, x: Callable[[nn.Module], None]) -> Policy: ...

    def apply(self, x: Any, params: Mapping[str, Tensor] | None = None) -> Any:
        """Apply drawn parameters: deterministic, and differentiable in `x` where the operator is.

        Args:
            x: Images in [0, 1]. Shape `(B, C, H, W)`, floating.
            params: What `draw` gave, of first dimension `B`, or 1 for one operator on every image.

        Returns:
            Images of the same shape and dtype; `x` itself where nothing was to be done.

        Raises:
            InputError: If shapes or types do not fit.
        """
        if params is None:  # `model.apply(fn)` of a model that holds a policy ends up here
            return super().apply(x)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            found = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{self!r} expected a floating tensor in [0, 1] but found {found}; divide uint8 by 255.")
        if x.ndim != 4:
            raise InputError(f"{self!r} expected images of shape (B, C, H, W) but found {tuple(x.shape)}.")
        y = self._operate(x, _Drawn({name: _rows(name, value, x) for name, value in params.items()}))
        if y.shape != x.shape or y.dtype != x.dtype:
            raise InputError(
                f"{self!r} must keep shape and type: expected {tuple(x.shape)} {x.dtype} "
                f"but found {tuple(y.shape)} {y.dtype}."
            )
        return y

    def forward(self, x: Tensor, *, generator: Randomness = None) -> Tensor:
        """Draw for each image and apply.

        Args:
            x: Images in [0, 1]. Shape `(B, C, H, W)`, or `(C, H, W)` for a single one.
            generator: As in `draw`.

        Returns:
            Images of the same shape.
        """
        if x.ndim == 3:
            return self.forward(x[None], generator=generator)[0]
        return self.apply(x, self.draw(len(x), generator=generator, device=x.device))

    def moments(
        self, image: Tensor, *, method: Literal["auto", "exact", "qmc", "monte carlo"] = "auto", **options: Any
    ) -> Moments:
        """Give mean and covariance of what the policy makes of an image, in closed form where there is one.

        Args:
            image: Values in [0, 1], or uint8. Shape `(C, H, W)`, or `(B, C, H, W)` for several at once.
            method: `"auto"`; `"exact"`, which refuses what is not; `"qmc"` or `"monte carlo"`.
            options: `tol` (1e-3), the relative error at which nodes are enough; `most` (4096), nodes at most; `seed`
                (0) of what is drawn; `max_memory` in bytes, of nodes kept at once.

        Returns:
            `auglean.Moments`, which says how it was got and with what error.

        Raises:
            InputError: If the image or an option does not fit.

        >>> from auglean.policies import Flip
        >>> Flip(0.5).moments(torch.tensor([[[0.0, 1.0, 1.0]]])).mean.tolist()
        [[[0.5, 1.0, 0.5]]]
        """
        from auglean.moments import moments_of  # a higher floor, which needs this one

        return moments_of(self, image, method=method, **options)

    def describe(self, image: Tensor | None = None, **options: Any) -> Description:
        """Tell what the policy is made of, operator by operator, and how the moments of each are got.

        For each operator: the laws of its parameters, how pixels are sampled, what is outside, and the class of its
        moments, with the reason where there is no closed form.

        Args:
            image: For which classes and nodes are told, as in `moments`; by default noise of the size that the policy
                asks for, or of 3×32×32.
            options: As of `moments`.

        Returns:
            `auglean.moments.Description`, which prints as a table and has its `rows`.

        >>> from auglean.policies import Flip, Shift
        >>> (Shift(0.1, 0, whole=True) | Flip()).describe()
        Moments for images of 3×32×32
        operator  law                            padding  fill  moments       nodes
        Shift     right: round U[-3.2, 3.2] px   fill     0     exact finite  7
                  down: 0 px
        Flip      flip: with probability 0.5                    exact finite  2
        together                                                exact finite  14
        """
        from auglean.moments import describe  # a higher floor, which needs this one

        return describe(self, image, **options)

    @property
    def notes(self) -> list[str]:
        """The notes of the policy and of its parts, each once."""
        found = [module.note for module in self.modules() if isinstance(module, Policy) and module.note]
        return list(dict.fromkeys(found))

    @property
    def token(self) -> str | None:
        """The word that `parse` reads back as this policy, `None` where no word says it."""
        return None

    @property
    def name(self) -> str:
        """The string that `parse` reads back as this policy, or its `repr` where there is none."""
        return self.token or repr(self)

    def __or__(self, other: Policy) -> Compose:
        return Compose([self, other])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class _Drawn(Params):
    """Parameters that say what is missing."""

    def __missing__(self, name: str) -> Tensor:
        raise InputError(f"No parameter {name!r} among {sorted(self)}; apply what the policy's own draw gave.")


def _rows(name: str, value: Tensor, x: Tensor) -> Tensor:
    """Bring a parameter to one row per image on the image's device."""
    if value.ndim == 0 or len(value) not in (1, len(x)):
        raise InputError(
            f"Parameter {name!r} expected first dimension {len(x)} or 1 for images of shape {tuple(x.shape)} "
            f"but found shape {tuple(value.shape)}."
        )
    value = value.to(x.device)
    return value if len(value) == len(x) else value.expand(len(x), *value.shape[1:])


def number(value: float) -> str:
    """Write a number so that it reads back exactly, without an exponent, whose minus would split a name."""
    return str(int(value)) if value == int(value) else format(Decimal(repr(float(value))), "f")


def per_image(value: Tensor, x: Tensor) -> Tensor:
    """Bring `(B,)` values to `(B, 1, 1, 1)` of the images' dtype."""
    return value.to(x.dtype)[:, None, None, None]


def magnitude(kind: str, value: float, high: float = float("inf")) -> float:
    """Check the largest magnitude of a policy: a number from 0 to `high`."""
    if not 0 <= value <= high:
        upto = f"from 0 to {number(high)}" if high < float("inf") else "of 0 or more"
        raise InputError(f"{kind} expected a finite number {upto} but found {value!r}.")
    if value == float("inf"):
        raise InputError(f"{kind} expected a finite number of 0 or more but found {value!r}.")
    return value


class Identity(Policy):
    """Leave every image as it is.

    >>> Identity().name
    'none'
    """

    linear = True

    @property
    def token(self) -> str:
        """The word that `parse` reads back."""
        return "none"

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        return {}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return x


def _nested(policies: Sequence[Policy], n: int, generator: Randomness, device: Any) -> Params:
    return {
        f"{i}.{name}": value
        for i, policy in enumerate(policies)
        for name, value in policy.draw(n, generator=generator, device=device).items()
    }


def _part(params: Params, i: int) -> Params:
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
        return _nested(self.parts, n, generator, device)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        for i, policy in enumerate(self.parts):
            x = policy.apply(x, _part(params, i))
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
        return {"branch": branch, **_nested(self.parts, n, generator, device)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        def run(i: int) -> Operator:
            return lambda x, params: self.parts[i].apply(x, _part(params, i))

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
            part = function(x.index_select(0, chosen), rows)
            y = y.index_copy(0, chosen, part) if y is x else y.index_copy_(0, chosen, part)
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


class Adapted(Policy):
    """A callable made a policy by `as_policy`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function  # a Module is registered, so that `to(device)` reaches it

    def _draw(self, n: int, generator: Randomness, device: torch.device | str | None) -> Params:
        high, low = integers((n, 2), 2**24, generator, device=device).unbind(1)
        return {"seed": high << 24 | low}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        call = _through_numpy if type(self.function).__module__.startswith("albumentations") else _through_tensor
        with _borrowed_randomness(x.device) as reseed:
            images = []
            for image, seed in zip(x, params["seed"].tolist(), strict=True):
                reseed(seed)
                images.append(call(self.function, image.clone(), seed))
        return torch.stack(images) if images else x

    def extra_repr(self) -> str:
        """The callable."""
        return getattr(self.function, "__name__", None) or repr(self.function)

    def __repr__(self) -> str:
        return f"as_policy({self.extra_repr()})"


def _through_tensor(function: Callable[..., Any], image: Tensor, seed: int) -> Tensor:
    y = function(image)
    if isinstance(y, Tensor) and y.shape == (
        1,
        *image.shape,
    ):  # kornia answers a single image by a batch of one
        y = y[0]
    if not isinstance(y, Tensor) or y.shape != image.shape or not y.is_floating_point():
        found = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(
            f"A callable given to as_policy must keep the shape of the image: expected a floating tensor "
            f"{tuple(image.shape)} but found {found}."
        )
    return y.to(image)


def _through_numpy(function: Callable[..., Any], image: Tensor, seed: int) -> Tensor:
    """Call an albumentations transform: float32 (H, W, C) in and out, by the keyword `image`."""
    if hasattr(function, "set_random_seed"):  # from 2.0 on it owns its generators
        function.set_random_seed(seed % 2**32)
    y = function(image=image.detach().permute(1, 2, 0).contiguous().float().cpu().numpy())["image"]
    result = torch.from_numpy(np.ascontiguousarray(y))
    result = result[..., None] if result.ndim == 2 else result
    return _through_tensor(lambda _: result.permute(2, 0, 1), image, seed)


@contextmanager
def _borrowed_randomness(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Lend out the generators of torch, numpy and `random`, to be seeded at will, and put them back."""
    devices = [device] if device.type == "cuda" else []
    python, legacy = random.getstate(), np.random.get_state()

    def reseed(seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    try:
        with torch.random.fork_rng(devices=devices):
            yield reseed
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def as_policy(function: Callable[..., Any]) -> Policy:
    """Make a policy of any callable on a float image `(C, H, W)`: of torchvision v2, kornia, or your own.

    One seed is drawn for each image, and the callable is called on that image while torch's, numpy's and
    Python's default generators are seeded by it; afterwards they are put back. So it replays, follows `Keys`,
    and leaves the process as it was, at the price of one call per image. Randomness from elsewhere (a fresh
    `numpy.random.default_rng()`) cannot be replayed. Albumentations transforms are recognised and get a
    float32 array `(H, W, C)`; they are not differentiable.

    Args:
        function: Takes `(C, H, W)`, gives the same shape. A policy is given back as it is.

    Raises:
        InputError: If `function` cannot be called; on use, if it changes the shape.

    >>> import torch
    >>> noise = as_policy(lambda image: (image + 0.1 * torch.randn(image.shape)).clamp(0, 1))
    >>> x, params = torch.rand(4, 3, 8, 8), noise.draw(4)
    >>> torch.equal(noise.apply(x, params), noise.apply(x, params))
    True
    """
    if isinstance(function, Policy):
        return function
    if not callable(function):
        raise InputError(f"as_policy expected a callable but found {type(function).__name__}.")
    return Adapted(function)
