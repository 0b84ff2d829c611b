"""Which choice decides? The forecast at a target under other objectives, cuts, floors and laws.

objective   least squares on log value, Huber, least squares on the value itself
cut         without the cheapest scale, and the cheapest two
floor       fixed at 0, fixed near the smallest value, under a prior twice as wide
law         every other law of compute that speaks of the metric

`sensitivities` asks this of every given question of a table, with the priors that its forecasts had.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from fits.estimate import default_law, fit_points, subjects
from fits.held import Held, hold
from fits.objectives import HuberLog, LeastSquares, Objective, default_objective
from fits.points import Points, check_enough, points_of, take
from fits.priors import Prior, PriorRule
from fits.uncertainty import predictive_draws
from scaling.errors import NotEarned, ScalingError
from scaling.fitted import Fit, FitStatus
from scaling.laws import LAWS, Law
from scaling.metrics import laws_of
from scaling.names import law_of
from scaling.observations import Observations
from scaling.parts import half_width
from scaling.sensitivities import Sensitivities, Sensitivity

NEAR_ALL = 0.9  # of the smallest value: the largest floor that is tried
MOST, SPARE = 5, 2  # parameters of another law; scales that it leaves


DRAWS = 200  # of every refit: the 90 % interval's ends are good to a tenth of its width


def sensitivities(
    observations: Observations, fits: Iterable[Fit], target: float, *, seed: int = 0, resamples: int = DRAWS
) -> tuple[Sensitivities, ...]:
    """The table of every fit's question and law, for a forecast at `target` on the axis of its subject: 1 s each.

    A fit by another method than one law is examined by the law that its metric has. Laws that are equations are left
    to `diagnose`: they cost as much as all the rest."""
    from fits.workshop import prior_rule  # which knows this room's other methods

    tables = {table.one_metric(): table for table in subjects(observations.below(target))}
    rule, laws = prior_rule(tables.values()), [law for law in LAWS.values() if law.output is None]
    found = []
    for fit in fits:
        s = fit.subject
        table = tables[s.metric, s.stage, s.bucket, s.protocol]
        law = law_of(fit.law) or default_law(table)
        points = points_of(law, table)
        objective = default_objective(points.value)[0]
        rows = sensitivity(law, points, objective, rule, target, seed=seed, resamples=resamples, laws=laws)
        found.append(Sensitivities(s, law.name, target, tuple(rows)))
    return tuple(found)


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


Change = tuple[str, Law, Points, Objective | None, PriorRule, Held | None]


def sensitivity(
    law: Law,
    points: Points,
    objective: Objective,
    rule: PriorRule,
    target: float,
    *,
    seed: int,
    resamples: int,
    laws: Iterable[Law] | None = None,
) -> Iterator[Sensitivity]:
    """One row per change, the forecast as fitted first. `laws`: which others to try, if they speak of the metric."""
    base_S = np.array([])
    for name, other, known, loss, priors, held in _changes(law, points, objective, rule, laws or LAWS.values()):
        try:
            check_enough(other, known)
            made = fit_points(other, known, loss, priors=priors, held=held, seed=seed, resamples=resamples)
        except ScalingError as error:
            remark = str(FitStatus.TOO_FEW_POINTS) if isinstance(error, NotEarned) else error.message
            yield Sensitivity(name, None, None, None, None, remark)
            continue
        y_S = predictive_draws(made, np.array([target]))[0][:, 0]
        base_S = base_S if len(base_S) else y_S
        low, median, high = (finite(q) for q in np.quantile(y_S, [0.05, 0.5, 0.95]))
        sd = half_width(base_S)
        moved = finite((median - float(np.median(base_S))) / sd) if median is not None and sd > 0 else None
        yield Sensitivity(name, median, low, high, moved, str(made.status))


def _changes(law: Law, points: Points, objective: Objective, rule: PriorRule, laws: Iterable[Law]) -> Iterator[Change]:
    yield "as fitted", law, points, objective, rule, None
    others: tuple[Objective, ...] = (LeastSquares("log"), HuberLog(), LeastSquares("absolute"))
    for other in others:
        if other != objective:
            yield f"objective: {other.name}", law, points, other, rule, None
    for cut in (1, 2):
        if points.n_scales > cut:
            kept = take(points, points.scale >= cut)
            yield f"without the cheapest {'scale' if cut == 1 else f'{cut} scales'}", law, kept, objective, rule, None
    for name, changed, held in _floors(law, points, rule):
        yield name, law, points, objective, changed, held
    for other_law in laws:
        speaks = not other_law.metrics or laws_of(points.subject.metric) in other_law.metrics
        single = len(other_law.inputs) == 1 and not other_law.inputs[0].column
        small = len(other_law.names) <= min(MOST, points.n_scales - SPARE)
        if other_law is not law and speaks and single and small:
            its_own = replace(points, inputs={str(other_law.inputs[0].symbol): points.x})
            yield f"law: {other_law.name}", other_law, its_own, None, rule, None


def _floors(law: Law, points: Points, rule: PriorRule) -> Iterator[tuple[str, PriorRule, Held | None]]:
    """Other assumptions on the floor: fixed at 0, fixed near the smallest value, or vaguer."""
    value = points.means(points.value)
    if "floor" not in law.names:
        return
    linked = -np.log(value[value > 0]) if law.link == "neg_log" else value
    smallest = float(np.min(linked, initial=math.inf))
    if not (math.isfinite(smallest) and smallest > 0):
        return

    def others(law: Law, values: np.ndarray) -> tuple[Prior, ...]:
        return tuple(p for p in rule(law, values) if p.role != "floor")

    def vaguer(law: Law, values: np.ndarray) -> tuple[Prior, ...]:
        return tuple(replace(p, spread=2 * p.spread) if p.role == "floor" else p for p in rule(law, values))

    yield "floor: 0", others, hold(law, {"floor": 0.0})
    yield f"floor: {NEAR_ALL:g} x smallest value", others, hold(law, {"floor": NEAR_ALL * smallest})
    yield "floor: twice the prior's spread", vaguer, None
