"""The forecast of every question of a table, by one rule: a pool of two methods, back-tested as a pool.

    one law     the metric's own law of compute (with a floor), fitted to its runs
    two-stage   compute -> loss -> metric (two_stage.py), where the base trials' loss was measured
    pool        a share TWO_STAGE of the draws from the second, the others from the first: a mixture of distributions

A member that is DIVERGED or NOT_IDENTIFIED is left out. Where there is no second method (the loss itself, a user's
table) the first stands alone. Why these weights: docs/log.md. GPT-4's law without a floor is a second question about
the mean log pass rate, never a member, and refused where the first answer excludes it or is refused (`checked`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fits.backtests import DRAWS, FEWEST_SCALES, first_cut, rolling_origin, with_backtests
from fits.estimate import default_law, fit_points, references_of, subjects
from fits.forecasts import NO_FLOOR, REASON, assess, target_of
from fits.objectives import default_objective
from fits.points import Points, check_enough, final_rows, points_of, take
from fits.priors import LADDER, TURNING, PriorRule, default_priors
from fits.two_stage import TwoStage, map_points, map_seed
from fits.uncertainty import predictive_draws
from fits.verdicts import INVERSE, verdict_of
from scaling.errors import InputError, NotEarned
from scaling.fitted import BacktestRow, Fit, FitStatus, Forecast, Grade, Subject
from scaling.laws import LAWS, Law, law_named
from scaling.maps import MAPS
from scaling.observations import OVERALL, Observations
from scaling.records import digest

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
    """Both methods fitted to the same runs; `staged` is None where it cannot be used."""

    own: Fit
    staged: TwoStage | None = None

    @property
    def name(self) -> str:
        if self.staged is None:
            return self.own.law
        return "two-stage" if self.own.status in UNUSABLE else "pool"

    def draws(self, grid_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(draws_SG, latent_SG) of the pool."""
        if self.staged is None:
            return predictive_draws(self.own, grid_G)
        if self.own.status in UNUSABLE:
            return self.staged.draws(grid_G)
        pairs = zip(predictive_draws(self.own, grid_G), self.staged.draws(grid_G), strict=True)
        share = TWO_STAGE[self.own.subject.metric]
        return tuple(_pool(one, two, share) for one, two in pairs)  # type: ignore[return-value]


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
    work = Workshop([case for case, _ in cases], tables, seed)
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


def prior_rule(tables: Iterable[Observations], reach: float = math.inf) -> PriorRule:
    """The priors for the fits of a table's questions. This package's own ladders have priors of their own, which depend
    on whether some bucket gets worse with compute, as seen from the runs up to `reach`."""
    tables = list(tables)
    if any(t.compute_definition != OWN_SWEEPS for t in tables):
        return default_priors
    return TURNING if worsening(tables, reach) else LADDER


def worsening(tables: Iterable[Observations], reach: float = math.inf) -> tuple[str, ...]:
    """The questions about a bucket that gets worse with compute, as seen from the runs up to `reach`."""
    return tuple(Subject(*t.one_metric()).label for t in tables if _gets_worse(t, reach))


def _gets_worse(table: Observations, reach: float) -> bool:
    if table.one_metric()[2] == OVERALL or table.axis != STAGED_AXIS:
        return False  # the map's own axis: elsewhere nothing rests on this
    points = points_of(LAWS["power"], table)
    points = take(points, points.x <= reach)
    return len(points) > 0 and verdict_of(points, default_objective(points.value)[0].scale) == INVERSE


def _cases(table: Observations) -> Iterable[Case]:
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
    """Fits of all cases at every cut, each made once: the loss serves all two-stage forecasts.

    `tables` (those that the cases are from, and others) choose the priors: at every cut anew, from its runs only.
    """

    def __init__(self, cases: Iterable[Case], tables: Iterable[Observations], seed: int) -> None:
        cases = list(cases)
        self.tables, self.seed = list(tables), seed
        self.reach = max((float(case.own.x.max()) for case in cases), default=0.0)
        self.losses = [c for c in cases if _is_loss(c)]
        self._kept: dict[tuple[str, Subject, int, int, int], Fit] = {}
        self._rules: dict[float, PriorRule] = {}

    def priors(self, limit: float) -> PriorRule:
        """The priors of fits to the runs up to `limit`."""
        reach = min(limit, self.reach)
        if reach not in self._rules:
            self._rules[reach] = prior_rule(self.tables, reach)
        return self._rules[reach]

    def answer(self, case: Case, compute: float, resamples: int) -> tuple[Fit, Forecast, list[BacktestRow]]:
        members = self.members(case, np.inf, resamples)
        rows, own_rows = self.backtest(case, members.name)
        own = replace(members.own, data_digest=final_rows(case.table).digest, sources=dict(case.table.sources))
        own = replace(own, gates=case.table.gates)
        own = with_backtests(own, own_rows)
        forecast, _ = assess(own, compute, rows if members.staged else None)
        if members.staged:
            forecast = pooled(forecast, replace(members, own=own), self.because(case))
        return own, forecast, rows

    def because(self, case: Case) -> str:
        """What chose the prior of a forecast's map where it is not the usual one: a threshold lies behind it."""
        if self.priors(math.inf) is not TURNING or MAPS[case.own.subject.metric].link == "neg_log":
            return ""
        (centre, spread), (usual, wide) = TURNING.mean_log_bend, LADDER.mean_log_bend
        found = worsening(self.tables, self.reach)
        return (
            f"; log bend ~ N(log {centre:g}, {spread:g}) because {' and '.join(found)} "
            f"get{'s' if len(found) == 1 else ''} worse with compute, else N(log {usual:g}, {wide:g})"
        )

    def members(self, case: Case, limit: float, resamples: int) -> Members:
        """Both methods on the runs up to `limit`."""
        own = self._fit(case.law, case.own, limit, self.seed, resamples)
        if case.mapped is None or len(self.losses) != 1:
            return Members(own)
        known = take(case.mapped, case.mapped.x <= limit)
        loss = self._loss(limit, resamples)
        if loss is None or loss.status in UNUSABLE or not len(known) or known.n_scales < FEWEST_SCALES:
            return Members(own)
        law = MAPS[case.own.subject.metric]
        mapped = self._fit(law, case.mapped, limit, map_seed(self.seed), resamples)
        return Members(own, None if mapped.status in UNUSABLE else TwoStage(loss, mapped))

    def backtest(self, case: Case, name: str) -> tuple[list[BacktestRow], list[BacktestRow]]:
        """Rolling origin, as `fits.backtest`: rows of the pool called `name`, and of the question's own law."""

        def pool(known: Points, at: Points) -> np.ndarray:
            return self.members(case, float(known.x.max()), DRAWS).draws(at.x)[0]

        def alone(known: Points, at: Points) -> np.ndarray:
            return predictive_draws(self._fit(case.law, case.own, float(known.x.max()), self.seed, DRAWS), at.x)[0]

        first = first_cut(case.law)
        return rolling_origin(pool, case.own, first, name), rolling_origin(alone, case.own, first, case.law.name)

    def _fit(self, law: Law, points: Points, limit: float, seed: int, resamples: int) -> Fit:
        """The fit on the runs up to `limit`, made once: the pool, its members and other questions share it."""
        known = take(points, points.x <= limit)
        key = (law.name, points.subject, len(known), seed, resamples)
        if key not in self._kept:
            self._kept[key] = fit_points(
                law,
                known,
                priors=self.priors(limit),
                references=references_of(law, points.inputs),
                seed=seed,
                resamples=resamples,
            )
        return self._kept[key]

    def _loss(self, limit: float, resamples: int) -> Fit | None:
        """The loss fit on runs up to `limit`; None where these are too few scales."""
        case = self.losses[0]
        known = take(case.own, case.own.x <= limit)
        if not len(known) or known.n_scales < FEWEST_SCALES:
            return None
        return self._fit(case.law, case.own, limit, self.seed, resamples)


def pooled(forecast: Forecast, members: Members, because: str = "") -> Forecast:
    """A one-law forecast with the pool's draws; its method and digest name every fit that it rests on, and `because`
    what chose the map's prior."""
    assert members.staged
    draws_SG, latent_SG = members.draws(forecast.grid_G)
    loss, mapped = members.staged.loss, members.staged.map
    shape = ", ".join(f"{k} {v:.3g}" for k, v in mapped.parameters.items())
    text = f"two-stage: {loss.law} law of the loss, then {mapped.law} ({shape})"
    if members.name == "pool":
        share = TWO_STAGE[forecast.subject.metric]
        text = f"{100 * share:.0f} % {text}; {100 - 100 * share:.0f} % one law: {law_named(members.own.law).name}"
    warnings = tuple(w for w in forecast.warnings if "that of one law" not in w)
    return replace(
        forecast,
        law=members.name,
        draws_SG=draws_SG,
        latent_SG=latent_SG,
        method=text + because,
        fit_digest=digest({"own": members.own.digest, "loss": loss.digest, "map": mapped.digest}),
        warnings=warnings,
    )


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


def _pool(one_SG: np.ndarray, two_SG: np.ndarray, share: float) -> np.ndarray:
    count = min(len(one_SG), len(two_SG))
    first = count - round(share * count)
    return np.concatenate([one_SG[:first], two_SG[first:count]])


def _is_loss(case: Case) -> bool:
    subject = case.own.subject
    return (subject.metric, subject.stage, subject.bucket) == ("loss", "pretrain", OVERALL)
