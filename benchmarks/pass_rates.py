"""Pass rates from counts, held to known truths. Prints the tables of docs/log.md; some minutes on one core:

    python benchmarks/pass_rates.py [simulations, default 100]
    SCALING_PUBLIC_DATA=folder python benchmarks/pass_rates.py

1. Simulations: 100 problems, 16 samples, four runs at 1e-6 .. 1e-3 of the target's compute, -log p_i = alpha_i C^-.12
   (C in units of the target). lognormal: log alpha ~ N(-.5, .7^2), mean pass rates .10 .15 .21 .28, .53 at the target;
   dropping problems never solved gives k = .049 there, clamping them to half a pass .070. bimodal: half of the problems
   log alpha ~ N(-2.3, .2^2), half N(1.1, .2^2). alike: log alpha = -.5 for all; scattered: so too, but the rates of one
   run scatter (beta, correlation .1): there the forms that call all problems alike, and the beta-binomial, are right.
   noisy: lognormal, and every run makes all problems easier or harder at once by e^N(0, .2^2). floored: lognormal, half
   of the difficulty at the target is one that no compute removes: the exponent of a law without a floor is another.
2. Coverage: from 100 of the 10,000 samples per problem of monkeys_math_counts.csv to pass@10,000.
3. Pythia across scales: the same counts, larger models foretold from smaller ones.
Data that are not there are said and left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fits.attempts import coverage
from fits.count_cells import Counts
from fits.counts import FromCounts, fit_passes
from scaling.cli import table
from scaling.fitted import FitStatus, Subject
from scaling.metrics import neg_log_pass_of_counts

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import published

SCALES = 10.0 ** np.arange(-6, -2)  # of the target's compute
EXPONENT, PROBLEMS, SAMPLES = 0.12, 100, 16
LEVEL, SPREAD = -0.5, 0.7
MODES, WITHIN = (-2.3, 1.1), 0.2
LAWFUL = ("lognormal", "bimodal", "alike", "scattered")  # GPT-4's law and nothing else
WORLDS = (*LAWFUL, "noisy", "floored")
RHO, CHANCE, FLOOR = 0.1, 0.2, 0.5
SIZES = {"70M": 7e7, "160M": 1.6e8, "410M": 4.1e8, "1B": 1e9, "2.8B": 2.8e9, "6.9B": 6.9e9, "12B": 1.2e10}
TOKENS = 3e11
RMSE, OFF = {"lognormal": 0.03, "bimodal": 0.035}, 0.006  # gates: E[pass] at the target, mean exponent
INSIDE, WRONG = 0.8, 0.05  # noisy: share of 90 % intervals that hold, of exponents wrong with confidence


def world(kind: str, seed: int) -> tuple[Counts, float]:
    """Counts of one simulation, and the true E[pass] of its problems at the target."""
    rng = np.random.default_rng([seed, WORLDS.index(kind)])
    log_alpha = np.full(PROBLEMS, LEVEL)
    if kind in ("lognormal", "noisy", "floored"):
        log_alpha = LEVEL + SPREAD * rng.standard_normal(PROBLEMS)
    elif kind == "bimodal":
        log_alpha = rng.permutation(np.repeat(MODES, PROBLEMS // 2)) + WITHIN * rng.standard_normal(PROBLEMS)
    alpha = np.exp(log_alpha)
    g_R = SCALES**-EXPONENT
    if kind == "noisy":
        g_R = g_R * np.exp(CHANCE * rng.standard_normal(len(SCALES)))
    elif kind == "floored":
        g_R = FLOOR + (1 - FLOOR) * g_R
    p = np.exp(-alpha * g_R[:, None])
    rate = rng.beta(p * (1 / RHO - 1), (1 - p) * (1 / RHO - 1)) if kind == "scattered" else p
    return Counts(SCALES, np.full(p.shape, SAMPLES), rng.binomial(SAMPLES, rate)), float(np.exp(-alpha).mean())


def naive_exponent(counts: Counts, *, drop: bool) -> float:
    """GPT-4's law on means of -log(c / n): problems without a pass dropped, or given half a pass."""
    rate = counts.c_RI / counts.n_RI
    means = [
        -np.log(r[r > 0]).mean() if drop else -np.log(np.maximum(r, 0.5 / n)).mean()
        for r, n in zip(rate, counts.n_RI, strict=True)
    ]
    return float(-np.polyfit(np.log(counts.x_R), np.log(means), 1)[0])


def simulate(kind: str, likelihood: str, count: int, draws: int = 300) -> pd.DataFrame:
    """One row per simulation: the exponent, its error and status, E[pass] at the target and its 90 % interval."""
    rows = []
    for seed in range(count):
        counts, truth = world(kind, seed)
        made = fit_passes(counts, likelihood, draws=draws, seed=seed)
        found, p_S = made.summary, made.pass_rates(1.0)
        low, middle, high = np.quantile(p_S, [0.05, 0.5, 0.95])
        off = abs(found.exponent - EXPONENT) / found.exponent_se
        rows.append(
            {
                "exponent": found.exponent,
                "exponent_se": found.exponent_se,
                "confident": found.status == FitStatus.CONVERGED,
                "wrong": found.status == FitStatus.CONVERGED and off > 3,
                "error": middle - truth,
                "width": high - low,
                "covered": low <= truth <= high,
                "mixture": found.weights.get("mixture", 0.0),
                "drop": naive_exponent(counts, drop=True),
                "clamp": naive_exponent(counts, drop=False),
            }
        )
    return pd.DataFrame(rows)


def simulations(count: int) -> bool:
    """Prints the tables and whether the issue's gates held."""
    rows, gates = [], []
    for kind in WORLDS:
        for likelihood in ("auto", "hierarchical", "mixture", "beta-binomial", "binomial"):
            found = simulate(kind, likelihood, count)
            rmse = float(np.sqrt(np.mean(found["error"] ** 2)))
            rows.append(
                [kind, likelihood, f"{found['exponent'].mean():.4f}", f"{found['exponent'].std():.4f}"]
                + [f"{found['exponent_se'].mean():.4f}", f"{found['confident'].mean():.2f}", int(found["wrong"].sum())]
                + [f"{found['error'].mean():+.4f}", f"{rmse:.4f}", f"{found['covered'].mean():.2f}"]
                + [f"{found['width'].mean():.3f}", f"{found['mixture'].mean():.2f}"]
            )
            if kind in LAWFUL:
                gates.append((f"{kind}, {likelihood}: no exponent wrong with confidence", not found["wrong"].any()))
            if likelihood == "auto" and kind == "noisy":
                inside, wrong = float(found["covered"].mean()), float(found["wrong"].mean())
                gates.append((f"{kind}: {inside:.2f} >= {INSIDE} of the intervals hold", inside >= INSIDE))
                gates.append((f"{kind}: {wrong:.2f} <= {WRONG} wrong with confidence", wrong <= WRONG))
            if likelihood == "auto" and kind in RMSE:
                gates.append((f"{kind}: RMSE of E[pass] {rmse:.4f} <= {RMSE[kind]}", rmse <= RMSE[kind]))
            if likelihood == "auto" and kind == "lognormal":
                off = abs(float(found["exponent"].mean()) - EXPONENT)
                gates.append((f"{kind}: |mean k - {EXPONENT}| = {off:.4f} < {OFF}", off < OFF))
        rows.append([kind, "zeros dropped", f"{found['drop'].mean():.4f}", f"{found['drop'].std():.4f}", *[""] * 8])
        rows.append([kind, "zeros clamped", f"{found['clamp'].mean():.4f}", f"{found['clamp'].std():.4f}", *[""] * 8])
    headers = ["world", "likelihood", "mean k", "sd", "stated", "CONVERGED", "k off > 3 se", "E[pass] error", "RMSE"]
    print(f"{count} simulations, true k {EXPONENT}")
    print(table([*headers, "in 90 %", "width", "mixture's weight"], rows))
    print("\n".join(f"{'held' if held else 'FAILED'}: {gate}" for gate, held in gates), flush=True)
    return all(held for _, held in gates)


def monkeys(path: Path) -> dict[str, np.ndarray]:
    """Passes of 10,000 per problem, by model, smallest first."""
    data = pd.read_csv(path)
    return {name: data[data["model"] == f"Pythia {name}"].sort_values("problem")["c"].to_numpy() for name in SIZES}


def thinned(c: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Passes among n of the 10,000 samples, drawn without replacement."""
    return np.random.default_rng(seed).hypergeometric(c, 10_000 - c, n)


def attempts(path: Path, repeats: int) -> tuple[list[list[str]], np.ndarray]:
    """Rows by model, and in how many of the 7 models the 90 % interval held, for each repeat."""
    rows, hits = [], np.zeros(repeats, int)
    for name, c in monkeys(path).items():
        truth = float(np.mean(c > 0))
        made = [coverage(np.full(len(c), 100), thinned(c, 100, seed), [10_000], draws=800) for seed in range(repeats)]
        low, high = np.array([f.interval() for f in made])[..., 0].T
        inside = (low <= truth) & (truth <= high)
        hits += inside
        error, naive = (np.array(v) - truth for v in ([f.median[0] for f in made], [f.naive_K[0] for f in made]))
        bounds = np.array([(f.low_K[0], f.high_K[0]) for f in made])
        rows.append(
            [name, f"{truth:.3f}", f"{np.mean(error):+.3f}", f"{np.sqrt(np.mean(error**2)):.3f}"]
            + [f"{inside.mean():.2f}", f"{np.mean(high - low):.2f}", f"{np.mean(naive):+.3f}"]
            + [f"{np.sqrt(np.mean(naive**2)):.3f}", f"{bounds[:, 0].mean():.2f} .. {bounds[:, 1].mean():.2f}"]
        )
    return rows, hits


def across(path: Path) -> list[list[str]]:
    """The largest models foretold from the smaller ones, on 100 samples a problem."""
    known = monkeys(path)
    x = np.array([6 * n * TOKENS for n in SIZES.values()])
    c = np.array([thinned(one, 100, 0) for one in known.values()])
    rows = []
    for held in (1, 2, 3):
        for floor in (None, False):
            fit = fit_passes(Counts(x[:-held], np.full(c[:-held].shape, 100), c[:-held]), floor=floor)
            for at in range(len(x) - held, len(x)):
                for metric in ("pass_rate", "neg_log_pass"):
                    n = np.full(c.shape[1], 100)
                    truth = float(np.mean(c[at] / 100 if metric == "pass_rate" else neg_log_pass_of_counts(n, c[at])))
                    draws = FromCounts(Subject(metric, "", "all", ""), fit).draws(np.array([x[at]]))[0]
                    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
                    rows.append(
                        [
                            metric,
                            "no floor" if floor is False else "either",
                            f"{x[at] / x[-held - 1]:.3g}x",
                            f"{truth:.4f}",
                        ]
                        + [f"{middle:.4f}", f"[{low:.4f}, {high:.4f}]", "yes" if low <= truth <= high else "NO"]
                    )
    return rows


def main() -> int:
    held = simulations(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    path = published.data_file("monkeys_math_counts.csv")
    if path is None:
        print("monkeys_math_counts.csv is not there: coverage and Pythia are left out")
        return 0 if held else 1
    rows, hits = attempts(path, 10)
    headers = [
        "Pythia",
        "pass@10k",
        "error",
        "RMSE",
        "in 90 %",
        "width",
        "beta-binomial",
        "its RMSE",
        "any distribution",
    ]
    print("\nfrom 100 samples a problem, 10 draws of them\n" + table(headers, rows))
    print(f"models inside, of 7: {', '.join(map(str, hits))}", flush=True)
    headers = ["metric", "law", "beyond", "measured", "forecast", "90 %", "inside"]
    print("\nlarger models from smaller ones, 100 samples a problem\n" + table(headers, across(path)))
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
