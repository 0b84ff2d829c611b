"""A distribution given by quantiles, and proper scores of it.

The distribution function is piecewise linear between the stated levels. Below the first and above the last level it
continues as an exponential with the density of the outermost segment, clipped at the range of the metric: what lies
beyond the range sits as mass on its edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

TAIL_KNOTS = 200  # each tail's exponential, as a fine polygon out to e^-12 of its mass


@dataclass(frozen=True)
class QuantileDistribution:
    levels: Sequence[float]
    values: Sequence[float]
    low: float = -math.inf
    high: float = math.inf

    @cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """(x, F): the polygon of the distribution function, tails included, x rising."""
        q, p = np.asarray(self.values, float), np.asarray(self.levels, float)
        z = np.linspace(12.0, 0.0, TAIL_KNOTS, endpoint=False)
        lower, upper = p[0] * _tail_scale(q[:2], p[:2]), (1 - p[-1]) * _tail_scale(q[-2:], p[-2:])
        x = np.concatenate([q[0] - z * lower, q, q[-1] + z[::-1] * upper])
        cdf = np.concatenate([p[0] * np.exp(-z), p, 1 - (1 - p[-1]) * np.exp(-z[::-1])])
        cdf[0], cdf[-1] = 0.0, 1.0
        return np.clip(x, self.low, self.high), cdf

    def cdf(self, x: float) -> float:
        """F(x); at a jump (equal quantiles, or an edge of the range) the middle of it."""
        xs, cdf = self._knots
        return float(
            np.interp(x, xs, cdf, left=0.0, right=1.0)
            if not np.any(xs == x)
            else (cdf[xs == x].min() + cdf[xs == x].max()) / 2
        )

    def mass(self, x: float) -> float:
        """Probability of x itself: the height of the jump of F there."""
        xs, cdf = self._knots
        there = cdf[xs == x]
        return float(there.max() - there.min()) if len(there) else 0.0

    def interval(self, level: float) -> tuple[float, float]:
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], self.levels, self.values)
        return float(low), float(high)

    def crps(self, y: float) -> float:
        """Continuous ranked probability score, integral of (F(x) - 1{x >= y})^2 dx, exact for the polygon."""
        xs, cdf = self._knots
        y_at = float(np.clip(y, self.low, self.high))
        total = max(0.0, xs[0] - y_at) + max(0.0, y_at - xs[-1])
        inside = min(max(y_at, xs[0]), xs[-1])
        cut = int(np.searchsorted(xs, inside))
        at = float(np.interp(inside, xs, cdf))  # at a jump its upper end: below y the lower one counts
        before = cdf[cut] if xs[cut] == inside else at
        below_x, below_f = np.append(xs[:cut], inside), np.append(cdf[:cut], before)
        above_x, above_f = np.append(inside, xs[cut:]), np.append(at, cdf[cut:]) - 1.0
        return total + _square_integral(below_x, below_f) + _square_integral(above_x, above_f)

    def wis(self, y: float) -> float:
        """Weighted interval score (Bracher et al. 2021, PLOS Comput. Biol. 17: e1008618), in the metric's unit:

            1 / (K + 1/2) (|y - m| / 2 + sum over k of alpha_k / 2 IS_k(y)),
            IS_k(y) = u - l + 2 / alpha_k max(0, l - y, y - u)

        over the median m and the K central intervals [l, u] of level 1 - alpha_k that symmetric levels make. Computed
        as what it equals, the mean over the levels p of 2 (1{y < q_p} - p) (q_p - y). Of a point: its distance.
        """
        q, p = np.asarray(self.values, float), np.asarray(self.levels, float)
        return float(np.mean(2 * ((y < q) - p) * (q - y)))

    def log_score(self, y: float) -> float:
        """-log density at y (nats); at an atom, where there is none, -log of its probability; infinite where there is
        neither."""
        q, p = np.asarray(self.values, float), np.asarray(self.levels, float)
        if not self.low <= y <= self.high:
            return math.inf
        if (mass := self.mass(y)) > 0:
            return -math.log(mass)
        if y < q[0] or y > q[-1]:
            pair, mass, beyond = (
                ((q[:2], p[:2]), p[0], q[0] - y) if y < q[0] else ((q[-2:], p[-2:]), 1 - p[-1], y - q[-1])
            )
            spread = _tail_scale(*pair)
            return math.log(spread) + beyond / (mass * spread) if spread > 0 else math.inf
        at = min(max(int(np.searchsorted(q, y)), 1), len(q) - 1)
        width, between = q[at] - q[at - 1], p[at] - p[at - 1]
        return -math.log(between / width) if width > 0 else math.inf


def _tail_scale(q: np.ndarray, p: np.ndarray) -> float:
    """Distance per unit of probability in the outermost segment."""
    return float((q[1] - q[0]) / (p[1] - p[0]))


def _square_integral(x: np.ndarray, f: np.ndarray) -> float:
    """Integral of f^2 for a polygon f: segment by segment (b - a) (f_a^2 + f_a f_b + f_b^2) / 3."""
    return float(np.sum(np.diff(x) * (f[:-1] ** 2 + f[:-1] * f[1:] + f[1:] ** 2)) / 3)
