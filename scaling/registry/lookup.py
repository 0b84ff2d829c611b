"""Entries of a ledger that is held locked, found by what stands in them; each is read strictly where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.registry import keys
from scaling.registry.embargo import check_opening
from scaling.registry.entries import HEX64, Entry, Kind, read_entry
from scaling.registry.index import Search
from scaling.registry.journal import Line, Writer
from scaling.registry.keys import Keyring
from scaling.registry.references import references


@dataclass(frozen=True)
class Lookup:
    seek: Search

    def of_nonce(self, nonce: str) -> Entry | None:
        candidates = (read_at(self.seek.file, line) for line in self.seek.nonce(nonce))
        return next((entry for entry in candidates if entry.nonce == nonce), None)

    def of_hash(self, digest: object) -> Entry | None:
        if not isinstance(digest, str) or not HEX64.match(digest):
            return None
        candidates = (read_at(self.seek.file, line) for line in self.seek.hash(digest))
        return next((entry for entry in candidates if entry.hash == digest), None)

    def of_kind(self, kind: Kind) -> Iterator[Entry]:
        candidates = (read_at(self.seek.file, line) for line in self.seek.kind(kind))
        return (entry for entry in candidates if entry.kind == kind)

    def keyring(self) -> Keyring:
        return keys.followed(list(self.of_kind(Kind.KEY)))

    def check_references(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Refuse what `verify` would name for ever: a reference to an entry that is not there, or not of its kind."""
        folder = self.seek.file.path.parent
        for reference in references(kind, body):
            found = self.of_hash(reference.hash)
            if found is None or found.kind not in reference.kinds:
                raise InputError(f"{reference.dangling} in {folder}", reference.hint)
            if reference.opened and found.kind == Kind.COMMIT and not self._is_opened(found.hash):
                raise InputError(f"{reference.sealed} in {folder}", f"first: scaling reveal {found.hash[:12]}")
            if kind == Kind.REVEAL:
                check_opening(found.body, body)

    def _is_opened(self, digest: str) -> bool:
        return any(entry.body.get("commit") == digest for entry in self.of_kind(Kind.REVEAL))


def read_at(file: Writer, line: Line) -> Entry:
    try:
        return read_entry(line.data)
    except InputError as error:
        if line.index < 0:  # found by its offset: count only now
            line = next(other for other in file.lines() if other.offset == line.offset)
        raise placed(line, error, file.path) from None


def placed(line: Line, error: InputError, path: Path) -> LedgerError:
    return LedgerError(
        f"{path}: entry {line.index} (line {line.index + 1}, byte {line.offset}): {error.message}",
        "run verify for the full list; restore the file from a copy",
        index=line.index,
        line=line.index + 1,
        offset=line.offset,
    )
