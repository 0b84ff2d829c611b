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


# One setting for every metric and law, chosen on simulated power laws only: docs/priors.md, benchmarks/priors.py.
EXPONENT_CENTRE, EXPONENT_SPREAD = 0.2, 1.0
FLOOR_SPREAD = 0.6


def default_priors(law: Law, values: np.ndarray) -> tuple[Prior, ...]:
    """For a law with a floor: floor ~ half-normal of .6 x (smallest value), log exponent ~ N(log .2, 1).

    `values` are the observed values at the scales, in the metric's unit (taken through the law's link).
    With a flat prior on the floor, 4 or 5 rungs see a bend in noise as often as they miss one, and a missed floor can
    only be made up to zero: forecasts 100x out are biased high by 2-7 % (coverage of 90 % intervals .84-.93). A floor
    that must be argued for removes most of that (0-3 %, .85-.96) and costs nothing at 5 rungs with replicates; a prior
    centred on half of the smallest value biases a floorless truth high by 12 %. The exponent's prior has 90 % of its
    mass in .04-1.0, the range of published exponents; it speaks only where a curve is straight within its noise.
    Laws without a floor take no prior: two parameters are seen by the data.
    """
    if "floor" not in law.names:
        return ()
    linked = -np.log(values[(values > 0)]) if law.link == "neg_log" else values
    smallest = float(np.min(linked, initial=math.inf))
    found = [Prior("exponent", EXPONENT_CENTRE, EXPONENT_SPREAD, log=True)] if "exponent" in law.names else []
    if math.isfinite(smallest) and smallest > 0:
        found.append(Prior("floor", 0.0, FLOOR_SPREAD * smallest))
    return tuple(found)


def describe(priors: Sequence[Prior]) -> str:
    return "; prior " + ", ".join(map(str, priors)) if priors else ""
