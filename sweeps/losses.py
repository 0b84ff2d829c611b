"""Losses of the GRPO family: one sum over tokens, whose parts a row of `LOSSES` names.

    loss = - sum_(i,t) weight_(i,t) (term_(i,t) - beta k3_(i,t)),      w = p / p_old, the importance ratio

Legend: N prompts, G completions of one prompt, B = N G completions in the order n G + g, T completion tokens.
`mask_BT` is 1.0 on the tokens of a completion (<eos> included) and 0.0 after it.

The weights hold every normaliser and depend on the whole batch's masks and groups only (`token_weights`). A completion
whose advantage is zero adds nothing where beta = 0, so its row may be left out of every argument of `objective`: loss
and gradient stay what they were.

Sources: GRPO: Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300). Sequence level: Zheng et al. 2025 (GSPO, 2507.18071).
bnpo: token mean of one batch, as in TRL. Dr. GRPO: Liu et al. 2025 (2503.20783). DAPO: Yu et al. 2025 (2503.14476).
CISPO: MiniMax-M1 2025 (2506.13585). ScaleRL: Khatri et al. 2025 (2510.13786). k3: Schulman 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import AdvantageScaling, GRPOSpec, LossName

Aggregation = Literal["completion", "batch", "constant", "prompt"]
Term = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor]]


def clipped_gain(ratio: Tensor, logprobs_BT: Tensor, advantages_B1: Tensor, low: float, high: float) -> tuple:
    """min(w A, clip(w, 1 - low, 1 + high) A), and where the bound is what counts (there the gradient is zero)."""
    plain, bounded = ratio * advantages_B1, ratio.clamp(1 - low, 1 + high) * advantages_B1
    return torch.minimum(plain, bounded), bounded < plain


def truncated_gain(ratio: Tensor, logprobs_BT: Tensor, advantages_B1: Tensor, low: float, high: float) -> tuple:
    """sg(min(w, high)) A log p, sg = no gradient: every token keeps its gradient; and where the ratio was cut."""
    return ratio.clamp(max=high).detach() * advantages_B1 * logprobs_BT, (ratio > high) & (advantages_B1 != 0)


@dataclass(frozen=True)
class Loss:
    """One row of the family. `clip_high` and `advantage` are what a specification that leaves them out gets.

    level "sequence": one ratio a completion, exp(mean_t log w), in place of one a token. `clip_high`: upper distance
    of the clip range from 1 (None: the lower one's, `clip`); the largest ratio itself for `truncated_gain`.
    """

    term: Term
    aggregation: Aggregation
    advantage: AdvantageScaling = "group"
    level: Literal["token", "sequence"] = "token"
    clip_high: float | None = None


LOSSES: dict[LossName, Loss] = {
    "grpo": Loss(clipped_gain, "completion"),
    "grpo_sequence": Loss(clipped_gain, "completion", level="sequence"),
    "bnpo": Loss(clipped_gain, "batch"),
    "dr_grpo": Loss(clipped_gain, "constant", advantage="none"),
    "dapo": Loss(clipped_gain, "batch", clip_high=0.28),
    "cispo": Loss(truncated_gain, "batch", clip_high=5.0),  # the largest ratio that TRL recommends for ScaleRL
    "scalerl": Loss(truncated_gain, "prompt", advantage="batch", clip_high=5.0),
}


@dataclass(frozen=True)
class Objective:
    """A loss to minimise and what it did, per token of the rows given: mean k3 in nats (None without reference
    log-probs) and the share of tokens whose ratio was clipped."""

    loss: Tensor
    kl: Tensor | None
    clipped: Tensor


def token_weights(mask_BT: Tensor, group: int, aggregation: Aggregation, kept_N: Tensor | None = None) -> Tensor:
    """Weight of every token, (B, T): 0 off the mask, else by aggregation

        completion  1 / (B |o_i|)                      every completion counts alike
        batch       1 / sum_i |o_i|                    every token counts alike
        constant    1 / (B T)                          the same, but for the budget of tokens, not for those used
        prompt      1 / (N sum of |o_i| of its prompt) every prompt counts alike, its tokens share

    Where `kept_N` is given, B, N and the sums count the kept prompts only and the others weigh 0. Give the whole batch
    as sampled: T is the longest completion that is allowed.
    """
    if kept_N is None:
        kept_N = mask_BT.new_ones(len(mask_BT) // group)
    mask_BT = mask_BT * kept_N.repeat_interleave(group)[:, None]
    prompts = kept_N.sum().clamp(min=1)
    match aggregation:
        case "completion":
            return mask_BT / (prompts * group * mask_BT.sum(1, keepdim=True).clamp(min=1))
        case "batch":
            return mask_BT / mask_BT.sum().clamp(min=1)
        case "constant":
            return mask_BT / (prompts * group * mask_BT.shape[1])
        case "prompt":
            tokens_N = mask_BT.reshape(-1, group * mask_BT.shape[1]).sum(1).clamp(min=1)
            return mask_BT / (prompts * tokens_N.repeat_interleave(group)[:, None])


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """k3 = e^x - x - 1 with x = log p_ref - log p: never negative, and unbiased for KL(p || p_ref) under p."""
    x = reference - logprobs
    return x.exp() - x - 1


def objective(
    g: GRPOSpec,
    logprobs_BT: Tensor,
    old_BT: Tensor,
    reference_BT: Tensor | None,
    advantages_B: Tensor,
    weights_BT: Tensor,
    mask_BT: Tensor,
) -> Objective:
    """The loss that `g` names, on any rows of a batch whose weights were taken from all of it.

    `reference_BT` may be None where beta = 0; given there, k3 is reported and teaches nothing. With `unbiased_kl`
    k3 is multiplied by the ratio, gradient and all: its gradient is then that of KL(p || p_ref) even under p_old
    (DeepSeek-V3.2, arXiv 2512.02556).
    """
    if reference_BT is None and g.beta:
        raise InputError(f"a KL term (beta = {g.beta:g}) needs the log-probs of the reference model")
    loss, tokens = LOSSES[g.loss], mask_BT.sum().clamp(min=1)
    log_ratio = (logprobs_BT - old_BT) * mask_BT
    if loss.level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp(min=1)
    ratio = log_ratio.exp()
    gain, clipped = loss.term(ratio, logprobs_BT, advantages_B[:, None], g.clip, clip_high(g))
    kl = None
    if reference_BT is not None:
        k3_BT = kl_k3(logprobs_BT, reference_BT)
        kl = (k3_BT.detach() * mask_BT).sum() / tokens
        if g.beta:
            gain = gain - g.beta * (k3_BT * ratio if g.unbiased_kl else k3_BT)
    return Objective(-(weights_BT * gain).sum(), kl, (clipped * mask_BT).sum() / tokens)


def clip_high(g: GRPOSpec) -> float:
    """The specification's own, else the loss's, else `clip`."""
    for value in (g.clip_high, LOSSES[g.loss].clip_high):
        if value is not None:
            return value
    return g.clip
