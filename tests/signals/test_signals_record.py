"""`Signals` as an object: parts, files, table; and the progress bar of the pass that makes them."""

import dataclasses
import io

import pytest
import torch
from rich.console import Console

from auglean import progress
from auglean.errors import InputError
from auglean.signals import Signals

SIGNALS = ("loss", "margin", "residual", "feature", "prediction")


def signals(n=5):
    g = torch.Generator().manual_seed(n)
    return Signals(
        torch.rand(n, generator=g),
        torch.rand(n, generator=g),
        torch.rand(n, 3, generator=g),
        torch.rand(n, 2, generator=g),
        torch.randint(0, 3, (n,), generator=g),
        seconds=1.5,
        forward_passes=n,
    )


def same(a, b):
    return all(torch.equal(getattr(a, key), getattr(b, key)) for key in SIGNALS)


@pytest.mark.parametrize(
    ("indices", "rows"),
    [
        ([3, 0], [3, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        ([True, False, False, True, False], [0, 3]),
        (slice(1, 4), [1, 2, 3]),
        ([], []),
    ],
)
def test_parts(indices, rows):
    whole = signals()
    part = whole[indices]
    assert len(part) == len(rows)
    for key in SIGNALS:
        assert getattr(part, key).tolist() == [getattr(whole, key)[row].tolist() for row in rows]
    assert (part.seconds, part.forward_passes) == (1.5, 5)


def test_one_number_is_refused_as_an_index():
    with pytest.raises(TypeError, match=r"signals\[\[i\]\]"):
        signals()[1]


def test_file_brings_back_every_bit(tmp_path):
    whole = signals()[1:]  # views, not whole tensors
    whole.save(tmp_path / "s.safetensors")
    back = Signals.load(tmp_path / "s.safetensors")
    assert same(whole, back)
    assert (back.seconds, back.forward_passes) == (1.5, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]
    signals(3).save(str(tmp_path / "s.safetensors"))
    assert len(Signals.load(str(tmp_path / "s.safetensors"))) == 3


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(InputError, match="Cannot read"):
        Signals.load(tmp_path / "missing")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match="Cannot read"):
        Signals.load(tmp_path / "text")
    save_file({"loss": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="holds no Signals"):
        Signals.load(tmp_path / "other")


def test_nothing_can_be_assigned():
    with pytest.raises(dataclasses.FrozenInstanceError):
        signals().loss = torch.zeros(5)
    assert not hasattr(signals(), "__dict__")


@pytest.mark.parametrize(
    "change",
    [
        {"loss": torch.zeros(4)},
        {"loss": torch.zeros(5, 1)},
        {"residual": torch.zeros(5)},
        {"feature": torch.zeros(4, 2)},
        {"feature": torch.zeros(5, 2, 2)},
        {"prediction": torch.zeros(5, 1, dtype=torch.int64)},
    ],
)
def test_shapes_must_agree(change):
    with pytest.raises(InputError, match=r"expected loss, margin and prediction \(N,\)"):
        dataclasses.replace(signals(), **change)


def test_prints_as_a_short_table():
    lines = repr(signals()).splitlines()
    assert lines[0] == "Signals of 5 examples, 3 classes (5 forward passes, 1.50 s)"
    assert [line.split()[0] for line in lines[2:]] == list(SIGNALS)
    assert f"{signals().loss.median().item():.4g}" in lines[2]
    assert max(map(len, lines)) < 80
    assert repr(signals()[[]]).startswith("Signals of 0 examples")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "delay", "shown"), [(Terminal, 0, True), (Terminal, 60, False), (io.StringIO, 0, False)]
)
def test_bar_only_on_a_terminal_and_after_a_while(monkeypatch, stream, delay, shown):
    file = stream()
    monkeypatch.setattr("sys.stderr", file)
    monkeypatch.setattr(progress, "console", lambda: Console(file=file, force_terminal=True, width=80))
    assert list(progress.track(iter(range(4)), "signals", total=4, delay=delay)) == [0, 1, 2, 3]
    assert ("signals" in file.getvalue()) == shown


def test_bar_goes_away_when_the_work_fails(monkeypatch):
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=80)
    monkeypatch.setattr("sys.stderr", file)
    monkeypatch.setattr(progress, "console", lambda: console)
    work = progress.track(range(9), "first", delay=0)
    next(work), next(work)
    inner = list(progress.track(range(3), "second", delay=0))  # a bar within a bar
    assert inner == [0, 1, 2]
    with pytest.raises(KeyError):
        work.throw(KeyError("broken"))
    assert list(progress.track(range(3), "third", delay=0)) == [0, 1, 2]
    assert "third" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")  # the line is cleared
