"""Verbs of this room: fit, forecast, compare, backtest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaling.cli import emit, json_option, note, output_option, table
from scaling.errors import InputError, NotEarned

if TYPE_CHECKING:
    from fits.combined import Best
    from scaling.fitted import Fit, Forecast
    from scaling.observations import Observations

REFUSED_EXIT = 3


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What to read from the table: the same options for every verb that reads one."""
    for option in (
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random draws."),
        click.option("--axis", help="Compute column to fit against: C, C_pre, C_rl or C_total."),
        click.option("--law", help="Law to fit: power, pass_rate, neg_log_pass.  [default: by metric]"),
        click.option("--bucket", help="Fit this bucket of problems only, e.g. all or 'depth 3'."),
        click.option("--stage", help="Fit this stage only: pretrain (before RL) or rl (after RL)."),
        click.option("--metric", help="Fit this metric only, e.g. loss, pass_rate, neg_log_pass."),
        click.argument("path", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command()
@selection_options
@json_option
@output_option
def fit(
    path: Path,
    metric: str | None,
    stage: str | None,
    bucket: str | None,
    law: str | None,
    axis: str | None,
    seed: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Fit a scaling law to finished runs and say how well the data determine it.

    PATH is a folder of trials (forecast/runs) or a CSV with one of these headers; C is in FLOP, or `C [PF-day]`:

    \b
    C,loss            C,loss,se            one run a row; any falling metric may take the place of loss
    C,problem,n,c     ... ,bucket          c passes of n samples per problem: pass_rate and neg_log_pass
    C,passes,problems                      totals: pass_rate

    \b
    scaling fit points.csv
    scaling fit forecast/runs --metric pass_rate --stage rl
    scaling fit points.csv --json -o fits.json
    """
    tables = _subjects(path, metric, stage, bucket, axis)
    fits = _fits(tables, law, seed, backtests=False)
    rows = [
        [f.subject.label, f.law, _parameters(f), str(f.status), f"{f.n_points} at {_scales(f)} scales", f.verdict]
        for f in fits
    ]
    headers = ["subject", "law", "parameters ± error", "status", "points", "verdict"]
    emit([_fit_json(f) for f in fits], lambda: table(headers, rows), as_json=as_json, output=output)
    for made in fits:
        for remark in made.notes:
            note(f"{made.subject.label}: {remark}")


@click.command()
@selection_options
@click.option("--at", "compute", metavar="COMPUTE", help="Where: '1e23 FLOP' or '3 PF-day'.")
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    help="Where: the run that a sweep's target.json describes.",
)
@click.option("--threshold", type=float, help="Also give the probability that the run measures more than this.")
@click.option("--beyond", is_flag=True, help="Print refused forecasts too, marked UNEARNED.")
@json_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the forecasts for `scaling register`.")
def forecast(
    path: Path,
    compute: str | None,
    target: Path | None,
    metric: str | None,
    stage: str | None,
    bucket: str | None,
    law: str | None,
    axis: str | None,
    seed: int,
    threshold: float | None,
    beyond: bool,
    as_json: bool,
    output: Path | None,
) -> int:
    """Forecast what one larger run will measure, with an interval and a grade.

    PATH is what `scaling fit` reads; only runs cheaper than the target are used.

    The grade says what the data's own back-tests support: EARNED (within the factor at which they held), EXTENDED
    (beyond it), REFUSED (exit code 3 when every forecast is; --beyond prints it all the same, as UNEARNED). Gates that
    were checked on the ladder (`scaling run --stability`) are shown; one that failed leaves EXTENDED within that
    factor and REFUSED beyond it.

    \b
    scaling forecast points.csv --at "1e23 FLOP"
    scaling forecast forecast/runs --at "1e13 FLOP" --metric pass_rate --threshold 0.8
    scaling forecast points.csv --at "3 PF-day" -o forecasts.json
    """
    from fits.combined import checked_all
    from fits.forecasts import forecast_all
    from scaling.fitted import Grade, write_forecasts
    from scaling.laws import law_named
    from scaling.units import parse_compute

    if (compute is None) == (target is None):
        raise click.UsageError("give --at COMPUTE, or --target FILE")

    def where(of_stage: str, on: str) -> float:
        return _compute_of(target, of_stage, on) if target else parse_compute(compute or "", where="--at")

    tables = [one.below(where(one.one_metric()[1], one.axis)) for one in _subjects(path, metric, stage, bucket, axis)]
    if law:
        found = _fits(tables, law, seed, backtests=True)
        made = [f for fit in found for f in forecast_all([fit], where(fit.subject.stage, fit.subject.axis))]
        if any(f.grade == Grade.EXTENDED for f in made) and "floor" not in law_named(law).names:
            best = _best(path, where, seed=seed, metric=metric, stage=stage, bucket=bucket, axis=axis)
            made = checked_all(made, best)
    else:
        best = _best(path, where, seed=seed, metric=metric, stage=stage, bucket=bucket, axis=axis)
        made = list(best.forecasts)
    if beyond:
        made = [replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in made]
    gates = list(dict.fromkeys(gate for f in made for gate in f.gates))
    kept = [f for f in made if f.grade != Grade.REFUSED]
    headers = ["subject", "forecast", "50 %", "90 %", "beyond", "grade"] + (
        ["P(more)"] if threshold is not None else []
    )
    rows = [_line(f, threshold) for f in made]
    text = "\n".join([table(headers, rows), *(f"gate {gate}" for gate in gates)])
    emit([_forecast_json(f, threshold) for f in made], lambda: text, as_json=as_json)
    for f in made:
        for warning in f.warnings:
            if warning not in [gate.warning for gate in gates]:  # said once above
                note(f"{f.subject.label}: {warning}")
    if not kept:
        note("every forecast is refused: the numbers above are estimates that the data do not support")
        return REFUSED_EXIT
    if output:
        write_forecasts(output, kept)
        note(f"{len(kept)} forecasts written to {output}; next: scaling register {output}")
    return 0


@click.command()
@selection_options
@json_option
def compare(
    path: Path,
    metric: str | None,
    stage: str | None,
    bucket: str | None,
    law: str | None,
    axis: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Rank laws by what counts: how well each, fitted to the cheaper runs, foretold the largest ones.

    Every law that speaks of the metric is back-tested on the same cuts. The first row is the one to trust most on
    these data; a law whose held-out error is much larger than another's should not be extrapolated.

    \b
    scaling compare points.csv
    scaling compare forecast/runs --metric neg_log_pass --stage rl
    """
    from fits.selection import compare as ranked
    from scaling.laws import law_named

    laws = [law_named(law)] if law else None
    found = [
        (table, s) for table in _subjects(path, metric, stage, bucket, axis) for s in ranked(laws, table, seed=seed)
    ]
    rows = [
        [_label(t), s.law, _percent(s.error), _number(s.crps), s.tests, _times(s.earned_factor), s.status, s.verdict]
        for t, s in found
    ]
    headers = ["subject", "law", "error at largest", "CRPS", "tests", "earned", "status", "verdict"]
    body = [{"subject": _label(t), **vars(s)} for t, s in found]
    emit(_finite(body), lambda: table(headers, rows), as_json=as_json)


@click.command()
@selection_options
@json_option
def backtest(
    path: Path,
    metric: str | None,
    stage: str | None,
    bucket: str | None,
    law: str | None,
    axis: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Pretend that the largest runs were not made yet, forecast them, and show how that went, by factor.

    Rolling origin by compute scale. `inside 90 %` near 90 % says that the intervals tell the truth at that factor; the
    largest factor at which they held is what a forecast may reach as EARNED.

    \b
    scaling backtest points.csv
    scaling backtest forecast/runs --metric pass_rate --stage rl --bucket all
    """
    from fits.backtests import backtest as rolled
    from fits.backtests import backtest_summary, earned_factor
    from fits.estimate import default_law
    from scaling.laws import law_named

    body, rows = [], []
    for one in _subjects(path, metric, stage, bucket, axis):
        chosen = law_named(law) if law else default_law(one)
        held_out = rolled(chosen, one, seed=seed)
        for s in backtest_summary(held_out):
            inside = [f"{100 * s.coverage[level]:.0f} %" for level in ("50", "80", "90", "95")]
            rows.append(
                [
                    _label(one),
                    chosen.name,
                    _times(s.factor),
                    s.rows,
                    _percent(s.error),
                    _percent(s.bias),
                    *inside,
                    _number(s.crps),
                ]
            )
            body.append(
                {"subject": _label(one), "law": chosen.name, "earned_factor": earned_factor(held_out), **vars(s)}
            )
        if not held_out:
            note(f"{_label(one)}: too few compute scales to leave any out")
    headers = ["subject", "law", "beyond", "runs", "error", "bias", *(f"in {n} %" for n in (50, 80, 90, 95)), "CRPS"]
    emit(_finite(body), lambda: table(headers, rows), as_json=as_json)


def _label(one: Observations) -> str:
    from scaling.fitted import Subject

    metric, stage, bucket, protocol = one.one_metric()
    return Subject(metric, stage, bucket, protocol).label


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:+.1f} %"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _times(factor: float | None) -> str:
    return "none" if factor is None else f"{factor:.3g}x"


def _finite(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has no NaN: what could not be computed is null."""
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]


def _compute_of(target: Path, stage: str, axis: str) -> float:
    """What the run that a target.json describes costs on an axis, at a stage."""
    from scaling.compute import inputs_of
    from scaling.records import parse
    from scaling.registry.book import target_of

    specs = target_of(parse(target.read_bytes(), what=str(target)), where=str(target))
    if stage not in specs:
        raise InputError(f"{target} describes no {stage} run", "choose another --stage")
    inputs = inputs_of(specs[stage])
    if axis not in inputs:
        raise InputError(f"{target} says nothing of {axis}", f"axes it knows: {', '.join(inputs)}")
    return inputs[axis]


def _subjects(
    path: Path, metric: str | None, stage: str | None, bucket: str | None, axis: str | None
) -> list[Observations]:
    from fits.estimate import subjects
    from scaling.observations import Observations

    observations = Observations.read(path, metric=metric, stage=stage, bucket=bucket)
    return subjects(replace(observations, axis=axis) if axis else observations)


def _best(path: Path, where: Callable[[str, str], float], *, seed: int, axis: str | None, **only: str | None) -> Best:
    """Forecasts by the combined rule. The whole table is read: the base trials' loss serves every other metric."""
    from fits.combined import best_forecasts
    from scaling.observations import Observations

    whole = Observations.read(path, metric=only["metric"] if path.is_file() else None)
    whole = replace(whole, axis=axis) if axis else whole
    return best_forecasts(whole, where, seed=seed, only=only)


def _fits(tables: list[Observations], law: str | None, seed: int, *, backtests: bool) -> list[Fit]:
    """One fit per subject; those with too few scales are named on standard error, unless all have too few."""
    from fits.selection import fit_all
    from scaling.laws import law_named

    found: list[Fit] = []
    refused: list[NotEarned] = []
    for one in tables:
        try:
            found += fit_all(one, law=law_named(law) if law else None, seed=seed, backtests=backtests)
        except NotEarned as error:
            refused.append(error)
    if not found:
        raise refused[0]
    for skipped in refused:
        note(str(skipped))
    return found


def _parameters(fit: Fit) -> str:
    from scaling.units import format_value

    return ", ".join(f"{n} {format_value(v, fit.standard_error(n))}" for n, v in fit.parameters.items())


def _scales(fit: Fit) -> int:
    import numpy as np

    from fits.points import scales_of

    return int(scales_of(np.asarray(fit.points["x"], float)).max()) + 1


def _fit_json(fit: Fit) -> dict[str, Any]:
    errors = {n: fit.standard_error(n) for n in fit.parameters}
    return {**fit.to_json(), "standard_errors": errors, "digest": fit.digest}


def _line(f: Forecast, threshold: float | None) -> list[Any]:
    from scaling.units import format_interval

    middle, low, high = format_interval(*f.interval(0.9), middle=f.median)
    inner = format_interval(*f.interval(0.5))
    more = [] if threshold is None else [f"{f.probability_above(threshold):.2f}"]
    return [
        f.subject.label,
        middle,
        f"[{inner[0]}, {inner[1]}]",
        f"[{low}, {high}]",
        f"{f.factor:.3g}x",
        f.grade,
        *more,
    ]


def _forecast_json(f: Forecast, threshold: float | None) -> dict[str, Any]:
    """A summary without the draws: they go to the file that -o names."""
    from scaling.fitted import LEVELS

    body = {n: getattr(f, n) for n in f.__dataclass_fields__ if not n.endswith(("_G", "_SG"))}
    above = {} if threshold is None else {"threshold": threshold, "probability_above": f.probability_above(threshold)}
    quantiles = dict(zip(map(str, LEVELS), f.quantiles, strict=True))
    return {**body, "factor": f.factor, "median": f.median, "quantiles": quantiles, "reach": f.reach, **above}
