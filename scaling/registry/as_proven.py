"""A prediction as a proof shows it, read as a ledger's reader would: with the same labels."""

from __future__ import annotations

from scaling.predictions import Prediction
from scaling.registry.entries import Kind
from scaling.registry.proofs import Proven
from scaling.registry.standing import Record


def record_of(proven: Proven, prediction: Prediction) -> Record:
    """With all that the proof holds of it, which shows no outside clock: a proof holds no anchors."""
    first = {kind: next(iter(proven.of(kind)), None) for kind in (Kind.WITHDRAW, Kind.REVEAL)}
    return Record(
        proven.entry,
        prediction,
        starts=tuple(proven.of(Kind.START)),
        outcomes=tuple(proven.of(Kind.OUTCOME)),
        withdrawn=first[Kind.WITHDRAW],
        amendments=tuple(proven.of(Kind.AMEND)),
        revealed=first[Kind.REVEAL],
        clocked=None,
    )
