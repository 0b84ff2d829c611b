"""Earlier ends of a trial that is gone on with.

At a constant rate more steps are the same trial: it resumes from its last state. What it had when it ended before stays
beside what it has later, under names that say the step,

    result.at-100.json    observations.at-100.jsonl    checkpoint.at-100.safetensors

so that nothing measured is lost, and a child trained on those weights still finds exactly them.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.observations import Observation
from scaling.records import sync_folder, write_atomic
from scaling.results import NAME as RESULT
from scaling.results import OBSERVATIONS, read_result
from sweeps import checkpoints

FILES = (checkpoints.NAME, OBSERVATIONS, RESULT)  # the result last: where it is kept, so is the rest


def named(name: str, steps: int) -> str:
    stem, _, ending = name.partition(".")
    return f"{stem}.at-{steps}.{ending}"


def keep(folder: Path, steps: int) -> None:
    """Keep the end that stands in the folder. Done before the first further step; again after a kill, it changes
    nothing."""
    if (folder / named(RESULT, steps)).exists():
        return
    for name in FILES:
        if (folder / name).exists():
            _copy(folder / name, folder / named(name, steps))
    sync_folder(folder)


def own(folder: Path, name: str, steps: int) -> Path:
    """The file of the end after so many steps: the kept one, where the trial has been gone on with since."""
    return folder / (named(name, steps) if (folder / named(RESULT, steps)).exists() else name)


def all_of(folder: Path) -> list[int]:
    """Steps of the kept ends, ascending."""
    found = (re.fullmatch(r"result\.at-(\d+)\.json", path.name) for path in folder.glob("result.at-*.json"))
    return sorted(int(match[1]) for match in found if match)


def result(folder: Path, steps: int) -> dict[str, Any] | None:
    """The checked result of a kept end; None if there is none."""
    return read_result(folder, named(RESULT, steps), named(OBSERVATIONS, steps))


def trajectory(folder: Path) -> list[Observation]:
    """What was measured at the kept ends, as rows of a trial that went on: not final, without the single problems."""
    rows = []
    for steps in all_of(folder):
        path = folder / named(OBSERVATIONS, steps)
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            row = Observation.from_line(line, f"{path}, line {number}")
            if row.final:
                rows.append(replace(row, id=f"{row.id}@{steps}", final=False, problems=None))
    return rows


def _copy(path: Path, to: Path) -> None:
    """A second name for a file that is only ever replaced whole, or a copy where the file system has no links."""
    to.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(path, to)
        return
    write_atomic(to, path.read_bytes())
