"""Condensation on an accelerator: the images that a CPU makes, up to rounding, and the same worth."""

import pytest
import torch

import auglean as al
from auglean.condensation import Protocol

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")]


@pytest.mark.parametrize("method", [al.DM(pool=3), al.DSA(pool=3), al.DC(pool=3)], ids=lambda method: method.name)
def test_the_images_are_those_of_a_cpu(method):
    data = al.load("digits")
    here, there = (al.condense(data, per_class=1, method=method, steps=2, device=device) for device in ("cpu", "cuda"))
    assert there.images.device.type == "cpu"
    moved = (here.images - al.condense(data, per_class=1, method=method, steps=1).images).abs().max()
    assert (here.images - there.images).abs().max() < 0.05 * moved + 1e-4


def test_evaluation_runs_there():
    data = al.splits("digits")
    tiny = al.condense(data.train, per_class=1, method=al.DM(pool=3), steps=2)
    protocol = Protocol(epochs=2, epochs_augmented=2)
    found = al.evaluate(tiny, data.train, data.test, repeats=1, protocol=protocol, device="cuda")
    assert str(found)
