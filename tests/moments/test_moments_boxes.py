"""Random boxes: the law of their sides against draws, and crops against every box there is."""

import pytest
import torch
from draws import agree, drawn
from moment_case import MomentCase, brute, images

import auglean as al
from auglean.moments.box_laws import sides
from auglean.policies import ClampedErasing, RandomErasing, RandomResizedCrop

LAWS = [
    RandomErasing(),
    RandomErasing(scale=(0.3, 1.0)),  # often fails
    RandomErasing(scale=(0.25, 0.25)),
    RandomErasing(ratio=(1, 1)),
    RandomErasing(scale=(0.3, 0.3), ratio=(1.5, 1.5)),
    ClampedErasing(scale=(0.02, 0.9)),
    ClampedErasing(scale=(0.1, 0.3), ratio=(2.0, 9.0)),
    RandomResizedCrop(),
    RandomResizedCrop((0.8, 1.0), (2, 3)),  # often fails
]


@pytest.mark.parametrize("policy", LAWS, ids=repr)
@pytest.mark.parametrize("size", [(5, 7), (16, 13)])
def test_sides_against_draws(policy, size):
    law, n = sides(policy, *size), 100_000
    table = torch.zeros(size[0] + 1, size[1] + 1, dtype=torch.float64)
    table[law.down, law.across] = law.weights
    if law.failed:
        across, down = policy._fallback(*size)
        table[down, across] += law.failed
    torch.testing.assert_close(table.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-12)
    _, _, across, down = policy.boxes(policy.draw(n, generator=torch.Generator().manual_seed(0)), *size)
    found = torch.zeros_like(table).index_put_((down, across), torch.tensor(1 / n).double(), accumulate=True)
    assert ((found - table).abs() <= 5 * (table * (1 - table) / n).sqrt() + 1e-5).all()


class TestResizedCrop(MomentCase):
    size = (2, 5, 6)
    mode, antialias = "bilinear", True

    def make(self):
        return RandomResizedCrop((0.1, 1.0), (0.5, 1.8), interpolation=self.mode, antialias=self.antialias)

    def truth(self, x):
        policy, law = self.make(), sides(self.make(), 5, 6)
        rows = []
        for down, across, weight in zip(law.down.tolist(), law.across.tolist(), law.weights.tolist(), strict=True):
            for i in range(6 - down):
                for j in range(7 - across):
                    place = ((j + 0.5) / (7 - across), (i + 0.5) / (6 - down))
                    rows.append((down * across / 30, across / down, *place, weight / (6 - down) / (7 - across)))
        rows.append((2.0, 1.0, 0.0, 0.0, law.failed))  # fits nowhere
        area, ratio, x_place, y_place, weights = torch.tensor(rows, dtype=torch.float64).unbind(1)
        params = {"area": area[:, None], "ratio": ratio[:, None], "place": torch.stack([x_place, y_place], 1)}
        return *brute(policy.apply(x.expand(len(rows), -1, -1, -1), params), weights), 1e-13


class TestResizedCropBicubic(TestResizedCrop):
    mode = "bicubic"


class TestResizedCropBicubicAtTheEdge(TestResizedCrop):
    mode, antialias = "bicubic", False


class TestResizedCropNearest(TestResizedCrop):
    mode = "nearest"


class TestResizedCropThatFails(TestResizedCrop):
    def make(self):
        return RandomResizedCrop((0.5, 1.0), (1.9, 3.0))


class TestErasing(MomentCase):
    size = (2, 5, 6)
    p, scale, ratio, fill = 0.6, (0.05, 0.6), (0.4, 2.0), (0.3, 0.8)

    def make(self):
        return RandomErasing(self.p, scale=self.scale, ratio=self.ratio, fill=self.fill)

    def truth(self, x):
        law, rows, weights = sides(self.make(), 5, 6), [x], []
        for down, across, weight in zip(law.down.tolist(), law.across.tolist(), law.weights.tolist(), strict=True):
            for i in range(6 - down):
                for j in range(7 - across):
                    y = x.clone()
                    y[:, i : i + down, j : j + across] = x.new_tensor(self.fill)[:, None, None]
                    rows.append(y)
                    weights.append(self.p * weight / (6 - down) / (7 - across))
        return *brute(torch.stack(rows), torch.tensor([1 - sum(weights), *weights], dtype=torch.float64)), 1e-13


class TestErasingThatFails(TestErasing):
    p, scale, ratio = 1.0, (0.5, 1.0), (0.3, 3.0)


class TestErasingByNoise(MomentCase):
    """Against draws alone: the law is continuous in every value."""

    size = (2, 4, 5)

    def make(self):
        return RandomErasing(0.8, scale=(0.1, 0.5), fill="noise")


def test_erasing_by_noise_of_torchvision(v2):
    options = {"scale": (0.05, 0.4), "ratio": (0.2, 0.5)}
    x, transform = images(3, 6, 7, seed=1), v2.RandomErasing(value="random", **options)
    draws, found = drawn(transform, x, 20_000), al.from_torchvision(transform).moments(x)
    assert found.kind == "exact finite"
    assert agree(draws, found)
    for twin in ({"p": 0.55}, {"fill": 0.0}):
        assert not agree(draws, RandomErasing(**{"fill": "noise", **options, **twin}).moments(x))


def test_erasing_of_torchvision(v2):
    options = {"scale": (0.05, 0.4), "ratio": (0.2, 0.5)}
    x, transform = images(3, 6, 7, seed=1), v2.RandomErasing(value=(0.2, 0.5, 0.9), **options)
    draws, found = drawn(transform, x, 20_000), al.from_torchvision(transform).moments(x)
    assert found.kind == "exact finite"
    assert agree(draws, found)
    options["fill"] = (0.2, 0.5, 0.9)
    for twin in ({"ratio": (2.0, 5.0)}, {"p": 0.55}, {"scale": (0.05, 0.5)}, {"fill": 0.0}):
        assert not agree(draws, RandomErasing(**options | twin).moments(x))


def test_resized_crops_of_torchvision(v2):
    x, transform = images(3, 6, 7, seed=1), v2.RandomResizedCrop((6, 7), scale=(0.2, 1.0))
    draws, policy = drawn(transform, x, 20_000), al.from_torchvision(transform)
    assert agree(draws, policy.moments(x))
    assert not agree(draws, RandomResizedCrop((0.2, 1.0), interpolation="nearest").moments(x))
    assert not agree(draws, RandomResizedCrop((0.25, 1.0)).moments(x))


def test_what_is_erased_before_and_after_normalizing(v2):
    """Zero is black before, and a grey of the mean's after."""
    x = images(3, 5, 6, seed=1)
    erasing, normalize = v2.RandomErasing(0.8, scale=(0.1, 0.4)), v2.Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    orders = [v2.Compose([erasing, normalize]), v2.Compose([normalize, erasing])]
    draws = [drawn(order, x, 4000) for order in orders]
    found = [al.from_torchvision(order).moments(x) for order in orders]
    assert [agree(one, other) for one in draws for other in found] == [True, False, False, True]


def test_large_images_are_drawn():
    found = RandomResizedCrop().moments(images(1, 100, 100), most=16)
    assert found.kind == "monte carlo"
