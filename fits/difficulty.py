"""How hard each problem is, how much easier every run makes all of them, from counts of the SAME problems.

    -log p_ir = alpha_i g_r             GPT-4's law for one problem, with any g: a power of compute is one (pass_law.py)
    c_ir ~ Binomial(n_ir, p_ir)         or beta-binomial about p_ir, correlation rho: model and problem interact
    u_i = log alpha_i ~ mixing          "lognormal": N(mu, tau^2);  "free": any distribution, by its weights on a grid
                                        (NPMLE: Kiefer and Wolfowitz 1956);  "one": all problems alike

The marginal likelihood sum_i log sum_q w_q prod_r f(c_ir | u_q + log g_r) takes every count as it is: a problem never
solved says that it is hard, in every run, and how hard is left to the mixing. The normal is integrated on equally
spaced nodes no wider apart than one problem's likelihood: its error there falls like exp(-2 pi^2), that of as many
Gauss-Hermite nodes does not. Shapes: I problems, R runs, Q nodes. log g has mean 0; the level is in u.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from fits.count_cells import Counts, likelihood, slopes, width_of

Kind = Literal["lognormal", "free", "one"]
SPAN = 5.0  # standard deviations to either side
MOST_NODES = 240
TAU = 0.05, 6.0
SLOPE, SLOPE_SD, BEND_SD = -0.3, 1.0, 0.5  # weak prior on log g against log C: it holds runs that solve nothing, or all
NO_INFO = 1e-6  # on a direction of log g, whose unit is 1: less is rounding
STEPS, EM_STEPS = 60, 300
CONCENTRATION = 5.0  # weight of a lognormal that a free mixing leans on, in problems
LARGE_N, LEAST_RHO = 1000, 1e-3  # with so many samples a cell is never taken as purely binomial


def posterior(ll_IQ: np.ndarray, w_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log marginal likelihood (I,), posterior (I, Q) of each problem's difficulty)."""
    top_I = ll_IQ.max(1)
    joint_IQ = np.exp(ll_IQ - top_I[:, None]) * w_Q
    sum_I = joint_IQ.sum(1)
    return top_I + np.log(np.maximum(sum_I, 1e-300)), joint_IQ / np.maximum(sum_I, 1e-300)[:, None]


def npmle(
    ll_IQ: np.ndarray, w_Q: np.ndarray | None = None, steps: int = EM_STEPS, times_I: np.ndarray | None = None
) -> np.ndarray:
    """Weights (Q,) on the grid that make the marginal likelihood largest, by EM: w <- mean over problems of the
    posterior; `times_I`: how many problems a row stands for (default 1). Stops where no weight's gradient exceeds 1 by
    more than 1e-3 (the condition for the optimum)."""
    L = np.exp(ll_IQ - ll_IQ.max(1, keepdims=True))
    w = np.full(L.shape[1], 1 / L.shape[1]) if w_Q is None else 0.98 * w_Q + 0.02 / L.shape[1]
    share_I = np.full(len(L), 1 / len(L)) if times_I is None else times_I / times_I.sum()
    for _ in range(steps):
        gain = L.T @ (share_I / np.maximum(L @ w, 1e-300))
        w = w * gain
        w /= w.sum()
        if gain.max() < 1 + 1e-3:
            break
    return w


@dataclass(frozen=True)
class Difficulty:
    """One fit. `info_RR` is the efficient information on log g (the mixing's own scores projected out, the common level
    too), `score_R` what the data still pull; `mixing_info`, `cross` those of (mu, log tau), for "lognormal"."""

    kind: Kind
    counts: Counts
    rho: float
    log_g_R: np.ndarray
    u_Q: np.ndarray
    w_Q: np.ndarray
    mu: float
    tau: float
    log_likelihood: float
    info_RR: np.ndarray
    score_R: np.ndarray
    mixing_score_M: np.ndarray
    mixing_info: np.ndarray
    cross_MR: np.ndarray
    posterior_IQ: np.ndarray

    @cached_property
    def pseudo_R(self) -> np.ndarray:
        """Where the data alone would put log g: one Newton step from the (weakly held) optimum, in the directions that
        they say anything of."""
        info_R, axes_RR = np.linalg.eigh(self.info_RR)
        known_R = info_R > max(NO_INFO, 1e-9 * info_R[-1])
        steps_R = np.where(known_R, (axes_RR.T @ self.score_R) / np.where(known_R, info_R, 1.0), 0.0)
        return self.log_g_R + axes_RR @ steps_R


def fit_difficulty(counts: Counts, kind: Kind, rho: float = 0.0, start: Difficulty | None = None) -> Difficulty:
    """Maximum of the marginal likelihood over log g and the mixing by Fisher scoring (per-problem scores, Berndt et al.
    1974); the free mixing by EM inside every step."""
    log_g_R = _start(counts) if start is None else start.log_g_R
    mu, tau = _level(counts, log_g_R) if start is None else (start.mu, start.tau)
    at = _evaluate(counts, kind, rho, log_g_R, mu, tau if kind != "one" else 0.0, None)
    damping = 1e-3
    for _ in range(STEPS):
        step_R, step_M = _step(at, damping)
        new_mu, new_tau = at.mu + step_M[0], float(np.clip(at.tau * math.exp(step_M[1]), *TAU)) if at.tau else 0.0
        tried = _evaluate(counts, kind, rho, at.log_g_R + step_R, new_mu, new_tau, at)
        gain = _objective(tried) - _objective(at)
        if gain >= -1e-9:
            at, damping = tried, max(damping / 5, 1e-6)
            if gain < 1e-5 and np.max(np.abs(step_R), initial=0) < 1e-3:
                break
        elif (damping := damping * 10) > 1e6:
            break
    return at


def choose_rho(
    counts: Counts, kind: Kind = "lognormal", grid: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.2, 0.35)
) -> Difficulty:
    """The fit with the most likely overdispersion; 0 unless twice the gain in log likelihood exceeds 2.71 (5 %, one
    parameter on its bound)."""
    large = counts.n_RI.max() > LARGE_N
    best = plain = fit_difficulty(counts, kind, LEAST_RHO if large else 0.0)
    for rho in grid:
        tried = fit_difficulty(counts, kind, rho, best)
        if tried.log_likelihood < best.log_likelihood:
            break
        best = tried
    return best if 2 * (best.log_likelihood - plain.log_likelihood) > 2.71 else plain


def nodes(counts: Counts, log_g_R: np.ndarray, rho: float) -> np.ndarray:
    """Grid of u for the free mixing: from problems always to problems never solved in any run, with a margin."""
    n = float(counts.n_RI.max())
    low = math.log(1 / (8 * n)) - float(np.max(log_g_R))
    high = math.log(math.log(8 * n)) - float(np.min(log_g_R)) + 1.5
    count = int(np.clip((high - low) / width_of(counts, rho), 40, MOST_NODES))
    return np.linspace(low, high, count)


def _evaluate(
    counts: Counts, kind: Kind, rho: float, log_g_R: np.ndarray, mu: float, tau: float, before: Difficulty | None
) -> Difficulty:
    shift = float(np.mean(log_g_R))
    log_g_R, mu = log_g_R - shift, mu + shift
    if kind == "free":
        u_Q = nodes(counts, log_g_R, rho) if before is None else before.u_Q + shift
        t_Q = np.zeros(len(u_Q))
    elif kind == "one":
        t_Q, u_Q = np.zeros(1), np.array([mu])
    else:
        count = int(np.clip(4 * SPAN / width_of(counts, rho), 41, MOST_NODES)) if before is None else len(before.u_Q)
        t_Q = np.linspace(-SPAN, SPAN, count)
        u_Q = mu + tau * t_Q
    ll_IQ, slope_RIQ = likelihood(counts, log_g_R, u_Q, rho), slopes(counts, log_g_R, u_Q, rho)
    normal_Q = np.exp(-(t_Q**2) / 2)
    w_Q = normal_Q / normal_Q.sum()
    if kind == "free":
        _, first_P, times_P = np.unique(counts.patterns[1], return_index=True, return_counts=True)
        w_Q = npmle(ll_IQ[first_P], None if before is None else before.w_Q, times_I=times_P)
    log_I, post_IQ = posterior(ll_IQ, w_Q)
    score_IR = np.einsum("iq,riq->ir", post_IQ, slope_RIQ)
    tangent_IM = _tangent(kind, ll_IQ, log_I, slope_RIQ, post_IQ, w_Q, t_Q * tau)
    fitted_IR = tangent_IM @ np.linalg.lstsq(tangent_IM, score_IR, rcond=1e-6)[0] if tangent_IM.size else 0.0
    spent = min(tangent_IM.shape[1], counts.problems // 2)
    left_IR = score_IR - fitted_IR
    level = np.eye(counts.runs) - 1 / counts.runs
    info_RR = level @ (left_IR.T @ left_IR) @ level * counts.problems / (counts.problems - spent)
    found = Difficulty(
        kind, counts, rho, log_g_R, u_Q, w_Q, mu, tau, float(log_I.sum()), info_RR, level @ score_IR.sum(0),
        np.zeros(2), np.eye(2), np.zeros((2, counts.runs)), post_IQ,
    )  # fmt: skip
    if kind == "free":
        return found
    mine_IM = tangent_IM if kind == "lognormal" else np.column_stack([tangent_IM, np.zeros(counts.problems)])
    return replace(
        found,
        mixing_score_M=mine_IM.sum(0),
        mixing_info=mine_IM.T @ mine_IM,
        cross_MR=mine_IM.T @ score_IR,
        score_R=_both(mine_IM, score_IR),
    )


def _both(mine_IM: np.ndarray, score_IR: np.ndarray) -> np.ndarray:
    """Score of log g where the mixing's own is not 0 yet: the efficient one."""
    level = np.eye(score_IR.shape[1]) - 1 / score_IR.shape[1]
    slope = np.linalg.lstsq(mine_IM, score_IR, rcond=1e-6)[0]
    return level @ (score_IR.sum(0) - mine_IM.sum(0) @ slope)


def _tangent(
    kind: Kind,
    ll_IQ: np.ndarray,
    log_I: np.ndarray,
    slope_RIQ: np.ndarray,
    post_IQ: np.ndarray,
    w_Q: np.ndarray,
    spread_Q: np.ndarray,
) -> np.ndarray:
    """Scores of the mixing (I, M): of (mu, log tau); of the free one, of the weight and the place of every point that
    carries weight."""
    place_IQ = slope_RIQ.sum(0)  # u and log g enter as their sum
    if kind != "free":
        columns = [(post_IQ * place_IQ).sum(1), (post_IQ * place_IQ * spread_Q).sum(1)]
        return np.column_stack(columns[: 1 if kind == "one" else 2])
    held = _clusters(w_Q, len(ll_IQ))
    ratio_IQ = np.exp(np.minimum(ll_IQ - log_I[:, None], 50.0))
    weights = [ratio_IQ @ h - 1 for h in held]
    places = [(ratio_IQ * place_IQ) @ h for h in held]
    return np.column_stack(weights + places)


def _clusters(w_Q: np.ndarray, problems: int) -> list[np.ndarray]:
    """Neighbouring grid points that carry weight together are one point of support (EM spreads it over two)."""
    on = w_Q > 1e-3 / problems
    number = np.cumsum(on & ~np.concatenate([[False], on[:-1]]))
    found = [np.where(on & (number == k), w_Q, 0.0) for k in range(1, int(number.max(initial=0)) + 1)]
    return [h / h.sum() for h in found if h.sum() > 0.3 / problems]


def prior_of(x_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (R,) and precision (R, R) of the weak prior on log g: a line in log C, N(SLOPE, SLOPE_SD^2), and BEND_SD."""
    log_x = np.log(x_R) - np.mean(np.log(x_R))
    covariance = BEND_SD**2 * np.eye(len(x_R)) + SLOPE_SD**2 * np.outer(log_x, log_x)
    return SLOPE * log_x, np.linalg.inv(covariance)


def _objective(at: Difficulty) -> float:
    mean_R, precision_RR = prior_of(at.counts.x_R)
    off = at.log_g_R - mean_R
    return at.log_likelihood - 0.5 * float(off @ precision_RR @ off) - 1e-3 * at.mu**2


def _step(at: Difficulty, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Joint step of (log g, mixing): for the free mixing, which is at its optimum, of log g alone."""
    mean_R, precision_RR = prior_of(at.counts.x_R)
    pull_R = at.score_R - precision_RR @ (at.log_g_R - mean_R)
    hessian = at.info_RR + precision_RR
    step_R = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), pull_R)
    size = np.max(np.abs(step_R), initial=0)
    step_R = step_R / max(1.0, size)
    if at.kind == "free":
        return step_R, np.zeros(2)
    own_M = at.mixing_score_M - at.cross_MR @ step_R
    matrix = at.mixing_info + np.diag([1e-3, 1e-3]) + damping * np.diag(np.diag(at.mixing_info))
    return step_R, np.clip(np.linalg.solve(matrix, own_M), -1.0, 1.0)


def _start(counts: Counts) -> np.ndarray:
    """log(-log mean pass rate) of each run, with half a pass added, as a line in log C where it falls."""
    rate = (counts.c_RI.sum(1) + 0.5) / (counts.n_RI.sum(1) + 1)
    y, x = np.log(-np.log(rate)), np.log(counts.x_R)
    if len(np.unique(x)) < 2:
        return y - y.mean()
    slope = float(np.clip(np.polyfit(x - x.mean(), y, 1)[0], -1.0, 1.0))
    return slope * (x - x.mean())


def _level(counts: Counts, log_g_R: np.ndarray) -> tuple[float, float]:
    """Start of (mu, tau): from each problem's own log(-log rate)."""
    rate_I = (counts.c_RI.sum(0) + 0.3) / (counts.n_RI.sum(0) + 0.6)
    u_I = np.log(-np.log(rate_I)) - float(np.mean(log_g_R))
    return float(np.mean(u_I)), float(np.clip(np.std(u_I), 0.3, 3.0))


def fit_mixing(found: Difficulty, use_I: np.ndarray, score_I: np.ndarray) -> np.ndarray:
    """Log likelihood of the problems `score_I` under the mixing of the problems `use_I`, log g as found."""
    grid_Q = nodes(found.counts, found.log_g_R, found.rho)
    ll_IQ = likelihood(found.counts, found.log_g_R, grid_Q, found.rho)
    normal_Q = _normal(found.mu, found.tau, grid_Q) if not use_I.any() else _likely_normal(ll_IQ[use_I], grid_Q, found)
    if found.kind == "free" and use_I.any():
        w_Q = npmle(ll_IQ[use_I])
        mean, count = float(w_Q @ grid_Q), float(use_I.sum())
        spread = max(4 / 3 * math.sqrt(float(w_Q @ (grid_Q - mean) ** 2)), 0.3)
        w_Q = (count * w_Q + CONCENTRATION * _normal(mean, spread, grid_Q)) / (count + CONCENTRATION)
        return posterior(ll_IQ[score_I], w_Q)[0]
    return posterior(ll_IQ[score_I], normal_Q)[0]


def _normal(mu: float, tau: float, grid_Q: np.ndarray) -> np.ndarray:
    weight = np.exp(-(((grid_Q - mu) / tau) ** 2) / 2) + 1e-300
    return weight / weight.sum()


def _likely_normal(ll_IQ: np.ndarray, grid_Q: np.ndarray, found: Difficulty) -> np.ndarray:
    """Weights of the normal that is most likely on the grid."""
    from scipy.optimize import minimize

    def cost(theta: np.ndarray) -> float:
        tau = math.exp(float(np.clip(theta[1], math.log(TAU[0]), math.log(TAU[1]))))
        return -float(posterior(ll_IQ, _normal(float(theta[0]), tau, grid_Q))[0].sum())

    start = [found.mu, math.log(max(found.tau, TAU[0]))]
    best = minimize(cost, start, method="Nelder-Mead", options={"xatol": 0.02, "fatol": 0.01, "maxiter": 80}).x
    return _normal(float(best[0]), math.exp(float(np.clip(best[1], math.log(TAU[0]), math.log(TAU[1])))), grid_Q)
