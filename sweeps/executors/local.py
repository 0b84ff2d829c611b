"""Slots on this machine: each is a persistent worker process that runs one trial after another.

Starting a process costs seconds of imports, so a worker is started with its first trial and kept for the next ones.
Behind a short trial the next one already waits in the worker's input, so that it need not ask. Before a trial starts,
the memory that it and the running ones may still claim is set against what the machine has left (`memory`).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from scaling.errors import InputError, ScalingError
from scaling.records import parse
from scaling.trials import TrialSpec
from sweeps import memory
from sweeps.executors import Event
from sweeps.speed import expected_seconds

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LAST = ("ended", "busy", "stopped", "fault")  # a worker's last words on a trial
QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
SHORT_S = 1.0  # behind a trial expected to take less, the next one may queue: what a wrong guess can cost


class Worker:
    """One process on one slot, the trial it works on, and the one behind it."""

    def __init__(self, threads: int = 1, gpu: str = "") -> None:
        self.gpu, self.device = gpu, "gpu" if gpu else "cpu"
        self.trials, self.leaving = list[TrialSpec](), False
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(threads, gpu),
            start_new_session=True,  # a Ctrl-C on the terminal reaches the runner alone
        )
        assert self.process.stdin and self.process.stdout
        self.commands, self.events = self.process.stdin, self.process.stdout
        os.set_blocking(self.events.fileno(), False)
        self.rest = b""

    @property
    def takes(self) -> int:
        """How many trials it may be given now."""
        if self.leaving or len(self.trials) > 1:
            return 0
        return 1 if not self.trials or expected_seconds(self.trials[0], self.device) <= SHORT_S else 0

    @property
    def claimed(self) -> int:
        """Bytes that it holds or may come to hold."""
        return max(memory.resident(self.process.pid), *map(memory.trial_bytes, self.trials), 0)

    def order(self, **command: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed by its closed output
            self.commands.write(json.dumps(command).encode() + b"\n")
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
    """The executor for one machine.

    threads  of each slot          gpus    one slot for each of them, in place of `slots` on the processor
    record   facts that every result carries (code, sweep, command)
    room     () -> bytes that the machine has left and has altogether; None, None: no guard
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        slots: int = 2,
        threads: int = 1,
        gpus: Sequence[str] = (),
        checkpoint_s: float = 20.0,
        record: Mapping[str, Any] | None = None,
        room: Callable[[], tuple[int | None, int | None]] = lambda: (memory.available(), memory.total()),
    ) -> None:
        slots = len(gpus) or slots
        if not 1 <= slots <= 256:
            raise InputError(f"{slots} slots are not possible on one machine", "use about one a core")
        if not 1 <= threads <= 1024:
            raise InputError(f"{threads} threads a slot are not possible", "use 1, or more for large models")
        self.folder, self.slots, self.threads, self.gpus = Path(folder), slots, threads, list(gpus)
        self.checkpoint_s, self.record, self.room = checkpoint_s, dict(record or {}), room
        self.workers: list[Worker] = []
        self.held: list[tuple[TrialSpec, str]] = []  # trials that wait for memory, first come first served
        self.news: list[Event] = []
        self.told = ""
        self.selector = selectors.DefaultSelector()

    @property
    def free(self) -> int:
        if self.held:  # who needs much memory is not overtaken for ever by who needs little
            return 0
        return self.slots - len(self.workers) + sum(worker.takes for worker in self.workers)

    def submit(self, spec: TrialSpec, *, failed: str = "") -> None:
        if not self.free:
            raise ScalingError(f"all {self.slots} slots are taken", "poll until one is free")
        self.held.append((spec, failed))
        self._start_held()

    def poll(self, timeout_s: float) -> list[Event]:
        found, self.news = self.news, []
        for key, _ in self.selector.select(0 if found else timeout_s):
            worker: Worker = key.data
            events, gone = worker.read()
            found += events
            over = {event.trial for event in events if event.kind in LAST}
            worker.trials = [spec for spec in worker.trials if spec.id not in over]
            if gone:
                found += self._bury(worker)
        self._start_held()
        return found

    def close(self, grace_s: float = 5.0) -> None:
        for worker in self.workers:
            worker.order(do="stop")
        deadline = time.monotonic() + grace_s
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            worker.end()
        self.workers.clear()
        self.held.clear()
        self.selector.close()

    def _start_held(self) -> None:
        """Start what is held back, in order, as far as slots and memory go."""
        while self.held:
            spec, failed = self.held[0]
            known = min((w for w in self.workers if w.takes), key=lambda w: len(w.trials), default=None)
            if known and known.trials and len(self.workers) < self.slots:
                known = None  # a slot without a worker is better than a place behind another trial
            if not known and len(self.workers) >= self.slots:
                return
            if (why := self._no_room(spec, known)) is not None:
                if not why:
                    return self._dismiss(known)
                self.news.append(Event("impossible", spec.id, text=why))
            else:
                self._give(known or self._start(), spec, failed)
            self.held.pop(0)

    def _dismiss(self, known: Worker | None) -> None:
        """Workers without a trial give back the memory that they keep from their last one."""
        for worker in self.workers:
            if worker is not known and not worker.trials and not worker.leaving:
                worker.leaving = True
                worker.order(do="stop")

    def _no_room(self, spec: TrialSpec, worker: Worker | None) -> str | None:
        """None: there is memory for it; "": not yet; else why there never will be."""
        if self.gpus:
            return None  # its tensors lie on the device
        need = memory.trial_bytes(spec)
        more = need - (worker.claimed if worker else 0)
        if more <= 0:
            return None
        left, whole = self.room()
        if whole is not None and need > whole:
            return f"needs about {memory.size(need)}, this machine has {memory.size(whole)}"
        promised = sum(w.claimed - memory.resident(w.process.pid) for w in self.workers)
        if left is None or more <= left - promised:
            return None
        if self.told != spec.id:
            self.told = spec.id
            about = f"{memory.size(more)} more are needed, {memory.size(max(0, left - promised))} are left"
            self.news.append(Event("warning", spec.id, text=f"{spec.id} waits for memory: {about}"))
        return ""

    def _give(self, worker: Worker, spec: TrialSpec, failed: str) -> None:
        worker.trials.append(spec)
        worker.order(
            do="run",
            spec=spec.to_json(),
            folder=str(self.folder.resolve()),
            checkpoint_s=self.checkpoint_s,
            record=self.record,
            device="cuda" if worker.gpu else "cpu",
            failed=failed,
        )

    def _start(self) -> Worker:
        taken = {worker.gpu for worker in self.workers}
        gpu = next((name for name in self.gpus if name not in taken), "")
        worker = Worker(self.threads, gpu)
        self.workers.append(worker)
        self.selector.register(worker.events, selectors.EVENT_READ, worker)
        return worker

    def _bury(self, worker: Worker) -> list[Event]:
        """A worker is gone: the trial it was on has lost it, the one behind has not begun."""
        self.selector.unregister(worker.events)
        self.workers.remove(worker)
        words = worker.last_words()
        worker.end()
        on, behind = worker.trials[:1], worker.trials[1:]
        if worker.leaving and worker.process.returncode == 0:  # as it was told
            on, behind = [], worker.trials
        return [Event("died", s.id, text=words) for s in on] + [Event("stopped", s.id) for s in behind]


def environment(threads: int, gpu: str) -> dict[str, str]:
    """Of a worker: its threads, and the one device that it sees (none: the processor)."""
    return {**os.environ, **QUIET, **dict.fromkeys(THREADS, str(threads)), "CUDA_VISIBLE_DEVICES": gpu}


def gpus_of(asked: str) -> list[str]:
    """'0,1' or 'all' as names of devices that this machine has; "" is none."""
    if not asked:
        return []
    try:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"no GPU is to be found here: {error}", "leave --gpus out to use the processor") from None
    there = said.split()
    wanted = there if asked == "all" else [name.strip() for name in asked.split(",")]
    if not wanted or len(set(wanted)) < len(wanted) or set(wanted) - set(there):
        raise InputError(
            f"--gpus {asked}: the GPUs of this machine are {', '.join(there) or 'none'}", "each once, or 'all'"
        )
    return wanted
