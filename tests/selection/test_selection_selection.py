"""`Selection` as an object: its complement, its file, and what it refuses."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from selection_references import make_signals

from auglean.errors import InputError
from auglean.selection import Coreset, MaxLoss, Random, Selection, select

FIELDS = [item.name for item in dataclasses.fields(Selection)]


def assert_same(one, other):
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype, name
            assert torch.equal(a, b), name
        else:
            assert a == b, name


@pytest.mark.parametrize("selector", [Coreset(), MaxLoss(draw="proportional"), Random()], ids=repr)
def test_file_gives_back_every_bit(tmp_path, selector):
    signals, labels = make_signals(50)
    chosen = select(None if isinstance(selector, Random) else signals, labels, selector, budget=0.3, seed=7)
    path = tmp_path / "deep" / "chosen.json"
    chosen.save(path)
    assert_same(chosen, Selection.load(path))
    assert_same(chosen, Selection.from_dict(chosen.to_dict()))
    assert json.loads(path.read_text())["indices"] == chosen.indices.tolist()


@given(
    numbers=st.lists(
        st.tuples(
            st.floats(0, allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False)
        ),
        max_size=8,
    ),
    spare=st.integers(0, 5),
)
def test_plain_lists_and_back(numbers, spare):
    k = len(numbers)
    weights, gains = (torch.tensor([row[i] for row in numbers], dtype=torch.float64) for i in (0, 1))
    chosen = Selection(torch.arange(k).flip(0) + spare, weights, gains, total=k + spare)
    back = Selection.from_dict(json.loads(json.dumps(chosen.to_dict())))
    assert_same(chosen, back)
    assert len(chosen) == k
    assert chosen.rest.tolist() == list(range(spare))


@given(total=st.integers(1, 40), data=st.data())
def test_rest_is_the_complement(total, data):
    indices = data.draw(st.lists(st.integers(0, total - 1), unique=True))
    k = len(indices)
    chosen = Selection(torch.tensor(indices, dtype=torch.int64), torch.ones(k), torch.zeros(k), total=total)
    assert chosen.rest.tolist() == [i for i in range(total) if i not in indices]
    assert chosen.rest.dtype == torch.int64


def build(indices=(2, 0), weights=(3.0, 1.0), gains=(9.0, 1.0), total=4):
    return Selection(torch.tensor(indices), torch.tensor(weights), torch.tensor(gains), total=total)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"indices": (1, 1)}, "distinct"),
        ({"indices": (-1, 0)}, "0 … 3"),
        ({"indices": (4, 0)}, "0 … 3"),
        ({"weights": (3.0,)}, "2 indices, 1 weights and 2 gains"),
        ({"gains": (3.0, 1.0, 0.0)}, "2 indices, 2 weights and 3 gains"),
        ({"total": 2}, "0 … 1"),
    ],
)
def test_bad_construction(bad, says):
    with pytest.raises(InputError, match=says):
        build(**bad)
    if "total" not in bad:
        name, value = next(iter(bad.items()))
        with pytest.raises(InputError, match=says):
            build().with_(**{name: torch.tensor(value)})


def test_immutable():
    chosen = build()
    for name in FIELDS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(chosen, name, None)
    with pytest.raises((AttributeError, TypeError)):
        chosen.extra = 1  # slots
    changed = chosen.with_(gradient_error=0.5)
    assert (chosen.gradient_error, changed.gradient_error) == (None, 0.5)
    assert "gradient error 0.5" in repr(changed)


GOOD = {"indices": [1], "weights": [2.0], "gains": [0.0], "total": 2}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1, 2]",
        "3",
        "{}",
        json.dumps({**GOOD, "colour": "red"}),
        json.dumps({**GOOD, "indices": [5]}),
        json.dumps({**GOOD, "indices": "all"}),
        json.dumps({**GOOD, "weights": {}}),
        json.dumps({**GOOD, "weights": [[1.0], [2.0, 3.0]]}),
        json.dumps({**GOOD, "indices": [2**70]}),
        json.dumps({**GOOD, "total": "many"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "total"}),
        b"\xff\xfe\x00",
        None,
    ],
    ids=repr,
)
def test_broken_files_get_one_sentence(tmp_path, content):
    path = tmp_path / "chosen.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"give a file that Selection\.save wrote\.$") as error:
        Selection.load(path)
    assert str(path) in str(error.value)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "chosen.json"
    build().save(path)
    build(indices=(3, 1)).save(path)
    assert Selection.load(path).indices.tolist() == [3, 1]
    assert [item.name for item in tmp_path.iterdir()] == ["chosen.json"]
