"""Which law? Laws compared on what counts, the runs at the largest scales; and every subject of a table fitted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from fits.backtests import DRAWS, backtest, with_backtests
from fits.estimate import default_law, fit, subjects
from fits.noise import SMALLEST
from fits.objectives import forward
from fits.points import LARGEST, final_rows, on_axis, scales_of
from fits.uncertainty import scale_of
from scaling.errors import InputError, NotEarned
from scaling.fitted import BacktestRow, Fit
from scaling.laws import LAWS, POWER, Law, law_named
from scaling.metrics import laws_of
from scaling.metrics import metric as metric_named
from scaling.observations import Observations

SPARE = 2  # scales that a law leaves for its back-tests


@dataclass(frozen=True)
class LawScore:
    """One law on one table. `error` is the root mean square relative error at the largest scale, over the cuts
    that every law has; `crps` the mean over all held-out runs; both NaN where no cut leaves enough scales.

    `log_likelihood` of the runs at the optimum, normal noise of unknown size on the fitting scale, less one for each
    parameter (Akaike). `weight`: of all laws compared they sum to 1; inversely as the mean squared error (Bates and
    Granger 1969), or where no law has a back-test by the likelihood."""

    law: str
    error: float
    crps: float
    tests: int
    earned_factor: float | None
    status: str
    verdict: str
    log_likelihood: float = math.nan
    weight: float = math.nan


def compare(laws: Iterable[Law] | None, observations: Observations, *, seed: int = 0) -> list[LawScore]:
    """Laws ranked by held-out error at the largest scale, then likelihood; those without back-tests last.

    Laws that do not speak of the metric, or have more parameters than there are scales, are left out. None: every law
    of LAWS on the table's axis that leaves `SPARE` scales to be judged by (and, where higher is better, names the
    metric or is `power`, the yardstick: the other laws fall). Where none is left, the first one's NotEarned is raised.
    """
    tried, refused = [], []
    for law in _candidates(observations) if laws is None else laws:
        if law.metrics and laws_of(observations.one_metric()[0]) not in law.metrics:
            continue
        try:
            rows = backtest(law, observations, seed=seed)
            tried.append((with_backtests(fit(law, observations, seed=seed, resamples=DRAWS), rows), rows))
        except NotEarned as error:
            refused.append(error)
    if not tried:
        raise refused[0] if refused else InputError(f"no such law speaks of {observations.one_metric()[0]}")
    # a law of more parameters starts at a later cut, nearer to what is held out: all are judged on what all have
    first = max((min(r.cut for r in rows) for _, rows in tried if rows), default=0.0)
    found = [_score(made, [r for r in rows if r.cut >= first]) for made, rows in tried]
    return _weighed(sorted(found, key=lambda s: (math.isnan(s.error), s.error, -s.log_likelihood)))


def _weighed(scores: list[LawScore]) -> list[LawScore]:
    """With weights. An error that is exactly 0 takes all."""
    error, likelihood = np.array([s.error for s in scores]), np.array([s.log_likelihood for s in scores])
    if np.isfinite(error).any():
        weight = np.nan_to_num((np.nanmin(error) + 1e-12) / (error + 1e-12)) ** 2
    else:
        weight = np.exp(likelihood - likelihood.max())
    return [replace(s, weight=float(w)) for s, w in zip(scores, weight / weight.sum(), strict=True)]


def _log_likelihood(made: Fit) -> float:
    """-n/2 (log(2 pi s^2) + 1) - P over the n runs."""
    law, scale = law_named(made.law), scale_of(made)
    x, value = np.asarray(made.points["x"], float), np.asarray(made.points["value"], float)
    at = {str(law.inputs[0].symbol): x, **made.references}
    fitted = law.value(np.array([list(made.parameters.values())]), **at)[0]
    gap = forward(scale, value) - forward(scale, fitted)
    variance = max(float(np.mean(gap**2)), SMALLEST**2) if np.all(np.isfinite(gap)) else LARGEST
    return -len(x) / 2 * (math.log(2 * math.pi * variance) + 1) - len(law.parameters)


def _score(made: Fit, rows: list[BacktestRow]) -> LawScore:
    return LawScore(
        law=made.law,
        error=largest_error(rows),
        crps=float(np.mean([r.crps for r in rows])) if rows else math.nan,
        tests=len({(r.cut, r.x) for r in rows}),
        earned_factor=made.earned_factor,
        status=str(made.status),
        verdict=made.verdict,
        log_likelihood=_log_likelihood(made) if len(law_named(made.law).inputs) == 1 else math.nan,
    )


def _candidates(observations: Observations) -> list[Law]:
    metric = metric_named(observations.one_metric()[0])
    x = final_rows(observations).x
    scales = len(set(scales_of(x)))
    return [
        law
        for law in LAWS.values()
        if on_axis(law, observations.axis)
        and (laws_of(metric.name) in law.metrics or (not law.metrics and (metric.better == "lower" or law is POWER)))
        and (law in (POWER, default_law(observations)) or len(law.parameters) + SPARE <= scales)
    ]


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


def largest_error(rows: list[BacktestRow]) -> float:
    largest = max((r.x for r in rows), default=math.nan)
    errors = [r.error for r in rows if r.x > 0.9 * largest and math.isfinite(r.error)]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan
