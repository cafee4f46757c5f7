"""Policies that change colours through the shared case of the moments."""

import itertools

import numpy as np
import pytest
import torch
from moment_case import MomentCase, brute, images

from auglean.policies import (
    TORCHVISION_GREY,
    AddBrightness,
    Brightness,
    ChannelPermutation,
    ColorJitter,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HSVSaturation,
    Hue,
    Invert,
    Posterize,
    Quantize,
    RandomOrder,
    SolarizeAbove,
    parse,
    sometimes,
)


def mids(low, high, n):
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


class Grid(MomentCase):
    """One uniform parameter, on many midpoints."""

    name, low, high, n, tolerance = "", 0.0, 0.0, 20_000, 2e-7

    def truth(self, x):
        y = self.make().apply(x.expand(self.n, -1, -1, -1), {self.name: mids(self.low, self.high, self.n)})
        return *brute(y, torch.full((self.n,), 1 / self.n, dtype=torch.float64)), self.tolerance


class TestAddBrightness(Grid):
    kind, name, low, high = "exact panels", "offset", -0.3, 0.5

    def make(self):
        return AddBrightness((-0.3, 0.5))


class TestBrightnessRange(Grid):
    kind, name, low, high = "exact panels", "factor", 1.1, 1.7

    def make(self):
        return Brightness((1.1, 1.7))


class TestHSVSaturation(Grid):
    kind, name, low, high = "exact panels", "factor", 0.1, 1.9

    def make(self):
        return HSVSaturation(0.9)


class TestHue(Grid):
    kind, name, low, high = "exact panels", "hue", -0.1, 0.1

    def make(self):
        return Hue(0.1)


class TestGamma(Grid):
    kind, name, low, high = "quadrature", "gamma", 0.5, 2.0

    def make(self):
        return Gamma((0.5, 2.0))

    def truth(self, x):
        y = x.expand(self.n, -1, -1, -1) ** mids(0.5, 2.0, self.n)[:, None, None, None]
        return *brute(y, torch.full((self.n,), 1 / self.n, dtype=torch.float64)), self.tolerance


class TestGaussianBlur(Grid):
    kind, name, low, high = "quadrature", "sigma", 0.1, 2.0

    def make(self):
        return GaussianBlur(5, (0.1, 2.0))


class Certain(MomentCase):
    """What is done or not, by chance."""

    operator = None

    def make(self):
        return sometimes(0.3, self.operator)

    def truth(self, x):
        both = torch.stack([self.operator(x), x])
        return *brute(both, torch.tensor([0.3, 0.7], dtype=torch.float64)), 1e-14


class TestGrayscale(Certain):
    operator = Grayscale(weights=TORCHVISION_GREY)


class TestInvert(Certain):
    operator = Invert()


class TestQuantize(Certain):
    operator = Quantize(3)


class TestPosterizeCertain(Certain):
    operator = Posterize((3, 3))


class TestSolarizeCertain(Certain):
    operator = SolarizeAbove(0.4)


class TestBlurCertain(Certain):
    operator = GaussianBlur(3, 0.8)


class TestChannelPermutation(MomentCase):
    def make(self):
        return ChannelPermutation()

    def truth(self, x):
        orders = torch.stack([x[list(order)] for order in itertools.permutations(range(3))])
        return *brute(orders, torch.full((6,), 1 / 6, dtype=torch.float64)), 1e-14


class Many(MomentCase):
    """So many nodes that one at a time would take long."""

    kind = "quadrature"

    def test_streaming_changes_nothing(self):
        """Nodes by the hundred are streamed in other cases."""


class TestSolarizeAbove(Many):
    def make(self):
        return SolarizeAbove((0.2, 0.8), addition=(-0.1, 0.1))


class TestJitterLinear(MomentCase):
    """Without clamps: against a product of Gauss rules of a higher order, in every order."""

    def make(self):
        return ColorJitter(0.4, 0.5, (0.2, 1.8), clamp=False, weights=TORCHVISION_GREY)

    def truth(self, x):
        place, share = map(torch.from_numpy, np.polynomial.legendre.leggauss(5))
        factors = torch.cartesian_prod(1 + 0.4 * place, 1 + 0.5 * place, 1 + 0.8 * place).repeat(6, 1)
        params = {f"{i}.factor": column for i, column in enumerate(factors.unbind(1))}
        params["order"] = torch.arange(6).repeat_interleave(125)
        weights = torch.cartesian_prod(*[share / 2] * 3).prod(1).repeat(6) / 6
        return *brute(self.make().apply(x.expand(750, -1, -1, -1), params), weights), 1e-13


class TestJitterClamped(Many):
    def make(self):
        return ColorJitter(0.4, 0.4)


class TestJitterOfGrey(TestJitterLinear):
    size = (1, 5, 7)


class Noise(MomentCase):
    """Values are independent: against a fine sum over the normal law."""

    policy = None

    def make(self):
        return self.policy

    def truth(self, x):
        z = mids(-9.0, 9.0, 200_001)[:, None]
        weight = torch.exp(-(z**2) / 2)
        weight = weight / weight.sum()
        y = x.flatten() + self.policy.mean + self.policy.sigma * z
        y = y.clamp(0, 1) if self.policy.clamp else y
        mean = (weight * y).sum(0)
        return mean, torch.diag((weight * (y - mean) ** 2).sum(0)), 1e-9

    def test_fourth_powers(self):
        x = images(*self.size)
        y = self.policy(x.expand(200_000, -1, -1, -1), generator=torch.Generator().manual_seed(1)).flatten(1)
        distance = (y - y.mean(0)).square().sum(1).square()
        assert abs(float(distance.mean() - self.policy.moments(x).m4)) < 5 * float(distance.std()) / len(y) ** 0.5


class TestNoise(Noise):
    size, policy = (1, 3, 4), GaussianNoise(0.3, mean=0.05)


class TestNoiseUnclamped(Noise):
    size, policy = (1, 3, 4), GaussianNoise(0.2, mean=-0.1, clamp=False)


class ChainCase(MomentCase):
    """A chain keeps some dozens of columns, with less memory than which draws are taken."""

    def test_streaming_changes_nothing(self):
        x = images(*self.size)
        kept, streamed = self.make().moments(x), self.make().moments(x, max_memory=8 * 200 * x.numel())
        torch.testing.assert_close(streamed.mean, kept.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(streamed.variance, kept.variance, rtol=0, atol=1e-12)


class TestNoiseLast(ChainCase):
    """Behind other operators noise stands beside the factor."""

    size = (1, 4, 5)

    def make(self):
        return parse("crop1-flip") | GaussianNoise(0.2, clamp=False)

    def truth(self, x):
        before = parse("crop1-flip").moments(x)
        return before.mean.flatten(), before.dense() + 0.04 * torch.eye(20, dtype=torch.float64), 1e-12


class TestNoiseFirst(ChainCase):
    """Noise goes through what follows it."""

    size = (1, 4, 5)

    def make(self):
        return GaussianNoise(0.3) | parse("flip") | parse("crop1")

    def truth(self, x):
        noise = GaussianNoise(0.3).moments(x)
        mean, own = noise.mean, noise.variance
        found, weight = torch.zeros(20, 20, dtype=torch.float64), 1 / 18
        centre, seconds = torch.zeros(20, dtype=torch.float64), []
        for flip in (False, True):
            for i, j in itertools.product(range(3), repeat=2):

                def move(y, flip=flip, i=i, j=j):
                    y = y.flip(2) if flip else y
                    return torch.nn.functional.pad(y, (1, 1, 1, 1))[:, i : i + 4, j : j + 5].flatten()

                centre += weight * move(mean)
                seconds.append(move(mean))
                found += weight * torch.diag(move(own))
        for second in seconds:
            found += weight * torch.outer(second - centre, second - centre)
        return centre, found, 1e-12


class TestRandomOrder(MomentCase):
    def make(self):
        return RandomOrder([parse("flip"), parse("crop1"), parse("posterize4")])

    def truth(self, x):
        found = []
        for order in itertools.permutations(range(3)):
            for flip in (False, True):
                for shift in itertools.product((-1, 0, 1), repeat=2):
                    for bits in range(4, 9):
                        y = x
                        for i in order:
                            if i == 0:
                                y = y.flip(2) if flip else y
                            elif i == 1:
                                padded = torch.nn.functional.pad(y, (1, 1, 1, 1))
                                y = padded[:, 1 + shift[0] : 7 + shift[0], 1 + shift[1] : 8 + shift[1]]
                            else:
                                y = ((y * 255).round() / 2 ** (8 - bits)).floor() * 2 ** (8 - bits) / 255
                        found.append(y)
        return *brute(torch.stack(found), torch.full((540,), 1 / 540, dtype=torch.float64)), 1e-13


def test_hand_case_f():
    """One pixel 0.8, brightness uniform on [0.5, 1.5], clamped: mean 0.775, variance 0.039375."""
    found = Brightness((0.5, 1.5)).moments(torch.full((1, 1, 1), 0.8, dtype=torch.float64))
    assert abs(float(found.mean) - 0.775) < 1e-12
    assert abs(float(found.variance) - 0.039375) < 1e-12


@pytest.mark.parametrize("policy", [Hue((0.1, 0.1)), Gamma((1.0, 1.0)), Brightness((1.0, 1.0)), AddBrightness(0.0)])
def test_one_value_is_certain(policy):
    x = images(3, 5, 4)
    found = policy.moments(x)
    assert found.kind == "exact finite"
    assert found.nodes == 1
    torch.testing.assert_close(found.mean, policy(x), rtol=0, atol=1e-14)
    assert found.trace < 1e-26


def test_jitter_of_three_and_of_four():
    """Against draws: nodes of three factors, and Sobol points where hues are turned too."""
    x = images(3, 5, 4)
    for policy, kind in [
        (ColorJitter(0.4, 0.4, 0.4), "quadrature"),
        (ColorJitter(0.4, 0.4, 0.4, 0.1), "randomised qmc"),
    ]:
        found = policy.moments(x)
        assert found.kind == kind
        y = policy(x.expand(20_000, -1, -1, -1), generator=torch.Generator().manual_seed(5)).flatten(1)
        off = float((y.mean(0) - found.mean.flatten()).norm() / (found.trace / len(y)) ** 0.5)
        assert off < 3.9  # of one direction at level 1e-4
        spread = ((found.m4 - found.trace**2) / len(y)).sqrt()
        assert abs(float((y.var(0).sum() - found.trace) / spread)) < 4


def test_noise_on_many_values_in_the_middle_is_drawn():
    """Beyond a thousand values a factor of the noise would be too wide, and draws are taken."""
    found = (GaussianNoise(0.1, clamp=False) | parse("flip")).moments(images(3, 20, 20), most=64)
    assert found.kind == "monte carlo"
    last = (parse("flip") | GaussianNoise(0.1, clamp=False)).moments(images(3, 20, 20))
    assert last.kind == "exact finite"
    assert float(last.trace - parse("flip").moments(images(3, 20, 20)).trace) == pytest.approx(12, rel=1e-9)


def test_the_share_that_clamps_change_is_said():
    x = torch.full((1, 10, 10), 0.9, dtype=torch.float64)
    note = Brightness((0.8, 1.4)).moments(x).note  # cut off from 1 / 0.9 on, nearly half of the time
    share = float(note.removeprefix("Clamps change ").partition(" ")[0])
    assert abs(share - (1.4 - 1 / 0.9) / 0.6) < 4 * 0.5 / 8
    assert Brightness((0.8, 1.4), clamp=False).moments(x).note == ""
    assert Brightness((0.5, 0.9)).moments(x).note == ""
    assert "Clamps change" in (parse("flip") | ColorJitter(0.4, 0.4)).moments(images(3, 5, 5)).note
