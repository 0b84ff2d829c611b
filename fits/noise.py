"""The noise of a run around the law, from the scatter itself (z: the fitting scale; rows i, scales k, P parameters).

    within     s^2    pooled variance of a run within its compute scale, where scales have replicates;
                      else the residual variance around the law, sum r^2 / (n - P)
    between    tau^2  what the scale means miss the law by beyond s: the law's own misfit, moment estimate >= 0
    declared   d_i    the user's (or sampling) standard error of a row; s is then the extra scatter that
                      sum r^2 / (d^2 + s^2) = n - P asks for (Paule and Mandel 1982), 0 if nothing is asked

The error from the choice of problems is never used: rows of one protocol share it, so it cancels between them.
Run noise shrinks with the excess over the floor, as that of seeds does: a run's own sd is s g(x), with

    g(x) = (h(x) / h_data)^DECAY,  h = |dz / d log A|       h: how far an excess of 1 % more moves z; A: the law's scale
                                                            h_data: its geometric mean over the fitted scales

so s is the noise at the middle of the data. Laws without floor and scale keep g = 1.
A row counts share_i (its part of a base trial's one vote at a scale): evidence is counted in base trials, not rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fits.objectives import Scale, forward, slope
from fits.points import Points
from scaling.laws import Law

REPLICATES = 3  # degrees of freedom within scales from which they are trusted over the residuals
DECAY = 0.5  # measured on ladders of other task instances: docs/log.md
MOST = 20.0  # g stays within 1 / MOST .. MOST
SMALLEST = 1e-9  # of the standard deviation on the fitting scale: exact data must not divide by zero


@dataclass(frozen=True)
class Noise:
    """`run` is s, `dof` its degrees of freedom (None: known), `misfit` is tau, `declared_n` d_i in z (0: none),
    `shape_n` is g of each row."""

    run: float
    dof: float | None
    misfit: float
    declared_n: np.ndarray
    source: str
    shape_n: np.ndarray

    @property
    def typical(self) -> float:
        """Standard deviation of one more measured run around the law at its scale: s and the typical declared error."""
        return math.hypot(self.run, float(np.median(self.declared_n)))

    def variance(self, points: Points) -> np.ndarray:
        """Variance of each row: d^2 + (s g)^2 + (units at its scale) tau^2.

        The shared tau counts once per scale, however many runs it has: with m of them, weights 1 / (s^2 + m tau^2) give
        the scale the total weight 1 / (s^2 / m + tau^2) of its mean.
        """
        units = np.bincount(points.scale, points.share)[points.scale]
        return self.declared_n**2 + (self.run * self.shape_n) ** 2 + units * self.misfit**2 + SMALLEST**2


def shape_of(
    law: Law, theta_SP: np.ndarray, data_x: np.ndarray, grid_G: np.ndarray, scale: Scale, **references: float
) -> np.ndarray:
    """g on a grid of the law's axis, per row of parameters: (S, G)."""
    if not {"floor", "scale"} <= set(law.names) or len(law.inputs) != 1:
        return np.ones((len(theta_SP), len(grid_G)))
    at, symbol = law.names.index("scale"), str(law.inputs[0].symbol)

    def log_h(x: np.ndarray) -> np.ndarray:
        value = law.value(theta_SP, **{symbol: x}, **references)
        moved = law.jacobian(theta_SP, **{symbol: x}, **references)[..., at] * theta_SP[:, at, None]
        with np.errstate(all="ignore"):
            return np.log(np.abs(moved * slope(scale, value)))

    with np.errstate(all="ignore"):
        log_g = log_h(grid_G) - log_h(data_x).mean(axis=1, keepdims=True)
    limit = np.log(MOST)
    return np.exp(DECAY * np.clip(np.nan_to_num(log_g, nan=0.0, posinf=0.0, neginf=0.0), -limit, limit))


def estimate_noise(
    points: Points,
    residual_n: np.ndarray,
    scale: Scale,
    free: int,
    robust: bool = False,
    shape_n: np.ndarray | None = None,
) -> Noise:
    """Noise of the rows, given their residuals around a law with `free` parameters (numbers on bounds do not count)."""
    z_n = forward(scale, points.value)
    g_n = np.ones(len(points)) if shape_n is None else shape_n
    declared = np.nan_to_num(points.se * slope(scale, points.value))
    none = np.zeros(len(points))
    left = points.n_units - free
    if np.all(declared > 0):
        run = extra_scatter(residual_n / g_n, declared / g_n, points.share, max(left, 1))
        source = "declared standard errors" + (f" and extra scatter {run:.2g}" if run else "")
        return Noise(run, float(max(left, 1)) if run else None, 0.0, declared, source, g_n)
    partly = "; errors declared for some rows only are not used" if np.any(declared > 0) else ""
    within, dof = _within(points, residual_n, g_n)
    if dof >= REPLICATES:
        misfit = _misfit(points, residual_n, within * g_n, free)
        return Noise(within, float(dof), misfit, none, f"replicates at {points.n_scales} scales{partly}", g_n)
    if left < 1 and len(points.inputs) == 1:
        run, dof_line = _around_line(points, z_n)
        return Noise(run, dof_line, 0.0, none, "scatter around a straight line: no degree of freedom", g_n)
    scaled = residual_n / g_n
    if robust:
        run = 1.4826 * float(np.median(np.abs(scaled))) * math.sqrt(points.n_units / max(left, 1))
    else:
        run = math.sqrt(float(np.sum(points.share * scaled**2)) / max(left, 1))
    return Noise(run, float(max(left, 1)), 0.0, none, f"scatter around the law{partly}", g_n)


def _within(points: Points, residual_n: np.ndarray, g_n: np.ndarray) -> tuple[float, int]:
    """(s, degrees of freedom) of runs around their scale's mean, by unit, each over its scale's g."""
    of_unit = np.bincount(points.unit, points.share * residual_n)
    at_scale = np.zeros(points.n_units, int)
    at_scale[points.unit] = points.scale
    mean = np.bincount(at_scale, of_unit) / np.bincount(at_scale)
    g_K = points.means(g_n)
    dof = points.n_units - points.n_scales
    if dof < 1:
        return 0.0, 0
    return math.sqrt(float(np.sum(((of_unit - mean[at_scale]) / g_K[at_scale]) ** 2)) / dof), dof


def _around_line(points: Points, z_n: np.ndarray) -> tuple[float, float]:
    """(s, degrees of freedom) around the line z ~ log x: too large for a curve, which is the safe side."""
    log_x = np.log(points.x)
    basis = np.column_stack([np.ones_like(log_x), log_x - log_x.mean()])
    residual = z_n - basis @ np.linalg.lstsq(basis, z_n, rcond=None)[0]
    dof = max(points.n_units - 2, 1)
    return math.sqrt(float(np.sum(points.share * residual**2)) / dof), float(dof)


def _misfit(points: Points, residual_n: np.ndarray, within_n: np.ndarray, free: int) -> float:
    """tau by moments: E[sum m_k rbar_k^2] = (K - P) (s^2 + m tau^2), with m the mean number of units at a scale and s^2
    the mean over scales of a run's own variance."""
    units = np.bincount(points.scale, points.share)
    means = points.means(residual_n)
    left = points.n_scales - free
    if left < 1:
        return 0.0
    between = float(np.sum(units * means**2)) / left
    own = float(np.mean(points.means(within_n**2)))
    return math.sqrt(max(0.0, between - own) / float(np.mean(units)))


def extra_scatter(residual: np.ndarray, declared: np.ndarray, share: np.ndarray, left: int) -> float:
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
