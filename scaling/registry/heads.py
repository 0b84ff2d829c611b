"""Heads that were printed earlier, and the file that remembers them: the only sight of a ledger cut or rewritten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scaling import records
from scaling.errors import InputError, LedgerError
from scaling.registry.entries import HEX64, is_time, utc_now
from scaling.registry.journal import Journal, Line, line_before, line_start, read_lines
from scaling.registry.merkle import Checkpoint, Frontier


@dataclass(frozen=True)
class Head:
    """A head printed earlier: so many entries had this root (hex). `where` names who remembers it.

    `origin` is the ledger that it names, where it names one.
    """

    size: int
    root: str
    where: str
    time: str | None = None
    origin: str | None = None


def head_line(head: Checkpoint, time: str) -> bytes:
    return records.canonical({"root": head.root.hex(), "size": head.size, "time": time, "v": 1})


def read_head(line: bytes, where: str) -> Head:
    record = records.parse(line, what=where)
    if not isinstance(record, dict) or set(record) != {"root", "size", "time", "v"} or repr(record["v"]) != "1":
        raise InputError(f"{where} is no remembered head of version 1")
    if records.canonical(record) != line:
        raise InputError(f"{where}: stored bytes are not canonical JSON (RFC 8785)")
    root, size, time = record["root"], record["size"], record["time"]
    if not (
        isinstance(root, str)
        and HEX64.match(root)
        and isinstance(time, str)
        and is_time(time)
        and type(size) is int
        and size >= 0
    ):
        raise InputError(f"{where} is no remembered head: root, size or time is malformed")
    return Head(size, root, where, time)


class Held:
    """Heads printed earlier, to be compared with a ledger while it is read."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._by_size: dict[int, list[Head]] = {}
        for head in heads:
            self._by_size.setdefault(head.size, []).append(head)

    def against(self, frontier: Frontier, origin: str = "") -> Iterator[str]:
        """What is wrong with the entries read so far: a head of so many had another root, or is not of this ledger."""
        if frontier.size in self._by_size:
            root = frontier.root().hex()
            for head in self._by_size[frontier.size]:
                if head.root != root:
                    yield (
                        f"{head.where} says that {head.size} entries had the root {head.root[:16]}..., "
                        f"they now have {root[:16]}...: the ledger was rewritten"
                    )
                elif origin and head.origin not in (None, origin):
                    yield f"{head.where} is of {head.origin}, and this ledger is {origin}: the name was changed"

    def beyond(self, size: int) -> Iterator[str]:
        """What is wrong with a ledger that ends here: heads of more entries."""
        for head in (h for later, found in sorted(self._by_size.items()) if later > size for h in found):
            yield f"{head.where} is of {head.size} entries, only {size} are here: the newest were cut off"

    def check(self, frontier: Frontier, entries: Path) -> None:
        """`against`, as an error."""
        for message in self.against(frontier):
            raise LedgerError(
                f"{entries}: head not consistent: {message}", "restore the file from a copy", index=frontier.size - 1
            )


def check_not_cut(newest: Head | None, size: int, entries: Path) -> None:
    """Refuse to go on from a ledger that is shorter than the newest head remembered."""
    if newest and newest.size > size:
        raise LedgerError(
            f"{entries} has {size} entries, but a head of {newest.size} was printed at {newest.time}: "
            "the newest were cut off",
            "restore the file from a copy",
        )


class Heads:
    """The file of heads, in the order of their sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Journal(path)

    def note(self, head: Checkpoint) -> None:
        """Remember it, unless it is the newest already."""
        with self._file.writing(create=True) as file:
            file.repair()
            last = file.last_line()
            known = self._read(last) if last else None
            if known is None or (known.size, known.root) != (head.size, head.root.hex()):
                file.write(head_line(head, utc_now()))

    def newest(self) -> Head | None:
        with contextlib.suppress(FileNotFoundError), self._file.reading() as (handle, end):
            descriptor = handle.fileno()
            line = line_before(descriptor, line_start(descriptor, end))
            return self._read(line) if line else None
        return None

    def read(self) -> tuple[list[Head], list[str], list[str]]:
        """All of them; what is wrong with their lines, and where; and a torn tail, if there is one."""
        heads: list[Head] = []
        bad: list[str] = []
        torn: list[str] = []
        with contextlib.suppress(FileNotFoundError), self._file.reading() as (handle, end):
            for line in read_lines(handle, end):
                where = f"head {line.index} (line {line.index + 1}, byte {line.offset}) of {self.path.name}"
                try:
                    if line.whole:
                        heads.append(read_head(line.data, where))
                    else:
                        torn.append(f"{where}: {len(line.data)} bytes without a newline")
                except InputError as error:
                    bad.append(str(error))
        return heads, bad, torn

    def held(self) -> Held:
        """All of them, to be compared while the ledger is read. A line that is none raises."""
        heads, bad, _ = self.read()
        for message in bad:
            raise LedgerError(
                f"head not consistent: {message}", "run verify; set the file aside only if a copy of it exists"
            )
        return Held(heads)

    def _read(self, line: Line) -> Head:
        try:
            return read_head(line.data, f"the head at byte {line.offset} of {self.path.name}")
        except InputError as error:
            raise LedgerError(
                str(error), "run verify; set the file aside only if a copy of it exists", offset=line.offset
            ) from None
