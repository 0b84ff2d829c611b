"""Counts of the same problems in several runs, and the likelihood of one problem's counts at a given difficulty.

-log p_ir = e^(u_i + log g_r)       cell of problem i in run r: c_ir of n_ir passed
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scaling.errors import InputError
from scaling.metrics import checked_counts

SMALLEST_A, LARGEST_A = 1e-9, 600.0  # -log p stays within: both tails stay numbers


@dataclass(frozen=True)
class Counts:
    """c_RI passes in n_RI samples (0: not measured) of I problems by R runs at compute x_R."""

    x_R: np.ndarray
    n_RI: np.ndarray
    c_RI: np.ndarray

    def __post_init__(self) -> None:
        x, n, c = np.asarray(self.x_R, float), np.asarray(self.n_RI, float), np.asarray(self.c_RI, float)
        if n.ndim != 2 or n.shape != c.shape or len(x) != len(n) or not n.size:
            raise InputError(f"counts n {n.shape} and c {c.shape} are not (runs, problems) of {len(x)} runs")
        if not (np.all(np.isfinite(x)) and np.all(x > 0)):
            raise InputError("every run needs a positive, finite compute")
        if not (
            np.all(np.isfinite(n)) and np.all(np.isfinite(c)) and np.all(n == np.floor(n)) and np.all(c == np.floor(c))
        ):
            raise InputError("n and c must be whole counts", "passes and samples, not rates or percent")
        measured = n > 0
        if np.any(c[~measured]):
            raise InputError("passes without samples: c > 0 where n = 0")
        if not measured.any():
            raise InputError("no samples: every n is 0")
        checked_counts(n[measured], c[measured])
        keep_R, keep_I = measured.any(1), measured.any(0)
        for name, value in (("x_R", x[keep_R]), ("n_RI", n[keep_R][:, keep_I]), ("c_RI", c[keep_R][:, keep_I])):
            object.__setattr__(self, name, value)

    @property
    def runs(self) -> int:
        return len(self.x_R)

    @property
    def problems(self) -> int:
        return self.n_RI.shape[1]

    @property
    def never_solved(self) -> int:
        """Problems without one pass in any run."""
        return int(np.sum(self.c_RI.sum(0) == 0))

    def at(self, keep_R: np.ndarray) -> Counts:
        return Counts(self.x_R[keep_R], self.n_RI[keep_R], self.c_RI[keep_R])

    @cached_property
    def patterns(self) -> tuple[Counts, np.ndarray]:
        """(the different problems, which of them each problem is): those with the same counts in every run are one."""
        columns = np.concatenate([self.n_RI, self.c_RI])
        different, which = np.unique(columns, axis=1, return_inverse=True)
        return Counts(self.x_R, different[: self.runs], different[self.runs :]), which.reshape(-1)

    @cached_property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per run: the different (n, c), and which of them each problem has."""
        found = []
        for n_I, c_I in zip(self.n_RI, self.c_RI, strict=True):
            pairs, which = np.unique(np.column_stack([n_I, c_I]), axis=0, return_inverse=True)
            found.append((pairs[:, 0], pairs[:, 1], which.reshape(-1)))
        return found


def cell(n_U: np.ndarray, c_U: np.ndarray, eta_Q: np.ndarray, rho: float) -> np.ndarray:
    """Log likelihood (U, Q) of c in n at log(-log p) = eta; the binomial coefficient, which no parameter changes, is
    left out. rho > 0: p of the cell ~ Beta with mean p and correlation rho."""
    A, p, fail = _rates(eta_Q)
    c, left = c_U[:, None], (n_U - c_U)[:, None]
    if not rho:
        return c * -A + left * np.log(fail)
    from scipy.special import gammaln

    size = 1 / rho - 1
    a, b = p * size, fail * size
    return gammaln(c + a) - gammaln(a) + gammaln(left + b) - gammaln(b) - gammaln(c + left + size) + gammaln(size)


def cell_slope(n_U: np.ndarray, c_U: np.ndarray, eta_Q: np.ndarray, rho: float) -> np.ndarray:
    """d cell / d eta."""
    A, p, fail = _rates(eta_Q)
    c, left = c_U[:, None], (n_U - c_U)[:, None]
    if not rho:
        return c * -A + left * (A * p / fail)
    from scipy.special import digamma

    size = 1 / rho - 1
    a, b = p * size, fail * size
    return -A * p * size * (digamma(c + a) - digamma(a) - digamma(left + b) + digamma(b))


def _rates(eta_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(-log p, p, 1 - p)."""
    A = np.clip(np.exp(np.minimum(eta_Q, 20.0)), SMALLEST_A, LARGEST_A)
    return A, np.exp(-A), -np.expm1(-A)


def likelihood(counts: Counts, log_g_R: np.ndarray, u_Q: np.ndarray, rho: float) -> np.ndarray:
    """Log likelihood (I, Q) of each problem's counts at each difficulty."""
    return likelihoods(counts, log_g_R[None], u_Q[None], rho)[0]


def likelihoods(counts: Counts, log_g_SR: np.ndarray, u_SQ: np.ndarray, rho: float) -> np.ndarray:
    """The same (S, I, Q) for S sets of log g and nodes."""
    if not rho:  # linear in the counts: one product of matrices
        A_SRQ, _, fail_SRQ = _rates(u_SQ[:, None] + log_g_SR[:, :, None])
        both_IR = np.concatenate([counts.c_RI, counts.n_RI - counts.c_RI]).T
        return both_IR @ np.concatenate([-A_SRQ, np.log(fail_SRQ)], axis=1)
    total_SIQ = np.zeros((len(u_SQ), counts.problems, u_SQ.shape[1]))
    for (n_U, c_U, which_I), log_g_S in zip(counts.pairs, log_g_SR.T, strict=True):
        value_USQ = cell(n_U, c_U, (u_SQ + log_g_S[:, None]).ravel(), rho).reshape(len(n_U), *u_SQ.shape)
        total_SIQ += value_USQ.transpose(1, 0, 2)[:, which_I]
    return total_SIQ


def slopes(counts: Counts, log_g_R: np.ndarray, u_Q: np.ndarray, rho: float) -> np.ndarray:
    """Slopes (R, I, Q) of `likelihood` in the log g of each run."""
    runs = zip(counts.pairs, log_g_R, strict=True)
    return np.array([cell_slope(n_U, c_U, u_Q + log_g, rho)[which_I] for (n_U, c_U, which_I), log_g in runs])


def width_of(counts: Counts, rho: float) -> float:
    """Standard deviation of u that the best-measured problem has from its own counts: information on u is at most
    .65 n per cell (n overdispersed samples count as n / (1 + (n - 1) rho))."""
    n = counts.n_RI / (1 + np.maximum(counts.n_RI - 1, 0) * rho)
    return float(1 / math.sqrt(0.65 * np.max(n.sum(0))))
