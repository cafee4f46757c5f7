"""mixup and CutMix against enumeration of partners, nodes of the Beta law, and every box, and against torchvision."""

import numpy as np
import pytest
import torch
from draws import mean_excess, trace_excess
from moment_case import brute, images
from scipy.special import roots_jacobi

import auglean as al
from auglean.moments import Partners, cutmix, mixup
from auglean.moments.mixing import cutmix_boxes

SIZE = (2, 4, 5)
DATA = images(9, *SIZE, seed=1)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2, 1])
X = images(*SIZE, seed=2)


def partners(*, labels=False):
    return Partners((DATA, LABELS), labels=labels)


def stacked(x, label):
    return torch.cat([x.flatten(), torch.nn.functional.one_hot(torch.as_tensor(label), 3).double()])


def truth_of_mixup(alpha, *, labels):
    """Every partner at every node of a Gauss–Jacobi rule."""
    nodes, weights = roots_jacobi(6, alpha - 1, alpha - 1)
    found, chances = [], []
    for partner, label in zip(DATA, LABELS, strict=True):
        own, other = (stacked(X, 1), stacked(partner, label)) if labels else (X.flatten(), partner.flatten())
        for t, w in zip((nodes + 1) / 2, weights / weights.sum(), strict=True):
            found.append(t * own + (1 - t) * other)
            chances.append(w / len(DATA))
    return torch.stack(found), torch.tensor(chances, dtype=torch.float64)


def truth_of_cutmix(alpha, *, labels):
    """Every partner, every half side and every centre; chances of half sides by integration of the density."""
    _, h, w = SIZE
    lam = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    density = (lam * (1 - lam)) ** (alpha - 1)
    r = 0.5 * (1 - lam).sqrt()
    code = (r * h).long() * 100 + (r * w).long()
    sizes = {int(c): float(density[code == c].sum() / density.sum()) for c in code.unique()}
    found, chances = [], []
    for partner, label in zip(DATA, LABELS, strict=True):
        for key, chance in sizes.items():
            down, across = divmod(key, 100)
            for i in range(h):
                for j in range(w):
                    y = X.clone()
                    box = (slice(max(i - down, 0), min(i + down, h)), slice(max(j - across, 0), min(j + across, w)))
                    y[:, box[0], box[1]] = partner[:, box[0], box[1]]
                    share = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / (h * w)
                    own = torch.nn.functional.one_hot(torch.tensor(1), 3) * (1 - share)
                    mixed = own + share * torch.nn.functional.one_hot(label, 3)
                    found.append(torch.cat([y.flatten(), mixed.double()]) if labels else y.flatten())
                    chances.append(chance / (len(DATA) * h * w))
    return torch.stack(found), torch.tensor(chances, dtype=torch.float64)


def check(found, outputs, weights, atol):
    mean, covariance = brute(outputs, weights)
    torch.testing.assert_close(found.mean.flatten(), mean, rtol=0, atol=atol)
    torch.testing.assert_close(found.dense(), covariance, rtol=0, atol=atol)
    torch.testing.assert_close(found.variance.flatten(), covariance.diagonal(), rtol=0, atol=atol)
    factor = found.covariance.columns()[0]
    torch.testing.assert_close(factor @ factor.T, covariance, rtol=0, atol=atol)
    torch.testing.assert_close(found.frobenius2, covariance.square().sum(), rtol=0, atol=atol)
    fourth = weights @ (outputs - mean).square().sum(1).square()
    torch.testing.assert_close(found.m4, fourth, rtol=0, atol=10 * atol)
    v = images(*found.mean.shape, seed=5)
    torch.testing.assert_close(found.matvec(v).flatten(), covariance @ v.flatten(), rtol=0, atol=10 * atol)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("labels", [False, True])
def test_mixup(alpha, labels):
    found = mixup(X, partners(labels=labels), alpha=alpha, label=1 if labels else None)
    check(found, *truth_of_mixup(alpha, labels=labels), 4e-15)
    assert found.kind == "exact finite"
    assert found.error == 0


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("labels", [False, True])
def test_cutmix(alpha, labels):
    found = cutmix(X, partners(labels=labels), alpha=alpha, label=1 if labels else None)
    # chances are integrated by midpoints here, exactly for a uniform law but for the ends of intervals
    check(found, *truth_of_cutmix(alpha, labels=labels), 2e-6)


def test_cutmix_with_the_same_chances():
    """With the chances of the half sides taken over, enumeration agrees to rounding."""
    law, p = cutmix_boxes(4, 5, 0.5), partners()
    outputs, weights = [], []
    for chance, box in law.all():
        for partner in DATA:
            outputs.append((X * (1 - box) + partner * box).flatten())
            weights.append(chance / len(DATA))
    check(cutmix(X, p, alpha=0.5), torch.stack(outputs), torch.tensor(weights, dtype=torch.float64), 2e-13)


def test_labels_of_a_pixel_are_the_share_of_the_box():
    found = cutmix(X, partners(labels=True), label=1)
    chance = cutmix_boxes(4, 5, 1.0).chance.mean()
    share = torch.bincount(LABELS) / len(LABELS)
    expected = torch.nn.functional.one_hot(torch.tensor(1), 3) * (1 - chance) + chance * share
    torch.testing.assert_close(found.mean.flatten()[-3:], expected.double(), rtol=0, atol=1e-7)
    assert found.mean.shape == (1, 1, 43)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_against_torchvision(v2, name):
    """Batches of two, the image and a partner, rolled by one: the first of what comes out is ours."""
    kind, ours = (v2.MixUp, mixup) if name == "mixup" else (v2.CutMix, cutmix)
    transform, order = kind(alpha=0.7, num_classes=3), np.random.default_rng(0)
    draws, targets = [], []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for i in order.integers(0, len(DATA), 6_000):
            x, y = transform(torch.stack([X, DATA[i]]), torch.tensor([1, int(LABELS[i])]))
            draws.append(x[0].flatten())
            targets.append(y[0].double())
    both = torch.cat([torch.stack(draws), torch.stack(targets)], 1)
    found = ours(X, partners(labels=True), alpha=0.7, label=1)
    assert mean_excess(both, found) <= 1
    assert trace_excess(both, found) <= 1
    wrong = ours(X, partners(labels=True), alpha=0.7, label=0)
    assert mean_excess(both, wrong) > 1
    other = ours(X, partners(labels=True), alpha=2.0, label=1)
    assert trace_excess(both, other) > 1


def test_images_of_a_set_and_of_bytes():
    data = al.ImageSet((DATA[:, :1] * 255).round().to(torch.uint8), LABELS)
    image = data.images[0]
    found = mixup(image, Partners(data), alpha=0.4)
    plain = mixup(image.double() / 255, Partners((data.images.double() / 255, LABELS)), alpha=0.4)
    torch.testing.assert_close(found.mean, plain.mean, rtol=0, atol=1e-7)  # bytes become float32 first
    assert "divided by 255" in found.note
    assert Partners(data, labels=True).classes == 3


def test_bad_input():
    p = partners()
    with pytest.raises(al.InputError, match="shape"):
        mixup(X[:1], p)
    with pytest.raises(al.InputError, match="alpha above 0"):
        cutmix(X, p, alpha=0.0)
    with pytest.raises(al.InputError, match="label"):
        mixup(X, p, label=1)
    with pytest.raises(al.InputError, match="label"):
        mixup(X, partners(labels=True), label=3)
    with pytest.raises(al.InputError, match="MiB"):
        cutmix(X, p, max_memory=1000).factor()
