"""Determinantal point processes against enumeration, brute-force greedy, the primal form and dppy."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from selection_references import make_signals

from auglean.errors import InputError
from auglean.selection import KDPP, Clustered, PerClass, greedy_log_determinant, sample_k_dpp, select
from auglean.selection.dpp_sampling import log_elementary, spectrum
from auglean.signals import Signals


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_features(feature, loss=None):
    n = len(feature)
    loss = torch.ones(n) if loss is None else torch.as_tensor(loss)
    return Signals(loss, torch.zeros(n), torch.zeros(n, 2), feature, torch.zeros(n, dtype=torch.int64)), torch.arange(
        n
    ) % 2


def enumerated(kernel, k):
    """The chance of each subset, by determinants."""
    subsets = list(itertools.combinations(range(len(kernel)), k))
    volume = np.array([np.linalg.det(kernel[np.ix_(subset, subset)]) for subset in subsets])
    return subsets, volume / volume.sum()


def drawn_sets(draw, subsets, runs):
    times = dict.fromkeys(subsets, 0)
    for _ in range(runs):
        times[tuple(sorted(draw().tolist()))] += 1
    return np.array(list(times.values()))


def chi_squared(times, chance):
    """The p-value of having drawn subsets as often."""
    return stats.chisquare(times, chance * times.sum()).pvalue


# Elementary symmetric polynomials


@settings(max_examples=60)
@given(values=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8))
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_log_elementary_is_brute_force(values, scale):
    logs = torch.tensor(values, dtype=torch.float64).log() + math.log(scale)
    table = log_elementary(logs, len(values))
    for m in range(len(values) + 1):
        for j in range(len(values) + 1):
            brute = math.fsum(math.prod(subset) for subset in itertools.combinations(values[:m], j))
            expected = math.log(brute) + j * math.log(scale) if brute else -math.inf
            assert float(table[j, m]) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_log_elementary_does_not_overflow():
    logs = torch.full((1000,), 300.0, dtype=torch.float64)  # e_500 is about 10^65500
    expected = 500 * 300 + math.lgamma(1001) - 2 * math.lgamma(501)
    assert float(log_elementary(logs, 500)[-1, -1]) == pytest.approx(expected, rel=1e-12)


# Exact draws


@pytest.mark.parametrize(("k", "scale"), [(1, 1.0), (2, 1.0), (2, 1e-6), (2, 1e6), (3, 1.0)])
def test_draws_are_those_of_the_enumerated_kernel(k, scale):
    points = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.3, 0.2, 2], [0.5, -1, 0.5]], dtype=torch.float64)
    subsets, chance = enumerated((points @ points.T).numpy(), k)
    logs, vectors = spectrum(points * scale**0.5)
    g = torch.Generator().manual_seed(5)
    times = drawn_sets(lambda: sample_k_dpp(logs, vectors, k, g), subsets, 8000)
    assert chi_squared(times, chance) > 1e-4, (times, chance)
    wrong = np.roll(chance, 1) if k < 4 else chance  # the test can fail
    assert chi_squared(times, wrong) < 1e-12


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_the_scale_of_the_kernel_does_not_matter(scale):
    points = normal(60, 20)
    for seed in range(5):
        found = [
            sample_k_dpp(*spectrum(points * by), 9, torch.Generator().manual_seed(seed)).tolist() for by in (1.0, scale)
        ]
        assert found[0] == found[1]


def test_large_k_at_large_scale_stays_in_the_leading_subspace():
    # published code at kernel scale 10⁶ and k = 100 drew a quarter of its vectors from the jitter
    leading = torch.cat([1e3 * normal(400, 100), 1e-7 * normal(400, 30, seed=1)], 1)
    logs, vectors = spectrum(leading)
    assert len(logs) == 130
    picks = sample_k_dpp(logs, vectors, 100, torch.Generator().manual_seed(0))
    height = torch.linalg.svdvals(leading[picks][:, :100])
    assert float(height.min()) > 1  # the picks span the hundred leading directions


def test_the_identity_is_uniform():
    logs, vectors = spectrum(torch.eye(5, dtype=torch.float64))
    subsets = list(itertools.combinations(range(5), 2))
    g = torch.Generator().manual_seed(1)
    times = drawn_sets(lambda: sample_k_dpp(logs, vectors, 2, g), subsets, 5000)
    assert chi_squared(times, np.full(10, 0.1)) > 1e-4


def test_duplicates_never_come_together():
    feature = torch.cat([normal(8, 5)] * 3).float()
    signals, labels = of_features(feature)
    for seed in range(200):
        picks = select(signals, labels, KDPP(), budget=5, seed=seed).indices
        assert len(set((picks % 8).tolist())) == 5


def test_dual_is_primal():
    points = normal(30, 6)
    values, vectors = torch.linalg.eigh(points @ points.T)
    logs, found = spectrum(points)
    torch.testing.assert_close(logs, values[-6:].log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((found.T @ vectors[:, -6:]).abs(), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-8)
    for seed in range(20):
        picks = [
            sample_k_dpp(logs, basis, 4, torch.Generator().manual_seed(seed)).tolist()
            for basis in (found, vectors[:, -6:])
        ]
        assert picks[0] == picks[1]


def test_quality_enters_squared():
    feature, loss = normal(5, 4).float(), [0.1, 1.0, 3.0, 0.5, 2.0]
    signals, labels = of_features(feature, loss)
    unit = feature.double() - feature.double().mean(0)
    unit = (unit / unit.norm(dim=1, keepdim=True)).numpy()
    for exponent in (1.0, 0.5):
        quality = torch.tensor(loss).double().numpy() ** exponent
        subsets, chance = enumerated(quality[:, None] * (unit @ unit.T) * quality, 2)
        selector, g = KDPP(quality="loss", exponent=exponent), torch.Generator().manual_seed(2)
        times = drawn_sets(lambda: selector.choose(signals, labels, 2, g).indices, subsets, 3000)  # noqa: B023
        assert chi_squared(times, chance) > 1e-4
    plain, chance = enumerated(unit @ unit.T, 2)[1], enumerated(quality[:, None] * (unit @ unit.T) * quality, 2)[1]
    assert np.abs(plain - chance).max() > 0.05


def test_dppy_draws_alike():
    dpps = pytest.importorskip("dppy.finite_dpps", reason="dppy is not installed")
    points = normal(6, 4, seed=3)
    subsets = list(itertools.combinations(range(6), 3))
    logs, vectors = spectrum(points)
    g, runs = torch.Generator().manual_seed(0), 3000
    mine = drawn_sets(lambda: sample_k_dpp(logs, vectors, 3, g), subsets, runs)
    peer = dpps.FiniteDPP("likelihood", L_gram_factor=points.T.numpy())
    state = np.random.RandomState(0)
    theirs = drawn_sets(lambda: np.array(peer.sample_exact_k_dpp(3, random_state=state)), subsets, runs)
    assert stats.chi2_contingency(np.stack([mine, theirs]) + 1).pvalue > 1e-4


def test_centring_makes_draws_behind_a_relu_more_diverse():
    feature = (normal(400, 32) + 2).relu().float()
    signals, labels = of_features(feature)
    unit = feature.double() - feature.double().mean(0)
    unit = unit / unit.norm(dim=1, keepdim=True)

    def volume(selector, seed):
        return float(
            torch.logdet(unit[(s := select(signals, labels, selector, budget=20, seed=seed).indices)] @ unit[s].T)
        )

    plain, centred, chance = (
        np.mean([volume(selector, seed) for seed in range(30)]) for selector in (KDPP(centre=False), KDPP(), "random")
    )
    assert centred > plain > chance


def test_more_than_the_rank_is_refused_with_a_way_out():
    signals, labels = make_signals(60, classes=2, dim=8)
    with pytest.raises(InputError, match=r"rank 8, so a k-DPP cannot draw 20 .* at most 8") as told:
        select(signals, labels, KDPP(), budget=20)
    assert str(told.value).count(". ") == 0
    for selector in (KDPP(method="greedy"), Clustered(5, KDPP())):
        assert len(select(signals, labels, selector, budget=20)) == 20
    assert len(select(signals, labels, PerClass(KDPP()), budget=12)) == 12
    with pytest.raises(InputError, match="rank 0"):
        select(*of_features(torch.ones(5, 3)), KDPP(), budget=1)
    twins = torch.cat([normal(8, 20), normal(8, 20)[:1]]).float()
    with pytest.raises(InputError, match="rank 7"):  # the mean costs one
        select(*of_features(twins), KDPP(), budget=8)
    assert sorted(select(*of_features(twins), KDPP(), budget=9).indices.tolist()) == list(range(9))  # the only set
    with pytest.raises(InputError, match="rank 2"):  # what has no quality is in no set
        select(*of_features(normal(9, 6).float(), [0.0] * 7 + [1, 2]), KDPP(quality="loss"), budget=3)


def test_gains_sum_to_the_log_determinant():
    signals, labels = make_signals(40, dim=10)
    for selector in (KDPP(), KDPP(quality="loss"), KDPP(method="greedy", tau=2.0)):
        chosen = select(signals, labels, selector, budget=7)
        rows = selector.factor(signals, labels)[chosen.indices]
        assert float(selector.factor(signals, labels).square().sum(1).mean()) == pytest.approx(1)
        kernel = rows @ rows.T
        kernel = torch.eye(7).double() + 4 * kernel if selector.method == "greedy" else kernel
        assert float(chosen.gains.sum()) == pytest.approx(float(torch.logdet(kernel)), rel=1e-9)
        assert chosen.how["log_determinant"] == float(chosen.gains.sum())


# Greedy


def brute_greedy(points, k, tau):
    """Try every candidate by a determinant; ties to the lowest index."""
    points, chosen = points.numpy(), []
    for _ in range(k):
        value = np.full(len(points), -np.inf)
        for i in set(range(len(points))) - set(chosen):
            rows = points[[*chosen, i]]
            value[i] = np.linalg.slogdet(np.eye(len(rows)) + tau**2 * rows @ rows.T)[1]
        chosen.append(int(np.flatnonzero(value >= value.max() - 1e-11)[0]))
    return chosen


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 25), d=st.integers(1, 8), seed=st.integers(0, 999), tau=st.sampled_from([0.1, 1.0, 30.0]),
       copies=st.booleans(), unit=st.booleans(), data=st.data())  # fmt: skip
def test_greedy_is_brute_force_greedy(n, d, seed, tau, copies, unit, data):
    points = normal(n, d, seed)
    if copies:
        points = points[torch.arange(n) % max(1, n // 2)]
    if unit:
        points = points / points.norm(dim=1, keepdim=True)
    k = data.draw(st.integers(1, n))
    assert greedy_log_determinant(points, k, tau=tau)[0].tolist() == brute_greedy(points, k, tau)


def plain_greedy(points, k, tau):
    """Every leverage anew for every pick."""
    matrix, chosen = np.eye(points.shape[1]) / tau**2, []
    for _ in range(k):
        leverage = np.einsum("nd,de,ne->n", points, np.linalg.inv(matrix), points)
        leverage[chosen] = -1
        chosen.append(int(np.flatnonzero(leverage >= leverage.max() * (1 - 1e-12))[0]))
        matrix += np.outer(points[chosen[-1]], points[chosen[-1]])
    return chosen


@pytest.mark.parametrize(("n", "d", "k", "tau"), [(3000, 20, 300, 1.0), (2000, 40, 150, 100.0), (700, 60, 700, 1.0)])
@pytest.mark.parametrize("unit", [True, False])
def test_candidates_hide_no_pick(n, d, k, tau, unit):
    points = normal(n, d, seed=n) * torch.linspace(1, 0.1, d, dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True) if unit else points
    found, gains = greedy_log_determinant(points, k, tau=tau)
    assert found.tolist() == plain_greedy(points.numpy(), k, tau)
    rows = points[found]
    inside = torch.eye(d, dtype=torch.float64) + tau**2 * rows.T @ rows
    assert float(gains.sum()) == pytest.approx(float(torch.logdet(inside)), rel=1e-10)
    assert bool((gains.diff() <= 1e-12).all())  # submodular


def test_greedy_with_points_that_are_all_equal():
    points = torch.ones(1000, 3, dtype=torch.float64)
    assert greedy_log_determinant(points, 1000)[0].tolist() == list(range(1000))
    assert greedy_log_determinant(0 * points, 10)[0].tolist() == list(range(10))


def test_greedy_does_not_mind_the_scale_of_features():
    feature = normal(50, 6).float()
    found = [
        select(*of_features(feature * scale), KDPP(method="greedy", normalise=False), budget=30).indices.tolist()
        for scale in (1.0, 2.0**20)
    ]
    assert found[0] == found[1]


def test_greedy_is_far_above_a_random_choice():
    signals, labels = make_signals(200, dim=16)
    selector = KDPP(method="greedy")
    rows = selector.factor(signals, labels)
    chosen = select(signals, labels, selector, budget=40)
    for seed in range(10):
        other = rows[select(signals, labels, "random", budget=40, seed=seed).indices]
        assert float(chosen.gains.sum()) > float(torch.logdet(torch.eye(16).double() + other.T @ other))


def test_labels_of_options():
    assert [s.label for s in (KDPP(), KDPP(quality="loss"), KDPP(method="greedy"))] == [
        "k-dpp", "k-dpp-loss", "k-dpp-greedy"
    ]  # fmt: skip
