"""One attempt at one trial, from its folder to its folder: claim, resume, train, measure, record.

Runs inside a worker process. Whatever happens ends in the store: COMPLETE with observations, DIVERGED or FAILED with
the reason. Only a stop leaves no result: the trial goes on from its checkpoint another time.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scaling.compute import inputs_of
from scaling.errors import InputError, StoreError
from scaling.observations import OVERALL
from scaling.provenance import machine, versions
from scaling.results import STEPS, TRACE
from scaling.trials import TrialSpec, TrialState
from sweeps import checkpoints, ends, memory
from sweeps.ladder import expected_seconds
from sweeps.lease import lease
from sweeps.store import StepLog, Store, Trial, read_steps

if TYPE_CHECKING:
    from torch import Tensor

    from sweeps.train import Checkpoint, Trained

DEVICES = ("cpu", "cuda")
OFFERS_S = 1.0  # a checkpoint is offered about this often: the delay of a clean stop


class Stopped(Exception):
    """The runner asked to stop; the newest state is saved."""


@dataclass
class Attempt:
    """One trial in the making. `report` hears of steps, `stopping` says whether to leave at the next checkpoint,
    `failed` is the digest of the failed result that may be tried again ("" for none), `record` the facts that the
    result carries, `device` one of DEVICES."""

    spec: TrialSpec
    store: Store
    checkpoint_s: float = 20.0
    record: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    report: Callable[[int], None] = lambda step: None
    stopping: Callable[[], bool] = lambda: False
    failed: str = ""
    warn: Callable[[str], None] = lambda text: None

    def run(self) -> Trial:
        """Carry the trial to its end, or find that it has one. Raises `Busy` and `Stopped`."""
        self.folder = self.store.path(self.spec)
        self.store.start(self.spec)
        with lease(self.folder):
            found = self.store.trial(self.spec)
            if found.ended and found.result["digest"] != self.failed:
                return found  # another runner was quicker
            if found.ended:
                self.store.forget(self.spec)
            if steps := self.store.earlier(self.spec):
                ends.keep(self.folder, steps)
            if found.reason and not found.ended:
                self.warn(found.reason)
            return self._close()

    def _close(self) -> Trial:
        from sweeps.optim import Diverged

        self.started, self.earlier_s, self.saved_at = time.monotonic(), 0.0, time.monotonic()
        memory.forget_peak()
        if self.device not in DEVICES:
            raise InputError(f"device {self.device!r} is none of {', '.join(DEVICES)}")
        try:
            return self._complete()
        except (Stopped, OSError):
            raise
        except Diverged as error:
            state, reason, trace = TrialState.DIVERGED, f"step {error.step}: {error.reason}", ""
        except MemoryError:
            state, reason, trace = TrialState.FAILED, "out of memory", ""
        except Exception as error:
            state, reason, trace = TrialState.FAILED, f"{type(error).__name__}: {error}", traceback.format_exc(limit=-6)
        return self._finish(state, reason=reason, traceback=trace, inputs=inputs_of(self.spec) | self._seconds())

    def _complete(self) -> Trial:
        from sweeps.evaluate import evaluate
        from sweeps.measured import observations_of

        base = base_of(self.store, self.spec)
        trained = self._train(base)
        inputs = {
            **inputs_of(self.spec),
            "tokens": float(trained.tokens),
            "executed_flop": float(trained.executed_flop),
            **self._seconds(),
        }
        begun = time.monotonic()
        measured = evaluate(self.spec, trained.tensors, base=base, device=self.device)
        rows = observations_of(self.spec, measured, inputs, trained.steps) + ends.trajectory(self.folder)
        n = self.spec.evaluation.samples
        sampled = None if measured.samples is None else {"n": n, "pass_rate": float(measured.samples.mean()) / n}
        return self._finish(
            TrialState.COMPLETE,
            observations=rows,
            inputs=inputs,
            checkpoint=self.newest.sha256,
            evaluation_flop=measured.executed_flop,
            evaluate_s=time.monotonic() - begun,
            values={row.metric: row.value for row in rows if row.bucket == OVERALL and row.final},
            sampled=sampled,
        )

    def _train(self, base: Mapping[str, Tensor] | None) -> Trained:
        from sweeps.train import train

        resume = self._resume()
        self.store.note_attempt(self.spec, resume.step if resume else 0)
        log, trace = (StepLog(self.folder, resume.step if resume else 0, name) for name in (STEPS, TRACE))

        def on_log(row: Mapping[str, Any]) -> None:
            log.add(row)
            self.report(int(row["step"]))

        def on_save(checkpoint: Checkpoint) -> None:
            last, stopping = checkpoint.step == self.spec.steps, self.stopping()
            if last or stopping or time.monotonic() - self.saved_at >= self.checkpoint_s:
                log.flush()
                trace.flush()
                facts = self._seconds()
                self.newest = checkpoints.save(self.folder, checkpoint.step, checkpoint.tensors, facts, keep=not last)
                self.saved_at = time.monotonic()
            if stopping and not last:
                raise Stopped

        seconds = expected_seconds(self.spec, "gpu" if self.device == "cuda" else "cpu")
        offers = max(1.0, seconds / min(OFFERS_S, max(self.checkpoint_s, 1e-3)))
        every = max(1, round(self.spec.steps / offers))
        try:
            return train(
                self.spec,
                base=base,
                resume=resume,
                log=on_log,
                save=on_save,
                every=every,
                device=self.device,
                trace=trace.add,
            )
        finally:
            log.close()
            trace.close()

    def _resume(self) -> Checkpoint | None:
        """The newest whole checkpoint; what was wrong with a newer one is said, never hidden."""
        from sweeps.train import Checkpoint

        if checkpoints.newest(self.folder) is None and not (self.folder / checkpoints.MANIFEST).exists():
            return None
        try:
            saved, tensors, faults = checkpoints.load(self.folder)
        except StoreError as error:
            self.warn(f"{error}; the trial starts from its first step")
            return None
        for fault in faults:
            self.warn(f"{fault}; the trial goes on from step {saved.step}")
        self.earlier_s = saved.facts.get("wall_s", 0.0)
        return Checkpoint(saved.step, tensors)

    def _seconds(self) -> dict[str, float]:
        """Time spent on training so far, interrupted attempts' saved part included. One thread is one device."""
        seconds = self.earlier_s + time.monotonic() - self.started
        return {"wall_s": seconds, "device_s": seconds}

    def _finish(self, state: TrialState, **facts: Any) -> Trial:
        import torch

        from sweeps.health import health

        gates = health(self.spec.stage, read_steps(self.folder), state, facts.get("reason", ""))
        return self.store.finish(
            self.spec,
            state,
            **facts,
            health=[gate.to_json() for gate in gates],
            cost_usd=None,
            threads=torch.get_num_threads(),
            total_s=self.earlier_s + time.monotonic() - self.started,
            peak_bytes=memory.peak(),
            versions=versions(),
            device=self.device,
            gpu=os.environ.get("CUDA_VISIBLE_DEVICES") if self.device == "cuda" else None,
            machine={**machine(), "memory_bytes": memory.total()},
            attempts=self.store.attempts(self.spec),
            **self.record,
        )


def base_of(store: Store, spec: TrialSpec) -> dict[str, Tensor] | None:
    """The weights that a trial starts from: its parent's, exactly those its result names; None without a parent."""
    if spec.parent is None:
        return None
    parent = store.end(spec.parent)
    if parent is None or parent["state"] != TrialState.COMPLETE:
        raise StoreError(f"parent {spec.parent.end} is not complete", "run the parent first")
    from sweeps.train import Checkpoint

    tensors = checkpoints.exact(store.path(spec.parent), parent["checkpoint"])
    return Checkpoint(spec.parent.steps, tensors).weights
