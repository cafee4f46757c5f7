"""The distances of gradients: hand values, invariants, derivatives."""

import pytest
import torch
from condensation_references import plain_distance
from hypothesis import given, settings
from hypothesis import strategies as st

from auglean.condensation import gradient_distance
from auglean.condensation.distances import rows
from auglean.errors import InputError

METRICS = ["layerwise-cosine", "cosine", "mse"]
A = [torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)]
B = [torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64), torch.tensor([5.0, -1.0], dtype=torch.float64)]


@pytest.mark.parametrize(
    ("metric", "value"), [("layerwise-cosine", 0.2928942188), ("mse", 27.0), ("cosine", 0.5991081639)]
)
def test_values_by_hand(metric, value):
    assert float(gradient_distance(A, B, metric)) == pytest.approx(value, abs=1e-9)
    assert float(gradient_distance(A, B, metric)) == pytest.approx(plain_distance(A, B, metric), abs=1e-12)


def test_without_epsilon_a_diagonal_row_is_one_minus_half_root_two():
    assert float(gradient_distance(A, B, epsilon=0.0)) == pytest.approx(1 - 0.5**0.5, abs=1e-12)


def test_zero_orthogonal_and_opposite_rows():
    ones, zeros = torch.ones(2, 3), torch.zeros(2, 3)
    assert float(gradient_distance([zeros], [ones])) == 2.0
    assert float(gradient_distance([torch.eye(3)], [torch.eye(3).roll(1, 0)])) == 3.0
    assert float(gradient_distance([ones], [-ones])) == pytest.approx(4.0, abs=1e-5)
    assert float(gradient_distance([ones], [ones])) == pytest.approx(0.0, abs=1e-5)


def make(seed):
    g = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 3, 3), (4,), (5, 2, 3), (3, 16), (3,)]
    return [torch.randn(shape, dtype=torch.float64, generator=g) for shape in shapes]


@pytest.mark.parametrize("metric", METRICS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_equals_the_plain_formula(metric, seed):
    real, synthetic = make(seed), make(seed + 5000)
    assert float(gradient_distance(real, synthetic, metric)) == pytest.approx(
        plain_distance(real, synthetic, metric), abs=1e-10
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_scale_and_order_of_rows_do_not_matter(seed, scale):
    real, synthetic = make(seed), make(seed + 5000)
    for metric in ("layerwise-cosine", "cosine"):
        one = gradient_distance(real, synthetic, metric, epsilon=1e-12)
        other = gradient_distance([scale * part for part in real], synthetic, metric, epsilon=1e-12)
        torch.testing.assert_close(one, other)
    shuffled = [[part.flip(0) for part in side] for side in (real, synthetic)]
    for metric in METRICS:
        torch.testing.assert_close(
            gradient_distance(real, synthetic, metric), gradient_distance(*shuffled, metric), rtol=1e-9, atol=1e-9
        )


def test_what_a_row_is_matters_to_the_layerwise_distance_alone():
    real, synthetic = (part.reshape(1, 24) for part in (make(0)[0].flatten()[:24], make(1)[0].flatten()[:24]))
    for metric in METRICS:
        one = gradient_distance([real], [synthetic], metric)
        other = gradient_distance([real.reshape(4, 6)], [synthetic.reshape(4, 6)], metric)
        assert torch.allclose(one, other) == (metric != "layerwise-cosine")


def test_vectors_add_nothing_to_the_layerwise_distance_alone():
    real, synthetic = make(0), make(1)
    moved = [part + 1 if part.ndim == 1 else part for part in synthetic]
    for metric in METRICS:
        same = torch.equal(gradient_distance(real, synthetic, metric), gradient_distance(real, moved, metric))
        assert same == (metric == "layerwise-cosine")
    assert float(gradient_distance([real[1]], [synthetic[1]])) == 0.0
    assert rows(real) == 4 + 5 + 3


@pytest.mark.parametrize("metric", METRICS)
def test_derivatives_in_both_arguments(metric):
    real, synthetic = ([part.requires_grad_() for part in make(seed)] for seed in (2, 3))
    count = len(real)
    assert torch.autograd.gradcheck(
        lambda *parts: gradient_distance(parts[:count], parts[count:], metric), (*real, *synthetic)
    )


def test_keeps_the_type():
    for dtype in (torch.float32, torch.float64):
        for metric in METRICS:
            assert gradient_distance(*([p.to(dtype) for p in make(s)] for s in (0, 1)), metric).dtype == dtype


def test_refuses():
    with pytest.raises(InputError, match="same parameters"):
        gradient_distance(A, B[:1])
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        gradient_distance(A, B, "cosin")
