"""Verdicts: does the data show a trend that a falling (or rising) law may extrapolate at all?

Tests on the scale means z_k (the fitting scale), with the noise of a run from replicates, declared errors or, where
there are neither, from how far each mean lies off the line between its neighbours (Gasser, Sroka and Jennen-Steinmetz
1986: no law assumed; a curved trend only makes it larger).

    too little data         fewer than 4 compute scales
    no identifiable trend   slope of z on log C not different from 0 (two-sided t-test, 5 %)
    inverse                 a significant slope in the direction that is worse for the metric
    U-shaped                some scale is significantly better (or worse) than the first AND than the last
                            (every pair tested, Bonferroni, 5 %): no monotone law does that
    predictable             otherwise
"""

from __future__ import annotations

import math

import numpy as np

from fits.objectives import Scale, forward, slope
from fits.points import Points
from scaling.metrics import metric as metric_named

TOO_LITTLE, NO_TREND, INVERSE, U_SHAPED, PREDICTABLE = (
    "too little data",
    "no identifiable trend",
    "inverse",
    "U-shaped",
    "predictable",
)
UNTESTED = "not tested"
SCALES, LEVEL = 4, 0.05
MANY = 1e4  # degrees of freedom of a noise that is known


def verdict_of(points: Points, scale: Scale) -> str:
    if points.n_scales < SCALES:
        return TOO_LITTLE
    metric = metric_named(points.subject.metric)
    # z rises where the metric gets better
    z_K = points.means(forward(scale, points.value)) * (1.0 if metric.better == "higher" else -1.0)
    units_K = np.bincount(points.scale, points.share)
    sd, dof = _noise(points, forward(scale, points.value), scale, z_K, units_K)
    if any(_turns(sign * z_K, sd / np.sqrt(units_K), dof) for sign in (1.0, -1.0)):
        return U_SHAPED
    log_x = np.log(points.scale_x)
    weight = units_K / units_K.sum()
    centred = log_x - np.sum(weight * log_x)
    spread = float(np.sum(units_K * centred**2))
    rate = float(np.sum(units_K * centred * z_K)) / spread
    if 2 * upper_tail(abs(rate) * math.sqrt(spread) / sd, dof) > LEVEL:
        return NO_TREND
    return PREDICTABLE if rate > 0 else INVERSE


def _turns(z_K: np.ndarray, se_K: np.ndarray, dof: float) -> bool:
    """Some inner scale lies above both ends; the smaller of its two t-values is tested, corrected for the scales tried
    in both directions (a curve that got better first or, like Hindsight Neglect, worse first)."""
    if len(z_K) < SCALES:
        return False
    inner = z_K[1:-1]
    against = [(inner - z_K[end]) / np.hypot(se_K[1:-1], se_K[end]) for end in (0, -1)]
    best = float(np.max(np.minimum(*against)))
    return best > 0 and 2 * len(inner) * upper_tail(best, dof) < LEVEL


def _noise(points: Points, z_n: np.ndarray, scale: Scale, z_K: np.ndarray, units_K: np.ndarray) -> tuple[float, float]:
    """(standard deviation of one unit, degrees of freedom)."""
    dof = points.n_units - points.n_scales
    if dof >= 3:
        inside = z_n - points.means(z_n)[points.scale]
        return math.sqrt(float(np.sum(points.share * inside**2)) / dof) or 1e-12, float(dof)
    declared = points.se * np.abs(slope(scale, points.value))
    log_x = np.log(points.scale_x)
    left = (log_x[2:] - log_x[1:-1]) / (log_x[2:] - log_x[:-2])
    gap = z_K[1:-1] - left * z_K[:-2] - (1 - left) * z_K[2:]
    size = 1 / units_K[1:-1] + left**2 / units_K[:-2] + (1 - left) ** 2 / units_K[2:]
    local = math.sqrt(float(np.mean(gap**2 / size)))
    if np.all(np.isfinite(declared)) and float(np.median(declared)) > local:
        return float(np.median(declared)), MANY
    return local or 1e-12, float(len(gap))


def upper_tail(t: float, dof: float) -> float:
    """P(T > t) of Student's t, t >= 0: with tan(a) = t / sqrt(dof), a share of the integral of cos^(dof - 1).

    (scipy's function would cost the command line a quarter of a second of imports.)
    """
    start = math.atan(t / math.sqrt(dof))

    def integral(low: float) -> float:
        a = np.linspace(low, math.pi / 2, 20_001)
        density = np.cos(a).clip(0.0) ** (dof - 1)
        return float(np.sum(density[1:] + density[:-1])) * (math.pi / 2 - low) / 40_000

    return integral(start) / (2 * integral(0.0))
