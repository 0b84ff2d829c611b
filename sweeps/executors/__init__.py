"""Executors: where trials run. One small protocol, submit / poll / cancel; the state of every trial lives on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from scaling.trials import TrialSpec


@dataclass(frozen=True)
class Event:
    """What a worker tells: a step is done, the trial ended (its result is in the store), it belongs to another
    runner (busy), its worker is gone (died), its files cannot be written (fault), or something the person should know
    (warning)."""

    kind: Literal["step", "ended", "busy", "died", "stopped", "fault", "warning"]
    trial: str
    step: int = 0
    text: str = ""


class Executor(Protocol):
    """A place with a fixed number of slots. Losing a worker is an event, never an exception."""

    @property
    def free(self) -> int:
        """Slots that wait for a trial."""

    def submit(self, spec: TrialSpec, *, failed: str = "") -> None:
        """Start a trial in a free slot. `failed`: digest of the failed result that may be tried again."""

    def poll(self, timeout_s: float) -> list[Event]:
        """Events since the last call; waits for the first one up to `timeout_s`."""

    def cancel(self, trial: str) -> None:
        """Stop one trial; it can be resumed."""

    def close(self, grace_s: float = 5.0) -> None:
        """Stop everything: running trials save their state and leave; who does not within the grace is killed."""
