"""Rollouts: sampled from the model's own distribution, with the log-probs that training would compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sweeps.batches import arrange
from sweeps.grpo import token_logprobs
from sweeps.network import fold, forward
from sweeps.plans import Plan, Tokens
from sweeps.rollout import choose, sample
from sweeps.tasks import stream, task_of
from tests.sweeps.small import TASK, model, random_weights


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("layers", [1, 3])
def test_sampled_logprobs_equal_teacher_forcing(layers, temperature):
    task, net = task_of(TASK), fold(random_weights(model(layers, 16, 4)))
    rollouts = sample(net, task, task.prompts(0, 0, 9), 4, stream(0, "test"), temperature=temperature)
    batch = arrange(rollouts.prompts_MP, rollouts.completions_BR, rollouts.mask_BR)
    logits_VQ = forward(net, batch.tokens, batch.plan).logits_VQ / temperature
    forced = batch.spread(token_logprobs(logits_VQ, batch.targets_Q))
    assert torch.allclose(forced, rollouts.logprobs_BR[batch.order], atol=2e-5)
    assert (rollouts.logprobs_BR < 0).equal(rollouts.mask_BR)


def test_completions_end_at_eos_and_rewards_are_the_verifiers():
    task, net = task_of(TASK), fold(random_weights(model()))
    prompts = task.prompts(0, 0, 40)
    rollouts = sample(net, task, prompts, 8, stream(0, "test"))
    completions, mask = rollouts.completions_BR.numpy(), rollouts.mask_BR.numpy()
    for ids, kept in zip(completions, mask, strict=True):
        ends = np.flatnonzero(ids == task.eos)
        length = ends[0] + 1 if len(ends) else 5
        assert kept.tolist() == [i < length for i in range(5)]
        assert (ids[length:] == task.filler).all()
    assert rollouts.truncated == pytest.approx((~(completions == task.eos).any(1)).mean())
    assert np.array_equal(rollouts.prompts_MP.numpy(), prompts)
    assert np.array_equal(rollouts.rewards_B.numpy(), task.rewards(np.repeat(prompts, 8, axis=0), completions))


def test_the_first_token_has_the_models_frequencies():
    task, net = task_of(TASK), fold(random_weights(model()))
    prompt, group = task.prompts(0, 0, 1), 40_000
    rollouts = sample(net, task, prompt, group, stream(0, "test"))
    plan = Plan(1, prompt.shape[1])
    p = forward(net, Tokens.of(torch.from_numpy(prompt[0])), plan).logits_VQ[:, 0].softmax(0).numpy()
    seen = np.bincount(rollouts.completions_BR[:, 0].numpy(), minlength=24) / group
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / group) + 1e-9).all()


def test_entropies_by_hand():
    logits = torch.tensor([[0.0, 1.0, 0.0], [np.log(3), 1.0, -torch.inf]])  # (V, L)
    *_, entropies = choose(logits, torch.full((3,), 0.5), 1.0)
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert entropies.tolist() == pytest.approx([quarter, np.log(2), 0.0], abs=1e-6)


def test_inverse_cdf_never_leaves_the_alphabet_nor_picks_the_impossible():
    logits = torch.full((4, 3), -torch.inf)
    logits[1:3] = 0.0
    edges = torch.tensor([0.0, 0.5, 1 - 2**-24])
    ids, logprobs, entropies = choose(logits, edges, 1.0)
    assert entropies.tolist() == pytest.approx([np.log(2)] * 3)
    assert ids.tolist() == [1, 2, 2]
    assert logprobs.tolist() == pytest.approx([-np.log(2)] * 3)
