"""Files are the old ones or the new ones, never half of one."""

import json
import math
import os
from pathlib import Path

import pytest
import torch

from auglean.files import read_tensors, write_json, write_tensors, write_text

WRITERS = {
    "text": lambda path, number: write_text(path, f"text {number}"),
    "json": lambda path, number: write_json(path, {"number": number}),
    "tensors": lambda path, number: write_tensors(path, {"x": torch.full((2,), number)}, {"number": number}),
}
every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@every_writer
@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_crash_before_the_end_leaves_the_old_file(tmp_path, monkeypatch, write, step):
    path = tmp_path / "file"
    write(path, 1)
    old = path.read_bytes()

    def crash(*_):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, crash)
        with pytest.raises(OSError, match="power cut"):
            write(path, 2)
        with pytest.raises(OSError, match="power cut"):
            write(tmp_path / "new", 2)
    assert path.read_bytes() == old
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    write(path, 2)
    assert path.read_bytes() != old


@every_writer
def test_the_new_file_is_whole_before_the_old_one_goes(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    write(tmp_path / "expected", 2)
    write(path, 1)
    seen = []
    replace = os.replace

    def look(fresh, target):
        seen.append(Path(fresh).read_bytes())
        assert os.path.dirname(fresh) == os.path.dirname(target)  # a rename across file systems is no rename
        replace(fresh, target)

    monkeypatch.setattr(os, "replace", look)
    write(path, 2)
    assert seen == [(tmp_path / "expected").read_bytes()] == [path.read_bytes()]


def test_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "Σ 値\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "Σ 値\n".encode()
    write_text(str(tmp_path / "d.txt"), "")
    assert (tmp_path / "d.txt").read_text() == ""


def test_json(tmp_path):
    content = {"a": [1, 2.5, None, True], "β": {"c": "x\ny"}}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == content
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "x.json", {"a": wrong})
    assert json.loads((tmp_path / "x.json").read_text()) == content


def test_tensors_and_state(tmp_path):
    g = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=g)
    tensors = {
        "plain": base.clone(),
        "turned": base.T,
        "strided": base[:, ::2],
        "grad": base.clone().requires_grad_(),
        "bytes": torch.randint(0, 256, (3, 2, 2), generator=g, dtype=torch.uint8),
        "numbers": torch.tensor([-(2**62), 2**62]),
        "half": base.bfloat16(),
        "double": base.double(),
        "flags": base > 0,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "special": torch.tensor([math.nan, math.inf, -0.0]),
    }
    state = {"epoch": 3, "names": ["a", "ü"], "none": None, "deep": {"x": 0.1}}
    write_tensors(tmp_path / "x.safetensors", tensors, state)
    found, back = read_tensors(tmp_path / "x.safetensors")
    assert back == state
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name].nan_to_num(7.0), tensor.detach().nan_to_num(7.0)), name
    assert bool(found["special"][2].signbit())


def test_shared_memory_is_written_twice(tmp_path):
    tensor = torch.arange(6.0)
    write_tensors(tmp_path / "x", {"all": tensor, "head": tensor[:2], "again": tensor}, {})
    found, state = read_tensors(tmp_path / "x")
    assert found["head"].tolist() == [0, 1]
    assert torch.equal(found["all"], found["again"])
    assert state == {}


def test_a_file_of_another_writer_has_no_state(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "x")
    assert read_tensors(tmp_path / "x")[1] == {}


def test_only_one_file_is_touched(tmp_path):
    write_text(tmp_path / "neighbour", "here")
    write_text(tmp_path / "file", "one")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "neighbour"]
