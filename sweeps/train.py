"""Training: `pretrain` makes a base model, `reinforce` improves one by GRPO on low-rank adapters.

Legend: B sequences, P prompt tokens, R response tokens, S = P + R, T = S - 1 input positions, Q query columns.

Both loops are deterministic functions of (specification, base weights): data and sampling streams are counted by step,
so a run resumed from a checkpoint equals the unbroken one bit for bit on one thread. No files, no prints: `log` and
`save` belong to the caller.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import AdapterSpec, GRPOSpec, TrialSpec
from sweeps import executed, grpo, losses
from sweeps.batches import Batch, arrange, chunk_steps, corpus
from sweeps.curriculum import Curriculum
from sweeps.gradients import Factors, Weights
from sweeps.models import Adapters, Parameters, initial, initial_adapters
from sweeps.network import Network, Sink, backward, fold, forward
from sweeps.optim import Adam, Diverged, Guard, rate
from sweeps.rollout import Rollouts, sample
from sweeps.tasks import Task, stream, task_of

__all__ = ["Checkpoint", "Diverged", "Trained", "pretrain", "reinforce", "train"]

LOG_LINES = 200

Log = Callable[[dict[str, float]], None]


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


def train(
    spec: TrialSpec,
    *,
    base: Mapping[str, Tensor] | None = None,
    resume: Checkpoint | None = None,
    log: Log = lambda row: None,
    save: Save = lambda checkpoint: None,
    every: int = 0,
) -> Trained:
    """Run one trial to its end. `base` holds the parent's weights (RL trials); `every` > 0 saves that often.

    Raises `Diverged` when the numbers leave the rails, `InputError` when specification and task do not fit.
    """
    task = task_of(spec.task)
    _check(spec, task)
    # moments of rare operations decay into denormal numbers and would stay there: slow on some processors
    torch.set_flush_denormal(True)
    try:
        if spec.stage == "pretrain":
            return pretrain(spec, task, resume=resume, log=log, save=save, every=every)
        if base is None:
            raise InputError(f"RL trial {spec.id} needs the weights of its parent {spec.base.id}")
        return reinforce(spec, task, base, resume=resume, log=log, save=save, every=every)
    finally:
        torch.set_flush_denormal(False)


@torch.no_grad()
def pretrain(spec: TrialSpec, task: Task, *, resume: Checkpoint | None, log: Log, save: Save, every: int) -> Trained:
    """Next-token cross entropy on the demonstrations' completions, mean over the tokens of a step."""
    weights = initial(spec.model, spec.seed)
    gradient = Parameters(spec.model)
    sink = Weights(weights, gradient)
    run = _Run(spec, weights, log, save, every, Guard(spec.optim.warmup * spec.steps))
    run.restore(resume)
    per_chunk = chunk_steps(spec.batch)
    batches: list[Batch] = []
    for step in range(run.step, spec.steps):
        if step % per_chunk == 0 or not batches:
            batches = corpus(task, spec.seed, step // per_chunk, spec.batch)
        batch = batches[step % per_chunk]
        net = fold(weights)
        done = forward(net, batch.tokens, batch.plan)
        loss, dlogits_VQ = cross_entropy(done.logits_VQ, batch.targets_Q)
        sink.finish(*backward(net, done, dlogits_VQ, sink), batch.tokens)
        lr = rate(spec.optim, step, spec.steps)
        norm, clipped = run.adam.step(gradient.flat, lr)
        run.watch(loss, norm, clipped)
        shape = spec.model, batch.plan, len(batch.tokens.distinct_U)
        run.flop += executed.forward_flop(*shape) + executed.backward_flop(*shape)
        run.guard.check(step, loss, norm)
        if run.due:
            run.record({"loss": loss, "lr": lr, "grad_norm": norm})
        run.advance()
    return run.trained()


def reinforce(
    spec: TrialSpec,
    task: Task,
    base: Mapping[str, Tensor],
    *,
    resume: Checkpoint | None,
    log: Log,
    save: Save,
    every: int,
) -> Trained:
    """GRPO: sample groups with the merged adapters, score them, `updates` gradient steps on the adapters' factors."""
    model, (adapter, g) = spec.model, rl_parts(spec)
    frozen = Parameters.of(model, base)
    reference = fold(frozen)
    adapters, gradient = initial_adapters(model, adapter, spec.seed), Adapters(model, adapter)
    curriculum = Curriculum(task, g, spec.seed)
    run = _Run(spec, adapters, log, save, every, Guard(0, falling=True), curriculum)
    run.restore(resume)
    for step in range(run.step, spec.steps):
        prompts_GP = curriculum.draw(step)
        policy = fold(frozen, adapters)
        draw = stream(spec.seed, "rollouts", step)
        rollouts = sample(policy, task, prompts_GP, g.group, draw, temperature=g.temperature)
        curriculum.note(prompts_GP, rollouts.rewards_B.view(g.prompts, g.group))
        batch = arrange(rollouts.prompts_MP, rollouts.completions_BR, rollouts.mask_BR)
        learn = _Learner(g, rollouts, batch, _logprobs(reference, batch, g.temperature))
        lr = rate(spec.optim, step, spec.steps)
        for update in range(g.updates):
            policy = fold(frozen, adapters) if update else policy
            learn.gradients(policy, Factors(frozen, adapters, gradient))
            norm, clipped = run.adam.step(gradient.flat, lr)
            run.watch(learn.loss, norm, clipped)
        run.flop += _rl_flop(spec, rollouts, batch)
        run.guard.check(step, learn.loss, norm, learn.reward)
        if run.due:
            run.record(learn.report() | curriculum.report() | {"lr": lr, "grad_norm": norm})
        run.advance()
    return run.trained()


def cross_entropy(logits_VQ: Tensor, targets_Q: Tensor) -> tuple[float, Tensor]:
    """Mean of -log softmax at the targets, and its gradient (softmax - onehot) / Q."""
    logp_VQ = torch.log_softmax(logits_VQ, dim=0)
    at = targets_Q[None]
    loss = -logp_VQ.gather(0, at).mean().item()
    dlogits_VQ = logp_VQ.exp_()
    dlogits_VQ.scatter_add_(0, at, torch.full_like(at, -1, dtype=torch.float32))
    return loss, dlogits_VQ.div_(len(targets_Q))


@torch.no_grad()
def _logprobs(net: Network, batch: Batch, temperature: float) -> Tensor:
    return grpo.token_logprobs(forward(net, batch.tokens, batch.plan).logits_VQ / temperature, batch.targets_Q)


class _Learner:
    """One batch of rollouts, ready for gradient steps: advantages, weights, old and reference log-probs, all fixed."""

    def __init__(self, g: GRPOSpec, rollouts: Rollouts, batch: Batch, reference_Q: Tensor) -> None:
        self.g, self.batch, self.rollouts = g, batch, rollouts
        rewards_NG = rollouts.rewards_B.view(g.prompts, g.group)
        self.reward, self.loss, self.mismatch = rewards_NG.mean().item(), 0.0, math.nan
        self.silent = grpo.silent(rewards_NG).float().mean().item()
        advantages_B, weights_BR = grpo.signal(g, rewards_NG, rollouts.mask_BR.float())
        self.advantages_B, self.weights_BR = advantages_B[batch.order], weights_BR[batch.order]
        self.mask_BR = rollouts.mask_BR[batch.order].float()
        self.old_BR = rollouts.logprobs_BR[batch.order]
        self.reference_BR = batch.spread(reference_Q)

    def gradients(self, policy: Network, sink: Sink) -> None:
        """Gradients of the loss at the current policy, into `sink`."""
        g = self.g
        with torch.no_grad():
            done = forward(policy, self.batch.tokens, self.batch.plan)
        logits_VQ = done.logits_VQ.requires_grad_()
        logprobs_BR = self.batch.spread(grpo.token_logprobs(logits_VQ / g.temperature, self.batch.targets_Q))
        objective = losses.objective(
            g, logprobs_BR, self.old_BR, self.reference_BR, self.advantages_B, self.weights_BR, self.mask_BR
        )
        (dlogits_VQ,) = torch.autograd.grad(objective.loss, logits_VQ)
        self.loss, self.objective, self.logits_VQ = objective.loss.item(), objective, logits_VQ.detach()
        with torch.no_grad():
            if math.isnan(self.mismatch):  # only before the first update do sampler and policy share their weights
                self.mismatch = (logprobs_BR.detach() - self.old_BR).abs().max().item()
            backward(policy, done, dlogits_VQ, sink, embedding=False)

    def report(self) -> dict[str, float]:
        entropy, kl = grpo.entropy(self.logits_VQ / self.g.temperature).item(), self.objective.kl
        return ({} if kl is None else {"kl": kl.item()}) | {
            "loss": self.loss,
            "reward_mean": self.reward,
            "reward_std": self.rollouts.rewards_B.std().item(),
            "entropy": entropy,
            "clip_share": self.objective.clipped.item(),
            "zero_variance_share": self.silent,
            "logprob_mismatch": self.mismatch,
            "truncation_share": self.rollouts.truncated,
            "completion_tokens": self.mask_BR.sum().item(),
        }


class _Run:
    """What both loops share: step count, optimiser, guard, counters, log cadence, checkpoints."""

    def __init__(
        self,
        spec: TrialSpec,
        weights: Parameters | Adapters,
        log: Log,
        save: Save,
        every: int,
        guard: Guard,
        curriculum: Curriculum | None = None,
    ) -> None:
        self.spec, self.weights, self.log, self.save, self.every, self.guard = spec, weights, log, save, every, guard
        self.adam = Adam(weights.flat, spec.optim)
        self.parts = [part for part in (self.adam, guard, curriculum) if part is not None]
        self.step, self.flop, self.started = 0, 0.0, time.perf_counter()
        self.since = (-math.inf, 0.0, 0, 0)  # the last row: highest loss and gradient norm, updates, clipped ones
        self.cadence = max(1, spec.steps // LOG_LINES)

    def restore(self, resume: Checkpoint | None) -> None:
        if resume is None:
            return
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

    def watch(self, loss: float, norm: float, clipped: bool) -> None:
        """Of every update, so that a spike between two rows is seen."""
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


def _rl_flop(spec: TrialSpec, rollouts: Rollouts, batch: Batch) -> int:
    """Rollout, reference pass, and every update of one step."""
    model, task, (adapter, g) = spec.model, spec.task, rl_parts(spec)
    prompts, counts = rollouts.prompts_MP, rollouts.mask_BR.sum(0).tolist()
    sampled = executed.rollout_flop(model, len(prompts), task.prompt_tokens, counts, len(prompts.unique()))
    shape = model, batch.plan, len(batch.tokens.distinct_U)
    once = executed.forward_flop(*shape)
    update = once + executed.backward_flop(*shape, adapter=adapter) + executed.merge_flop(model, adapter)
    return sampled + once + g.updates * update


def rl_parts(spec: TrialSpec) -> tuple[AdapterSpec, GRPOSpec]:
    """What an RL trial has and a base trial has not."""
    if spec.adapter is None or spec.grpo is None:
        raise InputError(f"trial {spec.id} has no adapter and no grpo part", "only stage 'rl' takes them")
    return spec.adapter, spec.grpo


def _check(spec: TrialSpec, task: Task) -> None:
    if (spec.model.outputs, spec.model.vocab) != (task.outputs, task.vocab):
        raise InputError(
            f"model has {spec.model.outputs} of {spec.model.vocab} tokens as outputs, task "
            f"{spec.task.name} has {task.outputs} of {task.vocab}",
            "take both from the task",
        )
    if spec.optim.schedule == "constant" and spec.optim.warmup:
        raise InputError(
            "a constant learning rate takes no warm-up share",
            "such a run may be extended, and its share of more steps would differ: set warmup = 0",
        )
    if spec.grpo and spec.batch != spec.grpo.prompts * spec.grpo.group:
        raise InputError(f"batch {spec.batch} is not {spec.grpo.prompts} prompts x {spec.grpo.group} completions")
