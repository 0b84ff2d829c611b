"""Adam on one flat tensor, its learning-rate schedule, adaptive clipping, and the guard against divergence."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam

from scaling.errors import ScalingError
from scaling.trials import OptimSpec

ADAM_EPS = 1e-8
NORM_DECAY = 0.98  # moving average of the gradient norm: about the last 50 steps
LOSS_DECAY = 0.98
LOSS_FACTOR = 2.0
DEAD_FROM = 100
COLLAPSE_FROM = 0.1  # below this mean reward, a fall by chance looks like a collapse
PATIENCE = 10  # steps above LOSS_FACTOR x average before a trial is given up


class Diverged(ScalingError):
    """A run whose numbers left the rails at `step`, for `reason`. It gives no observations."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"training diverged at step {step}: {reason}", "lower the learning rate, or try another seed")
        self.step, self.reason = step, reason


def rate(optim: OptimSpec, step: int, steps: int) -> float:
    """Learning rate of step `step` of 0 .. steps - 1: linear warm-up over `warmup` x steps, then the schedule.

    cosine: lr (f + (1 - f) (1 + cos pi x) / 2); linear: lr (1 - (1 - f) x); constant: lr; x runs 0 .. 1, f = `final`.
    """
    warm = optim.warmup * steps
    if step < warm:
        return optim.lr * (step + 1) / (warm + 1)
    x = (step - warm) / max(steps - warm, 1)
    if optim.schedule == "constant":
        return optim.lr
    share = (1 + math.cos(math.pi * x)) / 2 if optim.schedule == "cosine" else 1 - x
    return optim.lr * (optim.final + (1 - optim.final) * share)


class Adam:
    """Adam (Kingma and Ba 2015), bias-corrected; gradients first clipped at `clip` x their norm's moving average."""

    def __init__(self, weights: Tensor, optim: OptimSpec) -> None:
        self.weights, self.optim, self.count = weights, optim, torch.zeros((), device=weights.device)
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.usual_norm, self.norms = 0.0, 0

    def step(self, gradient: Tensor, lr: float) -> tuple[float, bool]:
        """One update in place. Returns the gradient's norm before clipping, and whether it was clipped."""
        norm, limit = torch.linalg.vector_norm(gradient).item(), self.optim.clip * self.usual_norm
        if clipped := 0 < limit < norm < math.inf:
            gradient.mul_(limit / norm)
        if 0 < norm < math.inf:  # a batch without a signal says nothing of what is usual
            self.usual_norm = _average(self.usual_norm, limit if clipped else norm, NORM_DECAY, self.norms)
            self.norms += 1
        b1, b2 = self.optim.betas
        # torch's one-pass kernel; written as separate operations, the square root alone took 5 ms on denormal moments
        adam(
            [self.weights],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.count],
            fused=True,
            amsgrad=False,
            beta1=b1,
            beta2=b2,
            lr=lr,
            weight_decay=0.0,
            eps=ADAM_EPS,
            maximize=False,
        )
        return norm, clipped

    def tensors(self) -> dict[str, Tensor]:
        state = torch.tensor([float(self.count), self.usual_norm, self.norms], dtype=torch.float64)
        return {**self._moments(), "adam.state": state}

    def _moments(self) -> dict[str, Tensor]:
        return {"adam.mean": self.mean.to("cpu", copy=True), "adam.square": self.square.to("cpu", copy=True)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.mean.copy_(tensors["adam.mean"])
        self.square.copy_(tensors["adam.square"])
        count, self.usual_norm, *norms = tensors["adam.state"].tolist()
        self.count.fill_(count)
        self.norms = int(norms[0] if norms else count)  # checkpoints of earlier versions counted every step


class Guard:
    """Stops a run whose numbers are not finite, or that stays off the rails for `PATIENCE` steps in a row:

    - its loss, after the warm-up, is above `LOSS_FACTOR` x its moving average (which bad losses do not enter), or,
      from step `DEAD_FROM` on, no better than at the first step: dead weights give one constant loss;
    - in reinforcement learning (`falling`) the loss is near 0 whatever happens, so the reward is watched instead: a
      policy that once earned `COLLAPSE_FROM` and now earns a quarter of its best average has collapsed.
    """

    def __init__(self, warmup_steps: float, *, falling: bool = False) -> None:
        self.warmup_steps, self.falling = warmup_steps, falling
        self.average, self.best, self.first, self.bad, self.count = 0.0, 0.0, 0.0, 0, 0

    def check(self, step: int, loss: float, norm: float, reward: float = 0.0) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(step, f"loss {loss}, gradient norm {norm}")
        reason = self._fallen(reward) if self.falling else self._risen(step, loss)
        self.bad = self.bad + 1 if reason else 0
        self.count += 1
        if self.bad >= PATIENCE:
            raise Diverged(step, reason)

    def _risen(self, step: int, loss: float) -> str:
        if self.count == 0:
            self.first = loss
        if step >= self.warmup_steps and self.count > 0 and loss > LOSS_FACTOR * self.average:
            return f"loss {loss:.3f} stays above {LOSS_FACTOR:g}x its average {self.average:.3f}"
        self.average = _average(self.average, loss, LOSS_DECAY, self.count)
        dead = step >= max(self.warmup_steps, DEAD_FROM) and loss >= self.first
        return f"loss {loss:.3f} is no better than {self.first:.3f} at the first step" if dead else ""

    def _fallen(self, reward: float) -> str:
        self.average = _average(self.average, reward, 1 - 1 / PATIENCE, self.count)
        self.best = max(self.best, self.average if self.count >= PATIENCE else 0.0)
        fallen = self.best > COLLAPSE_FROM and self.average < self.best / 4
        return f"reward fell from {self.best:.3f} to {self.average:.3f}" if fallen else ""

    def tensors(self) -> dict[str, Tensor]:
        state = [self.average, self.best, self.first, self.bad, self.count]
        return {"guard.state": torch.tensor(state, dtype=torch.float64)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.average, self.best, self.first, bad, count = tensors["guard.state"].tolist()
        self.bad, self.count = int(bad), int(count)


def _average(average: float, value: float, decay: float, count: int) -> float:
    """Exponential moving average with a plain mean at the start, so that no bias correction is needed."""
    weight = max(1 - decay, 1 / (count + 1))
    return average + weight * (value - average)
