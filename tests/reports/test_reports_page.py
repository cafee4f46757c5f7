"""The report of real (tiny) runs: its parts, its numbers, its escaping, and every odd case that a run can end in."""

import base64
import copy
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from reports_runs import compared, nasty_set

import auglean as al
from auglean import reports
from auglean.errors import InputError
from auglean.files import read_tensors, write_tensors
from auglean.policies import as_given
from auglean.randomness import Keys
from auglean.reports.gallery import compared as frames_of
from auglean.reports.page import describe, limits, render
from auglean.reports.sheets import SIDE, TILES, data_uri, sheets
from auglean.selection import Selection

VOID = {"meta", "img", "br", "link"}
SECTIONS = [
    "question",
    "answer",
    "compared",
    "policy",
    "table",
    "by-budget",
    "by-seconds",
    "ageing",
    "phases",
    "speed-up",
    "images",
    "repeat",
    "limits",
]


class Page(HTMLParser):
    """Checks that elements nest, and keeps elements, texts and the rows of the table of results."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)
        if self.rows and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def ids(self):
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]

    def references(self):
        names = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        found = [attrs[name] for _, attrs in self.elements for name in names if name in attrs]
        styles = [attrs.get("style", "") + " " + attrs.get("clip-path", "") for _, attrs in self.elements]
        return found + re.findall(r"url\(([^)]*)\)", " ".join(styles))


@pytest.fixture(scope="module")
def page(tiny):
    return Page(render(tiny))


def edited(comparison, change):
    """A comparison whose result was changed by a function."""
    result = copy.deepcopy(dict(comparison.result))
    change(result)
    return replace(comparison, result=result)


def test_page_has_every_part_once_and_in_order(page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert [name for name in ids if name in SECTIONS] == SECTIONS
    assert sum(tag == "svg" for tag, _ in page.elements) == 5


def test_page_needs_no_other_file_and_no_network(page):
    references = page.references()
    ids = set(page.ids())
    assert len(references) > 100
    for reference in references:
        assert reference.startswith("data:image/png;base64,") or reference.removeprefix("#") in ids, reference
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed"} == set()


def test_page_says_the_answer_and_how_to_repeat_it(tiny, page):
    assert " ".join(tiny.answer.split()) in page.text
    assert f"auglean compare --config {tiny.folder}/config.yaml --out NEW_FOLDER" in page.text
    assert tiny.result["data"]["fingerprint"] in page.text
    assert "2 seeds" in page.text


def test_numbers_of_the_page_are_those_of_the_result(tiny, page):
    rows = [row for row in page.rows if len(row) == 13]
    assert len(rows) == len(tiny.arms)
    for row, arm in zip(rows, tiny.arms, strict=True):
        assert row[0].split()[0] == arm["name"]
        for text, column in zip(row[1:3], ("accuracy", "accuracy_transformed"), strict=True):
            values = torch.tensor(arm[column]["values"], dtype=torch.float64)
            mean, std = (float(part) for part in text.split("±"))
            assert mean == pytest.approx(100 * float(values.mean()), abs=0.0501)
            assert std == pytest.approx(100 * float(values.std()), abs=0.0501)
        assert int(row[4].replace(",", "")) == arm["images_augmented"]
        for text, phase in zip(row[5:9], ("select", "augment", "train", "total"), strict=True):
            assert float(text) == pytest.approx(arm["seconds"][phase], abs=0.00501)
        assert float(row[11]) == pytest.approx(arm["speedup"], abs=0.00501)
        if arm["gradient_error"] is not None:
            assert float(row[12]) == pytest.approx(arm["gradient_error"], abs=0.00501)


def test_written_file_is_whole_and_alone(tiny, tmp_path):
    assert reports.write(tiny, tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    written = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert written == render(tiny)
    assert len(written) < 1_000_000
    assert reports.write(tiny) == tiny.folder / "report.html"


def test_without_folder_the_page_says_what_is_missing(tiny):
    homeless = replace(tiny, folder=None)
    with pytest.raises(InputError, match="give the report a path"):
        reports.write(homeless)
    page = Page(render(homeless))
    assert "kept in no folder" in page.text
    assert not any(attrs["alt"].endswith(", before") for tag, attrs in page.elements if tag == "img")
    emptied = Page(render(replace(tiny, folder=tiny.folder / "elsewhere")))
    assert "no longer holds what was chosen" in emptied.text


def test_one_panel_says_what_the_policy_does_where_that_is_quick(tiny, page):
    train, policy = tiny.splits.train, tiny.policy
    shown = frames_of(tiny)
    assert [frame.portrait.label for frame in shown] == list(train.class_names[:3])
    for frame in shown:
        x = train.images[frame.portrait.id].double() / 255
        found = policy.moments(x)
        assert frame.portrait.trace == pytest.approx(float(found.trace), rel=0.02)
        assert f"trace {frame.portrait.trace:.3g}" in page.text
        assert f"effective rank {frame.portrait.effective_rank:.1f}" in page.text
        assert f"{frame.draws(0.01)} draws to 0.01" in page.text
        needed = float(found.trace / found.mean.square().sum()) / 0.01**2
        assert float(frame.draws(0.01).replace(",", "")) == pytest.approx(needed, rel=0.03)
    assert "auglean quantify --policy translate1-rotate15 says more" in page.text
    for slow in ("augmix-m3-w3", "flip-augmix-m3-w3", lambda image: 1 - image):
        assert frames_of(replace(tiny, policy=as_given(slow))) == []
    assert "policy" not in Page(render(replace(tiny, policy=as_given("augmix-m3-w3")))).ids()


def test_names_from_outside_are_escaped(tmp_path):
    folder = tmp_path / "R&D <i>runs"
    found = compared(nasty_set(), out=folder, steps=4, seeds=1, budgets=[0.5], validation=nasty_set(), test=nasty_set())
    text = reports.write(found).read_text(encoding="utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script", "i"}
    shown = {attrs["alt"].removesuffix(", before") for tag, attrs in page.elements if tag == "img"}
    for name in nasty_set().class_names:
        assert name in shown
    assert "R&D <i>runs" in page.text
    assert nasty_set().name in page.text


def test_one_seed_has_no_spread_and_says_so():
    found = compared("digits", steps=3, seeds=1, budgets=[50])
    page = Page(render(found))
    cells = [cell for row in page.rows if len(row) == 13 for cell in row]
    assert len(cells) > 50
    assert not any("±" in cell for cell in cells)
    assert any("one seed" in limit for limit in limits(found))
    assert "50 images" in page.text


def test_several_roles_and_budgets_each_have_their_rows_and_panels():
    roles = ["full+subset", "subset+subset", "random+subset", "subset"]
    found = compared("digits", steps=2, seeds=1, budgets=[0.05, 20], role=roles, selectors="max-loss")
    page = Page(render(found))
    rows = [row for row in page.rows if len(row) == 13]
    assert len(rows) == 2 + 4 * 2 * 3
    heads = [" ".join(row[0].split()) for row in page.rows if len(row) == 1]
    assert heads == [f"{budget} · {role}" for role in roles for budget in ("5%, 50 images", "20 images")]
    assert page.text.count("budget 20 images") == 2 * 4  # a panel each of seconds and of κ


def test_no_clear_gain_and_no_gradient_error_are_footnotes(tiny):
    def change(result):
        for arm in result["arms"]:
            for name in ("gain_kept", "gain_kept_transformed"):
                arm[name] = {"mean": None, "low": None, "high": None, "reason": "no gain <here>"}
            arm["gradient_error"] = None
            for name in list(arm):
                if name.startswith("seconds_to"):
                    arm[name] = {**arm[name], "mean": None, "reached": 0}

    page = Page(render(edited(tiny, change)))
    rows = [row for row in page.rows if len(row) == 13]
    marks = {row[i] for row in rows for i in (3, 9, 10, 12)}
    assert {mark[0] for mark in (m.strip() for m in marks)} == {"–"}
    for reason in (
        "Gain kept: no gain <here>.",
        "this arm chooses nothing",
        "no choice of this arm was measured",
        "not every seed",
    ):
        assert reason in page.text


def test_gains_above_one_and_below_zero_are_shown(tiny):
    def change(result):
        result["headline"] = "clean"
        result["arms"][2]["gain_kept"] = {"mean": 1.234, "low": -0.5, "high": 20.0}

    rows = [row for row in Page(render(edited(tiny, change))).rows if len(row) == 13]
    assert rows[2][3].split() == ["123", "[−50,", "2,000]"]


def test_where_chance_was_ahead_the_page_says_so(tiny):
    def change(result):
        column = {"clean": "accuracy", "transformed": "accuracy_transformed"}[result["headline"]]
        levels = {"random": [0.5, 0.7], "random-each-epoch": [0.1, 0.1], "coreset": [0.55, 0.5], "max-loss": [0.9, 0.9]}
        for arm in result["arms"]:
            if arm["name"] in levels:
                values = levels[arm["name"]]
                arm[column] = {"mean": sum(values) / 2, "std": 0.1, "values": values}

    text = Page(render(edited(tiny, change))).text
    assert text.count("coreset, 10%, 100 images: random was ahead by 7.5 points, in 1 of 2 seeds") == 1
    assert "max-loss, 10%, 100 images:" not in text


def test_sheets_show_the_first_choices_in_order(tiny):
    found = sheets(tiny)
    assert [sheet.selector for sheet in found] == ["coreset", "max-loss"]
    best = tiny.result["answer"]["best"]
    budget = next(arm["budget"] for arm in tiny.arms if f"-{arm['budget']}-" in best)
    for sheet in found:
        folder = tiny.folder / "selections" / f"{sheet.selector}-{budget}-full+subset" / "seed0"
        last = Selection.load(max(folder.glob("epoch*.json")))
        assert [tile.number for tile in sheet.first] == last.indices[:TILES].tolist()
        assert [tile.label for tile in sheet.first] == [
            tiny.splits.train.class_names[tiny.splits.train.labels[i]] for i in last.indices[:TILES].tolist()
        ]
        times = read_tensors(folder / "final.safetensors")[0]["times_chosen"]
        assert sheet.never_count == int((times == 0).sum())
        assert all(times[tile.number] == 0 for tile in sheet.never)
        assert len({tile.number for tile in sheet.never}) == TILES
    gain, weight = found[0].first[0].score
    assert gain.startswith("gain ")
    assert re.fullmatch(r"for \d+", weight)


def test_never_chosen_are_ordered_by_loss_from_end_to_end(tiny):
    for sheet in sheets(tiny):
        folder = next((tiny.folder / "selections").glob(f"{sheet.selector}-{sheet.budget}-*")) / "seed0"
        kept = read_tensors(folder / "final.safetensors")[0]
        loss = kept["loss"][[tile.number for tile in sheet.never]]
        rest = kept["loss"][kept["times_chosen"] == 0]
        assert (loss.diff() >= 0).all()
        assert (loss[0], loss[-1]) == (rest.min(), rest.max())


def test_tiles_are_the_image_and_one_draw_of_the_policy(tiny):
    tile = sheets(tiny)[0].first[3]
    image = tiny.splits.train.images[tile.number]
    assert torch.equal(pixels(tile.before), image[0])
    drawn = tiny.policy(image[None] / 255, generator=Keys([tile.number], seed=0))[0, 0]
    assert (pixels(tile.after).double() / 255 - drawn.double()).abs().max() < 0.501 / 255


def pixels(uri):
    picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    return torch.from_numpy(np.array(picture))


def test_all_chosen_is_said_in_place_of_an_empty_sheet(tmp_path):
    found = compared("digits", out=tmp_path, steps=2, seeds=1, budgets=[1.0], selectors="max-loss")
    assert "Every image was chosen at least once." in Page(render(found)).text
    only_one = tmp_path / "selections" / "max-loss-1.0-full+subset" / "seed0" / "final.safetensors"
    kept = read_tensors(only_one)[0]
    kept["times_chosen"][7] = 0
    write_tensors(only_one, kept, {})
    assert [tile.number for tile in sheets(found)[0].never] == [7]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_images_keep_their_pixels_unless_large(channels, mode):
    small = torch.arange(channels * 12).view(channels, 3, 4) / 255
    picture = Image.open(io.BytesIO(base64.b64decode(data_uri(small).split(",")[1])))
    assert (picture.mode, picture.size) == (mode, (4, 3))
    assert torch.equal(pixels(data_uri(small)).view(3, 4, channels).permute(2, 0, 1), (small * 255).round().byte())
    large = Image.open(io.BytesIO(base64.b64decode(data_uri(torch.rand(channels, 300, 600)).split(",")[1])))
    assert large.size == (SIDE, SIDE // 2)


def test_the_page_says_when_choices_are_made_anew_and_whom_they_ask(tiny):
    text = Page(render(tiny)).text
    assert "Choices are made anew every 5 epochs." in text
    assert "Select : asking the network about every image" in text
    assert "estimated on a probe" not in text
    options = {"steps": 40, "seeds": 1, "selectors": "max-loss", "every": 9, "reselect_above": 0.25}
    text = Page(render(compared("digits", **options))).text
    assert "above 0.25: new choice" in text.replace("\n", " ")
    assert "every 9 epochs, and those that ask the network also at an epoch at which the gradient error" in text
    assert "estimated on a probe of 512 images" in text
    text = Page(render(compared("digits", **options, signals="steps"))).text
    assert re.search(r"kept from the training steps, .* it was up to [01]\.\d epochs old when it was used", text)
    assert "keeping what the network says of every image, and choosing" in text
    assert "estimated on a probe" not in text


def test_a_result_of_before_kappa_was_told_has_a_page(tiny):
    def change(result):
        for arm in result["arms"]:
            del arm["kappa"]
        result["config"] = {k: v for k, v in result["config"].items() if k not in ("reselect_above", "signals")}

    page = Page(render(edited(tiny, change)))
    assert [name for name in page.ids() if name in SECTIONS] == [name for name in SECTIONS if name != "ageing"]


def test_measured_speed_ups_stand_beside_the_model(tiny, page):
    rows = [row for row in page.rows if len(row) == 9][1:]
    chosen = [arm for arm in tiny.arms if arm["budget"] is not None]
    assert [row[0] for row in rows] == [arm["name"] for arm in chosen]
    for row, arm in zip(rows, chosen, strict=True):
        model = arm["speedup_model"]
        wanted = [model["k"], model["s"], arm["speedup"], model["equal_steps"], model["measured_equal_epochs"]]
        wanted += [model["equal_epochs"], 1 / arm["budget"]]
        assert [float(text) for text in row[2:]] == pytest.approx(wanted, abs=0.00501)


@pytest.mark.parametrize("old", [True, False])
def test_without_a_model_of_the_speed_up_the_page_leaves_it_out(tiny, old):
    def change(result):
        for arm in result["arms"]:
            if old:
                del arm["speedup_model"]
            else:
                arm["speedup_model"] = None

    page = Page(render(edited(tiny, change)))
    assert [name for name in page.ids() if name in SECTIONS] == [name for name in SECTIONS if name != "speed-up"]
    assert reports.speedup_table(edited(tiny, change).result) == ""


def test_short_training_is_named(tiny):
    column = {"clean": "accuracy", "transformed": "accuracy_transformed"}[tiny.result["headline"]]

    def with_curve(values):
        runs = [[{**row, column: value} for row, value in zip(run, values, strict=True)] for run in full]
        return limits(replace(tiny, histories={**tiny.histories, "full": runs}))

    full = tiny.histories["full"]
    n = len(full[0])
    assert any("Training was short" in limit for limit in with_curve([i / n for i in range(n)]))
    assert not any("Training was short" in limit for limit in with_curve([0.5] * n))


def test_unknown_selectors_are_described_by_their_name():
    assert describe("my-own") == "chosen by my-own"
    assert describe("random-each-epoch") != describe("random")
    assert describe("coreset(allocation=equal)") == f"{describe('coreset')}; with allocation=equal"


def test_reports_leave_the_process_as_it_was(tiny):
    options, random = dict(matplotlib.rcParams), torch.get_rng_state()
    first, second = render(tiny), render(tiny)
    assert first == second
    assert dict(matplotlib.rcParams) == options
    assert torch.equal(torch.get_rng_state(), random)


def test_importing_reports_is_light():
    code = (
        "import auglean.reports, sys; print([m for m in ('matplotlib', 'jinja2', 'rich', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_any_image_set_can_be_reported(tmp_path):
    g = torch.Generator().manual_seed(0)
    many = al.ImageSet(
        torch.randint(0, 256, (240, 3, 12, 20), dtype=torch.uint8, generator=g),
        torch.arange(240) % 60,
        tuple(f"class number {i} with a long name" for i in range(60)),
    )
    found = compared(many, out=tmp_path, steps=2, seeds=1, validation=many, test=many)
    assert "60 classes" in Page(reports.write(found).read_text()).text


def test_every_selector_is_described():
    words = [describe(name) for name in al.selection.SELECTORS]
    assert len(set(words)) == len(words)
    assert not any(told.startswith("chosen by") for told in words)
