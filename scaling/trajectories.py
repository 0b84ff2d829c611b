"""One run's trajectory, and the forecast of that run's own end: values only.

A `Trajectory` is a metric of ONE run against its steps (or its compute), cleaned: x rises, y lies in [low, high]. A
`RunForecast` says where the run stands, where it will end, how much is still to come, and what of its asymptote is
known. Every number of it is a `Quantity`: quantiles at scaling.fitted.LEVELS, so that each interval and score follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.fitted import LEVELS, FitStatus
from scaling.scores import QuantileDistribution
from scaling.units import format_interval, format_value

TAIL = 0.05  # the end of a run is its last twentieth: one log row is too noisy to be an end
FAR = 20.0  # times the last row: beyond, a reader is told how much of the answer is the prior


@dataclass(frozen=True, eq=False)
class Trajectory:
    """`x_n` rises strictly, from 0 on; `y_n` in the metric's own unit. `planned`: where the run is to end, where its
    source says so. `notes`: what reading had to decide."""

    x_n: np.ndarray
    y_n: np.ndarray
    axis: str = "step"
    metric: str = "reward"
    low: float = 0.0
    high: float = 1.0
    planned: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x_n, float), np.asarray(self.y_n, float)
        object.__setattr__(self, "x_n", x)
        object.__setattr__(self, "y_n", y)
        where = self.source or "trajectory"
        if x.ndim != 1 or x.shape != y.shape or not len(x):
            raise InputError(f"{where}: {len(x)} places and {len(y)} values are no trajectory", "give at least one row")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise InputError(f"{where} holds numbers that are not finite", "leave these rows out")
        if np.any(np.diff(x) <= 0) or x[0] < 0:
            raise InputError(f"{where}: {self.axis} does not rise from 0 or above", "read it with fits.trajectory")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(
                f"{where}: the range {self.low:g} .. {self.high:g} has no end", "state the least and the most it can be"
            )
        if not self.low < self.high:
            raise InputError(f"{where}: the range {self.low:g} .. {self.high:g} is empty", "low lies below high")
        outside = y[(y < self.low) | (y > self.high)]
        if len(outside):
            percent = (self.low, self.high) == (0.0, 1.0) and outside.min() >= 0 and 1 < outside.max() <= 100
            raise InputError(
                f"{where}: {self.metric} {outside[0]:g} is outside {self.low:g} .. {self.high:g}",
                ("is it in percent? divide by 100, or " if percent else "") + "state its range: low and high",
            )

    def __len__(self) -> int:
        return len(self.x_n)

    @property
    def last(self) -> float:
        return float(self.x_n[-1])

    @property
    def spacing(self) -> float:
        """Median distance of neighbouring rows: what autocorrelation is counted in."""
        return float(np.median(np.diff(self.x_n))) if len(self) > 1 else max(self.last, 1.0)

    def until(self, x: float) -> Trajectory:
        """What was known at x."""
        known = self.x_n <= x
        return replace(self, x_n=self.x_n[known], y_n=self.y_n[known])

    def since(self, x: float) -> Trajectory:
        """Without what came before x."""
        kept = self.x_n >= x
        return replace(self, x_n=self.x_n[kept], y_n=self.y_n[kept])

    @property
    def ending(self) -> float:
        """Mean of the rows in the last twentieth of the run: its end, as it was measured."""
        return float(self.y_n[self.x_n > (1 - TAIL) * self.last].mean())


@dataclass(frozen=True)
class Quantity:
    """A number that is not known exactly: its quantiles at LEVELS."""

    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, draws_S: np.ndarray) -> Quantity:
        return cls(tuple(float(q) for q in np.quantile(draws_S, LEVELS)))

    @property
    def median(self) -> float:
        return self.quantiles[LEVELS.index(0.5)]

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], LEVELS, self.quantiles)
        return float(low), float(high)

    def covers(self, value: float, level: float) -> bool:
        low, high = self.interval(level)
        return low <= value <= high

    def crps(self, value: float) -> float:
        return QuantileDistribution(LEVELS, self.quantiles).crps(value)

    def __str__(self) -> str:
        middle, low, high = format_interval(*self.interval(), middle=self.median)
        return f"{middle} [{low}, {high}]"


@dataclass(frozen=True)
class RunForecast:
    """Where a run stands and where it ends.

    at, end      last row and end of the run, on `axis`
    now          the level at `at` (the noise of rows taken out); final: mean of the rows of the run's last twentieth,
                 as it will be measured; gain: rise of the level from `at` to `end`
    asymptote    where the laws lead with unlimited compute; with `asymptote_status`: NOT_IDENTIFIED where the data do
                 not determine it (the estimate stands all the same)
    midpoint     where half of the rise from start to asymptote is done, on `axis`
    rho          autocorrelation of the noise of neighbouring rows; `effective`: as how many independent rows they count
    prior_share  variance of the level at the end as a share of what it is under the prior alone: in a linear normal
                 model the weight of the prior's mean in the answer's
    weights      share of every law in the draws
    untold       share of the draws that are no law's but what may come after the last row for all that the rows say
    """

    metric: str
    axis: str
    low: float
    high: float
    at: float
    end: float
    rows: int
    effective: float
    rho: Quantity
    noise: Quantity
    now: Quantity
    final: Quantity
    gain: Quantity
    asymptote: Quantity
    midpoint: Quantity
    asymptote_status: FitStatus
    status: FitStatus
    prior_share: float
    weights: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    untold: float = 0.0

    @property
    def factor(self) -> float:
        """How far beyond the last row the end lies."""
        return self.end / self.at if self.at > 0 else float("inf")

    @property
    def far(self) -> bool:
        return self.factor > FAR

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the line must know beside it."""
        found = list(self.notes)
        if self.far:
            where = f"{self.factor:,.3g} times as far" if self.at > 0 else "beyond a last row at 0"
            found.append(
                f"an end more than {FAR:g} times as far as the last row rests on the prior: this one lies {where}, and "
                f"{100 * self.prior_share:.0f} % of the answer is the prior (variance at the end as a share of what it "
                "is with no row at all)"
            )
        if self.status is not FitStatus.CONVERGED:
            found.append(f"{self.status}: {SAYS[self.status]}")
        if self.untold:
            found.append(
                f"{100 * self.untold:.0f} % of the draws are what may yet come, whatever the rows: in too many of the "
                "laws' draws half of the rise lies ahead"
            )
        if self.asymptote_status is FitStatus.NOT_IDENTIFIED:
            low, high = self.midpoint.interval()
            found.append(
                f"asymptote {self.asymptote_status}: half of the rise is done between {self.axis} {low:,.4g} and "
                f"{high:,.4g}, and the asymptote is known to .02 only from 4 to 8 times as far on"
            )
        return tuple(found)

    def __str__(self) -> str:
        half = (self.now.interval(0.68)[1] - self.now.interval(0.68)[0]) / 2
        status = "" if self.status is FitStatus.CONVERGED else f"; {self.status}"
        status += f"; {100 * self.prior_share:.0f} % of the end is the prior" if self.far else ""
        return (
            f"{self.axis} {self.at:,.6g} of {self.end:,.6g}: {self.metric} {format_value(self.now.median, half)} now; "
            f"at the end {self.final} 90 %; gain still to come {self.gain}; "
            f"asymptote {self.asymptote} {self.asymptote_status}{status}"
        )

    def to_json(self) -> dict[str, Any]:
        return {"v": 1, **{name: getattr(self, name) for name in self.__dataclass_fields__}, "says": str(self)}


SAYS = {
    FitStatus.TOO_FEW_POINTS: "so few rows say little: the forecast rests on what runs usually do",
    FitStatus.NOT_IDENTIFIED: "the metric has not moved beyond its noise, or most of its rise may lie ahead: whether "
    "and when it rises is not known",
    FitStatus.DIVERGED: "the draws of a law rest on few particles: the interval may be too narrow",
}
