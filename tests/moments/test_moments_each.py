"""Every policy of ours through the shared case; brute force enumerates, or puts many midpoints on its law."""

import numpy as np
import pytest
import torch
from moment_case import MomentCase, brute, images

from auglean.policies import parse, sometimes


def mids(low, high, n):
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


class Grid(MomentCase):
    """One uniform parameter, on many midpoints."""

    name = ""
    low = high = 0.0
    word = ""
    n = 20_000
    tolerance = 2e-7

    def make(self):
        return parse(self.word)

    def truth(self, x):
        params = {self.name: mids(self.low, self.high, self.n)}
        y = self.make().apply(x.expand(self.n, -1, -1, -1), params)
        return *brute(y, torch.full((self.n,), 1 / self.n, dtype=torch.float64)), self.tolerance


class TestFlip(MomentCase):
    def make(self):
        return parse("flip0.3")

    def truth(self, x):
        return *brute(torch.stack([x, x.flip(2)]), torch.tensor([0.7, 0.3], dtype=torch.float64)), 1e-14


class TestCrop(MomentCase):
    def make(self):
        return parse("crop2")

    def truth(self, x):
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
        y = torch.stack([padded[:, i : i + 6, j : j + 7] for i in range(5) for j in range(5)])
        return *brute(y, torch.full((25,), 1 / 25, dtype=torch.float64)), 1e-13


class TestCutout(MomentCase):
    def make(self):
        return parse("cutout3")

    def truth(self, x):
        y = x.repeat(42, 1, 1, 1)
        for i in range(6):
            for j in range(7):
                y[7 * i + j, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2] = 0
        return *brute(y, torch.full((42,), 1 / 42, dtype=torch.float64)), 1e-13


class TestTranslate(MomentCase):
    kind = "exact panels"
    word = "translate1.5"

    def make(self):
        return parse(self.word)

    def truth(self, x):
        # Gauss nodes of a higher order in smaller panels: independent of hats and of their masses
        place, share = map(torch.from_numpy, np.polynomial.legendre.leggauss(5))
        m = self.make().pixels
        edges = mids(-m, m, int(8 * m)) - 0.125
        nodes = (edges[:, None] + 0.125 + 0.125 * place).flatten()
        weights = (share / 2 / len(edges)).repeat(len(edges))
        params = {"shift": torch.cartesian_prod(nodes, nodes)}
        y = self.make().apply(x.expand(len(nodes) ** 2, -1, -1, -1), params)
        return *brute(y, (weights[:, None] * weights).flatten()), 1e-13


class TestTranslateFar(TestTranslate):
    word = "translate2"
    size = (1, 3, 5)


class TestRotate(Grid):
    kind, word, name, low, high, tolerance = "quadrature", "rotate15", "angle", -15.0, 15.0, 2e-4


class TestScale(Grid):
    kind, word, name, low, high = "exact panels", "scale0.2", "factor", 0.8, 1.2


class TestShear(Grid):
    kind, word, name, low, high = "exact panels", "shear15", "angle", -15.0, 15.0


NOTHING = [
    "brightness0",
    "contrast0",
    "saturation0",
    "sharpness0",
    "translate0",
    "rotate0",
    "scale0",
    "shear0",
    "crop0",
]


@pytest.mark.parametrize("word", [*NOTHING, "crop0", "cutout0", "flip0", "solarize0", "none"])
def test_no_strength_is_no_change(word):
    x = images(3, 5, 5)
    found = parse(word).moments(x)
    torch.testing.assert_close(found.mean, x, rtol=0, atol=1e-14)
    assert found.trace < 1e-26


class TestBrightness(Grid):
    kind, word, name, low, high = "exact panels", "brightness0.4", "factor", 0.6, 1.4


class TestContrast(Grid):
    kind, word, name, low, high = "exact panels", "contrast0.4", "factor", 0.6, 1.4


class TestSaturation(Grid):
    kind, word, name, low, high = "exact panels", "saturation0.4", "factor", 0.6, 1.4


class TestSharpness(Grid):
    kind, word, name, low, high = "exact panels", "sharpness0.9", "factor", 0.1, 1.9


class TestSolarize(Grid):
    word, name, low, high, n, tolerance = "solarize0.5", "threshold", 128.0, 256.0, 12_800, 1e-12


class TestPosterize(MomentCase):
    def make(self):
        return parse("posterize4")


class TestRand(MomentCase):
    def make(self):
        return parse("rand-m9-n1")


class TestTrivial(MomentCase):
    def make(self):
        return parse("trivial")


class TestSometimes(MomentCase):
    def make(self):
        return sometimes(0.3, parse("crop1"))


class TestCropFlip(MomentCase):
    def make(self):
        return parse("crop1-flip")


class TestTranslateFlip(MomentCase):
    kind = "exact panels"

    def make(self):
        return parse("translate1-flip")


class TestRotateBrightness(MomentCase):
    kind = "quadrature"

    def make(self):
        return parse("rotate10-brightness0.3")


class TestAffine(MomentCase):
    kind, draws = "randomised qmc", 10_000

    def make(self):
        from auglean.policies import Affine

        return Affine(degrees=10, pixels=1, scale=0.1)


class TestAugMix(MomentCase):
    kind = "monte carlo"
    size = (1, 4, 5)

    def make(self):
        return parse("augmix-m3-w1")
