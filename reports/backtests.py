"""Back-tests: the same method on the past, fitted on the cheap runs only and compared with the dearer ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from reports import figures
from reports.blocks import Block, Figure, Heading, Panel, Table, Warning
from reports.inputs import ReportInput
from reports.text import MISSING, clean, compute, number, percent, times
from scaling.fitted import LEVELS, BacktestRow
from scaling.names import law_title

FACTOR_BINS = ((1.0, 3.0), (3.0, 10.0), (10.0, 30.0), (30.0, math.inf))
COVERAGE_LEVELS = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class _Miss:
    factor: float
    offset: float
    says: str


def backtest_blocks(report: ReportInput) -> list[Block]:
    """Fitted on the cheap runs only, compared with the dearer ones: by factor, and as charts."""
    rows = [r for r in report.backtests if math.isfinite(r.factor) and r.factor > 1]
    if not rows:
        return [] if not report.forecasts else [
            Heading("Back-tests", "backtests"), Warning("No back-test was made: the intervals are untested.")
        ]  # fmt: skip
    misses = [_miss(r) for r in rows]
    drawn = [m for m in misses if math.isfinite(m.offset)]
    table_rows = [
        (r.subject.label, r.law, r.cut, r.x, r.factor, r.actual, r.median, *_ninety(r), r.covered(0.9), r.crps)
        for r in rows
    ]
    headers = ("what", "law", "fitted up to [FLOP]", "predicted at [FLOP]", "factor", "measured", "median", "low 90 %",
               "high 90 %", "inside 90 %", "CRPS")  # fmt: skip
    blocks: list[Block] = [Heading("Back-tests: the same method on the past", "backtests"), _by_factor(rows)]
    if drawn:
        panels = [_miss_panel(drawn), _coverage_panel(rows)]
        caption = ("Left: each point is a run predicted from cheaper runs only; the band is its 90 % interval. Right: "
                   "share of them inside each central interval; the bars are what chance alone allows (95 %) if the "
                   "intervals are right and the points independent (points of one run are not).")  # fmt: skip
        blocks.append(Figure.of("backtests-figure", panels, caption, headers, table_rows, columns=2))
    return blocks


def _ninety(row: BacktestRow) -> tuple[float, float]:
    return row.quantiles[LEVELS.index(0.05)], row.quantiles[LEVELS.index(0.95)]


def _miss(row: BacktestRow) -> _Miss:
    low, high = _ninety(row)
    half = max((high - row.median) if row.actual > row.median else (row.median - low), 0.0)
    offset = (row.actual - row.median) / half if half else math.nan
    says = (
        f"{row.subject.label}, {law_title(row.law)}, at {compute(row.x)}, {times(row.factor)} ahead: "
        f"predicted {number(row.median)}, measured {number(row.actual)}"
    )
    return _Miss(row.factor, offset, clean(says))


def _by_factor(rows: Sequence[BacktestRow]) -> Table:
    found = []
    for low, high in FACTOR_BINS:
        part = [r for r in rows if low < r.factor <= high]
        if part:
            errors = [abs(r.error) for r in part if math.isfinite(r.error)]
            name = f"{times(low)} to {times(high)}" if math.isfinite(high) else f"beyond {times(low)}"
            found.append([
                name, str(len(part)), percent(float(np.median(errors))) if errors else MISSING,
                percent(max(errors)) if errors else MISSING,
                *(f"{sum(r.covered(level) for r in part)} of {len(part)}" for level in (0.5, 0.8, 0.9)),
            ])  # fmt: skip
    headers = ["predicted ahead", "points", "median error", "largest error", "in 50 %", "in 80 %", "in 90 %"]
    return Table.of(headers, found)


def _miss_panel(drawn: Sequence[_Miss]) -> Panel:
    def draw(ax: figures.Axes) -> dict[str, list[str]]:
        figures.backtest(drawn, ax)
        parts = {"inside": [m for m in drawn if abs(m.offset) <= 1], "outside": [m for m in drawn if abs(m.offset) > 1]}
        named = parts if len(drawn) <= figures.MOST_NAMED else {"outside": parts["outside"]}
        return {f"points-{k}": [m.says for m in v] for k, v in named.items() if v}

    inside = sum(abs(m.offset) <= 1 for m in drawn)
    alt = f"Back-test misses against factor: {inside} of {len(drawn)} points lie inside their 90 % interval."
    return figures.panel("backtest", 3.4, 2.2, alt, draw)


def _coverage_panel(rows: Sequence[BacktestRow]) -> Panel:
    n = len(rows)
    shares = []
    for level in COVERAGE_LEVELS:
        low, high = (_hits(q, n, level) / n for q in (0.025, 0.975))
        shares.append((level, low, high, sum(r.covered(level) for r in rows) / n))
    alt = "Coverage of back-tests: " + ", ".join(f"{percent(s[3])} inside {percent(s[0])}" for s in shares) + "."
    return figures.panel("coverage", 3.4, 2.2, alt, lambda ax: figures.coverage(shares, ax))


def _hits(q: float, n: int, p: float) -> int:
    """Quantile of a binomial count: the least k with P(hits <= k) >= q. (scipy.stats costs a second of imports.)"""
    return int(np.argmax(bdtr(np.arange(n + 1), n, p) >= q))
