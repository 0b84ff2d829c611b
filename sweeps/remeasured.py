"""What a repeated run measures, held against what was written: observations, outcome, the outcome's evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scaling.errors import NotReplayed
from scaling.observations import Observation
from scaling.records import file_digest
from scaling.registry.standing import Record
from scaling.results import OBSERVATIONS

COMPARED = ("value", "se", "protocol", "problems")


def check_observations(trial: str, written: Iterable[Observation], again: Sequence[Observation], hint: str) -> None:
    """Every final row, to the last digit; none is left out, and none was added."""
    kept, made = {row.id: row for row in written if row.final}, {row.id: row for row in again}
    for name in {**kept, **made}:
        if name not in kept or name not in made:
            only = OBSERVATIONS if name in kept else "what is measured again"
            raise NotReplayed(f"{trial}: {name} stands only in {only}", hint)
        for column in COMPARED:
            stated, found = getattr(kept[name], column), getattr(made[name], column)
            if stated != found:
                raise NotReplayed(
                    f"{trial}: {column} of {name} is {stated!r:.60} in {OBSERVATIONS}, "
                    f"measured again it is {found!r:.60}",
                    hint,
                )


def check_outcome(trial: str, again: Sequence[Observation], record: Record, hint: str) -> None:
    """Where the outcome names this run: its values are those that are measured again."""
    outcome = record.resolution
    if outcome is None or trial not in outcome.trials:
        return
    values = {(row.stage, row.metric, row.bucket): row.value for row in again}
    for claim in record.prediction.claims:
        s, stated = claim.subject, outcome.values.get(claim.id)
        found = values.get((s.stage, s.metric, s.bucket))
        if s.stage == again[0].stage and stated and stated.value != found:
            raise NotReplayed(
                f"{trial}: the outcome (entry {record.outcomes[0].seq}) states {stated.value!r} for {claim.id}, "
                f"measured again it is {found!r}",
                hint,
            )


def check_evidence(record: Record, folder: Path) -> tuple[str, ...]:
    """The files that the outcome names have the digests it states: this run's must be here, of others those that are.
    Returns the names of those that are not."""
    outcome, own = record.resolution, folder.resolve().name
    evidence: Mapping[str, str] = outcome.evidence if outcome else {}
    absent = []
    for name, stated in evidence.items():
        trial, _, rest = name.partition("/")
        path = folder.parent / name if outcome and trial in outcome.trials else Path(name)
        if path.is_file() or (trial == own and rest):
            if not path.is_file() or file_digest(path) != stated:
                raise NotReplayed(
                    f"{path} is not the file whose digest the outcome (entry {record.outcomes[0].seq}) names"
                )
        else:
            absent.append(name)
    return tuple(absent)
