"""forecast(fit, compute) -> Forecast: what one larger run will measure, with a grade, simple baselines and warnings.

Grades (f: how far the target lies beyond the largest run; e, b: earned and failed factor of the back-tests):

    REFUSED    the fit is DIVERGED or NOT_IDENTIFIED, the verdict is not "predictable", or a back-test failed at b <= f,
               or f > e and the data bend away from a law that has no floor (floorless.py), or f > e and a gate FAILED
    EARNED     f <= 1 (inside the data), or f <= e; EXTENDED where a gate FAILED
    EXTENDED   anything else: a forecast beyond what the data's own back-tests could test
    UNEARNED   refused, but asked for with beyond=True

An untested verdict, or too few scales for one, counts as predictable, with a warning. So does a break (or one that a
transform mends) for what has laws with a break among its own; a law without one is refused there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fits.floorless import LEVEL
from fits.plain import bootstrap_quantiles
from fits.points import axis_symbol, scales_of
from fits.predictive import OneLaw, Predictive
from fits.verdicts import BROKEN, PREDICTABLE, TOO_LITTLE, TRANSFORMED, UNTESTED
from scaling.errors import InputError, NotEarned
from scaling.fitted import BacktestRow, Fit, FitStatus, Forecast, Grade
from scaling.laws import law_named
from scaling.metrics import metric as metric_named
from scaling.units import format_compute, parse_compute

GRID = 49
FORETOLD = 2  # scales that back-tests need beyond those that the method learns from
FARTHEST = 1000.0  # no law here was ever shown to hold further beyond its data
SEARCHED, STEPS = 1e9, 400  # how far beyond the data a value is looked for, in how many steps
REASON = "refused: "  # starts the warning that says why
NO_FLOOR = "the law has no floor, and no forecast with one was compared here: fits.best_forecasts does that"
NO_ERRORS = "no usable standard errors were given: the noise is estimated from the scatter of the runs"
FAR = 10.0  # beyond the back-tested factor: an interval of one law is then known to be too narrow


def forecast(
    fit: Fit,
    compute: str | float,
    *,
    beyond: bool = False,
    backtests: Sequence[BacktestRow] | None = None,
    by: Predictive | None = None,
) -> Forecast:
    """The forecast at `compute` ("1e23 FLOP", "3 PF-day", or a number on the fit's axis in base units).

    `by` is what draws it, `fits.averaged(runs)` for several laws; default: the fit's own law. The fit speaks for the
    data in any case (verdict, baselines).
    `backtests` (rows of `backtest`, by the same method) decide what was earned; without them the factors stored in the
    fit do, for its own law only.
    Raises NotEarned, with the forecast as `.estimate`, where it is REFUSED; `beyond=True` returns it as UNEARNED.
    """
    found, why = assess(fit, compute, backtests, by)
    if found.grade != Grade.REFUSED:
        return found
    if beyond:
        return replace(found, grade=Grade.UNEARNED, warnings=(*found.warnings, f"UNEARNED: {why}"))
    raise NotEarned(
        f"{fit.subject.label} at {format_compute(found.target)}: {why}",
        f"add runs near {format_compute(math.sqrt(found.max_x * max(found.target, found.max_x)))}, or pass beyond=True "
        "(--beyond) to have it marked UNEARNED",
        estimate=found,
    )


def forecast_all(fits: Iterable[Fit], compute: str | float, *, beyond: bool = False) -> list[Forecast]:
    """One forecast per fit, refused ones included, with the grade REFUSED (UNEARNED with beyond=True)."""
    found = [assess(fit, compute)[0] for fit in fits]
    return [replace(f, grade=Grade.UNEARNED) if beyond and f.grade == Grade.REFUSED else f for f in found]


def assess(
    fit: Fit, compute: str | float, backtests: Sequence[BacktestRow] | None = None, by: Predictive | None = None
) -> tuple[Forecast, str]:
    """The forecast with its grade, never raised; and the reason where it is REFUSED (else "")."""
    from fits.backtests import earned_factor, failed_factor  # back-tests make forecasts themselves

    if backtests is not None:
        fit = replace(fit, earned_factor=earned_factor(backtests), failed_factor=failed_factor(backtests))
    elif by is not None and by.name != fit.law:  # the fit's own factors are those of its law
        fit = replace(fit, earned_factor=None, failed_factor=None)
    target = target_of(compute)
    smallest = float(np.min(fit.points["x"]))
    if target < smallest * (1 - 1e-9):
        raise InputError(
            f"{format_compute(target)} lies below the smallest run of {fit.subject.label}, {format_compute(smallest)}",
            "forecasts look upward: add cheaper runs, or ask for more compute",
        )
    by = by or OneLaw(fit)
    grid_G = _grid(fit, target)
    draws_SG, latent_SG = by.draws(grid_G)
    why = _refusal(fit, target, by)
    made = Forecast(
        subject=fit.subject,
        law=by.name,
        fit_digest=by.digest,
        data_digest=fit.data_digest,
        grid_G=grid_G,
        draws_SG=draws_SG,
        latent_SG=latent_SG,
        target=target,
        max_x=fit.max_x,
        grade=Grade.REFUSED if why else _grade(fit, target),
        earned_factor=fit.earned_factor,
        baselines={**baselines(fit, target), "one-law bootstrap": bootstrap_quantiles(fit, target)},
        method=by.says,
        parts=by.parts(target),
        prior=by.prior,
        sources=fit.sources,
    )
    made = replace(made, warnings=(*_warnings(fit, made), *by.warnings, *((REASON + why,) if why else ())))
    made = made.with_gates(fit.gates)
    if made.grade == Grade.REFUSED and not why:
        why = next(gate.refusal for gate in made.gates if gate.passed is False and gate.premise)
    return made, why


def baselines(fit: Fit, target: float) -> dict[str, float]:
    """Point forecasts without a law, in the metric's unit and range.

    last value          mean of the runs at the largest compute scale
    linear in log C     least squares line of the value on log C through the scale means of the upper half of the
                        scales (at least two of them), read at the target
    constant            mean over the scales of their means
    """
    x, value = np.asarray(fit.points["x"], float), np.asarray(fit.points["value"], float)
    scale = scales_of(x)
    count = np.bincount(scale)
    means, log_x = np.bincount(scale, value) / count, np.bincount(scale, np.log(x)) / count
    upper = slice(min(len(means) // 2, len(means) - 2) if len(means) > 1 else 0, None)
    found = {"last value": means[-1], "constant": float(np.mean(means))}
    if len(means) > 1:
        rate, level = np.polyfit(log_x[upper] - log_x[-1], means[upper], 1)
        found["linear in log C"] = level + rate * (math.log(target) - log_x[-1])
    clip = metric_named(fit.subject.metric).clip
    return {name: float(clip(np.array(v))) for name, v in found.items()}


@dataclass(frozen=True)
class Needed:
    """Compute at which the mean of runs reaches a value; infinite where it does not (`never`: the share of draws).
    `smallest`: the smallest run; a draw that has the value there already counts as that. `within`: how many times
    beyond the data it was looked for (infinite: by the law's formula, which knows all compute)."""

    value: float
    median: float
    low: float
    high: float
    never: float
    level: float = 0.9
    smallest: float = 0.0
    within: float = math.inf

    @classmethod
    def of(
        cls, value: float, compute_S: np.ndarray, level: float, smallest: float = 0.0, within: float = math.inf
    ) -> Needed:
        """From draws, infinite where one never reaches the value. Order statistics: between a finite number and
        infinity there is nothing to interpolate."""
        x = np.sort(compute_S)
        middle, low, high = (
            float(x[min(int(q * len(x)), len(x) - 1)]) for q in (0.5, (1 - level) / 2, (1 + level) / 2)
        )
        return cls(value, middle, low, high, float(np.mean(~np.isfinite(x))), level, smallest, within)

    def to_json(self) -> dict[str, float | None]:
        """Every field; an infinite compute is null."""
        return {k: v if math.isfinite(v) else None for k, v in vars(self).items()}

    def __str__(self) -> str:
        show = [self._says(v) for v in (self.median, self.low, self.high)]
        if self.median <= self.smallest:
            show[0] = f"or below the smallest run, {format_compute(self.median)}"
        never = f", {self._not_reached} in {100 * self.never:.0f} % of the draws" if self.never else ""
        return f"value {self.value:g} at {show[0]} [{show[1]}, {show[2]}] {100 * self.level:.0f} %{never}"

    @property
    def _not_reached(self) -> str:
        return "never" if math.isinf(self.within) else f"not within {self.within:.0e}x of the data"

    def _says(self, compute: float) -> str:
        if not math.isfinite(compute):
            return "never" if math.isinf(self.within) else "beyond"
        return f"{'at most ' if compute <= self.smallest else ''}{format_compute(compute)}"


def solve(found: Fit | Predictive, value: float, *, level: float = 0.9) -> Needed:
    """The compute that brings the mean of runs to `value`: median, interval, and the share of draws that never do.

    One law (a Fit) is solved by its formula, draw by draw: its own uncertainty only. Anything else that forecasts (an
    average, a pool) by where each draw's curve of the mean first has `value`, to 1 % of compute; a draw that has not
    reached it SEARCHED times beyond the data counts as one that does not. A value that the smallest run has needs no
    more than it.
    """
    by = OneLaw(found) if isinstance(found, Fit) else found
    metric_named(by.subject.metric).check(value, "value")
    x_S = reached(by, value)
    if isinstance(by, OneLaw):
        law = law_named(by.fit.law)
        axis_symbol(law, by.subject.axis)
        exact_S = law.solve(value, by.fit.draws_SP, **by.fit.references)
        x_S = np.where(x_S <= by.reach[0], x_S, np.where(np.isfinite(exact_S), exact_S, math.inf))
    return Needed.of(value, x_S, level, by.reach[0], math.inf if isinstance(by, OneLaw) else SEARCHED)


def reached(found: Predictive, value: float) -> np.ndarray:
    """Compute (S,) from the smallest run on at which each draw's mean of runs first has `value` or better, by straight
    lines in log x between the points of a grid; infinite where it does not SEARCHED times beyond the data."""
    low, high = found.reach
    grid_G = np.geomspace(low, high * SEARCHED, STEPS)
    sign = 1.0 if metric_named(found.subject.metric).better == "higher" else -1.0
    gap_SG = sign * (found.draws(grid_G)[1] - value)
    there_SG = gap_SG >= 0
    at = np.argmax(there_SG, axis=1)
    rows, log_x, before = np.arange(len(at)), np.log(grid_G), np.maximum(at - 1, 0)
    start, end = gap_SG[rows, before], gap_SG[rows, at]
    with np.errstate(all="ignore"):
        x_S = np.exp(log_x[before] + (log_x[at] - log_x[before]) * start / (start - end))
    return np.where(there_SG.any(axis=1), np.where(at == 0, low, x_S), math.inf)


def target_of(compute: str | float) -> float:
    """Compute in base units, checked."""
    if isinstance(compute, str):
        return parse_compute(compute)
    if not (math.isfinite(compute) and compute > 0):
        raise InputError(f"compute {compute!r} is not a positive, finite amount", "write for example '1e23 FLOP'")
    return float(compute)


def _grid(fit: Fit, target: float) -> np.ndarray:
    """Log grid over data and target that holds both the largest run and the target exactly."""
    low, high = float(np.min(fit.points["x"])), max(fit.max_x, target)
    grid = np.geomspace(low, high, GRID) if high > low else np.array([low])
    return np.unique(np.concatenate([grid[1:-1], [low, high, fit.max_x, target]]))


def _refusal(fit: Fit, target: float, by: Predictive) -> str:
    bends = fit.verdict in (BROKEN, TRANSFORMED) and _bends(by)
    if fit.verdict not in (PREDICTABLE, UNTESTED, TOO_LITTLE) and not bends:
        return f"the verdict on the data is '{fit.verdict}'"
    if fit.status in (FitStatus.DIVERGED, FitStatus.NOT_IDENTIFIED):
        return f"the fit is {fit.status}: {fit.status.says}"
    if target / fit.max_x > FARTHEST * (1 + 1e-2):
        return (
            f"{target / fit.max_x:.3g}x beyond the largest run ({format_compute(fit.max_x)}); {FARTHEST:,.0f}x at most"
        )
    scales = len(set(scales_of(np.asarray(fit.points["x"], float))))
    if target > fit.max_x and scales < by.fewest + FORETOLD:
        return f"{scales} compute scales leave nothing to back-test on: {by.fewest + FORETOLD} are needed"
    if fit.failed_factor is not None and target / fit.max_x >= fit.failed_factor:
        return f"back-tests on these data failed at {fit.failed_factor:.3g}x"
    if fit.lack_of_fit is not None and fit.lack_of_fit < LEVEL and _grade(fit, target) != Grade.EARNED:
        return f"the data bend away from a law without a floor (p = {fit.lack_of_fit:.2g})"
    return ""


def _bends(by: Predictive) -> bool:
    """Can what forecasts have a break? One law must have a place for it; averages and pools hold laws that have."""
    return not isinstance(by, OneLaw) or bool({"break_at", "onset", "midpoint"} & set(law_named(by.fit.law).names))


def _grade(fit: Fit, target: float) -> Grade:
    factor = target / fit.max_x
    earned = factor <= 1 or (fit.earned_factor is not None and factor <= fit.earned_factor * (1 + 1e-9))
    return Grade.EARNED if earned else Grade.EXTENDED


def _warnings(fit: Fit, made: Forecast) -> tuple[str, ...]:
    found = []
    if fit.verdict == UNTESTED:
        found.append("whether the trend is predictable was not tested")
    if fit.verdict in (BROKEN, TRANSFORMED):
        found.append(f"the verdict on the data is '{fit.verdict}': the forecast rests on laws that may break")
    if fit.verdict == TOO_LITTLE:
        found.append("too little data to test whether the trend is predictable")
    if fit.status == FitStatus.BOUND_HIT:
        found.append(f"the fit is BOUND_HIT: {FitStatus.BOUND_HIT.says}")
    one_law = made.law == fit.law
    if one_law and made.factor > FAR * (fit.earned_factor or 1.0):
        found.append(f"{made.reach}; the interval is that of one law and tends to be too narrow this far out")
    if one_law and law_named(fit.law).straight and _grade(fit, made.target) != Grade.EARNED:
        found.append(NO_FLOOR)
    if all(s is None for s in fit.points["se"]):
        found.append(NO_ERRORS)
    return tuple(found)
