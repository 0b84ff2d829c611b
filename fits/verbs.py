"""Verbs of this room: fit, forecast, compare, backtest, diagnose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fits.choices import Choice, choosing, each
from scaling.cli import emit, json_option, note, output_option, table

if TYPE_CHECKING:
    from scaling.fitted import Fit
    from scaling.observations import Observations


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
    from scaling.units import format_fixed, format_percent

    laws = [law_named(choice.law)] if choice.law else None
    scores = each(choice.subjects(), lambda one: ranked(laws, one, seed=choice.seed))
    found = [(one, s) for one, some in scores for s in some]
    rows = [
        [_label(t), s.law, format_percent(s.error, "+"), format_fixed(s.weight, 2), format_fixed(s.crps, 4), s.tests]
        + [_times(s.earned_factor)]
        + [s.status, s.verdict]
        for t, s in found
    ]
    headers = ["subject", "law", "error at largest", "weight", "CRPS", "tests", "earned", "status", "verdict"]
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


def _label(one: Observations) -> str:
    from scaling.fitted import Subject

    metric, stage, bucket, protocol = one.one_metric()
    return Subject(metric, stage, bucket, protocol).label


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
    errors = _finite([{n: fit.standard_error(n) for n in fit.parameters}])[0]
    return {**fit.to_json(), "standard_errors": errors, "digest": fit.digest}
