"""One run's log as a Trajectory: our own trials, a transformers or TRL trainer, a CSV, a list of rows.

What a log may hold, and what becomes of it:

    a row without the metric, a value that is no number     left out, counted
    a place that goes back (a restart from a checkpoint)    the last pass counts: rows at and beyond it are dropped
    the same place twice in a row                           the later row counts
    places in no order at all                               sorted; rows at one place are averaged
    values outside the metric's range                       refused (percent: named as the likely reason)
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.trajectories import Trajectory

Row = Mapping[str, Any]
Source = str | Path | Sequence[Row] | Trajectory
PLACES = ("step", "steps", "global_step", "_step", "C_rl", "C", "compute", "tokens")
METRICS = (
    "reward_mean", "reward", "train/reward", "rewards/mean", "pass_rate", "accuracy", "eval_reward", "eval_accuracy",
)  # fmt: skip
STEPS_LOG = "steps.jsonl"
DISORDER = 0.1  # share of steps back from which a log is in no order, rather than of a run that was restarted


def trajectory(
    source: Source, *, metric: str | None = None, axis: str | None = None, low: float = 0.0, high: float = 1.0
) -> Trajectory:
    """Read a log. `source`: a trial's folder, its steps.jsonl, trainer_state.json (or its folder), a CSV with a header,
    or a list of rows such as `trainer.state.log_history`. `metric` and `axis` name columns (default: the usual names);
    `low` and `high` are the metric's range.

        >>> fits.trajectory("checkpoint-500/trainer_state.json")
        >>> fits.trajectory(trainer.state.log_history, metric="rewards/accuracy_reward/mean", high=2.0)
    """
    if isinstance(source, Trajectory):
        return source
    if isinstance(source, (str, Path)):
        path = _file(Path(source))
        rows, planned, notes = _rows_of(path)
        name = str(path)
    else:
        rows, planned, notes, name = _checked(source), None, (), "log"
    axis = axis or _first(rows, PLACES, f"{name}: where a row stands", "axis")
    metric = metric or _first(rows, METRICS, f"{name}: the metric", "metric")
    x, y, said = _clean(rows, axis, metric)
    if not len(x):
        raise InputError(f"{name}: no row has a number for both {axis} and {metric}", f"columns: {_columns(rows)}")
    end = planned if axis in ("step", "steps", "global_step") else None
    return Trajectory(x, y, axis, metric, low, high, end, name, (*notes, *said))


def _file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a trial's folder, steps.jsonl, trainer_state.json or a CSV")
    if path.is_file():
        return path
    for name in (STEPS_LOG, "trainer_state.json"):
        if (path / name).is_file():
            return path / name
    latest = max(path.glob("checkpoint-*/trainer_state.json"), key=lambda p: _number_of(p.parent.name), default=None)
    if latest is not None:
        return latest
    raise InputError(f"{path} holds no {STEPS_LOG} and no trainer_state.json", "is it the folder of one run?")


def _number_of(name: str) -> int:
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1


def _rows_of(path: Path) -> tuple[list[Row], float | None, tuple[str, ...]]:
    """(rows, where the run is to end, notes)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text", "give steps.jsonl, trainer_state.json or a CSV") from None
    if path.suffix == ".csv":
        return [dict(row) for row in csv.DictReader(text.splitlines())], None, ()
    if path.suffix == ".jsonl":
        rows, torn = _lines(text)
        notes = (f"{torn} lines of {path.name} are not valid and were left out",) if torn else ()
        return rows, _planned(path.parent / "spec.json", "steps"), notes
    body = _json(text)
    if isinstance(body, dict) and isinstance(body.get("log_history"), list):
        planned = _value(body.get("max_steps"))
        return _checked(body["log_history"]), planned if planned > 0 else None, ()
    if isinstance(body, list):
        return _checked(body), None, ()
    raise InputError(f"{path} is no log", "give steps.jsonl, trainer_state.json, a JSON list of rows, or a CSV")


def _lines(text: str) -> tuple[list[Row], int]:
    found = [_json(line) for line in text.splitlines() if line.strip()]
    rows: list[Row] = [row for row in found if isinstance(row, dict)]
    return rows, len(found) - len(rows)


def _json(text: str) -> Any:
    """One JSON value, NaN allowed as trainers write it; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _planned(path: Path, name: str) -> float | None:
    body = _json(path.read_text()) if path.is_file() else None
    steps = _value(body.get(name)) if isinstance(body, dict) else math.nan
    return steps if steps > 0 else None


def _checked(rows: Iterable[Any]) -> list[Row]:
    listed = list(rows)
    if odd := [row for row in listed if not isinstance(row, Mapping)]:
        raise InputError(f"a log is a list of rows by name; found {odd[0]!r:.60}", "as in {'step': 10, 'reward': 0.4}")
    return listed


def _columns(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(str(key) for row in rows for key in row)) or "none"


def _first(rows: Sequence[Row], names: Sequence[str], what: str, option: str) -> str:
    present = {key for row in rows for key, value in row.items() if math.isfinite(_value(value))}
    for name in names:
        if name in present:
            return name
    empty = next(((name, row[name]) for name in names for row in rows if name in row), None)
    if empty is None:
        lacks, hint = "is there", f"name it ({option}=); columns: {_columns(rows)}"
    else:
        lacks = f"holds a number; a row's {empty[0]} is {empty[1]!r:.30}"
        hint = f"write 0.5, not 0,5; or name another column ({option}=): {_columns(rows)}"
    raise InputError(f"{what}: none of {', '.join(names)} {lacks}", hint)


def _value(cell: Any) -> float:
    """A number; NaN for anything else."""
    if isinstance(cell, bool):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _clean(rows: Sequence[Row], axis: str, metric: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(x, y, what was decided)."""
    told = [row for row in rows if metric in row]
    pairs = np.array([(_value(row.get(axis)), _value(row[metric])) for row in told]).reshape(-1, 2)
    good = np.isfinite(pairs).all(1) & (pairs[:, 0] >= 0)
    notes = [f"{n:,} rows without a number were left out"] if (n := int((~good).sum())) else []
    x, y = pairs[good].T
    back = np.diff(x) < 0
    repeated = len(x) - len(np.unique(x))
    if back.sum() > (max(3, DISORDER * len(x)) if repeated else DISORDER * len(x)):
        places, at = np.unique(x, return_inverse=True)
        count = np.bincount(at)
        notes.append(f"the rows are in no order of {axis}: sorted" + _averaged(len(x) - len(places)))
        return places, np.bincount(at, y) / count, notes
    if back.any():
        first = int(np.flatnonzero(back)[0])
        notes.append(
            f"{axis} goes back {int(back.sum())} times (first from {x[first]:,.6g} to {x[first + 1]:,.6g}), as after a "
            "restart: the last pass counts"
        )
    ahead = np.append(np.minimum.accumulate(x[::-1])[::-1][1:], np.inf) if len(x) else x
    kept = x < ahead
    if twice := int(np.sum(x[:-1] == x[1:])):
        notes.append(f"{twice:,} rows repeat the {axis} before: the later one counts")
    return x[kept], y[kept], notes


def _averaged(count: int) -> str:
    return f", {count:,} at a place that others share averaged with them" if count else ""
