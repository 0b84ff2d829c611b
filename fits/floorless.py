"""Does a law without a floor fit, or do the data bend away from it?

A power law without a floor is a straight line of log y on log C; a floor bends it upward at the cheap end's expense:

    log y_u = a + b x_u + c x_u^2 + e_u,   x = log C - mean,   tested: c = 0 against c > 0

by the one-sided t-test, over units (base trial x scale). Straight lines are nested in it and the null distribution is
Student's t exactly (normal noise of equal relative size), so no redraws are needed: false alarms are LEVEL by
construction. A forecast of such a law beyond what its back-tests earned is then refused.
"""

from __future__ import annotations

import math

import numpy as np

from fits.points import Points
from fits.scatter import upper_tail

LEVEL = 0.05


def lack_of_fit(points: Points) -> float | None:
    """p-value of the test; None with fewer than 4 scales or a value without a logarithm."""
    if points.n_scales < 4 or points.n_units < 5 or np.any(points.value <= 0):
        return None
    z_U = np.bincount(points.unit, points.share * np.log(points.value))
    x_U = np.bincount(points.unit, points.share * np.log(points.x))
    x_U = x_U - x_U.mean()
    basis = np.column_stack([np.ones_like(x_U), x_U, x_U**2 - np.mean(x_U**2)])
    found = np.linalg.lstsq(basis, z_U, rcond=None)[0]
    dof = len(z_U) - 3
    variance = float(np.sum((z_U - basis @ found) ** 2)) / dof
    error = math.sqrt(variance * np.linalg.inv(basis.T @ basis)[2, 2])
    if error < 1e-12:
        return None
    t = found[2] / error
    tail = upper_tail(abs(t), dof)
    return float(tail if t > 0 else 1 - tail)
