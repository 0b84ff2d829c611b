"""Predictions in a ledger: registering them, resolving them, and reading back how each one stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.fitted import Forecast, Grade
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
from scaling.records import parse
from scaling.registry.entries import Entry, Kind, seed_for
from scaling.registry.ledger import Ledger
from scaling.trials import TrialSpec

LATEST = "latest"


@dataclass(frozen=True)
class Record:
    """One prediction with all that came after it. `outcomes` keeps every one; the first counts."""

    entry: Entry
    prediction: Prediction
    starts: tuple[Entry, ...] = ()
    outcomes: tuple[Entry, ...] = ()
    withdrawn: Entry | None = None

    @property
    def resolution(self) -> Resolution | None:
        return Resolution.from_body(self.outcomes[0].body) if self.outcomes else None

    @property
    def scores(self) -> list[Score]:
        return scores(self.prediction, self.resolution) if self.resolution else []

    @property
    def state(self) -> str:
        if self.outcomes:
            return "resolved"
        if self.withdrawn:
            return "withdrawn"
        return "started" if self.starts else "open"


def register(
    ledger: Ledger,
    questions: Question | Sequence[Question],
    forecasts: Forecast | Sequence[Forecast],
    *,
    title: str = "",
    target: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    run_state: str = NOT_STARTED,
    assumptions: Sequence[str] = (),
    nonce: str | None = None,
) -> Entry:
    """Append one prediction: one claim per (question, forecast), all about the same run. Returns its ledger entry.

    A refused forecast cannot be registered as a claim unless it was asked for beyond what was earned (UNEARNED).
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
    claims = [Claim.of(q, f, ledger.put_blob(f.blob, "f64")) for q, f in zip(asked, made, strict=True)]
    prediction = Prediction(
        title=title or asked[0].text,
        until=max(q.until for q in asked),
        claims=_unique(claims),
        target=target or {},
        provenance=provenance or {},
        run_state=run_state,
        assumptions=tuple(assumptions),
        voids=tuple(dict.fromkeys(v for q in asked for v in q.voids)),
        gates=tuple(dict.fromkeys(g for f in made for g in f.gates)),
    )
    return ledger.append(Kind.PREDICTION, prediction.body, nonce=nonce)


def resolve(
    ledger: Ledger,
    receipt: Entry | str,
    values: Mapping[str, Measured] | float,
    *,
    n: int | None = None,
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
    if record.outcomes:
        raise InputError(
            f"prediction {record.entry.hash[:12]} is already resolved (entry {record.outcomes[0].seq})",
            "an outcome is never replaced; append an amend entry that says what was wrong",
        )
    if not isinstance(values, Mapping):
        if len(record.prediction.claims) != 1:
            raise InputError(f"the prediction has {len(record.prediction.claims)} claims", "give a value per claim id")
        claim = record.prediction.claims[0]
        values = {claim.id: Measured(float(values), n=n, protocol=protocol or claim.subject.protocol)}
    resolution = Resolution(record.entry.hash, dict(values), dict(evidence or {}), tuple(trials), bound, note)
    missing = {c.id for c in record.prediction.claims} - set(values)
    if missing:
        raise InputError(f"no value for claim {sorted(missing)[0]}", "every claim of a prediction is resolved together")
    scores(record.prediction, resolution)  # refuses unknown claims, other protocols, values out of range
    return ledger.append(Kind.OUTCOME, resolution.body, nonce=f"outcome-{record.entry.hash[:32]}")  # one, by any writer


def bind(specs: Mapping[str, TrialSpec], entry_hash: str) -> tuple[TrialSpec, ...]:
    """The specifications of a prediction's run with their seeds fixed by the entry's hash, the base trial first."""
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


def target_trials(entry: Entry) -> tuple[TrialSpec, ...]:
    """The bound specifications of a prediction entry whose target names them (`target["specs"]`, by stage)."""
    if not entry.body.get("target"):
        raise InputError(f"prediction {entry.hash[:12]} names no trial specifications", "register it with --target")
    return bind(target_of(entry.body["target"], where=f"prediction {entry.hash[:12]}"), entry.hash)


def start(ledger: Ledger, entry: Entry) -> tuple[TrialSpec, ...]:
    """Enter the start of a prediction's run, before its first step, and return its bound specifications.

    Started again (a resumed run), the entry that is there counts.
    """
    specs = target_trials(entry)
    body = {
        "prediction": entry.hash,
        "trials": {s.stage: s.id for s in specs},
        "recipe_digests": {s.stage: s.recipe_digest for s in specs},
    }
    ledger.append(Kind.START, body, nonce=f"start-{entry.hash[:32]}")
    return specs


def resolve_from_runs(
    ledger: Ledger, receipt: Entry | str, runs: Path, *, evidence: Mapping[str, str] | None = None, note: str = ""
) -> Entry:
    """Resolve by the observations of the bound target trials in a folder of trials; their digests are the evidence."""
    from scaling.observations import Observations

    record = find(ledger, receipt if isinstance(receipt, str) else receipt.hash)
    trials = [spec.id for spec in target_trials(record.entry)]
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
    return resolve(
        ledger, record.entry, values, evidence={**files, **(evidence or {})}, trials=trials, bound=True, note=note
    )


def records(ledger: Ledger) -> list[Record]:
    """Every prediction in the ledger, in order, with its starts, outcomes and withdrawal: none is left out."""
    found: dict[str, Record] = {}
    for entry in ledger:
        if entry.kind == Kind.PREDICTION:
            found[entry.hash] = Record(entry, Prediction.from_body(entry.body))
        elif entry.prediction in found:
            known = found[entry.prediction]
            if entry.kind == Kind.START:
                known = replace(known, starts=(*known.starts, entry))
            elif entry.kind == Kind.OUTCOME:
                known = replace(known, outcomes=(*known.outcomes, entry))
            elif entry.kind == Kind.WITHDRAW:
                known = replace(known, withdrawn=entry)
            found[known.entry.hash] = known
    return list(found.values())


def find(ledger: Ledger, prefix: str) -> Record:
    """The prediction whose hash begins with `prefix` (8 hex digits or more), or the `latest` one."""
    if prefix == LATEST:
        known = records(ledger)
        if not known:
            raise InputError(f"{ledger.folder} holds no prediction yet", "register one first")
        return known[-1]
    entry = ledger.find(prefix)
    if entry.kind != Kind.PREDICTION:
        raise InputError(f"entry {entry.seq} ({prefix}) is a {entry.kind}, not a prediction")
    return next(r for r in records(ledger) if r.entry.hash == entry.hash)


def _unique(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Of two claims of one subject (two laws) the later ones carry their law in the id."""
    ids = [c.id for c in claims]
    return tuple(c if c.id not in ids[:number] else replace(c, id=f"{c.id}.{c.law}") for number, c in enumerate(claims))
