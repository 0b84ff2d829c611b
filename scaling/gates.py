"""Gates: checks on the ladder itself that a forecast leans on, and what the data said about each.

A gate does not change the numbers of a forecast. It says whether an assumption behind them held where it could be
tested, failed, or could not be told from the data that there are; a failed one caps the grade (`Forecast.with_gates`).

    >>> [gate.name for gate in read_gates("forecast") if gate.passed is False]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.records import canonical, parse, write_atomic

NAME, VERSION = "gates.json", 1


@dataclass(frozen=True)
class Gate:
    """One check. `passed` is None where the data cannot tell; `value` is what was measured, `threshold` its limit,
    `says` the finding in one sentence with its error, and `stage` what was trained ("": everything)."""

    name: str
    passed: bool | None
    value: float | None
    threshold: float
    says: str
    stage: str = ""

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
        return f"gate {self.name}: {self.state}" + (", grade EXTENDED at most" if self.passed is False else "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any], *, what: str = "gate") -> Gate:
        try:
            found = cls(**body)
        except TypeError as error:
            raise InputError(f"{what} is not a gate: {error}") from None
        texts = all(isinstance(text, str) for text in (found.name, found.says, found.stage))
        if found.passed not in (True, False, None) or not texts:
            raise InputError(f"{what} is not a gate: passed = {found.passed!r}")
        return found


def write_gates(folder: str | Path, gates: Iterable[Gate]) -> None:
    """gates.json of a project's folder, whole or not at all."""
    write_atomic(Path(folder) / NAME, canonical({"v": VERSION, "gates": list(gates)}) + b"\n")


def read_gates(folder: str | Path) -> list[Gate]:
    """The gates recorded in a project's folder (or beside its folder `runs`); none where none were checked."""
    found = Path(folder).resolve()
    path = (found.parent if found.name == "runs" else found) / NAME
    if not path.exists():
        return []
    body = parse(path.read_bytes(), what=str(path))
    if not isinstance(body, dict) or body.get("v") != VERSION or not isinstance(body.get("gates"), list):
        raise InputError(
            f"{path} is not a file of gates of version {VERSION}", "write it again: scaling run --stability"
        )
    return [Gate.from_json(gate, what=f"{path}, gate {i}") for i, gate in enumerate(body["gates"])]
