"""`fit`: a fixed number of SGD steps on originals and augmented copies of the chosen examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from auglean import networks
from auglean.data import ImageSet, load
from auglean.errors import InputError
from auglean.networks.probing import placement
from auglean.policies import Identity, Policy, as_given
from auglean.randomness import derive, isolated
from auglean.selection import Selection, Selector, WeightMode
from auglean.training.augmenting import AugmentSampler, Role, Source
from auglean.training.building import new_network
from auglean.training.checkpoints import load_checkpoint, save_checkpoint
from auglean.training.clock import Clock
from auglean.training.evaluating import correct
from auglean.training.plans import Plan
from auglean.training.recipe import Recipe
from auglean.training.rendering import AugmentSubset

_CHECKPOINT_SECONDS = 10.0
_LOOK_EVERY = 20  # steps between looks at the loss where looking makes the device wait


class Diverged(InputError):
    """The loss is no longer a number."""


class Interrupted(Exception):
    """Training stopped because it was asked to; the checkpoint holds where."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """A trained network and how it came about.

    Attributes:
        model: The network, in eval mode.
        steps: Optimiser steps taken.
        images_augmented: Images to which the policy was applied.
        seconds: By phase: select, augment, train, and their total. Evaluation is not charged.
        history: Rows of step, loss, learning rate, accuracy on the validation set, seconds so far.
        selection: The last choice; None without a selector.
        gradient_errors: Epoch and gradient error of each choice, under the weights in use.
        kappa: Rows of step, epoch, κ (None where infinite) and `reselected`: whether it is that of a choice just made,
            or of one in use. With signals from the steps, also how stale they were.
    """

    model: nn.Module
    steps: int
    images_augmented: int
    seconds: Mapping[str, float]
    history: tuple[Mapping[str, float], ...]
    selection: Selection | None = None
    gradient_errors: tuple[tuple[int, float], ...] = ()
    kappa: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        parts = [f"{self.steps} steps", f"{self.images_augmented} images augmented"]
        parts += [f"{name} {value:.3g} s" for name, value in self.seconds.items()]
        if self.history and "accuracy" in self.history[-1]:
            parts.append(f"validation accuracy {self.history[-1]['accuracy']:.4f}")
        return f"FitResult({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a caller wants to hear while `fit` runs.

    Attributes:
        row: Called with each row of the history.
        selected: Called with the epoch and each choice.
        measured: Called with each row of `FitResult.kappa`.
        progress: Called with the number of steps done.
        stop: Asked after each step; True saves the checkpoint and raises `Interrupted`.
        resumed: Called with the step at which a run goes on.
    """

    row: Callable[[Mapping[str, Any]], None] = lambda row: None
    selected: Callable[[int, Selection], None] = lambda epoch, selection: None
    measured: Callable[[Mapping[str, Any]], None] = lambda row: None
    progress: Callable[[int], None] = lambda step: None
    stop: Callable[[], bool] = lambda: False
    resumed: Callable[[int], None] = lambda step: None


@dataclass(slots=True)
class _Stand:
    """Where a run stands, beside the weights: everything that a checkpoint needs."""

    step: int = 0
    chosen_at: int = -1  # the step at which the selector, or a probe, last asked the network
    epoch: int = -1  # of the plan that batches are taken from
    left: int = 0  # images of that plan that are still to come
    images_augmented: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    gradient_errors: list[tuple[int, float]] = field(default_factory=list)
    kappa: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: nn.Module | str,
    data: Any,
    *,
    policy: Policy | str | Callable[..., Any] = "none",
    selector: Selector | str | None = None,
    budget: float | int | None = None,
    steps: int = 2000,
    seed: int = 0,
    weak: Policy | str = "none",
    stratified: bool = False,
    role: Role = "full+subset",
    weights: WeightMode = "sampled",
    every: int = 5,
    start: int = 0,
    reselect_above: float | None = None,
    signals: Source = "pass",
    recipe: Recipe | None = None,
    validation: Any = None,
    eval_every: int | None = None,
    diagnose: bool = False,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    hooks: Hooks | None = None,
) -> FitResult:
    """Train a network, augmenting the chosen examples only.

    An epoch holds the originals and one augmented copy of each chosen example (of every example without a
    selector, of none without a policy). Batches are taken from one epoch after another without a gap, so every
    step sees `recipe.batch_size` images. The loss of a batch is `Σ weight·cross-entropy / batch size`, with
    weights of mean 1 over an epoch: an unbiased estimate of the weighted mean over the data.

    On a CPU the result is fixed by the seed. The process-wide random state is left as it was.

    Args:
        model: A network ending in a linear layer, trained in place, or a name for `auglean.networks.create`.
        data: Training images: an `ImageSet` or anything that `auglean.load` takes.
        policy: Augmentation of the copies: a `Policy`, its name, or any callable, as of `auglean.as_policy`.
        selector: Chooses whom to augment; None for all.
        budget: Fraction (float) or count (int) to choose.
        steps: Optimiser steps.
        seed: Fixes initialisation by name, order, draws and choices.
        weak: Light augmentation of every image, in place.
        stratified: Spread the draws of each example evenly over its epochs, as `Policy.draw` does.
        role: What the originals are, see `AugmentSampler`.
        weights: See `auglean.selection.effective_weights`.
        every: Epochs between choices.
        start: Epoch of the first one.
        reselect_above: Choose anew, too, where the gradient error κ on a probe is above this, see `AugmentSampler`.
        signals: Where selectors hear of the examples: `"pass"`, a forward pass over all before each choice; or
            `"steps"`, the training steps themselves, at no pass but one before the first step, see `Recorder`.
        recipe: Options of SGD.
        validation: Images for the accuracy in the history (as of `data`), or several sets by the names of their
            columns.
        eval_every: Steps between accuracies; by default a tenth of the steps.
        diagnose: Collect signals also for selectors that need none, to report their gradient errors; the seconds
            are not charged.
        device: By default where the model is.
        checkpoint: File to keep the state in, every few seconds.
        resume: Go on from the checkpoint if there is one; the options and the data must be those it began with.
        hooks: What to call while it runs.

    Raises:
        InputError: If an option is out of range or the network does not fit the data.
        Diverged: If the loss is no longer finite; the checkpoint keeps the last good state.
        Interrupted: If `hooks.stop` asked for it.

    >>> result = fit("mlp", load("digits"), policy="rotate15", selector="max-loss", budget=0.1, steps=20)
    >>> result.steps, len(result.selection)
    (20, 100)
    """
    data, recipe, hooks = load(data), recipe or Recipe(), hooks or Hooks()
    check_options(steps=steps, eval_every=eval_every, device=device)
    eval_every = eval_every or max(1, steps // 10)
    data.require_every_class()
    named = validation if isinstance(validation, Mapping) else {} if validation is None else {"accuracy": validation}
    judges = {name: load(images) for name, images in named.items()}
    for images in judges.values():
        check_agree(data, images, "validation")
    if isinstance(model, str):
        model = new_network(model, data, seed)
    place = torch.device(device) if device is not None else placement(model)[0]
    model.to(place)
    networks.check(model, channels=data.channels, classes=data.classes, size=data.size)

    policy = as_given(policy)
    train = AugmentSubset(_resident(data, place), policy, weak=weak, seed=derive(seed, "images"), stratified=stratified)
    sampler = AugmentSampler(
        train.data,
        selector=selector,
        budget=budget,
        every=every,
        start=start,
        reselect_above=reselect_above,
        signals=signals,
        role=role,
        weights=weights,
        policy=train.weak | policy,
        augment=not isinstance(policy, Identity),
        seed=derive(seed, "sampler"),
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    options: dict[str, Any] = {}  # what a resumed run must find as it was
    if checkpoint is not None:
        options = {
            "steps": steps,
            "seed": seed,
            "policy": policy.name,
            "weak": train.weak.name,
            "stratified": stratified,
            "selector": repr(sampler.selector),
            "budget": budget,
            "role": role,
            "weights": weights,
            "every": every,
            "start": start,
            "reselect_above": reselect_above,
            "signals": signals,
            "recipe": asdict(recipe),
            "eval_every": eval_every,
            "data": data.fingerprint,
        }
    recorder = sampler.recorder
    with isolated(derive(seed, "fit")), nullcontext() if recorder is None else recorder.watch(model, train.data):
        return _Fit(
            model,
            train,
            sampler,
            optimizer,
            recipe,
            steps,
            place,
            hooks,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            options=options,
        ).run(
            validation={name: _resident(images, place) for name, images in judges.items()},
            eval_every=eval_every,
            diagnose=diagnose,
            resume=resume,
        )


def check_options(*, steps: int, eval_every: int | None, device: torch.device | str | None) -> None:
    """Raise `InputError` if one of these options of `fit` cannot be used here."""
    if steps < 1:
        raise InputError(f"steps is {steps}; give 1 or more.")
    if eval_every is not None and eval_every < 1:
        raise InputError(f"eval_every is {eval_every}; give 1 or more steps between accuracies.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {str(device)!r} cannot be used here; leave it out, or give cpu.") from error


def check_agree(train: ImageSet, other: ImageSet, which: str) -> None:
    """Raise `InputError` if a network that is trained on the one set cannot be judged on the other, of that name."""
    if other.images.shape[1:] != train.images.shape[1:] or other.classes > train.classes:
        raise InputError(
            f"The {which} images are {tuple(other.images.shape[1:])} of {other.classes} classes, the training images "
            f"{tuple(train.images.shape[1:])} of {train.classes}; they must agree."
        )
    pairs = enumerate(zip(train.class_names, other.class_names, strict=False))
    differing = [(k, mine, theirs) for k, (mine, theirs) in pairs if mine != theirs and str(k) not in (mine, theirs)]
    if differing:
        k, mine, theirs = differing[0]
        raise InputError(
            f"Class {k} is {mine!r} in the training images but {theirs!r} in the {which} images; "
            "number the classes alike."
        )


def _resident(data: ImageSet, device: torch.device) -> ImageSet:
    """Hold the images on the device, unless they would take half of its free memory."""
    if device.type == "cuda" and data.images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        return replace(data, images=data.images.to(device), labels=data.labels.to(device))
    return data


def weighted_loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Give `Σ_i w_i · cross-entropy_i / B`: divided by the batch size, never by the weight sum.

    Args:
        logits: Shape `(B, K)`.
        labels: Shape `(B,)`.
        weight: Shape `(B,)`, of mean 1 over an epoch.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return (losses * weight).sum() / len(losses)


class _Fit:
    """The loop and its state; `fit` is its face."""

    def __init__(
        self,
        model: nn.Module,
        train: AugmentSubset,
        sampler: AugmentSampler,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        steps: int,
        device: torch.device,
        hooks: Hooks,
        *,
        checkpoint: Path | None,
        options: dict[str, Any],
    ) -> None:
        self.model, self.train, self.sampler, self.optimizer = model, train, sampler, optimizer
        self.recipe, self.steps, self.device, self.hooks = recipe, steps, device, hooks
        self.checkpoint, self.options = checkpoint, options
        self.bad = torch.full((), -1, device=device)  # the first step whose loss was not finite
        self.stand, self.clock = _Stand(), Clock(device)
        self.dtype = placement(model)[1]
        self.amp = recipe.amp and device.type == "cuda" and torch.cuda.is_bf16_supported()

    def run(
        self,
        *,
        validation: Mapping[str, ImageSet],
        eval_every: int,
        diagnose: bool,
        resume: bool,
    ) -> FitResult:
        checkpoint, size = self.checkpoint, self.recipe.batch_size
        plan = self._resume(checkpoint) if resume and checkpoint and checkpoint.exists() else None
        stand = self.stand
        look = 1 if self.device.type == "cpu" else _LOOK_EVERY
        save_at = time.monotonic() + _CHECKPOINT_SECONDS
        self.model.train()
        while stand.step < self.steps:
            while plan is None or len(plan) < size:
                plan = self._next_epoch(diagnose) if plan is None else plan.join(self._next_epoch(diagnose))
            batch, plan = plan[:size], plan[size:]
            loss = self._step(batch)
            stand.left = len(plan)  # always a tail of the newest epoch: the older ones were short of a batch
            self.bad = torch.where((self.bad < 0) & ~torch.isfinite(loss), stand.step, self.bad)
            evaluate = stand.step % eval_every == 0 or stand.step == self.steps
            save = checkpoint is not None and (evaluate or time.monotonic() > save_at)
            stop = self.hooks.stop()
            if evaluate or save or stop:
                self._check_weights()
            elif stand.step % look == 0:
                self._check_loss()
            if evaluate:
                self._record(float(loss), validation)
            if checkpoint and (save or stop):
                began = time.monotonic()
                self._save(checkpoint)
                # a large network takes long to write: at most a twentieth of the time goes there
                save_at = time.monotonic() + max(_CHECKPOINT_SECONDS, 20 * (time.monotonic() - began))
            self.hooks.progress(stand.step)
            if stop and stand.step < self.steps:
                raise Interrupted(f"stopped after step {stand.step} of {self.steps}")
        self.model.eval()
        return FitResult(
            model=self.model,
            steps=stand.step,
            images_augmented=stand.images_augmented,
            seconds=self._seconds(),
            history=tuple(stand.history),
            selection=self.sampler.selection,
            gradient_errors=tuple(stand.gradient_errors),
            kappa=tuple(stand.kappa),
        )

    def _step(self, batch: Plan) -> Tensor:
        with self.clock("step"):
            x, y = self.train.render(batch, device=self.device, timer=lambda: self.clock("augment"))
            weight = batch.weight.to(self.device)
            rate = self.recipe.rate(self.stand.step, self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                logits = self.model(x.to(self.dtype))
            if self.sampler.recorder is not None:
                with self.clock("record"):
                    self.sampler.recorder.record(batch.ids, logits, y, copy=batch.copy, lr=rate)
            loss = weighted_loss(logits.float(), y, weight)
            loss.backward()
            self.optimizer.step()
        self.stand.step += 1
        self.stand.images_augmented += int(batch.copy.count_nonzero())
        return loss.detach()

    def _check_loss(self) -> None:
        if (step := int(self.bad)) >= 0:
            raise self._diverged(f"The loss is not a number at step {step}")

    def _check_weights(self) -> None:
        """Find out a step that spoilt the weights before they are kept, judged, or asked whom to choose."""
        self._check_loss()
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            raise self._diverged(f"The weights are not finite after step {self.stand.step}")

    def _diverged(self, what: str) -> Diverged:
        path = self.checkpoint
        kept = f"; the last good state is in {path}" if path is not None and path.exists() else ""
        return Diverged(
            f"{what} of {self.steps}{kept}; lower the learning rate (it was {self.recipe.lr:g}) or check the images."
        )

    def _next_epoch(self, diagnose: bool) -> Plan:
        """Choose anew where it is time, and plan the epoch."""
        stand, sampler = self.stand, self.sampler
        stand.epoch += 1
        sampler.set_epoch(stand.epoch)
        # epochs shorter than a batch begin within one step: the same network would only say the same again
        asked = sampler.selector is not None and sampler.selector.needs_signals and stand.chosen_at == stand.step
        if asked or not (sampler.due or sampler.reselect_above is not None):
            return sampler.plan()
        self._check_weights()
        chosen = sampler.reselect(self.model, diagnose=diagnose, timer=lambda: self.clock("select"))
        if chosen is not None or sampler.measured:
            stand.chosen_at = stand.step
        for error, reselected in sampler.measured:
            self._measured(error, reselected)
        if chosen is not None:
            if chosen.gradient_error is not None:
                stand.gradient_errors.append((sampler.epoch, chosen.gradient_error))
            self.hooks.selected(sampler.epoch, chosen)
        return sampler.plan()

    def _measured(self, error: float, reselected: bool) -> None:
        stand, recorder = self.stand, self.sampler.recorder
        row = {
            "step": stand.step,
            "epoch": stand.epoch,
            "kappa": error if math.isfinite(error) else None,
            "reselected": reselected,
            **({} if recorder is None else {"staleness": asdict(recorder.staleness())}),
        }
        stand.kappa.append(row)
        self.hooks.measured(row)

    def _record(self, loss: float, validation: Mapping[str, ImageSet]) -> None:
        stand = self.stand
        row = {
            "step": stand.step,
            "epoch": stand.epoch,
            "loss": loss,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        for name, images in validation.items():
            row[name] = float(correct(self.model, images).float().mean())
        row.update(images_augmented=stand.images_augmented, seconds=self._seconds()["total"])
        stand.history.append(row)
        self.hooks.row(row)

    def _seconds(self) -> dict[str, float]:
        seconds = self.clock.seconds()
        record = seconds.get("record", 0.0)  # a part of the step, done for the selector
        phases = {"select": seconds.get("select", 0.0) + record, "augment": seconds.get("augment", 0.0)}
        phases["train"] = seconds.get("step", 0.0) - phases["augment"] - record
        return {**phases, "total": sum(phases.values())}

    def _save(self, path: Path) -> None:
        state = {
            "options": self.options,
            "stand": asdict(self.stand),
            "sampler": self.sampler.state_dict(),
            "seconds": self.clock.seconds(),
        }
        recorder = self.sampler.recorder
        save_checkpoint(
            path, self.model, self.optimizer, state, recorder={} if recorder is None else recorder.state_dict()
        )

    def _resume(self, path: Path) -> Plan | None:
        """Put everything back, and give what is left of the epoch."""
        state, recorded = load_checkpoint(path, self.model, self.optimizer, options=self.options)
        self.stand = _Stand(**state["stand"])
        self.stand.gradient_errors = [(int(epoch), error) for epoch, error in self.stand.gradient_errors]
        self.clock = Clock(self.device, state["seconds"])
        self.sampler.load_state_dict(state["sampler"])
        if self.sampler.recorder is not None:
            self.sampler.recorder.load_state_dict(recorded)
        self.hooks.resumed(self.stand.step)
        if self.stand.epoch < 0:
            return None
        plan = self.sampler.plan()
        return plan[len(plan) - self.stand.left :]
