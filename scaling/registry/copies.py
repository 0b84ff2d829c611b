"""One prediction in several ledgers: copies that may be older, or disagree. What any of them holds is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from scaling.errors import InputError
from scaling.registry.entries import Entry
from scaling.registry.standing import Record, Sealed


def united(copies: Mapping[str, Record | Sealed]) -> tuple[Record | Sealed, list[str]]:
    """All that any ledger (by its folder) holds of one prediction, and in words where they differ.

    Of several outcomes the one that scores worst counts: a second ledger, whichever is named first, makes no forecast
    better."""
    known, says = list(copies.values()), _disagreements(copies)
    gone = sorted((one.withdrawn for one in known if one.withdrawn), key=_place)
    found = replace(
        next((one for one in known if isinstance(one, Record)), known[0]),
        starts=_every(one.starts for one in known),
        outcomes=_every(one.outcomes for one in known),
        amendments=_every(one.amendments for one in known),
        withdrawn=gone[0] if gone else None,
        clocked=_clocked(known),
        anchors=tuple(sorted({seq for one in known for seq in one.anchors})),
    )
    first = {one.outcomes[0] for one in known if one.outcomes}
    if isinstance(found, Record) and len(first) > 1:
        each = [replace(found, outcomes=(one, *(e for e in found.outcomes if e != one))) for one in first]
        found = max(each, key=_badness)
        worst = found.outcomes[0]
        says.append(
            f"the ledgers do not agree on the outcome: that of entry {worst.seq} ({worst.hash[:12]}) scores worst "
            "and counts"
        )
    return found, says


def unsigned(one: Record | Sealed, since: int | None) -> list[str]:
    """Which of its entries bear no signature although a key was stated in entry `since` (None: there never was one).
    That the last key was revoked in between changes nothing: whoever held it could have entered another."""
    return [
        f"the {entry.kind} in entry {entry.seq} is unsigned, in a ledger that had a key from entry {since} on"
        for entry in (one.entry, *_after(one))
        if since is not None and entry.seq > since and entry.sig is None
    ]


def _clocked(known: Sequence[Record | Sealed]) -> bool | None:
    """What stands in any of them: True before not known (None), and that before False."""
    held = {one.clocked for one in known}
    return True if True in held else None if None in held else False


def _every(held: Iterable[Sequence[Entry]]) -> tuple[Entry, ...]:
    """Without repeats, in the order of entry."""
    return tuple(sorted({e.hash: e for entries in held for e in entries}.values(), key=_place))


def _place(entry: Entry) -> tuple[int, str]:
    return entry.seq, entry.hash


def _badness(record: Record) -> tuple[float | str, ...]:
    """Worse is more: not to be scored at all, then claims outside 90 %, then how far out in the distribution."""
    last = record.outcomes[0].hash  # between equals, whichever: but always the same
    try:
        scores = record.scores
    except InputError:
        return 1.0, last
    outside = sum(not s.hits["90"] for s in scores)
    return 0.0, outside, sum(abs(s.pit - 0.5) for s in scores), sum(s.crps for s in scores), last


def _disagreements(copies: Mapping[str, Record | Sealed]) -> list[str]:
    """Every entry about the prediction that one ledger holds and another does not."""
    held = {folder: {e.hash: e for e in _after(one)} for folder, one in copies.items()}
    every = {name: entry for entries in held.values() for name, entry in entries.items()}
    found = []
    for name, entry in sorted(every.items(), key=lambda item: _place(item[1])):
        within = [folder for folder, entries in held.items() if name in entries]
        if without := [folder for folder in held if folder not in within]:
            found.append(
                f"the ledgers disagree: {entry.kind} in entry {entry.seq} ({name[:12]}) stands in {', '.join(within)}, "
                f"not in {', '.join(without)}"
            )
    return found


def _after(one: Record | Sealed) -> list[Entry]:
    last = (one.withdrawn, one.revealed if isinstance(one, Record) else None)
    return [*one.starts, *one.outcomes, *one.amendments, *(entry for entry in last if entry)]
