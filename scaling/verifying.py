"""What `scaling verify` checks beside a ledger: a file that left the house, or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling.cli import emit, note
from scaling.errors import InputError
from scaling.registry import Ledger


def verify_file(file: Path, ledger: Ledger | None, *, as_json: bool) -> int:
    from scaling.registry.exported import against, check_file

    checked = check_file(file)
    for warning in checked.warnings:
        note(f"warning: {warning}")
    says = [*checked.says, *(against(checked, ledger) if ledger else filter(None, [checked.alone]))]
    emit({"ok": True, "what": checked.what, "says": says}, lambda: "\n".join([f"good: {checked.what}", *says]),
         as_json=as_json)  # fmt: skip
    return 0


def room(what: str, hint: str) -> Any:
    """What repeats a `run` or a `forecast`, by a room that no import of this one may name: it brings itself as an entry
    point."""
    from importlib.metadata import entry_points

    try:
        return next(iter(entry_points(group="scaling.replay", name=what))).load()
    except (StopIteration, ImportError) as error:
        raise InputError(f"nothing here repeats a {what}: {error or 'no such part is installed'}", hint) from None
