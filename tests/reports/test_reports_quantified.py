"""The page of `quantify`: its parts and numbers, for every form that a result has."""

import re
from xml.etree import ElementTree

import pytest
import torch
from reports_html import Page

import auglean as al
from auglean.errors import InputError
from auglean.reports import quantified_plots, quantified_table, write_quantified


def colours(n=6, classes=3):
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=g)
    return al.ImageSet(images, torch.arange(n) % classes, tuple("abc"[:classes]), "noise & <colour>")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results by name."""
    network = al.networks.create("mlp", channels=1, classes=10, size=(8, 8))
    out = tmp_path_factory.mktemp("runs") / "several"
    return {
        "several": al.quantify(
            "translate1-rotate15", "digits", network, policies=["rotate15", "cutout4", "flip"], images=30, out=out
        ),
        "flip": al.quantify("flip", "digits", images=10),
        "colour": al.quantify("crop1-flip", colours(), images=6),
        "one image": al.quantify("rotate15", colours(1, 1), images=1),
    }


@pytest.mark.parametrize("name", ["several", "flip", "colour", "one image"])
def test_the_page_is_whole(results, name, tmp_path):
    found = results[name]
    text = write_quantified(found, tmp_path / "report.html").read_text()
    page = Page(text)
    sections = ["question", "answer", "table", "gallery", "spectra", "draws", "classes", "network", "repeat", "limits"]
    missing = {"several": (), "one image": ("classes", "network")}.get(name, ("network",))
    assert page.ids == [section for section in sections if section not in missing]
    words = " ".join(" ".join(page.words).split())
    for sentence in found.answer:
        assert sentence in words
    for row in found.result["policies"]:
        assert row["kind"] in words
        assert f"{row['spread']['median']:.0%}" in words
    assert found.result["data"]["name"] in words
    assert not re.search(r"\bnan\b|\binf\b|None|https?://(?!www\.w3\.org)", words)
    drawn = re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL)
    assert len(drawn) == {"several": 6, "one image": 2}.get(name, 3)
    for part in found.result["policies"][0]["parts"]:
        assert part["op"] in words
        assert " ".join(part["law"].split()) in words
    assert ("How alike they are" in words) == ("look away" in words) == (name == "several")
    for svg in drawn:
        ElementTree.fromstring(svg)
        assert "nan" not in re.sub(r'id="[^"]*"', "", svg)
    shown = len(found.most) + len(found.least)
    assert shown == min(6, 2 * found.result["probe"]["images"])
    pictures = re.findall(r'src="data:image/png;base64,[^"]+"', text)
    assert 4 * shown <= len(pictures) <= 6 * shown
    assert ("auglean quantify --config" in words) == (name == "several")


def test_the_same_result_gives_the_same_page(results, tmp_path):
    one, two = (write_quantified(results["several"], tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two
    with pytest.raises(InputError, match="kept in no folder; give the report a path"):
        write_quantified(results["flip"])


def test_lines_and_marks_are_those_of_the_numbers(results):
    result = results["several"].result
    axes = quantified_plots.spectra(result).axes
    for line, row in zip(axes[0].lines, result["policies"], strict=False):
        assert line.get_label() == row["name"]
        assert list(line.get_ydata()) == pytest.approx([100 * share for share in row["shares"] if share > 1e-4])
    ax = quantified_plots.draws(result).axes[0]
    by_label = {line.get_label(): line for line in ax.lines}
    mark = by_label["error of 0.01 reached"].get_xydata()[0]
    unit = result["convergence"]["mean"]["unit"]
    assert list(mark) == pytest.approx([(unit / 0.01) ** 2, 0.01])
    assert len(by_label["drawn"].get_xdata()) == 28
    bars = quantified_plots.classes(result).axes[0].patches
    assert [bar.get_width() for bar in bars] == [
        100 * row["mean"] for row in result["policies"][0]["classes"]["spread"]
    ]
    made = quantified_plots.loss_curves(result).axes
    for ax, curve in zip(made, result["network"]["curves"], strict=True):
        assert list(ax.lines[0].get_ydata()) == pytest.approx(curve["mean"])
        assert ax.get_xlabel().startswith(f"{curve['op']}: {curve['parameter']}")
        assert ax.get_ylim()[1] >= max(curve["mean"])  # all of every line is seen
    lines = quantified_plots.energy(result).axes[0].lines
    assert list(lines[0].get_ydata()) == pytest.approx(
        [100 * held for held in result["network"]["alignment"]["energy"][: len(lines[0].get_ydata())]]
    )
    dots = quantified_plots.losses(result).axes[0].lines[1]
    assert list(dots.get_xdata()) == pytest.approx(result["network"]["values"]["clean"])


def test_the_table_of_the_terminal_has_a_column_for_each_policy(results):
    table = quantified_table(results["several"].result)
    names = [str(column.header).replace("\n", "") for column in table.columns][1:]
    assert names == ["translate1-rotate15", "rotate15", "cutout4", "flip"]
    assert table.row_count == 10
