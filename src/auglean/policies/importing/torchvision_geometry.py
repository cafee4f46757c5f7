"""Read the torchvision v2 transforms that move or erase pixels.

Angles: `RandomAffine` turns clockwise where positive, `RandomRotation` and this library counter-clockwise; shears
agree. A centre is counted from the corner of the image there, from the centre of its first pixel here. `fill=None` is a
world of zeros; beside any other fill the image is multiplied by its interpolated share once more (`padding="masked"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auglean.errors import InputError
from auglean.policies.base import Policy
from auglean.policies.boxes import RandomErasing, RandomResizedCrop
from auglean.policies.combining import sometimes
from auglean.policies.copying import Flip, RandomCrop
from auglean.policies.geometric import Affine, Rotate
from auglean.policies.importing.reading import Reader
from auglean.policies.importing.torchvision import torchvision
from auglean.policies.perspective import Perspective
from auglean.policies.warping import Fill, Interpolation, Options

#: Pillow's numbers, which torchvision takes too.
_PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_OUTSIDE = {"constant": "fill", "edge": "border", "reflect": "mirror", "symmetric": "reflection"}


def interpolation(transform: Any) -> str:
    """The word for a transform's interpolation, whether given by name, number or member of an enumeration."""
    given = transform.interpolation
    given = _PILLOW.get(given, given) if isinstance(given, int) else given
    return str(getattr(given, "value", given))


def colour(transform: Any, reader: Reader) -> Fill | None:
    """The fill for image tensors."""
    given = transform.fill
    if isinstance(given, dict):
        named = {getattr(kind, "__name__", kind): value for kind, value in given.items()}
        given = named.get("Image", named.get("Tensor", named.get("others")))
    return reader.fill(given)


def _options(transform: Any, reader: Reader) -> Options | str:
    """How pixels are sampled, or a sentence why that cannot be said here."""
    mode, fill = interpolation(transform), colour(transform, reader)
    if mode not in ("nearest", "bilinear"):
        return f"{type(transform).__name__} takes no {mode} interpolation on tensors."
    if _strange(fill):
        return _STRANGE.format(type(transform).__name__)
    kind: Interpolation = "nearest" if mode == "nearest" else "bilinear"
    # nearest pixels are inside or outside altogether
    options: Options = {"interpolation": kind, "padding": "fill" if fill is None or mode == "nearest" else "masked"}
    options["fill"] = fill or 0.0
    centre = getattr(transform, "center", None)
    if centre is not None:
        options["centre"] = (float(centre[0]) - 0.5, float(centre[1]) - 0.5)
    return options


_STRANGE = "{} has a fill outside [0, 1], so it is called image by image."


def _strange(fill: Fill | None) -> bool:
    return fill is not None and not all(0 <= value <= 1 for value in (fill if isinstance(fill, tuple) else [fill]))


def _turned(degrees: Sequence[float]) -> tuple[float, float]:
    """Angles of the other sign; zero stays without one."""
    return 0.0 - float(degrees[1]), 0.0 - float(degrees[0])


@torchvision.reads("RandomHorizontalFlip")
def _horizontal(transform: Any, reader: Reader) -> Policy:
    return Flip(float(transform.p))


@torchvision.reads("RandomVerticalFlip")
def _vertical(transform: Any, reader: Reader) -> Policy:
    return Flip(float(transform.p), vertical=True)


@torchvision.reads("RandomRotation")
def _rotation(transform: Any, reader: Reader) -> Policy:
    if transform.expand:
        raise InputError(
            "RandomRotation(expand=True) gives images of another size, and a policy keeps the size; use expand=False."
        )
    options = _options(transform, reader)
    if isinstance(options, str):
        return reader.called(transform, options)
    return Rotate((float(transform.degrees[0]), float(transform.degrees[1])), **options)


@torchvision.reads("RandomAffine")
def _affine(transform: Any, reader: Reader) -> Policy:
    options = _options(transform, reader)
    if isinstance(options, str):
        return reader.called(transform, options)
    shear = [0.0, 0.0, 0.0, 0.0] if transform.shear is None else [*transform.shear, 0.0, 0.0][:4]
    policy = Affine(
        degrees=_turned(transform.degrees),
        shares=None if transform.translate is None else (transform.translate[0], transform.translate[1]),
        whole=transform.translate is not None,
        scale=(1.0, 1.0) if transform.scale is None else tuple(map(float, transform.scale)),
        shear=(shear[0], shear[1]),
        shear_y=(shear[2], shear[3]) if any(shear[2:]) else 0.0,
        **options,
    )
    return policy.alone or policy


@torchvision.reads("RandomCrop")
def _crop(transform: Any, reader: Reader) -> Policy:
    left, right, top, bottom = transform.padding or (0, 0, 0, 0)
    fill = colour(transform, reader)
    if _strange(fill):
        return reader.called(transform, _STRANGE.format("RandomCrop"))
    if min(left, right, top, bottom) < 0:
        return reader.called(transform, "RandomCrop has a negative padding, so it is called image by image.")
    return RandomCrop(
        (left, top, right, bottom),
        fill=fill or 0.0,
        outside=_OUTSIDE[transform.padding_mode],  # type: ignore[arg-type]
        size=(transform.size[0], transform.size[1]),
    )


@torchvision.reads("RandomResizedCrop")
def _resized(transform: Any, reader: Reader) -> Policy:
    mode = interpolation(transform)
    if mode not in ("bilinear", "bicubic", "nearest", "nearest-exact"):
        return reader.called(transform, f"RandomResizedCrop by {mode} interpolation is called image by image.")
    return RandomResizedCrop(
        transform.scale,
        transform.ratio,
        interpolation=mode,  # type: ignore[arg-type]
        antialias=bool(transform.antialias),
        size=(transform.size[0], transform.size[1]),
    )


@torchvision.reads("RandomErasing")
def _erasing(transform: Any, reader: Reader) -> Policy:
    fill = "noise" if transform.value is None else reader.fill(transform.value)
    if fill == "noise" and reader.levels != 1:
        return reader.called(transform, "RandomErasing draws its noise in levels of uint8.")
    return RandomErasing(float(transform.p), scale=transform.scale, ratio=transform.ratio, fill=fill)  # type: ignore[arg-type]


@torchvision.reads("RandomPerspective")
def _perspective(transform: Any, reader: Reader) -> Policy:
    options = _options(transform, reader)
    if isinstance(options, str):
        return reader.called(transform, options)
    if transform.distortion_scale > 0.6:
        return reader.called(transform, "RandomPerspective beyond a distortion of 0.6 may lay three corners on a line.")
    policy = Perspective(float(transform.distortion_scale), **options)
    return policy if transform.p == 1 else sometimes(float(transform.p), policy)


@torchvision.reads("ElasticTransform")
def _elastic(transform: Any, reader: Reader) -> Policy:
    return reader.called(
        transform, "ElasticTransform moves every pixel by random numbers of its own, too many for nodes."
    )


@torchvision.reads("RandomZoomOut", "RandomIoUCrop")
def _resizing(transform: Any, reader: Reader) -> Policy:
    name = type(transform).__name__
    raise InputError(f"{name} gives images of another size than it takes, and a policy keeps the size; leave it out.")
