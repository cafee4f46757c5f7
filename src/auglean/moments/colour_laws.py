"""Laws of the parameters of colour operators in words, for `policy.describe()`."""

from __future__ import annotations

from auglean.moments.describing import _between, laws
from auglean.policies import (
    ChannelPermutation,
    ClampedErasing,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Posterize,
    RandomOrder,
    SolarizeAbove,
)
from auglean.policies.base import number


@laws.register
def _order(policy: RandomOrder, height: int, width: int) -> dict[str, str]:
    found = {}
    for part in policy.parts:
        name = type(part).__name__
        for parameter, text in laws(part, height, width).items():
            found[f"{name} {parameter}".strip()] = text
    return found | ({"order": "any, equally likely"} if len(policy.parts) > 1 else {})


@laws.register
def _permutation(policy: ChannelPermutation, height: int, width: int) -> dict[str, str]:
    return {"order": "any, equally likely"}


@laws.register
def _blur(policy: GaussianBlur, height: int, width: int) -> dict[str, str]:
    return {"sigma": _between(*policy.sigma) + " px", "kernel": "{}×{} px".format(*policy.kernel)}


@laws.register
def _noise(policy: GaussianNoise, height: int, width: int) -> dict[str, str]:
    return {"noise": f"N({number(policy.mean)}, {number(policy.sigma)}²) each value"}


@laws.register
def _gamma(policy: Gamma, height: int, width: int) -> dict[str, str]:
    gain = {"gain": _between(*policy.gain)} if policy.gain != (1.0, 1.0) else {}
    return {"gamma": _between(*policy.gamma)} | gain


@laws.register
def _solarize(policy: SolarizeAbove, height: int, width: int) -> dict[str, str]:
    addition = {"addition": _between(*policy.addition)} if any(policy.addition) else {}
    return {"threshold": _between(*policy.threshold)} | addition


@laws.register
def _posterize(policy: Posterize, height: int, width: int) -> dict[str, str]:
    least, most = policy.bits
    return {"bits": str(least) if least == most else f"{least} to {most}, equally likely"}


@laws.register
def _erasing(policy: ClampedErasing, height: int, width: int) -> dict[str, str]:
    low, high = policy.ratio
    ratio = f"{_between(low, 1)} or {_between(1, high)}" if low < 1 < high else _between(low, high)
    erase = f"with probability {number(policy.p)}"
    return {"erase": erase, "area": _between(*policy.scale), "ratio": f"{ratio}, sides cut off"}
