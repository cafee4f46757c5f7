"""The same policy with less strength: every parameter drawn nearer to the value that changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from torch import nn

from auglean.errors import InputError
from auglean.policies.base import Identity, Policy
from auglean.policies.blurring import GaussianBlur
from auglean.policies.colour import AddBrightness, Brightness, Contrast, Saturation, Sharpness
from auglean.policies.combining import Compose, Mixture
from auglean.policies.copying import RandomCrop
from auglean.policies.curves import Clamp, Gamma
from auglean.policies.geometric import Affine, Amount, Rotate, Scale, Shear, Shift, Translate
from auglean.policies.hsv import HSVSaturation, Hue
from auglean.policies.noise import GaussianNoise
from auglean.policies.normalizing import Normalize
from auglean.policies.ordering import RandomOrder


def weaker(policy: Policy, strength: float) -> Policy:
    """Give a policy whose parameters are `neutral + strength · (θ − neutral)`, θ as drawn by the given one.

    What is of first order, such as an alignment, holds for weak policies. Shifts by whole pixels become real ones.
    Probabilities, and what every image goes through, stay.

    Args:
        policy: Of displacements, angles, factors, noise or blur, or composed or mixed of such.
        strength: From 0 to 1, which gives the policy itself.

    Raises:
        InputError: If a part has no weaker form, such as a flip or a cutout; the sentence names it.

    >>> from auglean.policies import parse
    >>> weaker(parse("translate2-rotate15"), 0.1).name
    'translate0.2-rotate1.5'
    """
    if not 0 <= strength <= 1:
        raise InputError(f"A strength from 0 to 1 was expected but {strength!r} was given.")
    return policy if strength == 1 else _weaker(policy, strength)


@singledispatch
def _weaker(policy: Policy, strength: float) -> Policy:
    raise InputError(
        f"{policy!r} has no weaker form: its parameters are no distance from leaving an image as it is; leave it out, "
        "or ask at full strength."
    )


@_weaker.register(Identity)
@_weaker.register(Normalize)
@_weaker.register(Clamp)
def _certain(policy: Policy, strength: float) -> Policy:
    return policy


@_weaker.register(Compose)
@_weaker.register(Mixture)
@_weaker.register(RandomOrder)
def _parts(policy: Compose | Mixture | RandomOrder, strength: float) -> Policy:
    parts = [_weaker(part, strength) for part in policy.parts]
    found = copy.copy(policy)
    found._modules = dict(policy._modules)  # the copy's own
    found._parts = nn.ModuleList(parts)
    return found


def _toward(amount: Amount, neutral: float, strength: float) -> Any:
    """Bring a largest change, or a range, nearer; rounded, so that names are short."""
    if isinstance(amount, Sequence):
        low, high = (round(neutral + strength * (end - neutral), 12) for end in amount)
        return low, high
    return round(strength * amount, 12)


@_weaker.register
def _translate(policy: Translate, strength: float) -> Policy:
    return Translate(_toward(policy.pixels, 0, strength), **policy.options)


@_weaker.register
def _shift(policy: Shift, strength: float) -> Policy:
    return Shift(_toward(policy.across, 0, strength), _toward(policy.down, 0, strength), **policy.options)


@_weaker.register
def _crop(policy: RandomCrop, strength: float) -> Policy:
    most = policy.across[1]
    if not policy.across == policy.down == (-most, most) or policy.outside == "mirror":
        raise InputError(f"{policy!r} has no weaker form: its sides differ, or mirror without the edge pixel.")
    return Translate(_toward(most, 0, strength), fill=policy.fill, padding=policy.outside)


@_weaker.register
def _rotate(policy: Rotate, strength: float) -> Policy:
    return Rotate(_toward(policy.degrees, 0, strength), **policy.options)


@_weaker.register
def _shear(policy: Shear, strength: float) -> Policy:
    return Shear(_toward(policy.degrees, 0, strength), vertical=policy.vertical, **policy.options)


@_weaker.register
def _scale(policy: Scale, strength: float) -> Policy:
    return Scale(_toward(policy.amount, 1, strength), **policy.options)


@_weaker.register
def _affine(policy: Affine, strength: float) -> Policy:
    moved = policy.translate
    return Affine(
        degrees=_toward(policy.rotate.degrees, 0, strength),
        pixels=_toward(moved.pixels, 0, strength) if isinstance(moved, Translate) else 0.0,
        shares=_toward((moved.across, moved.down), 0, strength) if isinstance(moved, Shift) else None,
        scale=_toward(policy.scale.amount, 1, strength),
        shear=_toward(policy.shear.degrees, 0, strength),
        shear_y=_toward(policy.shear_y.degrees, 0, strength) if policy.shear_y else 0.0,
        **policy.options,
    )


@_weaker.register(Brightness)
@_weaker.register(Contrast)
@_weaker.register(Saturation)
@_weaker.register(Sharpness)
def _enhance(policy: Brightness | Contrast | Saturation | Sharpness, strength: float) -> Policy:
    # a change above 1 is cut off below, so that its range is no longer that of the change
    amount = policy.amount if isinstance(policy.amount, tuple) or policy.amount <= 1 else (policy.low, policy.high)
    grey: dict[str, Any] = {"weights": policy.weights} if isinstance(policy, Contrast | Saturation) else {}
    return type(policy)(_toward(amount, 1, strength), clamp=policy.clamp, **grey)


@_weaker.register
def _add(policy: AddBrightness, strength: float) -> Policy:
    return AddBrightness(_toward(policy.amount, 0, strength), clamp=policy.clamp)


@_weaker.register
def _hue(policy: Hue, strength: float) -> Policy:
    return Hue(_toward(policy.amount, 0, strength))


@_weaker.register
def _saturation(policy: HSVSaturation, strength: float) -> Policy:
    return HSVSaturation(_toward((policy.low, policy.high), 1, strength))


@_weaker.register
def _gamma(policy: Gamma, strength: float) -> Policy:
    return Gamma(_toward(policy.gamma, 1, strength), gain=_toward(policy.gain, 1, strength))


@_weaker.register
def _blur(policy: GaussianBlur, strength: float) -> Policy:
    if not strength:
        return Identity()
    return GaussianBlur(policy.kernel, _toward(policy.sigma, 0, strength), border=policy.border)


@_weaker.register
def _noise(policy: GaussianNoise, strength: float) -> Policy:
    return GaussianNoise(_toward(policy.sigma, 0, strength), mean=_toward(policy.mean, 0, strength), clamp=policy.clamp)
