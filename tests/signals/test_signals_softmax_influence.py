"""Softmax influence against a dense Hessian in float64, the binary form, and a Hessian that is a Kronecker product."""

import pytest
import torch
from scipy.stats import spearmanr

from auglean.errors import InputError
from auglean.signals import fit_logistic, logistic_influence, softmax_influence


def task(n=300, d=6, classes=4):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) + 3
    y = (x[:, :classes] + torch.randn(n, classes, generator=g)).argmax(1)
    return x, y, torch.rand(n, generator=g).double() + 0.2


def dense(x, y, p, C, w):
    """By the pseudo-inverse of the whole Hessian, all classes kept."""
    n, k = p.shape
    rows = torch.cat([x, torch.ones(n, 1).double()], 1)
    spread = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    ridge = torch.full((k, rows.shape[1]), 1 / C, dtype=torch.float64)
    ridge[:, -1] = 0
    hessian = torch.einsum("n,nab,ni,nj->aibj", w, spread, rows, rows).reshape(ridge.numel(), -1)
    residual = p - torch.nn.functional.one_hot(y, k)
    g = (residual[:, :, None] * rows[:, None]).flatten(1)
    return (g @ torch.linalg.pinv(hessian + ridge.flatten().diag(), hermitian=True) * g).sum(1)


@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
def test_exact_is_the_dense_form(C):
    x, y, w = task()
    p = fit_logistic(x, y, C=C, sample_weight=w).logits(x).softmax(1)
    expected = dense(x, y, p, C, w)
    found = softmax_influence(x, y, C=C, sample_weight=w)
    assert found.method == "exact"
    torch.testing.assert_close(found.score, expected, rtol=1e-7, atol=1e-12)
    given = softmax_influence(x.float(), y, probabilities=p, C=C, sample_weight=w)
    torch.testing.assert_close(given.score, expected, rtol=1e-4, atol=1e-8)
    assert ((found.leverage >= 0) & (found.leverage <= 1)).all()
    quick = softmax_influence(x, y, C=C, sample_weight=w, method="ek-fac")
    assert spearmanr(quick.score, expected).statistic > 0.98


def test_two_classes_are_the_binary_form_with_twice_the_c():
    x, y, w = task(classes=2)
    found, other = softmax_influence(x, y, C=0.5, sample_weight=w), logistic_influence(x, y, 1.0, sample_weight=w)
    for key in ("score", "leverage", "loss"):
        torch.testing.assert_close(getattr(found, key), getattr(other, key), rtol=1e-6, atol=1e-10)


def test_ek_fac_is_exact_where_the_hessian_is_a_kronecker_product():
    """All examples have the same probabilities, so that H = S ⊗ A but for the ridge."""
    x, y, w = task()
    p = torch.tensor([0.1, 0.2, 0.3, 0.4]).double().expand(len(y), 4)
    exact = softmax_influence(x, y, probabilities=p, sample_weight=w, method="exact")
    quick = softmax_influence(x, y, probabilities=p, sample_weight=w, method="ek-fac")
    torch.testing.assert_close(quick.score, exact.score, rtol=1e-7, atol=1e-12)


def test_a_weight_of_two_is_two_copies_and_many_rows_are_few():
    x, y, _ = task(n=3000)
    w = torch.arange(3000) % 3 + 1
    weighted = softmax_influence(x, y, sample_weight=w)  # passes through several batches
    copies = softmax_influence(x.repeat_interleave(w, 0), y.repeat_interleave(w))
    torch.testing.assert_close(copies.score, weighted.score.repeat_interleave(w), rtol=1e-6, atol=1e-10)


def test_memory_decides_and_the_result_says_so():
    x, y, _ = task()
    assert softmax_influence(x, y, max_memory=100).method.startswith("ek-fac (exact would take")
    assert softmax_influence(x, y, max_memory=100, method="exact").method == "exact"


def test_certain_and_absent_classes_stay_finite():
    x, y, _ = task()
    p = torch.nn.functional.one_hot(torch.zeros_like(y), 4).double()
    for method in ("exact", "ek-fac"):
        assert softmax_influence(x, y, probabilities=p, method=method).score.isfinite().all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labels": torch.zeros(300, dtype=torch.int64)}, "All 300 labels are 0"),
        ({"probabilities": torch.ones(300, 4)}, "do not sum to 1"),
        ({"probabilities": torch.ones(300, 1)}, r"shape \(300, 1\)"),
        ({"probabilities": torch.full((300, 2), 0.5)}, "give labels from 0 to 1"),
        ({"method": "kfac"}, "Unknown method 'kfac'"),
        ({"C": 0.0}, "penalty, is 0.0"),
        ({"features": torch.full((300, 2), float("nan"))}, "not finite"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, word):
    x, y, _ = task()
    with pytest.raises(InputError, match=word) as caught:
        softmax_influence(**{"features": x, "labels": y, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("method", ["exact", "ek-fac"])
def test_gpu_gives_the_same(method):
    x, y, w = task()
    here = softmax_influence(x, y, sample_weight=w, method=method)
    there = softmax_influence(x.cuda(), y.cuda(), sample_weight=w.cuda(), method=method)
    torch.testing.assert_close(there.score.cpu(), here.score, rtol=1e-5, atol=1e-8)
