"""`condense`: a few synthetic images in place of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor

from auglean.condensation.builders import Builder, Factory
from auglean.condensation.engine import Engine, Schedule, State, resident
from auglean.condensation.methods import DC, Method, as_method
from auglean.condensation.planning import Plan, plan_run
from auglean.condensation.starting import Init, starting_images
from auglean.condensation.synthetic import SyntheticSet
from auglean.data import load
from auglean.errors import InputError, unknown
from auglean.files import read_tensors, write_tensors
from auglean.processes import anywhere, is_first
from auglean.progress import note, track
from auglean.training.clock import Clock
from auglean.training.fitting import Interrupted, check_options

Precision = Literal["auto", "float32", "bfloat16"]

_CHECKPOINT_SECONDS = 10.0


class Stopped(Interrupted):
    """Condensation was stopped, by `Hooks.stop` or Ctrl-C.

    Attributes:
        synthetic: The images after the last whole step.
    """

    def __init__(self, told: str, synthetic: SyntheticSet) -> None:
        super().__init__(told)
        self.synthetic = synthetic


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a caller wants to hear while `condense` runs.

    Attributes:
        plan: Called with the plan before the first step.
        progress: Called with the number of steps done.
        stop: Asked after each step; True ends the run by `Stopped`.
        snapshot: Called with the images after each of the steps `at`.
        at: See `snapshot`; counted from 1.
    """

    plan: Callable[[Plan], None] = lambda plan: None
    progress: Callable[[int], None] = lambda step: None
    stop: Callable[[], bool] = lambda: False
    snapshot: Callable[[SyntheticSet], None] = lambda synthetic: None
    at: frozenset[int] = field(default_factory=frozenset)


def condense(
    data: Any,
    *,
    per_class: int = 10,
    method: Method | str | None = None,
    steps: int = 1000,
    seed: int = 0,
    init: Init = "real",
    decode: int = 1,
    schedule: Schedule = "pooled",
    network: Factory = "convnet",
    precision: Precision = "auto",
    micro_batch: int | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    hooks: Hooks | None = None,
) -> SyntheticSet:
    """Make a few synthetic images of each class on which a network learns what it would learn from all.

    The pooled schedule keeps a fixed pool of networks, each with one augmentation and one batch of real images for each
    class. What real images say there is computed once, in the first cycle through the pool; from then on a step costs
    no more than its synthetic images. Losses are means over rows of the gradient, or over features, times the constant
    of ConvNet-3/128 and the images per class, and times the share of 28×28 pixels that smaller images have, so that one
    learning rate serves networks of every width and images of every size.

    The schedule `"paper"` runs the published loops with their sums: a step has a new random network, in which images
    are matched `outer` times, and which is trained on them for `inner` epochs after each time but the last.

    On a CPU the result is fixed by the seed, on any number of processes up to rounding. Under `torchrun` the classes
    are divided among the processes; each has to call this with the same arguments, and each gets the result.

    Args:
        data: The real images: an `ImageSet` or anything that `auglean.load` takes.
        per_class: Images of each class to make.
        method: `DM` (the default), `DSA` or `DC` of `auglean`, or a name of them.
        steps: Steps of the schedule.
        seed: Fixes everything.
        init: What to start from: `"real"` images, `"k-means"` centres, or `"noise"`, which DC was published with.
        decode: Images that a stored one holds, down and across. Above 1 it is a canvas whose decode² parts are matched,
            each enlarged to the size of the images: `SyntheticSet.decoded` gives them, and rows of it stand apart.
        schedule: `"pooled"` or `"paper"`.
        network: A name for `auglean.networks.create`, or a function from a seed to a network that takes pixels in
            [0, 1] and ends in an `nn.Linear`.
        precision: Of the real side: `"float32"`, `"bfloat16"`, or `"auto"`, the latter on a GPU that has it.
            Where it is bfloat16, `how["cosine"]` is that of a target to its float32 twin.
        micro_batch: Real images that go through a network at once; by default 16 on a CPU and 256 elsewhere.
        device: By default the CPU.
        checkpoint: File to keep the state in, every few seconds.
        resume: Go on from the checkpoint if there is one; the options and the data must be those it began with.
        hooks: What to call while it runs.

    Raises:
        InputError: If an option is out of range, or the network does not suit the data.
        Stopped: If `hooks.stop` asked for it or Ctrl-C was pressed; it has the last images, which the checkpoint keeps.

    >>> from auglean.condensation import DM
    >>> tiny = condense("digits", per_class=1, method=DM(pool=2), steps=4, network="convnet-w8-d2")
    >>> tiny
    SyntheticSet digits: 10 images of 1×8×8, 1 per class, 10 classes
    method    DM
    network   convnet-w8-d2
    init      real
    schedule  pooled
    steps     4
    seed      0
    loss ...
    seconds ...
    """
    method, hooks = as_method(method), hooks or Hooks()
    check_options(steps=steps, eval_every=None, device=device)
    for name, value, known in (("schedule", schedule, Schedule), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise unknown(name, value, get_args(known))
    if micro_batch is not None and micro_batch < 1:
        raise InputError(f"micro_batch is {micro_batch}; give 1 image or more.")
    place = torch.device(device or "cpu")
    data = load(data)
    if data.classes < 2:
        raise InputError(f"{data.name} has 1 class; a network needs 2 or more to tell apart.")
    data.require_every_class()
    start = starting_images(data, per_class, init, decode=decode, seed=seed)
    bfloat16 = precision == "bfloat16" or (
        precision == "auto" and place.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    policy = method.policy(data)
    images = resident(data, place)
    builder = Builder(network, images, policy, seed=seed, lr=method.net_lr if isinstance(method, DC) else 0.01)
    engine = Engine(
        images,
        method,
        builder,
        policy,
        schedule=schedule,
        per_class=per_class,
        decode=decode,
        steps=steps,
        seed=seed,
        micro_batch=micro_batch,
        bfloat16=bfloat16,
    )
    how = {
        "data": data.name,
        "fingerprint": data.fingerprint,
        "method": method.name,
        "options": method.options(),
        "network": network if isinstance(network, str) else getattr(network, "__name__", repr(network)),
        "init": init,
        "decode": decode,
        "schedule": schedule,
        "steps": steps,
        "per_class": per_class,
        "seed": seed,
        "precision": "bfloat16" if bfloat16 else "float32",
        "micro_batch": engine.micro_batch,
    }
    run = _Run(engine, how, data.class_names, None if checkpoint is None else Path(checkpoint))
    z = engine.standardise(start)
    run.begin(State(z, torch.zeros_like(z)), resume=resume)
    plan = plan_run(engine, run.state, steps)
    hooks.plan(plan)
    note(f"condensing {data.name}: {plan!r}")
    return run.to_the_end(steps, hooks)


class _Run:
    """Where a run stands, its record and its file."""

    def __init__(
        self,
        engine: Engine,
        how: dict[str, Any],
        class_names: tuple[str, ...],
        checkpoint: Path | None,
    ) -> None:
        self.engine, self.how, self.class_names = engine, how, class_names
        self.checkpoint = checkpoint
        self.state: State
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def begin(self, state: State, *, resume: bool) -> None:
        """Start from the given state, or from the checkpoint."""
        self.state = state
        if resume and self.checkpoint is not None and self.checkpoint.exists():
            self._resume(self.checkpoint)

    def to_the_end(self, steps: int, hooks: Hooks) -> SyntheticSet:
        """Take the steps that are left."""
        began = time.perf_counter() - (self.seconds[-1] if self.seconds else 0.0)
        save_at = time.monotonic() + _CHECKPOINT_SECONDS
        try:
            for _ in track(range(self.state.step, steps), "condensing"):
                state, loss = self.engine.advance(self.state)
                if not torch.isfinite(state.images).all():
                    raise InputError(
                        f"The images are not finite after step {state.step} of {steps}; lower the learning rate of "
                        f"{self.engine.method.name} (it was {self.engine.method.lr:g})."
                    )
                self.losses.append(loss)
                self.seconds.append(time.perf_counter() - began)
                self.state = state
                hooks.progress(state.step)
                if state.step in hooks.at:
                    hooks.snapshot(self.result())
                if time.monotonic() > save_at:
                    self._save()
                    save_at = time.monotonic() + _CHECKPOINT_SECONDS
                if anywhere(hooks.stop) and state.step < steps:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            self._save()
            raise Stopped(f"stopped after step {self.state.step} of {steps}", self.result()) from None
        self._save()
        return self.result(self.engine.agreement() if self.engine.bfloat16 else None)

    def result(self, cosine: float | None = None) -> SyntheticSet:
        """Give the images as they stand."""
        engine, state = self.engine, self.state
        pixels = engine.pixels(state.images).flatten(0, 1).cpu()
        labels = torch.arange(engine.data.classes).repeat_interleave(engine.per_class)
        how = {**self.how, "steps": state.step, "cost": self._cost()} | ({} if cosine is None else {"cosine": cosine})
        return SyntheticSet(pixels, labels, self.class_names, *engine.builder.mean_std, self._history(), how)

    def _cost(self) -> dict[str, Any]:
        return {"seconds": self.engine.clock.seconds(), "images": dict(self.engine.passed)}

    def _history(self) -> dict[str, Tensor]:
        # an interrupt may have come between a step and its record
        step = self.state.step
        return {
            "loss": torch.tensor(self.losses[:step], dtype=torch.float64),
            "seconds": torch.tensor(self.seconds[:step], dtype=torch.float64),
        }

    def _save(self) -> None:
        if self.checkpoint is None or not is_first():
            return
        tensors = {"images": self.state.images, "velocity": self.state.velocity, **self._history()}
        state = {"options": self.how, "step": self.state.step, "cost": self._cost()}
        write_tensors(self.checkpoint, tensors, state)

    def _resume(self, path: Path) -> None:
        try:
            tensors, kept = read_tensors(path)
            options, step, cost = kept["options"], kept["step"], kept["cost"]
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"{path} holds no state of condensation; give another file, or start anew.") from error
        differing = [name for name, value in self.how.items() if options.get(name) != value]
        if differing:
            name = differing[0]
            raise InputError(
                f"The checkpoint {path} is of a run with {name} {options.get(name)!r}, not {self.how[name]!r}; "
                "resume with the options and the data it began with."
            )
        place = self.engine.device
        self.state = State(tensors["images"].to(place), tensors["velocity"].to(place), step)
        self.engine.clock, self.engine.passed = Clock(place, cost["seconds"]), dict(cost["images"])
        self.losses, self.seconds = tensors["loss"].tolist(), tensors["seconds"].tolist()
