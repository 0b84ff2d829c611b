"""Where numbers come from: code commit, uncommitted changes, versions, machine, command."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from scaling.records import file_digest

PACKAGES = ("scaling", "numpy", "scipy", "pandas", "sympy", "torch", "transformers", "peft", "safetensors", "typst")
_HOME = Path(__file__).resolve().parent.parent


@cache
def code() -> dict[str, Any]:
    """Commit of the program's checkout and a digest of uncommitted changes (None: clean); where it is no checkout, no
    commit but a digest of the program's own files."""
    top, commit = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "HEAD")
    if commit is None or top is None or Path(top.decode().strip()).resolve() != _HOME:
        return {"commit": None, "uncommitted": None, "files": _files_digest()}
    changes = hashlib.sha256(_git("diff", "HEAD") or b"")
    names = (_git("ls-files", "--others", "--exclude-standard", "-z") or b"").split(b"\0")
    untracked = sorted(n.decode("utf-8", "replace") for n in names if n)
    for name in untracked:
        path = _HOME / name
        changes.update(name.encode() + (file_digest(path).encode() if path.is_file() else b""))
    clean = changes.hexdigest() == hashlib.sha256(b"").hexdigest()
    return {"commit": commit.decode().strip(), "uncommitted": None if clean else changes.hexdigest()}


def versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions, Python's own first. A package that is not installed is left out. Nothing is imported."""
    known = ((name, _version(name)) for name in names)
    return {"python": platform.python_version(), **{name: found for name, found in known if found}}


def machine() -> dict[str, Any]:
    return {"system": platform.system(), "machine": platform.machine(), "cpu": _cpu(), "cores": os.cpu_count()}


def lock_digest() -> str:
    """SHA-256 of constraints.txt beside the program; where there is none, of the sorted lines name==version of all that
    is installed."""
    path = _HOME / "constraints.txt"
    if path.is_file():
        return file_digest(path)
    lines = {f"{d.metadata['Name']}=={d.version}\n" for d in distributions()}
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def command() -> str:
    """The command line that is running, as a shell would take it: what repeats it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def provenance(*, data: dict[str, str], replay: str = "", seed: int | None = None) -> dict[str, Any]:
    """What a prediction says of its making: `data` maps file -> SHA-256, `replay` is the command to repeat it, `seed`
    that of its draws."""
    return {
        "code": code(),
        "lock": lock_digest(),
        "versions": versions(),
        "machine": machine(),
        "data": data,
        "replay": replay,
        "seed": seed,
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _files_digest() -> str:
    """Of every Python file of the program, by its path."""
    found = hashlib.sha256()
    for room in ("fits", "reports", "scaling", "sweeps"):
        for path in sorted((_HOME / room).rglob("*.py")):
            found.update(path.relative_to(_HOME).as_posix().encode() + b"\0" + file_digest(path).encode())
    return found.hexdigest()


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(_HOME), *arguments], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
