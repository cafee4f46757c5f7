"""Several images on one canvas: each part of it, enlarged to the whole size, is an image to train on.

Multi-formation of Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (ICML 2022), section
4: more images that are less sharp, in the memory of a few.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from auglean.errors import InputError


def decode(canvases: Tensor, factor: int) -> Tensor:
    """Cut each canvas into factor × factor parts, row by row, and enlarge them bilinearly to its size.

    Args:
        canvases: Shape `(n, channels, height, width)`.
        factor: Parts down and across; 1 gives the canvases back.

    Returns:
        The images, those of a canvas next to each other. Shape `(n · factor², channels, height, width)`.

    >>> import torch
    >>> canvas = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 1, 2, 2)
    >>> decode(canvas, 2)[:, 0, 0, 0]
    tensor([0., 1., 2., 3.])
    """
    if factor == 1:
        return canvases
    height, width = canvases.shape[2:]
    parts = canvases.unflatten(3, (factor, -1)).unflatten(2, (factor, -1))  # (n, c, f, h/f, f, w/f)
    parts = parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return functional.interpolate(parts, (height, width), mode="bilinear", align_corners=False)


def pack(images: Tensor, factor: int) -> Tensor:
    """Shrink images by the factor, each pixel the mean of those it stands for, and lay them out on canvases.

    What `decode` gives of the canvases are the images again, less sharp.

    Args:
        images: Shape `(n · factor², channels, height, width)`.
        factor: Parts down and across.

    Returns:
        Shape `(n, channels, height, width)`.

    >>> import torch
    >>> pack(torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2), 2)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    if factor == 1:
        return images
    parts = functional.avg_pool2d(images, factor).unflatten(0, (-1, factor, factor))  # (n, f, f, c, h/f, w/f)
    canvases: Tensor = parts.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    return canvases


def check_factor(factor: int, size: tuple[int, int]) -> None:
    """Raise `InputError` if canvases of a size cannot be cut so."""
    if factor < 1 or any(length % factor for length in size):
        raise InputError(
            f"decode is {factor}, but images of {size[0]}×{size[1]} pixels cannot be cut into {factor}×{factor} equal "
            "parts; give 1, or a divisor of both sides."
        )
