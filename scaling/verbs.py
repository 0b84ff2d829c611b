"""Verbs of the ground floor: register, resolve, verify, laws."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaling.cli import clean, emit, folder_option, json_option, key_option, ledger_option, lines, note, table
from scaling.standing_text import (
    labels_of,
    note_labels,
    note_unless_remembered,
    place,
    scores_table,
    signatures,
    standing_row,
)

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("forecasts", type=click.Path(path_type=Path))
@click.option("--title", required=True, help="The question: what is predicted, in a few words.")
@click.option("--until", required=True, metavar="YYYY-MM-DD", help="The date by which it will be resolved.")
@click.option("--void", "voids", multiple=True, help="What would void the prediction (needed; may be repeated).")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[METRIC=]VALUE",
    help="A value whose chance of being exceeded is claimed too (may be repeated).  [default: none]",
)
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    help="The run's specifications (target.json of a sweep): its seeds will derive from the entry.",
)
@click.option("--run", default="", help="Without --target (needed, with what follows): which run it is, in words.")
@click.option(
    "--model", default="", help="Size of the run's model, in parameters; of this and what follows: or unknown."
)
@click.option("--train-data", default="", help="What it is trained on, and how many tokens.")
@click.option("--task", default="", help="The problems it will be measured on.")
@click.option("--k", default="", help="Attempts a problem that count as one, of pass@k (but for losses).")
@click.option("--samples", default="", help="Samples a problem (but for losses).")
@click.option("--decoding", default="", help="How answers are drawn: greedy, temperature 1, ... (but for losses).")
@click.option(
    "--run-state",
    type=click.Choice(["not started", "started", "finished"]),
    help="Whether the run has started (needed without --target, which looks in FOLDER/runs).",
)
@click.option("--protocol", default="", help="How it will be measured (needed where the data's table did not say).")
@click.option("--assume", "assumptions", multiple=True, help="One more thing it rests on (may be repeated).")
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A data file, where FORECASTS does not name its own (may be repeated).",
)
@click.option("--replay", default="", help="The command that makes FORECASTS again, where it does not say.")
@click.option("--seed", type=int, help="The seed of its draws, where it does not say.")
@click.option("--embargo", is_flag=True, help="Enter a salted hash now; `scaling reveal` opens it later.")
@key_option
@folder_option
@ledger_option
@json_option
def register(
    forecasts: Path,
    embargo: bool,
    key: Path | None,
    folder: Path,
    ledger: Path | None,
    as_json: bool,
    **stated: Any,
) -> None:
    """Write forecasts into the append-only ledger BEFORE the run they speak of.

    FORECASTS is the file that `scaling forecast ... -o forecasts.json` wrote. All of them become claims about one run
    under one entry, scored together; the entry's hash is printed and fixes the seeds of the run. With --embargo the
    entry shows nothing but a hash and the deadline; the prediction waits in a file of yours beside the ledger's folder.

    Nothing can be added later, so an incomplete prediction is refused by the name of what is missing. FORECASTS brings
    data files with digests, fit, prior, factors, grade, seed and the command that made it; the program its commit,
    uncommitted changes, versions and lock file; you state the question (--title), the deadline (--until), what would
    void it (--void), and the run: --target, or --run with --model, --train-data, --task, --k, --samples, --decoding,
    --run-state and --protocol. Say `unknown` of what you do not know: it is shown beside the prediction.

    \b
    scaling forecast runs.csv --at "1e23 FLOP" -o forecasts.json
    scaling register forecasts.json --title "the big run" --until 2027-03-01 --void "another test set" \\
        --run "the spring run" --model "7e10 parameters" --train-data "1.4e12 tokens of our mix" \\
        --task "our held-out text" --run-state "not started" --protocol "loss on all of it"
    scaling register forecasts.json --title "the target" --until 2027-03-01 --void "another recipe" \\
        --target forecast/target.json
    """
    from scaling.registering import Stated, register_file
    from scaling.registry import standing
    from scaling.registry.embargo import path_of
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", key=key)
    entry = register_file(forecasts, kept, Stated(**stated), runs=folder / "runs", embargo=embargo)
    record = standing.find(kept, entry.hash)
    rows = [[c.id, c.sentence] for c in record.prediction.claims]
    if embargo:
        note(f"sealed: keep {path_of(kept.folder, entry.body['commitment'])}, without it nothing can be revealed")
    emit(
        {
            "hash": entry.hash,
            "seq": entry.seq,
            "time": entry.time,
            "claims": [r[0] for r in rows],
            "labels": record.labels,
        },
        lambda: f"registered as entry {entry.seq}: {entry.hash}\n" + table(["claim", "registered"], rows),
        as_json=as_json,
    )
    note_labels(record)


@click.command()
@click.argument("prediction")
@click.option("--value", type=float, help="The measured value, for a prediction with one claim.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    help="Folder of trials that holds the finished target run; every claim is looked up in it.",
)
@click.option("--n", type=click.IntRange(min=1), help="Number of problems or samples behind --value.")
@click.option("--se", type=click.FloatRange(min=0), help="Standard error of --value.")
@click.option("--protocol", help="How --value was measured, as the claim states it.  [default: as it states it]")
@click.option(
    "--evidence",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file whose digest is recorded (may be repeated).",
)
@click.option("--note", "remark", default="", help="A remark to keep with the outcome.")
@key_option
@folder_option
@ledger_option
@json_option
def resolve(
    prediction: str,
    value: float | None,
    runs: Path | None,
    n: int | None,
    se: float | None,
    protocol: str | None,
    evidence: tuple[Path, ...],
    remark: str,
    key: Path | None,
    folder: Path,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Record what the run achieved, and score the prediction.

    PREDICTION is the entry's hash, its first 8 digits or more, or `latest`.

    \b
    scaling resolve 3f9c0a1b --value 0.71 --n 1000 --evidence eval.json
    scaling resolve 3f9c0a1b --runs forecast/runs
    """
    from scaling.records import file_digest
    from scaling.registry import book, standing
    from scaling.signers import opened

    if (value is None) == (runs is None):
        raise click.UsageError("give either --value or --runs")
    if runs is not None and (n, se, protocol) != (None, None, None):
        raise click.UsageError("--n, --se and --protocol go with --value: of --runs they are read")
    kept = opened(ledger or folder / "ledger", create=False, key=key)
    files = {str(path): file_digest(path) for path in evidence}
    if runs is not None:
        entry = book.resolve_from_runs(kept, prediction, runs, evidence=files, note=remark)
    else:
        assert value is not None
        entry = book.resolve(kept, prediction, value, n=n, se=se, protocol=protocol, evidence=files, note=remark)
    record = standing.find(kept, entry.body["prediction"])
    for line in record.remarks:
        note(clean(line))
    emit(
        {
            "hash": entry.hash,
            "scores": record.scores,
            "inside": record.inside,
            "remarks": record.remarks,
            "labels": record.labels,
        },
        lambda: scores_table(record),
        as_json=as_json,
    )
    note_labels(record)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--tsa-roots", type=click.Path(path_type=Path), help="Roots (PEM) that RFC 3161 anchors must lead to.")
@click.option(
    "--git", "repository", type=click.Path(path_type=Path), help="Repository with git anchors: its remotes are asked."
)
@click.option(
    "--replay-steps",
    "replayed",
    type=(click.IntRange(1), str),
    metavar="K RUN",
    help="Instead, repeat the first K steps of RUN: a trial's folder or id, or a prediction's hash or `latest`.",
)
@click.option(
    "--replay", "recomputed", metavar="ID", help="Instead, make the forecasts of a prediction again from its data."
)
@click.option("--data", type=click.Path(path_type=Path), help="Where the data of --replay are, if not where they were.")
@folder_option
@ledger_option
@json_option
@click.pass_context
def verify(
    context: click.Context, file: Path | None, tsa_roots: Path | None, repository: Path | None,
    replayed: tuple[int, str] | None, recomputed: str | None, data: Path | None, folder: Path, ledger: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Check every byte of the ledger and say how each prediction stands. Exit code 4 if it is broken.

    With FILE, a proof or a report (.html, .pdf, .json): check it by itself, without the ledger; and with --folder or
    --ledger also that the ledger continues the head that the file names, that nothing was left out of the proof, and
    what was entered since. Of a report the claims are compared with the proof, and a page of HTML with what this
    program draws of its model; the pages of a PDF are not read, and the first line says so. A report that says
    something else, and that another version may have drawn, is NOT CHECKED: exit code 3.

    With --replay-steps a run is trained again for K steps, from the seeds that its prediction's hash gives, and
    compared with what it logged: bit by bit on a CPU, within 1 % of the loss on a GPU. A run that was trained before
    its prediction, an edited log, or other code differ; the first such step is named, exit code 4.

    With --replay the data files that a prediction names are checked against its digests, fitted again by the same law
    or rule and seed, and its quantiles compared: bit by bit, or within 1 % of the 90 % interval where versions, code or
    processor are others than the registered.

    \b
    scaling verify
    scaling verify --ledger some/other/ledger --json
    scaling verify proof.json
    scaling verify forecast/report.pdf --folder forecast
    scaling verify --tsa-roots authority.pem --git .       what the ledger's anchors prove
    scaling verify --replay-steps 16 latest
    scaling verify --replay latest --data points.csv
    """
    from scaling.anchor_verbs import told
    from scaling.registry import Ledger, standing
    from scaling.verifying import room, verify_file

    where = ledger or folder / "ledger"
    if data and not recomputed:
        raise click.UsageError("--data goes with --replay")
    if replayed or recomputed:
        if file or tsa_roots or repository or (replayed and recomputed):
            raise click.UsageError("--replay-steps and --replay stand alone: check the others by another command")
        if recomputed:
            again = room("forecast", "pip install scaling")(recomputed, folder=folder, ledger=ledger, data=data)
            emit(again, lambda: str(again), as_json=as_json)
            return 0
        found = room("run", "pip install 'scaling[train]'")(*(replayed or ()), folder=folder, ledger=ledger)
        emit(found, lambda: "\n".join(map(str, found)), as_json=as_json)
        return 0
    if file:
        given = [context.get_parameter_source(name) for name in ("folder", "ledger")]
        asked = any(source is not click.core.ParameterSource.DEFAULT for source in given)
        return verify_file(file, Ledger(where, create=False) if asked else None, as_json=as_json)
    kept = Ledger(where, create=False)
    report = standing.verify(kept)
    report_json: dict[str, Any] = {
        "ok": report.ok,
        "entries": report.entries,
        "root": report.head.root.hex(),
        "problems": report.problems,
        "warnings": report.warnings,
        "signed": report.signed,
        "unsigned": report.unsigned,
    }
    for warning in report.warnings:
        note(f"warning: {warning}")
    if not report.ok:
        emit(report_json, lambda: "\n".join(f"{place(p)}{p}" for p in report.problems), as_json=as_json)
        report.raise_first()
    clocks, anchored, proven = told(kept, tsa_roots, repository)
    known = [standing.judged(one, proven) for one in standing.known(kept)]
    note_unless_remembered(kept, kept.remember(verified=report))
    rows = [standing_row(one) for one in known]
    headers = ["entry", "hash", "prediction", "state", "starts", "seed", "claims", "in 90 %"]
    remarks = {one.entry.hash: one.remarks for one in known if one.remarks}
    says = lines([*(f"{name[:12]} {line}" for name, beside in remarks.items() for line in beside), *anchored])
    predictions = [
        dict(zip(headers, row, strict=True)) | {"labels": labels_of(one)} for one, row in zip(known, rows, strict=True)
    ]
    emit(
        {**report_json, **clocks, "predictions": predictions, "remarks": remarks},
        lambda: (
            f"good: {report.entries} entries, head {report.head.root.hex()}\n{signatures(report)}\n"
            + table(headers, rows)
            + ("\n" + says if says else "")
        ),
        as_json=as_json,
    )
    for one in known:
        note_labels(one)
    return 0


@click.command()
@json_option
def laws(as_json: bool) -> None:
    """List the laws: formula, parameters and bounds, what each one says, and where it comes from.

    Each law is one expression; values, derivatives, inverse and its printed forms are derived from it. The names here
    are what `--law` of fit, forecast, compare and backtest takes.

    \b
    scaling laws
    scaling laws --json
    """
    from scaling.laws import LAWS

    body = [
        {"name": law.name, "formula": law.text, "latex": law.latex, "says": law.says, "source": law.source,
         "metrics": law.metrics or "any",
         "usual": law.usual,
         "inputs": {str(i.symbol): {"unit": i.unit, "column": i.column or None} for i in law.inputs},
         "parameters": {p.name: {"symbol": str(p.symbol), "unit": p.unit, "low": None if math.isinf(p.low) else p.low,
                                 "high": None if math.isinf(p.high) else p.high}
                        for p in law.parameters}}
        for law in LAWS.values()
    ]  # fmt: skip
    blocks = [f"{b['name']}: {b['formula']}\n  {b['says']}\n  source: {b['source']}" for b in body]
    emit(body, lambda: "\n\n".join(blocks), as_json=as_json)
