"""Moments on an accelerator are those of a CPU, and stay there."""

import pytest
import torch

from auglean.policies import parse

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")]

NAMES = (
    "flip",
    "crop2",
    "translate2",
    "rotate15",
    "scale0.1",
    "shear10",
    "cutout4",
    "brightness0.4-contrast0.4",
    "translate2-rotate15",
    "crop2-flip-cutout4",
    "translate2-flip-rotate15",
    "contrast0.4-crop2-flip",
)


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_those_of_a_cpu(name):
    x = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy = parse(name)
    here, there = policy.moments(x), policy.moments(x.cuda())
    assert there.mean.device.type == there.trace.device.type == "cuda"
    assert there.kind == here.kind
    assert torch.allclose(there.mean.cpu(), here.mean, atol=1e-9)
    assert torch.allclose(there.variance.cpu(), here.variance, atol=1e-9)
    assert torch.allclose(there.matvec(x.cuda()).cpu(), here.matvec(x), atol=1e-8)
    assert torch.allclose(there.eig(3)[0].cpu(), here.eig(3)[0], atol=1e-8)
    assert torch.allclose(there.frobenius2.cpu(), here.frobenius2, atol=1e-8)
    assert there.m4.device.type == there.error.device.type == there.dropped.device.type == "cuda"
