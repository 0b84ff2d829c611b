"""The noise of a run around the law, from the scatter itself (z: the fitting scale; rows i, scales k, P parameters).

    within     s^2    pooled variance of a run within its compute scale, where scales have replicates;
                      else the residual variance around the law, sum r^2 / (n - P)
    between    tau^2  what the scale means miss the law by beyond s: the law's own misfit, moment estimate >= 0
    declared   d_i    the user's (or sampling) standard error of a row; s is then the extra scatter that
                      sum r^2 / (d^2 + s^2) = n - P asks for (Paule and Mandel 1982), 0 if nothing is asked

The error from the choice of problems is never used: rows of one protocol share it, so it cancels between them.
A row counts share_i (its part of a base trial's one vote at a scale): evidence is counted in base trials, not rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fits.objectives import Scale, forward, slope
from fits.points import Points

REPLICATES = 3  # degrees of freedom within scales from which they are trusted over the residuals
SMALLEST = 1e-9  # of the standard deviation on the fitting scale: exact data must not divide by zero


@dataclass(frozen=True)
class Noise:
    """`run` is s, `dof` its degrees of freedom (None: known), `misfit` is tau, `declared_n` d_i in z (0: none)."""

    run: float
    dof: float | None
    misfit: float
    declared_n: np.ndarray
    source: str

    @property
    def typical(self) -> float:
        """Standard deviation of one more measured run around the law at its scale: s and the typical declared error."""
        return math.hypot(self.run, float(np.median(self.declared_n)))

    def variance(self, points: Points) -> np.ndarray:
        """Variance of each row: d^2 + s^2 + (units at its scale) tau^2.

        The shared tau counts once per scale, however many runs it has: with m of them, weights 1 / (s^2 + m tau^2) give
        the scale the total weight 1 / (s^2 / m + tau^2) of its mean.
        """
        units = np.bincount(points.scale, points.share)[points.scale]
        return self.declared_n**2 + self.run**2 + units * self.misfit**2 + SMALLEST**2


def estimate_noise(points: Points, residual_n: np.ndarray, scale: Scale, free: int, robust: bool = False) -> Noise:
    """Noise of the rows, given their residuals around a law with `free` parameters (numbers on bounds do not count)."""
    z_n = forward(scale, points.value)
    declared = np.nan_to_num(points.se * slope(scale, points.value))
    left = points.n_units - free
    if np.all(declared > 0):
        run = _extra_scatter(residual_n, declared, points.share, max(left, 1))
        source = "declared standard errors" + (f" and extra scatter {run:.2g}" if run else "")
        return Noise(run, float(max(left, 1)) if run else None, 0.0, declared, source)
    partly = "; errors declared for some rows only are not used" if np.any(declared > 0) else ""
    within, dof = _within(points, residual_n)
    if dof >= REPLICATES:
        misfit = _misfit(points, residual_n, within, free)
        return Noise(
            within, float(dof), misfit, np.zeros(len(points)), f"replicates at {points.n_scales} scales{partly}"
        )
    if left < 1 and len(points.inputs) == 1:
        run, dof_line = _around_line(points, z_n)
        return Noise(run, dof_line, 0.0, np.zeros(len(points)), "scatter around a straight line: no degree of freedom")
    if robust:
        run = 1.4826 * float(np.median(np.abs(residual_n))) * math.sqrt(points.n_units / max(left, 1))
    else:
        run = math.sqrt(float(np.sum(points.share * residual_n**2)) / max(left, 1))
    return Noise(run, float(max(left, 1)), 0.0, np.zeros(len(points)), f"scatter around the law{partly}")


def _within(points: Points, residual_n: np.ndarray) -> tuple[float, int]:
    """(s, degrees of freedom) of runs around their scale's mean, by unit."""
    of_unit = np.bincount(points.unit, points.share * residual_n)
    at_scale = np.zeros(points.n_units, int)
    at_scale[points.unit] = points.scale
    mean = np.bincount(at_scale, of_unit) / np.bincount(at_scale)
    dof = points.n_units - points.n_scales
    if dof < 1:
        return 0.0, 0
    return math.sqrt(float(np.sum((of_unit - mean[at_scale]) ** 2)) / dof), dof


def _around_line(points: Points, z_n: np.ndarray) -> tuple[float, float]:
    """(s, degrees of freedom) around the line z ~ log x: too large for a curve, which is the safe side."""
    log_x = np.log(points.x)
    basis = np.column_stack([np.ones_like(log_x), log_x - log_x.mean()])
    residual = z_n - basis @ np.linalg.lstsq(basis, z_n, rcond=None)[0]
    dof = max(points.n_units - 2, 1)
    return math.sqrt(float(np.sum(points.share * residual**2)) / dof), float(dof)


def _misfit(points: Points, residual_n: np.ndarray, within: float, free: int) -> float:
    """tau by moments: E[sum m_k rbar_k^2] = (K - P) (s^2 + m tau^2), with m the mean number of units at a scale."""
    units = np.bincount(points.scale, points.share)
    means = points.means(residual_n)
    left = points.n_scales - free
    if left < 1:
        return 0.0
    between = float(np.sum(units * means**2)) / left
    return math.sqrt(max(0.0, between - within**2) / float(np.mean(units)))


def _extra_scatter(residual: np.ndarray, declared: np.ndarray, share: np.ndarray, left: int) -> float:
    """s >= 0 with sum share r^2 / (d^2 + s^2) = left, by bisection on s."""

    def chi2(s: float) -> float:
        return float(np.sum(share * residual**2 / (declared**2 + s**2)))

    if chi2(0.0) <= left:
        return 0.0
    low, high = 0.0, math.sqrt(float(np.sum(residual**2))) + float(declared.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chi2(middle) > left else (low, middle)
    return (low + high) / 2
