"""Losses and advantages against a slow second version, written from the formulas with plain loops."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from scaling.errors import InputError
from scaling.trials import GRPOSpec, LossName, gspo, scalerl
from sweeps.grpo import advantages, signal, silent, teaches, token_logprobs
from sweeps.losses import LOSSES, kl_k3, objective

CLIP, HIGH = 0.2, {"dapo": 0.28, "cispo": 5.0, "scalerl": 5.0}
PROMPTS, GROUP, TOKENS = 4, 3, 5


def spec(name: str, beta: float = 0.0, **changes) -> GRPOSpec:
    return GRPOSpec(PROMPTS, GROUP, beta, loss=name, **changes)


def batch(seed: int = 0, prompts: int = PROMPTS):
    """Log-probs of policy, sampler and reference, rewards (one group silent), mask; ratios from .1 to 10."""
    draw = torch.Generator().manual_seed(seed)
    shape = prompts * GROUP, TOKENS
    logprobs, old, reference = (-2.5 * torch.rand(shape, generator=draw, dtype=torch.float64) for _ in range(3))
    rewards = torch.randint(0, 2, (prompts, GROUP), generator=draw).double()
    rewards[0, :2], rewards[1] = torch.tensor([0.0, 1.0]), seed % 2
    lengths = torch.randint(1, TOKENS + 1, (prompts * GROUP,), generator=draw)
    mask = (torch.arange(TOKENS) < lengths[:, None]).double()
    return logprobs, old, reference, rewards, mask


def loss_of(g, logprobs, old, reference, rewards, mask):
    advantages_B, weights = signal(g, rewards, mask)
    return objective(g, logprobs, old, reference, advantages_B, weights, mask)


def slow_advantages(name, rewards):
    centred = [[r - sum(row) / GROUP for r in row] for row in rewards.tolist()]
    everything = [a for row in centred for a in row]
    over_all = (sum(a * a for a in everything) / (len(everything) - 1)) ** 0.5
    within = [(sum(a * a for a in row) / (GROUP - 1)) ** 0.5 for row in centred]
    by = {"dr_grpo": [1.0] * len(centred), "scalerl": [over_all + 1e-4] * len(centred)}
    scale = by.get(name, [s + 1e-4 for s in within])
    return [a / s for row, s in zip(centred, scale, strict=True) for a in row]


def slow_loss(name, logprobs, old, reference, rewards, mask, beta, *, filtered=False, unbiased=False):
    """The formulas, token by token, on tensors of one number."""
    lengths, gains = mask.sum(1).int().tolist(), slow_advantages(name, rewards)
    kept = [n for n, row in enumerate(rewards.tolist()) if not filtered or len(set(row)) > 1]
    rows = [n * GROUP + g for n in kept for g in range(GROUP)]
    total = torch.zeros((), dtype=torch.float64)
    for i in rows:
        mates = [j for j in rows if j // GROUP == i // GROUP]
        weight = {
            "dr_grpo": 1 / (len(rows) * TOKENS),
            "grpo": 1 / (len(rows) * lengths[i]),
            "grpo_sequence": 1 / (len(rows) * lengths[i]),
            "scalerl": 1 / (len(kept) * sum(lengths[j] for j in mates)),
        }.get(name, 1 / sum(lengths[j] for j in rows))
        differences = [logprobs[i][t] - old[i][t] for t in range(lengths[i])]
        for t in range(lengths[i]):
            ratio = (sum(differences) / lengths[i] if name == "grpo_sequence" else differences[t]).exp()
            if name in ("cispo", "scalerl"):
                gain = min(ratio.item(), 5.0) * gains[i] * logprobs[i][t]
            else:
                bounded = min(max(ratio, 1 - CLIP), 1 + HIGH.get(name, CLIP))
                gain = min(ratio * gains[i], bounded * gains[i])
            x = reference[i][t] - logprobs[i][t]
            total = total + weight * (gain - beta * (x.exp() - x - 1) * (ratio if unbiased else 1))
    return -total


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(("beta", "unbiased"), [(0.0, False), (0.05, False), (1.0, True)])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_equal_the_formula(name, beta, unbiased, filtered):
    g = spec(name, beta, filter_zero_variance=filtered, unbiased_kl=unbiased)
    for seed in range(3):
        logprobs, *rest = batch(seed)
        fast_in, slow_in = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
        fast = loss_of(g, fast_in, *rest).loss
        slow = slow_loss(name, slow_in, *rest, beta, filtered=filtered, unbiased=unbiased)
        assert fast.item() == pytest.approx(slow.item(), abs=1e-12)
        fast.backward()
        slow.backward()
        assert torch.allclose(fast_in.grad, slow_in.grad, rtol=0, atol=1e-12)
        assert (fast_in.grad[rest[-1] == 0] == 0).all()
        assert fast_in.grad.abs().max() > 1e-3


@pytest.mark.parametrize(("beta", "filtered"), [(0.0, False), (0.0, True), (0.05, True)])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_that_teach_nothing_may_be_left_out(name, beta, filtered):
    g = spec(name, beta, filter_zero_variance=filtered)
    logprobs, old, reference, rewards, mask = batch(2, prompts=9)
    advantages_B, weights = signal(g, rewards, mask)
    kept = teaches(g, advantages_B, weights)
    assert kept.tolist() == (~silent(rewards)).repeat_interleave(GROUP).tolist()
    assert 0 < kept.sum() < len(kept)
    whole, part = logprobs.clone().requires_grad_(), logprobs[kept].requires_grad_()
    everything = objective(g, whole, old, reference, advantages_B, weights, mask)
    rows = (t[kept] for t in (old, reference, advantages_B, weights, mask))
    some = objective(g, part, *rows)
    assert some.loss.item() == pytest.approx(everything.loss.item(), abs=1e-15)  # sums of other lengths round apart
    everything.loss.backward()
    some.loss.backward()
    assert torch.equal(whole.grad[kept], part.grad)
    assert not whole.grad[~kept].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_kl_term_keeps_every_row(name):
    g, (_, _, _, rewards, mask) = spec(name, 0.05), batch()
    assert teaches(g, *signal(g, rewards, mask)).all()


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_any_signal_has_loss_zero(name, filtered):
    g = spec(name, filter_zero_variance=filtered)
    logprobs, old, reference, rewards, mask = batch()
    rewards[:] = 0.1  # whose mean over a group is not exactly .1
    advantages_B, weights = signal(g, rewards, mask)
    result = objective(g, logprobs.requires_grad_(), old, reference, advantages_B, weights, mask)
    result.loss.backward()
    assert result.loss.item() == 0 and not logprobs.grad.any()
    assert not teaches(g, advantages_B, weights).any()
    nothing = objective(g, *(t[:0] for t in (logprobs, old, reference, advantages_B, weights, mask)))
    assert (nothing.loss.item(), nothing.kl.item(), nothing.clipped.item()) == (0, 0, 0)


def test_the_table_holds_every_name_of_a_specification():
    assert tuple(LOSSES) == get_args(LossName)


def test_without_a_reference_no_kl_is_reported_and_none_can_be_asked_for():
    logprobs, old, reference, rewards, mask = batch()
    g = spec("grpo")
    without, given = (loss_of(g, logprobs, old, r, rewards, mask) for r in (None, reference))
    assert without.kl is None and given.kl > 0 and without.loss == given.loss
    with pytest.raises(InputError, match=r"beta = 0\.05"):
        loss_of(spec("grpo", 0.05), logprobs, old, None, rewards, mask)


def test_published_recipes():
    logprobs, old, reference, rewards, mask = batch(3)
    ours = loss_of(scalerl(PROMPTS, GROUP), logprobs, old, None, rewards, mask).loss
    slow = slow_loss("scalerl", logprobs, old, reference, rewards, mask, 0.0, filtered=True)
    assert ours.item() == pytest.approx(slow.item(), abs=1e-12)
    narrow = loss_of(gspo(PROMPTS, GROUP), logprobs, old, None, rewards, mask)
    assert narrow.clipped > loss_of(spec("grpo_sequence"), logprobs, old, None, rewards, mask).clipped


@pytest.mark.parametrize("name", ["grpo", "cispo"])
def test_reports_count_real_tokens_only(name):
    logprobs, old, reference, rewards, mask = batch(1)
    g = spec(name, 0.1, clip_high=2.0 if name == "cispo" else None)
    result, gains = loss_of(g, logprobs, old, reference, rewards, mask), signal(g, rewards, mask)[0]
    clipped = kl = 0.0
    for i, t in (mask > 0).nonzero().tolist():
        ratio, x = math.exp(logprobs[i, t] - old[i, t]), float(reference[i, t] - logprobs[i, t])
        if name == "cispo":
            clipped += ratio > 2 and gains[i].item() != 0
        else:
            clipped += (ratio > 1 + CLIP and gains[i] > 0) or (ratio < 1 - CLIP and gains[i] < 0)
        kl += math.exp(x) - x - 1
    assert result.clipped.item() == pytest.approx(clipped / mask.sum().item())
    assert result.kl.item() == pytest.approx(kl / mask.sum().item())
    assert clipped > 0


def test_advantages_centre_and_scale():
    rewards = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1], [0.1, 0.1, 0.1, 0.1]])
    group, over_batch, plain = (advantages(rewards, scaling) for scaling in ("group", "batch", "none"))
    centred = [[r - sum(row) / 4 for r in row] for row in rewards.tolist()]
    whole = (sum(a * a for row in centred for a in row) / 15) ** 0.5
    for row, own, shared, bare in zip(centred, group.tolist(), over_batch.tolist(), plain.tolist(), strict=True):
        std = (sum(a * a for a in row) / 3) ** 0.5
        assert own == pytest.approx([a / (std + 1e-4) for a in row], abs=1e-6)
        assert shared == pytest.approx([a / (whole + 1e-4) for a in row], abs=1e-6)
        assert bare == pytest.approx(row, abs=1e-6)
    assert silent(rewards).tolist() == [False, True, False, True]
    for scaled in (group, over_batch, plain):
        assert not scaled[[1, 3]].any()


def test_k3_is_never_negative_and_unbiased():
    draw = torch.Generator().manual_seed(0)
    p, q = (torch.randn(24, generator=draw, dtype=torch.float64).log_softmax(0) for _ in range(2))
    assert (kl_k3(p, q) >= 0).all()
    assert (p.exp() * kl_k3(p, q)).sum().item() == pytest.approx((p.exp() * (p - q)).sum().item())


def test_the_unbiased_kl_term_has_the_gradient_of_the_kl_under_any_sampler():
    """Expectation over a sampler's own probabilities, token by token: with the ratio exact, without it not."""
    draw = torch.Generator().manual_seed(1)
    logits, *others = (torch.randn(24, generator=draw, dtype=torch.float64) for _ in range(3))
    old, reference = (o.log_softmax(0) for o in others)
    logits.requires_grad_()

    def gradient(unbiased):
        g = GRPOSpec(1, 24, 1.0, unbiased_kl=unbiased)
        column = [t[:, None] for t in (logits.log_softmax(0), old, reference)]
        parts = torch.zeros(24, dtype=torch.float64), old.exp()[:, None], torch.ones(24, 1, dtype=torch.float64)
        return torch.autograd.grad(objective(g, *column, *parts).loss, logits)[0]

    p = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((p.exp() * (p - reference)).sum(), logits)
    assert torch.allclose(gradient(True), exact, atol=1e-12)
    assert not torch.allclose(gradient(False), exact, atol=1e-2)


def test_token_logprobs_by_hand():
    logits = torch.tensor([[0.0, 1.0], [math.log(3), 1.0]])  # (V, Q)
    ids = torch.tensor([1, 0])
    assert token_logprobs(logits, ids).tolist() == pytest.approx([math.log(0.75), math.log(0.5)])
    assert token_logprobs(logits, ids, 0.5).tolist() == pytest.approx([math.log(0.9), math.log(0.5)])
