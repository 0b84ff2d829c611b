"""Where entries stand in a long ledger, so that an append need not read it all: a file that may be lost at any time.

It says where to look, never what is there: every hit is read in the ledger itself. What it leaves out nobody would
miss, so it is used only as this program left it (by inode, change time and counter of its file, in `.index.stamp`), and
while the entry it ends with stands where it says; what the ledger has beyond is read on. After a change by anyone else,
a reboot (a power cut may have spoiled it), a restore, or any error of the database it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scaling.registry import recipes
from scaling.registry.entries import HEX64, TAIL, TAIL_BYTES, Kind
from scaling.registry.journal import Line, View, Writer

NAME, STAMP = ".index.sqlite", ".index.stamp"
FROM_BYTES = 4 * 2**20  # a shorter ledger is read through sooner than a database is opened
VERSION = "3"
HASH, NONCE, KIND, ABOUT, RECIPE = range(5)
KEPT = {Kind.KEY, Kind.ANCHOR, Kind.PREDICTION, Kind.COMMIT}  # found by kind
PREDICTED = {Kind.PREDICTION, Kind.COMMIT}
SPECIFYING, SPECIFIES = {Kind.PREDICTION, Kind.REVEAL, Kind.START}, re.compile(rb'"(?:specs|recipe_digests)":\{')
NAMED = re.compile(rb'"(?:prediction|commit)":"([0-9a-f]{64})"')  # the prediction that an entry is about


class Index:
    """The entries of the file that `file` holds locked; `at` gives the offsets where one may stand."""

    def __init__(self, path: Path, file: View) -> None:
        self._path = path
        if _stamp(path) != _read_stamp(path):
            path.unlink(missing_ok=True)
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
        with contextlib.suppress(OSError):  # without it the next one is made anew
            self._path.with_name(STAMP).write_text(_stamp(self._path))

    def hashes(self, prefix: str) -> Iterator[int]:
        """By the first hex digits of a hash, or all."""
        digits = prefix[:16]
        low, high = (_key(bytes.fromhex(digits.ljust(16, fill))) for fill in "0f")
        return self._at(HASH, low, high)

    def nonces(self, nonce: str) -> Iterator[int]:
        return self._at(NONCE, _key(hashlib.sha256(nonce.encode()).digest()))

    def kinds(self, kind: Kind, *, newest_first: bool = False) -> Iterator[int]:
        return self._at(KIND, _kind_key(kind), order="DESC" if newest_first else "ASC")

    def about(self, digest: str) -> Iterator[int]:
        return self._at(ABOUT, _key(bytes.fromhex(digest)))

    def recipes(self, digest: str) -> Iterator[int]:
        return self._at(RECIPE, _key(bytes.fromhex(digest)))

    def _at(self, what: int, low: int, high: int | None = None, order: str = "ASC") -> Iterator[int]:
        rows = self._base.execute(
            f"SELECT offset FROM place WHERE what = ? AND key BETWEEN ? AND ? ORDER BY key, offset {order}",
            (what, low, low if high is None else high),
        )
        return (offset for (offset,) in rows)

    def _catch_up(self, file: View) -> None:
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

    def _places(self, file: View, start: int) -> Iterator[tuple[int, int, int]]:
        for line in file.lines(start):
            if line.whole and (match := TAIL.search(line.data[-TAIL_BYTES:])):
                yield HASH, _key(bytes.fromhex(match["hash"].decode())), line.offset
                yield NONCE, _key(hashlib.sha256(match["nonce"]).digest()), line.offset
                kind = match["kind"].decode()
                if kind in KEPT:
                    yield KIND, _kind_key(Kind(kind)), line.offset
                for digest in _recipes(kind, line):
                    yield RECIPE, _key(bytes.fromhex(digest)), line.offset
                if kind not in PREDICTED:
                    yield from ((ABOUT, _key(bytes.fromhex(d.decode())), line.offset) for d in NAMED.findall(line.data))


@contextlib.contextmanager
def opened(path: Path, file: View) -> Iterator[Index | None]:
    """The index of a long ledger, brought up to date; None: the ledger is short, or no index can be had."""
    if file.size < FROM_BYTES or not isinstance(file, Writer):
        yield None
        return
    index = None
    for _ in range(2):
        try:
            index = Index(path, file)
            break
        except (sqlite3.Error, ValueError, OSError):
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
    """Lines that may be the ones sought: those the index names, or, without one, those that hold the text. No file: no
    lines."""

    file: View | None
    index: Index | None = None

    def hash(self, prefix: str) -> Iterator[Line]:
        return self._found(b'"hash":"%s' % prefix.encode(), self.index.hashes(prefix) if self.index else None)

    def nonce(self, nonce: str) -> Iterator[Line]:
        return self._found(b'"nonce":"%s"' % nonce.encode(), self.index.nonces(nonce) if self.index else None)

    def kind(self, kind: Kind) -> Iterator[Line]:
        return self._found(b'"kind":"%s"' % kind.encode(), self.index.kinds(kind) if self.index else None)

    def newest(self, kind: Kind) -> Iterator[Line]:
        """Of this kind, the last of the file first."""
        needle = b'"kind":"%s"' % kind.encode()
        if self.index:
            return self._found(needle, self.index.kinds(kind, newest_first=True))
        return iter(list(self._found(needle, None))[::-1])

    def about(self, digest: str) -> Iterator[Line]:
        """That name this prediction or commit."""
        return self._found(b'":"%s"' % digest.encode(), self.index.about(digest) if self.index else None)

    def recipe(self, digest: str) -> Iterator[Line]:
        """That may be about a run by this recipe, or start one."""
        return self._found(SPECIFIES, self.index.recipes(digest) if self.index else None)

    def _found(self, needle: bytes | re.Pattern[bytes], offsets: Iterator[int] | None) -> Iterator[Line]:
        if self.file is None:
            return iter(())
        if offsets is None:
            lines = self.file.lines()
        else:
            file = self.file
            there = (next(file.lines(offset), None) for offset in offsets)
            lines = (replace(line, index=-1) for line in there if line)
        if isinstance(needle, bytes):
            return (line for line in lines if line.whole and needle in line.data)
        return (line for line in lines if line.whole and needle.search(line.data))


def _stamp(path: Path) -> str:
    """What changes with the database's file, whoever changes it; "" of none."""
    try:
        with open(path, "rb") as file:
            state, counter = os.fstat(file.fileno()), file.read(28)[24:]
    except FileNotFoundError:
        return ""
    return f"{state.st_ino} {state.st_size} {state.st_ctime_ns} {counter.hex()}"


def _read_stamp(path: Path) -> str:
    try:
        return path.with_name(STAMP).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)


def _recipes(kind: str, line: Line) -> Iterator[str]:
    if kind in SPECIFYING and SPECIFIES.search(line.data):
        try:
            digests = recipes.named(Kind(kind), json.loads(line.data)["body"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return  # verify says what it is
        yield from filter(HEX64.match, digests)


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
