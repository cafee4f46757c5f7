"""A policy is a law over image operators: draw the parameters, then apply them, never both mixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.randomness import Randomness
from auglean.stratified import strata

if TYPE_CHECKING:
    from auglean.moments import Description, Moments
    from auglean.policies.combining import Compose

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
        from auglean.policies.combining import Compose  # made of policies

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
