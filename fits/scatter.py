"""How much runs scatter at each compute scale, from replicates: own variances, moderated by what all scales share.

A scale's variance from d_k degrees of freedom is pulled towards the scales' common one, as if it had been seen with d_0
more:

    s_k^2 / s_0^2 ~ F(d_k, d_0)          d_0, s_0: the largest likelihood over all scales (grid)
    moderated s_k^2 = (d_0 s_0^2 + d_k s_k^2) / (d_0 + d_k),  on  d_0 + d_k  degrees of freedom (at most all there are)

Alike scales give a large d_0 and one pooled variance; where some scales are quiet and others, as when some seeds have
turned and others not, are wild, d_0 is small and each keeps its own.
Source: Smyth (2004), Statistical Applications in Genetics and Molecular Biology 3, moderated t.
"""

from __future__ import annotations

import math

import numpy as np

from fits.points import Points

PRIOR_DOF = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 1e4)
LEAST = 1e-3  # of a scale's own sd over the pooled one: equal values by chance are no proof that there is no noise
GRID = 60


def moderated(points: Points, z_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sd_K of one run, dof_K). Every scale has both, single runs those of the prior; 1 <= dof <= all there are."""
    units_K = np.bincount(points.scale, points.share)
    dof_K = np.maximum(np.round(units_K) - 1, 0.0)
    inside_n = z_n - points.means(z_n)[points.scale]
    squares_K = np.bincount(points.scale, points.share * inside_n**2)
    total = float(dof_K.sum())
    pooled = float(squares_K.sum()) / total
    if pooled <= 0:
        return np.full(len(units_K), 1e-12), np.full(len(units_K), total)
    own_K = np.divide(squares_K, dof_K, where=dof_K > 0, out=np.full_like(squares_K, pooled))
    own_K = np.maximum(own_K, LEAST**2 * pooled)
    prior, common = _prior(own_K[dof_K > 0], dof_K[dof_K > 0], pooled)
    variance_K = (prior * common + dof_K * own_K) / (prior + dof_K)
    return np.sqrt(variance_K), np.minimum(prior + dof_K, total)


def _prior(own_K: np.ndarray, dof_K: np.ndarray, pooled: float) -> tuple[float, float]:
    """(d_0, s_0^2) of the largest likelihood; (many, pooled) where that explains the variances as well."""
    prior_P1 = np.array(PRIOR_DOF[:-1])[:, None]
    common_G = np.geomspace(own_K.min(), own_K.max(), GRID)
    found_PG = _log_likelihood(own_K, dof_K, prior_P1, common_G)
    alike = np.array([[PRIOR_DOF[-1]]]), np.array([pooled])
    if float(_log_likelihood(own_K, dof_K, *alike)[0, 0]) >= float(found_PG.max()) - 1e-9:
        return PRIOR_DOF[-1], pooled
    at, on = np.unravel_index(int(np.argmax(found_PG)), found_PG.shape)
    return PRIOR_DOF[int(at)], float(common_G[on])


def _log_likelihood(own_K: np.ndarray, dof_K: np.ndarray, prior_P1: np.ndarray, common_G: np.ndarray) -> np.ndarray:
    """Of variances s_k^2 = s_0^2 F(d_k, d_0), (P, G), up to a constant."""
    ratio_PGK = dof_K * own_K / common_G[:, None] / prior_P1[..., None]
    half_PK = (dof_K + prior_P1) / 2
    gamma_P = [
        sum(math.lgamma((d + p) / 2) - math.lgamma(d / 2) - math.lgamma(p / 2) for d in dof_K) for p in prior_P1[:, 0]
    ]
    found = np.sum(dof_K / 2 * np.log(ratio_PGK) - half_PK[:, None] * np.log1p(ratio_PGK), axis=-1)
    return found + np.array(gamma_P)[:, None]
