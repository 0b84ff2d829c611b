"""What entries say, read while a ledger is checked: a sound chain may hold entries that say nothing, or nonsense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaling.errors import InputError
from scaling.fitted import Subject
from scaling.predictions import Prediction, Resolution, check_deadline
from scaling.registry.binding import bound_ids
from scaling.registry.entries import HEX64, Entry, Kind
from scaling.scoring import check_measured
from scaling.typed import object_in


def check_start(body: Mapping[str, Any]) -> None:
    """It names the trials that are begun, by stage, and their recipes; `again`, the how manieth start anew it is."""
    what = "not a start"
    for name in ("trials", "recipe_digests") if "recipe_digests" in body else ("trials",):
        found = object_in(body, name, what)
        if not found or not all(isinstance(v, str) and v for v in found.values()):
            raise InputError(f"{what}: {name} is {found!r:.60}, which names no run by stage")
    if "again" in body and not (type(body["again"]) is int and body["again"] > 0):
        raise InputError(f"{what}: again is {body['again']!r:.60}, which is no count")


def check_amendment(body: Mapping[str, Any]) -> None:
    _check_text(body, "text", "not an amendment")


def check_withdrawal(body: Mapping[str, Any]) -> None:
    _check_text(body, "reason", "not a withdrawal")


def check_key(body: Mapping[str, Any]) -> None:
    """That it states something; what that is, the keyring checks."""
    if "action" not in body:
        raise InputError("not a statement about a key: action is missing")


def _check_text(body: Mapping[str, Any], name: str, what: str) -> None:
    if not isinstance(found := body.get(name, ""), str):
        raise InputError(f"{what}: {name} is {found!r:.60}, which is no text")


READ = {
    Kind.START: check_start, Kind.AMEND: check_amendment, Kind.WITHDRAW: check_withdrawal, Kind.KEY: check_key,
}  # fmt: skip


class Bodies:
    """Read each entry in order; what cannot be read as what its kind says raises `InputError`.

    Of a prediction only what its claims speak of is kept.
    """

    def __init__(self) -> None:
        self._claims: dict[str, Mapping[str, Subject]] = {}
        self._sealed: dict[str, Entry] = {}

    def __call__(self, entry: Entry) -> None:
        if entry.kind == Kind.PREDICTION:
            self._predicted(entry, entry.body)
        elif entry.kind == Kind.COMMIT and "commitment" in entry.body:
            self._committed(entry)
        elif entry.kind == Kind.REVEAL and (sealed := self._sealed.get(str(entry.body.get("commit")))):
            opened = entry.body.get("opened")
            self._predicted(sealed, opened if isinstance(opened, Mapping) else {})
        elif entry.kind == Kind.OUTCOME:
            self._resolved(entry)
        elif entry.kind in READ:
            READ[entry.kind](entry.body)

    def _predicted(self, entry: Entry, body: Mapping[str, Any]) -> None:
        prediction = Prediction.from_body(body)
        bound_ids(entry, prediction)
        self._claims[entry.hash] = {claim.id: claim.subject for claim in prediction.claims}

    def _committed(self, entry: Entry) -> None:
        commitment = entry.body["commitment"]
        if not isinstance(commitment, str) or not HEX64.match(commitment):
            raise InputError(f"not a commit: its commitment is {commitment!r:.80}, no SHA-256 digest")
        check_deadline(entry.body.get("until"))
        self._sealed[entry.hash] = entry

    def _resolved(self, entry: Entry) -> None:
        resolution = Resolution.from_body(entry.body)
        claims = self._claims.get(resolution.prediction)
        if claims is None:
            return  # of a prediction that is none: named there
        for name, measured in resolution.values.items():
            if name not in claims:
                raise InputError(f"not a resolution: the prediction has no claim {name!r:.80}")
            check_measured(name, claims[name], measured)
