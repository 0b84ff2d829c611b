"""The forecast of every question of a table, by one rule: a pool of two methods, back-tested as a pool.

    average     several laws of compute, each with a misfit process (averaging.py), on the metric's own runs
    two-stage   compute -> loss, by such an average, -> metric (two_stage.py), where the base trials' loss was measured
    pool        a share TWO_STAGE of the draws from the second, the others from the first: a mixture of distributions

Where the loss or the map is DIVERGED or NOT_IDENTIFIED, or was not measured (the loss itself, a user's table), the
average stands alone; where the question's own law is, its runs alone say too little: two-stage alone, and refused.
Where a table counts the passes of every problem, the law on these counts (counts.py) answers instead. Why
these weights: docs/log.md. GPT-4's law without a floor is a second question about the mean log pass rate, one law
alone, never a member, and refused where the first answer excludes it or is refused (`checked`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from fits.backtests import DRAWS
from fits.estimate import subjects
from fits.forecasts import NO_FLOOR, REASON, target_of
from fits.predictive import Predictive
from fits.track_record import TrackRecord, track_record
from fits.workshop import STAGED_AXIS, Case, Workshop, cases_of
from scaling.errors import InputError, NotEarned
from scaling.fitted import BacktestRow, Fit, Forecast, Grade
from scaling.laws import LAWS
from scaling.observations import Observations

AGREED = 0.9  # interval of a question's main forecast that holds the median of a law without a floor, or refuses it


@dataclass(frozen=True)
class Best:
    """One fit per question (its own law), its forecast, what drew it, and the back-tests of that method."""

    fits: tuple[Fit, ...]
    forecasts: tuple[Forecast, ...]
    predictives: tuple[Predictive, ...]
    backtests: tuple[BacktestRow, ...]


def best_forecasts(
    observations: Observations,
    compute: float | str | Callable[[str, str], float],
    *,
    seed: int = 0,
    beyond: bool = False,
    resamples: int = 1000,
    only: Mapping[str, str | None] | None = None,
    likelihood: str = "auto",
) -> Best:
    """Fit, back-test and forecast every question of a table (stage, metric, bucket, protocol) at `compute`.

    `compute` may be a function of (stage, axis). Only cheaper runs are used. `only` keeps the questions whose metric,
    stage or bucket is the given one (None: any); the loss serves them all. Refused ones are included, with the grade
    REFUSED (UNEARNED with beyond=True). `likelihood`: of counts of passes per problem, where the table has them
    (scaling.pass_rates.LIKELIHOODS; "means" uses their means only). Questions with too few scales are left out; where
    all have too few, the first one's NotEarned is raised.
    """
    wanted = {k: v for k, v in (only or {}).items() if v is not None}
    cases: list[tuple[Case, float]] = []
    refused: list[NotEarned] = []
    tables = list(subjects(observations.with_base_loss()))
    for table in tables:
        metric, stage, bucket, _ = table.one_metric()
        known = {"metric": metric, "stage": stage, "bucket": bucket}
        asked = all(known[k] == v for k, v in wanted.items())
        if not asked and (metric != "loss" or table.axis != STAGED_AXIS):
            continue  # only the loss serves other questions
        at = target_of(compute(stage, table.axis) if callable(compute) else compute)
        try:
            found_here = cases_of(table.below(at), by_counts=likelihood != "means")
            cases += [(case, at if asked else math.nan) for case in found_here]
        except NotEarned as error:
            refused.append(error)
    work = Workshop((case for case, _ in cases), tables, seed, likelihood)
    chosen = [(case, at) for case, at in cases if math.isfinite(at)]
    if not chosen:
        raise refused[0] if refused else InputError("no such question is in the table")
    found = [work.answer(case, at, resamples) for case, at in chosen]
    made, forecasts, drawn, rows = zip(*found, strict=True)
    best = Best(tuple(made), tuple(forecasts), tuple(drawn), tuple(row for some in rows for row in some))
    forecasts = tuple(checked_all(best.forecasts, best))
    if beyond:
        forecasts = tuple(replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in forecasts)
    return replace(best, forecasts=forecasts)


def track_records(
    observations: Observations, by: str | None = None, *, seed: int = 0, only: Mapping[str, str | None] | None = None
) -> list[TrackRecord]:
    """`fits.track_record` of this rule on every question of a table that `only` keeps, its main forecast each."""
    tables, cases, refused = list(subjects(observations.with_base_loss())), [], []
    for table in tables:
        try:
            cases.append(cases_of(table)[0])
        except NotEarned as error:
            refused.append(error)
    work, wanted = Workshop(cases, tables, seed), {k: v for k, v in (only or {}).items() if v is not None}
    chosen = [c for c in cases if all(getattr(c.own.subject, k) == v for k, v in wanted.items())]
    if not chosen:
        raise refused[0] if refused else InputError("no such question is in the table")
    return [
        track_record(c.law, c.table, by, method=work.method(c), name=work.members(c, c.own, DRAWS).predictive.name)
        for c in chosen
    ]


def checked(forecast: Forecast, main: Forecast) -> Forecast:
    """The forecast of a law without a floor, refused where it goes beyond what it earned and the question's main
    forecast is refused or its 90 % interval does not hold this median: then it hinges on an assumption that the data
    do not support."""
    low, high = main.interval(AGREED)
    forecast = replace(forecast, warnings=tuple(w for w in forecast.warnings if w != NO_FLOOR))  # here it is tested
    if forecast.grade != Grade.EXTENDED or (main.grade != Grade.REFUSED and low <= forecast.median <= high):
        return forecast
    if main.grade == Grade.REFUSED:
        reason = next((w.removeprefix(REASON) for w in main.warnings if w.startswith(REASON)), main.grade.value)
        why = f"{forecast.median:.3g} rests on there being no floor, and with one ({main.law}) it is refused: {reason}"
    else:
        why = (
            f"{forecast.median:.3g} rests on there being no floor: without that assumption the same runs say "
            f"{low:.3g} .. {high:.3g} ({100 * AGREED:.0f} %, {main.law})"
        )
    return replace(forecast, grade=Grade.REFUSED, warnings=(*forecast.warnings, REASON + why))


def checked_all(forecasts: Iterable[Forecast], best: Best) -> list[Forecast]:
    """Forecasts of one law each, those without a floor `checked` against the main forecast of their question in
    `best`, where it has one."""
    main = {m.subject: m for fit, m in zip(best.fits, best.forecasts, strict=True) if _has_floor(fit.law)}
    return [f if _has_floor(f.law) or f.subject not in main else checked(f, main[f.subject]) for f in forecasts]


def _has_floor(law: str) -> bool:
    return law not in LAWS or not LAWS[law].straight  # a pool is in no list: its own law has one
