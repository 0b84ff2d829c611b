"""The verb triage."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fits.choices import Choice, choosing, each
from scaling.cli import emit, json_option, output_option, table
from scaling.errors import InputError

if TYPE_CHECKING:
    from scaling.observations import Observations
    from scaling.verdicts import Triaged

HEADS = ("subject", "verdict", "p", "best law", "error", "held to", "what would change this")


@click.command()
@choosing
@click.option("--columns", metavar="PATTERN", help="Of a CSV: every column of this name is a metric, e.g. 'err_*'.")
@json_option
@output_option
def triage(choice: Choice, columns: str | None, as_json: bool, output: Path | None) -> None:
    """Say which of many benchmarks can be predicted at all, and what data would change that.

    PATH is what `scaling fit` reads; with --columns, a CSV with a column of values for each benchmark.

    \b
    verdict    predictable, predictable after a transform, broken, U-shaped, inverse, no identifiable trend, too little
    p          how often as much comes by chance, in the test that decided
    best law   of a few, by `error` at the largest scales when fitted to cheaper ones
    held to    the factor beyond the data at which its back-tests held

    \b
    scaling triage forecast/runs
    scaling triage evaluations.csv --columns 'err_*' --json
    """
    from fits.prospects import triage as triaged

    if choice.law:
        raise InputError("triage tries several laws itself", "leave --law out")
    if columns and (choice.metric or choice.stage or choice.bucket):
        raise InputError("with --columns every column is a metric", "leave --metric, --stage and --bucket out")
    rows = triaged(_columns(choice, columns) if columns else choice.subjects(), seed=choice.seed)
    emit(rows, lambda: table(HEADS, [_line(r) for r in rows]), as_json=as_json, output=output)


def _columns(choice: Choice, pattern: str) -> list[Observations]:
    """A table for every matching column; one that cannot be read is named."""
    import pandas as pd

    from scaling.observations import Observations

    if not choice.path.is_file():
        raise InputError(f"{choice.path} is not a CSV file", "--columns reads one; a folder of trials needs none")
    try:
        names = [str(n).split("[")[0].strip() for n in pd.read_csv(choice.path, nrows=0).columns]
    except ValueError as error:
        raise InputError(f"{choice.path} is not a CSV file: {error}") from None
    matching = [n for n in names if fnmatch(n, pattern)]
    if not matching:
        raise InputError(f"no column of {choice.path} is called {pattern}", f"columns: {', '.join(names)}")
    read = each(matching, lambda name: Observations.read(choice.path, metric=name), refusal=InputError)
    choice.tell(name for name, _ in read)
    return [one for _, one in read]


def _line(row: Triaged) -> list[str | None]:
    from scaling.units import format_percent

    v = row.verdict
    p = None if v.p is None else "<.001" if v.p < 0.001 else f"{v.p:.3f}"
    name = f"{v.name}: {v.transform}" if v.transform else v.name
    error = format_percent(row.error) if row.error == row.error else None
    held = None if row.factor is None else f"{row.factor:.3g}x"
    return [row.subject.label, name, p, row.law or None, error, held, v.would_change]
