"""The loop of a budget curve: ends exact, weights right, nothing enters that was not chosen, arms follow the paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from curve_tasks import features, runs, task
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from auglean.errors import InputError
from auglean.selection import (
    KDPP,
    Clustered,
    Coreset,
    Influence,
    Margin,
    MaxLoss,
    PerClass,
    SupportVectors,
    TracIn,
    Variance,
)
from auglean.signals import softmax_influence
from auglean.studies.curve_fits import assemble, pack, unpack
from auglean.studies.curve_policies import DEFAULT, RANDOM, CurveArm, GroupInfluence, arms_of, paper_arms

BUDGETS = [0, 1, 4, 15, 40]
NONE = torch.empty(0, dtype=torch.int64)


def sklearn_head(x, y, w=None, C=1.0):
    found = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x.double().numpy(), y.numpy(), w)
    return found.coef_, found.intercept_


# fits


@pytest.mark.parametrize("downweight", [False, True])
def test_the_ends_of_every_arm_are_floor_and_ceiling_to_the_bit(downweight):
    found = runs()
    floor, ceiling = found.floor(), found.ceiling(downweight=downweight)
    for arm in (arm for score in ("influence", "loss", "margin") for arm in paper_arms(score)):
        out = found.run(replace(arm, downweight=downweight), BUDGETS, 1)
        assert torch.equal(unpack(out["test"][0]), floor.test)
        assert torch.equal(unpack(out["test"][-1]), ceiling.test)
    again = runs()
    chain = again.fit(torch.arange(25), downweight=downweight)
    late = again.fit(torch.randperm(40), downweight=downweight, before=chain)
    assert torch.equal(late.head.weight, ceiling.head.weight)
    assert torch.equal(again.fit(NONE, before=chain, downweight=downweight).head.weight, floor.head.weight)


def test_the_most_disturbed_are_those_of_the_fixed_copies():
    of = task()
    made = features(of)
    found = runs(of, made)
    fit = found.fit(torch.tensor([3, 17]))
    logits = [fit.head.logits(copy).double() for copy in made.train[1:]]
    losses = torch.stack([torch.nn.functional.cross_entropy(z, of.train.labels, reduction="none") for z in logits])
    expected = (losses.square().mean(0) - losses.mean(0).square()).sqrt()
    torch.testing.assert_close(found.deviation(fit).double(), expected, rtol=1e-4, atol=1e-6)
    order = found.choose(Variance(), fit, 40, 0)
    assert torch.equal(order, found.deviation(fit).argsort(descending=True, stable=True))


@pytest.mark.parametrize("downweight", [False, True])
@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_a_fit_is_scikit_learns_on_the_stacked_rows(C, downweight):
    of = task()
    made = features(of)
    chosen = torch.tensor([3, 17, 38, 0])
    fit = runs(of, made, C=C).fit(chosen, downweight=downweight)
    rows, labels, weights = list(made.train[0]), of.train.labels.tolist(), [1.0] * 40
    for j in range(3):
        for i in chosen.tolist():
            rows.append(made.train[j + 1, i])
            labels.append(int(of.train.labels[i]))
            weights.append(0.25 if downweight else 1.0)
            if downweight:
                weights[i] = 0.25
    weight, bias = sklearn_head(torch.stack(rows), torch.tensor(labels), np.array(weights), C)
    np.testing.assert_allclose(fit.head.weight, weight, atol=1e-6)
    np.testing.assert_allclose(fit.head.bias, bias, atol=1e-6)
    right = (fit.head.logits(made.test.flatten(0, 1)).argmax(1) == of.test.labels.repeat(4)).view(4, 30)
    assert fit.test.tolist() == right.sum(0).tolist()
    assert fit.clean.tolist() == right[0].tolist()


@settings(deadline=None)  # the first example pays for imports
@given(chosen=st.sets(st.integers(0, 19)), m=st.integers(0, 6), downweight=st.booleans())
def test_each_source_weighs_one_and_rows_are_those_of_the_chosen(chosen, m, downweight):
    train = torch.arange(20.0)[None, :, None] + 100 * torch.arange(m + 1.0)[:, None, None]
    labels, which = torch.arange(20) % 3, torch.tensor(sorted(chosen), dtype=torch.int64)
    x, y, w = assemble(train, labels, which, downweight=downweight)
    assert x.flatten().tolist() == [*range(20), *(100 * (j + 1) + i for j in range(m) for i in sorted(chosen))]
    source = x.flatten().long() % 100
    assert torch.equal(y, labels[source])
    if downweight:
        total = torch.zeros(20, dtype=torch.float64).index_add(0, source, w)
        torch.testing.assert_close(total, torch.ones(20, dtype=torch.float64))
        assert abs(float(w.sum()) - 20) < 1e-12
    else:
        assert torch.equal(w, torch.ones_like(w))


@pytest.mark.parametrize("downweight", [False, True])
def test_copies_of_the_others_never_enter_a_fit(downweight):
    of, chosen = task(), torch.tensor([5, 11, 30])
    made = features(of)
    others = torch.ones(40, dtype=torch.bool)
    others[chosen] = False
    poisoned = replace(made, train=made.train.clone())
    poisoned.train[1:, others] = float("nan")
    expected = runs(of, made).fit(chosen, downweight=downweight)
    found = runs(of, poisoned).fit(chosen, downweight=downweight)
    assert torch.equal(found.head.weight, expected.head.weight)
    with pytest.raises(InputError, match="not finite"):
        runs(of, poisoned).fit(torch.tensor([5, 12]))
    for arm in (CurveArm(MaxLoss(), update=True), CurveArm(Influence(), update=True)):
        out = runs(of, made).run(arm, [4, 15], 0)
        poisoned.train[:] = made.train
        others[:] = True
        others[out["chosen"][0]] = False
        poisoned.train[1:, others] = float("nan")
        assert runs(of, poisoned).run(arm, [4, 15], 0)["test"] == out["test"]


def test_no_copies_change_nothing():
    of = task(m=0)
    found = runs(of)
    for downweight in (False, True):
        fit = found.fit(torch.tensor([1, 2, 3]), downweight=downweight)
        torch.testing.assert_close(fit.head.weight, found.floor().head.weight, atol=1e-7, rtol=0)


def test_copies_that_are_the_originals_leave_a_downweighted_optimum_alone():
    of = task()
    found = runs(of, features(of, identity=True))
    for chosen in (torch.tensor([0, 7, 21]), torch.arange(40)):
        fit = found.fit(chosen, downweight=True)
        torch.testing.assert_close(fit.head.weight, found.floor().head.weight, atol=1e-7, rtol=0)
        assert (found.fit(chosen).head.weight - found.floor().head.weight).abs().max() > 1e-3


def hessian_of(x, p, w, C):
    """Of all rows of a fit, its penalty in it; the last column of x is the intercept's."""
    ridge = torch.diag(torch.tensor([1 / C] * (x.shape[1] - 1) + [0.0], dtype=torch.float64))
    return sum(wi * pi * (1 - pi) * torch.outer(xi, xi) for wi, pi, xi in zip(w, p, x, strict=True)) + ridge


def with_intercept(features):
    return torch.cat([features.double(), torch.ones(*features.shape[:-1], 1)], -1)


@pytest.mark.parametrize("downweight", [False, True])
def test_influence_has_the_hessian_of_all_rows_with_their_weights(downweight):
    of = task()
    found = runs(of, C=0.7)
    fit = found.fit(torch.tensor([2, 3, 9]), downweight=downweight)
    x, y, w = assemble(fit.train, of.train.labels, fit.chosen, downweight=downweight)
    x = with_intercept(x)
    p = torch.sigmoid(x[:, :-1] @ fit.head.weight[0] + fit.head.bias)
    hessian = hessian_of(x, p, w, 0.7)
    expected = [(p[i] - y[i]) ** 2 * (x[i] @ torch.linalg.solve(hessian, x[i])) for i in range(40)]
    torch.testing.assert_close(found.influence(fit), torch.stack(expected), rtol=1e-6, atol=1e-12)


def test_influence_of_three_classes_is_that_of_the_softmax_head():
    of = task(classes=3)
    found = runs(of, C=0.7)
    fit = found.fit(torch.tensor([2, 3, 9]), downweight=True)
    x, y, w = assemble(fit.train, of.train.labels, fit.chosen, downweight=True)
    p = fit.head.logits(x).softmax(1)
    expected = softmax_influence(x.double(), y, probabilities=p, C=0.7, sample_weight=w).score[:40]
    torch.testing.assert_close(found.influence(fit), expected, rtol=1e-4, atol=1e-7)
    assert len(set(found.run(CurveArm(Influence(C=0.7), update=True), [4, 15], 0)["chosen"][0])) == 15


@pytest.mark.parametrize("downweight", [False, True])
@pytest.mark.parametrize("chosen", [[], [2, 3, 9]])
def test_group_influence_sums_the_gradients_of_all_copies_under_the_hessian_of_the_fit(chosen, downweight):
    of = task()
    found = runs(of, C=0.7)
    fit = found.fit(torch.tensor(chosen, dtype=torch.int64), downweight=downweight)
    x, _, w = assemble(fit.train, of.train.labels, fit.chosen, downweight=downweight)
    x, every = with_intercept(x), with_intercept(fit.train)
    theta = torch.cat([fit.head.weight[0], fit.head.bias])
    inverse = torch.linalg.inv(hessian_of(x, torch.sigmoid(x @ theta), w, 0.7))
    gradients = ((torch.sigmoid(every @ theta) - of.train.labels)[..., None] * every).sum(0)
    expected = (gradients @ inverse * gradients).sum(1)
    torch.testing.assert_close(found.group_influence(fit), expected, rtol=1e-6, atol=1e-12)
    order = found.choose(GroupInfluence(), fit, 40, 0)
    assert order.tolist() == expected.argsort(descending=True, stable=True).tolist()
    assert order.tolist() != found.influence(fit).argsort(descending=True, stable=True).tolist()


def test_without_copies_group_influence_is_influence():
    found = runs(task(m=0))
    torch.testing.assert_close(found.group_influence(found.floor()), found.influence(found.floor()))


def test_fits_that_would_be_the_same_are_done_once():
    found = runs()
    for arm in paper_arms("loss"):
        for number in range(2):
            found.run(arm, BUDGETS, number)
    cells = 2 * 12 * 3  # no source and all have a fit for all arms, with and without weights
    assert found.fits <= cells + 3
    before = found.fits
    for arm in paper_arms("loss"):
        found.run(arm, BUDGETS, 0)
    assert found.fits == before


# arms


def plain_loop(found, budgets, *, downweight):
    """Follow the paper's loop literally, for the highest loss with updates."""
    chosen, fit, seen = [], found.floor(), []
    order = found.signals(fit).loss.argsort(descending=True, stable=True).tolist()
    for t in range(1, max(budgets) + 1):
        chosen.append(next(i for i in order if i not in chosen))
        if t in budgets:
            fit = found.fit(torch.tensor(chosen), downweight=downweight, before=fit)
            seen.append(fit.test)
            order = found.signals(fit).loss.argsort(descending=True, stable=True).tolist()
    return chosen, seen


@pytest.mark.parametrize("downweight", [False, True])
def test_updating_follows_the_papers_loop_and_never_chooses_twice(downweight):
    budgets = [1, 3, 10, 25]
    out = runs().run(CurveArm(MaxLoss(), update=True, downweight=downweight), budgets, 0)
    chosen, seen = plain_loop(runs(), budgets, downweight=downweight)
    assert out["chosen"] == [chosen]
    assert [unpack(text).tolist() for text in out["test"]] == [counts.tolist() for counts in seen]
    assert out["chosen"] != runs().run(CurveArm(MaxLoss()), budgets, 0)["chosen"]
    for draw in ("proportional", "inverse", "softmax", "bottom"):
        for selector in (MaxLoss(draw), Influence(draw), Margin(draw, of="svm")):
            (picked,) = runs().run(CurveArm(selector, update=True), budgets, 1)["chosen"]
            assert len(set(picked)) == 25


def test_margins_are_updated_by_margins():
    of = task()
    found = runs(of)
    out = found.run(CurveArm(Margin(of="svm"), update=True), [3, 10], 0)
    first = found.choose(Margin(of="svm"), found.floor(), 40, 0).tolist()
    assert out["chosen"][0][:3] == first[:3]
    fit = found.fit(torch.tensor(first[:3]))
    x, y, _ = assemble(fit.train, of.train.labels, fit.chosen, downweight=False)
    from auglean.selection.support import svm_margin

    order = svm_margin(x, y, 1.0)[:40].argsort(stable=True).tolist()
    assert out["chosen"][0][3:] == [i for i in order if i not in first[:3]][:7]


def test_the_inverse_margin_of_the_paper_is_near_the_boundary_first():
    found = runs()
    near = next(arm for arm in paper_arms("margin") if arm.label == "margin-svm").selector
    vectors = set(found.choose(SupportVectors(1.0), found.floor(), 8, 0).tolist())
    assert len(vectors & set(found.choose(near, found.floor(), 16, 0).tolist())) >= 6
    assert [arm.selector.draw for arm in paper_arms("margin")[1:6:4]] == ["inverse", "proportional"]


def test_budgets_of_an_arm_are_nested_and_rounds_differ_where_chance_does():
    found = runs()
    for arm, chance in ((RANDOM, True), (CurveArm(MaxLoss("proportional")), True), (CurveArm(MaxLoss()), False)):
        long = [found.run(arm, [4, 15, 30], number)["chosen"][0] for number in (0, 1)]
        short = found.run(arm, [4, 15], 0)["chosen"][0]
        assert long[0][:15] == short
        assert (long[0] != long[1]) == chance == found.chance(arm, [4, 15])


def test_one_cluster_is_none_and_clusters_take_turns():
    found = runs()
    plain = CurveArm(MaxLoss("proportional"))
    one = found.run(replace(plain, clusters=1), [10, 20], 3)
    assert one["chosen"] == found.run(plain, [10, 20], 3)["chosen"]
    each = found.run(replace(plain, clusters="budget"), [3, 6], 0)
    assert [len(chosen) for chosen in each["chosen"]] == [3, 6]
    expected = found.choose(Clustered(6, MaxLoss("proportional")), found.floor(), 6, 0)
    assert each["chosen"][1] == expected.tolist()


def test_a_dpp_is_drawn_for_each_budget_and_skips_what_its_rank_forbids():
    found = runs()
    out = found.run(CurveArm(KDPP()), [2, 5, 6, 30], 0)
    assert (out["budgets"], out["skipped"]) == ([2, 5], [6, 30])
    assert "rank 5" in out["why"]
    assert [len(chosen) for chosen in out["chosen"]] == [2, 5]
    assert out["chosen"] != found.run(CurveArm(KDPP()), [2, 5], 1)["chosen"]


def test_the_share_of_noisy_sources_is_that_among_the_chosen():
    wrong = torch.arange(40) % 4 == 0
    out = runs(task(wrong=wrong)).run(CurveArm(MaxLoss("proportional")), [0, 7, 40], 2)
    share = sum(i % 4 == 0 for i in out["chosen"][0][:7]) / 7
    assert out["noisy"] == [None, pytest.approx(share), 0.25]


def test_nothing_is_drawn_from_the_default_generator():
    state = torch.get_rng_state()
    first = [runs().run(arm, [5, 20], 1) for arm in paper_arms("loss")]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = [runs().run(arm, [5, 20], 1) for arm in paper_arms("loss")]
    assert [out["chosen"] for out in first] == [out["chosen"] for out in again]
    assert [out["test"] for out in first] == [out["test"] for out in again]


# the list of arms


def listed(selectors=None, policies="plain", score="influence", clusters=(), n=40, C=2.0):
    return arms_of(selectors, policies, score, clusters, n=n, C=C)


def test_random_is_always_first_and_once():
    assert [arm.label for arm in listed()] == ["random", *DEFAULT]
    assert [arm.label for arm in listed("random,max-loss")] == ["random", "max-loss"]
    assert listed([])[1:] == listed()[1:]


def test_the_papers_twelve_have_six_that_draw():
    for score, word in (("influence", "influence"), ("loss", "max-loss")):
        arms = listed(policies="paper", score=score)
        drawn = [f"-proportional{end}" for end in ("", "+down-weight", "+update", "+update+down-weight")]
        top = ["", "+update", "+down-weight", "+update+down-weight"]
        ends = [*drawn, "-inverse", *top, "-bottom", "-bottom+update"]
        assert [arm.label for arm in arms] == ["random", *(word + end for end in ends)]
        assert sum(runs(C=2.0).chance(arm, [1, 10]) for arm in arms) == 6
    assert len(listed(policies="paper", score=["influence", "loss", "margin"])) == 34
    group = listed(policies="paper", score="group-influence")
    assert [arm.label for arm in group[1:3]] == [
        "group-influence-proportional",
        "group-influence-proportional+down-weight",
    ]


def test_refined_arms_and_clusters():
    labels = [arm.label for arm in listed("max-loss", "refined")]
    assert labels == ["random", "max-loss", "max-loss+update", "max-loss+down-weight", "max-loss+update+down-weight"]
    labels = [arm.label for arm in listed("max-loss-proportional,max-loss", clusters=[5, "budget"])]
    assert labels[3:] == ["random-clusters-5", "max-loss-proportional-clusters-5",
                          "random-clusters-budget", "max-loss-proportional-clusters-budget"]  # fmt: skip


def test_influence_by_name_has_the_C_of_the_head():
    assert listed("influence")[1].selector == Influence(C=2.0)
    assert listed(Influence(C=7.0))[1].selector == Influence(C=7.0)
    assert listed(policies="paper")[1].selector == Influence("proportional", C=2.0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"selectors": "max-los"}, "Unknown selector 'max-los'"),
        ({"policies": "all"}, "Unknown group of policies 'all'"),
        ({"policies": "paper", "score": "los"}, "Unknown score 'los'"),
        ({"score": "loss"}, "for the policies 'paper', not 'plain'"),
        ({"policies": "refined", "score": ["influence", "margin"]}, "influence, margin was given"),
        ({"clusters": [0]}, "numbers from 1 to 40"),
        ({"clusters": [41]}, "numbers from 1 to 40"),
        ({"clusters": ["many"]}, "numbers from 1 to 40"),
        ({"selectors": [Coreset()], "policies": "refined"}, "cannot be updated"),
        ({"selectors": "random,forgetting"}, "forgetting is recorded while a network learns"),
        ({"selectors": [PerClass(TracIn())]}, "recorded while a network learns"),
    ],
)
def test_arms_without_a_meaning_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        listed(**options)


@given(st.lists(st.integers(0, 300), min_size=1))
def test_counts_survive_packing(counts):
    assert unpack(pack(torch.tensor(counts, dtype=torch.int16))).tolist() == counts
