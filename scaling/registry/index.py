"""Where entries stand in a long ledger, so that an append need not read it all: a file that may be lost at any time.

It says where to look, never what is there: every hit is read in the ledger itself. It is used only while the entry it
ends with stands where it says; what the ledger has beyond is read on; after a reboot (a power cut may have spoiled it),
a restore, or any error of the database it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scaling.registry.entries import TAIL, TAIL_BYTES, Kind
from scaling.registry.journal import Line, Writer

NAME = ".index.sqlite"
FROM_BYTES = 4 * 2**20  # a shorter ledger is read through sooner than a database is opened
VERSION = "1"
HASH, NONCE, KIND = range(3)
KEPT = {Kind.KEY, Kind.REVEAL}  # found by kind: few, and appends ask for them


class Index:
    """The entries of the file that `file` holds locked; `at` gives the offsets where one may stand."""

    def __init__(self, path: Path, file: Writer) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute("BEGIN IMMEDIATE")
        self._base.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS place (what INTEGER, key INTEGER, offset INTEGER, "
            "PRIMARY KEY (what, key, offset)) WITHOUT ROWID"
        )
        self._catch_up(file)

    def close(self) -> None:
        self._base.execute("COMMIT")
        self._base.close()

    def hashes(self, digest: str) -> list[int]:
        return self._at(HASH, _key(bytes.fromhex(digest)))

    def nonces(self, nonce: str) -> list[int]:
        return self._at(NONCE, _key(hashlib.sha256(nonce.encode()).digest()))

    def kinds(self, kind: Kind) -> list[int]:
        return self._at(KIND, _kind_key(kind))

    def _at(self, what: int, key: int) -> list[int]:
        rows = self._base.execute("SELECT offset FROM place WHERE what = ? AND key = ? ORDER BY offset", (what, key))
        return [offset for (offset,) in rows]

    def _catch_up(self, file: Writer) -> None:
        state = dict(self._base.execute("SELECT name, value FROM state"))
        covered, stamp = int(state.get("covered", 0)), [VERSION, _boot()]
        last = file.line_before(covered) if 0 < covered <= file.size else None
        if [state.get("version"), state.get("boot")] != stamp or last is None or _hash(last) != state.get("last"):
            self._base.execute("DELETE FROM place")
            covered, last = 0, None
        self._base.executemany("INSERT OR IGNORE INTO place VALUES (?, ?, ?)", self._places(file, covered))
        if (line := file.last_line()) is not None and (found := _hash(line)) is not None:
            end = line.offset + len(line.data) + 1
            new = {"version": VERSION, "boot": _boot(), "covered": end, "last": found}
            self._base.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", new.items())

    def _places(self, file: Writer, start: int) -> Iterator[tuple[int, int, int]]:
        for line in file.lines(start):
            if line.whole and (match := TAIL.search(line.data[-TAIL_BYTES:])):
                yield HASH, _key(bytes.fromhex(match["hash"].decode())), line.offset
                yield NONCE, _key(hashlib.sha256(match["nonce"]).digest()), line.offset
                if match["kind"].decode() in KEPT:
                    yield KIND, _kind_key(Kind(match["kind"].decode())), line.offset


@contextlib.contextmanager
def opened(path: Path, file: Writer) -> Iterator[Index | None]:
    """The index of a long ledger, brought up to date; None: the ledger is short, or no index can be had."""
    if file.size < FROM_BYTES:
        yield None
        return
    index = None
    for _ in range(2):
        try:
            index = Index(path, file)
            break
        except (sqlite3.Error, ValueError):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    try:
        yield index
    finally:
        if index:
            with contextlib.suppress(sqlite3.Error):
                index.close()


@dataclass(frozen=True)
class Search:
    """Lines that may be the ones sought: those the index names, or, without one, those that hold the text."""

    file: Writer
    index: Index | None

    def hash(self, digest: str) -> Iterator[Line]:
        return self._found(b'"hash":"%s"' % digest.encode(), self.index.hashes(digest) if self.index else None)

    def nonce(self, nonce: str) -> Iterator[Line]:
        return self._found(b'"nonce":"%s"' % nonce.encode(), self.index.nonces(nonce) if self.index else None)

    def kind(self, kind: Kind) -> Iterator[Line]:
        return self._found(b'"kind":"%s"' % kind.encode(), self.index.kinds(kind) if self.index else None)

    def _found(self, needle: bytes, offsets: list[int] | None) -> Iterator[Line]:
        if offsets is None:
            lines = self.file.lines()
        else:
            there = (next(self.file.lines(offset), None) for offset in offsets)
            lines = (replace(line, index=-1) for line in there if line)
        return (line for line in lines if line.whole and needle in line.data)


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)


def _kind_key(kind: Kind) -> int:
    return list(Kind).index(kind)


def _hash(line: Line) -> str | None:
    match = TAIL.search(line.data[-TAIL_BYTES:])
    return match["hash"].decode() if match else None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
