"""Differentiable siamese augmentation: six operations, of which one is drawn at a time.

Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (ICML 2021), section 3.2, with the
parameters of their code. They act on *standardised* images, where 0 is the mean grey of the data. `Siamese` takes
images in [0, 1] as every policy does, and standardises them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auglean.errors import InputError, unknown
from auglean.policies.base import Params, Policy, number, per_image
from auglean.policies.colour import AddBrightness, _Enhance
from auglean.policies.combining import Compose, Mixture
from auglean.policies.copying import Cutout, Flip, RandomCrop
from auglean.policies.geometric import Rotate
from auglean.policies.warping import Padding, Warp, _matrix
from auglean.randomness import Randomness, uniform

Device = torch.device | str | None

#: The operations of the paper for photographs, and those for digits, whose mirror images are no digits.
PHOTOGRAPHS = "color_crop_cutout_flip_scale_rotate"
DIGITS = "color_crop_cutout_scale_rotate"


class MeanSaturation(_Enhance):
    """Blend with the mean over the channels, pixel by pixel: `m + f (x − m)`, f uniform on `[1 − amount, 1 + amount]`.

    Unlike `Saturation`, the channels weigh alike and nothing is cut off. Images of one channel stay as they are.

    >>> x = torch.tensor([1.0, 0.0, 0.5]).view(1, 3, 1, 1)
    >>> MeanSaturation(1).apply(x, {"factor": torch.tensor([0.0])}).flatten()
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, amount: float) -> None:
        super().__init__(amount, clamp=False)

    def _degenerate(self, x: Tensor) -> Tensor:
        return x if x.shape[1] == 1 else x.mean(1, keepdim=True)

    def _options(self) -> str:
        return ""  # there are none


class MeanContrast(MeanSaturation):
    """Blend with the mean of the whole image: `m + f (x − m)`, f uniform on `[1 − amount, 1 + amount]`.

    Unlike `Contrast`, the channels weigh alike and nothing is cut off.

    >>> x = torch.tensor([[[[0.25, 0.75]]]])
    >>> MeanContrast(0.5).apply(x, {"factor": torch.tensor([1.5])})
    tensor([[[[0.1250, 0.8750]]]])
    """

    def _degenerate(self, x: Tensor) -> Tensor:
        return per_image(x.flatten(1).mean(1, dtype=torch.float64), x)  # float64 hides the order of the sum


class EdgeCutout(Cutout):
    """Erase a square as `Cutout` does, its centre uniform on pixels 0 … size of the image where its side is even.

    The last of these lies outside, so that as much is cut off at the one edge as at the other.

    >>> EdgeCutout(2).apply(torch.ones(1, 1, 1, 4), {"centre": torch.tensor([[0.9, 0.0]])})
    tensor([[[[1., 1., 1., 0.]]]])
    """

    @property
    def token(self) -> None:
        """No word says it."""
        return None

    def _pixel(self, share: Tensor, length: int) -> Tensor:
        places = length + 1 - self.size % 2
        return (share * places).long().clamp_(max=places - 1)


class Stretch(Warp):
    """Shrink or enlarge across and down independently, by factors uniform on `[1 / ratio, ratio]`.

    Bilinear. Parameter `shrink (n, 2)`: (across, down); above 1 the content gets smaller.

    Args:
        ratio: Largest factor.
        fill: Value of the world outside.
        padding: What is outside: see `warp`.

    >>> Stretch(1.2).draw(4)["shrink"].shape
    torch.Size([4, 2])
    """

    def __init__(self, ratio: float, *, fill: float = 0.0, padding: Padding = "fill") -> None:
        super().__init__(fill=fill, padding=padding)
        if not 1 <= ratio < float("inf"):
            raise InputError(f"Stretch expected a ratio of 1 or more but found {ratio!r}.")
        self.ratio = float(ratio)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return {"shrink": uniform((n, 2), generator, low=1 / self.ratio, high=self.ratio, device=device)}

    def _matrix(self, params: Params, height: int, width: int) -> Tensor:
        across, down = params["shrink"].unbind(1)
        zero = torch.zeros_like(across)
        return _matrix(across, zero, zero, down, zero, zero)

    def extra_repr(self) -> str:
        """The arguments."""
        return number(self.ratio) + self._options()


class _Within(Policy):
    """A policy in other coordinates: `(x − mean) / std`, the policy, and back."""

    def __init__(self, policy: Policy, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.policy, self.linear = policy, policy.linear
        self._mean, self._std = mean.double().view(-1, 1, 1), std.double().view(-1, 1, 1)

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return self.policy.draw(n, generator=generator, device=device)

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        mean, std = self._mean.to(x), self._std.to(x)
        return self.policy.apply((x - mean) / std, params) * std + mean


_MOVING: dict[str, Callable[[int], Policy]] = {
    "crop": lambda height: RandomCrop(int(0.125 * height + 0.5)),
    "cutout": lambda height: EdgeCutout(int(0.5 * height + 0.5)),
    "flip": lambda height: Flip(),
    "scale": lambda height: Stretch(1.2),
    "rotate": lambda height: Rotate(15),
}


class Siamese(Policy):
    """One of six differentiable operations on the standardised image, each as likely as the others.

    | word | operation | parameter |
    |---|---|---|
    | `color` | `AddBrightness`, `MeanSaturation` and `MeanContrast` in a row | ± ½, [0, 2] and [½, 1½] |
    | `crop` | shift by whole pixels | ± ⌊H/8 + ½⌋ in each axis |
    | `cutout` | erase a square of side ⌊H/2 + ½⌋ | its centre |
    | `flip` | mirror left and right | probability ½ |
    | `scale` | bilinear, across and down apart | [1/1.2, 1.2] each |
    | `rotate` | bilinear, about the centre | ± 15° |

    Three ways to draw: `draw(1)` is shared by all images of both batches, which is what makes it siamese;
    `draw_batch(n)` draws one operation for the batch and its parameter for each image, as networks are trained by the
    paper; `draw(n)` draws both for each image. Results may leave [0, 1].

    Args:
        strategy: The words, joined by `_`: `PHOTOGRAPHS`, `DIGITS`, or fewer.
        height: Of the images, in pixels, which crop and cutout are measured by.
        mean: Mean of each channel of the data, in [0, 1]; a single number serves all channels.
        std: Standard deviation of each channel.
        fill: Value outside the image, and inside a cutout, in [0, 1] for each channel; by default the mean, which is
            grey and not black.

    Raises:
        InputError: If a word is not known, or the lengths differ.

    >>> policy = Siamese("color_crop_rotate", height=32, mean=[0.5, 0.5, 0.4], std=[0.2, 0.2, 0.3])
    >>> x = torch.rand(4, 3, 32, 32)
    >>> shared = policy.draw(1)
    >>> torch.equal(policy.apply(x, shared)[2:3], policy.apply(x[2:3], shared))
    True
    >>> policy.draw_batch(4)["branch"].unique().shape
    torch.Size([1])
    """

    def __init__(
        self,
        strategy: str = PHOTOGRAPHS,
        *,
        height: int,
        mean: Sequence[float],
        std: Sequence[float],
        fill: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not len(mean) == len(std) == len(mean if fill is None else fill):
            raise InputError(
                f"Siamese was given mean {tuple(mean)}, std {tuple(std)} and fill {fill}; give one number per channel."
            )
        self.strategy, self.height = strategy, height
        self.mean, self.std = tuple(mean), tuple(std)
        self.fill = None if fill is None else tuple(fill)
        centre = torch.tensor(self.mean, dtype=torch.float64)
        spread = torch.tensor([value or 1.0 for value in self.std], dtype=torch.float64)
        outside = None if fill is None else (torch.tensor(self.fill, dtype=torch.float64) - centre) / spread
        self._within = _Within(
            Mixture([_operation(word, height, outside) for word in strategy.split("_")]), centre, spread
        )
        self.linear = self._within.linear

    def _draw(self, n: int, generator: Randomness, device: Device) -> Params:
        return self._within.draw(n, generator=generator, device=device)

    def draw_batch(self, n: int, *, generator: Randomness = None, device: Device = None) -> Params:
        """Draw one operation for `n` images and its parameter for each of them."""
        params = self.draw(n, generator=generator, device=device)
        return {**params, "branch": params["branch"][:1].expand(n)}

    def _operate(self, x: Tensor, params: Params) -> Tensor:
        if len(self.mean) not in (1, x.shape[1]):
            raise InputError(f"{self!r} was made for {len(self.mean)} channels but found images of {tuple(x.shape)}.")
        return self._within.apply(x, params)

    def extra_repr(self) -> str:
        """The arguments."""
        fill = "" if self.fill is None else f", fill={self.fill}"
        return f"{self.strategy!r}, height={self.height}, mean={self.mean}, std={self.std}{fill}"


def _operation(word: str, height: int, outside: Tensor | None) -> Policy:
    if word == "color":
        return Compose([AddBrightness(0.5, clamp=False), MeanSaturation(1), MeanContrast(0.5)])
    if word not in _MOVING:
        raise unknown("siamese operation", word, ["color", *_MOVING])
    moving = _MOVING[word](height)
    # what moves pixels is linear and fills by 0, so that another fill is another origin
    return moving if outside is None else _Within(moving, outside, torch.ones_like(outside))
