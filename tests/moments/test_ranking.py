"""Rankings, comparisons of policies and alignment: against dense matrices and cases where the answer is known."""

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import auglean as al
from auglean.moments.alignment import spearman
from auglean.policies import Brightness, Cutout, Flip, Identity, RandomCrop, Rotate, Translate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=12, size=(6, 6)):
    coarse = torch.rand(n, 1, 3, 3, generator=generator(), dtype=torch.float64)
    return F.interpolate(coarse, size, mode="bilinear"), torch.arange(n) % 3


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)).double()


# ranking


def test_scores_are_those_of_the_moments():
    x, y = data()
    policy = RandomCrop(1)
    moments = policy.moments(x)
    spread = al.rank_images(policy, (x, y))
    torch.testing.assert_close(spread.score, moments.trace / moments.mean.flatten(1).square().sum(1))
    assert spread.order.tolist() == spread.score.argsort(descending=True).tolist()
    moved = al.rank_images(policy, (x, y), by="displacement")
    torch.testing.assert_close(moved.score, (moments.mean - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1))
    model = network()
    losses = al.rank_images(policy, (x, y), by="loss_sd", model=model)
    assert torch.equal(losses.score, al.expected_loss(model, "cross-entropy", policy, (x, y)).sd)


def test_what_must_come_first_comes_first():
    x = torch.zeros(3, 1, 6, 6, dtype=torch.float64)
    x[0] = 0.5  # flat: a flip changes nothing
    x[1, :, :, :3] = 1  # one side: a flip changes all
    x[2, :, :, 2:5] = 1
    ranking = al.rank_images(Flip(), (x, torch.tensor([0, 1, 2])))
    assert ranking.order.tolist() == [1, 2, 0]
    assert [row["label"] for row in ranking.classes] == [1, 2, 0]
    assert ranking.score[0] == 0
    assert al.rank_images(Identity(), (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))).score.tolist() == [0, 0]


def test_intervals_of_theby_class_cover():
    """A bootstrap interval of 95 % covers the mean of the law in about 95 % of cases."""
    from auglean.moments.ranking import by_class

    scores = torch.randn(400, 60, generator=generator(), dtype=torch.float64).exp()  # mean e^½
    rows = [by_class(score, torch.zeros(60, dtype=torch.int64), (), i)[0] for i, score in enumerate(scores)]
    covered = sum(row["low"] <= 1.6487 <= row["high"] for row in rows)
    assert 340 <= covered <= 395  # skewed laws are covered less often
    widths = torch.tensor([row["high"] - row["low"] for row in rows])
    plain = 2 * 1.96 * scores.std(1) / 60**0.5
    assert float((widths / plain).mean()) == pytest.approx(1, abs=0.05)


def test_a_class_table_has_names():
    levels = torch.randint(0, 256, (9, 1, 6, 6), dtype=torch.uint8, generator=generator())
    ranking = al.rank_images(Flip(), al.ImageSet(levels, torch.arange(9) % 3, ("cat", "dog", "eel")))
    assert {row["name"] for row in ranking.classes} == {"cat", "dog", "eel"}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in ranking.classes)
    assert "95 % interval" in repr(ranking)


# comparing


POLICIES = [Translate(1), RandomCrop(1), Cutout(2), Flip(), Brightness(0.4, clamp=False), Identity()]


def test_numbers_and_overlaps_from_dense_matrices():
    x, y = data()
    found = al.compare_policies(POLICIES, (x, y))
    dense = [policy.moments(x).dense() for policy in POLICIES]
    for i, own in enumerate(dense):
        values = torch.linalg.eigvalsh(own).flip(1).clamp(min=0)
        total = values.sum(1)
        torch.testing.assert_close(found.trace[i], total, rtol=0, atol=1e-10)
        if i == len(POLICIES) - 1:
            assert not found.rank99[i].any()
            assert not found.effective_rank[i].any()
            continue
        torch.testing.assert_close(found.effective_rank[i], total.square() / values.square().sum(1))
        for share, ranks in ((0.9, found.rank90[i]), (0.99, found.rank99[i])):
            held = (values / total[:, None]).cumsum(1)
            assert ranks.tolist() == [int((row < share - 1e-12).sum()) + 1 for row in held]
        torch.testing.assert_close(found.spectrum[i, :4], (values / total[:, None]).mean(0)[:4], rtol=1e-9, atol=1e-12)
        for j, other in enumerate(dense[:-1]):
            overlap = (own * other).sum((1, 2)) / (own.norm(dim=(1, 2)) * other.norm(dim=(1, 2)))
            assert float(found.overlap[i, j]) == pytest.approx(float(overlap.mean()), abs=1e-10)
    assert not found.overlap[-1].any()
    assert found.rank99[3].tolist() == [1] * 12  # a flip has one direction


def test_only_so_many_images_the_same_for_a_seed():
    x, y = data()
    some = al.compare_policies([Flip(), Rotate(5)], (x, y), images=5, seed=3)
    assert len(some.ids) == 5
    assert torch.equal(some.ids, al.compare_policies([Flip()], (x, y), images=5, seed=3).ids)
    torch.testing.assert_close(some.trace[0], Flip().moments(x[some.ids]).trace)
    text = repr(some)
    assert "flip" in text
    assert "quadrature" in text


# alignment


def linear(rows):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, len(rows))).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.stack(rows))
        model[1].bias.zero_()
    return model


def test_ratios_from_dense_matrices():
    model, (x, y) = network(), data()
    policy = RandomCrop(1)
    found = al.alignment(model, policy, (x, y))
    assert model.training
    model.eval()
    leaf = x.clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)[0].flatten(1)
    dense, unit = policy.moments(x).dense(), F.normalize(g)
    ratios = torch.einsum("jd,ide,je->ij", unit, dense, unit)
    own = ratios.diagonal()
    others = (ratios.sum(1) - own) / 11
    torch.testing.assert_close(found.ratio, own / others, rtol=1e-8, atol=0)
    torch.testing.assert_close(found.isotropic, own / (policy.moments(x).trace / 36), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.predicted, torch.einsum("id,ide,ie->i", g, dense, g), rtol=1e-8, atol=0)
    for i in range(12):
        values, vectors = torch.linalg.eigh(dense[i])
        inside = vectors[:, values > 1e-9 * values.sum()]
        assert float(found.in_range[i]) == pytest.approx(float((inside.T @ unit[i]).square().sum()), abs=1e-4)
    held = torch.stack([(torch.linalg.eigh(dense[i])[1].flip(1).T @ unit[i]).square().cumsum(0) for i in range(12)])
    torch.testing.assert_close(found.energy[:5], held.mean(0)[:5], rtol=1e-6, atol=1e-9)
    truth = al.expected_loss(model, "cross-entropy", policy, (x, y)).sd.square()
    torch.testing.assert_close(found.variance, truth)
    assert found.spearman == pytest.approx(float(stats.spearmanr(found.predicted, truth).statistic))


def test_a_model_that_looks_away_and_one_that_does_not():
    """Left-right differences are all that a flip changes."""
    x, y = data(40)
    y = y % 2
    row = torch.randn(6, 6, generator=generator(1), dtype=torch.float64)
    even, odd = (row + row.flip(1)).flatten(), (row - row.flip(1)).flatten()
    blind = al.alignment(linear([even, -even]), Flip(), (x, y))
    assert float(blind.predicted.abs().max()) < 1e-25
    assert blind.ratio.isnan().all()  # the others' saliencies are as blind
    assert float(blind.isotropic.max()) < 1e-20
    seeing = al.alignment(linear([odd, -odd]), Flip(), (x, y))
    assert float(seeing.predicted.min()) > 0
    torch.testing.assert_close(seeing.ratio, torch.ones(40).double())  # one direction for every image
    # the saliency of a linear model of two classes is w₁ − w₂ up to length: R = w' C w / ‖w‖²
    moments = Flip().moments(x)
    expected = (moments.matvec(odd.view(1, 1, 6, 6).expand(40, -1, -1, -1)).flatten(1) @ odd) / odd.square().sum()
    torch.testing.assert_close(seeing.isotropic, expected / (moments.trace / 36), rtol=1e-8, atol=0)


def test_first_order_ranks_the_variances_under_a_weak_policy():
    found = al.alignment(network(), Translate(0.05), data(40))
    assert found.spearman > 0.98
    torch.testing.assert_close(found.predicted, found.variance, rtol=0.2, atol=1e-9)
    assert "Spearman" in repr(found)


def test_a_share_of_the_strength_is_a_weaker_policy():
    found = al.alignment(network(), Translate(1), data(40), strength=0.05)
    assert found.policy == "translate0.05"
    expected = al.alignment(network(), Translate(0.05), data(40))
    torch.testing.assert_close(found.ratio, expected.ratio)
    assert found.spearman == expected.spearman
    assert not torch.allclose(found.ratio, al.alignment(network(), Translate(1), data(40)).ratio, rtol=1e-2)
    with pytest.raises(al.InputError, match=r"Flip.* has no weaker form"):
        al.alignment(network(), Flip(), data(), strength=0.1)


def test_nothing_moves_and_nothing_is_aligned():
    found = al.alignment(network(), Identity(), data())
    assert found.ratio.isnan().all()
    assert found.in_range.tolist() == [0.0] * 12
    assert not found.energy.any()


def test_an_image_that_teaches_nothing_is_left_out():
    model, (x, y) = linear([torch.zeros(36).double()] * 3), data()
    found = al.alignment(model, Flip(), (x, y))
    assert found.ratio.isnan().all()


def test_ranks_share_ties():
    first, second = torch.tensor([1.0, 1.0, 2.0, 5.0]), torch.tensor([0.0, 3.0, 3.0, 1.0])
    assert spearman(first, second) == pytest.approx(float(stats.spearmanr(first, second).statistic))


@pytest.mark.parametrize("answer", ["ranking", "comparison", "alignment"])
def test_one_file(tmp_path, answer):
    found = {
        "ranking": lambda: al.rank_images(Flip(), data()),
        "comparison": lambda: al.compare_policies([Flip(), Rotate(4)], data()),
        "alignment": lambda: al.alignment(network(), Flip(), data()),
    }[answer]()
    found.save(tmp_path / "answer.json")
    assert repr(type(found).load(tmp_path / "answer.json")) == repr(found)


def test_bad_input():
    examples = data()
    with pytest.raises(al.InputError, match="did you mean 'rel_trace'"):
        al.rank_images(Flip(), examples, by="trace")
    with pytest.raises(al.InputError, match="needs a model"):
        al.rank_images(Flip(), examples, by="loss_sd")
    with pytest.raises(al.InputError, match="one or more policies"):
        al.compare_policies([], examples)
    with pytest.raises(al.InputError, match="2 images or more"):
        al.alignment(network(), Flip(), (examples[0][:1], examples[1][:1]))
