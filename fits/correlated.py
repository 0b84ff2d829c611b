"""Rows of one run, whose noise is autocorrelated: the likelihood of a smooth curve through them.

    y_i = f(x_i) + e_i,  e an AR(1) in x:  corr(e_i, e_j) = rho^(|x_i - x_j| / d),  d: median distance of rows

f is a smooth curve, given by its values at m knots (a subset of the rows, evenly apart in t = log(x + d)) and linear in
t between them: f = H f_m. With R = R(rho), A = H' R^-1 H, b = A^-1 H' R^-1 y and rss = y' R^-1 y - b' A b the
likelihood is that of b, and of what is left over, which no curve explains:

    log p(y | f) = -(n-m)/2 log sigma^2 - log|R|/2 - rss / (2 sigma^2) + log N(b; f_m, sigma^2 A^-1) + const
    f_m = law + misfit,  misfit ~ GP(0, a^2 k(|t - t'| / LENGTH))  (misfit.py)

R is never formed: (e_i - phi_i e_{i-1}) / sqrt(1 - phi_i^2), phi_i = rho^((x_i - x_{i-1}) / d), is white. With
A = L L' and L' K L = Q diag(l) Q', the likelihood of S settings of (law, a, sigma) at one rho costs a product with L Q.
rho is one of RHOS, and is summed over: at a high rho and at a low one a curve explains the same rows in ways so far
apart that no sampler walks between them. s, the innovation, is what stays nearly the same: sigma = s / sqrt(1 - rho^2).
Any number of rows, gaps included, costs what m knots cost.
Source: Jones (1981) for AR(1) in continuous time; Patterson and Thompson (1971) for what no curve explains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fits.misfit import matern
from scaling.trajectories import Trajectory

RHOS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.95)
KNOTS = 28
NEAREST = 0.999  # rows that nearly coincide are not the same row
MISFIT_LENGTH = 1.5  # e-folds of x


@dataclass(frozen=True)
class Whitened:
    """All that one rho fixes. `best_m`: b; `basis_mm`: L Q; `eigenvalue_m`: l; `wider`: sigma / s; `effective`: as how
    many independent rows they count for their mean."""

    best_m: np.ndarray
    basis_mm: np.ndarray
    eigenvalue_m: np.ndarray
    rss: float
    log_det: float
    wider: float
    effective: float


class Correlated:
    """Rows of a trajectory on knots, for every rho of RHOS."""

    def __init__(self, rows: Trajectory) -> None:
        self.rows, self.spacing = rows, rows.spacing
        self.t_n = self.place(rows.x_n)
        self.knots_m = _knots(self.t_n)
        self.x_m, self.t_m = rows.x_n[self.knots_m], self.t_n[self.knots_m]
        self.spare = len(rows) - len(self.x_m)
        hat_nm = _hats(self.t_n, self.t_m)
        kernel_mm = matern((self.t_m[:, None] - self.t_m) / MISFIT_LENGTH)
        self.at = tuple(self._whitened(rho, hat_nm, kernel_mm) for rho in RHOS)

    def place(self, x: np.ndarray) -> np.ndarray:
        """t = log(x + d): smooth curves of training are smooth in it, and x = 0 has a place."""
        return np.log(np.asarray(x, float) + self.spacing)

    def _whitened(self, rho: float, hat_nm: np.ndarray, kernel_mm: np.ndarray) -> Whitened:
        phi = np.minimum(rho ** (np.diff(self.rows.x_n) / self.spacing), NEAREST) if rho else 0 * np.diff(self.t_n)
        scale = np.sqrt(1 - phi**2)

        def white(columns: np.ndarray) -> np.ndarray:
            rest = (columns[1:] - (phi * columns[:-1].T).T).T / scale
            return np.concatenate([columns[:1], rest.T])

        h, y = white(hat_nm), white(self.rows.y_n)
        lower = np.linalg.cholesky(h.T @ h)
        best = np.linalg.solve(lower.T, np.linalg.solve(lower, h.T @ y))
        eigenvalue, basis = np.linalg.eigh(lower.T @ kernel_mm @ lower)
        left = y - h @ best
        return Whitened(
            best, lower @ basis, np.maximum(eigenvalue, 0.0), float(left @ left), 2 * float(np.log(scale).sum()),
            1 / float(np.sqrt(1 - rho**2)), float((white(np.ones(len(y))) ** 2).sum()),
        )  # fmt: skip

    def log_likelihood(
        self, law_Sm: np.ndarray, s_S: np.ndarray, a_S: np.ndarray, count: int = len(RHOS)
    ) -> np.ndarray:
        """(S, count), at the first `count` of RHOS. `law_Sm`: the law at the knots; `s_S`: the innovation's standard
        deviation."""
        found = np.empty((len(law_Sm), count))
        for k, at in enumerate(self.at[:count]):
            sigma = s_S * at.wider
            r, v = self._rotated(at, law_Sm, sigma, a_S)
            found[:, k] = -0.5 * (r * r / v + np.log(v)).sum(1) - self.spare * np.log(sigma)
            found[:, k] -= at.rss / (2 * sigma**2) + at.log_det / 2
        return found

    @staticmethod
    def _rotated(at: Whitened, law: np.ndarray, sigma: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        v = a[:, None] ** 2 * at.eigenvalue_m + sigma[:, None] ** 2
        return (at.best_m - law) @ at.basis_mm, np.maximum(v, 1e-24)

    def misfit(
        self,
        x_G: np.ndarray,
        law_Sm: np.ndarray,
        rho_S: np.ndarray,
        sigma_S: np.ndarray,
        a_S: np.ndarray,
        normal_SG: np.ndarray,
    ) -> np.ndarray:
        """(S, G): draws of the misfit at x_G given the rows, together over the grid."""
        t_G, found = self.place(x_G), np.empty((len(law_Sm), len(x_G)))
        cross_Gm = matern((t_G[:, None] - self.t_m) / MISFIT_LENGTH)
        prior_GG = matern((t_G[:, None] - t_G) / MISFIT_LENGTH) + 1e-9 * np.eye(len(t_G))
        for k, at in enumerate(self.at):
            s = rho_S == k
            if not s.any():
                continue
            r, v = self._rotated(at, law_Sm[s], sigma_S[s], a_S[s])
            power, across = a_S[s, None] ** 2, cross_Gm @ at.basis_mm
            mean = power * ((r / v) @ across.T)
            # relative to a^2: eigenvalues stay of order one however small the misfit
            told = np.einsum("gm,sm,hm->sgh", across, power / v, across)
            spread, axes = np.linalg.eigh(prior_GG - told)
            root = np.sqrt(np.maximum(spread, 0.0)) * np.sqrt(power)
            found[s] = mean + np.einsum("sgh,sh->sg", axes, root * normal_SG[s])
        return found


def _knots(t_n: np.ndarray) -> np.ndarray:
    """Indices of at most KNOTS rows, first and last among them, about evenly apart in t."""
    if len(t_n) <= KNOTS:
        return np.arange(len(t_n))
    wanted = np.linspace(t_n[0], t_n[-1], KNOTS)
    return np.unique(np.clip(np.searchsorted(t_n, wanted - 1e-12), 0, len(t_n) - 1))


def _hats(t_n: np.ndarray, t_m: np.ndarray) -> np.ndarray:
    """(n, m): linear interpolation from the knots."""
    if len(t_m) == 1:
        return np.ones((len(t_n), 1))
    right = np.clip(np.searchsorted(t_m, t_n), 1, len(t_m) - 1)
    share = (t_n - t_m[right - 1]) / (t_m[right] - t_m[right - 1])
    found, row = np.zeros((len(t_n), len(t_m))), np.arange(len(t_n))
    found[row, right - 1], found[row, right] = 1 - share, share
    return found
