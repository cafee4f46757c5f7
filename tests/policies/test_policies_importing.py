"""Reading torchvision: containers, conversions, units of a fill, and what is not known."""

import pytest
import torch

import auglean as al
from auglean.policies import Compose, Identity, Mixture, Normalize


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_conversions_do_nothing_to_images_in_the_unit_interval(v2):
    policy = al.from_torchvision(v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Identity()]))
    assert isinstance(policy, Identity)
    assert policy.notes == []


def test_normalize_is_affine(v2):
    transform = v2.Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    policy, x = al.from_torchvision(transform), images(2, 3, 4, 5)
    torch.testing.assert_close(policy(x), transform(x), rtol=0, atol=1e-15)
    found = (al.policies.Flip(0.3) | policy).moments(x[0])
    plain = al.policies.Flip(0.3).moments(x[0])
    torch.testing.assert_close(found.mean, transform(plain.mean), rtol=0, atol=1e-14)
    std = torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(found.variance, plain.variance / std**2, rtol=0, atol=1e-14)
    assert found.kind == "exact finite"


def test_what_is_left_out_is_said(v2):
    policy = al.from_torchvision(v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.Normalize((0.5,), (0.5,))]))
    assert "rounds to torch.uint8" in policy.moments(images(3, 4, 4)).note
    assert "0 to 255" in al.from_torchvision(v2.ToDtype(torch.float32)).note


def test_containers(v2):
    class Square(torch.nn.Module):
        def forward(self, x):
            return x * x

    square, x = Square(), images(3, 4, 4)
    normalize = v2.Normalize((0.5,), (0.5,))
    apply = al.from_torchvision(v2.RandomApply([square, normalize], p=0.3))
    assert isinstance(apply, Mixture)
    assert apply.weights == (0.3, 0.7)
    choice = al.from_torchvision(v2.RandomChoice([square, normalize], p=[1, 3]))
    assert choice.weights == (0.25, 0.75)
    assert isinstance(choice.parts[1], Normalize)
    chain = al.from_torchvision(torch.nn.Sequential(normalize, v2.RandomApply([normalize])))
    assert isinstance(chain, Compose)
    order = al.from_torchvision(v2.RandomOrder([square, normalize]))
    first, second = (policy(x, generator=torch.Generator()) for policy in order.parts)
    torch.testing.assert_close(first, normalize(square(x)))
    torch.testing.assert_close(second, square(normalize(x)))


def test_many_orders_are_drawn(v2):
    def order(n):
        return al.from_torchvision(v2.RandomOrder([v2.Normalize((0.1 * i,), (0.5 + 0.1 * i,)) for i in range(n)]))

    policy, x = order(5), images(1, 2, 2)
    assert isinstance(policy, al.policies.RandomOrder)
    assert "120 orders" in policy.note
    exact = torch.stack([policy.apply(x[None], {"order": torch.tensor([j])})[0] for j in range(120)])
    found = policy.moments(x)
    assert ((found.mean - exact.mean(0)).norm() / found.mean.norm()) < 0.05
    assert "3628800 orders" in order(10).note


def test_a_stranger_is_called_and_says_why(v2):
    class Own(v2.Normalize):
        def transform(self, inpt, params):
            return 1 - inpt

    x = images(2, 3, 4, 4)
    policy = al.from_torchvision(Own((0.5,), (0.5,)))
    torch.testing.assert_close(policy(x), 1 - x)
    assert policy.note == "Own overrides Normalize of torchvision v2, so it is called image by image."
    chain = al.from_torchvision(v2.Compose([v2.Normalize((0.0,), (1.0,)), v2.Lambda(lambda x: x * torch.rand(()))]))
    found = chain.moments(x[0], most=50)
    assert "Lambda is not a transform of torchvision v2 that can be read" in found.note
    assert "50 draws" in found.note
    assert al.from_torchvision(chain) is chain


def test_what_is_no_transform():
    with pytest.raises(al.InputError, match="Expected a transform of torchvision v2 but found int"):
        al.from_torchvision(3)
