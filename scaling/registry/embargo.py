"""A prediction under embargo: a salted hash now, the prediction itself later.

    commitment = SHA-256("scaling-commit-v1\\0" || salt || JCS(prediction)),  salt: 32 random bytes

The `commit` entry holds the commitment and the deadline. Until the `reveal` entry, salt, prediction and draws stand in
a file of mode 0600 beside the ledger's folder, never in it. Without that file nothing can be revealed.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling import records
from scaling.errors import InputError
from scaling.registry.entries import HEX64
from scaling.registry.keyfiles import read_secret, write_secret

COMMIT_TAG = b"scaling-commit-v1\0"


@dataclass(frozen=True)
class Secret:
    """What a commit entry hides: the body of the prediction, and the bytes of the blobs it names."""

    salt: str
    opened: Mapping[str, Any]
    blobs: Mapping[str, bytes]

    @classmethod
    def of(cls, opened: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Secret:
        return cls(secrets.token_bytes(32).hex(), opened, blobs)

    @property
    def commitment(self) -> str:
        return commitment(self.salt, self.opened)

    def keep(self, ledger: Path) -> Path:
        """Write it beside the ledger; this must be durable before the commit is entered."""
        path = path_of(ledger, self.commitment)
        ignore = path.parent / ".gitignore"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not ignore.exists():
            records.write_atomic(ignore, "*\n")
        blobs = {digest: data.hex() for digest, data in self.blobs.items()}
        write_secret(path, records.canonical({"blobs": blobs, "opened": self.opened, "salt": self.salt, "v": 1}))
        return path

    @classmethod
    def read(cls, ledger: Path, wanted: str) -> Secret:
        path = path_of(ledger, wanted)
        stored = records.parse(read_secret(path, "secret", records.MAX_BYTES), what=str(path))
        try:
            found = cls(stored["salt"], stored["opened"], {k: bytes.fromhex(v) for k, v in stored["blobs"].items()})
            sound = found.commitment == wanted and all(records.sha256(v) == k for k, v in found.blobs.items())
        except (KeyError, TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise InputError(f"{path} does not hold what was committed to", "restore it from a copy")
        return found


def commitment(salt: str, opened: Mapping[str, Any]) -> str:
    return records.sha256(COMMIT_TAG + bytes.fromhex(salt) + records.canonical(opened))


def path_of(ledger: Path, wanted: str) -> Path:
    """Where a commit's secret stands: in `<ledger>-secrets`, under its commitment, however the ledger is named."""
    folder = ledger.resolve()  # not `x/..` nor a link, beside which it could stand inside a ledger
    if not folder.name:
        raise InputError(f"{folder} has no folder beside it for secrets", "keep the ledger in a folder of its own")
    return folder.with_name(folder.name + "-secrets") / f"{wanted}.json"


def check_opening(commit: Mapping[str, Any], reveal: Mapping[str, Any]) -> None:
    """A reveal's salt and prediction must give the commit's hash, and keep its deadline."""
    salt, opened = reveal.get("salt"), reveal.get("opened")
    if not (isinstance(salt, str) and HEX64.match(salt) and isinstance(opened, dict)):
        raise InputError("reveal is malformed: a salt of 64 hex digits and the opened prediction are needed")
    promised = commit.get("commitment")
    if not isinstance(promised, str) or not hmac.compare_digest(commitment(salt, opened).encode(), promised.encode()):
        raise InputError("reveal does not match its commit: what is shown is not what was sealed")
    if commit.get("until") != opened.get("until") or reveal.get("blobs", []) != opened.get("blobs", []):
        raise InputError("reveal does not match its commit: its deadline or its blobs are other ones")
