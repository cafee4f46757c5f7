"""Forgetting and TracIn of the recorder against a plain loop over the steps."""

import pytest
import torch

from auglean.selection import Forgetting, select
from auglean.signals import Recorder, Signals


@pytest.mark.parametrize("steps", [3, 40, 100])
def test_against_a_plain_loop(steps):
    """Also where an example comes several times between two workings-out, or in one batch."""
    g = torch.Generator().manual_seed(steps)
    n, recorder = 6, Recorder(6)
    labels = torch.arange(n) % 3
    right, forgotten, influence, learnt, seen = [False] * n, [0] * n, [0.0] * n, [False] * n, [0] * n
    for step in range(steps + 1):
        ids = torch.arange(n) if step == 0 else torch.randint(0, n, (4,), generator=g)
        logits, feature = torch.randn(len(ids), 3, generator=g), torch.randn(len(ids), 2, generator=g)
        recorder.record(ids, logits, labels[ids], feature=feature, lr=0.1 * (step + 1))
        for i, z, x in zip(ids.tolist(), logits, feature, strict=True):
            now = int(z.argmax()) == int(labels[i])
            forgotten[i] += right[i] and not now
            right[i] = now
            learnt[i] |= now
            seen[i] += 1
            r = z.double().softmax(0) - torch.eye(3)[labels[i]]
            influence[i] += 0.1 * (step + 1) * float(r.square().sum()) * (float(x.double().square().sum()) + 1)
        if step == steps // 2:
            state = recorder.state_dict()
            recorder = Recorder(n)
            recorder.load_state_dict(state)
    found = recorder.signals()
    assert found.forgetting.tolist() == [forgotten[i] if learnt[i] else seen[i] for i in range(n)]
    assert found.tracin.tolist() == pytest.approx(influence, rel=1e-5)
    assert sum(forgotten) > 0


def test_what_was_never_right_is_the_first_to_be_augmented():
    """Three examples in ten passes: always right, right and wrong in turns, never right."""
    recorder, labels = Recorder(3, features=False), torch.zeros(3, dtype=torch.int64)
    for step in range(10):
        logits = torch.tensor([[1.0, 0.0], [1.0, 0.0] if step % 2 == 0 else [0.0, 1.0], [0.0, 1.0]])
        recorder.record(torch.arange(3), logits, labels)
    assert recorder.signals().forgetting.tolist() == [0, 5, 10]
    chosen = select(recorder.signals(), labels, Forgetting(), budget=3)
    assert chosen.indices.tolist() == [2, 1, 0]


def test_they_are_kept_in_parts_files_and_moves(tmp_path):
    plain = Signals(torch.zeros(3), torch.zeros(3), torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3).long())
    assert plain.forgetting is None
    assert plain[[0]].tracin is None
    import dataclasses

    whole = dataclasses.replace(plain, forgetting=torch.arange(3.0), tracin=torch.arange(3.0) * 2)
    assert whole[[2, 0]].forgetting.tolist() == [2, 0]
    assert whole.to("cpu").tracin.tolist() == [0, 2, 4]
    whole.save(tmp_path / "s")
    assert Signals.load(tmp_path / "s").tracin.tolist() == [0, 2, 4]
    plain.save(tmp_path / "p")
    assert Signals.load(tmp_path / "p").tracin is None
    assert "tracin" in repr(whole)
    assert "tracin" not in repr(plain)
