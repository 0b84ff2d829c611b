"""How much runs scatter: one number for all scales, and at each scale its own, moderated by what all share.

One number is pooled within scales where there are replicates, else it comes from the gaps between scale means and the
lines through their neighbours (Gasser, Sroka and Jennen-Steinmetz 1986), or from declared errors. Neighbouring gaps
share two scales, so that their mean square is no chi-square on their number:

    s^2 = sum_i w_i chi^2(d_i) / d_i,   sum_i w_i = 1        gaps: w_i the eigenvalues of their correlation over their
                                                              number, d_i = 1; one pooled variance: w = 1 on its own d
    P(N(0, 1) > t s) = 1/pi int_0^(pi/2) prod_i (1 + t^2 w_i / (d_i sin^2 a))^(-d_i / 2) da

since P(N > u) = 1/pi int exp(-u^2 / (2 sin^2 a)) da (Craig 1991) and a chi-square's moments are known. With one part
that is Student's t. (Satterthwaite's degrees of freedom, in its place, reject half of what they should at four scales.)

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
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fits.points import Points

PRIOR_DOF = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 1e4)
LEAST = 1e-3  # of a scale's own sd over the pooled one: equal values by chance are no proof that there is no noise
GRID = 60
COMMON = np.geomspace(1e-3, 4.0, 90)  # of s_0^2 over the pooled variance
MANY = 1e4  # degrees of freedom of a noise that is known
REPLICATES = 3  # degrees of freedom within scales from which they are trusted
SINE = np.sin((np.arange(4000) + 0.5) * (math.pi / 8000))


@dataclass(frozen=True)
class Noise:
    """`sd` of one run; its square is made of parts with shares w_i and d_i degrees of freedom each."""

    sd: float
    dof_I: tuple[float, ...] = (MANY,)
    share_I: tuple[float, ...] = (1.0,)

    @property
    def dof(self) -> float:
        """As if the square were one chi-square (Satterthwaite 1946)."""
        return 1.0 / sum(w * w / d for w, d in zip(self.share_I, self.dof_I, strict=True))

    def upper_tail(self, t: float) -> float:
        """P that a normal number of mean 0 comes out at more than t >= 0 times `sd`."""
        return upper_tail(t, self.dof_I, self.share_I)


def upper_tail(t: float, dof: ArrayLike, share: ArrayLike = 1.0) -> float:
    """P(N(0, 1) > t s), t >= 0 (scipy would cost the command line a quarter of a second of imports)."""
    half_I1, share_I1 = np.atleast_1d(dof)[:, None] / 2, np.atleast_1d(share)[:, None]
    return float(np.mean(np.exp(-np.sum(half_I1 * np.log1p(t**2 * share_I1 / half_I1 / 2 / SINE**2), axis=0)))) / 2


def noise_of(points: Points, z_n: np.ndarray, declared_n: np.ndarray) -> Noise:
    """The scatter of z. Declared errors count where there are no replicates, and only if larger than the gaps."""
    dof = points.n_units - points.n_scales
    if dof >= REPLICATES:
        inside_n = z_n - points.means(z_n)[points.scale]
        return Noise(math.sqrt(float(np.sum(points.share * inside_n**2)) / dof) or 1e-12, (dof,))
    units_K = np.bincount(points.scale, points.share)
    gap_IK = _gaps(np.log(points.scale_x))
    cross_II = (gap_IK / units_K) @ gap_IK.T
    size_I = np.diag(cross_II)
    local = math.sqrt(float(np.mean((gap_IK @ points.means(z_n)) ** 2 / size_I)))
    if np.all(np.isfinite(declared_n)) and float(np.median(declared_n)) > local:
        return Noise(float(np.median(declared_n)))
    share_I = np.linalg.eigvalsh(cross_II / np.sqrt(np.outer(size_I, size_I))).clip(0.0) / len(size_I)
    return Noise(local or 1e-12, (1.0,) * len(size_I), tuple(share_I.tolist()))


def _gaps(log_x: np.ndarray) -> np.ndarray:
    """(K - 2, K): what of the means is the gap between each inner scale and the line through its neighbours."""
    inner = np.arange(len(log_x) - 2)
    left = (log_x[2:] - log_x[1:-1]) / (log_x[2:] - log_x[:-2])
    gap_IK = np.zeros((len(inner), len(log_x)))
    gap_IK[inner, inner], gap_IK[inner, inner + 1], gap_IK[inner, inner + 2] = -left, 1.0, left - 1
    return gap_IK


def moderated(points: Points, z_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sd_K of one run, dof_K). Every scale has both, single runs those of the prior; 1 <= dof <= all there are."""
    dof_K, own_K, pooled = _within(points, z_n)
    total = float(dof_K.sum())
    prior, common = _prior(own_K[dof_K > 0], dof_K[dof_K > 0], pooled)
    variance_K = (prior * common + dof_K * own_K) / (prior + dof_K)
    return np.sqrt(variance_K), np.minimum(prior + dof_K, total)


def _within(points: Points, z_n: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(d_k, s_k^2, the pooled s^2) of runs within their scales; single runs have the pooled one on 0."""
    dof_K = np.maximum(np.round(np.bincount(points.scale, points.share)) - 1, 0.0)
    inside_n = z_n - points.means(z_n)[points.scale]
    squares_K = np.bincount(points.scale, points.share * inside_n**2)
    pooled = max(float(squares_K.sum()) / float(dof_K.sum()), 1e-24)
    own_K = np.divide(squares_K, dof_K, where=dof_K > 0, out=np.full_like(squares_K, pooled))
    return dof_K, np.maximum(own_K, LEAST**2 * pooled), pooled


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


def drawn(points: Points, z_n: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """(S, K) sd of one run as they may be: d_0 and s_0 drawn from their posterior (flat on PRIOR_DOF and log s_0), then
    s_k^2 from (d_0 s_0^2 + d_k s_k^2) / chi^2(d_0 + d_k)."""
    rng = np.random.default_rng(seed)
    dof_K, own_K, pooled = _within(points, z_n)
    common_G = pooled * COMMON
    found_PG = _log_likelihood(own_K[dof_K > 0], dof_K[dof_K > 0], np.array(PRIOR_DOF)[:, None], common_G)
    odds = np.exp(found_PG - found_PG.max()).ravel()
    at, on = np.unravel_index(rng.choice(odds.size, draws, p=odds / odds.sum()), found_PG.shape)
    prior_S1, common_S1 = np.array(PRIOR_DOF)[at][:, None], common_G[on][:, None]
    return np.sqrt((prior_S1 * common_S1 + dof_K * own_K) / rng.chisquare(prior_S1 + dof_K))
