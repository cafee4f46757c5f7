"""Policies from short strings, in the spelling that `timm` made common."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from auglean.errors import InputError, unknown
from auglean.policies.adapting import as_policy
from auglean.policies.auto import AugMix, RandAugment, TrivialAugment
from auglean.policies.base import Identity, Policy
from auglean.policies.colour import Brightness, Contrast, Saturation, Sharpness
from auglean.policies.combining import Compose
from auglean.policies.copying import Cutout, Flip, RandomCrop
from auglean.policies.geometric import Rotate, Scale, Shear, Translate
from auglean.policies.levels import AutoContrast, Equalize, Posterize, Solarize

# word: (constructor, an example; `None` where the word takes no number)
_WORDS: dict[str, tuple[Callable[..., Policy], str | None]] = {
    "none": (Identity, None),
    "flip": (Flip, "flip or flip0.3"),
    "crop": (RandomCrop, "crop4"),
    "cutout": (Cutout, "cutout8"),
    "translate": (Translate, "translate4"),
    "rotate": (Rotate, "rotate15"),
    "scale": (Scale, "scale0.2"),
    "shear": (Shear, "shear10"),
    "brightness": (Brightness, "brightness0.4"),
    "contrast": (Contrast, "contrast0.4"),
    "saturation": (Saturation, "saturation0.4"),
    "sharpness": (Sharpness, "sharpness0.4"),
    "posterize": (Posterize, "posterize4"),
    "solarize": (Solarize, "solarize0.5"),
    "autocontrast": (AutoContrast, None),
    "equalize": (Equalize, None),
    "trivial": (TrivialAugment, None),
}
# word: (constructor, letter of an option: argument)
_FAMILIES: dict[str, tuple[Callable[..., Policy], dict[str, str]]] = {
    "rand": (RandAugment, {"m": "m", "n": "n"}),
    "augmix": (AugMix, {"m": "severity", "w": "width", "d": "depth"}),
}
_OPTION = re.compile(r"(mstd|mmax|inc|[a-z])(\d+\.?\d*|\.\d+)")  # no word of a policy is a single letter
_TOKEN = re.compile(r"([a-z]*)(\d+\.?\d*|\.\d+)?")


def parse(text: str) -> Policy:
    """Read a policy: words joined by dashes, each with its largest magnitude, applied from left to right.

    Words: `none`, `flip` (or `flip0.3`: probability), `crop4`, `cutout8`, `translate4` (pixels), `rotate15`,
    `shear10` (degrees), `scale0.2`, `brightness0.4`, `contrast0.4`, `saturation0.4`, `sharpness0.4`,
    `posterize4` (bits), `solarize0.5`, `autocontrast`, `equalize`, `trivial`; and with options of their own,
    in any order and each with a default, `rand-m9-n2` and `augmix-m3-w3-d2`. `parse(policy.name)` gives
    `policy` back.

    Raises:
        InputError: If a word or an option is not known, or a magnitude is missing or out of range.

    >>> parse("translate4-rotate15")
    Translate(4) | Rotate(15)
    >>> parse("crop4-flip-rand-m5")
    RandomCrop(4) | Flip(0.5) | RandAugment(n=2, m=5)
    >>> parse("rotat15")
    Traceback (most recent call last):
    ...
    auglean.errors.InputError: Unknown policy 'rotat'; did you mean 'rotate' or 'contrast'? Known: ...
    """
    tokens = text.strip().lower().split("-")
    parts: list[Policy] = []
    while tokens:
        token = tokens.pop(0)
        if token in _FAMILIES:
            options = []
            while tokens and _OPTION.fullmatch(tokens[0]):
                options.append(tokens.pop(0))
            parts.append(_family(token, options))
        else:
            parts.append(_single(token))
    return parts[0] if len(parts) == 1 else Compose(parts)


def _value(digits: str) -> float | int:
    value = float(digits)
    return int(value) if value == int(value) else value


def _single(token: str) -> Policy:
    match = _TOKEN.fullmatch(token)
    word, digits = (match[1], match[2]) if match else (token, None)
    if word not in _WORDS:
        raise unknown("policy", word or token, [*_WORDS, *_FAMILIES])
    make, example = _WORDS[word]
    if digits is None:
        if example and word != "flip":
            raise InputError(f"Policy {word!r} needs a magnitude, such as {example!r}.")
        return make()
    if not example:
        raise InputError(f"Policy {word!r} takes no magnitude but found {token!r}; write {word!r}.")
    return make(_value(digits))


def _family(word: str, options: list[str]) -> Policy:
    make, letters = _FAMILIES[word]
    arguments: dict[str, float | int] = {}
    for option in options:
        match = _OPTION.fullmatch(option)
        assert match is not None  # the caller took only these
        letter, digits = match[1], match[2]
        if word == "rand" and letter == "inc" and float(digits) > 0:
            continue  # strength always grows with m here, which is what it asks for
        if letter not in letters:
            known = ", ".join(letters)
            raise InputError(f"Policy {word!r} has no option {option!r}; its options are {known} and a number each.")
        if letters[letter] in arguments:
            raise InputError(f"Policy {word!r} was given the option {letter!r} twice; give it once.")
        arguments[letters[letter]] = _value(digits)
    return make(**arguments)


def as_given(policy: Policy | str | Callable[..., Any]) -> Policy:
    """Take a policy, its name, or any callable on images.

    Raises:
        InputError: If a name is unknown, or the object is none of these.

    >>> as_given("rotate15"), as_given(lambda image: 1 - image).linear
    (Rotate(15), False)
    """
    if isinstance(policy, Policy):
        return policy
    return parse(policy) if isinstance(policy, str) else as_policy(policy)
