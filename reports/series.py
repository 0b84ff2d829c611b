"""What a chart of one subject needs: points, the forecast's quantiles on its grid, target and outcome. No drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.inputs import ReportInput, order_of
from reports.run_names import named
from reports.text import clean, compute, fixed, number, places, shorten
from scaling.fitted import LEVELS, Fit, Subject
from scaling.laws import LAWS
from scaling.names import name_of
from scaling.observations import OVERALL
from scaling.predictions import Claim

FITTED, OTHER = "fitted", "not in the fit"
CURVE_POINTS = 60
LISTED = 16  # points of a curve in its data table


@dataclass(frozen=True)
class Point:
    x: float
    value: float
    se: float | None
    trial: str
    kind: str

    @property
    def says(self) -> str:
        """For who points at it."""
        error = f" ± {number(self.se, 2)}" if self.se else ""
        return clean(f"{shorten(self.trial, 40)}: {number(self.value)}{error} at {compute(self.x)} ({self.kind})")


@dataclass(frozen=True)
class Series:
    """`quantiles_LG`: levels x grid, predictive (of one run's measured value) or, without a forecast, of the law."""

    subject: Subject
    points: tuple[Point, ...]
    grid_G: np.ndarray
    quantiles_LG: np.ndarray
    max_x: float
    target: float | None = None
    measured: float | None = None
    predictive: bool = True
    grade: str = ""
    places: int | None = None  # decimals of the claim's numbers, so that chart and claim print the same text
    fit: Fit | None = field(default=None, compare=False)
    law: str = ""  # of the forecast that is drawn
    undrawn: tuple[str, ...] = ()  # other claims about the same subject

    @cached_property
    def stage(self) -> str:
        """As a direct label; a stage nobody stated is not named."""
        names = {"pretrain": "before RL", "rl": "after RL", "unstated": "predicted" if self.predictive else "fitted"}
        return names.get(self.subject.stage, clean(self.subject.stage))

    def at_level(self, level: float) -> np.ndarray:
        return self.quantiles_LG[LEVELS.index(level)]

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """(series, what, trial, compute, value, error, low 90 %, high 90 %): the numbers drawn."""
        name = self.subject.label
        found: list[tuple[Any, ...]] = [
            (name, p.kind, p.trial, p.x, p.value, p.se, None, None)
            for p in sorted(self.points, key=lambda p: (p.x, p.trial))
        ]
        middle, low, high = self.at_level(0.5), self.at_level(0.05), self.at_level(0.95)
        what = "predicted" if self.predictive else "law"
        for i in self._listed_grid():
            x = self.grid_G[i]
            found.append((name, what, "", float(x), float(middle[i]), None, float(low[i]), float(high[i])))
        if self.measured is not None:
            found.append((name, "outcome", "", self.target, self.measured, None, None, None))
        return found

    def text(self, value: float) -> str:
        return number(float(value)) if self.places is None else fixed(float(value), self.places)

    @property
    def target_column(self) -> int:
        """Index of the target on the grid; without a target, the grid's end."""
        if self.target is None:
            return len(self.grid_G) - 1
        return int(np.argmin(np.abs(np.log(self.grid_G / self.target))))

    def _listed_grid(self) -> list[int]:
        """Grid columns that the data table lists: enough to redraw the curve, the target among them."""
        picked = set(np.linspace(0, len(self.grid_G) - 1, min(LISTED, len(self.grid_G))).round().astype(int).tolist())
        return sorted(picked | {self.target_column})


ROW_HEADERS = ("series", "what", "run", "compute [FLOP]", "value", "standard error", "low 90 %", "high 90 %")


def all_series(report: ReportInput) -> list[Series]:
    """One per subject that was forecast (the first claim about it is drawn), else per fit."""
    found: dict[tuple[str, str, str], Series] = {}
    for claim in report.claims:
        series = _of_claim(report, claim)
        if series is not None:
            found.setdefault(_key(claim.subject), series)
    for fit in report.fits:
        if _key(fit.subject) not in found:
            found[_key(fit.subject)] = _of_fit(report, fit)
    return sorted(found.values(), key=lambda s: order_of(s.subject))


def headline_series(series: Sequence[Series]) -> list[Series]:
    return [s for s in series if s.subject.bucket == OVERALL] or list(series)


def _key(subject: Subject) -> tuple[str, str, str]:
    return subject.metric, subject.stage, subject.bucket


def _of_claim(report: ReportInput, claim: Claim) -> Series | None:
    """Drawn from the claim's own draws; from its registered quantiles alone (no curve) where these are not here."""
    forecast = report.forecast_of(claim)
    fit = report.fit_of(forecast) if forecast else next((f for f in report.fits if f.subject == claim.subject), None)
    max_x = forecast.max_x if forecast else claim.target / claim.factor
    grid = forecast.grid_G if forecast else np.array([claim.target])
    levels = np.quantile(forecast.draws_SG, LEVELS, axis=0) if forecast else np.array(claim.quantiles)[:, None]
    return Series(
        subject=claim.subject,
        points=_points(report, claim.subject, fit, claim.target if report.measured(claim) is not None else None),
        grid_G=np.asarray(grid, float),
        quantiles_LG=levels,
        max_x=max_x,
        target=claim.target,
        measured=report.measured(claim),
        grade=str(claim.grade),
        places=places(*claim.interval(0.5)),
        fit=fit,
        law=claim.law,
        undrawn=tuple(
            name_of(c, report.claims) for c in report.claims if c.subject == claim.subject and c.id != claim.id
        ),
    )


def _of_fit(report: ReportInput, fit: Fit) -> Series:
    """A fit without a forecast: the law inside the data, with the spread of its parameter draws."""
    x = np.asarray(fit.points["x"], float)
    grid = np.geomspace(x.min(), x.max(), CURVE_POINTS)
    values_SG = law_values(fit, grid, fit.draws_SP)
    keep = np.isfinite(values_SG).all(axis=1)
    values_SG = values_SG[keep] if keep.any() else np.full((1, len(grid)), math.nan)
    return Series(
        subject=fit.subject,
        points=_points(report, fit.subject, fit, None),
        grid_G=grid,
        quantiles_LG=np.quantile(values_SG, LEVELS, axis=0),
        max_x=fit.max_x,
        predictive=False,
        fit=fit,
        law=fit.law,
    )


def law_values(fit: Fit, x: np.ndarray, parameters_SP: np.ndarray) -> np.ndarray:
    """The fitted law at x, (S, n): its single input is the subject's compute axis. NaN where the law is not known."""
    law = LAWS.get(fit.law)
    if law is None or len(law.inputs) != 1:
        return np.full((len(np.atleast_2d(parameters_SP)), len(x)), math.nan)
    return law.value(parameters_SP, **{str(law.inputs[0].symbol): x}, **fit.references)


def _points(report: ReportInput, subject: Subject, fit: Fit | None, resolved: float | None) -> tuple[Point, ...]:
    """Fitted points from the fit itself; other final runs from the observations, the resolved target run left out."""
    points: list[Point] = []
    if fit is not None:
        errors = fit.points.get("se") or [None] * fit.n_points
        names = fit.points.get("trial") or [""] * fit.n_points
        for x, value, se, trial in zip(fit.points["x"], fit.points["value"], errors, names, strict=True):
            points.append(Point(float(x), float(value), _error(se), named(report.run_names, trial), FITTED))
    fitted = {(p.trial, p.x) for p in points}
    for row in _observed(report, subject):
        name = named(report.run_names, row["trial"])
        point = Point(float(row[subject.axis]), float(row["value"]), _error(row["se"]), name, OTHER)
        is_target = resolved is not None and math.isclose(point.x, resolved, rel_tol=1e-6)
        if (point.trial, point.x) not in fitted and not is_target:
            points.append(point)
    return tuple(points)


def _observed(report: ReportInput, subject: Subject) -> list[dict[Any, Any]]:
    if report.observations is None or subject.axis not in report.observations.frame.columns:
        return []
    frame = report.observations.frame
    keep = (
        (frame["metric"] == subject.metric)
        & (frame["stage"] == subject.stage)
        & (frame["bucket"] == subject.bucket)
        & frame["final"].astype(bool)
        & frame[subject.axis].gt(0)
    )
    if subject.protocol != "unstated":
        keep &= frame["protocol"] == subject.protocol
    return frame[keep].to_dict("records")


def _error(se: Any) -> float | None:
    return None if se is None or pd.isna(se) or se <= 0 else float(se)


@dataclass(frozen=True)
class Residual:
    point: Point
    fitted: float
    z: float

    @property
    def x(self) -> float:
        return self.point.x


def residual_rows(series: Series) -> list[Residual]:
    """Against the median that is drawn, on the scale the fit was made on ("log": relative), divided by the fit's
    run-to-run noise; fitted points on the grid only."""
    fit, grid = series.fit, series.grid_G
    if fit is None or not fit.noise > 0 or len(grid) < 2:
        return []
    points = [p for p in series.points if p.kind == FITTED and grid[0] * 0.999 <= p.x <= grid[-1] * 1.001]
    median = np.interp(np.log([p.x for p in points]), np.log(grid), series.at_level(0.5))
    rows = []
    for point, value in zip(points, median, strict=True):
        if fit.noise_kind == "log":
            gap = math.log(point.value / value) if point.value > 0 and value > 0 else math.nan
        else:
            gap = point.value - float(value)
        if math.isfinite(gap):
            rows.append(Residual(point, float(value), gap / fit.noise))
    return rows
