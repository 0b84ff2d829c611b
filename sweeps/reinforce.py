"""Reinforcement learning: Group Relative Policy Optimization of low-rank adapters over a frozen base model.

Legend: N prompts, G completions of one prompt, B completions, R response tokens, Q predicted tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import AdapterSpec, GRPOSpec, TrialSpec
from sweeps import executed, grpo, losses
from sweeps.batches import Batch, arrange
from sweeps.curriculum import Curriculum
from sweeps.gradients import Factors
from sweeps.models import Adapters, Parameters, initial_adapters
from sweeps.network import Network, Sink, backward, fold, forward
from sweeps.optim import Guard, rate
from sweeps.rollout import Rollouts, sample
from sweeps.runs import Run, Trained, Upkeep
from sweeps.tasks import Task, stream

WATCHED = 10  # where beta = 0, every so many log rows the reference model is asked all the same, to report the KL


def reinforce(spec: TrialSpec, task: Task, base: Mapping[str, Tensor], upkeep: Upkeep) -> Trained:
    """GRPO: sample groups with the merged adapters, score them, `updates` gradient steps on the adapters' factors."""
    model, (adapter, g), device = spec.model, rl_parts(spec), upkeep.device
    frozen = Parameters.of(model, base).to(device)
    reference = fold(frozen)
    adapters = initial_adapters(model, adapter, spec.seed).to(device)
    gradient = Adapters(model, adapter).to(device)
    curriculum = Curriculum(task, g, spec.seed)
    run = Run(spec, adapters, upkeep, Guard(0, falling=True), curriculum)
    for step in range(run.step, spec.steps):
        prompts_NP = curriculum.draw(step)
        policy = fold(frozen, adapters)
        draw = stream(spec.seed, "rollouts", step)
        rollouts = sample(policy, task, prompts_NP, g.group, draw, temperature=g.temperature)
        curriculum.note(prompts_NP, rollouts.rewards_B.view(g.prompts, g.group))
        watched = run.due and ((step + 1) // run.cadence % WATCHED == 0 or step + 1 == spec.steps)
        learn = Learner(spec, rollouts, reference, watched=watched)
        lr = rate(spec.optim, step, spec.steps)
        for update in range(g.updates):
            policy = fold(frozen, adapters) if update else policy
            learn.gradients(policy, Factors(frozen, adapters, gradient))
            norm, clipped = run.adam.step(gradient.flat, lr)
            run.watch(learn.loss, norm, clipped, reward_mean=learn.reward, entropy=rollouts.entropy)
        run.flop += learn.flop + g.updates * executed.merge_flop(model, adapter)
        run.guard.check(step, learn.loss, norm, learn.reward)
        if run.due:
            run.record(learn.report() | curriculum.report() | {"lr": lr, "grad_norm": norm})
        run.advance()
    return run.trained()


class Learner:
    """One batch of rollouts, ready for gradient steps: advantages, weights, old and reference log-probs, all fixed.

    Groups that cannot move the loss are left out of the update: exact, as weights come from the whole batch. `flop`:
    executed for the rollouts and everything asked of the learner so far, the adapters' merge left out.
    """

    def __init__(self, spec: TrialSpec, rollouts: Rollouts, reference: Network, *, watched: bool) -> None:
        self.spec, self.rollouts, self.device = spec, rollouts, reference.embed.device
        (self.adapter, self.g), mask_BR = rl_parts(spec), rollouts.mask_BR.float()
        rewards_NG = rollouts.rewards_B.view(self.g.prompts, self.g.group)
        self.reward, self.loss, self.mismatch = rewards_NG.mean().item(), 0.0, math.nan
        self.silent = grpo.silent(rewards_NG).float().mean().item()
        advantages_B, weights_BR = grpo.signal(self.g, rewards_NG, mask_BR)
        self.flop = executed.sampled_flop(spec.model, rollouts, device=self.device)
        kept_N = grpo.teaches(self.g, advantages_B, weights_BR).view_as(rewards_NG).any(1)
        self.kl, self.clipped = math.nan, 0.0
        # the limit of the health gate is float32's: in half precision the gate finds no column and says so
        exact = reference.embed.dtype == torch.float32
        self.mismatch_name = "logprob_mismatch" if exact else "logprob_mismatch_half"
        if watched and not self.g.beta:
            whole = _batch(rollouts, torch.ones_like(kept_N), self.device)
            old_BR, whole_BR = (x[whole.order].to(self.device) for x in (rollouts.logprobs_BR, mask_BR))
            k3_BR = losses.kl_k3(old_BR, self._asked(reference, whole)) * whole_BR
            self.kl = (k3_BR.sum() / whole_BR.sum()).item()
        self.batch = _batch(rollouts, kept_N, self.device) if kept_N.any() else None
        if self.batch is None:
            return
        rows_B = kept_N.repeat_interleave(self.g.group).nonzero()[:, 0][self.batch.order]
        self.share = (mask_BR[rows_B].sum() / mask_BR.sum()).item()  # of the tokens that are kept
        self.advantages_B, self.weights_BR, self.mask_BR, self.old_BR = (
            x[rows_B].to(self.device) for x in (advantages_B, weights_BR, mask_BR, rollouts.logprobs_BR)
        )
        self.reference_BR = self._asked(reference, self.batch) if self.g.beta else None

    @torch.no_grad()
    def _asked(self, net: Network, batch: Batch) -> Tensor:
        """Log-probs (B, R) that another network gives to the sampled tokens."""
        distinct = len(batch.tokens.distinct_U)
        self.flop += executed.forward_flop(self.spec.model, batch.plan, distinct, device=self.device)
        logits_VQ = forward(net, batch.tokens, batch.plan).logits_VQ
        return batch.spread(grpo.token_logprobs(logits_VQ, batch.targets_Q, self.g.temperature))

    def gradients(self, policy: Network, sink: Sink) -> None:
        """Gradients of the loss at the current policy, into `sink`; none where no group teaches anything."""
        if self.batch is None:
            return
        g, batch = self.g, self.batch
        with torch.no_grad():
            done = forward(policy, batch.tokens, batch.plan)
        logits_VQ = done.logits_VQ.requires_grad_()
        logprobs_BR = batch.spread(grpo.token_logprobs(logits_VQ, batch.targets_Q, g.temperature))
        objective = losses.objective(
            g, logprobs_BR, self.old_BR, self.reference_BR, self.advantages_B, self.weights_BR, self.mask_BR
        )
        (dlogits_VQ,) = torch.autograd.grad(objective.loss, logits_VQ)
        self.loss, self.clipped = objective.loss.item(), objective.clipped.item() * self.share
        if objective.kl is not None:
            self.kl = objective.kl.item()
        with torch.no_grad():
            if math.isnan(self.mismatch):  # only before the first update do sampler and policy share their weights
                self.mismatch = (logprobs_BR.detach() - self.old_BR).abs().max().item()
            backward(policy, done, dlogits_VQ, sink, embedding=False)
        shape = self.spec.model, batch.plan, len(batch.tokens.distinct_U)
        self.flop += executed.forward_flop(*shape, device=self.device)
        self.flop += executed.backward_flop(*shape, adapter=self.adapter, device=self.device)

    def report(self) -> dict[str, float]:
        """What the log says of the step. Values that nothing was measured for are left out."""
        some = {"kl": self.kl, self.mismatch_name: self.mismatch}
        return {name: value for name, value in some.items() if not math.isnan(value)} | {
            "loss": self.loss,
            "reward_mean": self.reward,
            "reward_std": self.rollouts.rewards_B.std().item(),
            "entropy": self.rollouts.entropy,
            "clip_share": self.clipped,
            "zero_variance_share": self.silent,
            "truncation_share": self.rollouts.truncated,
            "completion_tokens": self.rollouts.mask_BR.sum().item(),
        }


def _batch(rollouts: Rollouts, kept_N: Tensor, device: torch.device) -> Batch:
    """The kept prompts' groups, laid out."""
    rows_B = kept_N.repeat_interleave(len(rollouts.mask_BR) // len(kept_N))
    batch = arrange(rollouts.prompts_MP[kept_N], rollouts.completions_BR[rows_B], rollouts.mask_BR[rows_B])
    return batch.to(device)


def rl_parts(spec: TrialSpec) -> tuple[AdapterSpec, GRPOSpec]:
    """What an RL trial has and a base trial has not."""
    if spec.adapter is None or spec.grpo is None:
        raise InputError(f"trial {spec.id} has no adapter and no grpo part", "only stage 'rl' takes them")
    return spec.adapter, spec.grpo
