"""Do the counts look like what a form of difficulty, fitted to them, makes? The counts are redrawn from the fit.

    one         T = sum_i (sum_r z_ir)^2     z_ir = (c_ir - n_ir p_r) / sd_ir, p_r the run's own mean, when redrawn too;
                                             of problems alike, what one misses in one run tells of no other run
    lognormal   T = mean_i (F - F_0)^2(t_i)  t: log(-log) of the share passed in all runs, less its mean, in units of
                                             its sd over the problems, as a fit would have it (Cramer and von Mises;
                                             Lilliefors 1967); F_0 of all redrawings

p: share of redrawings whose T is as large. Shapes: B tables (the data, then the redrawings), R runs, I problems.
"""

from __future__ import annotations

import numpy as np

from fits.count_cells import Counts
from fits.difficulty import Difficulty

REDRAWN = 499
MOST = 4_000_000  # cells of all redrawings


def contradiction(found: Difficulty, seed: int = 0) -> float | None:
    """p-value of the form of difficulty on its own counts; None for the free one, which contradicts nothing."""
    if found.kind == "free":
        return None
    counts, rng = found.counts, np.random.default_rng(seed)
    times = int(np.clip(MOST // counts.c_RI.size, 99, REDRAWN))
    redrawn = [_redrawn(found, rng) for _ in range(times)]
    if found.kind == "one":
        T_B = np.array([_dispersion(counts, c_RI, found.rho) for c_RI in (counts.c_RI, *redrawn)])
    else:
        T_B = _distances(np.array([_placed(counts, c_RI) for c_RI in (counts.c_RI, *redrawn)]))
    smaller_B = T_B[0] * (1 - 1e-9) > T_B  # but for rounding
    return 1 - float(np.mean(smaller_B))


def _redrawn(found: Difficulty, rng: np.random.Generator) -> np.ndarray:
    """Counts (R, I) of other problems of the same kind."""
    u_I = found.mu + found.tau * rng.standard_normal(found.counts.problems)
    p_RI = np.exp(-np.exp(np.minimum(u_I + found.log_g_R[:, None], 20.0)))
    if found.rho:
        size = 1 / found.rho - 1
        p_RI = rng.beta(np.maximum(p_RI * size, 1e-12), np.maximum((1 - p_RI) * size, 1e-12))
    return rng.binomial(found.counts.n_RI.astype(int), p_RI)


def _dispersion(counts: Counts, c_RI: np.ndarray, rho: float) -> float:
    n_RI = counts.n_RI
    p_R1 = (c_RI.sum(1) / n_RI.sum(1))[:, None]
    variance_RI = n_RI * p_R1 * (1 - p_R1) * (1 + np.maximum(n_RI - 1, 0) * rho)
    z_RI = (c_RI - n_RI * p_R1) / np.sqrt(np.maximum(variance_RI, 1e-12))
    return float(np.sum(z_RI.sum(0) ** 2))


def _placed(counts: Counts, c_RI: np.ndarray) -> np.ndarray:
    """t (I,): where each problem lies among all, by its passes in all runs."""
    t_I = np.log(-np.log((c_RI.sum(0) + 0.3) / (counts.n_RI.sum(0) + 0.6)))
    return (t_I - t_I.mean()) / max(float(t_I.std()), 1e-9)


def _distances(t_BI: np.ndarray) -> np.ndarray:
    """T (B,) of each row against all rows but the first, which is the data."""
    whole = np.sort(t_BI[1:].ravel())
    t_BI = np.sort(t_BI, axis=1)
    own_I = (np.arange(t_BI.shape[1]) + 0.5) / t_BI.shape[1]
    low, high = (np.searchsorted(whole, t_BI, side) / len(whole) for side in ("left", "right"))
    return np.mean((own_I - (low + high) / 2) ** 2, axis=1)
