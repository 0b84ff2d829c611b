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
