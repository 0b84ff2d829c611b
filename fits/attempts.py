"""Coverage: pass@k of many more attempts than were made, from counts of c passes in n attempts at each problem.

    pass@k = mean over the problems of 1 - (1 - p_i)^k

Up to k = n the counts give it without bias (pass_rates.pass_at). Beyond, it hangs on how small the rates of the
problems not solved yet are, and how many are 0, of which n attempts say little. So several forms of distribution are
averaged by their evidence, each with a share of HARD problems, all of one rate r, that n attempts hardly ever solve:

    beta         p ~ Beta(a, b)                              (Kazdan et al. 2025)
    lognormal    -log(1 - p) = e^v, v ~ N(m, s^2)
    hard         p = r, which is 0 or as likely of one order of magnitude below 1 / n as of another

and `low`, `high` are what ANY distribution of p could make of it: the profile likelihood of pass@k over all weights on
a grid of p, at the same level (Owen 1988). Where they lie far apart the number rests on the form, and the interval
holds less often than it says (`Coverage.caution`). Draws are of these very problems, given their own counts.
Shapes: I problems, K numbers of attempts, S draws, T points of a prior, Q nodes.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence

import numpy as np

from fits.pass_rates import beta_binomial
from scaling.errors import InputError
from scaling.metrics import checked_counts
from scaling.pass_rates import Coverage

DRAWS = 2000
A, B = (0.02, 20.0), (0.05, 1e6)  # range of the beta's shapes, log-uniform
M, SPREAD = (-20.0, 3.0), (0.2, 6.0)  # of the lognormal's m (uniform) and s (log-uniform)
STEPS = 48  # of each of the two parameters
HARD = np.concatenate([[0.0], (np.arange(10) + 0.5) / 10])  # share z of them
NO_HARD = 0.5  # prior probability that there are none; else z has a density like (1 - z)^2
RATES = np.concatenate([[0.0], 10.0 ** -np.arange(0.25, 5, 0.5)])  # r n; 0 and the others have half of the prior each
FEW = 12  # passes, of which a hard problem (r n < 1) never has more
NODES = 61
BLOCK = 2_000_000  # draws x problems (x nodes) at a time
GRID = 100  # of p, for the bounds
BISECTIONS, EM_STEPS, NEWTON = 10, 100, 6
LEVEL = 0.9
DROP = 1.3528  # chi-square(1) quantile at LEVEL, halved


def coverage(
    n: np.ndarray, c: np.ndarray, k: Sequence[int] | np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> Coverage:
    """pass@k at every k with a 90 % interval, for the problems that were counted."""
    n, c = (np.atleast_1d(a).astype(float) for a in checked_counts(n, c))
    k_K = np.atleast_1d(np.asarray(k, float))
    if not (k_K.size and np.all(np.isfinite(k_K)) and np.all(k_K >= 1) and np.all(k_K == np.floor(k_K))):
        raise InputError(f"k = {k_K.tolist()}", "numbers of attempts: whole, 1 or more")
    rng = np.random.default_rng(seed)
    forms = [_beta(n, c), _lognormal(n, c)]
    evidence = np.array([form.evidence for form in forms])
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    sizes = rng.multinomial(draws, weight)
    parts = [part for form, size in zip(forms, sizes, strict=True) for part in _solved(form, size, k_K, rng)]
    latent_SK, spread_SK, never_S = (np.concatenate(part) for part in zip(*parts, strict=True))
    draws_SK = np.clip(latent_SK + spread_SK * rng.standard_normal((len(latent_SK), 1)), 0.0, 1.0)
    low_K, high_K = _bounds(n, c, k_K)
    return Coverage(
        k_K=k_K,
        draws_SK=draws_SK,
        latent_SK=latent_SK,
        low_K=low_K,
        high_K=high_K,
        naive_K=beta_binomial(n, c).pass_at(k_K),
        weights=dict(zip(("beta", "lognormal"), map(float, weight), strict=True)),
        zero=float(never_S.mean()),
        samples=int(np.median(n)),
        problems=len(c),
        never_solved=int(np.sum(c == 0)),
    )


def _solved(
    form: _Form, count: int, k_K: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Some draws at a time: (expected pass@k (S, K), sd (S, K) of what k attempts at each problem, made once, measure,
    share (S,) of problems never solved)."""
    each = max(1, BLOCK // len(form.c))
    for start in range(0, count, each):
        p_SI = form.rates(min(each, count - start), rng)
        log_fail_SI = np.log1p(-np.minimum(p_SI, 1 - 1e-15))
        latent_SK, spread_SK = (np.empty((len(p_SI), len(k_K))) for _ in range(2))
        for i, k in enumerate(k_K):
            solved_SI = -np.expm1(k * log_fail_SI)
            latent_SK[:, i] = solved_SI.mean(1)
            spread_SK[:, i] = np.sqrt((solved_SI * (1 - solved_SI)).sum(1)) / len(form.c)
        yield latent_SK, spread_SK, np.mean(p_SI == 0, axis=1)


class _Form(abc.ABC):
    """The posterior of one form on a grid `theta_TP`, for every share and rate H of hard problems."""

    def __init__(self, n: np.ndarray, c: np.ndarray, theta_TP: np.ndarray, log_UT: np.ndarray) -> None:
        """`log_UT`: log likelihood of each different (n, c) without hard problems."""
        self.n, self.c, self.theta_TP, self.log_UT = n, c, theta_TP, log_UT
        n_U, c_U, self.which_I = _pairs(n, c)
        times_U = np.bincount(self.which_I)
        self.share_H, self.rate_H, self.log_prior_H = _hard(float(np.median(n)))
        with np.errstate(divide="ignore"):
            passed_HU = c_U * np.log(np.maximum(self.rate_H, 1e-300))[:, None]  # a rate of 0 passes nothing
            failed_HU = (n_U - c_U) * np.log1p(-self.rate_H)[:, None]
            self.log_hard_HU = np.log(self.share_H)[:, None] + passed_HU + failed_HU
        few = c_U <= FEW
        rest_T = times_U[~few] @ log_UT[~few]
        parts = [
            times_U[few] @ np.logaddexp(hard_U[few, None], np.log1p(-share) + log_UT[few])
            + times_U[~few].sum() * np.log1p(-share)
            + rest_T
            for hard_U, share in zip(self.log_hard_HU, self.share_H, strict=True)
        ]
        log_HT = np.array(parts) + self.log_prior_H[:, None]
        self.top = log_HT.max()
        self.weight_HT = np.exp(log_HT - self.top)
        self.evidence = float(self.top + np.log(self.weight_HT.mean(1).sum()))

    def rates(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """p (count, I): draws of every problem's rate; exactly 0 for one that is never solved."""
        flat = rng.choice(self.weight_HT.size, count, p=self.weight_HT.ravel() / self.weight_HT.sum())
        h_S, t_S = np.divmod(flat, self.weight_HT.shape[1])
        p_SI = self.draw(t_S, rng)
        other_SU = np.log1p(-self.share_H[h_S])[:, None] + self.log_UT.T[t_S]
        chance_SU = np.exp(self.log_hard_HU[h_S] - np.logaddexp(self.log_hard_HU[h_S], other_SU))
        return np.where(rng.random(p_SI.shape) < chance_SU[:, self.which_I], self.rate_H[h_S][:, None], p_SI)

    @abc.abstractmethod
    def draw(self, t_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """p (S, I) of problems that can be solved, given their counts."""


class _Beta(_Form):
    def draw(self, t_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        a_S, b_S = self.theta_TP[t_S, :1], self.theta_TP[t_S, 1:]
        return rng.beta(a_S + self.c, b_S + self.n - self.c)


class _Lognormal(_Form):
    def draw(self, t_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """From the nodes, by their posterior, each spread over its cell; some draws at a time."""
        each = max(1, BLOCK // (NODES * len(self.c)))
        return np.concatenate([self._some(t_S[i : i + each], rng) for i in range(0, len(t_S), each)])

    def _some(self, t_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        t_Q, weight_Q = _normal_nodes()
        v_SQ = self.theta_TP[t_S, :1] + self.theta_TP[t_S, 1:] * t_Q
        log_SIQ = _log_binomial(self.n, self.c, v_SQ) + np.log(weight_Q)
        total = np.cumsum(np.exp(log_SIQ - log_SIQ.max(2, keepdims=True)), axis=2)
        at = (total < rng.random(total.shape[:2])[..., None] * total[..., -1:]).sum(2).clip(max=NODES - 1)
        step = self.theta_TP[t_S, 1:] * (t_Q[1] - t_Q[0])
        v_SI = np.take_along_axis(v_SQ, at, 1) + step * (rng.random(at.shape) - 0.5)
        return -np.expm1(-np.exp(v_SI))


def _beta(n: np.ndarray, c: np.ndarray) -> _Form:
    from scipy.special import betaln

    a, b = (np.geomspace(*r, STEPS) for r in (A, B))
    a_T, b_T = (g.ravel() for g in np.meshgrid(a, b, indexing="ij"))
    n_U, c_U, _ = _pairs(n, c)
    log_UT = betaln(c_U[:, None] + a_T, (n_U - c_U)[:, None] + b_T) - betaln(a_T, b_T)
    return _Beta(n, c, np.column_stack([a_T, b_T]), log_UT)


def _lognormal(n: np.ndarray, c: np.ndarray) -> _Form:
    m_T, s_T = (g.ravel() for g in np.meshgrid(np.linspace(*M, STEPS), np.geomspace(*SPREAD, STEPS)))
    t_Q, weight_Q = _normal_nodes()
    n_U, c_U, _ = _pairs(n, c)
    log_TUQ = _log_binomial(n_U, c_U, m_T[:, None] + s_T[:, None] * t_Q)
    top_TU = log_TUQ.max(2)
    log_TU = top_TU + np.log(np.exp(log_TUQ - top_TU[..., None]) @ weight_Q)
    return _Lognormal(n, c, np.column_stack([m_T, s_T]), log_TU.T)


def _hard(n: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share, rate, log prior), each (H,): no hard problems, and every share with every rate."""
    share, rate = (g.ravel() for g in np.meshgrid(HARD[1:], RATES, indexing="ij"))
    prior = (1 - share) ** 2 * np.where(rate == 0, len(RATES) - 1, 1)
    prior = np.concatenate([[NO_HARD], (1 - NO_HARD) * prior / prior.sum()])
    return np.append(0.0, share), np.append(0.0, rate) / n, np.log(prior)


def _pairs(n: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different (n, c), and which of them each problem has."""
    pairs, which = np.unique(np.column_stack([n, c]), axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], which.reshape(-1)


def _normal_nodes() -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(-5.0, 5.0, NODES)
    weight = np.exp(-(t**2) / 2)
    return t, weight / weight.sum()


def _log_binomial(n_I: np.ndarray, c_I: np.ndarray, v_SQ: np.ndarray) -> np.ndarray:
    """(S, I, Q) at -log(1 - p) = e^v, without the coefficient."""
    rate = np.exp(np.minimum(v_SQ, 6.0))[:, None]
    log_p = np.where(rate < 1e-8, v_SQ[:, None], np.log(-np.expm1(-rate)))
    return c_I[:, None] * log_p - (n_I - c_I)[:, None] * rate


def _bounds(n: np.ndarray, c: np.ndarray, k_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest pass@k of all distributions of p whose likelihood is within DROP of the best one's."""
    n_U, c_U, which = _pairs(n, c)
    times_U = np.bincount(which).astype(float)
    top = float(n.max()) * float(k_K.max())
    p_Q = np.concatenate([[0.0], np.geomspace(0.01 / top, 1.0, GRID - 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_UQ = np.where(c_U[:, None] > 0, c_U[:, None] * np.log(p_Q), 0.0)
        log_UQ = log_UQ + np.where((n_U - c_U)[:, None] > 0, (n_U - c_U)[:, None] * np.log1p(-p_Q), 0.0)
    L_UQ = np.exp(log_UQ - log_UQ.max(1, keepdims=True))
    best = _tilted(L_UQ, times_U, np.zeros(GRID), np.full(GRID, 1 / GRID))
    found = []
    for sign in (-1.0, 1.0):
        ends, w = np.empty(len(k_K)), best
        for at in np.argsort(k_K, kind="stable"):  # each starts where the last one ended, whatever order was asked for
            value_Q = -np.expm1(k_K[at] * np.log1p(-np.minimum(p_Q, 1 - 1e-12)))
            end, w = _end(L_UQ, times_U, sign * value_Q, best, w)
            ends[at] = sign * end
        found.append(np.clip(ends, 0.0, 1.0))
    return found[0], found[1]


def _end(
    L_UQ: np.ndarray, times_U: np.ndarray, value_Q: np.ndarray, best: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray]:
    """The highest value . w with a log likelihood no more than DROP below the best, by bisection of the tilt."""
    floor = float(times_U @ np.log(L_UQ @ best)) - DROP
    low, high, w = 0.0, float(times_U.sum()) * 4, start
    found = best
    for _ in range(BISECTIONS):
        tilt = math.sqrt(max(low, 1e-2) * high)
        w = _tilted(L_UQ, times_U, tilt * value_Q, w)
        if float(times_U @ np.log(np.maximum(L_UQ @ w, 1e-300))) >= floor:
            low, found = tilt, w
        else:
            high = tilt
    return float(value_Q @ found), found


def _tilted(
    L_UQ: np.ndarray, times_U: np.ndarray, tilt_Q: np.ndarray, w: np.ndarray, steps: int = EM_STEPS
) -> np.ndarray:
    """argmax over weights of sum_u times_u log(L w)_u + tilt . w, by EM: w_q <- m_q / (nu - tilt_q), where m is the
    expected number of problems at q and nu makes the sum 1."""
    w = 0.99 * w + 0.01 / len(w)
    for _ in range(steps):
        m_Q = w * (L_UQ.T @ (times_U / (L_UQ @ w))) + 1e-12
        nu = float(np.max(tilt_Q + m_Q))
        for _ in range(NEWTON):  # sum m / (nu - tilt) falls and is convex: from the left each step stays left of 1
            share_Q = m_Q / (nu - tilt_Q)
            nu += (share_Q.sum() - 1) / np.sum(share_Q / (nu - tilt_Q))
        new = m_Q / (nu - tilt_Q)
        new /= new.sum()
        if np.max(np.abs(new - w)) < 1e-5:
            return new
        w = new
    return w
