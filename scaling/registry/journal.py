"""A file of lines that only grows, shared by many processes, and whole after any crash.

Writers hold an exclusive lock on the file itself; readers hold a shared one only while they note its length, so what
they read is never half a write. A line without its newline is a **torn tail**: the trace of an append that died. The
next writer moves it to `torn-<ns>` beside the file. Whole lines are never touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scaling import records
from scaling.errors import InputError, LedgerError

MAX_LINE = 4 * 2**20
LOCK_PATIENCE_S = 30.0
LOCK_POLL_S = 0.005
BLOCK = 64 * 2**10
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
HINTS = {
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some space, then try again",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EROFS: "the file system is read-only",
    errno.ELOOP: "it is a symbolic link: name the real file's folder",
}
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


class Unwritable(InputError):
    """A file or its folder that may be read and not be written."""


@dataclass(frozen=True)
class Line:
    """One line without its newline, and its place. `whole` is false for a torn tail; at most MAX_LINE + 1 bytes."""

    index: int
    offset: int
    data: bytes
    whole: bool


class Journal:
    """The file by its path; nothing is opened until it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def reading(self) -> Iterator[tuple[BinaryIO, int]]:
        """The file and the length at which no append was under way. A missing file raises FileNotFoundError."""
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as descriptor, _io_errors(self.path, "read"):
            size = os.fstat(descriptor).st_size
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            with os.fdopen(descriptor, "rb", closefd=False) as handle:
                yield handle, size

    @contextlib.contextmanager
    def writing(self, *, create: bool) -> Iterator[Writer]:
        """The file under an exclusive lock, made with its folder if `create`."""
        if create:
            with _io_errors(self.path, "created"):
                _make_folder(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
        with self._locked(flags, fcntl.LOCK_EX) as descriptor, _io_errors(self.path, "written"):
            yield Writer(self.path, descriptor)

    @contextlib.contextmanager
    def looking(self) -> Iterator[View]:
        """The file while nobody writes it; a `Writer` where this process could. A missing file: FileNotFoundError."""
        with contextlib.ExitStack() as stack:
            try:
                view: View = stack.enter_context(self.writing(create=False))
            except InputError as error:
                if getattr(error.__cause__, "errno", None) not in READ_ONLY:
                    raise
                descriptor = stack.enter_context(self._locked(os.O_RDONLY, fcntl.LOCK_SH))
                view = View(self.path, descriptor)
            with _io_errors(self.path, "read"):
                yield view

    @contextlib.contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            with _io_errors(self.path, "opened", missing=not flags & os.O_CREAT):
                # NOFOLLOW, NONBLOCK: neither led elsewhere by a planted link nor kept waiting by a planted pipe
                try:
                    descriptor = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
                except IsADirectoryError:
                    raise InputError(f"{self.path} is not a plain file") from None
            try:
                with _io_errors(self.path, "locked"):
                    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                        raise InputError(f"{self.path} is not a plain file")
                    self._wait_for(descriptor, lock, deadline)
                    current = self._is_current(descriptor)
                if current:
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _wait_for(self, descriptor: int, lock: int, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{self.path} is still locked by another process after {LOCK_PATIENCE_S:g} s",
                        "wait until it has finished, then try again",
                    ) from None
                time.sleep(LOCK_POLL_S)

    def _is_current(self, descriptor: int) -> bool:
        """False if the path was given another file (a restore, a checkout) while we waited for the lock."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


class View:
    """A file that nobody else writes meanwhile, to be read at any place."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def torn(self) -> bool:
        size = self.size
        return line_start(self._descriptor, size) != size

    def last_line(self) -> Line | None:
        """The last whole line (its index is not known: -1)."""
        return self.line_before(line_start(self._descriptor, self.size))

    def line_before(self, end: int) -> Line | None:
        """The line that ends, newline included, at byte `end`."""
        return line_before(self._descriptor, end)

    def holds(self, line: bytes, end: int) -> bool:
        """Whether this line, with its newline, ends at byte `end`."""
        start = end - len(line) - 1
        return start >= 0 and os.pread(self._descriptor, len(line) + 1, start) == line + b"\n"

    def lines(self, start: int = 0) -> Iterator[Line]:
        """All lines, or those from byte `start` on (their index counts from there). One such walk at a time."""
        with open(self._descriptor, "rb", closefd=False) as handle:
            handle.seek(start)
            yield from read_lines(handle, self.size, start)


class Writer(View):
    """What may be done under the exclusive lock, in this order: repair, read the last line, write."""

    def repair(self, completes: Callable[[bytes, Line | None], bool] = lambda tail, last: False) -> None:
        """Give a torn tail its newline if it `completes` the file (only that was lost), else move it to `torn-<ns>`."""
        end = self.size
        start = line_start(self._descriptor, end)
        if start == end:
            return
        tail = os.pread(self._descriptor, end - start, start)
        if completes(tail, self.line_before(start)):
            self.write(b"")
            return
        name = time.time_ns()
        while (saved := self.path.parent / f"torn-{name}").exists():
            name += 1
        records.write_atomic(saved, tail)
        os.ftruncate(self._descriptor, start)
        os.fsync(self._descriptor)

    def sync(self) -> None:
        """Make what stands in the file durable (a reader may have seen what a dead writer never synced)."""
        os.fsync(self._descriptor)

    def write(self, line: bytes, *, retry: str = "try again") -> None:
        """Append one line and make it durable; on an error undo it, or say that its fate is unknown."""
        start = self.size
        try:
            if start == 0:  # the file's name must be durable before anything in it is acknowledged
                records.sync_folder(self.path.parent)
            written = os.write(self._descriptor, line + b"\n")
            if written != len(line) + 1:
                raise OSError(errno.ENOSPC, f"only {written} of {len(line) + 1} bytes fitted")
            os.fsync(self._descriptor)
        except OSError as error:
            try:
                if self.size != start:
                    os.ftruncate(self._descriptor, start)
                    os.fsync(self._descriptor)
            except OSError:
                raise LedgerError(
                    f"{self.path}: writing failed ({error.strerror}) and could not be undone; whether "
                    "the new line is on disk is unknown",
                    f"read the file again, then {retry}",
                    offset=start,
                ) from error
            raise InputError(
                f"nothing was appended to {self.path}: {error.strerror}", HINTS.get(error.errno or 0, retry)
            ) from error


def line_before(descriptor: int, end: int) -> Line | None:
    if end == 0:
        return None
    start = line_start(descriptor, end - 1)
    return Line(-1, start, os.pread(descriptor, end - 1 - start, start), True)


def line_start(descriptor: int, end: int) -> int:
    """Offset behind the last newline before `end`, read backwards: an append costs the same in a long file."""
    position = end
    while position > 0:
        step = min(BLOCK, position)
        found = os.pread(descriptor, step, position - step).rfind(b"\n")
        position -= step
        if found >= 0:
            return position + found + 1
        if end - position > MAX_LINE:
            raise LedgerError(
                f"no line ends in the {MAX_LINE >> 20} MiB before byte {end}",
                "this is no ledger, or it was overwritten: restore it from a copy",
                offset=position,
            )
    return 0


def read_lines(handle: BinaryIO, end: int, offset: int = 0) -> Iterator[Line]:
    """Lines of a file from where it stands up to byte `end`. Of an over-long one only the beginning is kept."""
    index = 0
    while offset < end:
        data = piece = handle.readline(min(MAX_LINE + 1, end - offset))
        length = len(data)
        while piece and not piece.endswith(b"\n") and offset + length < end:
            piece = handle.readline(min(MAX_LINE + 1, end - offset - length))
            length += len(piece)
        if not piece and not length:
            return  # the file has shrunk under us
        yield Line(index, offset, data.removesuffix(b"\n"), piece.endswith(b"\n"))
        offset, index = offset + length, index + 1


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        records.sync_folder(folder.parent)


@contextlib.contextmanager
def _io_errors(path: Path, verb: str, *, missing: bool = False) -> Iterator[None]:
    """Failures of the system as one sentence; `missing` lets FileNotFoundError through."""
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise
        kind = Unwritable if error.errno in UNWRITABLE else InputError
        raise kind(f"{path} could not be {verb}: {error.strerror or error}", HINTS.get(error.errno or 0, "")) from error
