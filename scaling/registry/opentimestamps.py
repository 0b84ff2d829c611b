"""OpenTimestamps: an imported `.ots` file, read strictly. (Format: github.com/opentimestamps, DetachedTimestampFile.)

    magic (31 bytes), version 1, 0x08 (SHA-256), digest of the file (32 bytes), timestamp
    timestamp = { 0xff step } step;   step = 0x00 attestation | operation timestamp
    operation = 0xf0 append x | 0xf1 prepend x | 0xf2 reverse | 0xf3 hexlify | 0x02 SHA-1 | 0x03 RIPEMD-160 |
                0x08 SHA-256 | 0x67 Keccak-256
    attestation = tag (8 bytes), payload

The operations lead from the digest to what each attestation is about: a promise of a calendar (pending), or the Merkle
root of a Bitcoin block. No block is looked up here: whether it exists, and when it was found, is not verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling.errors import InputError
from scaling.registry.anchors import SUFFIXES, Anchor, Finding, Method, Standing, head_of_digest

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger

MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
MAX_FILE = 2**20
MAX_MESSAGE, MAX_PAYLOAD, MAX_URI, MAX_DEPTH = 4096, 8192, 1000, 256
BITCOIN, PENDING = bytes.fromhex("0588960d73d71901"), bytes.fromhex("83dfe30d2ef90c8e")
URI_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")
SHA256 = 0x08


@dataclass(frozen=True)
class Attestation:
    """`message` is what the operations lead to; None behind one that is not computed here (RIPEMD-160, Keccak)."""

    tag: bytes
    payload: bytes
    message: bytes | None

    @property
    def calendar(self) -> str | None:
        return _Reader(self.payload).varbytes(MAX_URI).decode() if self.tag == PENDING else None

    @property
    def block(self) -> int | None:
        return _Reader(self.payload).varuint() if self.tag == BITCOIN else None

    @property
    def merkle_root(self) -> str | None:
        """As block explorers print it: bytes reversed."""
        return self.message[::-1].hex() if self.block is not None and self.message else None


@dataclass(frozen=True)
class Proof:
    digest: bytes
    attestations: tuple[Attestation, ...]


def read(data: bytes) -> Proof:
    """Read an .ots file to its last byte, or say what is wrong with it and where."""
    if len(data) > MAX_FILE:
        raise InputError(f"the .ots file is longer than {MAX_FILE >> 10} KiB")
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise InputError("this is no OpenTimestamps proof: it does not begin as one")
    if (version := reader.varuint()) != 1:
        raise InputError(f"the .ots file has version {version}, this program reads version 1")
    if (operation := reader.byte()) != SHA256:
        raise InputError(f"the .ots file is over a digest of kind 0x{operation:02x}", "stamp by SHA-256")
    digest = reader.take(32)
    found: list[Attestation] = []
    _walk(reader, digest, found, 0)
    if reader.left:
        raise InputError(f"the .ots file has {reader.left} bytes after its end")
    return Proof(digest, tuple(found))


def anchor(ledger: Ledger, data: bytes) -> Anchor:
    """The anchor of an .ots file over a head of this ledger; the file is stored as a blob."""
    proof = read(data)
    head = head_of_digest(ledger, proof.digest, "the .ots file")
    stored = ledger.put_blob(data, SUFFIXES["proof"])
    return Anchor(Method.OPENTIMESTAMPS, head, {"proof": stored}, (stored,))


def check(anchor: Anchor, blob: Callable[[str], bytes]) -> Finding:
    if "proof" not in anchor.evidence:
        raise InputError("its evidence names no proof")
    proof = read(blob(str(anchor.evidence["proof"])))
    if proof.digest != hashlib.sha256(anchor.text).digest():
        raise InputError("the .ots file is over another text than the head")
    blocks = sorted({(a.block, a.merkle_root) for a in proof.attestations if a.block is not None and a.merkle_root})
    calendars = sorted({a.calendar for a in proof.attestations if a.calendar})
    others = sum(a.block is None and a.calendar is None for a in proof.attestations)
    parts = [f"the Merkle root {root} of Bitcoin block {block}" for block, root in blocks]
    parts += [f"a promise of the calendar {calendar}" for calendar in calendars]
    parts += [f"{others} attestations of kinds unknown here"] if others else []
    unverified = (
        "that this block exists and when it was found is NOT verified here (compare with a block header you trust)"
        if blocks
        else "this is no proof yet (run `ots upgrade` and import the file again)"
    )
    return Finding(
        Standing.NOT_PROVEN,
        f"The OpenTimestamps file leads from the head of {anchor.head.size} entries to {' and '.join(parts)}, and "
        f"{unverified}.",
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise InputError(f"the .ots file ends at byte {len(self._data)}, in the middle of a value")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varuint(self) -> int:
        """LEB128, at most 63 bits, in its shortest form."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                if shift > 7 and not byte:
                    raise InputError(f"the .ots file has a number that is not in its shortest form at byte {self._at}")
                return value
            if shift > 56:
                raise InputError(f"the .ots file has a number that is too long at byte {self._at}")

    def varbytes(self, longest: int, shortest: int = 0) -> bytes:
        length = self.varuint()
        if not shortest <= length <= longest:
            raise InputError(f"the .ots file has a value of {length} bytes at byte {self._at}, {longest} are allowed")
        return self.take(length)


def _walk(reader: _Reader, message: bytes | None, found: list[Attestation], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"the .ots file has more than {MAX_DEPTH} operations in a row")
    tag = reader.byte()
    while tag == 0xFF:
        _step(reader, reader.byte(), message, found, depth)
        tag = reader.byte()
    _step(reader, tag, message, found, depth)


def _step(reader: _Reader, tag: int, message: bytes | None, found: list[Attestation], depth: int) -> None:
    if tag:
        _walk(reader, _operation(reader, tag, message), found, depth + 1)
    else:
        found.append(_attestation(reader.take(8), reader.varbytes(MAX_PAYLOAD), message))


def _operation(reader: _Reader, tag: int, message: bytes | None) -> bytes | None:
    if tag in (0xF0, 0xF1):
        argument = reader.varbytes(MAX_MESSAGE, 1)
        made = None if message is None else message + argument if tag == 0xF0 else argument + message
    elif tag == 0xF2:
        made = message and message[::-1]
    elif tag == 0xF3:
        made = message and message.hex().encode()
    elif tag in (0x02, SHA256):
        made = message and hashlib.new("sha1" if tag == 0x02 else "sha256", message).digest()
    elif tag in (0x03, 0x67):
        made = None
    else:
        raise InputError(f"the .ots file has an unknown operation 0x{tag:02x}")
    if made is not None and len(made) > MAX_MESSAGE:
        raise InputError(f"the .ots file makes a message of {len(made)} bytes, {MAX_MESSAGE} are allowed")
    return made


def _attestation(tag: bytes, payload: bytes, message: bytes | None) -> Attestation:
    inner = _Reader(payload)
    if tag == BITCOIN:
        inner.varuint()
        if message is not None and len(message) != 32:
            raise InputError(f"the .ots file takes {len(message)} bytes for the Merkle root of a block")
    elif tag == PENDING and not URI_CHARACTERS.issuperset(inner.varbytes(MAX_URI)):
        raise InputError("the .ots file names a calendar by an address that is none")
    if tag in (BITCOIN, PENDING) and inner.left:
        raise InputError("the .ots file has an attestation with bytes after its end")
    return Attestation(tag, payload, message)
