"""Evaluation: held-out loss and exact pass probabilities on fixed sets, the same for every trial of a task instance.

Legend: B sequences, P prompt tokens, R response tokens, Q query columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import TrialSpec
from sweeps import executed
from sweeps.batches import arrange
from sweeps.grpo import token_logprobs
from sweeps.memory import EVALUATED_AT_ONCE
from sweeps.models import Adapters, Parameters
from sweeps.network import Network, fold, forward
from sweeps.rollout import sample
from sweeps.tasks import stream, task_of


@dataclass(frozen=True)
class Evaluation:
    """What a model can do.

    loss, loss_se   nats per completion token of the held-out corpus, and the standard error over its sequences
    log_p           (problems,) natural log of the exact probability of the correct completion
    bucket          declared bucket of every problem
    problem_digest  identity of the problem set
    samples         (problems,) correct completions among spec.evaluation.samples draws; None when none were drawn
    executed_flop   what the matrix products of this evaluation really did
    """

    loss: float
    loss_se: float
    log_p: np.ndarray
    bucket: list[str]
    problem_digest: str
    samples: np.ndarray | None
    executed_flop: int


@torch.no_grad()
def evaluate(
    spec: TrialSpec,
    tensors: Mapping[str, Tensor],
    *,
    base: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Measure the weights `tensors`: a base model's, or an RL trial's adapters on top of `base`."""
    net, task, asked = network_of(spec, tensors, base, device), task_of(spec.task), spec.evaluation
    held, problems = task.heldout(asked.sequences), task.problems(asked.problems)
    prompts_BP, completions_BR = np.split(held.ids_BS, [task.prompt_tokens], axis=1)
    logp_B, flop = sequence_logprobs(net, prompts_BP, completions_BR, held.mask_BR)
    loss, loss_se = _ratio(-logp_B, held.mask_BR.sum(1))
    log_p, more = sequence_logprobs(net, problems.prompts_BP, problems.answers_BR, problems.mask_BR)
    samples, drawn = None, 0
    if asked.samples:
        samples, drawn = sample_passes(spec, net, problems.prompts_BP, asked.samples)
    if spec.adapter:
        flop += executed.merge_flop(spec.model, spec.adapter)
    return Evaluation(loss, loss_se, log_p, problems.bucket, problems.digest, samples, flop + more + drawn)


def network_of(
    spec: TrialSpec, tensors: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, device: str = "cpu"
) -> Network:
    """The trial's weights, adapters merged, ready to run; float32 everywhere, so that a value does not depend on the
    machine that measured it."""
    if spec.stage == "pretrain":
        return fold(Parameters.of(spec.model, tensors).to(device), dtype=torch.float32)
    if base is None or spec.adapter is None:
        raise InputError(f"RL trial {spec.id} needs the weights of its parent {spec.base.id}")
    adapters = Adapters.of(spec.model, spec.adapter, tensors).to(device)
    return fold(Parameters.of(spec.model, base).to(device), adapters, dtype=torch.float32)


def sequence_logprobs(
    net: Network, prompts_BP: np.ndarray, completions_BR: np.ndarray, mask_BR: np.ndarray
) -> tuple[np.ndarray, int]:
    """sum of log p over each row's masked completion tokens, teacher-forced: (B,), float64; and the executed FLOPs."""
    total_B, flop = np.empty(len(prompts_BP)), 0
    for rows in _chunks(len(prompts_BP)):
        batch = arrange(*(torch.from_numpy(x[rows]) for x in (prompts_BP, completions_BR, mask_BR)))
        batch = batch.to(net.embed.device)
        logits_VQ = forward(net, batch.tokens, batch.plan).logits_VQ
        sums_B = batch.spread(token_logprobs(logits_VQ, batch.targets_Q).double()).sum(1)
        total_B[rows][batch.order.numpy()] = sums_B.cpu().numpy()
        flop += executed.forward_flop(net.spec, batch.plan, len(batch.tokens.distinct_U), device=batch.device)
    return total_B, flop


def sample_passes(spec: TrialSpec, net: Network, prompts_BP: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
    """c of n: how many of `samples` completions the verifier accepts, per problem, (B,), int64; and executed FLOPs."""
    task, passes_B, flop = task_of(spec.task), np.empty(len(prompts_BP), dtype=np.int64), 0
    for index, rows in enumerate(_chunks(len(prompts_BP), max(1, 4 * EVALUATED_AT_ONCE // samples))):
        rollouts = sample(net, task, prompts_BP[rows], samples, stream(spec.seed, "evaluation", index))
        passes_B[rows] = rollouts.rewards_B.view(-1, samples).sum(1).numpy()
        flop += executed.sampled_flop(spec.model, rollouts, device=net.embed.device)
    return passes_B, flop


def _chunks(total: int, size: int = EVALUATED_AT_ONCE) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _ratio(nats_B: np.ndarray, tokens_B: np.ndarray) -> tuple[float, float]:
    """Total nats over total tokens, and its delta-method standard error over independent sequences."""
    loss = nats_B.sum() / tokens_B.sum()
    residual_B = nats_B - loss * tokens_B
    return float(loss), float(residual_B.std(ddof=1) / tokens_B.mean() / np.sqrt(len(nats_B)))
