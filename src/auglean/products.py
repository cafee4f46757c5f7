"""Inner products of float32 rows by the fastest matrix product that is at hand."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

#: Rows on either side below which it does not matter who multiplies.
_FEW = 16


def inner_products(x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give `x @ y.T + bias`.

    On a CPU, torch multiplies float32 by MKL, which on processors of other makers runs at half of what they can do or
    less; oneDNN, which torch brings too, does not. The route depends on the build of torch and on the shapes alone, so
    that runs on one machine agree: neither autocast nor a lower precision of float32 products that is set for a
    network's sake changes the digits (in the latter case they are multiplied in float64).

    Args:
        x: Shape `(m, d)`.
        y: Shape `(n, d)`, of the same type.
        bias: Shape `(n,)`, added to every row.

    Returns:
        Shape `(m, n)`.

    >>> inner_products(torch.ones(1, 3), torch.ones(2, 3), torch.tensor([0.0, 1.0]))
    tensor([[3., 4.]])
    """
    if x.dtype == torch.float32 and _coarse(x.device.type):
        return inner_products(x.double(), y.double(), None if bias is None else bias.double()).float()
    grad = x.requires_grad or y.requires_grad or (bias is not None and bias.requires_grad)
    plain = grad or x.device.type != "cpu" or x.dtype != torch.float32
    with torch.autocast(x.device.type, enabled=False):
        if plain or min(len(x), len(y)) < _FEW or not _has_onednn():
            return x @ y.T if bias is None else torch.addmm(bias, x, y.T)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, bias, "none", [], "")
    return found


def _coarse(device: str) -> bool:
    """Tell whether the caller lets torch round the factors of float32 products, as networks may bear it."""
    backend = {"cpu": torch.backends.mkldnn, "cuda": torch.backends.cuda}.get(device)
    # releases of torch before 2.9 do not have the setting
    return getattr(getattr(backend, "matmul", None), "fp32_precision", "none") in ("bf16", "tf32")


@functools.cache
def _has_onednn() -> bool:
    """Tell whether oneDNN's product is there, and gives what it should: it is no public call of torch."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.arange(6.0).reshape(2, 3)
    try:
        found = torch.ops.mkldnn._linear_pointwise(x, x + 1, torch.ones(2), "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(torch.equal(found, x @ (x + 1).T + 1))
