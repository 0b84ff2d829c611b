"""Entries of a ledger that is held locked, found by what stands in them; each is read strictly where it stands. Their
links, and all other entries, are not checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.registry import keys, recipes
from scaling.registry.embargo import check_opening
from scaling.registry.entries import HEX64, Entry, Kind, read_entry
from scaling.registry.index import Search
from scaling.registry.journal import Line, View
from scaling.registry.keys import Keyring
from scaling.registry.references import PREDICTED, references


@dataclass(frozen=True)
class Lookup:
    seek: Search
    folder: Path

    def of_nonce(self, nonce: str) -> Entry | None:
        return next((entry for entry in self._read(self.seek.nonce(nonce)) if entry.nonce == nonce), None)

    def of_hash(self, digest: object) -> Entry | None:
        if not isinstance(digest, str) or not HEX64.match(digest):
            return None
        return next(self.of_prefix(digest), None)

    def of_prefix(self, prefix: str) -> Iterator[Entry]:
        return (entry for entry in self._read(self.seek.hash(prefix)) if entry.hash.startswith(prefix))

    def of_kind(self, kind: Kind) -> Iterator[Entry]:
        return (entry for entry in self._read(self.seek.kind(kind)) if entry.kind == kind)

    def about(self, entry: Entry) -> list[Entry]:
        """A prediction, all that names it, and the anchors (which say when it was seen), in order."""
        named = (e for e in self._read(self.seek.about(entry.hash)) if e.kind not in PREDICTED)
        found = [e for e in named if entry.hash in (e.prediction, e.body.get("commit")) and e.kind != Kind.ANCHOR]
        return sorted([entry, *found, *self.of_kind(Kind.ANCHOR)], key=lambda e: e.seq)

    def of_recipes(self, digests: Iterable[str]) -> list[Entry]:
        """The predictions about runs by one of these recipes, or with starts by one; each once."""
        about: dict[object, None] = {}
        for digest in digests:
            for e in self._read(self.seek.recipe(digest)):
                if digest in recipes.named(e.kind, e.body):
                    about[e.hash if e.kind == Kind.PREDICTION else e.prediction or e.body.get("commit")] = None
        found = [self.of_hash(name) for name in about]
        return [entry for entry in found if entry and entry.kind in PREDICTED]

    def newest(self, kind: Kind) -> Iterator[Entry]:
        """Of this kind, the newest first."""
        return (entry for entry in self._read(self.seek.newest(kind)) if entry.kind == kind)

    def _read(self, lines: Iterator[Line]) -> Iterator[Entry]:
        file = self.seek.file
        return (read_at(file, line) for line in lines) if file else iter(())

    def keyring(self) -> Keyring:
        return keys.followed(list(self.of_kind(Kind.KEY)))

    def check_references(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Refuse what `verify` would name for ever: a reference to an entry that is not there, or not of its kind."""
        for reference in references(kind, body):
            found = self.of_hash(reference.hash)
            if found is None or found.kind not in reference.kinds:
                raise InputError(f"{reference.dangling} in {self.folder}", reference.hint)
            if reference.opened and found.kind == Kind.COMMIT and not self._is_opened(found):
                raise InputError(f"{reference.sealed} in {self.folder}", f"first: scaling reveal {found.hash[:12]}")
            if kind == Kind.REVEAL:
                check_opening(found.body, body)

    def _is_opened(self, commit: Entry) -> bool:
        return any(
            e.kind == Kind.REVEAL
            for e in self._read(self.seek.about(commit.hash))
            if e.body.get("commit") == commit.hash
        )


def read_at(file: View, line: Line) -> Entry:
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
