"""Group Relative Policy Optimization, as pure tensor functions.

Legend: V output alphabet, Q tokens, B completions, T completion tokens, N prompts, G completions of one prompt.
`mask_BT` is 1.0 on the tokens of a completion (<eos> included) and 0.0 after it.

Sources: Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), Liu et al. 2025 (Dr. GRPO, arXiv 2503.20783),
Schulman 2020 ("Approximating KL divergence", estimator k3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STD_EPS = 1e-4


@dataclass(frozen=True)
class Objective:
    """A loss to minimise and what it did: mean k3 and share of tokens whose ratio was clipped, both per token."""

    loss: Tensor
    kl: Tensor
    clipped: Tensor


def group_advantages(rewards_NG: Tensor, *, scaled: bool = True) -> Tensor:
    """A = (r - mean_G r) / (std_G r + 1e-4); without the division where `scaled` is False (Dr. GRPO).

    std is the unbiased one over the group. A group whose rewards are all equal has advantage 0 and teaches nothing.
    """
    centred = rewards_NG - rewards_NG.mean(dim=1, keepdim=True)
    return centred / (rewards_NG.std(dim=1, keepdim=True) + STD_EPS) if scaled else centred


def zero_variance(rewards_NG: Tensor) -> Tensor:
    """Share of groups without a signal: all rewards equal."""
    return (rewards_NG == rewards_NG[:, :1]).all(dim=1).float().mean()


def token_logprobs(logits_VQ: Tensor, ids_Q: Tensor) -> Tensor:
    """log softmax over V, read at the chosen ids: (Q,)."""
    return torch.log_softmax(logits_VQ, dim=0).gather(0, ids_Q[None])[0]


def entropy(logits_VQ: Tensor) -> Tensor:
    """Mean over Q of -sum_v p log p, in nats."""
    logp_VQ = torch.log_softmax(logits_VQ, dim=0)
    return -(logp_VQ.exp() * logp_VQ).sum(dim=0).mean()


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """k3 = e^x - x - 1 with x = log p_ref - log p: never negative, and unbiased for KL(p || p_ref) under p."""
    x = reference - logprobs
    return x.exp() - x - 1


def grpo_loss(
    logprobs_BT: Tensor,
    old_BT: Tensor,
    reference_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip: float,
    beta: float,
) -> Objective:
    """GRPO (DeepSeekMath eq. 3), negated: every completion weighs 1/B, every token of it 1/|o|.

    J = 1/B sum_i 1/|o_i| sum_t [ min(w A_i, clip(w, 1 - clip, 1 + clip) A_i) - beta k3 ],  w = exp(log p - log p_old)
    """
    per_token_BT, objective = _surrogate(logprobs_BT, old_BT, reference_BT, advantages_B, mask_BT, clip, beta)
    return objective(((per_token_BT * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)).mean())


def dr_grpo_loss(
    logprobs_BT: Tensor,
    old_BT: Tensor,
    reference_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip: float,
    beta: float,
) -> Objective:
    """Dr. GRPO: the same tokens, each weighing 1/(B T) whatever its completion's length (use unscaled advantages)."""
    per_token_BT, objective = _surrogate(logprobs_BT, old_BT, reference_BT, advantages_B, mask_BT, clip, beta)
    return objective((per_token_BT * mask_BT).sum() / mask_BT.numel())


LOSSES = {"grpo": grpo_loss, "dr_grpo": dr_grpo_loss}


def _surrogate(
    logprobs_BT: Tensor,
    old_BT: Tensor,
    reference_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    clip: float,
    beta: float,
) -> tuple[Tensor, Callable[[Tensor], Objective]]:
    """Gain per token, and what wraps its weighted mean into an `Objective` with the reports of this batch."""
    ratio_BT = (logprobs_BT - old_BT).exp()
    advantages_B1 = advantages_B[:, None]
    plain_BT, bounded_BT = ratio_BT * advantages_B1, ratio_BT.clamp(1 - clip, 1 + clip) * advantages_B1
    k3_BT = kl_k3(logprobs_BT, reference_BT)
    tokens = mask_BT.sum()
    kl = (k3_BT.detach() * mask_BT).sum() / tokens
    clipped = ((bounded_BT < plain_BT) * mask_BT).sum() / tokens
    return torch.minimum(plain_BT, bounded_BT) - beta * k3_BT, lambda value: Objective(-value, kl, clipped)
