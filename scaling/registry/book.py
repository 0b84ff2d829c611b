"""Predictions in a ledger: registering them, starting their runs, resolving them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.fitted import Forecast, Grade
from scaling.predictions import Claim, Measured, Prediction, Question, Resolution
from scaling.provenance import provenance as made_with
from scaling.records import canonical, file_digest, parse, sha256
from scaling.registry import complete, nonces
from scaling.registry.binding import bound_ids, target_of, target_trials
from scaling.registry.embargo import Secret
from scaling.registry.entries import Entry, Kind
from scaling.registry.ledger import Ledger
from scaling.registry.recipes import state_in
from scaling.registry.standing import find, untraced
from scaling.results import TRACE, check_covered
from scaling.scoring import scores
from scaling.trials import TrialSpec

BLOB = "f64"  # suffix of stored draws


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
    stated, blobs = parse(canonical(prediction.body)), {sha256(f.blob): f.blob for f in made}
    if not embargo:
        ledger.check_ready(Kind.PREDICTION, stated, nonce)
        for blob in blobs.values():
            ledger.put_blob(blob, BLOB)
        return ledger.append(Kind.PREDICTION, stated, nonce=nonce)
    secret = Secret.of(stated, blobs)
    body = {"commitment": secret.commitment, "until": prediction.until, "v": 1}
    ledger.check_ready(Kind.COMMIT, body, nonce)
    kept = secret.keep(ledger.folder)
    try:
        return ledger.append(Kind.COMMIT, body, nonce=nonce)
    except InputError:  # nothing was appended; after any other error the secret may be needed
        kept.unlink(missing_ok=True)
        raise


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
    return ledger.append(Kind.OUTCOME, resolution.body, nonce=nonces.own(Kind.OUTCOME, resolution.body))


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
    ledger.append(Kind.START, body, nonce=nonces.own(Kind.START, body))
    return specs


def resolve_from_runs(
    ledger: Ledger, receipt: Entry | str, runs: Path, *, evidence: Mapping[str, str] | None = None, note: str = ""
) -> Entry:
    """Resolve by the observations of the bound target trials in a folder of trials; their digests are the evidence.
    Without a trace the outcome is not bound; a trace or a log that ends too early is refused."""
    from scaling.observations import Observations

    record = find(ledger, receipt if isinstance(receipt, str) else receipt.hash)
    specs = target_trials(record.entry, record.prediction)
    trials = [spec.id for spec in specs]
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
    for spec in specs:
        if (path := runs / spec.id / TRACE).is_file():
            check_covered(path.parent, spec.steps)
            files[f"{spec.id}/{TRACE}"] = file_digest(path)
    bound = all(f"{trial}/{TRACE}" in files for trial in trials)
    return resolve(
        ledger, record.entry, values, evidence={**files, **(evidence or {})}, trials=trials, bound=bound, note=note
    )


def _unique(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Of two claims of one subject (two laws) the later ones carry their law in the id."""
    ids = [c.id for c in claims]
    return tuple(c if c.id not in ids[:number] else replace(c, id=f"{c.id}.{c.law}") for number, c in enumerate(claims))
