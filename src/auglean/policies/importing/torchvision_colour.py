"""Read the torchvision v2 transforms that change colours, blur, or add noise.

Grey is `0.2989 R + 0.587 G + 0.114 B` there, and every photometric operator cuts off at 0 and 1 after itself. Where a
pipeline has whole levels still, thresholds are divided by 255 and what counts levels does so here.
"""

from __future__ import annotations

from typing import Any

from auglean.errors import InputError
from auglean.policies.base import Policy
from auglean.policies.blurring import GaussianBlur
from auglean.policies.channels import ChannelPermutation
from auglean.policies.colour import TORCHVISION_GREY, Brightness, Contrast, Grayscale, Saturation, Sharpness
from auglean.policies.combining import mixture, sometimes
from auglean.policies.curves import Invert, Quantize, SolarizeAbove
from auglean.policies.hsv import Hue
from auglean.policies.importing.reading import Reader
from auglean.policies.importing.torchvision import torchvision
from auglean.policies.levels import AutoContrast, Equalize, Posterize
from auglean.policies.noise import GaussianNoise
from auglean.policies.ordering import ColorJitter


def _pair(value: Any, neutral: float) -> tuple[float, float]:
    """A range, of which `None` leaves nothing but the neutral value."""
    return (neutral, neutral) if value is None else (float(value[0]), float(value[1]))


@torchvision.reads("ColorJitter")
def _jitter(transform: Any, reader: Reader) -> Policy:
    policy = ColorJitter(
        _pair(transform.brightness, 1.0),
        _pair(transform.contrast, 1.0),
        _pair(transform.saturation, 1.0),
        _pair(transform.hue, 0.0),
        weights=TORCHVISION_GREY,
    )
    return policy.parts[0] if len(policy.parts) == 1 else policy


@torchvision.reads("RandomPhotometricDistort")
def _distort(transform: Any, reader: Reader) -> Policy:
    ranges = (transform.brightness, transform.contrast, transform.saturation)
    brightness, contrast, saturation = (_pair(value, 1.0) for value in ranges)
    first = sometimes(transform.p, Brightness(brightness))
    blend = sometimes(transform.p, Contrast(contrast, weights=TORCHVISION_GREY))
    colours = sometimes(transform.p, Saturation(saturation, weights=TORCHVISION_GREY)) | sometimes(
        transform.p, Hue(_pair(transform.hue, 0.0))
    )
    last = sometimes(transform.p, ChannelPermutation())
    return mixture([first | blend | colours | last, first | colours | blend | last])


@torchvision.reads("Grayscale")
def _grayscale(transform: Any, reader: Reader) -> Policy:
    if transform.num_output_channels != 3:
        raise InputError(
            "Grayscale(num_output_channels=1) gives one channel, and a policy keeps the channels; use 3, or leave it "
            "out where images are grey."
        )
    return Grayscale(weights=TORCHVISION_GREY)


@torchvision.reads("RandomGrayscale")
def _random_grayscale(transform: Any, reader: Reader) -> Policy:
    return sometimes(transform.p, Grayscale(weights=TORCHVISION_GREY))


@torchvision.reads("RandomChannelPermutation")
def _permutation(transform: Any, reader: Reader) -> Policy:
    return ChannelPermutation()


@torchvision.reads("GaussianBlur")
def _blur(transform: Any, reader: Reader) -> Policy:
    return GaussianBlur((transform.kernel_size[0], transform.kernel_size[1]), _pair(transform.sigma, 1.0))


@torchvision.reads("GaussianNoise")
def _noise(transform: Any, reader: Reader) -> Policy:
    return GaussianNoise(float(transform.sigma), mean=transform.mean, clamp=bool(transform.clip))


@torchvision.reads("RandomAdjustSharpness")
def _sharpness(transform: Any, reader: Reader) -> Policy:
    factor = float(transform.sharpness_factor)
    return sometimes(transform.p, Sharpness((factor, factor)))


@torchvision.reads("RandomInvert")
def _invert(transform: Any, reader: Reader) -> Policy:
    return sometimes(transform.p, Invert())


@torchvision.reads("RandomAutocontrast")
def _autocontrast(transform: Any, reader: Reader) -> Policy:
    return sometimes(transform.p, AutoContrast())


@torchvision.reads("RandomEqualize")
def _equalize(transform: Any, reader: Reader) -> Policy:
    return sometimes(transform.p, Equalize(rounding="floor" if reader.levels == 1 else "nearest"))


@torchvision.reads("RandomPosterize")
def _posterize(transform: Any, reader: Reader) -> Policy:
    bits = int(transform.bits)
    return sometimes(transform.p, Quantize(bits) if reader.levels == 1 else Posterize((bits, bits)))


@torchvision.reads("RandomSolarize")
def _solarize(transform: Any, reader: Reader) -> Policy:
    return sometimes(transform.p, SolarizeAbove(float(transform.threshold) / reader.levels))


@torchvision.reads("RandAugment", "TrivialAugmentWide", "AutoAugment", "AugMix")
def _search(transform: Any, reader: Reader) -> Policy:
    name = type(transform).__name__
    return reader.called(
        transform, f"{name} draws among operators that are not linear in the image, so it is called image by image."
    )


@torchvision.reads("JPEG")
def _jpeg(transform: Any, reader: Reader) -> Policy:
    return reader.called(transform, "JPEG is not linear in the image, so it is called image by image.")
