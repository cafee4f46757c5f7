"""`jacobian_spectrum`: what an augmentation does to the Jacobian of a network, and what as much noise would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from auglean.errors import InputError, unknown
from auglean.networks.probing import bare, placement, undisturbed
from auglean.policies import Identity, Policy
from auglean.policies.parsing import as_given
from auglean.progress import track
from auglean.randomness import Keys, derive, generator
from auglean.signals import measure
from auglean.spectra import bounds
from auglean.spectra.exact import Exact, Gram, Rows
from auglean.spectra.factors import Change, Factors, angles
from auglean.spectra.jacobian import Jacobian, Output
from auglean.spectra.randomised import Randomised
from auglean.spectra.spectrum import Band, Contrast, Spectrum, Subspaces, smaller_half

Method = Literal["auto", "exact", "randomised"]

#: Bytes of work memory where nothing is said.
MAX_MEMORY = 4 << 30
_TOP = 50
_DIMENSIONS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)


def jacobian_spectrum(
    model: nn.Module,
    data: Any,
    policy: Policy | str | Callable[..., Any],
    *,
    weak: Policy | str | Callable[..., Any] | None = None,
    images: int = 100,
    top: int | None = None,
    draws: int = 5,
    seed: int = 0,
    method: Method = "auto",
    output: Output = "logits",
    max_memory: int = MAX_MEMORY,
    device: torch.device | str | None = None,
) -> Spectrum:
    """Compute singular values and subspaces of the network's Jacobian before and after augmentation, against noise.

    Enlarged small singular values are what *any* additive noise gives. So each draw of the augmentation, `J̃ = J + E`,
    stands beside J plus Gaussian noise whose rows are as long as those of E. The network runs in eval mode, in
    float64 (exact) or float32 (randomised), and comes back as it was.

    Args:
        model: Any network of images `(B, C, H, W)` in [0, 1] with one row of logits for each.
        data: An `ImageSet`; the probe is drawn from it.
        policy: The augmentation: a policy, its name, or any callable on images.
        weak: Applied first to every image, before and after alike, with the same draw.
        images: Size of the probe.
        top: Leading singular values that the randomised method finds, and dimension of the largest subspaces that
            are compared; by default 50, or all where there are fewer.
        draws: Of the augmentation, each beside one of the noise.
        seed: Fixes the probe, the draws and the noise.
        method: `"exact"`, `"randomised"`, or `"auto"`: exact where that stays within `max_memory`.
        output: `"logits"` for a row per image and logit, or `"sum"` for a row per image, that of the sum of its
            logits; the residual of an image has no part along that sum, so its alignment is not given.
        max_memory: Bytes of work memory, beside the activations of the network.
        device: Where to compute; by default where the model is. The model itself is not moved.

    Raises:
        InputError: If an option does not fit the data or the network, the policy changes nothing, the logits are
            not finite, or the method needs more memory.

    >>> import auglean as al
    >>> data = al.load("digits")
    >>> model = al.networks.create("convnet-w4-d1", channels=1, classes=10, size=(8, 8))
    >>> found = al.jacobian_spectrum(model, data, "translate1", images=5, draws=2)
    >>> found.rows, found.columns, found.method, len(found.values)
    (50, 698, 'rows', 50)
    """
    start = time.perf_counter()
    strong, gentle = as_given(policy), as_given("none" if weak is None else weak)
    _check(data, strong, images=images, draws=draws, method=method, output=output)
    network = bare(model)
    home, _ = placement(network)
    place = home if device is None else torch.device(device)
    probe = torch.randperm(len(data), generator=generator(seed, "probe"))[:images].sort().values
    pixels, labels = data.batch(probe)
    x = pixels.to(place).float() / 255
    ids = probe.to(place)
    x = gentle(x, generator=Keys(ids, seed=derive(seed, "weak")))
    keys = derive(seed, "strong")

    with undisturbed(network, seed=seed):
        logits = Jacobian(network, x).logits()
        _check_logits(logits, labels, probe)
        plain = Jacobian(network, x, output=output)
        shape, count = plain.shape, _top(top, plain.shape)
        chosen, why, memory = _plan(plain, count, method, max_memory)
        dtype = torch.float32 if chosen == "randomised" else torch.float64
        before = Jacobian(network, x, output=output, dtype=dtype)
        residual = None
        if output == "logits" and logits.shape[1] > 1:
            residual = measure(logits, labels.to(place))[2].flatten()
        solver: Exact | Randomised
        if chosen == "randomised":
            solver = Randomised(before, residual, count=count, seed=seed)
        else:
            solver = Exact(before, residual, gram=chosen == "gram")
        dimensions = _dimensions(solver.factors, count, solver.floor)
        changes, passes = [], len(x)
        for draw in track(range(draws), "spectrum"):
            moved = strong(x, generator=Keys(ids, seed=keys, stream=draw))
            if torch.equal(moved, x):
                raise InputError(f"The policy {strong.name} changed none of the {images} images; give one that does.")
            after = Jacobian(network, moved, output=output, dtype=dtype)
            change = solver.change(after, seed=derive(seed, "draw", draw))
            changes.append(_figures(solver.factors, change, residual, dimensions, solver.floor))
            passes += after.passes
    return Spectrum(
        rows=shape[0],
        columns=shape[1],
        images=images,
        output=output,
        policy=strong.name,
        weak=gentle.name,
        draws=draws,
        seed=seed,
        method=chosen,
        why=why,
        floor=solver.floor,
        error=solver.error,
        passes=passes + before.passes,
        seconds=time.perf_counter() - start,
        bytes=memory,
        **_summary(solver, changes, dimensions, shape, residual),
    )


class _Figures(NamedTuple):
    """The numbers of one draw."""

    after: Tensor
    null: Tensor
    growth: tuple[float, float]
    alignment: tuple[Tensor, Tensor] | None
    slow: tuple[float | None, float | None]
    spectral: float
    frobenius: float
    appended: Tensor | None
    stewart: tuple[Tensor, Tensor] | None
    wedin: list[float]
    turned: list[list[Tensor]]  # for each k the angles: left, right, left of the null, right of the null


def _figures(
    before: Factors, change: Change, residual: Tensor | None, dimensions: Sequence[int], floor: float
) -> _Figures:
    """Reduce what a draw gave to numbers, so that no matrix is kept from draw to draw."""
    count = len(before.values)
    small = smaller_half(before.values, floor)

    def growth(values: Tensor) -> float:
        return float((values[:count] / before.values)[small].log().mean())

    def turned(k: int) -> list[Tensor]:
        found = []
        for other in (change.after, change.null):
            right = pad(before.right[:, :k], (0, 0, 0, len(other.right) - len(before.right)))
            found += [angles(before.left[:, :k], other.left[:, :k]), angles(right, other.right[:, :k])]
        return found

    alignment = None
    if residual is not None:
        shares = (other.alignment(residual).cumsum(0)[:count].cpu() for other in (change.after, change.null))
        alignment = (next(shares), next(shares))
    return _Figures(
        after=change.after.values[:count].cpu(),
        null=change.null.values[:count].cpu(),
        growth=(growth(change.after.values), growth(change.null.values)),
        alignment=alignment,
        slow=change.slow,
        spectral=change.spectral,
        frobenius=change.frobenius,
        appended=None if change.appended is None else change.appended[:count].cpu(),
        stewart=None if change.parts is None else bounds.stewart(before.values.cpu(), *change.parts),
        wedin=[bounds.wedin(before.values, change.after.values, change.spectral, k) for k in dimensions],
        turned=[turned(k) for k in dimensions],
    )


def _summary(
    solver: Exact | Randomised,
    draws: list[_Figures],
    dimensions: Sequence[int],
    shape: tuple[int, int],
    residual: Tensor | None,
) -> dict[str, Any]:
    """Give means and spreads over the draws, by the names of `Spectrum`."""
    first, values = draws[0], solver.factors.values.cpu()
    found: dict[str, Any] = {
        "values": values,
        "after": Band.of([draw.after for draw in draws]),
        "null": Band.of([draw.null for draw in draws]),
        "appended": None if first.appended is None else Band.of([cast(Tensor, draw.appended) for draw in draws]),
        "spectral": torch.tensor([draw.spectral for draw in draws], dtype=torch.float64),
        "frobenius": torch.tensor([draw.frobenius for draw in draws], dtype=torch.float64),
        "growth": _contrast([draw.growth for draw in draws]),
        "subspaces": tuple(_subspaces(k, i, draws) for i, k in enumerate(dimensions)),
        "stewart": None,
        "predicted": None,
        "slow": solver.slow,
        **dict.fromkeys(("alignment", "alignment_after", "alignment_null", "slow_contrast")),
    }
    if first.stewart is not None:  # exact, so all values are there
        low, high = zip(*(cast(tuple[Tensor, Tensor], draw.stewart) for draw in draws), strict=True)
        found["stewart"] = torch.stack([torch.stack(low).amin(0), torch.stack(high).amax(0)])
        variance = float(found["frobenius"].square().mean()) / (shape[0] * shape[1])
        found["predicted"] = bounds.isotropic(values, variance, shape)
    if residual is not None:
        pairs = [cast(tuple[Tensor, Tensor], draw.alignment) for draw in draws]
        found["alignment"] = solver.factors.alignment(residual).cumsum(0).cpu()
        found["alignment_after"], found["alignment_null"] = (Band.of(list(side)) for side in zip(*pairs, strict=True))
        found["slow_contrast"] = _contrast([cast(tuple[float, float], draw.slow) for draw in draws])
    return found


def _contrast(pairs: list[tuple[float, float]]) -> Contrast:
    after, null = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return Contrast(after, null)


def _subspaces(k: int, position: int, draws: list[_Figures]) -> Subspaces:
    def summary(side: int) -> dict[str, float]:
        rows = torch.stack([draw.turned[position][side] for draw in draws])  # (draws, k)
        largest = rows[:, 0]
        return {"largest": float(largest.mean()), "largest_std": float(largest.std()), "average": float(rows.mean())}

    left, right, null_left, null_right = (summary(side) for side in range(4))
    return Subspaces(k, left, right, null_left, null_right, max(draw.wedin[position] for draw in draws))


def _check(data: Any, policy: Policy, *, images: int, draws: int, method: str, output: str) -> None:
    """Make sure that the options fit, before anything is computed."""
    if not hasattr(data, "batch"):
        raise InputError(
            f"The spectrum was asked for on a {type(data).__name__}; give an ImageSet, such as auglean.load gives."
        )
    if not 1 <= images <= len(data):
        raise InputError(f"A probe of {images} images was asked for; give 1 to {len(data)}, as many as the data have.")
    if draws < 2:
        raise InputError(f"The number of draws is {draws}; give 2 or more, since the null is judged by their spread.")
    if method not in get_args(Method):
        raise unknown("method", method, get_args(Method))
    if output not in get_args(Output):
        raise unknown("output", output, get_args(Output))
    if isinstance(policy, Identity):
        raise InputError("The policy is 'none'; give one that changes images, such as translate2-rotate15.")


def _check_logits(logits: Tensor, labels: Tensor, probe: Tensor) -> None:
    bad = (~torch.isfinite(logits)).any(1).nonzero().flatten().cpu()
    if len(bad):
        raise InputError(
            f"The network gives logits that are not finite for {len(bad)} of {len(logits)} probe images, first image "
            f"{int(probe[bad[0]])}; look for NaN in its weights or in that image."
        )
    if int(labels.max()) >= max(2, logits.shape[1]):
        raise InputError(
            f"The network gives {logits.shape[1]} logits but there is a label {int(labels.max())}; "
            "give the data that it was trained on."
        )


def _top(top: int | None, shape: tuple[int, int]) -> int:
    """Check the number of leading singular values."""
    most = min(shape)
    if top is None:
        return min(_TOP, most)
    if not 1 <= top <= most:
        raise InputError(
            f"The leading {top} singular values were asked for, but the Jacobian is {shape[0]} × {shape[1]}; "
            f"give 1 to {most}, or more images."
        )
    return top


def _plan(jacobian: Jacobian, top: int, method: Method, limit: int) -> tuple[str, str, int]:
    """Choose how to compute; give also why, and the bytes that it takes."""
    needs = {
        "rows": Rows.bytes(jacobian),
        "gram": Gram.bytes(jacobian),
        "randomised": Randomised.bytes(jacobian, top),
    }
    sizes = {name: f"{size / 2**20:,.0f} MiB" for name, size in needs.items()}
    allowed = f"{limit / 2**20:,.0f} MiB"
    if method != "randomised" and needs["rows"] <= limit:
        return "rows", f"the rows take {sizes['rows']} of {allowed}", needs["rows"]
    if method == "exact" and needs["gram"] <= limit:
        why = f"the rows would take {sizes['rows']} of {allowed}, their products take {sizes['gram']}"
        return "gram", f"{why}; values under 1e-7 of the largest are rounding", needs["gram"]
    if method == "exact":
        raise InputError(
            f"The exact spectrum takes {min(needs['rows'], needs['gram']) / 2**20:,.0f} MiB but max_memory is "
            f'{allowed}; give fewer images, more max_memory or method="randomised".'
        )
    if needs["randomised"] > limit:
        raise InputError(
            f"The randomised spectrum takes {sizes['randomised']} for the leading {top} singular values but "
            f'max_memory is {allowed}; give a smaller top, more max_memory or output="sum".'
        )
    why = "as asked" if method == "randomised" else f"the rows would take {sizes['rows']} of {allowed}"
    return "randomised", why, needs["randomised"]


def _dimensions(factors: Factors, top: int, floor: float) -> list[int]:
    """List the dimensions of the subspaces: a few, each with a singular value after it that is no rounding."""
    sound = int((factors.values > floor * factors.values[0]).sum())
    return [k for k in _DIMENSIONS if k <= top and k < min(sound, len(factors.values))]
