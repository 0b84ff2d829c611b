"""Causal attention over prompts and their completions, forward and backward, in two equal ways; rotary embedding.

Legend: D width, H heads, K head size, M prompts of P tokens, B completions (G a prompt), R input positions of the
completions, T = P + R, C columns, X query columns (the last X of C), J keys seen by a query.

`Broadcast` multiplies element by element along the sequences: best for small heads and short sequences, whose matrices
(4 x 10) are too small for any matrix product. `Batched` uses matrix products, one for the prompt's keys, which all
completions of a group share, and one for a completion's own: best for everything larger, and on a GPU.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.plans import Plan, sum_by

BATCHED_FROM = 2  # head size x positions / 8 from which matrix products win; measured, see docs/log.md


class Attention(Protocol):
    """softmax_j(q k_j) v_j over the keys that a column may see, and its gradients."""

    def forward(self, spec: ModelSpec, plan: Plan, q_DX: Tensor, k_DC: Tensor, v_DC: Tensor) -> tuple[Tensor, Any]:
        """(D, X), and what the backward pass reads."""

    def backward(
        self, spec: ModelSpec, plan: Plan, dmixed_DX: Tensor, q_DX: Tensor, saved: Any
    ) -> tuple[Tensor, Tensor]:
        """Gradients of queries (D, X) and of keys and values (2D, C)."""


def softmax_(scores: Tensor, dim: int) -> Tensor:
    """In place; the maximum is taken out first: without it scores of 1e2 overflow."""
    scores -= scores.amax(dim, keepdim=True)
    scores = scores.exp_()
    scores /= scores.sum(dim, keepdim=True)
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
    """Matrix products over padded tables: queries of a prompt's completions against its keys, and against their own.

    Tables are in the order m * G + j. A finished completion keeps its slots: its queries are never read, and its keys
    are seen by its own later queries only.
    """

    def forward(self, spec: ModelSpec, plan: Plan, q_DX: Tensor, k_DC: Tensor, v_DC: Tensor) -> tuple[Tensor, Any]:
        mixed = torch.empty_like(q_DX)
        q, k, v = (self._prompt(spec, plan, x) for x in (q_DX, k_DC, v_DC))  # (H, M, P, K)
        s = q @ k.transpose(2, 3)
        s += _causal(s.shape[2], s.shape[3], s.device, s.dtype)
        s = _softmax(s)
        _write_prompt(plan, s @ v, mixed)
        if not plan.steps:
            return mixed, (q, k, v, s)
        table = Table(plan)
        own_q, own_k, own_v = (table.read(spec, x) for x in (q_DX, k_DC, v_DC))  # (H, B, R, K)
        cross = table.grouped(own_q) @ k.transpose(2, 3)  # (H, M, G R, P)
        both = torch.cat((cross.view(*own_q.shape[:3], -1), own_q @ own_k.transpose(2, 3)), 3)
        both[..., plan.prompt_tokens :] += _causal(both.shape[2], both.shape[2], s.device, s.dtype)
        both = _softmax(both)
        shared, own = both[..., : plan.prompt_tokens], both[..., plan.prompt_tokens :]
        table.write((table.grouped(shared) @ v).view(own_q.shape) + own @ own_v, mixed)
        return mixed, (q, k, v, s, table, own_q, own_k, own_v, both)

    def backward(
        self, spec: ModelSpec, plan: Plan, dmixed_DX: Tensor, q_DX: Tensor, saved: Any
    ) -> tuple[Tensor, Tensor]:
        q, k, v, s, *more = saved
        dq_DX, dkv_XC = torch.empty_like(q_DX), q_DX.new_empty(2 * spec.width, plan.columns)
        g = self._prompt(spec, plan, dmixed_DX)
        ds = _softmax_backward(g @ v.transpose(2, 3), s)
        dq, dk, dv = ds @ k, ds.transpose(2, 3) @ q, s.transpose(2, 3) @ g
        _write_prompt(plan, dq, dq_DX)
        if more:
            table, own_q, own_k, own_v, both = more
            g = table.read(spec, dmixed_DX, live=True)
            shared, own = both[..., : plan.prompt_tokens], both[..., plan.prompt_tokens :]
            grouped = table.grouped(g)
            dboth = torch.cat(((grouped @ v.transpose(2, 3)).view(shared.shape), g @ own_v.transpose(2, 3)), 3)
            dboth = _softmax_backward(dboth, both)
            dshared, down = dboth[..., : plan.prompt_tokens], dboth[..., plan.prompt_tokens :]
            dshared = table.grouped(dshared)
            table.write((dshared @ k).view(own_q.shape) + down @ own_k, dq_DX)
            dk += dshared.transpose(2, 3) @ table.grouped(own_q)
            dv += table.grouped(shared).transpose(2, 3) @ grouped
            table.write(down.transpose(2, 3) @ own_q, dkv_XC[: spec.width])
            table.write(own.transpose(2, 3) @ g, dkv_XC[spec.width :])
        _write_prompt(plan, dk, dkv_XC[: spec.width])
        _write_prompt(plan, dv, dkv_XC[spec.width :])
        return dq_DX, dkv_XC

    @staticmethod
    def _prompt(spec: ModelSpec, plan: Plan, x_DX: Tensor) -> Tensor:
        part = _heads(spec, x_DX)[:, :, : x_DX.shape[1] - sum(plan.counts[1:])]
        return part.reshape(spec.heads, spec.head_dim, -1, plan.prompts).permute(0, 3, 2, 1).contiguous()


def _write_prompt(plan: Plan, x_HMPK: Tensor, out_DX: Tensor) -> None:
    end = out_DX.shape[1] - sum(plan.counts[1:])
    out_DX[:, :end] = x_HMPK.permute(0, 3, 2, 1).reshape(len(out_DX), end)


class Table:
    """Completion columns as a padded table (H, B, R, K) in the order of prompts, and back."""

    def __init__(self, plan: Plan) -> None:
        device = plan.group_B.device if plan.group_B is not None else None
        self.plan, self.rows = plan, len(plan.steps)
        order = torch.arange(plan.batch) if plan.group_B is None else torch.argsort(plan.group_B.cpu(), stable=True)
        slot_B = torch.empty_like(order)
        slot_B[order] = torch.arange(plan.batch)  # table row of every sorted completion
        place = torch.cat([slot_B[:n] * self.rows + i for i, (_, n) in enumerate(plan.steps)])
        column = torch.zeros(plan.batch * self.rows, dtype=torch.long)
        live = torch.zeros(plan.batch * self.rows, dtype=torch.bool)
        column[place], live[place] = torch.arange(len(place)), True
        self.place_C, self.column_N, self.live_N = place.to(device), column.to(device), live.to(device)

    def read(self, spec: ModelSpec, x_DX: Tensor, *, live: bool = False) -> Tensor:
        """(H, B, R, K); with `live` slots without a column are 0."""
        rows_CD = x_DX[:, x_DX.shape[1] - len(self.place_C) :].t().contiguous()
        table = rows_CD.index_select(0, self.column_N)
        if live:
            table *= self.live_N[:, None]
        return table.view(self.plan.batch, self.rows, spec.heads, spec.head_dim).permute(2, 0, 1, 3).contiguous()

    def write(self, x_HBRK: Tensor, out_DX: Tensor) -> None:
        rows_ND = x_HBRK.permute(1, 2, 0, 3).reshape(self.plan.batch * self.rows, -1)
        out_DX[:, out_DX.shape[1] - len(self.place_C) :] = rows_ND.index_select(0, self.place_C).t()

    def grouped(self, x_HBRX: Tensor) -> Tensor:
        """(H, M, G R, X): the rows of a prompt's completions together."""
        return x_HBRX.reshape(x_HBRX.shape[0], self.plan.prompts, -1, x_HBRX.shape[3])


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


def _softmax_backward(g: Tensor, s: Tensor) -> Tensor:
    """ds = s (g - sum_j s_j g_j)."""
    g = g * s
    return g.addcmul_(s, g.sum(-1, keepdim=True), value=-1)


@lru_cache(maxsize=64)
def _causal(queries: int, keys: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """0 where a query may look, -inf where it may not; the last query sees every key."""
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return torch.zeros(queries, keys, dtype=dtype).masked_fill_(hidden, -torch.inf).to(device)


BROADCAST, BATCHED = Broadcast(), Batched()


def attention(spec: ModelSpec, positions: int, device: torch.device) -> Attention:
    """The quicker of the two for sequences of so many positions."""
    small = spec.head_dim * positions < 8 * BATCHED_FROM and device.type == "cpu"
    return BROADCAST if small else BATCHED


@lru_cache(maxsize=64)
def angles(spec: ModelSpec, positions: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rotary tables cos and sin (K, positions), signed for `rotate`."""
    half = spec.head_dim // 2
    frequency = spec.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = frequency[:, None] * torch.arange(positions, dtype=torch.float32)
    cos, sin = torch.cat((angle.cos(), angle.cos())), torch.cat((-angle.sin(), angle.sin()))
    return cos.to(device, dtype), sin.to(device, dtype)


@lru_cache(maxsize=64)
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
