"""Leases: one trial's folder belongs to one living process.

`lease.json` names its owner by host, boot, pid namespace, process id and the process's start time, so that a process id
which was given out again, or means another process in another container, is not taken for its owner. A lease whose
owner is dead is taken over; of one in another container of this machine a lock tells, which the kernel drops with its
holder. Changes to the file happen under such a lock too, so two processes never both believe that they won.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from scaling.errors import InputError, StoreError
from scaling.records import canonical, parse, write_atomic

NAME, GUARD, HELD = "lease.json", ".lease.lock", ".lease.held"
PATIENCE_S = 10.0


class Busy(StoreError):
    """The trial belongs to another living process: not an error of the sweep, only a reason to wait."""


@dataclass(frozen=True)
class Owner:
    pid: int
    start: str  # clock ticks after boot, as the kernel counts them; "" where it does not say
    boot: str
    host: str
    pids: str = ""  # the pid namespace (containers of one machine share its boot); "" where none is known

    @classmethod
    def me(cls) -> Owner:
        return cls(os.getpid(), _start(os.getpid()) or "", _boot(), platform.node(), _pids())

    def alive(self, folder: Path) -> bool:
        """Whether the owner may still be working in its trial's folder. Another host is given the benefit of the
        doubt."""
        if self.boot != _boot():
            return self.host != platform.node()  # the same machine, started anew: everything of before is gone
        if self.pids not in ("", _pids()):
            return _held(folder)
        return _exists(self.pid) and _start(self.pid) in (self.start, None)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def owner(folder: Path) -> Owner | None:
    """The living owner of a trial's folder. An unreadable lease counts as none: its writer died in the middle."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError, InputError, TypeError, OverflowError):
        found = Owner(**parse((folder / NAME).read_bytes(), what=str(folder / NAME)))
        return found if found.alive(folder) else None
    return None


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Own the folder while the block runs; raises `Busy` if another living process does."""
    me, held = Owner.me(), FileLock(folder / HELD, timeout=PATIENCE_S)
    with _guard(folder):
        other = owner(folder)
        if other is not None:
            raise Busy(
                f"trial {folder.name} is being run by {other}",
                f"wait for it; if that machine is gone for good, delete {folder / NAME}",
            )
        _acquire(held)
        # a lease does not outlive its machine's boot: there is nothing to sync
        write_atomic(folder / NAME, canonical(asdict(me)) + b"\n", durable=False)
    try:
        yield
    finally:
        held.release()
        with contextlib.suppress(OSError, StoreError), _guard(folder):
            if owner(folder) == me:
                (folder / NAME).unlink()


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    guard = FileLock(folder / GUARD, timeout=PATIENCE_S)
    _acquire(guard)
    try:
        yield
    finally:
        guard.release()


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(f"{lock.lock_file} stays locked", "is a process stopped in the middle of it?") from None


def _held(folder: Path) -> bool:
    """Whether some process, of whatever container, works in the folder now."""
    try:
        with FileLock(folder / HELD, timeout=0):
            return False
    except Timeout:
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; None where there is no /proc. A zombie has ended: its start is no living one's."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if not Path("/proc/self/stat").exists() else "gone"
    return "gone" if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _pids() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
