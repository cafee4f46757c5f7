"""What all selectors keep, over the whole registry: budgets, weights, seeds, symmetries, refusals."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest
import sklearn.cluster  # whose first import draws from Python's generator
import sklearn.svm  # noqa: F401
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_references import class_counts, make_signals

from auglean.errors import InputError
from auglean.selection import (
    CCS,
    EL2N,
    KDPP,
    SELECTORS,
    Clustered,
    Coreset,
    Forgetting,
    GradientMatching,
    GraNd,
    Herding,
    InBlocks,
    Influence,
    InfoBatch,
    KCenter,
    Margin,
    MaxLoss,
    PerClass,
    Random,
    Selector,
    SupportVectors,
    allocate,
    facility_location,
    parse,
    select,
)

OTHERS = (
    PerClass(KCenter(), allocation="equal"),
    PerClass(MaxLoss(draw="proportional")),
    PerClass(InfoBatch()),
    InBlocks(Coreset(), size=7),
    InBlocks(KCenter(), size=7),
    InBlocks(GradientMatching(), size=12),
    EL2N(draw="inverse"),
    Herding(allocation="equal"),
    Coreset(allocation="equal"),
    Coreset(solver="lazy"),
    GradientMatching(proxy="residual"),
    GradientMatching(per="batch", batch_size=4),
    CCS(beta=0.9, strata=3, difficulty="loss"),
    CCS(beta=0, difficulty="margin"),
    InfoBatch(r=0.9, redraw=False),
    MaxLoss(draw="bottom"),
    MaxLoss(draw="softmax"),
    Margin(of="svm"),
    KDPP(method="greedy", quality="el2n", exponent=0.5, tau=10),
    KDPP(quality="margin", centre=False, normalise=False),
    PerClass(KDPP(method="greedy", normalise=False)),
    Clustered(4, MaxLoss()),
    Clustered(3, Random()),
    Clustered(7, Influence(draw="proportional")),
    Clustered(2, Coreset()),
    Clustered(1, MaxLoss(draw="proportional")),
)
EVERY = (*SELECTORS.values(), *OTHERS)
every_selector = pytest.mark.parametrize("selector", EVERY, ids=repr)


def drawn(selector):
    """Whether a seed changes the choice."""
    if isinstance(selector, PerClass):
        return drawn(selector.inner)
    return (
        isinstance(selector, (Random, CCS, InfoBatch, InBlocks))
        or getattr(selector, "draw", "top") not in ("top", "bottom")
        or (isinstance(selector, KDPP) and selector.method == "exact")
        or (isinstance(selector, Clustered) and (selector.clusters > 1 or drawn(selector.inner)))
        or getattr(selector, "per", "class") == "batch"
    )


def classwise(selector):
    return isinstance(selector, (Coreset, Herding, PerClass)) or getattr(selector, "per", None) == "class"


def two_classes(selector):
    """Which of the selectors that part classes this is, if any."""
    while isinstance(selector, (PerClass, Clustered)):
        selector = selector.inner
    if isinstance(selector, SupportVectors) or getattr(selector, "of", None) == "svm":
        return "machine"
    return "head" if isinstance(selector, Influence) or getattr(selector, "quality", None) == "influence" else None


def refusal(selector, signals, labels, k):
    """What influence, machines and exact k-DPPs rightly say, if anything, of these examples."""
    if two_classes(selector) == "head" and signals.classes < 2:
        return "for two classes or more"
    if two_classes(selector) == "machine":
        return "parts classes" if len(labels.unique()) < 2 else None
    if isinstance(selector, KDPP) and selector.method == "exact":
        rank = int(torch.linalg.matrix_rank(selector.factor(signals, labels)))
        return f"has rank {rank}, so a k-DPP cannot draw {k}" if rank < k < len(labels) else None
    return None


def unbiased_only(selector):
    """Whether the weights sum to n on average alone."""
    return isinstance(getattr(selector, "inner", selector), InfoBatch)


def process_state():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@settings(max_examples=300, deadline=None)
@given(
    selector=st.sampled_from(EVERY),
    n=st.integers(1, 30),
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    copies=st.booleans(),
    data=st.data(),
)
def test_every_selector(selector, n, classes, seed, copies, data):
    # random labels: classes that are empty, of one example, and more classes than the budget has examples
    signals, labels = make_signals(n, classes=classes, seed=seed)
    if copies:  # duplicates: ties everywhere
        rows = torch.arange(n) % max(1, n // 3)
        signals, labels = signals[rows], labels[rows]
    k = data.draw(st.integers(1, n) | st.sampled_from([1, n]))
    before = process_state()
    if told := refusal(selector, signals, labels, k):
        with pytest.raises(InputError, match=told):
            select(signals, labels, selector, budget=k, seed=seed)
        return
    chosen = select(signals, labels, selector, budget=k, seed=seed)
    torch.rand(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        again = selector(signals, labels, budget=k, seed=seed)
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    assert process_state() == before
    assert len(chosen) == k == len(set(chosen.indices.tolist()))
    assert set(chosen.indices.tolist()) <= set(range(n))
    assert chosen.total == n
    assert chosen.indices.dtype == torch.int64
    assert chosen.weights.dtype == chosen.gains.dtype == torch.float64
    assert bool(torch.isfinite(chosen.gains).all())
    assert bool((torch.isfinite(chosen.weights) & (chosen.weights >= 0)).all())
    for name in ("indices", "weights", "gains"):
        assert torch.equal(getattr(chosen, name), getattr(again, name))
    assert chosen.gradient_error is not None
    assert chosen.gradient_error >= 0
    sizes = torch.bincount(labels).tolist()
    mass = n
    if classwise(selector):
        shares = allocate(k, sizes, selector.allocation)
        assert class_counts(labels, chosen) == shares
        mass = sum(size for size, share in zip(sizes, shares, strict=True) if share)
    if isinstance(selector, Clustered):
        mass = n - chosen.how.get("left_out", 0)
    if isinstance(selector, (InBlocks, Clustered)) and classwise(selector.inner):  # which may leave classes out in each
        assert 0 < float(chosen.weights.sum()) <= n + 1e-6
    elif not unbiased_only(selector):
        assert float(chosen.weights.sum()) == pytest.approx(mass)
    if k == n:
        assert chosen.gradient_error < 1e-9
        assert chosen.weights.tolist() == pytest.approx([1] * n) or chosen.assignment is not None
    if chosen.assignment is not None:
        served = chosen.assignment[chosen.assignment >= 0]
        assert torch.bincount(served, minlength=k).tolist() == chosen.weights.tolist()
    json.dumps(chosen.to_dict(), allow_nan=False)


@every_selector
def test_seeds_matter_only_where_something_is_drawn(selector):
    signals, labels = make_signals(60, dim=12, seed=1)
    picks = {tuple(select(signals, labels, selector, budget=10, seed=seed).indices.tolist()) for seed in range(4)}
    assert len(picks) == (4 if drawn(selector) else 1)


# rows of unit length tie for the first pick, and a machine that learns nothing gives all margins as ±1
UNTIED = [s for s in EVERY if not drawn(s) and s not in (KDPP(method="greedy"), SupportVectors())]


@pytest.mark.parametrize("selector", UNTIED, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_permuted_examples_are_chosen_alike(selector, seed):
    # few picks: later, two medoids that only serve each other tie, and the lowest index wins
    signals, labels = make_signals(60, classes=2, seed=seed)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    chosen = select(signals, labels, selector, budget=6)
    other = select(signals[shuffled], labels[shuffled], selector, budget=6)
    assert shuffled[other.indices].tolist() == chosen.indices.tolist()
    torch.testing.assert_close(other.weights, chosen.weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(other.gains, chosen.gains, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("selector", [s for s in EVERY if drawn(s)], ids=repr)
def test_permuted_examples_are_drawn_as_often(selector):
    signals, labels = make_signals(9, seed=3)
    if two_classes(selector) is None:
        labels = torch.zeros_like(labels)
    shuffled, runs = torch.randperm(9, generator=torch.Generator().manual_seed(3)), 200
    times = torch.zeros(2, 9)
    for seed in range(runs):
        g = torch.Generator().manual_seed(seed)
        times[0, selector.choose(signals, labels, 2, g).indices] += 1
        times[1, shuffled[selector.choose(signals[shuffled], labels[shuffled], 2, g).indices]] += 1
    share = times.mean(0) / runs
    spread = (2 * runs * share * (1 - share)).sqrt()
    assert bool(((times[0] - times[1]).abs() <= 5 * spread).all())


CONTINUING = [
    selector
    for selector in EVERY
    if isinstance(selector, (Random, Coreset, Herding, KCenter, SupportVectors))
    or getattr(selector, "draw", None)
    or getattr(selector, "method", None) == "greedy"
    or isinstance(selector, Clustered)
]


@pytest.mark.parametrize("selector", CONTINUING, ids=repr)
def test_a_larger_budget_continues_a_smaller_one(selector):
    signals, labels = make_signals(60, classes=2 if two_classes(selector) else 1, seed=2)
    large = select(signals, labels, selector, budget=30, seed=3)
    small = select(signals, labels, selector, budget=11, seed=3)
    assert set(large.indices[:11].tolist()) == set(small.indices.tolist())
    if not isinstance(selector, Herding):  # whose gains rise and fall, and order the picks
        assert large.indices[:11].tolist() == small.indices.tolist()
        assert large.gains[:11].tolist() == small.gains.tolist()


@every_selector
def test_how_and_cost_are_told(selector):
    signals, labels = make_signals(30, dim=12)
    chosen = select(signals, labels, selector, budget=0.2, seed=5)
    assert chosen.how["selector"] == selector.name
    options = dict(chosen.how["options"])
    if isinstance(selector, (PerClass, InBlocks, Clustered)):
        inner = options.pop("inner")
        assert inner["selector"] == selector.inner.name
        options["inner"] = type(selector.inner)(**inner["options"])
    assert type(selector)(**options) == selector
    assert (chosen.how["budget"], chosen.how["seed"]) == (0.2, 5)
    assert chosen.cost["seconds"] > 0
    assert selector.name in repr(chosen)


# Bad input, names


@every_selector
def test_signals_that_are_not_numbers(selector):
    signals, labels = make_signals(12, classes=2)
    expected = selector.choose(signals, labels, 4, torch.Generator().manual_seed(0))
    refusals = []
    for name in ("loss", "margin", "residual", "feature"):
        for value in (math.nan, math.inf):
            broken = getattr(signals, name).clone()
            broken[5] = value
            spoilt = dataclasses.replace(signals, **{name: broken})
            try:
                chosen = selector.choose(spoilt, labels, 4, torch.Generator().manual_seed(0))
            except InputError as error:
                refusals.append(str(error))
            else:  # what it does not read does not matter to it
                assert torch.equal(chosen.indices, expected.indices)
                assert torch.equal(chosen.weights, expected.weights)
    recorded = selector.name in ("forgetting", "tracin", "variance")  # which read none of those four
    assert len(refusals) >= (2 if selector.needs_signals and not recorded else 0)
    assert all("not finite" in told and told.count(".") == 1 for told in refusals)


@every_selector
@pytest.mark.parametrize("budget", [0, 13, 0.0, 1.5, math.nan])
def test_budgets_that_do_not_fit(selector, budget):
    signals, labels = make_signals(12)
    with pytest.raises(InputError, match="budget"):
        select(signals, labels, selector, budget=budget)


@pytest.mark.parametrize("selector", [s for s in EVERY if s.needs_signals], ids=repr)
def test_signals_are_needed(selector):
    with pytest.raises(InputError, match="needs signals"):
        select(None, torch.arange(10) % 2, selector, budget=2)


@dataclasses.dataclass(frozen=True)
class Short(MaxLoss):
    def _score(self, signals, labels):
        return signals.loss[:3]


def test_bad_input():
    signals, labels = make_signals(10)
    broken = torch.full((10,), float("nan"))
    for match, arguments in {
        "no examples": (None, torch.zeros(0, dtype=torch.int64), Random()),
        "needs signals": (None, labels, Coreset()),
        "10 examples do not fit 9 labels": (signals, labels[:9], MaxLoss()),
        "class numbers": (signals, labels.float(), MaxLoss()),
        r"shape \(10, 1\)": (signals, labels[:, None], MaxLoss()),
        "from -1": (signals, labels - 1 - labels.min(), Coreset()),
        "got torch.bool": (signals, labels > 0, MaxLoss()),
        "got torch.complex64": (signals, labels.cfloat(), MaxLoss()),
        "got torch.float64 of": (signals, labels.double().numpy(), MaxLoss()),
        "in one dimension; got no tensor": (signals, ["cat"] * 10, MaxLoss()),
        "scores are not finite": (dataclasses.replace(signals, loss=broken), labels, MaxLoss()),
        "residuals are not finite": (
            dataclasses.replace(signals, residual=broken[:, None].repeat(1, 3)),
            labels,
            Coreset(),
        ),
        "hold no features": (dataclasses.replace(signals, feature=torch.zeros(10, 0)), labels, KCenter()),
        "did you mean 'proportional'": (signals, labels, MaxLoss(draw="proportion")),
        "did you mean 'residual'": (signals, labels, Coreset(proxy="residuals")),
        "did you mean 'last-layer'": (signals, labels, GradientMatching(proxy="lastlayer")),
        "did you mean 'batch'": (signals, labels, GradientMatching(per="batches")),
        "did you mean 'margin'": (signals, labels, CCS(difficulty="margins")),
        "did you mean 'equal'": (signals, labels, Coreset(allocation="equals")),
        "did you mean 'lazy'": (signals, labels, Coreset(solver="lasy")),
        "ridge 0 ": (signals, labels, GradientMatching(ridge=0)),
        "batch_size of at least 1": (signals, labels, GradientMatching(batch_size=0)),
        "0 ≤ beta < 1": (signals, labels, CCS(beta=1)),
        "strata ≥ 1": (signals, labels, CCS(strata=0)),
        "0 ≤ r < 1": (signals, labels, InfoBatch(r=1)),
        "hold no counts of forgetting": (dataclasses.replace(signals, forgetting=None), labels, Forgetting()),
        "hold no sums of TracIn": (dataclasses.replace(signals, tracin=None), labels, parse("tracin")[0]),
        r"shape \(3,\) for 10 examples": (signals, labels, Short()),
        "fall to -1": (dataclasses.replace(signals, loss=torch.arange(10) - 1.0), labels, MaxLoss()),
        "did you mean 'svm'": (signals, labels, Margin(of="svn")),
        "C 0; give a number over 0": (signals, labels, Margin(of="svm", C=0)),
        "C -1; give": (signals, labels, SupportVectors(C=-1)),
        "all 10 examples are of class 0": (signals, labels * 0, SupportVectors()),
        "too few for 4 folds": (signals, (torch.arange(10) < 2).long(), SupportVectors(C="grid")),
        "0 clusters": (signals, labels, Clustered(0, Random())),
        "did you mean 'influence'": (signals, labels, KDPP(quality="influences")),
        "did you mean 'greedy'": (signals, labels, KDPP(method="greed")),
        "exponent -1": (signals, labels, KDPP(exponent=-1)),
        "tau 0; give": (signals, labels, KDPP(method="greedy", tau=0)),
        "size of a block is 0": (signals, labels, InBlocks(Random(), size=0)),
    }.items():
        with pytest.raises(InputError, match=match):
            select(*arguments, budget=1)


@pytest.mark.parametrize("selector", [GraNd(), GradientMatching(), GradientMatching(per="batch")], ids=repr)
def test_signals_without_features_do_not_pass_for_features_of_zero(selector):
    signals, labels = make_signals(10)
    bare = dataclasses.replace(signals, feature=torch.zeros(10, 0))
    with pytest.raises(InputError, match="hold no features"):
        select(bare, labels, selector, budget=3)
    assert len(select(bare, labels, GradientMatching(proxy="residual"), budget=3)) == 3


@pytest.mark.parametrize(
    "given", [np.asarray, torch.Tensor.tolist, lambda t: t.to(torch.uint8), lambda t: t.numpy().astype(np.uint16)]
)
def test_labels_of_any_kind(given):
    signals, labels = make_signals(20)
    expected = select(signals, labels, Coreset(), budget=6)
    assert torch.equal(select(signals, given(labels), Coreset(), budget=6).indices, expected.indices)


@pytest.mark.parametrize(("budget", "kept"), [(np.int64(5), 5), (np.float32(0.25), 0.25), (np.float64(0.25), 0.25)])
def test_budgets_of_numpy_are_kept_as_plain_numbers(tmp_path, budget, kept):
    chosen = select(None, np.arange(20) % 2, Random(), budget=budget)
    assert len(chosen) == 5
    chosen.save(tmp_path / "chosen.json")
    assert json.loads((tmp_path / "chosen.json").read_text())["how"]["budget"] == kept


def test_names():
    assert parse("coreset, max-loss-inverse,random-each-epoch") == [
        Coreset(),
        MaxLoss(draw="inverse"),
        Random(redraw=True),
    ]
    assert parse([Coreset(solver="naive"), "random"]) == [Coreset(solver="naive"), Random()]
    assert parse(MaxLoss()) == [MaxLoss()]
    assert all(selector.label == name for name, selector in SELECTORS.items())
    for wrong in ("corset", "", ["coreset", "maxloss"]):
        with pytest.raises(InputError, match="Unknown selector"):
            parse(wrong)
    for name in ("el2n", "grand", "ccs", "info-batch", "herding", "k-center", "gradient-matching"):
        assert name in SELECTORS
    assert SELECTORS["gradient-matching-per-batch"].per == "batch"
    assert SELECTORS["max-loss-per-class"] == PerClass(MaxLoss())


def test_who_asks_and_who_is_drawn_each_epoch():
    assert not Random.needs_signals
    assert not PerClass(Random()).needs_signals
    assert PerClass(MaxLoss()).needs_signals
    anew = {name for name, selector in SELECTORS.items() if selector.each_epoch}
    assert anew == {"random-each-epoch", "info-batch"}
    assert InBlocks(Random(redraw=True)).each_epoch
    assert not InfoBatch(redraw=False).each_epoch


def test_selectors_are_frozen_and_open_to_new_ones():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Coreset().proxy = "last-layer"

    @dataclasses.dataclass(frozen=True)
    class First(Selector):
        name = "first"

        def choose(self, signals, labels, k, g):
            return facility_location(torch.zeros(len(labels), 1), k)

    chosen = First()(make_signals(5)[0], torch.zeros(5, dtype=torch.int64), budget=2)
    assert chosen.indices.tolist() == [0, 1]
    assert chosen.how["selector"] == "first"
    with pytest.raises(NotImplementedError):
        Selector().choose(None, torch.zeros(5), 1, torch.Generator())
