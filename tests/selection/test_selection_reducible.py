"""`ReducibleLoss`: a hand case, its refusals, and what it tells of itself."""

import json

import pytest
import torch
from selection_references import make_signals

import auglean as al
from auglean.errors import InputError
from auglean.selection import SELECTORS, PerClass, ReducibleLoss, select

LOSS = torch.tensor([0.1, 3.0, 2.0, 0.5, 2.0])
HELD_OUT = torch.tensor([0.0, 3.5, 0.5, 0.4, 0.5])  # example 1 is as hard for the other network: mislabelled


def spoken(loss=LOSS):
    n = len(loss)
    return al.Signals(loss, torch.zeros(n), torch.ones(n, 2), torch.ones(n, 3), torch.zeros(n, dtype=torch.int64))


def test_by_hand():
    # what is left to learn: 0.1, −0.5, 1.5, 0.1, 1.5; ties to the lowest index
    chosen = select(spoken(), torch.tensor([0, 1, 0, 1, 0]), ReducibleLoss(HELD_OUT), budget=4)
    assert chosen.indices.tolist() == [2, 4, 0, 3]
    assert chosen.gains.tolist() == pytest.approx([1.5, 1.5, 0.1, 0.1])
    assert chosen.weights.tolist() == [1.25] * 4
    assert select(spoken(), torch.zeros(5, dtype=torch.int64), al.MaxLoss(), budget=1).indices.tolist() == [1]


def test_without_anything_irreducible_it_is_max_loss():
    signals, labels = make_signals(40, seed=3)
    mine = select(signals, labels, ReducibleLoss(torch.full((40,), 0.25)), budget=15)
    assert torch.equal(mine.indices, select(signals, labels, "max-loss", budget=15).indices)


def test_a_path_is_as_good_as_a_tensor(tmp_path):
    spoken(HELD_OUT).save(tmp_path / "held-out.safetensors")
    read = ReducibleLoss(tmp_path / "held-out.safetensors")
    assert read == ReducibleLoss(HELD_OUT)
    assert hash(read) == hash(ReducibleLoss(HELD_OUT))
    assert torch.equal(read.losses, HELD_OUT.double())
    assert read != ReducibleLoss(HELD_OUT + 1)


def test_its_losses_are_its_own():
    given = HELD_OUT.clone()
    selector = ReducibleLoss(given)
    given.zero_()
    assert torch.equal(selector.losses, HELD_OUT.double())


def test_a_choice_tells_a_digest_and_not_the_losses():
    selector = ReducibleLoss(torch.rand(1000, generator=torch.Generator().manual_seed(0)))
    signals, labels = make_signals(1000, seed=1)
    chosen = select(signals, labels, selector, budget=3)
    assert chosen.how["options"] == {"digest": selector.digest}
    assert len(json.dumps(dict(chosen.how), allow_nan=False)) < 300
    assert repr(selector) == f"ReducibleLoss(digest='{selector.digest}')"


def test_it_has_no_name_on_the_command_line():
    assert not [name for name in SELECTORS if name.startswith(ReducibleLoss.name)]


@pytest.mark.parametrize(
    "holdout", [torch.zeros(2, 2), torch.zeros(0), torch.tensor([0.0, float("nan")]), torch.tensor([float("inf")])]
)
def test_losses_that_are_none(holdout):
    with pytest.raises(InputError, match="one finite loss per example"):
        ReducibleLoss(holdout)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"Signals\.save"):
        ReducibleLoss(tmp_path / "missing.safetensors")


def test_losses_of_other_examples():
    with pytest.raises(InputError, match="5 held-out losses do not fit 6 examples"):
        select(spoken(torch.zeros(6)), torch.zeros(6, dtype=torch.int64), ReducibleLoss(HELD_OUT), budget=2)
    with pytest.raises(InputError, match="do not ask in parts"):
        select(spoken(), torch.tensor([0, 1, 0, 1, 0]), PerClass(ReducibleLoss(HELD_OUT)), budget=2)


def test_a_model_that_diverged():
    with pytest.raises(InputError, match="losses are not finite"):
        ReducibleLoss(HELD_OUT).choose(spoken(LOSS / 0), torch.zeros(5, dtype=torch.int64), 2, torch.Generator())
