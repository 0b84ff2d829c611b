"""What a redraw draws: the rows of a fit, or for a very long table its cells.

A cell holds units whose mean inputs fall into one step of a grid in their logarithms, the finest with at most CELLS
cells. Between its rows the law is straight, so to the refits it is one row:

    W_i = share_i weight_i / v_i                     v_i: variance of row i (noise.py);  everywhere below: i in the cell
    inputs              weighted geometric means, by W
    precision^2         sum W
    noise of the run    sqrt(sum_units (sum_i W_i s g_i)^2) / sum W          one e per unit, independent between units
    declared            sqrt(sum (W_i d_i)^2) / sum W
    misfit              the mean of its scales', by W
    residuals           J delta, with delta such that the gradient at the optimum is that of the rows, exactly

So the draws centre on the optimum, and its information loses the spread of J inside cells, of the order of
(exponent x step)^2 / 12. Under Huber's rho a row counts by its slope psi: with u* the residuals of a redrawn table,
the refits are those of least squares with the information kappa = mean rho''(u*), and with noise
sqrt(var psi(u*)) / kappa times as large (the sandwich of Huber 1967).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fits.objectives import LeastSquares, Objective, forward, slope
from fits.problems import Problems, value_and_slopes

if TYPE_CHECKING:
    from fits.estimate import Estimate

LONG = 4096  # rows from which on cells are redrawn
CELLS = 4096
REDRAWN = 8  # tables from which kappa and the noise under Huber's rho are taken


@dataclass(frozen=True)
class Rows:
    """n rows. `run_n` is the part of `variance_n` that is known from the scatter only; `noise_n` and `declared_n` are
    the standard deviations of what a redraw adds for each unit and each row."""

    inputs: Mapping[str, np.ndarray]
    objective: Objective
    target_n: np.ndarray
    share_n: np.ndarray
    weight_n: np.ndarray | None
    variance_n: np.ndarray
    run_n: np.ndarray
    noise_n: np.ndarray
    declared_n: np.ndarray
    unit: np.ndarray
    scale: np.ndarray  # (n,) its number, or (K, n) shares of K scales

    def at_scales(self, draws_SK: np.ndarray) -> np.ndarray:
        """What was drawn for scales, (S, n)."""
        return draws_SK[:, self.scale] if self.scale.ndim == 1 else draws_SK @ self.scale


def rows_or_cells(estimate: Estimate) -> Rows:
    points, noise = estimate.points, estimate.noise
    run_n = noise.run * noise.shape_n
    rows = Rows(
        points.inputs, estimate.objective, estimate.targets, points.share, points.weight, noise.variance(points),
        run_n, run_n, noise.declared_n, points.unit, points.scale,
    )  # fmt: skip
    return rows if len(points) <= LONG else cells_of(rows, estimate)


def cells_of(rows: Rows, estimate: Estimate) -> Rows:
    counts_n = rows.share_n if rows.weight_n is None else rows.share_n * rows.weight_n
    weight_n = counts_n / rows.variance_n
    cell_U = _grid(rows)
    cell = cell_U[rows.unit]
    total_C = np.bincount(cell, weight_n)
    kept = total_C > 0
    shares_KC = np.zeros((estimate.points.n_scales, len(total_C)))
    np.add.at(shares_KC, (rows.scale, cell), weight_n)

    def mean(a_n: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weight_n * a_n)[kept] / total_C[kept]

    kappa, larger = _response(rows, estimate.residual)
    inputs, information_C = {k: np.exp(mean(np.log(x))) for k, x in rows.inputs.items()}, kappa * total_C[kept]
    of_unit = np.bincount(rows.unit, weight_n * rows.noise_n)
    return Rows(
        inputs=inputs,
        objective=LeastSquares(rows.objective.scale),
        target_n=_targets(rows, estimate, inputs, information_C),
        share_n=np.bincount(cell, counts_n)[kept],
        weight_n=None,
        variance_n=np.bincount(cell, counts_n)[kept] / information_C,
        run_n=np.sqrt(mean(rows.run_n**2) / kappa),
        noise_n=larger * np.sqrt(np.bincount(cell_U, of_unit**2)[kept]) / total_C[kept],
        declared_n=larger * np.sqrt(np.bincount(cell, (weight_n * rows.declared_n) ** 2)[kept]) / total_C[kept],
        unit=np.arange(int(kept.sum())),
        scale=shares_KC[:, kept] / total_C[kept],
    )


def _targets(rows: Rows, estimate: Estimate, inputs: Mapping[str, np.ndarray], information_C: np.ndarray) -> np.ndarray:
    """The law's values at the optimum and the residuals J delta."""
    theta, scale = estimate.theta[None], rows.objective.scale
    weights = None if rows.weight_n is None else rows.weight_n[None]
    precisions = np.sqrt(rows.share_n / rows.variance_n)[None]
    data = Problems(estimate.law, estimate.inputs, rows.objective, rows.target_n[None], precisions, weights_Sn=weights)
    gradient = data.evaluate(theta, np.zeros(1, int))[1][0]
    value_1C, slope_1PC = value_and_slopes(estimate.law, theta, {**estimate.inputs, **inputs})
    slope_PC = slope_1PC[0] * slope(scale, value_1C[0])
    delta = -np.linalg.pinv(slope_PC * information_C @ slope_PC.T, hermitian=True) @ gradient
    return forward(scale, value_1C[0]) + delta @ slope_PC


def _grid(rows: Rows) -> np.ndarray:
    """The cell of each unit."""
    size = np.bincount(rows.unit)
    logs = [np.bincount(rows.unit, np.log(x)) / size for x in rows.inputs.values()]
    span = max(float(np.ptp(log)) for log in logs)
    step = span / CELLS or 1.0
    while True:
        key = np.zeros(len(size), int)
        for log in logs:
            place = ((log - log.min()) / step).astype(int)
            key = key * (int(place.max()) + 1) + place
        cells, cell_U = np.unique(key, return_inverse=True)
        if len(cells) <= CELLS or step > span:
            return cell_U
        step *= 1.2


def _response(rows: Rows, residual_n: np.ndarray) -> tuple[float, float]:
    """(kappa, how many times larger the noise), both 1 for least squares."""
    root_n, rng = np.sqrt(rows.share_n / rows.variance_n), np.random.default_rng(0)
    u_n, noise_n = residual_n * root_n, np.hypot(rows.noise_n, rows.declared_n) * root_n
    redrawn = u_n - noise_n * rng.standard_normal((REDRAWN, len(u_n)))
    second = rows.objective.second(redrawn)
    if second is None:
        return 1.0, 1.0
    kappa, spread_n = float(np.mean(second)), rows.objective.rho(redrawn)[1].var(0, ddof=1)
    return kappa, math.sqrt(float(np.mean(spread_n)) / float(np.mean(noise_n**2))) / kappa
