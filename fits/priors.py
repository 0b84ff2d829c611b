"""Weak priors by role. They are part of the fit's objective, written into it and into every report.

A prior is one more residual, (t(theta) - centre) / spread, with t the identity or the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scaling.laws import Law


@dataclass(frozen=True)
class Prior:
    """`role` ~ Normal(centre, spread), or log(role) ~ Normal(log(centre), spread) where `log` is set."""

    role: str
    centre: float
    spread: float
    log: bool = False

    def residual(self, theta: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return ((np.log(theta) - math.log(self.centre)) if self.log else theta - self.centre) / self.spread

    def slope(self, theta: np.ndarray) -> np.ndarray:
        return 1.0 / (self.spread * theta) if self.log else np.full_like(theta, 1.0 / self.spread)

    def __str__(self) -> str:
        if self.log:
            return f"log {self.role} ~ N(log {self.centre:.3g}, {self.spread:.2g})"
        return f"{self.role} ~ N({self.centre:.3g}, {self.spread:.2g})"


BEND = 2.0, 0.5  # centre and spread for a map from loss to metric: from straight (1) to the fourth power
PriorRule = Callable[[Law, np.ndarray], tuple[Prior, ...]]


@dataclass(frozen=True)
class Setting:
    """Numbers of the priors on exponent (log-normal) and floor (half-normal, in units of the smallest value), and on
    the bend of the map from loss to the mean of -log p (log-normal: centre, spread)."""

    exponent: float
    exponent_spread: float
    floor_spread: float
    mean_log_bend: tuple[float, float] = BEND

    def __call__(self, law: Law, values: np.ndarray) -> tuple[Prior, ...]:
        """The priors of a law; `values` are the observed means of the scales, in the metric's unit."""
        if "bend" in law.names:
            return (Prior("bend", *(BEND if law.link == "neg_log" else self.mean_log_bend), log=True),)
        if "floor" not in law.names:
            return ()
        linked = -np.log(values[(values > 0)]) if law.link == "neg_log" else values
        smallest = float(np.min(linked, initial=math.inf))
        found = [Prior("exponent", self.exponent, self.exponent_spread, log=True)] if "exponent" in law.names else []
        if math.isfinite(smallest) and smallest > 0:
            found.append(Prior("floor", 0.0, self.floor_spread * smallest))
        return tuple(found)


# For any data, chosen on simulated power laws only: docs/priors.md, benchmarks/priors.py.
ANY = Setting(0.2, 1.0, 0.6)
# For ladders that this package trained itself, chosen on ladders of other instances of the task: docs/log.md.
LADDER = Setting(0.3, 0.3, 1.0)
# The same where some bucket gets worse with scale: its -log p grows while the rest falls, so that the mean levels off.
TURNING = replace(LADDER, mean_log_bend=(4.0, 0.2))


def default_priors(law: Law, values: np.ndarray) -> tuple[Prior, ...]:
    """For a law with a floor: floor ~ half-normal of .6 x (smallest value), log exponent ~ N(log .2, 1).

    `values` are the observed values at the scales, in the metric's unit (taken through the law's link).
    With bounds only, 4 or 5 rungs mistake noise for a bend, and never for less than no floor: forecasts 100x out end
    up to 9 % high. A floor that must be argued for leaves up to 3 % of that; a prior centred on half of the smallest
    value puts a floorless truth 12 % high. The exponent's prior has 90 % of its mass in .04-1.0, the range of published
    exponents; it speaks only where a curve is straight within its noise.
    Laws without a floor take no prior: two parameters are seen by the data.
    """
    return ANY(law, values)


def describe(priors: Sequence[Prior]) -> str:
    return "; prior " + ", ".join(map(str, priors)) if priors else ""
