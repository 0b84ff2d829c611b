"""Rollouts: groups of completions, sampled from a folded network with a static key-value cache.

Legend: M prompts, B = M * group completions in the order m * group + j, P prompt tokens, R response tokens, L running
completions, D width, H heads, K head size, V output alphabet.

The prompt runs once per group. Completions that have said <eos> are dropped from every product; from the cache too as
soon as a quarter of it is idle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeps.attention import angles, exps_
from sweeps.network import Folded, Network, Pass, forward, normalise
from sweeps.plans import Plan, Tokens
from sweeps.tasks import Task

IDLE = 0.75  # the cache is packed when fewer of its slots still run


@dataclass(frozen=True)
class Rollouts:
    """Completions of prompts (M, P), as sampled. `logprobs_BR` are the sampler's (at its temperature), 0 off mask."""

    prompts_MP: Tensor
    completions_BR: Tensor
    mask_BR: Tensor
    logprobs_BR: Tensor
    rewards_B: Tensor
    truncated: float  # share of completions that never said <eos>
    entropy: float  # mean over sampled tokens of -sum_v p log p, nats


def sample(
    net: Network, task: Task, prompts_MP: np.ndarray, group: int, draw: np.random.Generator, *, temperature: float = 1.0
) -> Rollouts:
    """Draw `group` completions per prompt."""
    batch, length, prompts = len(prompts_MP) * group, task.response_tokens, torch.from_numpy(prompts_MP)
    uniform_RB = torch.from_numpy(draw.random((length, batch), dtype=np.float32))
    drawn = _draw(net, prompts, group, uniform_RB.to(net.embed.device), temperature, task.eos)
    place_Q, ids_Q, logprobs_Q, entropy = (x.clone() for x in drawn)  # no inference tensors: a gradient may need them
    size = length * batch
    ids = ids_Q.new_full((size,), task.filler).index_copy_(0, place_Q, ids_Q)
    mask = ids_Q.new_zeros(size, dtype=torch.bool).index_fill_(0, place_Q, True)
    logprobs = logprobs_Q.new_zeros(size).index_copy_(0, place_Q, logprobs_Q)
    completions_BR, mask_BR, logprobs_BR = (x.view(length, batch).t().contiguous().cpu() for x in (ids, mask, logprobs))
    rewards = torch.from_numpy(task.rewards(np.repeat(prompts_MP, group, axis=0), completions_BR.numpy()))
    truncated = 1.0 - (completions_BR == task.eos).any(1).float().mean().item()
    return Rollouts(prompts, completions_BR, mask_BR, logprobs_BR, rewards, truncated, entropy.item())


@torch.inference_mode()
def _draw(
    net: Network, prompts_MP: Tensor, group: int, uniform_RB: Tensor, temperature: float, eos: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every sampled token (Q,): its place in a flat (R, B) table, its id and its log-prob; and the mean entropy."""
    (length, batch), prompts, device = uniform_RB.shape, len(prompts_MP), uniform_RB.device
    plan = Plan(prompts, prompts_MP.shape[1])
    done = forward(net, Tokens.of(prompts_MP.t().reshape(-1).to(device)), plan)
    logits_VL, cache = done.logits_VQ.repeat_interleave(group, dim=1), Cache(net, done, group, length - 1)
    alive_L, drawn = torch.arange(batch, device=device), []
    for i in range(length):
        chosen_L, *more = choose(logits_VL, uniform_RB[i, alive_L], temperature)
        drawn.append((alive_L + i * batch, chosen_L, *more))
        going = (chosen_L != eos).nonzero()[:, 0]
        alive_L = alive_L[going]
        if not len(alive_L) or i == length - 1:
            break
        cache.keep(going)
        logits_VL = _decode(net, chosen_L[going], cache)
    place_Q, ids_Q, logprobs_Q, entropy_Q = (torch.cat(part) for part in zip(*drawn, strict=True))
    return place_Q, ids_Q, logprobs_Q, entropy_Q.mean()


def choose(logits_VL: Tensor, uniform_L: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse-CDF sampling: the first id whose cumulative probability exceeds u. Ids, log-probs, entropies (L,)."""
    logp_VL = torch.log_softmax(logits_VL / temperature if temperature != 1 else logits_VL, dim=0)
    p_VL = logp_VL.exp()
    entropy_L = -(p_VL * logp_VL.clamp(min=-1e4)).sum(0)  # 0 log 0 = 0
    cumulative_VL = p_VL.cumsum_(dim=0)
    # u is scaled by the last sum: rounding may leave it a little off 1, and no id beyond the last may be chosen
    chosen_L = (cumulative_VL[:-1] <= uniform_L * cumulative_VL[-1]).sum(dim=0)
    return chosen_L, logp_VL.gather(0, chosen_L[None])[0], entropy_L


class Cache:
    """Keys and values, (H, K, T, slots) a layer: every completion has its own copy of its prompt's.

    Attention is multiplied element by element along the completions: with one query each, that beats batched products
    (3x at head size 4, 1.1x at 32; sharing the prompt's part in a product of its own was no quicker).
    """

    def __init__(self, net: Network, done: Pass, group: int, steps: int) -> None:
        self.spec, self.first, self.step = net.spec, done.plan.prompt_tokens, -1
        self.slot_L = torch.arange(done.plan.prompts * group, device=net.embed.device)
        self.all = True  # every slot runs: no look-up is needed
        positions = self.first + steps
        self.kv = [[self._copy(x, done.plan.prompts, group, positions) for x in (t.k, t.v)] for t in done.tapes]

    def _copy(self, x_DC: Tensor, prompts: int, group: int, positions: int) -> Tensor:
        h, k = self.spec.heads, self.spec.head_dim
        new = x_DC.new_empty(h, k, positions, prompts, group)
        new[:, :, : self.first] = x_DC.view(h, k, self.first, prompts, 1)
        return new.view(h, k, positions, -1)

    def keep(self, going: Tensor) -> None:
        """Go on to the next position with these of the running completions."""
        self.step += 1
        if len(going) < len(self.slot_L):
            self.slot_L, self.all = self.slot_L[going], False
        slots = self.kv[0][0].shape[3]
        if len(self.slot_L) < IDLE * slots:
            for pair in self.kv:
                pair[:] = [x.flatten(0, 2).index_select(1, self.slot_L).unflatten(0, x.shape[:3]) for x in pair]
            self.slot_L, self.all = torch.arange(len(self.slot_L), device=self.slot_L.device), True

    def attend(self, layer: int, q_DN: Tensor, k_DN: Tensor, v_DN: Tensor) -> Tensor:
        """Of all N slots, as `in_slots` lays them out, to the running completions: (D, L)."""
        h, size, here = self.spec.heads, self.spec.head_dim, self.first + self.step
        keys, values = self.kv[layer]
        keys[:, :, here], values[:, :, here] = k_DN.view(h, size, -1), v_DN.view(h, size, -1)
        s, total = exps_((q_DN.view(h, size, 1, -1) * keys[:, :, : here + 1]).sum(1), 1)
        mixed = ((s[:, None] * values[:, :, : here + 1]).sum(2) / total).view(h * size, -1)
        return mixed if self.all else mixed.index_select(1, self.slot_L)

    def in_slots(self, x_XL: Tensor) -> Tensor:
        if self.all:
            return x_XL
        return x_XL.new_zeros(len(x_XL), self.kv[0][0].shape[3]).index_copy_(1, self.slot_L, x_XL)


def _decode(net: Network, ids_L: Tensor, cache: Cache) -> Tensor:
    """One token for every running completion: logits (V, L)."""
    x_DL = net.embed.index_select(0, ids_L).t().contiguous()
    cos, sin = angles(net.spec, cache.first + cache.step + 1, x_DL.device, x_DL.dtype)
    table = cos[:, -1:], sin[:, -1:]
    for i, layer in enumerate(net.layers):
        x_DL = _decode_layer(net, i, layer, x_DL, cache, table)
    return net.head @ normalise(x_DL)[0].float()


def _decode_layer(net: Network, i: int, w: Folded, x_DL: Tensor, cache: Cache, table: tuple[Tensor, Tensor]) -> Tensor:
    d, ffn = net.spec.width, net.spec.ffn
    qkv = cache.in_slots(w.qkv @ normalise(x_DL)[0])
    qk = _rotate_one(qkv[: 2 * d], *table)
    y = torch.addmm(x_DL, w.o, cache.attend(i, qk[:d], qk[d:], qkv[2 * d :]))
    gate_up = w.gate_up @ normalise(y)[0]
    active = torch.nn.functional.silu(gate_up[:ffn]) * gate_up[ffn:]
    return torch.addmm(y, w.down, active, out=y)


def _rotate_one(x_DL: Tensor, cos_K1: Tensor, sin_K1: Tensor) -> Tensor:
    """`rotate` where every column has the same position."""
    x = x_DL.view(-1, len(cos_K1), x_DL.shape[1])
    half = x.shape[1] // 2
    swapped = torch.cat((x[:, half:], x[:, :half]), dim=1)
    return torch.addcmul(x * cos_K1, swapped, sin_K1).view(x_DL.shape)
