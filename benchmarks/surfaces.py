"""Forecasts over L(N, D) on simulated worlds whose truth is known and on public runs: the average of laws against one.

    python benchmarks/surfaces.py [repeats]      # 6 repeats: five minutes on one core
    SCALING_PUBLIC_DATA=folder python benchmarks/surfaces.py 0      # the public runs only

A world's runs are an IsoFLOP grid: five budgets over 100x of compute, five sizes of 1/4 to 4 times the best one, with
relative noise. What is scored is one more run at 10x and 100x the largest budget, of 1/3, 1 and 3 times the best size.
Public runs: those below a cut in compute forecast all at or above it. CRPS on log value; "against posterior" is the
paired difference of CRPS, in % of the posterior's mean, with its standard error over worlds.

    surface      laws averaged by evidence with a misfit process (fits/surfaces.py)
    posterior    chinchilla: refits to redrawn runs under the default prior (fits.fit)
    bootstrap    chinchilla without a prior, rows drawn with replacement, and one of its residuals
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from worlds import GRID, report, score

from fits.estimate import fit_points, optimum
from fits.points import Points, points_of, take
from fits.solver import Problems, minimise
from fits.splits import split
from fits.surfaces import DRAWS, fit_surface, places_of
from fits.uncertainty import predictive_draws
from scaling.cli import table
from scaling.laws import CHINCHILLA
from scaling.observations import Observation, Observations

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import published

Truth = Callable[[np.ndarray, np.ndarray], np.ndarray]
BUDGETS = np.geomspace(1e18, 1e20, 5)  # FLOP
SIZES, HELD = (0.25, 0.5, 1.0, 2.0, 4.0), (1 / 3, 1.0, 3.0)  # of the best size
NOISES, FACTORS, BOOTSTRAPS = (0.003, 0.01, 0.03), (10.0, 100.0), 300
FEWEST = 6  # places (N, D) that a forecast starts from


def chinchilla(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return 1.82 + 482.0 * n**-0.348 + 2085.0 * d**-0.366


def kaplan(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return ((8.8e13 / n) ** (0.076 / 0.095) + 5.4e13 / d) ** 0.095


def kaplan_with_floor(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return 1.6 + ((4.75e7 / n) ** (0.3 / 0.35) + 4.65e8 / d) ** 0.35


def broken(at: float) -> Truth:
    """chinchilla whose data exponent falls to a third beyond `at` tokens."""
    return lambda n, d: 1.82 + 482.0 * n**-0.348 + 2085.0 * d**-0.366 * (1 + (d / at) ** 2) ** (0.244 / 2)


WORLDS: dict[str, Truth] = {
    "chinchilla": chinchilla,
    "kaplan": kaplan,
    "kaplan, floor": kaplan_with_floor,
    "break inside": broken(3e9),
    "break beyond": broken(1e11),
}


def best_size(world: Truth, c: float) -> float:
    n = np.geomspace(1e5, 1e13, 4001)
    return float(n[np.argmin(world(n, c / (6 * n)))])


def runs(n: np.ndarray, d: np.ndarray, values: np.ndarray) -> Observations:
    return Observations.of(
        Observation(id=f"{i}", trial=f"{i}", base_trial=f"{i}", stage="unstated", metric="loss", protocol="p",
                    value=float(v), inputs={"C": 6.0 * a * b, "N": float(a), "D": float(b)}, se=None, se_kind="none")
        for i, (a, b, v) in enumerate(zip(n, d, values, strict=True))
    )  # fmt: skip


def grid(world: Truth, budgets: np.ndarray, sizes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) of every budget and multiple of its best size."""
    n = np.array([best_size(world, c) * k for c in budgets for k in sizes])
    return n, np.repeat(budgets, len(sizes)) / (6 * n)


def bootstrap(points: Points, inputs: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """(S, n) on log value."""
    made, _ = optimum(CHINCHILLA, points, priors=())
    rng, n = np.random.default_rng([seed, 7]), len(points)
    count = rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAPS).astype(float)
    problems = Problems(CHINCHILLA, made.inputs, made.objective, made.targets[None], np.sqrt(count))
    found = minimise(problems, np.tile(made.theta, (BOOTSTRAPS, 1)), steps=60, tolerance=1e-6).parameters_SP
    z = np.log(CHINCHILLA.value(found, **inputs, **made.references))
    return z + rng.choice(made.residual, (BOOTSTRAPS, 1))


def forecasts(
    known: Points, at: Points, seed: int, budgets: np.ndarray, **options: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By method: quantiles (199, n) of log value of one more run, and draws (S, G) of the log of the best size."""
    fit = fit_points(CHINCHILLA, known, seed=seed, resamples=400)
    made = fit_surface(places_of(known), seed=seed, **options)
    sizes = {
        "surface": np.log(np.array([split(made, float(c)).n_S for c in budgets]).T),
        "posterior": best_sizes(CHINCHILLA.constants_of(fit.draws_SP, **fit.references), budgets),
    }
    draws = {
        "surface": np.log(made.draws(at.inputs["N"], at.inputs["D"])[0]),
        "posterior": np.log(np.maximum(predictive_draws(fit, at.x, at.inputs)[0], 1e-9)),
        "bootstrap": bootstrap(known, dict(at.inputs), seed),
    }
    return {name: np.quantile(z, GRID, axis=0) for name, z in draws.items()}, sizes


def best_sizes(usual: dict[str, np.ndarray], budgets: np.ndarray) -> np.ndarray:
    """(S, G): log N* of chinchilla, where alpha A N^-alpha = beta B D^-beta with 6 N D = C; none where a term is 0."""
    a, b = usual["alpha"], usual["beta"]
    with np.errstate(divide="ignore"):
        ratio = np.log(a * usual["A"]) - np.log(b * usual["B"])
    return (ratio[:, None] + np.outer(b, np.log(budgets / 6))) / (a + b)[:, None]


def simulated(repeats: int, first: int = 0, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of forecasts, and of the intervals of the best size."""
    rows, splits = [], []
    for name, world in WORLDS.items():
        n, d = grid(world, BUDGETS, SIZES)
        n_far, d_far = grid(world, BUDGETS[-1] * np.array(FACTORS), HELD)
        for noise, k in [(noise, first + k) for noise in NOISES for k in range(repeats)]:
            rng = np.random.default_rng([k, round(1e4 * noise)])
            known, far = (
                points_of(CHINCHILLA, runs(a, b, world(a, b) * np.exp(noise * rng.standard_normal(len(a)))))
                for a, b in ((n, d), (n_far, d_far))
            )
            made, sizes = forecasts(known, far, k, BUDGETS[-1] * np.array(FACTORS), **options)
            for method, log_n in sizes.items():
                for factor, log_n_S in zip(FACTORS, log_n.T, strict=True):
                    true = np.log(best_size(world, BUDGETS[-1] * factor))
                    low, inner, upper, high = np.quantile(log_n_S, [0.05, 0.1, 0.9, 0.95], method="nearest")
                    splits.append({"world": name, "factor": factor, "method": method, "80": inner <= true <= upper,
                                   "90": low <= true <= high, "width": np.exp(upper - inner)})  # fmt: skip
            for method, quantiles in made.items():
                for i, c in enumerate(far.x):
                    found = score(quantiles[:, i], float(np.log(far.value[i])))
                    factor = round(c / BUDGETS[-1])
                    rows.append({"world": name, "factor": factor, "method": method, "curve": (noise, k), **found})
    frame = pd.DataFrame(rows)
    keys = ["world", "factor", "method", "curve"]
    # the runs at one factor share one fit
    return frame.groupby(keys, sort=False, as_index=False).mean(), pd.DataFrame(splits)


def public() -> dict[str, pd.DataFrame]:
    """N, D, loss of the sets that are there, by name."""
    found = {}
    if path := published.data_file("chinchilla_svg.csv"):
        found["chinchilla_svg"] = pd.read_csv(path).sort_values("loss").iloc[:-5]
    if path := published.data_file("porian_isoflop_points.csv"):
        isoflop = pd.read_csv(path).rename(columns={"n": "N", "tokens": "D"})
        found |= {f"porian {name.split('#')[1]}": one for name, one in isoflop.groupby("config")}
    if path := published.data_file("gadre_redpajama.csv"):
        found["gadre"] = pd.read_csv(path).rename(columns={"loss_c4_val": "loss"})
    return {name: one.dropna(subset=["N", "D", "loss"]) for name, one in found.items()}


def held_out(cuts: tuple[float, ...] = (8.0, 64.0)) -> pd.DataFrame:
    """Mean scores of the runs at or above each cut, a row per set, cut and method."""
    rows = []
    for name, data in public().items():
        points = points_of(CHINCHILLA, runs(*(data[c].to_numpy(float) for c in ("N", "D", "loss"))))
        for cut in cuts:
            below = points.x < points.x.max() / cut
            known, rest = take(points, below), take(points, ~below)
            if len(np.unique(np.column_stack(list(known.inputs.values())), axis=0)) < FEWEST:
                continue
            hidden = replace(rest, value=np.full(len(rest), np.nan), se=np.full(len(rest), np.nan))
            for method, quantiles in forecasts(known, hidden, 0, np.array([]))[0].items():
                found = pd.DataFrame([score(quantiles[:, i], np.log(v)) for i, v in enumerate(rest.value)]).mean()
                bias = 100 * float(np.mean(np.exp(quantiles[len(GRID) // 2]) / rest.value - 1))
                sizes = f"{len(known)} -> {len(rest)}"
                rows.append({"data": name, "known below": f"max/{cut:g}", "runs": sizes, "method": method, "bias": bias,
                             **found})  # fmt: skip
    return pd.DataFrame(rows)


def report_splits(frame: pd.DataFrame) -> None:
    print("\nthe best size at the target's compute; width: upper over lower end of the 80 % interval, median\n")
    lines = [
        (
            world,
            f"{factor:g}x",
            method,
            f"{one['80'].mean():.2f}",
            f"{one['90'].mean():.2f}",
            f"{one['width'].median():.2f}",
        )
        for (world, factor), group in frame.groupby(["world", "factor"], sort=False)
        for method, one in group.groupby("method", sort=False)
    ]
    print(table(("world", "target", "method", "inside 80 %", "inside 90 %", "80 % width, x"), lines), "\n")


def report_held_out(frame: pd.DataFrame) -> None:
    shown = [
        (one["data"], one["known below"], one["runs"], one["method"], f"{one['80']:.2f}", f"{one['90']:.2f}",
         f"{one['width']:.3f}", f"{one['crps']:.4f}", f"{one['bias']:+.1f} %")
        for _, one in frame.iterrows()
    ]  # fmt: skip
    head = ("data", "known below", "runs", "method", "inside 80 %", "inside 90 %", "80 % width", "CRPS", "bias")
    print(
        table(head, shown), "\n\nmeans over the sets; CRPS over that of the posterior, geometric mean x/÷ its error\n"
    )
    lines = []
    for cut, group in frame.groupby("known below", sort=False):
        crps = np.log(group.pivot(index="data", columns="method", values="crps"))
        for method, one in group.groupby("method", sort=False):
            gap = crps[method] - crps["posterior"]
            ratio = f"{np.exp(gap.mean()):.2f} x/÷ {np.exp(gap.std(ddof=1) / np.sqrt(len(gap))):.2f}"
            lines.append((cut, len(one), method, f"{one['80'].mean():.2f}", f"{one['90'].mean():.2f}",
                          f"{one['width'].mean():.3f}", "" if method == "posterior" else ratio))  # fmt: skip
    head = ("known below", "sets", "method", "inside 80 %", "inside 90 %", "80 % width", "CRPS over posterior's")
    print(table(head, lines))


def main(repeats: int) -> None:
    if repeats:
        frame, splits = simulated(repeats)
        report(frame, f"25 runs, noise {NOISES} x repeats; {DRAWS} draws")
        report_splits(splits)
    if public():
        report_held_out(held_out())
    else:
        print("no public data: set SCALING_PUBLIC_DATA to the folder that holds them")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
