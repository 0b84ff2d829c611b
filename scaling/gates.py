"""Gates: checks on the ladder itself that a forecast leans on, and what the data said about each.

A gate does not change the numbers of a forecast. It says whether an assumption behind them held where it could be
tested, failed, or could not be told from the data that there are; a failed one lowers the grade
(`Forecast.with_gates`). gates.json names the sweep that it is about: beside another sweep it is refused.

    >>> [gate.name for gate in read_gates("forecast") if gate.passed is False]
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.records import canonical, parse, write_atomic

NAME, VERSION = "gates.json", 2  # version 1 did not name its sweep
SWEEP, RECORD = "sweep.toml", "record"  # a folder's sweep, and the table there that states its digest
LONGEST = 500  # characters of a text
AGAIN = "scaling run --stability writes it again, or remove the file"


@dataclass(frozen=True)
class Gate:
    """One check. `passed` is None where the data cannot tell; `value` is what was measured, `threshold` its limit,
    `says` the finding in one sentence with its error, and `stage` what was trained ("": everything). A `premise` is
    what extrapolation itself rests on (one law through the rungs): without it no forecast stands beyond the
    back-tests. Other checks are of quality: a recipe that is not the best can still be foretold."""

    name: str
    passed: bool | None
    value: float | None
    threshold: float
    says: str
    stage: str = ""
    premise: bool = True

    def __post_init__(self) -> None:
        """Only what prints safely and reads back: `passed` decides grades, and the texts go to terminals."""
        if not isinstance(self.premise, bool):
            raise InputError(f"premise = {self.premise!r:.40} is neither true nor false")
        if not (self.passed is None or isinstance(self.passed, bool)):
            raise InputError(f"passed = {self.passed!r:.40} is none of true, false, null")
        if not (self.value is None or _is_number(self.value)):
            raise InputError(f"value = {self.value!r:.40} is neither a finite number nor null")
        if not _is_number(self.threshold):
            raise InputError(f"threshold = {self.threshold!r:.40} is not a finite number")
        for key in ("name", "says", "stage"):
            text = getattr(self, key)
            if not isinstance(text, str) or len(text) > LONGEST or not text.isprintable():
                raise InputError(f"{key} is not a text of at most {LONGEST} printable characters: {ascii(text)[:40]}")

    def concerns(self, stage: str) -> bool:
        """Whether a forecast of this stage leans on it: RL starts from what pre-training made."""
        return self.stage in ("", "pretrain", stage)

    @property
    def state(self) -> str:
        return {True: "passed", False: "FAILED", None: "cannot tell"}[self.passed]

    def __str__(self) -> str:
        return f"{self.name}: {self.state}: {self.says}"

    @property
    def warning(self) -> str:
        """What a forecast says of a gate that it did not pass."""
        failed = " (EXTENDED at most" + (", REFUSED beyond the back-tests)" if self.premise else ")")
        return f"gate {self.name}: {self.state}" + (failed if self.passed is False else "")

    @property
    def refusal(self) -> str:
        """Why a forecast beyond the back-tested factor is refused where the gate failed."""
        return f"gate {self.name} FAILED ({self.says}); the target is beyond the back-tests"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Any, *, what: str = "gate", hint: str = "") -> Gate:
        """The inverse of `to_json`; `what` and `hint` go into the error of one that cannot be used."""
        known = [field.name for field in fields(cls)]
        if not isinstance(body, Mapping):
            raise InputError(f"{what} is not a mapping with the keys {', '.join(known)}", hint)
        for key in (*known, *body):
            if key not in body and key not in ("stage", "premise"):
                raise InputError(f"{what} has no {key}", hint)
            if key not in known:
                raise InputError(f"{what} has an unknown key {key!a:.40}", hint)
        # JSON writes 1.0 as 1
        numbers = {k: float(body[k]) for k in ("value", "threshold") if _is_number(body[k])}
        try:
            return cls(**{**body, **numbers})
        except InputError as error:
            raise InputError(f"{what}: {error.message}", hint) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def write_gates(folder: str | Path, gates: Iterable[Gate], *, sweep: str = "") -> None:
    """gates.json of a project's folder, whole or not at all; `sweep` is the digest of the sweep that was checked."""
    write_atomic(Path(folder) / NAME, canonical({"v": VERSION, "sweep": sweep, "gates": list(gates)}) + b"\n")


def gates_path(folder: str | Path) -> Path:
    """Where the gates of a project's folder (or of its folder `runs`) stand."""
    found = Path(folder).resolve()
    return (found.parent if found.name == "runs" else found) / NAME


def read_gates(folder: str | Path) -> list[Gate]:
    """The gates recorded in a project's folder (or beside its folder `runs`); none where none were checked."""
    path = gates_path(folder)
    if not path.exists():
        return []
    try:
        body = parse(path.read_bytes(), what=str(path))
    except InputError as error:
        raise InputError(error.message, AGAIN) from None
    version = body.get("v") if isinstance(body, dict) else None
    if type(version) is int and version > VERSION:
        raise InputError(f"{path} was written by a newer version of this program (version {version})", AGAIN)
    if type(version) is not int or version < 1 or not isinstance(body.get("gates"), list):
        raise InputError(f"{path} is not a file of gates", AGAIN)
    checked, own = body.get("sweep"), sweep_of(path.parent)
    if own and version > 1 and checked != own:
        raise InputError(f"{path} is about another sweep ({ascii(checked)[:14]}, this folder's is {own:.12})", AGAIN)
    return [Gate.from_json(gate, what=f"{path}, gate {i}", hint=AGAIN) for i, gate in enumerate(body["gates"], 1)]


def sweep_of(folder: Path) -> str:
    """The digest that the folder's sweep.toml states; "" where there is none."""
    path = folder / SWEEP
    if not path.exists():
        return ""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8")).get(RECORD)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    return str(record.get("digest") or "") if isinstance(record, dict) else ""
