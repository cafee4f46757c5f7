"""Read the kornia augmentations that move or erase pixels.

Angles: `RandomAffine` turns clockwise where positive, `RandomRotation` and this library counter-clockwise; shears
agree. Displacements are real numbers of pixels. Matrices are in pixels, so that `align_corners` changes nothing but
what `"reflection"` mirrors.
"""

from __future__ import annotations

from typing import Any

from auglean.policies.base import Policy
from auglean.policies.boxes import ClampedErasing, RandomResizedCrop
from auglean.policies.copying import Flip, RandomCrop
from auglean.policies.geometric import Affine, Rotate
from auglean.policies.importing.kornia import KorniaReader, ends, kornia, shortest
from auglean.policies.warping import Options

_OUTSIDE = {"constant": "fill", "replicate": "border", "reflect": "mirror"}


def _options(module: Any) -> Options | str:
    """How pixels are sampled, or a sentence why that cannot be said here."""
    flags, name = module.flags, type(module).__name__
    mode = flags["resample"].name.lower()
    padding: str = flags["padding_mode"].name.lower() if "padding_mode" in flags else "zeros"
    fill = flags.get("fill_value")
    if mode not in ("bilinear", "nearest"):
        return f"{name} by {mode} interpolation is called image by image."
    if padding == "reflection" and flags["align_corners"]:
        return f"{name} mirrors without the edge pixel where align_corners is set, so it is called image by image."
    outside = {"border": "border", "reflection": "reflection"}.get(padding, "fill")
    options: Options = {"interpolation": mode, "padding": outside}  # type: ignore[typeddict-item]
    if padding == "fill" and fill is not None:
        colour = tuple(map(shortest, fill.flatten()))
        if not all(0 <= value <= 1 for value in colour):
            return f"{name} has a fill outside [0, 1], so it is called image by image."
        options["fill"] = colour if len(set(colour)) > 1 else colour[0]
    return options


@kornia.reads("RandomHorizontalFlip", "RandomVerticalFlip")
def _flip(module: Any, reader: KorniaReader) -> Policy:
    p = float(module.p) * float(module.p_batch)
    return reader.noted(module, Flip(p, vertical=type(module).__name__ == "RandomVerticalFlip"))


@kornia.reads("RandomRotation")
def _rotation(module: Any, reader: KorniaReader) -> Policy:
    options = _options(module)
    if isinstance(options, str):
        return reader.called(module, options)
    degrees = ends(module._param_generator.sampler_dict["degrees"])
    return reader.gated(module, Rotate(degrees, **options))


@kornia.reads("RandomAffine", "RandomShear", "RandomTranslate")
def _affine(module: Any, reader: KorniaReader) -> Policy:
    options, draws = _options(module), module._param_generator

    def drawn(name: str, otherwise: float) -> tuple[float, float]:
        sampler = getattr(draws, name, None)
        return (otherwise, otherwise) if sampler is None else ends(sampler)

    degrees, scale = drawn("degree_sampler", 0.0), drawn("scale_2_sampler", 1.0)
    moved = drawn("translate_x_sampler", 0.0), drawn("translate_y_sampler", 0.0)
    shear, shear_y = drawn("shear_x_sampler", 0.0), drawn("shear_y_sampler", 0.0)
    if any(low != -high for low, high in moved):
        options = f"{type(module).__name__} moves further to one side, so it is called image by image."
    elif getattr(draws, "scale_4_sampler", None) is not None:
        options = "RandomAffine scales width and height apart, so it is called image by image."
    elif scale[0] <= 0:
        options = "RandomAffine may scale to nothing, so it is called image by image."
    elif max(map(abs, (*shear, *shear_y))) >= 90:
        options = f"{type(module).__name__} shears by a right angle or more, so it is called image by image."
    if isinstance(options, str):
        return reader.called(module, options)
    policy = Affine(
        degrees=(0.0 - degrees[1], 0.0 - degrees[0]),
        shares=(moved[0][1], moved[1][1]),
        scale=scale,
        shear=shear,
        shear_y=shear_y if any(shear_y) else 0.0,
        **options,
    )
    return reader.gated(module, policy.alone or policy)


@kornia.reads("RandomCrop")
def _crop(module: Any, reader: KorniaReader) -> Policy:
    flags = module.flags
    given, outside, fill = flags["padding"] or 0, _OUTSIDE.get(flags["padding_mode"]), flags["fill"]
    sides = (given,) * 4 if isinstance(given, int) else tuple(given) * (2 if len(given) == 2 else 1)
    colour = tuple(map(float, fill)) if isinstance(fill, list | tuple) else float(fill)
    values = colour if isinstance(colour, tuple) else (colour,)
    if outside is None or min(sides) < 0 or not all(0 <= value <= 1 for value in values):
        return reader.called(module, "RandomCrop with such a padding is called image by image.")
    size = (int(flags["size"][0]), int(flags["size"][1]))
    return reader.gated(module, RandomCrop(sides, fill=colour, outside=outside, size=size))  # type: ignore[arg-type]


@kornia.reads("RandomResizedCrop")
def _resized(module: Any, reader: KorniaReader) -> Policy:
    flags, draws = module.flags, module._param_generator
    mode, size = flags["resample"].name.lower(), (int(flags["size"][0]), int(flags["size"][1]))
    scale, ratio = (tuple(map(shortest, given)) for given in (draws.scale, draws.ratio))
    kind = {"nearest": "nearest-exact", "bilinear": "bilinear-corners" if flags["align_corners"] else "bilinear"}
    if flags["cropping_mode"] != "slice" or mode not in kind:
        return reader.called(module, "RandomResizedCrop by such an interpolation is called image by image.")
    if not (0 <= scale[0] <= scale[1] <= 1 and ratio[0] <= size[1] / size[0] <= ratio[1]):
        return reader.called(
            module, "RandomResizedCrop places a box at random where none fits, so it is called image by image."
        )
    return reader.gated(module, RandomResizedCrop(scale, ratio, interpolation=kind[mode], size=size))  # type: ignore[arg-type]


@kornia.reads("RandomErasing")
def _erasing(module: Any, reader: KorniaReader) -> Policy:
    scale, ratio = (tuple(map(shortest, given)) for given in (module.scale, module.ratio))
    if scale[1] > 1:
        return reader.called(module, "RandomErasing draws areas larger than the image, so it is called image by image.")
    p = float(module.p) * float(module.p_batch)
    return reader.noted(module, ClampedErasing(p, scale=scale, ratio=ratio, fill=float(module.value)))


@kornia.reads("RandomPerspective", "RandomElasticTransform", "RandomThinPlateSpline", "RandomFisheye")
def _warped(module: Any, reader: KorniaReader) -> Policy:
    name = type(module).__name__
    return reader.called(
        module, f"{name} has more random numbers than nodes can cover, so it is called image by image."
    )
