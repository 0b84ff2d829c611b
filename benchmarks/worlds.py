"""Forecasts on simulated curves whose truth is known: the average of laws against one law's usual intervals.

    python benchmarks/worlds.py [repeats]        # 8 repeats: three minutes on one core

Every curve has n points over a factor of 1,000 with relative noise; what is scored is one more run at the target, 2x to
1,000x further. CRPS on log value; "against posterior" is the paired difference of CRPS, in % of the posterior's mean
CRPS, with its standard error over curves.

    average      several laws with a misfit process (fits/averaging.py)
    posterior    one power law with a floor: refits to redrawn runs under the default prior (fits.fit)
    bootstrap    the same law without a prior, rows drawn with replacement (fits/plain.py)
    delta        the same law at its optimum, errors propagated linearly
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

from fits.averaging import average
from fits.estimate import fit_points, optimum
from fits.members import curve_of
from fits.plain import bootstrap_quantiles
from fits.points import Points, points_of
from fits.solver import Problems
from fits.uncertainty import predictive_draws
from scaling.cli import table
from scaling.fitted import LEVELS
from scaling.laws import POWER
from scaling.observations import Observation, Observations

SPAN, SMALLEST = 1e3, 1e18  # FLOP
POINTS, NOISES, FACTORS = (5, 10, 20), (0.005, 0.02, 0.05), (2.0, 10.0, 100.0, 1000.0)
GRID = np.linspace(0.005, 0.995, 199)


def bent(at: float, before: float, after: float) -> Callable[[np.ndarray], np.ndarray]:
    """A power law whose exponent changes at `at` times the smallest compute; floor .5."""
    return lambda c: 0.5 + 2 * c**-before * (1 + (c / at) ** 2) ** (-(after - before) / 2)


WORLDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "power": lambda c: 0.5 + 2 * c**-0.3,
    "no floor": lambda c: 2 * c**-0.15,
    "shifted": lambda c: 0.5 + 4 * (c + 20) ** -0.4,
    "break inside": bent(30.0, 0.1, 0.4),
    "break beyond": bent(1e4, 0.3, 0.1),
    "plateau": lambda c: np.maximum(0.5 + 2 * c**-0.3, 1.0),
    "U": lambda c: np.exp(0.02 * (np.log(c) - np.log(100)) ** 2),
    "noise only": lambda c: 0 * c + 1.0,
}


def points_in(world: Callable[[np.ndarray], np.ndarray], n: int, noise: float, seed: list[int]) -> Points:
    c = np.geomspace(1, SPAN, n)
    values = world(c) * np.exp(noise * np.random.default_rng(seed).standard_normal(n))
    rows = [
        Observation(id=f"{i}", trial=f"{i}", base_trial=f"{i}", stage="unstated", metric="loss", protocol="simulated",
                    value=float(v), inputs={"C": SMALLEST * float(x)}, se=None, se_kind="none")
        for i, (x, v) in enumerate(zip(c, values, strict=True))
    ]  # fmt: skip
    return points_of(POWER, Observations.of(rows))


def delta_quantiles(points: Points, x: np.ndarray) -> np.ndarray:
    """(199, G): normal on log value, variance J C J' and the noise's own."""
    made, _ = optimum(POWER, points, priors=())
    sd = np.sqrt(made.noise.variance(points))
    problems = Problems(POWER, made.inputs, made.objective, made.targets[None], (1 / sd)[None])
    covariance = np.linalg.pinv(problems.information(made.theta[None])[0])
    at = {"C": x, **made.references}
    value = POWER.value(made.theta[None], **at)[0]
    slope = POWER.jacobian(made.theta[None], **at)[0] / value[:, None]
    spread = np.sqrt(np.einsum("gp,pq,gq->g", slope, covariance, slope) + made.noise.run**2)
    from scipy.stats import norm

    return np.log(value) + spread * norm.ppf(GRID)[:, None]


def forecasts(points: Points, x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Quantiles (199, G) of log value of one more run, by method."""
    fit = fit_points(POWER, points, seed=seed, resamples=400)
    boot = np.array([np.interp(GRID, LEVELS, np.log(np.maximum(bootstrap_quantiles(fit, v), 1e-9))) for v in x]).T
    return {
        "average": np.quantile(np.log(average(curve_of(points), seed=seed, particles=512).draws(x)[0]), GRID, axis=0),
        "posterior": np.quantile(np.log(predictive_draws(fit, x)[0]), GRID, axis=0),
        "bootstrap": boot,
        "delta": delta_quantiles(points, x),
    }


def score(quantiles: np.ndarray, z: float) -> dict[str, float]:
    """CRPS as twice the mean quantile loss, coverage, width."""
    loss = 2 * np.mean(np.where(z >= quantiles, GRID, 1 - GRID) * np.abs(z - quantiles))
    low, high = np.interp((0.1, 0.9), GRID, quantiles)
    outer = np.interp((0.05, 0.95), GRID, quantiles)
    return {"crps": float(loss), "80": low <= z <= high, "90": outer[0] <= z <= outer[1], "width": float(high - low)}


def main(repeats: int) -> None:
    rows = []
    x = SMALLEST * SPAN * np.array(FACTORS)
    for name, world in WORLDS.items():
        for n, noise, k in [(n, noise, k) for n in POINTS for noise in NOISES for k in range(repeats)]:
            seed = [k, n, round(1e4 * noise)]
            points = points_in(world, n, noise, [*seed, 0])
            truth = np.log(world(SPAN * np.array(FACTORS)))
            truth = truth + noise * np.random.default_rng([*seed, 1]).standard_normal(len(FACTORS))
            for method, quantiles in forecasts(points, x, k).items():
                for g, factor in enumerate(FACTORS):
                    found = score(quantiles[:, g], truth[g])
                    rows.append({"world": name, "factor": factor, "method": method, "curve": (n, noise, k), **found})
    report(pd.DataFrame(rows), f"{POINTS} points x noise {NOISES} x repeats")


def report(frame: pd.DataFrame, curves: str) -> None:
    lines = []
    for (world, factor), group in frame.groupby(["world", "factor"], sort=False):
        by = group.pivot(index="curve", columns="method", values="crps")
        for method, one in group.groupby("method", sort=False):
            gap = 100 * (by[method] - by["posterior"]) / by["posterior"].mean()
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            lines.append(
                (
                    world, f"{factor:g}x", method, f"{one['80'].mean():.2f}", f"{one['90'].mean():.2f}",
                    f"{one['width'].median():.3f}", f"{one['crps'].mean():.4f}",
                    "" if method == "posterior" else f"{gap.mean():+.0f} ± {error:.0f} %",
                )
            )  # fmt: skip
    head = ("world", "target", "method", "inside 80 %", "inside 90 %", "80 % width", "CRPS", "against posterior")
    print(f"{frame['curve'].nunique()} curves a world: {curves}\n")
    print(table(head, lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
