"""The solver against the published procedure, side by side in one run. The first two rows need a public data set
(SCALING_PUBLIC_DATA, else ../shared/data) and are left out where it is not there. Processor seconds of one thread, so
that a busy machine does not decide; half a minute:

    OMP_NUM_THREADS=1 SCALING_PUBLIC_DATA=folder python benchmarks/fit_speed.py [timed share of starts: 24]

published   Hoffmann et al. (2022), appendix D.3: L-BFGS-B on sum Huber(1e-3)(LSE(a - alpha log N, b - beta log D, e) -
            log L) with numerical gradients, from the 4,500 starts of their grid; the bootstraps as Besiroglu et al.
            (2024): 4,000 resamples by BFGS, each from the point that Hoffmann et al. print, here with numerical
            gradients too. A share drawn at random is timed and extrapolated: marked ~
peer        scipy's least_squares with the law's own Jacobian, from one good start a problem; a share of the curves
"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from known_answers import bootstraps, chinchilla_problem, published
from scipy.optimize import least_squares, minimize

from fits.estimate import fit
from fits.objectives import LeastSquares
from fits.problems import Problems
from fits.solver import solve
from scaling.cli import table
from scaling.laws import POWER
from scaling.observations import Observations

STARTS = list(
    itertools.product(range(0, 30, 5), range(0, 30, 5), np.arange(-1, 1.5, 0.5), *[np.arange(0, 2.5, 0.5)] * 2)
)
PRINTED = np.array([np.log(406.4), np.log(410.7), np.log(1.69), 0.34, 0.28])
BOOTSTRAPS, CURVES, ROWS = 4000, 1000, 1_000_000
Row = tuple[str, str, str, str, str]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return work(), time.process_time() - started


def published_fit(
    problems: Problems, start: np.ndarray, counts: np.ndarray | float = 1.0, method: str = "L-BFGS-B"
) -> Any:
    """One descent from (a, b, e, alpha, beta)."""
    log_n, log_d, log_l = np.log(problems.inputs["N"]), np.log(problems.inputs["D"]), problems.targets_Sn[0]
    delta = 1e-3

    def cost(p: np.ndarray) -> float:
        a, b, e, alpha, beta = p
        size = np.abs(np.logaddexp(np.logaddexp(a - alpha * log_n, b - beta * log_d), e) - log_l)
        return float(np.sum(counts * np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))))

    return minimize(cost, start, method=method)


def one_fit(problems: Problems, share: int) -> Row:
    picked = np.random.default_rng(0).choice(len(STARTS), share, replace=False)
    theirs, took = timed(lambda: [published_fit(problems, np.array(STARTS[i], float)).fun for i in picked])
    ours, seconds = _best_of(lambda: solve(problems), 5)
    return _row(
        f"one fit, {len(STARTS):,} starts", took * len(STARTS) / share, seconds, min(theirs), ours.cost_S[0], share
    )


def many_fits(problems: Problems, share: int) -> Row:
    ours, seconds = timed(lambda: bootstraps(problems, BOOTSTRAPS))
    n = problems.length
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), BOOTSTRAPS)
    theirs, took = timed(lambda: [published_fit(problems, PRINTED, counts[i], "BFGS").fun for i in range(share)])
    ratio = np.asarray(theirs) / ours.cost_S[:share]
    row = _row(f"{BOOTSTRAPS:,} bootstraps", took * BOOTSTRAPS / share, seconds, 0.0, 0.0, share)
    return *row[:4], f"theirs / ours {ratio.min():.9f} to {ratio.max():.4f}"


def worlds(problems_S: int, rows: int) -> Problems:
    """Power laws of compute with 1 % noise, every curve at its own compute."""
    rng = np.random.default_rng(0)
    spread = np.sort(rng.uniform(0, 3, (problems_S, rows)), axis=1)
    c = 10 ** (rng.uniform(17, 19, (problems_S, 1)) + spread)
    truth = np.column_stack([rng.uniform(lo, hi, problems_S) for lo, hi in ((0.5, 2), (0.3, 1), (0.1, 0.5))])
    c0 = np.exp(np.log(c).mean(1, keepdims=True))
    z = np.log(POWER.along(truth, C=c, C_0=c0)) + 0.01 * rng.standard_normal(c.shape)
    return Problems(POWER, {"C": c, "C_0": c0}, LeastSquares(), z, np.ones((1, 1)))


def peer(problems: Problems, row: int) -> float:
    """Cost of problem `row` by least_squares from the middle of the grid."""
    inputs = {k: v[row] for k, v in problems.inputs.items()}  # type: ignore[index]
    z = problems.targets_Sn[row]

    def residual(theta: np.ndarray) -> np.ndarray:
        return np.log(POWER.value(theta[None], **inputs)[0]) - z

    def jacobian(theta: np.ndarray) -> np.ndarray:
        return POWER.jacobian(theta[None], **inputs)[0] / POWER.value(theta[None], **inputs)[0][:, None]

    middle = float(np.exp(np.median(z)))
    start, bounds = np.array([middle / 2, middle / 2, 0.3]), (POWER.bounds[:, 0], POWER.bounds[:, 1])
    return float(least_squares(residual, start, jacobian, bounds=bounds, x_scale="jac").cost)


def curves() -> Row:
    problems, share = worlds(CURVES, 50), 50
    theirs, took = timed(lambda: [peer(problems, i) for i in range(share)])
    ours, seconds = _best_of(lambda: solve(problems), 2)
    what = f"{CURVES:,} curves of 50 points"
    return _row(what, took * CURVES / share, seconds, sum(theirs), float(ours.cost_S[:share].sum()), share)


def rows() -> Row:
    problems = worlds(1, ROWS)
    theirs, took = timed(lambda: peer(problems, 0))
    ours, seconds = _best_of(lambda: solve(problems), 2)
    return _row(f"one fit of {ROWS:,} rows", took, seconds, theirs, ours.cost_S[0], 0)


def whole_fit() -> Row:
    """`fits.fit` of a table of ROWS runs: checks, optimum, noise, 1,000 redraws, verdict, digest."""
    problems = worlds(1, ROWS)
    names = np.char.add("run-", np.arange(ROWS).astype(str))
    same = {"stage": "pretrain", "metric": "loss", "protocol": "p", "bucket": "all", "se": np.nan, "se_kind": "none"}
    values = {"value": np.exp(problems.targets_Sn[0]), "C": problems.inputs["C"][0]}  # type: ignore[index]
    columns = {"id": names, "trial": names, "base_trial": names, **same, "final": True, "at": None, **values}
    made, seconds = timed(lambda: fit(POWER, Observations(pd.DataFrame(columns))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    what = f"fits.fit of {ROWS:,} rows, {len(made.draws_SP):,} draws"
    return what, "-", f"{seconds:.1f} s, {peak:.1f} GiB", "-", f"{made.status}, {made.verdict}"


def _best_of(work: Callable[[], Any], times: int) -> tuple[Any, float]:
    """The result and the shortest time: compiling the law is paid once, in the first."""
    found = [timed(work) for _ in range(times)]
    return found[-1][0], min(t for _, t in found)


def _row(what: str, took: float, seconds: float, theirs: float, ours: float, share: int) -> Row:
    label = f"~{took:,.1f} s (from {share})" if share else f"{took:,.1f} s"
    return what, label, f"{seconds:.3f} s", f"{took / seconds:,.0f}x", f"{theirs:.14g} / {ours:.14g}"


if __name__ == "__main__":
    share = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    made: list[Row] = []
    if path := published.data_file("chinchilla_svg.csv"):
        made += [one_fit(chinchilla_problem(path), share), many_fits(chinchilla_problem(path), share)]
    else:
        print("chinchilla_svg.csv is not there: the published procedure is left out")
    made += [curves(), rows(), whole_fit()]
    print(table(("what", "published or peer", "here", "ratio", "objective, theirs / ours"), made))
