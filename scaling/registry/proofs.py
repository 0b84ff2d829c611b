"""Proofs that travel without the ledger: that an entry stands under a head, and that one head continues another.

An entry's proof holds the entry and what belongs to it (the first entry, which names the ledger, the key entries, what
refers to it), each with its line and its inclusion path (RFC 9162), and the checkpoint they lead to, signed where a key
was at hand. A proof shows what is there; that nothing was left out of it, a withdrawal or the end of a key, only the
ledger shows: `since`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.registry.entries import HEX64, Entry, Kind, read_entry
from scaling.registry.keys import Keyring, check_signer
from scaling.registry.ledger import Ledger
from scaling.registry.merkle import (
    Checkpoint,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from scaling.registry.references import references
from scaling.registry.signing import PublicKey, SignedHead, SigningKey

ENTRY, CONSISTENCY = "scaling-proof", "scaling-consistency"
MAX_PATH = 64  # a tree of 2^64 leaves


@dataclass(frozen=True)
class Proven:
    """What a proof shows. `signers` are by entry hash (None: unsigned); `head_signer` is who signed the checkpoint."""

    entry: Entry
    related: tuple[Entry, ...]
    keys: tuple[Entry, ...]
    head: Checkpoint
    signers: Mapping[str, PublicKey | None]
    head_signer: PublicKey | None
    warnings: tuple[str, ...] = ()

    @property
    def signer(self) -> PublicKey | None:
        return self.signers[self.entry.hash]

    def of(self, kind: Kind) -> list[Entry]:
        return [e for e in self.related if e.kind == kind]


def prove(ledger: Ledger, digest: str, key: SigningKey | None = None) -> dict[str, Any]:
    """The proof of the entry with this hash, as a JSON value: about so many bytes as the entries it holds.

    The whole ledger is read and checked link by link: nothing is proven out of a broken one.
    """
    read = _Reading(digest)
    signed = signed_head(ledger, key, read)
    if digest not in {e.hash for e in read.kept}:
        raise InputError(f"{digest} is the hash of no entry in {ledger.folder}")
    tree = Tree(read.leaves)
    entries = [{"line": e.line.decode(), "path": [node.hex() for node in tree.inclusion(e.seq)]} for e in read.kept]
    return {
        "type": ENTRY,
        "v": 1,
        "entry": digest,
        "checkpoint": signed.text,
        "entries": entries,
    }


def check(proof: Any) -> Proven:
    """Check a proof by itself. `InputError`: it is malformed; `LedgerError`: it does not hold."""
    parts = _fields(proof, ENTRY, {"entry": str, "checkpoint": str, "entries": list})
    signed = SignedHead.parse(parts["checkpoint"])
    entries = [_included(item, signed.head) for item in parts["entries"]]
    if [e.seq for e in entries] != sorted({e.seq for e in entries}):
        raise InputError("not a proof: its entries are not in order")
    if entries and entries[0].seq:
        raise LedgerError("the proof lacks the first entry, after which the ledger is named")
    ring, signers = Keyring(), {}
    for entry in entries:
        try:
            signers[entry.hash] = ring.follow(entry)
        except InputError as error:
            raise LedgerError(f"entry {entry.seq} of the proof: {error.message}", index=entry.seq) from None
    main = next((e for e in entries if e.hash == parts["entry"]), None)
    if main is None:
        raise LedgerError(f"the proof does not hold the entry {parts['entry'][:64]!r} that it speaks of")
    rest = [e for e in entries if e is not main]
    for entry in rest:
        if entry.seq and not _belongs(entry, main.hash):
            raise LedgerError(f"entry {entry.seq} of the proof has nothing to do with it", index=entry.seq)
    return Proven(
        main,
        tuple(e for e in rest if e.kind != Kind.KEY and _belongs(e, main.hash)),
        tuple(e for e in rest if e.kind == Kind.KEY),
        signed.head,
        signers,
        _head_signer(signed, ring),
        tuple(ring.warnings),
    )


def since(ledger: Ledger, proven: Proven) -> list[Entry]:
    """What the ledger says of a proof's entry or of keys beyond the proof's head. `LedgerError`: something that stands
    under that head was left out of the proof. Whether the ledger continues the head, `Ledger.verify` checks."""
    shown = {e.hash for e in (proven.entry, *proven.related, *proven.keys)}
    unshown = [e for e in ledger if _belongs(e, proven.entry.hash) and e.hash not in shown]
    for entry in unshown:
        if entry.seq < proven.head.size:
            raise LedgerError(
                f"the proof leaves out entry {entry.seq} ({entry.kind}), which stands under its head",
                "make a new one: scaling prove",
                index=entry.seq,
            )
    return unshown


def prove_consistency(ledger: Ledger, old: SignedHead, key: SigningKey | None = None) -> dict[str, Any]:
    """The proof that the ledger continues an earlier head, as a JSON value; `LedgerError` if it does not."""
    read = _Reading("")
    signed = signed_head(ledger, key, read)
    head = signed.head
    if old.head.size > head.size:
        raise LedgerError(
            f"head not consistent: {ledger.folder} has {head.size} entries, the head held has {old.head.size}: "
            "the newest were cut off",
            "restore the file from a copy",
        )
    old.signer(ledger.keyring().known)
    found = {
        "type": CONSISTENCY,
        "v": 1,
        "old": old.text,
        "new": signed.text,
        "path": [node.hex() for node in Tree(read.leaves).consistency(old.head.size)],
    }
    check_consistency(found)
    return found


def check_consistency(proof: Any) -> tuple[Checkpoint, Checkpoint]:
    """Check a consistency proof by itself and return both heads. Whose signatures they bear is not checked here."""
    parts = _fields(proof, CONSISTENCY, {"old": str, "new": str, "path": list})
    old, new = SignedHead.parse(parts["old"]).head, SignedHead.parse(parts["new"]).head
    if not old.size:
        raise InputError("the earlier head is of no entries: every ledger continues it, so that nothing is proven")
    if old.origin != new.origin:
        raise LedgerError(f"head not consistent: {old.origin} and {new.origin} are two ledgers")
    try:
        verify_consistency(old.size, new.size, old.root, new.root, _nodes(parts["path"]))
    except LedgerError as error:
        raise LedgerError(f"head not consistent: {error.message}: the ledger was rewritten") from None
    return old, new


def signed_head(
    ledger: Ledger, key: SigningKey | None = None, visit: Callable[[Entry], object] = lambda entry: None
) -> SignedHead:
    """The head, remembered, signed by `key` or the ledger's own, if any; by one that is not valid in it, never."""
    key = key or ledger.key
    if key:
        check_signer(ledger.keyring(), key.public, None, str(ledger.folder))
    return SignedHead.sign(ledger.remember(visit), key)


class _Reading:
    """What a proof takes from a pass over the ledger: every leaf, the entry, the key entries, what refers to it."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.leaves: list[bytes] = []
        self.kept: list[Entry] = []

    def __call__(self, entry: Entry) -> None:
        self.leaves.append(leaf_hash(entry.line))
        if not entry.seq or entry.hash == self.digest or _belongs(entry, self.digest):
            self.kept.append(entry)


def _belongs(entry: Entry, digest: str) -> bool:
    """Whether a proof of the entry with this hash must hold it: keys, and what refers to it."""
    return entry.kind == Kind.KEY or digest in {r.hash for r in references(entry.kind, entry.body)}


def _head_signer(signed: SignedHead, ring: Keyring) -> PublicKey | None:
    found = signed.signer(ring.known)
    if found and found not in ring.valid:
        period = ring.periods[found.hex]
        raise LedgerError(
            f"the head of {signed.head.size} entries is signed by key {found.id}, which was {period.ended} in entry "
            f"{period.until}",
            index=period.until,
        )
    return found


def _included(item: Any, head: Checkpoint) -> Entry:
    if not isinstance(item, dict) or set(item) != {"line", "path"} or not isinstance(item["line"], str):
        raise InputError("not a proof: an entry needs its line and its path")
    line = item["line"].encode()
    try:
        entry = read_entry(line)
    except InputError as error:
        raise LedgerError(f"an entry of the proof is broken: {error.message}") from None
    verify_inclusion(leaf_hash(line), entry.seq, head.size, _nodes(item["path"]), head.root)
    if entry.seq == 0 and head.origin != f"scaling-ledger/{entry.hash[:16]}":
        raise LedgerError(f"the head is of {head.origin}, which this first entry does not begin", index=0)
    return entry


def _fields(proof: Any, kind: str, types: Mapping[str, type]) -> Mapping[str, Any]:
    if not isinstance(proof, Mapping) or proof.get("type") != kind or repr(proof.get("v")) != "1":
        raise InputError(f"not a {kind} of version 1")
    if set(proof) != {"type", "v", *types} or not all(isinstance(proof[k], t) for k, t in types.items()):
        raise InputError(f"{kind} is malformed: its fields must be {', '.join(sorted(types))}")
    return proof


def _nodes(path: Any) -> list[bytes]:
    nodes = path if isinstance(path, list) and len(path) <= MAX_PATH else [""]
    if not all(isinstance(n, str) and HEX64.match(n) for n in nodes):
        raise InputError("not a proof: a path is a list of SHA-256 digests in lower-case hex")
    return [bytes.fromhex(n) for n in nodes]
