"""`Recorder`: signals taken from the steps of training themselves, at no forward pass of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from auglean.errors import InputError
from auglean.networks.probing import bare, find_head, placement, undisturbed
from auglean.signals.collecting import KEEP, ImageData, check_labels, collect, fetch, measure
from auglean.signals.record import Signals

#: Batches whose signals are worked out together.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old the signals of a `Recorder` are.

    Attributes:
        median: Steps since an example was seen; the median over the examples.
        most: The same, for the example that was not seen for longest.
        epochs: `most` in passes over the data.
        never: Share of the examples that were never seen.
    """

    median: float
    most: int
    epochs: float
    never: float


class _Batch(NamedTuple):
    """The originals of a batch, before their signals are worked out."""

    ids: Tensor  # (b,)
    logits: Tensor  # (b, K)
    labels: Tensor  # (b,)
    feature: Tensor  # (b, D)
    step: int
    lr: float


class Recorder:
    """Keeps what the network said of each example when training last met it.

    A training step computes the logits of its batch anyway; the recorder keeps loss, margin, residual, feature and
    prediction of the originals among them, in place of a forward pass over all data before each choice.

    What it gives differs from what `collect` gives in three ways. An example's signals are as old as its last step
    (`staleness` tells how old). The network was in train mode: BatchNorm used the statistics of the batch, dropout
    was on. And the image was the one that was trained on, with its light augmentation.

    It also keeps what a pass cannot know: how often an example was forgotten, and its self-influence along the steps
    (`forgetting` and `tracin` of `Signals`).

    Memory: N · (K + D) floats, on the device of the logits unless they take more than a gigabyte.

    Args:
        count: Number of examples N.
        features: Keep the inputs of the last linear layer too; without them `feature` has no columns, so the
            gradient that selectors and errors work with is that of the logits alone.

    Raises:
        InputError: If `count` is under 1.

    >>> from auglean.data import load
    >>> data, model = load("digits"), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> recorder = Recorder(len(data))
    >>> with recorder.watch(model, data):
    ...     for ids in torch.randperm(len(data)).split(100):
    ...         images, labels = data.batch(ids)
    ...         logits = model(images / 255)  # … loss, backward and step as ever
    ...         recorder.record(ids, logits, labels)
    >>> recorder.signals().feature.shape, recorder.staleness().most
    (torch.Size([1000, 64]), 10)
    """

    def __init__(self, count: int, *, features: bool = True) -> None:
        if count < 1:
            raise InputError(f"A recorder was asked for {count} examples; give the number of training examples.")
        self.count, self.features = count, features
        self.steps = 0  # calls of `record`
        self.recorded = 0  # originals they held
        self._seen = torch.full((count,), -1)  # the steps done when each example was last seen
        self._widths: tuple[int, int] | None = None  # K and D
        self._kept: dict[str, Tensor] = {}
        self._past = _no_past(count)
        self._waiting: list[_Batch] = []
        self._calls = 0  # of the last linear layer in the forward pass that runs
        self._caught: Tensor | None = None  # its input, (B, D)

    def __repr__(self) -> str:
        age = self.staleness()
        return f"Recorder({self.count} examples, {self.steps} steps, {age.never:.0%} never seen)"

    @contextmanager
    def watch(self, model: nn.Module, data: ImageData) -> Iterator[None]:
        """Catch the input of the last linear layer in every forward pass, for the length of a block.

        Args:
            model: The network in training. Its hooks are taken off at the end, also after an exception.
            data: Two of its images are sent through the network, in eval mode, to find that layer.

        Raises:
            InputError: If the network does not end in a linear layer.
        """
        network = bare(model)
        place, dtype = placement(network)
        images, _ = fetch(data, torch.arange(min(2, len(data))))
        x = images.to(place).to(dtype)
        with undisturbed(network):
            head = find_head(network, x if images.is_floating_point() else x.div_(255))

        def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._calls, self._caught = 0, None

        def catch(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._calls == head.call:
                given: Tensor = args[0] if args else kwargs["input"]
                self._caught = given.detach().reshape(-1, head.layer.in_features)
            self._calls += 1

        handles = [network.register_forward_pre_hook(begin)]
        handles.append(head.layer.register_forward_pre_hook(catch, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._caught = None

    @torch.no_grad()
    def record(
        self,
        ids: Tensor | Sequence[int],
        logits: Tensor,
        labels: Tensor,
        *,
        copy: Tensor | None = None,
        feature: Tensor | None = None,
        lr: float = 1.0,
    ) -> None:
        """Keep the signals of a batch; call it once in each step, after the forward pass.

        Of an example that the batch holds several times, the last is kept. The signals are worked out for some
        batches at once, which costs a step less.

        Args:
            ids: Numbers of the examples. Shape `(B,)`.
            logits: What the network gave for them. Shape `(B, K)`.
            labels: Shape `(B,)`.
            copy: Which copy of its example each image is, as in a `Plan`; only originals (0) are kept, since a network
                says another thing of an augmented copy. By default all are. Shape `(B,)`.
            feature: Input of the last linear layer, where the recorder does not watch the model. Shape `(B, D)`.
            lr: Learning rate of the step, by which it counts in `tracin`.

        Raises:
            InputError: If the lengths differ, a number or label is out of range, or the features are missing.
        """
        ids = torch.as_tensor(ids).cpu()
        ids = ids if len(ids) else ids.long()  # an empty list becomes a float tensor
        feature = self._caught if feature is None else feature
        self._caught = None
        self._check(ids, logits, labels, feature)
        rows = torch.arange(len(ids)) if copy is None else (copy.cpu() == 0).nonzero()[:, 0]
        at = rows.to(logits.device)  # a row that was found on the CPU lets an accelerator go on
        inner = feature if self.features and feature is not None else logits[:, :0]
        self._hold((logits.shape[1], inner.shape[1]))
        labels = labels.to(logits.device)
        self._waiting.append(_Batch(ids[rows], logits[at], labels[at], inner[at.to(inner.device)], self.steps, lr))
        self.steps += 1
        self.recorded += len(rows)
        if len(self._waiting) == _AT_ONCE:
            self._work_out()

    def fill(self, model: nn.Module, data: ImageData, *, batch_size: int = 512) -> int:
        """Ask the network, in a pass of its own in eval mode, for the examples that were not seen for an epoch.

        Those are all before the first step, and later only such as steps have passed over, as they do with the last
        images of an epoch where these wait for the next one to complete their batch.

        Args:
            model: Left as it was.
            data: The N examples.
            batch_size: Examples in a forward pass.

        Returns:
            How many were asked for.
        """
        self._work_out()
        since = self.steps - self._seen
        wanted = ((self._seen < 0) | (since * self._passes > 1 + self._passes)).nonzero()[:, 0]
        if len(wanted):
            found = collect(model, data, indices=wanted, batch_size=batch_size, keep_on_device=True).tensors
            inner = found["feature"] if self.features else found["feature"][:, :0]
            self._keep(wanted, {**found, "feature": inner}, torch.full_like(wanted, self.steps))
        return len(wanted)

    def signals(self) -> Signals:
        """Give the signals of all examples, on the CPU, each as it was when it was last seen.

        Raises:
            InputError: If an example was never seen.
        """
        self._work_out()
        never = int((self._seen < 0).sum())
        if never:
            raise InputError(
                f"{never} of {self.count} examples were never recorded; train on every example first, or fill in "
                "the missing ones with Recorder.fill(model, data)."
            )
        own = {name: kept.to("cpu", copy=True) for name, kept in self._kept.items()}
        past = {name: kept.to("cpu") for name, kept in self._past.items()}
        # what was never learnt is forgotten whenever it is seen: no other count comes near
        forgetting = torch.where(past["hits"] > 0, past["forgetting"], past["times"])
        values: dict[str, Any] = {**own, "forgetting": forgetting.float(), "tracin": past["tracin"].float()}
        return Signals(**values)

    def staleness(self) -> Staleness:
        """Tell how many steps ago the examples were seen; a step that has just been taken is one step ago."""
        self._work_out()
        seen = self._seen[self._seen >= 0]
        if not len(seen):
            return Staleness(0.0, 0, 0.0, 1.0)
        age = self.steps - seen
        most = int(age.max())
        return Staleness(float(age.median()), most, most * self._passes, 1 - len(seen) / self.count)

    @property
    def _passes(self) -> float:
        """Passes over the data that a step makes, on average."""
        return self.recorded / (self.count * max(1, self.steps))

    def state_dict(self) -> dict[str, Tensor]:
        """Give what `load_state_dict` needs to go on, as tensors."""
        self._work_out()
        return {**self._kept, **self._past, "seen": self._seen, "clock": torch.tensor([self.steps, self.recorded])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            InputError: If it is of another number of examples.
        """
        if len(state["seen"]) != self.count:
            raise InputError(
                f"The state is of a recorder of {len(state['seen'])} examples, not {self.count}; give that of this one."
            )
        own = {name: tensor.clone() for name, tensor in state.items()}
        self.steps, self.recorded = own.pop("clock").tolist()
        self._seen = own.pop("seen")
        self._past = {name: own.pop(name, fresh) for name, fresh in _no_past(self.count).items()}
        self._kept, self._waiting = own, []
        self._widths = (own["residual"].shape[1], own["feature"].shape[1]) if own else None

    def _check(self, ids: Tensor, logits: Tensor, labels: Tensor, feature: Tensor | None) -> None:
        if ids.ndim != 1 or logits.ndim != 2 or not len(ids) == len(logits) == len(labels):
            raise InputError(
                f"A batch was recorded with ids {tuple(ids.shape)}, logits {tuple(logits.shape)} and labels "
                f"{tuple(labels.shape)}; expected (B,), (B, K) and (B,)."
            )
        if ids.dtype != torch.int64:
            raise InputError(f"A batch was recorded with ids of {ids.dtype}; give numbers of examples, int64.")
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.count:
            raise InputError(
                f"A batch was recorded with ids from {int(ids.min())} to {int(ids.max())}; "
                f"give numbers of examples from 0 to {self.count - 1}."
            )
        if labels.device.type == "cpu":  # an accelerator would have to wait for it, and its loss has seen to it
            check_labels(labels, ids, logits.shape[1])
        if self.features and (feature is None or len(feature) != len(ids)):
            raise InputError(
                f"The last linear layer was not seen with the {len(ids)} examples of this batch; call record once "
                "after each forward pass within watch(model, data), or pass feature, or make a recorder with "
                "features=False."
            )

    def _hold(self, widths: tuple[int, int]) -> None:
        """Fix numbers of classes and features, or see that they are those that were fixed."""
        if self._widths not in (None, widths):
            raise InputError(
                f"The recorder was given {widths} logits and features of an example, but holds {self._widths}; "
                "make a new one for another network."
            )
        self._widths = widths

    @torch.no_grad()
    def _work_out(self) -> None:
        """Turn the logits that wait into signals, of each example the last."""
        if not self._waiting:
            return
        batches, self._waiting = self._waiting, []
        ids = torch.cat([batch.ids for batch in batches])
        seen = torch.cat([torch.full_like(batch.ids, batch.step) for batch in batches])
        feature = torch.cat([batch.feature for batch in batches])
        logits = torch.cat([batch.logits for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        if logits.device.type == "mps":  # has no float64
            logits, labels = logits.cpu(), labels.cpu()
        rates = torch.cat([torch.full((len(batch.ids),), batch.lr, dtype=torch.float64) for batch in batches])
        loss, margin, residual, prediction = measure(logits, labels)
        size = feature.double().square().sum(1).to(loss) + 1
        self._remember(ids, prediction == labels, residual.square().sum(1) * size * rates.to(loss))
        rows = _last_of_each(ids)
        at = rows.to(loss.device)
        found = {"loss": loss[at], "margin": margin[at], "residual": residual[at], "prediction": prediction[at]}
        self._keep(ids[rows], {**found, "feature": feature[at.to(feature.device)]}, seen[rows])

    def _remember(self, ids: Tensor, right: Tensor, influence: Tensor) -> None:
        """Count who was forgotten, and add up the self-influence; rows are in the order of the steps."""
        past = {name: tensor.to(right.device) for name, tensor in self._past.items()}
        order = torch.argsort(ids, stable=True)
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = ids[order][1:] != ids[order][:-1]  # else the row before tells how the example stood
        rows, where = order.to(right.device), ids[order].to(right.device)
        before = torch.where(first.to(right.device), past["right"][where], right[rows].roll(1))
        past["forgetting"].index_add_(0, where, (before & ~right[rows]).double())
        past["hits"].index_add_(0, where, right[rows].double())
        past["times"].index_add_(0, where, torch.ones_like(influence))
        past["tracin"].index_add_(0, where, influence[rows])
        last = first.roll(-1).to(right.device)
        past["right"].index_copy_(0, where[last], right[rows][last])
        self._past = past

    def _keep(self, ids: Tensor, found: Mapping[str, Tensor], seen: Tensor) -> None:
        widths = found["residual"].shape[1], found["feature"].shape[1]
        self._hold(widths)
        store = found["loss"].device if 4 * self.count * sum(widths) <= KEEP else torch.device("cpu")
        for name, value in found.items():
            kept = self._kept.get(name)
            if kept is None:
                dtype = torch.int64 if name == "prediction" else torch.float32
                kept = torch.zeros(self.count, *value.shape[1:], dtype=dtype)
            self._kept[name] = kept.to(store).index_copy_(0, ids.to(store), value.to(store, kept.dtype))
        self._seen[ids] = seen


def _no_past(count: int) -> dict[str, Tensor]:
    """Give the history of examples that were never seen."""
    names = ("forgetting", "hits", "times", "tracin")
    numbers = {name: torch.zeros(count, dtype=torch.float64) for name in names}
    return {**numbers, "right": torch.zeros(count, dtype=torch.bool)}


def _last_of_each(ids: Tensor) -> Tensor:
    """Give the row in which each number occurs last, in the order of the numbers."""
    rows = torch.argsort(ids, stable=True)
    ordered = ids[rows]
    last = torch.ones(len(rows), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return rows[last]
