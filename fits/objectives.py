"""What a fit minimises: on which scale residuals are taken, and how hard a large one counts.

    residual of row i     r_i = z(f(x_i)) - z(y_i)            z = log (relative error) or the identity
    cost                  sum_i w_i rho(r_i / s_i) + prior     s_i: standard deviation of row i (noise.py)

The value f and its Jacobian are the law's own. A law of the form exp(-g(x)), as for pass rates, is taken on the
log as well: there a residual of log f is the residual of -log f with its sign turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fits.points import LARGEST
from scaling.errors import InputError

LOG_LARGEST = float(np.log(LARGEST))
Scale = Literal["log", "absolute"]


class Objective(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def scale(self) -> Scale: ...

    def rho(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(cost, its slope, the curvature of a parabola above it) of standardised residuals u, element by element."""

    def second(self, u: np.ndarray) -> np.ndarray | None:
        """The true second derivative; None where the parabola is the cost itself."""


@dataclass(frozen=True)
class LeastSquares:
    """rho(u) = u^2 / 2. `scale="log"` weighs relative errors, `"absolute"` errors in the metric's unit."""

    scale: Scale = "log"

    @property
    def name(self) -> str:
        return f"least squares on {'log value' if self.scale == 'log' else 'value'}"

    def rho(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return u * u / 2, u, np.ones_like(u)

    def second(self, u: np.ndarray) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class HuberLog:
    """Huber's rho on log residuals: u^2 / 2 up to `delta`, delta (|u| - delta / 2) beyond.

    `delta` is in units of the row's standard deviation. Hoffmann et al. (2022) use 1e-3 on unweighted log loss: nearly
    least absolute deviations, so outliers hardly move the fit.
    The parabola that touches the cost at u and lies above it has curvature min(1, delta / |u|): its steps never raise
    the cost but creep between kinks. The second derivative, 1 inside and 0 outside, finds the optimum in a few steps
    once near it. The solver blends the two (solver.py), and reaches the least absolute deviations of a small `delta`
    by way of larger ones.
    """

    delta: float = 1.345
    scale: Scale = "log"

    @property
    def name(self) -> str:
        return f"Huber({self.delta:g}) on log value"

    def rho(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        psi = np.clip(u, -self.delta, self.delta)
        return psi * (u - psi / 2), psi, self.delta / np.maximum(np.abs(u), self.delta)

    def second(self, u: np.ndarray) -> np.ndarray | None:
        return (np.abs(u) <= self.delta).astype(float)


def forward(scale: Scale, values: np.ndarray) -> np.ndarray:
    """z(value): what residuals are differences of."""
    with np.errstate(all="ignore"):
        return np.log(values) if scale == "log" else np.asarray(values, float)


def backward(scale: Scale, z: np.ndarray) -> np.ndarray:
    """The value of which z is the transform; what is larger than any value that can be fitted, the largest of them: a
    draw far outside the range of numbers stays one that can be computed with."""
    return np.exp(np.minimum(z, LOG_LARGEST)) if scale == "log" else np.clip(z, -LARGEST, LARGEST)


def slope(scale: Scale, values: np.ndarray) -> np.ndarray:
    """dz / dvalue."""
    with np.errstate(all="ignore"):
        return 1.0 / values if scale == "log" else np.ones_like(values)


def default_objective(values: np.ndarray) -> tuple[Objective, str]:
    """Least squares on log value, the default for loss, pass rate and -log pass; with a note where that cannot be.

    A value of 0 (or below) has no logarithm. It is neither dropped nor clamped: the fit moves to the value itself.
    """
    if np.all(values > 0):
        return LeastSquares("log"), ""
    return LeastSquares("absolute"), "a value of 0 has no logarithm: fitted on the value itself"


def check_scale(scale: Scale, values: np.ndarray) -> None:
    if scale == "log" and np.any(values <= 0):
        raise InputError(
            f"{int(np.sum(values <= 0))} values are 0 or negative and have no logarithm",
            'use LeastSquares("absolute"), or check the column',
        )
