"""The main job: predict a larger GRPO-LoRA run before it is trained, train it, and say how it went.

    plan -> sweep, gates -> fit -> forecast -> register -> target with seeds bound to the entry -> resolve -> score

Every step looks first at what the folder already holds, so the same command again resumes where it stopped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from reports.project import Project, made_from, read_project, refreshed, report_input
from reports.rl_runs import usable_runs
from reports.rl_scores import score_runs
from scaling.errors import InputError, StoreError
from scaling.fitted import Grade
from scaling.predictions import Question
from scaling.registry import Entry, Ledger, binding, book, standing
from scaling.signers import opened
from scaling.trials import TrialState
from sweeps.bound import begin
from sweeps.configs import describe, keep
from sweeps.recipes import Sweep
from sweeps.stability import extra
from sweeps.stability import record as record_gates
from sweeps.store import Store

T = TypeVar("T")
REPORTS = ("report.html", "report.pdf", "report.json")
DAYS = 30  # until when the demo's own prediction must be resolved
VOIDS = (
    "another problem set, decoding or held-out corpus than the registered protocol",
    "a target run whose seeds do not derive from this entry",
)
ASSUMPTIONS = (
    "the ladder's rules (width, batch, learning rate as functions of compute) hold up to the target",
    "the trend of the ladder goes on to the target, within the laws averaged and their misfit",
    "RL is the same at every rung and at the target, so that 'after RL' is a function of pre-training compute",
)


def demo(
    folder: Path,
    sweep: Sweep,
    *,
    slots: int = 2,
    threads: int = 1,
    gpus: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> standing.Record:
    """Do the main job in `folder`, or what is left of it. Returns the prediction with its outcome.

    `slots`, `threads` and `gpus` are those of `sweeps.run`; `say` hears one line per step. Writes report.html,
    report.pdf and report.json.
    """
    import sweeps

    run = partial(sweeps.run, slots=slots, threads=threads, gpus=gpus)

    if (done := finished(folder, sweep)) is not None:
        say("everything is done already; `scaling report` writes the reports again")
        return done
    keep(folder, sweep, sweep.arguments)
    ledger = opened(folder / "ledger")
    checks = extra(sweep) if sweep.stability and registered(ledger, sweep) is None else []
    run([*sweep.trials, *checks], folder)
    if checks:
        record_gates(sweep, folder)
    say("fit, back-test and forecast")
    project = read_project(folder)
    for forecast in project.forecasts:
        say(f"  {forecast}")
    for gate in project.observations.gates:
        say(f"  gate {gate}")
    entry = _made_once(lambda: registered(ledger, sweep), lambda: register(ledger, sweep, project))
    say(f"registered before the run: entry {entry.seq}, {entry.hash}")
    for trial in run(begin(ledger, entry, folder), folder):
        if trial.state != TrialState.COMPLETE:
            again = f"scaling run --prediction {entry.hash[:12]} --retry-failed --folder {folder}"
            raise StoreError(f"target {trial.id} {trial.state}: {trial.reason}", f"{again} tries it again; then go on")
    record = _made_once(
        lambda: _resolved(ledger, entry), lambda: book.resolve_from_runs(ledger, entry, folder / "runs")
    )
    ledger.remember()
    project = refreshed(project)
    if runs := usable_runs(project.folder, project.ladder, project.large):
        say("score forecasts of RL runs from their beginnings")
        score_runs(folder, runs)
    write_reports(project, record)
    return record


def finished(folder: Path, sweep: Sweep) -> standing.Record | None:
    """The resolved prediction of this sweep, if its reports stand too: nothing is left to do."""
    ledger = Ledger(folder / "ledger")
    entry = registered(ledger, sweep)
    if entry is None or not all((folder / name).is_file() and (folder / name).stat().st_size for name in REPORTS):
        return None
    store = Store(folder)
    if any(store.trial(spec).state != TrialState.COMPLETE for spec in (*sweep.trials, *binding.target_trials(entry))):
        return None
    record = standing.find(ledger, entry.hash)
    return record if record.outcomes else None


def registered(ledger: Ledger, sweep: Sweep) -> Entry | None:
    """The prediction that this sweep already has."""
    if not (ledger.folder / "entries.jsonl").exists():
        return None
    return next((r.entry for r in standing.records(ledger) if r.entry.nonce == _nonce(sweep)), None)


def _resolved(ledger: Ledger, entry: Entry) -> standing.Record | None:
    record = standing.find(ledger, entry.hash)
    return record if record.outcomes else None


def _made_once(look: Callable[[], T | None], make: Callable[[], object]) -> T:
    """What stands in the ledger, else what is made now. Refused because another process was quicker: that one's."""
    if (found := look()) is None:
        try:
            make()
        except InputError:
            if look() is None:
                raise
        found = look()
    assert found is not None
    return found


def register(ledger: Ledger, sweep: Sweep, project: Project) -> Entry:
    """One entry for all questions about the target. Refused forecasts are entered too, marked UNEARNED: how they turn
    out says whether refusing them was right."""
    made = [replace(f, grade=Grade.UNEARNED) if f.grade == Grade.REFUSED else f for f in project.forecasts]
    until = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=DAYS)).isoformat()
    questions = [Question(f.subject.label, until, voids=VOIDS) for f in made]
    return book.register(
        ledger,
        questions,
        made,
        title=f"{sweep.name} sweep, instance {sweep.instance}: the target run",
        target=describe(sweep),
        run_state=binding.run_state(project.folder / "runs", project.target),
        provenance=made_from(project),
        assumptions=ASSUMPTIONS,
        nonce=_nonce(sweep),
    )


def write_reports(project: Project, record: standing.Record) -> None:
    """The reports of a project and its prediction."""
    import reports

    document = reports.forecast_document(report_input(project, record))
    for name in REPORTS:
        reports.render(document, project.folder / name)


def _nonce(sweep: Sweep) -> str:
    return f"sweep-{sweep.digest[:32]}"


def summary(record: standing.Record) -> dict[str, Any]:
    """The prediction and its outcome in short: what README's table is made from."""
    claims = []
    for claim, score in zip(record.prediction.claims, record.scores, strict=True):
        claims.append(
            {
                "id": claim.id,
                "label": claim.subject.label,
                "law": claim.law,
                "method": claim.method,
                "grade": claim.grade,
                "target": claim.target,
                "factor": claim.factor,
                "median": claim.median,
                **{f"interval_{level}": claim.interval(level / 100) for level in (50, 80, 90)},
                "actual": score.value,
                "error": score.error,
                "hits": score.hits,
                "crps": score.crps,
                "pit": score.pit,
                "baselines": score.baselines,
            }
        )
    return {
        "title": record.prediction.title,
        "hash": record.entry.hash,
        "time": record.entry.time,
        "bound": bool(record.resolution and record.resolution.bound),
        "labels": record.labels,
        "claims": claims,
        "code": record.prediction.provenance.get("code"),
        "v": 1,
    }
