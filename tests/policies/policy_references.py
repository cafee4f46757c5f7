"""What the policies do, written again from the definitions: NumPy loops, scipy.ndimage and Pillow."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

MODES = {"fill": "grid-constant", "border": "nearest", "reflection": "reflect", "circular": "grid-wrap"}


def moved(image, *steps, fill=0.0, padding="fill", nearest=False, point=None):
    """Move the content by 3 × 3 maps of (x, y, 1) about the centre or a point, one after another, but sample once."""
    _, h, w = image.shape
    x, y = ((w - 1) / 2, (h - 1) / 2) if point is None else point
    centre = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    forward = np.eye(3)
    for step in steps:
        forward = step @ forward
    back = np.linalg.inv(centre @ forward @ np.linalg.inv(centre))
    points = np.array([[x, y, 1] for y in range(h) for x in range(w)], dtype=float)
    source = points @ back.T
    places = [source[:, 1].reshape(h, w), source[:, 0].reshape(h, w)]

    def sampled(channel, fill):
        mode = MODES["fill" if padding == "masked" else padding]
        return ndimage.map_coordinates(channel, places, order=0 if nearest else 1, mode=mode, cval=fill)

    if padding != "masked":
        return np.stack([sampled(channel, fill) for channel in image])
    share = sampled(np.ones((h, w)), 0.0)
    return np.stack([share * sampled(channel, 0.0) + (1 - share) * fill for channel in image])


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=float)


def turn(degrees):
    """Counter-clockwise as seen: to the right becomes up, and up is −y."""
    a = math.radians(degrees)
    return np.array([[math.cos(a), math.sin(a), 0], [-math.sin(a), math.cos(a), 0], [0, 0, 1]])


def zoom(factor):
    return np.diag([factor, factor, 1.0])


def slide(slope, *, vertical=False):
    """Read `slope · y` further right, so the content goes left where y is positive."""
    matrix = np.eye(3)
    matrix[(1, 0) if vertical else (0, 1)] = -slope
    return matrix


def grey(image):
    return image if len(image) == 1 else np.tensordot([0.299, 0.587, 0.114], image, 1)[None]


def enhance(name, image, factor, *, clamp=True):
    if name == "brightness":
        other = np.zeros_like(image)
    elif name == "contrast":
        other = np.full_like(image, grey(image).mean())
    elif name == "saturation":
        other = np.broadcast_to(grey(image), image.shape)
    else:
        kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
        other = image.copy()
        for c in range(len(image)):
            other[c, 1:-1, 1:-1] = ndimage.convolve(image[c], kernel)[1:-1, 1:-1]
    y = factor * image + (1 - factor) * other
    return y.clip(0, 1) if clamp else y


def levels(image):
    return np.rint(image * 255).astype(np.uint8)


def per_channel(function, image):
    """Send each channel through Pillow as an 8-bit image."""
    return np.stack([np.asarray(function(Image.fromarray(c))) for c in levels(image)]) / 255


def posterize(image, bits):
    return (levels(image) & (256 - 2 ** (8 - int(bits)))) / 255


def solarize(image, threshold):
    return np.where(levels(image) < threshold, image, 1 - image)


def autocontrast(image):
    y = image.copy()
    for c in y:
        if c.max() > c.min():
            c[:] = (c - c.min()) / (c.max() - c.min())
    return y


def equalize(image):
    y = per_channel(ImageOps.equalize, image)
    return np.where(y == levels(image) / 255, image, y)  # what stays is not rounded


def operator(space, image, op, level, sign):
    """One operator of a space of RandAugment, TrivialAugment or AugMix."""
    name = "identity" if op < 0 else space.operators[int(op)]
    _, h, w = image.shape
    signed = level * sign
    match name:
        case "identity":
            return image
        case "rotate":
            return moved(image, turn(signed * space.degrees))
        case "shear-x":
            return moved(image, slide(signed * space.slope))
        case "shear-y":
            return moved(image, slide(signed * space.slope, vertical=True))
        case "translate-x":
            return moved(image, shift(signed * min(space.share * w, space.pixels), 0))
        case "translate-y":
            return moved(image, shift(0, signed * min(space.share * h, space.pixels)))
        case "autocontrast":
            return autocontrast(image)
        case "equalize":
            return equalize(image)
        case "posterize":
            return posterize(image, space.bits - int(space.lost * level + 1e-3))
        case "solarize":
            return solarize(image, 256 * (1 - level))
        case _:
            return enhance(name, image, 1 + space.enhance * signed)
