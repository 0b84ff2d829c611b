"""Verbs about how predictions turned out and where else they go: scoreboard, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaling.cli import clean, emit, folder_option, json_option, ledger_option, note, output_option

if TYPE_CHECKING:
    from scaling.predictions import Claim, Prediction


@click.command()
@click.argument("ledgers", nargs=-1, type=click.Path(path_type=Path))
@folder_option
@json_option
def scoreboard(ledgers: tuple[Path, ...], folder: Path, as_json: bool) -> None:
    """Say how well predictions have held: every one, the bad, expired and withdrawn ones too.

    Calibration (how many outcomes the 50, 80, 90 and 95 % intervals held, PIT histogram), mean CRPS, weighted interval
    and log score, and paired differences to simple methods, from the ledgers alone. Forecasts that had been refused,
    and those entered after their run had started, are counted apart. LEDGERS are folders of ledgers, or of projects
    that hold one; without any, that of --folder. A ledger that is broken is not scored.

    \b
    scaling scoreboard
    scaling scoreboard ledger-2026 other/forecast --json
    """
    from scaling.registry import Ledger, standing
    from scaling.scoreboard import scoreboard as scored
    from scaling.scoreboard_text import board_json, board_text

    kept, warnings = [], {}
    for given in ledgers or (folder / "ledger",):
        inside = given / "ledger"
        here = given if (given / "entries.jsonl").exists() or not inside.is_dir() else inside
        kept.append(Ledger(here, create=False))
    for ledger in kept:
        report = standing.verify(ledger)
        for warning in report.warnings:
            note(f"warning: {ledger.folder}: {warning}")
        report.raise_first()
        warnings[str(ledger.folder)] = report.warnings
    board = scored(kept)
    emit({**board_json(board), "warnings": warnings}, lambda: board_text(board), as_json=as_json)


@click.command()
@click.argument("prediction")
@click.option("--to", "form", required=True, type=click.Choice(["metaculus", "osf"]), help="Whose form.")
@click.option("--claim", help="Which claim, where the prediction has several (metaculus).")
@click.option("--low", type=float, help="Lower end of the question's range, in the metric's unit (metaculus).")
@click.option("--high", type=float, help="Upper end of the question's range (metaculus).")
@click.option("--open-low", is_flag=True, help="The outcome may lie below --low.")
@click.option("--open-high", is_flag=True, help="The outcome may lie above --high.")
@click.option("--zero-point", type=float, help="Of a question with a logarithmic scale.")
@output_option
@folder_option
@ledger_option
@json_option
def export(
    prediction: str, form: str, claim: str | None, low: float | None, high: float | None, open_low: bool,
    open_high: bool, zero_point: float | None, output: Path | None, folder: Path, ledger: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a registered prediction in the form of Metaculus or of an OSF pre-registration.

    metaculus: the distribution function at 201 points of the question's range, within the site's rules. osf: the fields
    of the form "OSF Preregistration", as Markdown (-o FILE.md) or JSON; what the entry does not state is said to be
    missing. PREDICTION is the entry's hash, its first 8 digits or more, or `latest`.

    \b
    scaling export latest --to metaculus --low 0 --high 1 -o cdf.json
    scaling export 3f9c0a1b --to osf -o preregistration.md
    """
    from scaling import exports
    from scaling.records import write_atomic
    from scaling.registry import Ledger, standing

    kept = Ledger(ledger or folder / "ledger", create=False)
    kept.head()  # what leaves the house is of a ledger that continues every head it remembers
    record = standing.find(kept, prediction)
    said = [*record.labels, *record.remarks]
    for line in said:
        note(clean(f"{record.entry.hash[:12]}: {line}"))
    if form == "osf":
        fields = exports.osf(record.entry, record.prediction, said)
        markdown = exports.osf_markdown(fields)
        if output and output.suffix == ".md":
            write_atomic(output, markdown)
            output = None
        return emit(fields, lambda: markdown, as_json=as_json, output=output)
    if low is None or high is None:
        raise click.UsageError("--to metaculus needs --low and --high, the ends of the question's range")
    chosen = _chosen(record.prediction, claim)
    where = exports.Range(low, high, open_low, open_high, zero_point)
    made = exports.metaculus(chosen, where)
    if made.outside > 0.01:
        note(f"{100 * made.outside:.1f} % of the claim lie beyond the closed bounds: it was scaled to the range")
    body = {"prediction": record.entry.hash, "claim": chosen.id, "range": where, "labels": record.labels,
            "remarks": record.remarks, **vars(made)}  # fmt: skip
    emit(
        body,
        lambda: "\n".join(f"{x:.10g} {f:.10f}" for x, f in zip(where.x, made.continuous_cdf, strict=True)),
        as_json=as_json,
        output=output,
    )
    note(f"{clean(chosen.sentence)}; the site's rules moved its distribution function by at most {made.moved:.3f}")


def _chosen(prediction: Prediction, name: str | None) -> Claim:
    from scaling.errors import InputError

    names = [c.id for c in prediction.claims]
    if name is None and len(names) == 1:
        return prediction.claims[0]
    if name not in names:
        what = f"no claim {name!r}" if name else f"{len(names)} claims"
        raise InputError(f"the prediction has {what}", f"choose one with --claim: {', '.join(names)}")
    return prediction.claims[names.index(name)]
