"""result.json: what closes a trial, and the check that nobody changed it or the observations beside it.

The file carries the SHA-256 of itself (`digest`, over the rest of it) and of `observations.jsonl`. Whoever reads a
trial's numbers reads them through here, so that a changed byte is named and never believed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling.errors import InputError, StoreError
from scaling.records import digest, file_digest, parse, read_bytes
from scaling.trials import TrialState

VERSION = 1
NAME, OBSERVATIONS = "result.json", "observations.jsonl"
STEPS = "steps.jsonl"  # the training log
TRACE = "trace.jsonl"  # the first steps, digit by digit: what a replay is compared with
TRACED = 16  # steps that are traced
AGAIN = "the trial is run again"


def read_result(folder: Path, name: str = NAME, observations: str = OBSERVATIONS) -> dict[str, Any] | None:
    """The checked content of a trial's result.json, its `digest` included; None if there is none."""
    path = folder / name
    try:
        body = parse(path.read_bytes(), what=str(path))
        stated = body.pop("digest")
        TrialState(body["state"])
        if body["v"] != VERSION or stated != digest(body):
            raise StoreError(f"{path} is not what was written: its digest differs", AGAIN)
    except FileNotFoundError:
        return None
    except (InputError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise StoreError(f"{path} is corrupt: {error}", AGAIN) from None
    check_beside(folder / observations, body.get("observations"))
    return {**body, "digest": stated}


def seal(body: dict[str, Any]) -> dict[str, Any]:
    """The content with the digest that `read_result` checks."""
    return {**body, "digest": digest(body)}


def check_beside(path: Path, stated: str | None) -> None:
    """A file that a result vouches for is the one that stands beside it."""
    if stated is not None and (not path.is_file() or file_digest(path) != stated):
        what = "differs from its digest in result.json" if path.exists() else "is missing"
        raise StoreError(f"{path} {what}", f"{AGAIN}, from its checkpoint where that is whole")


def check_covered(folder: Path, steps: int) -> None:
    """The trace of a complete run of so many steps holds each of its first ones, and its log the last one."""
    for name, wanted in ((TRACE, set(range(1, min(TRACED, steps) + 1))), (STEPS, {steps})):
        path, last = folder / name, 0
        for number, line in enumerate(read_bytes(path).splitlines(), 1):
            row = parse(line, what=f"{path}, line {number}")
            step = row.get("step") if isinstance(row, dict) else None
            if type(step) is not int:
                raise InputError(f"{path}, line {number} names no step")
            wanted, last = wanted - {step}, max(last, step)
        if wanted:
            raise InputError(
                f"{path} lacks step {min(wanted)} of {steps}: it ends at step {last}",
                "train it again, or state the outcome with --value: it is then labelled as not bound",
            )
