"""The track record of a method on a table: how its forecasts of runs it had not seen went, by how far ahead they were.

error, bias   root mean square and mean of (median / actual - 1)
coverage      share of runs inside the central 50, 80, 90 and 95 % intervals
width         median over runs of (80 % interval) / |median|
CRPS          mean continuous ranked probability score, in the metric's unit
PIT           F(actual), the forecast's distribution function at what came: uniform on 0 .. 1 where forecasts tell
              the truth; all near 0 or 1 says too narrow, all near .5 too wide, a mean off .5 biased
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fits.backtests import (
    DRAWS,
    Method,
    backtest,
    by_factor,
    default_group,
    earned_factor,
    failed_factor,
    hits_of,
    leave_one_out,
    mean_factor,
)
from scaling.cli import table
from scaling.fitted import LEVELS, BacktestRow, Subject
from scaling.laws import Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.scores import QuantileDistribution
from scaling.units import format_percent

COVERAGE = (0.5, 0.8, 0.9, 0.95)
BINS = 10


@dataclass(frozen=True)
class BacktestSummary:
    """Rows at one extrapolation factor, or of one held-out group; the numbers as defined above. NaN: not defined,
    because an actual value or a median is 0."""

    factor: float  # geometric mean of x / (largest x known)
    rows: int
    tests: int
    error: float
    bias: float
    coverage: dict[str, float]  # "50", "80", "90", "95"
    width: float
    crps: float


@dataclass(frozen=True)
class PitSummary:
    """How uniform the PIT values are. Every cut counts once, every held-out scale once within its cut, every run once
    within its scale: they share errors.

    `distance` is Kolmogorov's, max |F(u) - u|, `error` its jackknife over cuts. `chance` is what as many independent
    values as there are cuts exceed in 5 % of cases (Stephens 1970): tests of one cut count as one value, so only a
    gross failure stands out. `undefined` rows, whose forecast is no number, have no PIT value and count in nothing.
    """

    histogram: tuple[float, ...]  # share in each of 10 bins
    mean: float
    distance: float
    error: float | None
    chance: float
    cuts: int
    undefined: int = 0

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2f}"
        judged = "too far from uniform" if self.distance > self.chance else "within chance of uniform"
        shares = " ".join(f"{100 * share:.0f}" for share in self.histogram)
        lost = f"; {self.undefined} runs without a forecast" if self.undefined else ""
        return (
            f"PIT: mean {self.mean:.2f}, distance {self.distance:.2f}{error} over {self.cuts} cuts "
            f"(5 % by chance: {self.chance:.2f}): {judged}; % in tenths: {shares}{lost}"
        )


@dataclass(frozen=True)
class TrackRecord:
    """`rows` by rolling origin over compute; `left_out` by group of runs, each foretold from all others."""

    subject: Subject
    law: str
    rows: tuple[BacktestRow, ...]
    grouped_by: str
    left_out: Mapping[str, tuple[BacktestRow, ...]]

    @property
    def earned_factor(self) -> float | None:
        return earned_factor(self.rows)

    @property
    def failed_factor(self) -> float | None:
        return failed_factor(self.rows)

    @property
    def by_factor(self) -> list[BacktestSummary]:
        return backtest_summary(self.rows)

    @property
    def by_group(self) -> dict[str, BacktestSummary]:
        return {label: _summary(group) for label, group in self.left_out.items()}

    @property
    def pit(self) -> PitSummary | None:
        return pit_summary(self.rows)

    def __str__(self) -> str:
        earned = "nothing (fewer than two tests)" if self.earned_factor is None else f"{self.earned_factor:.3g}x"
        failed = "" if self.failed_factor is None else f"; failed at {self.failed_factor:.3g}x"
        parts = [f"{self.subject.label}, law {self.law}: earned {earned}{failed}"]
        numbers = ["runs", "error", "bias", *(f"in {100 * c:.0f} %" for c in COVERAGE), "80 % width", "CRPS"]
        if self.rows:
            lines = [[f"{s.factor:.3g}x", *_cells(s)] for s in self.by_factor]
            parts += [table(["beyond", *numbers], lines), *([str(self.pit)] if self.pit else [])]
        if self.left_out:
            lines = [[label, f"{s.factor:.3g}x", *_cells(s)] for label, s in self.by_group.items()]
            parts += [f"each {self.grouped_by} left out in turn (at: x over the largest x that was kept)"]
            parts += [table(["left out", "at", *numbers], lines)]
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The summaries, and the PIT value of every row; what is not defined is null."""
        return {
            "subject": self.subject.label,
            "law": self.law,
            "earned_factor": self.earned_factor,
            "failed_factor": self.failed_factor,
            "by_factor": [_plain(s) for s in self.by_factor],
            "grouped_by": self.grouped_by,
            "left_out": {label: _plain(s) for label, s in self.by_group.items()},
            "pit": self.pit and vars(self.pit),
            "pit_values": [u if math.isfinite(u) else None for u in map(pit, self.rows)],
        }


def track_record(
    law: Law,
    observations: Observations,
    by: str | None = None,
    *,
    method: Method | None = None,
    name: str = "",
    seed: int = 0,
    resamples: int = DRAWS,
) -> TrackRecord:
    """Both back-tests of one subject: `backtest` (rolling origin) and `leave_one_out` by a column, see there. `name` is
    that of the method, default the law's."""
    options: dict[str, Any] = {"method": method, "seed": seed, "resamples": resamples}
    rows = backtest(law, observations, **options)
    left_out = leave_one_out(law, observations, by, **options)
    metric, stage, bucket, protocol = observations.one_metric()
    return TrackRecord(
        subject=Subject(metric, stage, bucket, protocol, observations.axis, observations.compute_definition),
        law=name or law.name,
        rows=_named(rows, name),
        grouped_by=by or default_group(observations),
        left_out={label: _named(group, name) for label, group in left_out.items()},
    )


def _named(rows: Sequence[BacktestRow], name: str) -> tuple[BacktestRow, ...]:
    return tuple(replace(row, law=name) if name else row for row in rows)


def backtest_summary(rows: Iterable[BacktestRow]) -> list[BacktestSummary]:
    """One line per factor, factors within 25 % of each other pooled, nearest first."""
    return [_summary(group) for group in by_factor(list(rows))]


def pit(row: BacktestRow) -> float:
    """F(actual), with the stored quantiles' own tails (scores.py)."""
    metric = metric_named(row.subject.metric)
    return QuantileDistribution(LEVELS, row.quantiles, metric.low, metric.high).cdf(row.actual)


def pit_summary(rows: Sequence[BacktestRow]) -> PitSummary | None:
    """None without rows that have a PIT value."""
    found = [(row, u) for row in rows if math.isfinite(u := pit(row))]
    if not found:
        return None
    undefined, rows, u_R = len(rows) - len(found), [row for row, _ in found], np.array([u for _, u in found])
    weight_R = _weights(rows)
    cut_R = np.unique([row.cut for row in rows], return_inverse=True)[1]
    cuts = int(cut_R.max()) + 1
    without = [_distance(u_R[cut_R != c], weight_R[cut_R != c]) for c in range(cuts)] if cuts > 1 else []
    error = (
        math.sqrt((cuts - 1) / cuts * float(np.sum((np.array(without) - np.mean(without)) ** 2))) if without else None
    )
    bin_R = np.minimum((u_R * BINS).astype(int), BINS - 1)
    return PitSummary(
        histogram=tuple(float(share) for share in np.bincount(bin_R, weight_R, BINS)),
        mean=float(np.sum(weight_R * u_R)),
        distance=_distance(u_R, weight_R),
        error=error,
        chance=min(1.0, 1.358 / (math.sqrt(cuts) + 0.12 + 0.11 / math.sqrt(cuts))),
        cuts=cuts,
        undefined=undefined,
    )


def _weights(rows: Sequence[BacktestRow]) -> np.ndarray:
    """Weights of sum 1: equal over cuts, over the held-out x of a cut, over the runs at one x."""
    runs = Counter((row.cut, row.x) for row in rows)
    tests = Counter(cut for cut, _ in runs)
    return np.array([1 / (len(tests) * tests[row.cut] * runs[row.cut, row.x]) for row in rows])


def _distance(u_R: np.ndarray, weight_R: np.ndarray) -> float:
    """Kolmogorov's distance of a weighted sample from the uniform distribution."""
    order = np.argsort(u_R, kind="stable")
    above = np.cumsum(weight_R[order]) / np.sum(weight_R)
    below = np.concatenate([[0.0], above[:-1]])
    return float(np.max(np.maximum(above - u_R[order], u_R[order] - below)))


def _summary(group: Sequence[BacktestRow]) -> BacktestSummary:
    errors = np.array([r.error for r in group])
    errors = errors[np.isfinite(errors)]
    widths = [_width(r) for r in group]
    widths = [w for w in widths if math.isfinite(w)]
    return BacktestSummary(
        factor=mean_factor(group),
        rows=len(group),
        tests=len(hits_of(group)),
        error=float(np.sqrt(np.mean(errors**2))) if len(errors) else math.nan,
        bias=float(np.mean(errors)) if len(errors) else math.nan,
        coverage={f"{100 * level:.0f}": float(np.mean([r.covered(level) for r in group])) for level in COVERAGE},
        width=float(np.median(widths)) if widths else math.nan,
        crps=float(np.mean([r.crps for r in group])),
    )


def _width(row: BacktestRow) -> float:
    low, high = (row.quantiles[LEVELS.index(level)] for level in (0.1, 0.9))
    return (high - low) / abs(row.median) if row.median else math.nan


def _cells(s: BacktestSummary) -> list[Any]:
    inside = [f"{100 * share:.0f} %" for share in s.coverage.values()]
    crps = f"{s.crps:.3g}" if math.isfinite(s.crps) else ""
    return [s.rows, format_percent(s.error), format_percent(s.bias, "+"), *inside, format_percent(s.width), crps]


def _plain(s: BacktestSummary) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(s).items()}
