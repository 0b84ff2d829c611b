"""The same draws read at other budgets: a table for print, a slider where there is JavaScript."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.blocks import Block, Heading, Table, Text, WhatIf
from reports.claims import claim_name, claim_places
from reports.inputs import ReportInput
from reports.text import compute, fixed, span, times
from scaling.fitted import LEVELS, Forecast
from scaling.metrics import metric as metric_named
from scaling.predictions import Claim

ROWS, FEW = 8, 4  # budgets in the table; with more than MOST_COLUMNS claims
MOST_COLUMNS = 3
COLUMNS = 24  # of the grid: neighbours differ by less than a line is wide
MEDIAN, LOW, HIGH = (LEVELS.index(p) for p in (0.5, 0.05, 0.95))


def what_if_blocks(report: ReportInput) -> list[Block]:
    """Nothing without the draws: registered quantiles alone speak of the target only."""
    asked = [(c, f) for c in report.shown_headlines if (f := _drawn(report, c))]
    if not asked:
        return []
    series = tuple(_series(report, claim, forecast) for claim, forecast in asked)
    return [
        Heading("What other budgets would give", "what-if"),
        Text(
            "Read from the same predictive draws as the claims and the charts: median and 90 % interval of the "
            "measured value of one run."
        ),
        WhatIf(series, _table(series)),
    ]


def _drawn(report: ReportInput, claim: Claim) -> Forecast | None:
    forecast = report.forecast_of(claim)
    return forecast if forecast is not None and len(forecast.grid_G) > 1 else None


def _series(report: ReportInput, claim: Claim, forecast: Forecast) -> dict[str, Any]:
    metric = metric_named(claim.subject.metric)
    grid_G, draws_SG = _thinned(forecast)
    levels_GL = np.quantile(draws_SG, LEVELS, axis=0).T
    return {
        "label": claim_name(report.claims, claim),
        "unit": metric.unit if metric.unit != "fraction" else "",
        "levels": list(LEVELS),
        "grid": [float(x) for x in grid_G],
        "quantiles_GL": [[float(f"{q:.6g}") for q in row] for row in levels_GL],
        "max_x": forecast.max_x,
        "earned": forecast.earned_factor,
        "target": claim.target,
        "threshold": claim.threshold,
        "places": claim_places(claim),
        "digest": forecast.draws_digest,
        "draws": len(forecast.draws_SG),
    }


def _thinned(forecast: Forecast) -> tuple[np.ndarray, np.ndarray]:
    """Every so many columns of the grid, the target and both ends among them: the slider interpolates."""
    g = len(forecast.grid_G)
    at = int(np.argmin(np.abs(forecast.grid_G - forecast.target)))
    kept = np.unique([*np.linspace(0, g - 1, min(g, COLUMNS)).round().astype(int), at])
    return forecast.grid_G[kept], forecast.draws_SG[:, kept]


def _table(series: Sequence[dict[str, Any]]) -> Table:
    """Budgets from the edge of the data outwards, the target among them; of many claims a row each, few budgets."""
    first = series[0]
    grid = np.array(first["grid"])
    ahead = grid[grid >= first["max_x"] * 0.999]
    many = len(series) > MOST_COLUMNS
    picked = (
        ahead[np.unique(np.linspace(0, len(ahead) - 1, FEW if many else ROWS).round().astype(int))]
        if len(ahead)
        else grid[-1:]
    )
    budgets = sorted({float(x) for x in picked} | {first["target"]})
    budgets = [x for x in budgets if x == first["target"] or not math.isclose(x, first["target"], rel_tol=0.2)]
    if many:
        heads = [f"{compute(x)}, {times(x / first['max_x'])}" for x in budgets]
        rows = [[s["label"], *(_cell(s, x) for x in budgets)] for s in series]
        return Table.of(["claim", *heads], rows, caption="Per column: compute, and how far beyond the data that is.")
    rows = [[compute(x), times(x / first["max_x"]), *(_cell(s, x) for s in series)] for x in budgets]
    return Table.of(["compute", "beyond the data", *(s["label"] for s in series)], rows)


def _cell(s: dict[str, Any], x: float) -> str:
    """'0.866 [0.828, 0.904]', interpolated in log compute as the slider does."""
    quantiles_GL = np.array(s["quantiles_GL"])
    middle, low, high = (np.interp(math.log(x), np.log(s["grid"]), quantiles_GL[:, i]) for i in (MEDIAN, LOW, HIGH))
    return f"{fixed(float(middle), s['places'])} {span(float(low), float(high), s['places'])}"
