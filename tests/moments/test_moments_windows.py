"""Joint affines of whole shifts: windows of a canvas against every node and shift one by one."""

import pytest
import torch
from draws import agree, drawn
from moment_case import MomentCase, brute, images

import auglean as al
from auglean.moments.laws import rounded_uniform
from auglean.policies import Affine


class TestWindows(MomentCase):
    size, kind, draws = (2, 5, 6), "quadrature", 20_000
    mode, centre = "bilinear", None

    def make(self):
        options = {"padding": "masked", "fill": (0.3, 0.6), "interpolation": self.mode, "centre": self.centre}
        return Affine(degrees=(0, 40), shares=(0.3, 0.2), whole=True, **options)

    def truth(self, x):
        shifts = [(i / 6, j / 5, p * q) for i, p in self.along(0.3 * 6) for j, q in self.along(0.2 * 5)]
        angles = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000 * 40
        across, down, weights = torch.tensor(shifts, dtype=torch.float64).unbind(1)
        n = len(angles)
        params = {
            "angle": angles.repeat(len(shifts)),
            "share": torch.stack([across, down], 1).repeat_interleave(n, 0),
            "factor": torch.ones(1),
            "shear": torch.zeros(1),
        }
        y = self.make().apply(x.expand(n * len(shifts), -1, -1, -1), params)
        return *brute(y, weights.repeat_interleave(n) / n), 5e-4

    @staticmethod
    def along(most):
        law = rounded_uniform(most)
        return list(zip(law.values, law.weights, strict=True))


class TestWindowsNearest(TestWindows):
    kind, mode, centre = "exact panels", "nearest", (1.0, 3.3)


@pytest.mark.parametrize("scale", [None, (0.8, 1.2)])
def test_no_grid_of_two(scale):
    """Three and more parameters go by Sobol points, the shifts exactly."""
    policy = Affine(degrees=10, shares=(0.3, 0.3), whole=True, shear=9, scale=scale or 0.0)
    found = policy.moments(images(1, 5, 6))
    assert found.kind == ("quadrature" if scale is None else "randomised qmc")


def test_large_shifts_cost_no_nodes():
    found = Affine(degrees=15, shares=(0.4, 0.4), whole=True).moments(images(1, 40, 40))
    assert found.error < 1e-3
    assert found.nodes <= 256  # 33² windows of each


def test_joint_affine_of_torchvision(v2):
    transform = v2.RandomAffine(20, translate=(0.2, 0.2), scale=(0.7, 1.2), shear=10, interpolation="bilinear")
    x, policy = images(3, 6, 7, seed=1), al.from_torchvision(transform)
    draws = drawn(transform, x, 20_000)
    found = policy.moments(x, most=512)
    assert found.kind == "randomised qmc"
    assert agree(draws, found)
    policy.padding = "fill"
    assert not agree(draws, policy.moments(x, most=512))
