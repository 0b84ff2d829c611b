"""What else than compute makes problems easier: regressors of log g beside log C, or for it, and whether they help.

    log g_r = level + sum_j b_j z_jr + e_r,  e_r ~ N(0, sigma^2)      on the counts' own log g (difficulty.py), whose
                                                                       error and its correlations are taken along

z: log C, log of the base model's loss, log of its own -log pass rate ... one number per run. A regressor helps where it
foretells runs that the fit has not seen: each run left out in turn, scored by the log density of its log g given the
others, with and without it; `p` is the share of random exchanges of its values between runs that gain as much.
Shapes: R runs, P regressors, S draws, I problems.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fits.difficulty import Difficulty
from fits.pass_law import SIGMAS, draw_problems, log_sigma
from scaling.errors import InputError, NotEarned

WIDE = 30.0  # prior sd of the level and, in units of a regressor's own spread, of each coefficient
EXCHANGES = 199
LEVEL = 0.05


@dataclass(frozen=True)
class Regression:
    """`coefficient_P` with `se_P`, averaged over sigma; `names` in the order of the columns of `z_RP`."""

    found: Difficulty
    names: tuple[str, ...]
    z_RP: np.ndarray
    weight_K: np.ndarray  # of every sigma in SIGMAS
    mean_KP: np.ndarray
    covariance_KPP: np.ndarray

    @property
    def coefficient_P(self) -> np.ndarray:
        return self.weight_K @ self.mean_KP

    @property
    def se_P(self) -> np.ndarray:
        within = np.einsum("k,kpp->p", self.weight_K, self.covariance_KPP)
        return np.sqrt(within + self.weight_K @ (self.mean_KP - self.coefficient_P) ** 2)

    def pass_rates(self, at: Mapping[str, np.ndarray | float], *, draws: int = 1000, seed: int = 0) -> np.ndarray:
        """Draws (S,) of one run's E[pass] over the counted problems where the regressors are `at`: a number each, or
        its own draws (S,), which makes the error of what foretells a regressor part of the answer."""
        missing = [n for n in self.names if n not in at]
        if missing:
            raise InputError(f"the regressor {missing[0]} has no value where the forecast is asked for")
        rng = np.random.default_rng(seed)
        z_SP = np.column_stack([np.broadcast_to(np.asarray(at[n], float), (draws,)) for n in self.names])
        k_S = rng.choice(len(SIGMAS), draws, p=self.weight_K)
        mean_RP = self.z_RP.mean(0)
        log_g_SR, ahead_S = np.empty((draws, self.found.counts.runs)), np.empty(draws)
        for k in np.unique(k_S):
            rows = np.flatnonzero(k_S == k)
            root = np.linalg.cholesky(self.covariance_KPP[k] + 1e-12 * np.eye(len(self.names)))
            b_SP = self.mean_KP[k] + rng.standard_normal((len(rows), len(self.names))) @ root.T
            line_SR = b_SP @ (self.z_RP - mean_RP).T
            log_g_SR[rows] = line_SR + _chances(self.found, line_SR, float(SIGMAS[k]), rng)
            chance_S = SIGMAS[k] * rng.standard_normal(len(rows))
            ahead_S[rows] = (b_SP * (z_SP[rows] - mean_RP)).sum(1) + chance_S
        u_SI = draw_problems(self.found, log_g_SR, rng)
        return np.exp(-np.exp(np.minimum(u_SI + ahead_S[:, None], 20.0))).mean(1)


def _chances(found: Difficulty, line_SR: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Draws (S, R) of what the runs lie off their line, given their counts."""
    if not sigma:
        return np.zeros(line_SR.shape)
    precision = found.info_RR + np.eye(found.counts.runs) / sigma**2
    middle_SR = np.linalg.solve(precision, found.info_RR @ (found.pseudo_R - line_SR).T).T
    root = np.linalg.cholesky(precision)
    return middle_SR + np.linalg.solve(root.T, rng.standard_normal((found.counts.runs, len(line_SR)))).T


def regress(found: Difficulty, regressors: Mapping[str, np.ndarray]) -> Regression:
    """Fit log g to the regressors, (R,) each. Raises NotEarned with fewer runs than coefficients."""
    z_RP = _columns(found, regressors)
    spread_P = np.maximum(z_RP.std(0), 1e-12)
    precision = np.diag(1 / (WIDE / spread_P) ** 2)
    centred = z_RP - z_RP.mean(0)
    log_K, means, covariances = [], [], []
    for sigma in SIGMAS:
        inner = np.eye(len(z_RP)) + sigma**2 * found.info_RR
        kernel = np.linalg.solve(inner, found.info_RR)
        normal = centred.T @ kernel @ centred + precision
        mean = np.linalg.solve(normal, centred.T @ kernel @ found.pseudo_R)
        left = found.pseudo_R - centred @ mean
        fit = left @ kernel @ left + mean @ precision @ mean
        log_det = np.linalg.slogdet(inner)[1] + np.linalg.slogdet(normal)[1]
        log_K.append(-0.5 * (fit + log_det))
        means.append(mean)
        covariances.append(np.linalg.inv(normal))
    log_weight = np.array(log_K) + log_sigma(SIGMAS) + np.log(np.gradient(SIGMAS))
    weight = np.exp(log_weight - log_weight.max())
    return Regression(found, tuple(regressors), z_RP, weight / weight.sum(), np.array(means), np.array(covariances))


@dataclass(frozen=True)
class CovariateTest:
    """`gain`: nats of log score per run left out, with the regressor against without; `helps`: it gains, and no more
    than LEVEL of the random exchanges do as well."""

    name: str
    coefficient: float
    se: float
    gain: float
    p: float
    runs: int

    @property
    def helps(self) -> bool:
        return self.gain > 0 and self.p <= LEVEL

    def __str__(self) -> str:
        verdict = "helps" if self.helps else "does not help"
        return (
            f"{self.name}: coefficient {self.coefficient:.3g} ± {self.se:.2g}; {verdict} on runs left out "
            f"({self.gain:+.2f} nats a run, p = {self.p:.2f}, {self.runs} runs)"
        )


def covariate_test(
    found: Difficulty, name: str, z_R: np.ndarray, beside: Mapping[str, np.ndarray] | None = None, *, seed: int = 0
) -> CovariateTest:
    """Does `z_R` foretell unseen runs beyond what `beside` does (default: log C)?"""
    base = dict(beside) if beside is not None else {"log C": np.log(found.counts.x_R)}
    whole = {**base, name: np.asarray(z_R, float)}
    columns = _columns(found, whole)
    if len(columns) < columns.shape[1] + 3:
        raise NotEarned(
            f"{len(columns)} runs do not test {columns.shape[1]} regressors out of sample",
            f"at least {columns.shape[1] + 3} runs are needed",
        )
    without = _score(found, columns[:, :-1])
    # exchanged is what the others do not explain: a copy of log C must not gain by being shuffled
    design = np.column_stack([np.ones(len(columns)), columns[:, :-1]])
    fitted = design @ np.linalg.lstsq(design, columns[:, -1], rcond=None)[0]
    left = columns[:, -1] - fitted
    gain = (_score(found, columns) - without) / len(columns)
    rng, more = np.random.default_rng(seed), 0
    for _ in range(EXCHANGES):
        mixed = np.column_stack([columns[:, :-1], fitted + rng.permutation(left)])
        more += (_score(found, mixed) - without) / len(columns) >= gain - 1e-12
    made = regress(found, whole)
    p = (1 + more) / (1 + EXCHANGES)
    return CovariateTest(name, float(made.coefficient_P[-1]), float(made.se_P[-1]), float(gain), p, len(columns))


def _score(found: Difficulty, z_RP: np.ndarray) -> float:
    """Sum over runs of the log density of a run's log g given the others', at the best sigma. In closed form: with K
    the inverse covariance, a run lies off by [K y]_r / K_rr with variance 1 / K_rr (Rasmussen and Williams 2006, 5.12).
    """
    spread_P = np.maximum(z_RP.std(0), 1e-12)
    z = np.column_stack([np.full(len(z_RP), WIDE), (z_RP - z_RP.mean(0)) / spread_P])
    counted = np.linalg.pinv(found.info_RR, rcond=1e-9, hermitian=True)
    best = -math.inf
    for sigma, prior in zip(SIGMAS, log_sigma(SIGMAS), strict=True):
        covariance = counted + (sigma**2 + 1e-8) * np.eye(len(z)) + z @ z.T
        K = np.linalg.inv(covariance)
        off, variance = (K @ found.pseudo_R) / np.diag(K), 1 / np.diag(K)
        best = max(best, float(-0.5 * np.sum(off**2 / variance + np.log(2 * math.pi * variance))) + float(prior))
    return best


def _columns(found: Difficulty, regressors: Mapping[str, np.ndarray]) -> np.ndarray:
    runs = found.counts.runs
    for name, values in regressors.items():
        if np.shape(values) != (runs,) or not np.all(np.isfinite(values)):
            raise InputError(f"the regressor {name} needs one finite number for each of {runs} runs")
    z_RP = np.column_stack([np.asarray(v, float) for v in regressors.values()])
    if runs <= z_RP.shape[1]:
        raise NotEarned(f"{runs} runs do not fix {z_RP.shape[1]} coefficients and a level", "add runs")
    return z_RP
