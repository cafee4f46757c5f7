"""`fit_logistic` against its own optimality conditions, scikit-learn, autodiff and laws of the objective."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from auglean.errors import InputError
from auglean.signals import LogisticHead, fit_logistic


def task(n=120, d=6, classes=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) + 1
    y = (x @ torch.randn(d, classes, generator=g).double() + torch.randn(n, classes, generator=g)).argmax(1)
    y[:classes] = torch.arange(classes)
    return x, y


def gradient(head, x, y, w=None):
    """Of J, by autodiff, largest entry."""
    parts = [head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()]
    losses = functional.cross_entropy(LogisticHead(*parts, head.C).logits(x), y, reduction="none")
    total = (losses if w is None else losses * w).sum() + parts[0].square().sum() / (2 * head.C)
    return max(float(part.abs().max()) for part in torch.autograd.grad(total, parts))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.sampled_from([2, 3, 5]), st.sampled_from([0.01, 1.0, 100.0]), st.sampled_from([3, 150]))
def test_the_gradient_vanishes(seed, classes, C, d):
    """Also with more features than examples, and with weights of which some are 0."""
    x, y = task(d=d, classes=classes, seed=seed)
    w = torch.rand(len(y), generator=torch.Generator().manual_seed(seed)).double()
    w[classes::7] = 0
    head = fit_logistic(x, y, C=C, sample_weight=w, tol=1e-10)
    assert gradient(head, x, y, w) < 1e-9
    near = fit_logistic(x[: classes + 90], y[: classes + 90], classes=classes, C=C)
    warm = fit_logistic(x, y, C=C, sample_weight=w, start=near, tol=1e-10)
    # J is 1/C-convex in the weights, so that a gradient g leaves them within ‖g‖ C
    torch.testing.assert_close(warm.logits(x), head.logits(x), rtol=0, atol=1e-7 * max(1, C))


@pytest.mark.parametrize("classes", [2, 4])
def test_scikit_learn_finds_the_same(classes):
    x, y = task(classes=classes)
    head = fit_logistic(x, y, C=0.5)
    other = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(head.weight, torch.from_numpy(other.coef_), rtol=0, atol=1e-5)
    assert (head.logits(x).argmax(1).numpy() == other.predict(x.numpy())).all()


def test_a_weight_of_two_is_two_copies():
    x, y = task()
    w = torch.randint(1, 4, (len(y),), generator=torch.Generator().manual_seed(0))
    twice = fit_logistic(x.repeat_interleave(w, 0), y.repeat_interleave(w), tol=1e-11)
    torch.testing.assert_close(fit_logistic(x, y, sample_weight=w, tol=1e-11).weight, twice.weight)


def test_collinear_constant_and_separable_features():
    x, y = task()
    x = torch.cat([x, x[:, :2], torch.zeros(len(x), 1), torch.full((len(x), 1), 7.0)], 1)
    x[:, 0] = (2 * y - 1) * 5.0
    head = fit_logistic(x, y, C=1e4, tol=1e-10)
    assert gradient(head, x, y) < 1e-9
    assert head.accuracy(x, y) == 1
    assert float(head.weight[0, -2:].abs().max()) < 1e-9


def test_without_intercept():
    x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
    log3 = torch.tensor(3.0, dtype=torch.float64).log()
    head = fit_logistic(x, y, C=2 * float(log3), fit_intercept=False, tol=1e-12)
    torch.testing.assert_close(head.weight[0, 0], log3)
    assert float(head.bias) == 0


def test_signals_of_a_head():
    x, y = task(classes=3)
    head = fit_logistic(x, y)
    found = head.signals(x, y)
    assert found.residual.shape == (120, 3)
    torch.testing.assert_close(found.loss, functional.cross_entropy(head.logits(x), y, reduction="none").float())
    assert (found.prediction == y).equal(head.correct(x, y))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labels": torch.zeros(120, dtype=torch.int64)}, "All 120 labels are 0"),
        ({"classes": 3}, "Class 2 of 3 has no example"),
        ({"labels": torch.full((120,), -1)}, "Example 0 has label -1"),
        ({"classes": 2, "labels": torch.arange(120) % 3}, "Example 2 has label 2; give labels from 0 to 1"),
        ({"labels": torch.rand(120)}, "torch.float32"),
        ({"features": torch.full((120, 2), float("nan"))}, "Features of 120 of 120 examples are not finite"),
        ({"features": torch.zeros(3, 2)}, r"\(3, 2\) and labels \(120,\)"),
        ({"C": 0.0}, "penalty, is 0.0"),
        ({"C": float("nan")}, "penalty, is nan"),
        ({"sample_weight": torch.ones(3)}, r"Sample weights have shape \(3,\)"),
        ({"sample_weight": -torch.ones(120)}, "Sample weight 0 is -1.0"),
        ({"start": LogisticHead(torch.zeros(1, 2), torch.zeros(1), 1.0)}, r"start with weights of shape \(1, 2\)"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, word):
    x, y = task()
    with pytest.raises(InputError, match=word) as caught:
        fit_logistic(**{"features": x, "labels": y, **change})
    assert "\n" not in str(caught.value)
