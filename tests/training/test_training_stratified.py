"""Stratified draws in training: the same law, spread evenly over the epochs of each example."""

import torch

import auglean as al
from auglean.policies import Translate
from auglean.training import AugmentSubset, Item


def moved(train, epochs, ids, copy=1):
    """How far a bright column was moved to the right. Shape `(epochs, len(ids))`."""
    rows = []
    for epoch in range(epochs):
        images = train.__getitems__([Item(i, copy, 1.0, epoch) for i in ids])
        column = torch.arange(images[0][0].shape[2]).float()
        rows.append(torch.stack([(image[0, 15] * column).sum() / image[0, 15].sum() for image, *_ in images]))
    return torch.stack(rows)


def bars(n):
    images = torch.zeros(n, 1, 31, 31, dtype=torch.uint8)
    images[..., 15] = 255
    return al.ImageSet(images, torch.arange(n) % 2)


def test_the_draws_of_an_example_are_spread_over_its_epochs():
    data, policy = bars(40), Translate(8)
    even = AugmentSubset(data, policy, seed=3, stratified=True)
    share = (moved(even, 16, range(40)) - 15 + 8) / 16  # uniform on [0, 1]
    assert torch.equal((16 * share).floor().long().sort(0).values, torch.arange(16)[:, None].expand(16, 40))
    plain = (moved(AugmentSubset(data, policy, seed=3), 16, range(40)) - 15 + 8) / 16
    assert share.mean(0).var() < plain.mean(0).var() / 20
    # weak augmentation too, by draws of its own
    weak = AugmentSubset(data, "none", weak=policy, seed=3, stratified=True)
    other = (moved(weak, 16, range(40), copy=0) - 15 + 8) / 16
    assert torch.equal((16 * other).floor().long().sort(0).values, torch.arange(16)[:, None].expand(16, 40))
    assert not torch.isclose(other, share).all(1).any()


def test_an_image_does_not_depend_on_its_batch():
    even = AugmentSubset(bars(40), Translate(8), seed=3, stratified=True)
    both = even.__getitems__([Item(7, 1, 1.0, 5), Item(9, 2, 1.0, 6)])
    assert torch.equal(both[1][0], even[Item(9, 2, 1.0, 6)][0])


def test_fit_takes_it():
    data = al.load("digits").subset(range(200))
    runs = [al.fit("mlp", data, policy="rotate15", steps=8, stratified=kind) for kind in (True, True, False)]
    weights = [torch.cat([weight.flatten() for weight in run.model.parameters()]) for run in runs]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
