"""Outside clocks: evidence that a head of the ledger existed when somebody else saw it.

An `anchor` entry names a head (origin, size, root) and what speaks for it; the bytes of the evidence are blobs. It
covers the entries before it: the first `size` of them. What is timestamped is always the text of the head, its three
lines as `Checkpoint.text` writes them.

    rfc3161          request and reply of a time-stamp authority              rfc3161.py
    git              a commit or tag that holds the text                      git_anchor.py
    opentimestamps   an .ots file over the text                               opentimestamps.py
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError, LedgerError
from scaling.registry import nonces
from scaling.registry.entries import HEX64, Entry, Kind, blob_digests, read_entry
from scaling.registry.heads import Head
from scaling.registry.journal import Line
from scaling.registry.merkle import Checkpoint, Frontier, leaf_hash

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger

VERSION = 1
CLOCK_TOLERANCE = timedelta(seconds=60)
FIELDS = {"v", "method", "head", "evidence", "blobs"}
SUFFIXES = {"request": "tsq", "reply": "tsr", "proof": "ots"}  # of the stored parts of an evidence


class Method(enum.StrEnum):
    RFC3161 = "rfc3161"
    GIT = "git"
    OPENTIMESTAMPS = "opentimestamps"


class Standing(enum.StrEnum):
    PROVEN = "proven"
    NOT_PROVEN = "not proven"  # nothing is wrong, but what was checked proves nothing yet
    BAD = "bad"


@dataclass(frozen=True)
class Anchor:
    """The body of an `anchor` entry. `evidence` is the method's own; `blobs` are the digests that it names."""

    method: Method
    head: Checkpoint
    evidence: Mapping[str, Any]
    blobs: tuple[str, ...] = ()

    @property
    def text(self) -> bytes:
        return self.head.text.encode()

    @property
    def body(self) -> dict[str, Any]:
        head = {"origin": self.head.origin, "size": self.head.size, "root": self.head.root.hex()}
        return {"v": VERSION, "method": str(self.method), "head": head, "evidence": dict(self.evidence),
                "blobs": sorted(self.blobs)}  # fmt: skip

    @classmethod
    def from_entry(cls, entry: Entry) -> Anchor:
        """Read strictly: an anchor is evidence, and evidence that can be read in two ways is none."""
        body = entry.body
        head = body.get("head")
        if set(body) != FIELDS or repr(body["v"]) != repr(VERSION) or not isinstance(head, dict):
            raise InputError(f"not an anchor of version {VERSION}: it has the fields {', '.join(sorted(FIELDS))}")
        origin, size, root = (head.get(name) for name in ("origin", "size", "root"))
        if (
            not (isinstance(origin, str) and type(size) is int and isinstance(root, str) and HEX64.match(root))
            or set(head) != {"origin", "size", "root"}
            or body["method"] not in list(Method)
        ):
            raise InputError("not an anchor: its head or method is malformed")
        if not isinstance(body["evidence"], dict):
            raise InputError("not an anchor: its evidence is malformed")
        if not 0 < size <= entry.seq:
            raise InputError(
                f"anchor of a head of {size} entries stands in entry {entry.seq}: it covers what is before"
            )
        made = Checkpoint(origin, size, bytes.fromhex(root))
        Checkpoint.parse(made.text)
        return cls(Method(body["method"]), made, body["evidence"], tuple(blob_digests(body)))


@dataclass(frozen=True)
class Finding:
    """What checking one anchor gave. `says` is one sentence: what it proves, and what it does not.

    `not_after`: the first `size` entries existed then (UTC, ISO 8601), by a clock that is not the writer's; None where
    no such time was proven.
    """

    standing: Standing
    says: str
    not_after: str | None = None


@dataclass(frozen=True)
class Checked:
    """One anchor entry of a ledger, checked."""

    entry: Entry
    anchor: Anchor
    finding: Finding


@dataclass(frozen=True)
class Known:
    """A prediction and the earliest proven time by which it existed (None: by no outside clock)."""

    entry: Entry
    not_after: str | None
    by: int | None  # the anchor entry


@dataclass(frozen=True)
class Clocks:
    """What the verifier brings: roots of time-stamp authorities (PEM), a git repository."""

    tsa_roots: bytes | None = None
    repository: Path | None = None


def append(ledger: Ledger, anchor: Anchor) -> Entry:
    """Enter an anchor; the same evidence again returns the entry that is there."""
    return ledger.append(Kind.ANCHOR, anchor.body, nonce=nonces.own(Kind.ANCHOR, anchor.body))


def check_all(ledger: Ledger, clocks: Clocks = Clocks()) -> tuple[list[Checked], list[Known]]:
    """Check every anchor of a sound ledger; and say of every prediction by when it existed."""
    from scaling.registry import git_anchor, rfc3161

    if clocks.tsa_roots is not None:
        rfc3161.read_roots(clocks.tsa_roots)
    if clocks.repository is not None:
        git_anchor.check_repository(clocks.repository)
    leaves: list[bytes] = []
    dated: list[str] = []
    found: list[Entry] = []
    predictions: list[Entry] = []
    for entry in ledger.entries():
        leaves.append(leaf_hash(entry.line))
        dated.append(max(entry.time, dated[-1]) if dated else entry.time)
        found += [entry] * (entry.kind == Kind.ANCHOR)
        predictions += [entry] * (entry.kind in (Kind.PREDICTION, Kind.COMMIT))
    anchors = [(entry, Anchor.from_entry(entry)) for entry in found]
    roots = _roots(leaves, {anchor.head.size for _, anchor in anchors})
    checked = []
    for entry, anchor in anchors:
        size = anchor.head.size
        if roots[size] != anchor.head.root:
            finding = Finding(
                Standing.BAD,
                f"the anchor of {size} entries names another head than they have now: the ledger was rewritten after "
                "it, or the anchor is of another ledger.",
            )
        else:
            finding = _ahead(check(ledger, anchor, clocks), dated[size - 1])
        checked.append(Checked(entry, anchor, finding))
    return checked, [_known(entry, checked) for entry in predictions]


def check(ledger: Ledger, anchor: Anchor, clocks: Clocks) -> Finding:
    """Check one anchor's evidence for its head. What is wrong is a finding, never an error."""
    from scaling.registry import git_anchor, opentimestamps, rfc3161

    try:
        if anchor.method == Method.RFC3161:
            return rfc3161.check(anchor, ledger.get_blob, clocks.tsa_roots)
        if anchor.method == Method.GIT:
            return git_anchor.check(anchor, clocks.repository)
        return opentimestamps.check(anchor, ledger.get_blob)
    except (InputError, LedgerError) as error:
        return Finding(Standing.BAD, f"the {anchor.method} anchor of {anchor.head.size} entries is bad: {error}.")


def lost(entry: Entry, digest: str, what: str) -> str:
    """A stored part of an anchor's evidence is lost: which file, what it proved, and what can be done."""
    anchor = Anchor.from_entry(entry)
    part = next((name for name, value in anchor.evidence.items() if value == digest), "evidence")
    name = f"{digest}.{SUFFIXES[part]}" if part in SUFFIXES else digest
    seen, again = {
        Method.RFC3161: (f"{anchor.evidence.get('url') or 'a time-stamp authority'} signed the head", "--tsa URL"),
        Method.GIT: ("somebody else's git held the head", "--git FOLDER"),
        Method.OPENTIMESTAMPS: ("a calendar or a Bitcoin block took the head in", "--ots FILE"),
    }[anchor.method]
    return (
        f"the {part} of this {anchor.method} anchor, blobs/{name}, {what}; it was to prove that the first "
        f"{anchor.head.size} entries existed when {seen} (entered {entry.time} by its writer's clock): restore the "
        f"file from a copy; a new anchor (scaling ledger anchor {again}) proves them from now on only"
    )


def head_where(ledger: Ledger, wanted: Callable[[bytes], bool], what: str) -> Checkpoint:
    """The head, of now or of any time before, whose text is `wanted`; newest first where several are."""
    found: Checkpoint | None = None
    frontier, origin = Frontier(), ""
    for entry in ledger.entries():
        origin = origin or f"scaling-ledger/{entry.hash[:16]}"
        frontier.add(leaf_hash(entry.line))
        head = Checkpoint(origin, frontier.size, frontier.root())
        found = head if wanted(head.text.encode()) else found
    if found is None:
        raise InputError(
            f"{what} is of no head that {ledger.folder} has or had",
            "it must be made over the bytes that `scaling ledger anchor --write-head FILE` writes",
        )
    return found


def head_of_digest(ledger: Ledger, sha256: bytes, what: str) -> Checkpoint:
    return head_where(ledger, lambda text: hashlib.sha256(text).digest() == sha256, what)


def heads_in(lines: Iterable[Line]) -> Iterator[tuple[Line, Head | InputError]]:
    """The heads that anchor entries name, in a ledger's lines: what verifying a ledger compares with its roots."""
    for line in lines:
        if line.whole and b'"kind":"anchor"' in line.data:
            try:
                entry = read_entry(line.data)
            except InputError:
                continue  # named as a bad entry already
            if entry.kind == Kind.ANCHOR:
                try:
                    head = Anchor.from_entry(entry).head
                    yield line, Head(head.size, head.root.hex(), f"the anchor in entry {entry.seq}", entry.time)
                except InputError as error:
                    yield line, error


def _roots(leaves: list[bytes], sizes: set[int]) -> dict[int, bytes]:
    frontier, found = Frontier(), {}
    for leaf in leaves:
        frontier.add(leaf)
        if frontier.size in sizes:
            found[frontier.size] = frontier.root()
    return found


def _ahead(finding: Finding, dated: str) -> Finding:
    """Say so where an entry is dated later, by its writer, than somebody else had already seen it."""
    if finding.not_after is None or moment(dated) <= moment(finding.not_after) + CLOCK_TOLERANCE:
        return finding
    says = f"{finding.says} The newest of these entries is dated {dated}, after that: its writer's clock ran ahead."
    return Finding(finding.standing, says, finding.not_after)


def verdicts(checked: Iterable[Checked], clocks: Clocks) -> dict[int, bool]:
    """Whether each anchor proves something, by entry; of those alone for which the verifier brought what it takes."""
    lacking = {Method.RFC3161: clocks.tsa_roots is None, Method.GIT: clocks.repository is None}
    return {
        c.entry.seq: c.finding.standing == Standing.PROVEN for c in checked if not lacking.get(c.anchor.method, False)
    }


def _known(entry: Entry, checked: list[Checked]) -> Known:
    covering = [c for c in checked if c.finding.not_after and c.anchor.head.size > entry.seq]
    first = min(covering, key=lambda c: c.finding.not_after or "", default=None)
    return Known(entry, first.finding.not_after if first else None, first.entry.seq if first else None)


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def written(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
