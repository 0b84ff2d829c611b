"""What `scaling verify` checks beside a ledger: a file that left the house, or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.cli import clean, emit, lines, note
from scaling.errors import InputError, NotChecked
from scaling.registry import Ledger

if TYPE_CHECKING:
    from scaling.registry.exported import Checked


def verify_file(file: Path, ledger: Ledger | None, *, as_json: bool) -> int:
    from scaling.registry.exported import against, check_file

    checked = check_file(file)
    for warning in checked.warnings:
        note(clean(f"warning: {warning}"))
    what, says = checked.what, list(checked.says)
    body: dict[str, Any] = {"ok": True, "what": what}
    first, code = "good", 0
    if checked.model is not None:
        try:
            unchecked, found = _page(file, checked)
            what += ": the claims hold"
            what += f"; the page itself was NOT checked: {unchecked}" if unchecked else ", and the page says them"
        except NotChecked as error:
            unchecked, found = error.message, [error.hint]
            what += f": {unchecked}"
            first, code = "NOT CHECKED", error.exit_code
        says += found
        body |= {"ok": not code, "page_checked": not unchecked}
        body |= {"unchecked": unchecked} if unchecked else {}
    says += against(checked, ledger) if ledger else filter(None, [checked.alone])
    emit({**body, "says": says}, lambda: lines([f"{first}: {what}", *says]), as_json=as_json)
    return code


def _page(file: Path, checked: Checked) -> tuple[str, list[str]]:
    """Why a report's page was not checked, and what was found: by the room that draws it, if it is installed."""
    from importlib.metadata import entry_points

    try:
        check = next(iter(entry_points(group="scaling.reports"))).load()
    except (StopIteration, ImportError) as error:
        return f"{error or 'the part that draws reports is not installed'}", []
    found: tuple[str, list[str]] = check(file, checked.model, checked.proven)
    return found


def room(what: str, hint: str) -> Any:
    """What repeats a `run` or a `forecast`, by a room that no import of this one may name: it brings itself as an entry
    point."""
    from importlib.metadata import entry_points

    try:
        return next(iter(entry_points(group="scaling.replay", name=what))).load()
    except (StopIteration, ImportError) as error:
        raise InputError(f"nothing here repeats a {what}: {error or 'no such part is installed'}", hint) from None
