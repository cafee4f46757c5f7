"""How far a policy moves the loss of each image, to first order: `Var L ≈ gᵀ C g`.

g is the gradient of the loss in the pixels of the image, C the covariance of its augmented copies (Balestriero, Misra &
LeCun 2022). It takes one pass forward and back for each image, and holds for weak policies only: a few degrees, a
fraction of a pixel. So it is compared with losses at nodes on a probe, and refused where it is off by a fifth.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from auglean.moments.examples import Examples, moments_in_pieces
from auglean.moments.expected_loss import by_nodes
from auglean.moments.losses import Setting, saliency
from auglean.moments.spreads import probed
from auglean.moments.taylor import check_gap
from auglean.networks.probing import bare, placement, undisturbed
from auglean.policies import Policy, as_given
from auglean.signals import Signals, collect
from auglean.signals.collecting import ImageData

_PROBE = 64  # images on which first order must stand before it is given out
_NODES = 64  # of each of them


def first_order_signals(
    model: nn.Module,
    data: ImageData,
    policy: Policy | str,
    *,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> Signals:
    """Collect signals as `auglean.collect` with a policy does, with `loss_sd` by `√(gᵀ C g)` in place of draws.

    Args:
        model: The network, as of `collect`; it comes back as it was.
        data: The data set, as of `collect`, of values in [0, 1].
        policy: How far it moves each loss.
        batch_size: Images in a forward pass.
        device: Where to compute; by default where the model is.
        seed: Of the probe, of its nodes, and of moments that are drawn.

    Returns:
        Signals whose `gap` is the mean of `|first order − nodes|` over a probe of 64 images, over that of the nodes.

    Raises:
        InputError: If the gap is above 0.2, or the model or the data do not fit.

    >>> from auglean.policies import Translate
    >>> data = torch.utils.data.TensorDataset(torch.rand(6, 1, 4, 4), torch.arange(6) % 3)
    >>> signals = first_order_signals(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), data, Translate(0.1))
    >>> signals.loss_sd.shape, signals.gap < 0.2
    (torch.Size([6]), True)
    """
    start = time.perf_counter()
    signals = collect(model, data, batch_size=batch_size, device=device)
    network = bare(model)
    if device is not None and torch.device(device) != placement(network)[0]:
        network = copy.deepcopy(network).to(device)
    examples = Examples(data)
    setting = Setting(network, "cross-entropy", as_given(policy), examples, _NODES, seed, batch_size)
    chosen = probed(examples, _PROBE, seed)
    truth = by_nodes(replace(setting, examples=Examples(examples.batch(chosen))), "auto")
    found = _deviations(setting)
    gap = check_gap(found[chosen], truth.sd, policy=setting.policy.name, each=True, what="loss's deviation")
    return replace(
        signals,
        loss_sd=found.float().to(signals.loss.device),
        gap=gap,
        seconds=time.perf_counter() - start,
        forward_passes=signals.forward_passes + len(examples) + truth.passes,
    )


def _deviations(setting: Setting) -> Tensor:
    """`√(gᵀ C g)` of every image. Shape `(N,)`, float64, on the CPU."""
    device, dtype = placement(setting.model)
    found = torch.empty(len(setting.examples), dtype=torch.float64)
    with undisturbed(setting.model, seed=setting.seed):
        pieces = moments_in_pieces(setting.policy, setting.examples, device=device, seed=setting.seed)
        for ids, x, targets, moments in pieces:
            g = saliency(setting, x.to(dtype), targets, ids)
            moved = moments.covariance.matvec(g[..., None])[..., 0]
            found[ids] = (g * moved).sum(1).clamp(min=0).sqrt().cpu()
    return found
