"""The page of a spectrum: its parts and numbers, for every form that a spectrum has."""

import re
from xml.etree import ElementTree

import pytest
import torch
from reports_html import Page

import auglean as al
from auglean.data import splits
from auglean.reports import plots
from auglean.reports.spectrum import picture, relative_change, singular_values, subspace_angles, write_spectrum
from auglean.studies.quantifying import quantify_spectrum


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results by name: exact, randomised, and of a single row."""
    root = tmp_path_factory.mktemp("runs")
    sets = splits("digits", limit=60)
    al.studies.single.fit_once(sets, out=root / "fit", network="convnet-w4-d1", steps=4)
    forms = {
        "exact": {"images": 5},
        "randomised": {"images": 5, "method": "randomised", "top": 12},
        "one row": {"images": 1, "output": "sum"},
        "faint": {"images": 5, "policy": "translate0.0001"},
    }
    return {
        name: quantify_spectrum(
            sets, root / "fit" / "model.safetensors", out=root / name, draws=2, **{"policy": "rotate15", **options}
        )
        for name, options in forms.items()
    }


@pytest.mark.parametrize("name", ["exact", "randomised", "one row", "faint"])
def test_the_page_is_whole(runs, name, tmp_path):
    result, spectrum = runs[name]
    text = write_spectrum(result, tmp_path / "report.html").read_text()
    page = Page(text)
    sections = ["question", "answer", "idea", "values", "angles", "alignment", "repeat", "limits"]
    if name == "one row":
        sections = [section for section in sections if section not in ("angles", "alignment")]
    assert page.ids == sections
    words = " ".join(" ".join(page.words).split())
    for sentence in spectrum.verdicts:
        assert sentence in words
    assert spectrum.cost in words
    assert ("Stewart" in words) == (name != "randomised")
    assert ("copies appended" in words) == (name != "randomised")
    assert ("vacuous" in words) == (name in ("exact", "randomised"))
    assert not re.search(r"\bnan\b|None|https?://(?!www\.w3\.org)", words)
    drawn = re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL)
    assert len(drawn) == {"one row": 1}.get(name, 3)
    for svg in drawn:
        ElementTree.fromstring(svg)


def test_lines_are_the_numbers(runs):
    spectrum = runs["exact"][1]
    _, (ax,) = plots.figure()
    singular_values(ax, spectrum)
    lines = {line.get_label(): torch.as_tensor(line.get_ydata()) for line in ax.lines}
    assert torch.allclose(lines["before"], spectrum.values / 50**0.5)
    assert torch.allclose(lines["as much noise"], spectrum.null.mean / 50**0.5)
    assert torch.allclose(lines["copies appended"], spectrum.appended.mean / 100**0.5)
    _, (ax,) = plots.figure()
    relative_change(ax, spectrum)
    assert any(torch.allclose(torch.as_tensor(line.get_ydata()), spectrum.after.mean / spectrum.values)
               for line in ax.lines if len(line.get_ydata()) == 50)  # fmt: skip


def test_a_vacuous_bound_is_a_cross_at_the_top(runs):
    _, (ax,) = plots.figure()
    subspace_angles(ax, runs["exact"][1], side="left")
    crosses = [line for line in ax.lines if line.get_label() == "Wedin's bound, vacuous"]
    vacuous = [row.k for row in runs["exact"][1].subspaces if row.vacuous]
    assert [list(line.get_xdata()) for line in crosses] == [vacuous]
    assert set(crosses[0].get_ydata()) == {90}
    _, (ax,) = plots.figure()
    faint = runs["faint"][1]
    subspace_angles(ax, faint, side="left")
    (bound,) = (line for line in ax.lines if line.get_label() == "Wedin's bound")
    assert list(bound.get_xdata()) == [row.k for row in faint.subspaces if not row.vacuous] != []


def test_the_picture_has_four_plots(runs):
    assert len(picture(runs["exact"][1]).axes) == 4
