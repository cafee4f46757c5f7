"""Operators that are one interpolation, by the conventions of `auglean.policies.warping`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.policies.base import Params, magnitude, number
from auglean.policies.warping import (
    Options,
    Warp,
    chain,
    rotation,
    scaling,
    shearing,
    slope,
    span,
    translation,
)
from auglean.randomness import Randomness, uniform

Device = torch.device | str | None
Amount = float | Sequence[float]


def _written(amount: Amount) -> str:
    return repr(tuple(amount)) if isinstance(amount, Sequence) else number(amount)


class Translate(Warp):
    """Move the image by a real displacement, uniform on `[−pixels, pixels]` in each axis independently.

    Parameter `shift (n, 2)`: how far the content moves (right, down), in pixels.

    Args:
        pixels: Largest displacement.
        options: How pixels are sampled: see `auglean.policies.warping.Options`.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0]]]])
    >>> Translate(1).apply(x, {"shift": torch.tensor([[0.25, 0.0]])})
    tensor([[[[0.0000, 0.7500, 0.2500]]]])
    """

    def __init__(self, pixels: float, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.pixels = magnitude("Translate", pixels)

    @property
    def token(self) -> str | None:
        """Such as `translate4`."""
        return self._word("translate", self.pixels)

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.pixels == 0

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"shift": uniform((n, 2), generator, low=-self.pixels, high=self.pixels, device=device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        return translation(params["shift"])

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.pixels) + self._options()


class Shift(Warp):
    """Move the image by a share of its width and of its height, each uniform on both sides of zero.

    Parameter `share (n, 2)`: how far the content moves (right, down), as shares of width and height.

    Args:
        across: Largest share of the width.
        down: Largest share of the height.
        whole: Round displacements to whole pixels, as `RandomAffine` of torchvision does: pixels are then copied.
        options: How pixels are sampled: see `auglean.policies.warping.Options`.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]])
    >>> Shift(0.5, 0, whole=True).apply(x, {"share": torch.tensor([[0.3, 0.0]])})  # 1.2 pixels, rounded
    tensor([[[[0., 0., 1., 0.]]]])
    """

    def __init__(self, across: float, down: float, *, whole: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.across = magnitude("The share of the width of Shift", across, 1)
        self.down = magnitude("The share of the height of Shift", down, 1)
        self.whole = whole

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.across == self.down == 0

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        most = torch.tensor([self.across, self.down])
        unit = uniform((n, 2), generator, low=-1.0, high=1.0, device=device)
        return {"share": unit * most.to(unit.device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        share = params["share"].double()
        pixels = share * share.new_tensor([width, height])
        return translation(pixels.round() if self.whole else pixels)

    def extra_repr(self) -> str:
        """The arguments."""
        whole = ", whole=True" if self.whole else ""
        return f"{number(self.across)}, {number(self.down)}{whole}{self._options()}"


class Rotate(Warp):
    """Turn the image about its centre by an angle uniform on `[−degrees, degrees]`.

    Parameter `angle (n,)`: degrees, counter-clockwise as seen where positive.

    Args:
        degrees: Largest angle; or the range of angles, (low, high).
        options: How pixels are sampled, and about which centre: see `auglean.policies.warping.Options`.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> Rotate(90).apply(x, {"angle": torch.tensor([90.0])}).round(decimals=4)
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    def __init__(self, degrees: Amount, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.degrees, self.range = degrees, span("Rotate", degrees)

    @property
    def token(self) -> str | None:
        """Such as `rotate15`."""
        return self._word("rotate", self.degrees)

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.range == (0, 0)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        low, high = self.range
        return {"angle": uniform(n, generator, low=low, high=high, device=device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        return rotation(params["angle"])

    def extra_repr(self) -> str:
        """The arguments."""
        return _written(self.degrees) + self._options()


class Scale(Warp):
    """Enlarge or shrink the image about its centre by a factor uniform on `[1 − amount, 1 + amount]`.

    The same in both axes. Parameter `factor (n,)`: above 1 the content grows.

    Args:
        amount: Largest change of the factor, below 1; or the range of factors, (low, high), above 0.
        options: How pixels are sampled, and about which centre: see `auglean.policies.warping.Options`.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0]]]])
    >>> Scale(0.5).apply(x, {"factor": torch.tensor([0.5])}).sum() < x.sum() + 1e-6
    tensor(True)
    """

    def __init__(self, amount: Amount, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if isinstance(amount, Sequence):
            self.range = span("Scale", amount)
        else:
            self.range = (1 - amount, 1 + amount)
            if not 0 <= amount < 1:
                raise InputError(f"Scale expected an amount of 0 or more and below 1 but found {amount!r}.")
        if self.range[0] <= 0:
            raise InputError(f"Scale expected factors above 0 but found {amount!r}.")
        self.amount = amount

    @property
    def token(self) -> str | None:
        """Such as `scale0.2`."""
        return self._word("scale", self.amount)

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.range == (1, 1)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        low, high = self.range
        return {"factor": uniform(n, generator, low=low, high=high, device=device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        return scaling(params["factor"])

    def extra_repr(self) -> str:
        """The arguments."""
        return _written(self.amount) + self._options()


class Shear(Warp):
    """Slide the rows of the image sideways, by an angle uniform on `[−degrees, degrees]`.

    Parameter `angle (n,)`: degrees; the row `y` below the centre is read `tan(angle) · y` further
    right, so that a positive angle moves the top of the content to the right.

    Args:
        degrees: Largest angle, below 90; or the range of angles, (low, high).
        vertical: Slide the columns up and down instead: a positive angle moves the left of the content down.
        options: How pixels are sampled, and about which centre: see `auglean.policies.warping.Options`.

    >>> x = torch.eye(3)[None, None]
    >>> Shear(45).apply(x, {"angle": torch.tensor([45.0])}).round(decimals=4).abs()
    tensor([[[[0., 1., 0.],
              [0., 1., 0.],
              [0., 1., 0.]]]])
    """

    def __init__(self, degrees: Amount, *, vertical: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if not isinstance(degrees, Sequence) and not 0 <= degrees < 90:
            raise InputError(f"Shear expected degrees of 0 or more and below 90 but found {degrees!r}.")
        self.degrees, self.range, self.vertical = degrees, span("Shear", degrees, 90), vertical

    @property
    def token(self) -> str | None:
        """Such as `shear10`."""
        return None if self.vertical else self._word("shear", self.degrees)

    @property
    def idle(self) -> bool:
        """Whether nothing is done, whatever is drawn."""
        return self.range == (0, 0)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        low, high = self.range
        return {"angle": uniform(n, generator, low=low, high=high, device=device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        return shearing(slope(params["angle"]), vertical=self.vertical)

    def extra_repr(self) -> str:
        """The arguments."""
        return _written(self.degrees) + (", vertical=True" if self.vertical else "") + self._options()


class Affine(Warp):
    """Shear, scale, rotate and translate, in this order, in *one* interpolation.

    Not the same as `Shear | Scale | Rotate | Translate`, which interpolates four times: sharper at the same
    strength and cheaper. Parameters as in those four, the shear's called `shear`, and `shear_y` where there is a
    vertical one, which comes after it; `share` in place of `shift` where shares are given.

    Args:
        degrees: Largest rotation, or their range.
        pixels: Largest displacement.
        shares: Largest displacements (across, down) as shares of width and height, in place of `pixels`.
        whole: With shares, round displacements to whole pixels.
        scale: Largest change of the scale factor, or the range of factors.
        shear: Largest angle of shear, in degrees, or their range.
        shear_y: The same of a vertical shear.
        options: How pixels are sampled, and about which centre: see `auglean.policies.warping.Options`.

    >>> sorted(Affine(degrees=15, pixels=2).draw(1))
    ['angle', 'factor', 'shear', 'shift']
    """

    def __init__(
        self,
        *,
        degrees: Amount = 0.0,
        pixels: float = 0.0,
        shares: tuple[float, float] | None = None,
        whole: bool = False,
        scale: Amount = 0.0,
        shear: Amount = 0.0,
        shear_y: Amount = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if (pixels and shares) or (whole and not shares):
            raise InputError(
                "Affine expected pixels, or shares, which may be rounded to whole pixels; give one of them."
            )
        self.rotate, self.scale, self.shear = (
            Rotate(degrees, **options),
            Scale(scale, **options),
            Shear(shear, **options),
        )
        self.shear_y = Shear(shear_y, vertical=True, **options) if shear_y else None
        self.translate = Shift(*shares, whole=whole, **options) if shares else Translate(pixels, **options)

    @property
    def parts(self) -> dict[str, Warp]:
        """The parts by the parameters that they draw here, in the order of application."""
        vertical: dict[str, Warp] = {"shear_y": self.shear_y} if self.shear_y else {}
        moved = "share" if isinstance(self.translate, Shift) else "shift"
        return {"shear": self.shear} | vertical | {"factor": self.scale, "angle": self.rotate, moved: self.translate}

    @property
    def alone(self) -> Warp | None:
        """The only part that does anything, which then does the same; `None` where there are several."""
        busy = [part for part in self.parts.values() if not part.idle]
        return (busy or [self.translate])[0] if len(busy) < 2 else None

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        rest = (self.rotate, self.translate, self.scale)
        params = {"shear": self.shear.draw(n, generator=generator, device=device)["angle"]}
        for policy in rest:
            params |= policy.draw(n, generator=generator, device=device)
        if self.shear_y:
            params["shear_y"] = self.shear_y.draw(n, generator=generator, device=device)["angle"]
        return params

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        matrix = shearing(slope(params["shear"]))
        if self.shear_y:
            matrix = chain(matrix, shearing(slope(params["shear_y"]), vertical=True))
        matrix = chain(chain(matrix, scaling(params["factor"])), rotation(params["angle"]))
        return chain(matrix, self.translate._matrix(params, height, width))

    def extra_repr(self) -> str:
        """The arguments."""
        moved = (
            f"pixels={self.translate.pixels}"
            if isinstance(self.translate, Translate)
            else (
                f"shares={(self.translate.across, self.translate.down)}"
                + (", whole=True" if self.translate.whole else "")
            )
        )
        vertical = f", shear_y={self.shear_y.degrees}" if self.shear_y else ""
        return (
            f"degrees={self.rotate.degrees}, {moved}, "
            f"scale={self.scale.amount}, shear={self.shear.degrees}{vertical}{self._options()}"
        )
