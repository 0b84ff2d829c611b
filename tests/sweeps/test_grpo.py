"""GRPO against a slow second version, written from the formulas with plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from sweeps.grpo import LOSSES, entropy, group_advantages, kl_k3, token_logprobs, zero_variance

CLIP = 0.2


def batch(seed: int = 0, completions: int = 6, tokens: int = 5):
    draw = torch.Generator().manual_seed(seed)
    logprobs, old, reference = (-torch.rand(completions, tokens, generator=draw, dtype=torch.float64) for _ in range(3))
    advantages = torch.randn(completions, generator=draw, dtype=torch.float64)
    lengths = torch.randint(1, tokens + 1, (completions,), generator=draw)
    mask = (torch.arange(tokens) < lengths[:, None]).double()
    return logprobs, old, reference, advantages, mask


def slow_loss(name, logprobs, old, reference, advantages, mask, beta):
    """The formula, token by token, on python floats (or on tensors of one number, for the gradient)."""
    completions, tokens = mask.shape
    total = 0.0
    for i in range(completions):
        inner, length = 0.0, int(mask[i].sum())
        for t in range(length):
            ratio = (logprobs[i][t] - old[i][t]).exp()
            bounded = min(max(ratio, 1 - CLIP), 1 + CLIP)
            gain = min(ratio * advantages[i], bounded * advantages[i])
            x = reference[i][t] - logprobs[i][t]
            inner = inner + gain - beta * (x.exp() - x - 1)
        total = total + inner / (length if name == "grpo" else tokens)
    return -total / completions


@pytest.mark.parametrize("beta", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_equal_the_formula(name, beta, seed):
    logprobs, old, reference, advantages, mask = batch(seed)
    fast_in, slow_in = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
    fast = LOSSES[name](fast_in, old, reference, advantages, mask, clip=CLIP, beta=beta)
    slow = slow_loss(name, slow_in, old, reference, advantages, mask, beta)
    assert fast.loss.item() == pytest.approx(slow.item(), abs=1e-12)
    fast.loss.backward()
    slow.backward()
    assert torch.allclose(fast_in.grad, slow_in.grad, atol=1e-12)
    assert (fast_in.grad[mask == 0] == 0).all()


def test_reports_count_real_tokens_only():
    logprobs, old, reference, advantages, mask = batch(1)
    result = LOSSES["grpo"](logprobs, old, reference, advantages, mask, clip=CLIP, beta=0.1)
    clipped = kl = 0.0
    for i, t in (mask > 0).nonzero().tolist():
        ratio, x = math.exp(logprobs[i, t] - old[i, t]), float(reference[i, t] - logprobs[i, t])
        clipped += (ratio > 1 + CLIP and advantages[i] > 0) or (ratio < 1 - CLIP and advantages[i] < 0)
        kl += math.exp(x) - x - 1
    assert result.clipped.item() == pytest.approx(clipped / mask.sum().item())
    assert result.kl.item() == pytest.approx(kl / mask.sum().item())
    assert clipped > 0


def test_advantages_centre_and_scale_each_group():
    rewards = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
    scaled, plain = group_advantages(rewards), group_advantages(rewards, scaled=False)
    for row, fast, centred in zip(rewards.tolist(), scaled.tolist(), plain.tolist(), strict=True):
        mean = sum(row) / 4
        std = (sum((r - mean) ** 2 for r in row) / 3) ** 0.5
        assert fast == pytest.approx([(r - mean) / (std + 1e-4) for r in row])
        assert centred == pytest.approx([r - mean for r in row])
    assert zero_variance(rewards).item() == pytest.approx(1 / 3)


def test_k3_is_never_negative_and_unbiased():
    draw = torch.Generator().manual_seed(0)
    p, q = (torch.randn(24, generator=draw, dtype=torch.float64).log_softmax(0) for _ in range(2))
    assert (kl_k3(p, q) >= 0).all()
    assert (p.exp() * kl_k3(p, q)).sum().item() == pytest.approx((p.exp() * (p - q)).sum().item())


def test_token_logprobs_and_entropy_by_hand():
    logits = torch.tensor([[0.0, 1.0], [math.log(3), 1.0]])  # (V, Q)
    assert token_logprobs(logits, torch.tensor([1, 0])).tolist() == pytest.approx([math.log(0.75), math.log(0.5)])
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75) + math.log(0.5)) / 2
    assert entropy(logits).item() == pytest.approx(expected)
