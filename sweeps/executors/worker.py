"""A worker process: takes one trial after another from standard input, tells what happens on standard output.

Both ways carry one JSON object a line. torch is imported once, before the first command, with the threads that the
environment states: one as a rule, for two stall at every barrier as soon as the machine has other work. When standard
input closes, the runner is gone and so is the worker, at once: everything worth keeping is in a checkpoint.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from scaling.errors import ScalingError
from scaling.records import canonical, parse
from scaling.trials import TrialSpec

TELL_S = 0.1  # steps are told at most this often


class Channel:
    """Commands in, events out. `stopping` is set by a stop command, in the middle of a trial too."""

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self.commands, self.events, self.stopping, self.told = commands, events, threading.Event(), 0.0
        self.waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, kind: str, trial: str, **more: Any) -> None:
        try:
            self.events.write(canonical({"kind": kind, "trial": trial, **more}) + b"\n")
            self.events.flush()
        except OSError:
            os._exit(0)  # nobody listens: the runner is gone

    def step(self, trial: str, step: int) -> None:
        if time.monotonic() - self.told > TELL_S:
            self.told = time.monotonic()
            self.tell("step", trial, step=step)

    def _listen(self) -> None:
        for line in self.commands:
            command = parse(line, what="command")
            if command["do"] == "stop":
                self.stopping.set()
                self.waiting.put(None)
            else:
                self.waiting.put(command)
        os._exit(0)


def serve(channel: Channel) -> None:
    """Run trials until told to stop."""
    import torch

    for room in ("train", "evaluate"):  # paid for before the first trial, not inside its seconds
        import_module(f"sweeps.{room}")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    while (command := channel.waiting.get()) is not None and not channel.stopping.is_set():
        run_one(channel, command)


def run_one(channel: Channel, command: dict[str, Any]) -> None:
    from sweeps.attempts import Attempt, Stopped
    from sweeps.lease import Busy
    from sweeps.store import Store

    spec = TrialSpec.from_json(command["spec"])
    attempt = Attempt(
        spec,
        Store(Path(command["folder"])),
        checkpoint_s=command["checkpoint_s"],
        record=command["record"],
        device=command["device"],
        report=lambda step: channel.step(spec.id, step),
        stopping=channel.stopping.is_set,
        failed=command["failed"],
        warn=lambda text: channel.tell("warning", spec.id, text=text),
    )
    try:
        attempt.run()
    except Busy as error:
        channel.tell("busy", spec.id, text=str(error))
    except Stopped:
        channel.tell("stopped", spec.id)
    except (OSError, ScalingError) as error:  # the disk's fault, not the trial's: it keeps its state and can go on
        text = str(error)
        if isinstance(error, OSError):
            text = f"{error.filename or attempt.folder}: {error.strerror or error}"
        attempt.store.note_fault(spec, text)
        channel.tell("fault", spec.id, text=text)
    else:
        channel.tell("ended", spec.id)


def main() -> None:
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    serve(Channel(sys.stdin.buffer, events))
    sys.stderr.flush()
    os._exit(0)  # nothing is left to write, and tearing torch down takes a second


if __name__ == "__main__":
    main()
