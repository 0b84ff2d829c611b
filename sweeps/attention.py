"""Causal attention over prompts and their completions, forward and backward, in two equal ways; rotary embedding.

Legend: D width, H heads, K head size, M prompts of P tokens, B completions (G a prompt), R input positions of the
completions, T = P + R, C columns, X query columns (the last X of C), J keys seen by a query.

`Broadcast` multiplies element by element along the sequences: best for small heads and short sequences, whose matrices
(4 x 10) are too small for any matrix product. `Batched` uses batched matrix products: best for everything larger, and
on a GPU. (torch's fused kernel for the CPU was slower than both at every shape tried.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.plans import Plan, sum_by

BATCHED_FROM = 128  # head size x positions from which matrix products win; measured, see docs/log.md


class Attention(Protocol):
    """softmax_j(q k_j) v_j over the keys that a column may see, and its gradients."""

    def forward(self, spec: ModelSpec, plan: Plan, q_DX: Tensor, k_DC: Tensor, v_DC: Tensor) -> tuple[Tensor, Any]:
        """(D, X), and what the backward pass reads."""

    def backward(
        self, spec: ModelSpec, plan: Plan, dmixed_DX: Tensor, q_DX: Tensor, saved: Any
    ) -> tuple[Tensor, Tensor]:
        """Gradients of queries (D, X) and of keys and values (2D, C)."""


def exps_(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Weights that do not sum to 1 yet, in place, and their sum. The maximum is taken out: 1e2 would overflow."""
    scores -= scores.amax(dim, keepdim=True)
    scores = scores.exp_()
    return scores, scores.sum(dim, keepdim=True)


def softmax_(scores: Tensor, dim: int) -> Tensor:
    """In place."""
    scores, total = exps_(scores, dim)
    scores /= total
    return scores


def spans(plan: Plan, queries: int) -> list[tuple[int, int, int]]:
    """(first query column, number, position) of every input position that asks; prompts' first."""
    skipped = plan.columns - queries
    prompt = range(skipped // plan.prompts, plan.prompt_tokens)
    asked = [(p * plan.prompts - skipped, plan.prompts, p) for p in prompt]
    base = plan.prompt_columns - skipped
    return asked + [(base + s, n, plan.prompt_tokens + i) for i, (s, n) in enumerate(plan.steps)]


class Broadcast:
    """Position by position; a completion sees a copy of its prompt's keys followed by its own."""

    def forward(self, spec: ModelSpec, plan: Plan, q_DX: Tensor, k_DC: Tensor, v_DC: Tensor) -> tuple[Tensor, Any]:
        q, mixed, probs = _heads(spec, q_DX), torch.empty_like(q_DX), []
        sides = [(_prompt(spec, plan, x), _whole(spec, plan, x)) for x in (k_DC, v_DC)]
        out = _heads(spec, mixed)
        for start, n, position in spans(plan, q_DX.shape[1]):
            k, v = (side[position >= plan.prompt_tokens][:, :, : position + 1, :n] for side in sides)
            s = softmax_((q[:, :, None, start : start + n] * k).sum(1), 1)
            torch.sum(s[:, None] * v, 2, out=out[:, :, start : start + n])
            probs.append(s)
        return mixed, (sides, probs)

    def backward(
        self, spec: ModelSpec, plan: Plan, dmixed_DX: Tensor, q_DX: Tensor, saved: Any
    ) -> tuple[Tensor, Tensor]:
        (keys, values), probs = saved
        q, dmixed, dq_DX = _heads(spec, q_DX), _heads(spec, dmixed_DX), torch.empty_like(q_DX)
        dq = _heads(spec, dq_DX)
        dkeys, dvalues = (tuple(torch.zeros_like(x) for x in pair) for pair in (keys, values))
        for (start, n, position), s in zip(spans(plan, q_DX.shape[1]), probs, strict=True):
            side, seen = position >= plan.prompt_tokens, (slice(None), slice(None), slice(position + 1), slice(n))
            g = dmixed[:, :, None, start : start + n]
            dvalues[side][seen].addcmul_(s[:, None], g)
            ds = (g * values[side][seen]).sum(1).mul_(s)
            ds.addcmul_(s, ds.sum(1, keepdim=True), value=-1)
            torch.sum(ds[:, None] * keys[side][seen], 2, out=dq[:, :, start : start + n])
            dkeys[side][seen].addcmul_(ds[:, None], q[:, :, None, start : start + n])
        dkv_XC = q_DX.new_empty(2 * spec.width, plan.columns)
        _collect(spec, plan, dkeys, dkv_XC[: spec.width])
        _collect(spec, plan, dvalues, dkv_XC[spec.width :])
        return dq_DX, dkv_XC


def _heads(spec: ModelSpec, x_DX: Tensor) -> Tensor:
    return x_DX.view(spec.heads, spec.head_dim, -1)


def _prompt(spec: ModelSpec, plan: Plan, x_DC: Tensor) -> Tensor:
    """The prompts' part, (H, K, P, M): a view."""
    part = _heads(spec, x_DC)[:, :, : plan.prompt_columns]
    return part.view(spec.heads, spec.head_dim, plan.prompt_tokens, plan.prompts)


def _whole(spec: ModelSpec, plan: Plan, x_DC: Tensor) -> Tensor:
    """What completions see, (H, K, T, B): their prompt's part, then their own. Beyond a completion's end: anything."""
    prompt = _prompt(spec, plan, x_DC)
    x, p = _heads(spec, x_DC)[:, :, plan.prompt_columns :], plan.prompt_tokens
    whole = x_DC.new_empty(spec.heads, spec.head_dim, p + len(plan.steps), plan.batch)
    if plan.steps:
        whole[:, :, :p] = prompt if plan.group_B is None else prompt.index_select(3, plan.group_B)
    for i, (start, n) in enumerate(plan.steps):
        whole[:, :, p + i, :n] = x[:, :, start : start + n]
    return whole


def _collect(spec: ModelSpec, plan: Plan, sides: tuple[Tensor, ...], out_DC: Tensor) -> None:
    """Transpose of `_prompt` and `_whole`: gradients (H, K, P, M) and (H, K, T, B) into (D, C)."""
    dprompt, dwhole = sides
    p, out = plan.prompt_tokens, _heads(spec, out_DC)
    if plan.steps and plan.group_B is None:
        dprompt = dprompt + dwhole[:, :, :p]
    elif plan.steps:
        assert plan.group_B is not None
        shared = sum_by(plan.group_B, dwhole[:, :, :p].reshape(-1, plan.batch), plan.prompts)
        dprompt = dprompt + shared.reshape(dprompt.shape)
    out[:, :, : plan.prompt_columns] = dprompt.reshape(spec.heads, spec.head_dim, -1)
    for i, (start, n) in enumerate(plan.steps):
        here = plan.prompt_columns + start
        out[:, :, here : here + n] = dwhole[:, :, p + i, :n]


class Batched:
    """Matrix products over padded tables, (H, K, sequences, positions): prompts in order, completions as m * G + j.

    A finished completion keeps its slots: its queries are never read, and its keys are seen by its own later queries
    only. Keys of a prompt are copied to its completions: one product over both parts is quicker than two.
    """

    def forward(self, spec: ModelSpec, plan: Plan, q_DX: Tensor, k_DC: Tensor, v_DC: Tensor) -> tuple[Tensor, Any]:
        mixed_DX = torch.empty_like(q_DX)
        y, prompt = _products(*(_prompts(spec, plan, x) for x in (q_DX, k_DC, v_DC)))
        _write_prompts(plan, y, mixed_DX)
        if not plan.steps:
            return mixed_DX, (prompt, None)
        seen = (x.index_select(1, plan.table.seen_N) for x in (k_DC, v_DC))
        y, own = _products(_own(spec, plan, q_DX), *(_heads(spec, x).unflatten(2, (plan.batch, -1)) for x in seen))
        _write_own(plan, y, mixed_DX)
        return mixed_DX, (prompt, own)

    def backward(
        self, spec: ModelSpec, plan: Plan, dmixed_DX: Tensor, q_DX: Tensor, saved: Any
    ) -> tuple[Tensor, Tensor]:
        prompt, own = saved
        dq_DX, dkv_XC = torch.empty_like(q_DX), q_DX.new_empty(2 * spec.width, plan.columns)
        sides = dkv_XC[: spec.width], dkv_XC[spec.width :]
        dq, *dkv = _products_backward(_prompts(spec, plan, dmixed_DX), prompt)
        _write_prompts(plan, dq, dq_DX)
        if own is not None:
            dq, *down = _products_backward(_own(spec, plan, dmixed_DX).mul_(plan.table.live_BR), own)
            _write_own(plan, dq, dq_DX)
            for dprompt, d, side in zip(dkv, down, sides, strict=True):
                shared = d[..., : plan.prompt_tokens].unflatten(2, (plan.prompts, -1))
                dprompt += shared.sum(3)
                _write_own(plan, d[..., plan.prompt_tokens :], side)
        for dprompt, side in zip(dkv, sides, strict=True):
            _write_prompts(plan, dprompt, side)
        return dq_DX, dkv_XC


@dataclass(frozen=True)
class Head:
    """Of one head (on a GPU of all, as H B sequences): q (B, K, R), k and v (B, K, T), weights s (B, R, T) and output y
    (B, K, R)."""

    q: Tensor
    k: Tensor
    v: Tensor
    s: Tensor
    y: Tensor


def _split(x_HKBT: Tensor) -> Sequence[Tensor]:
    """(B, K, T) of every head, as views: on the CPU the weights of one head stay in its cache until they are used. On a
    GPU one part of H B sequences."""
    if x_HKBT.device.type == "cpu":
        return [x.transpose(0, 1) for x in x_HKBT]
    return [x_HKBT.transpose(1, 2).flatten(0, 1)]


def _join(parts: Sequence[Tensor], heads: int) -> Tensor:
    """Transpose of `_split`: (H, K, B, T)."""
    if len(parts) < heads:
        return parts[0].unflatten(0, (heads, -1)).transpose(1, 2)
    b, k, t = parts[0].shape
    out = parts[0].new_empty(heads, k, b, t)
    for x, to in zip(parts, out, strict=True):
        to.transpose(0, 1).copy_(x)
    return out


def _products(q_HKBR: Tensor, k_HKBT: Tensor, v_HKBT: Tensor) -> tuple[Tensor, list[Head]]:
    """y = softmax(q' k) v', the last query seeing every key."""
    done = []
    for q, k, v in zip(*(_split(x) for x in (q_HKBR, k_HKBT, v_HKBT)), strict=True):
        s = torch.bmm(q.transpose(1, 2), k)
        s += _causal(*s.shape[1:], s.device, s.dtype)
        s = torch.softmax(s, -1, dtype=torch.float32).to(s.dtype)
        done.append(Head(q, k, v, s, torch.bmm(v, s.transpose(1, 2))))
    return _join([head.y for head in done], len(q_HKBR)), done


def _products_backward(g_HKBR: Tensor, done: list[Head]) -> Iterator[Tensor]:
    """Gradients of q, k, v: ds = s (g' v - sum_k g y), for sum_k g_k y_k = sum_j s_j (g' v)_j (Dao et al. 2022)."""
    parts = []
    for g, head in zip(_split(g_HKBR), done, strict=True):
        ds = torch.bmm(g.transpose(1, 2), head.v)
        ds.sub_((g * head.y).sum(1)[..., None]).mul_(head.s)
        parts.append((torch.bmm(head.k, ds.transpose(1, 2)), torch.bmm(head.q, ds), torch.bmm(g, head.s)))
    return (_join(part, len(g_HKBR)) for part in zip(*parts, strict=True))


def _prompts(spec: ModelSpec, plan: Plan, x_DX: Tensor) -> Tensor:
    """(H, K, M, positions): the prompts' columns, all of them or the last position alone."""
    part = _heads(spec, x_DX)[:, :, : x_DX.shape[1] - sum(plan.counts[1:])]
    return part.unflatten(2, (-1, plan.prompts)).transpose(2, 3).contiguous()


def _write_prompts(plan: Plan, x_HKMP: Tensor, out_DX: Tensor) -> None:
    end = out_DX.shape[1] - sum(plan.counts[1:])
    out_DX[:, :end] = x_HKMP.transpose(2, 3).reshape(len(out_DX), end)


def _own(spec: ModelSpec, plan: Plan, x_DX: Tensor) -> Tensor:
    """(H, K, B, R): the completions' columns."""
    part = x_DX[:, x_DX.shape[1] - sum(plan.counts[1:]) :].index_select(1, plan.table.column_N)
    return _heads(spec, part).unflatten(2, (plan.batch, -1))


def _write_own(plan: Plan, x_HKBR: Tensor, out_DX: Tensor) -> None:
    start = out_DX.shape[1] - sum(plan.counts[1:])
    out_DX[:, start:] = x_HKBR.reshape(len(out_DX), -1).index_select(1, plan.table.place_C)


@lru_cache(maxsize=64)
def _causal(queries: int, keys: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """0 where a query may look, -inf where it may not; the last query sees every key."""
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return torch.zeros(queries, keys, dtype=dtype).masked_fill_(hidden, -torch.inf).to(device)


BROADCAST, BATCHED = Broadcast(), Batched()


def attention(spec: ModelSpec, positions: int, device: torch.device) -> Attention:
    """The quicker of the two for sequences of so many positions."""
    small = spec.head_dim * positions < BATCHED_FROM and device.type == "cpu"
    return BROADCAST if small else BATCHED


@lru_cache(maxsize=64)
def angles(spec: ModelSpec, positions: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rotary tables cos and sin (K, positions), signed for `rotate`."""
    half = spec.head_dim // 2
    frequency = spec.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = frequency[:, None] * torch.arange(positions, dtype=torch.float32)
    cos, sin = torch.cat((angle.cos(), angle.cos())), torch.cat((-angle.sin(), angle.sin()))
    return cos.to(device, dtype), sin.to(device, dtype)


@lru_cache(maxsize=2)  # a plan hardly ever comes back, but every layer asks
def rotation(spec: ModelSpec, plan: Plan, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rotary tables of a plan's columns: cos (K, C) and sin (K, C)."""
    cos, sin = angles(spec, plan.prompt_tokens + len(plan.steps), device, dtype)
    position_C = plan.positions.to(device)
    return cos.index_select(1, position_C), sin.index_select(1, position_C)


def rotate(x_DQ: Tensor, cos_KQ: Tensor, sin_KQ: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021), halves paired as in Llama: x cos + swap(x) sin. Its inverse takes -sin."""
    x = x_DQ.view(-1, *cos_KQ.shape)
    half = x.shape[1] // 2
    swapped = torch.cat((x[:, half:], x[:, :half]), dim=1)
    return torch.addcmul(x * cos_KQ, swapped, sin_KQ).view(x_DQ.shape)
