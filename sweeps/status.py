"""Where every trial of a sweep stands, from the store alone: another process may be running it meanwhile.

A running trial's pace and time left follow from the last rows of its training log; everything else is in its result.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.cli import table
from scaling.errors import InputError
from scaling.gates import Gate
from scaling.records import parse
from scaling.trials import TrialState
from scaling.units import format_duration
from sweeps.speed import expected_seconds
from sweeps.store import Store, Trial

METRICS = ("loss", "pass_rate", "neg_log_pass")
TAIL_BYTES = 16_384  # of a training log: some fifty rows


def stands(trial: Trial, device: str = "cpu") -> dict[str, Any]:
    """One trial as plain values. `step`, `steps_s` and `left_s` are those of a running one, on `device` (speed.py)."""
    values = trial.result.get("values")
    if values is None:  # of a result older than the entry
        values = {row.metric: row.value for row in trial.observations if row.bucket == "all" and row.final}
    still = {"step": None, "steps_s": None, "left_s": None}
    begun = Store(trial.folder.parent.parent).attempts(trial.spec)
    return {
        "trial": trial.id,
        "stage": trial.spec.stage,
        "state": str(trial.state),
        "reason": trial.reason or None,
        "attempts": begun,
        "health": [gate.to_json() for gate in trial.health],
        "wall_s": trial.result.get("inputs", {}).get("wall_s"),
        **(pace(trial, device) if trial.state is TrialState.RUNNING else still),
        **{name: values.get(name) for name in METRICS},
    }


def pace(trial: Trial, device: str = "cpu") -> dict[str, Any]:
    """Last step told, steps a second over the last rows of the attempt under way, and seconds left at that pace."""
    rows = _last_rows(trial.folder / "steps.jsonl")
    if not rows:
        return {"step": 0, "steps_s": None, "left_s": expected_seconds(trial.spec, device)}
    last = first = rows[-1]
    for row in reversed(rows):
        if row["elapsed"] > first["elapsed"]:
            break  # the attempt before: its clock ran on its own
        first = row
    steps, seconds = last["step"] - first["step"], last["elapsed"] - first["elapsed"]
    rate = steps / seconds if steps > 0 and seconds > 0 else None
    left = trial.spec.steps - last["step"]
    return {"step": last["step"], "steps_s": rate, "left_s": left / rate if rate else None}


def left_s(trial: Trial, row: Mapping[str, Any], device: str = "cpu") -> float:
    """Seconds of work that a trial still is."""
    whole = expected_seconds(trial.spec, device)
    return whole if row["left_s"] is None else float(row["left_s"])


def status_text(
    trials: Sequence[Trial],
    rows: Sequence[Mapping[str, Any]],
    gates: Sequence[Gate],
    slots: int,
    device: str,
    retry_failed: bool,
) -> str:
    """The table of all trials, a count of states, and what is left."""
    head = ("trial", "stage", "width", "state", "attempts", "loss", "pass_rate", "wall_s", "health", "pace", "reason")
    cells = []
    for trial, row in zip(trials, rows, strict=True):
        numbers = [row[name] if row[name] is None else f"{row[name]:.4f}" for name in METRICS[:2]]
        seconds = None if row["wall_s"] is None else f"{row['wall_s']:.1f}"
        attempts = row["attempts"] if row["attempts"] > 1 else None
        cells.append(
            (trial.id, trial.spec.stage, trial.spec.model.width, trial.state, attempts, *numbers, seconds)
            + (_health_text(trial), _pace_text(trial, row), trial.reason)
        )
    again = [t.state != TrialState.COMPLETE and (not t.ended or retry_failed) for t in trials]
    left = sum(left_s(t, row, device) for t, row, due in zip(trials, rows, again, strict=True) if due)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(str(t.state) for t in trials).items()))
    if left:
        counts += f"; about {format_duration(left / slots)} of work left on {slots} {device} slots"
    marked = [trial for trial in trials if trial.tripped]
    told = [f"  {trial.id} {gate}" for trial in marked for gate in trial.tripped]
    if marked:
        told.insert(0, f"{len(marked)} with tripped gates of health; what they measured stays in every fit:")
    return "\n".join([table(head, cells), "", counts, *told, *map(str, gates)])


def _health_text(trial: Trial) -> str:
    """The gates that tripped, or ok; and how many could not tell."""
    unknown = sum(gate.passed is None for gate in trial.health)
    said = "; ".join(gate.name for gate in trial.tripped) or "ok" * bool(trial.health)
    return said + f" ({unknown} cannot tell)" * bool(unknown)


def _pace_text(trial: Trial, row: Mapping[str, Any]) -> str | None:
    if row["step"] is None:
        return None
    rate = f", {row['steps_s']:.3g} steps/s" if row["steps_s"] else ""
    left = f", {format_duration(row['left_s'])} left" if row["left_s"] is not None else ""
    return f"step {row['step']}/{trial.spec.steps}{rate}{left}"


def _last_rows(path: Path) -> list[dict[str, Any]]:
    """Whole rows at the end of a training log that may be growing."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        lines = file.read().split(b"\n")
        for line in lines[1 if start else 0 : -1]:  # the first may be cut, the last is not finished
            with contextlib.suppress(InputError, KeyError, TypeError, ValueError):
                row = parse(line, what=str(path))
                step, elapsed = int(row["step"]), float(row["elapsed"])
                if math.isfinite(elapsed):
                    rows.append({"step": step, "elapsed": elapsed})
    return rows
