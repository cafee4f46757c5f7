"""Policies: distributions over image operators, drawn, applied and composed.

>>> import torch
>>> policy = parse("crop4-flip") | sometimes(0.5, Rotate(15))
>>> policy(torch.rand(8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).shape
torch.Size([8, 3, 32, 32])
"""

from auglean.policies.adapting import as_policy
from auglean.policies.auto import AugMix, RandAugment, TrivialAugment
from auglean.policies.base import Identity, Params, Policy
from auglean.policies.blurring import GaussianBlur
from auglean.policies.boxes import ClampedErasing, RandomErasing, RandomResizedCrop
from auglean.policies.channels import ChannelPermutation
from auglean.policies.colour import (
    BT601,
    TORCHVISION_GREY,
    AddBrightness,
    Brightness,
    Contrast,
    Grayscale,
    Saturation,
    Sharpness,
)
from auglean.policies.combining import Compose, Mixture, mixture, sometimes
from auglean.policies.copies import Copies, copies_for, crop_copies, rotate_copies, translate_copies
from auglean.policies.copying import Cutout, Flip, RandomCrop
from auglean.policies.curves import Clamp, Gamma, Invert, Quantize, SolarizeAbove
from auglean.policies.geometric import Affine, Rotate, Scale, Shear, Shift, Translate
from auglean.policies.hsv import HSVSaturation, Hue
from auglean.policies.importing import from_kornia, from_torchvision
from auglean.policies.levels import AutoContrast, Equalize, Posterize, Solarize
from auglean.policies.noise import GaussianNoise
from auglean.policies.normalizing import Normalize
from auglean.policies.ordering import ColorJiggle, ColorJitter, RandomOrder
from auglean.policies.parsing import as_given, parse
from auglean.policies.perspective import Perspective
from auglean.policies.siamese import Siamese
from auglean.policies.warping import warp
from auglean.policies.weakening import weaker

__all__ = [
    "BT601",
    "TORCHVISION_GREY",
    "AddBrightness",
    "Affine",
    "AugMix",
    "AutoContrast",
    "Brightness",
    "ChannelPermutation",
    "Clamp",
    "ClampedErasing",
    "ColorJiggle",
    "ColorJitter",
    "Compose",
    "Contrast",
    "Copies",
    "Cutout",
    "Equalize",
    "Flip",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "HSVSaturation",
    "Hue",
    "Identity",
    "Invert",
    "Mixture",
    "Normalize",
    "Params",
    "Perspective",
    "Policy",
    "Posterize",
    "Quantize",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomOrder",
    "RandomResizedCrop",
    "Rotate",
    "Saturation",
    "Scale",
    "Sharpness",
    "Shear",
    "Shift",
    "Siamese",
    "Solarize",
    "SolarizeAbove",
    "Translate",
    "TrivialAugment",
    "as_given",
    "as_policy",
    "copies_for",
    "crop_copies",
    "from_kornia",
    "from_torchvision",
    "mixture",
    "parse",
    "rotate_copies",
    "sometimes",
    "translate_copies",
    "warp",
    "weaker",
]
