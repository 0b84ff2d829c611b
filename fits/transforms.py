"""The scales on which a metric's runs may follow one simple law: its own, and the others that are tried.

own             value (or -log of a rate)        E + A C^-a, E >= 0
logit           log v / (1 - v)                  a + b log C        of what lies in 0 .. 1: a sigmoid in log C
sigmoid         value                            g + (A - g) / (1 + (C_mid/C)^B), g (guessing rate) and A (ceiling) free
log             log v                            a + b log C        of rates: a power of compute far below 1
neg_log_pass    -log(1 - v)                      E + A C^-a         of errors: the -log of what is right
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fits.objectives import Scale
from scaling.metrics import metric as metric_named

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Transform:
    """`line`: the law is a + b log C, else E + A C^-a with E >= 0 where `bounded`, or a `sigmoid`; `relative`: its
    noise is a share of the value; `size`: or goes as this of the transformed value. `sign`
    times the transformed value rises where the metric gets better; `law` of LAWS forecasts there."""

    name: str
    forward: Function
    slope: Function
    sign: float
    line: bool
    law: str
    relative: bool = False
    bounded: bool = True
    sigmoid: bool = False
    size: Function | None = None

    @property
    def says(self) -> str:
        if self.sigmoid:
            return "a sigmoid between a guessing rate and a ceiling, both fitted"
        return f"a straight line of {self.name} on log C" if self.line else f"the law of {self.name}"


def own(metric: str, scale: Scale) -> Transform | None:
    """The scale of the metric's own law; None of rates that are 0 somewhere, which have no -log."""
    if metric_named(metric).better == "higher":
        return Transform("-log", _neg_log, _over, -1.0, False, "pass_rate") if scale == "log" else None
    logs, free = scale == "log", metric_named(metric).low < 0
    return Transform("value", np.asarray, np.ones_like, -1.0, False, "power", logs, logs or not free)


def transforms(metric: str, value: np.ndarray) -> list[Transform]:
    """Those that all values have, other than the metric's own scale. Values of the user's own metric that lie in 0 .. 1
    are taken for shares."""
    about = metric_named(metric)
    inside = bool(np.all((value > 0) & (value < 1)))
    rate = about.better == "higher"
    if not inside or (about.high > 1 and about.low >= 0):
        return [Transform("log", np.log, _over, 1.0, True, "power")] if rate and np.all(value > 0) else []
    logit = Transform("logit", _logit, lambda v: 1 / (v * (1 - v)), 1.0 if rate else -1.0, True, "sigmoid", size=_share)
    ends = Transform("sigmoid", np.asarray, np.ones_like, logit.sign, False, "sigmoid", sigmoid=True)
    if rate:
        return [logit, ends, Transform("log", np.log, _over, 1.0, True, "power")]
    return [
        logit,
        ends,
        Transform("neg_log_pass", lambda v: -np.log1p(-v), lambda v: 1 / (1 - v), -1.0, False, "power"),
    ]


def _neg_log(value: np.ndarray) -> np.ndarray:
    return -np.log(value)


def _over(value: np.ndarray) -> np.ndarray:
    return 1.0 / value


def _logit(value: np.ndarray) -> np.ndarray:
    return np.log(value) - np.log1p(-value)


def _share(logit: np.ndarray) -> np.ndarray:
    """1 / sqrt(v (1 - v)): the noise of a share of a fixed number of answers, on its logit (delta method)."""
    return 2 * np.cosh(logit / 2)
