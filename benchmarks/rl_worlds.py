"""RL runs of known truth that are seen only before their inflection: do intervals of the end hold it, and what is said?

    python -m benchmarks.rl_worlds [--runs 10] [--only "B 2"]

    slow start    .03 + .6 / (1 + (C_mid / C)^B), C_mid uniform on 300 .. 600 of 1,000 steps, noise .02; B = 2, 3, 4, 6
    plateau       .1 + noise until a start uniform on 150 .. 500, then .6 (1 - exp(-(C - start) / 150))
    early         the same slow start with C_mid uniform on 30 .. 60 and B = 1.2: what must stay known
    flat          .3 and noise, to the end
    zeros         0 in what is seen, then a rise; dead: 0 to the end

What is seen: the first 10 and 15 % of the steps. The end: the mean of the rows of the last twentieth, noise included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fits.rl_curves import rl_average
from scaling.cli import table
from scaling.fitted import FitStatus
from scaling.trajectories import RunForecast, Trajectory

STEPS = 1000
SHARES = (0.1, 0.15)
Draw = np.random.Generator
World = Callable[[np.ndarray, Draw], tuple[np.ndarray, float]]


def slow_start(steepness: float, first: float = 300.0, last: float = 600.0, noise: float = 0.02) -> World:
    def made(x: np.ndarray, draw: Draw) -> tuple[np.ndarray, float]:
        middle = draw.uniform(first, last)
        return 0.03 + 0.6 / (1 + (middle / x) ** steepness) + noise * draw.standard_normal(len(x)), 0.63

    return made


def plateau(x: np.ndarray, draw: Draw) -> tuple[np.ndarray, float]:
    start = draw.uniform(150, 500)
    rise = 0.6 * -np.expm1(-np.maximum(x - start, 0) / 150)
    return 0.1 + rise + 0.02 * draw.standard_normal(len(x)), 0.7


def flat(x: np.ndarray, draw: Draw) -> tuple[np.ndarray, float]:
    return 0.3 + 0.02 * draw.standard_normal(len(x)), 0.3


def zeros(x: np.ndarray, draw: Draw) -> tuple[np.ndarray, float]:
    rise = 0.5 / (1 + (draw.uniform(300, 600) / x) ** 4)
    return np.where(x <= max(SHARES) * STEPS, 0.0, rise + 0.02 * draw.standard_normal(len(x))), 0.5


def dead(x: np.ndarray, draw: Draw) -> tuple[np.ndarray, float]:
    return np.zeros(len(x)), 0.0


WORLDS: dict[str, World] = {
    **{f"B {b}": slow_start(b) for b in (2, 3, 4, 6)},
    "plateau": plateau,
    "zeros": zeros,
    "early": slow_start(1.2, 30.0, 60.0),
    "flat": flat,
    "dead": dead,
}


def runs_of(world: str, count: int) -> list[tuple[Trajectory, float]]:
    """(whole run, its asymptote)."""
    draw, x = np.random.default_rng(11), np.arange(1.0, STEPS + 1)
    made = (WORLDS[world](x, draw) for _ in range(count))
    return [(Trajectory(x, np.clip(y, 0, 1)), asymptote) for y, asymptote in made]


def foretold(whole: Trajectory, share: float, seed: int = 0, **options: Any) -> RunForecast:
    return rl_average(whole.until(share * whole.last), seed=seed, **options).forecast(whole.last)


def row_of(world: str, share: float, count: int) -> list[object]:
    runs = runs_of(world, count)
    found = [(foretold(run, share, k), run.ending, top) for k, (run, top) in enumerate(runs)]
    end = [f.final.covers(true, 0.9) for f, true, _ in found]
    top = [f.asymptote.covers(true, 0.9) for f, _, true in found]
    known = [f.status is FitStatus.CONVERGED for f, _, _ in found]
    missed = [k and not e for k, e in zip(known, end, strict=True)]
    low, high = np.mean([f.final.interval(0.9) for f, _, _ in found], axis=0)
    crps = np.mean([f.final.crps(true) for f, true, _ in found])
    return [world, f"{100 * share:.0f} %", count, f"{np.mean(end):.2f}", f"{np.mean(top):.2f}",
            f"{np.mean(known):.2f}", sum(missed), f"{low:.2f} .. {high:.2f}",
            f"{np.mean([true for _, true, _ in found]):.2f}", f"{crps:.4f}"]  # fmt: skip


HEADERS = ["world", "known", "runs", "end in 90 %", "asymptote in 90 %", "CONVERGED", "of them missed", "mean 90 %",
           "mean end", "CRPS"]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="runs of a world")
    parser.add_argument("--only", choices=WORLDS, help="one world")
    options = parser.parse_args(arguments)
    began = time.process_time()
    names = [options.only] if options.only else list(WORLDS)
    print(table(HEADERS, [row_of(name, share, options.runs) for name in names for share in SHARES]))
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
