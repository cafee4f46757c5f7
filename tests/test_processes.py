"""Sharing of work: one process, two processes, and one of them that fails."""

import torch
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from auglean.errors import InputError
from auglean.processes import _share, alone, anywhere, from_first, is_first, shared_map, speaks


def test_one_process_is_a_loop():
    seen = []
    assert shared_map(lambda item: seen.append(item) or -item, [3, 1, 2], sizes=[1, 5, 9]) == [-3, -1, -2]
    assert seen == [3, 1, 2]
    assert shared_map(abs, []) == []


@given(sizes=st.lists(st.floats(0, 100), max_size=12), ranks=st.integers(1, 4))
def test_shares_are_balanced(sizes, ranks):
    owners = _share(sizes, ranks)
    assert len(owners) == len(sizes)
    loads = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == rank) for rank in range(ranks)]
    # the last item that a rank was given went to the one that had least: Graham's bound
    assert max(loads) <= sum(sizes) / ranks + max(sizes, default=0) + 1e-9
    assert owners == _share(sizes, ranks)


class Awkward(Exception):
    """Cannot be made anew from its arguments, so it does not travel."""

    def __init__(self, one, two):
        super().__init__(one)


def _rank(rank, ranks, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    done = []

    def run(item):
        done.append(item)
        return {"square": torch.tensor(item) ** 2, "of": item}

    def fail(item):
        if item in (2, 3):
            raise InputError(f"{item} is no good.")
        if item == 5:
            raise Awkward("one", "two")
        return item

    def complaint(items):
        try:
            shared_map(fail, items)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    found = {
        "squares": shared_map(run, [4, 1, 3, 2], sizes=[4, 1, 3, 2]),
        "done": list(done),
        "single": shared_map(run, [7]),
        "none": shared_map(run, []),
        "nested": shared_map(lambda count: shared_map(abs, list(range(-count, 0))), [1, 2, 3]),
        "complaints": [complaint([0, 1, 2, 3]), complaint([0, 3, 2]), complaint([1, 5]), complaint([0, 1])],
    }

    def first_fails():
        raise InputError(f"{rank} is no good.")

    found["first"] = from_first(lambda: {"of": torch.tensor(rank), "shared": shared_map(abs, [-1, -2])})
    try:
        from_first(first_fails)
    except InputError as error:
        found["complaints"].append(str(error))
    found["asked"] = [anywhere(lambda: rank == 1), anywhere(lambda: rank == 0), anywhere(lambda: False)]
    with alone():
        found["roles"] = [is_first(), speaks()]
    found["roles"] += [is_first(), speaks()]
    if rank == 1:
        with alone():  # the others know nothing of it
            found["alone"] = shared_map(run, [8, 9])
    found["after"] = shared_map(abs, [-1, -2, -3])
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    assert (first["done"], second["done"]) == ([4, 1], [3, 2])
    for found in (first, second):
        assert found["squares"] == [{"square": torch.tensor(item**2), "of": item} for item in (4, 1, 3, 2)]
        assert found["single"] == [{"square": torch.tensor(49), "of": 7}]
        assert found["none"] == []
        assert found["nested"] == [[1], [2, 1], [3, 2, 1]]
        assert found["complaints"] == [
            "InputError: 2 is no good.",  # the first, as one process would meet it
            "InputError: 3 is no good.",
            "RuntimeError: Awkward: one",
            None,
            "0 is no good.",
        ]
        assert found["first"] == {"of": torch.tensor(0), "shared": [1, 2]}
        assert found["asked"] == [True, True, False]
        assert found["after"] == [1, 2, 3]
    assert (first["roles"], second["roles"]) == ([True] * 4, [True, False, False, False])
    assert [row["of"] for row in second["alone"]] == [8, 9]
