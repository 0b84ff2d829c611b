"""Verbs of the top floor: report, demo."""

from __future__ import annotations

from pathlib import Path

import click

from scaling.cli import emit, folder_option, json_option, note
from sweeps.verbs import gpus_option, slots_option, threads_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="forecast")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file ending in .html, .pdf or .json (may be repeated).  [default: PATH/report.html and .pdf]",
)
@click.option("--at", metavar="COMPUTE", help="For a CSV: the compute to forecast at, with its unit: '1e23 FLOP'.")
@click.option(
    "--prediction",
    default="latest",
    show_default=True,
    help="Hash (8 digits or more) of the prediction in the folder's ledger that the report is about.",
)
def report(path: Path, output: tuple[Path, ...], at: str | None, prediction: str) -> None:
    """Write the forecast report of a project's folder, or of a CSV of your own points.

    The report shows what there is: before registration the forecast, after the run its outcome and scores. The HTML
    is one file that opens offline; the PDF carries the same numbers.

    \b
    scaling report forecast
    scaling report forecast -o talk.pdf -o talk.html
    scaling report points.csv --at "1e23 FLOP" -o points.html
    """
    import reports
    from reports.project import report_of

    document = reports.forecast_document(report_of(path, at=at, prediction=prediction))
    beside = path if path.is_dir() else path.parent
    for target in output or (beside / "report.html", beside / "report.pdf"):
        reports.render(document, target)
        click.echo(str(target))


@click.command()
@click.option(
    "--recipe",
    metavar="RECIPE|FILE.toml",
    help="The sweep: a recipe's name or a TOML file.  [default: the one that the folder holds, else quick]",
)
@click.option("--instance", type=int, help="Which random instance of the task (another world, other seeds).")
@slots_option
@threads_option
@gpus_option
@folder_option
@json_option
def demo(
    recipe: str | None, instance: int | None, slots: int, threads: int, gpus: str, folder: Path, as_json: bool
) -> None:
    """The whole path: sweep, fit, register a prediction, train the target, resolve, score, report.

    Prints its plan first. Run it again and it goes on where it stopped, or finishes at once.

    \b
    scaling demo                                     some minutes on two cores
    scaling demo --recipe smoke --folder try         the same path in seconds
    """
    from reports.demo import demo as main_job
    from reports.demo import summary
    from scaling.standing_text import scores_table
    from sweeps.configs import NAME, read
    from sweeps.executors.local import gpus_of
    from sweeps.verbs import plan_text, planned

    overrides = {} if instance is None else {"instance": instance}
    held = folder / NAME
    sweep = read(recipe or (str(held) if held.exists() else "quick"), **overrides)
    devices = gpus_of(gpus)
    slots = len(devices) or slots
    note(plan_text(sweep, planned(sweep), slots))
    record = main_job(folder, sweep, slots=slots, threads=threads, gpus=devices, say=note)
    emit(summary(record), lambda: scores_table(record), as_json=as_json)
    note(f"\n{folder / 'report.html'}\n{folder / 'report.pdf'}")
