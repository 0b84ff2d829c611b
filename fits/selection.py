"""Which law? Laws compared on what counts, the runs at the largest scales; and every subject of a table fitted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fits.backtests import backtest, with_backtests
from fits.estimate import default_law, fit, subjects
from scaling.errors import NotEarned
from scaling.fitted import BacktestRow, Fit
from scaling.laws import LAWS, Law
from scaling.observations import Observations


@dataclass(frozen=True)
class LawScore:
    """One law on one table. `error` is the root mean square relative error at the largest scale, over all cuts that
    leave it out; `crps` the mean over all held-out runs; both NaN where no cut leaves enough scales."""

    law: str
    error: float
    crps: float
    tests: int
    earned_factor: float | None
    status: str
    verdict: str


def compare(laws: Iterable[Law] | None, observations: Observations, *, seed: int = 0) -> list[LawScore]:
    """Laws ranked by held-out error at the largest scale, then CRPS; those without back-tests last.

    Laws that do not speak of the metric, or have more parameters than there are scales, are left out.
    """
    metric = observations.one_metric()[0]
    fitting = [law for law in (laws or LAWS.values()) if not law.metrics or metric in law.metrics]
    found = []
    for law in fitting:
        try:
            rows = backtest(law, observations, seed=seed)
            made = with_backtests(fit(law, observations, seed=seed), rows)
        except NotEarned:
            continue
        found.append(
            LawScore(
                law=law.name,
                error=_largest_error(rows),
                crps=float(np.mean([r.crps for r in rows])) if rows else math.nan,
                tests=len({(r.cut, r.x) for r in rows}),
                earned_factor=made.earned_factor,
                status=str(made.status),
                verdict=made.verdict,
            )
        )
    return sorted(found, key=lambda s: (math.isnan(s.error), s.error, s.crps))


def fit_all(observations: Observations, *, law: Law | None = None, seed: int = 0, backtests: bool = True) -> list[Fit]:
    """One fit per subject of the table (stage, metric, bucket, protocol), by `law` or the metric's default law.

    With `backtests`, each carries its earned factor. A subject with too few compute scales is left out; where all
    have too few, the first one's NotEarned is raised.
    """
    found, refused = [], []
    for table in subjects(observations):
        chosen = law or default_law(table)
        try:
            made = fit(chosen, table, seed=seed)
        except NotEarned as error:
            refused.append(error)
            continue
        found.append(with_backtests(made, backtest(chosen, table, seed=seed)) if backtests else made)
    if not found:
        raise refused[0]
    return found


def _largest_error(rows: list[BacktestRow]) -> float:
    largest = max((r.x for r in rows), default=math.nan)
    errors = [r.error for r in rows if r.x > 0.9 * largest and math.isfinite(r.error)]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan
