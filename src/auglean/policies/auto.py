"""Strong policies without search: RandAugment, TrivialAugment and AugMix, each image on its own draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Operator, Params, Policy, magnitude, number, per_image
from auglean.policies.colour import Brightness, Contrast, Saturation, Sharpness
from auglean.policies.combining import branches
from auglean.policies.levels import autocontrast, equalize, posterize, solarize
from auglean.policies.warping import warp
from auglean.randomness import Randomness, integers, uniform

Device = torch.device | str | None

# the operators that are one interpolation come first: they run together
_WARPS = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
_OTHERS = ("autocontrast", "equalize", "posterize", "solarize")
_ENHANCERS = {
    "saturation": Saturation(1),
    "contrast": Contrast(1),
    "brightness": Brightness(1),
    "sharpness": Sharpness(1),
}


@dataclass(frozen=True, slots=True)
class _Space:
    """Which operators there are, and how strong each is at level 1.

    Level 0 is no change but for the posterised, which then keep `bits`. Signs are drawn apart.
    """

    operators: tuple[str, ...]
    degrees: float  # rotation
    slope: float  # shear
    share: float  # translation, of the side of the image
    pixels: float  # translation, at most
    bits: int  # kept at level 0
    lost: int  # bits lost at level 1
    enhance: float = 0.0  # change of the factor of the enhancers

    def operate(self, x: Tensor, op: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        """Apply operator `op (B,)` at `level (B,)` in [0, 1] towards `sign (B,)`; −1 does nothing."""

        def warped(x: Tensor, params: Params) -> Tensor:
            return warp(x, self._matrix(params["op"], params["strength"], x.shape[3], x.shape[2]))

        def enhanced(name: str) -> Operator:
            change = self.enhance
            return lambda x, params: _ENHANCERS[name].apply(x, {"factor": 1 + change * params["strength"]})

        table: dict[str, Operator] = {
            "autocontrast": lambda x, params: autocontrast(x),
            "equalize": lambda x, params: equalize(x),
            "posterize": lambda x, params: posterize(x, self.bits - (self.lost * params["level"] + 1e-3).floor()),
            "solarize": lambda x, params: solarize(x, 256 * (1 - params["level"])),
            **{name: enhanced(name) for name in _ENHANCERS},
        }
        names = list(table)
        group = [0 if name in _WARPS else 1 + names.index(name) if name in table else -1 for name in self.operators]
        branch = torch.tensor([*group, -1], device=op.device)[op]  # operator −1 finds the last
        params = {"op": op, "level": level, "strength": level * sign}
        return branches(x, branch, params, [warped, *table.values()])

    def _matrix(self, op: Tensor, strength: Tensor, w: int, h: int) -> Tensor:
        """Source maps of the one operator that each image takes. `(n, 2, 3)`."""

        def of(name: str, most: float) -> Tensor:
            return torch.where(op == self.operators.index(name), strength.double() * most, 0.0)

        angle = torch.deg2rad(of("rotate", self.degrees))
        cos, sin = torch.cos(angle), torch.sin(angle)
        x = of("translate-x", min(self.share * w, self.pixels))
        y = of("translate-y", min(self.share * h, self.pixels))
        rows = [cos, of("shear-x", self.slope) - sin, -x, of("shear-y", self.slope) + sin, cos, -y]
        return torch.stack(rows, 1).view(-1, 2, 3)


_ALL = ("identity", *_WARPS, *_OTHERS, *_ENHANCERS)
_RAND = _Space(_ALL, degrees=30, slope=0.3, share=0.45, pixels=float("inf"), bits=8, lost=4, enhance=0.9)
_WIDE = _Space(_ALL, degrees=135, slope=0.99, share=1.0, pixels=32, bits=8, lost=6, enhance=0.99)
_MIX = _Space((*_WARPS, *_OTHERS), degrees=30, slope=0.3, share=1 / 3, pixels=float("inf"), bits=4, lost=4)


def _signs(shape: tuple[int, ...], generator: Randomness, device: Device) -> Tensor:
    return 2 * integers(shape, 2, generator, device=device) - 1


class RandAugment(Policy):
    """Apply `n` operators, each drawn uniformly out of 14, all at strength `m`.

    Cubuk, Zoph, Shlens & Le 2020 (arXiv 1909.13719), section 3. Operators at m = 10: rotation by 30°, shears
    of slope 0.3, translations by 0.45 of the side, factors 1 ± 0.9 of saturation, contrast, brightness and
    sharpness, posterised to 4 bits, solarised from 0; between, in proportion; further identity, autocontrast
    and equalize. The sign of those that have two directions is drawn.

    Deviations: translations are a share of the side, so that a strength means the same at every size;
    factors lie on either side of 1, so that `m` always grows in effect; geometry is bilinear on black;
    autocontrast is not rounded to 8 bits. `m` is on the scale 0–10 of `timm`'s names, but operators
    are always applied (`timm` skips each with probability 0.5).

    Parameters `op, sign (B, n)`.

    Args:
        n: Operators in a row.
        m: Strength, 0 to 10.

    >>> RandAugment(2, 9).name
    'rand-m9-n2'
    """

    def __init__(self, n: int = 2, m: float = 9) -> None:
        super().__init__()
        if n < 0 or n != int(n):
            raise InputError(f"RandAugment expected a whole number of operators but found {n!r}.")
        self.n, self.m = int(n), magnitude("The strength m of RandAugment", m, 10)

    @property
    def token(self) -> str:
        """Such as `rand-m9-n2`."""
        return f"rand-m{number(self.m)}-n{self.n}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        shape = (n, self.n)
        return {
            "op": integers(shape, len(_RAND.operators), generator, device=device),
            "sign": _signs(shape, generator, device),
        }

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        level = torch.full((len(x),), self.m / 10, device=x.device)
        for op, sign in zip(params["op"].unbind(1), params["sign"].unbind(1), strict=True):
            x = _RAND.operate(x, op, level, sign)
        return x

    def extra_repr(self) -> str:
        """The arguments."""
        return f"n={self.n}, m={number(self.m)}"


class TrivialAugment(Policy):
    """Apply one operator, drawn uniformly out of 14, at a strength drawn uniformly on 31 steps.

    Müller & Hutter 2021 (arXiv 2103.10158), table 1, the wide space. At full strength: rotation by 135°,
    shears of slope 0.99, translations by 32 pixels, factors 1 ± 0.99, posterised to 2 bits, solarised from 0.

    Deviations: translations never exceed the side of the image; geometry is bilinear on black;
    autocontrast is not rounded to 8 bits.

    Parameters `op, sign, level (n,)`, the level in [0, 1].

    >>> TrivialAugment().name
    'trivial'
    """

    @property
    def token(self) -> str:
        """The word `trivial`."""
        return "trivial"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {
            "op": integers(n, len(_WIDE.operators), generator, device=device),
            "level": integers(n, 31, generator, device=device) / 30,
            "sign": _signs((n,), generator, device),
        }

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        return _WIDE.operate(x, params["op"], params["level"], params["sign"])


class AugMix(Policy):
    """Mix the image with several chains of one to three operators each, at random weights.

    Hendrycks, Mu, Cubuk, Zoph, Gilmer & Lakshminarayanan 2020 (arXiv 1912.02781), algorithm 1, with α = 1:
    `(1 − m) x + m Σ w_j chain_j(x)`, `w` uniform on the simplex (Dirichlet(1, …, 1)), `m` uniform on [0, 1]
    (Beta(1, 1)). Operators: autocontrast, equalize, posterize, rotate, solarize, shears, translations, none
    of which is among the corruptions of ImageNet-C. Each operator's level is uniform on [0.1, severity] out
    of 10, and means: 30° of rotation, slope 0.3, a third of the side, posterised from 4 bits to 0, solarised
    from 1 to 0. The Jensen–Shannon loss of the paper is no part of a policy.

    Deviations: angles and displacements are real and not rounded to whole numbers; geometry is bilinear.

    Parameters `op, level, sign (n, width, 3)`, `depth (n, width)`, `weight (n, width)`, `share (n,)`.

    Args:
        width: Chains.
        depth: Operators in a chain, or `None` to draw 1, 2 or 3 for each chain.
        severity: Largest level, 0.1 to 10.

    >>> AugMix(3).name
    'augmix-m3-w3'
    """

    def __init__(self, width: int = 3, depth: int | None = None, severity: float = 3) -> None:
        super().__init__()
        if width < 1 or width != int(width):
            raise InputError(f"AugMix expected a width of 1 or more but found {width!r}.")
        if depth is not None and (depth < 1 or depth != int(depth)):
            raise InputError(f"AugMix expected a depth of 1 or more but found {depth!r}.")
        if not 0.1 <= severity <= 10:
            raise InputError(f"AugMix expected a severity from 0.1 to 10 but found {severity!r}.")
        self.width, self.depth, self.severity = int(width), None if depth is None else int(depth), severity

    @property
    def token(self) -> str:
        """Such as `augmix-m3-w3` or `augmix-m3-w3-d2`."""
        depth = "" if self.depth is None else f"-d{self.depth}"
        return f"augmix-m{number(self.severity)}-w{self.width}{depth}"

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        longest = 3 if self.depth is None else self.depth
        shape = (n, self.width, longest)
        level = uniform(shape, generator, low=0.01, high=self.severity / 10, device=device)
        if self.depth is None:
            depth = 1 + integers(shape[:2], 3, generator, device=device)
        else:
            depth = torch.full(shape[:2], self.depth, device=level.device)
        # gaps between sorted uniforms are Dirichlet(1, …, 1); no logarithm, so bits are the same everywhere
        cuts = uniform((n, self.width - 1), generator, device=device).sort(1).values
        ends = cuts.new_tensor([[0.0], [1.0]]).expand(2, n)[..., None]  # (2, n, 1)
        return {
            "op": integers(shape, len(_MIX.operators), generator, device=device),
            "level": level,
            "sign": _signs(shape, generator, device),
            "depth": depth,
            "weight": torch.cat([ends[0], cuts, ends[1]], 1).diff(dim=1),
            "share": uniform(n, generator, device=device),
        }

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        width = params["op"].shape[1]
        chains = x.repeat_interleave(width, 0)  # (B · width, C, H, W)
        for layer in range(params["op"].shape[2]):
            op = torch.where(layer < params["depth"], params["op"][:, :, layer], -1).flatten()
            level, sign = params["level"][:, :, layer].flatten(), params["sign"][:, :, layer].flatten()
            chains = _MIX.operate(chains, op, level, sign)
        mixed = torch.zeros_like(x)
        each = chains.view(len(x), width, *x.shape[1:]).unbind(1)
        for chain, weight in zip(each, params["weight"].unbind(1), strict=True):
            mixed = mixed + per_image(weight, x) * chain
        share = per_image(params["share"], x)
        return (1 - share) * x + share * mixed

    def extra_repr(self) -> str:
        """The arguments."""
        return f"width={self.width}, depth={self.depth}, severity={number(self.severity)}"
