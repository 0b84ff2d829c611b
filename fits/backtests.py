"""Back-tests: pretend that some runs had not been made yet, forecast them, and compare.

    rolling origin   for every cut that leaves at least max(3, P) compute scales: forecast every run at every larger
                     scale from the scales up to the cut
    leave one out    forecast every run of one group (a model size, a compute scale) from all other groups

A METHOD is a function (known, at) -> draws_Sn: S predictive draws of one run's measured value at each of n runs `at`,
whose values it cannot see (they are NaN). One law, an average of laws and a pool are all back-tested by this one code.
A row is one held-out run; a TEST is one (cut, held-out scale), whose hit is the share of its runs inside the 90 %
interval, because runs of one scale share the error of one fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fits.estimate import fit_points, references_of
from fits.objectives import Objective
from fits.points import Points, check_enough, points_of, rows_of, scales_of, take
from fits.priors import Prior, PriorRule
from fits.uncertainty import predictive_draws
from scaling.errors import InputError
from scaling.fitted import LEVELS, BacktestRow, Fit
from scaling.laws import Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.scores import QuantileDistribution
from scaling.units import COMPUTE_COLUMNS, format_compute

FEWEST_SCALES = 3
DRAWS = 400
COVER, DOUBT = 0.9, 0.05
FEWEST_TESTS = 2
SIZE = "N"  # the column of the model's size

Method = Callable[[Points, Points], np.ndarray]


def backtest(
    law: Law,
    observations: Observations,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    seed: int = 0,
    resamples: int = DRAWS,
    method: Method | None = None,
) -> list[BacktestRow]:
    """Rows of every (cut, held-out run), by cut then x. Too few scales for one cut: an empty list.

    The reference scale is that of the full data; prior, noise and optimum of a cut see the cut's rows only.
    `method` defaults to the law's own forecast, `one_law(law, ...)`; the cuts are those of the law in any case.
    """
    points = points_of(law, observations)
    check_enough(law, points)
    method = method or one_law(law, points, objective, priors=priors, seed=seed, resamples=resamples)
    return rolling_origin(method, points, first_cut(law), law.name)


def one_law(
    law: Law,
    points: Points,
    objective: Objective | None = None,
    *,
    priors: Sequence[Prior] | PriorRule | None = None,
    seed: int = 0,
    resamples: int = DRAWS,
) -> Method:
    """The method of a single fit. Of `points`, all that will ever be known, it takes the reference scale only."""
    references = references_of(law, points.inputs)

    def draws(known: Points, at: Points) -> np.ndarray:
        fit = fit_points(law, known, objective, priors=priors, references=references, seed=seed, resamples=resamples)
        return predictive_draws(fit, at.x, at.inputs if len(law.inputs) > 1 else None)[0]

    return draws


def first_cut(law: Law) -> int:
    """Compute scales that the first cut leaves to the fit."""
    return max(FEWEST_SCALES, len(law.parameters))


def rolling_origin(method: Method, points: Points, first: int, name: str) -> list[BacktestRow]:
    """Rows of a method that learns from the `first` compute scales, then from one more at each cut."""
    found: list[BacktestRow] = []
    for used in range(first, points.n_scales):
        found += held_out_rows(method, take(points, points.scale < used), take(points, points.scale >= used), name)
    return found


def leave_one_out(
    law: Law,
    observations: Observations,
    by: str | None = None,
    *,
    method: Method | None = None,
    seed: int = 0,
    resamples: int = DRAWS,
) -> dict[str, list[BacktestRow]]:
    """Rows of every group of runs, forecast from all others, by the group's label, smallest first.

    by   the column that groups the runs (numbers within 10 % are one group). Default: the model size N where the table
         has one, else the compute scales

    A row's `factor` is x over the largest x of the other groups: at most 1 inside the data (interpolation), above 1
    beyond them. A group without which fewer than max(3, P) scales are left cannot be foretold and has no entry.
    """
    points = points_of(law, observations)
    check_enough(law, points)
    method = method or one_law(law, points, seed=seed, resamples=resamples)
    found = {}
    for label, held in groups_of(observations, by or default_group(observations)).items():
        known = take(points, ~held)
        if len(known) and known.n_scales >= first_cut(law):
            found[label] = held_out_rows(method, known, take(points, held), law.name)
    return found


def default_group(observations: Observations) -> str:
    """The size column where it tells runs apart, else the compute axis."""
    frame = rows_of(observations)
    return SIZE if SIZE in frame.columns and frame[SIZE].nunique() > 1 else observations.axis


def groups_of(observations: Observations, by: str) -> dict[str, np.ndarray]:
    """The rows of each group as a mask over the points, by label, smallest first; a row without a value is in none."""
    frame = rows_of(observations)
    if by not in frame.columns:
        raise InputError(f"there is no column {by!r}", f"columns: {', '.join(map(str, frame.columns))}")
    if not pd.api.types.is_numeric_dtype(frame[by]):
        column = frame[by].to_numpy(str)
        return {str(name): column == name for name in np.unique(column)}
    value = frame[by].to_numpy(float)
    group = np.full(len(value), -1)
    group[np.isfinite(value)] = scales_of(value[np.isfinite(value)])
    found = {}
    for number in range(int(group.max(initial=-1)) + 1):
        typical = float(np.median(value[group == number]))
        found[format_compute(typical) if by in COMPUTE_COLUMNS else f"{by} {typical:.3g}"] = group == number
    return found


def held_out_rows(method: Method, known: Points, held: Points, name: str) -> list[BacktestRow]:
    """Rows of the held-out runs, foretold by a method that sees the known ones only."""
    unseen = np.full(len(held), math.nan)
    draws_Sn = method(known, replace(held, value=unseen, se=unseen))
    metric = metric_named(held.subject.metric)
    found = []
    for n, (x, actual) in enumerate(zip(held.x, held.value, strict=True)):
        quantiles = tuple(float(q) for q in np.quantile(draws_Sn[:, n], LEVELS))
        found.append(
            BacktestRow(
                subject=held.subject,
                law=name,
                cut=float(np.max(known.x)),
                x=float(x),
                actual=float(actual),
                median=quantiles[LEVELS.index(0.5)],
                quantiles=quantiles,
                crps=QuantileDistribution(LEVELS, quantiles, metric.low, metric.high).crps(float(actual)),
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
    groups = by_factor(rows)
    if sum(len(hits_of(g)) for g in groups) < FEWEST_TESTS:
        return None
    earned, seen = 1.0, []
    for group in groups:
        seen += hits_of(group)
        if len(hits_of(group)) < FEWEST_TESTS or np.mean(hits_of(group)) < 0.5 or _implausible(seen):
            break
        earned = mean_factor(group)
    return earned


def failed_factor(rows: Sequence[BacktestRow]) -> float | None:
    """The smallest factor up to which the hits are implausibly few (as above); None where there is none."""
    seen: list[float] = []
    for group in by_factor(rows):
        seen += hits_of(group)
        if _implausible(seen):
            return mean_factor(group)
    return None


def with_backtests(fit: Fit, rows: Sequence[BacktestRow]) -> Fit:
    """The fit with what its back-tests earned."""
    return replace(fit, earned_factor=earned_factor(rows), failed_factor=failed_factor(rows))


def by_factor(rows: Sequence[BacktestRow]) -> list[list[BacktestRow]]:
    """Rows in groups of about the same factor (within 25 % of the group's first), nearest first."""
    groups: list[list[BacktestRow]] = []
    for row in sorted(rows, key=lambda r: (r.factor, r.cut, r.x)):
        if groups and row.factor <= 1.25 * groups[-1][0].factor:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def mean_factor(group: Sequence[BacktestRow]) -> float:
    return float(np.exp(np.mean([math.log(r.factor) for r in group])))


def hits_of(group: Sequence[BacktestRow]) -> list[float]:
    """Share of runs inside the 90 % interval, per (cut, held-out scale)."""
    found: dict[tuple[float, int], list[bool]] = {}
    for row, scale in zip(group, scales_of(np.array([row.x for row in group])), strict=True):
        found.setdefault((row.cut, int(scale)), []).append(row.covered(COVER))
    return [float(np.mean(hits)) for hits in found.values()]


def _implausible(hits: Sequence[float]) -> bool:
    """P(Binomial(n, .9) <= sum of hits) < 5 %, the sum rounded up: in doubt for the forecast."""
    n, k = len(hits), math.ceil(sum(hits) - 1e-9)
    below = sum(math.comb(n, i) * COVER**i * (1 - COVER) ** (n - i) for i in range(k + 1))
    return n >= FEWEST_TESTS and below < DOUBT
