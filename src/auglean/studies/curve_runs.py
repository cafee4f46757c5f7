"""Runs of a budget curve: how the budgets of an arm follow each other, and which fits they share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from auglean.errors import InputError
from auglean.randomness import derive
from auglean.selection import Influence, Margin, MaxLoss, Selection, Selector, SupportVectors
from auglean.selection.scores import Scored
from auglean.selection.selectors import choose
from auglean.selection.support import svm_margin
from auglean.signals import (
    LogisticHead,
    Signals,
    fit_logistic,
    group_influence,
    logistic_influence,
    softmax_influence,
)
from auglean.studies.curve_features import Represent
from auglean.studies.curve_fits import Fit, assemble, pack
from auglean.studies.curve_policies import CurveArm, GroupInfluence
from auglean.studies.curve_task import Task


@dataclass(eq=False)
class Runs:
    """Runs the arms of a budget curve on one task.

    Fits that would be the same are done once: those of no source and of all, which all arms share, and those whose
    arms have not parted yet. Every other fit starts at the head of the budget before, the first at that of no source.

    Args:
        task: The task.
        represent: Gives the features on which a fit of the chosen sources stands.
        C: Inverse strength of the head's penalty.
        seed: Fixes the draws.
        retrained: Whether `represent` trains anew for each choice, by the round.
    """

    task: Task
    represent: Represent
    C: float
    seed: int
    retrained: bool = False
    _fits: dict[str, Fit] = field(default_factory=dict)
    _orders: dict[Any, Tensor] = field(default_factory=dict)
    _recent: tuple[str, Tensor] = ("", torch.empty(0))

    @property
    def fits(self) -> int:
        """Number of fits done so far."""
        return len(self._fits)

    @property
    def n(self) -> int:
        """Number of sources."""
        return len(self.task.train)

    def fit(self, chosen: Tensor, *, downweight: bool = False, before: Fit | None = None, number: int = 0) -> Fit:
        """Fit the head on all originals and the copies of the chosen sources.

        Args:
            chosen: Sources, in any order. Shape `(k,)`, distinct.
            downweight: See `assemble`.
            before: The fit to start from; by default that of no source. Those of no source and of all have their own.
            number: The round; it matters only to networks that are retrained.
        """
        chosen = chosen.sort().values
        number = number if self.retrained else 0
        if not len(chosen):
            key = f"floor-{number}"
        elif len(chosen) == self.n:
            key = f"ceiling-{downweight}-{number}"
        else:
            before = before or self.floor(number)
            told = f"{before.key} {downweight} {number} {chosen.tolist()}"
            key = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        if key not in self._fits:
            start = self.floor(number) if len(chosen) == self.n else before if len(chosen) else None
            self._fits[key] = self._fit(key, chosen, downweight, None if start is None else start.head, number)
        return self._fits[key]

    def floor(self, number: int = 0) -> Fit:
        """Fit on the originals alone."""
        return self.fit(torch.empty(0, dtype=torch.int64), number=number)

    def ceiling(self, *, downweight: bool = False, number: int = 0) -> Fit:
        """Fit on the originals and all copies."""
        return self.fit(torch.arange(self.n), downweight=downweight, number=number)

    def _fit(self, key: str, chosen: Tensor, downweight: bool, start: LogisticHead | None, number: int) -> Fit:
        began = time.perf_counter()
        features, labels = self.represent(chosen, number), self.task.train.labels
        self._recent = key, features.train
        x, y, w = assemble(features.train, labels, chosen, downweight=downweight)
        start = None if self.retrained else start  # another network's features have another head
        head = fit_logistic(x, y, classes=self.task.train.classes, C=self.C, sample_weight=w, start=start)
        test = self._right(head, features.test, self.task.test.labels)
        return Fit(
            head=head,
            train=features.train[:1].clone() if self.retrained and 0 < len(chosen) < self.n else features.train,
            chosen=chosen,
            downweight=downweight,
            number=number,
            key=key,
            test=test.sum(0).to(torch.int16),
            validation=self._right(head, features.validation, self.task.validation.labels).sum(0).to(torch.int16),
            clean=test[0],
            seconds=time.perf_counter() - began,
        )

    @staticmethod
    def _right(head: LogisticHead, features: Tensor, labels: Tensor) -> Tensor:
        return head.correct(features.flatten(0, 1), labels.repeat(len(features))).view(features.shape[:2])

    def signals(self, fit: Fit) -> Signals:
        """Give what a head says of the n originals."""
        return fit.head.signals(fit.train[0], self.task.train.labels)

    def deviation(self, fit: Fit) -> Tensor:
        """Give the standard deviation of the loss of the n originals over all of their copies."""
        losses = [fit.head.signals(copy, self.task.train.labels).loss for copy in self._train(fit)[1:]]
        return torch.stack(losses).double().std(0, correction=0).float()

    def influence(self, fit: Fit) -> Tensor:
        """Give the influence of the n originals under a fit; the Hessian is over all of its rows, weighted."""
        labels = self.task.train.labels
        x, y, w = assemble(self._train(fit), labels, fit.chosen, downweight=fit.downweight)
        if self.task.train.classes == 2:
            found = logistic_influence(x, y, C=self.C, sample_weight=w, head=fit.head)
        else:
            p = torch.softmax(fit.head.logits(x), dim=1)
            found = softmax_influence(x, y, probabilities=p, C=self.C, sample_weight=w)
        return found.score[: self.n]

    def group_influence(self, fit: Fit) -> Tensor:
        """Give the influence of each source with all of its copies, those too that the fit has not seen."""
        features = self._train(fit)  # (m + 1, n, d)
        weight = torch.ones(features.shape[:2], dtype=torch.float64)
        weight[1:] = 0
        weight[:, fit.chosen] = 1 / len(weight) if fit.downweight else 1.0
        x, y = features.flatten(0, 1), self.task.train.labels.repeat(len(features))
        groups, every = torch.arange(self.n).repeat(len(features)), torch.ones(len(y))
        found = group_influence(x, y, groups, C=self.C, sample_weight=weight.flatten(), counts=every, head=fit.head)
        return found.score

    def _score(self, selector: Selector, fit: Fit) -> Tensor | None:
        """Give the scores that depend on all rows of a fit, of which a selector sees the originals only."""
        if isinstance(selector, Influence) and selector.C == self.C:
            return self.influence(fit)
        if isinstance(selector, GroupInfluence):
            return self.group_influence(fit)
        if isinstance(selector, Margin) and selector.of == "svm":
            x, y, _ = assemble(self._train(fit), self.task.train.labels, fit.chosen, downweight=False)
            return 1 / svm_margin(x, y, selector.C)[: self.n].clamp(min=1e-20)
        return None

    def _train(self, fit: Fit) -> Tensor:
        """Give the features of originals and copies that a fit stands on; those of a retrained network may be gone."""
        if len(fit.train) == self.task.copies.m + 1:
            return fit.train
        key, features = self._recent
        return features if key == fit.key else self.represent(fit.chosen, fit.number).train

    def choose(self, selector: Selector, fit: Fit, k: int, number: int, *, after: int = 0) -> Tensor:
        """Ask a selector for k of the n sources, in order; what it draws after some budget is drawn afresh."""
        seed = derive(self.seed, "round", number, after)
        key = (selector, fit.key, k, seed)
        if key not in self._orders:
            signals, inner = self.signals(fit), getattr(selector, "inner", selector)
            if selector.needs_policy:
                signals = replace(signals, loss_sd=self.deviation(fit))
            score = self._score(inner, fit) if isinstance(inner, Scored) else None
            if isinstance(inner, Scored) and score is not None:  # passes as a loss to order by
                signals, order = replace(signals, loss=score), MaxLoss(draw=inner.draw)
                selector = order if inner is selector else replace(selector, inner=order)  # type: ignore[call-arg]
            found = choose(signals, self.task.train.labels, selector, budget=k, seed=seed)
            self._orders[key] = found.indices
        return self._orders[key]

    def chance(self, arm: CurveArm, budgets: Sequence[int]) -> bool:
        """Whether an arm differs between rounds: by its draws, or by the network."""
        if self.retrained:
            return True
        k = self.n if arm.orders else min(budgets, key=lambda budget: abs(budget - self.n // 10))
        try:
            first, second = (self.choose(arm.selector_at(k), self.floor(), k, number) for number in (0, 1))
        except InputError:
            return True  # more than it can choose
        return not torch.equal(first, second)

    def run(self, arm: CurveArm, budgets: Sequence[int], number: int) -> dict[str, Any]:
        """Run one arm in one round: a fit for each budget.

        Returns:
            Plain values: `budgets` that could be chosen, `skipped` ones with `why`, right copies of each `test` and
            `validation` source, `noisy` shares, `seconds`, and the last `chosen` (each, where they do not nest).
        """
        fit = self.floor(number)
        out: dict[str, Any] = {name: [] for name in ("budgets", "skipped", "test", "validation", "noisy", "seconds")}
        out |= {"why": None, "chosen": []}
        order = self._order(arm, fit, number) if arm.orders else None
        chosen = torch.empty(0, dtype=torch.int64)
        for k in budgets:
            began = time.perf_counter()
            if order is not None:
                new = order[~torch.isin(order, chosen)][: k - len(chosen)]
                chosen = torch.cat([chosen, new])
            elif k:
                try:
                    chosen = self.choose(arm.selector_at(k), self.floor(number), k, number)
                except InputError as refusal:
                    out["skipped"].append(k)
                    out["why"] = str(refusal)
                    continue
            fit = self.fit(chosen, downweight=arm.downweight, before=fit, number=number)
            if arm.update and 0 < k < self.n:
                order = self._order(arm, fit, number, after=k)
            out["budgets"].append(k)
            out["test"].append(pack(fit.test))
            out["validation"].append(pack(fit.validation))
            out["noisy"].append(float(self.task.wrong[chosen].double().mean()) if k else None)
            out["seconds"].append(time.perf_counter() - began)
            if not arm.orders:
                out["chosen"].append(chosen.tolist())
        if arm.orders:
            out["chosen"].append(chosen.tolist())
        return out

    def support_vectors(self) -> Tensor:
        """Give the support vectors of a linear machine on the originals, its C by cross-validation if it can be.

        To add the copies of these alone is the method of virtual support vectors (Schölkopf, Burges & Vapnik 1996).
        """
        few = int(self.task.train.counts.min()) < 4
        selector = SupportVectors(1.0 if few else "grid")
        found = choose(self.signals(self.floor()), self.task.train.labels, selector, budget=self.n, seed=self.seed)
        return found.indices[: int(found.how["support_vectors"])]

    def _order(self, arm: CurveArm, fit: Fit, number: int, *, after: int = 0) -> Tensor:
        return self.choose(arm.selector_at(self.n), fit, self.n, number, after=after)


def selection_of(chosen: Sequence[int], n: int, told: dict[str, Any]) -> Selection:
    """Give chosen sources as a `Selection`, each standing for as many."""
    k = len(chosen)
    weights = torch.full((k,), n / max(k, 1), dtype=torch.float64)
    indices = torch.tensor(chosen, dtype=torch.int64)
    return Selection(indices, weights, torch.zeros(k, dtype=torch.float64), total=n, how=told)
