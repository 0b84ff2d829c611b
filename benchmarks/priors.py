"""What the floor's prior costs and buys: bias, coverage, width and CRPS of forecasts where the law is true.

Each world draws an exponent (log-uniform in .05-.6) and a floor (0 in one world of five, else a share of the last value
uniform in 0-.9), makes runs on a ladder, fits, and forecasts the true mean at 10x and 100x. One core, some minutes:

    python benchmarks/priors.py [worlds] [seed]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from fits.estimate import optimum
from fits.points import Points
from fits.priors import Prior, default_priors
from fits.uncertainty import MISFIT, redraws
from scaling.fitted import Subject
from scaling.laws import POWER

RUNGS = np.geomspace(1e9, 1e11, 5)
LADDERS = {
    "4 rungs": (RUNGS[:4], 1),
    "4 rungs x 5": (RUNGS[:4], 5),
    "5 rungs": (RUNGS, 1),
    "5 rungs x 5": (RUNGS, 5),
    "9 scales": (np.geomspace(1e8, 1e12, 9), 1),
}
NOISES, DRAWS = (0.01, 0.03), 300


@dataclass
class Tally:
    error: list
    hit: list
    width: list
    crps: list


def priors_of(kind: str, smallest: float) -> tuple[Prior, ...]:
    if kind == "default":
        return default_priors(POWER, np.array([smallest]))
    if kind == "centred":
        return Prior("exponent", 0.2, 1.0, log=True), Prior("floor", 0.5 * smallest, 0.3 * smallest)
    return ()


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of an ensemble, per target: E|X - y| - E|X - X'| / 2."""
    ordered, n = np.sort(draws, axis=0), len(draws)
    weight = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    return np.abs(ordered - truth).mean(0) - (weight * ordered).sum(0) / n**2


def cell(x: np.ndarray, noise: float, kind: str, worlds: int, seed: int = 5) -> Tally:
    rng, tally = np.random.default_rng(seed), Tally([], [], [], [])
    targets = x.max() * np.array([10.0, 100.0])
    names = tuple(map(str, range(len(x))))
    for world in range(worlds):
        exponent = np.exp(rng.uniform(np.log(0.05), np.log(0.6)))
        floor = rng.uniform(0, 0.9) * (rng.random() > 0.2)

        def mean(c: np.ndarray, floor: float = floor, exponent: float = exponent) -> np.ndarray:
            return floor + (1 - floor) * (c / x.max()) ** -exponent

        values = mean(x) * np.exp(noise * rng.standard_normal(len(x)))
        subject = Subject("loss", "pretrain", "all", "p")
        points = Points(subject, {"C": x}, x, values, np.full(len(x), np.nan), names, names)
        smallest = float(np.exp(points.means(np.log(values)).min()))
        estimate, _ = optimum(POWER, points, priors=priors_of(kind, smallest))
        theta_SP = redraws(estimate, seed=world, draws=DRAWS).parameters_SP
        misfit = estimate.noise.misfit * np.random.default_rng([world, MISFIT]).standard_normal((DRAWS, 1))
        latent = np.log(POWER.value(theta_SP, C=targets, **estimate.references)) + misfit
        truth = np.log(mean(targets))
        low, middle, high = np.quantile(latent, [0.05, 0.5, 0.95], axis=0)
        tally.error.append(middle - truth)
        tally.hit.append((low <= truth) & (truth <= high))
        tally.width.append(high - low)
        tally.crps.append(crps(latent, truth))
    return tally


def main() -> None:
    worlds, seed = (int(a) for a in (sys.argv[1:] + ["300", "5"][len(sys.argv) - 1 :])[:2])
    print(f"{worlds} worlds a row, seed {seed}; % of the value, at 10x / 100x; 90 % interval of the mean\n")
    print("| ladder | noise | prior | bias | rms error | coverage | width (median) | CRPS |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (rungs, times) in LADDERS.items():
        for noise in NOISES:
            for kind in ("flat", "centred", "default"):
                t = cell(np.repeat(rungs, times), noise, kind, worlds, seed)
                error, hit, width, score = (np.array(v) for v in (t.error, t.hit, t.width, t.crps))
                columns = [
                    [f"{100 * v:+.1f}" for v in error.mean(0)],
                    [f"{100 * v:.1f}" for v in np.sqrt((error**2).mean(0))],
                    [f"{v:.2f}" for v in hit.mean(0)],
                    [f"{100 * v:.0f}" for v in np.median(width, axis=0)],
                    [f"{100 * v:.2f}" for v in score.mean(0)],
                ]
                shown = " | ".join(" / ".join(c) for c in columns)
                print(f"| {name} | {100 * noise:.0f} % | {kind} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
