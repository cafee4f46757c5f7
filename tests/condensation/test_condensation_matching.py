"""The matching losses: numbers of the published code in float64, finite differences, and pieces against the whole."""

import pytest
import torch
from condensation_references import small_network, waves
from torch import nn

from auglean import networks
from auglean.condensation import gradient_distance
from auglean.condensation.matching import DistributionMatching, GradientMatching, Network

REAL, SYNTHETIC = waves(5), waves(2, 1.0)
NORMS = {
    "real": [0.17675871, 0, 0.00292233, 0.00437619, 0.19753097, 0, 0.15834014, 0.17314106, 1.94357326, 0.87128006],
    "synthetic": [0.33084212, 0, 0.00490621, 0.01410776, 0.32741271, 0, 0.17527077, 0.18929439, 1.96209893, 0.86990511],
}
# the loss, the norm of its derivative in the images, and the first three numbers of that
GOLDEN = {
    "layerwise-cosine": (0.8355105260, 1.8543306320, [0.01100111, 0.02397356, 0.02952957]),
    "mse": (0.3548976392, 1.0944762468, [-0.00028896, -0.01152547, -0.02013498]),
    "cosine": (0.0368801618, 0.1150159778, [-0.0001056, -0.00156179, -0.00263238]),
}


def loss_and_pull(matching, network, images, target):
    leaf = images.clone().requires_grad_()
    loss = matching.distance(network, leaf, 1, target)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def test_logits_losses_and_gradients():
    network = small_network()
    assert network.module(REAL)[0].tolist() == pytest.approx([-0.19574867, -0.34274273, -0.05154672], abs=5e-9)
    for name, images, value in (("real", REAL, 1.2367960144), ("synthetic", SYNTHETIC, 1.2281606337)):
        loss = nn.functional.cross_entropy(network.module(images), torch.ones(len(images), dtype=torch.long))
        assert loss.item() == pytest.approx(value, abs=5e-11)
        gradients = torch.autograd.grad(loss, list(network.module.parameters()))
        assert [float(g.norm()) for g in gradients] == pytest.approx(NORMS[name], abs=5e-9)
        whole = GradientMatching("mse", 1e-6).target(network, [images], 1, len(images))
        assert all(torch.allclose(a, b, atol=1e-15) for a, b in zip(whole, gradients, strict=True))


@pytest.mark.parametrize("metric", GOLDEN)
def test_matching_gradients(metric):
    network, matching = small_network(), GradientMatching(metric, 1e-6)
    target = matching.target(network, [REAL], 1, 5)
    loss, pull = loss_and_pull(matching, network, SYNTHETIC, target)
    value, norm, first = GOLDEN[metric]
    assert float(loss) == pytest.approx(value, abs=5e-11)
    assert float(pull.norm()) == pytest.approx(norm, abs=5e-11)
    assert pull.flatten()[:3].tolist() == pytest.approx(first, abs=5e-9)


def test_layers_add_up():
    network = small_network()
    pieces = []
    for k in (0, 4, 8):
        sides = []
        for images in (REAL, SYNTHETIC):
            loss = nn.functional.cross_entropy(network.module(images), torch.ones(len(images), dtype=torch.long))
            sides.append(torch.autograd.grad(loss, list(network.module.parameters())[k])[0])
        pieces.append(float(gradient_distance([sides[0]], [sides[1]])))
    assert pieces == pytest.approx([0.29359195, 0.42800282, 0.11391576], abs=5e-9)


def test_two_steps_of_sgd():
    network, matching = small_network(), GradientMatching("layerwise-cosine", 1e-6)
    target = matching.target(network, [REAL], 1, 5)
    images, velocity = SYNTHETIC, torch.zeros_like(SYNTHETIC)
    expected = [
        (0.8355105260, -32.6594768703, 13.9981033329),
        (0.7455387532, -33.1787182163, 14.0047039118),
    ]
    for value, total, norm in expected:
        loss, pull = loss_and_pull(matching, network, images, target)
        velocity = 0.5 * velocity + pull
        images = images - 0.1 * velocity
        assert [float(loss), float(images.sum()), float(images.norm())] == pytest.approx(
            [value, total, norm], abs=5e-11
        )


def test_matching_distributions():
    network, matching = small_network(), DistributionMatching()
    matching.prepare(network)
    target = matching.target(network, [REAL], 1, 5)
    loss, pull = loss_and_pull(matching, network, SYNTHETIC, target)
    assert target[0].shape == (16,)
    assert float(loss) == pytest.approx(0.3773696237, abs=5e-11)
    assert float(pull.norm()) == pytest.approx(1.3641403555, abs=5e-11)
    assert pull.flatten()[:3].tolist() == pytest.approx([0.00081817, -0.0142237, -0.02600608], abs=5e-9)


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("metric", [*GOLDEN, None])
def test_derivatives_of_the_whole_loss(activation, metric):
    network = small_network(activation)
    matching = DistributionMatching() if metric is None else GradientMatching(metric, 1e-6)
    target = matching.target(network, [REAL], 1, 5)
    images = SYNTHETIC[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: matching.distance(network, x, 1, target), images, eps=1e-6)
    other = matching.target(network, [REAL], 2, 5)
    if metric is not None:  # the wrong twin: gradients towards another class are others
        assert not torch.allclose(target[0], other[0], rtol=1e-2)


def convnet(width, depth, size, seed=0):
    module = networks.create(f"convnet-w{width}-d{depth}", channels=size[0], classes=10, size=size[1:], seed=seed)
    return Network(module, module.classifier, 0)


@pytest.mark.parametrize("matching", [*(GradientMatching(metric, 1e-6) for metric in GOLDEN), DistributionMatching()])
def test_pieces_give_what_the_whole_batch_gives(matching):
    network = convnet(16, 3, (3, 32, 32), seed=3)
    network.module.double()  # in float32 a ReLU at the verge of zero may go either way
    images = torch.rand(50, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = matching.target(network, [images], 4, 50)
    for size in (1, 16, 32):
        pieces = matching.target(network, images.split(size), 4, 50)
        for a, b in zip(whole, pieces, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    part = matching.target(network, images[:16].split(16), 4, 16)  # the wrong twin: fewer images
    assert float((whole[0] - part[0]).norm()) > 1e-3 * float(whole[0].norm())


def test_only_what_the_distance_sees_is_differentiated():
    network = small_network()
    assert [part.ndim > 1 for part in GradientMatching("layerwise-cosine", 1e-6).target(network, [REAL], 1, 5)] == [
        True
    ] * 3
    assert len(GradientMatching("mse", 1e-6).target(network, [REAL], 1, 5)) == 10
    DistributionMatching().prepare(network)
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_units_take_the_width_out():
    """The mean distance of a wide network is of the size of that of a narrow one; the sum is not."""
    g = torch.Generator().manual_seed(0)
    real, synthetic = torch.rand(16, 1, 16, 16, generator=g), torch.rand(2, 1, 16, 16, generator=g) ** 2
    for matching in (*(GradientMatching(metric, 1e-6) for metric in GOLDEN), DistributionMatching()):
        found = {}
        for width in (8, 64):
            network = convnet(width, 2, (1, 16, 16))
            target = matching.target(network, [real], 0, 16)
            distance = float(matching.distance(network, synthetic, 0, target))
            found[width] = distance, distance / matching.unit(target)
        assert 1 / 3 < found[64][1] / found[8][1] < 3
        if not isinstance(matching, GradientMatching) or matching.metric == "layerwise-cosine":
            assert found[64][0] / found[8][0] > 3
