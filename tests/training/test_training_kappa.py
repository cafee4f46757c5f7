"""The probe's estimates against the exact gradient error: over every probe there is, and with all examples in it."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auglean.selection import Coreset, Selection, gradient_error
from auglean.signals import Signals
from auglean.training.kappa import kappa, squared_errors


def said(n, classes=3, dim=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    residual, feature = torch.randn(n, classes, generator=g) + 0.3, torch.randn(n, dim, generator=g)
    return Signals(torch.rand(n, generator=g), torch.rand(n), residual, feature, torch.zeros(n, dtype=torch.int64))


def apart(indices, weights, n):
    return Selection(torch.tensor(indices), torch.tensor(weights).double(), torch.zeros(len(indices)), total=n)


def paired(indices, owner):
    """A choice whose weights are the sizes of its clusters."""
    owner = torch.tensor(owner)
    sizes = torch.bincount(owner[owner >= 0], minlength=len(indices)).double()
    chosen = Selection(torch.tensor(indices), sizes, torch.zeros(len(indices)), total=len(owner))
    return chosen.with_(assignment=owner)


def exact(signals, chosen, weights=None):
    """Squared error and squared gradient, gradients written out."""
    weights = (chosen.weights if weights is None else weights).double()
    right = torch.cat([signals.feature, torch.ones(len(signals), 1)], 1).double()
    g = (signals.residual.double()[:, :, None] * right[:, None]).flatten(1)
    full = g.mean(0)
    error = full - (weights / weights.sum()) @ g[chosen.indices]
    return float(error.square().sum()), float(full.square().sum())


CHOICES = {
    "pairs": paired([4, 1], [1, 1, 0, 0, 0, 1, 0]),
    "pairs, some without an owner": paired([4, 1], [1, 1, 0, -1, 0, -1, 0]),
    "all of the chosen": apart([4, 1], [2.5, 1.0], 7),
    "some of the chosen": apart([4, 1, 0, 6], [2.5, 1.0, 0.5, 3.0], 7),
}


@pytest.mark.parametrize("name", CHOICES)
def test_over_every_probe_the_estimates_are_right_on_average(monkeypatch, name):
    """All 35 probes of three in seven, and where the chosen are drawn too, all 64 draws by their chances."""
    chosen, signals, size = CHOICES[name], said(7), 3
    chances = (chosen.weights / chosen.weights.sum()).tolist()
    draws = itertools.product(range(len(chosen)), repeat=size) if len(chosen) > size else [()]
    draws = [(torch.tensor(draw), math.prod(chances[j] for j in draw)) for draw in draws]
    mean, plain = torch.zeros(2, dtype=torch.float64), []
    for ids in itertools.combinations(range(7), size):
        for draw, chance in draws:
            rest = [i for i in range(7) if i not in ids]
            monkeypatch.setattr(torch, "randperm", lambda n, generator, order=(*ids, *rest): torch.tensor(order))
            monkeypatch.setattr(torch, "multinomial", lambda *args, draw=draw, **options: draw)
            found = squared_errors(chosen, chosen.weights, lambda at: signals[at], torch.Generator(), size=size)
            mean += torch.tensor(found, dtype=torch.float64) * chance / 35
            plain.append(found)
    assert mean.tolist() == pytest.approx(exact(signals, chosen), rel=1e-9, abs=1e-12)
    assert torch.tensor(plain).std(0).min() > 0.1  # a single probe can be far off


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    k=st.integers(1, 12),
    assigned=st.booleans(),
    equal=st.booleans(),
    seed=st.integers(0, 100),
)
def test_with_all_examples_in_the_probe_it_is_the_gradient_error(n, k, assigned, equal, seed):
    g = torch.Generator().manual_seed(seed)
    signals, k = said(n, seed=seed), min(k, n)
    indices = torch.randperm(n, generator=g)[:k].tolist()
    owner = torch.randint(-1, k, (n,), generator=g).tolist()
    owner[:k] = range(k)  # none of the weights is zero
    chosen = paired(indices, owner) if assigned else apart(indices, (torch.rand(k, generator=g) + 0.1).tolist(), n)
    weights = torch.ones(k) if equal else chosen.weights
    found = squared_errors(chosen, weights, lambda ids: signals[ids], g)
    expected = gradient_error(signals.residual, chosen.indices, weights, feature=signals.feature)
    assert kappa(*found) == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert found == pytest.approx(exact(signals, chosen, weights), rel=1e-9, abs=1e-12)


def clustered(n=3000):
    """Three classes of residuals in tight clusters, as of a network in training; few examples stand for many."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    logits = 2 * torch.eye(3)[labels] + torch.randn(30, 3, generator=g)[torch.arange(n) % 30]
    logits += 0.3 * torch.randn(n, 3, generator=g)
    residual = logits.softmax(1) - torch.eye(3)[labels]
    signals = Signals(torch.rand(n), torch.rand(n), residual, torch.randn(n, 4, generator=g), labels)
    return signals, labels


def test_a_probe_tells_kappa_and_pairs_tell_it_best():
    """Of 3,000 examples 512 are asked for, and their medoids; the error is that of all to some per cent."""
    signals, labels = clustered()
    chosen = Coreset(proxy="last-layer")(signals, labels, budget=0.1)
    truth = gradient_error(signals.residual, chosen.indices, chosen.weights, feature=signals.feature)
    asked = []

    def ask(ids):
        asked.append(ids)
        return signals[ids]

    def errors(selection):
        generators = (torch.Generator().manual_seed(seed) for seed in range(40))
        found = [squared_errors(selection, selection.weights, ask, g) for g in generators]
        return torch.tensor(found, dtype=torch.float64)

    pairs, alone = errors(chosen), errors(chosen.with_(assignment=None))
    assert all(512 <= len(ids) <= 512 + len(chosen) and len(ids.unique()) == len(ids) for ids in asked)
    top, bottom = exact(signals, chosen)
    for found in (pairs, alone):
        standard = found.std(0) / math.sqrt(len(found))
        assert ((found.mean(0) - torch.tensor([top, bottom])).abs() < 4 * standard).all()
    assert pairs[:, 0].std() < 0.3 * alone[:, 0].std()
    estimates = [kappa(*pair) for pair in pairs.tolist()]
    assert sum(estimates) / len(estimates) == pytest.approx(truth, rel=0.25)  # a root of an unbiased square is not
    assert max(estimates) < 0.35


def test_kappa_at_its_ends():
    assert kappa(0.0, 0.0) == 0
    assert kappa(-1.0, -1.0) == 0
    assert kappa(9.0, 4.0) == 1.5
    assert kappa(1.0, 0.0) == math.inf
