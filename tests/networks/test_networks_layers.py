"""The average pool of the networks against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from auglean import networks
from auglean.networks.layers import AveragePool


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (7, 10), (3, 2), (5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_pool_of_torch(size, dtype):
    x = torch.rand(3, 4, *size, dtype=dtype, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y, expected = AveragePool()(x), F.avg_pool2d(x, 2)
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected)
    weight = torch.rand_like(y)
    torch.testing.assert_close(*(torch.autograd.grad((z * weight).sum(), x)[0] for z in (y, expected)))
    images = x.detach().to(memory_format=torch.channels_last)
    torch.testing.assert_close(AveragePool()(images), F.avg_pool2d(images, 2))


def test_first_and_second_derivatives():
    x = torch.rand(2, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(AveragePool(), x)
    assert torch.autograd.gradgradcheck(AveragePool(), x)


def test_is_the_pool_of_the_convnet():
    network = networks.create("convnet-w4", channels=1, classes=3, size=(28, 28))
    pools = [layer for layer in network.features if isinstance(layer, AveragePool)]
    assert len(pools) == 3
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = network(x)
    for place, layer in enumerate(network.features):
        if isinstance(layer, AveragePool):
            network.features[place] = torch.nn.AvgPool2d(2)
    torch.testing.assert_close(network(x), y)
