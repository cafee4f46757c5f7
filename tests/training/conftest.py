"""Small sets whose images tell which example they are."""

import pytest
import torch

from auglean.data import ImageSet


@pytest.fixture
def numbered():
    """Build n grey images of 8×8 whose every pixel is the number of the example; class = number mod 4."""

    def make(n=40, classes=4):
        ids = torch.arange(n)
        return ImageSet(ids.to(torch.uint8)[:, None, None, None].expand(n, 1, 8, 8).clone(), ids % classes)

    return make


@pytest.fixture
def noise():
    """Build n images of random pixels, of which no two are alike; class = number mod 4."""

    def make(n=40, classes=4, channels=1):
        g = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=g)
        return ImageSet(pixels, torch.arange(n) % classes)

    return make
