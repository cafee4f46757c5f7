"""Read the kornia augmentations that change colours, blur, or add noise.

Grey is `0.299 R + 0.587 G + 0.114 B` there. `ColorJitter` is torchvision's; the single operators of the same names, and
`ColorJiggle`, are others: brightness adds, contrast multiplies, saturation is that of HSV.
"""

from __future__ import annotations

from typing import Any

from auglean.policies.base import Policy
from auglean.policies.blurring import GaussianBlur
from auglean.policies.channels import ChannelPermutation
from auglean.policies.colour import AddBrightness, Brightness, Grayscale, Sharpness
from auglean.policies.combining import Compose, mixture, sometimes
from auglean.policies.curves import Gamma, Invert, SolarizeAbove
from auglean.policies.hsv import HSVSaturation, Hue
from auglean.policies.importing.kornia import KorniaReader, ends, kornia, shortest
from auglean.policies.levels import Posterize
from auglean.policies.noise import GaussianNoise
from auglean.policies.normalizing import Normalize
from auglean.policies.ordering import ColorJiggle, ColorJitter


def _range(module: Any, name: str) -> tuple[float, float]:
    return ends(module._param_generator.sampler_dict[name])


@kornia.reads("ColorJitter", "ColorJiggle")
def _jitter(module: Any, reader: KorniaReader) -> Policy:
    draws, name = module._param_generator, type(module).__name__
    ranges = [ends(getattr(draws, f"{kind}_sampler")) for kind in ("brightness", "contrast", "saturation", "hue")]
    kind = ColorJitter if name == "ColorJitter" else ColorJiggle
    order = module._fixed_order
    # one step at a time where the order is given
    steps = [kind(*(ranges[j] if i == j else (j < 3, j < 3) for j in range(4))).parts for i in range(4)]
    if order is not None:
        found = [step for i in order for step in steps[i]]
        policy: Policy = found[0] if len(found) == 1 else Compose(found)
    else:
        policy = kind(*ranges)
        policy = policy.parts[0] if len(policy.parts) == 1 else policy
    return reader.gated(module, policy, clamps=True)


@kornia.reads("RandomBrightness")
def _brightness(module: Any, reader: KorniaReader) -> Policy:
    low, high = _range(module, "brightness_factor")
    clip = bool(module.clip_output)
    return reader.gated(module, AddBrightness((round(low - 1, 12), round(high - 1, 12)), clamp=clip), clamps=clip)


@kornia.reads("RandomContrast")
def _contrast(module: Any, reader: KorniaReader) -> Policy:
    clip = bool(module.clip_output)
    return reader.gated(module, Brightness(_range(module, "contrast_factor"), clamp=clip), clamps=clip)


@kornia.reads("RandomSaturation")
def _saturation(module: Any, reader: KorniaReader) -> Policy:
    return reader.gated(module, HSVSaturation(_range(module, "saturation_factor")), clamps=True)


@kornia.reads("RandomHue")
def _hue(module: Any, reader: KorniaReader) -> Policy:
    return reader.gated(module, Hue(_range(module, "hue_factor")), clamps=True)


@kornia.reads("RandomGamma")
def _gamma(module: Any, reader: KorniaReader) -> Policy:
    policy = Gamma(_range(module, "gamma_factor"), gain=_range(module, "gain_factor"))
    return reader.gated(module, policy, clamps=True)


@kornia.reads("RandomSharpness")
def _sharpness(module: Any, reader: KorniaReader) -> Policy:
    return reader.gated(module, Sharpness(_range(module, "sharpness")), clamps=True)


@kornia.reads("RandomGrayscale")
def _grayscale(module: Any, reader: KorniaReader) -> Policy:
    weights = module.rgb_weights
    given = {} if weights is None else {"weights": tuple(map(shortest, weights))}
    return reader.gated(module, Grayscale(**given))


@kornia.reads("RandomInvert")
def _invert(module: Any, reader: KorniaReader) -> Policy:
    if float(module.flags["max_val"]) != 1:
        return reader.called(module, "RandomInvert from another white than 1 is called image by image.")
    return reader.gated(module, Invert())


@kornia.reads("RandomChannelShuffle")
def _shuffle(module: Any, reader: KorniaReader) -> Policy:
    return reader.gated(module, ChannelPermutation())


@kornia.reads("RandomGaussianBlur")
def _blur(module: Any, reader: KorniaReader) -> Policy:
    size, sigma = module.flags["kernel_size"], ends(module._param_generator.sigma_sampler)
    kernel = (size, size) if isinstance(size, int) else (size[1], size[0])
    if sigma[0] <= 0:
        return reader.called(module, "RandomGaussianBlur with a deviation of 0 is called image by image.")
    border = module.flags["border_type"].name.lower()
    return reader.gated(module, GaussianBlur(kernel, sigma, border=border))


@kornia.reads("RandomGaussianNoise")
def _noise(module: Any, reader: KorniaReader) -> Policy:
    draws = module._param_generator
    return reader.gated(module, GaussianNoise(float(draws.std), mean=float(draws.mean), clamp=False))


@kornia.reads("RandomSolarize")
def _solarize(module: Any, reader: KorniaReader) -> Policy:
    policy = SolarizeAbove(_range(module, "thresholds"), addition=_range(module, "additions"))
    return reader.gated(module, policy, clamps=True)


@kornia.reads("RandomPosterize")
def _posterize(module: Any, reader: KorniaReader) -> Policy:
    low, high = ends(module._param_generator.bit_sampler)
    # a real number of bits is drawn, and rounded
    chances = {bits: max(0.0, min(bits + 0.5, high) - max(bits - 0.5, low)) for bits in range(9)}
    if low == high:
        chances = {round(low): 1.0}
    kept = {bits: chance for bits, chance in chances.items() if chance > 0}
    ways = [Posterize((bits, bits), rounding="floor") for bits in kept]
    return reader.gated(module, mixture(ways, list(kept.values())) if len(ways) > 1 else ways[0], clamps=True)


@kornia.reads("Normalize")
def _normalize(module: Any, reader: KorniaReader) -> Policy:
    mean, std = (list(map(shortest, module.flags[name].flatten())) for name in ("mean", "std"))
    return sometimes(float(module.p), Normalize(mean, std)) if module.p < 1 else Normalize(mean, std)
