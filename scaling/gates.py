"""Gates: checks on the ladder itself that a forecast leans on, and what the data said about each.

A gate does not change a forecast. It says whether an assumption behind it held where it could be tested, failed, or
could not be told from the data that there are.

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
    """One check. `passed` is None where the data cannot tell; `value` is what was measured, `threshold` its limit, and
    `says` the finding in one sentence with its error."""

    name: str
    passed: bool | None
    value: float | None
    threshold: float
    says: str

    @property
    def state(self) -> str:
        return {True: "passed", False: "FAILED", None: "cannot tell"}[self.passed]

    def __str__(self) -> str:
        return f"{self.name}: {self.state}: {self.says}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any], *, what: str = "gate") -> Gate:
        try:
            found = cls(**body)
        except TypeError as error:
            raise InputError(f"{what} is not a gate: {error}") from None
        if found.passed not in (True, False, None) or not isinstance(found.name, str):
            raise InputError(f"{what} is not a gate: passed = {found.passed!r}")
        return found


def write_gates(folder: str | Path, gates: Iterable[Gate]) -> None:
    """gates.json of a project's folder, whole or not at all."""
    write_atomic(Path(folder) / NAME, canonical({"v": VERSION, "gates": list(gates)}) + b"\n")


def read_gates(folder: str | Path) -> list[Gate]:
    """The gates recorded in a project's folder; none where none were checked."""
    path = Path(folder) / NAME
    if not path.exists():
        return []
    body = parse(path.read_bytes(), what=str(path))
    if not isinstance(body, dict) or body.get("v") != VERSION or not isinstance(body.get("gates"), list):
        raise InputError(
            f"{path} is not a file of gates of version {VERSION}", "write it again: scaling run --stability"
        )
    return [Gate.from_json(gate, what=f"{path}, gate {i}") for i, gate in enumerate(body["gates"])]
