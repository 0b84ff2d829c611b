"""Slots on this machine: persistent worker processes with one thread each, side by side.

Starting a process costs seconds of imports, so a worker is started with its first trial and kept for the next ones.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from scaling.errors import InputError, ScalingError
from scaling.records import canonical, parse
from scaling.trials import TrialSpec
from sweeps.executors import Event

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FREEING = ("ended", "busy", "stopped", "fault")
QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


class Worker:
    """One process, and the trial it works on ("" = none)."""

    def __init__(self) -> None:
        self.trial, self.leaving = "", False
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **QUIET, **dict.fromkeys(THREADS, "1")},
            start_new_session=True,  # a Ctrl-C on the terminal reaches the runner alone
        )
        assert self.process.stdin and self.process.stdout
        self.commands, self.events = self.process.stdin, self.process.stdout
        os.set_blocking(self.events.fileno(), False)
        self.rest = b""

    def order(self, **command: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed by its closed output
            self.commands.write(canonical(command) + b"\n")
            self.commands.flush()

    def read(self) -> tuple[list[Event], bool]:
        """Whole events that have arrived, and whether the process is gone."""
        data = self.events.read()
        *lines, self.rest = (self.rest + (data or b"")).split(b"\n")
        return [Event(**parse(line, what="event")) for line in lines], data == b""

    def last_words(self) -> str:
        """Why the process ended: its signal or exit code, and the end of what it wrote to standard error."""
        code = self.process.wait()
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - 2000))
        said = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
        how = f"worker killed by signal {-code}" if code < 0 else f"worker ended with exit code {code}"
        hint = " (out of memory?)" if code == -9 else ""
        return ": ".join([how + hint, *said])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.commands, self.events, self.errors):
            with contextlib.suppress(OSError):
                stream.close()


class Local:
    """The executor for one machine."""

    def __init__(
        self, folder: str | Path, *, slots: int = 2, checkpoint_s: float = 20.0, code: Mapping[str, Any] | None = None
    ) -> None:
        if not 1 <= slots <= 256:
            raise InputError(f"{slots} slots are not possible on one machine", "use about one a core")
        self.folder, self.slots, self.checkpoint_s, self.code = Path(folder), slots, checkpoint_s, dict(code or {})
        self.workers: list[Worker] = []
        self.selector = selectors.DefaultSelector()

    @property
    def free(self) -> int:
        return self.slots - sum(1 for worker in self.workers if worker.trial or worker.leaving)

    def submit(self, spec: TrialSpec, *, failed: str = "") -> None:
        if not self.free:
            raise ScalingError(f"all {self.slots} slots are taken", "poll until one is free")
        worker = next((w for w in self.workers if not (w.trial or w.leaving)), None) or self._start()
        worker.trial = spec.id
        worker.order(
            do="run",
            spec=spec.to_json(),
            folder=str(self.folder.resolve()),
            checkpoint_s=self.checkpoint_s,
            code=self.code,
            failed=failed,
        )

    def poll(self, timeout_s: float) -> list[Event]:
        found: list[Event] = []
        for key, _ in self.selector.select(timeout_s):
            worker: Worker = key.data
            events, gone = worker.read()
            found += events
            if any(event.trial == worker.trial and event.kind in FREEING for event in events):
                worker.trial = ""
            if gone:
                found += self._bury(worker)
        return found

    def cancel(self, trial: str) -> None:
        for worker in self.workers:
            if worker.trial == trial:
                worker.leaving = True
                worker.order(do="stop")

    def close(self, grace_s: float = 5.0) -> None:
        for worker in self.workers:
            worker.order(do="stop")
        deadline = time.monotonic() + grace_s
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            worker.end()
        self.workers.clear()
        self.selector.close()

    def _start(self) -> Worker:
        worker = Worker()
        self.workers.append(worker)
        self.selector.register(worker.events, selectors.EVENT_READ, worker)
        return worker

    def _bury(self, worker: Worker) -> list[Event]:
        self.selector.unregister(worker.events)
        self.workers.remove(worker)
        words = worker.last_words()
        worker.end()
        return [Event("died", worker.trial, text=words)] if worker.trial else []
