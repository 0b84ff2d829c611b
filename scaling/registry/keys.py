"""Which key was valid at which entry: the statements of `key` entries, followed in order.

    new     a key begins: signed by itself, or, where another is valid, by that one
    rotate  a key takes the place of another: signed by the other
    revoke  a key ends: signed by itself or by another valid one

A key counts from the entry after the one that states it. Where the key that should sign is lost, the entry says so
(`lost`) and is unsigned or signed by the new key: possible for anyone who can write the file, so it is always told.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.records import canonical
from scaling.registry.entries import HEX64, Entry, Kind
from scaling.registry.signing import PublicKey, Scheme
from scaling.typed import check_types


class Action(enum.StrEnum):
    NEW = "new"
    ROTATE = "rotate"
    REVOKE = "revoke"


@dataclass(frozen=True)
class Statement:
    """The body of a `key` entry. `key` begins or, revoked, ends; `replaces` (hex) is the one it follows."""

    action: Action
    key: PublicKey
    replaces: str | None = None
    lost: bool = False
    reason: str = ""
    name: str = ""
    v: int = 1

    @property
    def body(self) -> dict[str, Any]:
        body = {"action": str(self.action), "public": self.key.hex, "scheme": str(self.key.scheme), "v": self.v}
        optional = {"replaces": self.replaces, "lost": self.lost, "reason": self.reason, "name": self.name}
        return {**body, **{k: v for k, v in optional.items() if v}}

    @classmethod
    def of(cls, kind: Kind, body: Mapping[str, Any]) -> Statement | None:
        """What a key entry states; None for other entries, and for one that states nothing."""
        if kind != Kind.KEY or "action" not in body:
            return None
        try:
            action, key = Action(body["action"]), PublicKey(body["public"], Scheme(body["scheme"]))
            rest = {name: body[name] for name in ("replaces", "lost", "reason", "name") if name in body}
            found = cls(action, key, **rest)
            sound = canonical(found.body) == canonical(body)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"key entry is malformed: {error}") from None
        check_types(found, "key entry is malformed")
        replaces = found.replaces
        if not sound or (found.action == Action.ROTATE) != (replaces is not None):
            raise InputError("key entry is malformed: its fields are not those of its action")
        if replaces is not None and not (isinstance(replaces, str) and HEX64.match(replaces)):
            raise InputError(f"key entry is malformed: {replaces!r:.80} is no public key")
        return found


@dataclass(frozen=True)
class Period:
    """A key's life in a ledger, by entry numbers: valid for `since < seq < until` (the entries that state it apart)."""

    key: PublicKey
    name: str
    since: int
    until: int | None = None
    ended: str = ""  # how


class Keyring:
    """The keys known so far. `follow` every entry in order."""

    def __init__(self) -> None:
        self.periods: dict[str, Period] = {}  # by public key, in order of entry
        self.warnings: list[str] = []

    @property
    def valid(self) -> list[PublicKey]:
        return [p.key for p in self.periods.values() if p.until is None]

    @property
    def known(self) -> list[PublicKey]:
        return [p.key for p in self.periods.values()]

    def follow(self, entry: Entry) -> PublicKey | None:
        """Check the entry's signature, and what it states of keys. Returns who signed it; None: it is unsigned."""
        statement = Statement.of(entry.kind, entry.body)
        signer = self._signer(entry, statement)
        if statement:
            self._check(statement, signer, f"entry {entry.seq}")
            self._enter(statement, signer, entry)
        return signer

    def _signer(self, entry: Entry, statement: Statement | None) -> PublicKey | None:
        if entry.sig is None:
            return None
        content = entry.content
        own = [statement.key] if statement and statement.key.hex not in self.periods else []
        for key in (*self.valid, *own):
            if key.signed(content, entry.sig):
                return key
        for period in self.periods.values():
            if period.until is not None and period.key.signed(content, entry.sig):
                raise BadSignature(f"signed by key {period.key.id}, which was {period.ended} in entry {period.until}")
        names = ", ".join(k.id for k in self.valid) or "none"
        raise BadSignature(
            f"signature is by no key that was entered before it (valid here: {names}): "
            "it was signed by an unknown key, or the signature was changed"
        )

    def _check(self, statement: Statement, signer: PublicKey | None, where: str) -> None:
        """Refuse a statement that nobody who may make it has signed."""
        key, valid = statement.key, self.valid
        known = self.periods.get(key.hex)
        if statement.action == Action.REVOKE:
            if not known or known.until is not None:
                raise BadSignature(f"revokes key {key.id}, which is not valid here")
            if signer is None and not statement.lost:
                raise BadSignature(f"revokes key {key.id} without a signature, and does not say that the key was lost")
            return
        if known:
            raise BadSignature(f"enters key {key.id}, which stands in entry {known.since} already")
        if statement.action == Action.ROTATE:
            old = self.periods.get(statement.replaces or "")
            if old is None or old.until is not None:
                raise BadSignature(f"replaces key {(statement.replaces or '')[:16]}, which is not valid here")
            if signer != old.key and not statement.lost:
                raise BadSignature(
                    f"replaces key {old.key.id} without its signature, and does not say that the key was lost"
                )
        elif valid and signer not in valid:
            raise BadSignature(f"enters key {key.id} without the signature of a valid key ({valid[0].id})")
        elif not valid and signer != key:
            raise BadSignature(f"enters key {key.id} without its own signature")

    def _enter(self, statement: Statement, signer: PublicKey | None, entry: Entry) -> None:
        key = statement.key
        ends = key.hex if statement.action == Action.REVOKE else statement.replaces
        if ends:
            old = self.periods[ends]
            how = "revoked" if statement.action == Action.REVOKE else f"replaced by {key.id}"
            if signer != old.key and statement.lost:
                by = f"signed by {signer.id}" if signer else "unsigned"
                self.warnings.append(
                    f"entry {entry.seq} says that key {old.key.id} was lost ({by}): whoever could write this file "
                    "could say so"
                )
                how = "lost, and " + how
            self.periods[ends] = Period(old.key, old.name, old.since, entry.seq, how)
        if statement.action != Action.REVOKE:
            if not self.valid and self.periods and not ends:
                self.warnings.append(f"entry {entry.seq} begins anew with key {key.id}: no key before it was valid")
            self.periods[key.hex] = Period(key, statement.name, entry.seq)

    def find(self, prefix: str) -> Period:
        found = [p for p in self.periods.values() if len(prefix) >= 8 and p.key.hex.startswith(prefix)]
        if len(found) != 1:
            raise InputError(
                f"{prefix!r:.80} {'means several keys' if found else 'names no key'} of this ledger",
                f"keys: {', '.join(k.id for k in self.known) or 'none'}; give 8 hex digits or more",
            )
        return found[0]


class BadSignature(InputError):
    """An entry's signature, or what it states of keys, does not hold."""


def check_signer(ring: Keyring, key: PublicKey, statement: Statement | None, where: str) -> None:
    """Refuse to sign with a key that `verify` would name for ever."""
    if key in ring.valid or (statement and statement.key == key):
        return
    period = ring.periods.get(key.hex)
    if period and period.until is None:
        raise InputError(f"key {key.id} stands in {where} as {period.key.scheme}, and this file signs by {key.scheme}")
    reason = f"was {period.ended} in entry {period.until}" if period else "was never entered"
    raise InputError(f"key {key.id} {reason} in {where}", "enter a key of this ledger: scaling key new")


def followed(entries: list[Entry]) -> Keyring:
    """The keyring after these key entries; the first that does not hold raises `LedgerError`."""
    ring = Keyring()
    for entry in entries:
        try:
            ring.follow(entry)
        except InputError as error:
            raise LedgerError(f"entry {entry.seq}: {error.message}", "run verify", index=entry.seq) from None
    return ring
