"""The verb forecast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fits.choices import Choice, choosing, compute_of, each
from scaling.cli import emit, json_option, note, table
from scaling.errors import InputError, NotEarned
from scaling.pass_rates import COUNTED, LIKELIHOODS

if TYPE_CHECKING:
    from fits.combined import Best
    from fits.forecasts import Needed
    from fits.predictive import Predictive
    from scaling.fitted import Forecast
    from scaling.observations import Observations


@click.command()
@choosing
@click.option("--at", "compute", metavar="COMPUTE", help="Where: '1e23 FLOP' or '3 PF-day'.")
@click.option("--target", type=click.Path(path_type=Path), help="Where: the run of a sweep's target.json.")
@click.option("--threshold", type=float, help="Also give the probability that the run measures more than this.")
@click.option("--value", type=float, help="Also give the compute that brings the mean of runs to this value.")
@click.option("--parts", is_flag=True, help="Also show what the uncertainty is made of, by source.")
@click.option(
    "--likelihood",
    type=click.Choice(list(LIKELIHOODS)),
    default="auto",
    show_default=True,
    help="Of counts of passes per problem (C, problem, n, c), where PATH has them.",
)
@click.option("--beyond", is_flag=True, help="Print refused forecasts too, marked UNEARNED.")
@json_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the forecasts for `scaling register`.")
def forecast(
    choice: Choice,
    compute: str | None,
    target: Path | None,
    threshold: float | None,
    value: float | None,
    parts: bool,
    likelihood: str,
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

    --value turns the question round: how much compute the mean of runs needs to reach a value, with its interval, and
    in which share of the draws it does not, however far one looks (a floor keeps it away) or within a billion times the
    data.

    --parts adds a table: the share of each source in the variance at the target (an empty cell: not known), and the
    whole standard deviation. The parameters of a law, the form of the law, its misfit, the seed of one run, and the
    sampling error of its evaluation: more runs narrow the first, and nothing the seed's.

    On counts of passes per problem (C, problem, n, c) GPT-4's law is fitted to the counts themselves, problems never
    solved included, and the method says so: --likelihood hierarchical takes lognormal difficulty, mixture any
    difficulty, auto weighs the two; binomial and beta-binomial (every problem alike) are there to compare with, means
    fits the mean of each run.

    \b
    scaling forecast points.csv --at "1e23 FLOP"
    scaling forecast forecast/runs --at "1e13 FLOP" --metric pass_rate --threshold 0.8 --parts
    scaling forecast points.csv --at "3 PF-day" -o forecasts.json
    """
    from fits.forecasts import solve
    from scaling.fitted import Grade, write_forecasts
    from scaling.names import name_of
    from scaling.provenance import command, provenance
    from scaling.units import parse_compute

    if (compute is None) == (target is None):
        raise click.UsageError("give --at COMPUTE, or --target FILE")
    if choice.law and likelihood not in ("auto", "means"):
        raise InputError(
            f"a law that is named is fitted to the mean of each run: likelihood {likelihood} has no part in it",
            "leave one of --law and --likelihood out",
        )

    def where(of_stage: str, on: str) -> float:
        return compute_of(target, of_stage, on) if target else parse_compute(compute or "", where="--at")

    tables = choice.subjects()
    if threshold is not None:
        _check_threshold(threshold, tables)
    made, drawn = forecasts_of(choice, tables, where, likelihood)
    needed = [] if value is None else [solve(by, value) for by in drawn]
    if beyond:
        made = [replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in made]
    gates = list(dict.fromkeys(gate for f in made for gate in f.gates))
    kept = [f for f in made if f.grade != Grade.REFUSED]
    headers = ["subject", "forecast", "50 %", "90 %", "beyond", "grade", *["P(more)"] * (threshold is not None)]
    names = [name_of(f, made) for f in made]
    lines = [[name, *_line(f, threshold)] for name, f in zip(names, made, strict=True)]
    shown = [table(headers, lines), *([_parts_table(names, made)] if parts else [])]
    answers = [f"{name}: {one}" for name, one in zip(names, needed, strict=False)]
    methods = dict.fromkeys(f.method for f in made if f.method.startswith(COUNTED))
    counted = [f"{' and '.join(n for n, f in zip(names, made, strict=True) if f.method == m)}: {m}" for m in methods]
    text = "\n".join([*shown, *counted, *answers, *(f"gate {gate}" for gate in gates)])
    body = [_forecast_json(f, threshold, one) for f, one in zip_longest(made, needed)]
    emit(body, lambda: text, as_json=as_json)
    for name, f in zip(names, made, strict=True):
        for warning in f.warnings:
            if warning not in [gate.warning for gate in gates]:  # said once above
                note(f"{name}: {warning}")
    if not kept:
        note("every forecast is refused: the numbers above are estimates that the data do not support")
        return NotEarned.exit_code
    if output:
        sources = {path: sha for f in kept for path, sha in f.sources.items()}
        write_forecasts(output, kept, provenance(data=sources, replay=command(), seed=choice.seed))
        note(f"{len(kept)} forecasts written to {output}; next: scaling register {output}")
    return 0


def forecasts_of(
    choice: Choice, tables: list[Observations], where: Callable[[str, str], float], likelihood: str
) -> tuple[list[Forecast], list[Predictive]]:
    """The forecasts of a choice, refused ones too, and what draws them: by the rule, or by the law that was named."""
    from fits.combined import best_forecasts

    tables = [one.below(where(one.one_metric()[1], one.axis)) for one in tables]

    def best() -> Best:
        """The combined rule. The whole table is read: the base trials' loss serves every other metric."""
        return best_forecasts(choice.whole(), where, seed=choice.seed, only=choice.only, likelihood=likelihood)

    return _by_law(choice, tables, where, best) if choice.law else _by_rule(best())


def _check_threshold(threshold: float, tables: list[Observations]) -> None:
    """It has to be a value that one of the metrics can have."""
    from scaling.metrics import metric

    metrics = [metric(one.one_metric()[0]) for one in tables]
    if not any(m.low <= threshold <= m.high for m in metrics) or not math.isfinite(threshold):
        metrics[0].check(threshold, "--threshold")


def _by_rule(best: Best) -> tuple[list[Forecast], list[Predictive]]:
    return list(best.forecasts), list(best.predictives)


def _by_law(
    choice: Choice, tables: list[Observations], where: Callable[[str, str], float], best: Callable[[], Best]
) -> tuple[list[Forecast], list[Predictive]]:
    """Forecasts by the law that was named; one without a floor has to agree with the question's main forecast."""
    from fits.combined import checked_all
    from fits.forecasts import forecast_all
    from fits.predictive import OneLaw
    from fits.selection import fit_all
    from scaling.fitted import Grade

    found = each(tables, lambda one: fit_all(one, law=choice.law_of(one), seed=choice.seed)[0])
    made = [forecast_all([f], where(f.subject.stage, f.subject.axis))[0] for _, f in found]
    straight = any(choice.law_of(one).straight for one, _ in found)
    if straight and any(f.grade == Grade.EXTENDED for f in made):
        made = checked_all(made, best())
    return made, [OneLaw(f) for _, f in found]


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


def _forecast_json(f: Forecast, threshold: float | None, needed: Needed | None) -> dict[str, Any]:
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
        **({} if needed is None else {"needed": needed.to_json()}),
    }
