"""Rollouts: groups of completions, sampled from a folded network with a static key-value cache.

Legend: G prompts, B = G * group completions in the order g * group + j, P prompt tokens, R response tokens,
D width, H heads, K head size, V output alphabet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeps.attention import attend, rotate, rotation
from sweeps.network import Folded, Network, forward, normalise
from sweeps.plans import Plan, Tokens
from sweeps.tasks import Task


@dataclass(frozen=True)
class Rollouts:
    """Completions with their prompts, as sampled. `logprobs_BR` are the sampler's (at its temperature), 0 off mask."""

    ids_BS: Tensor
    mask_BR: Tensor
    logprobs_BR: Tensor
    rewards_B: Tensor
    truncated: float  # share of completions that never said <eos>


def sample(
    net: Network, task: Task, prompts_GP: np.ndarray, group: int, draw: np.random.Generator, *, temperature: float = 1.0
) -> Rollouts:
    """Draw `group` completions per prompt. The prompt runs once per group; its keys and values are then repeated."""
    batch, first, positions = len(prompts_GP) * group, task.prompt_tokens, task.prompt_tokens + task.response_tokens - 1
    prompts = torch.from_numpy(prompts_GP)
    plan = Plan(len(prompts), first, first - 1, (len(prompts),))
    logits_VB, tapes, _ = forward(net, Tokens.of(prompts.t()), plan)
    logits_VB = logits_VB.repeat_interleave(group, dim=1)
    caches = [(_repeat(tape.k, group, positions), _repeat(tape.v, group, positions)) for tape in tapes]
    uniform_RB = torch.from_numpy(draw.random((task.response_tokens, batch), dtype=np.float32))
    alive_B, ids, mask, logprobs = torch.ones(batch, dtype=torch.bool), list[Tensor](), list[Tensor](), list[Tensor]()
    for i in range(task.response_tokens):
        if i:
            logits_VB = _decode(net, ids[-1], caches, first + i - 1)
        chosen_B, logp_B = choose(logits_VB, uniform_RB[i], temperature)
        ids.append(torch.where(alive_B, chosen_B, task.filler))
        mask.append(alive_B)
        logprobs.append(logp_B * alive_B)
        alive_B = alive_B & (chosen_B != task.eos)
    completions_BR = torch.stack(ids, 1)
    prompts_BP = prompts.repeat_interleave(group, dim=0)
    rewards = torch.from_numpy(task.rewards(prompts_BP.numpy(), completions_BR.numpy()))
    return Rollouts(
        torch.cat((prompts_BP, completions_BR), 1),
        torch.stack(mask, 1),
        torch.stack(logprobs, 1),
        rewards,
        alive_B.float().mean().item(),
    )


def choose(logits_VB: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling: the first id whose cumulative probability exceeds u. Returns ids (B,), log-probs (B,)."""
    logp_VB = torch.log_softmax(logits_VB / temperature, dim=0)
    cumulative_VB = logp_VB.exp().cumsum(dim=0)
    # u is scaled by the last sum: rounding may leave it a little off 1, and no id beyond the last may be chosen
    chosen_B = (cumulative_VB[:-1] <= uniform_B * cumulative_VB[-1]).sum(dim=0)
    return chosen_B, logp_VB.gather(0, chosen_B[None])[0]


def _repeat(x_HKPG: Tensor, group: int, positions: int) -> Tensor:
    """A cache (H, K, positions, B) whose first P positions hold the prompt's, one copy per member of the group."""
    heads, size, length, prompts = x_HKPG.shape
    cache = x_HKPG.new_empty(heads, size, positions, prompts, group)
    cache[:, :, :length] = x_HKPG[..., None]
    return cache.view(heads, size, positions, prompts * group)


def _decode(net: Network, ids_B: Tensor, caches: list[tuple[Tensor, Tensor]], position: int) -> Tensor:
    """One token for every completion: writes its keys and values at `position`, returns logits (V, B)."""
    x_DB = net.embed.index_select(0, ids_B).t().contiguous()
    here = Plan(len(ids_B), position + 1, position, (len(ids_B),))
    for layer, cache in zip(net.layers, caches, strict=True):
        x_DB = _decode_layer(net, layer, x_DB, cache, here)
    return net.head @ normalise(x_DB)[0]


def _decode_layer(net: Network, w: Folded, x_DB: Tensor, cache: tuple[Tensor, Tensor], here: Plan) -> Tensor:
    d, shape, table = net.spec.width, (net.spec.heads, net.spec.head_dim, -1), rotation(net.spec, here)
    h = normalise(x_DB)[0]
    qkv = w.qkv @ h
    cache[0][:, :, here.first] = rotate(qkv[d : 2 * d], *table).view(shape)
    cache[1][:, :, here.first] = qkv[2 * d :].view(shape)
    mixed, _ = attend(rotate(qkv[:d], *table).view(shape), *cache, here.spans)
    y = torch.addmm(x_DB, w.o, mixed)
    gate_up = w.gate_up @ normalise(y)[0]
    active = torch.nn.functional.silu(gate_up[: net.spec.ffn]) * gate_up[net.spec.ffn :]
    return torch.addmm(y, w.down, active, out=y)
