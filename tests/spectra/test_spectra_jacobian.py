"""The Jacobian's rows and products, against closed forms, autograd and finite differences."""

import pytest
import torch
from torch import nn

from auglean import networks
from auglean.errors import InputError
from auglean.networks.probing import undisturbed
from auglean.spectra import jacobian
from auglean.spectra.jacobian import Difference, Jacobian


def images(n=5, channels=1, side=8, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name="cnn", channels=1, side=8, classes=3):
    model = networks.create(name, channels=channels, classes=classes, size=(side, side))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are neither 0 nor 1
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def by_autograd(model, x):
    """Rows by `torch.autograd.functional.jacobian`, an image at a time."""
    model = model.double()
    names = [name for name, _ in model.named_parameters()]
    values = tuple(value.detach() for value in model.parameters())
    rows = []
    for image in x:
        call = lambda *given: torch.func.functional_call(model, dict(zip(names, given, strict=True)), (image[None],))[0]  # noqa: B023, E731
        parts = torch.autograd.functional.jacobian(call, values)
        rows.append(torch.cat([part.flatten(1) for part in parts], 1))
    return torch.cat(rows)


def test_rows_of_a_linear_network_are_its_images():
    x = images(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    rows = Jacobian(model, x, dtype=torch.float64).rows()
    expected = torch.zeros(4, 3, 3 * 64 + 3, dtype=torch.float64)
    for i in range(4):
        for k in range(3):
            expected[i, k, 64 * k : 64 * (k + 1)] = x[i].flatten()
            expected[i, k, 192 + k] = 1
    assert torch.equal(rows, expected.flatten(0, 1))
    summed = Jacobian(model, x, output="sum", dtype=torch.float64).rows()
    assert torch.allclose(summed, expected.sum(1))


@pytest.mark.parametrize(("name", "channels", "side"), [("cnn", 1, 8), ("mlp", 1, 8), ("convnet-w4-d2", 3, 8),
                                                        ("lenet", 1, 8), ("resnet20", 3, 8)])  # fmt: skip
def test_rows_and_products_are_those_of_autograd(name, channels, side, monkeypatch):
    monkeypatch.setattr(jacobian, "_BATCH", 2)
    monkeypatch.setattr(jacobian, "_ROWS", 1)  # an image at a time
    x, model = images(3, channels, side), network(name, channels, side)
    given = Jacobian(model, x, dtype=torch.float64)
    truth = by_autograd(model, x)
    scale = truth.abs().max()
    assert given.shape == truth.shape
    assert torch.allclose(given.rows(), truth, atol=1e-12 * scale)
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(truth.shape[1], 3, generator=generator, dtype=torch.float64)
    u = torch.randn(truth.shape[0], 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(given.times(v), truth @ v, atol=1e-10 * scale)
    assert torch.allclose(given.transposed(u), truth.T @ u, atol=1e-10 * scale)
    assert torch.allclose(torch.cat(list(given.blocks(1))), truth, atol=1e-12 * scale)


def test_a_product_is_the_slope_of_the_logits():
    x, model = images(4), network()
    given = Jacobian(model, x, dtype=torch.float64)
    direction = torch.randn(given.shape[1], 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step, model, logits = 1e-6, model.double(), []
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * step * direction[:, 0], model.parameters())
        logits.append(model(x).detach().flatten())
    slope = (logits[0] - logits[1]) / (2 * step)
    assert torch.allclose(given.times(direction)[:, 0], slope, atol=1e-5 * slope.abs().max())


def test_columns_of_some_weights_are_those_of_the_whole():
    given = Jacobian(network(), images(), dtype=torch.float64)
    names = list(given.weights)
    parts = [given.rows(weights=[name]) for name in names]
    assert torch.allclose(torch.cat(parts, 1), given.rows())
    assert torch.allclose(given.rows(slice(1, 3)), given.rows()[3:9])


def test_frozen_weights_are_no_columns():
    model = network()
    whole = Jacobian(model, images(), dtype=torch.float64)
    model.classifier.requires_grad_(False)
    part = Jacobian(model, images(), dtype=torch.float64)
    head = sum(value.numel() for value in model.classifier.parameters())
    assert part.shape == (whole.shape[0], whole.shape[1] - head)
    assert torch.allclose(part.rows(), whole.rows()[:, :-head])
    model.requires_grad_(False)
    with pytest.raises(InputError, match="no trainable weights"):
        Jacobian(model, images())


def test_tied_weights_are_one_column():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x.flatten(1)))

    model = Tied()
    given = Jacobian(model, images(2), dtype=torch.float64)
    assert given.shape == (128, 64 * 64)
    x = images(2).flatten(1)
    weight = model.a.weight.detach().double().requires_grad_()
    truth = torch.autograd.functional.jacobian(lambda w: (x @ w.T @ w.T).flatten(), weight)
    assert torch.allclose(given.rows(), truth.flatten(1))


def test_a_row_in_eval_mode_does_not_depend_on_the_batch():
    x, model = images(4), network().train()
    with undisturbed(model):
        together = Jacobian(model, x, dtype=torch.float64).rows()
        alone = Jacobian(model, x[2:3], dtype=torch.float64).rows()
    assert torch.allclose(together[6:9], alone)
    assert model.training


def test_the_difference_of_two():
    model = network()
    one, other = (Jacobian(model, images(seed=seed), dtype=torch.float64) for seed in (0, 1))
    v = torch.randn(one.shape[1], 2, dtype=torch.float64)
    u = torch.randn(one.shape[0], 2, dtype=torch.float64)
    change = Difference(other, one)
    assert torch.allclose(change.times(v), (other.rows() - one.rows()) @ v)
    assert torch.allclose(change.transposed(u), (other.rows() - one.rows()).T @ u)


def test_passes_are_counted():
    given = Jacobian(network(), images(5), dtype=torch.float64)
    counted = []

    def spy(module, args, output):
        counted.append(len(args[0]))

    handle = given.model.register_forward_hook(spy)
    given.transposed(torch.ones(15, 4, dtype=torch.float64))
    handle.remove()
    assert given.passes == sum(counted) + 5 * 4


def test_an_output_that_is_no_row_is_refused():
    with pytest.raises(InputError, match=r"shape \(1, 1, 8, 8\)"):
        Jacobian(nn.Conv2d(1, 1, 1), images())
