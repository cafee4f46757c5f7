"""What is found out of a network that is not ours."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from auglean import networks
from auglean.errors import InputError
from auglean.networks import last_linear
from auglean.networks.probing import bare, find_head, undisturbed

X = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Takes its forward pass as an argument; has the layers that the cases below need."""

    def __init__(self, run):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.body = nn.Linear(16, 8)
        self.square = nn.Linear(3, 3)
        self.auxiliary = nn.Linear(8, 3)
        self.run = run

    def forward(self, x):
        return self.run(self, F.relu(self.body(x.flatten(1))))


def auxiliary_afterwards(net, h):
    logits = net.head(h)
    net.kept = net.auxiliary(h)
    return logits


FOUND = {
    "registered first": (lambda net, h: net.head(h), "head"),
    "auxiliary head runs before": (lambda net, h: (net.auxiliary(h), net.head(h))[1], "head"),
    "auxiliary head runs after": (auxiliary_afterwards, "head"),
    "auxiliary is the output": (lambda net, h: (net.head(h), net.auxiliary(h))[1], "auxiliary"),
    "squeezed": (lambda net, h: net.head(h[:, None])[:, 0], "head"),
    "called by keyword": (lambda net, h: net.head(input=h), "head"),
    "copied": (lambda net, h: net.head(h).float().clone(), "head"),
}

REFUSED = {
    "softmax after": (lambda net, h: net.head(h).softmax(1), "changed afterwards"),
    "scaled in place": (lambda net, h: net.head(h).mul_(2), "changed afterwards"),
    "functional tail": (lambda net, h: F.linear(h, net.head.weight), "'body'"),
    "sum of two heads": (lambda net, h: net.head(h) + net.auxiliary(h), "changed afterwards"),
    "tuple": (lambda net, h: (net.head(h), h), "returned a tuple"),
    "dictionary": (lambda net, h: {"logits": net.head(h)}, "returned a dict"),
    "tokens": (lambda net, h: net.head(h[:, None].expand(-1, 5, -1)), "shape (2, 5, 3)"),
    "rows lost": (lambda net, h: net.head(h)[:1], "shape (1, 3)"),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_layer_that_gives_the_output_is_found(case):
    run, name = FOUND[case]
    net = Net(run)
    assert last_linear(net, X) is getattr(net, name)


@pytest.mark.parametrize("case", REFUSED)
def test_networks_without_a_last_linear_are_refused(case):
    run, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        last_linear(Net(run), X)
    assert words in str(caught.value)


@pytest.mark.parametrize("call", [0, 1, 2])
def test_a_layer_used_several_times_tells_which_call_counts(call):
    def run(net, h):
        steps = [net.head(h)]
        for _ in range(3):
            steps.append(net.square(steps[-1]))
        return steps[call + 1]

    head = find_head(Net(run).eval(), X)
    assert (head.name, head.call) == ("square", call)


def test_network_without_any_linear_layer():
    with pytest.raises(InputError, match=r"none runs.*let forward end in an nn\.Linear"):
        networks.check(nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), channels=1, classes=3, size=(4, 4))


def test_check_names_the_layer_to_change():
    model = networks.create("mlp", channels=1, classes=10, size=(8, 8))
    with pytest.raises(InputError) as caught:
        networks.check(model, channels=1, classes=12, size=(8, 8))
    assert str(caught.value) == (
        "The network gives 10 outputs but the data have 12 classes; "
        "make its last layer 'classifier' nn.Linear(128, 12)."
    )


@pytest.mark.parametrize(("channels", "size"), [(3, (8, 8)), (1, (9, 9))])
def test_check_tells_when_images_do_not_fit(channels, size):
    model = networks.create("mlp", channels=1, classes=10, size=(8, 8))
    with pytest.raises(InputError, match=f"cannot take images of {channels}×{size[0]}×{size[1]}"):
        networks.check(model, channels=channels, classes=10, size=size)


def test_check_takes_half_and_double_precision():
    for dtype in (torch.bfloat16, torch.float64):
        model = networks.create("mlp", channels=1, classes=10, size=(8, 8)).to(dtype)
        networks.check(model, channels=1, classes=10, size=(8, 8))


class Breaks(nn.Module):
    def forward(self, x):
        raise KeyError("broken")


@pytest.mark.parametrize("tail", [nn.Identity, Breaks])
def test_probing_leaves_everything_as_it_was(tail):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3), tail())
    model[1].requires_grad_(False)
    model[3].eval()
    modes = [m.training for m in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    rng = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for probe in (
        lambda: last_linear(model, X),
        lambda: networks.check(model, channels=1, classes=3, size=(4, 4)),
    ):
        if tail is Breaks:
            with pytest.raises(KeyError, match="broken"):
                probe()
        else:
            probe()
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert (np.random.get_state()[1] == rng[1]).all()
    assert random.getstate() == rng[2]


def test_undisturbed_puts_random_states_and_modes_back():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()).eval())
    rng = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    def draw():
        with undisturbed(model, seed=4):
            assert not any(m.training for m in model.modules())
            assert not torch.is_grad_enabled()
            random.random(), np.random.rand()
            return torch.rand(3)

    assert torch.equal(draw(), draw())
    assert [m.training for m in model.modules()] == [True, True, False, False]
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert (np.random.get_state()[1] == rng[1]).all()
    assert random.getstate() == rng[2]


def test_modes_are_set_without_calling_train():
    class Frozen(nn.Linear):
        def train(self, mode=True):
            raise AssertionError("train() may do more than set a flag")

    with undisturbed(nn.Sequential(Frozen(1, 1))):
        pass


def test_wrappers_are_taken_off():
    model = nn.Linear(2, 2)
    assert bare(nn.DataParallel(model)) is model
    assert bare(torch.compile(model, backend="eager")) is model
    assert bare(model) is model
