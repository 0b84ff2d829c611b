"""Which entries an entry leans on: they must stand before it, and be of the right kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling.registry.entries import Kind

PREDICTED = frozenset({Kind.PREDICTION, Kind.COMMIT})  # a sealed prediction is one too
MUST_NAME_A_PREDICTION = (Kind.START, Kind.OUTCOME, Kind.WITHDRAW)  # any other entry may


@dataclass(frozen=True)
class Reference:
    """An entry of `kind` names by `field` the entry `hash`, one of `kinds`; `opened`: not one still sealed."""

    kind: Kind
    field: str
    hash: object
    kinds: frozenset[Kind]
    what: str = "prediction"
    opened: bool = False

    @property
    def dangling(self) -> str:
        if self.hash is None:
            return f'{self.kind} names no {self.what}: body["{self.field}"] is missing'
        return f"{self.kind} refers to {str(self.hash)[:64]!r}, and no {self.what} with this hash stands before it"

    @property
    def sealed(self) -> str:
        return f"{self.kind} refers to {str(self.hash)[:64]!r}, a prediction that was not revealed before it"

    @property
    def hint(self) -> str:
        return f"give the full hash of a {self.what} entry"


def references(kind: Kind, body: Mapping[str, Any]) -> list[Reference]:
    found = []
    if kind in MUST_NAME_A_PREDICTION or "prediction" in body:
        found.append(Reference(kind, "prediction", body.get("prediction"), PREDICTED, opened=kind == Kind.OUTCOME))
    if kind == Kind.REVEAL:
        found.append(Reference(kind, "commit", body.get("commit"), frozenset({Kind.COMMIT}), "commit"))
    if kind == Kind.AMEND and "amends" in body:
        found.append(Reference(kind, "amends", body["amends"], frozenset(Kind), "entry"))
    return found
