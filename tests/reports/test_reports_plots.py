"""What the plots draw, held against the result: lines, bars, bands, colours; not how they look."""

import copy
import re

import pytest
from reports_runs import compared

from auglean.reports import plots
from auglean.reports.tables import MEASURES, key

SELECTORS = ["random", "random-each-epoch", "max-loss", "coreset"]


@pytest.fixture
def ax():
    return plots.figure()[1][0]


def labelled(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def levels(ax):
    return sorted(line.get_ydata()[0] for line in ax.get_lines() if list(line.get_xdata()) == [0, 1])


@pytest.mark.parametrize("measure", ["clean", "transformed"])
def test_accuracy_by_budget_draws_a_line_per_selector(tiny, ax, measure):
    assert plots.accuracy_by_budget(ax, tiny.result, measure=measure, role="full+subset") is ax
    lines = labelled(ax)
    assert list(lines) == SELECTORS
    for name, line in lines.items():
        rows = [arm for arm in tiny.arms if arm["name"] == name]
        assert list(line.get_ydata()) == [100 * arm[MEASURES[measure]]["mean"] for arm in rows]
        assert list(line.get_xdata()) == pytest.approx([10, 30], rel=0.1)
    ends = [100 * tiny[name][MEASURES[measure]]["mean"] for name in ("weak", "full")]
    assert levels(ax) == sorted(ends)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10%", "30%"]
    assert {text.get_text().split()[0] for text in ax.texts} == {"weak", "full"}


def test_error_bars_are_one_standard_deviation_each_way(tiny, ax):
    plots.accuracy_by_budget(ax, tiny.result, measure="clean", role="full+subset")
    drawn = sorted(
        tuple(sorted(end[1] for end in segment)) for bars in ax.containers for segment in bars[2][0].get_segments()
    )
    rows = [arm["accuracy"] for arm in tiny.arms if arm["budget"] is not None]
    wanted = sorted((100 * (row["mean"] - row["std"]), 100 * (row["mean"] + row["std"])) for row in rows)
    assert [end for bar in drawn for end in bar] == pytest.approx([end for bar in wanted for end in bar])


def test_markers_of_one_budget_stand_side_by_side(tiny, ax):
    plots.accuracy_by_budget(ax, tiny.result, measure="clean", role="full+subset")
    first = [line.get_xdata()[0] for line in labelled(ax).values()]
    assert len(set(first)) == len(SELECTORS)


def test_accuracy_by_seconds_is_the_mean_over_seeds(tiny, ax):
    options = {"measure": "transformed", "role": "full+subset", "budget": 0.3}
    assert plots.accuracy_by_seconds(ax, tiny.result, tiny.histories, **options) is ax
    lines = labelled(ax)
    assert list(lines) == ["weak", "full", *SELECTORS]
    for arm in tiny.arms:
        if arm["budget"] in (None, 0.3):
            line, runs = lines[arm["name"]], tiny.histories[key(arm)]
            assert len(line.get_xdata()) == len(runs[0])
            assert line.get_xdata()[-1] == pytest.approx(arm["seconds"]["total"])
            assert line.get_ydata()[-1] == pytest.approx(100 * arm["validation"]["transformed"])
    assert len(ax.collections) == len(lines)  # a band each
    targets = [tiny["weak"][f"seconds_to_{name}_transformed"]["target"] for name in ("weak", "full99")]
    assert levels(ax) == pytest.approx(sorted(100 * target for target in targets))


def test_one_seed_has_no_band(ax):
    found = compared("digits", steps=2, seeds=1)
    plots.accuracy_by_seconds(ax, found.result, found.histories, measure="clean", role="full+subset", budget=0.1)
    assert len(ax.collections) == 0


def with_kappa(result, threshold=None):
    """Two seeds of an arm that chose anew at steps 0 and 20, and one that never did."""
    result = copy.deepcopy(dict(result))
    result["config"]["reselect_above"] = threshold
    row = {"epoch": 0, "step": 0, "kappa": 0.25, "reselected": True}
    first = [row, {**row, "step": 20, "kappa": 0.75, "reselected": False}, {**row, "step": 20, "kappa": 0.5}]
    second = [row, {**row, "step": 10, "kappa": None, "reselected": False}, {**row, "step": 30, "kappa": 0.0}]
    for arm in result["arms"]:
        arm["kappa"] = [first, second] if arm["name"] == "coreset" else [[], []]
    return result


def test_kappa_is_drawn_by_step_with_a_mark_at_each_new_choice(tiny, ax):
    assert plots.kappa_by_step(ax, with_kappa(tiny.result), role="full+subset", budget=0.1) is ax
    strong = labelled(ax)["coreset"]
    assert (list(strong.get_xdata()), list(strong.get_ydata())) == ([0, 20, 20], [0.25, 0.75, 0.5])
    assert strong.get_markevery() == [0, 2]
    faint = next(line for line in ax.get_lines() if list(line.get_xdata()) == [0, 30])
    assert list(faint.get_ydata()) == [0.25, 0.01]  # none cannot be drawn to such a scale, infinity not at all
    assert faint.get_alpha() < 1
    assert faint.get_color() == strong.get_color()
    assert faint.get_marker() == ""
    assert levels(ax) == []
    assert ax.get_yscale() == "log"


def test_the_threshold_is_drawn_where_there_is_one(tiny, ax):
    plots.kappa_by_step(ax, with_kappa(tiny.result, 0.6), role="full+subset", budget=0.3)
    assert levels(ax) == [0.6]
    assert [text.get_text() for text in ax.texts] == ["above 0.6:\nnew choice"]


def test_kappa_of_a_real_run_is_that_of_its_result(tiny, ax):
    plots.kappa_by_step(ax, tiny.result, role="full+subset", budget=0.3)
    lines = labelled(ax)
    assert list(lines) == SELECTORS
    for arm in (arm for arm in tiny.arms if arm["budget"] == 0.3):
        assert list(lines[arm["name"]].get_ydata()) == [row["kappa"] for row in arm["kappa"][0]]


def test_bars_of_time_add_up(tiny, ax):
    assert plots.seconds_by_phase(ax, tiny.result) is ax
    assert [bars.get_label() for bars in ax.containers] == ["select", "augment", "train"]
    for bars in ax.containers:
        widths = [bar.get_width() for bar in bars]
        assert widths == pytest.approx([arm["seconds"][bars.get_label()] for arm in tiny.arms])
    ends = [bar.get_x() + bar.get_width() for bar in ax.containers[-1]]
    assert ends == pytest.approx([arm["seconds"]["total"] for arm in tiny.arms])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:3] == ["weak", "full", "random, 10%"]


def test_speed_ups_are_marks_beside_the_lines_of_the_model(tiny, ax):
    assert plots.speedup_by_share(ax, tiny.result) is ax
    lines = labelled(ax)
    k = tiny["coreset"]["speedup_model"]["k"]
    assert list(lines) == ["at most 1/f", "k = 12", f"k = {k:.2f}, as here", *SELECTORS]
    for name, cost in (("k = 12", 12), (f"k = {k:.2f}, as here", k)):
        for x, y in zip(*lines[name].get_data(), strict=True):
            assert y == pytest.approx((1 + cost) / (1 + cost * x / 100))
        assert y == pytest.approx(1)
    for name in SELECTORS:
        rows = [arm for arm in tiny.arms if arm["name"] == name]
        assert list(lines[name].get_xdata()) == [10, 30]
        assert list(lines[name].get_ydata()) == [
            pytest.approx(arm["speedup"] * 2 / (1 + arm["budget"])) for arm in rows
        ]


def test_a_selector_has_one_colour_in_all_plots(tiny):
    _, (one, two) = plots.figure(columns=2)
    plots.accuracy_by_budget(one, tiny.result, measure="clean", role="full+subset")
    plots.accuracy_by_seconds(two, tiny.result, tiny.histories, measure="clean", role="full+subset", budget=0.1)
    for name in SELECTORS:
        assert labelled(one)[name].get_color() == labelled(two)[name].get_color()
    assert labelled(one)["random"].get_linestyle() == "--"


def test_selectors_that_are_not_known_are_told_apart():
    names = ["weak", "full", "coreset", *(f"new-{i}" for i in range(9))]
    looks = plots.styles({"arms": [{"name": name} for name in names]})
    assert len({(look["color"], look["linestyle"], look["marker"]) for look in looks.values()}) == len(names)


def test_close_labels_are_pushed_apart_and_far_ones_are_not(tiny):
    def sides(full):
        result = copy.deepcopy(dict(tiny.result))
        for arm, mean in zip(result["arms"], (0.5, full, *[0.6] * 8), strict=True):
            arm["accuracy"] = {"mean": mean, "std": 0.0, "values": [mean, mean]}
        ax = plots.figure()[1][0]
        plots.accuracy_by_budget(ax, result, measure="clean", role="full+subset")
        return {text.get_text().split()[0]: text.get_va() for text in ax.texts}

    assert sides(0.501) == {"weak": "top", "full": "bottom"}
    assert sides(0.499) == {"weak": "bottom", "full": "top"}
    assert sides(0.5) in ({"weak": "top", "full": "bottom"}, {"weak": "bottom", "full": "top"})
    assert set(sides(0.9).values()) == {"center_baseline"}


def test_names_are_never_read_as_mathematics(tiny):
    result = copy.deepcopy(dict(tiny.result))
    result["arms"][-1]["name"] = "$\\frac{<&$"
    made, axes = plots.figure()
    plots.seconds_by_phase(axes[0], result)
    plots.legend(made, axes[0])
    assert "$\\frac{&lt;&amp;$, 30%" in plots.svg(made, name="a", label="b")


def test_svg_stands_alone_and_takes_the_colours_of_the_page(tiny):
    made, axes = plots.figure()
    plots.accuracy_by_budget(axes[0], tiny.result, measure="clean", role="full+subset")
    plots.legend(made, axes[0])
    text = plots.svg(made, name="a", label='say "<what>"')
    assert text.startswith('<svg role="img" aria-label="say &quot;&lt;what&gt;&quot;"')
    assert "random-each-epoch" in re.sub(r"<[^>]*>", "", text)
    assert "var(--ink" in text
    assert "<metadata" not in text
    other = plots.svg(made, name="b", label="")
    assert not set(re.findall(r'\bid="([^"]*)"', text)) & set(re.findall(r'\bid="([^"]*)"', other))
