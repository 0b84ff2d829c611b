"""One line of the ledger: what an entry holds, its hash, its strict reading, and the seeds bound to it.

    line = JCS {body, hash, kind, nonce, prev, seq, sig, time, v}
    hash = SHA-256("scaling-entry-v1\\0" || JCS(all but hash and sig))
    prev = hash of the entry before, 64 zeros for the first

`sig` is null (unsigned) or an Ed25519 signature of JCS(all but hash and sig), 128 lower-case hex digits (signing.py);
whose, the key entries before it say (keys.py). JCS is RFC 8785 canonical JSON.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scaling import records
from scaling.errors import InputError

VERSION = 1
GENESIS = "0" * 64  # `prev` of the first entry
HASH_TAG = b"scaling-entry-v1\0"
SEED_TAG = b"scaling-seed-v1\0"
HEX64 = re.compile(r"\A[0-9a-f]{64}\Z")
SIGNATURE = re.compile(r"\A[0-9a-f]{128}\Z")
NONCE = re.compile(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
TIME = re.compile(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z", re.ASCII)
TAIL = re.compile(
    rb',"hash":"(?P<hash>[0-9a-f]{64})","kind":"(?P<kind>[a-z]+)","nonce":"(?P<nonce>[a-z0-9][a-z0-9._-]{0,63})",'
    rb'"prev":"(?P<prev>[0-9a-f]{64})","seq":(?P<seq>0|[1-9][0-9]{0,14}),"sig":(?P<sig>null|"[0-9a-f]{128}"),'
    rb'"time":"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)","v":1}\Z'
)  # of a line behind its body
TAIL_BYTES = 600
FIELDS = {"body", "hash", "kind", "nonce", "prev", "seq", "sig", "time", "v"}


class Kind(enum.StrEnum):
    KEY = "key"
    PREDICTION = "prediction"
    START = "start"  # of a target run: those never resolved stay visible
    OUTCOME = "outcome"
    AMEND = "amend"
    WITHDRAW = "withdraw"
    COMMIT = "commit"  # embargo: a salted hash, opened later by `reveal`
    REVEAL = "reveal"
    ANCHOR = "anchor"


KINDS = {str(kind): kind for kind in Kind}


@dataclass(frozen=True)
class Entry:
    """One entry as stored. `line` is its canonical bytes (no newline), the data of its Merkle leaf."""

    seq: int
    time: str  # UTC, ISO 8601 with microseconds: by the writer's own clock, so it proves nothing
    kind: Kind
    nonce: str
    prev: str
    body: Mapping[str, Any] = field(compare=False)
    hash: str
    line: bytes
    sig: str | None = None
    v: int = VERSION

    @property
    def content(self) -> bytes:
        """JCS(all but hash and sig): what is hashed and signed. The line, with these two taken out."""
        fields = (self.kind, self.nonce, self.prev, self.seq, self.time)
        return self.line[: -len(_tail(*fields, self.hash, self.sig))] + _tail(*fields)

    @property
    def prediction(self) -> str | None:
        """Hash of the prediction this entry refers to, if any."""
        found = self.body.get("prediction")
        return found if isinstance(found, str) else None


def make_entry(
    kind: Kind,
    body: Mapping[str, Any],
    nonce: str,
    time: str,
    previous: Entry | None,
    sign: Callable[[bytes], str] | None = None,
) -> Entry:
    """The entry that follows `previous`, unsigned unless there is a `sign`; exactly what a reader of its line gets."""
    seq, prev = (previous.seq + 1, previous.hash) if previous else (0, GENESIS)
    written = b'{"body":' + records.canonical(body)
    content = written + _tail(kind, nonce, prev, seq, time)
    signature = sign(content) if sign else None
    return read_entry(written + _tail(kind, nonce, prev, seq, time, records.sha256(HASH_TAG + content), signature))


def read_entry(line: bytes) -> Entry:
    """Read one line strictly: the stored bytes must be the canonical bytes, and the hash must be theirs."""
    return _read_usual(line) or _read_any(line)


def _read_usual(line: bytes) -> Entry | None:
    """A line as almost all are: what follows its body is a fixed form. None: read it in full, to say what is wrong."""
    found = TAIL.search(line, max(0, len(line) - TAIL_BYTES))
    if not found or not line.startswith(b'{"body":{'):
        return None
    end = found.start()
    digest, kind, nonce, prev, time = (found[name].decode() for name in ("hash", "kind", "nonce", "prev", "time"))
    if not is_time(time):
        return None
    content = line[:end] + line[found.end("hash") + 1 : found.end("seq")] + line[found.end("sig") :]
    if kind not in KINDS or records.sha256(HASH_TAG + content) != digest:
        return None
    try:
        body = records.as_canonical(line[len(b'{"body":') : end])
    except records.Doubtful:
        return None
    sig = found["sig"].decode()[1:-1] if found["sig"] != b"null" else None
    return Entry(int(found["seq"]), time, KINDS[kind], nonce, prev, body, digest, line, sig)


def _read_any(line: bytes) -> Entry:
    record = records.parse(line, what="entry")
    if not isinstance(record, dict) or set(record) != FIELDS:
        raise InputError(f"not an entry: the fields must be {', '.join(sorted(FIELDS))}")
    if type(record["v"]) is not int or record["v"] != VERSION:
        raise InputError(f"entry has version {record['v']!r:.40}, this program reads version {VERSION}")
    if not records.is_canonical(line, record):
        raise InputError("stored bytes are not canonical JSON (RFC 8785)")
    if not isinstance(record["body"], dict):
        raise InputError("body is not an object")
    if type(record["seq"]) is not int or record["seq"] < 0:
        raise InputError(f"seq {record['seq']!r:.40} is not a count")
    for name, pattern in (("hash", HEX64), ("prev", HEX64), ("nonce", NONCE), ("time", TIME)):
        if not isinstance(record[name], str) or not pattern.match(record[name]):
            raise InputError(f"{name} {record[name]!r:.80} is malformed")
    if not is_time(record["time"]):
        raise InputError(f"time {record['time']} is none: there is no such day or hour")
    if (sig := record["sig"]) is not None and not (isinstance(sig, str) and SIGNATURE.match(sig)):
        raise InputError(f"sig {sig!r:.40} is malformed: an entry is unsigned (null) or signed (128 lower-case digits)")
    entry = Entry(**{**record, "kind": read_kind(record["kind"])}, line=line)
    if entry.hash != records.sha256(HASH_TAG + entry.content):
        raise InputError("hash does not match the content")
    return entry


def _tail(
    kind: Kind, nonce: str, prev: str, seq: int, time: str, digest: str | None = None, sig: str | None = None
) -> bytes:
    """What follows the body in a line; without a `digest`, in JCS(all but hash and sig)."""
    hashed = f',"hash":"{digest}"' if digest else ""
    signed = "" if not digest else f',"sig":"{sig}"' if sig else ',"sig":null'
    rest = f'"kind":"{kind}","nonce":"{nonce}","prev":"{prev}","seq":{seq}{signed},"time":"{time}","v":{VERSION}}}'
    return f"{hashed},{rest}".encode()


def read_kind(value: object) -> Kind:
    try:
        return Kind(str(value))
    except ValueError:
        raise InputError(f"entry kind {value!r:.40} is unknown", f"kinds are {', '.join(Kind)}") from None


def check_link(entry: Entry, previous: Entry | None) -> None:
    """`entry` follows `previous` in the chain: its number is the next one and its `prev` is the hash before it."""
    expected = previous.seq + 1 if previous else 0
    if entry.seq != expected:
        raise InputError(f"seq is {entry.seq} where {expected} belongs: entries were removed, inserted or reordered")
    if entry.prev != (previous.hash if previous else GENESIS):
        raise InputError("prev is not the hash of the entry before: one of the two was changed, inserted or reordered")


def blob_digests(body: Mapping[str, Any]) -> list[str]:
    """The blobs a body names: `body["blobs"]`, a list of SHA-256 digests in lower-case hex."""
    digests = body.get("blobs", [])
    if not isinstance(digests, list) or not all(isinstance(d, str) and HEX64.match(d) for d in digests):
        raise InputError('body["blobs"] is not a list of SHA-256 digests in lower-case hex')
    return digests


def seed_for(entry_hash: str, purpose: str) -> int:
    """The seed bound to an entry, 63 bits: first 8 bytes of SHA-256("scaling-seed-v1\\0" || hash || purpose) >> 1.

    `entry_hash` enters as its 32 bytes, `purpose` ("init", "data order", ...) as UTF-8. A changed prediction has
    another hash, hence other seeds, hence another run: nobody can train first and predict later.
    """
    if not HEX64.match(entry_hash):
        raise InputError(f"{entry_hash!r:.80} is not an entry hash", "64 lower-case hex digits are needed")
    seed = hashlib.sha256(SEED_TAG + bytes.fromhex(entry_hash) + purpose.encode()).digest()[:8]
    return int.from_bytes(seed, "big") >> 1


def is_time(text: str) -> bool:
    """Whether it is written as times here are, and names a moment that there was."""
    try:
        return bool(TIME.match(text)) and datetime.fromisoformat(text).hour == int(text[11:13])  # not 24:00
    except ValueError:
        return False


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
