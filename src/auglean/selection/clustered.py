"""A selector asked in turn in each cluster of the features: a stratified form of any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.selection.budgets import members
from auglean.selection.composition import Composed
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector, features
from auglean.signals import Signals


@dataclass(frozen=True)
class Clustered(Composed):
    """Any selector, asked in each cluster of the features: the first pick of each cluster, then the second of each, ….

    The clusters are those of k-means (scikit-learn, seeded). They take turns in an order that is drawn at random, so
    that a budget below their number falls on any of them, not on the first ones as in the code of Kuchnik & Smith 2019.
    The numbers of picks of two clusters differ by 1 at most until one is exhausted. Where fewer examples differ than
    there should be clusters, each of those is a cluster. With one cluster it is the inner selector, to the seed.

    A cluster that a budget smaller than their number leaves out has nobody to stand for it: its mass is missing from
    the weights, and `how["left_out"]` counts its examples.

    Args:
        clusters: How many, at least 1.
        inner: The selector. If a larger budget continues a smaller one with it, so it does here.

    >>> from auglean.selection import MaxLoss
    >>> feature, labels = torch.tensor([[0.0], [0], [9], [9]]), torch.tensor([0, 1, 0, 1])
    >>> signals = Signals(torch.tensor([4.0, 3, 2, 1]), torch.zeros(4), torch.zeros(4, 2), feature, labels)
    >>> sorted(Clustered(2, MaxLoss())(signals, labels, budget=2).indices.tolist())
    [0, 2]
    """

    clusters: int
    inner: Selector
    name: ClassVar[str] = "clustered"

    @property
    def needs_signals(self) -> bool:  # type: ignore[override]  # as in Composed
        """Whether it asks a model: always, for the features."""
        return True

    @property
    def stream(self) -> str:
        """That of the inner selector, whose draws are the same with one cluster."""
        return self.inner.stream

    def choose(self, signals: Signals | None, labels: Tensor, k: int, g: torch.Generator) -> Selection:
        """Cluster, ask the inner selector in each cluster, and take turns."""
        assert signals is not None
        if isinstance(self.clusters, bool) or not isinstance(self.clusters, int) or self.clusters < 1:
            raise InputError(f"Clustered was given {self.clusters!r} clusters; give a whole number of at least 1.")
        points = features(signals)
        if self.clusters == 1:
            return self.inner.choose(signals, labels, k, g)
        cluster = k_means(points, self.clusters, seed=int(torch.randint(2**31, (), generator=g)))
        parts = members(cluster)
        turns = torch.randperm(len(parts), generator=g)
        parts = [parts[turn] for turn in turns.tolist()]
        chosen = self.choose_in(parts, _shares(k, [len(part) for part in parts]), signals, labels, g)
        # by round, and within a round by turn; of a cluster, the picks stand in the order of the inner selector
        turn = torch.empty_like(turns)
        turn[turns] = torch.arange(len(turns))
        turn = turn[cluster[chosen.indices]]
        by_turn = torch.argsort(turn, stable=True)
        rounds = torch.empty_like(turn)
        rounds[by_turn] = torch.cat([torch.arange(size) for size in turn.bincount().tolist()])
        order = torch.argsort(rounds * len(parts) + turn)
        position = torch.empty_like(order)
        position[order] = torch.arange(len(order))
        assignment = chosen.assignment
        return chosen.with_(
            indices=chosen.indices[order],
            weights=chosen.weights[order],
            gains=chosen.gains[order],
            assignment=None if assignment is None else torch.where(assignment < 0, -1, position[assignment]),
            how={**chosen.how, "clusters": len(parts)},
        )


def k_means(points: Tensor, clusters: int, *, seed: int) -> Tensor:
    """Give each example the number of its cluster, 0 … c − 1, none of them empty, c ≤ clusters.

    Args:
        points: Shape `(n, d)`.
        clusters: How many, where as many points differ.
        seed: Of the first centres (k-means++).

    Returns:
        Shape `(n,)`, int64.

    >>> k_means(torch.tensor([[0.0], [9], [0], [9]]), 3, seed=0).bincount()
    tensor([2, 2])
    """
    from sklearn.cluster import KMeans

    points = points.detach().double().cpu()
    kinds, cluster = points.unique(dim=0, return_inverse=True)
    if len(kinds) > clusters:
        found = KMeans(clusters, n_init=1, random_state=seed).fit(points.numpy()).labels_
        _, cluster = torch.from_numpy(found).long().unique(return_inverse=True)
    numbers: Tensor = cluster
    return numbers


def _shares(k: int, sizes: list[int]) -> list[int]:
    """Share k picks among parts that take turns, the first ones first."""
    shares = [0] * len(sizes)
    waiting = [part for part, size in enumerate(sizes) if size]
    while k:
        rounds = max(1, min(k // len(waiting), min(sizes[part] - shares[part] for part in waiting)))
        for part in waiting[:k]:
            shares[part] += rounds
        k -= rounds * len(waiting[:k])
        waiting = [part for part in waiting if shares[part] < sizes[part]]
    return shares
