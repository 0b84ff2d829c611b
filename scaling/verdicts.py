"""What a verdict is: whether a metric can be extrapolated, the test that says so, and how often that test errs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scaling.fitted import Subject

TOO_LITTLE, NO_TREND, INVERSE, U_SHAPED, BROKEN, TRANSFORMED, PREDICTABLE = (
    "too little data",
    "no identifiable trend",
    "inverse",
    "U-shaped",
    "broken",
    "predictable after a transform",
    "predictable",
)
UNTESTED = "not tested"
NAMES = (TOO_LITTLE, NO_TREND, INVERSE, U_SHAPED, BROKEN, TRANSFORMED, PREDICTABLE, UNTESTED)


@dataclass(frozen=True)
class Verdict:
    """`name` is one of NAMES; str() of a verdict is its name, which is what a Fit and its stored formats keep.

    test, statistic, p, null   what decided: the test, its value, how often as much or more comes by chance under `null`
    transform                  on which scale, where it is not the metric's own: logit, log, neg_log_pass or buckets
    points                     compute scales that it rests on
    false_alarm, power         shares of `simulations` in which this verdict was given wrongly, and rightly, at about as
                               many scales (`measured` says in which worlds); None: not measured
    would_change               the data that would change it
    """

    name: str
    points: int = 0
    test: str = ""
    statistic: float | None = None
    p: float | None = None
    null: str = ""
    transform: str = ""
    false_alarm: float | None = None
    power: float | None = None
    simulations: int = 0
    measured: str = ""
    would_change: str = ""

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"{self.name!r} is no verdict")

    def __str__(self) -> str:
        return self.name

    @property
    def says(self) -> str:
        """'predictable (t-test of the slope, t = 41, p < .001; ...)': the verdict with all it rests on."""
        found = []
        if self.test:
            chance = "" if self.p is None else f", p {'< .001' if self.p < 0.001 else f'= {self.p:.2g}'}"
            value = "" if self.statistic is None else f" {self.statistic:.3g}"
            found.append(f"{self.test}{value}{chance}")
        if self.false_alarm is not None and self.power is not None:
            found.append(
                f"false alarms {100 * self.false_alarm:.0f} %, power {100 * self.power:.0f} % ({self.measured}; "
                f"{self.simulations} simulations)"
            )
        on = f" on {self.transform}" if self.transform else ""
        return f"{self.name}{on}" + (f" ({'; '.join(found)})" if found else "")

    def to_json(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in self.__dataclass_fields__}


@dataclass(frozen=True)
class Triaged:
    """One metric of many. `error`: root mean square relative error of `law` at the largest scales when it was fitted to
    cheaper ones (NaN: not back-tested); `factor`: how far beyond the data its back-tests held (None: too few)."""

    subject: Subject
    verdict: Verdict
    runs: int
    law: str = ""
    error: float = math.nan
    factor: float | None = None

    def to_json(self) -> dict[str, Any]:
        error = self.error if math.isfinite(self.error) else None
        return {**{n: getattr(self, n) for n in self.__dataclass_fields__}, "error": error}
