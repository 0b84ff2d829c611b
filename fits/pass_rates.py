"""Estimators from counts of passes, each with its standard error; nothing is dropped, nothing is clamped.

    -log p, fixed n      H_n - H_c, unbiased for sum over k <= n of (1 - p)^k / k (the first n terms of -log p)
    -log p, until r      psi(K) - psi(r) for K attempts until the r-th pass: exactly unbiased (r = 1: H_(K-1))
    pass@k               1 - C(n - c, k) / C(n, k), unbiased for 1 - (1 - p)^k (Chen et al. 2021, eq. 1)

c passes in n samples of one problem; arrays of problems (I,). Of a mean over problems there are two errors: `se` for
other problems of the same kind (their choice and the sampling), `se_fixed` for these very problems (sampling alone).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling.errors import InputError
from scaling.metrics import checked_counts, neg_log_pass_of_counts, pass_at_k, whole
from scaling.units import format_value


@dataclass(frozen=True)
class Estimates:
    """One value per problem with its sampling error (NaN: not estimable from these samples). Means are over the
    problems that have a value; `left_out` counts the others: with them it would be another set of problems."""

    value_I: np.ndarray
    se_I: np.ndarray

    @property
    def known_I(self) -> np.ndarray:
        return np.isfinite(self.value_I)

    @property
    def left_out(self) -> int:
        return int(np.sum(~self.known_I))

    @property
    def mean(self) -> float:
        return float(np.mean(self.value_I[self.known_I]))

    @property
    def se_fixed(self) -> float:
        return float(math.sqrt(np.sum(self.se_I[self.known_I] ** 2))) / int(self.known_I.sum())

    @property
    def se(self) -> float:
        """sd / sqrt(I); the spread of the estimates holds the sampling already. One problem: its sampling alone."""
        count = int(self.known_I.sum())
        return float(np.std(self.value_I[self.known_I], ddof=1)) / math.sqrt(count) if count > 1 else self.se_fixed

    def __str__(self) -> str:
        left = f", {self.left_out} of {len(self.value_I)} problems left out: too few samples" if self.left_out else ""
        return format_value(self.mean, self.se) + left


def log_pass(n: np.ndarray, c: np.ndarray) -> Estimates:
    """H_n - H_c per problem. Variance: sum over c < j <= n of 1 / j^2, that of -log p under Beta(c + 1, n - c).

    No unbiased estimate of this variance exists with n samples (its square has degree 2 n in p); this one is too large
    on average (at p = 0 the estimator is the constant H_n), never too small.
    """
    value = np.atleast_1d(neg_log_pass_of_counts(n, c))
    n, c = (np.atleast_1d(a) for a in checked_counts(n, c))
    squares = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n.max(initial=0) + 1) ** 2)])
    return Estimates(value, np.sqrt(squares[n] - squares[c]))


def log_pass_until(r: int, attempts: np.ndarray) -> Estimates:
    """psi(K) - psi(r) per problem, K attempts until the r-th pass: unbiased for -log p, whatever p > 0.

    Variance: psi'(r) - psi'(K), itself unbiased. Finite sums of 1 / j and 1 / j^2 over r <= j < K.
    """
    K = np.atleast_1d(whole("attempts", attempts))
    if r < 1 or np.any(r > K):
        raise InputError(f"{int(K.min(initial=0))} attempts for r = {r} passes", "r >= 1, and at least r attempts")
    j = np.arange(1, int(K.max(initial=r)) + 1)
    first, second = (np.concatenate([[0.0], np.cumsum(1.0 / j**power)]) for power in (1.0, 2.0))
    return Estimates(first[K - 1] - first[r - 1], np.sqrt(second[K - 1] - second[r - 1]))


def pass_at(n: np.ndarray, c: np.ndarray, k: int, *, upto: int | None = None) -> Estimates:
    """Unbiased pass@k per problem. With A_k = C(n - c, k) / C(n, k), its variance is estimated by A_k^2 - A_2k:
    unbiased and never negative; a problem with fewer than 2 k samples has no such estimate (NaN).

    A problem with n < k has no unbiased pass@k and is left out (NaN, counted in `left_out`). For values at several k
    that are to be compared, `upto` names the largest: then all of them leave out the same problems (n < upto).
    """
    least = k if upto is None else upto
    if k < 1 or least < k:
        raise InputError(f"pass@{k}" + ("" if upto is None else f" of problems with {upto} samples"), "1 <= k <= upto")
    n, c = (np.atleast_1d(a) for a in checked_counts(n, c))
    if not np.any(n >= least):
        raise InputError(f"pass@{k} needs at least {least} samples per problem, the most found are {int(n.max())}")
    value, both = (np.full(n.shape, math.nan) for _ in range(2))
    enough, twice = n >= least, n >= max(least, 2 * k)
    value[enough] = pass_at_k(n[enough], c[enough], k)
    if twice.any():
        both[twice] = 1 - pass_at_k(n[twice], c[twice], 2 * k)
    return Estimates(value, np.sqrt(np.maximum((1 - value) ** 2 - both, 0.0)))


@dataclass(frozen=True)
class BetaBinomial:
    """p ~ Beta(a, b) over the problems, c ~ Binomial(n, p). `rho` = 1 / (a + b + 1): correlation of two samples of one
    problem. `log_likelihood` is at the optimum; `at_bound`: the counts show no spread, or know no end of it."""

    a: float
    b: float
    log_likelihood: float
    at_bound: bool

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    @property
    def rho(self) -> float:
        return 1 / (self.a + self.b + 1)

    def pass_at(self, k: np.ndarray) -> np.ndarray:
        """E[1 - (1 - p)^k] = 1 - B(a, b + k) / B(a, b)."""
        from scipy.special import betaln

        return -np.expm1(betaln(self.a, self.b + np.asarray(k, float)) - betaln(self.a, self.b))


WIDEST_LOG = 12.0  # |log odds of the mean|, and |log (a + b)|, of a beta distribution that is searched


def beta_binomial(n: np.ndarray, c: np.ndarray) -> BetaBinomial:
    """Maximum likelihood of one scale's counts, over (logit of the mean, log(a + b)). All zeros or all ones put the
    mean on its bound: `at_bound`."""
    from scipy.optimize import minimize
    from scipy.special import betaln, expit, gammaln, logit

    n, c = checked_counts(n, c)
    pairs, times = np.unique(np.column_stack([n.ravel(), c.ravel()]), axis=0, return_counts=True)
    n, c = pairs[:, 0].astype(float), pairs[:, 1].astype(float)
    choose = float(times @ (gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)))

    def shapes(theta: np.ndarray) -> tuple[float, float]:
        size = math.exp(theta[1])
        return float(expit(theta[0])) * size, float(expit(-theta[0])) * size

    def cost(theta: np.ndarray) -> float:
        a, b = shapes(theta)
        return -float(times @ (betaln(c + a, n - c + b) - betaln(a, b)))

    start = float(logit((times @ c + 0.5) / (times @ n + 1)))
    bounds = [(-WIDEST_LOG, WIDEST_LOG)] * 2
    found = min((minimize(cost, [start, s], bounds=bounds) for s in (-2.0, 0.0, 3.0)), key=lambda f: f.fun)
    a, b = shapes(found.x)
    return BetaBinomial(a, b, choose - float(found.fun), bool(np.any(np.abs(found.x) > WIDEST_LOG - 1e-3)))
