"""The nonces by which an entry can stand once only: one outcome of a prediction, one withdrawal, one start, ...

They are made of what the entry says, so that any writer's retry, and any two writers, meet in the same one; and they
are refused to every other entry, which could otherwise keep the place of one that is still to come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scaling import records
from scaling.errors import InputError
from scaling.registry.entries import NONCE, Kind

DIGITS = 32
NAMED_BY = {
    Kind.OUTCOME: "prediction", Kind.START: "prediction", Kind.WITHDRAW: "prediction",
    Kind.REVEAL: "commit", Kind.KEY: "public",
}  # fmt: skip
OWN = re.compile(r"\A(outcome|start|withdraw|reveal|anchor|key)-[0-9a-f]{32}(?:-[0-9]+)?\Z")


def own(kind: Kind, body: Mapping[str, Any]) -> str:
    """`<kind>-<32 digits>` of the hash that the entry is about (an anchor: of its body); `-<n>` of a start anew."""
    about = records.digest(body) if kind == Kind.ANCHOR else body.get(NAMED_BY.get(kind, ""))
    again = f"-{body['again']}" if kind == Kind.START and "again" in body else ""
    return f"{kind}-{str(about)[:DIGITS]}{again}"


def check(nonce: str | None, kind: Kind | None, body: Mapping[str, Any]) -> None:
    if nonce is None:
        return
    if not NONCE.match(nonce):
        raise InputError(f"nonce {nonce!r:.80} is malformed", "use up to 64 of a-z 0-9 . _ -, or none")
    if OWN.match(nonce) and (kind is None or nonce != own(kind, body)):
        raise InputError(f"nonce {nonce} is kept for another entry", "give it another nonce, or none")
