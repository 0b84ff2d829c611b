"""Verbs of this room: fit, forecast, compare, backtest, diagnose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fits.choices import Choice, choosing, compute_of, each
from scaling.cli import emit, json_option, note, output_option, table

if TYPE_CHECKING:
    from fits.combined import Best
    from scaling.fitted import Fit, Forecast
    from scaling.observations import Observations

REFUSED_EXIT = 3


@click.command()
@choosing
@json_option
@output_option
def fit(choice: Choice, as_json: bool, output: Path | None) -> None:
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
    from fits.estimate import fit as fitted

    fits = [f for _, f in each(choice.subjects(), lambda one: fitted(choice.law_of(one), one, seed=choice.seed))]
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
@choosing
@click.option("--at", "compute", metavar="COMPUTE", help="Where: '1e23 FLOP' or '3 PF-day'.")
@click.option("--target", type=click.Path(path_type=Path), help="Where: the run of a sweep's target.json.")
@click.option("--threshold", type=float, help="Also give the probability that the run measures more than this.")
@click.option("--parts", is_flag=True, help="Also show what the uncertainty is made of, by source.")
@click.option("--beyond", is_flag=True, help="Print refused forecasts too, marked UNEARNED.")
@json_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the forecasts for `scaling register`.")
def forecast(
    choice: Choice,
    compute: str | None,
    target: Path | None,
    threshold: float | None,
    parts: bool,
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

    --parts adds a table: the share of each source in the variance at the target (an empty cell: not known), and the
    whole standard deviation. The parameters of a law, the form of the law, its misfit, the seed of one run, and the
    sampling error of its evaluation: more runs narrow the first, and nothing the seed's.

    \b
    scaling forecast points.csv --at "1e23 FLOP"
    scaling forecast forecast/runs --at "1e13 FLOP" --metric pass_rate --threshold 0.8 --parts
    scaling forecast points.csv --at "3 PF-day" -o forecasts.json
    """
    from fits.combined import best_forecasts
    from scaling.fitted import Grade, write_forecasts
    from scaling.names import name_of
    from scaling.units import parse_compute

    if (compute is None) == (target is None):
        raise click.UsageError("give --at COMPUTE, or --target FILE")

    def where(of_stage: str, on: str) -> float:
        return compute_of(target, of_stage, on) if target else parse_compute(compute or "", where="--at")

    tables = [one.below(where(one.one_metric()[1], one.axis)) for one in choice.subjects()]

    def best() -> Best:
        """The combined rule. The whole table is read: the base trials' loss serves every other metric."""
        return best_forecasts(choice.whole(), where, seed=choice.seed, only=choice.only)

    made = _by_law(choice, tables, where, best) if choice.law else list(best().forecasts)
    if beyond:
        made = [replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in made]
    gates = list(dict.fromkeys(gate for f in made for gate in f.gates))
    kept = [f for f in made if f.grade != Grade.REFUSED]
    headers = ["subject", "forecast", "50 %", "90 %", "beyond", "grade", *["P(more)"] * (threshold is not None)]
    names = [name_of(f, made) for f in made]
    lines = [[name, *_line(f, threshold)] for name, f in zip(names, made, strict=True)]
    shown = [table(headers, lines), *([_parts_table(names, made)] if parts else [])]
    text = "\n".join([*shown, *(f"gate {gate}" for gate in gates)])
    emit([_forecast_json(f, threshold) for f in made], lambda: text, as_json=as_json)
    for name, f in zip(names, made, strict=True):
        for warning in f.warnings:
            if warning not in [gate.warning for gate in gates]:  # said once above
                note(f"{name}: {warning}")
    if not kept:
        note("every forecast is refused: the numbers above are estimates that the data do not support")
        return REFUSED_EXIT
    if output:
        write_forecasts(output, kept)
        note(f"{len(kept)} forecasts written to {output}; next: scaling register {output}")
    return 0


@click.command()
@choosing
@json_option
def compare(choice: Choice, as_json: bool) -> None:
    """Rank laws by what counts: how well each, fitted to the cheaper runs, foretold the largest ones.

    Every law that speaks of the metric is back-tested on the same cuts. The first row is the one to trust most on
    these data; a law whose held-out error is much larger than another's should not be extrapolated.

    \b
    scaling compare points.csv
    scaling compare forecast/runs --metric neg_log_pass --stage rl
    """
    from fits.selection import compare as ranked
    from scaling.laws import law_named

    laws = [law_named(choice.law)] if choice.law else None
    found = [(one, s) for one in choice.subjects() for s in ranked(laws, one, seed=choice.seed)]
    rows = [
        [_label(t), s.law, _percent(s.error), _number(s.crps), s.tests, _times(s.earned_factor), s.status, s.verdict]
        for t, s in found
    ]
    headers = ["subject", "law", "error at largest", "CRPS", "tests", "earned", "status", "verdict"]
    body = [{"subject": _label(t), **vars(s)} for t, s in found]
    emit(_finite(body), lambda: table(headers, rows), as_json=as_json)


@click.command()
@choosing
@click.option("--leave-out", "by", metavar="COLUMN", help="What to leave out in turn.  [default: N, else compute]")
@json_option
@output_option
def backtest(choice: Choice, by: str | None, as_json: bool, output: Path | None) -> None:
    """Pretend that some runs were not made yet, forecast them, and show how that went.

    First the future: the largest scales are forecast from the cheaper ones, at every cut, by factor beyond the data.
    `in 90 %` near 90 % says that the intervals tell the truth at that factor; the largest factor at which they held is
    what a forecast may reach as EARNED. PIT is where in its forecast each run fell, from 0 to 1: evenly, if forecasts
    tell the truth. Then the gaps: every model size (every compute scale, where there is no column N) is forecast from
    all others, inside the data (at 1x or less) and beyond them.

    What is tested is what `scaling forecast` does; with --law, that law alone.

    \b
    scaling backtest points.csv
    scaling backtest points.csv --leave-out trial
    scaling backtest forecast/runs --metric pass_rate --stage rl --bucket all --json
    """
    from fits.combined import track_records
    from fits.track_record import track_record

    if choice.law:
        found = each(choice.subjects(), lambda one: track_record(choice.law_of(one), one, by, seed=choice.seed))
        records = [record for _, record in found]
    else:
        records = track_records(choice.whole(), by, seed=choice.seed, only=choice.only)
    emit(records, lambda: "\n\n".join(map(str, records)), as_json=as_json, output=output)
    for record in records:
        if not record.rows:
            note(f"{record.subject.label}: too few compute scales to leave any out")


@click.command()
@choosing
@click.option("--at", "compute", metavar="COMPUTE", help="Forecast to examine: '1e23 FLOP'.  [default: 10x the data]")
@json_option
@output_option
def diagnose(choice: Choice, compute: str | None, as_json: bool, output: Path | None) -> None:
    """Show what a fit and its forecast hang on: which runs do not fit, which run decides, which choice decides.

    PATH is what `scaling fit` reads. Three questions, answered for one law:

    \b
    residual         how far a run lies off the law, in its own standard deviations; LARGE is beyond chance
    moves            what forecast and exponent would be without that run: one run should not decide (below 1 sd)
    the last table   the same forecast by other choices: objective, cheapest scales left out, floor, law

    A forecast that moves by more than its own 90 % interval under a choice that you cannot defend hangs on that choice.
    Neighbouring residuals that are alike (a lag-1 autocorrelation far above the expected one) say that the law has the
    wrong shape. Rows that were left out are counted by reason.

    \b
    scaling diagnose points.csv
    scaling diagnose points.csv --at "1e23 FLOP" --law power
    scaling diagnose forecast/runs --metric pass_rate --stage rl --bucket all --json -o diagnostics.json
    """
    from fits.diagnostics import diagnose as diagnosed
    from scaling.units import parse_compute

    at = parse_compute(compute, where="--at") if compute else None
    found = each(choice.subjects(), lambda one: diagnosed(choice.law_of(one), one, at, seed=choice.seed))
    made = [d for _, d in found]
    emit(made, lambda: "\n\n".join(map(str, made)), as_json=as_json, output=output)


def _by_law(
    choice: Choice, tables: list[Observations], where: Callable[[str, str], float], best: Callable[[], Best]
) -> list[Forecast]:
    """Forecasts by the law that was named; one without a floor has to agree with the question's main forecast."""
    from fits.combined import checked_all
    from fits.forecasts import forecast_all
    from fits.selection import fit_all
    from scaling.fitted import Grade

    found = each(tables, lambda one: fit_all(one, law=choice.law_of(one), seed=choice.seed)[0])
    made = [forecast_all([f], where(f.subject.stage, f.subject.axis))[0] for _, f in found]
    straight = any(choice.law_of(one).straight for one, _ in found)
    return checked_all(made, best()) if straight and any(f.grade == Grade.EXTENDED for f in made) else made


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
        middle,
        f"[{inner[0]}, {inner[1]}]",
        f"[{low}, {high}]",
        f"{f.factor:.3g}x",
        f.grade,
        *more,
    ]


def _parts_table(names: Sequence[str], made: Sequence[Forecast]) -> str:
    """Share of the variance at the target by source, and the standard deviation in the metric's unit."""
    from scaling.metrics import metric
    from scaling.parts import SOURCES

    known = [source for source in SOURCES if any(source in f.parts for f in made)]
    rows = []
    for name, f in zip(names, made, strict=True):
        shares = [f"{100 * f.shares[s]:.0f} %" if s in f.shares else None for s in known]
        rows.append([name, *shares, f"{f.sd:.2g} {metric(f.subject.metric).unit}".rstrip()])
    return "\n" + table(["what the uncertainty is made of", *known, "sd"], rows)


def _forecast_json(f: Forecast, threshold: float | None) -> dict[str, Any]:
    """A summary without the draws: they go to the file that -o names."""
    from scaling.fitted import LEVELS

    body = {n: getattr(f, n) for n in f.__dataclass_fields__ if not n.endswith(("_G", "_SG"))}
    above = {} if threshold is None else {"threshold": threshold, "probability_above": f.probability_above(threshold)}
    quantiles = dict(zip(map(str, LEVELS), f.quantiles, strict=True))
    return {
        **body,
        "factor": f.factor,
        "sd": f.sd,
        "median": f.median,
        "quantiles": quantiles,
        "reach": f.reach,
        **above,
    }
