"""Sample sizes against enumeration, and against the errors that so many draws really make."""

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.examples import Examples
from auglean.moments.loss_spreads import _gradients
from auglean.moments.losses import Setting
from auglean.moments.sample_sizes import draws_for, heavier
from auglean.policies import Brightness, Flip, Identity, RandomCrop, Rotate, Translate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=4, size=(6, 6)):
    coarse = torch.rand(n, 1, 3, 3, generator=generator(), dtype=torch.float64)
    return F.interpolate(coarse, size, mode="bilinear"), torch.arange(n) % 3


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3)).double()


def relative_errors(policy, x, draws, repeats, what, *, stratified=False):
    """Relative errors of the sample mean, or unbiased sample covariance, of an image. Shape `(repeats,)`."""
    truth = policy.moments(x, tol=1e-6, most=2**14)
    found = []
    for r in range(repeats):
        params = policy.draw(draws, generator=generator(r), stratified=stratified)
        y = policy.apply(x.expand(draws, -1, -1, -1), params).flatten(1)
        if what == "mean":
            found.append((y.mean(0) - truth.mean.flatten()).norm() / truth.mean.norm())
        else:
            found.append((torch.cov(y.T) - truth.dense()).norm() / truth.frobenius2.sqrt())
    return torch.stack(found)


@pytest.mark.parametrize("policy", [Rotate(20), Translate(1.5), Flip(0.3)])
def test_so_many_draws_make_that_error_of_the_mean(policy):
    x, y = data(1)
    eps = 0.03
    needed = al.samples_needed(policy, (x, y), target="mean", eps=eps)
    n, sure = round(float(needed.rms)), round(float(needed.confident))
    assert 8 < n < sure
    errors = relative_errors(policy, x[0], n, 400, "mean")
    # the mean square of 400 has a standard error of at most √(2 / 400) = 7 %
    assert float(errors.square().mean()) / eps**2 == pytest.approx(1, abs=0.3)
    missed = int((relative_errors(policy, x[0], sure, 400, "mean") > eps).sum())
    assert stats.binomtest(missed, 400, 0.05).pvalue > 1e-3


@pytest.mark.parametrize("policy", [Rotate(20), RandomCrop(1)])
def test_so_many_draws_make_that_error_of_the_covariance(policy):
    x, y = data(1)
    needed = al.samples_needed(policy, (x, y), target="covariance", eps=0.2)
    errors = relative_errors(policy, x[0], round(float(needed.rms)), 300, "covariance")
    assert float(errors.square().mean()) / 0.04 == pytest.approx(1, abs=0.35)
    missed = int((relative_errors(policy, x[0], round(float(needed.confident)), 300, "covariance") > 0.2).sum())
    assert missed <= stats.binom.ppf(0.999, 300, 0.05)


def test_laws_whose_numbers_are_known():
    examples = data()
    rank_one = al.samples_needed(Brightness(0.5, clamp=False), examples, target="covariance")
    torch.testing.assert_close(rank_one.rms, torch.full((4,), 8000.0).double(), rtol=1e-3, atol=0)  # (9/5 − 1) / 0.01²
    # a two-point law has no term in 1/N: N (N − 1) = 2 / ε²
    flip = al.samples_needed(Flip(), examples, target="covariance")
    torch.testing.assert_close(flip.rms * (flip.rms - 1), torch.full((4,), 2e4).double(), rtol=1e-6, atol=0)
    nothing = al.samples_needed(Identity(), examples, target="covariance")
    assert nothing.rms.tolist() == [1.0] * 4
    assert al.samples_needed(Rotate(0), examples).strata == 1
    assert al.samples_needed(Flip(), examples).strata == 16  # half of them flip


def test_the_average_over_the_data():
    x, y = data()
    policy = Flip(0.3)
    moments = policy.moments(x)
    needed = al.samples_needed(policy, (x, y), target="mean")
    expected = moments.trace.mean() / (4 * 1e-4 * moments.mean.mean(0).square().sum())
    assert needed.data_rms == pytest.approx(float(expected))
    needed = al.samples_needed(RandomCrop(1), (x, y), target="covariance")
    moments = RandomCrop(1).moments(x)
    expected = (moments.m4 - moments.frobenius2).mean() / (4 * 1e-4 * moments.dense().mean(0).square().sum())
    assert needed.data_rms == pytest.approx(float(expected))


def test_losses_one_by_one():
    model, (x, y) = network(), data()
    needed = al.samples_needed(Flip(0.3), (x, y), target="loss", eps=0.1, model=model)
    assert model.training
    model.eval()
    with torch.no_grad():
        first, second = (F.cross_entropy(model(z), y, reduction="none") for z in (x, x.flip(3)))
    mean, variance = 0.7 * first + 0.3 * second, 0.21 * (first - second).square()
    torch.testing.assert_close(needed.rms, (variance / (0.1 * mean).square()).clamp(min=1), rtol=1e-10, atol=0)
    assert needed.data_rms == pytest.approx(float(variance.mean() / (4 * (0.1 * mean.mean()).square())))
    assert needed.data_confident / needed.data_rms == pytest.approx(3.8415, rel=1e-4)
    assert needed.worst.tolist() == needed.rms.argsort(descending=True, stable=True).tolist()


def test_a_loss_near_zero_is_not_held_to_a_share_of_itself():
    """Under 1 % of the average a loss counts as that: 0 or 2e-6 under a flip would take 100 draws, and takes none."""
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False)).double()
    model[1].weight.data = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[[[0.0, 2e-6]]], [[[0.0, 1.0]]]], dtype=torch.float64)
    options = {"target": "loss", "eps": 0.1, "model": model, "loss": lambda out, y: out[:, 0]}
    needed = al.samples_needed(Flip(), (x, torch.tensor([0, 0])), **options)
    assert needed.rms.tolist() == pytest.approx([1, 100])


def gradient(model, image, label):
    loss = F.cross_entropy(model(image[None]), label[None])
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_gradients_one_by_one():
    model, (x, y) = network(), data()
    needed = al.samples_needed(Flip(0.3), (x, y), target="gradient", eps=0.1, model=model)
    assert model.training
    model.eval()
    expected, means, variances = [], [], []
    for image, label in zip(x, y, strict=True):
        first, second = (gradient(model, z, label) for z in (image, image.flip(2)))
        means.append(0.7 * first + 0.3 * second)
        variances.append(0.21 * (first - second).square().sum())
        expected.append(variances[-1] / (0.1 * means[-1].norm()) ** 2)
    torch.testing.assert_close(needed.rms, torch.stack(expected).clamp(min=1), rtol=1e-9, atol=0)
    average = torch.stack(means).mean(0)
    expected = torch.stack(variances).mean() / (4 * 0.01 * average.square().sum())
    assert needed.data_rms == pytest.approx(float(expected))
    assert all(weight.grad is None for weight in model.parameters())


def test_gradients_by_draws_agree_with_many_nodes():
    model, examples = network(), data()
    few, many = (
        list(_gradients(Setting(model, "cross-entropy", Rotate(20), Examples(examples), nodes, 0, 64), method))
        for nodes, method in ((1024, "stratified"), (1024, "nodes"))
    )
    for found, truth in zip(few, many, strict=True):
        torch.testing.assert_close(found.mean, truth.mean, rtol=0, atol=2e-3 * float(truth.mean.norm()))
        torch.testing.assert_close(found.variance, truth.variance, rtol=0.03, atol=0)


@pytest.mark.parametrize("policy", [Rotate(20), Translate(1.5)])
def test_strata_do_what_they_promise(policy):
    x, y = data(1, (12, 12))
    needed = al.samples_needed(policy, (x, y), target="mean", eps=0.002)
    assert needed.strata < float(needed.rms) / 10
    assert needed.rate > 0.6
    k = 2 ** round(float(torch.tensor(needed.strata).log2()))
    errors = relative_errors(policy, x[0], k, 100, "mean", stratified=True)
    predicted = 0.002 * (needed.strata / k) ** needed.rate
    assert float(errors.square().mean().sqrt()) / predicted == pytest.approx(1, abs=0.5)


def test_strata_of_losses_and_covariances():
    model, examples = network(), data(8)
    for target in ("loss", "gradient", "covariance"):
        needed = al.samples_needed(Rotate(20), examples, target=target, eps=0.0005, model=model)
        assert 1 < needed.strata < float(needed.rms.median()) / 5


@pytest.mark.parametrize("spectrum", [[1.0], [1.0, 0.1], [1.0, 0.5, 0.25, 0.1], [1.0] * 10])
@pytest.mark.parametrize("delta", [0.05, 0.01])
def test_the_quantile_of_a_spectrum(spectrum, delta):
    values = torch.tensor(spectrum, dtype=torch.float64)
    z = torch.randn(400_000, len(values), generator=generator(), dtype=torch.float64)
    truth = float((z.square() @ values).quantile(1 - delta) / values.sum())
    freedom = values.sum().square() / values.square().sum()
    assert float(heavier(freedom, delta)) == pytest.approx(truth, rel=0.04)
    assert float(heavier(torch.tensor(1.0), delta)) > 0.98 * truth


def test_the_root_solves_its_equation():
    variance, pairs = torch.tensor([3.0, 0.2, 7.0]).double(), torch.tensor([1.0, 5.0, 0.0]).double()
    n = draws_for(variance, pairs, torch.tensor(0.01).double())
    torch.testing.assert_close(variance / n + pairs / (n * (n - 1)), torch.full((3,), 0.01).double())


def test_prints_and_keeps(tmp_path):
    needed = al.samples_needed(Translate(1), data(6), target="mean")
    text = repr(needed)
    assert "median image" in text
    assert "average of 6" in text
    needed.save(tmp_path / "n.json")
    again = al.moments.SamplesNeeded.load(tmp_path / "n.json")
    assert repr(again) == text
    assert torch.equal(again.rms, needed.rms)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": 0}, "eps above 0"),
        ({"eps": float("nan")}, "eps above 0"),
        ({"delta": 1.0}, "delta between"),
        ({"target": "covarance"}, "did you mean 'covariance'"),
        ({"target": "loss"}, "needs a model"),
        ({"probe": 0}, "probe of 1"),
        ({"target": "gradient", "model": network(), "data": (data()[0], data()[1] + 3)}, "label"),
    ],
)
def test_bad_input(options, words):
    options = {"data": data(), **options}
    with pytest.raises(al.InputError, match=words):
        al.samples_needed(Flip(), options.pop("data"), **options)


def test_wide_factors_come_in_small_pieces(monkeypatch):
    from auglean.moments import examples

    whole = al.samples_needed(RandomCrop(1), data(7), target="covariance")
    monkeypatch.setattr(examples, "_FACTORS", 8 * 9 * 36 * 2)  # two images of nine shifts
    sizes = [len(ids) for ids, *_ in examples.moments_in_pieces(RandomCrop(1), Examples(data(7)))]
    assert sizes == [2, 2, 2, 1]
    pieces = al.samples_needed(RandomCrop(1), data(7), target="covariance")
    torch.testing.assert_close(pieces.rms, whole.rms)
    assert pieces.data_rms == pytest.approx(whole.data_rms)
