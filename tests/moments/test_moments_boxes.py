"""Random boxes: the law of their sides against draws, and crops against every box there is."""

import pytest
import torch
from draws import agree, drawn
from moment_case import MomentCase, brute, images

import auglean as al
from auglean import InputError
from auglean.moments import resized
from auglean.moments.box_laws import sides
from auglean.moments.masks import boxes
from auglean.policies import ClampedErasing, Cutout, Flip, RandomErasing, RandomResizedCrop, parse


def close(found, expected, atol):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


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


def test_larger_images_go_by_points(monkeypatch):
    monkeypatch.setattr(resized, "_MOST", 0)
    found = RandomResizedCrop().moments(images(1, 100, 100), most=256)
    assert found.kind == "randomised qmc"
    assert found.error > 0
    assert "were estimated with 256 scrambled Sobol points" in found.note


class TestLargeResizedCrop(TestResizedCrop):
    """Mean and variances as where products are quick; the rest by points."""

    kind = "randomised qmc"

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch):
        monkeypatch.setattr(resized, "_PRODUCT", 0)

    def test_it_says_how_it_was_got(self):
        found = self.make().moments(images(*self.size))
        assert (found.kind, found.m4_kind, found.error) == (self.kind, self.kind, 0)
        assert found.nodes == 4096
        assert found.note.startswith("Mean and variances are exact")

    def test_against_brute_force(self):
        x = images(*self.size)
        mean, covariance, tolerance = self.truth(x)
        found = self.make().moments(x)
        close(found.mean.flatten(), mean, tolerance)
        close(found.variance.flatten(), covariance.diagonal(), tolerance)
        off = (found.dense() - covariance).square().sum()
        assert off < 1.5 * (found.m4 - covariance.square().sum()) / 4096  # the mean of as many draws

    def test_streaming_changes_nothing(self):
        """Fewer points fit, and the mean needs none."""
        x = images(*self.size)
        few = self.make().moments(x, max_memory=8 * 40 * x.numel())
        assert few.nodes == 32
        close(few.variance, self.make().moments(x).variance, 1e-12)

    def test_it_is_not_exact(self):
        with pytest.raises(InputError, match="has no exact rule"):
            self.make().moments(images(*self.size), method="exact")


def test_a_flip_and_a_box_behind_a_resized_crop():
    x = images(2, 5, 6, seed=2)
    crop = RandomResizedCrop((0.3, 1.0))
    flipped = (crop | Flip(0.3)).moments(x)
    one = crop.moments(x)
    step = (one.mean - one.mean.flip(2)).flatten()
    turned = torch.eye(60, dtype=torch.float64).view(60, 2, 5, 6).flip(3).flatten(1)
    truth = one.dense()
    truth = 0.7 * truth + 0.3 * turned @ truth @ turned + 0.21 * torch.outer(step, step)
    assert flipped.kind == "exact finite"
    close(flipped.dense(), truth, 1e-12)
    close(flipped.variance.flatten(), truth.diagonal(), 1e-12)
    erased = (crop | Flip(0.3) | Cutout(2)).moments(x)
    box = torch.stack([(box[0] == 0).double().flatten() for _, box in boxes(Cutout(2), 5, 6).all()])
    kept = (box.T @ box / len(box)).repeat(2, 2)
    mean = flipped.mean.flatten()
    second = (truth + torch.outer(mean, mean)) * kept
    close(erased.mean.flatten(), mean * kept.diagonal(), 1e-12)
    close(erased.dense(), second - torch.outer(erased.mean.flatten(), erased.mean.flatten()), 1e-12)


def test_a_box_behind_more_columns_than_fit():
    x, policy = images(2, 8, 8, seed=2), RandomResizedCrop((0.3, 1.0)) | Flip(0.3) | Cutout(2)
    exact, found = policy.moments(x), policy.moments(x, max_memory=300_000)
    assert (exact.kind, found.kind) == ("exact finite", "randomised qmc")
    close(found.mean, exact.mean, 1e-12)
    close(found.variance, exact.variance, 1e-12)
    off = (found.dense() - exact.dense()).square().sum()
    assert off < 1.5 * (exact.m4 - exact.frobenius2) / 256  # the mean of as many draws


def test_a_rotation_behind_a_resized_crop_goes_by_points():
    found = (RandomResizedCrop((0.3, 1.0)) | parse("rotate15")).moments(images(1, 6, 6))
    assert found.kind == "randomised qmc"
    assert found.error > 0
