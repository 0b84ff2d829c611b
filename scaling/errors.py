"""Errors that read like a colleague: problem, value, place; then a hint with the next step.

Every error a user can cause is a `ScalingError`: the command line prints it as one sentence and leaves with
`exit_code` (1 your input, 3 refused or not checked, 4 ledger broken or run not repeated; 2, wrong usage, belongs to
the argument parser).
"""

from __future__ import annotations

from typing import Any


class ScalingError(Exception):
    """Something the user can mend. `message` says what and where, `hint` says what to do."""

    exit_code = 1
    estimate: Any = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}. Hint: {self.hint}" if self.hint else self.message


class InputError(ScalingError):
    """A file, column, value or option that cannot be used as it stands."""


class StoreError(ScalingError):
    """A trial's files are unreadable, corrupt, or claimed by another process."""


class NotReplayed(ScalingError):
    """A run that its specification does not repeat: other seeds, another code, or a log that was edited."""

    exit_code = 4


class NotChecked(ScalingError):
    """A report whose page could not be compared: no fault is shown, and nothing is confirmed."""

    exit_code = 3


class NotEarned(ScalingError):
    """A forecast that the data do not support. `estimate` carries what would have been printed."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", estimate: Any = None) -> None:
        super().__init__(message, hint)
        self.estimate = estimate


class LedgerError(ScalingError):
    """The ledger is not what its hashes say. `index`, `line` (from 1) and `offset` (bytes) say where."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        index: int | None = None,
        line: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.index, self.line, self.offset = index, line, offset
