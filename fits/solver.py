"""The solver: a start by variable projection, then damped Gauss-Newton over all problems at once.

Shapes: S problems (starts or resamples), n rows, P parameters, G grid points. Every problem is the same law at the
same inputs with its own targets z_Sn, precisions w_Sn and prior centres; all run as one array, in plain numpy.
Source: Golub and Pereyra (1973) for the projection, Marquardt (1963) for the damping.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fits.objectives import Objective, forward, slope
from fits.priors import Prior
from scaling.laws import Law

EXPONENT_STEPS = 24
MAX_DAMPING = 1e12


@dataclass(frozen=True)
class Problems:
    """S posteriors. `targets_Sn`, `precisions_Sn` may have one row that serves all; `centres_SK` shift the priors."""

    law: Law
    inputs: Mapping[str, np.ndarray | float]
    objective: Objective
    targets_Sn: np.ndarray
    precisions_Sn: np.ndarray  # 1 / standard deviation, times the root of the row's weight
    priors: tuple[Prior, ...] = ()
    centres_SK: np.ndarray | None = None  # in units of each prior's spread

    def evaluate(self, theta_SP: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(cost_S, gradient_SP, curvature_SPP) of the problems `rows` at theta."""
        residual_Sn, slope_SnP = self._standardised(theta_SP, rows)
        with np.errstate(all="ignore"):
            cost_Sn, psi_Sn, curve_Sn = self.objective.rho(residual_Sn)
            cost = cost_Sn.sum(1)
            gradient = np.matmul(psi_Sn[:, None, :], slope_SnP)[:, 0]
            curvature = np.matmul(np.swapaxes(slope_SnP * curve_Sn[..., None], 1, 2), slope_SnP)
        for k, prior in enumerate(self.priors):
            at = self.law.names.index(prior.role)
            shift = 0.0 if self.centres_SK is None else self.centres_SK[rows, k]
            r, d = prior.residual(theta_SP[:, at]) - shift, prior.slope(theta_SP[:, at])
            cost, gradient[:, at] = cost + r * r / 2, gradient[:, at] + r * d
            curvature[:, at, at] += d * d
        return np.where(np.isfinite(cost), cost, np.inf), gradient, curvature

    def information(self, theta_SP: np.ndarray) -> np.ndarray:
        """J'J of the data alone, without prior: (S, P, P)."""
        slope_SnP = self._standardised(theta_SP, np.zeros(len(theta_SP), int))[1]
        return np.matmul(np.swapaxes(slope_SnP, 1, 2), slope_SnP)

    def _standardised(self, theta_SP: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value_Sn = self.law.value(theta_SP, **self.inputs)
        jacobian_SnP = self.law.jacobian(theta_SP, **self.inputs)
        precision_Sn = _rows(self.precisions_Sn, rows)
        scale = self.objective.scale
        with np.errstate(all="ignore"):
            residual_Sn = (forward(scale, value_Sn) - _rows(self.targets_Sn, rows)) * precision_Sn
            return residual_Sn, jacobian_SnP * (slope(scale, value_Sn) * precision_Sn)[..., None]


@dataclass(frozen=True)
class Solution:
    """`stationary_S`: no step lowers the cost any more. `bound_SP`: which parameters rest on a bound."""

    parameters_SP: np.ndarray
    cost_S: np.ndarray
    stationary_S: np.ndarray
    bounds_P2: np.ndarray

    @cached_property
    def bound_SP(self) -> np.ndarray:
        return (self.parameters_SP <= self.bounds_P2[:, 0]) | (self.parameters_SP >= self.bounds_P2[:, 1])

    @property
    def best(self) -> int:
        return int(np.argmin(self.cost_S))


def minimise(problems: Problems, start_SP: np.ndarray, *, steps: int = 200, tolerance: float = 1e-9) -> Solution:
    """Damped Gauss-Newton from every row of `start_SP`, bounds kept by projection.

    A parameter on a bound whose gradient points outward is held there for the step. A problem is done when the step
    it would take is below `tolerance` of the parameters' size, promises less than rounding (1e-13 of the cost), or
    when no damping finds a lower cost.
    """
    bounds = problems.law.bounds
    theta = np.clip(np.array(start_SP, float), bounds[:, 0], bounds[:, 1])
    everyone = np.arange(len(theta))
    cost, gradient, curvature = problems.evaluate(theta, everyone)
    damping = np.full(len(theta), 1e-3)
    done = ~np.isfinite(cost)
    stationary = np.zeros(len(theta), bool)
    for _ in range(steps):
        rows = everyone[~done]
        if not len(rows):
            break
        trial, small = _step(theta[rows], gradient[rows], curvature[rows], damping[rows], bounds, tolerance)
        promised = np.abs((gradient[rows] * (trial - theta[rows])).sum(1))
        small |= (promised <= 1e-13 * cost[rows]) & (damping[rows] < 1)
        new_cost, new_gradient, new_curvature = problems.evaluate(trial, rows)
        better = new_cost <= cost[rows]
        taken = rows[better]
        theta[taken], cost[taken] = trial[better], new_cost[better]
        gradient[taken], curvature[taken] = new_gradient[better], new_curvature[better]
        damping[rows] = np.where(better, np.maximum(damping[rows] / 8, 1e-12), damping[rows] * 6)
        finished = small | (damping[rows] > MAX_DAMPING)
        stationary[rows[finished]] = True
        done[rows[finished]] = True
    return Solution(theta, cost, stationary, bounds)


def _step(
    theta: np.ndarray,
    gradient: np.ndarray,
    curvature: np.ndarray,
    damping: np.ndarray,
    bounds: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The projected step of each problem, and whether it is negligible."""
    held = ((theta <= bounds[:, 0]) & (gradient > 0)) | ((theta >= bounds[:, 1]) & (gradient < 0))
    size = np.arange(theta.shape[1])
    diagonal = np.maximum(curvature[:, size, size], 1e-300)
    # unit diagonal first: parameters differ in size by many orders of magnitude
    root = np.sqrt(diagonal)
    system = curvature / (root[:, :, None] * root[:, None, :])
    system = np.where(held[:, :, None] | held[:, None, :], 0.0, system)
    system[:, size, size] = 1.0 + damping[:, None]
    right = np.where(held, 0.0, gradient / root)
    step = -np.linalg.solve(np.nan_to_num(system), np.nan_to_num(right)[..., None])[..., 0] / root
    trial = np.clip(theta + step, bounds[:, 0], bounds[:, 1])
    moved = np.abs(trial - theta)
    return trial, (moved <= tolerance * (np.abs(theta) + tolerance)).all(1) & (damping < 1)


def _rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return array if len(array) == 1 else array[rows]


def starts(law: Law, inputs: Mapping[str, np.ndarray | float], values: np.ndarray) -> np.ndarray:
    """(G, P): for each point of a coarse grid of the nonlinear roles, the best non-negative linear ones.

    On the law's link g the law is g(f) = b_0(x) + sum_j theta_j b_j(x), with b from the law itself; rows weigh 1 / g^2
    (relative errors). Every subset of the linear roles is solved and the best non-negative one kept.
    """
    grid = _grid(law)
    linear = [law.names.index(name) for name in law.linear]
    linked = _link(law, values)
    weight = 1.0 / np.maximum(np.abs(linked), 1e-12 * np.max(np.abs(linked), initial=1e-300))

    def shape(active: int | None) -> np.ndarray:
        rows = grid.copy()
        rows[:, linear] = 0.0
        if active is not None:
            rows[:, active] = 1.0
        return _link(law, law.value(rows, **inputs))

    offset = np.nan_to_num(shape(None))
    basis = np.stack([shape(j) - offset for j in linear], -1) * weight[:, None]
    goal = (linked - offset) * weight
    best_cost = np.full(len(grid), np.inf)
    for size in range(1, len(linear) + 1):
        for subset in itertools.combinations(range(len(linear)), size):
            part = basis[..., list(subset)]
            gram = np.matmul(np.swapaxes(part, 1, 2), part)
            gram += 1e-13 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            found = np.linalg.solve(gram, np.matmul(np.swapaxes(part, 1, 2), goal[..., None]))[..., 0]
            cost = ((np.matmul(part, found[..., None])[..., 0] - goal) ** 2).sum(1)
            better = (found > 0).all(1) & (cost < best_cost)
            best_cost = np.where(better, cost, best_cost)
            full = np.zeros((len(grid), len(linear)))
            full[:, list(subset)] = found
            grid[np.ix_(better, linear)] = full[better]
    return grid


def _grid(law: Law) -> np.ndarray:
    """Every combination of the nonlinear roles, log-spaced where a bound is positive; linear roles start at 1."""
    axes: list[Sequence[float]] = []
    nonlinear = [p for p in law.parameters if p.name not in law.linear]
    steps = max(6, round(EXPONENT_STEPS ** (2 / (1 + len(nonlinear)))))
    for p in law.parameters:
        if p.name in law.linear:
            axes.append([1.0])
        elif p.low > 0:
            axes.append(np.geomspace(p.low, p.high, steps).tolist())
        else:
            axes.append(np.linspace(p.low, p.high, steps).tolist())
    return np.array(list(itertools.product(*axes)))


def _link(law: Law, values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return -np.log(np.maximum(values, 1e-300)) if law.link == "neg_log" else np.asarray(values, float)
