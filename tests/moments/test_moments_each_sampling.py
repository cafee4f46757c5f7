"""Ways to sample pixels, through the shared case: masks, nearest pixels, other centres, whole shifts, other worlds."""

import numpy as np
import torch
from moment_case import MomentCase, brute, images

from auglean.policies import (
    Affine,
    Identity,
    Perspective,
    RandomCrop,
    Rotate,
    Scale,
    Shear,
    Shift,
    Translate,
)


def mids(low, high, n):
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


class Line(MomentCase):
    """One uniform parameter, on many midpoints."""

    kind, n, tolerance = "exact panels", 20_000, 2e-7

    def truth(self, x):
        policy = self.make()
        (name,) = policy.draw(0)
        params = {name: mids(*policy.range, self.n)}
        y = policy.apply(x.expand(self.n, -1, -1, -1), params)
        return *brute(y, torch.full((self.n,), 1 / self.n, dtype=torch.float64)), self.tolerance


class TestRotateMasked(Line):
    kind, tolerance = "quadrature", 3e-4

    def make(self):
        return Rotate((5, 30), padding="masked", fill=(0.2, 0.5, 0.9))


class TestRotateNearest(Line):
    tolerance = 2e-4  # a midpoint for each jump

    def make(self):
        return Rotate(20, interpolation="nearest", centre=(2.2, 3.1))


class TestScaleMasked(Line):
    def make(self):
        return Scale((0.6, 1.3), padding="masked", fill=0.4, centre=(1.0, 2.5))


class TestScaleNearest(Line):
    tolerance = 2e-4

    def make(self):
        return Scale((0.6, 1.3), interpolation="nearest")


class TestShearMasked(Line):
    def make(self):
        return Shear((-5, 25), vertical=True, padding="masked")


class TestShearNearest(Line):
    tolerance = 2e-4

    def make(self):
        return Shear((-5, 25), interpolation="nearest")


class Plane(MomentCase):
    """Displacements in both axes, by five Gauss nodes in quarters of a pixel."""

    kind = "exact panels"

    def truth(self, x):
        policy = self.make()
        place, share = map(torch.from_numpy, np.polynomial.legendre.leggauss(5))
        (name,) = policy.draw(0)
        most = (1.5, 0.75)
        nodes, weights = [], []
        for m in most:
            panels = int(8 * m)
            nodes.append((mids(-m, m, panels)[:, None] + m / panels * place).flatten())
            weights.append((share / 2 / panels).repeat(panels))
        moved = torch.cartesian_prod(*nodes)
        height, width = x.shape[1:]
        params = {name: moved / moved.new_tensor([width, height]) if name == "share" else moved}
        y = policy.apply(x.expand(len(moved), -1, -1, -1), params)
        return *brute(y, (weights[0][:, None] * weights[1]).flatten()), 1e-13


class TestShift(Plane):
    def make(self):
        return Shift(1.5 / 7, 0.75 / 6, padding="border")


class TestShiftMasked(Plane):
    def make(self):
        return Shift(1.5 / 7, 0.75 / 6, padding="masked", fill=0.3)


class TestTranslateNearest(MomentCase):
    def make(self):
        return Translate(1.25, interpolation="nearest", padding="reflection")

    def truth(self, x):
        moved = torch.cartesian_prod(*[torch.arange(-1.0, 2.0, dtype=torch.float64)] * 2)
        along = torch.tensor([0.75, 1.0, 0.75], dtype=torch.float64) / 2.5
        y = self.make().apply(x.expand(9, -1, -1, -1), {"shift": moved})
        return *brute(y, (along[:, None] * along).flatten()), 1e-13


class TestCropMirror(MomentCase):
    def make(self):
        return RandomCrop((2, 0, 1, 3), outside="mirror")

    def truth(self, x):
        padded = torch.nn.functional.pad(x[None], (2, 1, 0, 3), mode="reflect")[0]
        y = torch.stack([padded[:, i : i + 6, j : j + 7] for i in range(4) for j in range(4)])
        return *brute(y, torch.full((16,), 1 / 16, dtype=torch.float64)), 1e-13


class TestCropColour(MomentCase):
    def make(self):
        return RandomCrop((1, 0, 0, 2), fill=(0.1, 0.5, 1.0))

    def truth(self, x):
        colour = x.new_tensor([0.1, 0.5, 1.0])[:, None, None]
        padded = torch.nn.functional.pad(x - colour, (1, 0, 0, 2)) + colour
        y = torch.stack([padded[:, i : i + 6, j : j + 7] for i in range(3) for j in range(2)])
        return *brute(y, torch.full((6,), 1 / 6, dtype=torch.float64)), 1e-13


class Long(MomentCase):
    """Of thousands of nodes, which are not made one by one here."""

    def test_streaming_changes_nothing(self):
        pass


class TestAffineOfTwo(Long):
    kind, size = "quadrature", (1, 5, 6)

    def make(self):
        return Affine(degrees=10, scale=(0.9, 1.2), shear_y=(5, 5), padding="masked")

    def truth(self, x):
        angles, factors = mids(-10, 10, 200), mids(0.9, 1.2, 200)
        angle, factor = torch.cartesian_prod(angles, factors).unbind(1)
        fixed = {"shear": torch.zeros(1), "shear_y": torch.full((1,), 5.0), "shift": torch.zeros(1, 2)}
        params = {name: value.expand(40_000, *value.shape[1:]) for name, value in fixed.items()}
        params |= {"angle": angle, "factor": factor}
        y = self.make().apply(x.expand(40_000, -1, -1, -1), params)
        return *brute(y, torch.full((40_000,), 1 / 40_000, dtype=torch.float64)), 1e-3


class TestPerspective(Long):
    kind, size, draws = "randomised qmc", (1, 5, 6), 8_000

    def make(self):
        return Perspective(0.5, padding="masked")


def test_case_j_with_a_mask():
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    found = Shift(1, 0, padding="masked").moments(x)
    torch.testing.assert_close(found.mean.flatten(), torch.tensor([1 / 3], dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.trace, torch.tensor(4 / 45, dtype=torch.float64), rtol=0, atol=1e-14)


def test_what_is_alone_in_an_affine_is_itself():
    x = images(3, 5, 6)
    for joint, alone in [
        (Affine(degrees=20), Rotate(20)),
        (Affine(scale=0.3, interpolation="nearest"), Scale(0.3, interpolation="nearest")),
        (Affine(shear_y=(0, 20), padding="masked"), Shear((0, 20), vertical=True, padding="masked")),
        (Affine(shares=(0.2, 0.3), whole=True), Shift(0.2, 0.3, whole=True)),
        (Affine(), Identity()),
    ]:
        found, expected = joint.moments(x), alone.moments(x)
        assert found.kind == expected.kind
        torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.dense(), expected.dense(), rtol=0, atol=1e-12)
