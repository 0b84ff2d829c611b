"""Weak priors by role. They are part of the fit's objective, written into it and into every report.

A prior is one more residual, (t(theta) - centre) / spread, with t the identity or the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


# One setting for every metric and law; docs/priors.md has the simulations it was chosen on.
EXPONENT_CENTRE, EXPONENT_SPREAD = 0.25, 0.8
FLOOR_SHARE, FLOOR_SPREAD = 0.5, 0.3


def default_priors(law: Law, values: np.ndarray) -> tuple[Prior, ...]:
    """For a law with a floor: floor ~ N(.5, .3) x (smallest value), log exponent ~ N(log .25, .8).

    `values` are the observed values at the scales, in the metric's unit. A floor lies between nothing and the smallest
    value seen (the law's bound and the data say so); the prior is nearly flat between the two, and only keeps a curve
    that shows no bend yet from claiming one. Laws without a floor take no prior: two parameters are seen by the data.
    """
    if "floor" not in law.names:
        return ()
    linked = -np.log(values[(values > 0)]) if law.link == "neg_log" else values
    smallest = float(np.min(linked, initial=math.inf))
    found = [Prior("exponent", EXPONENT_CENTRE, EXPONENT_SPREAD, log=True)] if "exponent" in law.names else []
    if math.isfinite(smallest) and smallest > 0:
        found.append(Prior("floor", FLOOR_SHARE * smallest, FLOOR_SPREAD * smallest))
    return tuple(found)


def describe(priors: Sequence[Prior]) -> str:
    return "; prior " + ", ".join(map(str, priors)) if priors else ""
