"""The solver: a start by variable projection, then damped Gauss-Newton over all problems at once.

Shapes: S problems (starts, resamples or curves), n rows, P parameters, F free ones (held.py).

    step of phi   -(H + lambda diag H)^-1 gradient,     H = H2 + t (HM - H2),  t = min(1, SAFE lambda)

HM is the Gauss-Newton matrix of the majorising parabola, H2 that of the true second derivative: for least squares they
are one. lambda falls after a step that lowers the cost and grows after one that does not, so that a Huber objective
starts with safe reweighted steps and ends with Newton's. Its small deltas are reached by way of larger ones.
Source: Marquardt (1963) for the damping; Madsen and Nielsen (1993) for the way from Huber to least absolute deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fits.held import Held
from fits.objectives import HuberLog
from fits.problems import Problems
from fits.starts import best_starts, starts
from scaling.fitted import FitStatus

__all__ = ["Problems", "Solution", "identified", "minimise", "solve", "starts"]

MAX_DAMPING = 1e12
LARGEST_CONDITION = 1e9
KEPT = 4  # starts of a problem that are followed to the end
THIN = 4096  # rows that choose among the starts
NEAR = 1e-4  # tolerance of what is only on the way
FARTHER, FAR = 3.0, 10.0  # ratio of two deltas on the way to a small one; residual / delta from which there is a way
SAFE = 1e3  # from a lambda of 1 / SAFE on, steps are those of the majorising parabola
SMOOTH, KINKED = (8.0, 6.0), (4.0, 8.0)  # how lambda falls and grows: a step is good only up to the next kink


@dataclass(frozen=True)
class Solution:
    """`stationary_S`: no step lowers the cost any more. `owner_S`: the problem each row is a solution of."""

    problems: Problems
    parameters_SP: np.ndarray
    cost_S: np.ndarray
    stationary_S: np.ndarray
    owner_S: np.ndarray

    @cached_property
    def bound_SF(self) -> np.ndarray:
        """Which free parameters rest on a bound."""
        free, phi = self.problems.free, self.parameters_SP[:, self.problems.free.leaders_F]
        return (phi <= free.bounds_F2[:, 0]) | (phi >= free.bounds_F2[:, 1])

    @property
    def bound_SP(self) -> np.ndarray:
        """Which parameters rest on a bound (a fixed one does not)."""
        return self.problems.free.spread(self.bound_SF)

    @property
    def free_S(self) -> np.ndarray:
        """How many parameters the data determine: neither held nor on a bound."""
        return (~self.bound_SF).sum(1)

    @cached_property
    def status_S(self) -> np.ndarray:
        """A FitStatus for every row, of the solver alone: what the noise says of it is not in here."""
        found = np.full(len(self.cost_S), FitStatus.CONVERGED, dtype=object)
        found[self.bound_SF.any(1)] = FitStatus.BOUND_HIT
        found[~self.stationary_S] = FitStatus.DIVERGED
        finite = np.isfinite(self.cost_S)
        open_S = ~identified(self.problems, self.parameters_SP, self.bound_SF, self.owner_S)
        found[open_S] = FitStatus.NOT_IDENTIFIED
        found[~finite] = FitStatus.DIVERGED
        return found

    def counts(self) -> dict[FitStatus, int]:
        """How many rows ended in each status, worst last."""
        return {status: n for status in FitStatus if (n := int(np.sum(self.status_S == status)))}

    @property
    def best(self) -> int:
        return int(np.argmin(self.cost_S))

    def best_each(self) -> Solution:
        """The best row of every problem, in the problems' order."""
        order = np.lexsort((self.cost_S, self.owner_S))
        first = order[np.unique(self.owner_S[order], return_index=True)[1]]
        fields = {n: getattr(self, n)[first] for n in ("parameters_SP", "cost_S", "stationary_S", "owner_S")}
        return replace(self, **fields)


def identified(problems: Problems, theta_SP: np.ndarray, bound_SF: np.ndarray, owner_S: np.ndarray) -> np.ndarray:
    """(S,): do the data alone determine every free parameter off its bounds? By the condition of the scaled J'J."""
    matrix = problems.free.matrix_FP
    with np.errstate(all="ignore"):
        found = matrix @ problems.information(theta_SP, owner_S) @ matrix.T
    size = np.arange(len(matrix))
    diagonal = np.where(bound_SF, 1.0, found[:, size, size])
    good = np.isfinite(found).all((1, 2)) & (diagonal > 0).all(1)
    root = np.sqrt(np.where(good[:, None], diagonal, 1.0))
    scaled = np.where(bound_SF[:, :, None] | bound_SF[:, None, :], 0.0, found / (root[:, :, None] * root[:, None, :]))
    scaled[:, size, size] = 1.0
    good[good] = np.linalg.cond(scaled[good]) <= LARGEST_CONDITION
    return good


def solve(problems: Problems, *, keep: int = KEPT, steps: int = 200, tolerance: float = 1e-9) -> Solution:
    """The best optimum of every problem, from the `keep` best starts of its grid: one row a problem.

    Beyond 4,096 rows a thinned table chooses among the starts and brings the best one near.
    """
    if problems.length > THIN:
        lead = next((x for x in problems.inputs.values() if np.shape(x) == (problems.length,)), None)
        order = np.arange(problems.length) if lead is None else np.argsort(lead, kind="stable")
        thin = problems.thinned(np.sort(order[thin_rows(problems.length)]))
        start, owner = solve(thin, keep=keep, steps=steps, tolerance=NEAR).parameters_SP, np.arange(problems.size)
    else:
        start, owner = best_starts(problems, keep)
    return minimise(problems, start, owner, steps=steps, tolerance=tolerance).best_each()


def thin_rows(length: int) -> np.ndarray:
    """At most THIN of `length` ordered rows, evenly."""
    return np.linspace(0, length - 1, min(length, THIN)).astype(int)


def minimise(
    problems: Problems,
    start_SP: np.ndarray,
    owner_S: np.ndarray | None = None,
    *,
    steps: int = 200,
    tolerance: float = 1e-9,
) -> Solution:
    """Damped Gauss-Newton from every row of `start_SP`, bounds kept by projection.

    `owner_S` names the problem of each start (default: row s is problem s). A parameter on a bound whose gradient
    points outward is held there for the step. A problem is done when the step it would take is below `tolerance` of
    the parameters' size, promises less than rounding (1e-13 of the cost), or when no damping finds a lower cost.
    """
    owner = np.arange(len(start_SP)) if owner_S is None else owner_S
    free = problems.free
    phi = free.reduce(np.array(start_SP, float))
    for near in _way(problems, free.expand(phi), owner):
        phi = _descend(near, phi, owner, steps, NEAR)[0]
    phi, cost, stationary = _descend(problems, phi, owner, steps, tolerance)
    return Solution(problems, free.expand(phi), cost, stationary, owner)


def _way(problems: Problems, theta_SP: np.ndarray, owner_S: np.ndarray) -> list[Problems]:
    """The same problems with larger deltas, from the typical residual of the starts down: none for least squares."""
    objective = problems.objective
    if not isinstance(objective, HuberLog):
        return []
    some = np.linspace(0, len(theta_SP) - 1, min(64, len(theta_SP))).astype(int)
    typical = float(np.nanmedian(np.abs(problems.at(owner_S[some]).residuals(theta_SP[some]))))
    deltas: list[float] = []
    while typical > FAR * objective.delta and (delta := objective.delta * FARTHER ** (len(deltas) + 1)) < typical:
        deltas.append(delta)
    return [replace(problems, objective=replace(objective, delta=d)) for d in reversed(deltas)]


def _descend(
    problems: Problems, start_SF: np.ndarray, owner_S: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(phi, cost, stationary) of every start."""
    phi, everyone = start_SF.copy(), np.arange(len(start_SF))
    damping, (fall, rise) = np.full(len(phi), 1e-3), KINKED if isinstance(problems.objective, HuberLog) else SMOOTH
    cost, gradient, curvature = _evaluate(problems, phi, owner_S, damping)
    stationary, rows = np.zeros(len(phi), bool), everyone[np.isfinite(cost)]
    for _ in range(steps):
        if not len(rows):
            break
        damped, before, slope = damping[rows], cost[rows], gradient[rows]
        trial, small = _step(phi[rows], slope, curvature[rows], damped, problems.free, tolerance)
        promised = np.abs((slope * (trial - phi[rows])).sum(1))
        small |= (promised <= 1e-13 * before) & (damped < 1)
        new_cost, new_gradient, new_curvature = _evaluate(problems, trial, owner_S[rows], damped / fall)
        better = new_cost <= before
        taken = rows[better]
        phi[taken], cost[taken] = trial[better], new_cost[better]
        gradient[taken], curvature[taken] = new_gradient[better], new_curvature[better]
        damped = np.where(better, np.maximum(damped / fall, 1e-12), damped * rise)
        damping[rows] = damped
        finished = small | (damped > MAX_DAMPING)
        stationary[rows[finished]] = True
        rows = rows[~finished]
    return phi, cost, stationary


def _evaluate(
    problems: Problems, phi_SF: np.ndarray, owner_S: np.ndarray, damping_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cost, gradient (S, F) and curvature (S, F, F) in the free parameters."""
    matrix, safe = problems.free.matrix_FP, np.minimum(1.0, SAFE * damping_S)
    cost, gradient, curvature = problems.evaluate(problems.free.expand(phi_SF), owner_S, safe)
    if problems.free.nothing and np.isfinite(gradient).all() and np.isfinite(curvature).all():
        return cost, gradient, curvature
    with np.errstate(all="ignore"):
        return cost, gradient @ matrix.T, matrix @ curvature @ matrix.T


def _step(
    phi: np.ndarray,
    gradient: np.ndarray,
    curvature: np.ndarray,
    damping: np.ndarray,
    free: Held,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The projected step of each problem, and whether it is negligible. A parameter whose curvature is beyond the
    range of numbers stays where it is."""
    low, high = free.bounds_F2.T
    held = ((phi <= low) & (gradient > 0)) | ((phi >= high) & (gradient < 0))
    size = np.arange(phi.shape[1])
    diagonal = curvature[:, size, size]
    lost = ~np.isfinite(diagonal)
    held |= lost
    # unit diagonal first: parameters differ in size by many orders of magnitude
    root = np.sqrt(np.where(lost, 1.0, np.maximum(diagonal, 1e-300)))
    system = curvature / (root[:, :, None] * root[:, None, :])
    system = np.where(held[:, :, None] | held[:, None, :], 0.0, system)
    system[:, size, size] = np.where(held, 1.0, system[:, size, size] + damping[:, None])
    right = np.where(held, 0.0, gradient / root)
    step = -np.linalg.solve(_finite(system), _finite(right)[..., None])[..., 0] / root
    trial = np.clip(phi + step, low, high)
    moved = np.abs(trial - phi)
    return trial, (moved <= tolerance * (np.abs(phi) + tolerance)).all(1) & (damping < 1)


def _finite(numbers: np.ndarray) -> np.ndarray:
    return numbers if np.isfinite(numbers).all() else np.nan_to_num(numbers)
