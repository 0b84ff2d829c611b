"""The law of log g against compute, and draws of every problem's difficulty: what a forecast of pass rates rests on.

    g(C) ~ phi + (1 - phi) (C / C_max)^-k      k: GPT-4's exponent; phi: the share of the difficulty that the largest
                                               run has and that no compute removes (0: GPT-4's law, no floor)
    log g_r = log g(C_r) + e_r                 e_r ~ N(0, sigma^2), chance of run r: all problems are easier at once

The data enter as the quadratic that `difficulty.py` has found: log g_R ~ N(pseudo_R, info_RR^-1), level unknown. The
prior is on the slope at the largest run, which is what is seen: s = k (1 - phi) ~ N(K_PRIOR), positive under a floor.
phi = 0 has the prior probability 1 - FLOOR_PRIOR, else phi is uniform: without a floor 1,000x ahead is another world
than with one, and four scales do not tell. The posterior of (phi, sigma, s) is summed on a grid of equal steps in s, so
that the prior's density is its weight; then log g, e and the mixing are drawn given it.
Shapes: S draws, R runs, I problems, P patterns of counts, Q grid of difficulty, M grid of (s, phi).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fits.count_cells import likelihoods
from fits.difficulty import CONCENTRATION, Difficulty
from scaling.fitted import FitStatus
from scaling.pass_rates import bends

FLOOR_PRIOR = 0.2
K_PRIOR = 0.2, 0.5  # mean, sd of s: rates of the field lie within .05 .. .5; negative is inverse scaling
SIGMA_SCALE, SIGMA_DEGREES = 0.15, 3.0  # of run to run, on log g: half of a t, whose tail lets few runs say otherwise
SIGMAS = np.array([0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.5])
FLOORS = np.linspace(0.05, 0.95, 10)
REACH, STEP, MOST_STEPS = 5.0, 0.075, 3000  # of the grid of s: to either side, and apart, in standard errors
SWEEPS = 8  # of Gibbs for the mixing, from its optimum
BLOCK = 500_000  # numbers of one batch of draws: what a cache holds
ONE_SD = math.erf(math.sqrt(0.5))  # share of a normal within one standard deviation


def log_law(log_x: np.ndarray, k: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """log g (M, R) at log(C / C_max) (R,), for k and phi (M,)."""
    return np.log(phi[:, None] + (1 - phi[:, None]) * np.exp(-k[:, None] * log_x))


def log_sigma(sigmas: np.ndarray) -> np.ndarray:
    """Log prior density of the size of a run's chance, up to a constant."""
    return -(SIGMA_DEGREES + 1) / 2 * np.log1p((sigmas / SIGMA_SCALE) ** 2 / SIGMA_DEGREES)


@dataclass(frozen=True)
class LawPosterior:
    """The grid posterior. `lack_of_fit`: p-value of no floor against one, a chi-square with one degree of freedom on
    its bound, at the most likely sigma (None: a floor is given); `floor`: posterior probability of a floor."""

    found: Difficulty
    k_M: np.ndarray
    phi_M: np.ndarray
    step: float  # of s = k (1 - phi) between neighbours on the grid
    log_weight_MS: np.ndarray  # (M, sigmas)
    lack_of_fit: float | None

    @cached_property
    def weight_MS(self) -> np.ndarray:
        weight = np.exp(self.log_weight_MS - self.log_weight_MS.max())
        return weight / weight.sum()

    @property
    def floor(self) -> float:
        return float(self.weight_MS[self.phi_M > 0].sum())

    def exponent(self) -> tuple[float, float]:
        """Mean of k without a floor, which is GPT-4's exponent (of all k where a floor is given), and half the width
        of the interval about it that holds 68 % of the posterior, floors and all: of a normal, its sd."""
        weight_M = self.weight_MS.sum(1)
        plain_M = np.where(self.phi_M == 0, weight_M, 0.0)
        own_M = plain_M if plain_M.any() else weight_M
        mean = float(own_M @ self.k_M / own_M.sum())
        return mean, _half_width(self.k_M, self.step / (1 - self.phi_M), weight_M, mean)

    @property
    def status(self) -> FitStatus:
        """NOT_IDENTIFIED: the exponent is within two of its standard errors of 0, or of its prior's width, or is that
        of a law which the counts bend away from."""
        if len(np.unique(self.found.counts.x_R)) < 2:
            return FitStatus.TOO_FEW_POINTS
        mean, sd = self.exponent()
        open_ = abs(mean) < 2 * sd or sd > K_PRIOR[1] / 2 or bends(self.lack_of_fit, self.floor)
        return FitStatus.NOT_IDENTIFIED if open_ else FitStatus.CONVERGED


def _half_width(k_M: np.ndarray, cell_M: np.ndarray, weight_M: np.ndarray, mean: float) -> float:
    """Of the interval about `mean` that holds ONE_SD of the weights, each spread over its cell."""
    edge_E = np.concatenate([k_M - cell_M / 2, k_M + cell_M / 2])
    turn_E = np.concatenate([weight_M / cell_M, -weight_M / cell_M])  # of the density
    order = np.argsort(edge_E)
    edge_E = edge_E[order]
    below_E = np.append(0.0, np.cumsum(np.cumsum(turn_E[order])[:-1] * np.diff(edge_E)))
    off_E = np.sort(np.abs(edge_E - mean))
    high_E, low_E = (np.interp(mean + sign * off_E, edge_E, below_E) for sign in (1, -1))
    return float(np.interp(ONE_SD, high_E - low_E, off_E))


def law_posterior(found: Difficulty, floor: bool | None = None) -> LawPosterior:
    """`floor`: None weighs both forms, True and False take one of them for given."""
    log_x = np.log(found.counts.x_R / found.counts.x_R.max())
    slope_K = _slopes(found, log_x)
    slope_M, phi_M = (a.ravel() for a in np.meshgrid(slope_K, np.append(0.0, FLOORS), indexing="ij"))
    kept = (phi_M == 0) | (slope_M > 0)
    slope_M, phi_M = slope_M[kept], phi_M[kept]
    k_M = slope_M / (1 - phi_M)
    off_MR = found.pseudo_R - log_law(log_x, k_M, phi_M)
    columns = []
    for sigma in SIGMAS:
        kernel_RR, log_det = _marginal(found.info_RR, sigma)
        columns.append(-0.5 * ((off_MR @ kernel_RR) * off_MR).sum(1) - 0.5 * log_det)
    fit_MS = np.column_stack(columns) + log_sigma(SIGMAS) + np.log(np.gradient(SIGMAS))
    log_weight_MS = fit_MS + _log_prior(slope_M, phi_M, floor)[:, None]
    step = float(slope_K[1] - slope_K[0])
    return LawPosterior(found, k_M, phi_M, step, log_weight_MS, None if floor else _floor_test(fit_MS, phi_M))


def _log_prior(slope_M: np.ndarray, phi_M: np.ndarray, floor: bool | None) -> np.ndarray:
    """Log density in s, up to one constant: a floor's half of the normal is one whole, so that its share is
    FLOOR_PRIOR."""
    mean, sd = K_PRIOR
    half = math.log(0.5 * math.erfc(-mean / sd / math.sqrt(2)))  # log P(s > 0)
    some = {None: FLOOR_PRIOR, True: 1.0, False: 0.0}[floor]
    with np.errstate(divide="ignore"):
        share_M = np.log(np.where(phi_M > 0, some / len(FLOORS), 1 - some))
    return -((slope_M - mean) ** 2) / (2 * sd**2) - np.where(phi_M > 0, half, 0.0) + share_M


def _floor_test(fit_MS: np.ndarray, phi_M: np.ndarray) -> float:
    from scipy.stats import chi2

    column = fit_MS[:, int(np.argmax(fit_MS[phi_M == 0].max(0)))]  # the sigma that speaks for no floor
    gain = 2 * (column[phi_M > 0].max() - column[phi_M == 0].max())
    return 0.5 * float(chi2.sf(gain, 1)) if gain > 0 else 1.0


def _slopes(found: Difficulty, log_x: np.ndarray) -> np.ndarray:
    """Equal steps of s: REACH standard errors about the line's, and down to 0, which is where a floor brings it."""
    centred = log_x - log_x.mean()
    spread = float(centred @ found.info_RR @ centred) + 1 / K_PRIOR[1] ** 2
    middle = (-float(centred @ found.info_RR @ found.pseudo_R) + K_PRIOR[0] / K_PRIOR[1] ** 2) / spread
    # a run's own chance widens what the counts alone would say: as a rule, and at the most
    near, far = (
        min(math.hypot(spread**-0.5, sigma / max(float(np.sqrt(centred @ centred)), 1e-9)), K_PRIOR[1])
        for sigma in (SIGMA_SCALE, float(SIGMAS[-1]))
    )
    low, high = min(middle - REACH * far, 0.0), max(middle, 0.0) + REACH * far
    return np.linspace(low, high, int(np.clip((high - low) / (STEP * near), 2, MOST_STEPS)) + 1)


def _marginal(info_RR: np.ndarray, sigma: float) -> tuple[np.ndarray, float]:
    """(precision of pseudo_R about the law with each run's chance in, log det of its ratio to the counts' alone)."""
    eye = np.eye(len(info_RR))
    inner = eye + sigma**2 * info_RR
    return np.linalg.solve(inner, info_RR), float(np.linalg.slogdet(inner)[1])


@dataclass(frozen=True)
class LawDraws:
    """S draws: the law's parameters, run noise, log g of the runs, and u of every problem. Level: u and log g as in
    the fit (mean log g over the runs is 0)."""

    k_S: np.ndarray
    phi_S: np.ndarray
    sigma_S: np.ndarray
    level_S: np.ndarray
    x_max: float
    u_SI: np.ndarray

    def log_g(self, x_G: np.ndarray) -> np.ndarray:
        """(S, G), without any run's own chance."""
        return log_law(np.log(np.asarray(x_G, float) / self.x_max), self.k_S, self.phi_S) - self.level_S[:, None]

    def joined(self, other: LawDraws) -> LawDraws:
        names = ("k_S", "phi_S", "sigma_S", "level_S")
        k, phi, sigma, level = (np.concatenate([getattr(self, n), getattr(other, n)]) for n in names)
        return LawDraws(k, phi, sigma, level, self.x_max, np.concatenate([self.u_SI, other.u_SI]))


def draw_law(law: LawPosterior, count: int, rng: np.random.Generator) -> LawDraws:
    found, counts = law.found, law.found.counts
    log_x = np.log(counts.x_R / counts.x_R.max())
    flat = rng.choice(law.weight_MS.size, size=count, p=law.weight_MS.ravel())
    m_S, sigma_S = flat // len(SIGMAS), SIGMAS[flat % len(SIGMAS)]
    phi_S = law.phi_M[m_S]
    k_S = law.k_M[m_S] + law.step * (rng.random(count) - 0.5) / (1 - phi_S)  # a point stands for its cell
    mean_SR = log_law(log_x, k_S, phi_S)
    level_S = mean_SR.mean(1)
    log_g_SR = mean_SR - level_S[:, None]
    for sigma in np.unique(sigma_S[sigma_S > 0]):
        at = np.flatnonzero(sigma_S == sigma)
        precision = found.info_RR + np.eye(counts.runs) / sigma**2
        middle = np.linalg.solve(precision, found.info_RR @ (found.pseudo_R - log_g_SR[at]).T).T
        noise = np.linalg.solve(np.linalg.cholesky(precision).T, rng.standard_normal((counts.runs, len(at)))).T
        log_g_SR[at] += middle + noise
    u_SI = draw_problems(found, log_g_SR, rng)
    return LawDraws(k_S, phi_S, sigma_S, level_S, float(counts.x_R.max()), u_SI)


def draw_problems(found: Difficulty, log_g_SR: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """u (S, I): the mixing given each draw of log g, then every problem's difficulty given both and its counts."""
    size = max(1, BLOCK // (found.counts.patterns[0].problems * len(found.u_Q)))
    parts = [_problems(found, log_g_SR[i : i + size], rng) for i in range(0, len(log_g_SR), size)]
    return np.concatenate(parts)


def _problems(found: Difficulty, log_g_SR: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, step = len(log_g_SR), float(np.diff(found.u_Q[:2])[0]) if len(found.u_Q) > 1 else 0.0
    if found.kind == "free":
        shift_S, scale_S = np.zeros(count), np.ones(count)
    else:
        shift_S, scale_S = _mixing_draws(found, log_g_SR, rng)
    u_SQ = (
        found.mu + shift_S[:, None] + (found.u_Q - found.mu) * scale_S[:, None]
        if found.kind != "free"
        else np.tile(found.u_Q, (count, 1))
    )
    L_SPQ = likelihoods(found.counts.patterns[0], log_g_SR, u_SQ, found.rho)
    L_SPQ -= L_SPQ.max(2, keepdims=True)
    np.exp(L_SPQ, out=L_SPQ)
    w_SQ = np.tile(found.w_Q, (count, 1))
    which_I = found.counts.patterns[1]
    if found.kind == "free":
        nodes, row_S1 = len(found.u_Q), np.arange(count)[:, None]
        base_Q = base_weights(found)
        w_SQ = (found.counts.problems * w_SQ + CONCENTRATION * base_Q) / (found.counts.problems + CONCENTRATION)
        for _ in range(SWEEPS):
            z_SI = _pick(L_SPQ, w_SQ, which_I, rng)
            tally = np.bincount((row_S1 * nodes + z_SI).ravel(), minlength=count * nodes).reshape(count, nodes)
            w_SQ = rng.standard_gamma(tally + CONCENTRATION * base_Q + 1e-12)
            w_SQ /= w_SQ.sum(1, keepdims=True)
    z_SI = _pick(L_SPQ, w_SQ, which_I, rng)
    jitter = step * scale_S[:, None] * (rng.random(z_SI.shape) - 0.5)  # a node stands for its cell
    return np.take_along_axis(u_SQ, z_SI, 1) + jitter


def _pick(L_SPQ: np.ndarray, w_SQ: np.ndarray, which_I: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Number of the node (S, I), drawn from the posterior of each problem, which all problems of one pattern share. The
    posteriors lie one after another on one line, cumulated: one search finds all."""
    draws, patterns, nodes = L_SPQ.shape
    line_SPQ = np.cumsum(L_SPQ * w_SQ[:, None], axis=2)
    line_SPQ /= line_SPQ[..., -1:].copy()
    row_SP = np.arange(draws * patterns).reshape(draws, patterns)
    line_SPQ += row_SP[..., None]
    row_SI = row_SP[:, which_I]
    at_SI = np.searchsorted(line_SPQ.ravel(), row_SI + rng.random(row_SI.shape), side="right")
    return np.clip(at_SI - row_SI * nodes, 0, nodes - 1)


def _mixing_draws(found: Difficulty, log_g_SR: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(shift of mu, factor on tau) given log g: normal, by the information at the optimum."""
    count = len(log_g_SR)
    if found.kind == "one":
        info = max(found.mixing_info[0, 0], 1e-9)
        return -(log_g_SR - found.log_g_R) @ found.cross_MR[0] / info + rng.standard_normal(count) / np.sqrt(
            info
        ), np.ones(count)
    info = found.mixing_info + np.diag([1e-3, 1.0])  # one problem has no spread: log tau then has a unit prior
    mean_SM = -np.linalg.solve(info, found.cross_MR @ (log_g_SR - found.log_g_R).T).T
    draws_SM = mean_SM + np.linalg.solve(np.linalg.cholesky(info).T, rng.standard_normal((2, count))).T
    return draws_SM[:, 0], np.exp(np.clip(draws_SM[:, 1], -2.0, 2.0))


def base_weights(found: Difficulty) -> np.ndarray:
    """The lognormal that a free mixing leans on, on its grid: mean and spread of its own weights, a third wider."""
    mean = float(found.w_Q @ found.u_Q)
    spread = max(4 / 3 * float(np.sqrt(found.w_Q @ (found.u_Q - mean) ** 2)), 0.3)
    weight = np.exp(-(((found.u_Q - mean) / spread) ** 2) / 2)
    return weight / weight.sum()
