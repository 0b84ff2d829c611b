"""Executors: where trials run. One small protocol, submit / poll / close / free; every state is on disk.

The runner (`sweeps.sweep`) needs nothing else. An executor takes a specification, sees to it that
`sweeps.attempts.Attempt` runs it somewhere, and says what became of it. How an engine for a cluster joins:

- The project's folder is shared: every worker reads and writes the same runs/. Results, checkpoints and leases are
  files there, so no number ever travels through an executor, and one that loses its connection loses nothing.
- Each trial is run by `Attempt(spec, Store(folder), ...).run()`, which claims it with a lease in its folder. A trial
  that belongs to another runner ends as `busy`. A lease names host, boot and process: where a host is gone
  for good its lease must be removed, since from elsewhere nobody can tell; an engine that knows may do so.
- A worker that is gone, however, is an event (`died`), never an exception. The runner gives the trial a second worker,
  from its checkpoint, and counts it as FAILED after that.
- `stopping` of an attempt is how close reaches it: it saves its state and leaves (`stopped`). An engine whose
  machines are taken away (preemption) sets it on the warning signal, and submits again.
- Memory, devices and queues are the executor's own business: it may hold a submitted trial back (and say so by a
  `warning`), or refuse one that can never fit (`impossible`).

tests/sweeps/test_executors.py holds the contract that every executor passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from scaling.trials import TrialSpec


@dataclass(frozen=True)
class Event:
    """What becomes of a trial: a step is done; it ended (its result is in the store), it belongs to another runner
    (busy), its worker is gone (died), it was stopped and can be resumed, its files cannot be written (fault), it fits
    nowhere here (impossible); or something the person should know (warning). All but step and warning are the last
    word on a submission."""

    kind: Literal["step", "ended", "busy", "died", "stopped", "fault", "impossible", "warning"]
    trial: str
    step: int = 0
    text: str = ""


class Executor(Protocol):
    """A place that takes a number of trials at once. Losing a worker is an event, never an exception."""

    @property
    def free(self) -> int:
        """How many more trials it takes now."""

    def submit(self, spec: TrialSpec, *, failed: str = "") -> None:
        """Take a trial; refused when nothing is free. `failed`: digest of the failed result that may be tried again."""

    def poll(self, timeout_s: float) -> list[Event]:
        """Events since the last call; waits for the first one up to `timeout_s`."""

    def close(self, grace_s: float = 5.0) -> None:
        """Stop everything: running trials save their state and leave; who does not within the grace is killed."""
