"""The report of a budget curve: its parts, its numbers, and every odd result that a study can end in."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from curve_results import BUDGETS, edited, made_up, without
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from auglean import reports
from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.policies.copies import Copies
from auglean.reports import curve_arms, curve_plots, curve_tables, plots
from auglean.reports.curve import limits, render, write_curve

SECTIONS = [
    "question",
    "answer",
    "compared",
    "by-chance",
    "deterministic",
    "by-score",
    "diverse",
    "clusters",
    "area",
    "table",
    "noise",
    "scores",
    "images",
    "sweep",
    "repeat",
    "limits",
]
OPTIONAL = ["diverse", "clusters", "noise", "scores", "images", "sweep"]
VOID = {"meta", "img", "br"}


@dataclass(frozen=True)
class Cut:
    """What the page asks of a task."""

    train: ImageSet
    copies: Copies
    wrong: torch.Tensor


@dataclass(frozen=True)
class Found:
    """What the page asks of a `BudgetCurve`."""

    result: dict
    task: Cut
    folder: Path | None = None


def found(result, folder=None):
    n = result["data"]["train"]
    images = torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    wrong = torch.arange(n) % 7 == 0 if result["data"]["noise"] else torch.zeros(n, dtype=torch.bool)
    return Found(result, Cut(ImageSet(images, torch.arange(n) % 2), Copies("translate", ((1, 0),)), wrong), folder)


class Page(HTMLParser):
    """Checks that elements nest, and keeps elements, words and the rows of tables by section."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words, self.rows, self.section = [], [], [], {}, None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = attrs["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[self.section][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self):
        return [attrs["id"] for _, attrs in self.elements if attrs.get("id") in [*SECTIONS, "others"]]


@pytest.fixture(scope="module")
def full():
    """A result with everything in it, and its page."""
    result = made_up(noise=0.1)
    text = render(found(result, Path("runs/curve")))
    return result, text, Page(text)


def test_the_page_has_every_part_once_and_in_order(full):
    assert full[2].sections == SECTIONS


@pytest.mark.parametrize(
    ("result", "missing"),
    [
        (made_up(extras=False), OPTIONAL),
        (made_up(), ["noise"]),
        (made_up(scores=("influence",)), ["by-score", "noise"]),
        (edited(made_up(), without("clusters", "sheets")), ["noise", "images", "sweep"]),
        (edited(made_up(), without("scores")), ["noise", "scores"]),
    ],
    ids=["bare", "no noise", "one score", "no clusters", "no scores"],
)
def test_parts_that_were_not_measured_are_left_out(result, missing):
    page = Page(render(found(result)))
    assert page.sections == [name for name in SECTIONS if name not in missing]


def test_it_needs_no_other_file_no_network_and_no_script(full):
    _, text, page = full
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"} == set()
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    names = ("src", "href", "xlink:href", "srcset", "action", "poster", "data")
    references = [attrs[name] for _, attrs in page.elements for name in names if name in attrs]
    references += re.findall(r"url\(([^)]*)\)", text)
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert len(references) > 100
    for reference in references:
        assert reference.startswith("data:image/png;base64,") or reference.strip("\"'#") in ids, reference[:80]
    assert "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_ids_are_given_once_and_pictures_are_named(full):
    _, text, page = full
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    drawn = re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL)
    assert len(drawn) == 3 + 3 + 2 + 1 + 1 + 1 + 1 + 3 + 1
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 20
    assert all(attrs["alt"] for tag, attrs in page.elements if tag == "img")
    assert all("scope" in attrs for tag, attrs in page.elements if tag == "th")


def test_the_answer_stands_on_top_and_tells_where_random_is_ahead(full):
    result, _, page = full
    told = curve_tables.behind(result)
    assert result["answer"]["sentence"] in page.text
    assert f"ahead in {told.behind} of {told.cases} cases" in page.text
    assert f"clearly in {told.clear}." in page.text
    cases = [p["over_random"] for arm in result["arms"] if arm["name"] != "random" for p in arm["points"]]
    assert told.cases == len(cases)
    assert told.behind == sum(case["mean"] < 0 for case in cases) > 0
    assert told.clear == sum(case["high"] < 0 for case in cases) > 0


def test_the_numbers_are_those_of_the_result(full):
    result, _, page = full
    rows = {row[0]: row[1:] for row in page.rows["table"] if len(row) == 1 + len(BUDGETS)}
    short = page.rows["table"][2 : 2 + len(result["arms"])]
    assert [row[0] for row in short] == [arm["name"] for arm in result["arms"]]
    for arm, (_, *cells) in zip(result["arms"], short, strict=True):
        points = {point["budget"]: point for point in arm["points"]}
        for budget, cell in zip(BUDGETS, cells, strict=True):
            if budget not in points:
                assert cell == "–"
                continue
            point = points[budget]
            assert cell.rstrip("▴▾") == f"{100 * point['accuracy']['mean']:.2f}"
            ahead = point["over_random"]
            assert cell.endswith("▴") == (ahead["low"] > 0)
            assert cell.endswith("▾") == (ahead["high"] < 0)
    point = result["arms"][1]["points"][3]
    long = rows["influence-proportional"][3]  # the later table has the name again
    assert f"{100 * point['accuracy']['mean']:.2f} ± {100 * point['accuracy']['std']:.2f}" in long
    assert f"{100 * point['over_random']['mean']:+.2f} [{100 * point['over_random']['low']:+.2f}" in long
    facts = {row[0]: row[1] for row in page.rows["table"] if len(row) == 2}
    assert facts["Nothing augmented"] == f"{100 * result['references']['floor']['accuracy']['mean']:.2f}%"
    assert facts["Everything augmented"] == f"{100 * result['references']['ceiling']['accuracy']['mean']:.2f}%"
    assert facts["The 123 support vectors augmented"] == "97.01%"


def test_areas_are_those_of_the_result(full):
    result, _, page = full
    _, *rows = page.rows["area"]
    assert len(rows) == len(result["arms"])
    for arm, (name, mean, std, inside, ahead) in zip(result["arms"], rows, strict=True):
        area = arm["area"]
        assert (name, mean) == (arm["name"], f"{100 * area['mean']:.2f}")
        assert std == (f"{100 * area['std']:.2f}" if arm["rounds"] > 1 else "–")
        assert inside == f"{100 * area['low']:.2f} to {100 * area['high']:.2f}"
        plain = ahead.replace("−", "-")
        assert plain == "–" if name == "random" else plain.startswith(f"{100 * arm['area_over_random']['mean']:+.2f} [")


def test_the_arm_of_the_answer_is_marked(full):
    marked = [attrs for tag, attrs in full[2].elements if tag == "tr" and attrs.get("class") == "spoken"]
    assert len(marked) == 2  # in the table of accuracies and in that of areas


def test_sheets_show_the_images_of_highest_and_lowest_score(full):
    result, _, page = full
    titles = [attrs["title"] for tag, attrs in page.elements if tag == "li" and "title" in attrs]
    sheets = result["sheets"].values()
    wanted = [i for sheet in sheets for end in ("highest", "lowest") for i in sheet[end][:24]]
    assert [int(title.split()[-1]) for title in titles] == wanted
    assert page.text.count("wrong label ") == sum(i % 7 == 0 for i in wanted)  # as `found` has it


@pytest.mark.parametrize(
    "result",
    [
        made_up(budgets=(100,)),
        made_up(budgets=(1,), extras=False),
        made_up(rounds=1, noise=0.3),
        made_up(floor=0.9732),
        made_up(floor=0.98),
        edited(made_up(extras=False), lambda r: r["arms"].__delitem__(slice(1, None))),
        edited(made_up(), lambda r: r["references"].pop("ceiling_downweighted")),
        edited(made_up(), lambda r: [arm["points"].insert(0, {**arm["points"][0], "budget": 0}) for arm in r["arms"]]),
        edited(made_up(), lambda r: r["scores"]["loss"].update(before=[0.0] * 1000, after=[0.0] * 1000, spearman=None)),
        edited(made_up(), lambda r: r["sheets"]["loss"].update(highest=[], lowest=[])),
        edited(made_up(), lambda r: r["features"].update(disjoint=None, trained_on=None, steps=None)),
        edited(made_up(), lambda r: r["features"].update(retrained=True, disjoint=False, trained_on="anew")),
        edited(made_up(), lambda r: r["data"].update(classes=["<b>a", "b&c"], copies=1, test=40)),
    ],
    ids=[
        "one budget", "one image", "one round", "no gain", "floor above ceiling", "random alone", "no down-weighting",
        "budget 0", "equal scores", "empty sheet", "given network", "retrained", "few tests, odd names",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_degenerate_results_have_a_page(result):
    text = render(found(result))
    page = Page(text)
    assert page.sections[:3] == SECTIONS[:3]
    assert set(page.sections) & {"by-chance", "others"}
    assert not re.search(r"\bnan\b|\binf\b|None", page.text)
    assert "<b>a" not in text
    for svg in re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_curves_begin_at_the_floor_and_are_the_numbers():
    result = made_up()
    (panel, *_) = curve_arms.variants(result, by_chance=True)
    ax = curve_plots.accuracy_by_budget(plots.figure()[1][0], panel, result)
    lines = {line.get_label(): line for line in ax.lines}
    floor = 100 * result["references"]["floor"]["accuracy"]["mean"]
    for arm in panel.arms:
        line = lines[arm["name"]]
        assert list(line.get_xdata()) == [0, *BUDGETS]
        assert list(line.get_ydata()) == [floor, *(100 * point["accuracy"]["mean"] for point in arm["points"])]
    assert [t.get_text() for t in ax.texts] == ["floor", "down-weighted", "ceiling"]
    assert list(lines["support vectors"].get_xdata()) == [123]
    assert len(ax.collections) == len(panel.arms)  # a band each


def test_differences_to_random_are_the_numbers():
    result = made_up()
    (panel, *_) = curve_arms.variants(result, by_chance=True)
    ax = curve_plots.over_random(plots.figure()[1][0], panel, result)
    drawn = [list(line.get_ydata()) for line in ax.lines[1:]]
    wanted = [[100 * p["over_random"]["mean"] for p in arm["points"]] for arm in panel.arms[1:]]
    assert drawn == wanted
    low = [min(path.vertices[:, 1]) for band in ax.collections for path in band.get_paths()]
    assert low == pytest.approx([100 * min(p["over_random"]["low"] for p in arm["points"]) for arm in panel.arms[1:]])


def test_every_arm_is_drawn_and_no_panel_is_crowded():
    result = made_up(extras=True)
    result["arms"].append(
        {**result["arms"][1], "name": "coreset", "selector": "coreset", "draw": None, "score": "coreset"}
    )
    result["arms"].append({**result["arms"][0], "name": "random+down-weight", "downweight": True})
    panels = [
        panel
        for panels in (
            curve_arms.variants(result, by_chance=True),
            curve_arms.variants(result, by_chance=False),
            curve_arms.scores(result),
            curve_arms.diverse(result),
            curve_arms.clustered(result),
        )
        for panel in panels
    ]
    rest = curve_arms.others(result, panels)
    assert [arm["name"] for panel in rest for arm in panel.arms] == ["random", "coreset", "random+down-weight"]
    drawn = {arm["name"] for panel in [*panels, *rest] for arm in panel.arms}
    assert drawn == {arm["name"] for arm in result["arms"]}
    for panel in panels:
        assert panel.arms[0]["name"] == "random"
        assert len(panel.arms) <= 1 + curve_arms.MOST
        look = list(curve_plots.styles(panel).values())
        assert len({(style["color"], style["marker"]) for style in look}) == len(look)


def test_many_clusters_are_spread_over_panels_with_the_rivals_in_each():
    result = made_up()
    one = next(arm for arm in result["arms"] if arm["clusters"] == 10)
    result["arms"] = [arm for arm in result["arms"] if arm["clusters"] is None]
    result["arms"] += [{**one, "name": f"influence-proportional-clusters-{k}", "clusters": k} for k in range(1, 9)]
    panels = curve_arms.clustered(result)
    assert [panel.title for panel in panels] == [f"influence-proportional ({i} of 2)" for i in (1, 2)]
    assert all([a["name"] for a in panel.arms[:2]] == ["random", "influence-proportional"] for panel in panels)
    assert sum(len(panel.arms) - 2 for panel in panels) == 8


def test_wrong_labels_are_drawn_against_their_share():
    result = made_up(noise=0.3)
    panel, *rest = curve_arms.noisy(result)
    assert [panel.title, *(p.title for p in rest)] == ["influence", "loss", "margin", "others"]
    ax = curve_plots.noisy_share(plots.figure()[1][0], panel, result)
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    for arm in panel.arms:
        assert lines[arm["name"]] == [100 * point["noisy_share"] for point in arm["points"]]
    assert [30, 30] in [list(line.get_ydata()) for line in ax.lines]
    assert curve_arms.noisy(made_up()) == []


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.data())
def test_histograms_count_every_image(before, data):
    after = data.draw(st.lists(st.floats(0, 1e6), min_size=len(before), max_size=len(before)))
    ax = curve_plots.score_histogram(plots.figure()[1][0], {"before": before, "after": after}, "loss")
    counts = [patch.get_data().values.sum() for patch in ax.patches]
    assert counts == [len(before)] * 4  # each as an outline and filled


def test_scores_are_drawn_by_rank():
    ax = curve_plots.score_change(
        plots.figure()[1][0], {"before": [3.0, 1.0, 2.0], "after": [0.1, 0.2, 0.2], "spearman": 0.5}, "loss"
    )
    assert ax.collections[0].get_offsets().tolist() == [[1, 3], [3, 1.5], [2, 1.5]]
    assert ax.get_title(loc="left") == "Spearman 0.500"


@pytest.mark.parametrize("levels", [{"a": 1.0, "b": 1.001, "c": 5.0}, {"a": 5.0, "b": 5.0, "c": 5.0}])
def test_labels_at_the_ends_of_lines_keep_apart(levels):
    ax = plots.figure()[1][0]
    ax.set_ylim(0, 10)
    curve_plots.end_labels(ax, levels)
    places = sorted(text.xy[1] for text in ax.texts)
    if levels["c"] != levels["a"]:
        assert places[-1] == levels["c"]  # far from the others, so at its line
    assert min(b - a for a, b in pairwise(places)) > 0.7


@given(st.sets(st.integers(1, 50_000), min_size=1, max_size=12))
def test_ticks_are_budgets_and_keep_apart(budgets):
    ax = plots.figure()[1][0]
    curve_plots.by_budget(ax, [{"points": [{"budget": budget} for budget in budgets]}])
    ticks = sorted(ax.get_xticks())
    assert ticks[0] == 0
    assert ticks[-1] == max(budgets)
    assert set(ticks) <= budgets | {0}
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"{tick:,.0f}" for tick in ax.get_xticks()]
    gaps = [b**0.5 - a**0.5 for a, b in pairwise(ticks)]
    assert min(gaps) >= 0.06 * max(budgets) ** 0.5


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_terminal_table_fits_and_holds_the_numbers(width):
    result = made_up()
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(reports.curve_table(result, width=width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if line.startswith("random "))
    cells = row.split()[1:]
    known = {f"{100 * point['accuracy']['mean']:.2f}" for point in result["arms"][0]["points"]}
    assert set(cells[:-1]) <= known
    assert cells[-1] == f"{100 * result['arms'][0]['area']['mean']:.2f}"
    assert (len(cells) == 1 + len(BUDGETS)) == ("further budgets" not in text)
    assert "1,000" in text  # the whole set is always there
    if width >= 120:
        assert len(cells) == 1 + len(BUDGETS)


def test_limits_follow_from_the_result():
    def told(**options):
        return " ".join(limits(made_up(**options)))

    assert "made 5 times" in told()
    assert "one round" in told(rounds=1)
    given = edited(made_up(), lambda r: r["features"].update(disjoint=None))
    assert "may have learnt" in " ".join(limits(given))
    assert "Only the head" in told()
    anew = edited(made_up(), lambda r: r["features"].update(retrained=True))
    assert "Only the head" not in " ".join(limits(anew))


def test_it_is_written_into_the_run_folder_or_where_it_is_said(tmp_path):
    result = made_up(extras=False)
    assert write_curve(found(result, tmp_path)) == tmp_path / "report.html"
    page = write_curve(found(result), tmp_path / "other.html")
    assert "auglean.budget_curve" in page.read_text()
    with pytest.raises(InputError, match="give the report a path"):
        write_curve(found(result))
