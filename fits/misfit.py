"""The misfit of a law: how a smooth truth may wander around it. A Gaussian process in log compute.

    z_i = law(t_i) + m(t_i) + e_i        t = log compute, z: the fitting scale, i = 1 .. n
    m   ~ GP(0, a^2 k(|t - t'| / LENGTH))  k(r) = (1 + sqrt(3) r) exp(-sqrt(3) r)   (Matern 3/2)
    e_i ~ N(0, (sigma g_i)^2)             g: relative standard deviation of each point's noise

Divided by g, the covariance is a^2 K + sigma^2 I. K is diagonalised once, K = Q diag(l) Q', so that the likelihood of S
settings of (law, a, sigma) costs one product with Q and no factorisation:

    log L = -1/2 sum_j [(Q' r)_j^2 / v_j + log v_j] - sum log g - n/2 log 2 pi,  v = a^2 l + sigma^2, r = (z - law) / g

Source: Kennedy and O'Hagan (2001) for the discrepancy of a model; Rasmussen and Williams (2006), chapters 2 and 4.
"""

from __future__ import annotations

import numpy as np

LENGTH = 2.5  # e-folds of compute


def matern(distance: np.ndarray) -> np.ndarray:
    r = np.sqrt(3) * np.abs(distance)
    return (1 + r) * np.exp(-r)


class Misfit:
    """The process over n points. `places` (n, I): log inputs, one column per input of the law; `shape_n` is g."""

    def __init__(self, places_nI: np.ndarray, shape_n: np.ndarray) -> None:
        self.places_nI, self.shape_n = places_nI, shape_n
        covariance = matern(_distance(places_nI, places_nI)) / np.outer(shape_n, shape_n)
        eigenvalue, self.basis = np.linalg.eigh(covariance)
        self.eigenvalue = np.maximum(eigenvalue, 0.0)

    def log_likelihood(self, residual_Sn: np.ndarray, size_S: np.ndarray, sigma_S: np.ndarray) -> np.ndarray:
        """(S,): residuals z - law, amplitude a and noise sigma of each setting."""
        r, v = self._rotated(residual_Sn, size_S, sigma_S)
        constant = np.log(self.shape_n).sum() + len(self.shape_n) / 2 * np.log(2 * np.pi)
        return -0.5 * (r * r / v + np.log(v)).sum(1) - constant

    def draws(
        self,
        places_GI: np.ndarray,
        residual_Sn: np.ndarray,
        size_S: np.ndarray,
        sigma_S: np.ndarray,
        normal_S: np.ndarray,
    ) -> np.ndarray:
        """(S, G): m at new places given the residuals, one standard normal per draw for the whole grid (so that curves
        of quantiles are smooth). `places_GI` may be (S, G, I): other places for every draw."""
        r, v = self._rotated(residual_Sn, size_S, sigma_S)
        cross = matern(_distance(places_GI, self.places_nI)) / self.shape_n @ self.basis
        power = size_S[:, None] ** 2
        mean = power * (cross @ (r / v)[:, :, None])[..., 0]
        variance = power - (cross**2 @ (power**2 / v)[:, :, None])[..., 0]
        return mean + np.sqrt(np.maximum(variance, 0.0)) * normal_S[:, None]

    def slopes(
        self,
        places_SI: np.ndarray,
        along_SI: np.ndarray,
        residual_Sn: np.ndarray,
        size_S: np.ndarray,
        sigma_S: np.ndarray,
        normal_S: np.ndarray,
    ) -> np.ndarray:
        """(S,): slope of m given the residuals, at a place and along a direction of every draw's own.

        dk/dt along v is -3 (t - t') v exp(-sqrt(3) r) / LENGTH^2; before data the variance is 3 a^2 v^2 / LENGTH^2.
        """
        r, v = self._rotated(residual_Sn, size_S, sigma_S)
        ahead_Sn = ((places_SI[:, None, :] - self.places_nI) * along_SI[:, None, :]).sum(-1)
        fade_Sn = np.exp(-np.sqrt(3) * _distance(places_SI[:, None, :], self.places_nI)[:, 0])
        cross = -3 / LENGTH**2 * ahead_Sn * fade_Sn / self.shape_n @ self.basis
        power = size_S**2
        variance = power * 3 / LENGTH**2 * (along_SI**2).sum(1) - power**2 * (cross**2 / v).sum(1)
        return power * (cross * r / v).sum(1) + np.sqrt(np.maximum(variance, 0.0)) * normal_S

    def _rotated(
        self, residual_Sn: np.ndarray, size_S: np.ndarray, sigma_S: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        v = size_S[:, None] ** 2 * self.eigenvalue + sigma_S[:, None] ** 2
        return residual_Sn / self.shape_n @ self.basis, np.maximum(v, 1e-24)


def _distance(a_nI: np.ndarray, b_mI: np.ndarray) -> np.ndarray:
    return np.sqrt(((a_nI[..., :, None, :] - b_mI) ** 2).sum(-1)) / LENGTH
