"""The runs of a table, and every way of foretelling a question from any part of them (combined.py has the rule).

Whatever a fit rests on (priors, verdicts, references but for the scale C_0) comes from the part it is fitted to: a
back-test never sees what it is to foretell. Each fit is made once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fits.averaging import Average, average
from fits.backtests import DRAWS, FEWEST_SCALES, Method, first_cut, rolling_origin, with_backtests
from fits.counts import CountTable, FromCounts, Mixings, PassFit, count_table, mixings, pass_fit
from fits.estimate import default_law, fit_points, references_of
from fits.forecasts import NO_ERRORS, assess
from fits.members import LADDER as OWN_LADDER
from fits.members import SETTING, curve_of
from fits.objectives import default_objective
from fits.points import Points, check_enough, final_rows, points_of, take
from fits.predictive import OneLaw, Pool, Predictive
from fits.priors import LADDER, TURNING, PriorRule, default_priors
from fits.sampling import PARTICLES
from fits.two_stage import TwoStage, map_points, map_seed
from fits.uncertainty import scale_of
from fits.verdicts import INVERSE, trend_of, verdict_of
from scaling.errors import NotEarned
from scaling.fitted import BacktestRow, Fit, FitStatus, Forecast, Subject
from scaling.laws import LAWS, Law
from scaling.maps import MAPS
from scaling.observations import OVERALL, Observations

TWO_STAGE = {"pass_rate": 0.75, "neg_log_pass": 0.9}  # of the pool's draws
STAGED_AXIS = "C_pre"  # the axis that a run shares with the loss of its base trial
OWN_SWEEPS = "algorithmic-v1"  # the compute definition of trials that this package trained
QUICK = {"particles": PARTICLES // 2, "moves": 3}  # of the sampler, in back-tests
Rows = tuple[tuple[str, float, float], ...]
UNUSABLE = (FitStatus.DIVERGED, FitStatus.NOT_IDENTIFIED)


@dataclass(frozen=True)
class Case:
    """One question's data: rows under its own law, under the map from loss (None: no such map), and the counts of
    passes per problem behind them (None: there are none)."""

    table: Observations
    law: Law
    own: Points
    mapped: Points | None = None
    counted: CountTable | None = None


@dataclass(frozen=True)
class Members:
    """What the question's runs support: the fit of its own law, several laws averaged (None: a law without a floor,
    which is asked about alone), and the way through the loss (None: it cannot be used). Where passes were counted, the
    law on the counts answers instead of these."""

    own: Fit
    averaged: Average | None = None
    staged: TwoStage | None = None
    counted: FromCounts | None = None

    @property
    def predictive(self) -> Predictive:
        if self.counted is not None:
            return self.counted
        alone = self.averaged or OneLaw(self.own)
        if self.staged is None:
            return alone
        if self.own.status in UNUSABLE:
            return self.staged
        return Pool(self.staged, alone, TWO_STAGE[self.own.subject.metric])


def cases_of(table: Observations, *, by_counts: bool = False) -> list[Case]:
    """The main question of a table; for the mean log pass rate GPT-4's law without a floor as a second one.
    `by_counts`: counts of passes, where there are any, answer it, and they need no more scales than FromCounts does."""
    plain = replace(table, frame=table.frame.drop(columns="loss"))
    default = default_law(plain)
    laws = [default] if "floor" in default.names else [LAWS["power"], default]
    found: list[Case] = []
    refused: list[NotEarned] = []
    counted = count_table(plain)
    for law in laws:
        own = points_of(law, plain)
        enough = FromCounts.fewest if by_counts and counted is not None else None
        try:
            check_enough(law, own, enough)
        except NotEarned as error:
            refused.append(error)
            continue
        mapped = map_points(table) if law is laws[0] and table.axis == STAGED_AXIS else None
        found.append(Case(plain, law, own, mapped, counted))
    if not found:
        raise refused[0]
    return found


class Workshop:
    """Fits of all cases to any part of the runs, each made once: the loss serves all two-stage forecasts.

    `tables` (those that the cases are from, and others) choose the priors: for every part anew, from its runs only.
    `likelihood` of counts of passes (scaling.pass_rates.LIKELIHOODS), where a case has them.
    """

    def __init__(
        self, cases: Iterable[Case], tables: Iterable[Observations], seed: int, likelihood: str = "auto"
    ) -> None:
        self.likelihood = likelihood
        self._mixings: dict[tuple[Any, ...], Mixings] = {}
        self._passes: dict[tuple[Any, ...], PassFit] = {}
        self.tables, self.seed = list(tables), seed
        self.losses = [c for c in cases if _is_loss(c)]
        self.setting = OWN_LADDER if own_sweep(self.tables) else SETTING
        self._fits: dict[tuple[str, Subject, Rows, int, int], Fit] = {}
        self._averages: dict[tuple[Subject, Rows, int], Average] = {}
        self._rules: dict[frozenset, PriorRule] = {}

    def answer(self, case: Case, compute: float, resamples: int) -> tuple[Fit, Forecast, Predictive, list[BacktestRow]]:
        """The fit of the question's own law with what the rule's back-tests earned, the forecast at `compute` and what
        draws it, and the rows of the back-tests."""
        members = self.members(case, case.own, resamples)
        rows = self.backtest(case, members.predictive)
        own = replace(members.own, data_digest=final_rows(case.table).digest, sources=dict(case.table.sources))
        verdict = str(verdict_of(case.own, scale_of(own)))
        own = with_backtests(replace(own, gates=case.table.gates, verdict=verdict), rows)
        if members.counted is not None:
            own = replace(own, status=members.counted.fit.summary.status)
        by = replace(members, own=own).predictive
        made = assess(own, compute, rows, by)[0]
        if members.counted is not None:  # counts carry their own error
            made = replace(made, warnings=tuple(w for w in made.warnings if w != NO_ERRORS))
        return own, made, by, rows

    def members(self, case: Case, known: Points, resamples: int) -> Members:
        """All methods on the runs in `known`, some points of the case's own."""
        own = self._fit(case.law, case.own, known, self.seed, resamples)
        if case.counted is not None and self.likelihood != "means":
            return Members(own, counted=self._counted(case, case.counted, known, resamples))
        averaged = None if case.law.straight else self._average(known, resamples)
        return Members(own, averaged, self._staged(case, known, resamples))

    def method(self, case: Case) -> Method:
        """The rule as a method of back-tests."""
        return lambda known, at: self.members(case, known, DRAWS).predictive.draws(at.x)[0]

    def backtest(self, case: Case, by: Predictive) -> list[BacktestRow]:
        """Rolling origin, as `fits.backtest`, of the method that `by` is on all runs."""
        first = by.fewest if isinstance(by, FromCounts) else first_cut(case.law)
        return rolling_origin(self.method(case), case.own, first, by.name)

    def _counted(self, case: Case, counted: CountTable, known: Points, resamples: int) -> FromCounts:
        """The law on the counts of the runs in `known`; pass rate and mean log pass rate of one bucket share it."""
        floor, some = False if case.law.straight else None, counted.at(known)
        runs = (known.subject.stage, known.subject.bucket, known.subject.protocol, some.keys)
        if runs not in self._mixings:
            self._mixings[runs] = mixings(some.counts, self.likelihood)
        key = (*runs, floor, resamples)
        if key not in self._passes:
            self._passes[key] = pass_fit(
                self._mixings[runs], self.likelihood, floor=floor, seed=self.seed, draws=resamples
            )
        return FromCounts(known.subject, self._passes[key], self.seed)

    def _staged(self, case: Case, known: Points, resamples: int) -> TwoStage | None:
        if case.mapped is None or len(self.losses) != 1:
            return None
        losses, mapped = same_runs(self.losses[0].own, known), same_rows(case.mapped, known)
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
        key = (law.name, known.subject, _rows(known), seed, resamples)
        if key not in self._fits:
            self._fits[key] = fit_points(
                law,
                known,
                priors=self._priors(known),
                references=references_of(law, whole.inputs),
                seed=seed,
                resamples=resamples,
            )
        return self._fits[key]

    def _average(self, known: Points, resamples: int) -> Average:
        key = (known.subject, _rows(known), resamples)
        if key not in self._averages:
            effort: dict[str, Any] = {} if resamples > DRAWS else QUICK
            self._averages[key] = average(
                curve_of(known), setting=self.setting, seed=self.seed, draws=resamples, **effort
            )
        return self._averages[key]


def _runs(points: Points) -> frozenset:
    return frozenset(zip(points.base_trial, points.x, strict=True))


def _rows(points: Points) -> Rows:
    """What tells one part of a question's rows from every other: siblings of one base trial are not alike."""
    return tuple(zip(points.trial, points.x.tolist(), points.value.tolist(), strict=True))


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
    return len(points) > 0 and trend_of(points, default_objective(points.value)[0].scale).name == INVERSE


def same_runs(points: Points, known: Points) -> Points:
    """The points of one question that are of the same base trials, at the same compute, as those of another."""
    runs = _runs(known)
    return take(points, np.array([run in runs for run in zip(points.base_trial, points.x, strict=True)], bool))


def same_rows(points: Points, known: Points) -> Points:
    """The points of a question under another law that are rows of `known`."""
    rows = set(_rows(known))
    return take(points, np.array([row in rows for row in _rows(points)], bool))


def _is_loss(case: Case) -> bool:
    subject = case.own.subject
    return (subject.metric, subject.stage, subject.bucket) == ("loss", "pretrain", OVERALL)
