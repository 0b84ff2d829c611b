"""What a forecast's uncertainty is made of: variances by source, at the target, on the scale that was fitted.

A variance here is the square of half the width of the central 68 % of draws: that of a normal distribution, and of
use where the tails of Student's t have none. Only shares of it are printed; they do not depend on the scale.
A source that is not known is missing, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.errors import InputError

# Source -> what it is, and what makes it smaller.
SOURCES = {
    "parameters": "what the runs leave open in the numbers of a law; more or larger runs narrow it",
    "law form": "how far the laws, or methods, that share the forecast disagree; runs nearer to the target decide",
    "misfit": "how far the truth may wander from a law; runs nearer to the target narrow it",
    "seed": "chance from run to run; nothing makes one run's smaller",
    "evaluation": "sampling error of the measurement itself; more samples or problems make it smaller",
}


def half_width(draws_S: np.ndarray) -> float:
    """Half of the central 68 % of the finite draws: their standard deviation, whatever the tails."""
    draws_S = draws_S[np.isfinite(draws_S)]
    low, high = np.quantile(draws_S, [0.1587, 0.8413]) if len(draws_S) else (0.0, 0.0)
    return float(high - low) / 2


def checked_parts(parts: Any, what: str = "forecast") -> dict[str, float]:
    """The parts in the order of SOURCES; InputError for what cannot be one."""
    if not isinstance(parts, Mapping):
        raise InputError(f"{what}: parts is no mapping of sources to variances")
    for name, value in parts.items():
        if name not in SOURCES:
            raise InputError(f"{what}: parts has an unknown source {name!a:.40}", f"sources: {', '.join(SOURCES)}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise InputError(f"{what}: the variance from {name} is {value!r:.40}", "a finite number, 0 or more")
    return {name: float(parts[name]) for name in SOURCES if name in parts}


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each part over their sum; nothing where that is 0."""
    total = sum(parts.values())
    return {name: value / total for name, value in parts.items()} if total > 0 else {}
