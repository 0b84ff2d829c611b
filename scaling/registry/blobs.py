"""Bytes kept under their own SHA-256: `<folder>/<sha256>.<suffix>`, written whole or not at all, checked when read."""

from __future__ import annotations

import os
import re
from pathlib import Path

from scaling import records
from scaling.errors import InputError, LedgerError
from scaling.registry.entries import HEX64

SUFFIX = re.compile(r"\A[a-z0-9]{1,16}\Z")


class Blobs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._put: dict[str, Path] = {}  # by this process: found without listing the folder

    def put(self, data: bytes, suffix: str) -> str:
        """Store the bytes and return their digest; bytes that are there already are left as they are."""
        if not SUFFIX.match(suffix):
            raise InputError(f"blob suffix {suffix!r:.40} is malformed", "use up to 16 of a-z 0-9, as in 'f64'")
        digest = records.sha256(data)
        path = self.folder / f"{digest}.{suffix}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._holds(path, digest):
                records.write_atomic(path, data)
            for folder in (self.folder, self.folder.parent):
                records.sync_folder(folder)
        except OSError as error:
            raise InputError(f"{path} could not be written: {error.strerror or error}") from error
        self._put[digest] = path
        return digest

    def get(self, digest: str) -> bytes:
        paths = self.paths(digest)
        if not paths:
            raise LedgerError(f"no blob {digest} in {self.folder}", "restore it from a copy of the ledger")
        for path in paths:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"{path} could not be read: {error.strerror or error}") from error
            if records.sha256(data) == digest:
                return data
        raise LedgerError(f"{paths[0]} does not hold the bytes of its name", "restore it from a copy of the ledger")

    def paths(self, digest: str) -> list[Path]:
        """The files that bear this digest (one for each suffix it was stored under)."""
        if not HEX64.match(digest):
            raise InputError(f"{digest!r:.80} is not a SHA-256 digest", "64 lower-case hex digits are needed")
        return sorted(self.folder.glob(f"{digest}.*"))

    def sound(self, digest: str) -> bool:
        own = self._put.get(digest)
        return bool(own and self._holds(own, digest)) or any(self._holds(path, digest) for path in self.paths(digest))

    def _holds(self, path: Path, digest: str) -> bool:
        try:
            return path.is_file() and records.file_digest(path) == digest
        except OSError:
            return False


class ListedBlobs(Blobs):
    """The same by a list of the folder that is made once: for a reader of many, while none is added."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._names: dict[str, list[str]] = {}
        try:
            names = os.listdir(folder)
        except OSError:  # of a folder that is not there, or cannot be read, nothing can be found
            names = []
        for name in sorted(names):
            self._names.setdefault(name.partition(".")[0], []).append(name)

    def paths(self, digest: str) -> list[Path]:
        return [self.folder / name for name in self._names.get(digest, ()) if "." in name]
