"""Policies: distributions over image operators, drawn, applied and composed.

>>> import torch
>>> policy = parse("crop4-flip") | sometimes(0.5, Rotate(15))
>>> policy(torch.rand(8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).shape
torch.Size([8, 3, 32, 32])
"""

from auglean.policies.auto import AugMix, RandAugment, TrivialAugment
from auglean.policies.base import (
    Compose,
    Identity,
    Mixture,
    Params,
    Policy,
    as_policy,
    mixture,
    sometimes,
)
from auglean.policies.boxes import RandomErasing, RandomResizedCrop
from auglean.policies.colour import (
    AutoContrast,
    Brightness,
    Contrast,
    Equalize,
    Posterize,
    Saturation,
    Sharpness,
    Solarize,
)
from auglean.policies.copies import Copies, copies_for, crop_copies, rotate_copies, translate_copies
from auglean.policies.geometric import Affine, Cutout, Flip, RandomCrop, Rotate, Scale, Shear, Shift, Translate
from auglean.policies.importing import from_torchvision
from auglean.policies.normalizing import Normalize
from auglean.policies.parsing import as_given, parse
from auglean.policies.siamese import Siamese
from auglean.policies.warping import warp

__all__ = [
    "Affine",
    "AugMix",
    "AutoContrast",
    "Brightness",
    "Compose",
    "Contrast",
    "Copies",
    "Cutout",
    "Equalize",
    "Flip",
    "Identity",
    "Mixture",
    "Normalize",
    "Params",
    "Policy",
    "Posterize",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Rotate",
    "Saturation",
    "Scale",
    "Sharpness",
    "Shear",
    "Shift",
    "Siamese",
    "Solarize",
    "Translate",
    "TrivialAugment",
    "as_given",
    "as_policy",
    "copies_for",
    "crop_copies",
    "from_torchvision",
    "mixture",
    "parse",
    "rotate_copies",
    "sometimes",
    "translate_copies",
    "warp",
]
