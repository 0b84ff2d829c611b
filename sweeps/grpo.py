"""Group Relative Policy Optimization: what a batch of rollouts teaches. Its losses: `sweeps.losses`.

Legend: V output alphabet, Q tokens, N prompts, G completions of one prompt, B = N G completions in the order n G + g,
T completion tokens. Pure tensor functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scaling.trials import AdvantageScaling, GRPOSpec
from sweeps.losses import LOSSES, token_weights

STD_EPS = 1e-4


def advantages(rewards_NG: Tensor, scaling: AdvantageScaling = "group") -> Tensor:
    """A = (r - mean_G r) / (std + 1e-4), as (N, G); exactly 0 in a silent group. std is unbiased (n - 1) and taken

    group  over the rewards of the group (GRPO)
    batch  over all r - mean_G r of the batch, silent groups included (ScaleRL)
    none   not at all: A = r - mean_G r (Dr. GRPO)
    """
    centred_NG = rewards_NG - rewards_NG.mean(dim=1, keepdim=True)
    if scaling == "group":
        centred_NG = centred_NG / (rewards_NG.std(dim=1, keepdim=True) + STD_EPS)
    elif scaling == "batch":
        centred_NG = centred_NG / (centred_NG.std() + STD_EPS)
    return centred_NG.masked_fill(silent(rewards_NG)[:, None], 0.0)  # a mean of equal numbers may be an ulp off


def silent(rewards_NG: Tensor) -> Tensor:
    """Groups without a signal, (N,): all rewards equal, zero variance."""
    return (rewards_NG == rewards_NG[:, :1]).all(dim=1)


def signal(g: GRPOSpec, rewards_NG: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """What `g` makes of a whole batch, as sampled: advantages (B,) and the weight of every token (B, T).

    With `filter_zero_variance` silent groups weigh 0, their KL term included, and the others share the batch.
    """
    loss = LOSSES[g.loss]
    kept_N = ~silent(rewards_NG) if g.filter_zero_variance else None
    advantages_NG = advantages(rewards_NG, g.advantage or loss.advantage)
    return advantages_NG.flatten(), token_weights(mask_BT, g.group, loss.aggregation, kept_N)


def teaches(g: GRPOSpec, advantages_B: Tensor, weights_BT: Tensor) -> Tensor:
    """Completions that can move the loss, (B,): those that weigh something and have an advantage or a KL term."""
    moved_B = advantages_B != 0 if g.beta == 0 else torch.ones_like(advantages_B, dtype=torch.bool)
    return moved_B & (weights_BT != 0).any(dim=1)


def token_logprobs(logits_VQ: Tensor, ids_Q: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax over V of logits / temperature, read at the chosen ids: (Q,)."""
    scaled_VQ = logits_VQ if temperature == 1 else logits_VQ / temperature
    return torch.log_softmax(scaled_VQ, dim=0).gather(0, ids_Q[None])[0]
