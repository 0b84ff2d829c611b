"""ScaleRL's published fit of one RL run, as it was published: a grid, and nothing but the best cell of it.

    R(C) = R_0 + (A - R_0) / (1 + (C_mid/C)^B)      R_0 given, the first ~epoch left out

A runs over .450, .455 .. .800, C_mid over 100 values evenly from 100 to 40,000 GPU-hours; B is the least-squares one in
every cell. Both grids are arguments: C_mid's is in the unit of the trajectory's axis. For comparison with published
numbers only: it says nothing of errors, and a continuous fit (fits.rl_average with one law) is up to 3x tighter.
Source: Khatri et al. (2025), arXiv 2510.13786, appendix on fitting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fits.trajectories import Source, trajectory
from scaling.errors import InputError
from scaling.laws import SIGMOID

ASYMPTOTES = tuple(round(0.45 + 0.005 * i, 3) for i in range(71))
MIDPOINTS = tuple(np.linspace(100.0, 40_000.0, 100).tolist())
COARSE, GOLDEN_STEPS = 24, 40
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class GridFit:
    """The best cell. `cost_AM`: sum of squares of every cell, with its best B; `on_edge`: the best cell lies on the
    edge of the grid, so that the grid and not the data chose it."""

    start: float
    asymptote: float
    midpoint: float
    steepness: float
    rows: int
    cost_AM: np.ndarray
    steepness_AM: np.ndarray
    on_edge: bool

    @property
    def cost(self) -> float:
        return float(self.cost_AM.min())

    def value(self, x: np.ndarray) -> np.ndarray:
        """R at x."""
        row = SIGMOID.row(start=self.start, asymptote=self.asymptote, midpoint=self.midpoint, steepness=self.steepness)
        return SIGMOID.value(row, C=np.asarray(x, float), C_0=1.0)[0]

    def __str__(self) -> str:
        edge = ", on the edge of the grid" if self.on_edge else ""
        return f"A = {self.asymptote:.3f}, C_mid = {self.midpoint:,.0f}, B = {self.steepness:.2f} (grid{edge})"


def scalerl_grid(
    source: Source,
    *,
    start: float,
    since: float,
    asymptotes: tuple[float, ...] = ASYMPTOTES,
    midpoints: tuple[float, ...] = MIDPOINTS,
    **reading: object,
) -> GridFit:
    """The published grid on one trajectory. `start`: R_0, measured before RL. `since`: rows before this place are left
    out (the first ~epoch; 1,500 GPU-hours in the publication)."""
    rows = trajectory(source, **reading)  # type: ignore[arg-type]
    kept = (rows.x_n >= since) & (rows.x_n > 0)
    if kept.sum() < 4:
        raise InputError(f"{kept.sum()} rows from {since:g} on do not determine three parameters", "give more rows")
    rows = rows.since(float(rows.x_n[kept][0]))
    if min(asymptotes) <= 0 or min(midpoints) <= 0:
        raise InputError("asymptotes and midpoints of the grid are positive")
    fitted = [_best_steepness(rows.x_n, rows.y_n, start, a, np.array(midpoints)) for a in asymptotes]
    cost, steepness = (np.array(each) for each in zip(*fitted, strict=True))
    i, j = np.unravel_index(int(cost.argmin()), cost.shape)
    edge = bool(i in (0, len(asymptotes) - 1) or j in (0, len(midpoints) - 1))
    return GridFit(start, asymptotes[i], midpoints[j], float(steepness[i, j]), len(rows), cost, steepness, edge)


def _best_steepness(
    x_n: np.ndarray, y_n: np.ndarray, start: float, asymptote: float, midpoint_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(cost (M,), B (M,)): a coarse grid in log B within the law's bounds, then golden sections of its best bracket."""
    low, high = np.log(SIGMOID.bounds[SIGMOID.names.index("steepness")])

    def cost(log_b_M: np.ndarray) -> np.ndarray:
        theta = [np.full_like(midpoint_M, start), np.full_like(midpoint_M, asymptote), midpoint_M, np.exp(log_b_M)]
        return ((SIGMOID.value(np.column_stack(theta), C=x_n, C_0=1.0) - y_n) ** 2).sum(1)

    grid = np.linspace(low, high, COARSE)
    best = np.argmin([cost(np.full_like(midpoint_M, b)) for b in grid], axis=0)
    left, right = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, COARSE - 1)]
    one, two = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
    at_one, at_two = cost(one), cost(two)
    for _ in range(GOLDEN_STEPS):
        lower = at_one < at_two
        left, right = np.where(lower, left, one), np.where(lower, two, right)
        kept, at_kept = np.where(lower, one, two), np.where(lower, at_one, at_two)
        new = np.where(lower, right - GOLDEN * (right - left), left + GOLDEN * (right - left))
        at_new = cost(new)
        one, two = np.where(lower, new, kept), np.where(lower, kept, new)
        at_one, at_two = np.where(lower, at_new, at_kept), np.where(lower, at_kept, at_new)
    middle = (left + right) / 2
    return cost(middle), np.exp(middle)
