"""Composition: parts chosen by themselves and merged, the wrappers, and two processes that give what one gives."""

import dataclasses
import math

import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import class_counts, make_signals
from torch import distributed

from auglean.errors import InputError
from auglean.selection import (
    SELECTORS,
    Clustered,
    Coreset,
    Herding,
    InBlocks,
    Influence,
    KCenter,
    MaxLoss,
    PerClass,
    Random,
    Selection,
    allocate,
    map_reduce,
    select,
)


def selection(indices, gains, **more):
    indices = torch.tensor(indices)
    weights = torch.arange(1.0, len(indices) + 1).double()
    return Selection(indices, weights, torch.tensor(gains, dtype=torch.float64), total=9, **more)


def test_merging_by_hand():
    parts = [torch.tensor([1, 4, 7]), torch.tensor([0, 2]), torch.tensor([3, 5, 6, 8])]
    given = {
        1: selection([2, 0], [1.0, 5.0], assignment=torch.tensor([1, 0, 0]), how={"objective": 2.0, "solver": "a"},
                     cost={"bytes": 30.0}),
        3: selection([1, 3, 0], [4.0, 1.0, 0.0], assignment=torch.tensor([2, 0, -1, 1]),
                     how={"objective": 0.5, "solver": "b"}, cost={"bytes": 70.0}),
    }  # fmt: skip
    merged = map_reduce(
        parts, [2, 0, 3], lambda rows, share, g: given[int(rows[0])], total=9, g=torch.Generator().manual_seed(0)
    )
    # the 5 waits for the 1 before it; of equals, the first part goes first
    assert merged.indices.tolist() == [5, 7, 1, 8, 3]
    assert merged.gains.tolist() == [4, 1, 5, 1, 0]
    assert merged.weights.tolist() == [1, 1, 2, 2, 3]
    assert merged.assignment.tolist() == [-1, 2, -1, 4, 1, 0, -1, 1, 3]
    assert merged.how == {"objective": 2.5, "solver": "a; b", "left_out": 2}
    assert merged.cost == {"bytes": 70}
    assert merged.total == 9


def test_what_a_part_does_not_tell_is_not_told():
    one = selection([0], [1.0], assignment=torch.tensor([0]), how={"objective": 2.0}, cost={"bytes": 1.0})
    other = dataclasses.replace(one, assignment=None, how={}, cost={})
    parts = [torch.tensor([0]), torch.tensor([1])]
    merged = map_reduce(parts, [1, 1], lambda rows, share, g: [one, other][int(rows[0])], total=2, g=torch.Generator())
    assert merged.assignment is None
    assert merged.how == merged.cost == {}


def test_each_part_draws_for_itself():
    def first_draws(parts):
        draws = {}

        def choose_part(rows, share, g):
            draws[int(rows[0])] = float(torch.rand((), generator=g))
            return selection([0], [0.0])

        map_reduce(
            [torch.tensor([i]) for i in range(3)], parts, choose_part, total=9, g=torch.Generator().manual_seed(5)
        )
        return draws

    whole = first_draws([1, 1, 1])
    assert len(set(whole.values())) == 3
    assert first_draws([1, 0, 1]) == {0: whole[0], 2: whole[2]}  # a part does not depend on the others


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), mode=st.sampled_from(["proportional", "equal"]), seed=st.integers(0, 99), data=st.data())
def test_per_class_asks_in_each_class(n, mode, seed, data):
    signals, labels = make_signals(n, classes=4, seed=seed)
    k = data.draw(st.integers(1, n))
    chosen = select(signals, labels, PerClass(KCenter(), mode), budget=k)
    shares = allocate(k, torch.bincount(labels).tolist(), mode)
    assert class_counts(labels, chosen) == shares
    for c, share in enumerate(shares):
        rows = (labels == c).nonzero()[:, 0]
        mine = labels[chosen.indices] == c
        if share:
            alone = select(signals[rows], torch.zeros(len(rows)).long(), KCenter(), budget=share)
            assert chosen.indices[mine].tolist() == rows[alone.indices].tolist()
            assert chosen.weights[mine].tolist() == alone.weights.tolist()
            assert chosen.indices[chosen.assignment[rows]].tolist() == rows[alone.indices[alone.assignment]].tolist()
        else:
            assert chosen.assignment[rows].tolist() == [-1] * len(rows)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 99), data=st.data())
def test_blocks_cover_the_data_evenly(n, size, seed, data):
    k = data.draw(st.integers(1, n))
    sizes = []

    class Spy(Random):
        def choose(self, signals, labels, k, g):
            sizes.append(len(labels))
            assert signals is None
            return super().choose(signals, labels, k, g)

    chosen = select(None, torch.zeros(n).long(), InBlocks(Spy(), size), budget=k, seed=seed)
    assert len(chosen) == k
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(math.ceil(n / size), k)
    assert float(chosen.weights.sum()) == pytest.approx(n)


def test_one_block_is_the_whole():
    signals, labels = make_signals(50, seed=2)
    whole = select(signals, labels, Coreset(), budget=12)
    block = select(signals, labels, InBlocks(Coreset(), size=50), budget=12)
    assert torch.equal(whole.indices, block.indices)
    assert torch.equal(whole.weights, block.weights)
    assert torch.equal(whole.assignment, block.assignment)


def test_who_is_left_out_is_told():
    signals, labels = make_signals(60, classes=6, seed=3)
    for selector in (PerClass(MaxLoss()), Coreset(), InBlocks(PerClass(Random()), size=20)):
        few = select(signals, labels, selector, budget=4)
        assert few.how["left_out"] == pytest.approx(60 - float(few.weights.sum()))
        assert few.how["left_out"] > 0
        assert "left_out" not in select(signals, labels, selector, budget=30).how


@pytest.mark.parametrize("wrapper", [PerClass, InBlocks])
@pytest.mark.parametrize("inner", ["random", Random, None])
def test_wrappers_take_objects_only(wrapper, inner):
    with pytest.raises(InputError, match=rf"{wrapper.__name__} was given .*give an object"):
        wrapper(inner)


def test_the_size_of_a_class_number_does_not_matter():
    signals, labels = make_signals(40, classes=4, seed=6)
    for selector in (PerClass(Random()), Coreset(), Herding()):
        found, expected = (select(signals, labels * gap, selector, budget=9) for gap in (10**15, 1))
        assert torch.equal(found.indices, expected.indices)
        assert torch.equal(found.weights, expected.weights)


def test_labels_of_wrappers():
    assert PerClass(MaxLoss(draw="inverse")).label == "max-loss-inverse-per-class"
    assert InBlocks(PerClass(KCenter())).label == "k-center-per-class-in-blocks"


# Two processes


@dataclasses.dataclass(frozen=True)
class Fragile(Random):
    """Cannot choose in the class that only one of two ranks has."""

    def choose(self, signals, labels, k, g):
        if int(labels[0]) == 1:
            raise InputError("Class 1 cannot be chosen from.")
        return super().choose(signals, labels, k, g)


TOGETHER = (*SELECTORS.values(), InBlocks(Herding(), size=40), PerClass(KCenter()), Clustered(6, Influence()))


def choose_all():
    signals, labels = make_signals(90, classes=5, dim=24, seed=11)
    return [select(signals, labels, selector, budget=21, seed=4) for selector in TOGETHER]


def _rank(rank, ranks, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    for i, chosen in enumerate(choose_all()):
        chosen.save(f"{folder}/{rank}-{i}.json")
    with pytest.raises(InputError, match="Class 1 cannot be chosen from"):
        select(None, torch.arange(90) % 5, PerClass(Fragile()), budget=21)
    (tmp := torch.ones(1)).mul_(rank + 1)
    distributed.all_reduce(tmp)  # both came this far
    assert tmp.item() == 3
    distributed.destroy_process_group()


def test_two_processes_choose_as_one(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    for i, expected in enumerate(choose_all()):
        for rank in range(2):
            found = Selection.load(tmp_path / f"{rank}-{i}.json")
            for name in ("indices", "weights", "gains"):
                assert torch.equal(getattr(found, name), getattr(expected, name)), (TOGETHER[i], name)
            assert (found.assignment is None) == (expected.assignment is None)
            if expected.assignment is not None:
                assert torch.equal(found.assignment, expected.assignment)
            assert found.gradient_error == expected.gradient_error
            assert found.how == expected.how
