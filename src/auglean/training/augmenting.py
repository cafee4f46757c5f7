"""Originals and augmented copies of the chosen: what an epoch holds, in which order, with which weights.

`AugmentSampler` plans epochs and re-selects; `AugmentSubset` (in `rendering`) makes the images of a plan. `fit` uses
both, and so can any training loop with a `torch.utils.data.DataLoader`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from auglean.data import ImageSet, load
from auglean.errors import InputError, unknown
from auglean.moments import first_order_signals
from auglean.policies import Policy, as_given
from auglean.randomness import derive, generator
from auglean.selection import (
    Random,
    Selection,
    Selector,
    WeightMode,
    effective_weights,
    gradient_error,
    select,
)
from auglean.selection import parse as parse_selectors
from auglean.selection.selectors import choose, with_error
from auglean.signals import Recorder, Signals, collect
from auglean.training.kappa import kappa, squared_errors
from auglean.training.plans import Item, Plan
from auglean.training.rendering import Timer

Role = Literal["full+subset", "subset+subset", "random+subset", "subset"]
ROLES: tuple[str, ...] = get_args(Role)
Source = Literal["pass", "steps"]


class Measured(NamedTuple):
    """A measurement of κ: of the choice in use, or (`reselected`) of the one that has just taken its place."""

    kappa: float
    reselected: bool


def _check_asked(selector: Selector, weights: WeightMode, policy: Policy | None, signals: Source) -> None:
    """Raise `InputError` where a selector or weights ask what, with these options, nothing can say."""
    if signals == "pass" and selector.needs_steps:
        raise InputError(
            f"The selector {selector.name!r} asks what the steps of training record, which a pass does not say; give "
            "signals='steps'."
        )
    if policy is None and (selector.needs_policy or weights == "neyman"):
        asking = f"The selector {selector.name!r}" if selector.needs_policy else "weights='neyman'"
        raise InputError(f"{asking} asks how far the policy moves the loss; give the policy.")
    if signals == "steps" and selector.needs_policy:
        raise InputError(
            f"The selector {selector.name!r} asks how far the policy moves each loss, which the steps do not say; "
            "give signals='pass'."
        )


class AugmentSampler(Sampler[Item]):
    """Plans each epoch, and chooses anew which examples have augmented copies.

    | role | originals | augmented copies |
    |---|---|---|
    | `full+subset` | all | the chosen |
    | `subset+subset` | the chosen | the chosen |
    | `random+subset` | as many at random, drawn anew each epoch | the chosen |
    | `subset` | the chosen | none |

    Weights have mean 1 over an epoch, so that the mean of `weight · loss` over a batch is an unbiased estimate of
    the weighted mean over the data; a batch is never normalised by its own weight sum, which would bias it.

    Args:
        data: An `ImageSet` or anything that `AugmentSubset` takes.
        selector: A `Selector` or its name; None gives every example a copy.
        budget: Fraction (float) or count (int) of examples to choose; needed with a selector.
        every: Epochs between selections.
        start: Epoch of the first one; before it, examples drawn at random have the copies.
        reselect_above: Choose anew, too, at the beginning of an epoch at which κ, the relative gradient error of the
            present choice, is above this: 0 is perfect, 1 is what choosing nothing would give. It is measured on a
            probe of `auglean.training.kappa.PROBE` examples, so `every` may be large. None asks the clock alone.
            Selectors that ask no model keep to the clock.
        signals: Where selectors that ask a model hear of the examples: `"pass"`, a forward pass over all of them, in
            eval mode; or `"steps"`, `recorder`, which keeps what the training steps said and has to be fed with
            them. An example that was never seen, as all are before the first step, is asked for in a pass.
        role: See the table.
        weights: See `auglean.selection.effective_weights`; `"neyman"` asks the network about the chosen, too.
        policy: What the copies go through, for selectors and weights that ask how far it moves the loss.
        augment: False leaves out the copies.
        seed: Fixes the order, and what is drawn at random.
        batch_size: Examples in a forward pass of `reselect`.

    Attributes:
        selection: The present choice; None without a selector.
        recorder: A `Recorder` with `signals="steps"` and a selector that asks; else None.
        measured: What the last call of `reselect` measured.

    Raises:
        InputError: If an option is out of its range, or the role leaves examples without steps to record.

    >>> sampler = AugmentSampler(load("digits"), selector="random", budget=0.1)
    >>> len(sampler)
    1100
    """

    def __init__(
        self,
        data: Any,
        *,
        selector: Selector | str | None = None,
        budget: float | int | None = None,
        every: int = 5,
        start: int = 0,
        reselect_above: float | None = None,
        signals: Source = "pass",
        role: Role = "full+subset",
        weights: WeightMode = "sampled",
        policy: Policy | str | None = None,
        augment: bool = True,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        self.data: ImageSet = load(data)
        self.selector = None if selector is None else parse_selectors(selector)[0]
        if self.selector is not None and budget is None:
            raise InputError(f"The selector {self.selector.name!r} needs a budget; give one such as budget=0.1.")
        if role not in ROLES:
            raise unknown("role", role, ROLES)
        if weights not in get_args(WeightMode):
            raise unknown("weight mode", weights, get_args(WeightMode))
        if every < 1 or start < 0:
            raise InputError(f"Selection every {every} epochs from epoch {start}: give every ≥ 1 and start ≥ 0.")
        if reselect_above is not None and not 0 < reselect_above < math.inf:
            raise InputError(f"reselect_above is {reselect_above}; give a relative error above 0, such as 0.5.")
        if signals not in get_args(Source):
            raise unknown("source of signals", signals, get_args(Source))
        asks = self.selector is not None and self.selector.needs_signals
        self.policy = None if policy is None else as_given(policy)
        if self.selector is not None:
            _check_asked(self.selector, weights, self.policy, signals)
        if signals == "steps" and asks and role != "full+subset":
            raise InputError(
                f"Signals from the steps need steps on every example, but the role {role!r} leaves out those that are "
                "not chosen; give the role full+subset, or signals='pass'."
            )
        self.budget, self.every, self.start, self.reselect_above = budget, every, start, reselect_above
        self.role, self.weights, self.augment, self.seed = role, weights, augment, seed
        self.batch_size = batch_size
        self.epoch, self.position = 0, 0
        self.selection: Selection | None = None
        self.recorder = Recorder(len(self.data)) if signals == "steps" and asks else None
        self.measured: tuple[Measured, ...] = ()
        if self.selector is not None:
            self._stand_in()

    def _stand_in(self) -> None:
        """Choose at random, until the selector is asked."""
        assert self.budget is not None
        seed = derive(self.seed, "selection", 0)
        self.selection = select(None, self.data.labels, Random(), budget=self.budget, seed=seed)
        if self.weights == "neyman":  # as if the policy moved all alike
            self.selection = self.selection.with_(loss_sd=torch.ones(len(self.selection), dtype=torch.float64))

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, which fixes its order and its draws; or go on with it, after `load_state_dict`."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    @property
    def due(self) -> bool:
        """Whether the selector chooses now: at the beginning of an epoch that is one of its own."""
        if self.selector is None or not self._may_choose:
            return False
        return self.selector.each_epoch or self._on_schedule

    @property
    def _may_choose(self) -> bool:
        return self.epoch >= self.start and not self.position

    @property
    def _on_schedule(self) -> bool:
        return (self.epoch - self.start) % self.every == 0

    def reselect(
        self, model: nn.Module | None = None, *, diagnose: bool = False, timer: Timer = nullcontext
    ) -> Selection | None:
        """Choose anew if it is time: if this epoch is one of the selector's own, or κ has passed `reselect_above`.

        Args:
            model: The network in training; it is asked in eval mode, on the un-augmented images, and left as it
                was. Selectors that do not ask need none.
            diagnose: Ask the network for selectors that do not, too, to measure their gradient errors.
            timer: Gives a context in which runs what the choice needs, to charge its seconds; what is only measured
                runs outside.

        Returns:
            The new choice, or None if the old one stays. What was measured is in `measured`.
        """
        self.measured = ()
        if self.selector is None or not self._may_choose:
            return None
        asks = self.selector.needs_signals
        if model is None and (
            (asks and (self.due or self.reselect_above is not None)) or (self.weights == "neyman" and self.due)
        ):
            asking = f"The selector {self.selector.name!r}" if asks else "weights='neyman'"
            raise InputError(f"{asking} asks a model; pass it to reselect.")
        if not self.due:
            if self.reselect_above is None or model is None or not (asks or diagnose):
                return None
            with timer() if asks else nullcontext():
                error = self.probe(model)
            self.measured = (Measured(error, False),)
            if not asks or error <= self.reselect_above:
                return None
        signals = None
        if asks and model is not None:
            with timer():
                signals = self.ask(model)
            if self._is_own and not self.measured and not self.selector.each_epoch:
                self.measured = (Measured(self._error(signals), False),)  # how far the old choice has aged
        anew = not (self._lasting and self.epoch > self.start)
        with timer():
            self.choose(signals)
            if self.weights == "neyman" and model is not None:
                self._ask_deviation(model)
        if signals is None and diagnose and model is not None and self._on_schedule:
            signals = self.ask(model)
        if signals is None:
            return self.selection
        self.measured += (Measured(self._error(signals), anew),)
        return self.diagnose(signals)

    @property
    def _lasting(self) -> bool:
        """Whether all choices are one: what neither asks a model nor is drawn each epoch."""
        return self.selector is not None and not (self.selector.needs_signals or self.selector.each_epoch)

    @property
    def _is_own(self) -> bool:
        """Whether the present choice is the selector's, and not the one that stood in for it."""
        assert self.selector is not None
        assert self.selection is not None
        return self.selection.how.get("selector") == self.selector.name

    def ask(self, model: nn.Module) -> Signals:
        """Give what the network says of each example: in a pass, or in the steps in which it was last met."""
        if self.recorder is None:
            assert self.selector is not None
            policy = self.policy if self.selector.needs_policy else None
            options: dict[str, Any] = {
                "batch_size": self.batch_size,
                "seed": derive(self.seed, "disturbed", self.epoch),
            }
            if policy is not None and self.selector.first_order:
                return first_order_signals(model, self.data, policy, **options)
            return collect(model, self.data, policy=policy, **options)
        self.recorder.fill(model, self.data, batch_size=self.batch_size)
        return self.recorder.signals()

    def _ask_deviation(self, model: nn.Module) -> None:
        """Ask how far the policy moves the loss of each chosen example."""
        assert self.selection is not None
        seed = derive(self.seed, "chosen disturbed", self.epoch)
        found = collect(
            model,
            self.data,
            indices=self.selection.indices,
            batch_size=self.batch_size,
            policy=self.policy,
            seed=seed,
        )
        self.selection = self.selection.with_(loss_sd=None if found.loss_sd is None else found.loss_sd.double())

    def probe(self, model: nn.Module) -> float:
        """Estimate κ of the present choice on a probe; with signals from the steps, measure it on all examples.

        It is the error of the weights that the mode gives on average: the luck of a draw of `sampled`, which no other
        choice would mend, has no part in it.
        """
        assert self.selection is not None
        if self.recorder is not None:
            return self._error(self.ask(model))

        def ask(ids: Tensor) -> Signals:
            return collect(model, self.data, indices=ids, batch_size=self.batch_size)

        g = generator(self.seed, "probe", self.epoch)
        return kappa(*squared_errors(self.selection, self._weights_on_average, ask, g))

    @property
    def _weights_on_average(self) -> Tensor:
        assert self.selection is not None
        weights = self.selection.weights
        return torch.ones_like(weights) if self.weights == "none" else weights

    def _error(self, signals: Signals) -> float:
        assert self.selection is not None
        indices, weights = self.selection.indices, self._weights_on_average
        return gradient_error(signals.residual, indices, weights, feature=signals.feature)

    def choose(self, signals: Signals | None) -> Selection:
        """Choose by signals that are at hand."""
        assert self.selector is not None
        assert self.budget is not None
        seed = derive(self.seed, "selection", 0 if self._lasting else self.epoch)
        self.selection = choose(signals, self.data.labels, self.selector, budget=self.budget, seed=seed)
        if self.recorder is not None:
            staleness = asdict(self.recorder.staleness())
            self.selection = self.selection.with_(how={**self.selection.how, "staleness": staleness})
        return self.selection

    def diagnose(self, signals: Signals) -> Selection:
        """Measure the gradient error of the present selection under the weights in use."""
        assert self.selection is not None
        copies, weight = self._effective_weights(self.epoch)
        chosen = with_error(self.selection, signals, copies * weight)
        self.selection = chosen.with_(how={**chosen.how, "weights": self.weights})
        return self.selection

    def _effective_weights(self, epoch: int) -> tuple[Tensor, Tensor]:
        assert self.selection is not None
        assert self.selector is not None
        period = 1 if self.selector.each_epoch else self.every
        return effective_weights(self.selection, self.weights, seed=self.seed, epoch=epoch, period=period)

    def plan(self, epoch: int | None = None) -> Plan:
        """Plan an epoch, by default the one that was set: originals and copies, shuffled."""
        epoch = self.epoch if epoch is None else epoch
        ids, weight = self._originals(epoch)
        copy = torch.zeros(len(ids), dtype=torch.int64)
        if self.augment and self.role != "subset":
            which, number, mass = self._copies(epoch)
            ids, copy, weight = torch.cat([ids, which]), torch.cat([copy, number]), torch.cat([weight, mass])
        order = torch.randperm(len(ids), generator=generator(self.seed, "order", epoch))
        weight = (weight * (len(weight) / weight.sum())).float()
        return Plan(ids, copy, weight, torch.full_like(ids, epoch))[order]

    def _originals(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Give ids and weights of the originals."""
        n = len(self.data)
        if self.selection is None or self.role == "full+subset":
            return torch.arange(n), torch.ones(n, dtype=torch.float64)
        k = len(self.selection)
        if self.role == "random+subset":
            g = generator(self.seed, "originals", epoch)
            return torch.randperm(n, generator=g)[:k], torch.ones(k, dtype=torch.float64)
        copies, weight = self._effective_weights(epoch)
        return self.selection.indices.repeat_interleave(copies), weight.repeat_interleave(copies)

    def _copies(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give ids, copy numbers (from 1) and weights of the augmented copies."""
        if self.selection is None:
            n = len(self.data)
            return torch.arange(n), torch.ones(n, dtype=torch.int64), torch.ones(n, dtype=torch.float64)
        copies, weight = self._effective_weights(epoch)
        if self.role == "random+subset":
            weight = weight * (len(self.selection) / (weight * copies).sum())  # as much as the originals
        first = torch.cumsum(copies, 0) - copies
        number = torch.arange(int(copies.sum())) - first.repeat_interleave(copies) + 1
        return self.selection.indices.repeat_interleave(copies), number, weight.repeat_interleave(copies)

    def __len__(self) -> int:
        return len(self.plan()) - self.position

    def __iter__(self) -> Iterator[Item]:
        for item in self.plan().items()[self.position :]:
            self.position += 1
            yield item
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        """Give what `load_state_dict` needs to go on in the middle of an epoch: epoch, position, selection.

        Go on at `sampler.epoch`: `set_epoch` and `reselect` leave an epoch that has begun as it is. The position
        counts what the loader has asked for; with workers that is ahead of what it has given. The recorder has a
        state of its own.
        """
        chosen = None if self.selection is None else self.selection.to_dict()
        return {"epoch": self.epoch, "position": self.position, "selection": chosen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        plain = state["selection"]
        self.selection = None if plain is None else Selection.from_dict(plain)
