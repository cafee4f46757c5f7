"""How far the loss, and its gradient, of one augmented image is from the average over the policy's law."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from auglean.moments.examples import Examples
from auglean.moments.expected_loss import by_nodes
from auglean.moments.losses import REPLICATES, Method, Setting, loss_function, measured, node_losses, resolve, rules_of
from auglean.moments.planning import channelwise
from auglean.moments.rules import Kind, Rule, values
from auglean.moments.spreads import STRATA, Spread, falling, probed
from auglean.networks.probing import bare, placement, undisturbed

_FLOOR = 0.01  # of the average loss: a relative error of a loss smaller than that means nothing
_BYTES = 2**27  # of gradients of single copies at once


def loss_spread(setting: Setting, probe: int) -> Spread:
    """Give the spread of the loss of every image."""
    start = time.perf_counter()
    found = by_nodes(setting, "auto")
    spent = time.perf_counter() - start
    average = float(found.mean.abs().mean())
    chosen = probed(setting.examples, probe, setting.seed)
    few = replace(setting, examples=Examples(setting.examples.batch(chosen)))
    size2 = found.mean.abs().clamp(min=_FLOOR * average).square()
    errors = []
    for double in (0, 1):
        finer = replace(few, nodes=REPLICATES * STRATA << double)
        with undisturbed(setting.model, seed=setting.seed):
            chunks = node_losses(finer, "stratified")
            squares = torch.cat([torch.stack([part.mean(0) for part in chunk.losses]).var(0) for chunk in chunks])
        errors.append(squares.cpu() / size2[chosen])
    error, rate = falling((errors[0], errors[1]))
    variance = found.sd.square()
    return Spread(
        ids=torch.arange(len(variance)),
        variance=variance,
        pairs=torch.zeros_like(variance),
        size2=size2,
        freedom=torch.ones_like(variance),
        data_variance=float(variance.mean()) / len(variance),
        data_size2=average**2,
        strata=STRATA,
        strata_error=error,
        rate=rate,
        how=f"{found.kind}, {found.nodes} nodes an image",
        seconds_of_draw=spent / found.passes,
    )


def gradient_spread(setting: Setting, probe: int) -> Spread:
    """Give the spread of the gradient of the loss in the trainable weights, for some images."""
    start = time.perf_counter()
    chosen = probed(setting.examples, probe, setting.seed)
    few = replace(setting, examples=Examples(setting.examples.batch(chosen)))
    images = list(_gradients(few, "auto"))
    spent = time.perf_counter() - start
    variance, size2 = (
        torch.stack(values) for values in zip(*[(row.variance, row.size2) for row in images], strict=True)
    )
    average: Tensor = sum(row.mean for row in images) / len(images)  # type: ignore[assignment]
    errors = []
    for double in (0, 1):
        part = replace(few, nodes=REPLICATES * STRATA << double)
        errors.append(torch.stack([row.error2 / row.size2 for row in _gradients(part, "stratified")]))
    error, rate = falling((errors[0], errors[1]))
    return Spread(
        ids=chosen,
        variance=variance,
        pairs=torch.zeros_like(variance),
        size2=size2,
        freedom=torch.ones_like(variance),
        data_variance=float(variance.mean()) / len(variance),
        data_size2=float(average.square().sum()),
        strata=STRATA,
        strata_error=error,
        rate=rate,
        how=f"{images[0].kind}, on a probe of {len(chosen)} images",
        seconds_of_draw=spent / sum(row.draws for row in images),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Gradient:
    """Gradient of one image over the policy's law: average `(m,)`, spread, and error of a replicate's average."""

    mean: Tensor
    variance: Tensor
    size2: Tensor
    error2: Tensor
    kind: Kind
    draws: int


def _gradients(setting: Setting, method: Method) -> Iterator[_Gradient]:
    network = bare(setting.model)
    device, dtype = placement(network)
    weights = {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    fixed = {name: value.detach() for name, value in state.items() if name not in weights}
    function = loss_function(setting.loss)
    step = max(1, _BYTES // (8 * max(1, sum(value.numel() for value in weights.values()))))

    def loss(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, {**fixed, **weights}, (image[None],))
        return function(outputs, target[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, None))

    def gradients(copies: Tensor, target: Tensor) -> Tensor:
        return torch.cat([part.flatten(1) for part in each(weights, copies, target).values()], 1).double()

    def sums(own: Rule, x: Tensor, target: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, and mean square, of the gradients less that of the image itself, which keeps the digits."""
        mean, square = torch.zeros_like(origin), torch.zeros((), dtype=torch.float64, device=device)
        for start in range(0, len(own), step):
            stop = min(start + step, len(own))
            copies = values(setting.policy, own, x, start, stop, channelwise=alike).flatten(0, 1)
            off = gradients(copies, target) - origin  # (k, m)
            w = own.weights[start:stop, 0].to(device)
            mean += w @ off
            square += w @ off.square().sum(1)
        return mean, square

    alike = channelwise(setting.policy)
    with undisturbed(network, seed=setting.seed):
        for ids in torch.arange(len(setting.examples)).split(1):
            images, targets = setting.examples.batch(ids)
            x, target = images.to(device, dtype), targets.to(device)
            measured(setting, x, target, ids)  # for its checks
            shape: tuple[int, int, int] = tuple(x.shape[1:])  # type: ignore[assignment]
            rules = rules_of(setting, resolve(setting, method, shape), ids.to(device), shape)
            replicated = rules[0].kind == "randomised qmc"
            rules = rules if replicated else rules[:1]
            origin = gradients(x, target[0])[0]
            means, squares = (
                torch.stack(part) for part in zip(*[sums(own, x, target[0], origin) for own in rules], strict=True)
            )
            mean = means.mean(0)
            error2 = (means - mean).square().sum() / max(1, len(means) - 1)
            of_mean = error2 / len(means)
            yield _Gradient(
                mean=mean + origin,
                variance=(squares.mean() - mean.square().sum() + of_mean).clamp(min=0).cpu(),
                size2=((mean + origin).square().sum() - of_mean).clamp(min=0).cpu(),
                error2=error2.cpu(),
                kind=rules[0].kind,
                draws=sum(len(own) for own in rules),
            )
