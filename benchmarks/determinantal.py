"""k-DPPs: exact draws beside dppy's, and the greedy subset beside submodlib's and a plain update for every pick.

Points are Gaussian, centred, at unit length. The exact draws are of 2,000 points, k = d/2: ours and dppy's from the
same factors (its dual kernel and its Gram-Schmidt sampler); the first draw, and a further one with the spectrum at
hand. The greedy subset is held against submodlib's LogDeterminant and against leverages that are lowered pick by pick,
which must give the same picks; then comes 50,000 x 512, k = 5,000, of which the plain update is timed for 250 picks.

    python benchmarks/determinantal.py [--threads 1] [--rounds 5] [--out benchmarks/results/determinantal.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, seconds, take_turns, write
from rich.console import Console
from rich.table import Table
from torch import Tensor

from auglean.selection import greedy_log_determinant, sample_k_dpp
from auglean.selection.dpp_sampling import spectrum

SPEC = (
    118.0  # seconds that the plain update of 50,000 × 512, k = 5,000 took on two cores, to be reached within 1.5 times
)


def points(n: int, d: int) -> Tensor:
    found = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(n + d))
    found -= found.mean(0)
    return found / found.norm(dim=1, keepdim=True)


def plain_greedy(rows: Tensor, k: int) -> list[int]:
    """Lower every leverage after every pick."""
    inverse, leverage, picks = torch.eye(rows.shape[1], dtype=rows.dtype), rows.square().sum(1), []
    for _ in range(k):
        best = float(leverage.max())
        at = int((leverage >= best * (1 - 1e-12)).nonzero()[0])
        direction = inverse @ rows[at] / (1 + best) ** 0.5
        inverse -= torch.outer(direction, direction)
        leverage -= (rows @ direction).square_()
        leverage[at] = -torch.inf
        picks.append(at)
    return picks


def exact(n: int, d: int, rounds: int) -> dict[str, Any]:
    from dppy.finite_dpps import FiniteDPP

    rows, k, state = points(n, d), d // 2, np.random.RandomState(0)
    g = torch.Generator().manual_seed(0)
    peer = FiniteDPP("likelihood", L_gram_factor=rows.T.numpy())

    def first() -> None:
        sample_k_dpp(*spectrum(rows), k, g)

    def second() -> None:
        peer = FiniteDPP("likelihood", L_gram_factor=rows.T.numpy())
        peer.sample_exact_k_dpp(k, mode="GS", random_state=state)

    found = take_turns(first, second, rounds)
    logs, vectors = spectrum(rows)
    peer.sample_exact_k_dpp(k, mode="GS", random_state=state)
    again = take_turns(
        lambda: sample_k_dpp(logs, vectors, k, g),
        lambda: peer.sample_exact_k_dpp(k, mode="GS", random_state=state),
        rounds,
    )
    return {"n": n, "d": d, "k": k, "first_draw": found, "next_draw": again}


def overflow(n: int = 1000, d: int = 256, k: int = 100, scale: float = 1e6) -> dict[str, str]:
    """What comes of a kernel of scale 10⁶, at which the polynomials leave the range of double."""
    from dppy.finite_dpps import FiniteDPP

    rows = points(n, d) * scale**0.5
    picks = sample_k_dpp(*spectrum(rows), k, torch.Generator().manual_seed(0))
    told = {"auglean": f"{len(picks)} picks"}
    try:
        peer = FiniteDPP("likelihood", L_gram_factor=rows.T.numpy())
        with np.errstate(all="ignore"):
            peer.sample_exact_k_dpp(k, random_state=np.random.RandomState(0))
        told["dppy"] = f"{len(peer.list_of_samples[-1])} picks"
    except Exception as error:
        told["dppy"] = f"{type(error).__name__}: {error}"
    return told


def small_greedy(n: int, d: int, k: int) -> dict[str, Any]:
    from submodlib import LogDeterminantFunction

    rows = points(n, d)
    found: dict[str, list[int]] = {}
    times = {
        "auglean": seconds(lambda: found.update(auglean=greedy_log_determinant(rows, k)[0].tolist())),
        "plain": seconds(lambda: found.update(plain=plain_greedy(rows, k))),
    }
    kernel = (rows @ rows.T).numpy()
    for optimizer in ("NaiveGreedy", "LazyGreedy"):

        def submodlib(optimizer: str = optimizer) -> None:
            function = LogDeterminantFunction(n=n, mode="dense", lambdaVal=1.0, sijs=kernel)
            chosen = function.maximize(budget=k, optimizer=optimizer, show_progress=False, stopIfNegativeGain=False)
            found[f"submodlib {optimizer}"] = [int(index) for index, _ in chosen]

        times[f"submodlib {optimizer}"] = seconds(submodlib)
    same = {name: picks == found["plain"] for name, picks in found.items()}
    return {"n": n, "d": d, "k": k, "seconds": times, "same_picks_as_plain": same}


def large_greedy(n: int, d: int, k: int, few: int) -> dict[str, Any]:
    rows = points(n, d)
    found: dict[str, Any] = {}
    part = seconds(lambda: found.update(plain=plain_greedy(rows, few)))
    whole = seconds(lambda: found.update(auglean=greedy_log_determinant(rows, k)))
    picks, gains = found["auglean"]
    return {
        "n": n, "d": d, "k": k, "seconds": whole, "log_determinant": float(gains.sum()),
        "plain_picks": few, "plain_seconds": part, "plain_seconds_for_k": part * k / few,
        "same_picks_as_plain": picks[:few].tolist() == found["plain"], "of_118_seconds": whole / SPEC,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "determinantal.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    drawn = [exact(2000, d, options.rounds) for d in (64, 128, 256)]
    small, large = small_greedy(1500, 64, 200), large_greedy(50_000, 512, 5000, few=250)
    write(options.out, "cpu", aim="50,000 x 512, k = 5,000 within 1.5 times 118 s", threads=options.threads,
          rounds=options.rounds, exact=drawn, overflow=overflow(), greedy=[small, large])  # fmt: skip
    table = Table("what", "n", "d", "k", "auglean, s", "peer, s", "ratio")

    def line(what: str, row: dict[str, Any], own: float, peer: float) -> None:
        table.add_row(what, *(str(row[x]) for x in "ndk"), f"{own:.3f}", f"{peer:.3f}", f"{peer / own:.1f}")

    for row in drawn:
        for what in ("first_draw", "next_draw"):
            line(f"{what.replace('_', ' ')}, dppy", row, row[what]["first_seconds"], row[what]["second_seconds"])
    for name, took in small["seconds"].items():
        line(f"greedy, {name}", small, small["seconds"]["auglean"], took)
    line("greedy, plain (from 250 picks)", large, large["seconds"], large["plain_seconds_for_k"])
    Console().print(table)


if __name__ == "__main__":
    main()
