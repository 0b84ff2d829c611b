"""Predictions in a ledger: registering them, resolving them, and reading back how each one stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.fitted import Forecast, Grade
from scaling.labels import Course, labels
from scaling.predictions import (
    FINISHED,
    NOT_STARTED,
    STARTED,
    Claim,
    Measured,
    Prediction,
    Question,
    Resolution,
    Score,
    scores,
)
from scaling.provenance import provenance as made_with
from scaling.records import canonical, file_digest, parse, sha256
from scaling.registry import complete
from scaling.registry.embargo import Secret, check_opening, path_of
from scaling.registry.entries import Entry, Kind, seed_for
from scaling.registry.ledger import Ledger
from scaling.registry.recipes import state_in
from scaling.registry.references import PREDICTED
from scaling.results import TRACE
from scaling.trials import TrialSpec

LATEST = "latest"
BLOB = "f64"  # suffix of stored draws


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
    clocked: bool | None = False  # whether an anchor stands between it and its run

    @cached_property
    def resolution(self) -> Resolution | None:
        """The outcome that counts; `bound` only where the trials it names are those that the entry's hash gives, and
        its evidence their traces."""
        if not self.outcomes:
            return None
        found = Resolution.from_body(self.outcomes[0].body)
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

    def opened(self, ledger: Ledger) -> Record:
        """Read with its owner's secret."""
        if not path_of(ledger.folder, self.commitment).exists():
            raise InputError(
                f"prediction {self.entry.hash[:12]} is sealed, and its secret is not here",
                f"whoever registered it keeps {path_of(ledger.folder, self.commitment)}",
            )
        prediction = Prediction.from_body(Secret.read(ledger.folder, self.commitment).opened)
        return Record(
            self.entry, prediction, self.starts, self.outcomes, self.withdrawn, self.amendments,
            sealed=True, clocked=self.clocked,
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


def register(
    ledger: Ledger,
    questions: Question | Sequence[Question],
    forecasts: Forecast | Sequence[Forecast],
    *,
    title: str = "",
    target: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    run_state: str = "",
    assumptions: Sequence[str] = (),
    protocol: str = "",
    nonce: str | None = None,
    embargo: bool = False,
) -> Entry:
    """Append one prediction: one claim per (question, forecast), all about the same run. Returns its ledger entry.

    target      the run: `specs` by stage (a sweep's target.json), or in words `run`
    run_state   whether the run has started: NOT_STARTED, STARTED or FINISHED; the ledger may know of more
    provenance  at least `replay` (the command that makes the forecasts again) and `seed`; data files come from the
                forecasts, code, versions and lock file from the program, where they are not stated
    protocol    how the run will be measured, for forecasts whose data did not say
    assumptions what they rest on, beside what every forecast does
    embargo     the entry is a salted hash, and the prediction a secret beside the ledger until `reveal`

    What it leaves open is refused by name (complete.py). A refused forecast cannot be registered as a claim unless it
    was asked for beyond what was earned (UNEARNED).
    """
    asked = [questions] if isinstance(questions, Question) else list(questions)
    made = [forecasts] if isinstance(forecasts, Forecast) else list(forecasts)
    for question in asked:
        if question.until <= dt.datetime.now(dt.UTC).date().isoformat():
            raise InputError(
                f"the deadline {question.until} is not in the future", "a prediction comes before its outcome"
            )
    if len(asked) != len(made):
        raise InputError(f"{len(asked)} questions for {len(made)} forecasts", "give one question per forecast")
    for forecast in made:
        if forecast.grade == Grade.REFUSED:
            raise InputError(f"{forecast.subject.label}: the forecast was refused", "make it again with beyond=True")
    if not made:
        raise InputError("there is no forecast to register", "make one first: scaling forecast ... -o forecasts.json")
    made = [_measured_by(protocol, f) for f in made]
    claims = _unique([Claim.of(q, f, sha256(f.blob)) for q, f in zip(asked, made, strict=True)])
    specs = target_of(target, where="the prediction's target") if target and "specs" in target else {}
    if specs and run_state in complete.STATES:
        run_state = max(run_state, state_in(ledger, specs, but=nonce), key=complete.STATES.index)
    data = {path: sha for f in made for path, sha in f.sources.items()}
    prediction = Prediction(
        title=title or asked[0].text,
        until=max(q.until for q in asked),
        claims=claims,
        target={**(target or {}), **complete.described(claims, specs)},
        provenance=made_with(data=data) | dict(provenance or {}),
        run_state=run_state,
        assumptions=tuple(dict.fromkeys((*assumptions, *complete.assumed(made)))),
        voids=tuple(dict.fromkeys(v for q in asked for v in q.voids)),
        gates=tuple(dict.fromkeys(g for f in made for g in f.gates)),
    )
    complete.check_complete(prediction)
    blobs = {sha256(f.blob): f.blob for f in made}
    if not embargo:
        for blob in blobs.values():
            ledger.put_blob(blob, BLOB)
        return ledger.append(Kind.PREDICTION, prediction.body, nonce=nonce)
    secret = Secret.of(parse(canonical(prediction.body)), blobs)
    kept = secret.keep(ledger.folder)
    body = {"commitment": secret.commitment, "until": prediction.until, "v": 1}
    try:
        return ledger.append(Kind.COMMIT, body, nonce=nonce)
    except InputError:  # nothing was appended; after any other error the secret may be needed
        kept.unlink(missing_ok=True)
        raise


def reveal(ledger: Ledger, prefix: str) -> Entry:
    """Append what a commit entry hid: its salt, the prediction, the draws. Done already, the entry that is there."""
    record = find(ledger, prefix)
    if record.revealed:
        return record.revealed
    if not record.sealed:
        raise InputError(f"prediction {record.entry.hash[:12]} is not under embargo", "there is nothing to reveal")
    secret = Secret.read(ledger.folder, record.entry.body["commitment"])
    blobs = sorted(ledger.put_blob(data, BLOB) for data in secret.blobs.values())
    body = {"commit": record.entry.hash, "salt": secret.salt, "opened": secret.opened, "blobs": blobs, "v": 1}
    return ledger.append(Kind.REVEAL, body, nonce=f"reveal-{record.entry.hash[:32]}")


def withdraw(ledger: Ledger, prefix: str, reason: str) -> Entry:
    """Append a tombstone: the prediction stays, and is shown as withdrawn. A resolved one cannot be withdrawn."""
    if not reason.strip():
        raise InputError("a withdrawal needs a reason", "say in a few words why: it stands beside the prediction")
    entry = _predicted(ledger, prefix)
    found = _known(ledger, entry)
    if found.outcomes:
        raise InputError(
            f"prediction {entry.hash[:12]} is resolved (entry {found.outcomes[0].seq}) and cannot be withdrawn",
            "append an amend entry that says what was wrong",
        )
    if found.withdrawn:
        raise InputError(f"prediction {entry.hash[:12]} is withdrawn already (entry {found.withdrawn.seq})")
    body = {"prediction": entry.hash, "reason": reason}
    return ledger.append(Kind.WITHDRAW, body, nonce=f"withdraw-{entry.hash[:32]}")


def amend(ledger: Ledger, prefix: str, text: str) -> Entry:
    """Append a remark on any entry: it is shown beside what it amends, and changes nothing of it."""
    if not text.strip():
        raise InputError("an amendment needs a text", "say what was wrong, or what became known")
    entry = entry_of(ledger, prefix)
    about = entry.hash if entry.kind in PREDICTED else entry.prediction
    body = {"amends": entry.hash, "text": text, **({"prediction": about} if about else {})}
    return ledger.append(Kind.AMEND, body)


def _measured_by(protocol: str, forecast: Forecast) -> Forecast:
    """The forecast with the protocol that the person states, where its data said none."""
    if not protocol or forecast.subject.protocol != complete.UNSTATED:
        return forecast
    return replace(forecast, subject=replace(forecast.subject, protocol=protocol))


def resolve(
    ledger: Ledger,
    receipt: Entry | str,
    values: Mapping[str, Measured] | float,
    *,
    n: int | None = None,
    se: float | None = None,
    protocol: str | None = None,
    evidence: Mapping[str, str] | None = None,
    trials: Sequence[str] = (),
    bound: bool = False,
    note: str = "",
) -> Entry:
    """Append the outcome of a prediction. A plain number resolves a prediction with one claim.

    Every claim must be answered under its own protocol; a second outcome is refused (amend it instead).
    """
    record = find(ledger, receipt if isinstance(receipt, str) else receipt.hash)
    if record.sealed:
        raise InputError(
            f"prediction {record.entry.hash[:12]} is sealed", f"first: scaling reveal {record.entry.hash[:12]}"
        )
    if record.outcomes:
        raise InputError(
            f"prediction {record.entry.hash[:12]} is already resolved (entry {record.outcomes[0].seq})",
            "an outcome is never replaced; append an amend entry that says what was wrong",
        )
    if not isinstance(values, Mapping):
        if len(record.prediction.claims) != 1:
            raise InputError(f"the prediction has {len(record.prediction.claims)} claims", "give a value per claim id")
        claim = record.prediction.claims[0]
        values = {claim.id: Measured(float(values), se=se, n=n, protocol=protocol or claim.subject.protocol)}
    if bound and tuple(trials) != (bound_ids(record.entry, record.prediction) or None):
        raise InputError(
            f"trials {' / '.join(trials) or 'none'} are not the run bound to prediction {record.entry.hash[:12]}",
            "resolve with bound=False, or by resolve_from_runs",
        )
    resolution = Resolution(record.entry.hash, dict(values), dict(evidence or {}), tuple(trials), bound, note)
    if bound and (lacking := untraced(resolution)):
        raise InputError(
            f"the evidence names no {lacking[0]}: nothing shows that a run with these seeds was made",
            "resolve with bound=False, or by resolve_from_runs",
        )
    missing = {c.id for c in record.prediction.claims} - set(values)
    if missing:
        raise InputError(f"no value for claim {sorted(missing)[0]}", "every claim of a prediction is resolved together")
    scores(record.prediction, resolution)  # refuses unknown claims, other protocols, values out of range
    return ledger.append(Kind.OUTCOME, resolution.body, nonce=f"outcome-{record.entry.hash[:32]}")  # one, by any writer


def untraced(resolution: Resolution) -> list[str]:
    """Of its trials, the traces whose digests are no evidence of it: without one no replay can tell what was run."""
    return [name for trial in resolution.trials if (name := f"{trial}/{TRACE}") not in resolution.evidence]


def bind(specs: Mapping[str, TrialSpec], entry_hash: str) -> tuple[TrialSpec, ...]:
    """The specifications of a prediction's run with their seeds fixed by the entry's hash, the base trial first.

    The hash fixes the seeds; it does not say that it was the only one: who keeps many ledgers, each with a prediction
    that differs by its nonce alone, draws as many seeds, and may show the ledger that turned out best. Nothing inside a
    ledger sees that. Hence NO_CLOCK (labels.py) wherever no anchor stands between a prediction and its run.
    """
    base = specs["pretrain"].with_seed(seed_for(entry_hash, "pretrain"))
    if "rl" not in specs:
        return (base,)
    return base, replace(specs["rl"], parent=base, seed=seed_for(entry_hash, "rl"))


def target_of(described: Any, *, where: str) -> dict[str, TrialSpec]:
    """The seedless specifications by stage of a target.json or of a prediction's `target`; refused if malformed."""
    specs = described.get("specs") if isinstance(described, Mapping) else None
    if not isinstance(specs, Mapping) or "pretrain" not in specs or set(specs) - {"pretrain", "rl"}:
        raise InputError(f"{where} does not state the target's specifications", "use the target.json of a sweep")
    return {stage: TrialSpec.from_json(spec) for stage, spec in specs.items()}


def run_state(runs: Path, target: Mapping[str, TrialSpec]) -> str:
    """Whether a run of this recipe, under any seed, stands in a folder of trials: not started, started or finished."""
    wanted = {spec.recipe_digest for spec in target.values()}
    found = NOT_STARTED
    for path in sorted(runs.glob("*/spec.json")):
        try:
            same = TrialSpec.from_json(parse(path.read_bytes(), what=str(path))).recipe_digest in wanted
        except InputError:
            continue  # a torn specification is no run: its trial starts again
        if same and (path.parent / "result.json").exists():
            return FINISHED
        found = STARTED if same else found
    return found


def target_trials(entry: Entry, prediction: Prediction | None = None) -> tuple[TrialSpec, ...]:
    """The bound specifications of a prediction whose target names them (`target["specs"]`, by stage).

    `prediction`: what the entry holds, where that is a commit."""
    target = prediction.target if prediction else entry.body.get("target")
    if not target:
        raise InputError(f"prediction {entry.hash[:12]} names no trial specifications", "register it with --target")
    return bind(target_of(target, where=f"prediction {entry.hash[:12]}"), entry.hash)


def bound_ids(entry: Entry, prediction: Prediction | None = None) -> tuple[str, ...]:
    """Ids of the trials whose seeds derive from a prediction's hash; none where it names no specifications.

    `prediction`: what the entry holds, where that is a commit."""
    target = prediction.target if prediction else entry.body.get("target", {})
    return tuple(s.id for s in target_trials(entry, prediction)) if "specs" in target else ()


def start(
    ledger: Ledger, entry: Entry, prediction: Prediction | None = None, *, again: bool = False
) -> tuple[TrialSpec, ...]:
    """Enter the start of a prediction's run, before its first step, and return its bound specifications.

    A run that is resumed was started once: the entry that is there counts. `again`: it is begun anew, from its first
    step, which is one more entry.
    """
    specs = target_trials(entry, prediction)
    earlier = len(find(ledger, entry.hash).starts) if again else 0
    body = {
        "prediction": entry.hash,
        "trials": {s.stage: s.id for s in specs},
        "recipe_digests": {s.stage: s.recipe_digest for s in specs},
        **({"again": earlier} if earlier else {}),
    }
    ledger.append(Kind.START, body, nonce=f"start-{entry.hash[:32]}" + (f"-{earlier}" if earlier else ""))
    return specs


def resolve_from_runs(
    ledger: Ledger, receipt: Entry | str, runs: Path, *, evidence: Mapping[str, str] | None = None, note: str = ""
) -> Entry:
    """Resolve by the observations of the bound target trials in a folder of trials; their digests are the evidence."""
    from scaling.observations import Observations

    record = find(ledger, receipt if isinstance(receipt, str) else receipt.hash)
    trials = [spec.id for spec in target_trials(record.entry, record.prediction)]
    table = Observations.read(runs)
    values = {}
    for claim in record.prediction.claims:
        s = claim.subject
        rows = table.frame[
            table.frame["trial"].isin(trials)
            & (table.frame["metric"] == s.metric)
            & (table.frame["stage"] == s.stage)
            & (table.frame["bucket"] == s.bucket)
        ]
        if len(rows) != 1:
            raise InputError(
                f"{runs} holds {len(rows)} values of {claim.id} from the bound run {' / '.join(trials)}",
                "train it first: scaling run --prediction " + record.entry.hash[:12],
            )
        row = rows.iloc[0]
        counts = None if table.problems is None else int((table.problems["observation"] == row["id"]).sum()) or None
        se = None if row["se"] != row["se"] else float(row["se"])
        values[claim.id] = Measured(float(row["value"]), se=se, n=counts, protocol=str(row["protocol"]))
    files = {name: sha for name, sha in table.sources.items() if name.split("/")[0] in trials}
    traces = (path for trial in trials if (path := runs / trial / TRACE).is_file())
    files |= {f"{path.parent.name}/{TRACE}": file_digest(path) for path in traces}
    bound = all(f"{trial}/{TRACE}" in files for trial in trials)
    return resolve(
        ledger, record.entry, values, evidence={**files, **(evidence or {})}, trials=trials, bound=bound, note=note
    )


def records(ledger: Ledger) -> list[Record]:
    """Every prediction that can be read in the ledger, in order, with all that came after it: none is left out."""
    return [found for found in known(ledger) if isinstance(found, Record)]


def sealed(ledger: Ledger) -> list[Sealed]:
    """The predictions under embargo: only that they exist is known."""
    return [found for found in known(ledger) if isinstance(found, Sealed)]


def known(ledger: Ledger) -> list[Record | Sealed]:
    """Every prediction in the ledger, in order: none is left out."""
    found: dict[str, Record | Sealed] = {}
    anchored = 0  # so many entries had been seen by an outside clock, as far as an anchor says so
    for entry in ledger:
        if entry.kind == Kind.PREDICTION:
            found[entry.hash] = Record(entry, Prediction.from_body(entry.body))
        elif entry.kind == Kind.COMMIT and "commitment" in entry.body:
            found[entry.hash] = Sealed(entry)
        elif entry.kind == Kind.REVEAL and isinstance(hidden := found.get(entry.body["commit"]), Sealed):
            found[hidden.entry.hash] = _opened(hidden, entry)
        elif entry.kind == Kind.ANCHOR:
            anchored = max(anchored, _covered(entry))
        elif (there := found.get(entry.prediction or "")) is not None:
            if entry.kind in (Kind.START, Kind.OUTCOME) and not (there.starts or there.outcomes):
                there = replace(there, clocked=anchored > there.entry.seq)
            found[there.entry.hash] = _followed(there, entry)
    return list(found.values())


def _covered(anchor: Entry) -> int:
    """How many entries the anchor's head has; 0 if it is none: verify says so."""
    size = _mapping(anchor.body.get("head")).get("size")
    return size if type(size) is int and size <= anchor.seq else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
        raise LedgerError(f"entry {entry.seq}: {error.message}", "run verify", index=entry.seq) from None
    prediction = Prediction.from_body(entry.body["opened"])
    return Record(
        known.entry, prediction, known.starts, (), known.withdrawn, known.amendments,
        revealed=entry, clocked=known.clocked,
    )  # fmt: skip


def find(ledger: Ledger, prefix: str) -> Record:
    """The prediction whose hash begins with `prefix` (8 hex digits or more), or the `latest` one.

    One under embargo is found by whoever keeps its secret."""
    entry = _predicted(ledger, prefix)
    found = _known(ledger, entry)
    return found if isinstance(found, Record) else found.opened(ledger)


def entry_of(ledger: Ledger, prefix: str) -> Entry:
    """The entry that a user means: by the first 8 digits of its hash or more, or the `latest` prediction."""
    if prefix != LATEST:
        return ledger.find(prefix)
    there = known(ledger)
    if not there:
        raise InputError(f"{ledger.folder} holds no prediction yet", "register one first")
    return there[-1].entry


def _known(ledger: Ledger, entry: Entry) -> Record | Sealed:
    return next(one for one in known(ledger) if one.entry.hash == entry.hash)


def _predicted(ledger: Ledger, prefix: str) -> Entry:
    entry = entry_of(ledger, prefix)
    if entry.kind not in PREDICTED or (entry.kind == Kind.COMMIT and "commitment" not in entry.body):
        raise InputError(f"entry {entry.seq} ({prefix}) is a {entry.kind}, not a prediction")
    return entry


def _unique(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Of two claims of one subject (two laws) the later ones carry their law in the id."""
    ids = [c.id for c in claims]
    return tuple(c if c.id not in ids[:number] else replace(c, id=f"{c.id}.{c.law}") for number, c in enumerate(claims))
