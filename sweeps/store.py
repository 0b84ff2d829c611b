"""The store: one folder a trial, and what a trial's state is, read from files alone.

    <folder>/runs/<trial id>/
        spec.json                  the specification, written first
        lease.json                 who runs it (lease.py)
        attempts.jsonl             one line for every time it was begun or resumed: by whom, from which step
        steps.jsonl                the training log, one row for about every half percent of the steps
        trace.jsonl                loss and gradient norm of every update of its first 16 steps, digit by digit; in RL
                                   reward and entropy too
        checkpoint.safetensors     (+ checkpoint.json, its manifest): checkpoints.py
        observations.jsonl         what was measured, in `scaling`'s own format
        result.json                written LAST: a trial without it is not finished
        *.at-100.*                 an earlier end of a trial that went on (ends.py)

A result carries the SHA-256 of itself and of the observations, so that a changed byte is noticed and the trial run
again from its checkpoint, never believed. Reading states needs no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling.errors import InputError, StoreError
from scaling.gates import Gate
from scaling.observations import Observation
from scaling.records import canonical, file_digest, parse, write_atomic
from scaling.results import NAME as RESULT
from scaling.results import OBSERVATIONS, STEPS, VERSION, check_beside, read_result, seal
from scaling.trials import ID, TrialSpec, TrialState
from sweeps import checkpoints, ends
from sweeps.lease import Owner, owner

SEEN_S = 1.0  # how far the training log may lag behind for others
ENDED = (TrialState.COMPLETE, TrialState.FAILED, TrialState.DIVERGED)


@dataclass(frozen=True)
class Trial:
    """A trial as the store has it. `result` is the content of result.json, once the trial has ended; `reason` says
    why it failed, or which of its files cannot be read."""

    spec: TrialSpec
    state: TrialState
    folder: Path
    result: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @cached_property
    def observations(self) -> tuple[Observation, ...]:
        """What a complete trial measured; empty for any other."""
        path = ends.own(self.folder, OBSERVATIONS, self.spec.steps)
        if self.state is not TrialState.COMPLETE:
            return ()
        lines = path.read_bytes().splitlines()
        return tuple(Observation.from_line(line, f"{path}, line {i}") for i, line in enumerate(lines, 1))

    @cached_property
    def health(self) -> tuple[Gate, ...]:
        """The gates of its training (health.py); empty where it ended without, or has not ended."""
        where = f"{self.folder / RESULT}, health"
        return tuple(Gate.from_json(gate, what=where) for gate in self.result.get("health") or ())

    @property
    def tripped(self) -> tuple[Gate, ...]:
        """The gates of health that failed: they mark the trial and leave its observations where they are."""
        return tuple(gate for gate in self.health if gate.passed is False)

    def value(self, metric: str, bucket: str = "all") -> float:
        """The measured value of one metric."""
        for row in self.observations:
            if (row.metric, row.bucket) == (metric, bucket) and row.final:
                return row.value
        raise InputError(f"trial {self.id} ({self.state}) has no {metric} of bucket {bucket!r}")


class Store:
    """Trials of one project folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"

    def path(self, spec: TrialSpec) -> Path:
        if not ID.match(spec.id) or ".." in spec.id:
            raise StoreError(f"{spec.id!r} is no trial id")
        return self.runs / spec.id

    def trial(self, spec: TrialSpec) -> Trial:
        """The trial's state. Files that cannot be trusted leave it WAITING, with the reason."""
        folder, reason = self.path(spec), ""
        try:
            result = self.result(spec)
        except StoreError as error:
            result, reason = None, str(error)
        if result is None and spec.extendable:
            self._check_not_beyond(spec)
        if result is not None:
            return Trial(spec, TrialState(result["state"]), folder, result, result.get("reason") or "")
        running = folder.exists() and owner(folder) is not None
        reason = reason or self._fault(folder)
        return Trial(spec, TrialState.RUNNING if running else TrialState.WAITING, folder, reason=reason)

    def result(self, spec: TrialSpec) -> dict[str, Any] | None:
        """The checked result of this specification, also of a kept end; None if there is none. `StoreError` names the
        file and what is wrong with it."""
        folder = self.path(spec)
        if (end := self.end(spec)) is not None:
            check_beside(ends.own(folder, checkpoints.NAME, spec.steps), end.get("checkpoint"))
            return end
        body = read_result(folder)
        if body is None:
            return None
        done = _steps_done(spec, body)
        if not done:
            raise InputError(f"{folder / RESULT} belongs to another specification of trial {spec.id}")
        if body["state"] != TrialState.COMPLETE:
            return body
        if done > spec.steps:
            raise _fewer(spec, done)
        return None

    def earlier(self, spec: TrialSpec) -> int:
        """Steps after which this trial has ended before, when more are asked for now; 0 if it has not."""
        with contextlib.suppress(StoreError):
            body = read_result(self.path(spec))
            if body and body["state"] == TrialState.COMPLETE and body.get("spec_digest") != spec.digest:
                return _steps_done(spec, body)
        return 0

    def end(self, spec: TrialSpec) -> dict[str, Any] | None:
        """The result of exactly this specification, also where the trial has been gone on with since."""
        body = read_result(self.path(spec))
        if body is None or body.get("spec_digest") != spec.digest:
            body = ends.result(self.path(spec), spec.steps)
        return body if body is not None and body.get("spec_digest") == spec.digest else None

    def _check_not_beyond(self, spec: TrialSpec) -> None:
        saved = checkpoints.newest(self.path(spec))
        if saved and saved.step > spec.steps:
            raise _fewer(spec, saved.step)

    def start(self, spec: TrialSpec) -> Path:
        """Make the trial's folder with its spec.json (a torn one is written again). Of a trial that goes on it is that
        with the most steps."""
        folder = self.path(spec)
        if (folder / ends.named(RESULT, spec.steps)).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        content = canonical(spec.to_json()) + b"\n"
        path = folder / "spec.json"
        if not path.exists() or path.read_bytes() != content:
            write_atomic(path, content, entry=False)
        return folder

    def note_attempt(self, spec: TrialSpec, step: int) -> None:
        """Append to attempts.jsonl that training begins at `step`, here and now."""
        row = {**vars(Owner.me()), "step": step, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        self._append(spec, row)

    def attempts(self, spec: TrialSpec) -> int:
        """How often the trial was begun or resumed."""
        with contextlib.suppress(OSError):
            lines = (self.path(spec) / "attempts.jsonl").read_bytes().splitlines()
            return sum(b'"pid":' in line and line.endswith(b"}") for line in lines)
        return 0

    def note_fault(self, spec: TrialSpec, reason: str) -> None:
        """Record, as far as the disk allows, why the attempt under way ended without a result."""
        with contextlib.suppress(OSError):
            self._append(spec, {"fault": reason, "time": datetime.now(UTC).isoformat(timespec="seconds")})

    def _append(self, spec: TrialSpec, row: Mapping[str, Any]) -> None:
        with open(self.path(spec) / "attempts.jsonl", "a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = file.read(1) not in (b"", b"\n")  # a kill or a full disk left half a line
            file.write(b"\n" * torn + canonical(row) + b"\n")

    def _fault(self, folder: Path) -> str:
        """Why the last attempt could not be stored; "" if it was not for the disk."""
        with contextlib.suppress(OSError, InputError, IndexError, KeyError, TypeError):
            last = (folder / "attempts.jsonl").read_bytes().splitlines()[-1]
            return f"the attempt before ended: {parse(last, what='attempts.jsonl')['fault']}"
        return ""

    def finish(
        self,
        spec: TrialSpec,
        state: TrialState,
        *,
        reason: str = "",
        observations: Iterable[Observation] = (),
        **facts: Any,
    ) -> Trial:
        """Close a trial: observations first, result.json last. Facts are the rest of the result."""
        folder = self.start(spec)
        if steps := self.earlier(spec):
            ends.keep(folder, steps)
        lines = b"".join(row.line() for row in observations)
        (folder / RESULT).unlink(missing_ok=True)  # one that stands there vouches for the rows that go now
        (folder / OBSERVATIONS).unlink(missing_ok=True)
        if lines:
            write_atomic(folder / OBSERVATIONS, lines, entry=False)  # the result states its digest and syncs both
        body = {
            "v": VERSION,
            "trial": spec.id,
            "stage": spec.stage,
            "state": state,
            "reason": reason or None,
            **({"role": spec.role} if spec.role else {}),
            "spec_digest": spec.digest,
            "steps": spec.steps,
            "earlier_ends": ends.all_of(folder),
            "observations": file_digest(folder / OBSERVATIONS) if lines else None,
            **facts,
        }
        write_atomic(folder / RESULT, canonical(seal(body)) + b"\n")
        return self.trial(spec)

    def forget(self, spec: TrialSpec) -> None:
        """Set the result of a failed trial aside, under a name that keeps it visible, so that it can run again."""
        folder = self.path(spec)
        earlier = len(list(folder.glob("result.failed-*.json")))
        (folder / "result.json").rename(folder / f"result.failed-{earlier + 1}.json")


def _steps_done(spec: TrialSpec, body: Mapping[str, Any]) -> int:
    """Steps of a result that is this trial's but for their number; 0 if it is another trial's."""
    steps = int(body.get("steps") or body.get("inputs", {}).get("steps") or 0)
    same = spec.extendable and steps > 0 and replace(spec, steps=steps).digest == body.get("spec_digest")
    return steps if same else 0


def _fewer(spec: TrialSpec, done: int) -> InputError:
    return InputError(
        f"trial {spec.id} has {done} steps behind it, and {spec.steps} are asked for",
        f"steps are never taken back: ask for {done} or more, or use another folder",
    )


class StepLog:
    """steps.jsonl, or the trace of the first steps: rows are buffered and flushed before each checkpoint; a resumed run
    drops what came after it."""

    def __init__(self, folder: Path, step: int, name: str = STEPS) -> None:
        self.path, self.flushed = folder / name, time.monotonic()
        kept = [row for row in read_steps(folder, name) if row["step"] <= step]
        write_atomic(self.path, b"".join(_line(row) for row in kept), durable=name == STEPS)  # a trace may be missing
        self._file = open(self.path, "ab")  # noqa: SIM115  (closed by `close`)

    def add(self, row: Mapping[str, Any]) -> None:
        self._file.write(_line(row))
        if time.monotonic() - self.flushed >= SEEN_S:
            self.flush()

    def flush(self) -> None:
        self._file.flush()
        self.flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()


def read_steps(folder: Path, name: str = STEPS) -> list[dict[str, Any]]:
    """The rows of a trial's training log, up to a torn last line."""
    rows = []
    path = folder / name
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            row = parse(line, what=f"{path}, line {number}")
            rows.append({**row, "step": int(row["step"])})
        except (InputError, KeyError, TypeError, ValueError):
            break
    return rows


def _line(row: Mapping[str, Any]) -> bytes:
    """One row; a loss that is no number is written as null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, separators=(",", ":")).encode() + b"\n"
