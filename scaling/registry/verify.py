"""Checking a ledger from its first byte to its last: what is wrong, where, and why.

One pass, memory by the number of entries (their hashes), not by their length. A chain alone cannot see that its end
was cut off, nor that its owner wrote it anew: only heads printed earlier can, so each of them is compared with the
root over as many present entries.
"""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.registry import anchors
from scaling.registry.blobs import Blobs
from scaling.registry.embargo import check_opening
from scaling.registry.entries import Entry, Kind, blob_digests, check_link, read_entry
from scaling.registry.heads import Head, Held
from scaling.registry.journal import MAX_LINE, Line
from scaling.registry.keys import Keyring
from scaling.registry.merkle import Checkpoint, Frontier, leaf_hash
from scaling.registry.references import Reference, references

MAX_PROBLEMS = 100
LISTED = 12  # entry numbers named in a warning


class Reason(enum.StrEnum):
    BAD_ENTRY = "bad entry"
    TORN_TAIL = "torn tail"
    HEAD_NOT_CONSISTENT = "head not consistent"
    OUTCOME_BEFORE_PREDICTION = "outcome before prediction"
    BAD_SIGNATURE = "bad signature"
    BAD_REVEAL = "reveal does not match"
    BLOB_MISSING = "blob missing"
    BLOB_BAD = "blob bad"
    ANCHOR = "anchor missing or bad"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `index` counts entries from 0, `line` from 1, `offset` bytes; None: no such place."""

    reason: Reason
    index: int | None
    line: int | None
    offset: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Chain:
    """The entries followed so far: what the next one is checked against. Each step raises what is wrong with it."""

    def __init__(self) -> None:
        self.previous: Entry | None = None
        self.origin = "scaling-ledger/empty"
        self.frontier = Frontier()
        self.end = 0  # byte behind the newest line

    def read(self, line: Line) -> Entry:
        self.frontier.add(leaf_hash(line.data))
        self.end = line.offset + len(line.data) + 1
        if len(line.data) > MAX_LINE:
            raise InputError(f"line is longer than {MAX_LINE >> 20} MiB")
        entry = read_entry(line.data)
        if line.index == 0:
            self.origin = f"scaling-ledger/{entry.hash[:16]}"
        return entry

    def link(self, entry: Entry) -> None:
        previous, self.previous = self.previous, entry  # also where the link is broken: each break is told once
        check_link(entry, previous)

    def follow(self, line: Line) -> Entry:
        entry = self.read(line)
        self.link(entry)
        return entry

    @property
    def head(self) -> Checkpoint:
        return Checkpoint(self.origin, self.frontier.size, self.frontier.root())


@dataclass(frozen=True)
class VerifyReport:
    """The result of checking a ledger. `head` is over all whole lines, good or bad; warnings leave it valid.

    `signed` counts entries by the public key (hex) that signed them, `unsigned` those without a signature.
    """

    entries: int
    head: Checkpoint
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    signed: Mapping[str, int] = field(default_factory=dict)
    unsigned: int = 0
    chain: Chain = field(default_factory=Chain, compare=False, repr=False)  # from which to read on

    @property
    def ok(self) -> bool:
        return not self.problems

    def raise_first(self) -> None:
        """Raise the first problem, in file order, as a `LedgerError`."""
        for p in self.problems:
            raise LedgerError(str(p), index=p.index, line=p.line, offset=p.offset)


class Inspection:
    """Everything that is checked beyond one entry's own link: signatures, references, nonces, clock, blobs, heads."""

    def __init__(
        self, heads: Iterable[Head], blobs: Blobs, also: Callable[[Entry], object] = lambda entry: None
    ) -> None:
        self.chain = Chain()
        self._also = also
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._blobs = blobs
        self._sound: dict[str, bool] = {}
        self._seen: dict[str, Kind] = {}
        self._nonces: dict[str, int] = {}
        self._commits: dict[str, Mapping[str, Any]] = {}
        self._opened: set[str] = set()
        self._ring = Keyring()
        self._signed: Counter[str] = Counter()
        self._unsigned: list[int] = []  # although a key had been stated
        self._latest = ""
        self._held = Held(heads)
        self._compare_heads()

    def report(self) -> VerifyReport:
        size = self.chain.frontier.size
        for message in self._held.beyond(size):
            self.add(Reason.HEAD_NOT_CONSISTENT, None, message)
        if self._unsigned:
            named = ", ".join(map(str, self._unsigned[:LISTED])) + ", ..." * (len(self._unsigned) > LISTED)
            self._ring.warnings.append(f"unsigned in a ledger with keys: {len(self._unsigned)} entries ({named})")
        warnings = (*self.warnings, *self._ring.warnings)
        unsigned = self._signed.pop("", 0)
        problems, signed = tuple(self.problems), dict(self._signed)
        return VerifyReport(size, self.chain.head, problems, warnings, signed, unsigned, self.chain)

    def add(self, reason: Reason, line: Line | None, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            where = f"entry {line.index} (line {line.index + 1}, byte {line.offset}): " if line else ""
            index, number, offset = (line.index, line.index + 1, line.offset) if line else (None, None, None)
            self.problems.append(Problem(reason, index, number, offset, where + message))

    def check(self, line: Line) -> None:
        if not line.whole:
            return self.add(
                Reason.TORN_TAIL,
                line,
                f"{len(line.data)} bytes without a newline: an append that died; the next append sets them aside",
            )
        try:
            entry = self.chain.read(line)
        except InputError as error:
            self.add(Reason.BAD_ENTRY, line, error.message)
        else:
            self._check_entry(entry, line)
        self._compare_heads()

    def _check_entry(self, entry: Entry, line: Line) -> None:
        for reason, step in (
            (Reason.BAD_ENTRY, self.chain.link),
            (Reason.BAD_ENTRY, self._check_nonce),
            (Reason.BAD_SIGNATURE, self._check_signature),
            (Reason.BAD_ENTRY, self._also),
        ):
            try:
                step(entry)
            except InputError as error:
                self.add(reason, line, error.message)
        self._check_clock(entry)
        for reference in references(entry.kind, entry.body):
            self._check_reference(reference, entry, line)
        if "blobs" in entry.body:
            self._check_blobs(entry, line)
        self._seen[entry.hash] = entry.kind
        if entry.kind == Kind.COMMIT:
            self._commits[entry.hash] = entry.body

    def _check_signature(self, entry: Entry) -> None:
        bound = bool(self._ring.known)
        if entry.sig is None and entry.kind != Kind.KEY:
            self._signed[""] += 1
            self._unsigned += [entry.seq] * bound
            return
        signer = self._ring.follow(entry)
        self._signed[signer.hex if signer else ""] += 1

    def _check_nonce(self, entry: Entry) -> None:
        if (first := self._nonces.setdefault(entry.nonce, entry.seq)) != entry.seq:
            raise InputError(f"nonce {entry.nonce} stands already in entry {first}")

    def _check_reference(self, reference: Reference, entry: Entry, line: Line) -> None:
        named = reference.hash if isinstance(reference.hash, str) else ""
        if self._seen.get(named) not in reference.kinds:
            self.add(Reason.OUTCOME_BEFORE_PREDICTION, line, reference.dangling)
        elif reference.opened and named in self._commits and named not in self._opened:
            self.add(Reason.OUTCOME_BEFORE_PREDICTION, line, reference.sealed)
        elif entry.kind == Kind.REVEAL:
            try:
                check_opening(self._commits[named], entry.body)
                self._opened.add(named)
            except InputError as error:
                self.add(Reason.BAD_REVEAL, line, error.message)

    def _check_blobs(self, entry: Entry, line: Line) -> None:
        try:
            digests = blob_digests(entry.body)
        except InputError as error:
            return self.add(Reason.BAD_ENTRY, line, error.message)
        for digest in digests:
            if digest not in self._sound:
                self._sound[digest] = self._blobs.sound(digest)
            if not self._sound[digest]:
                self._add_lost(entry, line, digest)

    def _add_lost(self, entry: Entry, line: Line, digest: str) -> None:
        bad = self._blobs.paths(digest)
        what = "does not hold the bytes of its name" if bad else "is not there"
        if entry.kind == Kind.ANCHOR:
            with contextlib.suppress(InputError):  # a malformed anchor is named as that
                return self.add(Reason.ANCHOR, line, anchors.lost(entry, digest, what))
        self.add(Reason.BLOB_BAD if bad else Reason.BLOB_MISSING, line, f"{bad[0] if bad else f'blob {digest}'} {what}")

    def _check_clock(self, entry: Entry) -> None:
        if entry.time < self._latest:
            self.warnings.append(
                f"entry {entry.seq} is dated {entry.time}, before an earlier entry ({self._latest}): "
                "a clock was set back; entries are ordered by number"
            )
        self._latest = max(self._latest, entry.time)

    def _compare_heads(self) -> None:
        for message in self._held.against(self.chain.frontier, self.chain.origin):
            self.add(Reason.HEAD_NOT_CONSISTENT, None, message)
