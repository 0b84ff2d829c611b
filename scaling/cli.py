"""What every verb shares: one way to print tables and JSON, and one way to fail.

A verb is a click command in its room's `verbs.py`, of the same name as the function it calls; `scaling/__main__.py`
mounts all that the entry-point group `scaling.verbs` lists. Heavy imports stand inside the verbs.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from scaling.records import canonical, plain, write_atomic

STOPPED = "scaling: stopped; run the same command again to go on"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
folder_option = click.option(
    "--folder",
    default="forecast",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The project's folder: sweep.toml, runs/, ledger/ and the reports.",
)
ledger_option = click.option(
    "--ledger", type=click.Path(path_type=Path), help="Folder of the ledger.  [default: FOLDER/ledger]"
)

key_option = click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Key file that signs: made by `scaling key new`, or an SSH Ed25519 key.  [default: scaling/key.pem in your "
    "configuration folder, where the ledger knows it]",
)
output_option = click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result to this file.")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned plain text: numbers to the right, missing values as an empty cell, control characters made visible."""
    cells = [[clean(str("" if c is None else c)) for c in row] for row in [headers, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    right = [all(_numeric(row[i]) for row in cells[1:]) for i in range(len(headers))]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def clean(text: str) -> str:
    """Text that cannot drive a terminal: control, bidirectional and other invisible characters become '?'."""
    return "".join(c if c.isprintable() else "?" for c in text)


def emit(value: Any, human: Callable[[], str], *, as_json: bool, output: Path | None = None) -> None:
    """Print `human()`, or `value` as JSON; with `output`, write the JSON to the file as well."""
    if output:
        write_atomic(output, canonical(value) + b"\n")
    click.echo(canonical(plain(value)).decode() if as_json else human())


def note(text: str) -> None:
    """A remark for the person, on standard error, so that standard output stays parseable."""
    if sys.stderr is not None:  # closed by the caller: `print` would take standard output instead
        print("\n".join(map(clean, text.split("\n"))), file=sys.stderr, flush=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM leaves like Ctrl-C does: through every `finally`, with exit code 143."""

    def leave(number: int, frame: object) -> None:
        note(STOPPED)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _numeric(text: str) -> bool:
    return not text or text[0] in "0123456789-+.≥≤<>∞["
