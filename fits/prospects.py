"""Which metrics can be predicted at all: one row per metric, stage and bucket of many tables.

A whole that has no law of its own may be the sum of parts that have one. So, where the table holds them:

    buckets        no trend, broken or U-shaped as a whole, but every bucket of it (two or more) can be predicted
    neg_log_pass   no trend or broken as a mean pass rate, but predictable as the mean log pass rate of these problems

count as predictable after a transform, as do the transforms of the value itself (transforms.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fits.backtests import earned_factor, first_cut, held_out_rows, one_law
from fits.estimate import default_law, subjects
from fits.points import Points, points_of, take
from fits.selection import largest_error
from fits.verdicts import verdict
from scaling.errors import NotEarned
from scaling.fitted import BacktestRow
from scaling.laws import POWER, SHIFTED, SIGMOID, Law
from scaling.metrics import metric as metric_named
from scaling.observations import OVERALL, Observations
from scaling.verdicts import BROKEN, INVERSE, NO_TREND, PREDICTABLE, TOO_LITTLE, TRANSFORMED, U_SHAPED, Triaged

CUTS = 4  # at most, over the upper half of the scales
DRAWS = 100
ORDER = (PREDICTABLE, TRANSFORMED, BROKEN, U_SHAPED, INVERSE, NO_TREND, TOO_LITTLE)


def triage(observations: Observations | Iterable[Observations], *, seed: int = 0) -> list[Triaged]:
    """One row per subject, the predictable ones first, by back-tested error. Several tables: one list over all."""
    tables = [observations] if isinstance(observations, Observations) else list(observations)
    rows = [(one, _row(one, seed)) for table in tables for one in subjects(table)]
    found = _by_parts([row for _, row in rows])
    return sorted(found, key=lambda r: (ORDER.index(r.verdict.name), math.isnan(r.error), r.error))


def _row(one: Observations, seed: int) -> Triaged:
    points, found = points_of(POWER, one), verdict(one)
    row = Triaged(points.subject, found, runs=len(points))
    if found.name not in (PREDICTABLE, TRANSFORMED, BROKEN):
        return row
    tested = []
    for law in _laws(one, found.transform):
        try:
            tested.append((law, _backtest(law, points_of(law, one), seed)))
        except NotEarned:
            continue
    # every law is judged on the cuts that all have
    first = max((min(r.cut for r in rows) for _, rows in tested if rows), default=0.0)
    scored = [(largest_error([r for r in rows if r.cut >= first]), law.name, rows) for law, rows in tested if rows]
    scored = [s for s in scored if math.isfinite(s[0])]
    if not scored:
        return row
    error, law_name, rows = min(scored, key=lambda s: s[0])
    return replace(row, law=law_name, error=error, factor=earned_factor(rows))


def _laws(one: Observations, transform: str) -> list[Law]:
    """The metric's own law and what could beat it: a head start, and of rates the sigmoid."""
    rate = metric_named(one.one_metric()[0]).better == "higher"
    first = [SIGMOID] if rate and transform in ("logit", "sigmoid") else []
    return list(dict.fromkeys([*first, default_law(one), *([SIGMOID, POWER] if rate else [SHIFTED])]))


def _backtest(law: Law, points: Points, seed: int) -> list[BacktestRow]:
    """Rows of a few cuts: enough to rank laws, and cheap where there are dozens of metrics."""
    method = one_law(law, points, seed=seed, resamples=DRAWS)
    low, high = max(first_cut(law), points.n_scales // 2), points.n_scales - 1
    found: list[BacktestRow] = []
    for used in np.unique(np.linspace(low, high, CUTS).round().astype(int)) if high >= low else ():
        known, held = take(points, points.scale < used), take(points, points.scale >= used)
        found += held_out_rows(method, known, held, law.name)
    return found


def _by_parts(rows: Sequence[Triaged]) -> list[Triaged]:
    """With the wholes that their buckets, or the log pass rate of the same problems, make predictable."""
    at = {(r.subject.metric, r.subject.stage, r.subject.bucket): r for r in rows}
    found = []
    for row in rows:
        s, name = row.subject, row.verdict.name
        parts = [r for (m, stage, b), r in at.items() if (m, stage) == (s.metric, s.stage) and b != OVERALL]
        of_log = at.get(("neg_log_pass", s.stage, s.bucket)) if s.metric == "pass_rate" else None
        if s.bucket == OVERALL and name in (NO_TREND, BROKEN, U_SHAPED) and len(parts) > 1 and all(map(_good, parts)):
            row = _after(row, "buckets", "a bucket that cannot be predicted; until then forecast every bucket")
        elif name in (NO_TREND, BROKEN) and of_log is not None and _good(of_log):
            row = _after(row, "neg_log_pass", "a trend of the mean itself; until then forecast neg_log_pass")
        found.append(row)
    return found


def _good(row: Triaged) -> bool:
    return row.verdict.name in (PREDICTABLE, TRANSFORMED)


def _after(row: Triaged, transform: str, change: str) -> Triaged:
    made = replace(row.verdict, name=TRANSFORMED, transform=transform, would_change=change)
    return replace(row, verdict=replace(made, false_alarm=None, power=None, simulations=0, measured=""))
