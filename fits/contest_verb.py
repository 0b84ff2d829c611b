"""The verb versus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fits.choices import Choice, choosing, each
from scaling.cli import emit, json_option, note, output_option, table
from scaling.errors import InputError, NotEarned

if TYPE_CHECKING:
    from scaling.contests import Contest
    from scaling.fitted import Forecast
    from scaling.observations import Observations

Question = tuple[str, str, str]  # metric, stage, bucket
Tables = dict[Question, "Observations"]
HEADS = ("subject", "A", "B", "A - B", "90 %", "P(A better)", "regret", "detectable", "outcome")


@click.command()
@choosing
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--at", "compute", metavar="COMPUTE", help="Where: '1e23 FLOP'.  [default: the largest scale both have]")
@click.option("--beyond", is_flag=True, help="Leave with 0 where forecasts are refused, too.")
@json_option
@output_option
def versus(choice: Choice, other: Path, compute: str | None, beyond: bool, as_json: bool, output: Path | None) -> int:
    """Say which of two recipes will be better at a compute, how sure that is, and what would not be seen.

    PATH (A) and OTHER (B) are what `scaling fit` reads, one ladder of runs of each recipe, with the same metrics.

    \b
    A - B         difference of the means of runs, with its 90 % interval
    P(A better)   probability that A is the better recipe, from the uncertainty of both forecasts
    regret        expected loss of choosing the one that looks better
    detectable    the smallest difference that such runs would show in 80 % of cases (two-sided 5 %)

    Noise that both share cancels: runs that match in seed or base trial (a `seed` column) are paired. Runs never show
    that two recipes are equal; where no difference is seen, `detectable` says how large one could still be.

    \b
    scaling versus dapo.csv grpo.csv --at "1e22 FLOP"
    scaling versus a/runs b/runs --metric pass_rate --stage rl --bucket all --at "1e13 FLOP" --json
    scaling versus seeds_a.csv seeds_b.csv
    """
    from scaling.fitted import Subject
    from scaling.units import parse_compute

    at = parse_compute(compute, where="--at") if compute else None
    if choice.law and at is None:
        raise InputError("without --at the runs are compared as they are, by no law", "leave --law out, or give --at")
    tables = [_by_question(one.subjects()) for one in (choice, replace(choice, path=other))]
    common = [q for q in tables[0] if q in tables[1]]
    if not common:
        found = ["; ".join(Subject(*q, "").label for q in some) for some in tables]
        raise InputError(f"A and B share no question. A: {found[0]}. B: {found[1]}", "compare the same metric")
    made = _at(choice, other, tables, common, at) if at else _as_they_are(tables, common, choice.seed)
    emit(made, lambda: table(HEADS, [_line(c) for c in made]), as_json=as_json, output=output)
    for contest in made:
        if contest.pairs:
            note(f"{contest.subject.label}: {contest.pairs} matched runs share noise, r = {contest.correlation:.2f}")
        if contest.refused:
            note(f"{contest.subject.label}: {contest.refused}")
    if all(c.refused for c in made) and not beyond:
        note("every comparison rests on a refused forecast: the numbers above are estimates that data do not support")
        return NotEarned.exit_code
    return 0


def _by_question(tables: list[Observations]) -> Tables:
    """Tables by (metric, stage, bucket): two recipes may have protocols of their own."""
    found: Tables = {}
    for one in tables:
        metric, stage, bucket, _ = one.one_metric()
        if (metric, stage, bucket) in found:
            raise InputError(f"one side has several protocols of {metric}", "select one of them")
        found[metric, stage, bucket] = one
    return found


def _at(choice: Choice, other: Path, tables: list[Tables], common: list[Question], at: float) -> list[Contest]:
    """By forecasts of both sides, made as `scaling forecast` does."""
    from fits.contests import own_problems, shared_noise, versus_forecasts

    sides = [_forecasts(one, some, at) for one, some in zip((choice, replace(choice, path=other)), tables, strict=True)]
    found = []
    for q in (q for q in common if q in sides[0] and q in sides[1]):
        a, b = tables[0][q], tables[1][q]
        shared, apart = shared_noise(a, b), own_problems(a, b)
        found.append(versus_forecasts(sides[0][q], sides[1][q], shared=shared, apart=apart, seed=choice.seed))
    if not found:
        raise NotEarned("no question has runs at enough compute scales on both sides", "add cheaper runs")
    return found


def _forecasts(choice: Choice, tables: Tables, at: float) -> dict[Question, Forecast]:
    from fits.combined import best_forecasts
    from fits.forecasts import forecast_all
    from fits.selection import fit_all

    if choice.law:
        fits = each(
            [t.below(at) for t in tables.values()], lambda t: fit_all(t, law=choice.law_of(t), seed=choice.seed)
        )
        made = [f for _, some in fits for f in forecast_all(some, at)]
    else:  # the whole table is read: the base trials' loss serves every other metric
        made = list(best_forecasts(choice.whole(), at, seed=choice.seed, only=choice.only).forecasts)
    found: dict[Question, Forecast] = {}
    for f in made:  # the first is a question's main forecast
        found.setdefault((f.subject.metric, f.subject.stage, f.subject.bucket), f)
    return found


def _as_they_are(tables: list[Tables], common: list[Question], seed: int) -> list[Contest]:
    from fits.contests import versus_runs

    return [
        c for _, c in each([tables[0][q] for q in common], lambda a: versus_runs(a, _same(a, tables[1]), seed=seed))
    ]


def _same(one: Observations, tables: Tables) -> Observations:
    return tables[one.one_metric()[:3]]


def _line(c: Contest) -> list[str]:
    from scaling.units import format_fixed, format_interval

    middle, low, high = format_interval(c.low, c.high, middle=c.difference)
    values = [f"{c.value_a:.4g}", f"{c.value_b:.4g}"]
    tail = [f"{c.regret:.2g}", f"{c.detectable:.2g}", c.outcome]
    return [c.subject.label, *values, middle, f"[{low}, {high}]", format_fixed(c.probability, 2), *tail]
