"""Running a sweep: which trial next, what to do when one fails, and how to stop and go on.

    run(quick(), "forecast")        # a list of trials; the same call again finishes at once
    run(bound.begin(ledger, entry, folder), folder)     # the registered target

All state is in the store. A finished trial is never run again; a trial that another runner works on is waited for; a
dead worker's trial is tried once more, from its checkpoint. Nothing here imports torch: only workers do.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scaling.cli import interruptible
from scaling.errors import InputError, StoreError
from scaling.gates import sweep_of
from scaling.provenance import code
from scaling.trials import TrialSpec, TrialState
from sweeps.executors import Event, Executor
from sweeps.executors.local import Local
from sweeps.progress import Progress, choose
from sweeps.recipes import Sweep
from sweeps.speed import expected_seconds
from sweeps.store import Store, Trial

POLL_S = 0.5
LOOK_AGAIN_S = 1.0  # at a trial that another runner works on
INTERRUPTED_S, GRACE_S = 5.0, 60.0  # for saving: at a Ctrl-C, and at the end of a time slice
LIVES = 2  # workers that one trial may lose before it counts as failed


def run(
    sweep: Sweep | Iterable[TrialSpec],
    folder: str | Path,
    *,
    slots: int = 2,
    threads: int = 1,
    gpus: Sequence[str] = (),
    minutes: float | None = None,
    progress: bool | Progress = True,
    retry_failed: bool = False,
    checkpoint_s: float = 20.0,
    executor: Executor | None = None,
) -> list[Trial]:
    """Bring every trial to its end and return them all: in the order given, but a parent before its children.

    folder        the project's folder; trials live in folder/runs
    slots         worker processes side by side, about one a core; with `threads` threads each
    gpus          names of devices: one slot for each of them instead
    minutes       stop cleanly after so long: what runs saves its state, what is left is WAITING in the list returned
    progress      True: bars on a terminal, lines elsewhere; False: silent; or an object of one's own
    retry_failed  try FAILED and DIVERGED trials again; otherwise they stay as they are
    checkpoint_s  seconds between checkpoints: what a kill -9 can cost
    executor      another place to run; by default worker processes on this machine

    A trial that fails is in the list as FAILED or DIVERGED and stops nothing but its children. Where a trial cannot be
    stored (disk full, a file that cannot be read) the others go on, and `StoreError` names it at the end. Ctrl-C and
    SIGTERM save what runs and raise `KeyboardInterrupt` and `SystemExit(143)`; the same call goes on from there.
    """
    deadline = _deadline(minutes)
    specs = _with_parents(sweep.trials if isinstance(sweep, Sweep) else sweep)
    store = Store(folder)
    device = "gpu" if gpus else "cpu"
    schedule = Schedule(store, specs, retry_failed=retry_failed, device=device)
    for trial in schedule.found.values():
        if trial.ended:
            store.start(trial.spec)  # whose specification was damaged since: it is known, and written again
    if schedule.waiting:
        store.runs.mkdir(parents=True, exist_ok=True)
        slots = len(gpus) or slots
        record = made_with(folder, slots=slots, threads=threads, gpus=list(gpus), checkpoint_s=checkpoint_s)
        place = executor or Local(
            folder, slots=slots, threads=threads, gpus=gpus, checkpoint_s=checkpoint_s, record=record
        )
        done = [spec for spec in specs if spec.id not in schedule.waiting]
        with choose(progress, specs, done, slots, device) as shown, interruptible():
            grace_s = INTERRUPTED_S
            try:
                if not _work(schedule, place, shown, deadline):
                    grace_s = GRACE_S
            finally:
                place.close(grace_s)
        schedule.check_stored()
    known = (schedule.found[spec.id] for spec in specs)
    return [trial if trial.ended else store.trial(trial.spec) for trial in known]


def made_with(folder: str | Path, **resolved: Any) -> dict[str, Any]:
    """What every result says of its making: the code, the folder's sweep (its sweep.toml states the arguments as passed
    and resolved), the command, and how it was run."""
    argv = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {"code": code(), "sweep": sweep_of(Path(folder)) or None, "command": argv, "run": resolved}


class Schedule:
    """What waits, what runs, what has ended; in memory only for as long as a run lasts."""

    def __init__(
        self, store: Store, specs: list[TrialSpec], *, retry_failed: bool = False, device: str = "cpu"
    ) -> None:
        self.store = store
        self.found = {spec.id: store.trial(spec) for spec in specs}
        again = (TrialState.FAILED, TrialState.DIVERGED) if retry_failed else ()
        self.failed = {name: str(t.result["digest"]) for name, t in self.found.items() if t.state in again}
        open_ = [spec for spec in specs if not self.found[spec.id].ended or spec.id in self.failed]
        self.waiting = {spec.id: spec for spec in sorted(open_, key=_chain_seconds(specs, device), reverse=True)}
        self.running: dict[str, TrialSpec] = {}
        self.elsewhere: dict[str, float] = {}  # trial of another runner -> when to look again
        self.lost: Counter[str] = Counter()
        self.faults: dict[str, str] = {}  # trial whose files cannot be written -> why

    def next(self) -> TrialSpec | None:
        """The trial with the longest chain behind it whose parent is complete."""
        now = time.monotonic()
        for name, spec in self.waiting.items():
            if self.elsewhere.get(name, 0.0) <= now and self._parent_state(spec) is TrialState.COMPLETE:
                return spec
        return None

    def orphans(self) -> list[TrialSpec]:
        """Waiting trials whose parent has ended without weights."""
        return [s for s in self.waiting.values() if self._parent_state(s) in (TrialState.FAILED, TrialState.DIVERGED)]

    def end(self, trial: Trial) -> None:
        self.found[trial.id] = trial
        for place in (self.waiting, self.running, self.elsewhere):
            place.pop(trial.id, None)

    def set_aside(self, spec: TrialSpec, reason: str) -> None:
        """Leave a trial that cannot be stored, and its children, for another run."""
        self.faults[spec.id] = reason
        self.running.pop(spec.id, None)
        self.waiting = {name: s for name, s in self.waiting.items() if spec not in _line(s)}

    def check_stored(self) -> None:
        if self.faults:
            name, reason = next(iter(self.faults.items()))
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            raise StoreError(f"trial {name} cannot be stored: {reason}{more}", "mend it, then run again: it resumes")

    def _parent_state(self, spec: TrialSpec) -> TrialState:
        if spec.parent is None:
            return TrialState.COMPLETE
        name = spec.parent.id
        return TrialState.WAITING if name in self.waiting or name in self.running else self.found[name].state


def _work(schedule: Schedule, place: Executor, shown: Progress, deadline: float) -> bool:
    """Until nothing is left (True), or the time is up."""
    while schedule.waiting or schedule.running:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        for spec in schedule.orphans():
            parent = schedule.found[spec.parent.id] if spec.parent else None
            assert parent
            _fail(schedule, shown, spec, f"parent {parent.id} {parent.state}: {parent.reason}")
        while place.free and (ready := schedule.next()):
            _launch(schedule, place, shown, ready)
        wait = min(POLL_S, left)
        for event in place.poll(wait) if schedule.running else _idle(wait):
            _handle(schedule, place, shown, event)
    return True


def _deadline(minutes: float | None) -> float:
    if minutes is None:
        return math.inf
    if not 0 < minutes < math.inf:
        raise InputError(f"{minutes:g} minutes are no time to run", "for example minutes = 8, or 0.5")
    return time.monotonic() + 60 * minutes


def _launch(schedule: Schedule, place: Executor, shown: Progress, spec: TrialSpec) -> None:
    found = schedule.store.trial(spec)  # another runner may have been here since
    failed = schedule.failed.get(spec.id, "")
    if found.ended and found.result["digest"] != failed:
        schedule.end(found)
        shown.ended(spec, found.state, found.reason)
    elif found.state is TrialState.RUNNING:
        if spec.id not in schedule.elsewhere:
            shown.say(f"{spec.id} is being run by another process: waiting for it")
        schedule.elsewhere[spec.id] = time.monotonic() + LOOK_AGAIN_S
    else:
        schedule.running[spec.id] = schedule.waiting.pop(spec.id)
        place.submit(spec, failed=failed)


def _handle(schedule: Schedule, place: Executor, shown: Progress, event: Event) -> None:
    spec = schedule.running.get(event.trial)
    if event.kind == "warning":
        shown.say(event.text)
    elif spec is None:
        return
    elif event.kind == "step":
        shown.step(spec, event.step)
    elif event.kind == "ended":
        trial = schedule.store.trial(spec)
        schedule.end(trial)
        shown.ended(spec, trial.state, trial.reason)
    elif event.kind == "fault":
        shown.say(f"{spec.id} cannot be stored: {event.text}")
        schedule.set_aside(spec, event.text)
    elif event.kind == "died":
        _lost(schedule, shown, spec, event.text)
    elif event.kind == "impossible":
        _fail(schedule, shown, spec, event.text)
    else:  # busy, or stopped by somebody else
        schedule.waiting[spec.id] = schedule.running.pop(spec.id)
        schedule.elsewhere[spec.id] = time.monotonic() + LOOK_AGAIN_S


def _lost(schedule: Schedule, shown: Progress, spec: TrialSpec, reason: str) -> None:
    """A worker died: once more from the checkpoint, then the trial has failed."""
    schedule.lost[spec.id] += 1
    if schedule.lost[spec.id] < LIVES:
        shown.say(f"{spec.id}: {reason}; trying once more")
        schedule.running.pop(spec.id)
        schedule.waiting = {spec.id: spec, **schedule.waiting}
    else:
        _fail(schedule, shown, spec, reason)


def _fail(schedule: Schedule, shown: Progress, spec: TrialSpec, reason: str) -> None:
    old = schedule.store.trial(spec)
    try:
        if old.ended and old.result["digest"] == schedule.failed.get(spec.id):
            schedule.store.forget(spec)
        complete = old.state is TrialState.COMPLETE
        trial = old if complete else schedule.store.finish(spec, TrialState.FAILED, reason=reason)
    except OSError as error:
        return schedule.set_aside(spec, f"{error.filename}: {error.strerror}")
    schedule.end(trial)
    shown.ended(spec, trial.state, trial.reason)


def _idle(seconds: float) -> list[Event]:
    time.sleep(seconds)
    return []


def _with_parents(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """Each trial once, its parent before it."""
    ordered: dict[str, TrialSpec] = {}
    for spec in specs:
        for member in reversed(_line(spec)):
            known = ordered.setdefault(member.id, member)
            if known != member:
                raise InputError(
                    f"trial {member.id} is asked for with {known.steps} and with {member.steps} steps",
                    "more steps of a constant-rate trial are the same trial, gone on with: ask for one number",
                )
    return list(ordered.values())


def _line(spec: TrialSpec) -> list[TrialSpec]:
    """The trial, its parent, and so on."""
    line = [spec]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return line


def _chain_seconds(specs: list[TrialSpec], device: str) -> Any:
    """Longest first: a trial counts with the longest chain of children that waits for it."""
    behind: dict[str, float] = {}
    for spec in reversed(specs):  # children stand after their parents
        seconds = expected_seconds(spec, device) + behind.get(spec.id, 0.0)
        behind[spec.id] = seconds
        if spec.parent:
            behind[spec.parent.id] = max(behind.get(spec.parent.id, 0.0), seconds)
    return lambda spec: behind[spec.id]
