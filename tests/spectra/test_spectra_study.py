"""`jacobian_spectrum` whole: what it finds, that it leaves everything as it was, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import auglean as al
from auglean.errors import InputError
from auglean.policies import Cutout, Translate, as_policy
from auglean.spectra import Spectrum, jacobian_spectrum, study
from auglean.spectra.spectrum import Contrast

KEYS = ("values", "spectral", "frobenius", "alignment", "stewart")


@pytest.fixture(scope="module")
def data():
    return al.load("digits")


@pytest.fixture(scope="module")
def model(data):
    return al.fit("convnet-w4-d1-batch", data, policy="rotate10", steps=30, seed=0).model


@pytest.fixture(scope="module")
def found(model, data):
    return jacobian_spectrum(model, data, "translate1-rotate15", images=8, draws=3)


def lone(data):
    """One linear output: the Jacobian's rows are the images themselves."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
    return model, al.ImageSet(data.images, torch.zeros_like(data.labels))


def test_values_are_those_of_a_jacobian_by_hand(model, data):
    found = jacobian_spectrum(model, data, Translate(1), weak="flip", images=4, draws=2, output="sum", seed=7)
    probe = torch.randperm(len(data), generator=al.randomness.generator(7, "probe"))[:4].sort().values
    x = data.images[probe].float() / 255
    keys = lambda part, **more: al.randomness.Keys(probe, seed=al.randomness.derive(7, part), **more)  # noqa: E731
    x = al.policies.Flip()(x, generator=keys("weak"))
    model = model.double().eval()
    try:
        names = [name for name, _ in model.named_parameters()]
        values = tuple(value.detach() for value in model.parameters())

        def rows(images):
            def call(*given):
                return torch.func.functional_call(model, dict(zip(names, given, strict=True)), (images.double(),)).sum(
                    1
                )

            return torch.cat([part.flatten(1) for part in torch.autograd.functional.jacobian(call, values)], 1)

        before = rows(x)
        after = [rows(Translate(1)(x, generator=keys("strong", stream=draw))) for draw in range(2)]
    finally:
        model.float()
    assert torch.allclose(found.values, torch.linalg.svdvals(before))
    expected = torch.stack([torch.linalg.svdvals(matrix) for matrix in after])
    assert torch.allclose(found.after.mean, expected.mean(0))
    assert torch.allclose(found.after.std, expected.std(0))
    assert torch.allclose(found.spectral, torch.stack([torch.linalg.matrix_norm(m - before, 2) for m in after]))
    assert torch.allclose(found.frobenius, torch.stack([(m - before).norm() for m in after]))
    assert (found.alignment, found.slow, found.slow_contrast) == (None, None, None)


def test_bounds_hold_for_a_network(found):
    assert (found.rows, found.method, len(found.values)) == (80, "rows", 80)
    assert ((found.after.mean - found.values).abs() <= found.spectral.max() + 1e-9).all()
    low, high = found.stewart
    assert (low - 1e-9 <= found.after.mean).all()
    assert (found.after.mean <= high + 1e-9).all()
    assert (found.appended.mean >= torch.maximum(found.values, found.after.mean) - 1e-9).all()
    for row in found.subspaces:
        assert row.vacuous == (row.wedin >= 1)
        for side in (row.left, row.right):
            assert 0 <= side["average"] <= side["largest"] <= 90
            assert row.vacuous or math.sin(math.radians(side["largest"])) <= row.wedin
    assert found.alignment[-1] == pytest.approx(1)
    assert (found.alignment.diff() >= 0).all()
    assert [row.k for row in found.subspaces] == [1, 2, 3, 5, 10, 20, 30, 50]


def test_a_small_change_has_bounds_that_say_something(model, data):
    faint = as_policy(lambda image: image + 1e-6 * torch.randn(image.shape))
    found = jacobian_spectrum(model, data, faint, images=6, draws=2)
    assert not found.subspaces[0].vacuous
    assert "≤" in found.subspaces[0].bound
    assert found.weyl_says > 10
    # first order is exact to the digits of so small a change
    assert torch.isfinite(found.predicted).sum() > 10


def test_white_noise_is_found_to_be_noise_and_a_fainter_image_is_not(data):
    model, data = lone(data)
    noise = as_policy(lambda image: image + 0.3 * torch.randn(image.shape))
    runs = [jacobian_spectrum(model, data, noise, images=20, draws=5, output="sum", seed=seed) for seed in range(12)]
    alike = [found for found in runs if found.growth.verdict == "alike"]
    assert len(alike) >= 9  # of a test at 5 %, fewer come once in 450 times
    assert "could not be told apart from the null's" in repr(alike[0])
    assert (alike[0].rows, alike[0].columns) == (20, 64)
    assert alike[0].growth.after.mean() > 0.2  # though noise enlarges them by a lot
    fainter = jacobian_spectrum(model, data, lambda image: 0.5 * image, images=20, draws=3, output="sum")
    assert fainter.growth.verdict == "less"
    assert "grew no more than the null's" in repr(fainter)
    assert torch.allclose(fainter.ratio(fainter.after), torch.full((20,), 0.5, dtype=torch.float64), atol=1e-6)
    assert fainter.after.std.max() < 1e-9


def test_more_rows_than_columns(data):
    model, data = lone(data)
    found = jacobian_spectrum(model, data, Cutout(3), images=90, draws=2, output="sum")
    assert (found.rows, found.columns, len(found.values)) == (90, 64, 64)
    low, high = found.stewart
    assert ((low - 1e-9 <= found.after.mean) & (found.after.mean <= high + 1e-9)).all()


def test_the_model_and_the_process_are_left_as_they_were(model, data):
    model.train()
    model.features[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [value.grad.clone() for value in model.parameters()]
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()
    for method in ("exact", "randomised"):
        jacobian_spectrum(model, data, "rotate15", images=2, draws=2, top=5, method=method)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad for value in model.parameters())
    assert all(torch.equal(value.grad, old) for value, old in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all()
    model.eval()


def test_methods_agree(model, data, monkeypatch):
    options = {"images": 6, "draws": 2, "top": 10}
    rows = jacobian_spectrum(model, data, "rotate15", **options)
    monkeypatch.setattr(study.Rows, "bytes", staticmethod(lambda jacobian: 1 << 62))
    gram = jacobian_spectrum(model, data, "rotate15", method="exact", **options)
    few = jacobian_spectrum(model, data, "rotate15", **options)
    assert [found.method for found in (rows, gram, few)] == ["rows", "gram", "randomised"]
    assert "rows would take" in gram.why
    assert "rows would take" in few.why
    assert torch.allclose(gram.after.mean, rows.after.mean, rtol=1e-5)
    assert torch.allclose(gram.null.mean, rows.null.mean, rtol=0.2)  # another basis, other noise
    for mine, truth in ((few.values, rows.values), (few.after.mean, rows.after.mean)):
        assert torch.allclose(mine[:10], truth[:10], rtol=0.01)
    assert few.slow == pytest.approx(rows.slow, rel=0.01)
    assert few.slow_contrast.after.mean() == pytest.approx(float(rows.slow_contrast.after.mean()), rel=0.01)
    assert few.spectral.mean() == pytest.approx(float(rows.spectral.mean()), rel=0.01)
    assert few.stewart is None
    assert 0 < few.error < 0.01
    assert "within" in few.cost


def test_a_seed_gives_the_numbers_again_and_another_seed_others(model, data, found):
    again = jacobian_spectrum(model, data, "translate1-rotate15", images=8, draws=3)
    assert all(torch.equal(getattr(again, key), getattr(found, key)) for key in KEYS)
    assert torch.equal(again.null.mean, found.null.mean)
    other = jacobian_spectrum(model, data, "translate1-rotate15", images=8, draws=3, seed=1)
    assert not torch.equal(other.values, found.values)


def test_a_spectrum_is_kept_in_one_file(found, tmp_path):
    found.save(tmp_path / "spectrum.json")
    again = Spectrum.load(tmp_path / "spectrum.json")
    assert repr(again) == repr(found)
    assert again.to_dict() == found.to_dict()
    plain = json.loads((tmp_path / "spectrum.json").read_text())
    assert plain["verdicts"] == {"growth": found.growth.verdict, "slow": found.slow_contrast.verdict}
    (tmp_path / "other.json").write_text("[]")
    for name in ("other.json", "none.json"):
        with pytest.raises(InputError, match="holds no spectrum"):
            Spectrum.load(tmp_path / name)


def test_it_prints_what_it_found(found):
    text = repr(found)
    for part in ("80 rows (8 images × 10 logits)", "translate1-rotate15", "3 draws", "Wedin", "vacuous", "Weyl",
                 "The smaller singular values", "slowly learnt", "image passes", "MiB"):  # fmt: skip
        assert part in text
    assert max(map(len, text.splitlines()[1:12])) <= 80


@pytest.mark.parametrize(
    ("after", "null", "verdict"),
    [
        ([1.0, 1.1, 0.9], [1.0, 0.9, 1.1], "alike"),
        ([1.0, 1.1, 0.9], [5.0, 5.1, 5.2], "less"),
        ([6.0, 6.1, 6.2], [5.0, 5.1, 5.0], "more"),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "alike"),
        ([2.0, 2.0], [1.0, 1.0], "more"),
        ([2.0, 0.0], [1.0, 1.0], "alike"),
    ],
)
def test_verdicts(after, null, verdict):
    assert Contrast(torch.tensor(after), torch.tensor(null)).verdict == verdict


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"images": 1001}, "1001 images was asked for; give 1 to 1000"),
        ({"images": 0}, "give 1 to 1000"),
        ({"top": 31}, "leading 31 singular values .* 30 ×"),
        ({"top": 0}, "give 1 to 30"),
        ({"draws": 1}, "draws is 1"),
        ({"method": "exat"}, "did you mean 'exact'"),
        ({"output": "logit"}, "did you mean 'logits'"),
        ({"policy": "none"}, "policy is 'none'"),
        ({"policy": "rotat15"}, "did you mean 'rotate'"),
        ({"policy": "rotate0"}, "changed none of the 3 images"),
        ({"max_memory": 1000, "method": "exact"}, 'method="randomised"'),
        ({"max_memory": 1000}, "smaller top, more max_memory"),
    ],
)
def test_bad_options(model, data, options, told):
    words = {"policy": "rotate15", "images": 3, "draws": 2, **options}
    with pytest.raises(InputError, match=told) as refused:
        jacobian_spectrum(model, data, words.pop("policy"), **words)
    assert "\n" not in str(refused.value)


def test_bad_networks_and_data(model, data):
    broken = al.networks.create("mlp", channels=1, classes=10, size=(8, 8))
    broken.classifier.bias.data[3] = math.nan
    with pytest.raises(InputError, match=r"not finite for 3 of 3 probe images"):
        jacobian_spectrum(broken, data, "rotate15", images=3)
    with pytest.raises(InputError, match="give an ImageSet"):
        jacobian_spectrum(model, [1, 2], "rotate15")
    small = al.networks.create("mlp", channels=1, classes=3, size=(8, 8))
    with pytest.raises(InputError, match="3 logits but there is a label 9"):
        jacobian_spectrum(small, data, "rotate15", images=300)
