"""The forecast of every question of a table, by one rule: a pool of two methods, back-tested as a pool.

    average     several laws of compute, each with a misfit process (averaging.py), on the metric's own runs
    two-stage   compute -> loss, by such an average, -> metric (two_stage.py), where the base trials' loss was measured
    pool        a share TWO_STAGE of the draws from the second, the others from the first: a mixture of distributions

A way whose law is DIVERGED or NOT_IDENTIFIED is left out. Where there is no second one (the loss itself, a user's
table) the first stands alone. Why these weights: docs/log.md. GPT-4's law without a floor is a second question about
the mean log pass rate, one law alone, never a member, and refused where the first answer excludes it or is refused
(`checked`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fits.averaging import Average, average
from fits.backtests import DRAWS, FEWEST_SCALES, Method, first_cut, rolling_origin, with_backtests
from fits.estimate import default_law, fit_points, references_of, subjects
from fits.forecasts import NO_FLOOR, REASON, assess, target_of
from fits.members import LADDER as OWN_LADDER
from fits.members import SETTING, curve_of
from fits.objectives import default_objective
from fits.points import Points, check_enough, final_rows, points_of, take
from fits.predictive import OneLaw, Pool, Predictive
from fits.priors import LADDER, TURNING, PriorRule, default_priors
from fits.sampling import PARTICLES
from fits.track_record import TrackRecord, track_record
from fits.two_stage import TwoStage, map_points, map_seed
from fits.verdicts import INVERSE, verdict_of
from scaling.errors import InputError, NotEarned
from scaling.fitted import BacktestRow, Fit, FitStatus, Forecast, Grade, Subject
from scaling.laws import LAWS, Law
from scaling.maps import MAPS
from scaling.observations import OVERALL, Observations

TWO_STAGE = {"pass_rate": 0.75, "neg_log_pass": 0.9}  # of the pool's draws
AGREED = 0.9  # interval of a question's main forecast that holds the median of a law without a floor, or refuses it
STAGED_AXIS = "C_pre"  # the axis that a run shares with the loss of its base trial
OWN_SWEEPS = "algorithmic-v1"  # the compute definition of trials that this package trained
UNUSABLE = (FitStatus.DIVERGED, FitStatus.NOT_IDENTIFIED)


@dataclass(frozen=True)
class Best:
    """One fit per question (its own law), its forecast, and the back-tests of the method that made the forecast."""

    fits: tuple[Fit, ...]
    forecasts: tuple[Forecast, ...]
    backtests: tuple[BacktestRow, ...]


@dataclass(frozen=True)
class Case:
    """One question's data: rows under its own law, and under the map from loss (None: no such map)."""

    table: Observations
    law: Law
    own: Points
    mapped: Points | None = None


@dataclass(frozen=True)
class Members:
    """What the question's runs support: the fit of its own law, several laws averaged (None: a law without a floor,
    which is asked about alone), and the way through the loss (None: it cannot be used)."""

    own: Fit
    averaged: Average | None = None
    staged: TwoStage | None = None

    @property
    def predictive(self) -> Predictive:
        alone = self.averaged or OneLaw(self.own)
        if self.staged is None:
            return alone
        if self.own.status in UNUSABLE:
            return self.staged
        return Pool(self.staged, alone, TWO_STAGE[self.own.subject.metric])


def best_forecasts(
    observations: Observations,
    compute: float | str | Callable[[str, str], float],
    *,
    seed: int = 0,
    beyond: bool = False,
    resamples: int = 1000,
    only: Mapping[str, str | None] | None = None,
) -> Best:
    """Fit, back-test and forecast every question of a table (stage, metric, bucket, protocol) at `compute`.

    `compute` may be a function of (stage, axis). Only cheaper runs are used. `only` keeps the questions whose metric,
    stage or bucket is the given one (None: any); the loss serves them all. Refused ones are included, with the grade
    REFUSED (UNEARNED with beyond=True). Questions with too few scales are left out; where all have too few, the first
    one's NotEarned is raised.
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
            cases += [(case, at if asked else math.nan) for case in _cases(table.below(at))]
        except NotEarned as error:
            refused.append(error)
    work = Workshop((case for case, _ in cases), tables, seed)
    chosen = [(case, at) for case, at in cases if math.isfinite(at)]
    if not chosen:
        raise refused[0] if refused else InputError("no such question is in the table")
    found = [work.answer(case, at, resamples) for case, at in chosen]
    fitted, forecasts = tuple(f for f, _, _ in found), tuple(f for _, f, _ in found)
    best = Best(fitted, forecasts, tuple(r for _, _, rows in found for r in rows))
    forecasts = tuple(checked_all(forecasts, best))
    if beyond:
        forecasts = tuple(replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in forecasts)
    return replace(best, forecasts=forecasts)


def track_records(
    observations: Observations, by: str | None = None, *, seed: int = 0, only: Mapping[str, str | None] | None = None
) -> list[TrackRecord]:
    """`fits.track_record` of this rule on every question of a table that `only` keeps, its main forecast each."""
    tables = list(subjects(observations.with_base_loss()))
    cases: list[Case] = []
    refused: list[NotEarned] = []
    for table in tables:
        try:
            cases.append(_cases(table)[0])
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


def own_sweep(tables: Iterable[Observations]) -> bool:
    """Were all runs trained by this package? Its ladders have priors of their own."""
    return all(t.compute_definition == OWN_SWEEPS for t in tables)


def prior_rule(tables: Iterable[Observations], known: Points | None = None) -> PriorRule:
    """The priors for the fits of a table's questions; of this package's own ladders they depend on whether some bucket
    gets worse with compute, as seen from the runs in `known` (None: all)."""
    tables = list(tables)
    if not own_sweep(tables):
        return default_priors
    return TURNING if worsening(tables, known) else LADDER


def worsening(tables: Iterable[Observations], known: Points | None = None) -> tuple[str, ...]:
    """The questions about a bucket that gets worse with compute, as seen from the runs in `known`."""
    return tuple(Subject(*t.one_metric()).label for t in tables if _gets_worse(t, known))


def _gets_worse(table: Observations, known: Points | None) -> bool:
    if table.one_metric()[2] == OVERALL or table.axis != STAGED_AXIS:
        return False  # the map's own axis: elsewhere nothing rests on this
    points = points_of(LAWS["power"], table)
    points = points if known is None else same_runs(points, known)
    return len(points) > 0 and verdict_of(points, default_objective(points.value)[0].scale) == INVERSE


def same_runs(points: Points, known: Points) -> Points:
    """The points of one question that are of the same base trials, at the same compute, as those of another."""
    runs = set(zip(known.base_trial, known.x, strict=True))
    return take(points, np.array([run in runs for run in zip(points.base_trial, points.x, strict=True)], bool))


def _cases(table: Observations) -> list[Case]:
    """The main question of a table; for the mean log pass rate GPT-4's law without a floor as a second one."""
    plain = replace(table, frame=table.frame.drop(columns="loss"))
    default = default_law(plain)
    laws = [default] if "floor" in default.names else [LAWS["power"], default]
    found: list[Case] = []
    refused: list[NotEarned] = []
    for law in laws:
        own = points_of(law, plain)
        try:
            check_enough(law, own)
        except NotEarned as error:
            refused.append(error)
            continue
        mapped = map_points(table) if law is laws[0] and table.axis == STAGED_AXIS else None
        found.append(Case(plain, law, own, mapped))
    if not found:
        raise refused[0]
    return found


class Workshop:
    """Fits of all cases to any part of the runs, each made once: the loss serves all two-stage forecasts.

    `tables` (those that the cases are from, and others) choose the priors: for every part anew, from its runs only.
    """

    def __init__(self, cases: Iterable[Case], tables: Iterable[Observations], seed: int) -> None:
        self.tables, self.seed = list(tables), seed
        self.losses = [c for c in cases if _is_loss(c)]
        self.setting = OWN_LADDER if own_sweep(self.tables) else SETTING
        self._fits: dict[tuple[str, Subject, frozenset, int, int], Fit] = {}
        self._averages: dict[tuple[Subject, frozenset, int], Average] = {}
        self._rules: dict[frozenset, PriorRule] = {}

    def answer(self, case: Case, compute: float, resamples: int) -> tuple[Fit, Forecast, list[BacktestRow]]:
        members = self.members(case, case.own, resamples)
        rows = self.backtest(case)
        own = replace(members.own, data_digest=final_rows(case.table).digest, sources=dict(case.table.sources))
        own = with_backtests(replace(own, gates=case.table.gates), rows)
        return own, assess(own, compute, rows, replace(members, own=own).predictive)[0], rows

    def members(self, case: Case, known: Points, resamples: int) -> Members:
        """All methods on the runs in `known`, some points of the case's own."""
        own = self._fit(case.law, case.own, known, self.seed, resamples)
        averaged = None if case.law.straight else self._average(known, resamples)
        return Members(own, averaged, self._staged(case, known, resamples))

    def method(self, case: Case) -> Method:
        """The rule as a method of back-tests."""
        return lambda known, at: self.members(case, known, DRAWS).predictive.draws(at.x)[0]

    def backtest(self, case: Case) -> list[BacktestRow]:
        """Rolling origin, as `fits.backtest`."""
        name = self.members(case, case.own, DRAWS).predictive.name
        return rolling_origin(self.method(case), case.own, first_cut(case.law), name)

    def _staged(self, case: Case, known: Points, resamples: int) -> TwoStage | None:
        if case.mapped is None or len(self.losses) != 1:
            return None
        losses, mapped = same_runs(self.losses[0].own, known), same_runs(case.mapped, known)
        if any(not len(p) or p.n_scales < FEWEST_SCALES for p in (losses, mapped)):
            return None
        if self._fit(self.losses[0].law, self.losses[0].own, losses, self.seed, resamples).status in UNUSABLE:
            return None
        law = MAPS[case.own.subject.metric]
        made = self._fit(law, case.mapped, mapped, map_seed(self.seed), resamples)
        if made.status in UNUSABLE:
            return None
        return TwoStage(self._average(losses, resamples), made, self._because(case, known))

    def _because(self, case: Case, known: Points) -> str:
        """What chose the prior of a forecast's map where it is not the usual one: a threshold lies behind it."""
        if self._priors(known) is not TURNING or MAPS[case.own.subject.metric].link == "neg_log":
            return ""
        (centre, spread), (usual, wide) = TURNING.mean_log_bend, LADDER.mean_log_bend
        found = worsening(self.tables, known)
        return (
            f"; log bend ~ N(log {centre:g}, {spread:g}) because {' and '.join(found)} "
            f"get{'s' if len(found) == 1 else ''} worse with compute, else N(log {usual:g}, {wide:g})"
        )

    def _priors(self, known: Points) -> PriorRule:
        runs = _runs(known)
        if runs not in self._rules:
            self._rules[runs] = prior_rule(self.tables, known)
        return self._rules[runs]

    def _fit(self, law: Law, whole: Points, known: Points, seed: int, resamples: int) -> Fit:
        """The fit to the points in `known`, made once: the pool, its members and other questions share it. Of `whole`
        it takes the reference scale only."""
        key = (law.name, known.subject, _runs(known), seed, resamples)
        if key not in self._fits:
            self._fits[key] = fit_points(
                law,
                known,
                priors=self._priors(known),
                references=references_of(law, whole),
                seed=seed,
                resamples=resamples,
            )
        return self._fits[key]

    def _average(self, known: Points, resamples: int) -> Average:
        key = (known.subject, _runs(known), resamples)
        if key not in self._averages:
            particles = PARTICLES if resamples > DRAWS else PARTICLES // 2
            self._averages[key] = average(
                curve_of(known), setting=self.setting, seed=self.seed, draws=resamples, particles=particles
            )
        return self._averages[key]


def _runs(points: Points) -> frozenset:
    return frozenset(zip(points.base_trial, points.x, strict=True))


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


def _is_loss(case: Case) -> bool:
    subject = case.own.subject
    return (subject.metric, subject.stage, subject.bucket) == ("loss", "pretrain", OVERALL)
