"""Which choice decides: one forecast under other objectives, cuts, floors and laws. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling.fitted import FitStatus, Subject
from scaling.units import format_fixed, format_interval

UNUSABLE = (FitStatus.DIVERGED, FitStatus.NOT_IDENTIFIED)


@dataclass(frozen=True)
class Sensitivity:
    """The forecast at the target under one change. `moved` is the median's, in half-widths of the 68 % interval of the
    forecast as fitted; `remark` the fit's status, or why there is no number."""

    change: str
    median: float | None
    low: float | None
    high: float | None
    moved: float | None
    remark: str

    @property
    def cells(self) -> list[Any]:
        """Change, forecast, 90 % interval, move and remark, as a table prints them."""
        if self.median is None or self.low is None or self.high is None:
            return [self.change, None, None, None, self.remark]
        middle, low, high = format_interval(self.low, self.high, middle=self.median)
        moved = None if self.moved is None else format_fixed(self.moved, 2, "+", " sd")
        return [self.change, middle, f"[{low}, {high}]", moved, self.remark]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 90 % interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def usable(self) -> bool:
        """Does it say something: a number, from a fit that the data determine."""
        return self.median is not None and self.interval is not None and self.remark not in UNUSABLE


@dataclass(frozen=True)
class Sensitivities:
    """All changes of one question's own law at `target`. The first row is the forecast as fitted."""

    subject: Subject
    law: str
    target: float
    rows: tuple[Sensitivity, ...]

    @property
    def fitted(self) -> Sensitivity:
        return self.rows[0]

    @property
    def changes(self) -> list[Sensitivity]:
        """Every change, what moves the forecast most first; what gave no number last."""
        return sorted(self.rows[1:], key=lambda r: -abs(r.moved) if r.usable and r.moved is not None else 1.0)

    @property
    def decisive(self) -> Sensitivity | None:
        """The change that moves the forecast most, of those whose fit the data determine."""
        first = next(iter(self.changes), None)
        return first if first is not None and first.usable and first.moved is not None else None

    def beyond(self, row: Sensitivity) -> bool:
        """Does the median under that change leave the 90 % interval of the forecast as fitted?"""
        own = self.fitted.interval
        return row.usable and row.median is not None and own is not None and not own[0] <= row.median <= own[1]
