"""What every training loop shares: steps counted, optimiser, guard, log rows, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scaling.results import TRACED
from scaling.trials import TrialSpec
from sweeps.models import Adapters, Parameters
from sweeps.optim import Adam, Guard

LOG_LINES = 200

Log = Callable[[dict[str, float]], None]
Trace = Callable[[dict[str, int | str]], None]


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` steps. `tensors`: the weights under transformers' or peft's names, plus `adam.*`, `guard.*`
    and `run.state`: all that a resumed run needs."""

    step: int
    tensors: dict[str, Tensor]

    @property
    def weights(self) -> dict[str, Tensor]:
        return {n: t for n, t in self.tensors.items() if not n.startswith(("adam.", "guard.", "run."))}


@dataclass(frozen=True)
class Trained:
    """Final weights by name, steps taken, sequence tokens trained on, and FLOPs really executed."""

    tensors: dict[str, Tensor]
    steps: int
    tokens: int
    executed_flop: float


Save = Callable[[Checkpoint], None]


@dataclass(frozen=True)
class Upkeep:
    """What a run is given beside its specification: where it goes on, whom it tells, where and how often it saves
    (`every` steps; 0: at its end only), and the device that it computes on."""

    resume: Checkpoint | None = None
    log: Log = lambda row: None
    save: Save = lambda checkpoint: None
    every: int = 0
    device: str = "cpu"
    trace: Trace = lambda row: None


class Part(Protocol):
    """State beside the weights that a resumed run needs."""

    def tensors(self) -> dict[str, Tensor]: ...
    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...


class Run:
    """A run under way. `parts`: what else a checkpoint keeps."""

    def __init__(
        self,
        spec: TrialSpec,
        weights: Parameters | Adapters,
        upkeep: Upkeep,
        guard: Guard,
        *parts: Part,
    ) -> None:
        self.spec, self.weights, self.guard = spec, weights, guard
        self.log, self.save, self.every, self.trace = upkeep.log, upkeep.save, upkeep.every, upkeep.trace
        self.adam = Adam(weights.flat, spec.optim)
        self.parts: tuple[Part, ...] = (self.adam, guard, *parts)
        self.step, self.flop, self.started = 0, 0.0, time.perf_counter()
        self.since = (-math.inf, 0.0, 0, 0)  # the last row: highest loss and gradient norm, updates, clipped ones
        self.cadence = max(1, spec.steps // LOG_LINES)
        if upkeep.resume is not None:
            self._restore(upkeep.resume)

    def _restore(self, resume: Checkpoint) -> None:
        for name, view in self.weights.named().items():
            view.copy_(resume.tensors[name])
        for part in self.parts:
            part.restore(resume.tensors)
        self.step = resume.step
        self.flop, *since = resume.tensors["run.state"].tolist()
        if since:  # checkpoints of earlier versions hold none
            self.since = (since[0], since[1], int(since[2]), int(since[3]))

    @property
    def tokens(self) -> int:
        return self.step * self.spec.batch * self.spec.task.sequence_tokens

    @property
    def due(self) -> bool:
        """Whether the step in progress gets a log line: the first, the last, and one in `cadence`."""
        return (self.step + 1) % self.cadence == 0 or self.step + 1 in (1, self.spec.steps)

    def watch(self, loss: float, norm: float, clipped: bool, **seen: float) -> None:
        """Of every update, so that a spike between two rows is seen; the first steps' digit by digit, with what else
        was `seen`."""
        if self.step < TRACED:
            seen = {"loss": loss, "grad_norm": norm, **seen}
            self.trace({"step": self.step + 1, **{name: float(value).hex() for name, value in seen.items()}})
        highest, steepest, updates, cut = self.since
        self.since = (max(highest, loss), max(steepest, norm), updates + 1, cut + clipped)

    def record(self, row: dict[str, float]) -> None:
        """Log the step in progress, and what was highest since the last row; its number and tokens are those at its
        end."""
        highest, steepest, updates, cut = self.since
        self.since = (-math.inf, 0.0, 0, 0)
        since = {"loss_max": highest, "grad_norm_max": steepest, "clipped": cut / updates}
        tokens = (self.step + 1) * self.spec.batch * self.spec.task.sequence_tokens
        elapsed = time.perf_counter() - self.started
        self.log({"step": self.step + 1, **row, **since, "tokens": tokens, "elapsed": elapsed})

    def advance(self) -> None:
        """Close the step; save a checkpoint when due (the end of a run has its own)."""
        self.step += 1
        if self.every and self.step % self.every == 0 and self.step < self.spec.steps:
            self.save(Checkpoint(self.step, self._tensors()))

    def _tensors(self) -> dict[str, Tensor]:
        state = {"run.state": torch.tensor([self.flop, *self.since], dtype=torch.float64)}
        for part in self.parts:
            state |= part.tensors()
        return self.weights.tensors() | state

    def trained(self) -> Trained:
        self.save(Checkpoint(self.step, self._tensors()))
        return Trained(self.weights.tensors(), self.step, self.tokens, self.flop)
