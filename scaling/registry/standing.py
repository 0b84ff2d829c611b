"""How each prediction in a ledger stands: read back with all that came after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.labels import Course, labels
from scaling.predictions import Prediction, Resolution
from scaling.registry.binding import bound_ids
from scaling.registry.bodies import Bodies
from scaling.registry.embargo import Secret, check_opening, path_of
from scaling.registry.entries import Entry, Kind
from scaling.registry.ledger import Ledger
from scaling.registry.merkle import Checkpoint
from scaling.registry.references import PREDICTED
from scaling.registry.verify import VerifyReport
from scaling.results import TRACE
from scaling.scoring import Score, scores

LATEST = "latest"


@dataclass(frozen=True)
class Record:
    """One prediction with all that came after it. `outcomes` keeps every one; the first counts.

    `entry` is the prediction's, or the commit of one under embargo, opened by `revealed`. `sealed`: not yet revealed,
    read from the secret that its owner keeps.
    """

    entry: Entry
    prediction: Prediction
    starts: tuple[Entry, ...] = ()
    outcomes: tuple[Entry, ...] = ()
    withdrawn: Entry | None = None
    amendments: tuple[Entry, ...] = ()
    revealed: Entry | None = None
    sealed: bool = False
    clocked: bool | None = False  # whether an outside clock saw it before its run; None: its anchors were not checked
    anchors: tuple[int, ...] = ()  # the entries, before its run, of those that say so

    @cached_property
    def resolution(self) -> Resolution | None:
        """The outcome that counts; `bound` only where the trials it names are those that the entry's hash gives, and
        its evidence their traces."""
        if not self.outcomes:
            return None
        try:
            found = Resolution.from_body(self.outcomes[0].body)
        except InputError as error:
            raise _broken(self.outcomes[0], error) from None
        bound = found.trials == (bound_ids(self.entry, self.prediction) or None) and not untraced(found)
        return replace(found, bound=found.bound and bound)

    @cached_property
    def course(self) -> Course:
        before = [s for s in self.starts if not self.outcomes or s.seq < self.outcomes[0].seq]
        own = sorted(bound_ids(self.entry, self.prediction))
        return Course(
            starts=len(self.starts),
            begun=any(sorted(map(str, _mapping(s.body.get("trials")).values())) == own for s in before),
            resolved=self.outcomes[0].time[:10] if self.outcomes else "",
            clocked=self.clocked,
            anchors=self.anchors,
        )

    @property
    def labels(self) -> list[str]:
        """What makes it worth less than it looks."""
        return labels(self.prediction, self.resolution, self.course)

    @property
    def inside(self) -> dict[str, tuple[int, int]]:
        """Of its claims, k of n inside their central interval, by level in percent; empty before it is resolved."""
        levels = self.scores[0].hits if self.scores else ()
        return {level: (sum(s.hits[level] for s in self.scores), len(self.scores)) for level in levels}

    @cached_property
    def scores(self) -> list[Score]:
        return scores(self.prediction, self.resolution) if self.resolution else []

    @property
    def state(self) -> str:
        if self.outcomes:
            return "resolved, withdrawn" if self.withdrawn else "resolved"
        if self.withdrawn:
            return "withdrawn"
        if self.sealed:
            return "sealed"
        return "started" if self.starts else "open"

    @property
    def remarks(self) -> list[str]:
        """What stands beside the prediction wherever it is shown: withdrawal, amendments, embargo."""
        found = _beside(self)
        if self.sealed:
            found.append("under embargo: only its salted hash stands in the ledger")
        if self.revealed:
            found.append(f"was under embargo from entry {self.entry.seq} to entry {self.revealed.seq}")
        return found


@dataclass(frozen=True)
class Sealed:
    """A commit that was not revealed: that there is a prediction, and by when it is to be resolved."""

    entry: Entry
    starts: tuple[Entry, ...] = ()
    outcomes: tuple[Entry, ...] = ()
    withdrawn: Entry | None = None
    amendments: tuple[Entry, ...] = ()
    clocked: bool | None = False
    anchors: tuple[int, ...] = ()

    @property
    def until(self) -> str:
        return str(self.entry.body.get("until", ""))

    @property
    def commitment(self) -> str:
        return str(self.entry.body.get("commitment", ""))

    @property
    def remarks(self) -> list[str]:
        return _beside(self)

    @property
    def state(self) -> str:
        return "sealed, withdrawn" if self.withdrawn else "sealed"

    def is_own(self, ledger: Ledger) -> bool:
        """Whether its secret is kept beside this ledger."""
        return path_of(ledger.folder, self.commitment).exists()

    def opened(self, ledger: Ledger) -> Record:
        """Read with its owner's secret."""
        if not self.is_own(ledger):
            raise InputError(
                f"prediction {self.entry.hash[:12]} is sealed, and its secret is not here",
                f"whoever registered it keeps {path_of(ledger.folder, self.commitment)}",
            )
        prediction = Prediction.from_body(Secret.read(ledger.folder, self.commitment).opened)
        return Record(
            self.entry, prediction, self.starts, self.outcomes, self.withdrawn, self.amendments,
            sealed=True, clocked=self.clocked, anchors=self.anchors,
        )  # fmt: skip


def _beside(known: Record | Sealed) -> list[str]:
    """Tombstone and amendments, in words."""
    found = []
    if (w := known.withdrawn) is not None:
        after = any(o.seq < w.seq for o in known.outcomes)
        found.append(
            f"WITHDRAWN in entry {w.seq} on {w.time[:10]}{', after its outcome' if after else ''}: "
            f"{w.body.get('reason') or 'no reason was given'}"
        )
    return found + [f"amended in entry {a.seq} on {a.time[:10]}: {a.body.get('text', '')}" for a in known.amendments]


def verify(ledger: Ledger, heads: Iterable[Checkpoint] = ()) -> VerifyReport:
    """`Ledger.verify`, and that every prediction, opening and outcome can be read as one."""
    return ledger.verify(heads, also=Bodies())


def records(ledger: Ledger) -> list[Record]:
    """Every prediction that can be read in the ledger, in order, with all that came after it: none is left out."""
    return [found for found in known(ledger) if isinstance(found, Record)]


def sealed(ledger: Ledger) -> list[Sealed]:
    """The predictions under embargo: only that they exist is known."""
    return [found for found in known(ledger) if isinstance(found, Sealed)]


def readable(ledger: Ledger) -> list[Record | Sealed]:
    """Every prediction, those under embargo read with their secrets where these are kept here."""
    return [one.opened(ledger) if isinstance(one, Sealed) and one.is_own(ledger) else one for one in known(ledger)]


def known(ledger: Ledger) -> list[Record | Sealed]:
    """Every prediction in the ledger, in order: none is left out."""
    return _followed_all(ledger)


def _followed_all(entries: Iterable[Entry]) -> list[Record | Sealed]:
    found: dict[str, Record | Sealed] = {}
    covered: dict[int, int] = {}  # so many entries had been seen by an outside clock, as far as an anchor says so
    for entry in entries:
        if entry.kind == Kind.PREDICTION:
            found[entry.hash] = Record(entry, _stated(entry, entry.body))
        elif entry.kind == Kind.COMMIT and "commitment" in entry.body:
            found[entry.hash] = Sealed(entry)
        elif entry.kind == Kind.REVEAL and isinstance(hidden := found.get(entry.body["commit"]), Sealed):
            found[hidden.entry.hash] = _opened(hidden, entry)
        elif entry.kind == Kind.ANCHOR:
            covered[entry.seq] = _covered(entry)
        elif (there := found.get(entry.prediction or "")) is not None:
            if entry.kind in (Kind.START, Kind.OUTCOME) and not (there.starts or there.outcomes):
                between = tuple(seq for seq, size in covered.items() if size > there.entry.seq)
                there = replace(there, clocked=None if between else False, anchors=between)
            found[there.entry.hash] = _followed(there, entry)
    return list(found.values())


def judged(one: Record | Sealed, proven: Mapping[int, bool]) -> Record | Sealed:
    """With what was found of its anchors, by entry: one that proves nothing is none."""
    if any(proven.get(seq) for seq in one.anchors):
        return replace(one, clocked=True)
    left = tuple(seq for seq in one.anchors if seq not in proven)
    return replace(one, clocked=one.clocked if left else False, anchors=left)


def untraced(resolution: Resolution) -> list[str]:
    """Of its trials, the traces whose digests are no evidence of it: without one no replay can tell what was run."""
    return [name for trial in resolution.trials if (name := f"{trial}/{TRACE}") not in resolution.evidence]


def _covered(anchor: Entry) -> int:
    """How many entries the anchor's head has; 0 if it is none: verify says so."""
    size = _mapping(anchor.body.get("head")).get("size")
    return size if type(size) is int and size <= anchor.seq else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _stated(entry: Entry, body: Mapping[str, Any]) -> Prediction:
    """What an entry predicts; one that another program wrote may stand soundly in the chain and say nothing."""
    try:
        return Prediction.from_body(body)
    except InputError as error:
        raise _broken(entry, error) from None


def _broken(entry: Entry, error: InputError) -> LedgerError:
    where = f"entry {entry.seq} (line {entry.seq + 1}): {error.message}"
    return LedgerError(where, "run verify", index=entry.seq, line=entry.seq + 1)


def _followed(known: Record | Sealed, entry: Entry) -> Record | Sealed:
    if entry.kind == Kind.START:
        return replace(known, starts=(*known.starts, entry))
    if entry.kind == Kind.OUTCOME:
        return replace(known, outcomes=(*known.outcomes, entry))
    if entry.kind == Kind.WITHDRAW:
        return replace(known, withdrawn=known.withdrawn or entry)
    if entry.kind == Kind.AMEND:
        return replace(known, amendments=(*known.amendments, entry))
    return known


def _opened(known: Sealed, entry: Entry) -> Record:
    try:
        check_opening(known.entry.body, entry.body)
    except InputError as error:
        raise _broken(entry, error) from None
    prediction = _stated(entry, entry.body["opened"])
    return Record(
        known.entry, prediction, known.starts, (), known.withdrawn, known.amendments,
        revealed=entry, clocked=known.clocked, anchors=known.anchors,
    )  # fmt: skip


def find(ledger: Ledger, prefix: str) -> Record:
    """The prediction whose hash begins with `prefix` (8 hex digits or more), or the `latest` one.

    One under embargo is found by whoever keeps its secret."""
    entry = predicted(ledger, prefix)
    found = known_as(ledger, entry)
    return found if isinstance(found, Record) else found.opened(ledger)


def entry_of(ledger: Ledger, prefix: str) -> Entry:
    """The entry that a user means: by the first 8 digits of its hash or more, or the `latest` prediction."""
    if prefix != LATEST:
        return ledger.find(prefix)
    found = ledger.newest(*PREDICTED, wanted=_is_prediction)
    if not found:
        raise InputError(f"{ledger.folder} holds no prediction yet", "register one first")
    return found


def known_as(ledger: Ledger, entry: Entry) -> Record | Sealed:
    return _followed_all(ledger.about(entry))[0]


def predicted(ledger: Ledger, prefix: str) -> Entry:
    entry = entry_of(ledger, prefix)
    if not _is_prediction(entry):
        raise InputError(f"entry {entry.seq} ({prefix}) is a {entry.kind}, not a prediction")
    return entry


def _is_prediction(entry: Entry) -> bool:
    return entry.kind == Kind.PREDICTION or (entry.kind == Kind.COMMIT and "commitment" in entry.body)
