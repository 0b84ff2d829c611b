"""The runs of a table as places (N, D), for laws of model size and data: one mean per place, and what they can tell.

Runs at the same N and D are one place; runs of one base trial at one compute scale count as one (points.py).
K places, I = 2 inputs: log N and log D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fits.estimate import optimum
from fits.means import Means
from fits.noise import REPLICATES, extra_scatter
from fits.objectives import LeastSquares, Scale, backward, default_objective, forward, slope
from fits.points import Points
from fits.scatter import upper_tail
from fits.verdicts import INVERSE, LEVEL, NO_TREND, PREDICTABLE, UNTESTED
from scaling.compute import six_nd
from scaling.errors import InputError
from scaling.laws import CHINCHILLA
from scaling.metrics import metric as metric_named

LEAST = 0.005  # of the anchor above 0, in units of a relative error
THIN = 0.1  # e-folds: places nearer than this to one line (root mean square) do not tell size from data
SAYS = {
    "place": "all runs lie at one (N, D)",
    "N": "all runs have one model size",
    "D": "all runs saw the same number of tokens",
    "line": "all runs lie on one line in (log N, log D)",
}


@dataclass(frozen=True, kw_only=True)
class Places(Means):
    """One point per (N, D); `within` in units of `one_run`^2."""

    log_KI: np.ndarray
    anchor_I: np.ndarray
    z_anchor: float
    runs: int
    counted: float  # the table's compute over 6 N D, median

    @property
    def at_KI(self) -> np.ndarray:
        return self.log_KI

    @cached_property
    def m_anchor(self) -> float:
        """Where it could be 0 (rates that end at 1, losses of 0) at least LEAST units above: laws share out what is
        above 0."""
        value = float(metric_named(self.subject.metric).clip(backward(self.scale, np.array(self.z_anchor))))
        if self.link == "neg_log":
            return max(float(-np.log(max(value, 1e-300))), LEAST * self.unit)
        return value if self.scale == "log" else max(value, LEAST * self.unit)

    @cached_property
    def flat(self) -> str:
        """Which key of SAYS is true of the places; "" where they spread in size and in data."""
        spread = np.ptp(self.log_KI, axis=0)
        if len(self.z_K) == 1 or not (spread > THIN).any():
            return "place"
        if (spread <= THIN).any():
            return "N" if spread[0] <= THIN else "D"
        off = np.linalg.svd(self.log_KI - self.log_KI.mean(0), compute_uv=False)[1] / np.sqrt(len(self.z_K))
        return "line" if off < THIN else ""

    @cached_property
    def verdict(self) -> str:
        """Does z get better with scale at all? A plane through the places, least squares; t-test of its rise where size
        and data grow alike (two-sided, 5 %). Curvature counts as scatter, which errs to the side of no trend."""
        columns_KP = np.column_stack([np.ones(len(self.z_K)), self.log_KI - self.log_KI.mean(0)])
        inverse, dof = np.linalg.pinv(columns_KP.T @ columns_KP, rcond=1e-6, hermitian=True), len(self.z_K) - 3
        if dof < 1:
            return UNTESTED
        plane = inverse @ columns_KP.T @ self.z_K
        alike = np.array([0.0, 1.0, 1.0])
        rise = float(alike @ plane) * (1.0 if self.link == "neg_log" else -1.0)
        variance = float(np.sum((self.z_K - columns_KP @ plane) ** 2)) / dof
        error = float(np.sqrt(variance * (alike @ inverse @ alike)))
        if abs(rise) <= 1e-12 * self.unit or 2 * upper_tail(abs(rise) / max(error, 1e-300), float(dof)) > LEVEL:
            return NO_TREND
        return PREDICTABLE if rise > 0 else INVERSE


def places_of(points: Points) -> Places:
    """Points with the inputs N and D as means over the runs of each place."""
    metric = metric_named(points.subject.metric)
    if metric.low < 0 and np.min(points.value) <= 0:
        raise InputError(
            f"laws of size and data need values above 0: {metric.name} is {np.min(points.value):g} in some row",
            "give another metric, or its distance from a bound that it cannot pass",
        )
    scale = default_objective(points.value)[0].scale
    z = forward(scale, points.value)
    for name in ("N", "D"):
        if np.min(points.inputs[name]) <= 0:
            raise InputError(
                f"{name} is {np.min(points.inputs[name]):g} in some row", "leave it out: its log is needed"
            )
    log_nI = np.log(np.column_stack([points.inputs["N"], points.inputs["D"]]))
    _, first, place = np.unique(np.round(log_nI, 9), axis=0, return_index=True, return_inverse=True)
    units_K = np.bincount(place, points.share)
    mean_K = np.bincount(place, points.share * z) / units_K
    dof = len(np.unique(points.cluster * len(points) + place)) - len(first)
    inside_n = z - mean_K[place]
    declared_n = points.se * np.abs(slope(scale, points.value))
    known = bool(np.all(declared_n > 0))
    typical, run, variance_n = 0.0, 1.0, np.ones(len(points))
    if known:
        typical, run = float(np.median(declared_n)), _beyond_declared(points, scale, inside_n, declared_n, dof)
        variance_n = declared_n**2 + run**2
    squares = float(np.sum(points.share * inside_n**2 / variance_n))
    upper = np.argsort(points.x[first], kind="stable")[len(first) // 2 :]
    return Places(
        subject=points.subject,
        link="neg_log" if metric.better == "higher" else "identity",
        scale=scale,
        log_KI=log_nI[first],
        z_K=mean_K,
        shape_K=np.sqrt(np.bincount(place, points.share * variance_n)) / units_K,
        within=(squares, dof) if dof >= REPLICATES else (0.0, 0),
        one_run=math.hypot(typical, run),
        evaluation=typical**2 / (typical**2 + run**2) if known else None,
        anchor_I=log_nI[first][upper].mean(0),
        z_anchor=float(mean_K[upper].mean()),
        runs=len(points),
        counted=float(np.median(points.x / six_nd(points.inputs["N"], points.inputs["D"]))),
    )


def _beyond_declared(points: Points, scale: Scale, inside_n: np.ndarray, declared_n: np.ndarray, dof: int) -> float:
    """Standard deviation of a run beyond its declared error: of replicates, else around one law (noise.py)."""
    if dof >= REPLICATES:
        return extra_scatter(inside_n, declared_n, points.share, dof)
    if metric_named(points.subject.metric).better == "lower":
        return optimum(CHINCHILLA, points)[0].noise.run
    high = float(forward(scale, np.array(1.0)))  # of a rate: what is missing falls, in the same unit
    falling = replace(points, value=high - forward(scale, points.value), se=declared_n)
    return optimum(CHINCHILLA, falling, LeastSquares("absolute"))[0].noise.run
