"""Who signs what a verb writes: the key file that was named, else the user's own where the ledger knows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from scaling.cli import note
from scaling.registry.keyfiles import PASSPHRASE, default_path, load
from scaling.registry.keys import Keyring
from scaling.registry.ledger import Ledger
from scaling.registry.signing import SigningKey


def opened(folder: Path, *, create: bool = True, key: Path | None = None) -> Ledger:
    """The ledger of a folder, signing with `key`, else with the user's own key if it is valid there; what it writes is
    unsigned otherwise, which is told where the ledger has keys."""
    ledger = Ledger(folder, create=create)
    ledger.key = load(key, ask_passphrase) if key else _own(ledger)
    return ledger


def ask_passphrase(path: Path) -> str:
    """Asked without echo; nothing where nobody can answer."""
    if not (sys.stdin and sys.stdin.isatty()):
        return ""
    answer: str = click.prompt(f"passphrase of {path}", hide_input=True, err=True, default="", show_default=False)
    return answer


def ask_new_passphrase(wanted: bool) -> str:
    """The passphrase of a new key: asked twice if wanted, else from the environment; "" for none."""
    if not wanted:
        return os.environ.get(PASSPHRASE, "")
    answer: str = click.prompt("passphrase of the new key", hide_input=True, err=True, confirmation_prompt=True)
    return answer


def _own(ledger: Ledger) -> SigningKey | None:
    ring = ledger.keyring() if (ledger.folder / "entries.jsonl").exists() else Keyring()
    valid = ring.valid
    if not valid:
        if last := max(ring.periods.values(), key=lambda period: period.until or 0, default=None):
            note(f"not signed: key {last.key.id} was {last.ended} in entry {last.until}; another: scaling key new")
        return None
    path = default_path()
    found = load(path, ask_passphrase) if path.exists() else None
    if found is not None and found.public in valid:
        return found
    why = f"your key {found.public.id} is not valid in it" if found else f"there is no key in {path}"
    note(f"not signed: {ledger.folder} has valid keys ({', '.join(k.id for k in valid)}), and {why}")
    return None
