"""Where a fit starts: variable projection on a coarse grid.

Shapes: S problems, n rows, G grid points, F free parameters (held.py), K of them linear, R rows of parameters.
On the law's link g the law is g(f) = b_0(x) + sum_k phi_k b_k(x) in its linear roles. For each grid point of the others
the best linear ones within their bounds are solved exactly: squared error on the fitting scale, reweighted for Huber's.
Source: Golub and Pereyra (1973).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from fits.held import Held, hold
from fits.objectives import HuberLog, LeastSquares, Objective, backward, slope
from fits.problems import Problems
from scaling.errors import InputError
from scaling.laws import Law

STEPS, FEWEST = 24, 6  # grid points of one exponent; fewer each where there are several
SPREAD = 2048  # grid points at most
FOLLOWED = 64  # starts of one fit at most: those of every law with up to two nonlinear parameters
REWEIGHTED = 3  # rounds for Huber's objective
MOST = 4_000_000  # numbers in one array


def starts(
    law: Law,
    inputs: Mapping[str, np.ndarray | float],
    values: np.ndarray,
    objective: Objective | None = None,
    held: Held | None = None,
) -> np.ndarray:
    """(G, P): for each point of the grid, the best linear roles for the values (n,) at the inputs. Of a larger grid,
    in three or more nonlinear parameters, the FOLLOWED best points."""
    held = held or hold(law)
    grid = _grid(law, held)
    phi, cost = _project(law, held, inputs, np.asarray(values, float)[None], objective or LeastSquares(), grid, None)
    return held.expand(phi if len(phi) <= FOLLOWED else phi[np.argsort(cost, kind="stable")[:FOLLOWED]])


def best_starts(problems: Problems, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows (S keep, P), the problem of each): the best of every problem's grid, many problems at a time."""
    law, held, objective = problems.law, problems.free, problems.objective
    grid = _grid(law, held)
    size, count = problems.size, len(grid)
    keep, step = min(keep, count), max(1, MOST // (count * problems.length))
    rows, owners = [], []
    for first in range(0, size, step):
        some = np.arange(first, min(size, first + step))
        of = np.repeat(some, count)
        part = problems.at(of)
        weight = part.precisions_Sn if part.weights_Sn is None else part.precisions_Sn * np.sqrt(part.weights_Sn)
        values, rows_RF = backward(objective.scale, part.targets_Sn), np.tile(grid, (len(some), 1))
        phi, cost = _project(law, held, part.inputs, values, objective, rows_RF, weight)
        best = np.argsort(cost.reshape(len(some), count), axis=1, kind="stable")[:, :keep]
        rows.append(held.expand(phi[(best + count * np.arange(len(some))[:, None]).ravel()]))
        owners.append(np.repeat(some, keep))
    return np.concatenate(rows), np.concatenate(owners)


def _linear(law: Law, held: Held) -> list[int]:
    """Free parameters that enter linearly, with all that is tied to them."""
    roles = [name in law.linear for name in law.names]
    return [f for f, row in enumerate(held.matrix_FP) if all(np.array(roles)[row != 0])]


def _grid(law: Law, held: Held) -> np.ndarray:
    """(G, F): every combination of the nonlinear parameters, log-spaced where a bound is positive; linear ones are 1.
    Where those are too many (two breaks), SPREAD points spread evenly instead."""
    linear = _linear(law, held)
    free = [f for f in range(len(held.bounds_F2)) if f not in linear]
    for f in free:
        if not np.isfinite(held.bounds_F2[f]).all():
            raise InputError(f"{law.names[held.leaders_F[f]]} enters law {law.name} nonlinearly and has no bounds")
    steps = max(FEWEST, round(STEPS ** (2 / (1 + len(free)))))
    if steps ** len(free) > SPREAD:
        places = _spread(len(free))
        columns = [low * (high / low) ** p if low > 0 else low + (high - low) * p
                   for (low, high), p in zip(held.bounds_F2[free], places.T, strict=True)]  # fmt: skip
    else:
        axes = [(np.geomspace if low > 0 else np.linspace)(low, high, steps) for low, high in held.bounds_F2[free]]
        columns = list(np.array(list(itertools.product(*axes))).reshape(-1, len(free)).T)
    grid = np.ones((len(columns[0]) if columns else 1, len(held.bounds_F2)))
    for f, column in zip(free, columns, strict=True):
        grid[:, f] = column
    return grid


def _spread(dimensions: int) -> np.ndarray:
    """(SPREAD, dimensions) in 0 .. 1, evenly: multiples of powers of 1 / phi with phi^(dimensions + 1) = phi + 1
    (Roberts 2018, the R sequence)."""
    phi = 1.5
    for _ in range(60):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    return (0.5 + np.outer(np.arange(1, SPREAD + 1), phi ** -np.arange(1.0, dimensions + 1))) % 1


def _project(
    law: Law,
    held: Held,
    inputs: Mapping[str, np.ndarray | float],
    values_Rn: np.ndarray,
    objective: Objective,
    phi_RF: np.ndarray,
    weight_Rn: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(phi, cost) of every row, its linear parameters solved; values, weights and inputs have one row or R."""
    linear = _linear(law, held)
    linked = _link(law, values_Rn)

    def shape(active: int | None) -> np.ndarray:
        rows = phi_RF.copy()
        rows[:, linear] = 0.0
        if active is not None:
            rows[:, active] = 1.0
        return _link(law, (law.along if _own(inputs) else law.value)(held.expand(rows), **inputs))

    with np.errstate(all="ignore"):
        weight = np.abs(slope(objective.scale, values_Rn) * (values_Rn if law.link == "neg_log" else 1.0))
    weight = np.nan_to_num(weight if weight_Rn is None else weight * weight_Rn, posinf=0.0)
    offset = np.nan_to_num(shape(None))
    basis = np.stack([np.nan_to_num(shape(k) - offset) for k in linear], -1) if linear else None
    robust = np.ones((1, 1))
    for _ in range(REWEIGHTED if isinstance(objective, HuberLog) else 1):
        solved, residual = _solve(basis, linked - offset, weight * robust, held.bounds_F2[linear])
        residual = residual * weight
        if isinstance(objective, HuberLog):
            size = np.abs(residual)
            knee = np.maximum(objective.delta, np.median(size, axis=1, keepdims=True))
            robust = np.sqrt(knee / np.maximum(size, knee))
    found = phi_RF.copy()
    found[:, linear] = solved
    with np.errstate(all="ignore"):
        cost = objective.rho(residual)[0].sum(1)
    return found, np.where(np.isfinite(cost), cost, np.inf)


def _solve(
    basis_RnK: np.ndarray | None, goal_Rn: np.ndarray, weight_Rn: np.ndarray, bounds_K2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients (R, K), residual (R, n) without weight): every subset is solved, the best within bounds kept."""
    if basis_RnK is None:
        return np.zeros((len(goal_Rn), 0)), -goal_Rn
    rows, _, count = basis_RnK.shape
    basis, goal = basis_RnK * weight_Rn[..., None], (goal_Rn * weight_Rn)[..., None]
    turned = np.swapaxes(basis, 1, 2)
    gram, right = np.matmul(turned, basis), np.matmul(turned, goal)[..., 0]
    best_cost, best = np.full(rows, np.inf), np.zeros((rows, count))
    low, high = bounds_K2.T
    for size in range(1, count + 1):
        for subset in map(list, itertools.combinations(range(count), size)):
            part = gram[:, subset][:, :, subset]
            part = part + (1e-13 * np.trace(part, axis1=1, axis2=2)[:, None, None] + 1e-300) * np.eye(size)
            found = np.linalg.solve(part, right[:, subset, None])[..., 0]
            cost = -(found * right[:, subset]).sum(1)  # and the goal's own square, the same for every subset
            inside = ((found > low[subset]) & (found < high[subset])).all(1)
            better = inside & (cost < best_cost)
            best_cost = np.where(better, cost, best_cost)
            full = np.zeros((rows, count))
            full[:, subset] = found
            best = np.where(better[:, None], full, best)
    best = np.where(np.isfinite(best_cost)[:, None], best, 1.0)
    return best, np.matmul(basis_RnK, best[..., None])[..., 0] - goal_Rn


def _own(inputs: Mapping[str, np.ndarray | float]) -> bool:
    return any(np.ndim(x) == 2 for x in inputs.values())


def _link(law: Law, values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return -np.log(np.maximum(values, 1e-300)) if law.link == "neg_log" else np.asarray(values, float)
