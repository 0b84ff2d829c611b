"""Causal attention over a few positions and rotary embedding, forward and backward, by broadcast products.

Legend: D width, H heads, K head size, T input positions, B sequences, Q query columns, J keys seen by a query.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from scaling.trials import ModelSpec
from sweeps.plans import Plan, Span


def attend(q_HKQ: Tensor, k_HKTB: Tensor, v_HKTB: Tensor, spans: list[Span]) -> tuple[Tensor, list[Tensor]]:
    """Causal attention, position by position: softmax_j(q k_j) v_j. Returns (D, Q) and the weights (H, J, n) per span.

    Products are broadcast along the sequences: matrices of 4 x 10 are too small for any batched matmul.
    """
    mixed, probs = torch.empty_like(q_HKQ), []
    for start, n, keys in spans:
        s = (q_HKQ[:, :, None, start : start + n] * k_HKTB[:, :, :keys, :n]).sum(1)
        s -= s.amax(1, keepdim=True)  # without it scores of 1e2 overflow
        s = s.exp_()
        s /= s.sum(1, keepdim=True)
        torch.sum(s[:, None] * v_HKTB[:, :, :keys, :n], 2, out=mixed[:, :, start : start + n])
        probs.append(s)
    return mixed.view(-1, mixed.shape[-1]), probs


def attend_backward(
    dmixed_HKQ: Tensor, q_HKQ: Tensor, k_HKTB: Tensor, v_HKTB: Tensor, probs: list[Tensor], spans: list[Span]
) -> tuple[Tensor, Tensor]:
    """Gradients of `attend`: dq (H, K, Q), and dk, dv stacked (2, H, K, T, B)."""
    dkv, dq = k_HKTB.new_zeros(2, *k_HKTB.shape), torch.empty_like(dmixed_HKQ)
    dk, dv = dkv
    for (start, n, keys), s in zip(spans, probs, strict=True):
        g = dmixed_HKQ[:, :, None, start : start + n]
        dv[:, :, :keys, :n].addcmul_(s[:, None], g)
        ds = (g * v_HKTB[:, :, :keys, :n]).sum(1).mul_(s)
        ds.addcmul_(s, ds.sum(1, keepdim=True), value=-1)
        torch.sum(ds[:, None] * k_HKTB[:, :, :keys, :n], 2, out=dq[:, :, start : start + n])
        dk[:, :, :keys, :n].addcmul_(ds[:, None], q_HKQ[:, :, None, start : start + n])
    return dq, dkv


@lru_cache(maxsize=64)
def rotation(spec: ModelSpec, plan: Plan) -> tuple[Tensor, Tensor]:
    """Rotary tables for the plan's query columns: cos (K, Q) and sin (K, Q), signed for `rotate`."""
    half = spec.head_dim // 2
    frequency = spec.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    position = torch.arange(plan.first, plan.first + len(plan.counts), dtype=torch.float32)
    angle = torch.repeat_interleave(frequency[:, None] * position, torch.tensor(plan.counts), dim=1)
    return torch.cat((angle.cos(), angle.cos())), torch.cat((-angle.sin(), angle.sin()))


def rotate(x_DQ: Tensor, cos_KQ: Tensor, sin_KQ: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021), halves paired as in Llama: x cos + swap(x) sin. Its inverse takes -sin."""
    x = x_DQ.view(-1, *cos_KQ.shape)
    half = x.shape[1] // 2
    swapped = torch.cat((x[:, half:], x[:, :half]), dim=1)
    return torch.addcmul(x * cos_KQ, swapped, sin_KQ).view(x_DQ.shape)
