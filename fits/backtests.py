"""Back-tests by rolling origin: pretend that the largest runs had not been made yet, forecast them, and compare.

For every cut that leaves at least max(3, P) compute scales: fit on the scales up to the cut, forecast every run at
every larger scale. A row is one held-out run; a TEST is one (cut, held-out scale), whose hit is the share of its runs
inside the 90 % interval, because runs of one scale share the error of one fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fits.estimate import fit_points, references_of
from fits.forecasts import baselines
from fits.objectives import Objective
from fits.points import Points, check_enough, points_of, take
from fits.priors import Prior, PriorRule
from fits.uncertainty import predictive_draws
from scaling.errors import NotEarned
from scaling.fitted import LEVELS, BacktestRow, Fit
from scaling.laws import Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.scores import QuantileDistribution

FEWEST_SCALES = 3
DRAWS = 400
COVER, DOUBT = 0.9, 0.05
FEWEST_TESTS = 2


def backtest(
    law: Law,
    observations: Observations,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    seed: int = 0,
    resamples: int = DRAWS,
) -> list[BacktestRow]:
    """Rows of every (cut, held-out run), by cut then x. Too few scales for one cut: an empty list.

    The reference scale is that of the full data; prior, noise and optimum of a cut see the cut's rows only.
    """
    points = points_of(law, observations)
    check_enough(law, points)
    references = references_of(law, points)
    first = max(FEWEST_SCALES, len(law.parameters))
    found: list[BacktestRow] = []
    for used in range(first, points.n_scales):
        known, held = take(points, points.scale < used), take(points, points.scale >= used)
        shadow = fit_points(law, known, objective, priors=priors, references=references, seed=seed, resamples=resamples)
        found += held_out_rows(shadow, predictive_draws(shadow, held.x)[0], held, law.name)
    return found


@dataclass(frozen=True)
class BacktestSummary:
    """Rows at one extrapolation factor: relative error of the median, coverage, and CRPS against the last value."""

    factor: float
    rows: int
    tests: int
    error: float  # root mean square of (median / actual - 1)
    bias: float  # mean of it
    coverage: dict[str, float]  # "50", "80", "90", "95"
    crps: float


def backtest_summary(rows: Iterable[BacktestRow]) -> list[BacktestSummary]:
    """One line per factor, factors within 25 % of each other pooled, nearest first."""
    groups = _by_factor(list(rows))
    found = []
    for group in groups:
        errors = np.array([r.error for r in group])
        found.append(
            BacktestSummary(
                factor=_factor(group),
                rows=len(group),
                tests=len(_tests(group)),
                error=float(np.sqrt(np.nanmean(errors**2))) if np.isfinite(errors).any() else math.nan,
                bias=float(np.nanmean(errors)) if np.isfinite(errors).any() else math.nan,
                coverage={
                    f"{100 * level:.0f}": float(np.mean([r.covered(level) for r in group]))
                    for level in (0.5, 0.8, 0.9, 0.95)
                },
                crps=float(np.mean([r.crps for r in group])),
            )
        )
    return found


def earned_factor(rows: Sequence[BacktestRow]) -> float | None:
    """The largest factor up to which this data's own back-tests held; None where there were too few (< 2 tests).

    Factors are taken in order. One holds if it was tested at least twice, at least half of its own tests hit, and the
    hits of all tests up to it are not implausibly few for a 90 % interval: P(Binomial(tests, .9) <= hits) >= 5 %. The
    first that does not ends the walk. 1.0: tested, and nothing beyond the data was earned. The tests of one table
    share its runs, so the binomial is lenient to them: that is why one held-out scale alone earns nothing.
    """
    groups = _by_factor(rows)
    if sum(len(_tests(g)) for g in groups) < FEWEST_TESTS:
        return None
    earned, seen = 1.0, []
    for group in groups:
        seen += _tests(group)
        if len(_tests(group)) < FEWEST_TESTS or np.mean(_tests(group)) < 0.5 or _implausible(seen):
            break
        earned = _factor(group)
    return earned


def failed_factor(rows: Sequence[BacktestRow]) -> float | None:
    """The smallest factor up to which the hits are implausibly few (as above); None where there is none."""
    seen: list[float] = []
    for group in _by_factor(rows):
        seen += _tests(group)
        if _implausible(seen):
            return _factor(group)
    return None


def with_backtests(fit: Fit, rows: Sequence[BacktestRow]) -> Fit:
    """The fit with what its back-tests earned."""
    return replace(fit, earned_factor=earned_factor(rows), failed_factor=failed_factor(rows))


def backtested(law: Law, observations: Observations, fit: Fit) -> Fit:
    """`with_backtests` of the default back-test; a fit with too few scales for one comes back as it is."""
    try:
        return with_backtests(fit, backtest(law, observations, seed=fit.seed))
    except NotEarned:
        return fit


def baseline_errors(fit: Fit, x: float, actual: float) -> dict[str, float]:
    """Absolute error (the CRPS of a point forecast) of the simple methods."""
    return {name: abs(value - actual) for name, value in baselines(fit, x).items()}


def held_out_rows(shadow: Fit, draws_SG: np.ndarray, held: Points, law: str) -> list[BacktestRow]:
    """Rows of the held-out runs, given predictive draws at each of them; `shadow` was fitted to what was cheaper."""
    metric = metric_named(shadow.subject.metric)
    found = []
    for g, (x, actual) in enumerate(zip(held.x, held.value, strict=True)):
        quantiles = tuple(float(q) for q in np.quantile(draws_SG[:, g], LEVELS))
        distribution = QuantileDistribution(LEVELS, quantiles, metric.low, metric.high)
        found.append(
            BacktestRow(
                subject=shadow.subject,
                law=law,
                cut=shadow.max_x,
                x=float(x),
                actual=float(actual),
                median=quantiles[LEVELS.index(0.5)],
                quantiles=quantiles,
                crps=distribution.crps(float(actual)),
            )
        )
    return found


def _by_factor(rows: Sequence[BacktestRow]) -> list[list[BacktestRow]]:
    """Rows in groups of about the same factor (within 25 % of the group's first), nearest first."""
    groups: list[list[BacktestRow]] = []
    for row in sorted(rows, key=lambda r: (r.factor, r.cut, r.x)):
        if groups and row.factor <= 1.25 * groups[-1][0].factor:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _factor(group: Sequence[BacktestRow]) -> float:
    return float(np.exp(np.mean([math.log(r.factor) for r in group])))


def _tests(group: Sequence[BacktestRow]) -> list[float]:
    """Share of runs inside the 90 % interval, per (cut, held-out scale)."""
    found: dict[tuple[float, float], list[bool]] = {}
    for row in group:
        found.setdefault((row.cut, round(math.log(row.x), 2)), []).append(row.covered(COVER))
    return [float(np.mean(hits)) for hits in found.values()]


def _implausible(hits: Sequence[float]) -> bool:
    """P(Binomial(n, .9) <= sum of hits) < 5 %, the sum rounded up: in doubt for the forecast."""
    n, k = len(hits), math.ceil(sum(hits) - 1e-9)
    below = sum(math.comb(n, i) * COVER**i * (1 - COVER) ** (n - i) for i in range(k + 1))
    return n >= FEWEST_TESTS and below < DOUBT
