"""Random numbers that belong to their caller: generators from a path, and one stream per example.

Nothing here reads or changes the process-wide generators, except that `generator=None` draws from
torch's default one, as every torch function does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def derive(seed: int, *path: int | str) -> int:
    """Derive an independent 63-bit seed from a seed and a path of names and numbers.

    >>> derive(0, "order", 1) != derive(0, "order", 2) != derive(1, "order", 2)
    True
    """
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """Make a CPU generator seeded by `derive(seed, *path)`."""
    return torch.Generator().manual_seed(derive(seed, *path))


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run a block under torch's default CPU and CUDA generators seeded, and put them back afterwards.

    For code that can draw from nowhere else: weight initialisation and dropout of `nn.Module`s.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix(z: Tensor) -> Tensor:
    """Finalise splitmix64 (Steele, Lea & Flood 2014) on int64, whose products wrap as uint64's do."""
    for shift, factor in zip((30, 27), _MIX, strict=True):
        z = (z ^ ((z >> shift) & (_MASK >> shift))) * _signed(factor)
    return z ^ ((z >> 31) & (_MASK >> 31))


class Keys:
    """One stream of random numbers per example, fixed by (seed, epoch, example, stream) alone.

    The numbers of an example do not depend on which others share its batch, on the order of the
    batch, on the device, or on the number of loader workers. Passed as `generator=` to any policy.

    Args:
        ids: The examples' numbers in their data set. Shape `(n,)`, int64.
        seed: Seed of the run.
        epoch: Pass over the data; one for all, or one per example `(n,)`.
        stream: Separates several images of the same example in the same epoch; one, or one per example.

    >>> a = uniform(3, Keys(torch.tensor([5, 6, 7]), seed=0, epoch=2))
    >>> b = uniform(1, Keys(torch.tensor([6]), seed=0, epoch=2))
    >>> bool(a[1] == b[0])
    True
    """

    def __init__(
        self,
        ids: Tensor | Sequence[int],
        *,
        seed: int = 0,
        epoch: int | Tensor = 0,
        stream: int | Tensor = 0,
    ) -> None:
        state = torch.as_tensor(ids, dtype=torch.int64) + _signed(derive(seed, "keys"))  # (n,)
        self._example, self._epoch, self._stream = state, epoch, stream
        for part in (epoch, stream):
            state = _mix(state * _signed(_GOLDEN)) + part
        self._state = _mix(state * _signed(_GOLDEN))
        self._calls = 0

    def __len__(self) -> int:
        return len(self._state)

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self._state.device

    def split(self) -> tuple[Tensor, Tensor]:
        """Give the epoch of each example, and a key of each that all its epochs share. Shapes `(n,)`, int64."""
        epoch = torch.as_tensor(self._epoch, device=self.device).expand(len(self))
        return epoch, _mix(_mix(self._example * _signed(_GOLDEN)) + self._stream)

    def bits(self, columns: int) -> Tensor:
        """Draw 64 random bits per example and column. Shape `(n, columns)`, int64."""
        counter = torch.arange(self._calls + 1, self._calls + 1 + columns, device=self.device)
        self._calls += columns
        return _mix(self._state[:, None] + counter * _signed(_GOLDEN))


Randomness = torch.Generator | Keys | None


def uniform(
    shape: int | tuple[int, ...],
    generator: Randomness = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw from the uniform law on `[low, high)`; float32 may round the largest draws up to `high` unless low is 0.

    Args:
        shape: The shape; its first dimension is the number of examples.
        generator: A torch generator, `Keys` with as many examples, or `None` for torch's default.
        low: Lower end.
        high: Upper end.
        device: Where the result is wanted; by default where the generator is.

    Returns:
        float32 of the given shape.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    if isinstance(generator, Keys):
        if shape[0] != len(generator):
            raise ValueError(f"Keys hold {len(generator)} examples but {shape[0]} were asked for.")
        columns = int(torch.Size(shape[1:]).numel())
        # 24 bits, so that every value is exact in float32 and below one
        unit = ((generator.bits(columns) >> 40) & 0xFFFFFF).float().mul_(2.0**-24).view(shape)
    else:
        at = generator.device if generator is not None else device
        unit = torch.rand(shape, generator=generator, device=at)
    if device is not None:
        unit = unit.to(device)
    return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)


def integers(
    shape: int | tuple[int, ...],
    high: int,
    generator: Randomness = None,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw integers uniform on `0 … high − 1`, for `high` up to 2²⁴. int64 of the given shape."""
    return (uniform(shape, generator, device=device) * high).long().clamp_(max=high - 1)


def normal(
    shape: int | tuple[int, ...],
    generator: Randomness = None,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw from the standard normal law (Box–Muller, so that `Keys` serve too). float32 of the given shape."""
    radius = torch.sqrt(-2.0 * torch.log1p(-uniform(shape, generator, device=device)))
    return radius * torch.cos(2.0 * torch.pi * uniform(shape, generator, device=device))
