"""Inner products: whichever route makes them, they are those of float64, and gradients flow through."""

import pytest
import torch

from auglean import products
from auglean.products import inner_products


@pytest.fixture(params=["fast", "plain"])
def route(request, monkeypatch):
    """Both ways: the product of oneDNN where there is one, and that of a torch without it."""
    if request.param == "plain":
        monkeypatch.setattr(products, "_has_onednn", lambda: False)
    return request.param


@pytest.mark.parametrize("shape", [(40, 30, 20), (17, 300, 1), (16, 16, 513), (3, 50, 7), (20, 0, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_they_are_those_of_float64(route, shape, biased):
    m, n, d = shape
    g = torch.Generator().manual_seed(m)
    x, y = torch.randn(m, d, generator=g), torch.randn(n, 2 * d, generator=g)[:, ::2]  # not contiguous
    bias = torch.randn(n, generator=g) if biased else None
    expected = x.double() @ y.double().T + (0 if bias is None else bias.double())
    found = inner_products(x, y, bias)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, atol=1e-6 * d + 1e-6)


def test_float64_stays_exact():
    x = torch.randn(20, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(inner_products(x, x, x[:, 0]), torch.addmm(x[:, 0], x, x.T))


@pytest.mark.parametrize("which", ["x", "y", "bias"])
def test_gradients_flow(which):
    given = {"x": torch.randn(20, 5), "y": torch.randn(30, 5), "bias": torch.randn(30)}
    given[which].requires_grad_()
    inner_products(**given).sum().backward()
    assert given[which].grad is not None
    assert bool(given[which].grad.abs().sum() > 0)


def test_autocast_does_not_coarsen_them(route):
    x = torch.randn(64, 33, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = inner_products(x, x)
    assert found.dtype == torch.float32
    assert torch.equal(found, inner_products(x, x))


def test_a_torch_whose_product_is_wrong_or_missing_is_not_asked(monkeypatch):
    check = products._has_onednn.__wrapped__
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not check()
    monkeypatch.undo()

    class Ops:
        def _linear_pointwise(self, x, y, bias, *rest):
            return x @ y.T  # forgets the bias

    monkeypatch.setattr(torch.ops, "mkldnn", Ops())
    assert not check()
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not check()
